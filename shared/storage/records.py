"""The records of the tables: which dataclass is kept in which columns."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from shared.domain.directory import DirectoryState, Generation, Group, SyncedDomain, User
from shared.domain.grant import Event, Facts, Grant, Step
from shared.domain.steps import STEPS
from shared.ports import AccountRow, Binding, DeadLetter
from shared.storage.codec import Codec, Columns, check_version, join_text, text_columns, to_json
from shared.storage.limits import PROPERTY_CHARACTERS, TooLargeError, UnreadableError


@dataclass(frozen=True, slots=True)
class MemberKind:
    """What the row of a group's member holds; the ids are in its key."""

    kind: str


@dataclass(frozen=True, slots=True)
class Begun:
    """The generations of a tenant's directory that were begun since the current one, the newest last."""

    generations: tuple[Generation, ...] = ()


@dataclass(frozen=True, slots=True)
class Counted:
    """How many records one shard of a tenant's directory holds after so many transactions that counted.

    ``hidden_groups`` are those of the groups that hide their members.
    """

    users: int = 0
    groups: int = 0
    number: int = 0
    hidden_groups: int = 0

    def __add__(self, other: "Counted") -> "Counted":
        """Return both together."""
        return Counted(
            self.users + other.users,
            self.groups + other.groups,
            self.number + other.number,
            self.hidden_groups + other.hidden_groups,
        )

    def __neg__(self) -> "Counted":
        """Return as many fewer."""
        return Counted(-self.users, -self.groups, -self.number, -self.hidden_groups)


GRANT = Codec(Grant, frozenset({"intent", "steps"}))
EVENT = Codec(Event, frozenset({"data"}))
BINDING = Codec(Binding, frozenset({"former_grants"}))
ACCOUNT = Codec(AccountRow, frozenset({"directions", "notices"}))
LETTER = Codec(DeadLetter, frozenset({"body"}))
DIRECTORY = Codec(DirectoryState, frozenset({"counts", "links", "former"}))
BEGUN = Codec(Begun, frozenset({"generations"}))
DOMAIN = Codec(SyncedDomain, frozenset({"mail_exchangers"}))
USER = Codec(User, frozenset({"smtp_addresses"}))
GROUP = Codec(Group, frozenset({"group_types"}))
MEMBER = Codec(MemberKind)
COUNT = Codec(Counted)
VALUE_VERSION = 1
"""The version of a row that holds one JSON value."""


def write_grant(grant: Grant) -> Columns:
    """Return the grant's columns. Raises TooLargeError when its steps do not fit into one property: every save writes them."""
    columns = GRANT.write(grant)
    if "steps_1" in columns:
        raise TooLargeError(f"the steps of grant {grant.grant_id} are longer than {PROPERTY_CHARACTERS} characters as JSON")
    return columns


def read_grant(columns: Mapping[str, Any]) -> Grant:
    """Return the grant; a step that is younger than the row is there, as yet untouched."""
    grant = GRANT.read(columns)
    return replace(grant, steps={name: Step(name) for name in STEPS} | dict(grant.steps))


def write_value(value: Facts) -> Columns:
    """Return the columns of a row that holds one JSON value."""
    return {"version": VALUE_VERSION, **text_columns("value", to_json(value))}


def read_value(columns: Mapping[str, Any]) -> Facts:
    """Return what ``write_value`` wrote. Raises UnreadableError for a newer version or another shape."""
    check_version(columns, VALUE_VERSION, "JSON")
    try:
        value: Facts = json.loads(join_text(columns, "value"))
    except (KeyError, ValueError):
        raise UnreadableError("a row of JSON can't be read") from None
    return value
