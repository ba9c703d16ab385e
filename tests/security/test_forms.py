"""Cross-site request forgery: what changes something counts only when a page of this console, in this browser, sent it."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from urllib.parse import urlencode

import pytest

from shared import settings as app_settings
from shared.domain.problems import CATALOGUE
from shared.settings import Settings
from shared.web import access
from shared.web.http import MAXIMUM_FORM, Reply, Request
from shared.web.site import Site, cookie_name
from tests.security.bare import ON_THIS_MACHINE, WITH_SIGN_IN, bare_site
from tests.security.routes import ROUTES
from tests.security.visitor import cookie_of, operator
from tests.support.app_settings import APP_SETTINGS

BROWSER, OTHER_BROWSER = "b" * 43, "o" * 43
CONSOLE = WITH_SIGN_IN.public_url
ANOTHER_INSTALLATION = app_settings.load({**APP_SETTINGS, "GRANTLINE_SEALING_KEY": urlsafe_b64encode(bytes([7] * 32)).decode()})
FORM = {"content-type": "application/x-www-form-urlencoded"}
JSON = {"content-type": "application/json"}
FORMS = [name for name, route in ROUTES.items() if route.method != "GET" and not route.is_api]
CALLS = [name for name, route in ROUTES.items() if route.method != "GET" and route.is_api]
FOREIGN = (
    *("null", "https://evil.example", "http://console.example.com", "https://console.example.com.evil.example"),
    *("https://console.example.com:444", "https://console.example.com/", "https://CONSOLE.example.com@evil.example"),
)


async def outcome(
    route: str, headers: Mapping[str, str], body: bytes, settings: Settings = WITH_SIGN_IN
) -> tuple[int, bool, str]:
    """Send a request as an operator's browser does; return the status, whether the view was reached, and the reply's text."""
    reached: list[str] = []

    async def view(_site: Site, request: Request) -> Reply:
        reached.append(request.method)
        return Reply(200, "reached")

    sent = {**operator(), **cookie_of(settings, BROWSER), **headers}
    request = Request(ROUTES[route].method, f"/{ROUTES[route].address}", headers=sent, body=body)
    reply = await bare_site(settings).answer(route, request, view)
    return reply.status, bool(reached), str(reply.body)


def form_of(browser: str = BROWSER, settings: Settings = WITH_SIGN_IN, **more: str) -> bytes:
    """Return a form's body with the token that a browser has been given."""
    return urlencode({"csrf": access.form_token(browser, settings), **more}).encode()


def test_there_is_something_to_protect() -> None:
    """Forms and calls that change something are found; a method that is neither GET nor POST would be new here."""
    assert {"console_start", "console_grant_command", "onboarding_accept"} <= set(FORMS)
    assert {"api_start", "api_onboarding_link"} <= set(CALLS)
    assert {route.method for route in ROUTES.values()} == {"GET", "POST"}


@pytest.mark.parametrize("route", FORMS)
async def test_a_form_of_our_own_page_counts(route: str) -> None:
    """With this browser's token and our own Origin."""
    assert await outcome(route, {**FORM, "origin": CONSOLE}, form_of()) == (200, True, "reached")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"type=grant.start",
        b"csrf=",
        b"csrf=%D0%BA%D0%BB%D1%8E%D1%87",
        b"\xff\xfe",
        form_of(OTHER_BROWSER),
        form_of("", WITH_SIGN_IN),
        form_of(settings=ANOTHER_INSTALLATION),
        form_of().upper(),
        form_of(filler="x" * MAXIMUM_FORM),
    ],
    ids=[
        *("empty", "no token", "empty token", "letters", "bytes", "another browser's", "no browser's", "another installation's"),
        *("letter case", "too large"),
    ],
)
@pytest.mark.parametrize("route", FORMS)
async def test_a_form_without_this_browsers_token_is_refused(route: str, body: bytes) -> None:
    """Another site can have the form sent, but can't know the token; nor is another browser's any good here."""
    status, is_reached, text = await outcome(route, {**FORM, "origin": CONSOLE}, body)

    assert (status, is_reached) == (403, False)
    assert CATALOGUE["form_expired"].cause in text


@pytest.mark.parametrize("origin", [None, "", *FOREIGN])
@pytest.mark.parametrize("route", FORMS)
async def test_a_form_from_elsewhere_is_refused(route: str, origin: str | None) -> None:
    """A form counts only with this console's own Origin, even with the right token."""
    headers = FORM if origin is None else {**FORM, "origin": origin}

    assert (await outcome(route, headers, form_of()))[:2] == (403, False)


