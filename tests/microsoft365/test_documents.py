"""The simulation's own documents: every option, request and setting is there, every witness exists."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from local.microsoft365 import control
from local.microsoft365.faults import Fault, Match
from local.microsoft365.identity.errors import KINDS, ONLY_BY_FAULT
from local.microsoft365.server import PROJECT
from local.microsoft365.settings import SimulationSettings
from local.microsoft365.state import PARTS
from tests.microsoft365.platform import Platform

FOLDER = PROJECT / "local" / "microsoft365"
README = (FOLDER / "README.md").read_text("utf-8")
PARITY = (FOLDER / "PARITY.md").read_text("utf-8")


def test_every_option_is_documented() -> None:
    """The table of options has all of them, and none that is not there."""
    source = (FOLDER / "__main__.py").read_text("utf-8")

    assert set(re.findall(r"^\| `(--[a-z-]+)", README, re.MULTILINE)) == set(re.findall(r'add\("(--[a-z-]+)"', source))


async def test_every_control_request_is_documented(platform: Platform) -> None:
    """Each route under /_control stands in the table."""
    table = control.routes(control.Control(platform.simulation, lambda _: platform.tenant, lambda: None))

    assert [f"{each.method} {each.path}" for each in table if f"`{each.method} {each.path}`" not in README] == []


@pytest.mark.parametrize("kind", [SimulationSettings, Fault, Match])
def test_every_setting_and_fault_is_documented(kind: type[SimulationSettings | Fault | Match]) -> None:
    """Each setting, and each part of a fault, is explained."""
    named = set(re.findall(r"[`\"]([a-z_0-9]+)[`\"]", README))

    assert {field.name for field in fields(kind)} - named == set()


def test_every_part_of_the_state_is_documented() -> None:
    """What `include` may name stands in the table."""
    assert [part for part in PARTS if f"`{part}`" not in README] == []


def test_every_witness_exists() -> None:
    """A row of PARITY.md names a test that is there."""
    tests = "\n".join(path.read_text("utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    witnesses = set(re.findall(r"\btest_[a-z0-9_]+\b", PARITY))

    assert len(witnesses) > 30
    assert [each for each in witnesses if f"def {each}(" not in tests] == []


def test_every_row_says_how_much_is_like_microsofts() -> None:
    """Each row begins its second cell with one of the four words or what of the two it is about."""
    rows = [line.split("|") for line in PARITY.splitlines() if line.startswith("| ") and not line.startswith("| what")]
    states = {re.split(r"[\s;:,]", cells[2].strip())[0] for cells in rows}

    assert states <= {"real", "emulated", "absent", "uncertain"}
    assert all(len(cells) == 6 for cells in rows)


def test_every_refusal_is_used() -> None:
    """No AADSTS number is in the table that nothing raises."""
    sources = "\n".join(path.read_text("utf-8") for path in (FOLDER / "identity").glob("*.py"))

    assert [code for code in KINDS if code not in ONLY_BY_FAULT and not re.search(rf"IdentityError\(\s*{code}\b", sources)] == []
