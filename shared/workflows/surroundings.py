"""What the checks must know of a tenant beside its Exchange: what it is subscribed to, and where mail for its domains arrives.

Microsoft Graph says so to the directory application, once the tenant has consented to it; the DNS says so to everybody.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from shared.domain.grant import Row
from shared.domain.steps import StepName
from shared.mailflow.checks.domains import MAIL_EXCHANGERS
from shared.mailflow.checks.organization import PLANS
from shared.mailflow.desired import scoped_domains
from shared.mailflow.tenant import TenantObjects
from shared.ports import Directory, NotYetError, RefusedError, Resolver
from shared.workflows.run import Run
from shared.workflows.tenant import View

MAXIMUM_DOMAINS = 50
"""How many domains are looked up in one run."""
AT_ONCE = 8
"""How many of them at the same time."""
PATIENCE = timedelta(seconds=15)
"""How long all of them may take together: what has no answer by then has none."""


RETURN_HOSTS_ROW = "return_hosts"
"""The row of the grant that holds, by domain, the hosts that the scanner hands inbound mail back to, the preferred one first."""


async def with_surroundings(run: Run, view: View) -> View:
    """Return the view with what is known beside Exchange, and keep where mail is to return to.

    Without the directory's consent the view stays as it is.
    """
    if not run.grant.steps[StepName.DIRECTORY_CONSENT].is_done:
        return view
    directory = run.clients.microsoft.directory(run.grant.tenant_id)
    try:
        found: dict[str, Sequence[Any]] = {PLANS: await directory.service_plans()}
    except (NotYetError, RefusedError):
        return view  # the consent is gone again: whoever watches it says so
    if run.clients.resolver:
        domains = scoped_domains(view.request)[:MAXIMUM_DOMAINS]
        found[MAIL_EXCHANGERS] = rows = await _mail_exchangers(directory, run.clients.resolver, domains)
        hosts = {row["Domain"]: row["Expected"] for row in rows if row["Expected"]}
        await run.clients.rows.put(Row(RETURN_HOSTS_ROW, hosts))
    return View(view.request, TenantObjects({**view.tenant.answers, **found}))


async def _mail_exchangers(directory: Directory, resolver: Resolver, domains: Sequence[str]) -> list[dict[str, Any]]:
    """Return what Microsoft expects of each domain and what its DNS says, in the form that the check reads."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def look_up(domain: str) -> dict[str, Any]:
        async with gate:
            expected = await _expected(directory, domain)
            answer = await resolver.mail_exchangers(domain)
        return _row(domain, expected, answer.hosts, answer.error, is_answered=answer.is_answered)

    tasks = {domain: asyncio.create_task(look_up(domain)) for domain in domains}
    if tasks:
        _, late = await asyncio.wait(tasks.values(), timeout=PATIENCE.total_seconds())
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
    return [
        _row(domain, (), (), "there was no time left", is_answered=False) if task.cancelled() else task.result()
        for domain, task in tasks.items()
    ]


def _row(domain: str, expected: Sequence[str], found: Sequence[str], error: str, *, is_answered: bool) -> dict[str, Any]:
    return {"Domain": domain, "Expected": list(expected), "Found": list(found), "Error": error, "IsAnswered": is_answered}


async def _expected(directory: Directory, domain: str) -> Sequence[str]:
    """Return the hosts that Microsoft expects; none for a domain that Exchange Online knows and Microsoft Entra does not."""
    try:
        return await directory.service_records(domain)
    except RefusedError:
        return ()
