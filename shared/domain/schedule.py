"""Clocks of the engine: leases, graces, budgets and back-off, as pure functions of time.

The due index is kept by whole minutes. A lease or a grace therefore ends on a whole minute: what a killed process left
behind is found by the very sweep that its end falls on, not up to a minute later.
"""

from datetime import UTC, datetime, timedelta

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


def backoff(attempt: int, first: timedelta, cap: timedelta) -> timedelta:
    """Return the delay before attempt ``attempt`` (1 is the first retry): doubling, capped."""
    return min(cap, first * float(2 ** min(max(attempt, 1) - 1, 30)))


def stamp(at: datetime) -> str:
    """Write a moment as ISO 8601 in UTC, with milliseconds."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse(text: str) -> datetime:
    """Read what ``stamp`` wrote. Raises ValueError for anything else."""
    return datetime.fromisoformat(text)
