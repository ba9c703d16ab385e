"""The HTTP side of Exchange's admin endpoint: who may call, and how an answer is written.

    POST /adminapi/{beta|v1.0}/{tenant}/InvokeCommand        one cmdlet
    GET  /adminapi/{beta|v1.0}/{tenant}/EXOModuleFile        with `CommandName: *`: the cmdlets offered

A caller's cmdlets are those of its directory roles (`wids`) and of the custom role groups that it is a member of
(office-docs-powershell app-only-auth-powershell-v2.md). Measured (github:rknightion/graph2otel internal/exoclient,
2026-07-23): without Exchange.ManageAsApp 401; with it and no right 403 whose body is a run of NUL bytes. EXOModuleFile:
github:KelvinTegelaar/CIPP-API New-ExoRequest.ps1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from aiohttp import web

from local.microsoft365.catalogue import EXCHANGE
from local.microsoft365.exchange.catalogue import licensed_cmdlets, offered_cmdlets
from local.microsoft365.exchange.errors import CommandError
from local.microsoft365.exchange.invoke import canonical_name, execute, prepare
from local.microsoft365.exchange.tenants import TenantOrganization, cmdlets_of_groups
from local.microsoft365.exchange.wire import (
    CmdletInput,
    annotated,
    answer_document,
    page_size,
    page_token,
    read_input,
    read_page_token,
)
from local.microsoft365.licences import plans_of
from local.microsoft365.model import Tenant
from local.microsoft365.simulation import APP_ID, OPERATION, TENANT_ID, Simulation, simulation_of
from local.microsoft365.tokens import AccessToken, BearerError, verify_bearer

APPLICATION_PERMISSION = "Exchange.ManageAsApp"
UNCERTAIN = ("connector_in_use_removable", "dehydrated_refuses_mail_flow")
"""Settings that switch what Microsoft doesn't document; each is off where the simulation's settings don't have it."""
_CONTENT_TYPE = "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8"
_RATE_LIMIT = 30_000
_RATE_WINDOW = timedelta(minutes=15)
_NUL_BODY = bytes(1024)
_BASE = r"/{endpoint:(?i:adminapi)}/{version:(?i:beta|v1\.0)}/{tenant}"


class RateLimit:
    """Counts the calls of each application in each tenant for the Rate-Limit headers; it refuses nothing."""

    def __init__(self) -> None:
        self._used: dict[tuple[str, str], tuple[datetime, int]] = {}

    def headers(self, token: AccessToken, now: datetime) -> dict[str, str]:
        """Count one call and return the headers of its answer."""
        key = (token.tenant_id, token.app_id)
        reset, used = self._used.get(key, (now, 0))
        if now >= reset:
            reset, used = now + _RATE_WINDOW, 0
        self._used[key] = (reset, used + 1)
        return {
            "Rate-Limit-Limit": str(_RATE_LIMIT),
            "Rate-Limit-Remaining": str(max(0, _RATE_LIMIT - used - 1)),
            "Rate-Limit-Reset": reset.strftime("%Y-%m-%dT%H:%M:%S.") + f"{reset.microsecond // 1000:03}Z",
        }


def _headers(request: web.Request) -> dict[str, str]:
    echoed = {"client-request-id": request.headers["client-request-id"]} if "client-request-id" in request.headers else {}
    return {
        "request-id": str(uuid4()),
        "OData-Version": "4.0",
        "Cache-Control": "no-cache",
        "X-CalculatedBETarget": "am0pr07mb3587.eurprd07.PROD.OUTLOOK.COM",
        "X-BackEndHttpStatus": "200,200",
        "X-ExchangeVersion": "Version 15.20 (Build 7587.36)",
        **echoed,
    }


def _answer(request: web.Request, status: int, document: Mapping[str, Any], extra: Mapping[str, str]) -> web.Response:
    headers = {**_headers(request), **extra, "Content-Type": _CONTENT_TYPE}
    return web.Response(status=status, body=json.dumps(document).encode(), headers=headers)


def _unauthorized(request: web.Request) -> web.Response:
    challenge = (
        'Bearer client_id="00000002-0000-0ff1-ce00-000000000000", token_types="app_asserted_user_v1 service_asserted_app_v1"'
    )
    return web.Response(status=401, headers={**_headers(request), "WWW-Authenticate": challenge})


def _forbidden(request: web.Request) -> web.Response:
    return web.Response(status=403, body=_NUL_BODY, headers=_headers(request))


