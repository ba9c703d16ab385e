"""A simulated Graph and Exchange on a loopback port, and tokens for them, without the identity platform's pages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import jwt
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.typedefs import Handler

from local.microsoft365 import exchange, graph
from local.microsoft365.catalogue import EXCHANGE, GRAPH, resources
from local.microsoft365.clock import Clock
from local.microsoft365.contract import Contract
from local.microsoft365.keys import SigningKeys
from local.microsoft365.model import AppRoleAssignment, OAuth2PermissionGrant, ServicePrincipal, Tenant
from local.microsoft365.seed import TenantSeed, make_tenant
from local.microsoft365.simulation import SIMULATION, STALE_SECONDS, Simulation
from local.microsoft365.store import Store

NOW = datetime(2026, 8, 20, 10, 0, tzinfo=UTC)
APP_ID = "2d1e9a1c-93a5-4b0e-8e0a-6c2f6c7f0b11"
CONTRACTS = Path(__file__).parents[2].parent / "shared" / "contracts"
EXCHANGE_ADMINISTRATOR = "29232cdf-9323-42fd-ade2-1d097af3e4de"


@cache
def signing_keys() -> SigningKeys:
    """Return one key for all tests of a process: making one is slow."""
    return SigningKeys.generate()


@dataclass(slots=True)
class Page:
    """An answer: status, headers and the JSON document (None where there is none)."""

    status: int
    headers: dict[str, str]
    body: Any


@dataclass(slots=True)
class Served:
    """A running simulation with two tenants, and a client of it."""

    simulation: Simulation
    tenant: Tenant
    other: Tenant
    contract: Contract
    client: TestClient[web.Request, web.Application]
    clock: dict[str, datetime]
    stale: dict[str, float]
    """With `seconds` set, requests are marked as the simulation's fault of the kind "stale" marks them."""

    def advance(self, seconds: float) -> None:
        """Move the clock ahead."""
        self.clock["now"] += timedelta(seconds=seconds)

    def token(
        self,
        *,
        roles: Iterable[str] = (),
        scopes: Iterable[str] | None = None,
        wids: Iterable[str] = (),
        audience: str = GRAPH,
        tenant: Tenant | None = None,
        amr: Iterable[str] = ("pwd",),
    ) -> str:
        """Return an access token: an application's with `roles`, or a person's with `scopes` who signed in by `amr`."""
        claims: dict[str, Any] = {
            "aud": resources()[audience].audience,
            "tid": (tenant or self.tenant).id,
            "appid": APP_ID,
            "oid": "7d0f1c0e-3a86-4a3f-8f0e-1c1d5a1d4a01",
            "exp": int((self.simulation.clock.now() + timedelta(hours=1)).timestamp()),
            "wids": list(wids),
        }
        person = {"scp": " ".join(scopes or ()), "amr": list(amr)}
        claims |= {"idtyp": "app", "roles": list(roles)} if scopes is None else person
        return jwt.encode(claims, self.simulation.keys.private, algorithm="RS256")

    async def graph(self, path: str, *roles: str, method: str = "GET", **options: Any) -> Page:
        """Call Graph with a token that carries these application permissions (or `token=`)."""
        token = options.pop("token", None) or self.token(roles=roles)
        headers = {"Authorization": f"Bearer {token}"} | options.pop("headers", {})
        return await page_of(await self.client.request(method, path, headers=headers, **options))

    async def invoke(self, cmdlet: str, parameters: dict[str, Any] | None = None, **options: Any) -> Page:
        """Run a cmdlet over HTTP as an application with Exchange.ManageAsApp and a role (`wids=`, or `token=`)."""
        wids = options.pop("wids", (EXCHANGE_ADMINISTRATOR,))
        token = options.pop("token", None) or self.token(roles=("Exchange.ManageAsApp",), wids=wids, audience=EXCHANGE)
        address = options.pop("address", f"/adminapi/beta/{self.tenant.id}/InvokeCommand")
        body = {"CmdletInput": {"CmdletName": cmdlet, "Parameters": parameters or {}}}
        headers = {"Authorization": f"Bearer {token}"} | options.pop("headers", {})
        return await page_of(await self.client.post(address, json=body, headers=headers))


async def page_of(response: ClientResponse) -> Page:
    """Return the whole answer."""
    content = await response.read()
    is_json = "json" in response.headers.get("Content-Type", "")
    return Page(response.status, dict(response.headers), await response.json() if is_json else content)


@asynccontextmanager
async def serve(users: int = 250) -> AsyncIterator[Served]:
    """Serve Graph and Exchange of two tenants; Graph is checked against Microsoft's description where that is there."""
    moments = {"now": NOW}
    clock = Clock(lambda: moments["now"])
    tenant = make_tenant(TenantSeed("Contoso", "contoso.onmicrosoft.com", users, "contoso.com", "contoso-retail.com"))
    other = make_tenant(TenantSeed("Fabrikam", "fabrikam.onmicrosoft.com", 12))
    store = Store(clock)
    store.add_tenants([tenant, other])
    contract = Contract(CONTRACTS)
    simulation = Simulation(store=store, keys=signing_keys(), clock=clock, contract=contract)
    stale: dict[str, float] = {}

    @web.middleware
    async def mark(request: web.Request, handler: Handler) -> web.StreamResponse:
        if stale:
            request[STALE_SECONDS] = stale["seconds"]
        return await handler(request)

    application = web.Application(middlewares=[mark, contract.middleware])
    application[SIMULATION] = simulation
    application.add_routes([*graph.routes(simulation), *exchange.routes(simulation)])
    client = TestClient(TestServer(application))
    async with client:
        simulation.url = str(client.make_url("/")).rstrip("/")
        yield Served(simulation, tenant, other, contract, client, moments, stale)


def add_principal(served: Served, *, delay: float = 0.0) -> ServicePrincipal:
    """Put the calling application's service principal into the tenant, with one permission of each kind."""
    spread = NOW + timedelta(seconds=delay)
    tenant = served.tenant
    graph = tenant.service_principal_of(GRAPH)
    assert graph is not None
    principal = ServicePrincipal(
        id="7d0f1c0e-3a86-4a3f-8f0e-1c1d5a1d4a01",
        app_id="2d1e9a1c-93a5-4b0e-8e0a-6c2f6c7f0b11",
        display_name="Mail flow",
        app_owner_organization_id="f8cdef31-a31e-4b4a-93e4-5f571e91255a",
        created_at=NOW,
        visible_at=spread,
    )
    tenant.service_principals[principal.id] = principal
    tenant.app_role_assignments["a1"] = AppRoleAssignment(
        id="a1",
        app_role_id="df021288-bdef-4463-88db-98f22de89214",
        principal_id=principal.id,
        principal_display_name="Mail flow",
        resource_id=graph.id,
        resource_display_name=graph.display_name,
        created_at=NOW,
        visible_at=spread,
    )
    tenant.oauth2_permission_grants["g1"] = OAuth2PermissionGrant(
        "g1", principal.id, "AllPrincipals", None, graph.id, "User.Read", NOW, spread
    )
    return principal


async def all_pages(served: Served, path: str, *roles: str) -> list[dict[str, Any]]:
    """Return the documents of a collection's pages, next links followed as they are."""
    pages = []
    address: str | None = path
    while address:
        answer = await served.graph(address, *roles)
        assert answer.status == 200, answer.body
        pages.append(answer.body)
        address = answer.body.get("@odata.nextLink")
        address = address.removeprefix(served.simulation.url) if address else None
    return pages
