"""Removing any one decorator from functions/ makes the demo fail: no function is there that the demo does not need.

The functions host runs in this process, anew for each decorator. A function that is first called in the use of a completed grant
is taken away from that use only, of one grant for all of them; every other is taken away from a whole demo of its own. It takes
minutes: `make test-decorators` runs it, `make test` does not.
"""

import ast
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from azure.data.tables.aio import TableServiceClient
from azure.storage.queue.aio import QueueServiceClient

from local import demo, ports
from local.browser import BrowserError
from local.host.functions import Function
from local.host.host import Host
from local.host.worker import Datum, Written
from local.microsoft365.__main__ import ready
from local.microsoft365.server import Options, serve
from local.stack import PROJECT, app_settings_of
from shared import container as containers
from shared import settings as app_settings
from tests.support.hosts import hosted, never
from tests.support.stacks import quietly

PATIENCE = 8
"""Seconds after which what stands still is given up."""
FAILURES = (demo.DemoError, BrowserError, httpx.HTTPError)

Work = Callable[[demo.Local], Awaitable[object]]
"""What is done with a running application. Raises one of FAILURES."""


@dataclass(frozen=True, slots=True)
class Decorator:
    """A decorator of one of the functions."""

    file: str
    function: str
    first_line: int
    last_line: int


def decorators() -> Iterator[Decorator]:
    """Find every decorator of functions/."""
    for path in sorted((PROJECT / "functions").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef):
                for decorator in node.decorator_list:
                    yield Decorator(path.name, node.name, decorator.lineno, decorator.end_lineno or decorator.lineno)


def without(decorator: Decorator, target: Path) -> Path:
    """Copy the ways in and take one decorator away."""
    shutil.copytree(PROJECT / "functions", target / "functions", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "function_app.py", target)
    path = target / "functions" / decorator.file
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[: decorator.first_line - 1] + lines[decorator.last_line :]))
    return target


@dataclass(slots=True)
class World:
    """Storage and a simulated tenant, both as new, two people, and a way to run functions on them."""

    both: demo.People
    run: Callable[[Path, Work], Awaitable[None]]
    """Does some work with the functions of a folder."""
    grant_url: str = ""

    async def obtain(self, local: demo.Local) -> None:
        """Obtain a grant."""
        self.grant_url = await demo.obtain(self.both, local, demo.Plan(patience=PATIENCE), quietly)

    async def use(self, local: demo.Local) -> None:
        """Use the completed grant."""
        await demo.use(self.both, local, self.grant_url)

    async def leave(self, local: demo.Local) -> None:
        """Give the tenant back."""
        await demo.leave(self.both, local, self.grant_url)

    async def whole(self, local: demo.Local) -> None:
        """Do all that the demo does."""
        await self.obtain(local)
        await self.use(local)
        await self.leave(local)

    async def fails(self, work: Work, app: Path) -> bool:
        """Tell whether some work fails with the functions of a folder."""
        try:
            await self.run(app, work)
        except FAILURES:
            return True
        return False


Worlds = Callable[[], AbstractAsyncContextManager[World]]
"""Makes a world; one at a time."""


@pytest.fixture
def worlds(storage_connection: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Worlds:
    """Give what makes worlds: storage is started once, and emptied for each."""
    console = f"http://localhost:{ports.reserve(0)}"

    @asynccontextmanager
    async def world() -> AsyncIterator[World]:
        await _empty(storage_connection)
        async with serve(Options(users=12, console=console)) as simulation:
            facts = ready(simulation)
            environment = app_settings_of(storage_connection, facts, console, "A" * 43)
            for name, value in environment.items():
                monkeypatch.setenv(name, value)
            container = await containers.build(app_settings.load(environment))

            async def run(app: Path, work: Work) -> None:
                async with hosted(container, environment, tmp_path / "host", app) as host:
                    person = facts["people"][0]
                    await work(demo.Local(console, facts["url"], facts["ca_file"], person, lambda: host.master_key, never))

            try:
                await container.list_account(demo.ACCOUNT_ID, demo.ACCOUNT_NAME)
                async with demo.people(facts["ca_file"]) as both:
                    yield World(both, run)
            finally:
                await container.close()

    return world


async def _empty(connection: str) -> None:
    """Leave no table and no queue."""
    async with TableServiceClient.from_connection_string(connection) as tables:
        for name in [table.name async for table in tables.list_tables()]:
            await tables.delete_table(name)
    async with QueueServiceClient.from_connection_string(connection) as queues:
        for queue in [queue async for queue in queues.list_queues()]:
            await queues.delete_queue(queue)


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Give the names of all functions that are called, as they are."""
    names = set[str]()
    invoke = Host.invoke

    async def noting(host: Host, function: Function, value: Datum, metadata: Mapping[str, Datum]) -> list[Written]:
        names.add(function.name)
        return await invoke(host, function, value, metadata)

    monkeypatch.setattr(Host, "invoke", noting)
    return names


async def _first_called_in_use(worlds: Worlds, called: set[str]) -> set[str]:
    """Return the functions that the demo first calls in the use of a completed grant. With all decorators it succeeds."""
    async with worlds() as world:
        await world.run(PROJECT, world.obtain)
        before = set(called)
        await world.run(PROJECT, world.use)
        after = set(called)
        await world.run(PROJECT, world.leave)
    return after - before


async def _succeed_as_a_whole(worlds: Worlds, apps: Mapping[Decorator, Path]) -> list[Decorator]:
    succeeding = []
    for decorator, app in apps.items():
        async with worlds() as world:
            if not await world.fails(world.whole, app):
                succeeding.append(decorator)
    return succeeding


async def _succeed_in_use(worlds: Worlds, apps: Mapping[Decorator, Path]) -> list[Decorator]:
    async with worlds() as world:
        await world.run(PROJECT, world.obtain)
        succeeding = [decorator for decorator, app in apps.items() if not await world.fails(world.use, app)]
        await world.run(PROJECT, world.use)  # none of the attempts has spoiled the grant for the next
    return succeeding


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_every_decorator_is_needed(worlds: Worlds, called: set[str], tmp_path: Path) -> None:
    """Without any one of them the demo fails; with all decorators the same demo succeeds."""
    apps = {each: without(each, tmp_path / f"{each.function}-{each.first_line}") for each in decorators()}
    late = await _first_called_in_use(worlds, called)

    needless = [
        *await _succeed_as_a_whole(worlds, {each: app for each, app in apps.items() if each.function not in late}),
        *await _succeed_in_use(worlds, {each: app for each, app in apps.items() if each.function in late}),
    ]

    assert len(apps) >= 18
    assert needless == []
