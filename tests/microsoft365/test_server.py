"""Starting, stopping and going on: the command line, the data directory, the ports."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from local.microsoft365 import seed
from local.microsoft365.__main__ import options_of, parse
from local.microsoft365.population import User
from local.microsoft365.registrations import RegistrationError, read_registrations
from local.microsoft365.server import PROJECT, listen
from tests.microsoft365.platform import CONSOLE, running, write_applications

COMMAND = (sys.executable, "-m", "local.microsoft365", "--json")

WAITS_FOR_CLIENTS = 60
"""Seconds that aiohttp's server waits for clients whose connections are open, where it is not told to end at once."""


@asynccontextmanager
async def started(*arguments: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, Any]]]:
    """The command, running, and its JSON line."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *arguments, cwd=PROJECT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield process, json.loads(await process.stdout.readline())
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_the_command_says_what_is_needed_to_use_it(tmp_path: Path) -> None:
    """One JSON line names address, authority, tenants, applications and people; SIGTERM ends it at once, in silence."""
    ca_file = tmp_path / "ca.pem"
    applications = write_applications(tmp_path / "applications")
    async with started("--users", "40", "--ca-file", str(ca_file), "--applications", str(applications)) as (process, facts):
        context = ssl.create_default_context(cafile=facts["ca_file"])
        async with httpx.AsyncClient(verify=context, trust_env=False) as client:
            answer = await client.get(f"{facts['url']}/contoso.com/v2.0/.well-known/openid-configuration")
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        output, errors = await process.communicate()

    assert answer.json()["issuer"] == f"{facts['url']}/{facts['tenant_id']}/v2.0"
    assert facts["ca_file"] == str(ca_file)
    assert (facts["port"], facts["pid"]) == (int(facts["url"].rpartition(":")[2]), process.pid)
    assert facts["tenants"][0]["users"] == 40
    assert facts["applications"].keys() == {"mail_flow", "directory", "role_helper"}
    assert facts["people"][0]["user_principal_name"] == "admin@contoso.com"
    assert (process.returncode, output, errors) == (0, b"", b"")
    assert time.monotonic() - began < WAITS_FOR_CLIENTS


async def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    """With --parent-pid it ends by itself once that process is gone."""
    parent = await asyncio.create_subprocess_exec("sleep", "600")
    applications = write_applications(tmp_path / "applications")
    async with started("--parent-pid", str(parent.pid), "--applications", str(applications)) as (process, _):
        parent.kill()
        await parent.wait()
        await asyncio.wait_for(process.wait(), 10)

    assert process.returncode == 0


async def test_a_start_that_cannot_be_says_why(tmp_path: Path) -> None:
    """Without registrations it ends with a sentence and code 1, not with a trace."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "--applications", str(tmp_path), cwd=PROJECT, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await process.communicate()

    assert process.returncode == 1
    assert errors.decode().startswith("The simulated Microsoft 365 did not start: no app registration")
    assert "Traceback" not in errors.decode()


async def test_a_second_start_goes_on(tmp_path: Path) -> None:
    """The same data directory has the same authority, secrets, keys, password and tenants, consents included."""
    data = tmp_path / "data"
    async with running(tmp_path, data=data, users=60) as first:
        await first.grant("mail_flow")
        tamper = {"noun": "user", "identity": "member@contoso.com", "change": {"displayName": "Another"}}
        await first.control("POST", "tamper", json=tamper)
        await first.control("POST", "tenants", json={"display_name": "T", "initial_domain": "t.onmicrosoft.com", "user_count": 5})
        state = await first.control("GET", "state")
        authority = first.simulation.ca_file.read_bytes()
        password, secret = first.simulation.store.password, first.application("mail_flow").secrets
    async with running(tmp_path, data=data, users=7) as second:
        answer = await second.app_token()
        again = await second.control("GET", "state")
        tenants = await second.control("GET", "tenants")

    assert answer.status_code == 200
    assert again == state
    assert len(tenants) == 3
    assert second.simulation.ca_file.read_bytes() == authority
    assert second.simulation.store.password == password
    assert second.application("mail_flow").secrets == secret


async def test_what_was_answered_survives_a_kill(tmp_path: Path) -> None:
    """A change is on disk before its answer goes out: SIGKILL loses nothing that was acknowledged."""
    applications, data = write_applications(tmp_path / "applications"), tmp_path / "data"
    arguments = ("--data", str(data), "--applications", str(applications), "--console", CONSOLE)
    async with started(*arguments) as (process, facts):
        context = ssl.create_default_context(cafile=facts["ca_file"])
        async with httpx.AsyncClient(base_url=facts["url"], verify=context, trust_env=False) as client:
            tamper = {"noun": "domain", "identity": "contoso-retail.com", "remove": True}
            await client.post("/_control/tamper", json=tamper)
        process.kill()
        await process.wait()
    async with started(*arguments) as (_, after):
        assert after["tenants"][0]["domains"] == ["contoso.com", "contoso.onmicrosoft.com"]
        assert after["applications"] == facts["applications"]


