"""Runs Exchange's cmdlets on a small tenant, without HTTP."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from local.microsoft365.exchange.catalogue import HANDLERS
from local.microsoft365.exchange.errors import CommandError
from local.microsoft365.exchange.invoke import execute, prepare
from local.microsoft365.exchange.tenants import TenantOrganization
from local.microsoft365.exchange.wire import CmdletInput
from local.microsoft365.model import Domain, Tenant
from local.microsoft365.population import User, UserDirectory

TENANT_ID = "6babcaad-604b-40ac-a9d7-9fd97c0b779f"
NOW = datetime(2026, 8, 20, 10, 0, tzinfo=UTC)
INBOUND = {
    "Name": "Return path",
    "SenderDomains": ["*"],
    "ConnectorType": "Partner",
    "SenderIPAddresses": ["203.0.113.0/28"],
    "RequireTls": False,
}
OUTBOUND = {
    "Name": "Scanner",
    "ConnectorType": "Partner",
    "UseMXRecord": False,
    "SmartHosts": ["inbound.scanner.example"],
    "TlsSettings": "EncryptionOnly",
    "IsTransportRuleScoped": True,
}


class Exchange:
    """Runs cmdlets on one tenant."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        self.warnings: list[str] = []

    def __call__(self, cmdlet: str, **parameters: Any) -> list[Any]:
        """Run a cmdlet with the rights of an Exchange administrator and return its rows."""
        organization = TenantOrganization(self.tenant, NOW)
        call = prepare(CmdletInput(cmdlet, parameters), organization, frozenset(HANDLERS), now=NOW)
        rows = execute(cmdlet, call)
        self.warnings = call.warnings
        return rows

    def refusal(self, cmdlet: str, **parameters: Any) -> CommandError:
        """Run a cmdlet that must be refused, and return the refusal."""
        with pytest.raises(CommandError) as caught:
            self(cmdlet, **parameters)
        return caught.value

    def rule(self, name: str, **parameters: Any) -> Any:
        """Make a transport rule that only sets a header."""
        return self("New-TransportRule", Name=name, SetHeaderName="X-Seen", SetHeaderValue="1", **parameters)[0]

    def priorities(self) -> dict[str, int]:
        """Return the rules in their order, with their priorities."""
        return {rule["Name"]: rule["Priority"] for rule in self("Get-TransportRule")}


def user(index: int) -> User:
    """Return a mailbox user of contoso.com."""
    address = f"user{index}@contoso.com"
    return User(
        id=f"00000000-0000-4000-8000-{index:012x}",
        user_principal_name=address,
        display_name=f"User {index}",
        created_at=NOW,
        mail=address,
        proxy_addresses=(f"SMTP:{address}",),
    )


def small_exchange() -> Exchange:
    """Exchange Online of a tenant with four mailboxes and two verified domains."""
    users = UserDirectory(TENANT_ID, 0, user, lambda _: None)
    for index in range(4):
        users.put(user(index))
    tenant = Tenant(TENANT_ID, "Contoso", NOW, "US", users)
    tenant.domains = {
        "contoso.onmicrosoft.com": Domain("contoso.onmicrosoft.com", is_initial=True),
        "contoso.com": Domain("contoso.com", is_default=True),
        "pending.example": Domain("pending.example", is_verified=False),
    }
    return Exchange(tenant)
