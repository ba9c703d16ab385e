"""What the journal of a grant knows of its tenant: what was before Grantline, what it wrote, what it took away again."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from shared.domain.grant import Row
from shared.mailflow.desired import DesiredSetting
from shared.mailflow.diff import CUSTOMIZATION, EXISTS
from shared.mailflow.kinds import KINDS, Kind

FORMER_ROWS, WRITTEN_ROWS, CHANGE_ROWS = "snapshot|", "written|", "change|"
"""How the keys begin of the rows that the journal writes: former values (insert-only), what we wrote, and what came of it."""
_KINDS = {each.noun: kind for kind, each in KINDS.items()}
_FOREIGN = re.compile(r"(\w+)(?: '(.*)')?")


@dataclass(frozen=True, slots=True)
class Wrote:
    """What we changed of somebody else's object: list entries (``setting.adds``), or a value with what was before it."""

    setting: DesiredSetting
    former: Any = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The former and the written values, by the names of object and property; the objects whose last change was a removal."""

    former: Mapping[tuple[str, str], Any] = field(default_factory=dict)
    written: Mapping[tuple[str, str], Any] = field(default_factory=dict)
    removed: frozenset[str] = frozenset()
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    """Of which kind the objects of ours are that were changed, by their names."""

    @property
    def created(self) -> tuple[str, ...]:
        """The names of the objects that Grantline made, in the order of the rows."""
        return tuple(name for (name, what), value in self.former.items() if what == EXISTS and value is False)

    @property
    def wrote(self) -> tuple[Wrote, ...]:
        """Everything that was changed of somebody else's objects and can be taken back."""
        values: list[Wrote] = []
        entries: dict[tuple[str, str], list[str]] = {}
        for (name, what), value in self.written.items():
            property_name, _, entry = what.partition(" ")
            if entry:
                entries.setdefault((name, property_name), []).append(entry)
            elif (name, what) in self.former and (name, what) != CUSTOMIZATION:
                setting = DesiredSetting(*_foreign(name), property_name, value=value)
                values.append(Wrote(setting, self.former[name, what]))
        lists = (DesiredSetting(*_foreign(name), what, adds=tuple(adds)) for (name, what), adds in entries.items())
        return (*map(Wrote, lists), *values)


def read_snapshot(rows: Iterable[Row]) -> Snapshot:
    """Return the snapshot that the journal's rows make up; of several former values of one property the first counts.

    For a tenant that was taken over, the rows of the former grants come first. Rows of other kinds are passed over.
    """
    former: dict[tuple[str, str], Any] = {}
    written: dict[tuple[str, str], Any] = {}
    removed: dict[str, bool] = {}
    kinds: dict[str, Kind] = {}
    for row in rows:
        if row.key.startswith(FORMER_ROWS):
            former.setdefault((row.value["object"], row.value["property"]), row.value["former"])
        elif row.key.startswith(WRITTEN_ROWS):
            written[row.value["object"], row.value["property"]] = row.value["written"]
        elif row.key.startswith(CHANGE_ROWS):
            name, (verb, _, noun) = row.key.removeprefix(CHANGE_ROWS), str(row.value["cmdlet"]).partition("-")
            removed[name] = verb == "Remove"
            if noun.removesuffix("Member") in _KINDS:
                kinds[name] = _KINDS[noun.removesuffix("Member")]
    return Snapshot(former, written, frozenset(name for name, is_gone in removed.items() if is_gone), kinds)


def _foreign(name: str) -> tuple[str, str]:
    """Return the noun and the identity of somebody else's object from how the journal names it."""
    match = _FOREIGN.fullmatch(name)
    return (match[1], match[2] or "") if match else (name, "")
