"""Two simulated tenants with a clock, mail through them, and cmdlets on them, without a server."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from local.microsoft365.clock import Clock
from local.microsoft365.exchange.catalogue import HANDLERS
from local.microsoft365.exchange.invoke import execute, prepare
from local.microsoft365.exchange.tenants import TenantOrganization
from local.microsoft365.exchange.wire import CmdletInput
from local.microsoft365.mail.live import MailOrder, send
from local.microsoft365.model import Tenant
from local.microsoft365.seed import TenantSeed, make_tenant
from local.microsoft365.settings import SimulationSettings
from local.microsoft365.simulation import Simulation
from local.microsoft365.store import Store
from tests.microsoft365.mails import CLEAN, INBOUND_EGRESS, inbound
from tests.microsoft365.mails import scanner as scanner_of
from tests.microsoft365.served import signing_keys

START = datetime(2026, 8, 20, 10, 0, tzinfo=UTC)
MEMBER = "member@contoso.com"


def scanner(**properties: Any) -> dict[str, Any]:
    """Return the scanner of Contoso's."""
    return scanner_of(tenant="contoso.com", **properties)


class Live:
    """Two simulated tenants and their clock."""

    def __init__(self, **settings: Any) -> None:
        self.now = START
        store = Store(Clock(lambda: self.now))
        self.simulation = Simulation(store, signing_keys(), replace(SimulationSettings(), **settings), store.clock)
        self.tenant = make_tenant(TenantSeed("Contoso", "contoso.onmicrosoft.com", 12, "contoso.com"))
        self.other = make_tenant(TenantSeed("Fabrikam", "fabrikam.onmicrosoft.com", 6))
        store.add_tenants([self.tenant, self.other])

    def __call__(self, cmdlet: str, tenant: Tenant | None = None, **parameters: Any) -> list[Any]:
        """Run a cmdlet in Contoso, or another tenant, as an Exchange administrator."""
        chosen = tenant or self.tenant
        organization = TenantOrganization(chosen, self.now)
        offered = frozenset(HANDLERS)
        delay = self.simulation.settings.message_trace_delay
        call = prepare(CmdletInput(cmdlet, parameters), organization, offered, now=self.now, trace_delay=delay)
        rows = list(execute(cmdlet, call))
        self.warnings = call.warnings
        self.simulation.store.changed(chosen)
        return rows

    def send(self, message: dict[str, Any], **order: Any) -> dict[str, Any]:
        """Send a message; the scanner is Contoso's."""
        return send(self.simulation, MailOrder(message, **{"scanners": (scanner(),), **order}))

    def route(self, **rule: Any) -> None:
        """Route inbound mail through the scanner."""
        connector: dict[str, Any] = {
            "UseMXRecord": False,
            "SmartHosts": ["inbound.scanner.example"],
            "IsTransportRuleScoped": True,
        }
        self("New-OutboundConnector", Name="To the scanner", ConnectorType="Partner", **connector)
        self("New-InboundConnector", Name="Back", SenderDomains=["*"], SenderIPAddresses=["192.0.2.0/25"], RequireTls=False)
        routing: dict[str, Any] = {
            "RecipientDomainIs": ["contoso.com"],
            "ExceptIfSenderIpRanges": INBOUND_EGRESS,
            "StopRuleProcessing": True,
        }
        self(
            "New-TransportRule",
            Name="Route",
            RouteMessageOutboundConnector="To the scanner",
            RuleErrorAction="Defer",
            **routing,
            **rule,
        )
        verdict: dict[str, Any] = {
            "SenderIpRanges": INBOUND_EGRESS,
            "HeaderContainsMessageHeader": CLEAN,
            "HeaderContainsWords": ["told to nobody"],
        }
        self("New-TransportRule", Name="Skip", SetSCL=-1, **verdict)


def to(address: str = MEMBER, **properties: Any) -> dict[str, Any]:
    """Return a message from the internet, with an id."""
    return inbound(recipients=[address], message_id="<1@example.org>", subject="An offer", **properties)


def defer(live: Live) -> None:
    """Route a message to a scanner that takes none."""
    live.route()
    live.send(to(), scanners=(scanner(accepts=False),))
