"""The control interface under `/_control/`: for tests, for the demo's receipt, and for people who want to break things.

It is no part of Microsoft 365; README.md beside this file documents it.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar

from aiohttp import web
from pydantic import TypeAdapter

from local.microsoft365 import registrations
from local.microsoft365.clock import timestamp
from local.microsoft365.control_directory import DirectoryControl
from local.microsoft365.control_tenants import TenantControl
from local.microsoft365.dns import DnsControl
from local.microsoft365.faults import Fault, Tampering
from local.microsoft365.identity.client_authentication import check_certificate, check_public_key
from local.microsoft365.identity.errors import KINDS
from local.microsoft365.mail.live import MailOrder, Retry, retry, send
from local.microsoft365.model import FederatedCredential, Registration, Tenant
from local.microsoft365.recorder import RecordedRequest
from local.microsoft365.seed import TenantSeed
from local.microsoft365.simulation import Simulation
from local.microsoft365.state import PARTS, normalized, tenant_state
from local.microsoft365.tamper import tamper

Answer = dict[str, Any] | list[Any]
Body = TypeVar("Body")


class ControlError(ValueError):
    """Raised when a control request makes no sense; the message is the answer, with status 400."""


@dataclass(frozen=True, slots=True)
class ClockChange:
    """Body of `POST /_control/clock`."""

    offset_seconds: float


@dataclass(frozen=True, slots=True)
class NewCredential:
    """Body of `POST /_control/applications/{name}/credentials`; each part adds one."""

    certificate: str | None = None
    """PEM."""
    federated: FederatedCredential | None = None
    secret: bool = False
    """Make a new client secret; the answer shows it."""
    clear: bool = False
    """Take away what was there before."""
    starts_in: float = 0.0
    """Seconds until the new secret is in force."""
    lives: float | None = None
    """Seconds that the new secret is in force; None: half a year."""
    remove: str | None = None
    """Take away one credential: a secret's key id, or a certificate in PEM."""


_FAULT = TypeAdapter(Fault)
_TAMPERING = TypeAdapter(Tampering)
_CLOCK = TypeAdapter(ClockChange)
_SETTINGS = TypeAdapter(dict[str, Any])
_SEED = TypeAdapter(TenantSeed)
_CREDENTIAL = TypeAdapter(NewCredential)
_MAIL = TypeAdapter(MailOrder)
_RETRY = TypeAdapter(Retry)


