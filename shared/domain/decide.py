"""The transitions of a grant: pure functions from a grant, what happened and the time to what must be saved and sent.

Each returns None where what happened no longer concerns the grant: a run that lost its step, a nudge that comes twice, a person
who acts on a step that waits for nobody.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from shared.domain import outcomes, schedule
from shared.domain.decision import Decision, add_wait, begin, ended, is_wanted, next_look, patience, queue, unblock, with_events
from shared.domain.grant import (
    BY_HAND_BECAUSE,
    ROUTING,
    ROUTING_OFF,
    SEALED_LIFETIME,
    SEALED_ROW,
    SUCCESS_MESSAGE,
    Facts,
    Grant,
    Intent,
    Nudge,
    RoleMode,
    Row,
    Step,
)
from shared.domain.outcomes import Outcome
from shared.domain.problems import Problem, problem
from shared.domain.steps import STEPS, StepName, StepState, ancestors

MFA_ASKED = "mfa_asked"
"""The fact of the role's step that tells that one more sign-in, with a second factor, was asked for."""
TIMED = frozenset({StepState.WAITING})
"""The states whose clock is a wait's end, which a nudge is meant to meet."""
OTHER_ENDS_FIRST = "Another run that writes the same ends first."
"""Why a step waits that must not run beside another."""
SETTLED = frozenset({StepState.DONE, StepState.NEEDS_ATTENTION, StepState.WAITING_FOR_PERSON})
"""The states in which no work is under way: what repeats begins new work from them."""


def create(*, grant_id: str, account_id: str, account_name: str, intent: Intent, created_by: str, now: datetime) -> Decision:
    """Return a new grant with the steps open that require nothing."""
    grant = Grant(grant_id, account_id, account_name, intent, now, created_by)
    data = {"account_id": account_id, "directions": list(intent.directions), "policy": intent.policy}
    return unblock(with_events(Decision(grant), now, ("grant.created", None, data)), now)


def claim(grant: Grant, name: StepName, run_id: str, now: datetime) -> Decision | None:
    """Return the grant with the step taken by ``run_id`` until its lease ends.

    A step whose person did not come in time, or that was claimed too often without an outcome, needs attention instead.
    """
    step = grant.steps[name]
    if step.state is StepState.RUNNING and step.run_id == run_id:
        return Decision(grant)  # saved before, and only the answer was lost
    if not is_ready(step, now):
        return None
    if step.state is StepState.WAITING_FOR_PERSON and not STEPS[name].repeats:
        return _settle(grant, step, outcomes.Failed(problem=problem("person_never_came")), now)
    if step.claims >= schedule.MAXIMUM_CLAIMS:
        return _settle(grant, step, outcomes.Failed(problem=problem("no_outcome")), now)
    others_end = _run_of_others(grant, name, now)
    if others_end:
        return _put_off(grant, step, others_end, now)
    taken = replace(
        step,
        state=StepState.RUNNING,
        reason="",
        clock=schedule.lease_end(now),
        run_id=run_id,
        claims=step.claims + 1,
        started_at=step.started_at or now,
        begun_at=_begun(step, now),
        changed_at=now,
        waits=add_wait(step, now),
    )
    return Decision(grant.with_step(taken))


def _begun(step: Step, now: datetime) -> datetime | None:
    """Return when the work that is claimed now was asked for: what repeats asks for it itself, from a state of rest."""
    return now if STEPS[step.name].repeats and step.state in SETTLED else step.begun_at


def _run_of_others(grant: Grant, name: StepName, now: datetime) -> datetime | None:
    """Return until when a step may run that this one keeps apart from; None when none does."""
    others = (grant.steps[each] for each in STEPS[name].apart_from)
    return max(
        (each.clock for each in others if each.state is StepState.RUNNING and each.clock and each.clock > now), default=None
    )


def _put_off(grant: Grant, step: Step, until: datetime, now: datetime) -> Decision:
    """Return the grant with a step that waits for another's run; what it has met so far still counts."""
    waiting = replace(
        step,
        state=StepState.WAITING,
        reason=OTHER_ENDS_FIRST,
        clock=until,
        run_id="",
        begun_at=_begun(step, now),
        changed_at=now,
        waits=add_wait(step, now),
    )
    return Decision(grant.with_step(waiting), nudges=(Nudge(grant.grant_id, step.name, until),))


