"""The operations that the simulated Graph has, and how a path finds its operation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from local.microsoft365.graph import applications, delta, groups, organizations, policies, roles, schedules, users
from local.microsoft365.graph.context import Handler
from local.microsoft365.graph.errors import GraphError, malformed
from local.microsoft365.naming import canonical_path

_ROLES = "/roleManagement/directory"
_REQUEST = schedules.REQUEST_KEY
_DELTA = "/delta"


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path template, as Microsoft's OpenAPI description names it; `cost` is in resource units.

    Costs: learn.microsoft.com/graph/throttling-limits, "Identity and access service limits".
    """

    method: str
    template: str
    handler: Handler
    cost: int = 1
    is_pim: bool = False
    """Whether the call belongs to Privileged Identity Management, which refuses in its own form."""

    @property
    def name(self) -> str:
        """The key in the table of permissions."""
        return f"{self.method} {self.template}"

    @property
    def is_delta(self) -> bool:
        """Whether it is a delta function."""
        return self.template.endswith(_DELTA)

    @property
    def writes(self) -> bool:
        """Whether the tenant is changed."""
        return self.method != "GET"


def _get(template: str, handler: Handler, cost: int = 1) -> Operation:
    return Operation("GET", template, handler, cost)


def _pim(method: str, template: str, handler: Handler) -> Operation:
    return Operation(method, template, schedules.licensed(handler), is_pim=True)


OPERATIONS = (
    _get("/organization", organizations.list_organizations),
    _get("/organization/{organization-id}", organizations.get_organization),
    _get("/domains", organizations.list_domains),
    _get("/domains/{domain-id}", organizations.get_domain),
    _get("/domains/{domain-id}/serviceConfigurationRecords", organizations.list_service_records),
    _get("/subscribedSkus", organizations.list_subscribed_skus, 3),
    _get("/users", users.list_users, 2),
    _get("/users/delta", delta.user_changes),
    _get("/users/{user-id}", users.get_user),
    _get("/groups", groups.list_groups),
    _get("/groups/delta", delta.group_changes),
    _get("/groups/{group-id}", groups.get_group),
    _get("/groups/{group-id}/members", groups.list_members, 3),
    _get("/groups/{group-id}/members/microsoft.graph.user", groups.list_user_members, 3),
    _get("/groups/{group-id}/transitiveMembers", groups.list_transitive_members, 5),
    _get("/groups/{group-id}/transitiveMembers/microsoft.graph.user", groups.list_transitive_user_members, 5),
    _get("/servicePrincipals", applications.list_service_principals),
    _get("/servicePrincipals(appId='{appId}')", applications.get_service_principal_by_application),
    _get("/servicePrincipals/{servicePrincipal-id}", applications.get_service_principal),
    _get("/servicePrincipals/{servicePrincipal-id}/appRoleAssignments", applications.list_app_role_assignments, 2),
    _get("/servicePrincipals/{servicePrincipal-id}/appRoleAssignedTo", applications.list_app_role_assigned_to),
    _get("/servicePrincipals/{servicePrincipal-id}/oauth2PermissionGrants", applications.list_permission_grants_of),
    _get("/oauth2PermissionGrants", applications.list_permission_grants, 2),
    _get("/oauth2PermissionGrants/{oAuth2PermissionGrant-id}", applications.get_permission_grant),
    _get(f"{_ROLES}/roleDefinitions", roles.list_definitions),
    _get(f"{_ROLES}/roleDefinitions/{{unifiedRoleDefinition-id}}", roles.get_definition),
    _get(f"{_ROLES}/roleAssignments", roles.list_assignments),
    _get(f"{_ROLES}/roleAssignments/{{unifiedRoleAssignment-id}}", roles.get_assignment),
    Operation("POST", f"{_ROLES}/roleAssignments", roles.create_assignment),
    Operation("DELETE", f"{_ROLES}/roleAssignments/{{unifiedRoleAssignment-id}}", roles.delete_assignment),
    _pim("GET", f"{_ROLES}/roleAssignmentSchedules", schedules.list_schedules),
    _pim("GET", f"{_ROLES}/roleAssignmentScheduleInstances", schedules.list_instances),
    _pim("GET", f"{_ROLES}/roleAssignmentScheduleRequests", schedules.list_requests),
    _pim("POST", f"{_ROLES}/roleAssignmentScheduleRequests", schedules.create_request),
    _pim("GET", f"{_ROLES}/roleAssignmentScheduleRequests/{{{_REQUEST}}}", schedules.get_request),
    _pim("POST", f"{_ROLES}/roleAssignmentScheduleRequests/{{{_REQUEST}}}/cancel", schedules.cancel),
    _pim("GET", f"{_ROLES}/roleEligibilitySchedules", schedules.list_eligibility_schedules),
    _pim("GET", f"{_ROLES}/roleEligibilityScheduleInstances", schedules.list_eligibilities),
    _pim("GET", f"{_ROLES}/roleEligibilityScheduleRequests", schedules.list_eligibility_requests),
    _pim("POST", f"{_ROLES}/roleEligibilityScheduleRequests", schedules.create_eligibility_request),
    _pim("GET", "/policies/roleManagementPolicies", policies.list_policies),
    _pim("GET", "/policies/roleManagementPolicyAssignments", policies.list_policy_assignments),
)


