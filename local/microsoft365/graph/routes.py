"""The HTTP side of the simulated Graph: authenticate, authorize, answer, in Graph's forms and headers."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

from aiohttp import web

from local.microsoft365.catalogue import GRAPH
from local.microsoft365.graph.batch import answer_batch, is_batch, read_batch
from local.microsoft365.graph.calls import CONTENT_TYPE, PREFIX, Call, written
from local.microsoft365.graph.context import Answer, Context
from local.microsoft365.graph.errors import GraphError, denied, invalid_token, malformed
from local.microsoft365.graph.operations import Match, Operation, find_operation
from local.microsoft365.graph.permissions import effective_permissions, permission_table
from local.microsoft365.graph.query import read_query
from local.microsoft365.graph.schedules import scope_not_granted
from local.microsoft365.items import Reply
from local.microsoft365.simulation import APP_ID, OPERATION, STALE_SECONDS, TENANT_ID, Simulation
from local.microsoft365.tokens import AccessToken, BearerError, verify_bearer

_DIAGNOSTIC = json.dumps(
    {"ServerInfo": {"DataCenter": "West Europe", "Slice": "E", "Ring": "5", "ScaleUnit": "003", "RoleInstance": "AM2PEPF0001"}}
)


def _answer_headers(call: Call, units: int) -> dict[str, str]:
    request_id = str(uuid4())
    return {
        "request-id": request_id,
        "client-request-id": call.headers.get("client-request-id", request_id),
        "x-ms-ags-diagnostic": _DIAGNOSTIC,
        "x-ms-resource-unit": str(units),
        "Strict-Transport-Security": "max-age=31536000",
        "Cache-Control": "no-cache",
        "Vary": "Accept-Encoding",
    }


def _respond(reply: Reply) -> web.Response:
    if reply.document is None:
        return web.Response(status=reply.status, headers=reply.headers)
    return web.Response(
        status=reply.status, body=written(reply.document), headers={**reply.headers, "Content-Type": CONTENT_TYPE}
    )


def _refuse(simulation: Simulation, error: GraphError, headers: dict[str, str]) -> Reply:
    document = error.document(
        date=simulation.clock.now().strftime("%Y-%m-%dT%H:%M:%S"),
        request_id=headers["request-id"],
        client_request_id=headers["client-request-id"],
    )
    if error.status == 401:
        authority = f"{simulation.url}/common/oauth2/authorize"
        headers["WWW-Authenticate"] = f'Bearer realm="", authorization_uri="{authority}", client_id="{GRAPH}"'
    return Reply(error.status, document, {**headers, **error.headers})


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


def _body(content: bytes) -> Any:
    if not content:
        return None
    try:
        return json.loads(content)
    except ValueError:
        raise malformed("Unable to read JSON request payload.") from None


def _token(request: web.Request) -> AccessToken:
    try:
        return verify_bearer(request, GRAPH)
    except BearerError as error:
        raise invalid_token(error.reason) from None


def _next_page(call: Call, simulation: Simulation, token: str) -> str:
    query = {name: value for name, value in call.url.query.items() if name.lower() != "$skiptoken"}
    return f"{simulation.url}{call.url.with_query({**query, '$skiptoken': token})}"


def _context(call: Call, simulation: Simulation, match: Match, token: AccessToken) -> Context:
    operation = match.operation
    sees_present = operation.writes or call.stale is None
    store = simulation.store
    return Context(
        tenant=store.tenant(token.tenant_id) if sees_present else store.tenant_before(token.tenant_id, call.stale or 0),
        token=token,
        operation=operation.name,
        effective=_authorize(token, operation),
        keys=match.keys,
        query=read_query(call.url.query, call.headers, is_delta=operation.is_delta),
        body=_body(call.body) if operation.writes else None,
        now=simulation.clock.now(),
        settings=simulation.settings,
        service=simulation.url,
        prefer=call.headers.get("Prefer", ""),
        address=f"{simulation.url}{call.url.path}",
        next_page=lambda skip: _next_page(call, simulation, skip),
    )


def _answer(call: Call, simulation: Simulation, token: AccessToken) -> Answer:
    """Return the handler's answer; raises GraphError when the request is refused on the way to it."""
    match = find_operation(call.method, call.path)
    context = _context(call, simulation, match, token)
    answer = match.operation.handler(context)
    if match.operation.writes:
        simulation.store.changed(context.tenant)
    return answer


def answer_call(call: Call, simulation: Simulation, token: AccessToken) -> Reply:
    """Carry a call out, by itself or of a batch."""
    headers = _answer_headers(call, call.units)
    try:
        answer = _answer(call, simulation, token)
    except GraphError as error:
        return _refuse(simulation, error, headers)
    return Reply(answer.status, answer.document, {**headers, **answer.headers})


async def _serve(request: web.Request, simulation: Simulation) -> Reply:
    call = Call(request.method, request.rel_url, request.headers, await request.read(), request.get(STALE_SECONDS))
    try:
        token = _token(request)
        request[TENANT_ID], request[APP_ID] = token.tenant_id, token.app_id
        request[OPERATION] = call.operation
        if not is_batch(call):
            return answer_call(call, simulation, token)
        items = read_batch(call)
    except GraphError as error:
        return _refuse(simulation, error, _answer_headers(call, call.units))
    document = await answer_batch(items, simulation, token, lambda each: answer_call(each, simulation, token))
    return Reply(200, document, _answer_headers(call, call.units))


def routes(simulation: Simulation) -> list[web.RouteDef]:
    """Return the one route under which all of Graph's v1.0 is served."""

    async def serve(request: web.Request) -> web.Response:
        return _respond(await _serve(request, simulation))

    return [web.route("*", PREFIX + "/{path:.*}", serve)]
