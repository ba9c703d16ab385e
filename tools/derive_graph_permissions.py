"""Derive the simulated tenant's table of Graph permissions from Microsoft's permission data.

Reads `permissions-slice.json` (microsoft-graph-devx-content, permissions/new) and writes, for each operation that the
simulation has, the application and delegated permissions that work. Where Microsoft's own pages say something else, the
page is followed, and the difference stands under `departures` with its reason.

    python tools/derive_graph_permissions.py ../shared/contracts/permissions-slice.json \
        local/microsoft365/graph/permissions.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

OPERATIONS = (
    "GET /organization",
    "GET /organization/{organization-id}",
    "GET /domains",
    "GET /domains/{domain-id}",
    "GET /domains/{domain-id}/serviceConfigurationRecords",
    "GET /users",
    "GET /users/delta",
    "GET /users/{user-id}",
    "GET /groups",
    "GET /groups/delta",
    "GET /groups/{group-id}",
    "GET /groups/{group-id}/members",
    "GET /groups/{group-id}/members/microsoft.graph.user",
    "GET /groups/{group-id}/transitiveMembers",
    "GET /groups/{group-id}/transitiveMembers/microsoft.graph.user",
    "GET /servicePrincipals",
    "GET /servicePrincipals(appId='{appId}')",
    "GET /servicePrincipals/{servicePrincipal-id}",
    "GET /servicePrincipals/{servicePrincipal-id}/appRoleAssignments",
    "GET /servicePrincipals/{servicePrincipal-id}/appRoleAssignedTo",
    "GET /servicePrincipals/{servicePrincipal-id}/oauth2PermissionGrants",
    "GET /oauth2PermissionGrants",
    "GET /oauth2PermissionGrants/{oAuth2PermissionGrant-id}",
    "GET /subscribedSkus",
    "GET /roleManagement/directory/roleDefinitions",
    "GET /roleManagement/directory/roleDefinitions/{unifiedRoleDefinition-id}",
    "GET /roleManagement/directory/roleAssignments",
    "GET /roleManagement/directory/roleAssignments/{unifiedRoleAssignment-id}",
    "POST /roleManagement/directory/roleAssignments",
    "DELETE /roleManagement/directory/roleAssignments/{unifiedRoleAssignment-id}",
    "GET /roleManagement/directory/roleAssignmentSchedules",
    "GET /roleManagement/directory/roleAssignmentScheduleInstances",
    "GET /roleManagement/directory/roleAssignmentScheduleRequests",
    "POST /roleManagement/directory/roleAssignmentScheduleRequests",
    "GET /roleManagement/directory/roleAssignmentScheduleRequests/{unifiedRoleAssignmentScheduleRequest-id}",
    "POST /roleManagement/directory/roleAssignmentScheduleRequests/{unifiedRoleAssignmentScheduleRequest-id}/cancel",
    "GET /roleManagement/directory/roleEligibilitySchedules",
    "GET /roleManagement/directory/roleEligibilityScheduleInstances",
    "GET /roleManagement/directory/roleEligibilityScheduleRequests",
    "POST /roleManagement/directory/roleEligibilityScheduleRequests",
    "GET /policies/roleManagementPolicies",
    "GET /policies/roleManagementPolicyAssignments",
)

_ORGANIZATION = ["Directory.Read.All", "Directory.ReadWrite.All", "Organization.Read.All", "Organization.ReadWrite.All"]
_ORGANIZATION_REASON = (
    "The data lists device management permissions, and User.Read.All for applications; the pages organization-list and "
    "organization-get (learn.microsoft.com/graph/api) list these only, and are followed because they refuse more."
)
_CAST_REASON = "The data has no row for the cast; it filters the same collection, so that collection's row is used."

DEPARTURES: Mapping[str, Mapping[str, Any]] = {
    "GET /organization": {
        "application": _ORGANIZATION,
        "delegated": [*_ORGANIZATION, "User.Read"],
        "reason": _ORGANIZATION_REASON,
    },
    "GET /organization/{organization-id}": {
        "application": _ORGANIZATION,
        "delegated": [*_ORGANIZATION, "User.Read"],
        "reason": _ORGANIZATION_REASON,
    },
    "GET /domains/{domain-id}/serviceConfigurationRecords": {
        "application": ["Domain.Read.All", "Domain.ReadWrite.All"],
        "delegated": ["Domain.Read.All", "Domain.ReadWrite.All"],
        "reason": "The data has no row; learn.microsoft.com/graph/api/domain-list-serviceconfigurationrecords lists these.",
    },
    "GET /groups/{group-id}/members/microsoft.graph.user": {
        "same_as": "GET /groups/{group-id}/members",
        "reason": _CAST_REASON,
    },
    "GET /groups/{group-id}/transitiveMembers/microsoft.graph.user": {
        "same_as": "GET /groups/{group-id}/transitiveMembers",
        "reason": _CAST_REASON,
    },
}

# Permissions that show only some properties. User.ReadBasic.All: permissions-reference ("display name, first and last
# name, email address, open extensions, and photo"); User.Read of an organization: learn.microsoft.com organization-get.
VISIBLE = {
    "user": {
        "User.ReadBasic.All": ["id", "displayName", "givenName", "surname", "mail", "userPrincipalName", "userType"],
    },
    "organization": {"User.Read": ["id", "displayName", "verifiedDomains"]},
}

_PRIVILEGED_ROLE_ADMINISTRATOR, _GLOBAL_ADMINISTRATOR = (
    "e8611ab8-c189-46e8-94e1-60213ab1f814",
    "62e90394-69f5-4237-9190-012177145e10",
)
_ASSIGNERS = [_PRIVILEGED_ROLE_ADMINISTRATOR, _GLOBAL_ADMINISTRATOR]
_READERS = [
    *_ASSIGNERS,
    "f2ef992c-3afb-46b9-b7cf-a126ee74c451",  # Global Reader
    "5f2222b1-57c3-48ba-8ad5-d4759f1fde6f",  # Security Operator
    "5d6b6bb7-de71-4623-b4af-96380a352509",  # Security Reader
    "194ae4cb-b126-40b2-bd5b-6091b380977d",  # Security Administrator
]

# Directory roles without which a signed-in person's consent to an application does not suffice (learn.microsoft.com
# rbacapplication-post-roleassignments, unifiedroleassignment-delete, rbacapplication-post-roleassignmentschedulerequests and
# its neighbours, policyroot-list-rolemanagementpolicyassignments).
DELEGATED_ROLES = {
    "POST /roleManagement/directory/roleAssignments": _ASSIGNERS,
    "DELETE /roleManagement/directory/roleAssignments/{unifiedRoleAssignment-id}": _ASSIGNERS,
    **{
        operation: _READERS if operation.startswith("GET ") else _ASSIGNERS
        for operation in OPERATIONS
        if "Schedule" in operation or "/policies/" in operation
    },
}


def permissions_of(operation: str, data: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the permissions that work for an operation: Microsoft's data, or the departure from it."""
    departure = DEPARTURES.get(operation, {})
    if "application" in departure:
        return {kind: sorted(departure[kind]) for kind in ("application", "delegated")}
    schemes = data["operations"][departure.get("same_as", operation)]["schemes"]
    return {
        "application": sorted(schemes.get("Application", {}).get("all", [])),
        "delegated": sorted(schemes.get("DelegatedWork", {}).get("all", [])),
    }


def table(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the whole table."""
    return {
        "source": data["source"],
        "derived_by": "tools/derive_graph_permissions.py",
        "operations": {operation: permissions_of(operation, data) for operation in OPERATIONS},
        "departures": {operation: departure["reason"] for operation, departure in DEPARTURES.items()},
        "visible": VISIBLE,
        "delegated_roles": DELEGATED_ROLES,
    }


def main(source: str, target: str) -> None:
    """Read Microsoft's data at `source` and write the table to `target`."""
    data = json.loads(Path(source).read_text(encoding="utf-8"))
    Path(target).write_text(json.dumps(table(data), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:3])
