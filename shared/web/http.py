"""Requests and replies of the console and the API, free of any web framework: what the views read and give."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl

MAXIMUM_FORM = 64 * 1024
"""The largest form that is read, in bytes."""

SECURITY_HEADERS = {
    # No script at all; styles from here only; the console is never shown inside another page.
    "content-security-policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    # Addresses hold states of sign-ins for a moment: no other site is told them.
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


@dataclass(frozen=True, slots=True)
class Request:
    """One request: header names in lower case, the last value of a repeated query parameter."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    route: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def cookie(self, name: str) -> str:
        """Return a cookie's value, "" when the browser sent none that can be read."""
        try:
            morsel = SimpleCookie(self.headers.get("cookie", "")).get(name)
        except CookieError:
            return ""
        return morsel.value if morsel else ""

    def form(self) -> dict[str, list[str]]:
        """Return the fields of a form, each with all its values; none of a body that is too large or no form."""
        is_form = self.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
        fields: dict[str, list[str]] = {}
        if is_form and len(self.body) <= MAXIMUM_FORM:
            for name, value in parse_qsl(self.body.decode(errors="replace"), keep_blank_values=True):
                fields.setdefault(name, []).append(value)
        return fields


@dataclass(frozen=True, slots=True)
class Reply:
    """What is sent back."""

    status: int = 200
    body: str | bytes = ""
    content_type: str = "text/html; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


def see_other(location: str, **headers: str) -> Reply:
    """Send the browser on with GET (RFC 9110, 15.4.4)."""
    return Reply(303, headers={"location": location, **headers})


def as_json(value: Any, *, status: int = 200, content_type: str = "application/json") -> Reply:
    """Reply with a JSON value."""
    return Reply(status, json.dumps(value, indent=2), content_type)
