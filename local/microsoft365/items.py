"""The calls of a batch: each is disturbed, throttled and recorded by itself, as a request of its own would be."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Item:
    """One call of a batch: where it would have been sent by itself, and whose it is."""

    api: str
    """`exchange` or `graph`."""
    method: str
    path: str
    query: str
    operation: str
    """The cmdlet, or the template of Graph's path."""
    tenant_id: str
    app_id: str
    units: int = 1
    """What it costs, in the units of the service's limit."""

    @property
    def cmdlet(self) -> str | None:
        """The cmdlet that is called; None where none is."""
        return self.operation if self.api == "exchange" else None


@dataclass(frozen=True, slots=True)
class Reply:
    """What a call is answered; None for a body that is no JSON document."""

    status: int
    document: Mapping[str, Any] | None
    headers: Mapping[str, str] = field(default_factory=dict)


Serve = Callable[[float | None], Reply]
"""Carries the call out; a number has a reading call see the tenant as it was so many seconds ago."""
Guard = Callable[[Item, Serve], Awaitable[Reply]]
"""Has a call carried out, or answers in its place."""


async def unguarded(_: Item, serve: Serve) -> Reply:
    """Have the call carried out."""
    return serve(None)
