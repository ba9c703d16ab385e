"""The parity pages of Graph, Exchange and mail: complete, and every witness is a test that exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from local.microsoft365.exchange.catalogue import HANDLERS
from local.microsoft365.exchange.definitions import documented_cmdlets
from local.microsoft365.graph.operations import OPERATIONS

ROOT = Path(__file__).parents[2]
PAGES = {name: ROOT / "local" / "microsoft365" / name / "PARITY.md" for name in ("graph", "exchange", "mail")}


def page(name: str) -> str:
    """Return the text of a parity page."""
    return PAGES[name].read_text(encoding="utf-8")


def test_every_operation_of_graph_has_a_row() -> None:
    """By its template; those of PIM by their last segment."""
    text = page("graph")
    missing = [each.name for each in OPERATIONS if (each.template.rpartition("/")[2] if each.is_pim else each.name) not in text]

    assert missing == []


def test_every_documented_cmdlet_is_simulated_or_named_as_absent() -> None:
    """The list of absent ones is exactly what is documented and not there; each noun that is there has a row."""
    rows, _, absent = page("exchange").partition("## Absent cmdlets")
    named = set(re.findall(r"[A-Z][A-Za-z]+-[A-Z][A-Za-z0-9]+", absent))
    nouns = {name.partition("-")[2] for name in HANDLERS}

    assert named == {each.name for each in documented_cmdlets().values()} - set(HANDLERS)
    assert [noun for noun in nouns if f"-{noun}" not in rows] == []


@pytest.mark.parametrize("name", sorted(PAGES))
def test_every_witness_exists(name: str) -> None:
    """A test by its name, or a file of tests by its path."""
    tests = "\n".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    witnesses = set(re.findall(r"\btest_[a-z0-9_]+\b(?!\.py)", page(name)))
    files = re.findall(r"tests/[a-z0-9_/]+\.py", page(name))

    assert witnesses
    assert [witness for witness in witnesses if f"def {witness}(" not in tests] == []
    assert [path for path in files if not (ROOT / path).is_file()] == []


@pytest.mark.parametrize("name", sorted(PAGES))
def test_every_row_says_how_much_is_like_microsofts(name: str) -> None:
    """The second cell begins with one of four words, or with what is checked."""
    rows = [
        line for line in page(name).splitlines() if line.startswith("| ") and not line.startswith(("| what", "| op", "| cmd"))
    ]
    states = {re.split(r"[\s;:,]", row.split("|")[2].strip())[0] for row in rows}

    assert states == {"real", "emulated", "absent", "uncertain", "checked"} & states
    assert len(rows) > 10
