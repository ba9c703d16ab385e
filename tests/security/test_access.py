"""Who may what: every HTTP function has its line in the one table, and the table is what the front door does."""

import json
import os
import subprocess
import sys
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from html import unescape
from pathlib import Path
from typing import get_args

import pytest

from shared import settings as app_settings
from shared.consent.onboarding import HOLDER_LIFETIME
from shared.consent.state import new_secret
from shared.domain.problems import CATALOGUE
from shared.messages import Command
from shared.ports import TransientError
from shared.settings import Settings
from shared.web import access, pages
from shared.web.access import AUDIENCES, COMMANDS, Role
from shared.web.http import SECURITY_HEADERS, Reply, Request, Visitor
from shared.web.site import Site
from tests.security.bare import ON_THIS_MACHINE, WITH_SIGN_IN, WITHOUT_SIGN_IN, Rows, bare_site
from tests.security.routes import ROUTES
from tests.security.visitor import ask, operator, sent_from
from tests.support.app_settings import APP_SETTINGS
from tests.support.grantline import Grantline

PROJECT = Path(__file__).parents[2]
LIST_FUNCTIONS = """
import json, function_app
functions = function_app.app.get_functions()
print(json.dumps([each.get_function_name() for each in functions if each.get_trigger().get_binding_name() == "httpTrigger"]))
"""
GRANT, OTHER_GRANT = "00000000-0000-4000-8000-00000000000a", "00000000-0000-4000-8000-00000000000b"


@dataclass(frozen=True)
class Person:
    """Somebody who asks for a route of the grant ``GRANT``: what the platform says of them, which link their browser holds."""

    settings: Settings = WITH_SIGN_IN
    headers: Mapping[str, str] = field(default_factory=dict)
    holds: str = ""
    since: timedelta = timedelta()


PEOPLE: Mapping[str, Person] = {
    "nobody": Person(),
    "link holder": Person(holds=GRANT),
    "link holder of another grant": Person(holds=OTHER_GRANT),
    "expired link holder": Person(holds=GRANT, since=HOLDER_LIFETIME),
    "viewer": Person(headers=operator("viewer", Role.VIEWER)),
    "viewer with the link": Person(headers=operator("viewer", Role.VIEWER), holds=GRANT),
    "operator": Person(headers=operator("operator", Role.OPERATOR)),
    "administrator": Person(headers=operator("administrator", Role.ADMINISTRATOR)),
    "without a role": Person(headers=operator("somebody", "")),
    "forged header, no sign-in": Person(WITHOUT_SIGN_IN, operator("forger", Role.ADMINISTRATOR)),
    "on this machine": Person(ON_THIS_MACHINE),
}
EVERYBODY = frozenset(PEOPLE)
OPERATORS = frozenset({"operator", "administrator", "on this machine"})
VIEWERS = OPERATORS | {"viewer", "viewer with the link"}
WATCHERS = VIEWERS | {"link holder"}
DOERS = OPERATORS | {"link holder", "viewer with the link"}

ADMITTED: Mapping[str, frozenset[str]] = {
    "console_dashboard": VIEWERS,
    "console_dismiss": VIEWERS,
    "console_service_accounts": VIEWERS,
    "console_grant_access": OPERATORS,
    "console_start": OPERATORS,
    "console_grant": WATCHERS,
    "console_live": WATCHERS,
    "console_history": WATCHERS,
    "console_grant_command": DOERS,
    "console_onboarding_link": OPERATORS,
    "console_static": EVERYBODY,
    "onboarding_open": EVERYBODY,
    "onboarding_accept": EVERYBODY,
    "consent_begin": DOERS,
    "consent_transfer": DOERS,
    "consent_release": DOERS,
    "consent_signed_in": EVERYBODY,
    "consent_consented": EVERYBODY,
    "console_service_account": VIEWERS,
    "console_permissions": VIEWERS,
    "console_role_script": WATCHERS,
    "console_release": DOERS,
    "api_accounts": VIEWERS,
    "api_service_accounts": VIEWERS,
    "api_summary": VIEWERS,
    "api_start": OPERATORS,
    "api_grant": WATCHERS,
    "api_receipt": WATCHERS,
    "api_events": WATCHERS,
    "console_plan": WATCHERS,
    "console_remove": OPERATORS,
    "api_plan": WATCHERS,
    "api_findings": WATCHERS,
    "api_proof": WATCHERS,
    "api_removal": WATCHERS,
    "api_grant_command": DOERS,
    "api_onboarding_link": OPERATORS,
    "api_openapi": EVERYBODY,
    "healthz": EVERYBODY,
}
"""Who gets to which route, written a second time by hand on purpose: opening a route takes two changes."""

