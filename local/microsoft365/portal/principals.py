"""The users, groups and service principals of a tenant as the portal lists and finds them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from local.microsoft365.model import ServicePrincipal, Tenant
from local.microsoft365.population import User

_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Principal:
    """One line of a list."""

    id: str
    name: str
    kind: str
    identifier: str
    """A user's name to sign in with, a service principal's application id."""


def principal(tenant: Tenant, identifier: str) -> Principal:
    """Return the principal with this object id; one that is gone is shown by its id."""
    service = tenant.service_principals.get(identifier)
    if service is not None:
        return _service(service)
    group = tenant.groups.get(identifier)
    if group is not None:
        return Principal(group.id, group.display_name, "Group", group.mail or "")
    user = tenant.users.get(identifier)
    return _user(user) if user is not None else Principal(identifier, "Identity not found", "Unknown", identifier)


def find_principals(tenant: Tenant, text: str, now: datetime) -> Iterator[Principal]:
    """Return the users and service principals that a search finds.

    A GUID finds the principal with that object id or application id and nothing else; any other text finds the names
    that begin with it, whatever the case. Service principals come first, and only once their consent has spread.
    """
    wanted = text.casefold()
    services = (each for each in tenant.service_principals.values() if each.visible_at <= now)
    if _GUID.fullmatch(wanted):
        yield from (_service(each) for each in services if wanted in (each.id, each.app_id))
        user = tenant.users.get(wanted)
        yield from [_user(user)] if user is not None else []
        return
    yield from (_service(each) for each in services if each.display_name.casefold().startswith(wanted))
    yield from (_user(each) for each in tenant.users if _begins(each, wanted))


def _begins(user: User, wanted: str) -> bool:
    return any(name.casefold().startswith(wanted) for name in (user.display_name, user.user_principal_name))


def _service(service: ServicePrincipal) -> Principal:
    return Principal(service.id, service.display_name, "Service principal", service.app_id)


def _user(user: User) -> Principal:
    return Principal(user.id, user.display_name, "User", user.user_principal_name)
