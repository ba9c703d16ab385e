"""The platform's managed identity endpoint, on this machine.

https://learn.microsoft.com/azure/app-service/overview-managed-identity, "REST endpoint reference": GET with ``resource``,
``client_id`` and the header X-IDENTITY-HEADER; the answer's times are seconds as text.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from secrets import token_urlsafe

import pytest
from aiohttp import web

Query = dict[str, str]


@asynccontextmanager
async def managed_identity(monkeypatch: pytest.MonkeyPatch, token_for: Callable[[str], str]) -> AsyncIterator[list[Query]]:
    """Serve tokens of a managed identity while the context lasts; yield the queries that came in.

    ``token_for`` makes the token for an audience.
    """
    queries: list[Query] = []
    secret = token_urlsafe()

    async def answer(request: web.Request) -> web.Response:
        if request.headers.get("X-IDENTITY-HEADER") != secret:
            return web.json_response({"statusCode": 401}, status=401)
        queries.append(dict(request.query))
        resource = request.query["resource"]
        body = {"access_token": token_for(resource), "expires_on": "4102444800", "resource": resource, "token_type": "Bearer"}
        return web.json_response(body)

    application = web.Application()
    application.router.add_get("/msi/token", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{runner.addresses[0][1]}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", secret)
    try:
        yield queries
    finally:
        await runner.cleanup()
