"""Up to twenty calls in one request: JSON batching.

Source: learn.microsoft.com/graph/json-batching. Every call is authorized, charged, disturbed, recorded and checked by itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from multidict import CIMultiDict
from yarl import URL

from local.microsoft365.graph.calls import CONTENT_TYPE, PREFIX, Call, written
from local.microsoft365.graph.errors import GraphError, malformed
from local.microsoft365.items import Item, Reply
from local.microsoft365.simulation import Simulation
from local.microsoft365.tokens import AccessToken

MAXIMUM_ITEMS = 20
_PATH = "/$batch"
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
_SHOWN_HEADERS = ("Cache-Control", "x-ms-resource-unit", "Location")
_INVALID = "Invalid batch payload format."
_FAILED_DEPENDENCY = {"error": {"code": "FailedDependency", "message": "A request that this one depends on has failed."}}


@dataclass(frozen=True, slots=True)
class BatchItem:
    """One request of a batch."""

    id: str
    call: Call
    depends_on: tuple[str, ...]


def is_batch(call: Call) -> bool:
    """Tell whether a call is a batch."""
    return call.path.lower() == _PATH


def read_batch(call: Call) -> list[BatchItem]:
    """Return the items of a batch.

    Raises GraphError: 400 for a batch that is not of the form, too long, names an id twice (in any letter case) or depends on
    what does not come before; 405 for another method than POST.
    """
    if call.method != "POST":
        raise GraphError(405, "Request_BadRequest", "Specified HTTP method is not allowed for the request target.")
    try:
        items = [_item(each) for each in json.loads(call.body)["requests"]]
    except (KeyError, TypeError, ValueError):
        raise malformed(_INVALID) from None
    if not 1 <= len(items) <= MAXIMUM_ITEMS:
        raise malformed(f"{_INVALID} A batch has 1 to {MAXIMUM_ITEMS} requests.")
    before: set[str] = set()
    for item in items:
        if item.id.lower() in before:
            raise malformed(f"{_INVALID} The request id '{item.id}' is not unique.")
        if not {each.lower() for each in item.depends_on} <= before:
            raise malformed(f"{_INVALID} The request id '{item.id}' depends on a request that does not come before it.")
        before.add(item.id.lower())
    return items


def _item(item: Any) -> BatchItem:
    """Return an item; raises KeyError, TypeError or ValueError when it lacks what every item has."""
    identifier, method, address = str(item["id"]), str(item["method"]).upper(), str(item["url"])
    if method not in _METHODS:
        raise ValueError(method)
    headers = CIMultiDict({str(name): str(value) for name, value in (item.get("headers") or {}).items()})
    body = item.get("body")
    if method in {"POST", "PUT", "PATCH"} and (body is None or "Content-Type" not in headers):
        raise malformed(f"Write request id : {identifier} does not contain Content-Type header or body.")
    url = URL(f"{PREFIX}/{address.lstrip('/')}")
    content = b"" if body is None else json.dumps(body).encode()
    return BatchItem(identifier, Call(method, url, headers, content), tuple(map(str, item.get("dependsOn") or ())))


async def answer_batch(
    items: list[BatchItem], simulation: Simulation, token: AccessToken, answer: Callable[[Call], Reply]
) -> dict[str, Any]:
    """Carry the items out one after the other and return the batch's document.

    Answers may come in any order, on which clients must not rely: here the last one comes first.
    """
    replies: dict[str, Reply] = {}
    for item in items:
        failed = any(replies[each.lower()].status >= 400 for each in item.depends_on)
        reply = Reply(424, _FAILED_DEPENDENCY) if failed else await _answer(item.call, simulation, token, answer)
        replies[item.id.lower()] = reply
    return {"responses": [_response(item.id, replies[item.id.lower()]) for item in reversed(items)]}


async def _answer(call: Call, simulation: Simulation, token: AccessToken, answer: Callable[[Call], Reply]) -> Reply:
    def serve(stale: float | None) -> Reply:
        reply = answer(replace(call, stale=stale))
        if simulation.contract is not None:
            content = b"" if reply.document is None else written(reply.document)
            query = dict(call.url.query)
            simulation.contract.check(call.method, call.url.raw_path, query, call.body, reply.status, content)
        return reply

    item = Item(
        "graph",
        call.method,
        call.url.path,
        call.url.query_string,
        call.operation,
        token.tenant_id,
        token.app_id,
        call.units,
    )
    return await simulation.guard(item, serve)


def _response(identifier: str, reply: Reply) -> dict[str, Any]:
    own = {name: value for name, value in reply.headers.items() if name in _SHOWN_HEADERS or _is_of_limits(name)}
    if reply.status < 400:
        own["OData-Version"] = "4.0"
    if reply.document is not None:
        own["Content-Type"] = CONTENT_TYPE if reply.status < 400 else "application/json"
    response: dict[str, Any] = {"id": identifier, "status": reply.status, "headers": own}
    return response if reply.document is None else {**response, "body": dict(reply.document)}


def _is_of_limits(name: str) -> bool:
    return name == "Retry-After" or name.startswith("x-ms-throttle-")
