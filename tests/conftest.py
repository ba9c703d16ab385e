"""What all tests share: a clean environment, storage by Azurite, the sum of what was checked against Microsoft's contracts."""

import json
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import hypothesis
import pytest

from local import azurite

REPORT = "GRANTLINE_CONTRACT_REPORT"
CONTRACTS = Path(__file__).parents[2] / "shared" / "contracts"
LONGEST = ("e2e", "browser")
CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE")


# The same examples each time, on a machine however slow.
hypothesis.settings.register_profile(
    "grantline", derandomize=True, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("grantline")


@pytest.fixture(autouse=True, scope="session")
def clean_environment() -> Iterator[None]:
    """No environment variable of this machine decides which certificates are trusted."""
    with pytest.MonkeyPatch.context() as patch:
        for name in CA_VARIABLES:
            patch.delenv(name, raising=False)
        yield


@pytest.fixture
async def storage_connection() -> AsyncIterator[str]:
    """Give an Azurite of its own, in memory."""
    async with await azurite.start() as storage:
        yield storage.connection_string


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest: where several processes share the tests, none is left alone with it at the end."""
    items.sort(key=lambda item: item.path.parent.name not in LONGEST)


def pytest_configure(config: pytest.Config) -> None:
    """Have every simulated tenant of this run, in whatever process, report what it checked."""
    if REPORT not in os.environ:
        folder = TemporaryDirectory(prefix="grantline-contract-")
        config.add_cleanup(folder.cleanup)
        os.environ[REPORT] = str(Path(folder.name) / "report.jsonl")


def _entries() -> Iterator[dict[str, Any]]:
    path = Path(os.environ[REPORT])
    for line in path.read_text().splitlines() if path.exists() else ():
        yield json.loads(line)


def _violations() -> list[dict[str, Any]]:
    return [entry for entry in _entries() if entry["kind"] == "violation"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print which of Microsoft's operations were called and checked, and what did not fit."""
    if not CONTRACTS.is_dir():
        terminalreporter.write_line("Microsoft's contracts are not here: Graph requests and answers were not checked")
        return
    operations = {entry["operation"] for entry in _entries() if entry["kind"] == "operation"}
    terminalreporter.section(f"{len(operations)} operations of Microsoft Graph checked against Microsoft's OpenAPI description")
    for operation in sorted(operations):
        terminalreporter.write_line(operation)
    for entry in _violations():
        terminalreporter.write_line(f"VIOLATION {json.dumps(entry)}", red=True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run when any request or answer did not fit."""
    if _violations():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
