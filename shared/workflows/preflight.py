"""The checks of a tenant's related settings, before anything is changed in it. Reads only."""

from shared.domain.grant import Row
from shared.domain.outcomes import Done, NeedsPerson, Outcome
from shared.mailflow.checks.catalogue import CHECKED_CMDLETS, judge, report, results, stopping_problem
from shared.workflows.run import Run
from shared.workflows.surroundings import with_surroundings
from shared.workflows.tenant import look

FINDINGS_ROW = "findings"
"""The row of the grant that holds the last report of the checks, whole: what people read, acknowledge and have put right."""


async def preflight(run: Run) -> Outcome:
    """Make every check on what the tenant holds now; what stops the grant waits for the person who can put it right."""
    exchange = run.clients.microsoft.exchange(run.grant.tenant_id)
    view = await with_surroundings(run, await look(run, exchange, cmdlets=CHECKED_CMDLETS))
    findings = judge(view.request, view.tenant)
    rows = (Row(FINDINGS_ROW, {"checks": report(findings)}),)
    stops = stopping_problem(findings, run.grant.intent.acknowledged)
    if stops:
        return NeedsPerson(problem=stops, facts={"checks": results(findings)}, rows=rows)
    return Done(facts={"checks": results(findings)}, rows=rows)
