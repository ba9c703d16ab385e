"""The documents of Exchange's admin endpoint: the call that comes in, the rows and the page that go out.

Shapes: a recorded exchange of 2024-05-22 (`@data.type` companions, headers) and github:KelvinTegelaar/CIPP-API
New-ExoRequest.ps1 (body, paging). Undocumented by Microsoft: the private contract of the ExchangeOnlineManagement module.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from local.microsoft365.exchange.errors import PAGINATION, InvocationError

PAGE_LIFETIME = timedelta(minutes=30)
MAXIMUM_PAGE = 1000
_INT32 = "System.Int32"
_PAGE_SIZE = re.compile(r"\bodata\.maxpagesize\s*=\s*(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class CmdletInput:
    """A cmdlet by name with the parameters as they came."""

    name: str
    parameters: Mapping[str, object]


def read_input(body: bytes) -> CmdletInput:
    """Return the call in a request's body.

    Raises ValueError for a body that is not JSON, KeyError or TypeError for one that is not of the form that the endpoint takes.
    """
    return input_of(json.loads(body))


def input_of(document: object) -> CmdletInput:
    """Return the call in a document; raises KeyError or TypeError for one that is not of the form that the endpoint takes."""
    call = document["CmdletInput"] if isinstance(document, dict) else None
    if not isinstance(call, dict) or not isinstance(call.get("CmdletName"), str):
        raise TypeError("CmdletInput with a CmdletName is needed")
    parameters = call.get("Parameters") or {}
    if not isinstance(parameters, dict):
        raise TypeError("Parameters must be an object")
    return CmdletInput(call["CmdletName"], parameters)


def _companions(name: str, value: object) -> dict[str, str]:
    """Return the annotations that stand before a property's value."""
    if isinstance(value, list):
        return {f"{name}@odata.type": "#Collection(String)"}
    if name == "Guid":
        return {"Guid@data.type": "System.Guid", "Guid@odata.type": "#Guid"}
    if name.startswith("When"):
        return {f"{name}@data.type": "System.DateTime"}
    if isinstance(value, int) and not isinstance(value, bool):
        return {f"{name}@data.type": _INT32}
    return {}


def annotated(row: Mapping[str, Any], select: Sequence[str]) -> dict[str, Any]:
    """Return an object as the endpoint writes it, cut to the selected properties (all when none is selected)."""
    wanted = {name.lower() for name in select}
    answer: dict[str, Any] = {}
    for name, value in row.items():
        if not wanted or name.lower() in wanted:
            answer |= _companions(name, value)
            answer[name] = value
    return answer


def page_token(offset: int, call: CmdletInput, now: datetime) -> str:
    """Return an opaque token for the page at `offset` of this cmdlet, issued now."""
    content = json.dumps([offset, call.name.lower(), now.timestamp()])
    return base64.urlsafe_b64encode(content.encode()).decode()


def read_page_token(token: str, call: CmdletInput, now: datetime) -> int:
    """Return the offset of a page; raises InvocationError when the token is not ours, another cmdlet's or too old."""
    try:
        offset, name, issued = json.loads(base64.urlsafe_b64decode(token.encode()))
        age = now.timestamp() - float(issued)
        valid = name == call.name.lower() and 0 <= age <= PAGE_LIFETIME.total_seconds()
    except (binascii.Error, TypeError, ValueError):
        valid = False
    if not valid:
        message = "Expired or Invalid pagination request. Default Expiry time is 00:30:00"
        raise InvocationError(message, kind=PAGINATION)
    return int(offset)


def page_size(prefer: str) -> int:
    """Return the page size asked for by `Prefer: odata.maxpagesize=N`, at most 1,000, which is the default.

    Public clients write it with blanks and a semicolon before the next preference; both are taken.
    """
    asked = _PAGE_SIZE.search(prefer)
    return min(int(asked[1]), MAXIMUM_PAGE) if asked and int(asked[1]) > 0 else MAXIMUM_PAGE


def answer_document(domain: str, rows: Sequence[Mapping[str, Any]], warnings: Sequence[str]) -> dict[str, Any]:
    """Return the document of a successful call without a next link."""
    context = f"https://outlook.office.com/adminapi/beta/{domain}/$metadata#Collection(Exchange.GenericHashTable)"
    return {
        "@odata.context": context,
        "adminapi.warnings@odata.type": "#Collection(String)",
        "@adminapi.warnings": list(warnings),
        "value": list(rows),
    }
