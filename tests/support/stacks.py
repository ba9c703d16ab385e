"""The local stack for tests: every part as a process of its own, as `make run` and `make demo` start them."""

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx

from local.stack import Options, Stack, up

TENANT_USERS = 8


@asynccontextmanager
async def running(options: Options) -> AsyncIterator[Stack]:
    """Start the stack and end it."""
    stack = await up(options)
    try:
        yield stack
    finally:
        await stack.stop()


def person(stack: Stack, beginning: str) -> dict[str, Any]:
    """Return the person of the simulated tenants whose user principal name begins so: ``admin@fabrikam.``."""
    people: list[dict[str, Any]] = stack.tenant["people"]
    return next(each for each in people if each["user_principal_name"].startswith(beginning))


async def new_tenant(stack: Stack, display_name: str, name: str) -> dict[str, Any]:
    """Make one more simulated tenant, and return its Global Administrator. ``name`` is the beginning of its domain."""
    domain = f"{name}.onmicrosoft.com"
    await control(stack, "tenants", {"display_name": display_name, "initial_domain": domain, "user_count": TENANT_USERS})
    return {**stack.administrator, "user_principal_name": f"admin@{domain}"}


async def control(stack: Stack, path: str, body: Mapping[str, Any] | None = None) -> Any:
    """Ask the simulated tenant's control interface; with a body, change something by it."""
    context = ssl.create_default_context(cafile=stack.tenant["ca_file"])
    async with httpx.AsyncClient(base_url=stack.tenant["url"], verify=context, trust_env=False) as client:
        answer = await client.request("GET" if body is None else "POST", f"/_control/{path}", json=body)
        answer.raise_for_status()
        return answer.json()


def quietly(_: object) -> None:
    """Show nothing."""
