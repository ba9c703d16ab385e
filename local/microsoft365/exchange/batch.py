"""Several calls in one request: the JSON batch format of OData, as public clients post it to `$batch`.

Source: github:KelvinTegelaar/CIPP-API New-ExoBulkRequest.ps1 (items, ten at a time, absolute addresses, continue-on-error);
https://docs.oasis-open.org/odata/odata-json-format/v4.01/, section 19.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from yarl import URL

from local.microsoft365.exchange.calls import Asked, Calls
from local.microsoft365.exchange.invoke import canonical_name
from local.microsoft365.exchange.wire import CmdletInput, input_of
from local.microsoft365.items import Guard, Item, Reply
from local.microsoft365.tokens import AccessToken

MAXIMUM_ITEMS = 10
_ADDRESS = "invokecommand"


class BatchError(ValueError):
    """Raised when a batch as a whole can't be read."""


@dataclass(frozen=True, slots=True)
class BatchItem:
    """One request of a batch; `call` is None where the item asks for nothing that the endpoint knows."""

    id: str
    url: URL
    headers: Mapping[str, str]
    call: CmdletInput | None


def read_batch(body: bytes) -> list[BatchItem]:
    """Return the items of a batch. Raises BatchError when it is not of the form, too long, or names an id twice."""
    try:
        document = json.loads(body)
        items = [_item(each) for each in document["requests"]]
    except (KeyError, TypeError, ValueError) as error:
        raise BatchError(str(error)) from error
    ids = {item.id.lower() for item in items}
    if not 1 <= len(items) <= MAXIMUM_ITEMS or len(ids) != len(items):
        raise BatchError("one to ten items, each with an id of its own")
    return items


def _item(item: Any) -> BatchItem:
    """Return an item; raises KeyError, TypeError or ValueError when it lacks what every item has."""
    headers = {str(name).lower(): str(value) for name, value in (item.get("headers") or {}).items()}
    url = URL(item["url"])
    is_call = str(item["method"]).upper() == "POST" and url.name.lower() == _ADDRESS
    try:
        call = input_of(item.get("body")) if is_call else None
    except (KeyError, TypeError):
        call = None
    return BatchItem(str(item["id"]), url, headers, call)


async def answer_batch(items: list[BatchItem], token: AccessToken, calls: Calls, guard: Guard, prefer: str) -> dict[str, Any]:
    """Carry the items out one after the other and return the batch's document.

    Without the preference continue-on-error the first failure ends it: what comes after has no answer. Answers may come in any
    order, on which clients must not rely: here the last one comes first.
    """
    responses: list[dict[str, Any]] = []
    for item in items:
        reply = await _answer(item, token, calls, guard)
        responses.append(_response(item, reply))
        if reply.status >= 400 and "continue-on-error" not in prefer.lower():
            break
    return {"responses": responses[::-1]}


async def _answer(item: BatchItem, token: AccessToken, calls: Calls, guard: Guard) -> Reply:
    call = item.call
    if call is None:
        return Reply(400, {"error": {"code": "BadRequest", "message": "The request is not a call of a cmdlet."}})
    asked = Asked(item.url, item.headers.get("prefer", ""), call)
    path, cmdlet = item.url.path, canonical_name(call.name)
    subject = Item("exchange", "POST", path, item.url.query_string, cmdlet, token.tenant_id, token.app_id)
    return await guard(subject, lambda stale: calls.answer(Asked(asked.url, asked.prefer, call, stale), token))


def _response(item: BatchItem, reply: Reply) -> dict[str, Any]:
    headers = {**reply.headers, "Content-Type": "application/json; odata.metadata=minimal"}
    return {"id": item.id, "status": reply.status, "headers": headers, "body": reply.document}
