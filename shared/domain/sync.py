"""How a directory sync goes on: its plans, its cursor, and how far it is. Pure.

A plan is a row of stages. The cursor says which stage is under way, which page comes next, and what has been found so far; it is
saved before each page is written, so that a killed run repeats at most what it was writing.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any

from shared.domain.directory import Differences, DirectoryState, Edit, Generation, Group, User
from shared.domain.grant import Facts, Scope


class Stage(StrEnum):
    """One part of a sync."""

    LIST = "list"
    """All users, from Microsoft's list, into a new generation."""
    USERS = "users"
    """Changes of users; all of them where the stage begins from nothing."""
    GROUPS = "groups"
    """Changes of groups and of their members; all of them where the stage begins from nothing."""
    SCOPE = "scope"
    """The users of a grant's scope, into a new generation."""
    COMPARE = "compare"
    """The new generation against the one that readers have."""
    PUBLISH = "publish"
    """The new generation, or what was changed in the current one, becomes what readers read."""
    TIDY = "tidy"
    """Former generations are deleted."""


class Plan(StrEnum):
    """How a directory is brought up to date."""

    LIST = "list"
    """A first sync or a resync."""
    DELTA = "delta"
    """The same where Microsoft gives no token without data."""
    INCREMENT = "increment"
    """What changed since the last sync."""
    FULL = "full"
    """Everything once more, compared with what the list had given."""
    SCOPE = "scope"
    """The chosen people alone."""
    TIDY = "tidy"
    """No more than to delete what nobody reads any more."""


STAGES: Mapping[Plan, tuple[Stage, ...]] = {
    Plan.LIST: (Stage.LIST, Stage.USERS, Stage.GROUPS, Stage.PUBLISH),
    Plan.DELTA: (Stage.USERS, Stage.GROUPS, Stage.PUBLISH),
    Plan.INCREMENT: (Stage.USERS, Stage.GROUPS, Stage.PUBLISH),
    Plan.FULL: (Stage.USERS, Stage.GROUPS, Stage.COMPARE, Stage.PUBLISH),
    Plan.SCOPE: (Stage.SCOPE, Stage.COMPARE, Stage.PUBLISH),
    Plan.TIDY: (Stage.TIDY,),
}
"""What each plan does, in order. All but an increment fill a new generation."""
NEED_NO_COMPARISON = frozenset({Plan.DELTA, Plan.FULL, Plan.SCOPE})
"""The plans whose result needs no comparison: no list was read that could be older than its token."""
BEGINS_FROM_NOTHING = {Stage.LIST, Stage.SCOPE}
"""The stages that always fill; those of changes do where no link says from where on."""
SETTLES = 5
"""How many seconds of a slice have passed before its own rate is told."""


