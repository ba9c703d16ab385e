"""A program that uses the JSON API by the front door, and holds every reply against the OpenAPI document and the shapes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from jsonschema import Draft202012Validator

from shared.web.http import SECURITY_HEADERS, Reply, Request
from shared.web.openapi import OPERATIONS, document
from shared.web.schemas import ProblemDetails
from shared.web.site import Site
from tests.security.routes import ROUTES
from tests.security.visitor import operator

OF_A_GRANT = [name for name, route in ROUTES.items() if route.is_api and "{grant_id}" in route.address]
"""The operations of one grant."""
_SHAPES = {operation.function: operation.answer for operation in OPERATIONS}


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply with its JSON, None where there is no content."""

    status: int
    headers: Mapping[str, str]
    json: Any


@dataclass(frozen=True, slots=True)
class Program:
    """One program; ``headers`` come with each of its requests: whom App Service Authentication found."""

    site: Site
    headers: Mapping[str, str] = field(default_factory=operator)

    async def get(self, function: str, query: str = "", *, etag: str = "", **route: str) -> Answer:
        """Ask for something."""
        return await self._ask(function, query, {"if-none-match": etag} if etag else {}, b"", route)

    async def post(
        self, function: str, content: Any, *, key: str | None, headers: Mapping[str, str] | None = None, **route: str
    ) -> Answer:
        """Send something: bytes as they are, all else as JSON."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        more = {"idempotency-key": key} if key is not None else {}
        return await self._ask(function, "", {"content-type": "application/json", **more, **(headers or {})}, body, route)

    async def _ask(self, function: str, query: str, headers: Mapping[str, str], body: bytes, route: Mapping[str, str]) -> Answer:
        found = ROUTES[function]
        request = Request(
            method=found.method,
            path=urlsplit(found.path(**route)).path,
            query=dict(parse_qsl(query)),
            route=route,
            headers={**self.headers, **headers},
            body=body,
        )
        return _checked(function, await self.site.answer(function, request, found.view))


def _checked(function: str, reply: Reply) -> Answer:
    """Hold a reply against the document, and against the shape itself: nothing that it does not name is shown."""
    described = _described(function)["responses"].get(str(reply.status))
    assert described, f"{function} answered {reply.status}, which is not documented: {reply.body!r}"
    assert set(SECURITY_HEADERS) <= set(reply.headers)
    assert {name.lower() for name in described.get("headers", {})} <= set(reply.headers)
    value = json.loads(reply.body) if reply.body else None
    assert (value is None) == ("content" not in described)
    if value is not None:
        _check_value(function, reply, described["content"][reply.content_type]["schema"], value)
    return Answer(reply.status, reply.headers, value)


def _check_value(function: str, reply: Reply, schema: Mapping[str, Any], value: Any) -> None:
    Draft202012Validator({**schema, "components": document()["components"]}).validate(value)
    shape = _SHAPES[function] if reply.status < 400 else ProblemDetails
    assert shape is None or shape.model_validate(value).model_dump(mode="json", exclude_unset=True) == value
    assert reply.status < 400 or (value["status"], value["type"]) == (reply.status, f"/problems/{value['code']}")


def _described(function: str) -> Mapping[str, Any]:
    operations = (each for path in document()["paths"].values() for each in path.values())
    found: Mapping[str, Any] = next(each for each in operations if each["operationId"] == function)
    return found


def wanted(account_id: str, **more: Any) -> dict[str, Any]:
    """Return the body that starts a grant."""
    return {"account_id": account_id, "account_name": account_id.title(), **more}


async def started(program: Program, account_id: str, **more: Any) -> str:
    """Start a grant; return its id."""
    answer = await program.post("api_start", wanted(account_id, **more), key=f"start-{account_id}")
    assert answer.status == 202
    return str(answer.json["grant_id"])


def places(answer: Answer) -> list[str]:
    """Return where the errors of a refusal are."""
    assert (answer.status, answer.json["code"]) == (400, "request_unreadable")
    return sorted("".join(error[name] for name in error if name != "detail") for error in answer.json["errors"])


async def listed(program: Program, function: str, query: str = "count=100", **route: str) -> list[dict[str, Any]]:
    """Return all items of a list, page by page."""
    items, after = list[dict[str, Any]](), ""
    while True:
        answer = await program.get(function, f"{query}&after={after}", **route)
        assert answer.status == 200
        items += answer.json["items"]
        if "next" not in answer.json:
            return items
        after = answer.json["next"]
