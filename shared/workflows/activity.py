"""The permission to read activity data: done when the consent has its effect and every content type is subscribed to.

https://learn.microsoft.com/office/office-365-management-api/office-365-management-activity-api-reference: nothing is recorded for
a subscription before it is started; content may take 12 hours to come after that, so no content is waited for.
"""

from dataclasses import replace
from datetime import timedelta

from shared.domain import schedule
from shared.domain.outcomes import Done, NeedsPerson, Outcome
from shared.domain.problems import problem
from shared.domain.steps import STEPS
from shared.ports import Activity
from shared.workflows.consents import consent
from shared.workflows.run import Run

LONGEST_WAIT = timedelta(minutes=5)


async def activity_consent(run: Run) -> Outcome:
    """Look whether the activity application's consent works, then start what is not subscribed to, and see that it is."""
    outcome = await consent(run, "activity")
    if not isinstance(outcome, Done):
        return outcome
    missing = await _start(run.clients.microsoft.activity(run.grant.tenant_id), frozenset(run.settings.content_type_names))
    return _wait(run, missing) if missing else replace(outcome, facts={**outcome.facts, **_subscribed(run)})


async def _start(activity: Activity, wanted: frozenset[str]) -> list[str]:
    """Start the content types that are not on; return those that are not seen to be on after that."""
    missing = sorted(wanted - await activity.subscriptions())
    for content_type in missing:
        await activity.start(content_type)
    return sorted(wanted - await activity.subscriptions()) if missing else []


def _subscribed(run: Run) -> dict[str, list[str]]:
    return {"content_types": sorted(run.settings.content_type_names)}


def _wait(run: Run, missing: list[str]) -> Outcome:
    definition = STEPS[run.step.name]
    words = ", ".join(missing)
    return run.wait(
        schedule.backoff(run.step.attempts + 1, definition.retry_first, LONGEST_WAIT),
        f"Microsoft does not show the activity data as subscribed to yet; missing: {words}",
        give_up=definition.give_up,
        then=NeedsPerson(problem=problem("activity_refused", raw=f"started, and not enabled after that: {words}")),
    )