@dataclass(frozen=True, slots=True)
class Tally:
    """How many objects were added, changed and removed."""

    added: int = 0
    changed: int = 0
    removed: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        """Return both together."""
        return Tally(*(getattr(self, entry.name) + getattr(other, entry.name) for entry in fields(self)))


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a sync is.

    ``link`` is the stage's next page, "" for its first; ``begins`` says from where on the stages of changes read, and ``links``
    where the next round of each begins. ``seen`` counts what was read, ``of`` is about how many users there are (0: not known).
    ``is_writing``: a batch was being written when this was saved, up to the page at ``writes_to``. ``shard`` is where a
    comparison or a deletion goes on. ``moved_at`` is when a slice last got anywhere. ``is_anew``: all was read from the first, so
    that nobody knows what of it had changed.
    """

    plan: Plan
    generation: int
    shards: int
    stage: Stage
    link: str = ""
    is_writing: bool = False
    writes_to: str = ""
    begins: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    seen: Mapping[str, int] = field(default_factory=dict)
    users: Tally = field(default_factory=Tally)
    groups: Tally = field(default_factory=Tally)
    of: int = 0
    rate: float = 0.0
    moved_at: str = ""
    shard: int = 0
    differences: Differences = field(default_factory=Differences)
    is_compared: bool = False
    is_anew: bool = False
    selection: str = ""
    former: tuple[Generation, ...] = ()
    tenant_name: str = ""
    unknown_users: tuple[str, ...] = ()

    @property
    def place(self) -> tuple[object, ...]:
        """How far it is, to tell whether a slice has got anywhere."""
        return self.plan, self.generation, self.stage, self.link, self.shard

    @property
    def copy(self) -> Generation:
        """The generation that is written."""
        return Generation(self.generation, self.shards)

    @property
    def fills(self) -> bool:
        """True where the stage begins from nothing, in a new generation."""
        return self.stage in BEGINS_FROM_NOTHING or not self.begins.get(self.stage)

    @property
    def is_last(self) -> bool:
        """True in the last stage of its plan."""
        return self.stage is STAGES[self.plan][-1]

    def next_stage(self) -> "Cursor":
        """Return the cursor at the beginning of the next stage of its plan."""
        stages = STAGES[self.plan]
        stage = stages[stages.index(self.stage) + 1]
        return replace(self, stage=stage, shard=0).at_first_page()

    def at_first_page(self) -> "Cursor":
        """Return the cursor at the first page of its stage."""
        return replace(self, link=self.begins.get(self.stage, ""))

    def to_row(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Cursor":
        """Read what ``to_row`` gave, and what JSON made of it."""
        return cls(
            **{
                **row,
                "plan": Plan(row["plan"]),
                "stage": Stage(row["stage"]),
                "users": Tally(**row["users"]),
                "groups": Tally(**row["groups"]),
                "differences": Differences(**row["differences"]),
                "former": tuple(Generation(**each) for each in row["former"]),
                "unknown_users": tuple(row["unknown_users"]),
            }
        )


def selection_of(scope: Scope) -> str:
    """Return the fingerprint of what is asked for: the properties of each record, and whose. Another one means a resync."""
    names = [entry.name for kind in (User, Group) for entry in fields(kind)]
    whose = (scope.kind, scope.group, *scope.users) if scope.is_by_people else ()
    return sha256("\n".join((*names, *whose)).encode()).hexdigest()[:16]


def plan_of(scope: Scope, current: DirectoryState | None, *, may_increment: bool = True) -> Plan:
    """Return how the directory is brought up to date: by what changed where that is possible, else as a whole."""
    if scope.is_by_people:
        return Plan.SCOPE
    has_links = current is not None and {Stage.USERS, Stage.GROUPS} <= current.links.keys()
    is_same = current is not None and current.selection == selection_of(scope)
    return Plan.INCREMENT if may_increment and has_links and is_same else Plan.LIST


def tally(edits: list[Edit]) -> Tally:
    """Count what edits change."""
    return Tally(
        added=sum(edit.former is None for edit in edits),
        changed=sum(edit.former is not None and edit.record is not None and edit.changes_record for edit in edits),
        removed=sum(edit.record is None for edit in edits),
    )


def uncovered(scope: Scope, receiving: Mapping[str, datetime | None], routed_at: datetime | None) -> tuple[str, ...]:
    """Return the domains that receive mail, and whose mail is not scanned because no scope covers them.

    ``receiving`` says of each domain that receives mail since when that is known. Those that the tenant had when its mail flow
    was made, at ``routed_at`` (None: it is still to be made), are covered by a scope of all domains, and left out on purpose by
    one that names others.
    """
    if scope.is_by_people or routed_at is None:
        return ()
    late = {name for name, since in receiving.items() if since and since > routed_at}
    return tuple(sorted(late - {name.lower() for name in scope.domains}))


def progress_of(cursor: Cursor, begun: datetime, before: int, now: datetime) -> Facts:
    """Return how far the sync is, for people: counts, users a second in this slice, and the seconds that are left of them.

    ``before`` is how many users were seen when the slice began, at ``begun``.
    """
    users = cursor.seen.get("users", 0)
    seconds = (now - begun).total_seconds()
    rate = (users - before) / seconds if seconds >= SETTLES else cursor.rate
    is_reading = cursor.stage in (Stage.LIST, Stage.USERS, Stage.SCOPE) and cursor.plan is not Plan.INCREMENT
    of = max(cursor.of, users) if cursor.of else None
    left = (of - users) / rate if is_reading and of and rate else None
    return {
        "users": users,
        "of": of if is_reading else users,
        "groups": cursor.seen.get("groups", 0),
        "collection": str(cursor.stage),
        "rate": round(rate) if is_reading and rate else None,
        "left_seconds": round(left) if left is not None else None,
    }
