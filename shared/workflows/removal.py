"""Taking back what was added to a tenant's mail flow, in the safe order: the routing first, the rest once nothing is under way.

Resumable at any call: each run begins with what the tenant holds. Where the tenant does not let the application in any more, what
is left is told exactly, with what removes it, and an operator may have the removal end there.
"""

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta

from shared.domain import schedule
from shared.domain.grant import ROUTING, ROUTING_OFF, ROUTING_OFF_AT, Facts, Row, Waiver
from shared.domain.outcomes import Done, NeedsPerson, Outcome, Progress, Wait
from shared.domain.problems import Actor, Problem, ProblemError, problem
from shared.domain.steps import StepName
from shared.mailflow import undo
from shared.mailflow.desired import Request
from shared.mailflow.diff import Change
from shared.mailflow.snapshot import CHANGE_ROWS, FORMER_ROWS, WRITTEN_ROWS, Snapshot, read_snapshot
from shared.mailflow.tenant import TenantObjects
from shared.ports import Exchange, NotYetError
from shared.workflows.mail_flow import READ_BACK_CAP, READ_BACK_FIRST, READ_BACK_GIVE_UP
from shared.workflows.run import Run, told
from shared.workflows.tenant import StaleReadError, apply, former_grants, read_tenant, request_of

REMOVAL_ROW = "removal"
"""The row of the report of a removal: how the tenant stands against what it was, or what is left in it and how it goes."""
WAS_ROUTED = "was_routed"
"""The fact of the routing's removal that tells whether mail may ever have been routed: else nothing is to be drained."""
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


async def snapshot_of(run: Run) -> Snapshot:
    """Return what the journal knows of the tenant, with what the grants knew that had it before, the oldest first."""
    rows = [
        row
        for grant_id in (*reversed(await former_grants(run)), run.grant.grant_id)
        for prefix in (FORMER_ROWS, WRITTEN_ROWS, CHANGE_ROWS)
        for row in await run.clients.rows.rows(prefix, of=grant_id)
    ]
    return read_snapshot(rows)


async def while_let_in(run: Run, work: Callable[[Run, Exchange, Snapshot], Awaitable[Outcome]], snapshot: Snapshot) -> Outcome:
    """Do a part of a removal; where the tenant does not let the application in, tell what is left and who can remove it."""
    try:
        return await work(run, run.clients.microsoft.exchange(run.grant.tenant_id), snapshot)
    except (NotYetError, ProblemError) as error:
        if isinstance(error, ProblemError) and error.problem.who is not Actor.TENANT_ADMINISTRATOR:
            raise
        return await _shut_out(run, snapshot, str(error))


async def stand(run: Run, exchange: Exchange, snapshot: Snapshot) -> Stand:
    """Read all that a removal needs to know of the tenant."""
    request = await request_of(run)
    tenant = await read_tenant(exchange, undo.removal_groups(request), undo.removal_reads(snapshot))
    return Stand(replace(request, accepted_domains=tenant.accepted_domains), tenant, snapshot)


async def _switch_off(run: Run, exchange: Exchange, snapshot: Snapshot) -> Outcome:
    found = await stand(run, exchange, snapshot)
    pending = undo.routing_off(found.request, found.tenant)
    outcome = await _carried_out(run, exchange, pending)
    if outcome:
        return outcome
    if pending:
        left = await stand(run, exchange, snapshot)
        still_on = undo.routing_off(left.request, left.tenant)
        if still_on:
            return _wait_to_see(run, still_on)
    activation = run.grant.steps[StepName.POLICY_ACTIVATION]
    was_routed = bool(pending or found.request.former_grants or activation.begun_at)
    off_at = "" if pending else activation.facts.get(ROUTING_OFF_AT)
    return Done(facts={WAS_ROUTED: was_routed, ROUTING: ROUTING_OFF, ROUTING_OFF_AT: off_at or schedule.stamp(run.clock())})


async def _take_back(run: Run, exchange: Exchange, snapshot: Snapshot) -> Outcome:
    found = await stand(run, exchange, snapshot)
    outcome = await _carried_out(run, exchange, found.pending)
    if outcome:
        return outcome
    if found.pending:
        found = await stand(run, exchange, snapshot)
        if found.pending:
            return _wait_to_see(run, found.pending)
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
        return _wait_to_see(run, pending, raw=str(error))
    return None if is_complete else Progress()


def _wait_to_see(run: Run, left: list[Change], raw: str = "") -> Wait:
    cause = told([f"{change.cmdlet} of '{change.object.name}' does not show" for change in left])
    then = NeedsPerson(problem=problem("fact_missing", cause=cause, raw=raw))
    delay = schedule.backoff(run.step.attempts + 1, READ_BACK_FIRST, READ_BACK_CAP)
    return run.wait(delay, "Waiting until Exchange Online shows the changes", give_up=READ_BACK_GIVE_UP, then=then)


async def _shut_out(run: Run, snapshot: Snapshot, raw: str) -> Outcome:
    """Tell what is left, from our own rows, with the PowerShell that removes it; nobody can look whether it is there still."""
    left = [asdict(item) for item in undo.leftovers(await request_of(run), None, snapshot)]
    rows = (_report_row({"is_clean": False, "left": left, "is_shut_out": True}, run.clock()),)
    facts: Facts = {"is_clean": False, "left": len(left)}
    if Waiver.LEFTOVERS in run.grant.intent.waived:
        return Done(facts={**facts, WAS_ROUTED: False}, rows=rows)
    found = _left(left, "removal_shut_out", raw)
    wait = run.wait(
        schedule.backoff(run.step.attempts + 1, READ_BACK_FIRST, READ_BACK_CAP),
        "The tenant does not let the application in; looking again",
        give_up=HICCUP,
        then=NeedsPerson(problem=found, facts=facts),
    )
    return Wait(until=wait.until, why=wait.why, give_up_at=wait.give_up_at, then=wait.then, rows=rows)


def _left(left: list[dict[str, str]], code: str, raw: str = "") -> Problem:
    named = told([f"{item['object']}: {item['what']}" for item in left])
    cause = f"{problem(code).cause} {named}."
    return problem(code, cause=cause, raw="\n".join(filter(None, [raw, *(item["powershell"] for item in left)])))


def _report_row(report: Facts, at: datetime) -> Row:
    return Row(REMOVAL_ROW, {"version": 1, **report, "at": schedule.stamp(at)})
