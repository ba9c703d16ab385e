"""docs/security.md says what is so: every test and file that it names is there, every point of RFC 9700 has its row."""

import ast
import re
from pathlib import Path

PROJECT = Path(__file__).parents[2]
PAGE = PROJECT / "docs" / "security.md"
POINTS = (
    *("2.1", "2.1.1", "2.1.2", "2.2.1", "2.2.2", "2.3", "2.4", "2.5", "2.6"),
    *(f"4.{number}" for number in range(1, 18)),
)
"""The sections of RFC 9700 that ask something of somebody."""
ATTACKS = (
    "test_a_forged_tenant_in_the_consent_redirect_is_refused",
    "test_a_consent_link_sent_to_a_victim_gives_the_sender_nothing",
    "test_a_doubled_redirect_changes_nothing",
    "test_a_link_sent_to_a_victim_is_refused",
    "test_a_code_does_not_open_in_the_state_of_another_session",
    "test_a_redirect_of_another_issuer_is_refused",
    "test_another_tenants_administrator_is_refused_for_the_second_consent",
    "test_a_token_that_is_not_microsofts_is_refused",
    "test_a_token_for_something_else_is_refused",
    "test_a_browser_is_sent_to_microsoft_or_to_a_page_of_ours",
    "test_a_tenant_of_another_account_is_refused",
)
"""What must be refused, by the test that shows it: none may drop out of the page."""


def cells(line: str) -> list[str]:
    """Return the cells of a table's row; a bar within a cell is escaped."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))]


def names_of_tests() -> set[str]:
    """Return the names of all tests of the project."""
    return {
        node.name
        for path in (PROJECT / "tests").rglob("test_*.py")
        if "node_modules" not in path.parts
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


def test_every_test_that_is_named_is_there() -> None:
    """A renamed test is renamed here, too."""
    named = set(re.findall(r"`(test_\w+)`", PAGE.read_text(encoding="utf-8")))

    assert len(named) > 50
    assert named - names_of_tests() == set()


def test_every_file_that_is_named_is_there() -> None:
    """Folders and files of the project, as they are called from its root; files of tests by their names, too."""
    named = re.findall(r"`((?:tests|shared|infra|docs|console)/[\w./-]+|test_\w+\.py)`", PAGE.read_text(encoding="utf-8"))

    assert named
    known = {path.name for path in (PROJECT / "tests").rglob("test_*.py")}
    assert [name for name in named if name not in known and not (PROJECT / name).exists()] == []


def test_every_point_of_the_rfc_is_answered() -> None:
    """Each section has its rows, each row a place and a test."""
    rows = [cells(line) for line in PAGE.read_text(encoding="utf-8").splitlines() if re.match(r"\| [24]\.\d", line)]

    assert {row[0] for row in rows} == set(POINTS)
    for row in rows:
        assert len(row) == 5, row
        assert all(row), row
        assert re.search(r"`test_\w+`", row[4]), row


def test_every_attack_is_named() -> None:
    """The attacks that must be refused stand on the page with their tests."""
    text = PAGE.read_text(encoding="utf-8")

    assert [name for name in ATTACKS if f"`{name}`" not in text] == []
