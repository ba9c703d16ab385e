"""Microsoft's limits for one application in one tenant, where the settings switch them on.

Source: microsoft-graph-docs concepts/throttling-limits.md (a token bucket, in resource units for ten seconds). Here the
bucket refills steadily. What a Graph request costs is told by `graph.resource_units`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime

WINDOW_SECONDS = 10


@dataclass(slots=True)
class Buckets:
    """What each caller has left."""

    _levels: dict[tuple[str, ...], tuple[float, datetime]] = field(default_factory=dict)

    def take(self, key: tuple[str, ...], cost: int, limit: int, now: datetime) -> int:
        """Take `cost` of `limit` per ten seconds; returns 0, or the whole seconds to wait where too little is left."""
        level, since = self._levels.get(key, (float(limit), now))
        level = min(float(limit), level + (now - since).total_seconds() * limit / WINDOW_SECONDS)
        if level < cost:
            self._levels[key] = (level, now)
            return math.ceil((cost - level) * WINDOW_SECONDS / limit)
        self._levels[key] = (level - cost, now)
        return 0

    def used(self, key: tuple[str, ...], limit: int) -> float:
        """Which part of `limit` was used when something was last taken, or refused; 0 to 1."""
        level, _ = self._levels.get(key, (float(limit), None))
        return max(0.0, 1 - level / limit)

    def clear(self) -> None:
        """Fill every bucket."""
        self._levels.clear()
