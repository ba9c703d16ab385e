"""What repeats: the daily watch of a completed grant, what it finds, and a grant that gives its tenant back."""

from dataclasses import replace
from datetime import timedelta

import pytest

from shared.domain import decide, outcomes
from shared.domain.decision import Decision
from shared.domain.grant import Grant, GrantState, RoleMode
from shared.domain.outcomes import Done, Outcome
from shared.domain.problems import problem
from shared.domain.steps import STEPS, StepName, StepState
from tests.unit.domain.grants import NOW, completed_until, created, ran

WATCH = StepName.ACCESS_WATCH
TENANT = "11111111-2222-3333-4444-555555555555"
DAY = timedelta(days=1)


def completed() -> Grant:
    """Return a grant that is complete, without a proof, and whose watch is asked for."""
    return replace(ran(completed_until(WATCH), StepName.MAIL_PROOF, Done()), tenant_id=TENANT)


def given(decision: Decision | None) -> Grant:
    """Return the grant of a decision that must be there."""
    assert decision
    return decision.grant


def types(decision: Decision | None) -> list[str]:
    """Return the types of a decision's events."""
    assert decision
    return [event.type for event in decision.events]


def test_the_watch_begins_with_completion_and_looks_again_the_next_day() -> None:
    """A done watch has a clock; the sweep finds it, and the grant is complete all the while."""
    grant = ran(completed(), WATCH, Done(facts={"extra": {}}))
    step = grant.steps[WATCH]

    assert (step.state, step.clock, grant.state) == (StepState.DONE, NOW + DAY, GrantState.COMPLETED)
    assert WATCH in decide.due_steps(grant, NOW + DAY)
    assert WATCH not in decide.due_steps(grant, NOW + DAY - timedelta(seconds=1))
    assert decide.claim(grant, WATCH, "early", NOW + DAY / 2) is None
    again = given(decide.claim(grant, WATCH, "next", NOW + DAY))
    assert (again.state, again.steps[WATCH].begun_at) == (GrantState.COMPLETED, NOW + DAY)


def test_only_news_of_the_watch_is_an_event() -> None:
    """A look that sees the same as yesterday is not told; one that sees more is."""
    grant = ran(completed(), WATCH, Done(facts={"extra": {}}))
    claimed = given(decide.claim(grant, WATCH, "run", NOW + DAY))

    assert types(decide.decide(claimed, WATCH, "run", Done(facts={"extra": {}}), NOW + DAY)) == []
    assert types(decide.decide(claimed, WATCH, "run", Done(facts={"extra": {"directory": ["X"]}}), NOW + DAY)) == ["step.done"]


def test_a_lost_consent_is_given_again_and_everything_is_verified_after_it() -> None:
    """The consent waits for its person with the problem; then verification, then the watch; the policy is not enabled twice."""
    lost = problem("consent_missing", raw="missing: X")
    reopened = ran(completed(), WATCH, outcomes.Reopen(step=StepName.DIRECTORY_CONSENT, why="X is gone", problem=lost))

    states = {name: step.state for name, step in reopened.steps.items()}
    assert (states[StepName.DIRECTORY_CONSENT], reopened.state) == (StepState.WAITING_FOR_PERSON, GrantState.WAITING_FOR_PERSON)
    assert reopened.steps[StepName.DIRECTORY_CONSENT].problem == lost
    assert {states[StepName.VERIFICATION], states[WATCH]} == {StepState.BLOCKED}
    assert {states[StepName.DIRECTORY_SYNC], states[StepName.POLICY_ACTIVATION]} == {StepState.DONE}

    grant = given(decide.person_acted(reopened, StepName.DIRECTORY_CONSENT, NOW, actor="an administrator"))
    grant = ran(grant, StepName.DIRECTORY_CONSENT, Done())
    assert grant.steps[StepName.VERIFICATION].state is StepState.QUEUED
    claimed = given(decide.claim(grant, StepName.VERIFICATION, "run", NOW))
    verified = decide.decide(claimed, StepName.VERIFICATION, "run", Done(), NOW)
    assert types(verified) == ["step.done", "grant.restored"]
    assert (given(verified).state, given(verified).steps[WATCH].state) == (GrantState.COMPLETED, StepState.QUEUED)


