"""``python -m local.host`` as a process of its own, on Azurite: readiness, faults, graceful and sudden ends."""

import asyncio
import base64
import contextlib
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from azure.storage.queue.aio import QueueClient

from tests.host.apps import until

PROJECT = Path(__file__).parents[2]
SAMPLE = Path(__file__).parent / "sample_app"
UNREACHABLE = "DefaultEndpointsProtocol=http;AccountName=none;AccountKey=bm9uZQ==;QueueEndpoint=http://127.0.0.1:9/none"


@dataclass(frozen=True, slots=True)
class Command:
    """A running command, its ready line and the directory where the sample app leaves its files."""

    process: Process
    ready: dict[str, Any]
    directory: Path

    async def file(self, pattern: str) -> Path:
        """Wait until the app has left a file of this name."""

        async def found() -> list[Path]:
            return await asyncio.to_thread(lambda: sorted(self.directory.glob(pattern)))

        await until(found)
        return (await found())[0]


async def start(tmp_path: Path, connection: str, *options: str, **settings: str) -> Process:
    """Start the command on the sample app."""
    environment = {
        **os.environ,
        "SampleStorage": connection,
        "SAMPLE_DIRECTORY": str(tmp_path),
        "SAMPLE_SCHEDULE": "0 0 0 1 1 *",
        **settings,
    }
    common = ("--app", str(SAMPLE), "--port", "0", "--data", str(tmp_path / "host"), "--json")
    command = (sys.executable, "-m", "local.host", *common)
    return await asyncio.create_subprocess_exec(*command, *options, env=environment, cwd=PROJECT, stdout=PIPE, stderr=PIPE)


@contextlib.asynccontextmanager
async def command(tmp_path: Path, connection: str, *options: str, **settings: str) -> AsyncIterator[Command]:
    """Run the command until the end of the block, at the latest."""
    process = await start(tmp_path, connection, *options, **settings)
    try:
        assert process.stdout is not None
        yield Command(process, json.loads(await process.stdout.readline()), tmp_path)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        # Its output is read to the end, so that both pipes are closed within this loop.
        await process.communicate()


@contextlib.asynccontextmanager
async def queue(connection: str, name: str) -> AsyncIterator[QueueClient]:
    """Make a queue."""
    async with QueueClient.from_connection_string(connection, name) as client:
        await client.create_queue()
        yield client


def encoded(body: bytes) -> str:
    """Encode a body as the trigger expects it."""
    return base64.b64encode(body).decode()


async def count(client: QueueClient) -> int:
    """Tell how many messages a queue holds, hidden ones too."""
    properties = await client.get_queue_properties()
    return int(properties.approximate_message_count or 0)


async def test_the_ready_line_tells_where_and_what(tmp_path: Path) -> None:
    """One JSON line on standard output: url, pid, functions and master key; then the HTTP side answers."""
    async with command(tmp_path, UNREACHABLE) as at:
        assert at.ready["pid"] == at.process.pid
        triggers = {function["name"]: function["trigger"] for function in at.ready["functions"]}
        assert triggers == {"healthz": "httpTrigger", "work": "queueTrigger", "slow": "queueTrigger", "tick": "timerTrigger"}
        async with httpx.AsyncClient(base_url=at.ready["url"]) as client:
            assert (await client.get("/healthz")).json() == {"status": "ok"}
            key = {"x-functions-key": at.ready["master_key"]}
            assert (await client.get("/admin/host/status", headers=key)).json()["state"] == "Running"


async def test_a_queue_function_runs_and_its_message_is_gone(tmp_path: Path, storage_connection: str) -> None:
    """From a client's send to the delete, on the real protocol; the failing one ends in the poison queue with its body alone."""
    async with queue(storage_connection, "sample-work") as work, command(tmp_path, storage_connection) as at:
        await work.send_message(encoded("schön".encode()))
        await until_empty(work)
        assert (await at.file("work-1-*")).read_text() == "schön"

        sent = await work.send_message(encoded(b"fail"))
        await until_empty(work)
        assert (await at.file("work-2-*")).name == f"work-2-{sent.id}"
        async with QueueClient.from_connection_string(storage_connection, "sample-work-poison") as poison:
            (copy,) = await poison.peek_messages(max_messages=5)
            assert (copy.content, copy.dequeue_count) == (encoded(b"fail"), 0)
            assert copy.id != sent.id


async def until_empty(client: QueueClient) -> None:
    """Wait until a queue holds nothing."""

    async def is_empty() -> bool:
        return await count(client) == 0

    await until(is_empty)


async def test_1_1_10_undecodable_text_goes_to_poison_untouched_on_azurite(tmp_path: Path, storage_connection: str) -> None:
    """What isn't base64 arrives in the poison queue as it was sent."""
    async with queue(storage_connection, "sample-work") as work, command(tmp_path, storage_connection):
        await work.send_message("{'not': base64}")
        await until_empty(work)
        async with QueueClient.from_connection_string(storage_connection, "sample-work-poison") as poison:
            assert [message.content for message in await poison.peek_messages()] == ["{'not': base64}"]


