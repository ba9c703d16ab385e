"""When no message is under way any more: every condition counts, each has its clock or its person, and only operators waive."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from shared.domain import schedule
from shared.domain.grant import Waiver
from shared.domain.problems import Actor
from shared.mailflow.drain import QUEUES_LIVE, RULES_SETTLE, Traffic, is_settled, still_missing

OFF = datetime(2026, 11, 23, 12, tzinfo=UTC)
LATER = OFF + QUEUES_LIVE
EMPTY = {"queued": 0, "quarantined": 0, "at": schedule.stamp(OFF + RULES_SETTLE)}
MINUTE = timedelta(minutes=1)


def test_everything_together_is_drained() -> None:
    """Rules settled, queues given up, nothing in message trace, nothing at the scanner: then, and not a minute before."""
    drained = Traffic(OFF, 0, EMPTY)

    assert still_missing(drained, LATER) == ()
    assert [each.until for each in still_missing(drained, LATER - MINUTE)] == [LATER]
    assert [each.until for each in still_missing(drained, OFF)] == [OFF + RULES_SETTLE, LATER]
    assert (is_settled(drained, OFF + RULES_SETTLE - MINUTE), is_settled(drained, OFF + RULES_SETTLE)) == (False, True)


def test_what_message_trace_shows_is_waited_for() -> None:
    """A message that waits counts, and so does that nobody has looked."""
    for pending, words in ((3, "shows 3"), (None, "is to show none")):
        (missing,) = still_missing(Traffic(OFF, pending, EMPTY), LATER)
        assert (missing.until, missing.who) == (None, None)
        assert words in missing.why


def test_the_scanner_has_to_say_that_it_is_empty() -> None:
    """A report from before the routing was off everywhere says nothing of what came after it."""
    early = {**EMPTY, "at": schedule.stamp(OFF + RULES_SETTLE - MINUTE)}
    for report in (None, early, {**EMPTY, "queued": 1}, {**EMPTY, "quarantined": 2}):
        (missing,) = still_missing(Traffic(OFF, 0, report), LATER)
        assert missing.who is Actor.OPERATOR


def test_a_waiver_takes_away_its_condition_alone() -> None:
    """Clocks are never waived: they are what Exchange Online needs."""
    waived = Traffic(OFF, None, None, (Waiver.SCANNER_QUEUE, Waiver.LEFTOVERS))

    assert still_missing(waived, LATER) == ()
    assert len(still_missing(waived, OFF)) == 2
    assert len(still_missing(Traffic(OFF, 1, None, (Waiver.SCANNER_QUEUE,)), LATER)) == 1
    assert len(still_missing(Traffic(OFF, None, None, (Waiver.LEFTOVERS,)), LATER)) == 1
    assert still_missing(Traffic(OFF, 7, EMPTY, (Waiver.MESSAGE_TRACE,)), LATER) == ()


@given(
    st.integers(0, 5) | st.none(),
    st.integers(0, 3),
    st.integers(0, 3),
    st.timedeltas(timedelta(), timedelta(days=3)),
    st.timedeltas(timedelta(), timedelta(days=3)),
)
def test_time_alone_only_ever_helps(pending: int | None, queued: int, held: int, first: timedelta, more: timedelta) -> None:
    """What is missing later was missing before; nothing is drained within a day."""
    traffic = Traffic(OFF, pending, {**EMPTY, "queued": queued, "quarantined": held})
    now, later = still_missing(traffic, OFF + first), still_missing(traffic, OFF + first + more)

    assert set(later) <= set(now)
    assert now or first >= QUEUES_LIVE
