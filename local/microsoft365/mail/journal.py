"""Journal reports: each pass of a message makes one for every journal rule that it fits, so that scanned mail makes two.

Scope and recipient: the page of New-JournalRule (github:MicrosoftDocs/office-docs-powershell).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from local.microsoft365.mail.directory import TenantMail
from local.microsoft365.mail.model import Copy


def reports(tenant: TenantMail, copies: Sequence[Copy]) -> Iterator[str]:
    """Yield the address of each report that one pass makes of what its transport rules have left."""
    for rule in tenant.policies("JournalRule"):
        if rule.get("Enabled", True) and any(_fits(tenant, rule, copy) for copy in copies):
            yield str(rule.get("JournalEmailAddress") or "").lower()


def _fits(tenant: TenantMail, rule: Mapping[str, Any], copy: Copy) -> bool:
    people = [copy.header_from, *(to.address for to in copy.recipients)]
    is_inside = all(tenant.owns(address) for address in people)
    scope = rule.get("Scope") or "Global"
    if scope != "Global" and (scope == "Internal") is not is_inside:
        return False
    wanted = str(rule.get("Recipient") or "").lower()
    return not wanted or _names(tenant, wanted, people)


def _names(tenant: TenantMail, wanted: str, people: Iterable[str]) -> bool:
    named = tenant.members(wanted) or {tenant.person(wanted) or wanted}
    return not frozenset(people).isdisjoint(named)