async def test_a_timer_function_runs(tmp_path: Path) -> None:
    """A schedule from an app setting, on the machine's clock."""
    async with command(tmp_path, UNREACHABLE, SAMPLE_SCHEDULE="* * * * * *") as at:
        assert (await at.file("tick")).read_text() == "False"


async def test_1_6_sigterm_lets_running_functions_finish(tmp_path: Path, storage_connection: str) -> None:
    """Listeners stop, the running function ends, its message is deleted, exit code 0."""
    async with queue(storage_connection, "sample-slow") as slow, command(tmp_path, storage_connection) as at:
        await slow.send_message(encoded(b"x"))
        await at.file("slow-began")
        at.process.send_signal(signal.SIGTERM)
        (tmp_path / "slow-may-end").touch()
        assert await at.process.wait() == 0
        assert await count(slow) == 0


async def test_1_6_what_outlives_the_grace_is_abandoned(tmp_path: Path, storage_connection: str) -> None:
    """After the grace the host ends all the same; the message is left to its lease."""
    async with queue(storage_connection, "sample-slow") as slow, command(tmp_path, storage_connection, "--grace", "0.1") as at:
        await slow.send_message(encoded(b"x"))
        await at.file("slow-began")
        at.process.send_signal(signal.SIGINT)
        assert await at.process.wait() == 0
        assert (await count(slow), [message.id async for message in slow.receive_messages()]) == (1, [])


async def test_1_1_9_sigkill_leaves_the_message_to_its_lease_on_azurite(tmp_path: Path, storage_connection: str) -> None:
    """A killed host gives nothing back: the message is there, and nobody gets it yet."""
    async with queue(storage_connection, "sample-slow") as slow, command(tmp_path, storage_connection) as at:
        await slow.send_message(encoded(b"x"))
        await at.file("slow-began")
        at.process.kill()
        await at.process.wait()
        assert (await count(slow), [message.id async for message in slow.receive_messages()]) == (1, [])


async def faults(process: Process) -> list[str]:
    """Wait for a command that can't start and give the lines that it complains with."""
    output, errors = await process.communicate()
    assert (process.returncode, output) == (1, b"")
    assert b"Traceback" not in errors
    return errors.decode().splitlines()


async def test_faults_of_the_app_are_told_without_a_trace(tmp_path: Path) -> None:
    """An import that fails ends with exit code 1 and each line of its message on standard error."""
    process = await start(tmp_path, UNREACHABLE, SAMPLE_FAULTS="GRANTLINE_A: missing\nGRANTLINE_B: not a GUID")
    assert await faults(process) == [
        "The functions host can't start:",
        "  ValueError: GRANTLINE_A: missing",
        "  GRANTLINE_B: not a GUID",
    ]


async def test_all_missing_settings_are_told_at_once(tmp_path: Path) -> None:
    """Connections and schedules that don't resolve: one line for each function."""
    process = await start(tmp_path, "", SAMPLE_SCHEDULE="often")
    lines = await faults(process)
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["function work", "function slow", "function tick"]


async def test_the_environment_wins_over_the_file_of_settings(tmp_path: Path) -> None:
    """--env-file fills in what the environment doesn't set, as local.settings.json does for Core Tools."""
    values = {"SampleStorage": UNREACHABLE, "SAMPLE_FAULTS": "from the file"}
    (tmp_path / "settings.json").write_text(json.dumps({"Values": values}))
    process = await start(tmp_path, UNREACHABLE, "--env-file", str(tmp_path / "settings.json"))
    assert "  ValueError: from the file" in await faults(process)

    async with command(tmp_path, UNREACHABLE, "--env-file", str(tmp_path / "settings.json"), SAMPLE_FAULTS="") as at:
        assert at.ready["functions"]


async def test_the_host_ends_with_its_parent(tmp_path: Path) -> None:
    """With --parent-pid the host ends by itself when that process is gone."""
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=PIPE)
    async with command(tmp_path, UNREACHABLE, "--parent-pid", str(parent.pid)) as at:
        parent.kill()
        await parent.wait()
        assert await at.process.wait() == 0


async def test_a_taken_port_is_told(tmp_path: Path) -> None:
    """The operating system's words, without a trace."""
    async with command(tmp_path, UNREACHABLE) as at:
        port = at.ready["url"].rsplit(":", 1)[1]
        second = await start(tmp_path / "second", UNREACHABLE, "--port", port)
        assert any("address already in use" in line for line in await faults(second))


@pytest.mark.parametrize("missing", ["function_app.py", "host.json"])
async def test_a_directory_without_an_app_is_told(tmp_path: Path, missing: str) -> None:
    """The file that is missing is named."""
    for name in {"function_app.py", "host.json"} - {missing}:
        (tmp_path / name).write_text((SAMPLE / name).read_text())
    process = await start(tmp_path, UNREACHABLE, "--app", str(tmp_path))
    assert any(missing in line for line in await faults(process))
