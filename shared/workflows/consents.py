"""The consents: done when the application's own token for the tenant carries its permissions.

Microsoft's redirect proves nothing (https://learn.microsoft.com/entra/identity-platform/v2-admin-consent); its token does.
"""

from datetime import timedelta

from shared.domain import schedule
from shared.domain.outcomes import Done, Failed, NeedsPerson, Outcome
from shared.domain.problems import problem
from shared.domain.steps import STEPS
from shared.ports import Binding
from shared.workflows.run import Run


async def mail_flow_consent(run: Run) -> Outcome:
    """Look whether the mail-flow application's consent works; then the tenant is the account's."""
    outcome = await consent(run, "mail_flow")
    if not isinstance(outcome, Done):
        return outcome
    grant = run.grant
    binding = Binding(grant.tenant_id, grant.account_id, grant.grant_id, run.clock(), confirmed=True)
    standing = await run.clients.bindings.bind_tenant(binding)
    # The sign-in's reservation may have lapsed while the consent spread, and another account may have come.
    return outcome if standing.account_id == grant.account_id else Failed(problem=problem("tenant_taken"))


async def directory_consent(run: Run) -> Outcome:
    """Look whether the directory application's consent works."""
    return await consent(run, "directory")


async def consent(run: Run, application: str) -> Outcome:
    """Look whether an application's consent works, and wait while it does not. The facts of Done are what its token says."""
    identity = run.clients.microsoft.identity
    token = await identity.application_token(application, run.grant.tenant_id)
    missing = identity.required_permissions(application) - token.permissions
    if not missing:
        facts = {"permissions": sorted(token.permissions), "client_id": token.client_id, "object_id": token.object_id}
        return Done(facts=facts)
    definition = STEPS[run.step.name]
    return run.wait(
        schedule.backoff(run.step.attempts + 1, definition.retry_first, timedelta(minutes=1)),
        f"Microsoft has not spread the consent yet; missing: {', '.join(sorted(missing))}",
        give_up=definition.give_up,
        then=NeedsPerson(problem=problem("consent_without_effect", raw=f"missing: {', '.join(sorted(missing))}")),
    )
