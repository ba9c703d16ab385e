"""Azurite as a child process: ready when it says so, never left behind, never with a key that is known."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import aiohttp
import pytest
from azure.data.tables.aio import TableServiceClient
from azure.storage.queue.aio import QueueServiceClient

from local import azurite
from tests.host.apps import until

PROJECT = Path(__file__).parents[2]
STARTER = """
import asyncio
from local import azurite

async def main():
    started = await azurite.start()
    print(started.pid, flush=True)
    input()

asyncio.run(main())
"""


async def test_queues_and_tables_answer(storage_connection: str) -> None:
    """Both services listen when ``start`` returns."""
    async with QueueServiceClient.from_connection_string(storage_connection) as queues:
        await queues.create_queue("one")
        assert [found.name async for found in queues.list_queues()] == ["one"]
    async with TableServiceClient.from_connection_string(storage_connection) as tables:
        await tables.create_table("one")
        assert [found.name async for found in tables.list_tables()] == ["one"]


@pytest.mark.parametrize("service", ["Queue", "Table"])
async def test_no_client_meets_an_idle_connection_as_it_closes(storage_connection: str, service: str) -> None:
    """Azurite keeps one for longer than aiohttp does (15 seconds): a transaction, which is never repeated, is not lost so."""
    endpoints = dict(part.split("=", 1) for part in storage_connection.split(";") if part)
    async with aiohttp.ClientSession() as session, session.get(endpoints[f"{service}Endpoint"]) as answer:
        kept = answer.headers["Keep-Alive"]

    assert int(kept.removeprefix("timeout=")) > 15 + 5


async def test_a_location_keeps_its_data_for_the_next_start(tmp_path: Path) -> None:
    """What was written is there after a stop and a start, though the key is another."""
    async with (
        await azurite.start(tmp_path / "storage") as first,
        QueueServiceClient.from_connection_string(first.connection_string) as queues,
    ):
        await queues.create_queue("kept")
    async with (
        await azurite.start(tmp_path / "storage") as second,
        QueueServiceClient.from_connection_string(second.connection_string) as queues,
    ):
        assert second.connection_string != first.connection_string
        assert [found.name async for found in queues.list_queues()] == ["kept"]


async def test_azurite_ends_with_its_parent() -> None:
    """After a SIGKILL of the process that started it, Azurite ends by itself."""
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", STARTER, cwd=PROJECT, stdin=PIPE, stdout=PIPE)
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    os.kill(pid, 0)
    parent.send_signal(signal.SIGKILL)
    await parent.communicate()

    async def has_ended() -> bool:
        return not _runs(pid)

    await until(has_ended)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # An ended process that its new parent hasn't reaped yet still takes signals; where /proc is, it tells.
    status = Path(f"/proc/{pid}/status")
    return not status.exists() or "\nState:\tZ" not in status.read_text()


def test_a_missing_node_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No Node.js: install it, then this command."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(azurite.AzuriteError, match=r"Node\.js 20 or later.*npm ci --prefix local/azurite"):
        azurite.installed()


def test_missing_modules_say_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Node.js without Azurite: the command that installs it."""
    node = tmp_path / "node"
    node.write_text("#!/bin/sh\n")
    node.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(azurite.AzuriteError, match="Azurite is not installed: run: npm ci --prefix local/azurite"):
        azurite.installed(tmp_path)


async def test_a_start_that_fails_tells_azurites_own_words(tmp_path: Path) -> None:
    """What Azurite printed is in the error."""
    (tmp_path / "node_modules" / "azurite").mkdir(parents=True)
    (tmp_path / "node_modules" / "azurite" / "package.json").write_text("{}")
    (tmp_path / "start.js").write_text('console.log("no luck today"); process.exit(3)')
    with pytest.raises(azurite.AzuriteError, match="did not start: no luck today"):
        await azurite.start(home=tmp_path)


def test_the_lock_file_pins_azurite_3_without_addresses_of_a_registry() -> None:
    """The lock holds versions and hashes; where packages come from is each machine's own setting."""
    lock = (azurite.HOME / "package-lock.json").read_text()
    assert '"azurite": "3.' in (azurite.HOME / "package.json").read_text()
    assert '"integrity"' in lock
    assert '"resolved"' not in lock
