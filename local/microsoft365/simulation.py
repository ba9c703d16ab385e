"""The central object, which every request handler reaches through `simulation_of(request)`.

Who provides what:
- `graph.routes(simulation)` and `exchange.routes(simulation)` give the routes of the two resources.
- `exchange.snapshot(tenant)` gives Exchange's objects by cmdlet noun, `exchange.tamper(tenant, noun, identity, change)`
  changes one behind everybody's back (`change` None: removes it; KeyError: no such noun or object).
- `contract.Contract(directory)` is the check against Microsoft's OpenAPI description: `.middleware` and `.report()`.
- A handler that reads does so through `simulation.tenant_for(request, tenant_id)`: it answers a fault of the kind "stale"
  with the tenant as it was. A handler that writes uses `simulation.store.tenant(tenant_id)` and calls
  `simulation.store.changed(tenant)` afterwards; ids of new objects come from `tenant.new_id(noun, name)`.
- A handler may set `request[OPERATION]` (a Graph path template, a cmdlet name): the recorder shows it.
- Throttling, latency, faults and recording are middlewares: handlers know nothing of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web

from local.microsoft365.clock import Clock
from local.microsoft365.dns.records import DnsRecords
from local.microsoft365.faults import Faults
from local.microsoft365.items import Guard, unguarded
from local.microsoft365.keys import SigningKeys
from local.microsoft365.model import Tenant
from local.microsoft365.recorder import Recorder
from local.microsoft365.settings import SimulationSettings
from local.microsoft365.store import Store


class ContractChecker(Protocol):
    """The check of Graph requests and answers against Microsoft's description."""

    def report(self) -> dict[str, Any]:
        """`violations` (a list) and `operations` (those covered so far)."""
        ...

    def check(self, method: str, raw_path: str, query: Mapping[str, str], body: bytes, status: int, answer: bytes) -> None:
        """Check one exchange: of a batch, each call by itself."""
        ...


@dataclass(slots=True)
class Simulation:
    """Everything that the simulated Microsoft 365 knows."""

    store: Store
    keys: SigningKeys
    settings: SimulationSettings = field(default_factory=SimulationSettings)
    clock: Clock = field(default_factory=Clock)
    faults: Faults = field(default_factory=Faults)
    recorder: Recorder = field(default_factory=Recorder)
    contract: ContractChecker | None = None
    url: str = ""
    """Where it listens, without a slash at the end; known once it does."""
    dns: DnsRecords = field(init=False)
    """What the DNS server answers."""
    dns_address: str = ""
    """Where the DNS server listens, `host:port`; known once it does."""
    ca_file: Path = Path()
    """Certificate of the throw-away authority, PEM."""
    guard: Guard = unguarded
    """What is done around each call of a batch; the middlewares put theirs here."""
    on_reset: list[Callable[[], None]] = field(default_factory=list)
    """Called by the control interface's reset, for what lives outside the store."""

    def __post_init__(self) -> None:
        self.dns = DnsRecords(self.store.tenants)
        self.on_reset.append(self.dns.clear)

    def tenant_for(self, request: web.Request, tenant_id: str) -> Tenant:
        """The tenant for a reading request: as it is, or as it was where a fault says so. Raises KeyError."""
        stale = request.get(STALE_SECONDS)
        return self.store.tenant(tenant_id) if stale is None else self.store.tenant_before(tenant_id, stale)


OPERATION = web.RequestKey("operation", str)
"""What the request does, for the recorder."""
TENANT_ID = web.RequestKey("tenant_id", str)
APP_ID = web.RequestKey("app_id", str)
"""Whose request it is, for the recorder."""
REFUSAL = web.RequestKey("refusal", int)
"""The AADSTS number with which a fault has the identity platform refuse the request."""
STALE_SECONDS = web.RequestKey("stale_seconds", float)
"""How old the tenant is that a reading request sees; absent: it sees the present."""
SIMULATION: web.AppKey[Simulation] = web.AppKey("simulation", Simulation)


def simulation_of(request: web.Request) -> Simulation:
    """The simulation that serves this request."""
    return request.config_dict[SIMULATION]
