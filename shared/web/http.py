"""Requests and replies of the console and the API, free of any web framework: what the views read and give."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl

MAXIMUM_FORM = 64 * 1024
"""The largest form that is read, in bytes."""

SECURITY_HEADERS = {
    # Scripts and styles are files from here, never written into a page; the console is never shown inside another page.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    # Addresses hold states of sign-ins for a moment, and onboarding links: no other site is told them. Not "no-referrer": then
    # browsers send "Origin: null" with our own forms, too (https://fetch.spec.whatwg.org, "append a request Origin header").
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
}


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who is signed in to the console, by name and role (``access.Role``); both "" for nobody."""

    name: str = ""
    role: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """One request: header names in lower case, the last value of a repeated query parameter.

    ``visitor`` and ``browser`` (the value of the browser's cookie, given to it with the reply if it had none) are found out by
    ``Site.answer``.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    route: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    visitor: Visitor = Visitor()
    browser: str = ""

    @property
    def is_api(self) -> bool:
        """True when a program asks: it is answered in JSON, errors too."""
        return self.path.startswith("/api/")

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


def as_json(value: Any, *, status: int = 200, content_type: str = "application/json", **headers: str) -> Reply:
    """Reply with a JSON value."""
    return Reply(status, json.dumps(value, indent=2), content_type, headers)


def if_changed(reply: Reply, request: Request) -> Reply:
    """Give a reply its entity tag; where the visitor has the very same already, reply 304 without a body (RFC 9110, 13.1.2)."""
    content = reply.body.encode() if isinstance(reply.body, str) else reply.body
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {**reply.headers, "etag": tag, "cache-control": "private, no-cache"}
    known = {each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")}
    is_known = tag in known or "*" in known
    return replace(reply, status=304, body="", headers=headers) if is_known else replace(reply, headers=headers)
