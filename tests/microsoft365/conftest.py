"""Fixtures of the simulated tenant's own tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from local.browser import Browser
from local.microsoft365.model import ServicePrincipal
from tests.microsoft365.platform import Platform, running
from tests.microsoft365.portal import Walk, mail_flow


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[Platform]:
    """A simulation of its own for each test, without delays."""
    async with running(tmp_path) as started:
        yield started


@pytest.fixture
async def walk(platform: Platform) -> AsyncIterator[Walk]:
    """A browser that nobody has signed in with."""
    async with Browser(str(platform.simulation.ca_file)) as browser:
        yield Walk(platform, browser)


@pytest.fixture
async def consented(platform: Platform) -> ServicePrincipal:
    """The mail-flow application after its admin consent in Contoso."""
    await platform.grant("mail_flow")
    return mail_flow(platform)
