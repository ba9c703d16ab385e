"""The daily sync of a grant: when it looks first and next, what stops it, and what a person may ask of it."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from shared.domain import decide, intents, outcomes, schedule
from shared.domain.decision import Decision
from shared.domain.grant import Grant, GrantState, Step
from shared.domain.outcomes import Done, Failed, NeedsPerson, Outcome
from shared.domain.problems import problem
from shared.domain.steps import STEPS, StepName, StepState
from shared.engine import account_row
from tests.unit.domain.grants import NOW, completed_until, ran
from tests.unit.domain.test_watch import TENANT, given, types

SYNC, FIRST = StepName.DAILY_SYNC, StepName.DIRECTORY_SYNC
LATER = NOW + timedelta(hours=1)
FACTS = {"users": 5, "groups": 1}


def complete(tenant: str = TENANT) -> Grant:
    """Return a grant of ``tenant`` that is complete, and whose first sync was just now."""
    grant = replace(completed_until(StepName.POLICY_ACTIVATION), tenant_id=tenant)
    return ran(grant, StepName.POLICY_ACTIVATION, Done())


def both_asked_for() -> Grant:
    """Return a complete grant whose two syncs are both queued: a domain was added, and a person wants it synced now."""
    grant = given(decide.retry(complete(), SYNC, NOW, actor="an operator"))
    return grant.with_step(replace(grant.steps[FIRST], state=StepState.QUEUED, clock=LATER))


def synced(grant: Grant, outcome: Outcome | None = None) -> Grant:
    """Return the grant after its daily sync, run at its moment, came to ``outcome``."""
    clock = grant.steps[SYNC].clock
    assert clock
    claimed = given(decide.claim(grant, SYNC, "run", clock))
    return given(decide.decide(claimed, SYNC, "run", outcome or Done(facts=FACTS), clock))


@pytest.mark.parametrize("tenant", [TENANT, "22222222-2222-3333-4444-555555555555", "33333333-2222-3333-4444-555555555555"])
def test_the_first_daily_sync_waits_for_the_tenants_own_moment(tenant: str) -> None:
    """The first sync has just been done: the step is at rest, with its clock at its moment, and the grant is complete."""
    grant = complete(tenant)
    step = grant.steps[SYNC]

    assert (step.state, step.clock) == (StepState.DONE, schedule.daily_slot(tenant, NOW, timedelta(hours=6)))
    assert (step.begun_at, step.finished_at, step.started_at) == (None, None, None)
    assert grant.state is GrantState.COMPLETED
    assert decide.claim(grant, SYNC, "run", NOW) is None


def test_it_looks_again_at_the_same_moment_each_day() -> None:
    """A day after the last time, whatever the sync took; the sweep finds it by its clock."""
    first = complete().steps[SYNC].clock
    grant = synced(complete())
    step = grant.steps[SYNC]

    assert first
    assert (step.state, step.clock, step.facts) == (StepState.DONE, first + timedelta(days=1), FACTS)
    assert (step.started_at, step.begun_at, step.finished_at) == (first, first, first)
    assert SYNC in decide.due_steps(grant, first + timedelta(days=1))


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (Failed(problem=problem("kept_failing")), StepState.NEEDS_ATTENTION),
        (NeedsPerson(problem=problem("graph_refused")), StepState.WAITING_FOR_PERSON),
    ],
    ids=["failed", "needs a person"],
)
def test_one_that_failed_looks_again_by_itself(outcome: Outcome, state: StepState) -> None:
    """Tomorrow's sync comes even if nobody has looked at today's trouble."""
    grant = synced(complete(), outcome)
    step = grant.steps[SYNC]

    assert step.state is state
    assert step.clock == (complete().steps[SYNC].clock or NOW) + timedelta(days=1)
    assert synced(grant).steps[SYNC].state is StepState.DONE


def test_a_person_has_it_done_now_and_the_next_is_not_too_soon() -> None:
    """On demand it is queued at once; the next look lies at least six hours after it, at the tenant's moment."""
    grant = complete()
    slot = grant.steps[SYNC].clock or NOW
    just_before = slot - timedelta(hours=1)
    asked = decide.retry(grant, SYNC, just_before, actor="an operator")

    assert asked
    assert types(asked) == ["step.retried"]
    assert [nudge.step for nudge in asked.nudges] == [SYNC]
    assert asked.grant.steps[SYNC].state is StepState.QUEUED
    assert ran(asked.grant, SYNC, Done(facts=FACTS), just_before).steps[SYNC].clock == slot + timedelta(days=1)
    assert decide.retry(asked.grant, SYNC, just_before, actor="an operator") is None