def is_ready(step: Step, now: datetime) -> bool:
    """True when a run may take the step now: it is queued, or its clock has run out."""
    return step.state is StepState.QUEUED or (step.clock is not None and step.clock <= now)


def decide(grant: Grant, name: StepName, run_id: str, outcome: Outcome, now: datetime) -> Decision | None:
    """Return what the outcome of run ``run_id`` changes; None when that run no longer holds the step."""
    step = grant.steps[name]
    if step.state is not StepState.RUNNING or step.run_id != run_id:
        return None
    return _settle(grant, step, outcome, now)


def person_acted(grant: Grant, name: StepName, now: datetime, *, actor: str, rows: tuple[Row, ...] = ()) -> Decision | None:
    """Return the grant with a step queued that a person has done their part of by a sign-in.

    None when it waits for nobody, or no sign-in moves it: then ``rows``, such as an administrator's token, are not kept either.
    """
    step = grant.steps[name]
    if not awaits_sign_in(grant, name):
        return None
    decision = replace(queue(grant, step, now), rows=rows)
    return with_events(decision, now, ("step.person_acted", name, {"actor": actor}))


def awaits_sign_in(grant: Grant, name: StepName) -> bool:
    """True when an administrator's sign-in would move the step on now."""
    is_waiting = grant.steps[name].state in (StepState.WAITING_FOR_PERSON, StepState.NEEDS_ATTENTION)
    return is_waiting and grant.takes_sign_in(name) and not grant.is_ending


def sent_to_consent(grant: Grant, name: StepName, now: datetime) -> Grant:
    """Return the grant with a step that tells that an administrator is at Microsoft's consent page, until they come back."""
    step = grant.steps[name]
    reason = (
        "An administrator has signed in and was sent to Microsoft to accept; nothing has come back from there yet. "
        "Open the step to go on, or send the administrator a new link."
    )
    return grant.with_step(replace(step, reason=reason, changed_at=now))


def release(grant: Grant, now: datetime, *, actor: str, why: str) -> Decision | None:
    """Return the grant as one that has given its tenant back: nothing is done for it any more; None when it has already.

    What it made in the tenant stays as it is; its receipt lists it.
    """
    if grant.released_at:
        return None
    steps = {name: ended(step, now) for name, step in grant.steps.items()}
    decision = Decision(replace(grant, steps=steps, released_at=now), deletes=(SEALED_ROW,))
    return with_events(decision, now, ("grant.released", None, {"tenant_id": grant.tenant_id, "actor": actor, "why": why}))


def retry(grant: Grant, name: StepName, now: datetime, *, actor: str) -> Decision | None:
    """Return the grant with a step begun again that needs attention, or that a person has put something right for.

    What repeats is begun at once. None when the step needs neither. A step that a person begins at Microsoft is begun by its
    link, not by this.
    """
    step = grant.steps[name]
    if not can_retry(grant, name):
        return None
    if step.is_done and not STEPS[name].repeats:  # settings may have changed: what stands on it is looked at anew
        grant = _spend(grant, name, "What it stands on is done again.", now)
    for owner in ancestors(name):  # a person has looked: verification may have them done again as often as before
        grant = grant.with_step(replace(grant.steps[owner], reopened=0))
    return with_events(begin(grant, step, now), now, ("step.retried", name, {"actor": actor}))


def can_retry(grant: Grant, name: StepName) -> bool:
    """True where a person may have a step begun again: it needs attention, they have put something right, or as they like.

    The mail flow of a grant that is complete may be done again, so that a setting that was changed since reaches its tenant.
    """
    step = grant.steps[name]
    if grant.released_at or not is_wanted(grant, name):
        return False
    is_put_right = step.awaits_person and grant.person_of(step.name) is None
    is_repeated = (STEPS[name].repeats is not None or STEPS[name].on_demand) and step.state in SETTLED
    is_rolled_out = name is StepName.MAIL_FLOW and step.is_done and grant.is_whole
    return step.state is StepState.NEEDS_ATTENTION or is_put_right or is_repeated or is_rolled_out


