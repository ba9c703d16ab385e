"""Who may what: every HTTP function has its line in the one table, and the table is what the front door does."""

import json
import os
import subprocess
import sys
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import replace
from http.cookies import SimpleCookie
from pathlib import Path

import pytest
import pytest_asyncio

from shared import settings as app_settings
from shared.consent.state import BROWSER_COOKIE, LIFETIME
from shared.domain.problems import CATALOGUE
from shared.domain.steps import StepName
from shared.ports import TransientError
from shared.settings import Settings
from shared.web import access, site
from shared.web.access import AUDIENCES, Audience
from shared.web.http import SECURITY_HEADERS, Reply, Request
from shared.web.site import Site, View
from tests.security.visitor import new_account, operator
from tests.support.app_settings import APP_SETTINGS
from tests.support.grantline import CONSOLE, Grantline

PROJECT = Path(__file__).parents[2]
ROUTES: Mapping[str, View] = {
    "console_dashboard": site.dashboard,
    "console_grant_access": site.grant_access,
    "console_grant": site.grant,
    "console_command": site.command,
    "console_static": site.static,
    "consent_begin": site.begin,
    "consent_signed_in": site.signed_in,
    "consent_consented": site.consented,
    "api_grant": site.api_grant,
    "api_receipt": site.api_receipt,
    "healthz": site.healthz,
}
"""The view behind every HTTP function."""
OPEN_TO_ANYONE = {"console_static", "consent_signed_in", "consent_consented", "healthz"}
"""Written here a second time on purpose: opening a route to anyone takes two changes."""
WITH_SIGN_IN = app_settings.load({**APP_SETTINGS, "WEBSITE_AUTH_ENABLED": "True"})
WITHOUT_SIGN_IN = app_settings.load(APP_SETTINGS)
ON_THIS_MACHINE = app_settings.load({**APP_SETTINGS, "GRANTLINE_DEVELOPMENT_IDENTITY": "true"})
LIST_FUNCTIONS = """
import json, function_app
functions = function_app.app.get_functions()
print(json.dumps([each.get_function_name() for each in functions if each.get_trigger().get_binding_name() == "httpTrigger"]))
"""


def principal(content: object) -> str:
    """Return the value of X-MS-CLIENT-PRINCIPAL for some content."""
    return b64encode(json.dumps(content).encode()).decode()


# --- the table -----------------------------------------------------------------------------------------------------------------


def test_every_http_function_has_its_audience() -> None:
    """The functions that are deployed, as their decorators say, are those of the table: no more, no fewer."""
    answer = subprocess.run(  # noqa: S603 - this interpreter, this project; a fresh one, because indexing works once
        [sys.executable, "-c", LIST_FUNCTIONS],
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"], **APP_SETTINGS},
        capture_output=True,
        text=True,
        check=True,
    )

    names = json.loads(answer.stdout)
    assert sorted(names) == sorted(AUDIENCES)
    assert set(names) == set(ROUTES)


def test_only_these_are_open_to_anyone() -> None:
    """What Microsoft's redirects, the platform's health check and the stylesheet need."""
    assert {name for name, audience in AUDIENCES.items() if audience is Audience.ANYONE} == OPEN_TO_ANYONE


def test_a_route_without_a_line_is_open_to_nobody() -> None:
    """A forgotten line closes a route; it does not open it."""
    assert not access.may("a_new_route", "")
    assert not access.may("a_new_route", "operator@vendor.example")


@pytest.mark.parametrize("route", AUDIENCES)
@pytest.mark.parametrize(
    ("settings", "headers", "is_operator"),
    [
        (WITH_SIGN_IN, {}, False),
        (WITH_SIGN_IN, operator(), True),
        (WITHOUT_SIGN_IN, {}, False),
        (WITHOUT_SIGN_IN, operator(), False),
        (ON_THIS_MACHINE, {}, True),
    ],
    ids=["nobody", "operator", "nobody, no sign-in", "forged header, no sign-in", "on this machine"],
)
async def test_the_front_door_admits_whom_the_table_names(
    route: str, settings: Settings, headers: Mapping[str, str], *, is_operator: bool
) -> None:
    """Whoever is not admitted sees a page that says so; the view never runs."""
    reached: list[str] = []

    async def view(_site: Site, request: Request) -> Reply:
        reached.append(access.who(request, settings))
        return Reply(200, "reached")

    reply = await bare_site(settings).answer(route, Request("GET", "/", headers=headers), view)

    if is_operator or route in OPEN_TO_ANYONE:
        assert (reply.status, len(reached)) == (200, 1)
    else:
        assert (reply.status, reached) == (403, [])
        assert CATALOGUE["not_allowed"].cause in str(reply.body)
    assert SECURITY_HEADERS.items() <= reply.headers.items()