COMMANDED: Mapping[str, bool] = {
    "grant.start": False,
    "step.retry": True,
    "role_mode.choose": True,
    "plan.approve": False,
    "finding.acknowledge": False,
    "finding.fix": False,
    "routing.pause": False,
    "routing.resume": False,
    "grant.remove": False,
    "removal.waive": False,
    "scanner.report": False,
    "probe.report": False,
}
"""Every command, and whether an onboarding link lets its holder give it: written a second time by hand, as above."""


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
    assert set(names) == set(ADMITTED)


def test_every_command_has_its_audience() -> None:
    """Those that messages and forms know are those of the table: no more, no fewer."""
    kinds = {get_args(command.model_fields["type"].annotation)[0] for command in get_args(Command)}

    assert kinds == set(COMMANDS)
    assert kinds == set(COMMANDED)


@pytest.mark.parametrize("kind", [*COMMANDED, "a.new.command"])
def test_a_links_holder_gives_the_commands_of_a_persons_part_alone(kind: str) -> None:
    """What becomes of the mail is an operator's to decide; a command without a line is nobody's."""
    may = [access.may_command(kind, Visitor("somebody", role)) for role in ("", *Role)]

    by_link, by_role = COMMANDED.get(kind, False), kind in COMMANDED
    assert may == [by_link, by_link, by_role, by_role]


@pytest.mark.parametrize("role", ["", *Role])
@pytest.mark.parametrize("is_holder", [False, True])
def test_a_route_without_a_line_is_open_to_nobody(role: str, *, is_holder: bool) -> None:
    """A forgotten line closes a route; it does not open it."""
    assert not access.may("a_new_route", Visitor("somebody", role), is_holder=is_holder)


@pytest.mark.parametrize("name", PEOPLE)
@pytest.mark.parametrize("route", ADMITTED)
async def test_the_front_door_admits_whom_the_table_names(route: str, name: str) -> None:
    """Whoever is not admitted sees a page, or problem details, that say so; the view never runs."""
    person, rows, browser = PEOPLE[name], Rows(), new_secret()
    if person.holds:
        rows.hold(person.holds, browser, person.since)
    reached: list[Request] = []

    async def view(_site: Site, request: Request) -> Reply:
        reached.append(request)
        return Reply(200, "reached")

    headers, body = sent_from(person.settings, ROUTES[route], browser)
    values = {"grant_id": GRANT, "step": "mail_flow_consent", "file": "console.css", "token": "x"}
    request = Request(
        ROUTES[route].method, ROUTES[route].path(**values), route=values, headers={**headers, **person.headers}, body=body
    )
    reply = await bare_site(person.settings, rows).answer(route, request, view)

    if name in ADMITTED[route]:
        assert (reply.status, len(reached)) == (200, 1)
    else:
        assert reached == []
        is_unknown = ROUTES[route].is_api and (not person.headers or person.settings is WITHOUT_SIGN_IN)
        assert reply.status == (401 if is_unknown else 403)
        assert CATALOGUE["sign_in_needed" if is_unknown else "not_allowed"].cause in str(reply.body)
    assert SECURITY_HEADERS.items() <= reply.headers.items()


