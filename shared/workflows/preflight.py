"""The checks of a tenant's related settings, before anything is changed in it. Reads only."""

from shared.domain.outcomes import Done, NeedsPerson, Outcome
from shared.mailflow import preflight as checks
from shared.workflows.run import Run
from shared.workflows.tenant import look


async def preflight(run: Run) -> Outcome:
    """Make every check on what the tenant holds now; a blocking finding waits for the person who can put it right."""
    exchange = run.clients.microsoft.exchange(run.grant.tenant_id)
    view = await look(run, exchange, cmdlets=checks.CHECKED_CMDLETS)
    findings = checks.judge(view.request, view.tenant)
    blocking = checks.blocking_problem(findings)
    if blocking:
        return NeedsPerson(problem=blocking)
    return Done(facts={"checks": checks.report(findings)})
