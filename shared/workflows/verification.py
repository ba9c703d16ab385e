"""Verification: every fact that the grant stands on, read back from Microsoft and never from our own rows.

A fact that is missing may be a stale read: it is waited for, then the step that owns it is done again, three times, then a person
must look. Which step owns which fact is data.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta

from shared.domain import schedule
from shared.domain.outcomes import Done, Outcome, Reopen
from shared.domain.problems import problem
from shared.domain.steps import StepName
from shared.workflows.access import MissingFact, read_consent, role_facts
from shared.workflows.mail_flow import read_facts
from shared.workflows.run import Run, told
from shared.workflows.surroundings import RETURN_HOSTS_ROW

PATIENCE = timedelta(minutes=10)
"""How long a missing fact is taken for a stale read."""
FIRST_LOOK, LONGEST = timedelta(seconds=5), timedelta(minutes=2)


Check = Callable[[Run], Awaitable[list[MissingFact]]]


async def verification(run: Run) -> Outcome:
    """Check every fact; the first group that lacks one is named, for what stands on it can't be read.

    What comes of it also tells the product where the scanner hands inbound mail back to.
    """
    for name, check in CHECKS.items():
        missing = await check(run)
        if missing:
            return _not_as_left(run, name, missing)
    hosts = await run.clients.rows.row(RETURN_HOSTS_ROW)
    return Done(facts={"checked": list(CHECKS), RETURN_HOSTS_ROW: hosts or {}})


def _not_as_left(run: Run, name: str, missing: list[MissingFact]) -> Outcome:
    words = told([fact.words for fact in missing])
    found = problem("fact_missing", cause=f"Not as Grantline left it ({name}): {words}")
    return run.wait(
        schedule.backoff(run.step.attempts + 1, FIRST_LOOK, LONGEST),
        f"Not as Grantline left it, looking again: {words}",
        give_up=PATIENCE,
        then=Reopen(step=missing[0].step, why=words, problem=found),
    )


async def _consents(run: Run) -> list[MissingFact]:
    """Both applications' own tokens carry their permissions."""
    return [fact for name in ("mail_flow", "directory") for fact in (await read_consent(run, name)).facts]


async def _mail_flow(run: Run) -> list[MissingFact]:
    """Every object with its settings and its place, and the settings that preflight asked for."""
    return [MissingFact(str(found), found.step) for found in await read_facts(run)]


async def _directory(run: Run) -> list[MissingFact]:
    """The synced directory is the tenant's: same organization, same verified domains, and readers have it."""
    directory = run.clients.microsoft.directory(run.grant.tenant_id)
    current = await run.clients.directory.current(run.grant.tenant_id)
    if current is None:
        return [MissingFact("the synced directory is gone", StepName.DIRECTORY_SYNC)]
    synced = {domain.name for domain in await run.clients.directory.domains(run.grant.tenant_id) if domain.is_verified}
    verified = {domain.name for domain in await directory.domains() if domain.is_verified}
    return [
        MissingFact(
            f"the domain {name} was {'removed from' if name in synced else 'added to'} the tenant", StepName.DIRECTORY_SYNC
        )
        for name in sorted(synced ^ verified)
    ]


CHECKS: Mapping[str, Check] = {"consents": _consents, "role": role_facts, "mail flow": _mail_flow, "directory": _directory}
"""Every group of facts, in the order in which one stands on another."""