def pin_tenant(grant: Grant, tenant_id: str, now: datetime, *, actor: str) -> Decision | None:
    """Return the grant as one for ``tenant_id``, proved by a sign-in; None when it is another tenant's for good.

    Until somebody has consented, a fresh proof counts for more than an older one: a technician is often signed in at home.
    """
    if grant.is_ending or grant.pinned_tenant not in ("", tenant_id):
        return None
    if grant.tenant_id == tenant_id:
        return Decision(grant)
    decision = Decision(replace(grant, tenant_id=tenant_id))
    return with_events(decision, now, ("tenant.proved", None, {"tenant_id": tenant_id, "actor": actor}))


def expect_tenant(grant: Grant, tenant_id: str) -> Grant | None:
    """Return the grant as one for ``tenant_id`` alone, as the operator knows it; None when it is another tenant's already.

    Another tenant that was proved, but has not consented yet, is forgotten: a consent that is on its way from there is refused.
    """
    if grant.is_ending or grant.pinned_tenant not in ("", tenant_id):
        return None
    proved = grant.tenant_id if grant.tenant_id == tenant_id else ""
    return replace(grant, tenant_id=proved, intent=replace(grant.intent, expected_tenant=tenant_id))


def choose_role_mode(
    grant: Grant, role_mode: RoleMode, now: datetime, *, actor: str, ticket_number: str = "", ticket_system: str = ""
) -> Decision | None:
    """Return the grant with another way to the role, or another ticket, begun anew if it was begun; None when nothing changes.

    A run that is under way holds its step no more, and an administrator's token does not outlive the choice of another way. A
    way that has turned out to be closed is tried again.
    """
    step = grant.steps[StepName.ROLE_ASSIGNMENT]
    intent = replace(
        grant.intent,
        role_mode=role_mode,
        ticket_number=ticket_number or grant.intent.ticket_number,
        ticket_system=ticket_system or grant.intent.ticket_system,
    )
    is_same = intent == grant.intent and role_mode is grant.role_mode
    if is_same or step.is_done or grant.is_ending:
        return None
    step = replace(step, facts={name: value for name, value in step.facts.items() if name not in (BY_HAND_BECAUSE, MFA_ASKED)})
    grant = replace(grant, intent=intent).with_step(step)
    decision = Decision(grant)
    if step.state is not StepState.BLOCKED:
        decision = replace(begin(grant, step, now), deletes=(SEALED_ROW,))
    return with_events(decision, now, ("role_mode.chosen", step.name, {"role_mode": role_mode, "actor": actor}))


def note(grant: Grant, name: StepName | None, found: Problem, now: datetime, *, event: str) -> Decision:
    """Return the grant with a problem written down that changes no state: an event, and the problem on its unfinished step.

    ``event`` is its type: consent.refused for a redirect, message.dead_lettered for a queue message. A problem that a person
    is asked to put right is never replaced by one of a message.
    """
    step = grant.steps[name] if name else None
    if step and not step.is_done and (step.problem is None or event == "consent.refused"):
        grant = grant.with_step(replace(step, problem=found))
    return with_events(Decision(grant), now, (event, name, {"code": found.code, "cause": found.cause}))


def due_steps(grant: Grant, now: datetime) -> tuple[StepName, ...]:
    """Return the steps whose clock has run out."""
    return tuple(step.name for step in grant.steps.values() if step.clock and step.clock <= now)


def index_time(grant: Grant, now: datetime) -> datetime | None:
    """Return the minute at which a due row must be written before this grant is saved; None when one as early is there."""
    clock = grant.earliest_clock
    if clock is None:
        return None
    at = max(schedule.ceil_minute(clock), schedule.grace_end(now))
    return at if grant.indexed_at is None or at < grant.indexed_at else None


def swept(grant: Grant, now: datetime) -> Grant:
    """Return the grant as the sweep saves it: its due row moved to its next clock, or ahead of what is due now."""
    clock = grant.earliest_clock
    if clock is None:
        return replace(grant, indexed_at=None)
    return replace(grant, indexed_at=schedule.ceil_minute(clock) if clock > now else schedule.grace_end(now))


