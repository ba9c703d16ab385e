"""Assigning directory roles: one piece of code for Microsoft Graph and for the portal, so that both leave the same."""

from __future__ import annotations

import base64
from datetime import datetime, timedelta
from uuid import UUID

from local.microsoft365.model import Role, RoleAssignment, Tenant


class UnknownPrincipalError(LookupError):
    """Raised when the principal is not in the tenant, or has not spread yet; its argument is the id."""


class AlreadyAssignedError(ValueError):
    """Raised when the principal holds the role already."""


def assignment_id(role_id: str, principal_id: str) -> str:
    """Return the id of a tenant-wide assignment: both GUIDs' bytes in base64 for URLs, and `-1`.

    Read off the ids in the examples of learn.microsoft.com/graph/api/rbacapplication-list-roleassignments.
    """
    content = UUID(role_id).bytes_le + UUID(principal_id).bytes_le
    return f"{base64.urlsafe_b64encode(content).decode().rstrip('=')}-1"


def assign(tenant: Tenant, role: Role, principal_id: str, now: datetime, spreads_in: float) -> RoleAssignment:
    """Give a role, tenant-wide; tokens carry it `spreads_in` seconds after `now`.

    Raises UnknownPrincipalError or AlreadyAssignedError. The caller tells the store of the change.
    """
    if not _is_known(tenant, principal_id, now):
        raise UnknownPrincipalError(principal_id)
    if any(each.principal_id == principal_id for each in holders(tenant, role)):
        raise AlreadyAssignedError(principal_id)
    spread = now + timedelta(seconds=spreads_in)
    assignment = RoleAssignment(assignment_id(role.value, principal_id), role.value, principal_id, now, spread)
    tenant.role_assignments[assignment.id] = assignment
    return assignment


def holders(tenant: Tenant, role: Role) -> tuple[RoleAssignment, ...]:
    """Return the assignments of a role, the oldest first."""
    return tuple(each for each in tenant.role_assignments.values() if each.role_definition_id == role)


def take_back(tenant: Tenant, identifier: str) -> None:
    """Remove an assignment; raises KeyError when there is none. The caller tells the store of the change."""
    del tenant.role_assignments[identifier]


def _is_known(tenant: Tenant, principal_id: str, now: datetime) -> bool:
    principal = tenant.service_principals.get(principal_id)
    if principal is not None:
        return principal.visible_at <= now
    return principal_id in tenant.groups or tenant.users.get(principal_id) is not None
