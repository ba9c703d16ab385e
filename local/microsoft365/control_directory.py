"""The part of the control interface that changes many users and groups at once, and ends delta tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aiohttp import web
from pydantic import TypeAdapter

from local.microsoft365.changes import (
    change_members,
    put_group,
    put_user,
    remove_group,
    remove_user,
    restore_group,
    restore_user,
    with_properties,
)
from local.microsoft365.model import Group, Tenant
from local.microsoft365.population import User
from local.microsoft365.simulation import Simulation


@dataclass(frozen=True, slots=True)
class MembersChange:
    """Who comes into a group and who leaves it, by id or name."""

    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ObjectChange:
    """One change of a user or a group: exactly one of `add`, `change`, `members`, `remove` and `restore`."""

    noun: str
    """`user` or `group`."""
    identity: str = ""
    """An id or a name; to restore, or to remove for good what was removed before, an id."""
    position: int | None = None
    """In the place of an identity: the user at this position of the tenant, from 0."""
    add: Mapping[str, Any] | None = None
    """Properties of a new object by Graph's names."""
    change: Mapping[str, Any] | None = None
    """Properties by Graph's names."""
    members: MembersChange | None = None
    """Of a group."""
    remove: bool = False
    for_good: bool = False
    """Remove it so that it cannot be restored."""
    restore: bool = False


@dataclass(frozen=True, slots=True)
class DirectoryChanges:
    """Body of `POST /_control/directory-changes`."""

    changes: tuple[ObjectChange, ...]
    tenant: str | None = None
    """None: the default one."""


_CHANGES = TypeAdapter(DirectoryChanges)


class DirectoryControl:
    """Answers control requests about users, groups and delta tokens; raises ValueError when one makes no sense."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation

    def table(self) -> tuple[tuple[str, str, Callable[[web.Request], Any]], ...]:
        """Methods, paths and handlers."""
        return (
            ("POST", "directory-changes", self.change),
            ("DELETE", "tenants/{tenant}/delta-tokens", self.expire_delta_tokens),
        )

    async def change(self, request: web.Request) -> dict[str, Any]:
        """POST directory-changes: change many objects, one after the other; the answer names them in the same order.

        The tenant is remembered once, however many they are. Where one makes no sense, those before it stay.
        """
        wanted = _CHANGES.validate_json(await request.read(), extra="forbid")
        tenant, now = self._tenant(wanted.tenant), self._simulation.clock.now()
        ids: list[str] = []
        try:
            for each in wanted.changes:
                identifier = _apply(tenant, each, now)
                ids.append(identifier)
        except (KeyError, ValueError) as error:
            raise ValueError(f"changes[{len(ids)}]: {error}") from error
        finally:
            self._simulation.store.changed(tenant)
        return {"tenant": tenant.id, "ids": ids}

    async def expire_delta_tokens(self, request: web.Request) -> dict[str, Any]:
        """DELETE tenants/{tenant}/delta-tokens: every token that was given out until now is too old."""
        tenant = self._tenant(request.match_info["tenant"])
        tenant.delta_epoch += 1
        self._simulation.store.changed(tenant)
        return {}

    def _tenant(self, name: str | None) -> Tenant:
        store = self._simulation.store
        found = store.find_tenant(name) if name else store.default_tenant
        if found is None:
            raise ValueError(f"no tenant {name}")
        return found


def _apply(tenant: Tenant, wanted: ObjectChange, now: datetime) -> str:
    """Carry one change out and return the object's id."""
    asked = [wanted.add is not None, wanted.change is not None, wanted.members is not None, wanted.remove, wanted.restore]
    if asked.count(True) != 1 or (wanted.for_good and not wanted.remove):
        raise ValueError("say one of add, change, members, remove and restore")
    handlers = {"user": _change_user, "group": _change_group}
    if wanted.noun not in handlers:
        raise ValueError("noun: user or group")
    return handlers[wanted.noun](tenant, wanted, now)


def _change_user(tenant: Tenant, wanted: ObjectChange, now: datetime) -> str:
    if wanted.members is not None:
        raise ValueError("a user has no members")
    if wanted.add is not None:
        user = _new_user(tenant, wanted.add, now)
        put_user(tenant, user, now)
        return user.id
    if wanted.restore and wanted.identity not in tenant.users.deleted:
        raise ValueError(f"no user {wanted.identity} to restore")
    if wanted.restore:
        return restore_user(tenant, wanted.identity, now).id
    if wanted.for_good and wanted.identity in tenant.users.deleted:
        remove_user(tenant, wanted.identity, now, for_good=True)
        return wanted.identity
    user = _user(tenant, wanted)
    if wanted.change is not None:
        put_user(tenant, with_properties(user, wanted.change), now)
    else:
        remove_user(tenant, user.id, now, for_good=wanted.for_good)
    return user.id


def _user(tenant: Tenant, wanted: ObjectChange) -> User:
    found = tenant.users.find(wanted.identity) if wanted.position is None else tenant.users.at(wanted.position)
    if found is None:
        raise ValueError(f"no user {wanted.identity or wanted.position}")
    return found


def _new_user(tenant: Tenant, properties: Mapping[str, Any], now: datetime) -> User:
    name = str(properties["userPrincipalName"])
    if tenant.users.find(name) is not None:
        raise ValueError(f"{name} is there already")
    plain = User(
        id=tenant.new_id("user", name),
        user_principal_name=name,
        display_name=name.partition("@")[0],
        created_at=now,
        mail=name,
        mail_nickname=name.partition("@")[0],
        proxy_addresses=(f"SMTP:{name}",),
    )
    return with_properties(plain, properties)


def _change_group(tenant: Tenant, wanted: ObjectChange, now: datetime) -> str:
    if wanted.add is not None:
        group = _new_group(tenant, wanted.add, now)
        put_group(tenant, group, now)
        return group.id
    if wanted.restore and wanted.identity not in tenant.deleted_groups:
        raise ValueError(f"no group {wanted.identity} to restore")
    if wanted.restore:
        return restore_group(tenant, wanted.identity, now).id
    if wanted.for_good and wanted.identity in tenant.deleted_groups:
        remove_group(tenant, wanted.identity, now, for_good=True)
        return wanted.identity
    group = _group(tenant, wanted.identity)
    if wanted.change is not None:
        put_group(tenant, with_properties(group, wanted.change), now)
    elif wanted.members is not None:
        coming = [_member_id(tenant, each) for each in wanted.members.add]
        leaving = [_member_id(tenant, each) for each in wanted.members.remove]
        change_members(tenant, group, now, add=coming, remove=leaving)
    else:
        remove_group(tenant, group.id, now, for_good=wanted.for_good or None)
    return group.id


def _group(tenant: Tenant, name: str) -> Group:
    groups = tenant.groups
    found = groups.get(name) or next((each for each in groups.values() if name in {each.display_name, each.mail}), None)
    if found is None:
        raise ValueError(f"no group {name}")
    return found


def _new_group(tenant: Tenant, properties: Mapping[str, Any], now: datetime) -> Group:
    name = str(properties["displayName"])
    plain = Group(id=tenant.new_id("group", name), display_name=name, created_at=now, mail_nickname=name.lower())
    given = {key: value for key, value in properties.items() if key != "members"}
    members = tuple(_member_id(tenant, each) for each in properties.get("members", ()))
    return with_properties(plain, {**given, "memberIds": members})


def _member_id(tenant: Tenant, name: str) -> str:
    """Return the id of a member of a group by its id or name."""
    if name in tenant.groups or name in tenant.service_principals:
        return name
    user = tenant.users.find(name)
    return user.id if user is not None else _group(tenant, name).id
