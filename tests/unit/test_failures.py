"""What an error of a run comes to."""

from datetime import UTC, datetime, timedelta

import pytest

from shared import failures
from shared.domain.grant import Step, WaitRecord
from shared.domain.outcomes import Failed, NeedsPerson, Reopen, Wait
from shared.domain.problems import Actor, problem
from shared.domain.steps import STEPS, StepName
from shared.ports import NotYetError, RefusedError, TransientError

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
OWNERS = {name: definition.stands_on for name, definition in STEPS.items() if definition.stands_on}


@pytest.mark.parametrize(("name", "owner"), OWNERS.items())
def test_what_was_taken_back_is_granted_again(name: StepName, owner: StepName) -> None:
    """A later step never ends in a request that has no link: the step that it stands on is done again."""
    step = Step(name, begun_at=NOW)
    lost = failures.outcome_of(NotYetError("not yet", "AADSTS7000229"), step, NOW)
    refused = failures.outcome_of(RefusedError("no", problem("graph_refused")), step, NOW)

    assert isinstance(lost, Wait)
    assert isinstance(lost.then, Reopen)
    assert lost.then.step is owner
    assert lost.give_up_at == NOW + failures.SPREADING
    assert isinstance(refused, Reopen)
    assert refused.step is owner


def test_a_consent_that_does_not_spread_asks_its_person() -> None:
    """A consent's own step has its link: the administrator is asked once more."""
    outcome = failures.outcome_of(NotYetError("not yet"), Step(StepName.MAIL_FLOW_CONSENT, begun_at=NOW), NOW)

    assert isinstance(outcome, Wait)
    assert isinstance(outcome.then, NeedsPerson)


def test_microsofts_wish_is_honoured() -> None:
    """Retry-After is waited for, and no less than our own growing delay, give or take a quarter."""
    step = Step(StepName.DIRECTORY_SYNC, begun_at=NOW, attempts=1)
    asked = failures.outcome_of(TransientError("busy", timedelta(seconds=90)), step, NOW)
    short = failures.outcome_of(TransientError("busy", timedelta(seconds=1)), step, NOW)

    assert isinstance(asked, Wait)
    assert asked.until == NOW + timedelta(seconds=90)
    assert isinstance(short, Wait)
    assert timedelta(seconds=3) <= short.until - NOW <= timedelta(seconds=5)


@pytest.mark.parametrize("error", [TransientError("busy"), TimeoutError(), ValueError("unforeseen")], ids=repr)
def test_what_fails_together_is_tried_again_apart(error: Exception) -> None:
    """A hundred tenants whose syncs failed within a tenth of a second come back over half of the longest delay."""
    step = Step(StepName.DAILY_SYNC, begun_at=NOW, attempts=100)
    moments = (NOW + timedelta(milliseconds=each) for each in range(100))
    delays = [outcome.until - now for now in moments if isinstance(outcome := failures.outcome_of(error, step, now), Wait)]
    cap = STEPS[StepName.DAILY_SYNC].retry_cap

    assert len(set(delays)) == 100
    assert cap / 2 < min(delays) < cap * 0.65
    assert cap * 0.95 < max(delays) <= cap


def test_an_unexpected_error_ends_as_a_problem_without_secrets() -> None:
    """It is tried again a few times; then an operator sees it, redacted."""
    error = ValueError("Bearer abc.def broke")
    most = failures.MAXIMUM_UNEXPECTED
    waits = (WaitRecord(failures.UNEXPECTED, most, 60.0),)
    first = failures.outcome_of(error, Step(StepName.PREFLIGHT, begun_at=NOW), NOW)
    last = failures.outcome_of(error, Step(StepName.PREFLIGHT, begun_at=NOW, attempts=most, waits=waits), NOW)

    assert isinstance(first, Wait)
    assert isinstance(last, Failed)
    assert "abc.def" not in last.problem.raw


def test_a_long_wait_survives_an_unexpected_error() -> None:
    """A step that has looked a hundred times meets one error that nobody foresaw: it goes on looking."""
    step = Step(StepName.ROLE_ASSIGNMENT, begun_at=NOW, attempts=100, waits=(WaitRecord("watching", 100, 1500.0),))

    assert isinstance(failures.outcome_of(ValueError("once"), step, NOW), Wait)


@pytest.mark.parametrize("error", [TransientError("busy"), TimeoutError(), ValueError("unforeseen")], ids=repr)
def test_an_interruption_does_not_shorten_the_wait(error: Exception) -> None:
    """A wait of two weeks for a person is not over after a day because Microsoft was busy once; who must act stays told."""
    end = NOW + timedelta(days=14)
    step = Step(StepName.ROLE_ASSIGNMENT, begun_at=NOW, gives_up_at=end, who=Actor.TENANT_ADMINISTRATOR)
    outcome = failures.outcome_of(error, step, NOW + timedelta(days=3))

    assert isinstance(outcome, Wait)
    assert (outcome.give_up_at, outcome.who) == (end, Actor.TENANT_ADMINISTRATOR)
