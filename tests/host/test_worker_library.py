"""Microsoft's own worker library indexes and invokes the project's app, under the Python that is deployed.

Skipped where no Python 3.13 starts; with CI=true everything else that keeps it from running is a failure.
"""

import asyncio
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from asyncio.subprocess import PIPE
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from azure.data.tables.aio import TableServiceClient

from tests.support.app_settings import APP_SETTINGS

PROJECT = Path(__file__).parents[2]
REQUIREMENTS = PROJECT / "requirements-worker.txt"
ENVIRONMENT = PROJECT / ".venv313"
IS_313 = "import sys; sys.exit(sys.version_info[:2] != (3, 13))"
READ_BY_THE_HOST = """
import json, sys
from pathlib import Path
from local.host.functions import functions_of, import_app
found = functions_of(import_app(Path(sys.argv[1])))
print(json.dumps({one.name: [dict(binding.properties) for binding in (one.binding, *one.outputs)] for one in found}))
"""
BROKEN = "not a message of any version"


def _candidates() -> Iterator[str]:
    if named := os.environ.get("PYTHON313"):
        yield named
    if found := shutil.which("python3.13"):
        yield found
    yield from map(str, sorted(Path.home().glob(".pyenv/versions/3.13*/bin/python"), reverse=True))


def _starts(python: str) -> bool:
    # A shim of pyenv is on the PATH even where its version isn't chosen; only a Python that starts counts.
    try:
        return subprocess.run([python, "-c", IS_313], capture_output=True, check=False, timeout=30).returncode == 0  # noqa: S603 - a Python
    except OSError:
        return False


def python_313() -> str | None:
    """Find a Python 3.13 that starts."""
    return next((python for python in _candidates() if _starts(python)), None)


def not_possible(reason: str) -> None:
    """Skip, or fail where this test must run."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def _uv(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "uv", *arguments], capture_output=True, text=True, check=False)  # noqa: S603 - our own uv
    if done.returncode:
        not_possible(f"the worker library's environment can't be made: {done.stderr.strip()}")


def _make_environment(python: str) -> None:
    """Make the environment unless it is there with these very requirements."""
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    made = ENVIRONMENT / "made-from"
    if made.exists() and made.read_text() == wanted:
        return
    _uv("venv", "--clear", "--python", python, str(ENVIRONMENT))
    _uv("pip", "install", "--python", str(ENVIRONMENT / "bin" / "python"), "-r", str(REQUIREMENTS))
    made.write_text(wanted)


@pytest.fixture(scope="module")
def worker_python() -> str:
    """Give the Python with the worker library; the environment is kept for the next run, and made by one run at a time."""
    python = python_313()
    if python is None:
        pytest.skip("no Python 3.13 starts here: set PYTHON313 to one")
    with REQUIREMENTS.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _make_environment(python)
    return str(ENVIRONMENT / "bin" / "python")


async def json_of(*command: str, settings: dict[str, str], given: object = None) -> Any:
    """Run a command in the project and read the last line that it prints."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=PROJECT, env={**os.environ, **settings}, stdin=PIPE, stdout=PIPE, stderr=PIPE
    )
    output, errors = await process.communicate(json.dumps(given).encode())
    assert process.returncode == 0, errors.decode()
    return json.loads(output.splitlines()[-1])


def comparable(functions: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """Put the bindings of each function in one order."""
    return {name: sorted(bindings, key=lambda one: str(one["name"])) for name, bindings in functions.items()}


@pytest.mark.timeout(600)
async def test_the_worker_library_indexes_and_invokes_the_app(worker_python: str, storage_connection: str) -> None:
    """Both ways in answer: healthz with 200, and a queue function keeps a broken message as a dead letter, twice.

    Its index is the one that this host reads: the same functions, bindings, routes, queues, schedules and levels.
    """
    settings = {**APP_SETTINGS, "AzureWebJobsStorage": storage_connection}
    order = {"app": str(PROJECT), "queue_function": "console_commands", "body": BROKEN}
    driver = str(Path(__file__).with_name("worker_library.py"))
    answer = await json_of(worker_python, driver, settings=settings, given=order)
    read_by_the_host = await json_of(sys.executable, "-c", READ_BY_THE_HOST, str(PROJECT), settings=settings)

    assert comparable(answer["functions"]) == comparable(read_by_the_host)
    assert answer["by_request"] == answer["natively"]
    assert answer["by_request"][0] == 200

    async with TableServiceClient.from_connection_string(storage_connection) as tables:
        kept = [row async for row in tables.get_table_client("deadletters").list_entities()]
    assert len(kept) == 2
    assert all(BROKEN in json.dumps(row, default=str) for row in kept)


def test_the_workers_requirements_are_the_deployed_ones() -> None:
    """Whatever requirements.txt pins for Python 3.13 is pinned alike for the worker library's environment."""

    def pins(path: Path) -> set[str]:
        return set(re.findall(r"^[a-z0-9._-]+==[^ ;\n]+", path.read_text(), flags=re.MULTILINE))

    deployed, here = pins(PROJECT / "requirements.txt"), pins(REQUIREMENTS)
    below_313 = {pin for pin in deployed if pin.startswith("azure-functions==1.")}
    assert deployed - here == below_313
    assert {pin.split("==")[0] for pin in here - deployed} == {"azure-functions-runtime", "azurefunctions-extensions-base"}
