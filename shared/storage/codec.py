"""Rows as dataclasses: every field is a column, small structures are JSON text, and each row carries the version of its shape.

A newer release may add fields (with a default) without a new version: what an older one wrote is read with the defaults. It
raises the version when an older release would misunderstand what it writes: that one then refuses the row.
"""

import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cached_property
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from shared.storage.limits import PROPERTY_CHARACTERS, UnreadableError

T = TypeVar("T")
Columns = dict[str, Any]
"""The columns of a row, without its keys."""


_ENCODER = json.JSONEncoder(separators=(",", ":"))
"""Made once: with any option of its own, ``json.dumps`` makes one for each call."""


def to_json(value: Any) -> str:
    """Write JSON in ASCII without spaces: one character is one UTF-16 unit, and control characters are escaped."""
    return _ENCODER.encode(value)


def text_columns(name: str, text: str) -> Columns:
    """Return a text as the column ``name``; what is too long for one goes on in ``name_1`` and so on."""
    parts = [text[start : start + PROPERTY_CHARACTERS] for start in range(0, len(text), PROPERTY_CHARACTERS)] or [""]
    return {name if number == 0 else f"{name}_{number}": part for number, part in enumerate(parts)}


def join_text(columns: Mapping[str, Any], name: str) -> str:
    """Return the text that ``text_columns`` took apart. Raises KeyError when it is not there."""
    text, number = str(columns[name]), 1
    while (part := columns.get(f"{name}_{number}")) is not None:
        text, number = text + part, number + 1
    return text


def check_version(columns: Mapping[str, Any], known: int, kind: str) -> None:
    """Raise UnreadableError for a row of a newer version than ``known``, or of none."""
    version = columns.get("version")
    if not isinstance(version, int):
        raise UnreadableError(f"a row of {kind} carries no version")
    if version > known:
        raise UnreadableError(f"a row of {kind} is of version {version}; this code reads up to version {known}")


@dataclass(frozen=True)
class Codec(Generic[T]):
    """Writes and reads the columns of one kind of record. ``documents`` are the fields kept as JSON text."""

    kind: type[T]
    documents: frozenset[str] = frozenset()
    version: int = 1

    @cached_property
    def _adapter(self) -> TypeAdapter[T]:
        return TypeAdapter(self.kind)

    @cached_property
    def _required(self) -> tuple[str, ...]:
        entries = fields(self.kind)  # type: ignore[arg-type] # the kinds are dataclasses
        return tuple(entry.name for entry in entries if entry.default is MISSING and entry.default_factory is MISSING)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns, ``version`` first."""
        return ("version", *(entry.name for entry in fields(self.kind)))  # type: ignore[arg-type] # the kinds are dataclasses

    def write(self, record: T) -> Columns:
        """Return the record's columns; a field that is None has none."""
        columns: Columns = {"version": self.version}
        for name, value in self._adapter.dump_python(record, mode="json").items():
            if name in self.documents:
                columns |= text_columns(name, to_json(value))
            elif value is not None:
                columns[name] = value
        return columns

    def read(self, columns: Mapping[str, Any]) -> T:
        """Return the record. Raises UnreadableError when the row is of a newer version or of another shape."""
        kind = self.kind.__name__
        check_version(columns, self.version, kind)
        try:
            return self._adapter.validate_python(self._values(columns))
        except ValidationError as error:
            faults = ", ".join(".".join(map(str, fault["loc"])) for fault in error.errors(include_input=False))
            raise UnreadableError(f"a row of {kind} is not of the shape that this code reads: {faults}") from None
        except ValueError:
            raise UnreadableError(f"a row of {kind} holds JSON that can't be read") from None

    def _values(self, columns: Mapping[str, Any]) -> Columns:
        """Return the fields; one that has no default and no column was None, if it may be."""
        present = [name for name in self.names[1:] if name in columns]
        values = {name: json.loads(join_text(columns, name)) if name in self.documents else columns[name] for name in present}
        return {name: values.get(name) for name in self._required} | values
