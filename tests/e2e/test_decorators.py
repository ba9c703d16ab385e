"""Removing any one decorator from functions/ makes the demo fail: no function is there that the demo does not need."""

import ast
import asyncio
import sys
from asyncio.subprocess import DEVNULL
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from local.stack import PROJECT
from tests.support.stacks import app_copy

AT_ONCE = 3
LIMIT_SECONDS = 90


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


async def demo_fails(decorator: Decorator, folder: Path) -> bool:
    """Run the demo without the decorator, as a person would; tell whether it ended with a fault of its own."""
    app = without(decorator, folder / "app")
    command = [sys.executable, "-m", "local", "demo", "--app", str(app), "--users", "12", "--patience", "12"]
    demo = await asyncio.create_subprocess_exec(*command, cwd=PROJECT, stdout=DEVNULL, stderr=DEVNULL)
    try:
        return await asyncio.wait_for(demo.wait(), LIMIT_SECONDS) == 1
    finally:
        if demo.returncode is None:
            demo.kill()


@pytest.mark.timeout(900)
async def test_every_decorator_is_needed(tmp_path: Path) -> None:
    """One demo for each decorator, several side by side."""
    found = list(decorators())
    limit = asyncio.Semaphore(AT_ONCE)

    async def one(decorator: Decorator) -> bool:
        async with limit:
            return await demo_fails(decorator, tmp_path / decorator.function)

    results = await asyncio.gather(*map(one, found))

    assert len(found) >= 18
    assert [decorator.function for decorator, fails in zip(found, results, strict=True) if not fails] == []
