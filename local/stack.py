"""Everything that Grantline needs, on one machine: Azurite, the simulated tenant and the functions host, as child processes.

Ports are chosen free; a data directory keeps the storage, the tenant and the made-up secrets, so that a second start resumes.
"""

import asyncio
import json
import os
import secrets
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local import azurite, ports
from local.demo import ACCOUNT_ID, ACCOUNT_NAME, Local
from local.scanner import scanning

PROJECT = Path(__file__).parents[1]
START_SECONDS = 60
STOP_SECONDS = 15
LAST_WORDS = 2000
CONSOLE_PORT = 7071
TENANT_PORT = 8443


class StackError(Exception):
    """Raised when a part does not start or ends by itself; its message has the part's last words."""


@dataclass(frozen=True, slots=True)
class Options:
    """How the parts are started."""

    data: Path
    users: int = 1000
    app: Path = PROJECT
    tenant: tuple[str, ...] = ()
    """More options for the simulated tenant, such as --role-delay."""


@dataclass(slots=True)
class Stack:
    """The running parts."""

    options: Options
    storage: azurite.Azurite
    tenant: dict[str, Any]
    console: str
    environment: dict[str, str]
    tenant_process: Process
    host: dict[str, Any] = field(default_factory=dict)
    host_process: Process | None = None
    scanner: "asyncio.Task[None] | None" = None

    @property
    def administrator(self) -> dict[str, Any]:
        """The simulated tenant's Global Administrator."""
        people: list[dict[str, Any]] = self.tenant["people"]
        return next(person for person in people if person["user_principal_name"].startswith("admin@"))

    @property
    def processes(self) -> dict[str, Process]:
        """The processes that this one watches, by their part."""
        host = {"functions host": self.host_process} if self.host_process else {}
        return {"storage": self.storage.process, "simulated tenant": self.tenant_process, **host}

    @property
    def pids(self) -> dict[str, int]:
        """The processes by their part."""
        host = {"host": self.host_process.pid} if self.host_process else {}
        return {"storage": self.storage.pid, "tenant": self.tenant_process.pid, **host}

    @property
    def local(self) -> Local:
        """Where the demo finds the parts."""
        return Local(
            console=self.console,
            tenant=self.tenant["url"],
            ca_file=self.tenant["ca_file"],
            administrator=self.administrator,
            master_key=lambda: str(self.host["master_key"]),
            crash_host=self.crash_host,
        )

    async def start_host(self) -> None:
        """Start the functions host and wait until it serves."""
        command = [
            *(sys.executable, "-m", "local.host", "--app", str(self.options.app), "--port", self.console.rsplit(":", 1)[1]),
            *("--data", str(self.options.data / "host"), "--json", "--parent-pid", str(os.getpid())),
        ]
        self.host_process, self.host = await _start(command, self.environment, self.log("host"))

    def log(self, part: str) -> Path:
        """Return the file that a part's log goes to."""
        return self.options.data / f"{part}.log"

    async def crash_host(self) -> None:
        """End the functions host as a crash would (SIGKILL: nothing finished, nothing given back) and start another."""
        if self.host_process:
            self.host_process.send_signal(signal.SIGKILL)
            await self.host_process.wait()
        await self.start_host()

    def start_scanner(self) -> None:
        """Start the product's scanner, as a task of this process."""
        self.scanner = asyncio.create_task(self._scan())

    async def _scan(self) -> None:
        async with scanning(self.environment, self.tenant["url"], self.tenant["ca_file"]) as scanner:
            await scanner.run()

    async def stop(self) -> None:
        """End every process: the host first, so that it finishes what it began."""
        if self.scanner:
            self.scanner.cancel()
            await asyncio.wait([self.scanner])
        for process in (self.host_process, self.tenant_process):
            if process:
                await _stop(process)
        await self.storage.stop()


async def up(options: Options) -> Stack:
    """Start all parts, resuming what the data directory holds; none is left behind when one of them does not start."""
    options.data.mkdir(parents=True, exist_ok=True)
    kept = _kept(options.data)
    console_port, tenant_port = ports.reserve(kept["console_port"]), ports.reserve(kept["tenant_port"])
    console = f"http://localhost:{console_port}"
    storage = asyncio.create_task(azurite.start(options.data / "storage"))
    tenant = asyncio.create_task(_start(_tenant_command(options, tenant_port, console), os.environ, options.data / "tenant.log"))
    started = await asyncio.gather(storage, tenant, return_exceptions=True)
    failed = [result for result in started if isinstance(result, BaseException)]
    if failed:
        await _stop_started(storage, tenant)
        raise failed[0]
    process, facts = tenant.result()
    environment = {**os.environ, **app_settings_of(storage.result().connection_string, facts, console, kept["sealing_key"])}
    stack = Stack(options, storage.result(), facts, console, environment, process)
    _keep(options.data, {**kept, "console_port": console_port, "tenant_port": tenant_port})
    try:
        await asyncio.gather(stack.start_host(), seed_account(environment))
        stack.start_scanner()
    except BaseException:
        await stack.stop()
        raise
    return stack


