"""One Grantline for each module, put back to its beginning before each test that uses it."""

from collections.abc import AsyncIterator

import pytest_asyncio

from local import azurite
from tests.security.visitor import begin_anew
from tests.support.grantline import Grantline, grantline


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[Grantline]:
    """Give Grantline, with App Service Authentication on, for all tests of a module: Azurite and Microsoft 365 start slowly."""
    async with await azurite.start() as storage, grantline(storage.connection_string, WEBSITE_AUTH_ENABLED="true") as parts:
        yield parts


@pytest_asyncio.fixture(loop_scope="module")
async def parts(running: Grantline) -> Grantline:
    """Give the module's Grantline with untouched tenants that no account has, at the present time."""
    await begin_anew(running)
    return running
