"""The daily watch of a completed grant: consents, granted against needed, and the role with its end.

What is missing is done again by the step that owns it, and everything is verified after that. More than was asked for is told.
The end of the role is a problem ahead of time: its expiry stops management, not mail.
"""

from dataclasses import replace

from shared.domain import schedule
from shared.domain.grant import Facts, RoleMode
from shared.domain.outcomes import Done, NeedsPerson, Outcome, Reopen
from shared.domain.problems import CATALOGUE, problem
from shared.domain.roles import SEEN_AT, UNKNOWN, Term, term_facts, term_of
from shared.domain.steps import StepName
from shared.ports import HeldRole, NotYetError, RefusedError, TransientError, UsedCredential
from shared.workflows.access import CONSENT_STEPS, MissingFact, read_consent, role_facts
from shared.workflows.role_assignment import EXCHANGE_ADMINISTRATOR
from shared.workflows.run import Run, told
from shared.workflows.verification import FIRST_LOOK, LONGEST, PATIENCE

ROLE_WATCH = "RoleAssignmentSchedule.Read.Directory"
"""The optional permission that shows when the role ends, whoever assigned it."""
MISSING, EXTRA = "missing", "extra"
"""Facts: by application, the permissions that were taken away, and those that nobody asked for."""
CREDENTIALS = "credentials"
"""The fact that tells which credential Microsoft has taken from each application, and when it ends."""
EXTENDABLE = frozenset({RoleMode.SIGN_IN, RoleMode.APPLICATION})
"""The ways to the role by which Grantline can extend it."""


async def access_watch(run: Run) -> Outcome:
    """Look once at everything that the grant's access stands on."""
    names = [name for name, step in CONSENT_STEPS.items() if run.grant.steps[step].is_done]
    consents = [await read_consent(run, name) for name in names]
    missing = [fact for consent in consents for fact in consent.facts]
    if missing:
        lost_permissions = {each.application: sorted(each.missing) for each in consents if each.missing}
        return _missing(run, missing, "consent_missing", {MISSING: lost_permissions})
    lost = await role_facts(run)
    if lost:
        return _missing(run, lost, "fact_missing", {MISSING: {}})
    extra = {each.application: sorted(each.extra) for each in consents if each.extra}
    used = {each.application: _credential_facts(each.credential) for each in consents if each.credential}
    facts: Facts = {MISSING: {}, EXTRA: extra, CREDENTIALS: used, **await _role_end(run)}
    return _ends_soon(run, facts) or Done(facts=facts)


def _missing(run: Run, missing: list[MissingFact], code: str, facts: Facts) -> Outcome:
    """Take what is missing for a stale read at first; then have its owner do it again."""
    words = told([fact.words for fact in missing])
    cause = f"Not as Grantline left it: {words}" if code == "fact_missing" else ""
    found = problem(code, cause=cause, raw=words)
    return run.wait(
        schedule.backoff(run.step.attempts + 1, FIRST_LOOK, LONGEST),
        f"Not as Grantline left it, looking again: {words}",
        give_up=PATIENCE,
        then=Reopen(step=missing[0].step, why=words, problem=found, facts=facts),
    )


def _credential_facts(used: UsedCredential) -> Facts:
    ends_at = schedule.stamp(used.ends_at) if used.ends_at else ""
    return {"kind": used.kind, "name": used.name, "ends_at": ends_at, "is_former": used.is_former}


async def _role_end(run: Run) -> Facts:
    """Return when the role ends, as far as the tenant's consent to the optional permission lets us see."""
    if not run.settings.role_watch or run.grant.role_mode is RoleMode.ROLE_GROUP:
        return term_facts(UNKNOWN)
    token = await run.clients.microsoft.identity.application_token("directory", run.grant.tenant_id)
    try:
        held = await _held(run) if ROLE_WATCH in token.permissions else None
    except TransientError:
        return {}  # what was seen last stands until the next look
    found = term_facts(Term(is_known=True, ends_at=held.ends_at, begins_at=held.begins_at) if held else UNKNOWN)
    is_known_already = found.items() <= run.step.facts.items()
    return {SEEN_AT: run.step.facts.get(SEEN_AT) if is_known_already else schedule.stamp(run.clock()), **found}


async def _held(run: Run) -> HeldRole | None:
    """Return the assignment that the optional permission shows; what is optional never breaks the watch."""
    application = await run.clients.microsoft.identity.application_token("mail_flow", run.grant.tenant_id)
    roles = run.clients.microsoft.roles(run.grant.tenant_id, application="directory")
    try:
        return await roles.held(application.object_id, EXCHANGE_ADMINISTRATOR)
    except (NotYetError, RefusedError):
        return None


def _ends_soon(run: Run, facts: Facts) -> Outcome | None:
    """Return what is to be done about a role that ends soon: extended by its step, or by a person elsewhere."""
    watched = replace(run.step, facts={**run.step.facts, **facts})
    term = term_of(run.grant.with_step(watched))
    if term.ends_at is None or not term.is_soon_over(run.clock()):
        return None
    kind = CATALOGUE["role_ends_soon"]
    found = problem("role_ends_soon", cause=f"{kind.cause} Its end: {schedule.stamp(term.ends_at)}.")
    if run.grant.role_mode in EXTENDABLE:
        return Reopen(step=StepName.ROLE_ASSIGNMENT, why=found.cause, problem=found, facts=facts)
    return NeedsPerson(problem=found, facts=facts)