def test_a_sync_that_stood_on_a_lost_consent_is_done_once_it_is_given_again() -> None:
    """What was to be synced then is synced at once, not at the next moment."""
    lost = problem("graph_refused")
    grant = synced(complete(), outcomes.Reopen(step=StepName.DIRECTORY_CONSENT, why="gone", problem=lost))
    assert grant.steps[SYNC].state is StepState.BLOCKED

    grant = ran(ran(grant, StepName.DIRECTORY_CONSENT, Done()), StepName.VERIFICATION, Done())
    assert grant.steps[SYNC].state is StepState.QUEUED


def test_a_paused_grant_is_synced_still() -> None:
    """Who is protected is known on the day of the resumption; only the routing is off."""
    grant = given(intents.pause(complete(), NOW, actor="an operator"))
    grant = ran(grant, StepName.POLICY_ACTIVATION, Done())

    assert grant.state is GrantState.PAUSED
    assert synced(grant).steps[SYNC].facts == FACTS
    assert decide.can_retry(grant, SYNC)


def test_a_grant_that_is_paused_before_it_was_complete_is_synced_too() -> None:
    """Its policy was never switched on, but its directory was synced."""
    grant = given(intents.pause(completed_until(StepName.POLICY_ACTIVATION), NOW, actor="an operator"))
    grant = ran(grant, StepName.POLICY_ACTIVATION, Done())

    assert grant.steps[SYNC].clock


@pytest.mark.parametrize(
    "over",
    [
        lambda grant: decide.release(grant, NOW, actor="an administrator", why="moved"),
        lambda grant: intents.remove(grant, NOW, actor="an operator"),
    ],
    ids=["released", "removed"],
)
@pytest.mark.parametrize("is_running", [False, True], ids=["at rest", "running"])
def test_a_grant_that_is_over_is_not_synced(over: Callable[[Grant], Decision | None], is_running: bool) -> None:
    """No clock, no command and no unblocking begins it; a run that is under way has lost its step."""
    grant = complete()
    slot = grant.steps[SYNC].clock or NOW
    if is_running:
        grant = given(decide.claim(grant, SYNC, "run", slot))
    ended = given(over(grant))

    assert ended.steps[SYNC].clock is None
    assert decide.claim(ended, SYNC, "late", slot + timedelta(days=9)) is None
    assert decide.decide(ended, SYNC, "run", Done(facts=FACTS), slot) is None
    assert not decide.can_retry(ended, SYNC)


def test_its_failed_attempts_wait_longer_than_those_of_a_first_sync() -> None:
    """Nobody waits for it at a screen: from half a minute to an hour, for a day."""
    daily, first = STEPS[SYNC], STEPS[StepName.DIRECTORY_SYNC]

    assert (daily.retry_first, daily.retry_cap, daily.give_up) == (timedelta(seconds=30), timedelta(hours=1), timedelta(days=1))
    assert (daily.queue, daily.stands_on) == (first.queue, first.stands_on)


def test_a_grant_that_is_older_than_the_step_comes_to_it_with_its_next_watch() -> None:
    """A grant that was complete before there was a daily sync has one from the day after the release."""
    grant = complete()
    older = grant.with_step(Step(SYNC))
    watched = ran(older, StepName.ACCESS_WATCH, Done(), LATER)

    assert watched.steps[SYNC] == replace(grant.steps[SYNC], changed_at=LATER)