@pytest.mark.parametrize("name", ["operator", "administrator", "on this machine"])
@pytest.mark.parametrize("route", ADMITTED)
async def test_an_operator_costs_no_read(route: str, name: str) -> None:
    """Whose role is enough is not looked up as a link's holder."""
    person, rows = PEOPLE[name], Rows()

    async def view(_site: Site, _request: Request) -> Reply:
        return Reply(200, "reached")

    headers, body = sent_from(person.settings, ROUTES[route], browser := new_secret())
    rows.hold(GRANT, browser)
    request = Request(ROUTES[route].method, "/", route={"grant_id": GRANT}, headers={**headers, **person.headers}, body=body)
    await bare_site(person.settings, rows).answer(route, request, view)

    assert rows.reads == 0


@pytest.mark.parametrize("grant_id", ["", "x", GRANT.upper(), f"{GRANT}/..", "a/b\\c#d?e", "\x00"])
async def test_what_can_not_be_a_grant_is_not_looked_up(grant_id: str) -> None:
    """Somebody without a role who asks for an impossible grant is refused before any table is asked."""
    rows = Rows()
    route = ROUTES["console_grant"]
    headers, _ = sent_from(WITH_SIGN_IN, route, new_secret())

    request = Request("GET", "/grants/x", route={"grant_id": grant_id}, headers=headers)
    reply = await bare_site(WITH_SIGN_IN, rows).answer(route.name, request, route.view)

    assert (reply.status, rows.reads) == (403, 0)


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
    assert access.who(Request("GET", "/", headers={"x-ms-client-principal": header}), WITH_SIGN_IN) == access.NOBODY


def claims_of(*roles: tuple[str, str], name: str = "o@v.example", **more: object) -> dict[str, str]:
    """Return the platform's header for somebody with claims, each a type and a value."""
    claims = [{"typ": kind, "val": value} for kind, value in (("preferred_username", name), *roles)]
    return {"x-ms-client-principal": principal({"claims": claims, "name_typ": "preferred_username", **more})}


LONG_ROLES = "http://schemas.microsoft.com/ws/2008/06/identity/claims/role"


@pytest.mark.parametrize(
    ("headers", "role"),
    [
        (claims_of(("roles", Role.VIEWER)), Role.VIEWER),
        (claims_of((LONG_ROLES, Role.OPERATOR)), Role.OPERATOR),
        (claims_of(("jobs", Role.OPERATOR), role_typ="jobs"), Role.OPERATOR),
        (claims_of(("roles", Role.VIEWER), ("roles", Role.ADMINISTRATOR), ("roles", Role.OPERATOR)), Role.ADMINISTRATOR),
        (
            claims_of(("roles", Role.VIEWER), name_typ="http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress"),
            Role.VIEWER,
        ),
        (claims_of(("roles", "Somebody.Elses"), ("roles", Role.VIEWER)), Role.VIEWER),
    ],
    ids=[
        "as Entra names it",
        "as App Service maps it",
        "as the platform names it",
        "the highest counts",
        "a name claim is missing",
        "others are ignored",
    ],
)
def test_a_role_is_what_entra_assigned(headers: Mapping[str, str], role: Role) -> None:
    """The name is that of the claim which the platform names; the role, the highest of ours among the roles claims."""
    assert access.who(Request("GET", "/", headers=headers), WITH_SIGN_IN) == Visitor("o@v.example", role)


@pytest.mark.parametrize("kind", ["name", "azp", "appid", "http://schemas.microsoft.com/identity/claims/objectidentifier"])
def test_whoever_has_a_role_has_some_name(kind: str) -> None:
    """A program has no user name: the audit names its client id, or what else Entra says of it."""
    headers = {"x-ms-client-principal": principal({"claims": [{"typ": kind, "val": "x"}, {"typ": "roles", "val": Role.VIEWER}]})}

    assert access.who(Request("GET", "/", headers=headers), WITH_SIGN_IN) == Visitor("x", Role.VIEWER)


