"""`$filter` of directory objects: `eq`, `startsWith`, `and`, `or` and parentheses.

Grammar: OData 4.01 URL conventions, 5.1.1; what else Graph supports is answered as unsupported (PARITY.md).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

from local.microsoft365.graph.errors import GraphError, malformed, unsupported_query

_TOKEN = re.compile(r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<mark>[(),])|(?P<word>[^\s(),']+))")
_CONSTANTS: Mapping[str, object] = {"true": True, "false": False, "null": None}
MAXIMUM_CLAUSES = 15
"""Clauses joined by `or` in a filter that is no advanced query (github.com/microsoftgraph/microsoft-graph-docs/issues/21098)."""
_GUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")


@dataclass(frozen=True, slots=True)
class Filter:
    """A parsed filter: the properties that it reads, a test, and the values that `eq` demands."""

    properties: frozenset[str]
    accepts: Callable[[Callable[[str], Any]], bool]
    """Takes a function from a property's name to an object's value."""
    alternatives: tuple[Mapping[str, object], ...] = ({},)
    """Property to value: every accepted object has all values of one of these."""

    @property
    def demands(self) -> Mapping[str, object]:
        """Property to value, where every accepted object has that value."""
        return self.alternatives[0] if len(self.alternatives) == 1 else {}


def _tokens(text: str) -> Iterator[str]:
    position = 0
    while position < len(text.rstrip()):
        match = _TOKEN.match(text, position)
        if match is None:
            raise malformed(f"Invalid filter clause: Syntax error at position {position} in '{text}'.")
        position = match.end()
        yield match.group(0).strip()


def _same(value: Any, wanted: object) -> bool:
    if isinstance(value, str) and isinstance(wanted, str):
        return value.lower() == wanted.lower()
    if isinstance(value, list | tuple):
        return any(_same(item, wanted) for item in value)
    return bool(value == wanted)


class _Parser:
    """Recursive descent over the tokens of one filter."""

    def __init__(self, text: str, most: int | None) -> None:
        self._text = text
        self._most = most
        self._tokens = [*_tokens(text), ""]

    def parse(self) -> Filter:
        """Return the whole filter; raises GraphError for anything left over."""
        result = self._or()
        if self._tokens[0]:
            raise self._error()
        return result

    def _error(self) -> GraphError:
        return malformed(f"Invalid filter clause: Syntax error near '{self._tokens[0]}' in '{self._text}'.")

    def _take(self, expected: str = "") -> str:
        token = self._tokens[0]
        if not token or (expected and token.lower() != expected):
            raise self._error()
        del self._tokens[0]
        return token

    def _or(self) -> Filter:
        clauses = [self._and()]
        while self._tokens[0].lower() == "or":
            self._take()
            clauses.append(self._and())
        if self._most is not None and len(clauses) > self._most:
            words = "Too many child clauses specified in search filter expression containing 'OR' operators"
            raise unsupported_query(f"{words}: {len(clauses)}. Max allowed: {self._most}.")
        return reduce(_either, clauses)

    def _and(self) -> Filter:
        left = self._term()
        while self._tokens[0].lower() == "and":
            self._take()
            left = _both(left, self._term())
        return left

    def _term(self) -> Filter:
        if self._tokens[0] == "(":
            self._take()
            inner = self._or()
            self._take(")")
            return inner
        if self._tokens[0].lower() == "startswith":
            return self._starts_with()
        name = self._take()
        operator = self._take().lower()
        if operator != "eq":
            raise unsupported_query(f"Unsupported or invalid query filter clause specified for property '{name}'.")
        return _equals(name, self._literal())

    def _starts_with(self) -> Filter:
        self._take()
        self._take("(")
        name = self._take()
        self._take(",")
        prefix = str(self._literal()).lower()
        self._take(")")
        return Filter(frozenset({name}), lambda get: str(get(name) or "").lower().startswith(prefix))

    def _literal(self) -> object:
        token = self._take()
        if token.startswith("'"):
            return token[1:-1].replace("''", "'")
        if token.lower() in _CONSTANTS:
            return _CONSTANTS[token.lower()]
        if _GUID.fullmatch(token):
            return token
        raise self._error()


def _equals(name: str, wanted: object) -> Filter:
    return Filter(frozenset({name}), lambda get: _same(get(name), wanted), ({name: wanted},))


def _both(left: Filter, right: Filter) -> Filter:
    demands = tuple({**one, **other} for one in left.alternatives for other in right.alternatives)
    return Filter(left.properties | right.properties, lambda get: left.accepts(get) and right.accepts(get), demands)


def _either(left: Filter, right: Filter) -> Filter:
    demands = (*left.alternatives, *right.alternatives)
    return Filter(left.properties | right.properties, lambda get: left.accepts(get) or right.accepts(get), demands)


def parse_filter(text: str, *, most: int | None = MAXIMUM_CLAUSES) -> Filter:
    """Return the filter; raises GraphError (400) when it can't be read or isn't supported.

    `most` clauses are joined by `or` (None: any number, as in advanced queries).
    """
    return _Parser(text, most).parse()
