"""The checks of a tenant's related settings, before anything is changed in it, and the fixes that people ask for."""

from shared.domain import schedule
from shared.domain.grant import Row
from shared.domain.outcomes import Done, NeedsPerson, Outcome, Progress
from shared.domain.steps import StepName
from shared.mailflow.checks.catalogue import CHECKED_CMDLETS, Findings, every, judge, report, results, stopping_problem
from shared.mailflow.desired import DesiredSetting
from shared.mailflow.diff import setting_changes, setting_differences
from shared.ports import Exchange
from shared.workflows.mail_flow import LAST_WRITE, is_settling, wait_to_see
from shared.workflows.run import Run
from shared.workflows.surroundings import with_surroundings
from shared.workflows.tenant import StaleReadError, View, apply, look

FINDINGS_ROW = "findings"
"""The row of the grant that holds the last report of the checks, whole: what people read, acknowledge and have put right."""


async def preflight(run: Run) -> Outcome:
    """Make every check on what the tenant holds now, after what people have asked to be put right is.

    Nothing else is changed. What stops the grant then waits for the person who can put it right.
    """
    exchange = run.clients.microsoft.exchange(run.grant.tenant_id)
    view, findings = await _look(run, exchange)
    asked = [setting for item in every(findings) if item.key in run.grant.intent.fixes for setting in item.fix]
    if asked:
        under_way = await _fix(run, exchange, view, asked)
        if under_way:
            return under_way
        _, findings = await _look(run, exchange)
    facts, rows = {"checks": results(findings)}, (Row(FINDINGS_ROW, {"checks": report(findings)}),)
    stops = stopping_problem(findings, run.grant.intent.acknowledged)
    return NeedsPerson(problem=stops, facts=facts, rows=rows) if stops else Done(facts=facts, rows=rows)


async def _look(run: Run, exchange: Exchange) -> tuple[View, Findings]:
    """Read what the checks need, and judge it."""
    view = await with_surroundings(run, await look(run, exchange, cmdlets=CHECKED_CMDLETS))
    return view, judge(view.request, view.tenant)


async def _fix(run: Run, exchange: Exchange, view: View, asked: list[DesiredSetting]) -> Outcome | None:
    """Put settings right, each journaled so that it can be undone; return what the run comes to, None when all show."""
    left = setting_differences(asked, view.tenant, StepName.PREFLIGHT)
    if is_settling(run):
        return wait_to_see(run, left)
    try:
        is_complete = await apply(run, exchange, setting_changes(asked, view.tenant), len(asked))
    except StaleReadError as error:
        return wait_to_see(run, left, raw=str(error))
    written = schedule.stamp(run.clock())
    if not is_complete:
        return Progress()
    after = await look(run, exchange, cmdlets=CHECKED_CMDLETS)
    left = setting_differences(asked, after.tenant, StepName.PREFLIGHT)
    return wait_to_see(run, left, **{LAST_WRITE: written}) if left else None
