"""The console that the tests of a module share, and accounts of their own for them."""

from collections.abc import AsyncIterator
from itertools import count

import pytest
import pytest_asyncio

from local import azurite
from tests.support.grantline import Grantline, grantline
from tests.support.program import Program

_ACCOUNTS = count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def parts() -> AsyncIterator[Grantline]:
    """Give one console for all tests of a module, whose visitors are operators; each test has accounts of its own."""
    async with (
        await azurite.start() as storage,
        grantline(
            storage.connection_string, GRANTLINE_DEVELOPMENT_IDENTITY="true", GRANTLINE_POLICIES="standard,strict"
        ) as parts,
    ):
        yield parts


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service() -> AsyncIterator[Grantline]:
    """Give one Grantline, with App Service Authentication on, for all programs of a module."""
    async with (
        await azurite.start() as storage,
        grantline(storage.connection_string, WEBSITE_AUTH_ENABLED="true", GRANTLINE_POLICIES="standard,strict") as parts,
    ):
        yield parts


@pytest.fixture
def program(service: Grantline) -> Program:
    """Give a program that is signed in as an operator."""
    return Program(service.container.site)


@pytest.fixture
def account() -> str:
    """Give an account that no other test has."""
    return f"page-{next(_ACCOUNTS)}"
