"""A proxy in front of Azurite that loses answers or gives errors, as networks and services do. It listens on loopback only."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from aiohttp import ClientSession, web
from azure.core.pipeline.transport import AioHttpTransport
from yarl import URL


class Fault(StrEnum):
    """What happens to one request."""

    MEDDLE = "meddle"
    """Somebody else does what ``Proxy.meddle`` says; then it is carried out."""
    LOSE_ANSWER = "lose_answer"
    """It is carried out; the connection ends without an answer."""
    LOSE_REQUEST = "lose_request"
    """The connection ends before anything is done."""
    BUSY = "busy"
    """503 with Retry-After 30, as a throttled Azure Storage answers."""
    FAILED = "failed"
    """500: the request may have been carried out."""
    FORBIDDEN = "forbidden"
    """403: the identity lacks a role."""


ERRORS: Mapping[Fault, tuple[int, dict[str, str]]] = {
    Fault.BUSY: (503, {"Retry-After": "30", "x-ms-error-code": "ServerBusy"}),
    Fault.FAILED: (500, {"x-ms-error-code": "InternalError"}),
    Fault.FORBIDDEN: (403, {"x-ms-error-code": "AuthorizationPermissionMismatch"}),
}


@dataclass
class Proxy:
    """Passes requests on; each request that ``matches`` takes the next of ``faults``."""

    target: str
    session: ClientSession
    faults: list[Fault] = field(default_factory=list)
    matches: Callable[[web.BaseRequest], bool] = lambda _: True
    meddle: Callable[[], Awaitable[None]] | None = None
    hit: list[str] = field(default_factory=list)
    """The methods of the requests that matched."""
    address: str = ""

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request, or lose it."""
        fault = self._fault(request)
        if fault in (Fault.BUSY, Fault.FAILED, Fault.FORBIDDEN):
            status, headers = ERRORS[fault]
            return web.Response(status=status, headers=headers)
        if fault is Fault.LOSE_REQUEST:
            return _hang_up(request)
        if fault is Fault.MEDDLE and self.meddle:
            await self.meddle()
        answer = await self._pass_on(request)
        return _hang_up(request) if fault is Fault.LOSE_ANSWER else answer

    def _fault(self, request: web.BaseRequest) -> Fault | None:
        if not self.matches(request):
            return None
        self.hit.append(request.method)
        return self.faults.pop(0) if self.faults else None

    async def _pass_on(self, request: web.BaseRequest) -> web.Response:
        """Send the request on as it is: its signature covers its headers."""
        address = URL(f"{self.target}{request.raw_path}", encoded=True)
        headers = without(request.headers, "host")
        body = await request.read() or None
        async with self.session.request(
            request.method, address, headers=headers, data=body, skip_auto_headers=("Content-Type", "Accept-Encoding")
        ) as answer:
            kept = without(answer.headers, "transfer-encoding", "content-length")
            return web.Response(status=answer.status, headers=kept, body=await answer.read())


def without(headers: Mapping[str, str], *names: str) -> dict[str, str]:
    """Return the headers but those that belong to one connection."""
    return {name: value for name, value in headers.items() if name.lower() not in names}


def _hang_up(request: web.BaseRequest) -> web.Response:
    if request.transport:
        request.transport.abort()
    return web.Response()


@asynccontextmanager
async def proxy(target: str) -> AsyncIterator[Proxy]:
    """Run a proxy in front of ``target`` (scheme, host and port)."""
    async with ClientSession(auto_decompress=False) as session:
        found = Proxy(target, session)
        runner = web.ServerRunner(web.Server(found.handle))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        found.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield found
        finally:
            await runner.cleanup()


class KilledError(Exception):
    """The process dies here."""


@dataclass
class Fuse:
    """Kills at the request that comes after so many, before it is sent or when it has been carried out; then at every other."""

    after: int
    is_carried_out: bool = False
    is_blown: bool = False
    spent: int = 0
    """How many requests there were."""

    def before(self) -> None:
        """Tell that a request is about to be sent."""
        if self.is_blown or (self.spent == self.after and not self.is_carried_out):
            self.is_blown = True
            raise KilledError
        self.spent += 1

    def behind(self) -> None:
        """Tell that a request was carried out."""
        if self.is_blown or (self.spent > self.after and self.is_carried_out):
            self.is_blown = True
            raise KilledError


class FusedTransport(AioHttpTransport):  # type: ignore[misc] # the SDK gives it lazily, untyped
    """The SDK's transport with a fuse in it."""

    def __init__(self, fuse: Fuse) -> None:
        super().__init__()
        self.fuse = fuse

    async def send(self, request: Any, **config: Any) -> Any:
        """Send a request, unless the process dies before."""
        self.fuse.before()
        answer = await super().send(request, **config)
        self.fuse.behind()
        return answer
