"""Delta queries of users and groups: rounds of pages, answered from the tenant and its journal.

Source: learn.microsoft.com/graph/delta-query-overview, delta-query-users, delta-query-groups, api/user-delta, api/group-delta.

The first round tells what exists; every other one tells of each object what changed since the round before began: one item
for each object, with its present values. What changes while a round is read comes (again) in the next one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from heapq import nsmallest
from itertools import islice
from operator import attrgetter
from typing import Any, Generic, TypeVar

from local.microsoft365.changes import MEMBERS, member_kind
from local.microsoft365.graph.collections import selection
from local.microsoft365.graph.context import Answer, Context
from local.microsoft365.graph.delta_tokens import (
    INITIAL,
    Position,
    RoundState,
    TokenBinding,
    TokenError,
    read_token,
    write_token,
)
from local.microsoft365.graph.errors import bad_request, sync_state_not_found, unsupported_query
from local.microsoft365.graph.shapes import GROUP, USER, Column, Shape
from local.microsoft365.model import CREATED, DELETED, REMOVED, DirectoryChange, Group, MemberChange, Tenant
from local.microsoft365.population import User

Item = TypeVar("Item", User, Group)

_MAXIMUM_IDS = 50
_LATEST = "latest"
_COMING_AND_GOING = frozenset({CREATED, REMOVED, DELETED})
_ID_FILTER = re.compile(r"\s*id\s+eq\s+'([^']+)'\s*", re.IGNORECASE)
_MEMBER_READERS = frozenset(
    {"Directory.Read.All", "Directory.ReadWrite.All", "Group.Read.All", "Group.ReadWrite.All", "GroupMember.Read.All"}
)
"""Whoever has one of these is told the members (learn.microsoft.com/graph/api/group-delta, "Permissions")."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One item of a round, with the position of a page that begins with it."""

    position: Position
    item: dict[str, Any]
    is_partial: bool = False
    """Whether more members of the same group follow, on the next page."""


@dataclass(slots=True)
class Changed:
    """What a round tells of one object."""

    removal: str = ""
    """REMOVED or DELETED; empty: it is there."""
    is_created: bool = False
    properties: set[str] = field(default_factory=set)
    members: dict[str, MemberChange] = field(default_factory=dict)
    """By id; the latest change of each."""


@dataclass(frozen=True, slots=True)
class Collection(Generic[Item]):
    """One of the two collections: how its objects are found and written."""

    name: str
    noun: str
    shape: Shape[Item]
    find: Callable[[Tenant, str], Item | None]
    existing: Callable[[Round[Item], Position | None], Iterator[Unit]]
    """The units of the first round, from a position on."""
    members_by_default: bool = False


@dataclass(frozen=True, slots=True)
class Round(Generic[Item]):
    """A request's round: the caller's context, the question, and how to write what it asks for."""

    context: Context
    collection: Collection[Item]
    state: RoundState
    columns: tuple[Column, ...]
    """Selected properties, without members."""
    with_members: bool

    @property
    def is_whole(self) -> bool:
        """Whether a changed object comes with all selected properties."""
        return self.context.settings.delta_whole_items and "return=minimal" not in self.context.prefer.lower()

    @property
    def repeats_properties(self) -> bool:
        """Whether a large group comes with its properties each time it names further members."""
        return self.context.settings.delta_whole_items

    @property
    def members_size(self) -> int:
        """How many members one item names."""
        return max(1, self.context.settings.delta_members_size)

    def write(self, item: Item) -> dict[str, Any]:
        """An object with its selected properties; those that were never set are left out.

        Observed: github.com/microsoftgraph/microsoft-graph-docs/issues/4946.
        """
        written = {"id": item.id}
        for name, get in self.columns:
            value = get(item)
            if value is not None:
                written[name] = value
        return written

    def write_changed(self, item: Item, properties: set[str]) -> dict[str, Any]:
        """A changed object; a property that lost its value is there as null."""
        written = self.write(item) if self.is_whole else {"id": item.id}
        written |= {name: get(item) for name, get in self.columns if name in properties}
        return written

    def sees_members(self, group: Item) -> bool:
        """Whether the caller is told this group's members: hidden ones need a permission of their own."""
        if not self.with_members or not isinstance(group, Group):
            return False
        token = self.context.token
        hidden = (group.visibility or "").lower() == "hiddenmembership"
        return not hidden or "Member.Read.Hidden" in token.roles | token.scopes


