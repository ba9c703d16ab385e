"""What an error of a run comes to: an outcome for its step."""

from datetime import datetime, timedelta

from shared.domain import schedule
from shared.domain.grant import Step
from shared.domain.outcomes import Failed, NeedsPerson, Outcome, Reopen, Wait
from shared.domain.problems import Actor, Problem, ProblemError, problem
from shared.domain.steps import STEPS, StepName
from shared.ports import NotYetError, TransientError
from shared.telemetry import describe, redact

MAXIMUM_UNEXPECTED = 5
"""How often in a row a step meets an error that nobody foresaw before it needs attention."""
UNEXPECTED = "an unexpected error; trying again"

SPREADING = timedelta(minutes=30)
"""How long a consent or role that had its effect once may seem not to have spread before its step is done again."""
TAKEN_BACK = frozenset({"graph_refused", "cmdlet_not_offered"})
"""Refusals that mean that a permission or role, which an earlier step had seen, is gone."""


def outcome_of(error: Exception, step: Step, now: datetime) -> Outcome:
    """Return what a run that ended in ``error`` comes to: a wait while trying again may help, else a problem."""
    if isinstance(error, ProblemError):
        return _refused(error.problem, step)
    if isinstance(error, NotYetError):
        return _not_yet(error, step, now)
    if isinstance(error, TransientError):
        found = problem("kept_failing", raw=redact(str(error)))
        return _wait(step, now, str(error), Failed(problem=found), at_least=error.retry_after or timedelta())
    if isinstance(error, TimeoutError):
        found = problem("kept_failing", raw="the run did not end within its budget")
        return _wait(step, now, "Microsoft answers slowly; going on", Failed(problem=found))
    unexpected = Failed(problem=problem("unexpected", raw=describe(error)))
    return unexpected if _is_over(step) else _wait(step, now, UNEXPECTED, unexpected)


def _is_over(step: Step) -> bool:
    """True when the last waits were all for unexpected errors; a step that watches for hours meets one now and then."""
    last = step.waits[-1] if step.waits else None
    met = last.count if last and last.why == UNEXPECTED else 0
    return min(met, step.attempts) >= MAXIMUM_UNEXPECTED


def _wait(
    step: Step,
    now: datetime,
    why: str,
    then: NeedsPerson | Failed | Reopen,
    *,
    at_least: timedelta = timedelta(),
    give_up: timedelta | None = None,
) -> Wait:
    """Return a wait that grows with the step's attempts and ends as its definition says, or after ``give_up``.

    Steps that fail together try again apart. A wait that it interrupts is not shortened by it; whom that one waited for, and
    what for, stays.
    """
    definition = STEPS[step.name]
    seed = f"{step.name} {step.attempts} {now.isoformat()}"
    delay = max(at_least, schedule.backoff(step.attempts + 1, definition.retry_first, definition.retry_cap, seed))
    give_up_at = (step.begun_at or now) + (give_up or definition.give_up)
    if give_up is None and step.gives_up_at:
        give_up_at = max(give_up_at, step.gives_up_at)
    return Wait(until=now + delay, why=why, give_up_at=give_up_at, then=then, who=step.who, problem=step.problem)


def _not_yet(error: NotYetError, step: Step, now: datetime) -> Wait:
    """What a step stands on had its effect once: it does not spread for hours, somebody has taken it back."""
    found = problem("consent_without_effect", raw=redact(error.raw or str(error)))
    owner = STEPS[step.name].stands_on
    if owner:
        return _wait(step, now, str(error), _again(owner, found), give_up=SPREADING)
    return _wait(step, now, str(error), NeedsPerson(problem=found))


def _refused(found: Problem, step: Step) -> Outcome:
    owner = STEPS[step.name].stands_on
    if owner and found.code in TAKEN_BACK:
        return _again(owner, found)
    return NeedsPerson(problem=found) if found.who is Actor.TENANT_ADMINISTRATOR else Failed(problem=found)


def _again(step: StepName, found: Problem) -> Reopen:
    return Reopen(step=step, why=found.cause, problem=found)
