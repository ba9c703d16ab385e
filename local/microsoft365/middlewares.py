"""What happens to every request around its handler: recording, faults, throttling, and the state's way to disk.

From the outside in: record, inject, throttle, (contract), keep. The control interface passes untouched.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from local.microsoft365.activity.errors import default_document
from local.microsoft365.catalogue import EXCHANGE, GRAPH
from local.microsoft365.faults import Fault, Tampering
from local.microsoft365.graph import resource_units
from local.microsoft365.items import Guard, Item, Reply, Serve
from local.microsoft365.recorder import RecordedRequest
from local.microsoft365.simulation import APP_ID, OPERATION, REFUSAL, STALE_SECONDS, TENANT_ID, Simulation
from local.microsoft365.tamper import tamper
from local.microsoft365.throttling import Buckets
from local.microsoft365.tokens import AccessToken, BearerError, verify_bearer

_CONTROL = "/_control"
_GRAPH = "/v1.0/"
_EXCHANGE = "/adminapi/"
_PORTAL = "/portal/"
_ACTIVITY = "/api/v1.0/"
_BATCH = "/$batch"
_PERCENTAGE = "x-ms-throttle-limit-percentage"
_NEAR = 0.8
_FAULT = web.RequestKey("fault", Fault)
_DROPPED = web.RequestKey("dropped", bool)


def api_of(path: str) -> str:
    """Which of the five services a path belongs to."""
    if path.startswith(_GRAPH):
        return "graph"
    if path == "/" or path.startswith(_PORTAL):
        return "portal"
    if path.lower().startswith(_ACTIVITY):
        return "activity"
    return "exchange" if path.lower().startswith(_EXCHANGE) else "identity"


def is_control(request: web.Request) -> bool:
    """Whether a request is to the control interface, which no fault touches and nobody records."""
    return request.path.startswith(_CONTROL)


async def cmdlet_of(request: web.Request) -> str | None:
    """The cmdlet that a request to Exchange names in its body; None for every other request."""
    if api_of(request.path) != "exchange" or request.method != "POST":
        return None
    try:
        return str(json.loads(await request.read())["CmdletInput"]["CmdletName"])
    except (ValueError, KeyError, TypeError):
        return request.headers.get("X-CmdletName")


def record(simulation: Simulation) -> Middleware:
    """Remember every answer, and every connection that was dropped."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if is_control(request):
            return await handler(request)
        status = 500
        try:
            response = await handler(request)
            status = 0 if request.get(_DROPPED) else response.status
        except web.HTTPException as error:
            status = error.status
            raise
        finally:
            simulation.recorder.add(await _recorded(simulation, request, status))
        return response

    return middleware


async def _recorded(simulation: Simulation, request: web.Request, status: int) -> RecordedRequest:
    return RecordedRequest(
        method=request.method,
        path=request.path,
        query=request.query_string,
        status=status,
        api=api_of(request.path),
        operation=request.get(OPERATION) or await cmdlet_of(request) or request.path,
        tenant_id=request.get(TENANT_ID),
        app_id=request.get(APP_ID),
        at=simulation.clock.now(),
        fault=_FAULT in request,
    )


