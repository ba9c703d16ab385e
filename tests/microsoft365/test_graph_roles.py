"""Graph's applications and directory roles over HTTP: who was granted what, and who may grant it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from local.microsoft365.model import Role
from local.microsoft365.role_assignments import assignment_id
from tests.microsoft365.served import NOW, Served, add_principal, serve

READ_USERS = "User.Read.All"
ROLE_ASSIGNMENTS = "/v1.0/roleManagement/directory/roleAssignments"
PRIVILEGED = (Role.PRIVILEGED_ROLE_ADMINISTRATOR.value,)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """A tenant with 250 users; afterwards nothing may have broken Microsoft's description."""
    async with serve() as running:
        yield running
        assert running.contract.report()["violations"] == []


async def test_a_service_principal_is_found_by_its_application(served: Served) -> None:
    """By the alternate key, quoted or not, by filter, by id; not before it has spread."""
    principal = add_principal(served, delay=30)
    read = "Application.Read.All"
    paths = [
        f"/v1.0/servicePrincipals(appId='{principal.app_id}')",
        f"/v1.0/servicePrincipals(appId=%27{principal.app_id}%27)",
        f"/v1.0/servicePrincipals/{principal.id}",
    ]

    early = [(await served.graph(path, read)).status for path in paths]
    empty = await served.graph(f"/v1.0/servicePrincipals?$filter=appId eq '{principal.app_id}'", read)
    served.advance(31)
    found = [await served.graph(f"{path}?$select=id,appId", read) for path in paths]
    listed = await served.graph(f"/v1.0/servicePrincipals?$filter=appId eq '{principal.app_id}'", read)

    assert early == [404, 404, 404]
    assert empty.body["value"] == []
    assert [answer.body["id"] for answer in found] == [principal.id] * 3
    assert [item["displayName"] for item in listed.body["value"]] == ["Mail flow"]


async def test_granted_permissions_are_listed_from_both_sides(served: Served) -> None:
    """The application's list and the resource's list show the same assignment; the role is one that Graph offers."""
    principal = add_principal(served)
    read = ("Directory.Read.All",)

    mine = await served.graph(f"/v1.0/servicePrincipals/{principal.id}/appRoleAssignments", *read)
    resource = mine.body["value"][0]["resourceId"]
    theirs = await served.graph(f"/v1.0/servicePrincipals/{resource}/appRoleAssignedTo", *read)
    offered = await served.graph(f"/v1.0/servicePrincipals/{resource}?$select=appRoles,oauth2PermissionScopes", *read)
    delegated = await served.graph(f"/v1.0/oauth2PermissionGrants?$filter=clientId eq '{principal.id}'", *read)
    own = await served.graph(f"/v1.0/servicePrincipals/{principal.id}/oauth2PermissionGrants", *read)

    assert mine.body["value"] == theirs.body["value"]
    roles = {role["id"]: role["value"] for role in offered.body["appRoles"]}
    assert roles[mine.body["value"][0]["appRoleId"]] == READ_USERS
    assert [item["scope"] for item in delegated.body["value"]] == ["User.Read"]
    assert own.body["value"] == delegated.body["value"]


async def test_subscriptions_tell_their_service_plans(served: Served) -> None:
    """An E3 tenant has Exchange and no PIM."""
    answer = await served.graph("/v1.0/subscribedSkus", "LicenseAssignment.Read.All")

    plans = {plan["servicePlanName"] for sku in answer.body["value"] for plan in sku["servicePlans"]}
    assert "EXCHANGE_S_ENTERPRISE" in plans
    assert "AAD_PREMIUM_P2" not in plans


async def test_role_definitions_are_the_built_in_ones(served: Served) -> None:
    """The id of a built-in role is its template's."""
    read = "RoleManagement.Read.Directory"

    listed = await served.graph("/v1.0/roleManagement/directory/roleDefinitions", read)
    role = await served.graph(f"/v1.0/roleManagement/directory/roleDefinitions/{Role.EXCHANGE_ADMINISTRATOR}", read)

    assert {item["id"] for item in listed.body["value"]} == set(Role)
    assert (role.body["displayName"], role.body["isBuiltIn"]) == ("Exchange Administrator", True)


def helper_token(served: Served, *roles: str) -> str:
    """Return the role helper's token of a person with these directory roles."""
    return served.token(scopes=["RoleManagement.ReadWrite.Directory"], wids=roles)


async def assign(served: Served, principal_id: str, token: str, role: str = Role.EXCHANGE_ADMINISTRATOR) -> Any:
    """Ask for a tenant-wide role assignment."""
    body = {
        "@odata.type": "#microsoft.graph.unifiedRoleAssignment",
        "roleDefinitionId": role,
        "principalId": principal_id,
        "directoryScopeId": "/",
    }
    return await served.graph(ROLE_ASSIGNMENTS, method="POST", json=body, token=token)


