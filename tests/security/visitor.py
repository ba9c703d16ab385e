"""A person at the console and at Microsoft, and what may not change when the console refuses them."""

import json
import ssl
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from html import unescape
from itertools import count
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
from azure.data.tables.aio import TableServiceClient

from local.browser import Browser, Page
from local.demo import press_on
from shared.consent.sealing import SEALED_ROW
from shared.consent.state import RedirectError, new_secret
from shared.domain.problems import CATALOGUE
from shared.domain.steps import StepName
from shared.settings import Settings
from shared.web import access, consents
from shared.web.access import Role
from shared.web.http import SECURITY_HEADERS, Reply, Request
from shared.web.site import Site, cookie_name
from tests.security.routes import ROUTES, Route
from tests.support.grantline import ADMINISTRATOR, CONSOLE, Grantline

_REDIRECTS = {"/signed-in": ("consent_signed_in", consents.signed_in), "/consented": ("consent_consented", consents.consented)}
_ACCOUNTS = count(1)
MAXIMUM_PAGES = 8


class KilledError(BaseException):
    """The process ends here: nothing catches it."""


async def begin_anew(parts: Grantline) -> None:
    """Put the tenants back as seeded, take every binding away, and set the clock to the present."""
    context = ssl.create_default_context(cafile=parts.facts["ca_file"])
    async with httpx.AsyncClient(base_url=parts.facts["url"], verify=context, trust_env=False) as client:
        (await client.post("/_control/reset")).raise_for_status()
    connection = parts.settings.storage_connection
    assert connection
    async with TableServiceClient.from_connection_string(connection.get_secret_value()) as service:
        bindings = service.get_table_client("bindings")
        async for row in bindings.list_entities():
            await bindings.delete_entity(row)
    parts.clock.offset = timedelta()


def new_account() -> str:
    """Return an account that no other test has."""
    return f"account-{next(_ACCOUNTS)}"


def operator(name: str = "operator@vendor.example", *roles: str) -> dict[str, str]:
    """Return the headers that App Service Authentication adds for somebody who is signed in to the console, as Operator.

    ``roles`` are other roles instead; one that is "" is none.
    https://learn.microsoft.com/azure/app-service/configure-authentication-user-identities
    """
    claims = [{"typ": "preferred_username", "val": name}]
    claims += [{"typ": "roles", "val": role} for role in roles or (Role.OPERATOR,) if role]
    principal = {"auth_typ": "aad", "claims": claims, "name_typ": "preferred_username", "role_typ": "roles"}
    return {"x-ms-client-principal": b64encode(json.dumps(principal).encode()).decode(), "x-ms-client-principal-name": name}


def cookie_of(settings: Settings, value: str) -> dict[str, str]:
    """Return the header by which a browser brings the console's cookie; none for a browser without one."""
    return {"cookie": f"other=1; {cookie_name(settings)}={value}"} if value else {}


def sent_from(settings: Settings, route: Route, cookie: str, **fields: str) -> tuple[dict[str, str], bytes]:
    """Return the headers and body of a request as a page of the console, or a program, sends it in that browser."""
    headers = cookie_of(settings, cookie)
    if route.method == "GET":
        return headers, b""
    if route.is_api:
        return {**headers, "content-type": "application/json"}, json.dumps(fields).encode()
    form = {"csrf": access.form_token(cookie, settings), **fields}
    kind = {"content-type": "application/x-www-form-urlencoded", "origin": settings.public_url}
    return {**headers, **kind}, urlencode(form).encode()


async def ask(site: Site, name: str, cookie: str = "", headers: Mapping[str, str] | None = None, **values: str) -> Reply:
    """Ask the console's front door for a route as a browser does that has the cookie; ``headers`` are added, or replace others.

    ``values`` are those of the address's parameters; all others are fields of the form or the JSON.
    """
    route = ROUTES[name]
    named = {key: value for key, value in values.items() if f"{{{key}}}" in route.address}
    fields = {key: value for key, value in values.items() if key not in named}
    own, body = sent_from(site.settings, route, cookie, **fields)
    request = Request(route.method, route.path(**named), route=named, headers={**own, **(headers or {})}, body=body)
    return await site.answer(name, request, route.view)


