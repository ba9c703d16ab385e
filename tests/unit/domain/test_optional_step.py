"""The optional step: offered once a grant is complete, in nobody's way."""

from datetime import timedelta

import pytest

from shared.domain import decide, outcomes
from shared.domain.grant import Grant, GrantState
from shared.domain.outcomes import Outcome
from shared.domain.problems import Actor, problem
from shared.domain.steps import STEPS, StepName, StepState
from tests.unit.domain.grants import NOW, completed_until, ran

ACTIVITY = StepName.ACTIVITY_CONSENT
YEARS = timedelta(days=1000)


def _wait(then: outcomes.NeedsPerson | outcomes.Failed) -> outcomes.Wait:
    return outcomes.Wait(until=NOW + timedelta(seconds=2), why="it spreads", give_up_at=NOW + timedelta(minutes=30), then=then)


def _completed() -> Grant:
    return ran(completed_until(ACTIVITY), StepName.MAIL_PROOF, outcomes.Done())


def test_nothing_requires_what_is_optional() -> None:
    """No step of the grant stands on what is optional: the permission for activity data, and the proof."""
    optional = {name for name, definition in STEPS.items() if definition.is_optional}

    assert optional == {ACTIVITY, StepName.MAIL_PROOF}
    assert not any(optional & set(definition.requires) for definition in STEPS.values())


def test_it_is_offered_when_the_grant_is_complete_and_nobody_is_hurried() -> None:
    """It waits for the tenant administrator without an end: the grant is complete, and the sweep has nothing to look at."""
    grant = _completed()
    step = grant.steps[ACTIVITY]

    assert grant.state is GrantState.COMPLETED
    assert (step.state, step.who) == (StepState.WAITING_FOR_PERSON, Actor.TENANT_ADMINISTRATOR)
    assert (step.clock, step.gives_up_at) == (None, None)
    assert grant.earliest_clock == grant.publish_by
    assert decide.claim(grant, ACTIVITY, "run", NOW + YEARS) is None


@pytest.mark.parametrize(
    "outcome",
    [
        outcomes.Done(),
        outcomes.Progress(),
        _wait(outcomes.Failed(problem=problem("kept_failing"))),
        outcomes.NeedsPerson(problem=problem("consent_without_effect")),
        outcomes.Failed(problem=problem("our_registration")),
    ],
    ids=lambda outcome: type(outcome).__name__,
)
def test_a_complete_grant_stays_complete_and_is_told_of_once(outcome: Outcome) -> None:
    """Whatever becomes of it, while it runs and after, the grant is complete; nobody is told of its completion again."""
    acted = decide.person_acted(_completed(), ACTIVITY, NOW, actor="an administrator")
    assert acted
    claimed = decide.claim(acted.grant, ACTIVITY, "run", NOW)
    assert claimed
    decided = decide.decide(claimed.grant, ACTIVITY, "run", outcome, NOW)

    assert decided
    assert {each.grant.state for each in (acted, claimed, decided)} == {GrantState.COMPLETED}
    assert not {"grant.completed", "policy.enabled"} & {event.type for event in decided.events}


def test_a_refusal_leaves_it_open_without_an_end() -> None:
    """A consent that was not given may be given next year."""
    grant = ran(_completed(), ACTIVITY, outcomes.NeedsPerson(problem=problem("consent_without_effect")))
    step = grant.steps[ACTIVITY]

    assert (step.state, step.clock) == (StepState.WAITING_FOR_PERSON, None)
    assert decide.person_acted(grant, ACTIVITY, NOW + YEARS, actor="an administrator")
