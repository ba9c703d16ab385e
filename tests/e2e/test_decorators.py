"""Removing any one decorator from functions/ makes the demo fail: no function is there that the demo does not need.

Storage and the simulated tenant are started once and emptied before each demo; the functions host is started anew for each.
"""

import ast
import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest
from azure.data.tables.aio import TableServiceClient
from azure.storage.queue.aio import QueueServiceClient

from local import demo
from local.browser import BrowserError
from local.stack import PROJECT, Options, Stack, StackError, seed_account
from tests.support.stacks import app_copy, control, quietly, running

AT_ONCE = 3
LIMIT_SECONDS = 90
FAILURES = (demo.DemoError, BrowserError, StackError, httpx.HTTPError)


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
    """Copy the app and take one decorator away."""
    app = app_copy(PROJECT, target)
    path = app / "functions" / decorator.file
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[: decorator.first_line - 1] + lines[decorator.last_line :]))
    return app


async def run_demo(stack: Stack, app: Path, plan: demo.Plan) -> None:
    """Empty everything and run the demo with the app. Raises one of FAILURES."""
    await _empty(stack)
    stack.options = replace(stack.options, app=app)
    async with asyncio.timeout(LIMIT_SECONDS):
        await asyncio.gather(stack.start_host(), seed_account(stack.environment))
        await demo.run(stack.local, plan, quietly)


async def demo_fails(stack: Stack, app: Path) -> bool:
    """Tell whether the demo ends with a fault of its own; what stands still is given up soon."""
    try:
        await run_demo(stack, app, demo.Plan(patience=8))
    except FAILURES:
        return True
    return False


async def _empty(stack: Stack) -> None:
    """Leave nothing of the demo before: no host, no rows, no messages, a tenant as seeded."""
    if stack.host_process and stack.host_process.returncode is None:
        stack.host_process.kill()
        await stack.host_process.wait()
    connection = stack.storage.connection_string
    async with TableServiceClient.from_connection_string(connection) as tables:
        for name in [table.name async for table in tables.list_tables()]:
            await tables.delete_table(name)
    async with QueueServiceClient.from_connection_string(connection) as queues:
        for queue in [queue async for queue in queues.list_queues()]:
            await queues.delete_queue(queue)
    await control(stack, "reset", {})


@pytest.mark.timeout(900)
async def test_every_decorator_is_needed(tmp_path: Path) -> None:
    """One demo for each decorator, several side by side; with all decorators the same demo succeeds."""
    found = list(decorators())
    left = iter(found)
    needless: list[str] = []

    async def work(number: int) -> None:
        async with running(Options(tmp_path / f"stack{number}", 12)) as stack:
            await run_demo(stack, PROJECT, demo.Plan())
            for decorator in left:
                app = without(decorator, tmp_path / decorator.function)
                if not await demo_fails(stack, app):
                    needless.append(decorator.function)

    await asyncio.gather(*map(work, range(AT_ONCE)))

    assert len(found) >= 18
    assert needless == []