def _settle(grant: Grant, step: Step, outcome: Outcome, now: datetime) -> Decision:
    """Apply an outcome to its step, whoever holds it."""
    if isinstance(outcome, outcomes.Wait) and now >= outcome.give_up_at:
        outcome = replace(outcome.then, rows=outcome.rows, deletes=outcome.deletes)
    freed = replace(step, run_id="", claims=0, changed_at=now, problem=None, who=None, gives_up_at=None)
    decision: Decision = _SETTLERS[type(outcome)](grant, freed, outcome, now)
    deletes = outcome.deletes
    goes_on = isinstance(outcome, outcomes.Wait | outcomes.Progress)
    if step.name is StepName.ROLE_ASSIGNMENT and not (goes_on and now < (step.begun_at or now) + SEALED_LIFETIME):
        deletes = tuple({*deletes, SEALED_ROW})  # an administrator's token outlives neither the outcome of its step nor its time
    return replace(decision, rows=decision.rows + outcome.rows, deletes=decision.deletes + deletes)


def _done(grant: Grant, step: Step, outcome: outcomes.Done, now: datetime) -> Decision:
    was, former = grant, step.facts
    facts = {**former, **outcome.facts}
    is_held = step.name is StepName.POLICY_ACTIVATION and grant.intent.is_paused  # nothing was activated
    finished_at = step.finished_at if is_held else now
    step = replace(step, state=StepState.DONE, reason="", clock=None, attempts=0, finished_at=finished_at, facts=facts)
    grant = grant.with_step(step)
    if STEPS[step.name].repeats:
        return _seen_again(grant, step, former, now)
    decision = unblock(with_events(Decision(grant), now, ("step.done", step.name, facts)), now)
    if grant.intent.is_removed and grant.is_whole:
        decision = replace(decision, grant=replace(decision.grant, released_at=now))
    return with_events(decision, now, *_milestones(was, decision.grant))


def _seen_again(grant: Grant, step: Step, was: Facts, now: datetime) -> Decision:
    """End one look of what repeats: all is well, so nothing counts against what it looked at. Mostly only news is told.

    A step that is younger than the grant has its turn now, too.
    """
    grant = grant.with_step(replace(step, clock=next_look(grant, step, now)))
    for owner in ancestors(step.name):
        grant = grant.with_step(replace(grant.steps[owner], reopened=0))
    is_news = STEPS[step.name].tells_each_time or not was or dict(was) != dict(step.facts)
    return with_events(unblock(Decision(grant), now), now, *([("step.done", step.name, step.facts)] if is_news else []))


def _milestones(was: Grant, grant: Grant) -> tuple[tuple[str, StepName | None, Facts], ...]:
    """What others are told when a grant has come to rest: the policy that is now on, then the grant; or what has become of it."""
    who = {"account_id": grant.account_id, "tenant_id": grant.tenant_id}
    if grant.is_proved and not was.is_proved:
        return (("grant.protecting", None, {**who, "directions": list(grant.intent.directions)}),)
    if was.is_whole or not grant.is_whole:
        return ()
    if grant.intent.is_removed:
        return (("grant.removed", None, {**who, "service": grant.service}),)
    was_off = was.steps[StepName.POLICY_ACTIVATION].facts.get(ROUTING) == ROUTING_OFF
    if grant.intent.is_paused:
        return () if was_off else (("grant.paused", None, who),)
    if was.was_completed:
        return (("grant.resumed" if was_off else "grant.restored", None, who),)
    data = {
        **who,
        "service": grant.service,
        "directions": list(grant.intent.directions),
        "policy": grant.intent.policy,
    }
    return ("policy.enabled", None, data), ("grant.completed", None, {**data, "message": SUCCESS_MESSAGE})


def _progress(grant: Grant, step: Step, outcome: outcomes.Progress, now: datetime) -> Decision:
    facts = {**step.facts, **outcome.facts}
    step = replace(step, state=StepState.QUEUED, clock=schedule.grace_end(now), attempts=0, facts=facts)
    return Decision(grant.with_step(step), nudges=(Nudge(grant.grant_id, step.name, now),))


