"""Fixtures of the simulated tenant's own tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.microsoft365.platform import Platform, running


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[Platform]:
    """A simulation of its own for each test, without delays."""
    async with running(tmp_path) as started:
        yield started
