"""The connections to Microsoft: TLS that trusts the usual authorities and one more, and a guard in front of every request.

No proxy and no authority is taken from the environment; certificate checking is always on.
"""

import ssl
from functools import lru_cache
from pathlib import Path

import httpx

from shared.microsoft.clouds import Egress

TIMEOUT = httpx.Timeout(45, connect=5)
"""Within the 60 seconds of a run: Exchange's list of cmdlets has been seen to take more than 10 seconds."""
CONNECT_RETRIES = 2
"""Only a connection that was never made is tried again; an answer never is."""


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """Return a TLS context that trusts the system's authorities and those in ``ca_file`` (PEM). Raises OSError for a bad file."""
    changed = Path(ca_file).stat().st_mtime_ns if ca_file else 0
    return _tls_context(ca_file, changed)


@lru_cache(maxsize=4)
def _tls_context(ca_file: str | None, _changed: int) -> ssl.SSLContext:
    # Loading the system's authorities takes some 20 ms: once for a file, until the file changes.
    context = ssl.create_default_context()
    if ca_file:
        context.load_verify_locations(ca_file)
    return context


class GuardedTransport(httpx.AsyncBaseTransport):
    """Lets requests through to the allowed hosts only, whoever follows whichever link above it."""

    def __init__(self, egress: Egress, inner: httpx.AsyncBaseTransport) -> None:
        self._egress = egress
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request, or raise RefusedError before any byte is sent."""
        self._egress.check(str(request.url))
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


class GuardedSyncTransport(httpx.BaseTransport):
    """The same for a library that does not know asyncio."""

    def __init__(self, egress: Egress, inner: httpx.BaseTransport) -> None:
        self._egress = egress
        self._inner = inner

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request, or raise RefusedError before any byte is sent."""
        self._egress.check(str(request.url))
        return self._inner.handle_request(request)

    def close(self) -> None:
        """Close the connections."""
        self._inner.close()


def open_client(egress: Egress, tls: ssl.SSLContext) -> httpx.AsyncClient:
    """Return a client that follows no redirects by itself."""
    inner = httpx.AsyncHTTPTransport(verify=tls, trust_env=False, retries=CONNECT_RETRIES)
    return httpx.AsyncClient(transport=GuardedTransport(egress, inner), timeout=TIMEOUT, trust_env=False)


def open_sync_client(egress: Egress, tls: ssl.SSLContext) -> httpx.Client:
    """Return the same for a library that does not know asyncio."""
    inner = httpx.HTTPTransport(verify=tls, trust_env=False, retries=CONNECT_RETRIES)
    return httpx.Client(transport=GuardedSyncTransport(egress, inner), timeout=TIMEOUT, trust_env=False)
