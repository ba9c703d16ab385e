"""Names: the fields of the model as Graph writes them, and the spellings of a path that mean the same."""

from __future__ import annotations

import re

_ALIAS = re.compile(r"/graph\.(?=[a-z])", re.IGNORECASE)
_DELTA = re.compile(r"/(?:microsoft\.graph\.)?delta(?:\(\))?$", re.IGNORECASE)
_CAMEL = re.compile(r"_([a-z])")
_NAMES = {"created_at": "createdDateTime", "visible_at": "visibleDateTime"}


def camel_case(name: str) -> str:
    """A field's name as Graph writes it."""
    return _NAMES.get(name) or _CAMEL.sub(lambda match: match[1].upper(), name)


def canonical_path(path: str) -> str:
    """A path of Graph's with its types and functions as the simulation's templates have them.

    `graph` is the alias of `microsoft.graph` in Microsoft's metadata; `/delta` stands for `/microsoft.graph.delta()`
    (learn.microsoft.com/graph/delta-query-overview), and both are known with and without parentheses.
    """
    return _DELTA.sub("/delta", _ALIAS.sub("/microsoft.graph.", path))
