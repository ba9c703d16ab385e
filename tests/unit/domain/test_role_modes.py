"""The ways to the role: by the administrator's sign-in or by hand, and from one to the other in every state."""

from collections.abc import Callable, Mapping
from datetime import timedelta

import pytest

from shared.domain import decide, outcomes, schedule
from shared.domain.decision import Decision
from shared.domain.grant import SEALED_ROW, Grant, GrantState, RoleMode, Row, Step
from shared.domain.problems import Actor, problem
from shared.domain.steps import StepName, StepState
from tests.unit.domain.grants import NOW, completed_until, created, ran

ROLE = StepName.ROLE_ASSIGNMENT
BY_HAND, SIGN_IN = RoleMode.BY_HAND, RoleMode.SIGN_IN
WATCH = outcomes.Wait(
    until=NOW + timedelta(seconds=15),
    why="somebody assigns the role",
    give_up_at=NOW + schedule.PERSON_PATIENCE,
    then=outcomes.Failed(problem=problem("role_not_assigned")),
    who=Actor.TENANT_ADMINISTRATOR,
)
LATER = NOW + timedelta(seconds=10)


def _queued(mode: RoleMode) -> Grant:
    grant = completed_until(ROLE, mode)
    acted = decide.person_acted(grant, ROLE, NOW, actor="an administrator")
    return acted.grant if acted else grant


def _running(mode: RoleMode) -> Grant:
    claimed = decide.claim(_queued(mode), ROLE, "the old run", NOW)
    assert claimed
    return claimed.grant


def _watching() -> Grant:
    return ran(completed_until(ROLE, BY_HAND), ROLE, WATCH)


def _looking() -> Grant:
    claimed = decide.claim(_watching(), ROLE, "the old run", WATCH.until)
    assert claimed
    return claimed.grant


def _failed(mode: RoleMode) -> Grant:
    return ran(completed_until(ROLE, mode), ROLE, outcomes.Failed(problem=problem("role_not_assigned")))


def _chosen(grant: Grant, mode: RoleMode) -> Decision:
    decision = decide.choose_role_mode(grant, mode, LATER, actor="an operator")
    assert decision
    return decision


def _step(decision: Decision) -> Step:
    return decision.grant.steps[ROLE]


BEGUN_BY_HAND: Mapping[str, Callable[[], Grant]] = {
    "queued": lambda: _queued(BY_HAND),
    "running for the first time": lambda: _running(BY_HAND),
    "watching": _watching,
    "looking": _looking,
    "needing attention": lambda: _failed(BY_HAND),
}
BEGUN_BY_SIGN_IN: Mapping[str, Callable[[], Grant]] = {
    "waiting for a person": lambda: completed_until(ROLE, SIGN_IN),
    "queued": lambda: _queued(SIGN_IN),
    "running": lambda: _running(SIGN_IN),
    "waiting": lambda: ran(completed_until(ROLE, SIGN_IN), ROLE, WATCH),
    "needing attention": lambda: _failed(SIGN_IN),
}


def test_by_hand_nobody_signs_in() -> None:
    """Where the role is assigned elsewhere the step waits for no sign-in: it is queued to look by itself."""
    grant = completed_until(ROLE, BY_HAND)

    assert grant.person_of(ROLE) is None
    assert completed_until(ROLE, SIGN_IN).person_of(ROLE) is Actor.TENANT_ADMINISTRATOR
    assert grant.steps[ROLE].state is StepState.QUEUED
    assert grant.steps[StepName.DIRECTORY_CONSENT].state is StepState.WAITING_FOR_PERSON


def test_watching_is_waiting_for_a_person() -> None:
    """The wait says who must act, why, when the next look is and when it ends; the grant's state says so while a look runs."""
    step, looking = _watching().steps[ROLE], _looking()

    assert (step.state, step.reason, step.who) == (StepState.WAITING, WATCH.why, Actor.TENANT_ADMINISTRATOR)
    assert (step.clock, step.gives_up_at) == (WATCH.until, WATCH.give_up_at)
    assert step.awaits_person
    assert looking.steps[ROLE].awaits_person
    done_beside = ran(looking, StepName.DIRECTORY_CONSENT, outcomes.Done())
    assert done_beside.state is GrantState.WAITING_FOR_PERSON