async def test_a_change_made_inside_the_process_is_kept(tmp_path: Path) -> None:
    """Who runs the simulation in a test and changes the store itself finds the change at the next start."""
    async with running(tmp_path, data=tmp_path / "data") as first:
        tenant = first.tenant
        del tenant.domains["contoso-retail.com"]
        first.simulation.store.changed(tenant)
    async with running(tmp_path, data=tmp_path / "data") as second:
        assert "contoso-retail.com" not in second.tenant.domains


async def test_files_of_the_data_directory_are_their_owners_alone(tmp_path: Path) -> None:
    """Secrets and keys are readable by their owner only, and no half-written file is left."""
    async with running(tmp_path, data=tmp_path / "data"):
        files = sorted((tmp_path / "data").iterdir())

    assert [each.name for each in files] == ["authority-key.pem", "authority.pem", "signing-key.pem", "state.json"]
    assert all(each.stat().st_mode & 0o077 == 0 for each in files)


async def test_a_state_of_another_version_is_not_touched(tmp_path: Path) -> None:
    """A newer state stops the start with a sentence, and stays as it is."""
    async with running(tmp_path, data=tmp_path / "data"):
        pass
    file = tmp_path / "data" / "state.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "version": 99}))
    former = file.read_bytes()

    with pytest.raises(ValueError, match="version 99"):
        async with running(tmp_path, data=tmp_path / "data"):
            pass
    assert file.read_bytes() == former


async def test_without_a_data_directory_nothing_stays(tmp_path: Path) -> None:
    """The temporary folder is gone at the end."""
    async with running(tmp_path, data=None) as platform:
        folder = platform.simulation.ca_file.parent
        assert folder.is_dir()

    assert not folder.exists()


async def test_half_a_million_users_cost_no_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Users are made when asked for: a tenant of 500,000 starts like one of 25, and finds anyone at once."""
    made: list[int] = []
    make_user = seed.make_user

    def counted(of: seed.TenantSeed, index: int) -> User:
        made.append(index)
        return make_user(of, index)

    monkeypatch.setattr(seed, "make_user", counted)
    async with running(tmp_path, users=500_000) as platform:
        users = platform.tenant.users
        person = next(user for position, user in users.scan(499_995) if user.user_type == "Member")
        found = users.find(person.user_principal_name)

    assert 0 < len(made) < 500
    assert len(users) == 500_000
    assert found == person


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_both_loopback_addresses_share_the_port(host: str) -> None:
    """`localhost` means the same server whichever address a client tries first; no other address is bound."""
    sockets = listen(0)
    try:
        names = {each.getsockname()[0]: each.getsockname()[1] for each in sockets}
        if host not in names:
            pytest.skip("no IPv6 on this machine")
        assert set(names) <= {"127.0.0.1", "::1"}
        assert len(set(names.values())) == 1
    finally:
        for each in sockets:
            each.close()


def test_a_taken_port_is_an_error() -> None:
    """A port that is asked for and taken is refused, not replaced."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(OSError, match="in use"):
            listen(other.getsockname()[1])


def test_the_command_line_sets_delays_and_one_throttled_request() -> None:
    """Delays, latency, throttling and the one 429 of the demo come from the command line."""
    arguments = ["--consent-delay", "2", "--role-delay", "5", "--latency-ms", "9", "--throttle", "3500", "--throttle-once", "4"]
    options = options_of(parse(arguments))

    settings = options.settings
    assert (settings.consent_delay, settings.role_delay, settings.latency_ms) == (2, 5, 9)
    assert settings.graph_units_per_10_seconds == 3500
    (fault,) = options.faults
    assert (fault.status, fault.headers) == (429, {"Retry-After": "4"})
    assert fault.match.meets("GET", "/v1.0/users/delta()", None)


def test_registrations_redirect_to_the_console(tmp_path: Path) -> None:
    """The placeholder host becomes the console's, and an application's id follows from its file's name."""
    first, second = (read_registrations(write_applications(tmp_path / name), "http://localhost:1") for name in ("a", "b"))

    assert first == second
    assert first[0].redirect_uris == ("http://localhost:1/signed-in", "http://localhost:1/consented")


def test_a_broken_registration_names_its_file(tmp_path: Path) -> None:
    """A file that is no registration stops the start."""
    (tmp_path / "broken.json").write_text("{}")

    with pytest.raises(RegistrationError, match=r"broken\.json"):
        read_registrations(tmp_path, CONSOLE)


def test_the_operators_own_registrations_can_be_read() -> None:
    """Every registration of infra/applications is understood, and asks only for permissions that the catalogue knows."""
    from local.microsoft365.identity.scopes import registered  # noqa: PLC0415 - beside its only use

    for registration in read_registrations(PROJECT / "infra" / "applications", CONSOLE):
        assert len(registered(registration)) == len(registration.required_permissions), registration.name
