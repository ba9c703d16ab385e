"""What the tests of workflows share."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.support.worlds import World, open_world


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared_world() -> AsyncIterator[World]:
    """The running parts of one module's tests: a tenant is made for each of them, or for each few."""
    async with open_world() as world:
        yield world
