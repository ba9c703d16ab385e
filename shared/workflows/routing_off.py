"""The routing goes off: every rule that sends mail to the scanner, as marks, the journal and the rules themselves tell.

It needs nothing else to be known or to be right: not the settings of the scanner, nor the rest of what the grant wants.
"""

from typing import Any

from shared.domain import schedule
from shared.domain.grant import ROUTING, ROUTING_OFF, ROUTING_OFF_AT
from shared.domain.outcomes import Done, NeedsPerson, Outcome, Progress, Wait
from shared.domain.problems import problem
from shared.mailflow import undo
from shared.mailflow.diff import Change
from shared.mailflow.kinds import KINDS, Kind
from shared.mailflow.snapshot import Snapshot
from shared.ports import Exchange
from shared.workflows.mail_flow import READ_BACK_CAP, READ_BACK_FIRST, READ_BACK_GIVE_UP
from shared.workflows.run import Run, told
from shared.workflows.tenant import StaleReadError, apply, read_tenant, request_of, snapshot_of

WAS_ROUTED = "was_routed"
"""The fact that tells whether mail may ever have been routed: else nothing is to be drained."""
_READS = frozenset({KINDS[Kind.TRANSPORT_RULE].get, KINDS[Kind.OUTBOUND_CONNECTOR].get})


async def routing_off(run: Run, exchange: Exchange, since: str) -> Outcome:
    """Switch off every rule that routes mail to the scanner, and see that none is on.

    ``since`` is since when the routing is known to be off, "" where it is not. As soon as a rule is found on, that counts no
    more, and this is saved before the rule is switched: a run that ends in between is followed by one that finds all rules off.
    """
    snapshot = await snapshot_of(run)
    pending, names = await _rules(run, exchange, snapshot)
    if pending and since:
        return Progress(facts={ROUTING_OFF_AT: "", WAS_ROUTED: True})
    facts: dict[str, Any] = {WAS_ROUTED: True} if pending else {}
    try:
        is_complete = await apply(run, exchange, pending, len(pending))
    except StaleReadError as error:
        return wait_to_show(run, pending, raw=str(error), **facts)
    if not is_complete:
        return Progress(facts=facts)
    still_on, names = await _rules(run, exchange, snapshot) if pending else (pending, names)
    if still_on:
        return wait_to_show(run, still_on, **facts)
    off_at = since or schedule.stamp(run.clock())
    return Done(facts={**facts, "routing_rules": names, ROUTING: ROUTING_OFF, ROUTING_OFF_AT: off_at})


async def _rules(run: Run, exchange: Exchange, snapshot: Snapshot) -> tuple[list[Change], list[str]]:
    """Return what switches off the routing rules that are on, and the names of all routing rules."""
    request, tenant = await request_of(run), await read_tenant(exchange, cmdlets=_READS)
    names = sorted(str(rule["Name"]) for rule in undo.routing_rules(request, tenant, snapshot))
    return undo.routing_off(request, tenant, snapshot), names


def wait_to_show(run: Run, left: list[Change], *, raw: str = "", **facts: Any) -> Wait:
    """Return the outcome of changes that do not show yet; a person looks when they stay so."""
    cause = told([f"{change.cmdlet} of '{change.object.name}' does not show" for change in left])
    then = NeedsPerson(problem=problem("fact_missing", cause=cause, raw=raw))
    delay = schedule.backoff(run.step.attempts + 1, READ_BACK_FIRST, READ_BACK_CAP)
    return run.wait(delay, "Waiting until Exchange Online shows the changes", give_up=READ_BACK_GIVE_UP, then=then, **facts)
