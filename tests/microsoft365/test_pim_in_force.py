"""What roles with an end, eligible roles and custom role groups open: in tokens, in Exchange, and over the control interface."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from local.microsoft365.model import Role, RolePolicy, RoleWish, ServicePrincipal
from local.microsoft365.persistence import DataDirectory, load_tenant, save_tenant
from local.microsoft365.role_assignments import eligible, held_roles, make_eligible, request_role
from local.microsoft365.seed import TenantSeed, make_tenant
from tests.microsoft365.platform import ROLE_SCOPE, Platform, claims_of
from tests.microsoft365.served import NOW

DAY = 86400
EXCHANGE = Role.EXCHANGE_ADMINISTRATOR
READERS = ["Get-TransportRule", "Get-InboundConnector"]
SEED = TenantSeed("Contoso", "contoso.onmicrosoft.com", 8)


async def _exchange_token(platform: Platform) -> str:
    token: str = (await platform.app_token()).json()["access_token"]
    return token


async def _offered(platform: Platform, token: str = "") -> httpx.Response:
    """Ask Exchange which cmdlets it offers to the application."""
    headers = {"Authorization": f"Bearer {token or await _exchange_token(platform)}", "CommandName": "*"}
    return await platform.client.get(f"/adminapi/beta/{platform.tenant.id}/EXOModuleFile", headers=headers)


async def _cmdlets(platform: Platform) -> set[str]:
    """Return the cmdlets that Exchange offers to the application, with a new token."""
    answer = await _offered(platform)
    assert answer.status_code == 200, answer.text
    return set(answer.json()["value"][0]["exportedCmdlets"].split(","))


async def _run(platform: Platform, cmdlet: str) -> httpx.Response:
    """Run a cmdlet as the application, with a new token."""
    return await platform.client.post(
        f"/adminapi/beta/{platform.tenant.id}/InvokeCommand",
        json={"CmdletInput": {"CmdletName": cmdlet, "Parameters": {}}},
        headers={"Authorization": f"Bearer {await _exchange_token(platform)}"},
    )


async def _give(platform: Platform, right: str, principal: str = "mail_flow", **more: Any) -> Any:
    """Give a role by the control interface."""
    body = {"principal": principal, "role": "exchange_administrator", "right": right, **more}
    return await platform.control("POST", "tenants/contoso.com/roles", json=body)


async def _group(platform: Platform, name: str, *cmdlets: str) -> Any:
    """Make a custom role group whose one member is the application; no cmdlets take it away."""
    body = {"name": name, "cmdlets": cmdlets, "members": ["mail_flow"]}
    return await platform.control("POST", "tenants/contoso.com/role-groups", json=body)


async def test_a_role_that_ends_ends_in_tokens_issued_after(platform: Platform, consented: ServicePrincipal) -> None:
    """A token of before keeps what it carries for as long as it lives; a new one opens nothing in Exchange."""
    told = await _give(platform, "active", seconds=3 * DAY)
    platform.simulation.clock.advance(3 * DAY - 60)
    last = await _exchange_token(platform)
    platform.simulation.clock.advance(60)

    late, fresh = await _offered(platform, last), await _offered(platform)

    assert told["principal_id"] == consented.id
    assert (late.status_code, fresh.status_code, set(fresh.content)) == (200, 403, {0})
    assert EXCHANGE not in claims_of(await _exchange_token(platform))["wids"]


@pytest.mark.parametrize(("right", "has"), [("active", True), ("activated", True), ("eligible", False), ("none", False)])
async def test_a_person_has_a_role_active_or_eligible(platform: Platform, right: str, *, has: bool) -> None:
    """Only an active role is in tokens; each right takes the place of the former."""
    person = platform.tenant.users.find("exchange@contoso.com")
    assert person is not None
    await _give(platform, right, "exchange@contoso.com")
    now = platform.simulation.clock.now()

    held = {each.assignment_type for each in platform.tenant.role_assignments.values() if each.principal_id == person.id}
    assert (EXCHANGE in held_roles(platform.tenant, person.id, now)) == has
    assert bool(eligible(platform.tenant, EXCHANGE, now)) == (right == "eligible")
    assert held == ({"Activated" if right == "activated" else "Assigned"} if has else set())


async def test_a_delegated_token_of_a_person_whose_role_has_ended(platform: Platform) -> None:
    """Somebody who has activated an administrator's role is one until it ends, and nobody after it."""
    body = {"principal": "member@contoso.com", "role": "global_administrator", "right": "activated", "seconds": 3600}
    await platform.control("POST", "tenants/contoso.com/roles", json=body)
    await platform.grant("role_helper", person="member")
    seen = []
    for _ in range(2):
        shown = await platform.sign_in(platform.authorize_url("role_helper", scope=ROLE_SCOPE), "member@contoso.com")
        assert shown.returned is not None
        answer = await platform.redeem(shown.returned["code"], "role_helper", scope=ROLE_SCOPE)
        seen.append(Role.GLOBAL_ADMINISTRATOR in claims_of(answer.json()["access_token"])["wids"])
        platform.simulation.clock.advance(3600)

    assert seen == [True, False]


async def test_a_role_group_offers_its_cmdlets_without_a_directory_role(platform: Platform, consented: ServicePrincipal) -> None:
    """Exactly these; any other is not recognized, as one that a role is not offered; taken away, nothing is left."""
    await _group(platform, "Readers", *READERS)

    offered, allowed, other = (
        await _cmdlets(platform),
        await _run(platform, READERS[0]),
        await _run(platform, "Get-AcceptedDomain"),
    )
    state = await platform.control("GET", "state?include=exchange")
    await _group(platform, "Readers")

    assert offered == set(READERS)
    assert (allowed.status_code, other.status_code) == (200, 400)
    assert "is not recognized" in other.text
    assert state["exchange"]["RoleGroups"] == [{"Identity": "Readers", "Cmdlets": READERS, "Members": [consented.id]}]
    assert (await _offered(platform)).status_code == 403