@dataclass
class Visitor:
    """A person with a browser: its cookie for the console, and a session of its own at Microsoft for each walk."""

    parts: Grantline
    name: str = ADMINISTRATOR
    cookie: str = field(default_factory=new_secret)
    consents_asked: int = 0
    """How often Microsoft asked this person to consent for the organization."""

    async def begin(self, grant_id: str, step: StepName = StepName.MAIL_FLOW_CONSENT) -> str:
        """Begin a step; return where the console sends the browser."""
        return await self.parts.begin(grant_id, step, self.cookie)

    async def at_microsoft(self, location: str, *, cancel_at: str = "") -> str:
        """Walk Microsoft's pages, pressing Cancel on the one with ``cancel_at`` in it; return the redirect to the console."""
        async with Browser(self.parts.facts["ca_file"], stop_at=CONSOLE) as browser:
            page = await browser.open(location)
            for _ in range(MAXIMUM_PAGES):
                if page.url.startswith(CONSOLE):
                    return page.url
                self.consents_asked += "Review for your organization" in page.words
                page = await self._go_on(browser, page, cancel_at)
        raise AssertionError(f"Microsoft never sent the browser back: {page.words[:300]}")

    async def redirected(self, grant_id: str, step: StepName = StepName.MAIL_FLOW_CONSENT) -> str:
        """Begin a step and sign in; return Microsoft's redirect, not followed yet."""
        return await self.at_microsoft(await self.begin(grant_id, step))

    async def take(self, url: str) -> str:
        """Follow a redirect to the console; return where it sends the browser next."""
        return await self.parts.take_redirect(url, self.cookie)

    async def _go_on(self, browser: Browser, page: Page, cancel_at: str) -> Page:
        if cancel_at and cancel_at in page.words:
            return await browser.submit(page, page.forms[0], press=("decision", "cancel"))
        return await press_on(browser, self.parts.person(self.name), page)


async def consent_redirect(visitor: Visitor, grant_id: str, step: StepName = StepName.MAIL_FLOW_CONSENT) -> str:
    """Do a consent up to Microsoft's redirect after Accept, which is not followed yet."""
    return await visitor.at_microsoft(await visitor.take(await visitor.redirected(grant_id, step)))


def with_query(url: str, **changes: str) -> str:
    """Return an address with some of its query's values changed; an empty one is left out."""
    query = {**dict(parse_qsl(urlsplit(url).query)), **changes}
    return f"{url.partition('?')[0]}?{urlencode({name: value for name, value in query.items() if value})}"


def query_of(url: str) -> dict[str, str]:
    """Return the values of an address's query."""
    return dict(parse_qsl(urlsplit(url).query))


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the console made of a redirect that it refused: the problem's code, the page, the audit events it left."""

    code: str
    page: Reply
    events: tuple[Mapping[str, Any], ...]


async def refused(parts: Grantline, grant_id: str, url: str, cookie: str, *, told: bool = True) -> Refusal:
    """Follow a redirect that must be refused, and check what holds of every refusal.

    The page is in plain words, without a trace and with the headers that keep it safe; nothing is kept that could be trusted
    later. The refusal is an audit event of the grant, unless it was ``told`` a moment before, or its state is none of ours.
    """
    before, count_before = await trusted(parts, grant_id), len(await parts.events(grant_id))
    code, page = await _follow(parts, url, cookie)
    assert await trusted(parts, grant_id) == before
    events = await parts.container.storage.grants.events(grant_id)
    new = tuple({"type": event.type, "step": event.step, **event.data} for event in events[count_before:])
    assert [(event["type"], event["code"]) for event in new] == ([("consent.refused", code)] if told else [])
    return Refusal(code, page, new)


async def trusted(parts: Grantline, grant_id: str) -> dict[str, Any]:
    """Return everything that a later request would believe: tenant, steps, sealed token, redirects waited for, bindings."""
    grant = await parts.grant(grant_id)
    grants, bindings = parts.container.storage.grants, parts.container.storage.bindings
    return {
        "tenant": grant.tenant_id,
        "steps": {name: step.state for name, step in grant.steps.items()},
        "sealed": await grants.row(grant_id, SEALED_ROW),
        "redirects": await grants.rows(grant_id, "consent|"),
        "bindings": [await bindings.tenant(tenant["tenant_id"]) for tenant in parts.facts["tenants"]],
    }


async def _follow(parts: Grantline, url: str, cookie: str) -> tuple[str, Reply]:
    """Follow a redirect by the console's front door; return the refusal's code and the page."""
    route, view = _REDIRECTS[urlsplit(url).path]
    codes: list[str] = []

    async def watched(at: Site, request: Request) -> Reply:
        try:
            return await view(at, request)
        except RedirectError as error:
            codes.append(error.problem.code)
            raise

    request = Request("GET", urlsplit(url).path, query=query_of(url), headers=cookie_of(parts.settings, cookie))
    reply = await parts.container.site.answer(route, request, watched)
    assert codes, f"the redirect was taken: {reply.status} {reply.headers.get('location')}"
    _check_page(reply, codes[0], query_of(url))
    return codes[0], reply


def _check_page(reply: Reply, code: str, query: Mapping[str, str]) -> None:
    """Hold a refusal's page to what every one of them promises."""
    body = reply.body if isinstance(reply.body, str) else reply.body.decode()
    text = unescape(body)
    assert reply.status == 400
    assert reply.content_type == "text/html; charset=utf-8"
    assert {name: reply.headers.get(name) for name in SECURITY_HEADERS} == SECURITY_HEADERS
    assert CATALOGUE[code].cause in text
    assert CATALOGUE[code].fix in text
    assert "Traceback" not in text
    assert not [name for name in ("state", "code") if query.get(name) and query[name] in text]
