"""A tenant's directory roles by Microsoft Graph, with and without Privileged Identity Management, read from raw answers."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import httpx
from pydantic import TypeAdapter, ValidationError

from shared.domain.problems import problem
from shared.microsoft import errors
from shared.microsoft.errors import Reaction
from shared.microsoft.graph import Graph, Row
from shared.ports import Clock, HeldRole, NotYetError, RefusedError, RolePolicy, RoleWish

WHOLE_TENANT = "/"
"""The scope of a role assignment for the whole tenant."""
EXPIRATION, ENABLEMENT = "Expiration_Admin_Assignment", "Enablement_Admin_Assignment"
"""The rules of a role's policy for an administrator who assigns it as active
(https://learn.microsoft.com/graph/identity-governance-pim-rules-overview). Approval and authentication context have rules for
self-activation alone, which no application does."""
ASSIGN = "adminAssign"
_TIME, _DURATION = TypeAdapter(datetime), TypeAdapter(timedelta)


class GraphRoles:
    """``ports.Roles`` by Microsoft Graph.

    ``reads_assignments`` is False for an application whose permission shows the schedules of assignments alone: in a tenant that
    has none, for want of the licence, it can't see who holds a role.
    """

    def __init__(self, graph: Graph, clock: Clock, *, reads_assignments: bool = True) -> None:
        self._graph = graph
        self._clock = clock
        self._reads_assignments = reads_assignments

    async def policy(self, role_template_id: str) -> RolePolicy | None:
        """See ``ports.Roles`` (https://learn.microsoft.com/graph/api/policyroot-list-rolemanagementpolicyassignments).

        The filter on the scope is mandatory. A role that has no policy of its own asks for nothing.
        """
        sdk, client = await self._graph.builders()
        condition = f"scopeId eq '{WHOLE_TENANT}' and scopeType eq 'DirectoryRole' and roleDefinitionId eq '{role_template_id}'"
        builder = client.policies.role_management_policy_assignments
        response = await self._graph.send(sdk.first_page(builder, filter=condition, expand=["policy($expand=rules)"]))
        if self._means(response, Reaction.UNLICENSED):
            return None
        rows = self._graph.document(response).get("value") or ()
        return read_policy([rule for row in rows for rule in _mapping(row.get("policy")).get("rules") or ()])

    async def held(self, principal_id: str, role_template_id: str) -> HeldRole | None:
        """See ``ports.Roles``. A direct assignment shows among the instances too, without an end.

        https://learn.microsoft.com/graph/api/rbacapplication-list-roleassignmentscheduleinstances
        """
        sdk, client = await self._graph.builders()
        builder = client.role_management.directory.role_assignment_schedule_instances
        condition = f"principalId eq '{principal_id}' and roleDefinitionId eq '{role_template_id}'"
        response = await self._graph.send(sdk.first_page(builder, filter=condition))
        if self._means(response, Reaction.UNLICENSED) and self._reads_assignments:
            return await self._held_directly(condition)
        return last_to_end(await self._graph.rest(builder, self._graph.document(response)))

    async def assign(self, wish: RoleWish, *, with_pim: bool) -> HeldRole:
        """See ``ports.Roles`` (https://learn.microsoft.com/graph/api/rbacapplication-post-roleassignmentschedulerequests).

        Without Privileged Identity Management: https://learn.microsoft.com/graph/api/rbacapplication-post-roleassignments.
        """
        if with_pim:
            return await self._request(ASSIGN, wish)
        _, client = await self._graph.builders()
        assignment = {"@odata.type": "#microsoft.graph.unifiedRoleAssignment", **_assignee(wish)}
        response = await self._post(client.role_management.directory.role_assignments, assignment)
        if response is None:
            return await self.held(wish.principal_id, wish.role_template_id) or HeldRole()
        return HeldRole()

    async def extend(self, wish: RoleWish) -> HeldRole:
        """See ``ports.Roles``.

        By ``adminExtend``: Microsoft's page about renewing assignments shows that very request for an active assignment, whose
        answer counts the duration from the request on, and keeps ``adminRenew`` for one that has ended. ``adminUpdate`` changes
        an assignment at any time, but no page shows what it needs. An assignment without an end is extended enough.
        https://learn.microsoft.com/entra/id-governance/privileged-identity-management/pim-how-to-renew-extend
        """
        return await self._request("adminExtend", wish)

    async def _request(self, action: str, wish: RoleWish) -> HeldRole:
        _, client = await self._graph.builders()
        builder = client.role_management.directory.role_assignment_schedule_requests
        response = await self._post(builder, self._schedule_request(action, wish))
        if response is None and action != ASSIGN:
            kept = problem("role_refused", raw=f"{action}: the role assignment already exists")
            raise RefusedError("Microsoft Graph does not extend the assignment", kept)
        row = {} if response is None else self._graph.document(response)
        if refused := errors.status_problem(str(row.get("status", ""))):
            raise refused
        found = read_request(row) or await self.held(wish.principal_id, wish.role_template_id)
        if found is None:
            raise NotYetError("The role is assigned, and Microsoft Graph does not show it yet")
        return found

    def _schedule_request(self, action: str, wish: RoleWish) -> dict[str, Any]:
        """A start that is past by the time the request arrives means at once, as the examples of Microsoft's pages show."""
        ticket = {"ticketNumber": wish.ticket_number, "ticketSystem": wish.ticket_system}
        lasting = {"type": "afterDuration", "duration": wish.duration} if wish.duration else {"type": "noExpiration"}
        return {
            "action": action,
            **_assignee(wish),
            "justification": wish.justification,
            "scheduleInfo": {"startDateTime": f"{self._clock():%Y-%m-%dT%H:%M:%SZ}", "expiration": lasting},
            **({"ticketInfo": ticket} if any(ticket.values()) else {}),
        }

    async def _post(self, builder: Any, body: Mapping[str, Any]) -> httpx.Response | None:
        """Post to a collection and return the answer; None where what it asks for is there already."""
        sdk, _ = await self._graph.builders()
        response = await self._graph.send(sdk.creation(builder, body))
        if self._means(response, Reaction.ALREADY):
            return None
        if response.status_code >= 400:
            raise self._graph.refusal(response)
        return response

    async def _held_directly(self, condition: str) -> HeldRole | None:
        """Where there is no Privileged Identity Management, an assignment has no end."""
        _, client = await self._graph.builders()
        return last_to_end(await self._graph.pages(client.role_management.directory.role_assignments, filter=condition))

    def _means(self, response: httpx.Response, reaction: Reaction) -> bool:
        return response.status_code >= 400 and self._graph.meaning(response) is reaction


def read_policy(rules: Sequence[Row]) -> RolePolicy:
    """Read the rules of Graph's ``unifiedRoleManagementPolicy`` that are about an active assignment by an administrator."""
    by_id = {str(rule.get("id")): rule for rule in rules}
    enabled = frozenset(_mapping(by_id.get(ENABLEMENT)).get("enabledRules") or ())
    expiration = _mapping(by_id.get(EXPIRATION))
    return RolePolicy(
        maximum_duration=str(expiration.get("maximumDuration") or "") if expiration.get("isExpirationRequired") else "",
        requires_justification="Justification" in enabled,
        requires_mfa="MultiFactorAuthentication" in enabled,
        requires_ticket="Ticketing" in enabled,
    )


def last_to_end(rows: Sequence[Row]) -> HeldRole | None:
    """Return the one that ends last, of assignments or instances of their schedules, that are for the whole tenant."""
    found = [
        HeldRole(ends_at=_time(row.get("endDateTime")), begins_at=_time(row.get("startDateTime")))
        for row in rows
        if row.get("directoryScopeId") == WHOLE_TENANT
    ]
    return max(found, key=lambda held: (held.ends_at is None, held.ends_at), default=None)


def read_request(row: Row) -> HeldRole | None:
    """Return what Graph's ``unifiedRoleAssignmentScheduleRequest`` assigns; None where it does not say until when."""
    schedule = _mapping(row.get("scheduleInfo"))
    expiration = _mapping(schedule.get("expiration"))
    begins_at = _time(schedule.get("startDateTime"))
    if str(expiration.get("type")).casefold() == "noexpiration":
        return HeldRole(begins_at=begins_at)
    ends_at = _time(expiration.get("endDateTime")) or _after(begins_at, expiration.get("duration"))
    return HeldRole(ends_at=ends_at, begins_at=begins_at) if ends_at else None


def _assignee(wish: RoleWish) -> dict[str, Any]:
    return {
        "roleDefinitionId": wish.role_template_id,
        "principalId": wish.principal_id,
        "directoryScopeId": WHOLE_TENANT,
    }


def _after(start: datetime | None, duration: object) -> datetime | None:
    """Return the end of an ISO 8601 duration; None where either can't be read."""
    try:
        return start + _DURATION.validate_python(duration) if start else None
    except ValidationError:
        return None


def _time(value: object) -> datetime | None:
    """Return a time as Graph writes it, in UTC (ISO 8601, up to seven digits of a second); None where there is none."""
    return _TIME.validate_python(value) if value else None


def _mapping(value: object) -> Row:
    return value if isinstance(value, Mapping) else {}
