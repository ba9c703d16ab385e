"""The command line: `python -m local.microsoft365 --json` serves the simulated Microsoft 365 until it is told to end."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from local.microsoft365.control import describe_tenant
from local.microsoft365.faults import Fault, Match
from local.microsoft365.registrations import CONSOLE_PLACEHOLDER
from local.microsoft365.server import PROJECT, Options, serve
from local.microsoft365.settings import SettingsError, SimulationSettings
from local.microsoft365.simulation import Simulation

_PARENT_CHECK_SECONDS = 0.5


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line, read."""
    parser = argparse.ArgumentParser(prog="python -m local.microsoft365", description=__doc__)
    add = parser.add_argument
    add("--port", type=int, default=0, help="0: a free one is chosen")
    add("--dns-port", type=int, default=0, help="of the DNS server; 0: a free one is chosen")
    add("--users", type=int, default=25, help="users of Contoso, everybody counted")
    add("--json", action="store_true", help="print one JSON line when ready, instead of a few words")
    add("--console", default=CONSOLE_PLACEHOLDER, help="where the registrations' redirects lead")
    add("--applications", type=Path, default=PROJECT / "infra" / "applications", help="folder of app registrations")
    add("--ca-file", type=Path, help="where the certificate of the throw-away authority is written")
    add("--data", type=Path, help="keep everything here, and go on from it")
    add("--contracts", type=Path, default=PROJECT.parent / "shared" / "contracts", help="folder of Microsoft's OpenAPI slice")
    add("--consent-delay", type=float, default=0.0, metavar="SECONDS", help="until a consent has spread")
    add("--role-delay", type=float, default=0.0, metavar="SECONDS", help="until a directory role has spread")
    add("--latency-ms", type=int, default=0, help="added to every answer")
    add("--throttle", type=int, default=0, metavar="UNITS", help="Graph resource units for 10 s; 0: no throttling")
    add("--throttle-once", type=int, metavar="SECONDS", help="refuse one page of users with 429 and this Retry-After")
    add("--assertion-certificate", type=Path, action="append", default=[], help="PEM; may be given more than once")
    add("--parent-pid", type=int, help="end when this process has ended")
    return parser.parse_args(arguments)


def options_of(arguments: argparse.Namespace) -> Options:
    """The options that a command line asks for. Raises SettingsError or OSError."""
    settings = SimulationSettings().changed(
        {
            "latency_ms": arguments.latency_ms,
            "consent_delay": arguments.consent_delay,
            "role_delay": arguments.role_delay,
            "graph_units_per_10_seconds": arguments.throttle,
        }
    )
    once = arguments.throttle_once
    fault = Fault(Match("GET", r"^/v1\.0/users(?!.*count=)"), status=429, headers={"Retry-After": str(once)})
    return Options(
        port=arguments.port,
        dns_port=arguments.dns_port,
        users=arguments.users,
        settings=settings,
        console=arguments.console,
        applications=arguments.applications,
        data=arguments.data,
        ca_file=arguments.ca_file,
        contracts=arguments.contracts,
        faults=() if once is None else (fault,),
        assertion_certificates=tuple(path.read_text("utf-8") for path in arguments.assertion_certificate),
    )


def ready(simulation: Simulation) -> dict[str, Any]:
    """The JSON line: where it is, and with what to sign in."""
    store = simulation.store
    applications = {
        each.name: {"client_id": each.app_id, "client_secret": each.secrets[-1].value if each.secrets else None}
        for each in store.registrations.values()
    }
    people = [
        {
            "user_principal_name": each.user_principal_name,
            "password": store.password,
            "roles": [role.name.lower() for role in each.roles],
            "tenant_id": each.tenant_id,
        }
        for each in store.people
    ]
    return {
        "url": simulation.url,
        "port": int(simulation.url.rpartition(":")[2]),
        "dns": simulation.dns_address,
        "ca_file": str(simulation.ca_file.resolve()),
        "tenant_id": store.default_tenant.id,
        "tenant_domain": store.default_tenant.default_domain,
        "tenants": [describe_tenant(each) for each in store.tenants.values()],
        "applications": applications,
        "people": people,
        "pid": os.getpid(),
    }


async def run(arguments: argparse.Namespace) -> None:
    """Serve until SIGTERM, SIGINT, or the parent's end."""
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with serve(options_of(arguments)) as simulation:
        facts = ready(simulation)
        print(json.dumps(facts) if arguments.json else _words(facts), flush=True)
        if arguments.parent_pid is not None:
            _watch_parent(arguments.parent_pid, os.getppid() == arguments.parent_pid, ended)
        await ended.wait()


def _watch_parent(pid: int, was_child: bool, ended: asyncio.Event) -> None:
    """End with the parent. One that was killed can't end us; the kernel then gives its child another parent."""
    if not _is_alive(pid) or (was_child and os.getppid() != pid):
        ended.set()
        return
    asyncio.get_running_loop().call_later(_PARENT_CHECK_SECONDS, _watch_parent, pid, was_child, ended)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _words(facts: dict[str, Any]) -> str:
    names = "\n".join(f"  {each['user_principal_name']}" for each in facts["people"])
    return (
        f"The simulated Microsoft 365 is at {facts['url']} (authority: {facts['ca_file']}), its DNS at {facts['dns']}.\n"
        f"These people can sign in, all with the password {facts['people'][0]['password']}\n{names}"
    )


def main() -> int:
    """Run the command; the exit code."""
    arguments = parse(sys.argv[1:])
    try:
        asyncio.run(run(arguments))
    except (SettingsError, OSError, ValueError) as error:
        print(f"The simulated Microsoft 365 did not start: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
