"""Changes behind everybody's back: what an administrator of the tenant, or an attacker, may do at any moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from local.microsoft365 import exchange
from local.microsoft365.changes import forget_member, put_group, put_user, remove_group, remove_user, with_properties
from local.microsoft365.faults import Tampering
from local.microsoft365.model import Tenant


class TamperError(ValueError):
    """Raised when there is nothing of that name to change, or the change names a property that is not there."""


def tamper(tenant: Tenant, change: Tampering, now: datetime) -> None:
    """Apply a change to a tenant. Raises TamperError."""
    if [change.change is not None, change.add is not None, change.remove].count(True) != 1:
        raise TamperError("say one of change, add and remove")
    if change.add is not None:
        _add_to_exchange(tenant, change.noun, change.add)
    elif change.noun == "user":
        _tamper_user(tenant, change, now)
    elif change.noun in _COLLECTIONS:
        _tamper_object(tenant, change, now)
    else:
        _tamper_exchange(tenant, change)


def _add_to_exchange(tenant: Tenant, noun: str, properties: Mapping[str, Any]) -> None:
    try:
        exchange.add(tenant, noun, properties)
    except KeyError as error:
        raise TamperError(f"no {noun} can be added: a cmdlet noun and a Name are needed") from error


def _tamper_exchange(tenant: Tenant, change: Tampering) -> None:
    try:
        exchange.tamper(tenant, change.noun, change.identity, change.change)
    except KeyError as error:
        raise TamperError(f"no {change.noun} named {change.identity}") from error


def _tamper_user(tenant: Tenant, change: Tampering, now: datetime) -> None:
    user = tenant.users.find(change.identity)
    if user is None:
        raise TamperError(f"no user named {change.identity}")
    if change.change is None:
        remove_user(tenant, user.id, now)
    else:
        put_user(tenant, _changed(user, change.change), now)


def _tamper_object(tenant: Tenant, change: Tampering, now: datetime) -> None:
    collection: dict[str, Any] = getattr(tenant, _COLLECTIONS[change.noun])
    keys = [key for key, item in collection.items() if _is_named(tenant, key, item, change.identity)]
    if not keys:
        raise TamperError(f"no {change.noun} named {change.identity}")
    if change.noun == "domain" and tenant.initial_domain in keys:
        # Nobody can do this in a real tenant either: the initial domain stays for good.
        raise TamperError("the initial domain can be neither changed nor removed")
    for key in keys:
        if change.change is None:
            _REMOVERS.get(change.noun, _forget)(tenant, collection, key, now)
        elif change.noun == "group":
            put_group(tenant, _changed(collection[key], change.change), now)
        else:
            collection[key] = _changed(collection[key], change.change)


def _is_named(tenant: Tenant, key: str, item: Any, identity: str) -> bool:
    """Whether an object is meant: by its key, its names, or by the principal or client that it belongs to."""
    principal = tenant.service_principal_of(identity)
    names = {key, *(getattr(item, name, None) for name in _NAMING_FIELDS)}
    return identity in names or (principal is not None and principal.id in names)


def _changed(item: Any, change: Mapping[str, Any]) -> Any:
    try:
        return with_properties(item, change)
    except ValueError as error:
        raise TamperError(str(error)) from error


def _forget_principal(tenant: Tenant, identifier: str) -> None:
    """Deleting a service principal deletes its grants and assignments with it (Graph: DELETE /servicePrincipals/{id})."""
    for collection, owners in (
        (tenant.app_role_assignments, ("principal_id", "resource_id")),
        (tenant.oauth2_permission_grants, ("client_id", "resource_id")),
        (tenant.role_assignments, ("principal_id",)),
        (tenant.role_eligibilities, ("principal_id",)),
    ):
        for key in [key for key, item in collection.items() if identifier in {getattr(item, owner) for owner in owners}]:
            del collection[key]


def _forget(_tenant: Tenant, collection: dict[str, Any], key: str, _now: datetime) -> None:
    """Most removals leave nothing else behind."""
    del collection[key]


def _forget_service_principal(tenant: Tenant, collection: dict[str, Any], key: str, now: datetime) -> None:
    del collection[key]
    _forget_principal(tenant, key)
    forget_member(tenant, key, "servicePrincipal", now)


def _forget_group(tenant: Tenant, _collection: dict[str, Any], key: str, now: datetime) -> None:
    remove_group(tenant, key, now)


_COLLECTIONS = {
    "group": "groups",
    "domain": "domains",
    "servicePrincipal": "service_principals",
    "roleAssignment": "role_assignments",
    "roleEligibility": "role_eligibilities",
    "appRoleAssignment": "app_role_assignments",
    "oauth2PermissionGrant": "oauth2_permission_grants",
}
_NAMING_FIELDS = ("app_id", "display_name", "mail", "principal_id", "client_id", "app_role_id")
_REMOVERS: dict[str, Callable[[Tenant, dict[str, Any], str, datetime], None]] = {
    "servicePrincipal": _forget_service_principal,
    "group": _forget_group,
}
