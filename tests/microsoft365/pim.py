"""Requests to Privileged Identity Management, by an administrator's sign-in or by an application, for its tests."""

from __future__ import annotations

from typing import Any

from local.microsoft365.model import Role, RolePolicy
from tests.microsoft365.served import Page, Served, add_principal

BASE = "/v1.0/roleManagement/directory"
REQUESTS = f"{BASE}/roleAssignmentScheduleRequests"
INSTANCES = f"{BASE}/roleAssignmentScheduleInstances"
EXCHANGE = Role.EXCHANGE_ADMINISTRATOR
WRITE = "RoleManagement.ReadWrite.Directory"
FOREVER = {"type": "NoExpiration"}
PRINCIPAL = "7d0f1c0e-3a86-4a3f-8f0e-1c1d5a1d4a01"


def license_pim(served: Served, policy: RolePolicy | None = None) -> None:
    """Give the tenant the licence, the application a service principal, and the role a policy of its own."""
    served.tenant.licences = (*served.tenant.licences, "AAD_PREMIUM_P2")
    add_principal(served)
    if policy is not None:
        served.tenant.role_policies[EXCHANGE] = policy


def administrator(served: Served, *amr: str, role: str = Role.PRIVILEGED_ROLE_ADMINISTRATOR) -> str:
    """Return the token of somebody with a directory role, who has signed in by these methods."""
    return served.token(scopes=[WRITE], wids=[role], amr=amr or ("pwd",))


def lasting(duration: str) -> dict[str, Any]:
    """Return the expiration after a duration."""
    return {"type": "AfterDuration", "duration": duration}


async def ask(
    served: Served,
    action: str = "adminAssign",
    expiration: dict[str, Any] | None = None,
    *,
    token: str = "",
    **changes: Any,
) -> Page:
    """Post a request for the application's role, with a justification; `changes` replace parts of the body."""
    body = {
        "action": action,
        "justification": "It looks after the mail flow.",
        "roleDefinitionId": EXCHANGE.value,
        "directoryScopeId": "/",
        "principalId": PRINCIPAL,
        "scheduleInfo": {"expiration": expiration or FOREVER},
        **changes,
    }
    path = changes.pop("path", REQUESTS)
    body.pop("path", None)
    return await served.graph(path, method="POST", json=body, token=token or administrator(served))


async def instances(served: Served) -> list[dict[str, Any]]:
    """Return the application's instances now."""
    filtered = f"{INSTANCES}?$filter=principalId eq '{PRINCIPAL}' and roleDefinitionId eq '{EXCHANGE}'"
    answer = await served.graph(filtered, "RoleAssignmentSchedule.Read.Directory")
    assert answer.status == 200, answer.body
    found: list[dict[str, Any]] = answer.body["value"]
    return found


def refusal(page: Page) -> tuple[int, str, str]:
    """Return status, code and words of a refusal."""
    return page.status, page.body["error"]["code"], page.body["error"]["message"]
