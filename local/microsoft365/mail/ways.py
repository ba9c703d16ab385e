"""Which outbound connector mail for a domain outside takes by itself (pages of New-OutboundConnector)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local.microsoft365.mail.addresses import is_within
from local.microsoft365.mail.directory import TenantMail


def connector_for(tenant: TenantMail, domain: str) -> Mapping[str, Any] | None:
    """Return the connector that mail for a domain outside takes by itself: centralized transport first, then the closest one."""
    usable = [
        item for item in tenant.outbound.values() if item.get("Enabled", True) and not item.get("IsTransportRuleScoped", False)
    ]
    for item in usable:
        if item.get("RouteAllMessagesViaOnPremises") and item.get("ConnectorType") == "OnPremises":
            return item
    best: tuple[int, Mapping[str, Any]] | None = None
    for item in usable:
        for space in item.get("RecipientDomains") or ():
            wanted = str(space).lower()
            fits = wanted in ("*", domain) or (wanted.startswith("*.") and is_within(domain, wanted))
            if fits and (best is None or len(wanted) > best[0]):
                best = len(wanted), item
    return best[1] if best is not None else None
