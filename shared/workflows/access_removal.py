"""The last part of a removal: the consents and the role, which only an administrator can take back (real-tenants.md 12).

The exact list is shown. Grantline notices by itself when nothing of it works any more, or is told not to wait.
"""

from datetime import timedelta

from shared.domain import schedule
from shared.domain.grant import Waiver
from shared.domain.outcomes import Done, NeedsPerson, Outcome, Wait
from shared.domain.problems import Actor, problem
from shared.domain.steps import StepName
from shared.workflows.access import CONSENT_STEPS, read_consent
from shared.workflows.run import Run, told

FIRST_LOOK, LONGEST = timedelta(minutes=1), timedelta(hours=1)


async def access_removal(run: Run) -> Outcome:
    """See that no application of the operator's can act in the tenant any more."""
    left = await _residue(run)
    if not left or Waiver.LEFTOVERS in run.grant.intent.waived:
        return Done(facts={"residue": left})
    names = told([f"{item['application']} ({item['client_id']})" for item in left])
    found = problem("access_remains", cause=f"{problem('access_remains').cause} {names}.")
    begun = run.step.begun_at or run.clock()
    return Wait(
        until=run.clock() + schedule.backoff(run.step.attempts + 1, FIRST_LOOK, LONGEST),
        why="Waiting until an administrator has deleted the applications in the tenant",
        give_up_at=begun + schedule.PERSON_PATIENCE,
        then=NeedsPerson(problem=found, facts={"residue": left}),
        who=Actor.TENANT_ADMINISTRATOR,
        problem=found,
        facts={"residue": left},
    )


async def _residue(run: Run) -> list[dict[str, str]]:
    """Return the applications that still get a token with permissions in the tenant; the role goes with its application."""
    left: list[dict[str, str]] = []
    if not run.grant.tenant_id:
        return left  # nobody has proved a tenant: nobody has consented for one
    for application, step in CONSENT_STEPS.items():
        if step is StepName.ACTIVITY_CONSENT and not run.settings.offers_activity:
            continue
        consent = await read_consent(run, application)
        required = run.clients.microsoft.identity.required_permissions(application)
        if not consent.error and (consent.missing != required or consent.extra):
            left.append({"application": application, "client_id": run.clients.microsoft.sign_in.client_id(application)})
    return left
