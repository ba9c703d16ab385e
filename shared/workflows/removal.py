"""Taking back what was added to a tenant's mail flow, in the safe order: the routing first, the rest once nothing is under way.

Resumable at any call: each run begins with what the tenant holds. Where the tenant does not let the application in any more, what
is left is told exactly, with what removes it, and an operator may have the removal end there.
"""

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta

from shared.domain import schedule
from shared.domain.grant import ROUTING_OFF_AT, Facts, Row, Waiver
from shared.domain.outcomes import Done, NeedsPerson, Outcome, Progress, Reopen, Wait
from shared.domain.problems import Actor, Problem, ProblemError, problem
from shared.domain.steps import StepName
from shared.mailflow import undo
from shared.mailflow.desired import Request
from shared.mailflow.diff import Change
from shared.mailflow.snapshot import Snapshot
from shared.mailflow.tenant import TenantObjects
from shared.ports import Exchange, NotYetError
from shared.workflows.mail_flow import READ_BACK_CAP, READ_BACK_FIRST
from shared.workflows.routing_off import WAS_ROUTED, routing_off, wait_to_show
from shared.workflows.run import Run, told
from shared.workflows.tenant import StaleReadError, apply, former_grants, read_tenant, request_of, snapshot_of

REMOVAL_ROW = "removal"
"""The row of the report of a removal: how the tenant stands against what it was, or what is left in it and how it goes."""
SHUT_OUT_SINCE = "shut_out_since"
"""The fact of a removal's step that tells since when the tenant does not let the application in; "" once it does again."""
HICCUP = timedelta(minutes=10)
"""How long a tenant that does not let the application in may be expected to do so again."""


@dataclass(frozen=True, slots=True)
class Stand:
    """How a removal stands: what was wanted, what the tenant holds, what was changed in it."""

    request: Request
    tenant: TenantObjects
    snapshot: Snapshot

    @property
    def pending(self) -> list[Change]:
        """What is still to be taken back."""
        return undo.removal_changes(self.request, self.tenant, self.snapshot)


async def routing_removal(run: Run) -> Outcome:
    """Switch every rule of ours off that routes mail, and see that it is."""
    snapshot = await snapshot_of(run)
    if not snapshot.former:
        return Done(facts={WAS_ROUTED: False})
    return await while_let_in(run, _switch_off, snapshot)


async def mail_flow_removal(run: Run) -> Outcome:
    """Take back all that was added to the tenant's mail flow, and leave a report of how it stands against what it was."""
    snapshot = await snapshot_of(run)
    if not snapshot.former:
        return Done(facts={"is_clean": True})
    return await while_let_in(run, _take_back, snapshot)


async def while_let_in(run: Run, work: Callable[[Run, Exchange, Snapshot], Awaitable[Outcome]], snapshot: Snapshot) -> Outcome:
    """Do a part of a removal; where the tenant does not let the application in, tell what is left and who can remove it."""
    try:
        outcome = await work(run, run.clients.microsoft.exchange(run.grant.tenant_id), snapshot)
    except (NotYetError, ProblemError) as error:
        if isinstance(error, ProblemError) and error.problem.who is not Actor.TENANT_ADMINISTRATOR:
            raise
        return await _shut_out(run, snapshot, str(error))
    if run.step.facts.get(SHUT_OUT_SINCE) and isinstance(outcome, Done | Progress | Wait | NeedsPerson | Reopen):
        return replace(outcome, facts={**outcome.facts, SHUT_OUT_SINCE: ""})
    return outcome


async def stand(run: Run, exchange: Exchange, snapshot: Snapshot) -> Stand:
    """Read all that a removal needs to know of the tenant."""
    request = await request_of(run)
    tenant = await read_tenant(exchange, undo.removal_groups(request, snapshot), undo.removal_reads(snapshot))
    return Stand(replace(request, accepted_domains=tenant.accepted_domains), tenant, snapshot)


async def _switch_off(run: Run, exchange: Exchange, snapshot: Snapshot) -> Outcome:
    del snapshot
    activation = run.grant.steps[StepName.POLICY_ACTIVATION]
    since = run.step.facts.get(ROUTING_OFF_AT, activation.facts.get(ROUTING_OFF_AT))
    outcome = await routing_off(run, exchange, since or "")
    if not isinstance(outcome, Done):
        return outcome
    was_on = outcome.facts.get(WAS_ROUTED) or run.step.facts.get(WAS_ROUTED)
    was_routed = bool(was_on or await former_grants(run) or activation.begun_at)
    return replace(outcome, facts={**outcome.facts, WAS_ROUTED: was_routed})


