"""The mail-flow objects: read the tenant, compare, change only what differs, read back.

Idempotent and resumable at any call: each run begins with what the tenant holds, and adopts what an earlier run has made. What is
to be changed is kept as a plan first, and waits for whoever must allow it. The routing rules stay off here.
"""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from shared.domain import schedule
from shared.domain.grant import Row
from shared.domain.outcomes import Done, NeedsPerson, Outcome, Progress, Wait
from shared.domain.problems import Problem, problem
from shared.mailflow import kinds
from shared.mailflow.checks.catalogue import CHECKED_CMDLETS
from shared.mailflow.desired import Routing
from shared.mailflow.diff import Difference
from shared.mailflow.facts import missing_facts
from shared.mailflow.kinds import READ_CMDLETS
from shared.mailflow.undo import routing_off
from shared.ports import Exchange
from shared.workflows.plans import KeptPlan, applied, newest_plan, plan_for, what_holds_up
from shared.workflows.run import Run, told
from shared.workflows.surroundings import with_surroundings
from shared.workflows.tenant import StaleReadError, View, apply, look, show_progress, snapshot_of

NEEDED_CMDLETS = kinds.NEEDED_CMDLETS
"""Every cmdlet that the workflows use; the role has its effect once Exchange offers them all."""
READ_BACK_FIRST = timedelta(seconds=2)
READ_BACK_CAP = timedelta(seconds=30)
READ_BACK_GIVE_UP = timedelta(minutes=15)
"""How long reads may lag behind our writes before a person must look."""
SETTLING = timedelta(minutes=2)
"""How long after a write a difference is taken for a stale read: nothing is written again before."""
LAST_WRITE = "last_write"
SWITCHED_OFF = "switched_off"
"""The fact that names the routing rules that went off because the way back was not there while a person was waited for."""


async def mail_flow(run: Run) -> Outcome:
    """Make the tenant hold the objects that the grant wants, and see that it does."""
    exchange = run.clients.microsoft.exchange(run.grant.tenant_id)
    view = await look(run, exchange, routing_of(run))
    if view.foreign:
        taken = problem("foreign_object", raw="; ".join(item.name for item in view.foreign))
        return await _held_up(run, exchange, view, taken)
    await show_progress(run, view.changes, len(view.desired))
    if not view.changes:
        return _made(view, applied(run, await newest_plan(run)))
    if is_settling(run):
        return wait_to_see(run, view.differences)
    plan = await plan_for(run, view)
    obstacle = what_holds_up(run, plan)
    if obstacle:
        return await _held_up(run, exchange, view, obstacle, **plan.facts)
    return await _carry_out(run, exchange, view, plan)


async def _held_up(run: Run, exchange: Exchange, view: View, obstacle: Problem, **facts: Any) -> Outcome:
    """Wait for a person. Where mail would not come back meanwhile it is no longer routed: that waits for nobody's approval."""
    pending = routing_off(view.request, view.tenant, await snapshot_of(run)) if _lacks_way_back(view) else []
    try:
        if not await apply(run, exchange, pending, len(view.desired)):
            return Progress(facts=facts)
    except StaleReadError as error:
        return wait_to_see(run, view.differences, raw=str(error), **facts)
    if not pending:
        return NeedsPerson(problem=obstacle, facts=facts)
    told_too = f"{obstacle.cause} The way back was not there: mail is delivered without being scanned until it is put right."
    switched = [change.object.name for change in pending]
    return NeedsPerson(problem=replace(obstacle, cause=told_too), facts={**facts, SWITCHED_OFF: switched})


def _lacks_way_back(view: View) -> bool:
    """True where a return connector is gone, switched off, or somebody else's by now: what is routed would be refused."""
    ways = [item for item in view.desired if item.kind is kinds.Kind.INBOUND_CONNECTOR]
    found = [view.tenant.find(item) for item in ways]
    return any(each is None or each.get("Enabled") is False for each in found) or any(item in ways for item in view.foreign)


async def _carry_out(run: Run, exchange: Exchange, view: View, plan: KeptPlan) -> Outcome:
    """Make the changes that are left of a plan, and read back whether they show."""
    try:
        is_complete = await apply(run, exchange, view.changes, len(view.desired))
    except StaleReadError as error:
        return wait_to_see(run, view.differences, raw=str(error))
    written = schedule.stamp(run.clock())
    if not is_complete:
        return Progress(facts=plan.facts)
    left = await look(run, exchange, routing_of(run))
    if left.changes:
        return wait_to_see(run, left.differences, **{LAST_WRITE: written}, **plan.facts)
    return _made(left, applied(run, plan), **plan.facts)


async def read_facts(run: Run) -> list[Difference]:
    """Read every fact of the mail flow back from the tenant; return those that do not hold, each with the step that owns it."""
    exchange = run.clients.microsoft.exchange(run.grant.tenant_id)
    view = await with_surroundings(run, await look(run, exchange, routing_of(run), cmdlets=READ_CMDLETS | CHECKED_CMDLETS))
    return missing_facts(view.request, view.tenant)


def routing_of(run: Run) -> Routing:
    """Return how the routing rules must stand before the policy's activation has its turn: off, until it has had it once."""
    return Routing.KEPT if run.grant.was_completed else Routing.OFF


def wait_to_see(run: Run, left: list[Difference], *, raw: str = "", **facts: Any) -> Wait:
    """Return the outcome of writes that do not show yet: Exchange's reads may lag behind; a person looks when they stay so."""
    then = NeedsPerson(problem=problem("fact_missing", cause=told(left), raw=raw))
    delay = schedule.backoff(run.step.attempts + 1, READ_BACK_FIRST, READ_BACK_CAP)
    return run.wait(delay, "Waiting until Exchange Online shows the changes", give_up=READ_BACK_GIVE_UP, then=then, **facts)


def is_settling(run: Run) -> bool:
    """True while this work's own writes may still be on their way to the servers that we read."""
    stamp = run.step.facts.get(LAST_WRITE)
    if stamp is None:
        return False
    written = schedule.parse(stamp)
    return written >= (run.step.begun_at or written) and run.clock() < written + SETTLING


def _made(view: View, rows: tuple[Row, ...], **facts: Any) -> Done:
    made = {
        "objects": [{"kind": str(item.kind), "name": item.name} for item in view.desired],
        "names": [item.name for item in view.desired],
    }
    return Done(facts={**made, **facts}, rows=rows)
