"""The timer trigger, statement by statement of docs/host.md (1.2), on a clock that only moves when told."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import azure.functions as func
import pytest

from local.host.configuration import ConfigurationError
from local.host.schedule import is_monitored, parse_schedule
from local.host.timer_listener import ScheduleMonitor, ScheduleStatus, TimerListener, TimerLock, run_when_alone
from tests.host.apps import running
from tests.host.doubles import START, FakeClock

EVERY_FIVE_MINUTES = "0 */5 * * * *"


def app_with_timer(schedule: str, **options: Any) -> tuple[func.FunctionApp, list[Any]]:
    """An app with one timer function, and the timers it was given."""
    app, seen = func.FunctionApp(), []

    @app.timer_trigger(arg_name="timer", schedule=schedule, **options)
    async def tick(timer: func.TimerRequest) -> None:
        seen.append(timer)

    return app, seen


@asynccontextmanager
async def listening(
    schedule: str, data: Path, clock: FakeClock, *, takes: float = 0, run_on_startup: bool = False
) -> AsyncIterator[list[tuple[datetime, dict[str, Any]]]]:
    """Run one timer listener whose function takes so many seconds; give its runs."""
    runs: list[tuple[datetime, dict[str, Any]]] = []

    async def execute(timer: dict[str, Any]) -> None:
        runs.append((clock.now(), timer))
        if takes:
            await clock.sleep(takes)

    listener = TimerListener(
        "tick", parse_schedule(schedule), execute, clock, ScheduleMonitor(data, "local"), run_on_startup=run_on_startup
    )
    task = asyncio.create_task(listener.run())
    await clock.settle()
    try:
        yield runs
    finally:
        listener.stop()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("*/15 * * * * *", ["12:00:15", "12:00:30", "12:00:45"]),
        (EVERY_FIVE_MINUTES, ["12:05:00", "12:10:00", "12:15:00"]),
        ("*/5 * * * *", ["12:05:00", "12:10:00", "12:15:00"]),
        ("30 0 14-15 * * MON-FRI", ["14:00:30", "15:00:30", "14:00:30"]),
        ("00:00:20", ["12:00:20", "12:00:40", "12:01:00"]),
    ],
)
def test_1_2_1_schedules(schedule: str, expected: list[str]) -> None:
    """Six fields with seconds, five without, or a time span."""
    parsed, at, found = parse_schedule(schedule), START, []
    for _ in expected:
        at = parsed.next(at)
        found.append(f"{at:%H:%M:%S}")
    assert found == expected


@pytest.mark.parametrize("schedule", ["often", "* * *", "61 * * * * *", "00:00:00", ""])
def test_1_2_1_an_unreadable_schedule_is_refused(schedule: str) -> None:
    """What is neither NCRONTAB nor a time span is a fault at the start."""
    with pytest.raises(ValueError, match="schedule"):
        parse_schedule(schedule)


async def test_1_2_1_a_schedule_may_be_an_app_setting(tmp_path: Path) -> None:
    """%SETTING% is resolved; a missing setting is a fault at the start."""
    app, seen = app_with_timer("%EVERY%")
    async with running(app, tmp_path, settings={"EVERY": EVERY_FIVE_MINUTES}) as at:
        await at.clock.advance(300)
        assert len(seen) == 1

    unset, _ = app_with_timer("%EVERY%")
    with pytest.raises(ConfigurationError, match="function tick: '%EVERY%' does not resolve"):
        async with running(unset, tmp_path):
            pass


def test_1_2_2_day_of_month_and_day_of_week_must_both_match() -> None:
    """``0 0 0 13 * 5`` means Friday the 13th, unlike Unix cron's "13th or Friday"."""
    schedule, at, found = parse_schedule("0 0 0 13 * 5"), START, []
    for _ in range(3):
        at = schedule.next(at)
        found.append(f"{at:%a %Y-%m-%d}")
    assert found == ["Fri 2027-08-13", "Fri 2028-10-13", "Fri 2029-04-13"]


def test_1_2_3_schedules_are_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in Azure, whatever the machine's time zone."""
    monkeypatch.setenv("TZ", "America/New_York")
    assert parse_schedule("0 0 3 * * *").next(START) == datetime(2026, 11, 24, 3, tzinfo=UTC)


