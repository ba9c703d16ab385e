"""The house of the design holds: imports run one way, functions stay short, and certificates are always checked."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.app_settings import APP_SETTINGS

PROJECT = Path(__file__).parents[2]
SOURCES = [
    path
    for folder in ("functions", "shared", "local", "tests", "tools", "bench")
    for path in sorted((PROJECT / folder).rglob("*.py"))
    if "node_modules" not in path.parts
] + [PROJECT / "function_app.py"]

MAY_IMPORT = {
    "shared.domain": {"shared.domain"},
    "shared.consent": {"shared.domain", "shared.consent"},
    "shared.mailflow": {"shared.domain", "shared.mailflow", "shared.settings", "shared.scanners"},
    "shared.workflows": {
        *("shared.domain", "shared.consent", "shared.mailflow", "shared.workflows"),
        *("shared.ports", "shared.settings", "shared.failures", "shared.telemetry"),
    },
    "shared.certificates": set(),
    "shared.resolver": {"shared.domain", "shared.ports"},
    "shared.microsoft": {
        *("shared.domain", "shared.microsoft", "shared.certificates"),
        *("shared.ports", "shared.settings", "shared.telemetry"),
    },
    "shared.storage": {
        "shared.domain",
        "shared.storage",
        "shared.ports",
        "shared.settings",
        "shared.messages",
        "shared.telemetry",
    },
    "shared.engine": {"shared.domain", "shared.ports", "shared.failures", "shared.telemetry", "shared.workflows"},
    "local.microsoft365": {"local.microsoft365"},
    "local.host": {"local.host", "function_app"},
}
"""What each part may import of this project; a part that is not named may import what it likes, but for COMPOSED."""
COMPOSED = ("shared.microsoft", "shared.storage", "shared.resolver")
"""The implementations of the ports: only the composition root, tests, tools and themselves import them."""
MAXIMUM_STATEMENTS = 40


def _imports(path: Path) -> Iterator[str]:
    """Yield the project's own modules that a file imports, wherever the import stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        yield from (name for name in names if name.split(".")[0] in ("shared", "local", "functions", "tests", "function_app"))


def _module(path: Path) -> str:
    return ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__")


def _is_in(name: str, parts: set[str]) -> bool:
    return any(name == part or name.startswith(f"{part}.") for part in parts)


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_imports_run_one_way(part: str) -> None:
    """Each part imports only what stands below it."""
    wrong = [
        f"{_module(path)} imports {name}"
        for path in SOURCES
        if _is_in(_module(path), {part})
        for name in _imports(path)
        if not _is_in(name, MAY_IMPORT[part])
    ]

    assert wrong == []


def test_only_the_composition_root_knows_the_implementations() -> None:
    """shared/container.py alone imports shared/microsoft, shared/storage and shared/resolver."""
    wrong = [
        f"{_module(path)} imports {name}"
        for path in SOURCES
        if path.parts[len(PROJECT.parts)] in ("shared", "functions", "local") and _module(path) != "shared.container"
        for name in _imports(path)
        if _is_in(name, set(COMPOSED)) and not _is_in(_module(path), set(COMPOSED))
    ]

    assert wrong == []


def test_functions_stay_short() -> None:
    """No function is longer than 40 statements."""
    long = [
        f"{path.relative_to(PROJECT)}:{node.lineno} {node.name}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and sum(isinstance(inner, ast.stmt) for inner in ast.walk(node)) - 1 > MAXIMUM_STATEMENTS
    ]

    assert long == []


def test_certificates_are_always_checked() -> None:
    """Nowhere is certificate checking switched off."""
    off = re.compile(r"verify\s*=\s*False|ssl\s*=\s*False|CERT_NONE|check_hostname\s*=\s*False|ignore_https_errors|--insecure\b")
    here = Path(__file__)
    found = [
        f"{path.relative_to(PROJECT)}: {match.group()}"
        for path in SOURCES
        if path != here
        for match in off.finditer(path.read_text())
    ]

    assert found == []


def test_heavy_clients_are_loaded_late() -> None:
    """Importing the function app loads none of the clients that cost a cold start its time."""
    import subprocess  # noqa: PLC0415 - a fresh interpreter is the point
    import sys  # noqa: PLC0415

    heavy = ["msgraph", "dns", "msal", "azure.identity", "azure.storage.queue", "azure.data.tables", "jinja2"]
    script = f"import function_app, sys; print([name for name in {heavy!r} if name in sys.modules])"
    environment = {**APP_SETTINGS, "PATH": "/usr/bin:/bin"}
    answer = subprocess.run(  # noqa: S603 - this interpreter, this project
        [sys.executable, "-c", script], cwd=PROJECT, env=environment, capture_output=True, text=True, check=True
    )

    assert answer.stdout.strip() == "[]"
