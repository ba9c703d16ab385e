"""Puts the simulation together and serves it over TLS on the loopback addresses."""

from __future__ import annotations

import errno
import secrets
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from aiohttp import web

from local.microsoft365 import activity, control, exchange, graph, identity, middlewares, portal
from local.microsoft365.clock import Clock
from local.microsoft365.contract import Contract
from local.microsoft365.dns import serve_dns
from local.microsoft365.faults import Fault
from local.microsoft365.model import Registration, Tenant
from local.microsoft365.persistence import Credentials, DataDirectory, SavedState, load_tenant, save_tenant, write_file
from local.microsoft365.registrations import CONSOLE_PLACEHOLDER, new_secret, read_registrations
from local.microsoft365.seed import TenantSeed, default_seeds, make_tenant, people_of
from local.microsoft365.settings import SimulationSettings
from local.microsoft365.simulation import SIMULATION, Simulation
from local.microsoft365.store import Store
from local.microsoft365.throttling import Buckets

PROJECT = Path(__file__).parents[2]
_BODY_LIMIT = 4 * 1024 * 1024
_PORT_ATTEMPTS = 20


@dataclass(frozen=True, slots=True)
class Options:
    """How to start. Without a data directory everything is forgotten at the end."""

    port: int = 0
    """0: a free one is chosen."""
    dns_port: int = 0
    """Of the DNS server; 0: a free one is chosen."""
    users: int = 25
    """Users of Contoso, everybody counted."""
    settings: SimulationSettings = field(default_factory=SimulationSettings)
    console: str = CONSOLE_PLACEHOLDER
    """Where the registrations' redirects lead."""
    applications: Path = PROJECT / "infra" / "applications"
    data: Path | None = None
    ca_file: Path | None = None
    """Where the authority's certificate is written, besides the data directory."""
    contracts: Path | None = None
    """Folder of Microsoft's OpenAPI description; None: requests are not checked against it."""
    faults: tuple[Fault, ...] = ()
    assertion_certificates: tuple[str, ...] = ()
    """Certificates (PEM) that every application may sign its assertions with."""


class Keeper:
    """Builds the simulation from a data directory, resets it, and writes it back when something changed."""

    def __init__(self, options: Options, directory: DataDirectory, clock: Clock) -> None:
        """Raises RegistrationError or ValueError when the registrations or the directory cannot be read."""
        self._directory = directory
        self._options = options
        self._seeds: dict[str, TenantSeed] = {}
        self._changed = True
        saved = directory.load()
        registrations = read_registrations(options.applications, options.console)
        store = Store(clock, password=saved.password if saved else secrets.token_urlsafe(12), on_change=self._mark)
        self.contract = Contract(options.contracts)
        self.simulation = Simulation(
            store,
            directory.signing_keys(),
            options.settings,
            clock,
            contract=self.contract,
            ca_file=directory.path / "authority.pem",
        )
        self.simulation.faults.pending.extend(options.faults)
        store.registrations = {each.app_id: self._with_credentials(each, saved, clock) for each in registrations}
        if saved:
            self._seeds = {each.seed.tenant_id: each.seed for each in saved.tenants}
            store.add_tenants(load_tenant(each) for each in saved.tenants)
        else:
            self._sow()
        self._name_people()

    def add_tenant(self, seed: TenantSeed) -> Tenant:
        """Make one more tenant."""
        tenant = make_tenant(seed)
        self._seeds[seed.tenant_id] = seed
        self.simulation.store.add_tenants([tenant])
        self._name_people()
        self._mark()
        return tenant

    def reset(self) -> None:
        """Everything as seeded and as started; secrets, keys and the password stay."""
        simulation = self.simulation
        simulation.store.tenants.clear()
        self._sow()
        self._name_people()
        simulation.settings = self._options.settings
        simulation.clock.advance(-simulation.clock.offset.total_seconds())
        simulation.faults.clear()
        simulation.recorder.clear()
        for forget in simulation.on_reset:
            forget()
        self._mark()

    def save(self) -> None:
        """Write the state, when something changed since the last time."""
        if not self._changed:
            return
        self._changed = False
        store = self.simulation.store
        credentials = {
            app_id: Credentials(each.secrets, each.certificates, each.federated_credentials)
            for app_id, each in store.registrations.items()
        }
        tenants = [save_tenant(self._seeds[each.id], each) for each in store.tenants.values()]
        self._directory.save(store.password, credentials, tenants)

    def _sow(self) -> None:
        seeds = default_seeds(self._options.users)
        self._seeds = {each.tenant_id: each for each in seeds}
        self.simulation.store.add_tenants(make_tenant(each) for each in seeds)

    def _name_people(self) -> None:
        self.simulation.store.people = tuple(person for seed in self._seeds.values() for person in people_of(seed))

    def _with_credentials(self, registration: Registration, saved: SavedState | None, clock: Clock) -> Registration:
        kept = saved.credentials.get(registration.app_id) if saved else None
        kept = kept or Credentials(secrets=(new_secret(registration.app_id, clock.now()),))
        certificates = dict.fromkeys((*kept.certificates, *self._options.assertion_certificates))
        return replace(
            registration,
            secrets=kept.secrets,
            certificates=tuple(certificates),
            federated_credentials=kept.federated_credentials,
        )

    def _mark(self) -> None:
        self._changed = True


