"""The API's OpenAPI 3.1 document, made from one table of operations, the shapes, the audiences and the catalogue of problems.

https://spec.openapis.org/oas/v3.1.1; ``docs/api.md`` shows the same table to people.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from shared.consent.state import BROWSER_COOKIE
from shared.domain.problems import CATALOGUE
from shared.settings import GUID
from shared.web import schemas
from shared.web.access import AUDIENCES
from shared.web.onboarding import LinkWish
from shared.web.site import PROBLEM_JSON, STATUS

VERSION = "1.0.0"
DESCRIPTIONS = {200: "The answer.", 201: "Created.", 202: "Accepted; the grant's live state."}
JSON = "application/json"
SCHEMAS = "#/components/schemas/{model}"
SIGN_IN, LINK = "signIn", "onboardingLink"
ALWAYS = ("unexpected", "unavailable")
"""Problems that any operation may have."""
PERSONAL = ("sign_in_needed", "not_allowed")
"""Problems of operations that are not for anyone."""
SENT = ("request_unreadable", "not_json", "body_too_large", "form_expired", "command_reused")
"""Problems of operations that take a body."""
ABOUT = """Grantline grants a protection product access to customers' Exchange Online in inline mode. This is what the console
does, for programs.

- Lists are paged: give `next` as `after` until it is absent.
- What creates or changes something carries `Idempotency-Key`; sending it again is safe.
- Every GET has an `ETag`; with `If-None-Match` it is answered 304 until something changes.
- A grant goes on by itself and waits for people: look at its live state again, or read the queue `grant-events` (CloudEvents).
- Errors are problem details (RFC 9457). `code` is for programs, `title` and `detail` are for people.
"""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: its HTTP function, what it takes, and what it gives.

    ``answer`` is the shape of a success, None for this document itself; ``problems`` are those beside the usual ones.
    """

    function: str
    method: str
    path: str
    summary: str
    answer: type[BaseModel] | None
    status: int = 200
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    problems: tuple[str, ...] = ()

    @property
    def codes(self) -> Iterator[str]:
        """The codes of all problems that it may have."""
        yield from PERSONAL if AUDIENCES[self.function].role else ()
        yield from ("grant_unknown",) if "{grant_id}" in self.path else ()
        yield from SENT if self.body else ("request_unreadable",) if self.query else ()
        yield from self.problems
        yield from ALWAYS


OPERATIONS = (
    Operation("api_accounts", "get", "/accounts", "List accounts", schemas.AccountPage, query=schemas.AccountQuery),
    Operation(
        "api_service_accounts",
        "get",
        "/service-accounts",
        "List the service accounts that completed grants have left",
        schemas.AccountPage,
        query=schemas.ServiceAccountQuery,
    ),
    Operation("api_summary", "get", "/summary", "Count the accounts in each state", schemas.Summary),
    Operation(
        "api_start",
        "post",
        "/grants",
        "Start a grant",
        schemas.GrantView,
        202,
        body=schemas.GrantRequest,
        problems=("account_has_grant",),
    ),
    Operation("api_grant", "get", "/grants/{grant_id}", "Show a grant's live state", schemas.GrantView),
    Operation("api_receipt", "get", "/grants/{grant_id}/receipt", "Show what a grant has come to", schemas.Receipt),
    Operation(
        "api_events",
        "get",
        "/grants/{grant_id}/events",
        "List a grant's audit events",
        schemas.EventPage,
        query=schemas.EventQuery,
    ),
    Operation(
        "api_findings",
        "get",
        "/grants/{grant_id}/findings",
        "Show what was found before the mail flow is changed",
        schemas.FindingsView,
    ),
    Operation("api_plan", "get", "/grants/{grant_id}/plan", "Show the newest plan of the mail flow", schemas.PlanView),
    Operation("api_proof", "get", "/grants/{grant_id}/proof", "Show what test messages have proved", schemas.ProofView),
    Operation("api_removal", "get", "/grants/{grant_id}/removal", "Show how a removal stands", schemas.RemovalView),
    Operation(
        "api_grant_command",
        "post",
        "/grants/{grant_id}/commands",
        "Do something with a grant",
        schemas.GrantView,
        202,
        body=schemas.CommandRequest,
        problems=("tenant_released", "grant_removed", "command_untimely"),
    ),
    Operation(
        "api_onboarding_link",
        "post",
        "/grants/{grant_id}/onboarding-link",
        "Create a grant's onboarding link",
        schemas.LinkView,
        201,
        body=LinkWish,
        problems=("tenant_unknown", "tenant_settled", "onboarding_replaced"),
    ),
    Operation("api_openapi", "get", "/openapi.json", "Describe this API", None),
)
"""Every operation under ``/api/v1``, in the order in which people read them."""


