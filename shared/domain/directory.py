"""A tenant's directory as it is synced: its records, what Microsoft tells of them, and what that changes. Pure.

What Microsoft tells of an object is a ``DirectoryChange``, whether it comes from a list (always whole) or from a delta query,
where an item may carry some properties only, may repeat, and may say that its object is gone
(https://learn.microsoft.com/graph/delta-query-overview).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class User:
    """A synced user or mailbox.

    ``smtp_addresses`` are the SMTP addresses among its proxy addresses, the primary one first, case-folded.
    """

    TELLING: ClassVar[str] = "user_principal_name"
    """The property that every new object has: an item with it, of a round that begins from nothing, is whole."""

    user_id: str
    user_principal_name: str = ""
    display_name: str = ""
    mail: str = ""
    smtp_addresses: tuple[str, ...] = ()
    enabled: bool = False
    user_type: str = ""

    @property
    def object_id(self) -> str:
        """The id of the directory object."""
        return self.user_id

    @property
    def addresses(self) -> tuple[str, ...]:
        """All addresses that the user is found by; ``mail`` stands alone where there is no SMTP address."""
        return self.smtp_addresses or ((self.mail.casefold(),) if self.mail else ())

    @property
    def gives_way(self) -> bool:
        """True where another user who has the same address is the one to be found by it.

        ``mail`` need not be one's own: an administrator's second account often names the person's mailbox.
        """
        return not self.smtp_addresses


@dataclass(frozen=True, slots=True)
class Group:
    """A synced group. ``visibility`` is Microsoft's word: members of a HiddenMembership group need a permission of their own."""

    TELLING: ClassVar[str] = "display_name"

    group_id: str
    display_name: str = ""
    mail: str = ""
    group_types: tuple[str, ...] = ()
    mail_enabled: bool = False
    security_enabled: bool = False
    visibility: str = ""

    @property
    def object_id(self) -> str:
        """The id of the directory object."""
        return self.group_id

    @property
    def addresses(self) -> tuple[str, ...]:
        """A group is not looked up by address."""
        return ()

    @property
    def hides_members(self) -> bool:
        """True where who its members are takes a permission of its own."""
        return self.visibility == "HiddenMembership"

    @property
    def kinds(self) -> tuple[str, ...]:
        """What it is, in Microsoft's words: Unified, DynamicMembership, mailEnabled, securityEnabled."""
        flags = {"mailEnabled": self.mail_enabled, "securityEnabled": self.security_enabled}
        return (*self.group_types, *(name for name, is_set in flags.items() if is_set))


Record = User | Group


@dataclass(frozen=True, slots=True)
class Member:
    """A direct member of a group, or one that has left it. ``kind`` is Graph's type: user, group, servicePrincipal and others."""

    member_id: str
    kind: str = "user"
    is_removed: bool = False


@dataclass(frozen=True, slots=True)
class DirectoryChange:
    """What Microsoft tells of one object.

    ``values`` are those properties that it told, by the record's field names. ``is_whole``: what it did not tell is not set.
    ``resets``: the object was gone in between, so what was known of it before counts no more. ``members`` are a group's, in the
    order in which they were told.
    """

    object_id: str
    values: Mapping[str, Any] = field(default_factory=dict)
    is_removed: bool = False
    is_whole: bool = False
    resets: bool = False
    members: tuple[Member, ...] = ()

    def then(self, later: "DirectoryChange") -> "DirectoryChange":
        """Return what this change and a later one of the same object come to."""
        if later.is_removed:
            return later
        if self.is_removed:
            return replace(later, resets=True)
        return DirectoryChange(
            self.object_id,
            dict(later.values) if later.is_whole else {**self.values, **later.values},
            is_whole=self.is_whole or later.is_whole,
            resets=self.resets,
            members=self.members + later.members,
        )

    def is_telling(self, kind: type[Record]) -> bool:
        """True where it tells enough to stand alone in a round that begins from nothing."""
        return self.is_whole or kind.TELLING in self.values


@dataclass(frozen=True, slots=True)
class Edit:
    """What becomes of one object: ``former`` is what is stored of it, ``record`` what is to be; None where there is none."""

    former: Record | None
    record: Record | None
    resets: bool = False
    members: tuple[Member, ...] = ()

    @property
    def changes_record(self) -> bool:
        """True where the object itself changes, not only who its members are."""
        return self.former != self.record

    @property
    def released(self) -> tuple[str, ...]:
        """The addresses that no longer lead to this object."""
        kept = self.record.addresses if self.record else ()
        return tuple(address for address in (self.former.addresses if self.former else ()) if address not in kept)


def folded(changes: Iterable[DirectoryChange]) -> dict[str, DirectoryChange]:
    """Return one change for each object, by id, in the order of first mention: items repeat, and the last one wins."""
    found: dict[str, DirectoryChange] = {}
    for change in changes:
        known = found.get(change.object_id)
        found[change.object_id] = known.then(change) if known else change
    return found


