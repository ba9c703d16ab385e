"""The check of Graph's requests and answers: what it notices, what it lets pass, what it reports."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from openapi_schema_validator import OAS30Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from local.microsoft365.contract import REPORT_VARIABLE, Contract, SchemaCompiler
from tests.microsoft365.served import CONTRACTS

ERROR = {"type": "object", "required": ["code"], "properties": {"code": {"type": "string"}}}
THING = {
    "allOf": [{"$ref": "#/components/schemas/entity"}, {"type": "object", "properties": {"size": {"type": "integer"}}}],
}
DOCUMENT: Mapping[str, Any] = {
    "openapi": "3.0.3",
    "paths": {
        "/things": {
            "get": {
                "parameters": [
                    {"name": "$top", "in": "query", "schema": {"type": "integer"}},
                    {"name": "$count", "in": "query", "schema": {"type": "boolean"}},
                    {"name": "$select", "in": "query", "schema": {"type": "array", "items": {"type": "string"}}},
                ],
                "responses": {
                    "2XX": {
                        "content": {
                            "application/json": {
                                "schema": {
                                    "type": "object",
                                    "properties": {"value": {"type": "array", "items": {"$ref": "#/components/schemas/thing"}}},
                                }
                            }
                        }
                    },
                    "default": {"$ref": "#/components/responses/error"},
                },
            },
            "post": {
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/thing"}}}},
                "responses": {"204": {"description": "done"}},
            },
        },
        "/things/{id}": {"get": {"responses": {"200": {"description": "no body"}}}},
    },
    "components": {
        "responses": {"error": {"content": {"application/json": {"schema": ERROR}}}},
        "schemas": {
            "entity": {"type": "object", "properties": {"id": {"type": "string", "pattern": "^[a-z]+$"}}},
            "thing": THING
            | {
                "properties": {
                    "kind": {"type": "string", "enum": ["a", "b"], "nullable": True},
                    "part": {
                        "anyOf": [{"$ref": "#/components/schemas/thing"}, {"type": "object", "nullable": True, "enum": [None]}]
                    },
                    "labels": {"type": "object"},
                },
            },
        },
    },
}


@pytest.fixture(autouse=True)
def _no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the violations that these tests make on purpose out of the report of the whole run."""
    monkeypatch.delenv(REPORT_VARIABLE, raising=False)


@pytest.fixture
def contract(tmp_path: Path) -> Contract:
    """A check against a small description."""
    (tmp_path / "graph-v1.0-slice.json").write_text(json.dumps(DOCUMENT))
    return Contract(tmp_path)


def answer_of(contract: Contract, body: object, status: int = 200, query: Mapping[str, str] | None = None) -> list[str]:
    """Check one answer of GET /things, and return the problems found."""
    contract.check("GET", "/v1.0/things", query or {}, b"", status, json.dumps(body).encode())
    return [violation["problem"] for violation in contract.report()["violations"]]


@pytest.mark.parametrize(
    "thing",
    [
        {"id": "x", "size": 1, "kind": "a", "part": None, "labels": {"anything": 1}},
        {"kind": None, "part": {"id": "y", "part": {"id": "z"}}},
        {"@odata.type": "#thing", "@odata.etag": "1"},
    ],
)
def test_what_fits_passes(contract: Contract, thing: dict[str, Any]) -> None:
    """Inherited and recursive properties, null where it is allowed, free objects, annotations."""
    assert answer_of(contract, {"@odata.context": "x", "value": [thing]}) == []


@pytest.mark.parametrize(
    ("thing", "problem"),
    [
        ({"id": 1}, ".value[0].id is not of type string"),
        ({"id": "X"}, ".value[0].id does not match ^[a-z]+$"),
        ({"id": None}, ".value[0].id is not of type string"),
        ({"size": True}, ".value[0].size is not of type integer"),
        ({"kind": "c"}, ".value[0].kind is none of ['a', 'b']"),
        ({"sise": 1}, ".value[0].sise is not described"),
        ({"part": {"part": {"size": "1"}}}, ".value[0].part.part.size is not of type integer"),
        ([], ".value[0] is not of type object"),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(contract: Contract, thing: object, problem: str) -> None:
    """Types, patterns, enumerations, null, and properties that the description doesn't have."""
    assert answer_of(contract, {"value": [thing]}) == [problem]


def test_every_item_of_a_page_is_checked(contract: Contract) -> None:
    """The last of a thousand is found."""
    things: list[dict[str, Any]] = [{"id": "x"}] * 999 + [{"id": 5}]

    assert answer_of(contract, {"value": things}) == [".value[999].id is not of type string"]


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ({"$top": "x"}, "$top is not a whole number"),
        ({"$count": "yes"}, "$count is neither true nor false"),
        ({"$select": "a,a"}, "$select names something twice"),
        ({"$expand": "part"}, "the query option $expand is not described"),
    ],
)
def test_a_request_that_is_served_must_be_described(contract: Contract, query: dict[str, str], problem: str) -> None:
    """The same request, refused, is no violation: the refusal is the right answer."""
    assert answer_of(contract, {"code": "BadRequest"}, 400, query) == []
    assert answer_of(contract, {"value": []}, 200, query) == [problem]


def test_paging_and_foreign_options_are_allowed(contract: Contract) -> None:
    """Skip tokens stand in next links; an option without a dollar sign is nobody's."""
    assert answer_of(contract, {"value": []}, 200, {"$skiptoken": "x", "custom": "y", "$top": "5"}) == []