def build_app(keeper: Keeper) -> web.Application:
    """The whole application."""
    simulation = keeper.simulation
    buckets = Buckets()
    simulation.on_reset.append(buckets.clear)
    simulation.guard = middlewares.guard(simulation, buckets)
    application = web.Application(
        middlewares=[
            middlewares.record(simulation),
            middlewares.inject(simulation),
            middlewares.throttle(simulation, buckets),
            keeper.contract.middleware,
            middlewares.keep(keeper.save),
        ],
        client_max_size=_BODY_LIMIT,
    )
    application[SIMULATION] = simulation
    application.add_routes(control.routes(control.Control(simulation, keeper.add_tenant, keeper.reset)))
    application.add_routes(graph.routes(simulation))
    application.add_routes(exchange.routes(simulation))
    application.add_routes(activity.routes(simulation))
    browser = identity.new_browser(simulation)
    application.add_routes(portal.routes(browser))
    application.add_routes(identity.routes(browser))
    return application


@asynccontextmanager
async def serve(options: Options | None = None, *, clock: Clock | None = None) -> AsyncIterator[Simulation]:
    """Serve a simulation while the context lasts; its `url` and `ca_file` are known then.

    Raises OSError when the port is taken, RegistrationError or ValueError when what it reads is broken.
    """
    options = options or Options()
    with ExitStack() as stack:
        path = options.data or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="grantline-microsoft365-")))
        directory = DataDirectory(path)
        authority = directory.authority()
        keeper = Keeper(options, directory, clock or Clock())
        keeper.save()
        if options.ca_file:
            write_file(options.ca_file, authority.cert_pem.bytes())
            keeper.simulation.ca_file = options.ca_file
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("localhost", "127.0.0.1", "::1").configure_cert(context)
        runner = web.AppRunner(build_app(keeper), access_log=None, handle_signals=False, shutdown_timeout=0.2)
        sockets = [stack.enter_context(each) for each in listen(options.port)]
        keeper.simulation.url = f"https://localhost:{sockets[0].getsockname()[1]}"
        try:
            await runner.setup()
            for each in sockets:
                await web.SockSite(runner, each, ssl_context=context).start()
            async with serve_dns(keeper.simulation.dns, options.dns_port) as keeper.simulation.dns_address:
                yield keeper.simulation
        finally:
            await runner.cleanup()
            keeper.save()


def listen(port: int) -> list[socket.socket]:
    """Sockets on 127.0.0.1 and, where the machine has it, ::1, on one port; raises OSError when it is taken."""
    for attempt in range(_PORT_ATTEMPTS):
        first = _bound(socket.AF_INET, "127.0.0.1", port)
        try:
            second = _bound(socket.AF_INET6, "::1", first.getsockname()[1])
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                # No IPv6 here: `localhost` then means 127.0.0.1 alone.
                return [first]
            first.close()
            if port or attempt == _PORT_ATTEMPTS - 1:
                raise
        else:
            return [first, second]
    raise OSError(errno.EADDRINUSE, "no port is free on both loopback addresses")


def _bound(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    bound = socket.socket(family)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound
