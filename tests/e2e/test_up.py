"""`python -m local up`: what it prints, that it resumes, that two run side by side, and that nothing is left behind."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from local.browser import Browser
from local.demo import ACCOUNT_ID, ACCOUNT_NAME
from local.stack import PROJECT

KEYS = {"console", "tenant", "ca_file", "storage", "account", "pids"}


@dataclass(slots=True)
class Up:
    """A running `up` and its ready line."""

    process: Process
    facts: dict[str, Any]

    async def interrupt(self) -> None:
        """Press Ctrl-C: the whole group gets it, as a terminal would send it."""
        os.killpg(self.process.pid, signal.SIGINT)
        assert await asyncio.wait_for(self.process.wait(), 30) == 0


@asynccontextmanager
async def up(data: Path) -> AsyncIterator[Up]:
    """Start `up` in a process group of its own."""
    command = [sys.executable, "-m", "local", "up", "--json", "--data", str(data), "--users", "12"]
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, cwd=PROJECT, start_new_session=True)
    assert process.stdout
    try:
        yield Up(process, json.loads(await asyncio.wait_for(process.stdout.readline(), 60)))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def start_grant(facts: dict[str, Any]) -> str:
    """Start the seeded account's grant in the console; return the address of its page."""
    async with Browser(facts["ca_file"]) as browser:
        form_page = await browser.open(f"{facts['console']}/grant-access")
        page = await browser.submit(form_page, form_page.forms[0], account_id=ACCOUNT_ID, account_name=ACCOUNT_NAME)
        return page.url


def alive(pid: int) -> bool:
    """Tell whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads /proc")
async def test_up_resumes_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """Ctrl-C ends every process; a second start with the same data goes on at the same addresses."""
    async with up(tmp_path) as first:
        page_url = await start_grant(first.facts)
        await first.interrupt()
        assert [name for name, pid in first.facts["pids"].items() if alive(pid)] == []

    async with up(tmp_path) as second, Browser(second.facts["ca_file"]) as browser:
        assert set(second.facts) == KEYS
        assert second.facts["account"] == ACCOUNT_ID
        assert second.facts["console"] == first.facts["console"]
        assert second.facts["tenant"] == first.facts["tenant"]
        page = await browser.open(page_url)
        dashboard = await browser.open(second.facts["console"])
        await second.interrupt()

    assert page.status == 200
    assert "Grant Permission" in page.links
    assert ACCOUNT_NAME in dashboard.words
    assert "Continue" in dashboard.links


async def test_two_copies_run_side_by_side(tmp_path: Path) -> None:
    """Ports that are taken are not asked for: the second copy chooses others."""
    async with up(tmp_path / "one") as one, up(tmp_path / "two") as two:
        assert one.facts["console"] != two.facts["console"]
        assert one.facts["tenant"] != two.facts["tenant"]
        urls = await asyncio.gather(start_grant(one.facts), start_grant(two.facts))
        await asyncio.gather(one.interrupt(), two.interrupt())

    assert all("/grants/" in url for url in urls)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads /proc")
async def test_a_killed_up_leaves_nothing_behind(tmp_path: Path) -> None:
    """Even SIGKILL of the command ends its children: they watch their parent."""
    async with up(tmp_path) as killed:
        killed.process.kill()
        await killed.process.wait()
        for _ in range(200):
            if not any(map(alive, killed.facts["pids"].values())):
                break
            await asyncio.sleep(0.1)

        assert not any(map(alive, killed.facts["pids"].values()))