def test_an_error_must_have_the_documented_form(contract: Contract) -> None:
    """A gateway's failure without a body is let pass; one that isn't JSON is not."""
    assert answer_of(contract, {"wrong": 1}, 403) == [".wrong is not described"]
    contract.check("GET", "/v1.0/things", {}, b"", 503, b"")
    contract.check("GET", "/v1.0/things", {}, b"", 404, b"<html>")

    assert contract.report()["violation_count"] == 2


def test_a_body_is_checked_on_its_way_in(contract: Contract) -> None:
    """And an answer that should have none is noticed."""
    contract.check("POST", "/v1.0/things", {}, b'{"size": "x"}', 204, b"")
    contract.check("POST", "/v1.0/things", {}, b'{"size": 1}', 204, b"{}")
    contract.check("POST", "/v1.0/things", {}, b'{"size": 1}', 204, b"")

    problems = [violation["problem"] for violation in contract.report()["violations"]]
    assert problems == [".size is not of type integer", "has a body where none is described"]


def test_what_is_not_described_is_a_violation_only_when_it_is_served(contract: Contract) -> None:
    """A path, or a method of a path, that Microsoft doesn't describe."""
    contract.check("GET", "/v1.0/others", {}, b"", 400, b"{}")
    contract.check("DELETE", "/v1.0/things", {}, b"", 204, b"")

    report = contract.report()
    assert report["undescribed"] == {"GET /others": 1, "DELETE /things": 1}
    assert [violation["operation"] for violation in report["violations"]] == ["DELETE /things"]


def test_operations_are_counted_and_written_to_the_report(
    contract: Contract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each operation once, each violation as it is found, so that a run can sum up its processes."""
    monkeypatch.setenv(REPORT_VARIABLE, str(tmp_path / "report.jsonl"))
    answer_of(contract, {"value": []})
    answer_of(contract, {"value": [1]})

    lines = [json.loads(line) for line in (tmp_path / "report.jsonl").read_text().splitlines()]
    assert contract.report()["operations"] == {"GET /things": 2}
    assert [line["kind"] for line in lines] == ["operation", "violation"]
    assert (lines[1]["problem"], lines[1]["pid"]) == (".value[0] is not of type object", os.getpid())


def test_without_the_description_the_check_is_off_and_says_so(tmp_path: Path) -> None:
    """Nothing is checked, nothing fails."""
    contract = Contract(tmp_path)
    contract.check("GET", "/v1.0/things", {}, b"", 200, b"nonsense")

    assert contract.report()["enabled"] is False
    assert "graph-v1.0-slice.json is not there" in contract.report()["message"]
    assert Contract(None).enabled is False


def microsoft_document() -> Any:
    """Return Microsoft's description; skip without the folder, fail where it is there and can't be used."""
    path = CONTRACTS / "graph-v1.0-slice.json"
    if not path.is_file():
        assert not (os.environ.get("CI") == "true" and CONTRACTS.is_dir()), f"{path.name} is missing from the contracts"
        pytest.skip("the folder of Microsoft's contracts is not beside the project")
    return json.loads(path.read_text(encoding="utf-8"))


USER = {"id": "x", "displayName": None, "accountEnabled": True, "proxyAddresses": ["SMTP:a@b.c"], "mail": "a@b.c"}
ASSIGNMENT = {"id": "x", "principalId": "p", "roleDefinitionId": "r", "directoryScopeId": "/", "principal": {"id": "p"}}


@pytest.mark.parametrize(
    ("schema", "value"),
    [("user", USER), ("unifiedRoleAssignment", ASSIGNMENT), ("domain", {"id": "contoso.com", "isVerified": True})],
)
def test_the_compiled_check_agrees_with_a_validator_of_openapi(schema: str, value: dict[str, Any]) -> None:
    """For a right value, and for each property made wrong in turn, both come to the same verdict."""
    document = microsoft_document()
    registry: Registry[Any] = Registry().with_resource("urn:graph", DRAFT202012.create_resource(document))
    pointer = f"#/components/schemas/microsoft.graph.{schema}"
    validator = OAS30Validator({"$ref": f"urn:graph{pointer}"}, registry=registry)
    check = SchemaCompiler(document).compile({"$ref": pointer})
    replacements: list[Any] = [None, 5, "x", [5], {}, True]
    wrong = [deepcopy(value) | {name: replacement} for name in value for replacement in replacements]

    verdicts = [(check(candidate) is None, validator.is_valid(candidate)) for candidate in [value, *wrong]]

    assert verdicts[0] == (True, True)
    assert all(compiled == library for compiled, library in verdicts)
    assert not all(compiled for compiled, _ in verdicts)


@pytest.mark.parametrize("number", [3, 14, 22, 35, 46, 60, 76, 101, 112, 131, 132])
def test_microsofts_own_examples_pass(number: int) -> None:
    """Documented request and response pairs fit the description that they come with."""
    microsoft_document()
    examples = {each["n"]: each for each in json.loads((CONTRACTS / "examples.json").read_text(encoding="utf-8"))}
    example = examples[number]
    contract = Contract(CONTRACTS)
    path, _, _ = example["path"].partition("?")
    body = json.dumps((example["request"] or {}).get("body")).encode()

    contract.check(
        example["method"], f"/v1.0{path}", {}, body, example["status"], json.dumps(example["response"]["body"]).encode()
    )

    assert contract.report()["violations"] == []
