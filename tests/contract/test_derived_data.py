"""The simulated tenant's derived tables are what their tools make of Microsoft's data today."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tools.derive_exchange_cmdlets import render
from tools.derive_graph_permissions import table

ROOT = Path(__file__).parents[2]
CONTRACTS = ROOT.parent / "shared" / "contracts"
SIMULATION = ROOT / "local" / "microsoft365"


def microsoft_data(name: str) -> dict[str, Any]:
    """Return a file of Microsoft's data; skip without the folder, fail where only the file is missing and CI=true."""
    path = CONTRACTS / name
    if not path.is_file():
        assert not (os.environ.get("CI") == "true" and CONTRACTS.is_dir()), f"{name} is missing from the contracts"
        pytest.skip("the folder of Microsoft's contracts is not beside the project")
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return data


def test_the_cmdlets_are_derived_from_the_reference() -> None:
    """Nobody edits the table by hand."""
    committed = (SIMULATION / "exchange" / "cmdlets.json").read_text(encoding="utf-8")

    assert committed == render(microsoft_data("exchange-cmdlets.json"))


def test_the_permissions_are_derived_from_microsofts_data() -> None:
    """Nobody edits the table by hand: a departure is written in the tool, with its reason."""
    committed = json.loads((SIMULATION / "graph" / "permissions.json").read_text(encoding="utf-8"))

    assert committed == table(microsoft_data("permissions-slice.json"))