def bare_site(settings: Settings) -> Site:
    """Return a site with nothing behind it: whoever gets that far without a view of the test's own fails."""
    nothing: dict[str, None] = dict.fromkeys(("grants", "accounts", "commands", "consent"))
    return Site(settings, **nothing)  # type: ignore[arg-type] # nothing is asked of them


# --- who an operator is --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        "",
        "no base64!",
        "ключ",
        b64encode(b"\xff\xfe").decode(),
        b64encode(b"not JSON").decode(),
        *map(
            principal,
            [
                *(None, [], "text", 7, {}, {"claims": None}, {"claims": {}}, {"claims": [1]}, {"claims": ["x"]}),
                {"claims": [{"typ": "name"}], "name_typ": "name"},
                {"claims": [{"typ": [], "val": "x"}], "name_typ": "name"},
                {"claims": [{"typ": "name", "val": ""}], "name_typ": "name"},
                {"claims": [{"typ": "other", "val": "x"}], "name_typ": "name"},
                {"claims": [], "name_typ": []},
            ],
        ),
    ],
)
def test_a_header_that_names_nobody_is_nobody(header: str) -> None:
    """Whatever stands in the principal's place, only a name makes an operator; nothing is raised."""
    assert access.who(Request("GET", "/", headers={"x-ms-client-principal": header}), WITH_SIGN_IN) == ""


def test_an_operator_is_known_by_the_platforms_name() -> None:
    """The name that the audit shows is that of the claim which the platform names; else the header's."""
    by_header = {"x-ms-client-principal": principal({"claims": [], "name_typ": "x"}), "x-ms-client-principal-name": "by@header"}

    assert access.who(Request("GET", "/", headers=operator("o@v.example")), WITH_SIGN_IN) == "o@v.example"
    assert access.who(Request("GET", "/", headers=by_header), WITH_SIGN_IN) == "by@header"


@pytest.mark.parametrize("more", [{"WEBSITE_SITE_NAME": "grantline"}, {"WEBSITE_AUTH_ENABLED": "true"}])
def test_the_development_identity_is_refused_in_the_cloud(more: Mapping[str, str]) -> None:
    """Where App Service runs the app, a setting that makes everybody an operator stops the start."""
    with pytest.raises(app_settings.SettingsError, match="GRANTLINE_DEVELOPMENT_IDENTITY"):
        app_settings.load({**APP_SETTINGS, "GRANTLINE_DEVELOPMENT_IDENTITY": "true", **more})


# --- requests from elsewhere ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "origin",
    [
        *(None, "", "null", "https://evil.example", "http://console.example.com", "https://console.example.com.evil.example"),
        *("https://console.example.com:444", "https://console.example.com/", "https://CONSOLE.example.com@evil.example"),
    ],
)
async def test_a_form_of_another_site_is_refused(origin: str | None) -> None:
    """A POST counts only with this console's own Origin, operator or not."""
    headers = operator() | ({} if origin is None else {"origin": origin})

    reply = await bare_site(WITH_SIGN_IN).answer("console_command", Request("POST", "/commands", headers=headers), site.command)

    assert reply.status == 403


# --- every answer of the running console ---------------------------------------------------------------------------------------


@pytest_asyncio.fixture(loop_scope="module")
async def grant_id(parts: Grantline) -> str:
    """Give a grant that waits for its administrator."""
    return await parts.start(new_account())


def request_of(route: str, grant_id: str, **headers: str) -> Request:
    """Return a request that the route's view answers as it should."""
    route_values = {"grant_id": grant_id, "step": StepName.MAIL_FLOW_CONSENT, "file": "console.css"}
    path = f"/api/v1/grants/{grant_id}" if route.startswith("api_") else f"/{route}"
    request = Request("GET", path, route=route_values, headers={**operator(), **headers})
    if route != "console_command":
        return request
    form = {"content-type": "application/x-www-form-urlencoded", "origin": CONSOLE}
    return replace(request, method="POST", headers={**request.headers, **form}, body=b"type=grant.start")


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("route", AUDIENCES)
async def test_every_answer_carries_the_security_headers(parts: Grantline, grant_id: str, route: str) -> None:
    """Pages, redirects, files, JSON and refusals alike; a public file alone may be cached."""
    site_, view = parts.container.site, ROUTES[route]

    for request in (request_of(route, grant_id), Request("GET", "/"), Request("GET", "/api/", route={"grant_id": "x"})):
        reply = await site_.answer(route, request, view)
        kept = {name: value for name, value in reply.headers.items() if name in SECURITY_HEADERS}
        if route == "console_static" and reply.status == 200:
            assert kept.pop("cache-control") == "public, max-age=300"
        assert kept.items() <= SECURITY_HEADERS.items()
        assert len(kept) >= len(SECURITY_HEADERS) - 1
        assert "script-src" not in reply.headers["content-security-policy"]
        assert "Traceback" not in str(reply.body)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("public_url", "is_secure"), [("https://console.example.com", True), ("http://localhost:7071", False)])