def inject(simulation: Simulation) -> Middleware:
    """Apply the settings' latency and the faults that are waiting for this request."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if is_control(request):
            return await handler(request)
        fault = simulation.faults.take(request.method, str(request.rel_url), await cmdlet_of(request))
        delay = simulation.settings.latency_ms + (fault.latency_ms if fault else 0)
        if delay:
            await asyncio.sleep(delay / 1000)
        return await (handler(request) if fault is None else _faulty(simulation, request, handler, fault))

    return middleware


async def _faulty(simulation: Simulation, request: web.Request, handler: Handler, fault: Fault) -> web.StreamResponse:
    request[_FAULT] = fault
    if fault.aadsts is not None:
        request[REFUSAL] = fault.aadsts
    if fault.stale is not None:
        request[STALE_SECONDS] = fault.stale
    replaces = fault.drop or fault.status is not None
    if fault.edit is not None and not fault.after:
        _edit(simulation, fault.edit)
    answer = await handler(request) if fault.after or not replaces else None
    if fault.edit is not None and fault.after:
        _edit(simulation, fault.edit)
    if answer is not None and not replaces:
        return answer
    return _drop(request) if fault.drop else _failure(simulation, request, fault)


def _edit(simulation: Simulation, change: Tampering) -> None:
    store = simulation.store
    tenant = store.tenant(change.tenant) if change.tenant else store.default_tenant
    tamper(tenant, change, simulation.clock.now())
    store.changed(tenant)


def _drop(request: web.Request) -> web.Response:
    request[_DROPPED] = True
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=503)


def _failure(simulation: Simulation, request: web.Request, fault: Fault) -> web.Response:
    status = fault.status or 500
    body = default_body(simulation, request, status) if fault.body is None else fault.body
    return web.json_response(body, status=status, headers=dict(fault.headers))


def default_body(simulation: Simulation, request: web.Request, status: int) -> dict[str, Any]:
    """The body that the service documents for a refusal that it did not choose itself."""
    if api_of(request.path) == "activity":
        return default_document(status, request.method, request.query.get("PublisherIdentifier", ""))
    return _graph_body(simulation, status) if api_of(request.path) == "graph" else _plain_body(status)


def _graph_body(simulation: Simulation, status: int) -> dict[str, Any]:
    code, message = _code(status)
    inner = {"code": str(status), "date": simulation.clock.now().strftime("%Y-%m-%dT%H:%M:%S"), "message": message}
    return {
        "error": {"code": code, "innerError": {**inner, "request-id": str(uuid4()), "status": str(status)}, "message": message}
    }


def _code(status: int) -> tuple[str, str]:
    return _CODES.get(status, ("UnknownError", "An unexpected error occurred."))


def _plain_body(status: int) -> dict[str, Any]:
    code, message = _code(status)
    return {"error": {"code": code, "message": message}}


_CODES = {
    429: ("TooManyRequests", "Please retry again later."),
    500: ("InternalServerError", "Internal server error."),
    502: ("BadGateway", "Bad gateway."),
    503: ("ServiceUnavailable", "The service is temporarily unavailable."),
    504: ("GatewayTimeout", "The service did not answer in time."),
}
"""Codes by status. 429: microsoft-graph-docs concepts/throttling.md; the others: concepts/errors.md."""


@dataclass(frozen=True, slots=True)
class _Charge:
    """What a request costs its caller, and how much the caller has for ten seconds."""

    key: tuple[str, ...]
    cost: int
    limit: int
    scope: str

    @property
    def api(self) -> str:
        """The service."""
        return self.key[0]


def throttle(simulation: Simulation, buckets: Buckets) -> Middleware:
    """Refuse a caller who has used up what the settings allow."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        charge = _charge(simulation, request)
        if charge is None:
            return await handler(request)
        wait = buckets.take(charge.key, charge.cost, charge.limit, simulation.clock.now())
        warning = _near_limit(buckets, charge, wait)
        answer = await handler(request) if wait == 0 else _throttled(simulation, request, charge, wait)
        answer.headers.update(warning)
        return answer

    return middleware


def _near_limit(buckets: Buckets, charge: _Charge, wait: int) -> dict[str, str]:
    """Return the header that tells how near Graph's limit is, from 80 % on; a refused request counts as if it had been served.

    learn.microsoft.com/graph/throttling-limits: 0.8 to 1.8, and the limit is 1.
    """
    if charge.api != "graph":
        return {}
    used = buckets.used(charge.key, charge.limit) + (charge.cost / charge.limit if wait else 0)
    return {_PERCENTAGE: f"{min(used, 1.8):.2f}"} if used >= _NEAR else {}


def _charge(simulation: Simulation, request: web.Request) -> _Charge | None:
    api = api_of(request.path)
    if request.path.lower().endswith(_BATCH):
        # Its calls are counted one by one.
        return None
    limit, audience = _limit(simulation, api)
    token = _token(request, audience) if limit and not is_control(request) else None
    if token is None:
        return None
    path = unquote(request.rel_url.raw_path.removeprefix("/v1.0"))
    cost = resource_units(request.method, path, request.query) if api == "graph" else 1
    return _charge_of(api, request.method, token.tenant_id, token.app_id, cost, limit)


