"""The console as one browser asks it: pages are asked for, forms are filled in and sent, grants are put into any state."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import uuid4

from shared.consent.state import new_secret
from shared.domain.decision import Decision
from shared.domain.grant import Direction, Grant, Intent, Row, Scope, Step
from shared.ports import AccountRow
from shared.web import access, pages, site
from shared.web.http import Reply, Request, Visitor
from shared.web.site import View
from tests.console.markup import Markup
from tests.support.grantline import CONSOLE, Grantline

NOW = datetime(2026, 11, 23, 12, 30, 15, tzinfo=UTC)
FORM = "application/x-www-form-urlencoded"
BROWSER = new_secret()
"""The cookie of the browser that all tests here use."""
NAMES = {
    "markup": "</title></h1><script>alert(1)</script><img src=x onerror=alert(1)>",
    "attribute": '" autofocus onfocus="alert(1)" x=\'',
    "template": "{{ settings.sealing_key }}{% raw %}",
    "right to left": "\u202egpj.exe\u202c \u2066אבגד\u2069 \u200f",
    "emoji": "👩‍👩‍👧‍👦 Ünïcode & ﷽",
    "control": "line\nbreak\ttab\x00nul\x1b[31m\x85",
    "slashes": "/\\#?%" * 51,
    "long": "W" * 256,
    "long emoji": "🦊" * 256,
    "long folding": "ΐ" * 256,
    "key": "~|\uffff",
}
"""Names of accounts that a careless page would stumble over; 256 characters are the most that a name may have."""


def account_row(account_id: str, name: str, state: str = "in_progress", **changes: Any) -> AccountRow:
    """Return an account's line."""
    return replace(AccountRow(account_id, name, str(uuid4()), state, ("inbound",), None, None, None), **changes)


async def ask(parts: Grantline, view: View, url: str = "/", **route: str) -> Reply:
    """Ask for a page."""
    query = dict(parse_qsl(urlsplit(url).query))
    request = Request("GET", urlsplit(url).path, query=query, route=route, headers=with_cookie(parts))
    return await parts.container.site.answer("console_dashboard", request, view)


def with_cookie(parts: Grantline) -> dict[str, str]:
    """Return the header by which a browser sends its cookie."""
    return {"cookie": f"{site.cookie_name(parts.settings)}={BROWSER}"}


async def look(parts: Grantline, view: View, url: str = "/", **route: str) -> Markup:
    """Ask for a page that must be there; return it as a browser takes it."""
    reply = await ask(parts, view, url, **route)
    assert reply.status == 200
    return read(reply)


def read(reply: Reply) -> Markup:
    """Read a page, which holds no script and no other surprise."""
    assert reply.content_type == "text/html; charset=utf-8"
    page = Markup(reply.body if isinstance(reply.body, str) else reply.body.decode())
    names = {each.name for each in page.elements}
    assert not names & {"img", "iframe", "object", "style", "svg"}
    assert all(each.attributes.get("src", "").startswith("/static/") and not each.text for each in page.named("script"))
    assert not [each for each in page.elements for name in each.attributes if name.startswith("on") or name == "style"]
    return page


async def send(parts: Grantline, fields: list[tuple[str, str]] | bytes, content_type: str = FORM, *, to: str = "") -> Reply:
    """Submit a form of the console, from a page of its own: the one that starts a grant, or one of the grant ``to``."""
    token = f"csrf={access.form_token(BROWSER, parts.settings)}".encode()
    body = token + b"&" + fields if isinstance(fields, bytes) else urlencode(fields).encode()
    headers = {"content-type": content_type, "origin": CONSOLE, **with_cookie(parts)}
    if to:
        request = Request("POST", f"/grants/{to}/commands", route={"grant_id": to}, headers=headers, body=body)
        return await parts.container.site.answer("console_grant_command", request, pages.grant_command)
    request = Request("POST", "/grant-access", headers=headers, body=body)
    return await parts.container.site.answer("console_start", request, pages.start)


def filled(page: Markup, **values: str) -> list[tuple[str, str]]:
    """Return the fields of a page's first form with some filled in."""
    return [(name, value) for name, value in page.forms[0].fields if name not in values] + list(values.items())


def rendered(
    parts: Grantline, template: str, *, status: int = 200, visitor: Visitor = access.DEVELOPER, **values: object
) -> Markup:
    """Return a page as the console makes it from values that a test gives, for an administrator unless told otherwise."""
    request = Request("GET", "/", visitor=visitor, browser=BROWSER)
    return read(site.page(parts.container.site, request, template, status=status, **values))


def dashboard_of(parts: Grantline, *rows: AccountRow, **values: Any) -> Markup:
    """Return a dashboard with some lines."""
    shown = {"name": "", "state": "", "after": "", "states": pages.STATES, "actions": pages.ACTIONS}
    more = {"now": NOW, "counts": None, "banner": None, "address": "/", "first": "/", "following": ""}
    return rendered(parts, "dashboard.html", rows=rows, **{**shown, **more, **values})


async def stored(parts: Grantline, grant: Grant, *rows: Row) -> str:
    """Put a grant into the tables as it stands, and return its id."""
    await parts.container.storage.grants.create(Decision(grant, rows=rows))
    return grant.grant_id


def a_grant(*steps: Step, name: str = "Contoso") -> Grant:
    """Return a grant with some steps as given, all others blocked."""
    intent = Intent((Direction.INBOUND, Direction.OUTBOUND), Scope(), "standard")
    grant = Grant(str(uuid4()), "contoso", name, intent, NOW, "somebody")
    for step in steps:
        grant = grant.with_step(step)
    return grant


async def grant_of(parts: Grantline, reply: Reply) -> Grant:
    """Return the grant that a form led to."""
    assert reply.status == 303
    return await parts.grant(reply.headers["location"].removeprefix("/grants/"))
