"""docs/host.md says what the tests show: each statement has its tests, each test of a statement its row."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = TESTS.parents[1] / "docs" / "host.md"
STATEMENTS = {f"1.{part}.{number}" for part, last in ((1, 15), (2, 10), (3, 10)) for number in range(1, last + 1)} | {
    "1.6",
    "1.7",
}


def rows() -> dict[str, tuple[str, list[str]]]:
    """Read the table: by number, what is said of this host and the tests that are named."""
    found = {}
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if re.fullmatch(r"1\.\d+(\.\d+)?", cells[0]):
            found[cells[0]] = (cells[2], re.findall(r"`(test_\w+)`", cells[3]))
    return found


def numbered_tests() -> dict[str, str]:
    """Find the tests that carry a statement's number: by name, the number."""
    found = {}
    for path in TESTS.glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (match := re.match(r"test_((?:\d+_)+)", node.name)):
                found[node.name] = match[1].strip("_").replace("_", ".")
    return found


def test_every_statement_has_a_row() -> None:
    """No statement is passed over in silence."""
    assert rows().keys() == STATEMENTS


def test_the_rows_name_the_tests_that_there_are() -> None:
    """Table and tests agree, both ways."""
    named = {test: number for number, (_, tests) in rows().items() for test in tests}
    assert named == numbered_tests()


def test_a_statement_that_applies_has_a_test() -> None:
    """Only what doesn't apply may go without."""
    untested = {number: here for number, (here, tests) in rows().items() if not tests}
    assert all(here.startswith("no") for here in untested.values())


def test_the_page_lists_the_commands_options() -> None:
    """Each option of the command is on the page."""
    source = (TESTS.parents[1] / "local" / "host" / "__main__.py").read_text()
    for option in re.findall(r'add_argument\("(--[a-z-]+)"', source):
        assert f"| `{option}` |" in PAGE.read_text()