async def _take_back(run: Run, exchange: Exchange, snapshot: Snapshot) -> Outcome:
    found = await stand(run, exchange, snapshot)
    why = _undrained(run, found)
    if why:
        return drained_again(why)
    outcome = await _carried_out(run, exchange, found.pending)
    if outcome:
        return outcome
    if found.pending:
        found = await stand(run, exchange, snapshot)
        if found.pending:
            return wait_to_show(run, found.pending)
    report = undo.clean_report(found.request, found.tenant, snapshot)
    rows = (_report_row(report, run.clock()),)
    facts = {"is_clean": report["is_clean"], "removed": len(report["removed"]), "kept": len(report["kept"])}
    if report["is_clean"] or Waiver.LEFTOVERS in run.grant.intent.waived:
        return Done(facts=facts, rows=rows)
    return NeedsPerson(problem=_left(report["left"], "removal_leaves"), facts=facts, rows=rows)


async def _carried_out(run: Run, exchange: Exchange, pending: list[Change]) -> Outcome | None:
    """Make changes; return the outcome where they could not all be made now."""
    try:
        is_complete = await apply(run, exchange, pending, len({change.object.name for change in pending}))
    except StaleReadError as error:
        return wait_to_show(run, pending, raw=str(error))
    return None if is_complete else Progress()


def _undrained(run: Run, found: Stand) -> str:
    """Return why mail may still be under way, whatever the steps before came to; "" when none can be."""
    still_on = undo.routing_off(found.request, found.tenant, found.snapshot)
    if still_on:
        return told([f"The rule '{change.object.name}' routes mail to the scanner" for change in still_on])
    steps = (run.grant.steps[name] for name in (StepName.ROUTING_REMOVAL, StepName.DRAIN))
    is_unknown = any(step.facts.get(SHUT_OUT_SINCE) for step in steps)
    return "The tenant lets the application in again: nobody has seen since when the routing is off" if is_unknown else ""


def drained_again(why: str) -> Reopen:
    """Return the outcome of mail that may be under way: the routing goes off, and the drain begins, once more."""
    return Reopen(step=StepName.ROUTING_REMOVAL, why=why, problem=problem("fact_missing", cause=why))


async def _shut_out(run: Run, snapshot: Snapshot, raw: str) -> Outcome:
    """Tell what is left, from our own rows, with the PowerShell that removes it; nobody can look whether it is there still."""
    now = run.clock()
    since = run.step.facts.get(SHUT_OUT_SINCE) or schedule.stamp(now)
    left = [asdict(item) for item in undo.leftovers(await request_of(run), None, snapshot)]
    rows = (_report_row({"is_clean": False, "left": left, "is_shut_out": True}, now),)
    facts: Facts = {"is_clean": False, "left": len(left), SHUT_OUT_SINCE: since}
    hiccup_ends, is_waived = schedule.parse(since) + HICCUP, Waiver.LEFTOVERS in run.grant.intent.waived
    if is_waived and now >= hiccup_ends:
        return Done(facts={**facts, WAS_ROUTED: True}, rows=rows)  # as far as anybody knows
    return Wait(
        until=min(now + schedule.backoff(run.step.attempts + 1, READ_BACK_FIRST, READ_BACK_CAP), hiccup_ends),
        why="The tenant does not let the application in; looking again",
        give_up_at=hiccup_ends + (HICCUP if is_waived else timedelta()),
        then=NeedsPerson(problem=_left(left, "removal_shut_out", raw), facts=facts),
        facts={SHUT_OUT_SINCE: since},
        rows=rows,
    )


def _left(left: list[dict[str, str]], code: str, raw: str = "") -> Problem:
    named = told([f"{item['object']}: {item['what']}" for item in left])
    cause = f"{problem(code).cause} {named}."
    return problem(code, cause=cause, raw="\n".join(filter(None, [raw, *(item["powershell"] for item in left)])))


def _report_row(report: Facts, at: datetime) -> Row:
    return Row(REMOVAL_ROW, {"version": 1, **report, "at": schedule.stamp(at)})
