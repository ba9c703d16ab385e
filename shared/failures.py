"""What an error of a run comes to: an outcome for its step."""

from datetime import datetime, timedelta

from shared.domain import schedule
from shared.domain.grant import Step
from shared.domain.outcomes import Failed, NeedsPerson, Outcome, Wait
from shared.domain.problems import Actor, Problem, ProblemError, problem
from shared.domain.steps import STEPS
from shared.ports import NotYetError, TransientError
from shared.telemetry import describe, redact

MAXIMUM_UNEXPECTED = 5
"""How often a step meets an error that nobody foresaw before it needs attention."""


def outcome_of(error: Exception, step: Step, now: datetime) -> Outcome:
    """Return what a run that ended in ``error`` comes to: a wait while trying again may help, else a problem."""
    if isinstance(error, ProblemError):
        return _for_person(error.problem)
    definition = STEPS[step.name]
    delay = schedule.backoff(step.attempts + 1, definition.retry_first, definition.retry_cap)
    give_up_at = (step.begun_at or now) + definition.give_up
    if isinstance(error, NotYetError):
        then = NeedsPerson(problem=problem("consent_without_effect", raw=redact(error.raw or str(error))))
        return Wait(until=now + delay, why=str(error), give_up_at=give_up_at, then=then)
    if isinstance(error, TransientError):
        kept_failing = Failed(problem=problem("kept_failing", raw=redact(str(error))))
        delay = max(delay, error.retry_after or timedelta())
        return Wait(until=now + delay, why=str(error), give_up_at=give_up_at, then=kept_failing)
    if isinstance(error, TimeoutError):
        kept_failing = Failed(problem=problem("kept_failing", raw="the run did not end within its budget"))
        return Wait(until=now + delay, why="Microsoft answers slowly; going on", give_up_at=give_up_at, then=kept_failing)
    unexpected = Failed(problem=problem("unexpected", raw=describe(error)))
    if step.attempts >= MAXIMUM_UNEXPECTED:
        return unexpected
    return Wait(until=now + delay, why="an unexpected error; trying again", give_up_at=give_up_at, then=unexpected)


def _for_person(found: Problem) -> Outcome:
    return NeedsPerson(problem=found) if found.who is Actor.TENANT_ADMINISTRATOR else Failed(problem=found)
