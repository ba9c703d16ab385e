"""Clocks that must spread: the daily syncs of many tenants over the day, and the retries of what failed together."""

from collections import Counter
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain import schedule

SIX_HOURS = timedelta(hours=6)
MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - made aware by the strategy
NOW = datetime(2026, 11, 23, 12, 0, 7, tzinfo=UTC)
TENANTS = [str(UUID(int=number)) for number in range(10_000)]


def test_the_daily_syncs_of_ten_thousand_tenants_are_spread_over_the_day() -> None:
    """No five minutes have twice their even share, whatever all tenants did at the same moment before."""
    slots = [schedule.daily_slot(tenant, NOW, SIX_HOURS) for tenant in TENANTS]
    windows = Counter((slot - NOW - SIX_HOURS) // timedelta(minutes=5) for slot in slots)
    even = len(TENANTS) / 288

    assert set(windows) == set(range(288))
    assert max(windows.values()) < 2 * even
    assert min(windows.values()) > even / 4


@given(st.text(max_size=40), MOMENTS, st.timedeltas(timedelta(), timedelta(hours=24)))
def test_a_slot_is_never_too_early_and_at_most_a_day_later(seed: str, after: datetime, at_least: timedelta) -> None:
    """What was done at any moment is done again between the least and a day after it, each day at the same time."""
    slot = schedule.daily_slot(seed, after, at_least)

    assert at_least <= slot - after < at_least + timedelta(days=1)
    assert schedule.daily_slot(seed, slot, at_least or SIX_HOURS) - slot == timedelta(days=1)


def test_a_slot_is_the_same_moment_in_every_time_zone() -> None:
    """The day is UTC's, whatever clock the moment was told by."""
    elsewhere = NOW.astimezone(timezone(timedelta(hours=-11)))

    assert schedule.daily_slot("contoso", elsewhere, SIX_HOURS) == schedule.daily_slot("contoso", NOW, SIX_HOURS)


@given(
    st.integers(1, 200),
    st.timedeltas(timedelta(seconds=1), timedelta(minutes=1)),
    st.timedeltas(timedelta(minutes=1), timedelta(hours=1)),
    st.text(min_size=1, max_size=20),
)
def test_a_jittered_delay_stays_within_its_bounds(attempt: int, first: timedelta, cap: timedelta, seed: str) -> None:
    """Never above the cap, never below half of the first delay, never more than a quarter off but for the cap."""
    plain = schedule.backoff(attempt, first, cap)
    delay = schedule.backoff(attempt, first, cap, seed)

    assert first / 2 < delay <= cap
    assert delay <= plain * 1.25
    assert delay >= min(plain, cap / 1.25) * 0.75 - timedelta(microseconds=1)
    assert schedule.backoff(attempt, first, cap, seed) == delay


@pytest.mark.parametrize("attempt", [1, 4, 100])
def test_what_failed_together_comes_back_apart(attempt: int) -> None:
    """A thousand delays fill their whole span evenly, at the cap too."""
    first, cap = timedelta(seconds=30), timedelta(hours=1)
    delays = [schedule.backoff(attempt, first, cap, tenant) for tenant in TENANTS[:1000]]
    middle = min(schedule.backoff(attempt, first, cap), cap / 1.25)
    tenths = Counter((delay - middle * 0.75) // (middle * 0.05) for delay in delays)

    assert set(tenths) == set(range(10))
    assert max(tenths.values()) < 2 * min(tenths.values())