def test_every_daily_sync_is_told() -> None:
    """Others learn that the directory was synced even if the numbers are yesterday's."""
    grant = synced(complete())
    slot = grant.steps[SYNC].clock or NOW
    claimed = given(decide.claim(grant, SYNC, "run", slot))
    decided = decide.decide(claimed, SYNC, "run", Done(facts=FACTS), slot)

    assert decided
    assert [(event.type, event.step, event.data) for event in decided.events] == [("step.done", SYNC, FACTS)]


@pytest.mark.parametrize(("runs", "other"), [(SYNC, FIRST), (FIRST, SYNC)], ids=["daily first", "first first"])
def test_two_syncs_of_one_tenant_never_run_side_by_side(runs: StepName, other: StepName) -> None:
    """They share a cursor: the one that comes second waits for the other's run, and begins when that has ended."""
    grant = both_asked_for()
    claimed = given(decide.claim(grant, runs, "one", LATER))
    put_off = decide.claim(claimed, other, "two", LATER)

    assert put_off
    waiting = put_off.grant.steps[other]
    lease = schedule.lease_end(LATER)
    assert (waiting.state, waiting.reason, waiting.clock) == (StepState.WAITING, decide.OTHER_ENDS_FIRST, lease)
    assert [(nudge.step, nudge.at) for nudge in put_off.nudges] == [(other, lease)]
    assert decide.claim(put_off.grant, other, "two", lease - timedelta(seconds=1)) is None
    ended = given(decide.decide(put_off.grant, runs, "one", Done(facts=FACTS), LATER))
    assert ran(ended, other, Done(facts=FACTS), lease).steps[other].is_done


def test_a_run_that_died_holds_no_other_sync_up() -> None:
    """When its lease is over, whoever comes next goes on."""
    grant = given(decide.claim(both_asked_for(), SYNC, "one", LATER))
    lease = schedule.lease_end(LATER)

    assert given(decide.claim(grant, FIRST, "two", lease)).steps[FIRST].run_id == "two"


def test_a_sync_that_was_put_off_keeps_its_count_of_attempts() -> None:
    """It gives up when it would have, not a day after it was put off; what it met before is still told."""
    grant = both_asked_for()
    step = replace(
        grant.steps[SYNC], attempts=7, state=StepState.WAITING, clock=LATER, begun_at=NOW, problem=problem("kept_failing")
    )
    grant = given(decide.claim(grant.with_step(step), FIRST, "one", LATER))
    waiting = given(decide.claim(grant, SYNC, "two", LATER)).steps[SYNC]

    assert (waiting.attempts, waiting.begun_at, waiting.problem) == (7, NOW, problem("kept_failing"))


def test_a_daily_sync_that_was_put_off_begins_its_day_then() -> None:
    """It was due from its rest: the time until it gives up counts from there, not from the day before."""
    grant = synced(complete())
    slot = grant.steps[SYNC].clock or NOW
    first = replace(grant.steps[FIRST], state=StepState.QUEUED, clock=slot)
    grant = given(decide.claim(grant.with_step(first), FIRST, "one", slot))

    assert given(decide.claim(grant, SYNC, "two", slot)).steps[SYNC].begun_at == slot


def test_the_last_sync_is_whichever_ended_later() -> None:
    """The first one, until a daily one is done; the first one again when it was done again after that."""
    grant = complete()
    assert grant.last_sync_step.name is FIRST
    assert (account_row(grant).users_synced, account_row(grant).last_sync) == (None, NOW)

    daily = synced(grant, Done(facts={**FACTS, "tenant_name": "Contoso"}))
    row = account_row(daily)
    assert daily.last_sync_step.name is SYNC
    assert (row.users_synced, row.last_sync, row.tenant_name) == (5, grant.steps[SYNC].clock, "Contoso")

    later = (row.last_sync or NOW) + timedelta(minutes=5)
    again = daily.with_step(replace(daily.steps[FIRST], finished_at=later, facts={"users": 6}))
    assert (account_row(again).users_synced, account_row(again).last_sync) == (6, later)