@dataclass(frozen=True, slots=True)
class Match:
    """An operation, and the values in the path by their names in its template."""

    operation: Operation
    keys: Mapping[str, str]


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], tuple[str, ...], Mapping[str, Operation]], ...]:
    """Return each template's pattern, key names and operations by method.

    A key is never a function (`delta()`), the functions that may be called without parentheses (`delta`), or `$count`.
    """
    templates = dict.fromkeys(operation.template for operation in OPERATIONS)
    rows = []
    for template in templates:
        parts = re.split(r"\{([^}]+)\}", template)
        pattern = "".join(r"((?!delta$|\$)[^/()']+)" if index % 2 else re.escape(part) for index, part in enumerate(parts))
        methods = {operation.method: operation for operation in OPERATIONS if operation.template == template}
        rows.append((re.compile(pattern, re.IGNORECASE), tuple(parts[1::2]), methods))
    return tuple(rows)


def find_operation(method: str, path: str) -> Match:
    """Return the operation of a decoded path after `/v1.0`.

    Raises GraphError: 400 for a path that has none, 405 for a method that the path doesn't have.
    """
    asked = canonical_path(path)
    for pattern, names, methods in _patterns():
        match = pattern.fullmatch(asked)
        if match is None:
            continue
        if method not in methods:
            raise GraphError(405, "Request_BadRequest", "Specified HTTP method is not allowed for the request target.")
        return Match(methods[method], dict(zip(names, match.groups(), strict=True)))
    raise malformed(f"Resource not found for the segment '{_unknown_segment(path)}'.")


def _unknown_segment(path: str) -> str:
    """Return the first segment that continues no template."""
    segments = path.strip("/").split("/")
    literals = {segment.lower() for operation in OPERATIONS for segment in operation.template.split("/")}
    first_known = segments[0].partition("(")[0].lower() in {literal.partition("(")[0] for literal in literals}
    if not first_known:
        return segments[0]
    unknown = [segment for segment in segments[1:] if segment.lower() not in literals]
    return unknown[-1] if unknown else segments[-1]


def resource_units(method: str, path: str, query: Mapping[str, str]) -> int:
    """Return what a request costs in resource units, by its decoded path after `/v1.0`; at least 1.

    `$select` saves one, a `$top` below 20 saves one, `$expand` costs one more.
    """
    try:
        cost = find_operation(method, path).operation.cost
    except GraphError:
        return 1
    top = query.get("$top", "")
    saved = ("$select" in query) + (top.isdigit() and int(top) < 20)
    return max(1, cost - saved + ("$expand" in query))
