"""The OData query options of a request, read once and checked."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass

from local.microsoft365.graph.errors import expired_page, malformed, unsupported_query
from local.microsoft365.graph.filters import MAXIMUM_CLAUSES, Filter, parse_filter

MAXIMUM_TOP = 999
_KNOWN = frozenset({"$select", "$top", "$filter", "$count", "$skiptoken", "$expand", "$orderby", "$search", "$format"})
_ABSENT = ("$orderby", "$search")
_OF_DELTA = "$deltatoken"


@dataclass(frozen=True, slots=True)
class Query:
    """What a request asks of a collection or an object."""

    select: tuple[str, ...]
    top: int | None
    filter: Filter | None
    count: bool
    expand: str
    skip_token: str
    filter_text: str = ""
    """The filter as it was asked; a delta function reads it itself."""
    delta_token: str = ""
    """Of delta functions only."""


def _top(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.lstrip("-").isdigit():
        raise malformed(f"The value '{text}' is not valid for the query parameter '$top'.")
    size = int(text)
    if not 1 <= size <= MAXIMUM_TOP:
        message = f"Invalid page size specified: '{size}'. Must be between 1 and {MAXIMUM_TOP} inclusive."
        raise malformed(message)
    return size


def read_query(options: Mapping[str, str], headers: Mapping[str, str], *, is_delta: bool = False) -> Query:
    """Return the options; raises GraphError (400) for one that Graph doesn't know, can't read or doesn't support.

    `$count` counts only with the header `ConsistencyLevel: eventual`; a delta function takes a `$deltatoken` as well.
    """
    known = _KNOWN | {_OF_DELTA} if is_delta else _KNOWN
    for name in options:
        if name.startswith("$") and name.lower() not in known:
            raise malformed(f"The query parameter '{name}' is not supported.")
    lowered = {name.lower(): value for name, value in options.items()}
    for name in _ABSENT:
        if name in lowered:
            raise unsupported_query(f"The query parameter '{name}' is not supported for this resource.")
    text = lowered.get("$filter", "")
    eventual = headers.get("ConsistencyLevel", "").lower() == "eventual"
    return Query(
        select=tuple(name.strip() for name in lowered.get("$select", "").split(",") if name.strip()),
        top=_top(lowered.get("$top")),
        filter=parse_filter(text, most=None if eventual else MAXIMUM_CLAUSES) if text and not is_delta else None,
        count=eventual and lowered.get("$count", "").lower() == "true",
        expand=lowered.get("$expand", ""),
        skip_token=lowered.get("$skiptoken", ""),
        filter_text=text,
        delta_token=lowered.get(_OF_DELTA, ""),
    )


def write_skip_token(collection: str, position: int | str) -> str:
    """Return an opaque token for the page of a collection that begins at `position`."""
    return base64.urlsafe_b64encode(json.dumps([collection, position]).encode()).decode().rstrip("=")


def read_skip_token(collection: str, token: str) -> int | str:
    """Return the position in a token, 0 for none; raises GraphError (400) when it isn't this collection's."""
    if not token:
        return 0
    try:
        name, position = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (binascii.Error, TypeError, ValueError):
        raise expired_page() from None
    if name != collection or not isinstance(position, int | str):
        raise expired_page()
    return position
