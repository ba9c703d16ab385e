"""Azurite, Microsoft's storage emulator, as a child process: queues and tables with the real services' protocol.

It comes from npm, pinned by ``local/azurite/package-lock.json``. One process serves all services: measured, ``azurite`` starts in
0.8 s with 119 MB; ``azurite-queue`` and ``azurite-table`` take as long and 178 MB, and the latter doesn't tell its port.
"""

import asyncio
import os
import re
import secrets
import shutil
from asyncio.subprocess import PIPE, STDOUT, Process
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import Self

HOME = Path(__file__).parent / "azurite"
ACCOUNT = "grantlinelocal"
START_SECONDS = 60
STOP_SECONDS = 10
KEEP_ALIVE = 75
"""Seconds that an idle connection is kept: longer than any client keeps one (aiohttp: 15), so that none is met as it closes."""
INSTALL = "npm ci --prefix local/azurite"
_LISTENING = re.compile(r"Azurite (Blob|Queue|Table) service is successfully listening at (http://\S+)")


class AzuriteError(Exception):
    """Raised when Azurite can't be started; its message says what to install or what Azurite said."""


@dataclass(frozen=True, slots=True)
class Azurite:
    """A running Azurite; ``async with`` stops it at the end."""

    connection_string: str
    process: Process

    @property
    def pid(self) -> int:
        """The process that serves."""
        return self.process.pid

    async def stop(self) -> None:
        """Let Azurite save and end; kill it when it takes too long."""
        if self.process.returncode is not None:
            return
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            await asyncio.wait_for(self.process.wait(), STOP_SECONDS)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()


def installed(home: Path = HOME) -> str:
    """Return Node's path; raise AzuriteError, saying what to install, when Node or Azurite is missing."""
    node = shutil.which("node")
    if node is None:
        raise AzuriteError(f"Azurite needs Node.js 20 or later: install it (https://nodejs.org), then run: {INSTALL}")
    if not (home / "node_modules" / "azurite" / "package.json").is_file():
        raise AzuriteError(f"Azurite is not installed: run: {INSTALL}")
    return node


async def start(location: Path | None = None, *, home: Path = HOME) -> Azurite:
    """Start Azurite on free ports and return when it listens; the account's key is made at random at each start.

    Without a location the data is kept in memory. Raise AzuriteError when it can't be started.
    """
    node = installed(home)
    kept_in = ["--inMemoryPersistence"] if location is None else ["--location", str(location)]
    key = b64encode(secrets.token_bytes(64)).decode()
    process = await asyncio.create_subprocess_exec(
        *(node, str(home / "start.js"), *kept_in, "--silent", "--skipApiVersionCheck", "--disableTelemetry"),
        *("--blobPort", "0", "--queuePort", "0", "--tablePort", "0"),
        *("--queueKeepAliveTimeout", str(KEEP_ALIVE), "--tableKeepAliveTimeout", str(KEEP_ALIVE)),
        env={**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{key}"},
        stdin=PIPE,
        stdout=PIPE,
        stderr=STDOUT,
        start_new_session=True,  # Ctrl-C is for the process that started us; it stops us in its own order.
    )
    try:
        addresses = await asyncio.wait_for(_addresses(process), START_SECONDS)
    except BaseException:
        process.kill()
        await process.wait()
        raise
    return Azurite(_connection_string(key, addresses), process)


async def _addresses(process: Process) -> dict[str, str]:
    """Read what Azurite prints until its three services listen, and drop what it prints later."""
    output = process.stdout
    if output is None:
        raise AzuriteError("Azurite has no output")
    addresses: dict[str, str] = {}
    said: list[str] = []
    while len(addresses) < 3:
        line = (await output.readline()).decode(errors="replace")
        if not line:
            raise AzuriteError(f"Azurite did not start: {' '.join(said) or 'it said nothing'}")
        said.append(line.strip())
        if match := _LISTENING.search(line):
            addresses[match[1]] = match[2]
    return addresses


def _connection_string(key: str, addresses: dict[str, str]) -> str:
    endpoints = [f"{service}Endpoint={address}/{ACCOUNT}" for service, address in sorted(addresses.items())]
    return ";".join(["DefaultEndpointsProtocol=http", f"AccountName={ACCOUNT}", f"AccountKey={key}", *endpoints])
