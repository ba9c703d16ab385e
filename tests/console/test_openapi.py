"""The OpenAPI document says what the code does: its table against the functions, its shapes, Schemathesis against a real host.

https://schemathesis.readthedocs.io; ``st run http://localhost:7071/api/v1/openapi.json`` does the same by hand beside `make run`.
"""

import asyncio
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from local.stack import Options
from shared.domain.problems import CATALOGUE
from shared.messages import StartGrant
from shared.ports import ACCOUNT_STATES
from shared.web.access import AUDIENCES
from shared.web.openapi import OPERATIONS, Operation, document
from shared.web.schemas import SET_BY_US, AccountQuery, GrantRequest
from tests.security.routes import ROUTES
from tests.support.stacks import running

# Not negative_data_rejection: the functions host leaves empty values out of a query, so that an empty count is none.
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "missing_required_header",
)
PHASES = ("coverage", "fuzzing", "stateful")
SCHEMATHESIS = (
    *("--phases", ",".join(PHASES), "--generation-deterministic", "--max-examples", "25", "--no-color"),
    # Everyone is an operator on this machine; who may is tried in tests/security.
    *("--checks", ",".join(CHECKS), "--generation-with-security-parameters", "false"),
)
LEAST_CASES = 300


def test_the_table_is_what_the_functions_are() -> None:
    """Each function under /api/v1 is one operation, by its name, method and address; no more, no fewer."""
    functions = {(route.name, route.method.lower(), f"/{route.address}") for route in ROUTES.values() if route.is_api}

    assert {(each.function, each.method, f"/api/v1{each.path}") for each in OPERATIONS} == functions
    assert {each.function for each in OPERATIONS} == {name for name in AUDIENCES if name.startswith("api_")}


def test_the_document_is_openapi() -> None:
    """It holds against the schema of OpenAPI 3.1, and names each operation by its function."""
    OpenAPIV31SpecValidator(document()).validate()

    operations = [each for path in document()["paths"].values() for each in path.values()]
    assert [each["operationId"] for each in operations] == [each.function for each in OPERATIONS]
    assert document()["openapi"].startswith("3.1.")


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.function)
def test_an_operation_says_who_may(operation: Operation) -> None:
    """As the table of audiences: a role by sign-in, or the holder of the grant's onboarding link; nothing for anyone."""
    audience = AUDIENCES[operation.function]
    described = document()["paths"][f"/api/v1{operation.path}"][operation.method]

    ways = {name: roles for way in described["security"] for name, roles in way.items()}
    assert ways.get("signIn") == ([audience.role] if audience.role else None)
    assert ("onboardingLink" in ways) is audience.link_holder
    assert ("401" in described["responses"]) is (audience.role is not None)


def test_every_problem_is_in_the_catalogue() -> None:
    """A code that is documented is one that there is."""
    assert {code for operation in OPERATIONS for code in operation.codes} <= set(CATALOGUE)


def test_a_grant_is_asked_for_by_the_fields_of_its_command() -> None:
    """All but those that the address, the header and the sign-in tell; each with what it demands."""
    asked, command = GrantRequest.model_json_schema(), StartGrant.model_json_schema()

    assert asked["properties"] == {name: shape for name, shape in command["properties"].items() if name not in SET_BY_US}
    assert set(asked["required"]) == set(command["required"]) - SET_BY_US


def test_accounts_are_listed_by_every_state_that_they_have() -> None:
    """The type of the query is the list of states, and none."""
    alternatives = AccountQuery.model_json_schema()["$defs"]["GrantState"]["enum"]
    others = [each["const"] for each in AccountQuery.model_json_schema()["properties"]["state"]["anyOf"] if "const" in each]

    assert sorted([*alternatives, *others]) == sorted([*ACCOUNT_STATES, ""])


@pytest.mark.timeout(240)
async def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    """Valid and invalid data, alone and one request after another: no 5xx, no answer that is not documented, none too lenient."""
    async with running(Options(tmp_path / "data", users=12)) as stack:
        report = await examine(f"{stack.console}/api/v1/openapi.json", tmp_path)

    assert report["complete"]
    assert {name for name, phase in report["phases"].items() if phase["status"] == "success"} == {
        "coverage",
        "fuzzing",
        "stateful",
    }
    assert report["test_cases"]["generated"] >= LEAST_CASES
    assert len(report["valid_rates"]) == report["operations"]["tested"] == len(OPERATIONS) - 1  # the document is read, not fuzzed
    assert [name for name, phases in report["valid_rates"].items() if not any(each["accepted"] for each in phases.values())] == []


async def examine(url: str, folder: Path) -> dict[str, Any]:
    """Run Schemathesis, which must find nothing, and return its report."""
    path = folder / "report.json"
    command = [
        sys.executable,
        "-m",
        "schemathesis.cli",
        "run",
        url,
        *SCHEMATHESIS,
        "--report",
        "json",
        "--report-json-path",
        str(path),
    ]
    process = await asyncio.create_subprocess_exec(*command, cwd=folder, stdin=DEVNULL, stdout=PIPE, stderr=PIPE)
    output, errors = await process.communicate()
    assert process.returncode == 0, (output + errors).decode(errors="replace")[-8000:]
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return report