def _wait(grant: Grant, step: Step, outcome: outcomes.Wait, now: datetime) -> Decision:
    until = min(outcome.until, outcome.give_up_at)  # its end is met, not passed by the last look's delay
    waiting = replace(
        step,
        state=StepState.WAITING,
        reason=outcome.why,
        who=outcome.who,
        clock=until,
        gives_up_at=outcome.give_up_at,
        problem=outcome.problem,
        attempts=step.attempts + 1,
        facts={**step.facts, **outcome.facts},
    )
    decision = Decision(grant.with_step(waiting), nudges=(Nudge(grant.grant_id, step.name, until),))
    if step.waits and step.waits[-1].why == outcome.why:
        return decision
    data = {"why": outcome.why, "until": schedule.stamp(until), "give_up_at": schedule.stamp(outcome.give_up_at)}
    return with_events(decision, now, ("step.waiting", step.name, data))


def _needs_person(grant: Grant, step: Step, outcome: outcomes.NeedsPerson, now: datetime) -> Decision:
    step = replace(
        step,
        state=StepState.WAITING_FOR_PERSON,
        reason=outcome.problem.fix,
        who=outcome.problem.who,
        clock=patience(grant, step, now),
        attempts=0,
        problem=outcome.problem,
        facts={**step.facts, **outcome.facts},
    )
    data = {"code": outcome.problem.code, "who": outcome.problem.who}
    return with_events(Decision(grant.with_step(step)), now, ("step.waiting_for_person", step.name, data))


def _failed(grant: Grant, step: Step, outcome: outcomes.Failed, now: datetime) -> Decision:
    step = replace(
        step,
        state=StepState.NEEDS_ATTENTION,
        reason=outcome.problem.cause,
        who=outcome.problem.who,
        clock=next_look(grant, step, now),
        attempts=0,
        problem=outcome.problem,
    )
    data = {"code": outcome.problem.code, "who": outcome.problem.who, "cause": outcome.problem.cause}
    return with_events(Decision(grant.with_step(step)), now, ("step.needs_attention", step.name, data))


def _reopen(grant: Grant, step: Step, outcome: outcomes.Reopen, now: datetime) -> Decision:
    """Begin the owner of a missing fact again, and block this step until it is done, if it stands on it."""
    owner = grant.steps[outcome.step]
    if owner.reopened >= schedule.MAXIMUM_REOPENS:
        return _failed(grant, step, outcomes.Failed(problem=outcome.problem), now)
    stands = owner.name in ancestors(step.name)
    state, clock = (StepState.BLOCKED, None) if stands else (StepState.DONE, next_look(grant, step, now))
    facts = {**step.facts, **outcome.facts}
    grant = grant.with_step(replace(step, state=state, reason=outcome.why, clock=clock, attempts=0, facts=facts))
    grant = _spend(grant, owner.name, outcome.why, now)
    decision = begin(grant, replace(owner, reopened=owner.reopened + 1), now, found=outcome.problem)
    return with_events(decision, now, ("step.reopened", owner.name, {"why": outcome.why}))


def _spend(grant: Grant, owner: StepName, why: str, now: datetime) -> Grant:
    """Return the grant with those steps blocked until ``owner`` is done again that are to be done again after it."""
    for name, definition in STEPS.items():
        if owner in definition.redone_after and _is_spent(grant.steps[name]):
            spent = replace(grant.steps[name], state=StepState.BLOCKED, reason=why, changed_at=now)
            grant = grant.with_step(replace(spent, clock=None, run_id="", who=None, problem=None, gives_up_at=None))
    return grant


def _is_spent(step: Step) -> bool:
    """True where a step must be done again once what it was done on changes: it is done, or was meant to show just that."""
    return step.is_done or (STEPS[step.name].on_demand and step.state is not StepState.BLOCKED)


_SETTLERS: Mapping[type[Outcome], Any] = {
    outcomes.Done: _done,
    outcomes.Progress: _progress,
    outcomes.Wait: _wait,
    outcomes.NeedsPerson: _needs_person,
    outcomes.Failed: _failed,
    outcomes.Reopen: _reopen,
}
