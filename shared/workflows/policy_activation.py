"""The routing rules are switched as the grant wants them: on, once the way back is verified, or off while it is paused."""

import asyncio
from datetime import timedelta

from shared.domain.grant import ROUTING, ROUTING_OFF_AT, ROUTING_ON
from shared.domain.outcomes import Done, NeedsPerson, Outcome, Progress, Reopen, Wait
from shared.domain.problems import problem
from shared.domain.steps import StepName
from shared.mailflow.checks.catalogue import CHECKED_CMDLETS, judge, unsettled
from shared.mailflow.desired import Routing
from shared.mailflow.diff import STATE, Difference
from shared.mailflow.plan import make_plan
from shared.ports import Exchange
from shared.workflows.mail_flow import READ_BACK_CAP, wait_to_see
from shared.workflows.routing_off import routing_off
from shared.workflows.run import Run, told
from shared.workflows.tenant import StaleReadError, View, apply, look

STALE_GIVE_UP = timedelta(minutes=10)
"""How long something missing is taken for a stale read before its step is done again."""


async def policy_activation(run: Run) -> Outcome:
    """Switch the routing rules as the grant wants them, and see that they are."""
    exchange = run.clients.microsoft.exchange(run.grant.tenant_id)
    return await (switch_off if run.grant.intent.is_paused else _switch_on)(run, exchange)


async def _switch_on(run: Run, exchange: Exchange) -> Outcome:
    """Switch the routing rules on. While anything is not as verified, of others' objects too, nothing is switched."""
    view = await look(run, exchange, Routing.ON, CHECKED_CMDLETS)
    obstacle = await _obstacle(run, view) if view.differences else None
    if obstacle:
        return obstacle
    try:
        if not await apply(run, exchange, view.changes, len(view.desired)):
            return Progress()
    except StaleReadError as error:
        return wait_to_see(run, view.differences, raw=str(error))
    left = await look(run, exchange, Routing.ON) if view.changes else view
    if left.differences:
        return wait_to_see(run, left.differences)
    return Done(facts={**_rules(view), "policy": run.grant.intent.policy, ROUTING: ROUTING_ON, ROUTING_OFF_AT: ""})


async def _obstacle(run: Run, view: View) -> Outcome | None:
    """Return why the routing may not go on: something of ours or others' has changed since, or mail would be harmed."""
    broken = _not_a_switch(view)
    if broken:
        return _restore(run, broken, StepName.MAIL_FLOW)
    unchecked = list(unsettled(judge(view.request, view.tenant), run.grant.intent.acknowledged))
    if unchecked:
        return _restore(run, unchecked, StepName.PREFLIGHT)
    plan = await asyncio.to_thread(make_plan, view.request, view.tenant)  # the route model works for a while
    harm = "; ".join(str(finding) for finding in plan.findings if finding.is_unsafe)
    return NeedsPerson(problem=problem("plan_unsafe", raw=harm)) if harm else None


async def switch_off(run: Run, exchange: Exchange) -> Outcome:
    """Switch the routing rules off, whatever else is not as it must be: mail goes its way without the scanner then."""
    return await routing_off(run, exchange, run.step.facts.get(ROUTING_OFF_AT) or "")


def _rules(view: View) -> dict[str, list[str]]:
    return {"routing_rules": sorted(_routing_names(view))}


def _routing_names(view: View) -> set[str]:
    return {item.name for item in view.desired if item.routes}


def _not_a_switch(view: View) -> list[Difference]:
    """Return what differs beside routing rules that are still off: mail must not be routed before it is put right."""
    names = _routing_names(view)
    return [item for item in view.differences if item.property != STATE or item.object not in names]


def _restore(run: Run, broken: list[Difference], owner: StepName) -> Wait:
    """Wait a little, since reads may lag; then have the owner of what is not as verified begin again."""
    cause = told(broken)
    then = Reopen(step=owner, why=cause, problem=problem("fact_missing", cause=cause))
    return run.wait(READ_BACK_CAP, "Something that was verified is not seen", give_up=STALE_GIVE_UP, then=then)
