"""Every change of users and groups, with its entry in the journal: what really changed, by Graph's names.

Delta queries are answered from the journal, so nothing else may put, change or remove a user or a group. An entry is made
only for what Graph shows: a group whose Exchange settings changed has none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from local.microsoft365.model import CREATED, DELETED, REMOVED, Group, MemberChange, Tenant
from local.microsoft365.naming import camel_case
from local.microsoft365.population import User

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_NOT_GRAPHS = frozenset({"mailbox", "home_account", "exchange", "member_ids", "owner_ids"})
_FIELDS = {
    kind: tuple((each.name, camel_case(each.name)) for each in fields(kind) if each.name not in _NOT_GRAPHS)
    for kind in (User, Group)
}
Item = TypeVar("Item", bound="DataclassInstance")
MEMBERS = "members"
"""Stands in the journal for the members of a group."""


def _differing(former: User | Group, present: User | Group) -> tuple[str, ...]:
    names = _FIELDS[type(present)]
    return tuple(graph for name, graph in names if getattr(former, name) != getattr(present, name))


def with_properties(item: Item, properties: Mapping[str, Any]) -> Item:
    """An object with other properties, by Graph's names; raises ValueError for one that it doesn't have."""
    names = {camel_case(each.name): each.name for each in fields(item)}
    unknown = sorted(set(properties) - set(names))
    if unknown:
        raise ValueError(f"no such property: {', '.join(unknown)}; there are {', '.join(sorted(names))}")
    values: dict[str, Any] = {
        names[name]: tuple(value) if isinstance(value, list) else value for name, value in properties.items()
    }
    return replace(item, **values)


def put_user(tenant: Tenant, user: User, now: datetime) -> None:
    """Add a user, or put it in the place of the one with its id."""
    former = tenant.users.get(user.id)
    tenant.users.put(user)
    changed = (CREATED,) if former is None else _differing(former, user)
    if changed:
        tenant.record_change(now, "user", user.id, *changed)


def remove_user(tenant: Tenant, identifier: str, now: datetime, *, for_good: bool = False) -> None:
    """Remove a user, who leaves every group; raises KeyError when there is none.

    For good, also one that was removed before: it cannot be restored any more.
    """
    tenant.users.remove(identifier, for_good=for_good)
    forget_member(tenant, identifier, "user", now)
    tenant.record_change(now, "user", identifier, DELETED if for_good else REMOVED)


def restore_user(tenant: Tenant, identifier: str, now: datetime) -> User:
    """Bring a removed user back, into no group; raises KeyError when it is not there to be restored."""
    user = tenant.users.deleted[identifier]
    put_user(tenant, user, now)
    return user


def put_group(tenant: Tenant, group: Group, now: datetime) -> None:
    """Add a group, or put it in the place of the one with its id."""
    former = tenant.groups.get(group.id)
    tenant.groups[group.id] = group
    tenant.deleted_groups.pop(group.id, None)
    members = _member_changes(tenant, former.member_ids if former is not None else (), group.member_ids)
    if former is None:
        tenant.record_change(now, "group", group.id, CREATED, members=members)
        return
    changed = (*_differing(former, group), *((MEMBERS,) if members else ()))
    if changed:
        tenant.record_change(now, "group", group.id, *changed, members=members)


def remove_group(tenant: Tenant, identifier: str, now: datetime, *, for_good: bool | None = None) -> None:
    """Remove a group, which leaves every group; raises KeyError when there is none.

    Only a Microsoft 365 group can be restored (learn.microsoft.com/graph/api/group-delete), unless it is removed for good.
    """
    group = tenant.groups.get(identifier) or tenant.deleted_groups[identifier]
    lost = "Unified" not in group.group_types if for_good is None else for_good
    tenant.groups.pop(identifier, None)
    tenant.deleted_groups.pop(identifier, None)
    if not lost:
        tenant.deleted_groups[identifier] = group
    forget_member(tenant, identifier, "group", now)
    tenant.record_change(now, "group", identifier, DELETED if lost else REMOVED)


def restore_group(tenant: Tenant, identifier: str, now: datetime) -> Group:
    """Bring a removed group back with those of its members who are still there; raises KeyError when it is not there."""
    group = tenant.deleted_groups[identifier]
    present = tuple(each for each in group.member_ids if _exists(tenant, each))
    put_group(tenant, replace(group, member_ids=present), now)
    return tenant.groups[identifier]


def change_members(tenant: Tenant, group: Group, now: datetime, *, add: Iterable[str] = (), remove: Collection[str] = ()) -> None:
    """Put members, by id, into a group at its end and take others out; who is in or out already stays so."""
    leaving = frozenset(remove)
    kept = tuple(each for each in group.member_ids if each not in leaving) if leaving else group.member_ids
    known = frozenset(kept)
    joining = tuple(each for each in dict.fromkeys(add) if each not in known)
    put_group(tenant, replace(group, member_ids=(*kept, *joining)), now)


def forget_member(tenant: Tenant, identifier: str, kind: str, now: datetime) -> None:
    """Take what is no longer there out of every group."""
    for key, group in list(tenant.groups.items()):
        if identifier in group.member_ids:
            kept = tuple(each for each in group.member_ids if each != identifier)
            tenant.groups[key] = replace(group, member_ids=kept)
            gone = (MemberChange(identifier, kind, is_removed=True),)
            tenant.record_change(now, "group", key, MEMBERS, members=gone)


def member_kind(tenant: Tenant, identifier: str) -> str:
    """What a member is: `group`, `servicePrincipal`, and otherwise `user`."""
    if identifier in tenant.groups or identifier in tenant.deleted_groups:
        return "group"
    return "servicePrincipal" if identifier in tenant.service_principals else "user"


def _exists(tenant: Tenant, identifier: str) -> bool:
    known = identifier in tenant.groups or identifier in tenant.service_principals
    return known or tenant.users.get(identifier) is not None


def _member_changes(tenant: Tenant, former: tuple[str, ...], present: tuple[str, ...]) -> tuple[MemberChange, ...]:
    if former == present:
        return ()
    before, after = frozenset(former), frozenset(present)
    joined = (MemberChange(each, member_kind(tenant, each)) for each in present if each not in before)
    left = (MemberChange(each, member_kind(tenant, each), is_removed=True) for each in former if each not in after)
    return (*joined, *left)
