"""Groups and their members."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from local.microsoft365.graph.collections import Position, Scan, accepted, entity, list_page, page, scan_sorted, selection
from local.microsoft365.graph.context import Answer, Context
from local.microsoft365.graph.errors import denied, not_found
from local.microsoft365.graph.shapes import GROUP, SERVICE_PRINCIPAL, USER, Column, Shape, row
from local.microsoft365.model import Group, ServicePrincipal, Tenant
from local.microsoft365.population import User

Member = User | Group | ServicePrincipal

# What a member of each type is written by, and the operation whose permission shows more than its type and id.
_MEMBER_SHAPES: dict[type[Member], tuple[Shape[Any], str]] = {
    User: (USER, "GET /users"),
    Group: (GROUP, "GET /groups"),
    ServicePrincipal: (SERVICE_PRINCIPAL, "GET /servicePrincipals"),
}


def list_groups(context: Context) -> Answer:
    """GET /groups (learn.microsoft.com/graph/api/group-list): 100 a page, up to 999 with `$top`."""
    return list_page(context, "groups", GROUP, scan_sorted(context.tenant.groups, context.tenant.groups.get))


def _group(context: Context) -> Group:
    identifier = context.key("group-id")
    group = context.tenant.groups.get(identifier.lower())
    if group is None:
        raise not_found(identifier)
    return group


def get_group(context: Context) -> Answer:
    """GET /groups/{id}; raises GraphError (404) when there is none."""
    return entity(context, "groups", GROUP, _group(context))


def _member(tenant: Tenant, identifier: str) -> Member | None:
    return tenant.groups.get(identifier) or tenant.service_principals.get(identifier) or tenant.users.get(identifier)


def _transitive(tenant: Tenant, group: Group) -> set[str]:
    """Return the ids of all members, nested ones included; groups may contain each other."""
    seen: set[str] = set()
    waiting = [group]
    while waiting:
        for identifier in waiting.pop().member_ids:
            if identifier not in seen:
                seen.add(identifier)
                if identifier in tenant.groups:
                    waiting.append(tenant.groups[identifier])
    return seen - {group.id}


def _scan(context: Context, *, transitive: bool) -> Scan[Member]:
    """Return a scan of a group's members; raises GraphError (403) for a hidden membership without Member.Read.Hidden."""
    group = _group(context)
    hidden = (group.visibility or "").lower() == "hiddenmembership"
    if hidden and "Member.Read.Hidden" not in context.token.roles | context.token.scopes:
        raise denied()
    tenant = context.tenant
    ids = _transitive(tenant, group) if transitive else frozenset(group.member_ids)
    return scan_sorted(ids, lambda identifier: _member(tenant, identifier))


def _columns(context: Context, shape: Shape[Any], operation: str) -> tuple[Column, ...]:
    """Return what is written of a member: only its id when the caller may not read its type.

    "Limited information returned for inaccessible member objects", learn.microsoft.com/graph/permissions-overview.
    """
    visible = context.visible(shape.name, operation)
    wanted = tuple(name for name in context.query.select if name in shape.properties)
    if context.query.select and not wanted:
        return ()
    return shape.columns(wanted, visible if visible is None else visible | {"id"})


def _list_members(context: Context, *, transitive: bool) -> Answer:
    columns = {kind: _columns(context, shape, operation) for kind, (shape, operation) in _MEMBER_SHAPES.items()}

    def write(member: Member) -> dict[str, Any]:
        shape, _ = _MEMBER_SHAPES[type(member)]
        return {"@odata.type": shape.annotation, **row(columns[type(member)], member)}

    return page(context, "directoryObjects" + selection(context), _scan(context, transitive=transitive), write)


def _list_user_members(context: Context, *, transitive: bool) -> Answer:
    columns = USER.columns(context.query.select, context.visible("user", "GET /users"))
    members = _scan(context, transitive=transitive)

    def users(start: Position) -> Iterator[tuple[Position, User]]:
        return ((position, member) for position, member in members(start) if isinstance(member, User))

    def keep(found: Iterable[tuple[Position, User]]) -> Iterator[tuple[Position, User]]:
        return accepted(context, USER, found)

    return page(context, "users" + selection(context), users, lambda user: row(columns, user), keep=keep)


def list_members(context: Context) -> Answer:
    """GET /groups/{id}/members: users, groups and service principals, each with its type."""
    return _list_members(context, transitive=False)


def list_transitive_members(context: Context) -> Answer:
    """GET /groups/{id}/transitiveMembers: nested ones as well, each once."""
    return _list_members(context, transitive=True)


def list_user_members(context: Context) -> Answer:
    """GET /groups/{id}/members/microsoft.graph.user: the users among the members."""
    return _list_user_members(context, transitive=False)


def list_transitive_user_members(context: Context) -> Answer:
    """GET /groups/{id}/transitiveMembers/microsoft.graph.user: the users among all members."""
    return _list_user_members(context, transitive=True)