@pytest.mark.parametrize("state", BEGUN_BY_HAND)
def test_from_by_hand_to_a_sign_in(state: str) -> None:
    """Wherever the step is, the administrator is asked to sign in; no problem and no end of the former wait is left."""
    decision = _chosen(BEGUN_BY_HAND[state](), SIGN_IN)
    step = _step(decision)

    assert decision.grant.intent.role_mode is SIGN_IN
    assert (step.state, step.who, step.problem) == (StepState.WAITING_FOR_PERSON, Actor.TENANT_ADMINISTRATOR, None)
    assert (step.clock, step.gives_up_at) == (LATER + schedule.PERSON_PATIENCE, None)
    assert decision.events[-1].data == {"role_mode": "sign_in", "actor": "an operator"}
    assert decide.decide(decision.grant, ROLE, "the old run", outcomes.Done(), LATER) is None


@pytest.mark.parametrize("state", BEGUN_BY_SIGN_IN)
def test_from_a_sign_in_to_by_hand(state: str) -> None:
    """Wherever the step is, it looks at once; the administrator's token goes in the same transaction, the old run is dropped."""
    decision = _chosen(BEGUN_BY_SIGN_IN[state](), BY_HAND)
    step = _step(decision)

    assert (step.state, step.who, step.problem, step.begun_at) == (StepState.QUEUED, None, None, LATER)
    assert [(nudge.step, nudge.at) for nudge in decision.nudges] == [(ROLE, LATER)]
    assert decision.deletes == (SEALED_ROW,)
    assert decide.decide(decision.grant, ROLE, "the old run", outcomes.Done(), LATER) is None


def test_before_its_turn_only_the_choice_changes() -> None:
    """A step that is blocked stays so, and begins in the chosen way."""
    decision = _chosen(created(SIGN_IN).grant, BY_HAND)

    assert (_step(decision).state, decision.nudges) == (StepState.BLOCKED, ())
    assert ran(decision.grant, StepName.MAIL_FLOW_CONSENT, outcomes.Done()).steps[ROLE].state is StepState.QUEUED


def test_nothing_changes_where_nothing_is_left_to_choose() -> None:
    """The same way again, and any way once the role is there, are no transitions."""
    assert decide.choose_role_mode(_watching(), BY_HAND, LATER, actor="x") is None
    done = ran(completed_until(ROLE, BY_HAND), ROLE, outcomes.Done())
    assert decide.choose_role_mode(done, SIGN_IN, LATER, actor="x") is None


def test_the_same_waits_are_still_remembered() -> None:
    """A wait that another choice cuts short counts in the receipt."""
    (record,) = _step(_chosen(_watching(), SIGN_IN)).waits

    assert (record.why, record.count, record.seconds) == (WATCH.why, 1, 10.0)


@pytest.mark.parametrize("grant", [_watching(), _looking(), _failed(BY_HAND)], ids=["watching", "looking", "failed"])
def test_check_again_looks_at_once(grant: Grant) -> None:
    """Whoever has just assigned the role does not wait for the next look; one that is under way is dropped."""
    decision = decide.retry(grant, ROLE, LATER, actor="an operator")

    assert decision
    assert (_step(decision).state, _step(decision).begun_at, _step(decision).attempts) == (StepState.QUEUED, LATER, 0)
    assert [(nudge.step, nudge.at) for nudge in decision.nudges] == [(ROLE, LATER)]
    assert decide.decide(decision.grant, ROLE, "the old run", outcomes.Done(), LATER) is None


def test_there_is_nothing_to_check_where_a_sign_in_is_waited_for() -> None:
    """A step that begins by a sign-in, or works by itself, has no second button."""
    assert decide.retry(completed_until(ROLE, SIGN_IN), ROLE, LATER, actor="x") is None
    assert decide.retry(_running(SIGN_IN), ROLE, LATER, actor="x") is None
    assert decide.retry(_queued(BY_HAND), ROLE, LATER, actor="x") is None


@pytest.mark.parametrize("state", BEGUN_BY_HAND)
def test_a_late_sign_in_leaves_no_token(state: str) -> None:
    """An administrator who comes back from Microsoft after the way was changed begins nothing, and the token is not kept."""
    rows = (Row(SEALED_ROW, {"sealed": "x"}),)

    assert decide.person_acted(BEGUN_BY_HAND[state](), ROLE, LATER, actor="an administrator", rows=rows) is None


def test_a_watch_that_ends_is_a_problem() -> None:
    """Two weeks after it was asked for, the step needs attention; nobody is waited for any more."""
    looking = decide.claim(_watching(), ROLE, "run", WATCH.give_up_at)
    assert looking
    decided = decide.decide(looking.grant, ROLE, "run", WATCH, WATCH.give_up_at)

    assert decided
    step = _step(decided)
    assert step.problem
    assert (step.state, step.problem.code) == (StepState.NEEDS_ATTENTION, "role_not_assigned")
    assert (step.clock, step.gives_up_at) == (None, None)