async def test_1_2_4_one_host_runs_the_timers(tmp_path: Path) -> None:
    """A second host of the same data directory waits for the lock, trying every 60 s, and takes over when it is free."""
    clock, first = FakeClock(), TimerLock(tmp_path, "local")
    runs: list[dict[str, Any]] = []

    async def execute(timer: dict[str, Any]) -> None:
        runs.append(timer)

    assert first.take()
    second = TimerListener("tick", parse_schedule("*/10 * * * * *"), execute, clock, None)
    task = asyncio.create_task(run_when_alone(TimerLock(tmp_path, "local"), [second], clock, asyncio.Event()))
    await clock.advance(70)
    assert runs == []

    first.release()
    await clock.advance(49)
    assert runs == []
    await clock.advance(12)
    assert len(runs) == 1
    second.stop()
    await task
    assert first.take(), "a host that ends gives the lock back"
    first.release()


async def test_1_2_5_a_timer_never_overlaps_itself_and_skips_what_it_missed(tmp_path: Path) -> None:
    """A run of 25 s on a 10 s schedule: the next begins at once when it ends, and missed ticks are not made up for."""
    async with listening("*/10 * * * * *", tmp_path, clock := FakeClock(), takes=25) as runs:
        await clock.advance(85)
        assert [int((at - START).total_seconds()) for at, _ in runs] == [10, 35, 60, 85]


async def test_1_2_6_the_status_is_kept_in_a_file(tmp_path: Path) -> None:
    """Last, Next and LastUpdated are kept after each run, where Azure keeps the blob timers/HOST/FUNCTION/status."""
    async with listening(EVERY_FIVE_MINUTES, tmp_path, clock := FakeClock()):
        await clock.advance(301)
    stored = json.loads((tmp_path / "timers" / "local" / "tick" / "status").read_text())
    assert stored == {
        "Last": "2026-11-23T12:05:00+00:00",
        "Next": "2026-11-23T12:10:00+00:00",
        "LastUpdated": "2026-11-23T12:05:00+00:00",
    }


@pytest.mark.parametrize(
    ("schedule", "monitored"),
    [("0 * * * * *", True), ("*/30 * * * * *", False), ("0,30 0 * * * *", False), ("00:01:00", True), ("00:00:59", False)],
)
def test_1_2_6_the_monitor_is_off_for_what_comes_more_than_once_a_minute(schedule: str, monitored: bool) -> None:
    """Less than a minute between two occurrences switches the monitor off, silently."""
    assert is_monitored(parse_schedule(schedule), START) is monitored


async def test_1_2_6_use_monitor_false_keeps_no_status(tmp_path: Path) -> None:
    """use_monitor=False: nothing is kept, and the worker is told no status."""
    app, seen = app_with_timer(EVERY_FIVE_MINUTES, use_monitor=False)
    async with running(app, tmp_path) as at:
        await at.clock.advance(300)
    assert not (tmp_path / "timers").exists()
    assert seen[0].schedule_status == {}


async def test_1_2_7_first_start_writes_the_status_and_runs_nothing(tmp_path: Path) -> None:
    """The first start of all records the next occurrence."""
    async with listening(EVERY_FIVE_MINUTES, tmp_path, FakeClock()) as runs:
        assert runs == []
    stored = ScheduleMonitor(tmp_path, "local").read("tick")
    assert stored is not None
    assert (stored.last.year, stored.next) == (1, START + timedelta(minutes=5))


async def test_1_2_7_a_missed_occurrence_is_made_up_for_once(tmp_path: Path) -> None:
    """After an hour's stop there is one run with past_due, at once, then the schedule goes on."""
    async with listening(EVERY_FIVE_MINUTES, tmp_path, FakeClock()):
        pass
    later = START + timedelta(hours=1, seconds=7)
    async with listening(EVERY_FIVE_MINUTES, tmp_path, clock := FakeClock(later)) as runs:
        assert [(at, timer["IsPastDue"]) for at, timer in runs] == [(later, True)]
        await clock.advance(300)
        assert [timer["IsPastDue"] for _, timer in runs] == [True, False]


async def test_1_2_7_a_changed_schedule_is_not_past_due(tmp_path: Path) -> None:
    """A status of another schedule is computed anew."""
    async with listening(EVERY_FIVE_MINUTES, tmp_path, FakeClock()):
        pass
    later = START + timedelta(hours=1, seconds=7)
    async with listening("0 */20 * * * *", tmp_path, clock := FakeClock(later)) as runs:
        assert runs == []
        stored = ScheduleMonitor(tmp_path, "local").read("tick")
        assert stored is not None
        assert stored.next == START + timedelta(hours=1, minutes=20)
        await clock.advance(20 * 60)
        assert [timer["IsPastDue"] for _, timer in runs] == [False]