def _limit(simulation: Simulation, api: str) -> tuple[int, str]:
    """Return a service's limit for ten seconds (0: there is none), and the audience of its tokens."""
    limits = {
        "graph": (simulation.settings.graph_units_per_10_seconds, GRAPH),
        "exchange": (simulation.settings.exchange_requests_per_10_seconds, EXCHANGE),
    }
    return limits.get(api, (0, ""))


def _charge_of(api: str, method: str, tenant_id: str, app_id: str, cost: int, limit: int) -> _Charge:
    access = "Read" if method == "GET" else "ReadWrite"
    scope = f"Tenant_Application/{access}/{app_id}/{tenant_id}"
    return _Charge((api, tenant_id, app_id), min(cost, limit), limit, scope)


def _token(request: web.Request, audience: str) -> AccessToken | None:
    try:
        return verify_bearer(request, audience)
    except BearerError:
        return None


def _throttled(simulation: Simulation, request: web.Request, charge: _Charge, wait: int) -> web.Response:
    headers = _throttle_headers(simulation, charge, wait)
    return web.json_response(default_body(simulation, request, 429), status=429, headers=headers)


def _throttle_headers(simulation: Simulation, charge: _Charge, wait: int) -> dict[str, str]:
    return {
        "Retry-After": str(max(wait, simulation.settings.retry_after)),
        "x-ms-throttle-scope": charge.scope,
        "x-ms-throttle-information": "ResourceUnitLimitExceeded",
    }


def guard(simulation: Simulation, buckets: Buckets) -> Guard:
    """Do for each call of a batch what the middlewares do for a request: faults, throttling, recording."""

    async def around(item: Item, serve: Serve) -> Reply:
        fault = simulation.faults.take(item.method, f"{item.path}?{item.query}", item.cmdlet)
        if fault is not None and fault.latency_ms:
            await asyncio.sleep(fault.latency_ms / 1000)
        refusal, warning = _throttled_item(simulation, buckets, item)
        reply = refusal or _served_item(simulation, item.api, fault, serve)
        reply = replace(reply, headers={**reply.headers, **warning})
        simulation.recorder.add(_recorded_item(simulation, item, reply.status, fault))
        return reply

    return around


def _throttled_item(simulation: Simulation, buckets: Buckets, item: Item) -> tuple[Reply | None, dict[str, str]]:
    """Return the refusal of a call for which too little is left (else None), and what is told of the limit."""
    limit, _ = _limit(simulation, item.api)
    if not limit:
        return None, {}
    charge = _charge_of(item.api, item.method, item.tenant_id, item.app_id, item.units, limit)
    wait = buckets.take(charge.key, charge.cost, charge.limit, simulation.clock.now())
    warning = _near_limit(buckets, charge, wait)
    if not wait:
        return None, warning
    headers = _throttle_headers(simulation, charge, wait)
    return Reply(429, _item_body(simulation, item.api, 429), headers), warning


def _item_body(simulation: Simulation, api: str, status: int) -> dict[str, Any]:
    return _graph_body(simulation, status) if api == "graph" else _plain_body(status)


def _served_item(simulation: Simulation, api: str, fault: Fault | None, serve: Serve) -> Reply:
    if fault is None:
        return serve(None)
    if fault.edit is not None and not fault.after:
        _edit(simulation, fault.edit)
    # A call of a batch has no connection of its own that could be dropped: its answer never came from the servers behind.
    status = 504 if fault.drop else fault.status
    reply = serve(fault.stale) if fault.after or status is None else None
    if fault.edit is not None and fault.after:
        _edit(simulation, fault.edit)
    if reply is not None and status is None:
        return reply
    body = _item_body(simulation, api, status or 500) if fault.body is None else fault.body
    return Reply(status or 500, body, dict(fault.headers))


def _recorded_item(simulation: Simulation, item: Item, status: int, fault: Fault | None) -> RecordedRequest:
    return RecordedRequest(
        method=item.method,
        path=item.path,
        query=item.query,
        status=status,
        api=item.api,
        operation=item.operation,
        tenant_id=item.tenant_id,
        app_id=item.app_id,
        at=simulation.clock.now(),
        fault=fault is not None,
    )


def keep(save: Callable[[], None]) -> Middleware:
    """Write what a request changed before its answer goes out: what was answered survives a crash."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        finally:
            save()

    return middleware
