"""The simulated tenant's table of permissions against Microsoft's permission data."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from local.microsoft365.graph.operations import OPERATIONS
from local.microsoft365.graph.permissions import permission_table

CONTRACTS = Path(__file__).parents[2].parent / "shared" / "contracts"


def microsoft_data() -> dict[str, Any]:
    """Return Microsoft's data; skip without the folder, fail where the folder is there without the file and CI=true."""
    path = CONTRACTS / "permissions-slice.json"
    if not path.is_file():
        assert not (os.environ.get("CI") == "true" and CONTRACTS.is_dir()), f"{path.name} is missing from the contracts"
        pytest.skip("the folder of Microsoft's contracts is not beside the project")
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return data


def test_every_operation_has_a_row_and_every_row_an_operation() -> None:
    """No call can be made without a permission being looked for."""
    assert {operation.name for operation in OPERATIONS} == set(permission_table().application)
    assert set(permission_table().application) == set(permission_table().delegated)


@pytest.mark.parametrize("operation", sorted({each.name for each in OPERATIONS}))
def test_a_row_is_microsofts_or_a_named_departure(operation: str) -> None:
    """Application and delegated permissions alike; a departure that is none any more is not kept."""
    data = microsoft_data()["operations"].get(operation)
    schemes = data["schemes"] if data is not None else {}
    documented = [set(schemes.get(name, {}).get("all", ())) for name in ("Application", "DelegatedWork")]
    table = permission_table()

    same = documented == [table.application[operation], table.delegated[operation]]

    assert same != (operation in table.departures), table.departures.get(operation, "differs without a named reason")


def test_departures_have_reasons_and_properties_have_known_permissions() -> None:
    """Each departure says why; a permission that shows only some properties works for some operation."""
    table = permission_table()
    working = set().union(*table.application.values(), *table.delegated.values())

    assert all(len(reason) > 40 for reason in table.departures.values())
    assert all(permission in working for rows in table.visible.values() for permission in rows)
    assert set(table.delegated_roles) <= set(table.delegated)
