"""What commands change of a grant: its intent, and the steps that must look again because of it. Pure; one shape for all.

Each returns None where nothing is left to do, so that a command which comes twice does nothing the second time, and raises
ProblemError where it makes no sense for the grant. Each tells by an event who asked for it.
"""

from dataclasses import replace
from datetime import datetime
from typing import Any

from shared.domain import schedule
from shared.domain.decision import Decision, add_wait, ended, queue, unblock, with_events
from shared.domain.grant import ROUTING_OFF_AT, SEALED_ROW, Facts, Grant, Nudge, Row, Waiver
from shared.domain.problems import ProblemError, problem
from shared.domain.steps import STEPS, StepName, StepState, ancestors

PAUSED = "The routing is paused."
"""Why a step waits that makes no sense without routing."""
RUN_ENDS_FIRST = "A run that was under way ends first."
"""Why new work waits for a lease: the run that has lost its step may be in the midst of a write."""
STUCK = frozenset({StepState.WAITING_FOR_PERSON, StepState.NEEDS_ATTENTION, StepState.RUNNING})
"""The states from which a step does not come to a new intent by itself."""
SCANNER_ROW = "scanner"
"""The row of what the scanner last said of its queue and quarantine for a grant that is removed."""
MAXIMUM_FINDINGS = 100
"""How many findings a grant's intent names, at the most: its row must stay small."""


def pause(grant: Grant, now: datetime, *, actor: str) -> Decision | None:
    """Return the grant with its mail not routed for now: what was made in the tenant stays, the routing rules go off."""
    _check_lives(grant)
    if grant.intent.is_paused:
        return None
    grant = with_intent(grant, is_paused=True)
    for name, definition in STEPS.items():
        if definition.needs_routing:
            held = replace(ended(grant.steps[name], now), state=StepState.BLOCKED, reason=PAUSED, problem=None)
            grant = grant.with_step(held)
    step = grant.steps[StepName.POLICY_ACTIVATION]
    was_begun = step.state is StepState.BLOCKED and step.begun_at is not None  # it waits for another, and may be on
    decision = queue(grant, step, now) if was_begun else look_again(grant, step.name, now)
    return with_events(decision, now, ("routing.pause_asked", None, {"actor": actor}))


def resume(grant: Grant, now: datetime, *, actor: str) -> Decision | None:
    """Return the grant with its mail to be routed again."""
    _check_lives(grant)
    if not grant.intent.is_paused:
        return None
    step = grant.steps[StepName.POLICY_ACTIVATION]
    step = replace(step, facts={**step.facts, ROUTING_OFF_AT: ""})  # before any rule goes on
    grant = with_intent(grant, is_paused=False).with_step(step)
    if all(grant.steps[name].is_done for name in ancestors(step.name)):
        decision = look_again(grant, step.name, now)
    else:  # what was changed meanwhile is verified first
        decision = Decision(grant.with_step(replace(ended(step, now), state=StepState.BLOCKED)))
    return with_events(decision, now, ("routing.resume_asked", None, {"actor": actor}))


def approve_plan(grant: Grant, now: datetime, *, plan: str, accepts_irreversible: bool, actor: str) -> Decision | None:
    """Return the grant with one plan approved, by its digest; any other plan waits for an approval of its own."""
    _check_lives(grant)
    intent = grant.intent
    if (intent.approved_plan, intent.accepts_irreversible) == (plan, accepts_irreversible):
        return None
    grant = with_intent(grant, approved_plan=plan, accepts_irreversible=accepts_irreversible)
    data = {"plan": plan, "accepts_irreversible": accepts_irreversible, "actor": actor}
    return with_events(free(grant, StepName.MAIL_FLOW, now), now, ("plan.approved", StepName.MAIL_FLOW, data))


def acknowledge(grant: Grant, now: datetime, *, finding: str, actor: str) -> Decision | None:
    """Return the grant with a finding of preflight taken as it is."""
    return _answered(grant, now, "acknowledged", "finding.acknowledged", finding=finding, actor=actor)


def fix(grant: Grant, now: datetime, *, finding: str, actor: str) -> Decision | None:
    """Return the grant with a finding of preflight that Grantline is to put right, and preflight begun again."""
    return _answered(grant, now, "fixes", "finding.fix_asked", finding=finding, actor=actor)


def remove(grant: Grant, now: datetime, *, actor: str) -> Decision | None:
    """Return the grant with its removal begun and all else ended, whatever state it was in.

    Nobody's sign-in is needed, the first approver's no more than another's.
    """
    if grant.intent.is_removed:
        return None
    _check_lives(grant)
    leases = [step.clock for step in grant.steps.values() if step.state is StepState.RUNNING and step.clock]
    steps = {name: ended(step, now) for name, step in grant.steps.items()}
    grant = replace(with_intent(grant, is_removed=True), steps=steps)
    decision = unblock(Decision(grant, deletes=(SEALED_ROW,)), now)
    if leases:
        decision = replace(_after(decision.grant, StepName.ROUTING_REMOVAL, max(leases), now), deletes=(SEALED_ROW,))
    return with_events(decision, now, ("removal.asked", None, {"actor": actor, "tenant_id": grant.tenant_id}))


