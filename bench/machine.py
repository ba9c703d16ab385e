"""The parts that the sync's benchmarks run against, each in a process of its own: Azurite and a simulated Microsoft 365."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from local import azurite
from tests.support.grantline import CONSOLE


@asynccontextmanager
async def simulated(users: int, *options: str) -> AsyncIterator[dict[str, Any]]:
    """Run a simulated Microsoft 365 whose tenant has so many users; give what it prints when it is ready.

    Its answers are not checked against Microsoft's description here: that is for tests, and costs more than the answers.
    """
    command = [sys.executable, "-m", "local.microsoft365", "--json", "--users", str(users), "--contracts", os.devnull]
    command += ["--console", CONSOLE, "--parent-pid", str(os.getpid()), *options]
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
    try:
        assert process.stdout is not None
        yield json.loads(await process.stdout.readline())
    finally:
        process.terminate()
        await process.wait()


async def measured(run: str, tenant: dict[str, Any], users: int) -> dict[str, Any]:
    """Run one of ``bench.sync_runs`` in a process of its own, on an empty Azurite; return the numbers that it prints."""
    async with await azurite.start() as storage:
        task = {"run": run, "tenant": tenant, "storage": storage.connection_string, "users": users}
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", "bench.sync_runs", stdin=PIPE, stdout=PIPE)
        output, _ = await process.communicate(json.dumps(task).encode())
        if process.returncode:
            raise SystemExit(f"The run {run} failed.")
        numbers: dict[str, Any] = json.loads(output.splitlines()[-1])
        return numbers