@pytest.mark.parametrize(
    "headers",
    [
        claims_of(),
        claims_of(("roles", "")),
        claims_of(("roles", "Grantline.Operators")),
        claims_of(("roles", "grantline.operator")),
        claims_of(("scp", Role.ADMINISTRATOR)),
        claims_of(("roles", Role.OPERATOR), name=""),
        {"x-ms-client-principal-name": "by@header"},
        {"x-ms-client-principal-name": "by@header", "x-ms-client-principal-id": "7", "x-ms-client-principal-idp": "aad"},
    ],
    ids=["no role", "empty role", "nearly a role", "letter case", "another claim", "no name", "name header", "other headers"],
)
def test_without_name_and_role_somebody_is_nobody(headers: Mapping[str, str]) -> None:
    """Who is signed in but has no role of the console's may nothing; headers beside the principal prove nothing."""
    assert access.who(Request("GET", "/", headers=headers), WITH_SIGN_IN) == access.NOBODY


@pytest.mark.parametrize("settings", [WITHOUT_SIGN_IN, app_settings.load({**APP_SETTINGS, "WEBSITE_AUTH_ENABLED": "False"})])
def test_the_header_is_trusted_only_while_the_platform_says_that_it_is_on(settings: Settings) -> None:
    """Without App Service Authentication anyone could send the header: then nobody is signed in."""
    assert access.who(Request("GET", "/", headers=operator()), settings) == access.NOBODY


@pytest.mark.parametrize("more", [{"WEBSITE_SITE_NAME": "grantline"}, {"WEBSITE_AUTH_ENABLED": "true"}])
def test_the_development_identity_is_refused_in_the_cloud(more: Mapping[str, str]) -> None:
    """Where App Service runs the app, a setting that makes everybody an operator stops the start."""
    with pytest.raises(app_settings.SettingsError, match="GRANTLINE_DEVELOPMENT_IDENTITY"):
        app_settings.load({**APP_SETTINGS, "GRANTLINE_DEVELOPMENT_IDENTITY": "true", **more})


# --- every answer of the running console ---------------------------------------------------------------------------------------


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("value", ["", "x", "a/b\\c#d?e", "'", "\x00", "é" * 300, "a" * 3000, "%2e%2e"])
@pytest.mark.parametrize("route", ["console_grant", "api_grant", "api_receipt", "consent_begin"])
async def test_any_text_may_stand_in_the_place_of_a_grant(parts: Grantline, route: str, value: str) -> None:
    """There is no such grant: 404 in words, problem details for the API."""
    reply = await ask(parts.container.site, route, headers=operator(), grant_id=value, step="mail_flow_consent")

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
    monkeypatch.setattr(pages, "STATIC", tmp_path / "static")

    given = [
        await bare_site(WITH_SIGN_IN).answer("console_static", Request("GET", "/static/x", route={"file": name}), pages.static)
        for name in (file, "inside.css")
    ]

    assert [reply.status for reply in given] == [404, 200]
    assert [reply.body for reply in given] == ["not found", b"static/inside.css"]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(RuntimeError("an inner detail"), 500, "unexpected"), (TransientError("an inner detail"), 503, "unavailable")],
    ids=["a defect", "storage is away"],
)
async def test_an_error_is_a_page_without_a_trace(error: Exception, status: int, code: str) -> None:
    """The server's fault has the server's status, in plain words; the error's own text is not shown."""

    async def failing(_site: Site, _request: Request) -> Reply:
        raise error

    reply = await bare_site(WITH_SIGN_IN).answer("healthz", Request("GET", "/healthz"), failing)

    assert reply.status == status
    assert CATALOGUE[code].cause in unescape(str(reply.body))
    assert "an inner detail" not in unescape(str(reply.body))
    assert "Error" not in unescape(str(reply.body))