async def test_a_role_is_assigned_with_the_administrators_sign_in(served: Served) -> None:
    """201 with the opaque id that Microsoft's examples have; a token carries the role from its delay on."""
    principal = add_principal(served)
    served.simulation.settings = replace(served.simulation.settings, role_delay=5.0)

    answer = await assign(served, principal.id, helper_token(served, *PRIVILEGED))

    stored = served.tenant.role_assignments[answer.body["id"]]
    query = f"$filter=principalId eq '{principal.id}'&$expand=principal"
    listed = await served.graph(f"{ROLE_ASSIGNMENTS}?{query}", "RoleManagement.Read.Directory")
    assert answer.status == 201
    assert answer.body["roleDefinitionId"] == Role.EXCHANGE_ADMINISTRATOR
    assert stored.visible_at == NOW + timedelta(seconds=5)
    assert [item["principal"]["displayName"] for item in listed.body["value"]] == ["Mail flow"]


def test_the_id_of_an_assignment_is_made_as_microsoft_makes_it() -> None:
    """The example of rbacapplication-list-roleassignments: Global Administrator for one principal."""
    made = assignment_id(Role.GLOBAL_ADMINISTRATOR, "f1847572-48aa-47aa-96a3-2ec61904f41f")

    assert made == "lAPpYvVpN0KRkAEhdxReEHJ1hPGqSKpHlqMuxhkE9B8-1"


async def test_the_same_assignment_twice_conflicts(served: Served) -> None:
    """400 with the documented words; there is still one."""
    principal = add_principal(served)
    await assign(served, principal.id, helper_token(served, *PRIVILEGED))

    answer = await assign(served, principal.id.upper(), helper_token(served, *PRIVILEGED))

    held = [each for each in served.tenant.role_assignments.values() if each.principal_id == principal.id]
    assert (answer.status, answer.body["error"]["code"]) == (400, "Request_BadRequest")
    assert answer.body["error"]["message"].startswith("A conflicting object with one or more of the specified property")
    assert len(held) == 1


async def test_a_role_needs_an_administrator_a_scope_and_a_principal(served: Served) -> None:
    """The permission alone does not make a member an administrator; a principal that has not spread is unknown."""
    principal = add_principal(served, delay=60)
    token = helper_token(served, *PRIVILEGED)

    member = await assign(served, principal.id, helper_token(served))
    early = await assign(served, principal.id, token)
    unknown = await assign(served, served.tenant.id, token)
    no_role = await assign(served, next(iter(served.tenant.users)).id, token, role=served.tenant.id)
    no_scope = await served.graph(
        ROLE_ASSIGNMENTS, method="POST", token=token, json={"roleDefinitionId": "x", "principalId": "y"}
    )
    no_json = await served.graph(ROLE_ASSIGNMENTS, method="POST", token=token, data=b"{")

    assert member.status == 403
    assert [early.status, unknown.status, no_role.status] == [404, 404, 404]
    assert [no_scope.status, no_json.status] == [400, 400]


async def test_a_stale_read_does_not_show_a_new_assignment(served: Served) -> None:
    """Read-after-write may lag; the write itself never does."""
    served.advance(60)
    principal = add_principal(served)
    made = await assign(served, principal.id, helper_token(served, *PRIVILEGED))
    path = f"{ROLE_ASSIGNMENTS}/{made.body['id']}"
    served.stale["seconds"] = 30

    read = await served.graph(path, "RoleManagement.Read.Directory")
    again = await assign(served, principal.id, helper_token(served, *PRIVILEGED))

    assert (read.status, again.status) == (404, 400)


async def test_an_assignment_is_taken_back(served: Served) -> None:
    """204, then 404."""
    principal = add_principal(served)
    token = helper_token(served, Role.GLOBAL_ADMINISTRATOR)
    made = await assign(served, principal.id, token)
    path = f"{ROLE_ASSIGNMENTS}/{made.body['id']}"

    shown = await served.graph(f"{path}?$expand=roleDefinition", token=token)
    first = await served.graph(path, method="DELETE", token=token)
    second = await served.graph(path, method="DELETE", token=token)

    assert shown.body["roleDefinition"]["displayName"] == "Exchange Administrator"
    assert (first.status, first.body) == (204, b"")
    assert second.status == 404


async def test_without_a_licence_pim_refuses_every_call(served: Served) -> None:
    """400 for readers and writers, 403 in PIM's own form without the permission."""
    base = "/v1.0/roleManagement/directory"
    role = "RoleManagement.ReadWrite.Directory"

    read = await served.graph(f"{base}/roleAssignmentScheduleInstances?$filter=principalId eq 'x'", role)
    written = await served.graph(f"{base}/roleAssignmentScheduleRequests", role, method="POST", json={"action": "adminAssign"})
    denied = await served.graph(f"{base}/roleAssignmentScheduleInstances", READ_USERS)

    assert [read.status, written.status] == [400, 400]
    assert read.body["error"]["code"] == written.body["error"]["code"] == "AadPremiumLicenseRequired"
    assert (denied.status, denied.body["error"]["code"]) == (403, "UnknownError")
    assert "PermissionScopeNotGranted" in denied.body["error"]["message"]