@cache
def document() -> dict[str, Any]:
    """Return the document. It says nothing about this installation: it is the same on each that runs this release."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(f"/api/v1{operation.path}", {})[operation.method] = _operation(operation)
    return {
        "openapi": "3.1.1",
        "info": {"title": "Grantline", "version": VERSION, "description": ABOUT},
        "paths": paths,
        "components": {"schemas": _shapes(), "securitySchemes": _SECURITY},
    }


_SECURITY = {
    SIGN_IN: {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "An access token of Microsoft Entra ID for the console's registration, of an account or application with "
        "one of its app roles; App Service Authentication checks it. Browsers that are signed in to the console need none.",
    },
    LINK: {
        "type": "apiKey",
        "in": "cookie",
        "name": f"__Host-{BROWSER_COOKIE}",
        "description": "The cookie of the browser that used a grant's onboarding link; it opens that grant alone.",
    },
}
_TAG = {"ETag": {"description": "Changes with the answer (RFC 9110, 8.8.3).", "schema": {"type": "string"}}}
_LOCATION = {"Location": {"description": "The grant's path in this API.", "schema": {"type": "string"}}}
_CHALLENGE = {"WWW-Authenticate": {"description": "Bearer (RFC 6750).", "schema": {"type": "string"}}}


def _operation(operation: Operation) -> dict[str, Any]:
    content: dict[str, Any] = {
        "operationId": operation.function,
        "summary": operation.summary,
        "security": _security(operation.function),
        "parameters": [*_path(operation), *_query(operation), *_headers(operation)],
        "responses": dict(sorted(_responses(operation).items())),
    }
    if operation.body:
        content["requestBody"] = {"required": True, "content": {JSON: {"schema": _ref(operation.body)}}}
    return content


def _security(function: str) -> list[dict[str, list[str]]]:
    """Return who may; the names in the lists are the app roles of which one is needed."""
    audience = AUDIENCES[function]
    ways: dict[str, list[str]] = {SIGN_IN: [str(audience.role)]} if audience.role else {}
    ways |= {LINK: []} if audience.link_holder else {}
    return [{name: roles} for name, roles in ways.items()]


def _path(operation: Operation) -> Iterator[dict[str, Any]]:
    for name in re.findall(r"\{(\w+)\}", operation.path):
        schema = {"type": "string", "pattern": f"^{GUID.pattern}$"}
        yield {"name": name, "in": "path", "required": True, "description": "As an answer gave it.", "schema": schema}


def _query(operation: Operation) -> Iterator[dict[str, Any]]:
    return _parameters(operation.query, "query") if operation.query else iter(())


def _headers(operation: Operation) -> Iterator[dict[str, Any]]:
    if operation.body:
        yield from _parameters(schemas.KeyHeader, "header")
    if operation.method == "get":
        yield {
            "name": "If-None-Match",
            "in": "header",
            "description": "Entity tags that the program has.",
            "schema": {"type": "string"},
        }


def _parameters(model: type[BaseModel], place: str) -> Iterator[dict[str, Any]]:
    schema = model.model_json_schema()
    for name, described in _inlined(schema)["properties"].items():
        description = described.pop("description", "")
        described.pop("title", None)
        is_required = name in schema.get("required", ())
        yield {"name": name, "in": place, "required": is_required, "description": description, "schema": described}


def _inlined(schema: Any) -> Any:
    """Return a schema with what it refers to written in its place; the shapes of queries don't refer to themselves."""
    definitions = schema.get("$defs", {})

    def inline(value: Any) -> Any:
        if isinstance(value, dict):
            target = definitions.get(str(value.get("$ref", "")).rpartition("/")[2])
            return inline(target) if target else {name: inline(each) for name, each in value.items() if name != "$defs"}
        return [inline(each) for each in value] if isinstance(value, list) else value

    return inline(schema)


def _responses(operation: Operation) -> dict[str, Any]:
    is_get = operation.method == "get"
    found: dict[str, Any] = {
        str(operation.status): {
            "description": DESCRIPTIONS[operation.status],
            "headers": _TAG if is_get else _LOCATION if operation.status == 202 else {},
            "content": {JSON: {"schema": _ref(operation.answer) if operation.answer else {"type": "object"}}},
        }
    }
    if is_get:
        found["304"] = {"description": "Nothing has changed since the entity tag was given.", "headers": _TAG}
    for status, codes in _by_status(operation).items():
        found[status] = {
            "description": "\n".join(f"- `{code}`: {CATALOGUE[code].cause}" for code in codes),
            "content": {PROBLEM_JSON: {"schema": _ref(schemas.ProblemDetails)}},
        } | ({"headers": _CHALLENGE} if status == "401" else {})
    return found


def _by_status(operation: Operation) -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = {}
    for code in operation.codes:
        found.setdefault(str(STATUS.get(code, 400)), []).append(code)
    return found


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": SCHEMAS.format(model=model.__name__)}


def _shapes() -> dict[str, Any]:
    """Return the shapes that the operations name, and those that they are made of."""
    wanted: dict[type[BaseModel], JsonSchemaMode] = {schemas.ProblemDetails: "serialization"}
    wanted |= {operation.answer: "serialization" for operation in OPERATIONS if operation.answer}
    wanted |= {operation.body: "validation" for operation in OPERATIONS if operation.body}
    _, schema = models_json_schema(list(wanted.items()), ref_template=SCHEMAS)
    return dict(sorted(schema["$defs"].items()))
