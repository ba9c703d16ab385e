"""What a transition comes to, and how steps begin and end: what all transitions of a grant have in common. Pure."""

from dataclasses import dataclass, replace
from datetime import datetime

from shared.domain import schedule
from shared.domain.grant import Event, Facts, Grant, Nudge, Row, Step, WaitRecord
from shared.domain.problems import Problem
from shared.domain.steps import STEPS, StepName, StepState, ancestors

MAXIMUM_WAIT_RECORDS = 20
"""How many different waits a step remembers: its row must stay small."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What must be saved in one transaction (grant, events, rows, deletes), and the nudges to send after it."""

    grant: Grant
    events: tuple[Event, ...] = ()
    nudges: tuple[Nudge, ...] = ()
    rows: tuple[Row, ...] = ()
    deletes: tuple[str, ...] = ()


def with_events(decision: Decision, now: datetime, *happenings: tuple[str, StepName | None, Facts]) -> Decision:
    """Return ``decision`` with events appended and the outbox's clock set, so that the sweep tells what was not told."""
    grant = decision.grant
    events = tuple(
        Event(grant.seq + number, now, kind, step, dict(data)) for number, (kind, step, data) in enumerate(happenings, start=1)
    )
    grant = replace(
        grant,
        seq=grant.seq + len(events),
        publish_by=grant.publish_by or schedule.grace_end(now),
    )
    return replace(decision, grant=grant, events=decision.events + events)


def unblock(decision: Decision, now: datetime) -> Decision:
    """Begin every blocked step whose requirements are met and whose turn it is by the intent."""
    for definition in STEPS.values():
        grant = decision.grant
        step = grant.steps[definition.name]
        is_met = all(grant.steps[name].is_done for name in ancestors(definition.name))
        if step.state is StepState.BLOCKED and is_met and is_wanted(grant, definition.name):
            begun = _first_look(grant, step, now) or begin(grant, step, now)
            decision = replace(decision, grant=begun.grant, nudges=decision.nudges + begun.nudges)
    return decision


def _first_look(grant: Grant, step: Step, now: datetime) -> Decision | None:
    """Return the grant with a step that only keeps up to date what was made just now: it is done, until its first moment comes.

    None for every other step, and for one that has looked before: what it was to do is done at once.
    """
    if STEPS[step.name].own_moment_after is None or step.begun_at is not None:
        return None
    resting = replace(step, state=StepState.DONE, reason="", clock=next_look(grant, step, now), changed_at=now)
    return Decision(grant.with_step(resting))


def is_wanted(grant: Grant, name: StepName) -> bool:
    """True where the grant's intent has a place for the step: a removal ends all else, and a pause what needs routing."""
    definition, intent = STEPS[name], grant.intent
    return definition.is_removal is intent.is_removed and not (definition.needs_routing and intent.is_paused)


def begin(grant: Grant, step: Step, now: datetime, *, found: Problem | None = None) -> Decision:
    """Hand a step to the person who begins it, with what was ``found`` wrong, or queue it."""
    person = grant.person_of(step.name)
    if person is None:
        return queue(grant, step, now)
    waiting = replace(
        step,
        state=StepState.WAITING_FOR_PERSON,
        reason=STEPS[step.name].asks,
        who=person,
        clock=patience(grant, step, now),
        gives_up_at=None,
        run_id="",
        started_at=step.started_at or now,
        changed_at=now,
        waits=add_wait(step, now),
        problem=found,
    )
    return Decision(grant.with_step(waiting))


def patience(grant: Grant, step: Step, now: datetime) -> datetime | None:
    """Return until when a person is waited for; None for what is optional. What repeats looks again by itself."""
    if STEPS[step.name].is_optional:
        return None
    return next_look(grant, step, now) or now + schedule.PERSON_PATIENCE


def next_look(grant: Grant, step: Step, now: datetime) -> datetime | None:
    """Return when what repeats looks again, where it says so at its tenant's own moment; None for what does not repeat."""
    definition = STEPS[step.name]
    if definition.own_moment_after is not None:
        return schedule.daily_slot(grant.tenant_id, now, definition.own_moment_after)
    return now + definition.repeats if definition.repeats else None


def queue(grant: Grant, step: Step, now: datetime) -> Decision:
    """Begin a step's work anew: whatever it waited for, or what was wrong with it, counts no more."""
    queued = replace(
        step,
        state=StepState.QUEUED,
        reason="",
        who=None,
        clock=schedule.grace_end(now),
        gives_up_at=None,
        run_id="",
        claims=0,
        attempts=0,
        started_at=step.started_at or now,
        begun_at=now,
        changed_at=now,
        waits=add_wait(step, now),
        problem=None,
    )
    return Decision(grant.with_step(queued), nudges=(Nudge(grant.grant_id, step.name, now),))


def add_wait(step: Step, now: datetime) -> tuple[WaitRecord, ...]:
    """Return the step's waits with the one that ends now; waits for the same reason in a row are one record."""
    if step.state is not StepState.WAITING or step.changed_at is None:
        return step.waits
    seconds = (now - step.changed_at).total_seconds()
    if step.waits and step.waits[-1].why == step.reason:
        last = step.waits[-1]
        return (*step.waits[:-1], replace(last, count=last.count + 1, seconds=last.seconds + seconds))
    return (*step.waits, WaitRecord(step.reason, 1, seconds))[-MAXIMUM_WAIT_RECORDS:]


def ended(step: Step, now: datetime) -> Step:
    """Return a step of a released grant: what was done stays done, the rest is not waited for any more."""
    ended = replace(step, clock=None, gives_up_at=None, run_id="", who=None)
    if step.is_done or step.state is StepState.BLOCKED:
        return ended
    return replace(ended, state=StepState.BLOCKED, reason="", problem=None, changed_at=now, waits=add_wait(step, now))
