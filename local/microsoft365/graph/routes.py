"""The HTTP side of the simulated Graph: authenticate, authorize, answer, in Graph's forms and headers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

from aiohttp import web

from local.microsoft365.catalogue import GRAPH
from local.microsoft365.graph.context import Answer, Context
from local.microsoft365.graph.errors import GraphError, denied, invalid_token, malformed
from local.microsoft365.graph.operations import Match, Operation, find_operation, resource_units
from local.microsoft365.graph.permissions import effective_permissions, permission_table
from local.microsoft365.graph.query import read_query
from local.microsoft365.graph.schedules import scope_not_granted
from local.microsoft365.simulation import APP_ID, OPERATION, TENANT_ID, Simulation
from local.microsoft365.tokens import AccessToken, BearerError, verify_bearer

PREFIX = "/v1.0"
_CONTENT_TYPE = "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8"
_DIAGNOSTIC = json.dumps(
    {"ServerInfo": {"DataCenter": "West Europe", "Slice": "E", "Ring": "5", "ScaleUnit": "003", "RoleInstance": "AM2PEPF0001"}}
)


def _headers(request: web.Request, units: int) -> dict[str, str]:
    request_id = str(uuid4())
    return {
        "request-id": request_id,
        "client-request-id": request.headers.get("client-request-id", request_id),
        "x-ms-ags-diagnostic": _DIAGNOSTIC,
        "x-ms-resource-unit": str(units),
        "Strict-Transport-Security": "max-age=31536000",
        "Cache-Control": "no-cache",
        "Vary": "Accept-Encoding",
    }


def _respond(status: int, document: Mapping[str, Any] | None, headers: Mapping[str, str]) -> web.Response:
    if document is None:
        return web.Response(status=status, headers=headers)
    body = json.dumps(document, separators=(",", ":")).encode()
    return web.Response(status=status, body=body, headers={**headers, "Content-Type": _CONTENT_TYPE})


def _refuse(simulation: Simulation, error: GraphError, headers: dict[str, str]) -> web.Response:
    document = error.document(
        date=simulation.clock.now().strftime("%Y-%m-%dT%H:%M:%S"),
        request_id=headers["request-id"],
        client_request_id=headers["client-request-id"],
    )
    if error.status == 401:
        authority = f"{simulation.url}/common/oauth2/authorize"
        headers["WWW-Authenticate"] = f'Bearer realm="", authorization_uri="{authority}", client_id="{GRAPH}"'
    return _respond(error.status, document, {**headers, **error.headers})


def _authorize(token: AccessToken, operation: Operation) -> frozenset[str]:
    """Return the permissions that let the call through; raises GraphError (403), in PIM's own form for its calls."""
    effective = effective_permissions(token, operation.name)
    if effective:
        return effective
    if not operation.is_pim:
        raise denied()
    table = permission_table()
    if token.scopes & table.delegated[operation.name]:
        # The person's own directory role is what is missing.
        raise denied()
    raise scope_not_granted(min(table.application[operation.name] | table.delegated[operation.name]))


async def _body(request: web.Request) -> Any:
    text = await request.read()
    if not text:
        return None
    try:
        return json.loads(text)
    except ValueError:
        raise malformed("Unable to read JSON request payload.") from None


def _token(request: web.Request) -> AccessToken:
    try:
        return verify_bearer(request, GRAPH)
    except BearerError as error:
        raise invalid_token(error.reason) from None


def _next_page(request: web.Request, simulation: Simulation, token: str) -> str:
    query = {name: value for name, value in request.query.items() if name.lower() != "$skiptoken"}
    return f"{simulation.url}{request.rel_url.with_query({**query, '$skiptoken': token})}"


async def _context(request: web.Request, simulation: Simulation, match: Match, token: AccessToken) -> Context:
    operation = match.operation
    store = simulation.store
    tenant = store.tenant(token.tenant_id) if operation.writes else simulation.tenant_for(request, token.tenant_id)
    return Context(
        tenant=tenant,
        token=token,
        operation=operation.name,
        effective=_authorize(token, operation),
        keys=match.keys,
        query=read_query(request.query, request.headers, is_delta=operation.is_delta),
        body=await _body(request) if operation.writes else None,
        now=simulation.clock.now(),
        settings=simulation.settings,
        service=simulation.url,
        prefer=request.headers.get("Prefer", ""),
        address=f"{simulation.url}{request.rel_url.path}",
        next_page=lambda skip: _next_page(request, simulation, skip),
    )


async def _answer(request: web.Request, simulation: Simulation, path: str) -> Answer:
    """Return the handler's answer; raises GraphError when the request is refused on the way to it."""
    token = _token(request)
    request[TENANT_ID], request[APP_ID] = token.tenant_id, token.app_id
    match = find_operation(request.method, path)
    request[OPERATION] = match.operation.template
    context = await _context(request, simulation, match, token)
    answer = match.operation.handler(context)
    if match.operation.writes:
        simulation.store.changed(context.tenant)
    return answer


def routes(simulation: Simulation) -> list[web.RouteDef]:
    """Return the one route under which all of Graph's v1.0 is served."""

    async def serve(request: web.Request) -> web.Response:
        path = unquote(request.rel_url.raw_path.removeprefix(PREFIX))
        headers = _headers(request, resource_units(request.method, path, request.query))
        try:
            answer = await _answer(request, simulation, path)
        except GraphError as error:
            return _refuse(simulation, error, headers)
        return _respond(answer.status, answer.document, {**headers, **answer.headers})

    return [web.route("*", PREFIX + "/{path:.*}", serve)]