async def test_rights_of_groups_and_roles_add_up(platform: Platform, consented: ServicePrincipal) -> None:
    """Two groups and a role together; a group of others, and a cmdlet that is not simulated, add nothing."""
    await _group(platform, "Readers", *READERS)
    await _group(platform, "Writers", "New-TransportRule", "New-Mailbox")
    platform.tenant.exchange["RoleGroups"]["Others"] = {"Cmdlets": ["Set-ArcConfig"], "Members": [platform.tenant.id]}
    groups = await _cmdlets(platform)
    body = {"principal": consented.id, "role": Role.SECURITY_READER.value}
    await platform.control("POST", "tenants/contoso.com/roles", json=body)

    assert groups == {*READERS, "New-TransportRule"}
    assert await _cmdlets(platform) == groups | {
        "Get-AntiPhishPolicy",
        "Get-AntiPhishRule",
        "Get-ArcConfig",
        "Get-ATPProtectionPolicyRule",
        "Get-DkimSigningConfig",
        "Get-EOPProtectionPolicyRule",
        "Get-HostedConnectionFilterPolicy",
        "Get-HostedContentFilterPolicy",
        "Get-HostedContentFilterRule",
        "Get-HostedOutboundSpamFilterPolicy",
        "Get-MalwareFilterPolicy",
        "Get-MessageTraceDetailV2",
        "Get-MessageTraceV2",
        "Get-QuarantineMessage",
        "Get-TenantAllowBlockListSpoofItems",
    }


async def test_a_role_group_leaves_exchanges_own_objects_alone(platform: Platform, consented: ServicePrincipal) -> None:
    """A tenant whose first object is a role group has the others of a new tenant too; no cmdlet takes the group for one."""
    assert not platform.tenant.exchange
    await _group(platform, "Everything", "Get-OrganizationConfig", "Get-TransportRule")

    answer = await _run(platform, "Get-OrganizationConfig")
    strange = await platform.client.post("/_control/tamper", json={"noun": "RoleGroups", "identity": "x", "remove": True})

    assert [each["Name"] for each in answer.json()["value"]] == ["contoso.onmicrosoft.com"]
    assert strange.status_code == 400
    assert consented.id in platform.tenant.exchange["RoleGroups"]["Everything"]["Members"]


async def test_a_roles_policy_is_set(platform: Platform) -> None:
    """What is not named is as in a new tenant; nonsense is refused and changes nothing."""
    body = {"role": "exchange_administrator", "policy": {"is_expiration_required": True, "maximum_duration": "P15D"}}
    told = await platform.control("POST", "tenants/contoso.com/role-policies", json=body)
    wrong = [
        {"role": "exchange_administrator", "policy": {"maximum_duration": "a while"}},
        {"role": "janitor", "policy": {}},
        {"role": "exchange_administrator", "policy": {"enabled_rules": "none"}},
    ]
    refused = [await platform.client.post("/_control/tenants/contoso.com/role-policies", json=each) for each in wrong]
    nobody = await platform.client.post("/_control/tenants/contoso.com/roles", json={"principal": "x", "role": EXCHANGE.value})

    assert (told["maximum_duration"], told["enabled_rules"]) == ("P15D", ["Justification"])
    assert platform.tenant.role_policies == {EXCHANGE.value: RolePolicy(is_expiration_required=True, maximum_duration="P15D")}
    assert [each.status_code for each in (*refused, nobody)] == [400] * 4


async def test_roles_go_with_their_principal(platform: Platform, consented: ServicePrincipal) -> None:
    """A service principal that is deleted leaves neither assignment nor eligibility."""
    await _give(platform, "active")
    make_eligible(platform.tenant, Role.GLOBAL_READER, consented.id, platform.simulation.clock.now(), None)
    await platform.control("POST", "tamper", json={"noun": "servicePrincipal", "identity": consented.id, "remove": True})

    tenant = platform.tenant
    assigned = {each.principal_id for each in tenant.role_assignments.values()}
    may_activate = {each.principal_id for each in tenant.role_eligibilities.values()}
    assert consented.id not in assigned | may_activate


def test_a_second_start_knows_requests_and_policies(tmp_path: Path) -> None:
    """Requests, ends, eligibilities and policies are written and read back as they were."""
    tenant = make_tenant(SEED)
    tenant.licences = ("AAD_PREMIUM_P2",)
    tenant.role_policies[EXCHANGE.value] = RolePolicy(maximum_duration="P30D", enabled_rules=frozenset({"Ticketing"}))
    person = next(iter(tenant.users))
    wish = RoleWish("adminAssign", EXCHANGE, person.id, duration="P1D", ticket_number="INC-7")
    request_role(tenant, wish, caller_has_mfa=False, now=NOW, spreads_in=0.0)

    directory = DataDirectory(tmp_path)
    directory.save("secret", {}, [save_tenant(SEED, tenant)])
    state = directory.load()

    assert state is not None
    again = load_tenant(state.tenants[0])
    for name in ("role_requests", "role_assignments", "role_eligibilities", "role_policies"):
        assert getattr(again, name) == getattr(tenant, name), name
    assert again.role_eligibilities
