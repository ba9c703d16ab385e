"""The drain: waits until no message is under way between a tenant and the scanner, and shows what for and until when."""

from datetime import datetime, timedelta

from shared.domain import schedule
from shared.domain.grant import ROUTING_OFF_AT
from shared.domain.intents import SCANNER_ROW
from shared.domain.outcomes import Done, Failed, Outcome, Wait
from shared.domain.problems import Actor, problem
from shared.domain.steps import StepName
from shared.mailflow.drain import Missing, Traffic, is_settled, still_missing
from shared.mailflow.kinds import KINDS, Kind
from shared.mailflow.snapshot import Snapshot
from shared.mailflow.undo import ways
from shared.ports import Exchange, RefusedError
from shared.workflows.removal import SHUT_OUT_SINCE, drained_again, stand, while_let_in
from shared.workflows.routing_off import WAS_ROUTED
from shared.workflows.run import Run
from shared.workflows.tenant import read_tenant, request_of, snapshot_of
from shared.workflows.traces import pending_with_scanner

LOOK_EVERY = timedelta(minutes=15)
"""How often message trace is asked, once the routing is off everywhere."""
_READS = frozenset(KINDS[kind].get for kind in Kind if kind is not Kind.DISTRIBUTION_GROUP)


async def drain(run: Run) -> Outcome:
    """Wait until the way back from the scanner can go without losing a message."""
    facts = run.grant.steps[StepName.ROUTING_REMOVAL].facts
    if not facts.get(WAS_ROUTED):
        return Done(facts={"drained": "nothing was routed", SHUT_OUT_SINCE: ""})
    if facts.get(SHUT_OUT_SINCE):  # nobody has seen the routing go off
        return await while_let_in(run, _let_in, await snapshot_of(run))
    off_at = schedule.parse(str(facts[ROUTING_OFF_AT]))
    if not is_settled(Traffic(off_at), run.clock()):
        return await _judged(run, Traffic(off_at, None, await run.clients.rows.row(SCANNER_ROW), run.grant.intent.waived))
    return await while_let_in(run, _looked, await snapshot_of(run))


async def _let_in(run: Run, exchange: Exchange, snapshot: Snapshot) -> Outcome:
    """Have the routing switched off first, as soon as the tenant can be read again."""
    await stand(run, exchange, snapshot)
    return drained_again("The tenant lets the application in again: the routing is switched off first")


async def _looked(run: Run, exchange: Exchange, snapshot: Snapshot) -> Outcome:
    """Ask message trace, and judge."""
    off_at = schedule.parse(str(run.grant.steps[StepName.ROUTING_REMOVAL].facts[ROUTING_OFF_AT]))
    pending = await _pending(run, exchange, snapshot)
    return await _judged(run, Traffic(off_at, pending, await run.clients.rows.row(SCANNER_ROW), run.grant.intent.waived))


async def _pending(run: Run, exchange: Exchange, snapshot: Snapshot) -> int | None:
    """Ask message trace; None where the application's role does not offer it."""
    tenant = await read_tenant(exchange, cmdlets=_READS)
    try:
        return await pending_with_scanner(exchange, ways(await request_of(run), tenant, snapshot), run.clock())
    except RefusedError as error:
        if error.problem.code != "cmdlet_not_offered":
            raise
        return None


async def _judged(run: Run, traffic: Traffic) -> Outcome:
    now = run.clock()
    missing = still_missing(traffic, now)
    if not missing:
        return Done(facts={"drained": "nothing is under way"})
    why = f"Waiting until no message is under way: {'; '.join(each.why for each in missing)}"
    return Wait(
        until=_next_look(missing, now),
        why=why,
        give_up_at=(run.step.begun_at or now) + schedule.PERSON_PATIENCE,
        then=Failed(problem=problem("drain_stuck", cause=why)),
        who=Actor.OPERATOR if all(each.who for each in missing) else None,
        facts={"missing": [{"why": each.why, "until": schedule.stamp(each.until) if each.until else ""} for each in missing]},
    )


def _next_look(missing: tuple[Missing, ...], now: datetime) -> datetime:
    """Return when to look again: at the first clock that time alone meets, or after a while."""
    clocks = [each.until for each in missing if each.until]
    return min([*clocks, now + LOOK_EVERY] if len(clocks) < len(missing) or not clocks else clocks)
