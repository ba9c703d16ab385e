"""The HTTP side of the host: HTTP triggers by route and key, and the host's own ``/admin`` endpoints.

Behaviour: azure-functions-host ``GrpcMessageConversionExtensions.cs`` (what the worker is given),
``FunctionInvocationMiddleware.cs`` (401, 404 and 500 without a body), ``HostController.cs`` and ``FunctionsController.cs``
(``/admin``).
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from aiohttp import web
from multidict import CIMultiDict

from local.host.functions import Function
from local.host.keys import AuthLevel, Keys
from local.host.routes import Route
from local.host.worker import Datum, InvocationError, Written, datum

logger = logging.getLogger("local.host.web")

LARGEST_BODY = 100 * 1024 * 1024
_NOT_COPIED = {"content-length", "transfer-encoding", "connection"}

Invoke = Callable[[Function, Datum, Mapping[str, Datum]], Awaitable[list[Written]]]


@dataclass(frozen=True, slots=True)
class HttpFunction:
    """One HTTP function with what its trigger says."""

    function: Function
    route: Route
    methods: frozenset[str]
    """Empty: every method."""
    level: AuthLevel
    disabled: bool

    @classmethod
    def of(cls, function: Function, route: Route, *, disabled: bool) -> "HttpFunction":
        """Read the trigger's methods and level."""
        methods = function.binding.properties.get("methods") or []
        return cls(
            function=function,
            route=route,
            methods=frozenset(str(method).upper() for method in methods),
            level=AuthLevel[function.binding.text("authLevel", "FUNCTION").upper()],
            disabled=disabled,
        )


class Control(Protocol):
    """What the ``/admin`` endpoints ask of the host."""

    def status(self) -> dict[str, Any]:
        """Describe the host."""

    def drain_status(self) -> dict[str, Any]:
        """Describe the drain: its state and the invocations that still run."""

    def drain(self) -> None:
        """Stop the listeners; what runs goes on."""

    def resume(self) -> None:
        """Start the listeners again."""

    def run_function(self, name: str, given: str | None) -> bool:
        """Run a function that has no HTTP trigger, in the background; False when there is none of this name."""


def function_for(functions: Sequence[HttpFunction], method: str, path: str) -> tuple[HttpFunction, dict[str, str]] | None:
    """Find the function that serves a method and path, and the path's parameters; the most specific route wins."""
    for found in sorted(functions, key=lambda one: one.route.precedence):
        parameters = found.route.match(path)
        if parameters is not None and (not found.methods or method in found.methods):
            return found, parameters
    return None


def presented_key(request: web.Request) -> str:
    """Give the key of a request: the header wins over the query; empty without one."""
    return request.headers.get("x-functions-key") or request.query.get("code", "")


def _joined(pairs: Mapping[str, str], values: Callable[[str], Sequence[str]]) -> dict[str, str]:
    return {name: ",".join(values(name)) for name in dict.fromkeys(pairs)}


async def request_datum(request: web.Request, parameters: Mapping[str, str]) -> Datum:
    """Make what the worker is given of a request: lower-cased headers, no empty query values, the body as bytes."""
    headers = {name.lower(): value for name, value in _joined(request.headers, request.headers.getall).items()}
    query = {name: value for name, value in _joined(request.query, request.query.getall).items() if value}

    def texts(values: Mapping[str, str]) -> dict[str, Datum]:
        return {name: datum(value, "string") for name, value in values.items()}

    return datum(
        {
            "method": datum(request.method, "string"),
            "url": datum(f"{request.scheme}://{request.host}{request.raw_path}", "string"),
            "headers": texts(headers),
            "query": texts(query),
            "params": texts(parameters),
            "body": datum(await request.read(), "bytes"),
        },
        "http",
    )


def _response(written: Sequence[Written]) -> web.Response:
    result = next((one.value for one in written if one.binding.type == "http"), None)
    if result is None:
        return web.Response()
    if result.type == "string":
        return web.Response(text=result.value)
    parts: Mapping[str, Any] = result.value
    headers: CIMultiDict[str] = CIMultiDict(
        (name, header.value) for name, header in parts["headers"].items() if name.lower() not in _NOT_COPIED
    )
    for cookie in parts["cookies"] or []:
        for morsel in cookie.values():
            headers.add("Set-Cookie", morsel.OutputString())
    return web.Response(status=int(parts["status_code"].value), headers=headers, body=parts["body"].value)


class WebSide:
    """Answers every request to the host."""

    def __init__(self, functions: Sequence[HttpFunction], keys: Keys, invoke: Invoke, control: Control) -> None:
        self._functions = functions
        self._keys = keys
        self._invoke = invoke
        self._control = control

    def application(self) -> web.Application:
        """Make the aiohttp application."""
        application = web.Application(client_max_size=LARGEST_BODY)
        application.add_routes(
            [
                web.post("/admin/functions/{name}", self._as_admin(self._run_function)),
                web.get("/admin/host/status", self._as_admin(self._status)),
                web.post("/admin/host/drain", self._as_admin(self._drain)),
                web.get("/admin/host/drain/status", self._as_admin(self._drain_status)),
                web.post("/admin/host/resume", self._as_admin(self._resume)),
                web.route("*", "/{path:.*}", self._trigger),
            ]
        )
        return application

    async def _trigger(self, request: web.Request) -> web.StreamResponse:
        found = function_for(self._functions, request.method, request.rel_url.raw_path)
        if found is None:
            return web.Response(status=404)
        http_function, parameters = found
        function = http_function.function
        level = self._keys.level(presented_key(request), function.name)
        if http_function.disabled and level < AuthLevel.ADMIN:
            return web.Response(status=404)
        if level < http_function.level:
            return web.Response(status=401)
        value = await request_datum(request, parameters)
        try:
            written = await self._invoke(function, value, {})
        except InvocationError:
            return web.Response(status=500)
        return _response(written)

    def _as_admin(
        self, handler: Callable[[web.Request], Awaitable[web.Response]]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def checked(request: web.Request) -> web.StreamResponse:
            if self._keys.level(presented_key(request), "") < AuthLevel.ADMIN:
                return web.Response(status=401)
            return await handler(request)

        return checked

    async def _run_function(self, request: web.Request) -> web.Response:
        try:
            given = await request.json() if request.can_read_body else {}
            text = given.get("input")
        except (ValueError, AttributeError):
            return web.json_response({"error": 'The body must be JSON: {"input": "..."}'}, status=400)
        if not self._control.run_function(request.match_info["name"], text):
            return web.Response(status=404)
        return web.Response(status=202)

    async def _status(self, _request: web.Request) -> web.Response:
        return web.json_response(self._control.status())

    async def _drain(self, _request: web.Request) -> web.Response:
        self._control.drain()
        return web.Response(status=202)

    async def _drain_status(self, _request: web.Request) -> web.Response:
        return web.json_response(self._control.drain_status())

    async def _resume(self, _request: web.Request) -> web.Response:
        self._control.resume()
        return web.json_response({"state": "Running"})
