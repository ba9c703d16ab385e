"""The routing rules are switched on, once the way back is verified; then the grant is complete."""

from datetime import timedelta

from shared.domain.outcomes import Done, Outcome, Progress, Reopen, Wait
from shared.domain.problems import problem
from shared.domain.steps import StepName
from shared.mailflow.desired import Routing
from shared.mailflow.diff import STATE, Difference
from shared.workflows.mail_flow import READ_BACK_CAP, wait_to_see
from shared.workflows.run import Run, told
from shared.workflows.tenant import StaleReadError, View, apply, look

STALE_GIVE_UP = timedelta(minutes=10)
"""How long something missing is taken for a stale read before its step is done again."""


async def policy_activation(run: Run) -> Outcome:
    """Switch the routing rules on and see that they are. While anything else is not as verified, nothing is switched."""
    exchange = run.clients.microsoft.exchange(run.grant.tenant_id)
    view = await look(run, exchange, Routing.ON)
    broken = _not_a_switch(view)
    if broken:
        return _restore(run, broken)
    try:
        if not await apply(run, exchange, view):
            return Progress()
    except StaleReadError as error:
        return wait_to_see(run, view.differences, raw=str(error))
    left = await look(run, exchange, Routing.ON) if view.changes else view
    if left.differences:
        return wait_to_see(run, left.differences)
    return Done(facts={"routing_rules": sorted(_routing_names(view)), "policy": run.grant.intent.policy})


def _routing_names(view: View) -> set[str]:
    return {item.name for item in view.desired if item.routes}


def _not_a_switch(view: View) -> list[Difference]:
    """Return what differs beside routing rules that are still off: mail must not be routed before it is put right."""
    names = _routing_names(view)
    return [item for item in view.differences if item.property != STATE or item.object not in names]


def _restore(run: Run, broken: list[Difference]) -> Wait:
    """Wait a little, since reads may lag; then have the objects made again."""
    cause = told(broken)
    then = Reopen(step=StepName.MAIL_FLOW, why=cause, problem=problem("fact_missing", cause=cause))
    return run.wait(READ_BACK_CAP, "Something that was verified is not seen", give_up=STALE_GIVE_UP, then=then)
