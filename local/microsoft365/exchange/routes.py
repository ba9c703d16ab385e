"""The HTTP side of Exchange's admin endpoint: who may call, and how an answer is written.

    POST /adminapi/{beta|v1.0}/{tenant}/InvokeCommand        one cmdlet
    POST /adminapi/{beta|v1.0}/{tenant}/$batch               several of them
    GET  /adminapi/{beta|v1.0}/{tenant}/EXOModuleFile        with `CommandName: *`: the cmdlets offered

A caller's cmdlets are those of its directory roles (`wids`) and of the custom role groups that it is a member of
(office-docs-powershell app-only-auth-powershell-v2.md). Measured (github:rknightion/graph2otel internal/exoclient,
2026-07-23): without Exchange.ManageAsApp 401; with it and no right 403 whose body is a run of NUL bytes. EXOModuleFile:
github:KelvinTegelaar/CIPP-API New-ExoRequest.ps1.
"""

from __future__ import annotations

import json
from uuid import uuid4

from aiohttp import web

from local.microsoft365.catalogue import EXCHANGE
from local.microsoft365.exchange.batch import BatchError, answer_batch, read_batch
from local.microsoft365.exchange.calls import Asked, Calls, offered_to
from local.microsoft365.exchange.invoke import canonical_name
from local.microsoft365.exchange.wire import read_input
from local.microsoft365.items import Reply
from local.microsoft365.simulation import APP_ID, OPERATION, STALE_SECONDS, TENANT_ID, Simulation, simulation_of
from local.microsoft365.tokens import AccessToken, BearerError, verify_bearer

APPLICATION_PERMISSION = "Exchange.ManageAsApp"
_CONTENT_TYPE = "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8"
_NUL_BODY = bytes(1024)
_BASE = r"/{endpoint:(?i:adminapi)}/{version:(?i:beta|v1\.0)}/{tenant}"


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


def _answer(request: web.Request, reply: Reply) -> web.Response:
    headers = {**_headers(request), **reply.headers, "Content-Type": _CONTENT_TYPE}
    return web.Response(status=reply.status, body=json.dumps(reply.document).encode(), headers=headers)


def _unauthorized(request: web.Request) -> web.Response:
    challenge = (
        'Bearer client_id="00000002-0000-0ff1-ce00-000000000000", token_types="app_asserted_user_v1 service_asserted_app_v1"'
    )
    return web.Response(status=401, headers={**_headers(request), "WWW-Authenticate": challenge})


def _forbidden(request: web.Request) -> web.Response:
    return web.Response(status=403, body=_NUL_BODY, headers=_headers(request))


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
    return token if offered_to(tenant, token) else _forbidden(request)


def _module_file(request: web.Request, token: AccessToken) -> web.Response:
    if request.headers.get("CommandName") != "*":
        return web.Response(status=400, headers=_headers(request))
    tenant = simulation_of(request).store.tenant(token.tenant_id)
    exported = ",".join(sorted(offered_to(tenant, token)))
    return _answer(request, Reply(200, {"value": [{"exportedCmdlets": exported}]}))


def routes(simulation: Simulation) -> list[web.RouteDef]:
    """Return the routes of Exchange's admin endpoint; letter case of the path doesn't matter."""
    calls = Calls(simulation)

    async def invoke_command(request: web.Request) -> web.Response:
        try:
            call = read_input(await request.read())
        except (KeyError, TypeError, ValueError):
            return web.Response(status=400, headers=_headers(request))
        request[OPERATION] = canonical_name(call.name)
        token = _authorize(request)
        if isinstance(token, web.Response):
            return token
        asked = Asked(request.rel_url, request.headers.get("Prefer", ""), call, request.get(STALE_SECONDS))
        return _answer(request, calls.answer(asked, token))

    async def batch(request: web.Request) -> web.Response:
        request[OPERATION] = "$batch"
        token = _authorize(request)
        if isinstance(token, web.Response):
            return token
        try:
            items = read_batch(await request.read())
        except BatchError as error:
            return _answer(request, Reply(400, {"error": {"code": "BadRequest", "message": f"Invalid batch: {error}"}}))
        document = await answer_batch(items, token, calls, simulation.guard, request.headers.get("Prefer", ""))
        return _answer(request, Reply(200, document))

    async def module_file(request: web.Request) -> web.Response:
        request[OPERATION] = "EXOModuleFile"
        token = _authorize(request)
        return token if isinstance(token, web.Response) else _module_file(request, token)

    return [
        web.post(_BASE + "/{operation:(?i:invokecommand)}", invoke_command),
        web.post(_BASE + r"/{operation:(?i:\$batch)}", batch),
        web.get(_BASE + "/{operation:(?i:exomodulefile)}", module_file),
    ]
