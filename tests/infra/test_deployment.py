"""What is deployed: all that the application needs, nothing that runs it on one machine; and the host's own settings."""

import json
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from shared.microsoft.permissions import catalogue
from tests.infra.templates import FILES, PROJECT

NEVER = ("local", "tests", "bench", "docs", "infra", "tools")
"""Folders that are never deployed (design, "House")."""
NEEDED = ("functions", "shared", "console")
"""Folders that the application reads."""
NEEDED_FILES = ("function_app.py", "host.json", "requirements.txt")


def _patterns() -> list[str]:
    lines = (PROJECT / ".funcignore").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def _ignored(path: Path) -> bool:
    """Tell whether .funcignore leaves a file out: ``name/`` is a folder at any depth, everything else a file's name."""
    for pattern in _patterns():
        if pattern.endswith("/") and any(fnmatch(part, pattern[:-1]) for part in path.parts[:-1]):
            return True
        if not pattern.endswith("/") and fnmatch(path.name, pattern):
            return True
    return False


def _needed() -> Iterator[Path]:
    yield from map(Path, NEEDED_FILES)
    for folder in NEEDED:
        for path in (PROJECT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path.relative_to(PROJECT)


def _host() -> dict[str, Any]:
    host: dict[str, Any] = json.loads((PROJECT / "host.json").read_text())
    return host


def test_patterns_are_of_the_two_plain_forms() -> None:
    """No pattern is anchored, negated or a path: those are read differently by azd and by the Functions tools."""
    assert [line for line in _patterns() if line.startswith(("!", "/")) or "/" in line[:-1] or "**" in line] == []


@pytest.mark.parametrize("folder", NEVER)
def test_folder_is_never_deployed(folder: str) -> None:
    """Nothing of the folder is deployed."""
    assert _ignored(Path(folder) / "anything.py")


@pytest.mark.parametrize(
    "name", ["local.settings.json", "requirements-dev.txt", "README.md", ".venv/bin/python", ".azure/x/.env"]
)
def test_file_is_never_deployed(name: str) -> None:
    """Files that hold secrets of a machine, or serve development alone, are not deployed."""
    assert _ignored(Path(name))


def test_everything_needed_is_deployed() -> None:
    """No file of the application is left out, templates and static files of the console among them."""
    needed = list(_needed())

    assert {path.suffix for path in needed} >= {".py", ".html", ".css", ".json", ".txt"}
    assert [str(path) for path in needed if _ignored(path)] == []


def test_queue_settings_of_the_host() -> None:
    """host.json sets what the engine counts on: 30 s between tries, 24 messages at once, 2 s of idle polling, base64."""
    assert _host()["extensions"]["queues"] == {
        "visibilityTimeout": "00:00:30",
        "batchSize": 16,
        "newBatchThreshold": 8,
        "maxPollingInterval": "00:00:02",
        "maxDequeueCount": 5,
        "messageEncoding": "base64",
    }


def test_routes_have_no_prefix() -> None:
    """The console's addresses begin at the root: the registrations' redirect URIs are /signed-in and /consented."""
    assert _host()["extensions"]["http"] == {"routePrefix": ""}


def test_host_gives_up_before_its_lease_does() -> None:
    """A function is ended within 5 minutes, well inside the 10 minutes that a queue message is invisible."""
    assert _host()["version"] == "2.0"
    assert _host()["functionTimeout"] == "00:05:00"


def test_extension_bundle_is_version_4() -> None:
    """Triggers come from the bundle whose queue trigger the host's tests describe."""
    assert _host()["extensionBundle"] == {"id": "Microsoft.Azure.Functions.ExtensionBundle", "version": "[4.*, 5.0.0)"}


def test_the_guide_names_every_permission() -> None:
    """The guide says of each registered permission why it is there."""
    guide = (PROJECT / "infra" / "README.md").read_text()

    for permission in catalogue("Mail.ReadBasic.All"):
        assert f"| `{permission.name}` | {'delegated' if permission.delegated else 'application'} |" in guide


def test_the_guide_names_every_file() -> None:
    """The guide says what each template is for."""
    guide = (PROJECT / "infra" / "README.md").read_text()

    assert [path.name for path in FILES if f"`{path.name}`" not in guide] == []
