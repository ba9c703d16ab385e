"""Reads the `scope` parameter: which permissions of which resources are asked for.

Source: entra-docs, identity-platform/scopes-oidc.md; `.default` asks for everything that is registered, for all
resources, and does not go with named scopes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from local.microsoft365.catalogue import GRAPH, Permission, Resource, resource_named, resources
from local.microsoft365.identity.errors import IdentityError
from local.microsoft365.model import Registration

OPENID_SCOPES = frozenset({"openid", "profile", "email", "offline_access"})
_DEFAULT = ".default"


@dataclass(frozen=True, slots=True)
class Asked:
    """One permission of one resource."""

    resource: Resource
    permission: Permission


@dataclass(frozen=True, slots=True)
class Request:
    """What a scope parameter asks for."""

    permissions: tuple[Asked, ...]
    is_default: bool
    """Whether it was asked for as `.default`: everything registered."""
    texts: tuple[str, ...]
    """The scope parameter, split."""

    def of_kind(self, kind: str) -> tuple[Asked, ...]:
        """The asked permissions of a kind, `Role` or `Scope`."""
        return tuple(each for each in self.permissions if each.permission.kind == kind)

    @property
    def token_resource(self) -> Resource:
        """The resource of the access token: that of the scopes, Graph where they are OpenID's only. Raises IdentityError."""
        named = {resource_of(text).app_id for text in self.texts if text not in OPENID_SCOPES}
        if len(named) > 1:
            raise IdentityError(28000, scope=" ".join(self.texts))
        return resources()[next(iter(named), GRAPH)]


def registered(registration: Registration) -> tuple[Asked, ...]:
    """Every permission that a registration lists; ids that the catalogue does not know are left out."""
    found: list[Asked] = []
    for required in registration.required_permissions:
        resource = resources().get(required.resource_app_id)
        permission = resource.by_id(required.id, required.kind) if resource else None
        if resource and permission:
            found.append(Asked(resource, permission))
    return tuple(found)


def read_scope(text: str, registration: Registration) -> Request:
    """The permissions that `text` asks for. Raises IdentityError: 70011 (form), 650053 (unknown), 500011 (resource)."""
    texts = tuple(text.split())
    named = [each for each in texts if each not in OPENID_SCOPES]
    defaults = [each for each in named if each.endswith(f"/{_DEFAULT}") or each == _DEFAULT]
    if defaults and len(defaults) != len(named):
        raise IdentityError(70011, scope=text)
    for default in defaults:
        resource_of(default)
    openid = [_named(each, registration) for each in texts if each in OPENID_SCOPES]
    asked = registered(registration) if defaults else tuple(_named(each, registration) for each in named)
    return Request((*openid, *asked), bool(defaults), texts)


def resource_of(text: str) -> Resource:
    """The resource of one scope text; without a resource it is Graph's. Raises IdentityError 500011."""
    identifier, separator, _ = text.rpartition("/")
    if not separator:
        return resources()[GRAPH]
    resource = resource_named(identifier)
    if resource is None:
        raise IdentityError(500011, resource=identifier, tenant="the tenant")
    return resource


def _named(text: str, registration: Registration) -> Asked:
    resource = resource_of(text)
    value = text.rpartition("/")[2]
    permission = resource.by_value(value, "Scope")
    if permission is None:
        raise IdentityError(650053, app_name=registration.display_name, scope=value, resource=resource.app_id)
    return Asked(resource, permission)


def scope_texts(asked: Iterable[Asked]) -> str:
    """Delegated permissions as a token's `scp` has them: names only, space separated."""
    return " ".join(each.permission.value for each in asked)