def test_a_good_look_forgives_what_was_done_again() -> None:
    """Only losses in a row count towards the end of patience with a tenant."""
    grant = completed()
    for _ in range(5):
        lost = problem("fact_missing")
        grant = ran(grant, WATCH, outcomes.Reopen(step=StepName.PREFLIGHT, why="gone", problem=lost))
        for name in (StepName.PREFLIGHT, StepName.VERIFICATION):
            grant = ran(grant, name, Done())
        grant = ran(grant, WATCH, Done())
        grant = given(decide.retry(grant, WATCH, NOW, actor="an operator"))

    assert grant.steps[StepName.PREFLIGHT].reopened == 0


def test_an_optional_steps_loss_does_not_stop_the_watch() -> None:
    """The activity consent can wait for ever; the watch looks again the next day all the same."""
    found = problem("consent_missing")
    grant = ran(completed(), WATCH, outcomes.Reopen(step=StepName.ACTIVITY_CONSENT, why="gone", problem=found))

    assert (grant.state, grant.steps[WATCH].state, grant.steps[WATCH].clock) == (GrantState.COMPLETED, StepState.DONE, NOW + DAY)
    assert grant.steps[StepName.ACTIVITY_CONSENT].state is StepState.WAITING_FOR_PERSON


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (outcomes.NeedsPerson(problem=problem("role_ends_soon"), facts={"role_ends_at": "x"}), GrantState.WAITING_FOR_PERSON),
        (outcomes.Failed(problem=problem("credential_expired")), GrantState.NEEDS_ATTENTION),
    ],
)
def test_a_problem_of_the_watch_is_seen_and_looked_at_again(outcome: Outcome, state: GrantState) -> None:
    """It shows in the grant's state; once it is put right, the next day's look ends it without anybody's click."""
    grant = ran(completed(), WATCH, outcome)

    assert (grant.state, grant.steps[WATCH].clock) == (state, NOW + DAY)
    claimed = given(decide.claim(grant, WATCH, "next", NOW + DAY))
    better = given(decide.decide(claimed, WATCH, "next", Done(), NOW + DAY))
    assert (better.state, better.steps[WATCH].problem) == (GrantState.COMPLETED, None)


def test_what_repeats_can_be_looked_at_at_once() -> None:
    """An operator need not wait for tomorrow; other done steps, but the mail flow, are not begun again so."""
    grant = ran(completed(), WATCH, Done())

    assert given(decide.retry(grant, WATCH, NOW, actor="an operator")).steps[WATCH].state is StepState.QUEUED
    assert decide.retry(grant, StepName.VERIFICATION, NOW, actor="an operator") is None


def test_nothing_happens_to_a_released_grant() -> None:
    """Released: no step is claimed, retried, acted on or reopened, a run under way decides nothing, the sweep finds nothing."""
    grant = given(decide.claim(completed(), WATCH, "run", NOW))
    decision = decide.release(grant, NOW, actor="an administrator", why="transferred")
    released = given(decision)

    assert (released.state, types(decision)) == (GrantState.RELEASED, ["grant.released"])
    assert decision is not None
    assert decision.deletes == ("sealed|role_assignment",)
    assert decide.release(released, NOW, actor="x", why="again") is None
    assert decide.decide(released, WATCH, "run", Done(), NOW) is None
    assert decide.due_steps(released, NOW + 100 * DAY) == ()
    assert released.earliest_clock == released.publish_by
    assert decide.pin_tenant(released, TENANT, NOW, actor="x") is None
    assert decide.expect_tenant(released, TENANT) is None
    assert decide.choose_role_mode(released, RoleMode.BY_HAND, NOW, actor="x") is None
    for name in STEPS:
        assert decide.claim(released, name, "late", NOW + 100 * DAY) is None
        assert decide.retry(released, name, NOW, actor="x") is None
        assert decide.person_acted(released, name, NOW, actor="x") is None


def test_a_grant_is_released_at_any_time() -> None:
    """One that waits for its first person waits for nobody any more."""
    grant = created().grant
    released = given(decide.release(grant, NOW, actor="x", why="released"))

    assert {step.state for step in released.steps.values()} == {StepState.BLOCKED}
    assert not any(step.awaits_person for step in released.steps.values())
