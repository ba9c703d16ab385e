"""Remembers the requests that were answered, for tests and for the demo's receipt."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime

_KEPT_REQUESTS = 100_000


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One answered request. Bodies and headers are not kept: they carry secrets."""

    method: str
    path: str
    query: str
    status: int
    """0 when the connection was dropped."""
    api: str
    """`identity`, `graph`, `exchange`, `activity` or `portal`."""
    operation: str
    """A cmdlet's name, a Graph path template, or the path."""
    tenant_id: str | None
    app_id: str | None
    at: datetime
    fault: bool
    """Whether an injected fault gave the answer."""


@dataclass(slots=True)
class Recorder:
    """The latest requests, oldest first."""

    requests: deque[RecordedRequest] = field(default_factory=lambda: deque(maxlen=_KEPT_REQUESTS))

    def add(self, request: RecordedRequest) -> None:
        """Remember one request."""
        self.requests.append(request)

    def clear(self) -> None:
        """Forget all requests."""
        self.requests.clear()