async def test_1_2_8_run_on_startup_runs_once_at_every_start(tmp_path: Path) -> None:
    """run_on_startup: one run at once; not a second one when it is past due as well."""
    async with listening(EVERY_FIVE_MINUTES, tmp_path, FakeClock(), run_on_startup=True) as runs:
        assert [timer["IsPastDue"] for _, timer in runs] == [False]
    later = FakeClock(START + timedelta(hours=1))
    async with listening(EVERY_FIVE_MINUTES, tmp_path, later, run_on_startup=True) as runs:
        assert [timer["IsPastDue"] for _, timer in runs] == [True]


async def test_1_2_9_errors_do_not_stop_the_schedule(tmp_path: Path) -> None:
    """A failed occurrence isn't repeated; the next comes at its time."""
    app, runs = func.FunctionApp(), []

    @app.timer_trigger(arg_name="timer", schedule=EVERY_FIVE_MINUTES)
    async def tick(timer: func.TimerRequest) -> None:
        runs.append(timer)
        raise ValueError("oops")

    async with running(app, tmp_path) as at:
        await at.clock.advance(599)
        assert len(runs) == 1
        await at.clock.advance(1)
        assert len(runs) == 2


async def test_1_2_9_a_retry_policy_is_refused(tmp_path: Path) -> None:
    """Retry policies aren't emulated: the host says so at the start rather than ignore one."""
    app = func.FunctionApp()

    @app.timer_trigger(arg_name="timer", schedule=EVERY_FIVE_MINUTES)
    @app.retry(strategy="fixed_delay", max_retry_count="3", delay_interval="00:00:10")
    async def tick(timer: func.TimerRequest) -> None:
        raise AssertionError

    with pytest.raises(ConfigurationError, match="function tick: a retry policy is not emulated"):
        async with running(app, tmp_path):
            pass


async def test_1_2_10_the_worker_is_told_past_due_status_and_schedule(tmp_path: Path) -> None:
    """The TimerRequest carries past_due, schedule_status (Last, Next, LastUpdated) and schedule (AdjustForDST)."""
    app, seen = app_with_timer(EVERY_FIVE_MINUTES)
    async with running(app, tmp_path) as at:
        await at.clock.advance(600)
    assert [timer.past_due for timer in seen] == [False, False]
    assert seen[1].schedule == {"AdjustForDST": True}
    assert seen[1].schedule_status == {
        "Last": "2026-11-23T12:05:00+00:00",
        "Next": "2026-11-23T12:10:00+00:00",
        "LastUpdated": "2026-11-23T12:05:00+00:00",
    }


async def test_a_broken_status_file_starts_anew(tmp_path: Path) -> None:
    """A status that can't be read is written anew; nothing runs for it."""
    path = tmp_path / "timers" / "local" / "tick" / "status"
    path.parent.mkdir(parents=True)
    path.write_text('{"Last": ')
    async with listening(EVERY_FIVE_MINUTES, tmp_path, FakeClock()) as runs:
        assert runs == []
    assert ScheduleMonitor(tmp_path, "local").read("tick") is not None


async def test_a_timer_that_wakes_early_does_not_count_an_occurrence_twice(tmp_path: Path) -> None:
    """Woken a little before its time, the occurrence counts as the one that was due."""
    clock = FakeClock(START + timedelta(minutes=4, seconds=59, milliseconds=900))
    monitor = ScheduleMonitor(tmp_path, "local")

    async def execute(_timer: dict[str, Any]) -> None:
        """Do nothing."""

    listener = TimerListener("tick", parse_schedule(EVERY_FIVE_MINUTES), execute, clock, monitor)
    due = START + timedelta(minutes=5)
    after = await listener._invoke(ScheduleStatus(START, due, START), is_past_due=False, scheduled=True)
    assert (after.last, after.next) == (due, START + timedelta(minutes=10))


async def test_admin_runs_a_timer_function_by_hand(tmp_path: Path) -> None:
    """POST /admin/functions/NAME runs a timer at once, not past due."""
    app, seen = app_with_timer(EVERY_FIVE_MINUTES)
    async with running(app, tmp_path) as at:
        answer = await at.client.post("/admin/functions/tick", json={}, headers=at.as_admin)
        await at.clock.settle()
        assert (answer.status_code, [timer.past_due for timer in seen]) == (202, [False])