async def test_the_browsers_cookie_is_kept_from_scripts_and_other_sites(
    parts: Grantline, grant_id: str, public_url: str, *, is_secure: bool
) -> None:
    """HttpOnly, SameSite=Lax (Microsoft's redirects must bring it), as long as a state lives, Secure where TLS is."""
    settings = parts.settings.model_copy(update={"public_url": public_url})
    consent = replace(parts.container.site.consent, settings=settings)
    site_ = replace(parts.container.site, settings=settings, consent=consent)

    reply = await site_.answer("consent_begin", request_of("consent_begin", grant_id), site.begin)

    cookie = SimpleCookie(reply.headers["set-cookie"])[BROWSER_COOKIE]
    assert reply.status == 303
    assert len(cookie.value) == 43
    assert (cookie["httponly"], cookie["samesite"], cookie["path"], cookie["domain"]) == (True, "Lax", "/", "")
    assert int(cookie["max-age"]) == LIFETIME.total_seconds()
    assert bool(cookie["secure"]) is is_secure


@pytest.mark.asyncio(loop_scope="module")
async def test_a_browser_keeps_its_cookie(parts: Grantline, grant_id: str) -> None:
    """A second step in the same browser does not cut off the first, which may still be at Microsoft."""
    request = request_of("consent_begin", grant_id, cookie=f"other=1; {BROWSER_COOKIE}=the-first-one")

    reply = await parts.container.site.answer("consent_begin", request, site.begin)

    assert SimpleCookie(reply.headers["set-cookie"])[BROWSER_COOKIE].value == "the-first-one"


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("value", ["", "x", "a/b\\c#d?e", "'", "\x00", "é" * 300, "a" * 3000, "%2e%2e"])
@pytest.mark.parametrize("route", ["console_grant", "api_grant", "api_receipt", "consent_begin"])
async def test_any_text_may_stand_in_the_place_of_a_grant(parts: Grantline, route: str, value: str) -> None:
    """There is no such grant: 404 in words, problem details for the API."""
    reply = await parts.container.site.answer(route, request_of(route, value), ROUTES[route])

    assert reply.status == 404
    assert CATALOGUE["grant_unknown"].cause in str(reply.body)
    assert reply.content_type.startswith("application/problem+json" if route.startswith("api_") else "text/html")


@pytest.mark.parametrize(
    "file",
    [
        *("", ".", "..", "../outside.css", "folder/../../outside.css", "..\\outside.css", "folder/inside.css", "inside.txt"),
        *("/etc/passwd", "inside.css/..", "in\x00side.css"),
    ],
)
async def test_only_the_consoles_own_files_are_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    """No path leads out of the folder of static files, or to a kind of file that it does not give."""
    for name in ("outside.css", "static/inside.css", "static/inside.txt", "static/folder/inside.css"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(site, "CONSOLE", tmp_path)

    given = [
        await bare_site(WITH_SIGN_IN).answer("console_static", Request("GET", "/static/x", route={"file": name}), site.static)
        for name in (file, "inside.css")
    ]

    assert [reply.status for reply in given] == [404, 200]
    assert [reply.body for reply in given] == ["not found", b"static/inside.css"]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(RuntimeError("an inner detail"), 500, "unexpected"), (TransientError("an inner detail"), 503, "kept_failing")],
    ids=["a defect", "storage is away"],
)
async def test_an_error_is_a_page_without_a_trace(error: Exception, status: int, code: str) -> None:
    """The server's fault has the server's status, in plain words; the error's own text is not shown."""

    async def failing(_site: Site, _request: Request) -> Reply:
        raise error

    reply = await bare_site(WITH_SIGN_IN).answer("healthz", Request("GET", "/healthz"), failing)

    assert reply.status == status
    assert CATALOGUE[code].cause in str(reply.body)
    assert "an inner detail" not in str(reply.body)
    assert "Error" not in str(reply.body)