class Control:
    """Answers control requests; every method that is routed returns a JSON value."""

    def __init__(self, simulation: Simulation, add_tenant: Callable[[TenantSeed], Tenant], reset: Callable[[], None]) -> None:
        self._simulation = simulation
        self.of_tenants = TenantControl(simulation)
        """The requests about one tenant."""
        self.of_directory = DirectoryControl(simulation)
        """The requests about users, groups and delta tokens."""
        self.of_dns = DnsControl(simulation.dns)
        self._add_tenant = add_tenant
        self._reset = reset

    async def state(self, request: web.Request) -> Answer:
        """GET state: a tenant's objects."""
        query = request.query
        parts = query["include"].split(",") if query.get("include") else PARTS
        unknown = sorted(set(parts) - set(PARTS))
        if unknown:
            raise ControlError(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
        state = tenant_state(self._tenant(query.get("tenant")), parts)
        if query.get("normalized") != "true":
            return state
        pairs = (each.partition("=") for each in query.getall("replace", []))
        shown: Answer = normalized(state, {former: label for former, _, label in pairs if former})
        return shown

    async def requests(self, request: web.Request) -> Answer:
        """GET requests: what was answered, oldest first; `?api=`, `?operation=` and `?status=` select."""
        selectors = {name: value for name, value in request.query.items() if name in {"api", "operation", "status", "method"}}
        shown = (_shown_request(each) for each in self._simulation.recorder.requests)
        return [each for each in shown if all(str(each[name]) == value for name, value in selectors.items())]

    async def clear_requests(self, _: web.Request) -> Answer:
        """DELETE requests: forget them."""
        self._simulation.recorder.clear()
        return {}

    async def faults(self, _: web.Request) -> Answer:
        """GET faults: those that still wait."""
        return [asdict(each) for each in self._simulation.faults.pending]

    async def add_fault(self, request: web.Request) -> Answer:
        """POST faults: let one wait."""
        fault = await _body(request, _FAULT)
        if fault.times < 1:
            raise ControlError("times: one or more")
        if fault.aadsts is not None and fault.aadsts not in KINDS:
            raise ControlError(f"aadsts: {fault.aadsts} is none of the numbers that are known here")
        _check_pattern(fault.match.path)
        self._simulation.faults.add(fault)
        return asdict(fault)

    async def clear_faults(self, _: web.Request) -> Answer:
        """DELETE faults: forget them."""
        self._simulation.faults.clear()
        return {}

    async def tamper(self, request: web.Request) -> Answer:
        """POST tamper: change or remove something behind everybody's back."""
        change = await _body(request, _TAMPERING)
        tenant = self._tenant(change.tenant)
        tamper(tenant, change, self._simulation.clock.now())
        self._simulation.store.changed(tenant)
        return {"tenant": tenant.id, "noun": change.noun, "identity": change.identity}

    async def settings(self, _: web.Request) -> Answer:
        """GET settings."""
        return asdict(self._simulation.settings)

    async def change_settings(self, request: web.Request) -> Answer:
        """POST settings: those named are changed."""
        self._simulation.settings = self._simulation.settings.changed(await _body(request, _SETTINGS))
        return asdict(self._simulation.settings)

    async def clock(self, _: web.Request) -> Answer:
        """GET clock."""
        clock = self._simulation.clock
        return {"now": timestamp(clock.now()), "offset_seconds": clock.offset.total_seconds()}

    async def change_clock(self, request: web.Request) -> Answer:
        """POST clock: set its distance from real time."""
        change = await _body(request, _CLOCK)
        self._simulation.clock.offset = timedelta(seconds=change.offset_seconds)
        return await self.clock(request)

    async def tenants(self, _: web.Request) -> Answer:
        """GET tenants: who is there."""
        return [describe_tenant(each) for each in self._simulation.store.tenants.values()]

    async def add_tenant(self, request: web.Request) -> Answer:
        """POST tenants: make one more."""
        seed = await _body(request, _SEED)
        if self._simulation.store.find_tenant(seed.initial_domain) is not None:
            raise ControlError(f"{seed.initial_domain} is there already")
        return describe_tenant(self._add_tenant(seed))

    async def add_credential(self, request: web.Request) -> Answer:
        """POST applications/{name}/credentials: secret, certificate or federated credential."""
        wanted = await _body(request, _CREDENTIAL)
        registration = self._registration(request.match_info["name"])
        if wanted.clear:
            registration = replace(registration, secrets=(), certificates=(), federated_credentials=())
        if wanted.remove:
            registration = _without_credential(registration, wanted.remove)
        changed = self._with_credential(registration, wanted)
        self._simulation.store.registrations[changed.app_id] = changed
        self._simulation.store.on_change()
        secret = changed.secrets[-1] if wanted.secret else None
        return {
            "client_id": changed.app_id,
            "client_secret": secret.value if secret else None,
            "key_id": secret.key_id if secret else None,
        }

    async def reset(self, _: web.Request) -> Answer:
        """POST reset: everything as seeded; secrets, keys and the password stay."""
        self._reset()
        return {}

    async def mail(self, request: web.Request) -> Answer:
        """POST mail: send a message through the tenants as they are."""
        return send(self._simulation, await _body(request, _MAIL))

    async def mail_queue(self, request: web.Request) -> Answer:
        """POST mail/queue: try again what waits in the tenants' queues."""
        return retry(self._simulation, (await _body(request, _RETRY)).scanners)

    async def contract(self, _: web.Request) -> Answer:
        """GET contract: what the check against Microsoft's description saw."""
        checker = self._simulation.contract
        return checker.report() if checker else {"enabled": False, "violations": [], "operations": {}}

    def _tenant(self, name: str | None) -> Tenant:
        store = self._simulation.store
        found = store.find_tenant(name) if name else store.default_tenant
        if found is None:
            raise ControlError(f"no tenant {name}")
        return found

    def _registration(self, name: str) -> Registration:
        found = next((each for each in self._simulation.store.registrations.values() if name in {each.name, each.app_id}), None)
        if found is None:
            raise ControlError(f"no application {name}")
        return found

    def _with_credential(self, registration: Registration, wanted: NewCredential) -> Registration:
        if wanted.certificate:
            check_certificate(wanted.certificate)
            registration = replace(registration, certificates=(*registration.certificates, wanted.certificate))
            registration = self._known_later(registration, wanted.certificate)
        if wanted.federated:
            check_public_key(wanted.federated.public_key)
            credentials = (*registration.federated_credentials, wanted.federated)
            registration = replace(registration, federated_credentials=credentials)
        if wanted.secret:
            now = self._simulation.clock.now()
            secret = registrations.new_secret(registration.app_id, now, starts_in=wanted.starts_in, lives=wanted.lives)
            registration = replace(registration, secrets=(*registration.secrets, secret))
            registration = self._known_later(registration, secret.key_id)
        return registration

    def _known_later(self, registration: Registration, credential: str) -> Registration:
        """The registration, with the time from which the token endpoint knows a new credential of it."""
        delay = timedelta(seconds=self._simulation.settings.credential_delay)
        known_at = self._simulation.clock.now() + delay
        return replace(registration, known_at=(*registration.known_at, (credential, known_at)))


def _without_credential(registration: Registration, name: str) -> Registration:
    """The registration without one secret or certificate. Raises ControlError when it has none of that name."""
    secrets = tuple(each for each in registration.secrets if each.key_id != name)
    certificates = tuple(each for each in registration.certificates if each != name)
    if (secrets, certificates) == (registration.secrets, registration.certificates):
        raise ControlError("remove: no such credential")
    return replace(registration, secrets=secrets, certificates=certificates)


def describe_tenant(tenant: Tenant) -> dict[str, Any]:
    """A tenant's names and sizes."""
    return {
        "tenant_id": tenant.id,
        "display_name": tenant.display_name,
        "tenant_domain": tenant.default_domain,
        "domains": sorted(tenant.domains),
        "users": len(tenant.users),
    }


def routes(control: Control) -> list[web.RouteDef]:
    """The routes of the control interface."""
    table: tuple[tuple[str, str, Callable[[web.Request], Awaitable[Answer]]], ...] = (
        ("GET", "state", control.state),
        ("GET", "requests", control.requests),
        ("DELETE", "requests", control.clear_requests),
        ("GET", "faults", control.faults),
        ("POST", "faults", control.add_fault),
        ("DELETE", "faults", control.clear_faults),
        ("POST", "tamper", control.tamper),
        ("GET", "settings", control.settings),
        ("POST", "settings", control.change_settings),
        ("GET", "clock", control.clock),
        ("POST", "clock", control.change_clock),
        ("GET", "tenants", control.tenants),
        ("POST", "tenants", control.add_tenant),
        ("POST", "applications/{name}/credentials", control.add_credential),
        ("POST", "reset", control.reset),
        ("POST", "mail", control.mail),
        ("POST", "mail/queue", control.mail_queue),
        ("GET", "contract", control.contract),
        *control.of_tenants.table(),
        *control.of_directory.table(),
        *control.of_dns.table(),
    )
    return [web.route(method, f"/_control/{path}", _answered(handler)) for method, path, handler in table]


def _answered(handler: Callable[[web.Request], Awaitable[Answer]]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        try:
            return web.json_response(await handler(request))
        except ValueError as error:
            # ControlError, TamperError, SettingsError and pydantic's ValidationError: each says what is wrong.
            return web.json_response({"error": str(error)}, status=400)

    return answer


async def _body(request: web.Request, adapter: TypeAdapter[Body]) -> Body:
    return adapter.validate_json(await request.read(), extra="forbid")


def _check_pattern(pattern: str | None) -> None:
    try:
        re.compile(pattern or "")
    except re.error as error:
        raise ControlError(f"match.path: {error}") from error


def _shown_request(request: RecordedRequest) -> dict[str, Any]:
    return {**asdict(request), "at": request.at.isoformat()}