def user_changes(context: Context) -> Answer:
    """GET /users/delta (learn.microsoft.com/graph/api/user-delta)."""
    return _answer(context, USERS)


def group_changes(context: Context) -> Answer:
    """GET /groups/delta (learn.microsoft.com/graph/api/group-delta)."""
    return _answer(context, GROUPS)


def _answer(context: Context, collection: Collection[Item]) -> Answer:
    _check_options(context)
    binding = TokenBinding(context.tenant.id, collection.name, context.tenant.delta_epoch)
    if context.query.delta_token.lower() == _LATEST:
        return _latest(context, collection, binding)
    state = _state(context, collection, binding)
    if state.empty_pages:
        empty = replace(state, empty_pages=state.empty_pages - 1)
        return _page(context, collection, [], _link(context, binding, "skip", empty))
    page, following = _read_page(_round(context, collection, state))
    if following is None:
        return _page(context, collection, page, _link(context, binding, "delta", state.next_round()))
    rest = replace(state, position=following, former=state.position, is_begun=True)
    return _page(context, collection, page, _link(context, binding, "skip", rest))


def _check_options(context: Context) -> None:
    """Raise GraphError (400) for a query option that delta queries of directory objects don't take."""
    query = context.query
    for name, asked in (("$top", query.top), ("$expand", query.expand), ("$count", query.count)):
        if asked:
            raise unsupported_query(f"The query parameter '{name}' is not supported for this resource.")
    followed = query.skip_token or query.delta_token.lower() not in {"", _LATEST}
    if followed and (query.select or query.filter_text):
        raise bad_request("Query parameters must be specified in the initial request only.")


def _ids(text: str) -> tuple[str, ...]:
    """Return the ids of a filter; raises GraphError (400) for a filter by anything else, or by too many ids."""
    if not text:
        return ()
    matches = [_ID_FILTER.fullmatch(each) for each in re.split(r"\bor\b", text, flags=re.IGNORECASE)]
    ids = tuple(match[1].lower() for match in matches if match is not None)
    if len(ids) != len(matches) or len(ids) > _MAXIMUM_IDS:
        raise unsupported_query("Delta queries are filtered by up to 50 ids.")
    return ids


def _select(context: Context, shape: Shape[Any]) -> tuple[str, ...] | None:
    """Return the selection with the documented names; raises GraphError (400) for one that the type doesn't have."""
    if not context.query.select:
        return None
    asked = (name.lower() if name.lower() == MEMBERS and shape is GROUP else name for name in context.query.select)
    return tuple(name if name == MEMBERS and shape is GROUP else shape.canonical(name) for name in asked)


def _latest(context: Context, collection: Collection[Item], binding: TokenBinding) -> Answer:
    if context.settings.delta_latest_refused:
        raise unsupported_query("The value 'latest' of '$deltatoken' is not supported for this resource.")
    ids, select = _ids(context.query.filter_text), _select(context, collection.shape)
    state = RoundState(select, ids, since=len(context.tenant.journal))
    return _page(context, collection, [], _link(context, binding, "delta", state))


def _state(context: Context, collection: Collection[Item], binding: TokenBinding) -> RoundState:
    """Return where the request is; raises GraphError (410) for a token that leads nowhere."""
    query = context.query
    present = len(context.tenant.journal)
    empty = context.settings.delta_empty_pages
    try:
        if query.skip_token:
            going = read_token(binding, "skip", query.skip_token, context.now)
            # A replica that lags behind ends the round where it ends itself: the next round tells the rest.
            return replace(going, until=max(going.since, min(going.until, present)))
        if query.delta_token:
            begun = read_token(binding, "delta", query.delta_token, context.now)
            # A replica that lags behind has nothing new to tell, and doesn't go back.
            return replace(begun, until=max(begun.since, present), empty_pages=empty)
    except TokenError:
        raise sync_state_not_found(context.address) from None
    select = _select(context, collection.shape)
    return RoundState(select, _ids(query.filter_text), until=present, empty_pages=empty)


def _round(context: Context, collection: Collection[Item], state: RoundState) -> Round[Item]:
    names = None if state.select is None else tuple(name for name in state.select if name != MEMBERS)
    wanted = collection.members_by_default if state.select is None else MEMBERS in state.select
    visible = context.visible(collection.shape.name)
    columns = collection.shape.columns(names or (), visible) if names is None or names else ()
    return Round(context, collection, state, columns, wanted and bool(context.effective & _MEMBER_READERS))


def _read_page(round_: Round[Item]) -> tuple[list[dict[str, Any]], Position | None]:
    """Return a page's items, and where the next page begins; None: the round ends here."""
    settings, state = round_.context.settings, round_.state
    start = state.position
    size = max(1, settings.delta_page_size)
    units = _units(round_, start)
    page: list[Unit] = []
    for unit in units:
        page.append(unit)
        if unit.is_partial or len(page) == size:
            break
    following = next(units, None)
    items = [unit.item for unit in page]
    if settings.delta_replays:
        former = state.former if state.is_begun else start
        items += [unit.item for unit in islice(_units(round_, former), settings.delta_replays)]
    return items, None if following is None else following.position


def _units(round_: Round[Item], start: Position | None) -> Iterator[Unit]:
    if round_.state.since == INITIAL:
        return round_.collection.existing(round_, start)
    return _changes(round_, start)


def _page(context: Context, collection: Collection[Item], items: list[dict[str, Any]], link: tuple[str, str]) -> Answer:
    name, address = link
    path = collection.name + selection(context)
    return Answer(document={"@odata.context": context.metadata(path), name: address, "value": items})


def _link(context: Context, binding: TokenBinding, kind: str, state: RoundState) -> tuple[str, str]:
    """Return the annotation and the address of the next page (`skip`) or the next round (`delta`)."""
    token = write_token(binding, kind, state, context.now)
    annotation = "@odata.nextLink" if kind == "skip" else "@odata.deltaLink"
    return annotation, f"{context.address}?${kind}token={token}"


def _existing_users(round_: Round[User], start: Position | None) -> Iterator[Unit]:
    tenant, ids = round_.context.tenant, round_.state.ids
    if ids:
        named = enumerate(ids)
        found = ((place, tenant.users.get(identifier)) for place, identifier in named if start is None or place >= int(start[0]))
        users: Iterable[tuple[int, User]] = ((place, user) for place, user in found if user is not None)
    else:
        users = tenant.users.scan(0 if start is None else int(start[0]))
    for position, user in users:
        yield Unit((position, ""), round_.write(user))


def _existing_groups(round_: Round[Group], start: Position | None) -> Iterator[Unit]:
    """Give the groups in the order of their ids, which stays whatever comes and goes."""
    groups = round_.context.tenant.groups
    first, after = ("", "") if start is None else start
    ids = sorted(key for key in groups if key >= str(first) and (not round_.state.ids or key in round_.state.ids))
    for key in ids:
        group = groups[key]
        behind = after if key == first else ""
        written = round_.write(group) if not behind or round_.repeats_properties else {"id": key}
        yield from _with_members(round_, (key, behind), written, _members_of(round_, group))


def _members_of(round_: Round[Group], group: Group) -> tuple[MemberChange, ...]:
    return tuple(MemberChange(each, "") for each in group.member_ids) if round_.sees_members(group) else ()


def _with_members(
    round_: Round[Item], position: Position, item: dict[str, Any], changes: Sequence[MemberChange]
) -> Iterator[Unit]:
    """Give an object with its members, those behind the position in the order of their ids: many of them in many units.

    learn.microsoft.com/graph/delta-query-groups, "Paging through members in a large group".
    """
    key, after = position
    if not changes and not after:
        yield Unit(position, item)
    size = round_.members_size
    while members := nsmallest(size + 1, (each for each in changes if each.id > after), key=attrgetter("id")):
        named = [_member(round_.context.tenant, each) for each in members[:size]]
        is_partial = len(members) > size
        yield Unit((key, after), {**item, "members@delta": named}, is_partial)
        if not is_partial:
            return
        after = members[size - 1].id


def _member(tenant: Tenant, change: MemberChange) -> dict[str, Any]:
    kind = change.kind or member_kind(tenant, change.id)
    entry: dict[str, Any] = {"@odata.type": f"#microsoft.graph.{kind}", "id": change.id}
    return {**entry, "@removed": {"reason": "deleted"}} if change.is_removed else entry


def _entries(round_: Round[Item]) -> Iterator[DirectoryChange]:
    """Give the round's entries of the journal."""
    state, noun = round_.state, round_.collection.noun
    entries = islice(round_.context.tenant.journal, max(0, state.since), state.until)
    return (entry for entry in entries if entry.noun == noun and (not state.ids or entry.object_id in state.ids))


def _collapsed(round_: Round[Item], first: int) -> Iterator[tuple[str, Changed]]:
    """Give what the round's entries come to, an object at a time, in the order of their first changes, from one on.

    A page's worth of objects is put together at a time, so that a page of a long round costs little more than looking at it.
    """
    keys = list(dict.fromkeys(entry.object_id for entry in _entries(round_)))
    size = max(1, round_.context.settings.delta_page_size) + 1
    for start in range(first, len(keys), size):
        objects = {key: Changed() for key in keys[start : start + size]}
        for entry in _entries(round_):
            changed = objects.get(entry.object_id)
            if changed is not None:
                _apply(changed, entry)
        yield from objects.items()


def _apply(changed: Changed, entry: DirectoryChange) -> None:
    kind = entry.properties[0]
    if kind in _COMING_AND_GOING:
        changed.removal = "" if kind == CREATED else kind
        changed.is_created = kind == CREATED
        changed.properties.clear()
        changed.members.clear()
    else:
        changed.properties.update(entry.properties)
    for member in entry.members:
        changed.members[member.id] = member


def _changes(round_: Round[Item], start: Position | None) -> Iterator[Unit]:
    first, after = (0, "") if start is None else (int(start[0]), start[1])
    for index, (key, changed) in enumerate(_collapsed(round_, first), first):
        yield from _changed_units(round_, (index, after if index == first else ""), key, changed)


def _changed_units(round_: Round[Item], position: Position, key: str, changed: Changed) -> Iterator[Unit]:
    """Give the units of one object; none where nothing changed that the caller tracks."""
    item = round_.collection.find(round_.context.tenant, key)
    if changed.removal or item is None:
        yield Unit(position, {"id": key, "@removed": {"reason": _reason(round_.context.tenant, key, changed)}})
        return
    members = tuple(changed.members.values()) if round_.sees_members(item) else ()
    tracked = changed.is_created or any(name in changed.properties for name, _ in round_.columns)
    if not tracked and not members:
        return
    written = round_.write(item) if changed.is_created else round_.write_changed(item, changed.properties)
    bare = bool(position[1]) and not round_.repeats_properties
    yield from _with_members(round_, position, {"id": key} if bare else written, members)


def _reason(tenant: Tenant, key: str, changed: Changed) -> str:
    """Tell whether an object that was removed can be restored: `changed`, else `deleted`."""
    if changed.removal:
        return "changed" if changed.removal == REMOVED else "deleted"
    return "changed" if key in tenant.users.deleted or key in tenant.deleted_groups else "deleted"


USERS: Collection[User] = Collection("users", "user", USER, lambda tenant, key: tenant.users.get(key), _existing_users)
GROUPS: Collection[Group] = Collection(
    "groups", "group", GROUP, lambda tenant, key: tenant.groups.get(key), _existing_groups, members_by_default=True
)
