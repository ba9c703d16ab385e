"""What the grant's access stands on, as facts read from Microsoft: the consents and the role, each with the step that owns it."""

from collections.abc import Mapping
from dataclasses import dataclass

from shared.domain.problems import Actor, ProblemError
from shared.domain.steps import StepName
from shared.ports import NotYetError, UsedCredential
from shared.workflows.role_assignment import missing_cmdlets
from shared.workflows.run import Run

CONSENT_STEPS: Mapping[str, StepName] = {
    "mail_flow": StepName.MAIL_FLOW_CONSENT,
    "directory": StepName.DIRECTORY_CONSENT,
    "activity": StepName.ACTIVITY_CONSENT,
}
"""Which step has an application's consent given."""


@dataclass(frozen=True, slots=True)
class MissingFact:
    """One fact that does not hold, in words, and the step that owns it."""

    words: str
    step: StepName


@dataclass(frozen=True, slots=True)
class Consent:
    """What an application's own token says of its consent, against what Grantline's catalogue says.

    ``missing`` breaks it; ``extra`` is more than is asked for. ``error`` is why no token came, and then all is missing.
    """

    application: str
    missing: frozenset[str] = frozenset()
    extra: frozenset[str] = frozenset()
    error: str = ""
    credential: UsedCredential | None = None
    """What Microsoft has taken from the application for the token."""

    @property
    def facts(self) -> list[MissingFact]:
        """What does not hold."""
        step = CONSENT_STEPS[self.application]
        if self.error:
            return [MissingFact(f"the consent of the {self.application} application: {self.error}", step)]
        return [MissingFact(f"the {self.application} application's permission {name}", step) for name in sorted(self.missing)]


async def read_consent(run: Run, application: str) -> Consent:
    """Compare what an application's own token carries with what it must and may. Raises ProblemError for an operator's fault."""
    identity = run.clients.microsoft.identity
    required = identity.required_permissions(application)
    try:
        token = await identity.application_token(application, run.grant.tenant_id)
    except (NotYetError, ProblemError) as error:
        if isinstance(error, ProblemError) and error.problem.who is not Actor.TENANT_ADMINISTRATOR:
            raise  # the operator's own fault, such as an expired secret: nobody in the tenant can put it right
        return Consent(application, missing=required, error=str(error))
    known = required | identity.optional_permissions(application)
    return Consent(application, required - token.permissions, token.permissions - known, credential=token.credential)


async def role_facts(run: Run) -> list[MissingFact]:
    """Tell whether the application's rights in Exchange still have their effect."""
    missing = await missing_cmdlets(run)
    return [MissingFact(f"the Exchange Administrator role: {missing}", StepName.ROLE_ASSIGNMENT)] if missing else []
