"""A real Chromium on a whole local stack, one of each a module; a fresh visitor a test; what goes wrong in pages fails it."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Playwright, async_playwright
from pytest_asyncio import is_async_test

from local.stack import Options, Stack
from shared.container import Container
from tests.support import chromium, situations, stacks
from tests.support.chromium import DESKTOP, Look, Watch
from tools import browsers

USERS = 25

Visit = Callable[..., AbstractAsyncContextManager[Page]]
"""Opens the console for one more visitor, with cookies of their own: ``async with visit(PHONE_DARK) as page``."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests of this folder in one event loop, the browser's (pytest-asyncio: "Run all tests in the same loop")."""
    for item in items:
        if Path(__file__).parent in item.path.parents and is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest.fixture(scope="session")
def executable() -> Path:
    """Give a Chromium, or skip with the one sentence that says what to install."""
    if sentence := browsers.missing():
        pytest.skip(sentence)
    found = browsers.chromium()
    assert found is not None
    return found


@pytest.fixture(scope="session")
def certutil() -> Path:
    """Give NSS's certutil, or skip with the one sentence that says what to install."""
    found = browsers.certutil()
    return found or pytest.skip(browsers.missing())


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def playwright(executable: Path) -> AsyncIterator[Playwright]:
    """Give Playwright's driver, after the sync one that looked for the browser has ended."""
    async with async_playwright() as driver:
        yield driver


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stack(executable: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """Give the whole local stack: Azurite, the simulated tenant and the functions host, each a process."""
    async with stacks.running(Options(tmp_path_factory.mktemp("stack"), USERS)) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def browser(
    playwright: Playwright, executable: Path, certutil: Path, stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Browser]:
    """Give a Chromium that trusts the stack's authority; it reads its NSS database at its start, so each module has its own."""
    home = tmp_path_factory.mktemp("home")
    chromium.trust(home, stack.tenant["ca_file"], certutil)
    async with chromium.launched(playwright, executable, home) as running:
        yield running


@pytest.fixture
def look() -> Look:
    """Give a desktop's window in light colours; a test that is parametrized with ``look`` has another."""
    return DESKTOP


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Give what went wrong in the test's pages, and fail the test for it."""
    seen = Watch()
    yield seen
    assert seen.wrong() == []


@pytest.fixture
def visit(browser: Browser, stack: Stack, watch: Watch) -> Visit:
    """Let a test open the console as one more visitor, see Visit."""
    return lambda look=DESKTOP, **more: chromium.visit(browser, stack.console, look, watch, **more)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def parts(stack: Stack) -> AsyncIterator[Container]:
    """Give the stack's storage, so that a test puts there what a page is to show."""
    async with situations.opened(stack) as built:
        yield built


@pytest_asyncio.fixture(loop_scope="session")
async def page(visit: Visit, look: Look) -> AsyncIterator[Page]:
    """Give a page of a visitor of the test's own; addresses without a host are the console's."""
    async with visit(look) as opened:
        yield opened