def record_of(kind: type[Record], change: DirectoryChange, former: Record | None = None) -> Record:
    """Return the object as it is after the change, from what is known of it."""
    if former is None or change.is_whole or change.resets:
        return kind(change.object_id, **change.values)
    return replace(former, **change.values)


def is_complete(kind: type[Record], change: DirectoryChange) -> bool:
    """True where the change tells every property, so that nothing else need be known of the object."""
    return change.is_whole or len(change.values) == len(kind.__slots__) - 1


def unknown(kind: type[Record], changes: Mapping[str, DirectoryChange], stored: Mapping[str, Record]) -> tuple[str, ...]:
    """Return the ids of which too little is known: told in part, and not stored, or gone in between. They must be read whole."""
    return tuple(
        object_id
        for object_id, change in changes.items()
        if (object_id not in stored or change.resets) and not change.is_removed and not is_complete(kind, change)
    )


def edits_of(kind: type[Record], changes: Mapping[str, DirectoryChange], stored: Mapping[str, Record]) -> list[Edit]:
    """Return what the changes make of what is stored; nothing for an object that is gone and was never stored."""
    edits = []
    for object_id, change in changes.items():
        former = stored.get(object_id)
        if change.is_removed and former is None:
            continue
        record = None if change.is_removed else record_of(kind, change, former)
        edits.append(Edit(former, record, change.resets, change.members))
    return edits


@dataclass(frozen=True, slots=True)
class SyncedDomain:
    """A domain of the tenant. ``mail_exchangers`` are the hosts of the MX records that Microsoft expects it to have.

    ``receiving_since`` is when a sync first saw that it receives mail; None where it does not.
    """

    name: str
    is_verified: bool
    is_initial: bool
    is_default: bool
    receives_mail: bool
    mail_exchangers: tuple[str, ...] = ()
    receiving_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Generation:
    """One copy of a tenant's directory, and over how many partitions it is spread."""

    number: int
    shards: int


@dataclass(frozen=True, slots=True)
class DirectoryState:
    """Which generation of a tenant's directory readers read, what it holds, and how it goes on.

    ``links`` are where the next changes are, by collection: users and groups. ``selection`` is the fingerprint of what was asked
    for. ``is_compared``: a full round of changes was compared with it, or made it. ``former`` are generations whose rows are
    still to be deleted.
    """

    generation: int
    shards: int
    counts: Mapping[str, int]
    synced_at: datetime
    tenant_name: str = ""
    links: Mapping[str, str] = field(default_factory=dict)
    selection: str = ""
    is_compared: bool = False
    former: tuple[Generation, ...] = ()

    @property
    def copy(self) -> Generation:
        """The generation that readers read."""
        return Generation(self.generation, self.shards)


USERS_A_SHARD = 4000
"""About how many users one partition is meant for: Table storage serves one partition by one server at a time.

With more, smaller ones the rows of a page are spread over more transactions, and each costs a request: twice as many cost 13 %
more time where this was measured (bench/directory_sync.py, 100,000 users).
"""
MAXIMUM_SHARDS = 128
OUTGROWN = 4
"""How many times that number a partition may hold before the users are spread anew."""


def shards_for(users: int) -> int:
    """Return over how many partitions so many users are spread: a power of two."""
    shards = 1
    while shards < MAXIMUM_SHARDS and shards * USERS_A_SHARD < users:
        shards *= 2
    return shards


def shards_again(state: DirectoryState) -> int:
    """Return over how many partitions the next generation is spread: as many, so that the two can be compared, if that will do.

    A tenant that has grown since to several times of what they are meant for gets more.
    """
    users = state.counts.get("users", 0)
    return shards_for(users) if users > OUTGROWN * state.shards * USERS_A_SHARD else state.shards


@dataclass(frozen=True, slots=True)
class Differences:
    """How a copy differed from the tenant: objects that it lacked, that had left, and that were otherwise."""

    missing: int = 0
    gone: int = 0
    different: int = 0

    def __add__(self, other: "Differences") -> "Differences":
        """Return both together."""
        return Differences(self.missing + other.missing, self.gone + other.gone, self.different + other.different)


def users_of(members: Mapping[str, Sequence[Member]], group_id: str) -> frozenset[str]:
    """Return the ids of all users in a group, nested groups included, from the direct members of each group by its id."""
    users: set[str] = set()
    seen: set[str] = set()
    waiting = [group_id]
    while waiting:
        group = waiting.pop()
        if group in seen:
            continue
        seen.add(group)
        for member in members.get(group, ()):
            if member.kind == "group":
                waiting.append(member.member_id)
            elif member.kind == "user":
                users.add(member.member_id)
    return frozenset(users)