@pytest.mark.parametrize("route", FORMS)
async def test_a_form_of_a_browser_without_a_cookie_is_refused(route: str) -> None:
    """Without a cookie there is no token that could be right: each such request is a new browser."""
    headers = {**FORM, "origin": CONSOLE, "cookie": "other=1"}

    assert (await outcome(route, headers, form_of("")))[:2] == (403, False)


@pytest.mark.parametrize("value", ["", "x", "a" * 42, "a" * 44, "é" * 43, f'"{BROWSER} "'])
@pytest.mark.parametrize("route", FORMS)
async def test_a_made_up_cookie_is_no_cookie(route: str, value: str) -> None:
    """A cookie that the console can't have given is not taken, whatever token comes with it."""
    headers = {**FORM, "origin": CONSOLE, "cookie": f"{cookie_name(WITH_SIGN_IN)}={value}"}

    assert (await outcome(route, headers, form_of(value)))[:2] == (403, False)


@pytest.mark.parametrize("route", FORMS)
async def test_json_is_no_form(route: str) -> None:
    """Pages take forms alone: the exception for programs is the API's."""
    body = json.dumps({"csrf": access.form_token(BROWSER, WITH_SIGN_IN)}).encode()

    assert (await outcome(route, {**JSON, "origin": CONSOLE}, body))[:2] == (403, False)
    assert (await outcome(route, JSON, body))[:2] == (403, False)


@pytest.mark.parametrize("headers", [JSON, {**JSON, "origin": CONSOLE}, {"content-type": "Application/JSON; charset=utf-8"}])
@pytest.mark.parametrize("route", CALLS)
async def test_a_programs_json_counts(route: str, headers: Mapping[str, str]) -> None:
    """A program sends no Origin; a script of our own pages sends ours."""
    assert await outcome(route, headers, b"{}") == (200, True, "reached")


@pytest.mark.parametrize("route", CALLS)
async def test_a_call_without_content_counts(route: str) -> None:
    """A call that needs no content needs no type of it."""
    assert await outcome(route, {}, b"") == (200, True, "reached")


@pytest.mark.parametrize("origin", ["", *FOREIGN])
@pytest.mark.parametrize("content", [(JSON, b"{}"), ({}, b"")], ids=["json", "no content"])
@pytest.mark.parametrize("route", CALLS)
async def test_a_call_from_another_site_is_refused(route: str, content: tuple[dict[str, str], bytes], origin: str) -> None:
    """A script of another site shows its Origin; one of a sandboxed page shows null."""
    headers, body = content
    status, is_reached, text = await outcome(route, {**headers, "origin": origin}, body)

    assert (status, is_reached) == (403, False)
    assert json.loads(text)["code"] == "form_expired"


@pytest.mark.parametrize(
    "kind",
    [
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain",
        "text/plain; application/json",
        "",
        "*/*",
    ],
)
@pytest.mark.parametrize("origin", [None, CONSOLE])
@pytest.mark.parametrize("route", CALLS)
async def test_a_form_is_no_call(route: str, origin: str | None, kind: str) -> None:
    """The types that a form of any site can have (HTML, "form submission") are refused, with the right token too."""
    headers = {"content-type": kind} | ({"origin": origin} if origin else {})
    status, is_reached, text = await outcome(route, headers, form_of())

    assert (status, is_reached) == (415, False)
    assert json.loads(text)["code"] == "not_json"


@pytest.mark.parametrize("route", FORMS)
async def test_the_development_identity_is_no_exception(route: str) -> None:
    """On a developer's machine any page that is open in the browser could send a form, too."""
    assert (await outcome(route, {**FORM, "origin": "https://evil.example"}, form_of(), ON_THIS_MACHINE))[:2] == (403, False)
    assert (await outcome(route, {**FORM, "origin": CONSOLE}, form_of(OTHER_BROWSER), ON_THIS_MACHINE))[:2] == (403, False)


def test_a_token_tells_nothing_of_the_cookie() -> None:
    """The token is another one for each browser and installation, and holds no part of the cookie."""
    token = access.form_token(BROWSER, WITH_SIGN_IN)

    assert token != access.form_token(OTHER_BROWSER, WITH_SIGN_IN)
    assert BROWSER not in token
    assert len(token) == 64