def _tenant_command(options: Options, port: int, console: str) -> list[str]:
    return [
        *(sys.executable, "-m", "local.microsoft365", "--port", str(port), "--users", str(options.users), "--json"),
        *("--ca-file", str(options.data / "ca.pem"), "--data", str(options.data / "tenant"), "--console", console),
        *("--parent-pid", str(os.getpid()), *options.tenant),
    ]


def app_settings_of(connection: str, tenant: Mapping[str, Any], console: str, sealing_key: str) -> dict[str, str]:
    """Return the app settings of a local run; documentation addresses (RFC 5737, RFC 2606) stand for the scanner."""
    applications = {
        f"GRANTLINE_{name.upper()}_{key.upper()}": value
        for name, application in tenant["applications"].items()
        for key, value in application.items()
        if key in ("client_id", "client_secret")
    }
    return {
        "AzureWebJobsStorage": connection,
        "GRANTLINE_PUBLIC_URL": console,
        "GRANTLINE_AUTHORITY_URL": tenant["url"],
        "GRANTLINE_GRAPH_URL": tenant["url"],
        "GRANTLINE_EXCHANGE_URL": tenant["url"],
        "GRANTLINE_MANAGEMENT_URL": tenant["url"],
        "GRANTLINE_PORTAL_URL": tenant["url"],
        "GRANTLINE_CA_FILE": tenant["ca_file"],
        "GRANTLINE_DNS_RESOLVER": tenant["dns"],
        **applications,
        "GRANTLINE_SEALING_KEY": sealing_key,
        "GRANTLINE_SCANNER_INBOUND_HOST": "inbound.scanner.example.net",
        "GRANTLINE_SCANNER_OUTBOUND_HOST": "outbound.scanner.example.net",
        "GRANTLINE_SCANNER_INBOUND_EGRESS": "192.0.2.0/24",
        "GRANTLINE_SCANNER_OUTBOUND_EGRESS": "198.51.100.0/24",
        "GRANTLINE_SCANNER_CERTIFICATE_ZONE": "relay.scanner.example.net",
        "GRANTLINE_DEVELOPMENT_IDENTITY": "true",
    }


def _kept(data: Path) -> dict[str, Any]:
    """Return the ports and the made-up key of a former start, or those of a first one."""
    path = data / "up.json"
    if path.exists():
        content: dict[str, Any] = json.loads(path.read_text())
        return content
    return {"console_port": CONSOLE_PORT, "tenant_port": TENANT_PORT, "sealing_key": secrets.token_urlsafe(32)}


def _keep(data: Path, content: Mapping[str, Any]) -> None:
    path = data / "up.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps(content))


async def seed_account(environment: Mapping[str, str]) -> None:
    """Put the customer's account into the console's list, unless a former start has."""
    from shared import container, settings  # noqa: PLC0415 - loads the Azure SDKs

    built = await container.build(settings.load(environment))
    try:
        await built.list_account(ACCOUNT_ID, ACCOUNT_NAME)
    finally:
        await built.close()


async def _start(command: list[str], environment: Mapping[str, str], log: Path) -> tuple[Process, dict[str, Any]]:
    """Start a part and read its ready line. Raises StackError with its own words when it ends or stays silent."""
    with log.open("ab") as words:
        begun = words.tell()
        process = await asyncio.create_subprocess_exec(
            *command, stdout=PIPE, stderr=words, cwd=PROJECT, env={**environment, "PYTHONUNBUFFERED": "1"}, limit=2**22
        )
    assert process.stdout is not None  # noqa: S101 - a pipe was asked for
    try:
        line = await asyncio.wait_for(process.stdout.readline(), START_SECONDS)
        facts: dict[str, Any] = json.loads(line)
    except (TimeoutError, ValueError):
        await _stop(process)
        raise StackError(f"{command[2]} did not start:\n{last_words(log, begun)}") from None
    return process, facts


def last_words(log: Path, begun: int = 0) -> str:
    """Return the end of a part's log, from where it was started."""
    return log.read_bytes()[begun:].decode(errors="replace")[-LAST_WORDS:].strip() or "(it said nothing)"


async def _stop(process: Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()


async def _stop_started(storage: "asyncio.Task[azurite.Azurite]", tenant: "asyncio.Task[tuple[Process, dict[str, Any]]]") -> None:
    if storage.exception() is None:
        await storage.result().stop()
    if tenant.exception() is None:
        await _stop(tenant.result()[0])