def waive(grant: Grant, now: datetime, *, what: Waiver, actor: str) -> Decision | None:
    """Return the grant with something that its removal does not wait for."""
    _check_removing(grant)
    if what in grant.intent.waived:
        return None
    decision = _removal_looks_again(with_intent(grant, waived=(*grant.intent.waived, what)), now)
    return with_events(decision, now, ("removal.waived", None, {"what": what, "actor": actor}))


def report_scanner(grant: Grant, now: datetime, *, queued: int, quarantined: int, actor: str) -> Decision | None:
    """Return the grant with what the scanner says of its queue and quarantine for it; the drain reads it at its next look.

    A report that comes after the grant's end changes nothing: the scanner need not know of it yet.
    """
    if grant.released_at:
        return None
    _check_removing(grant)
    drain = grant.steps[StepName.DRAIN]
    if drain.is_done:
        return None
    value: Facts = {"queued": queued, "quarantined": quarantined, "at": schedule.stamp(now)}
    decision = Decision(grant, rows=(Row(SCANNER_ROW, value),))
    return with_events(decision, now, ("scanner.reported", StepName.DRAIN, {**value, "actor": actor}))


def report_probe(grant: Grant, now: datetime, *, probe_id: str, seen: Facts, actor: str) -> Decision | None:
    """Return the grant with what the scanner saw of one test message; the proof reads it at its next look.

    A report that comes after the grant's end, or during its removal, changes nothing: no proof is left to read it.
    """
    if grant.is_ending:
        return None
    decision = Decision(grant, rows=(Row(probe_row(probe_id), {**seen, "at": schedule.stamp(now)}),))
    data = {"probe_id": probe_id, **seen, "actor": actor}
    return with_events(decision, now, ("probe.reported", StepName.MAIL_PROOF, data))


def probe_row(probe_id: str) -> str:
    """Return the key of the row of what the scanner saw of a test message."""
    return f"probe|{probe_id}"


def with_intent(grant: Grant, **changes: Any) -> Grant:
    """Return the grant with another intent."""
    return replace(grant, intent=replace(grant.intent, **changes))


def look_again(grant: Grant, name: StepName, now: datetime) -> Decision:
    """Begin a step's work anew with the intent as it is now; one that is blocked comes to it by itself.

    A run that is under way loses its step, so that it writes nothing further; new work begins when its lease has ended.
    """
    step = grant.steps[name]
    if step.state is StepState.BLOCKED:
        return Decision(grant)
    if step.state is StepState.RUNNING and step.clock:
        return _after(grant, name, step.clock, now)
    return queue(grant, step, now)


def free(grant: Grant, name: StepName, now: datetime) -> Decision:
    """Begin a step's work anew where it would not come to the new intent by itself."""
    return look_again(grant, name, now) if grant.steps[name].state in STUCK else Decision(grant)


def _after(grant: Grant, name: StepName, moment: datetime, now: datetime) -> Decision:
    step = grant.steps[name]
    waiting = replace(
        queue(grant, step, now).grant.steps[name],
        state=StepState.WAITING,
        reason=RUN_ENDS_FIRST,
        clock=moment,
        waits=add_wait(step, now),
    )
    return Decision(grant.with_step(waiting), nudges=(Nudge(grant.grant_id, name, moment),))


def _answered(grant: Grant, now: datetime, field: str, event: str, *, finding: str, actor: str) -> Decision | None:
    """Write down what a person says of a finding, and have preflight judge again."""
    _check_lives(grant)
    known: tuple[str, ...] = getattr(grant.intent, field)
    if finding in known:
        return None
    if len(known) >= MAXIMUM_FINDINGS:
        raise ProblemError("too many findings", problem("command_untimely", cause="This grant has too many answered findings."))
    grant = with_intent(grant, **{field: (*known, finding)})
    again = look_again if field == "fixes" else free
    data = {"finding": finding, "actor": actor}
    return with_events(again(grant, StepName.PREFLIGHT, now), now, (event, StepName.PREFLIGHT, data))


def _removal_looks_again(grant: Grant, now: datetime) -> Decision:
    """Begin the removal's step anew that has its turn: one at a time has."""
    turn = [name for name, each in STEPS.items() if each.is_removal and not grant.steps[name].is_done]
    return look_again(grant, turn[0], now) if turn else Decision(grant)


def _check_lives(grant: Grant) -> None:
    """Raise ProblemError for a grant that has ended, or is about to."""
    if grant.released_at and not grant.intent.is_removed:
        raise ProblemError("the grant is released", problem("tenant_released"))
    if grant.intent.is_removed:
        raise ProblemError("the grant is removed", problem("grant_removed"))


def _check_removing(grant: Grant) -> None:
    """Raise ProblemError for a grant that is not being removed."""
    if grant.released_at:
        _check_lives(grant)
    if not grant.intent.is_removed:
        cause = "This command is for a grant that is being removed; nobody has asked for that."
        raise ProblemError("the grant is not being removed", problem("command_untimely", cause=cause))
