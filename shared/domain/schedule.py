"""Clocks of the engine: leases, graces, budgets and back-off, as pure functions of time.

The due index is kept by whole minutes. A lease or a grace therefore ends on a whole minute: what a killed process left
behind is found by the very sweep that its end falls on, not up to a minute later.
"""

from datetime import UTC, datetime, timedelta
from hashlib import sha256

LEASE = timedelta(seconds=120)
"""How long a run may hold a step at the most."""
GRACE = timedelta(seconds=120)
"""How long a nudge may take at the most before the sweep sends another."""
BUDGET = timedelta(seconds=60)
"""How long one run may work at the most."""
MARGIN = timedelta(seconds=15)
"""What stays of a lease, at the least, when a run's budget has ended."""
PERSON_PATIENCE = timedelta(days=14)
"""How long a step waits for a person before it needs attention."""
DAY = timedelta(days=1)
JITTER = 0.25
"""By which part of itself a delay is made longer or shorter at the most."""
MAXIMUM_CLAIMS = 5
"""How often a step may be claimed without an outcome before it needs attention."""
MAXIMUM_REOPENS = 3
"""How often verification may have a step done again before it needs attention."""
EARLY = timedelta(seconds=30)
"""A nudge that comes this little before its step's clock is sent again; an earlier one is left to the sweep."""


def floor_minute(at: datetime) -> datetime:
    """Return the whole minute at or before ``at``."""
    return at.replace(second=0, microsecond=0)


def ceil_minute(at: datetime) -> datetime:
    """Return the whole minute at or after ``at``."""
    floor = floor_minute(at)
    return floor if floor == at else floor + timedelta(minutes=1)


def lease_end(now: datetime) -> datetime:
    """Return when a run that begins now loses its step: a whole minute, 60 to 120 s ahead."""
    return floor_minute(now + LEASE)


def grace_end(now: datetime) -> datetime:
    """Return when the sweep takes a nudge that was sent now for lost: a whole minute, 60 to 120 s ahead."""
    return floor_minute(now + GRACE)


def run_deadline(now: datetime) -> datetime:
    """Return when a run that begins now must have ended: always before its lease."""
    return min(now + BUDGET, lease_end(now) - MARGIN)


def backoff(attempt: int, first: timedelta, cap: timedelta, seed: str = "") -> timedelta:
    """Return the delay before attempt ``attempt`` (1 is the first retry): doubling, capped.

    With a seed it is up to a quarter longer or shorter, never longer than ``cap``, and the same for the same seed: what failed
    together, because a service was down, does not come back together.
    """
    delay = first * float(2 ** min(max(attempt, 1) - 1, 30))
    if not seed:
        return min(cap, delay)
    return min(cap / (1 + JITTER), delay) * (1 + JITTER * (2 * share(seed) - 1))


def daily_slot(seed: str, after: datetime, at_least: timedelta) -> datetime:
    """Return the seed's own moment of the day (UTC), the first one that lies at least ``at_least`` after ``after``.

    Seeds are spread evenly over the day. The same seed has the same moment every day, up to 24 hours past the least.
    """
    earliest = after + at_least
    midnight = earliest.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    slot = midnight + timedelta(seconds=int(share(seed) * DAY.total_seconds()))
    return slot if slot >= earliest else slot + DAY


def share(seed: str) -> float:
    """Return a number from 0 up to, but not including, 1 that is the same for the same seed, and even over many seeds."""
    return int.from_bytes(sha256(seed.encode()).digest()[:6]) / 2**48


def stamp(at: datetime) -> str:
    """Write a moment as ISO 8601 in UTC, with milliseconds."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse(text: str) -> datetime:
    """Read what ``stamp`` wrote. Raises ValueError for anything else."""
    return datetime.fromisoformat(text)