def _offered(tenant: Tenant, token: AccessToken) -> frozenset[str]:
    """Return the cmdlets that the caller may run: those of its roles that the tenant's licences hold."""
    offered = offered_cmdlets(token.wids, cmdlets_of_groups(tenant, token.object_id))
    return offered & licensed_cmdlets(plan["name"] for plan in plans_of(tenant))


def _authorize(request: web.Request) -> AccessToken | web.Response:
    """Return the token of a caller who may use the endpoint for this tenant, or the answer that refuses it."""
    try:
        token = verify_bearer(request, EXCHANGE)
    except BearerError:
        return _unauthorized(request)
    request[TENANT_ID], request[APP_ID] = token.tenant_id, token.app_id
    tenant = simulation_of(request).store.find_tenant(request.match_info["tenant"])
    allowed = token.roles if token.is_app_only else token.scopes
    if tenant is None or tenant.id != token.tenant_id or not allowed & {APPLICATION_PERMISSION, "Exchange.Manage"}:
        return _unauthorized(request)
    return token if _offered(tenant, token) else _forbidden(request)


def _next_link(request: web.Request, simulation: Simulation, token: str) -> str:
    """Return the address that is posted to, with the same body, for the next page."""
    query = {key: value for key, value in request.query.items() if key.lower() != "$skiptoken"}
    return f"{simulation.url}{request.rel_url.with_query({**query, '$skiptoken': token})}"


def _invoke(request: web.Request, simulation: Simulation, call: CmdletInput, token: AccessToken) -> dict[str, Any]:
    """Return the document of one cmdlet; raises CommandError when it is refused."""
    now = simulation.clock.now()
    reads = call.name.lower().startswith("get-")
    tenant = simulation.tenant_for(request, token.tenant_id) if reads else simulation.store.tenant(token.tenant_id)
    uncertain = {name for name in UNCERTAIN if getattr(simulation.settings, name, False)}
    bound = prepare(
        call,
        TenantOrganization(tenant, now),
        _offered(tenant, token),
        now=now,
        uncertain=uncertain,
        customization_delay=simulation.settings.customization_delay,
    )
    skip = request.query.get("$skiptoken")
    offset = read_page_token(skip, call, now) if skip else 0
    rows = execute(call.name, bound)
    if not reads:
        simulation.store.changed(tenant)
    size = page_size(request.headers.get("Prefer", ""))
    select = [name for name in request.query.get("$select", "").split(",") if name]
    page = [annotated(row, select) for row in rows[offset : offset + size]]
    document = answer_document(tenant.initial_domain, page, bound.warnings)
    if offset + size < len(rows):
        document["@odata.nextLink"] = _next_link(request, simulation, page_token(offset + size, call, now))
    return document


def _module_file(request: web.Request, token: AccessToken) -> web.Response:
    if request.headers.get("CommandName") != "*":
        return web.Response(status=400, headers=_headers(request))
    tenant = simulation_of(request).store.tenant(token.tenant_id)
    exported = ",".join(sorted(_offered(tenant, token)))
    return _answer(request, 200, {"value": [{"exportedCmdlets": exported}]}, {})


def routes(simulation: Simulation) -> list[web.RouteDef]:
    """Return the routes of Exchange's admin endpoint; letter case of the path doesn't matter."""
    rate_limit = RateLimit()

    async def invoke_command(request: web.Request) -> web.Response:
        try:
            call = read_input(await request.read())
        except (KeyError, TypeError, ValueError):
            return web.Response(status=400, headers=_headers(request))
        request[OPERATION] = canonical_name(call.name)
        token = _authorize(request)
        if isinstance(token, web.Response):
            return token
        extra = rate_limit.headers(token, simulation.clock.now())
        try:
            document = _invoke(request, simulation, call, token)
        except CommandError as error:
            return _answer(request, error.status, error.document(), extra)
        return _answer(request, 200, document, extra | {"Preference-Applied": 'odata.include-annotations="*"'})

    async def module_file(request: web.Request) -> web.Response:
        request[OPERATION] = "EXOModuleFile"
        token = _authorize(request)
        return token if isinstance(token, web.Response) else _module_file(request, token)

    return [
        web.post(_BASE + "/{operation:(?i:invokecommand)}", invoke_command),
        web.get(_BASE + "/{operation:(?i:exomodulefile)}", module_file),
    ]
