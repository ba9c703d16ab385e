"""One call of Graph as it came: by itself, or in a batch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from yarl import URL

from local.microsoft365.graph.errors import GraphError
from local.microsoft365.graph.operations import find_operation, resource_units

PREFIX = "/v1.0"
CONTENT_TYPE = "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8"


@dataclass(frozen=True, slots=True)
class Call:
    """A request's method, relative address (the version included), headers and body."""

    method: str
    url: URL
    headers: Mapping[str, str]
    """Found by their names in any letter case."""
    body: bytes = b""
    stale: float | None = None
    """Where a fault says so: a read sees the tenant as it was so many seconds ago."""

    @property
    def path(self) -> str:
        """The decoded path after the version."""
        return unquote(self.url.raw_path.removeprefix(PREFIX))

    @property
    def operation(self) -> str:
        """The template of the path; the path itself where it has none."""
        try:
            return find_operation(self.method, self.path).operation.template
        except GraphError:
            return self.path

    @property
    def units(self) -> int:
        """What it costs in resource units."""
        return resource_units(self.method, self.path, self.url.query)


def written(document: Mapping[str, Any]) -> bytes:
    """Return a document as it is sent."""
    return json.dumps(document, separators=(",", ":")).encode()
