"""The console's pages: every one renders whatever the names are, its forms do what they say, and faults are told in words."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from urllib.parse import urlencode

import pytest

from shared import settings as app_settings
from shared.domain.grant import Direction, Grant, Intent, RoleMode, Scope, ScopeKind
from shared.domain.problems import CATALOGUE, problem
from shared.domain.steps import StepName, StepState
from shared.mailflow.desired import planned_objects
from shared.ports import ACCOUNT_STATES, AccountRow
from shared.storage.accounts import row_key
from shared.storage.keys import encode
from shared.web import access, administration, pages
from shared.web.http import MAXIMUM_FORM, Request, Visitor
from shared.web.templates import words
from shared.web.views import problem_view
from tests.console.asking import (
    FORM,
    NAMES,
    NOW,
    a_grant,
    account_row,
    dashboard_of,
    filled,
    grant_of,
    look,
    read,
    rendered,
    send,
    stored,
    with_cookie,
)
from tests.support.app_settings import APP_SETTINGS
from tests.support.grantline import CONSOLE, Grantline, grantline

pytestmark = pytest.mark.asyncio(loop_scope="module")


# --- the dashboard -------------------------------------------------------------------------------------------------------------


@pytest.mark.asyncio(loop_scope="function")
async def test_an_empty_dashboard_says_how_to_begin(storage_connection: str) -> None:
    """Nobody yet: one line that says so, and where to go."""
    async with grantline(storage_connection, GRANTLINE_DEVELOPMENT_IDENTITY="true") as parts:
        page = await look(parts, pages.dashboard)

    assert "No account yet" in page.words
    assert page.links()["Grant Access"] == "/grant-access"
    assert "Next page" not in page.links()
    assert not page.named("nav", **{"aria-label": "Accounts by state"})


async def test_the_dashboard_shows_every_account_once(parts: Grantline) -> None:
    """Fifty a page, by name; the link of each page leads to the next, and the last has none."""
    names = {f"Walked {number:03}" for number in range(104)}
    for number, name in enumerate(sorted(names)):
        await parts.container.storage.accounts.put(account_row(f"walked-{number}", name))

    url, seen, screens = "/?name=walked", list[str](), 0
    while url:
        page = await look(parts, pages.dashboard, url)
        rows = [each.text for each in page.named("th", scope="row")]
        assert len(rows) <= 50
        seen, screens, url = seen + rows, screens + 1, page.links().get("Next page", "")

    assert screens == 3
    assert sorted(seen) == sorted(names)


@pytest.mark.parametrize("token", ["x", "%%%", "=", "w4k", "////", "a" * 3000])
async def test_a_page_token_that_nobody_gave_begins_anew(parts: Grantline, token: str) -> None:
    """A broken link is no error."""
    first = await look(parts, pages.dashboard)

    page = await look(parts, pages.dashboard, f"/?{urlencode({'after': token})}")

    assert [each.text for each in page.named("th", scope="row")] == [each.text for each in first.named("th", scope="row")]


@pytest.mark.parametrize(
    ("row", "action"),
    [
        (account_row("a", "In progress"), "Continue"),
        (account_row("b", "Waiting", "waiting_for_person"), "Continue"),
        (account_row("c", "Attention", "needs_attention"), "Fix"),
        (account_row("d", "Done", "completed", users_synced=2500, last_sync=NOW), "View"),
        (account_row("e", "Nobody", "not_granted", grant_id="", directions=()), "Grant Access"),
        (account_row("f", "Released", "released"), "Start again"),
    ],
    ids=lambda value: value.state if isinstance(value, AccountRow) else "",
)
async def test_a_line_of_the_dashboard_says_how_an_account_stands(parts: Grantline, row: AccountRow, action: str) -> None:
    """State, directions, users, last sync, and the one next action."""
    page = dashboard_of(parts, row)

    cells = [each.text.strip() for each in page.named("td")]
    assert words(row.state) in cells
    assert (", ".join(map(words, row.directions)) or "-") in cells
    assert ("2,500" in cells, "Nov 23, 2026, 12:30:15 UTC" in cells) == ((True, True) if row.last_sync else (False, False))
    assert action in cells[-1]
    leads_to_form = not row.grant_id or row.state == "released"
    assert page.links()[action].startswith("/grant-access?account_id=" if leads_to_form else "/grants/")


# --- names that a careless page would stumble over -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
async def test_any_name_goes_through_every_page(parts: Grantline, account: str, name: str) -> None:
    """The name stands as text on the dashboard, in the form and on the grant's page, and changes nothing around it."""
    await parts.container.storage.accounts.put(account_row(account, name, "not_granted", grant_id=""))
    line = dashboard_of(parts, account_row(account, name, "not_granted", grant_id=""))
    form = await look(parts, pages.grant_access, next(href for href in line.links().values() if "account_id=" in href))
    assert dict(form.forms[0].fields)["account_name"] == name

    grant = await grant_of(parts, await send(parts, form.forms[0].fields))
    page = await look(parts, pages.grant, grant_id=grant.grant_id)

    plain = await look(parts, pages.grant, grant_id=await stored(parts, a_grant(*grant.steps.values())))
    assert grant.account_name == name.strip()
    assert page.named("bdi")[1].text == name.strip()
    assert [each.name for each in page.elements] == [each.name for each in plain.elements]
    assert [each.text for each in page.named("h2")] == [each.text for each in plain.named("h2")]
    listed = [row async for row in all_accounts(parts) if row.account_id == account]
    assert [row.account_name for row in listed if row.grant_id] == [grant.account_name]


async def all_accounts(parts: Grantline) -> AsyncIterator[AccountRow]:
    """Yield every line of the console's list."""
    after = ""
    while True:
        rows, after = await parts.container.storage.accounts.page(after=after)
        for row in rows:
            yield row
        if not after:
            return


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
async def test_any_name_makes_a_key_that_table_storage_takes(name: str) -> None:
    """A key holds 1 KiB of UTF-16; Azurite does not check it, so the list would break in the cloud alone."""
    key = encode(row_key(account_row("a" * 64, name)))

    assert len(key.encode("utf-16-le", "surrogatepass")) <= 1024


# --- the form that starts a grant ----------------------------------------------------------------------------------------------


async def test_the_form_offers_what_can_be_chosen(parts: Grantline) -> None:
    """Both directions and all domains are preselected, and the first policy; each form is a command of its own."""
    page, other = await look(parts, pages.grant_access), await look(parts, pages.grant_access)

    fields = page.forms[0].fields
    assert (page.forms[0].action, page.forms[0].method) == ("/grant-access", "post")
    assert [value for name, value in fields if name == "directions"] == ["inbound", "outbound"]
    assert {"scope": "all_domains", "policy": "standard", "role_mode": "sign_in", "tenant": ""}.items() <= dict(fields).items()
    assert [each.attributes["value"] for each in page.named("option")] == ["standard", "strict"]
    assert dict(fields)["command_id"] != dict(other.forms[0].fields)["command_id"]


async def test_the_form_tells_what_is_asked_and_made_before_the_first_click(parts: Grantline) -> None:
    """Every permission with its reason and risk, and every object with what it is for, stand above the button."""
    page = await look(parts, pages.grant_access)

    identity = parts.container.microsoft.identity
    asked = [each for name in ("mail_flow", "role_helper", "directory") for each in identity.asked_permissions(name)]
    told = [text for each in asked for text in (each.name, each.reason, each.risk)]
    told += [text for each in planned_objects(parts.settings) for text in (each.name, each.purpose)]
    assert [text for text in told if " ".join(text.split()) not in page.words] == []
    assert page.words.index(told[-1]) < page.words.rindex("Begin")


@pytest.mark.parametrize(
    ("chosen", "intent"),
    [
        ({}, Intent((Direction.INBOUND, Direction.OUTBOUND), Scope(), "standard")),
        ({"directions": "outbound", "policy": "strict"}, Intent((Direction.OUTBOUND,), Scope(), "strict")),
        (
            {"scope": "domains", "domains": " Contoso.com,  fabrikam.com\n"},
            Intent(
                (Direction.INBOUND, Direction.OUTBOUND), Scope(ScopeKind.DOMAINS, ("contoso.com", "fabrikam.com")), "standard"
            ),
        ),
        (
            {"role_mode": "by_hand"},
            Intent((Direction.INBOUND, Direction.OUTBOUND), Scope(), "standard", RoleMode.BY_HAND),
        ),
        (
            {"scope": "group", "group": " pilot@contoso.com "},
            Intent((Direction.INBOUND, Direction.OUTBOUND), Scope(ScopeKind.GROUP, (), "pilot@contoso.com"), "standard"),
        ),
        (
            {"scope": "users", "users": " Ada@contoso.com\r\n\r\nbob@contoso.com; ada@CONTOSO.com,\r\n"},
            Intent(
                (Direction.INBOUND, Direction.OUTBOUND),
                Scope(ScopeKind.USERS, users=("Ada@contoso.com", "bob@contoso.com")),
                "standard",
            ),
        ),
    ],
    ids=["as it stands", "outbound only", "chosen domains", "by hand", "a group", "people"],
)
async def test_the_form_creates_a_grant(parts: Grantline, account: str, chosen: dict[str, str], intent: Intent) -> None:
    """What was chosen is the grant's intent; who chose it is kept; the browser is led to the grant's page."""
    page = await look(parts, pages.grant_access)

    grant = await grant_of(parts, await send(parts, filled(page, account_id=account, account_name="Contoso", **chosen)))

    assert (grant.account_id, grant.account_name, grant.intent) == (account, "Contoso", intent)
    assert grant.created_by == "developer on this machine"
    assert grant.steps[StepName.MAIL_FLOW_CONSENT].state is StepState.WAITING_FOR_PERSON


async def test_a_form_that_is_sent_twice_is_one_grant(parts: Grantline, account: str) -> None:
    """A second click, and a second form for the same account, both lead to the grant that is there."""
    fields = filled(await look(parts, pages.grant_access), account_id=account, account_name="Contoso")
    first = await send(parts, fields)

    again = await send(parts, fields)
    other = await send(parts, filled(await look(parts, pages.grant_access), account_id=account, account_name="Contoso"))

    assert again.headers["location"] == other.headers["location"] == first.headers["location"]
    assert await parts.events((await grant_of(parts, first)).grant_id) == ["grant.created"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"account_id": ""}, "account_id"),
        ({"account_id": "a b"}, "account_id"),
        ({"account_id": "../x"}, "account_id"),
        ({"account_id": "a" * 65}, "account_id"),
        ({"account_name": " "}, "account_name"),
        ({"account_name": "W" * 257}, "account_name"),
        ({"directions": "sideways"}, "directions"),
        ({"scope": "domains"}, "scope domains"),
        ({"scope": "domains", "domains": "not_a_domain"}, "domains"),
        ({"scope": "group"}, "scope group"),
        ({"scope": "everybody"}, "scope"),
        ({"policy": "nobody offers this"}, "policy"),
        ({"command_id": "<script>"}, "command_id"),
        ({"role_mode": "by magic"}, "role_mode"),
        ({"version": "2"}, "version"),
        ({"requested_by": "somebody else", "unheard_of": "x"}, "unheard_of"),
    ],
    ids=lambda value: repr(value)[:50],
)
async def test_a_form_that_cannot_be_taken_says_what_is_wrong(
    parts: Grantline, account: str, changes: dict[str, str], named: str
) -> None:
    """A page in words that names the field and says what to do; nothing is begun."""
    fields = filled(await look(parts, pages.grant_access), account_id=account, account_name="Contoso")

    reply = await send(parts, [(name, value) for name, value in fields if name not in changes] + list(changes.items()))

    page = read(reply)
    assert reply.status == 400
    assert "The form can't be taken" in page.words
    assert named in page.words
    assert CATALOGUE["form_unreadable"].fix in page.words
    assert await parts.container.storage.bindings.live_grant(account) is None


HUNDRED = [f"user{number}@contoso.com" for number in range(100)]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"scope": "users"}, "Enter at least one address."),
        ({"scope": "users", "users": " \r\n,;"}, "Enter at least one address."),
        (
            {"scope": "users", "users": "ada@contoso.com\nbob\n<b>@contoso.com"},
            "No user principal name and no e-mail address: bob, <b>@contoso.com.",
        ),
        (
            {"scope": "users", "users": " ".join("abcdefg") + " " + "w" * 90},
            "No user principal name and no e-mail address: a, b, c, d, e and 3 more.",
        ),
        ({"scope": "users", "users": "w" * 90}, f"no e-mail address: {'w' * 80}…."),
        (
            {"scope": "users", "users": "\n".join([*HUNDRED, "one.more@contoso.com"])},
            "101 people are entered, and at most 100 can be",
        ),
        ({"scope": "group", "group": "pilot@contoso.com", "users": "ada@contoso.com"}, "but not chosen above"),
    ],
    ids=["none", "blanks", "wrong ones", "many wrong ones", "a long one", "too many", "another choice"],
)
async def test_what_is_wrong_with_people_is_told_at_their_field(
    parts: Grantline, account: str, changes: dict[str, str], told: str
) -> None:
    """The form comes back with all that was entered; the field says what is wrong with it, and so does the page's beginning."""
    entered = {"account_id": account, "account_name": "Con <toso>", "tenant": "contoso.com", "domains": "a.example"}
    entered |= {"role_mode": "by_hand", "directions": "outbound", **changes}

    reply = await send(parts, filled(await look(parts, pages.grant_access), policy="strict", **entered))

    page = read(reply)
    (area,), (fault,) = page.named("textarea"), page.named("span", id="users_fault")
    assert reply.status == 400
    assert told in fault.text
    assert page.words.count(fault.text) == 2
    assert page.links()["Selected people"] == "#users"
    assert page.named("div", role="alert")
    assert (area.attributes["aria-invalid"], area.attributes["aria-describedby"]) == ("true", "users_hint users_fault")
    assert dict(page.forms[0].fields).items() >= entered.items()
    assert [value for name, value in page.forms[0].fields if name == "directions"] == ["outbound"]
    assert [each.attributes["value"] for each in page.named("option", selected="")] == ["strict"]
    assert await parts.container.storage.bindings.live_grant(account) is None


async def test_people_are_named_in_plain_words(parts: Grantline) -> None:
    """A few of them at once, all of them on demand; where there are few, nothing is hidden."""
    few, many = (Scope(ScopeKind.USERS, users=tuple(names)) for names in (HUNDRED[:3], HUNDRED))

    shown = [await look(parts, pages.grant, grant_id=await stored(parts, _scoped(scope))) for scope in (few, many)]

    assert "Selected people: user0@contoso.com, user1@contoso.com, user2@contoso.com Policy" in shown[0].words
    assert "Selected people: user0@contoso.com, user1@contoso.com, user2@contoso.com and 97 more All 100 people" in shown[1].words
    assert "user99@contoso.com" in shown[1].words


def _scoped(scope: Scope) -> Grant:
    grant = a_grant()
    return replace(grant, intent=replace(grant.intent, scope=scope))


WHOLE_FORM = b"type=grant.start&command_id=c&account_id=not-a-form&account_name=x&directions=inbound"


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", FORM),
        (b"&&&===&", FORM),
        (b"\xff\xfe\x00", FORM),
        (WHOLE_FORM + b"&domains=" + b"+" * MAXIMUM_FORM, FORM),
        (WHOLE_FORM, "text/plain"),
        (b"type=step.retry&command_id=c&grant_id=x&step=mail_flow", FORM),
    ],
    ids=["empty", "no fields", "no text", "too large", "other type", "another command"],
)
async def test_what_is_no_form_is_told_in_words(parts: Grantline, body: bytes, content_type: str) -> None:
    """Whatever is sent, the answer is a page that says that it can't be taken, or that no page of ours has sent it."""
    reply = await send(parts, body, content_type)

    is_form = content_type == FORM and len(body) < MAXIMUM_FORM
    assert reply.status == (400 if is_form else 403)
    assert ("The form can't be taken" if is_form else CATALOGUE["form_expired"].cause) in read(reply).words
    assert await parts.container.storage.bindings.live_grant("not-a-form") is None


@pytest.mark.parametrize("wrong", ["nobody.example.org", "7f0d8f3a-0000-4000-8000-000000000001", "not a domain", "../x"])
async def test_a_tenant_that_nobody_knows_is_told(parts: Grantline, account: str, wrong: str) -> None:
    """A domain or an id that Microsoft does not know would shut everybody out: it is refused, and nothing is begun."""
    form = await look(parts, pages.grant_access)

    reply = await send(parts, filled(form, account_id=account, account_name="Contoso", tenant=wrong))

    assert (reply.status, read(reply).words.count(CATALOGUE["tenant_unknown"].cause)) == (400, 1)
    assert await parts.container.storage.bindings.live_grant(account) is None


@pytest.mark.parametrize("by", ["domain", "id"])
async def test_a_tenant_is_named_by_its_id_or_a_domain(parts: Grantline, account: str, by: str) -> None:
    """Either, in any letter case, is the tenant that alone may go on."""
    tenant_id = parts.person()["tenant_id"]
    named = {"domain": " Contoso.com", "id": tenant_id.upper()}[by]
    form = await look(parts, pages.grant_access)

    reply = await send(parts, filled(form, account_id=account, account_name="Contoso", tenant=named))

    assert (await grant_of(parts, reply)).intent.expected_tenant == tenant_id


# --- what can be searched, counted and dismissed -------------------------------------------------------------------------------


async def test_the_dashboard_is_searched_by_name_and_filtered_by_state(parts: Grantline) -> None:
    """What is typed stays in the form; the page that follows keeps it; nothing found is said in words, with a way back."""
    for number in range(53):
        await parts.container.storage.accounts.put(account_row(f"s{number}", f"Søk & Finn {number:02}", "needs_attention"))
    await parts.container.storage.accounts.put(account_row("s-other", "Søk & Finn else", "in_progress"))

    found = await look(parts, pages.dashboard, f"/?{urlencode({'name': 'søk & f', 'state': 'needs_attention'})}")
    rest = await look(parts, pages.dashboard, found.links()["Next page"])
    nothing = await look(parts, pages.dashboard, f"/?{urlencode({'name': 'zzz'})}")

    assert dict(found.forms[-1].fields)["name"] == "søk & f"
    assert found.named("option", value="needs_attention", selected="")
    assert len(found.named("th", scope="row")) == 50
    assert [each.text for each in rest.named("th", scope="row")] == [f"Søk & Finn {number}" for number in (50, 51, 52)]
    assert (nothing.words.count("No account matches."), nothing.links()["Show all accounts"]) == (1, "/")


async def test_the_counters_are_the_timers_and_say_of_when(parts: Grantline) -> None:
    """Counted by the timer, not by the page; each counter leads to its accounts."""
    accounts = parts.container.storage.accounts
    await accounts.keep_counts({"needs_attention": 3, "completed": 9_990, "not_granted": 7}, NOW)

    page = await look(parts, pages.dashboard)

    links = [each for each in page.named("a") if each.attributes["href"].startswith("/?state")]
    counted = {each.text.rsplit(" ", 1)[0]: each.attributes["href"] for each in links}
    assert set(map(words, ACCOUNT_STATES)) == set(counted)
    assert counted["Granted"] == "/?state=completed"
    assert "All 10000" in page.words
    assert "Counted at Nov 23, 2026, 12:30:15 UTC" in page.words


async def test_the_banner_tells_reason_and_permission_until_it_is_dismissed(parts: Grantline) -> None:
    """It stands where an account on the screen could grant the permission; a click hides it from this browser."""
    asking = account_row("asking", "Asking", "completed", asks_activity=True, is_service_account=True)
    await parts.container.storage.accounts.put(asking)
    page = await look(parts, pages.dashboard, "/?name=asking")
    headers = {"content-type": FORM, "origin": CONSOLE, **with_cookie(parts)}
    dismiss = Request("POST", "/dismiss", headers=headers, body=urlencode(page.forms[0].fields).encode())

    answer = await parts.container.site.answer("console_dismiss", dismiss, pages.dismiss)
    cookies = f"{with_cookie(parts)['cookie']}; {answer.headers['set-cookie'].split(';')[0]}"
    again = Request("GET", "/", {"name": "asking"}, headers={"cookie": cookies})
    later = await parts.container.site.answer("console_dashboard", again, pages.dashboard)

    banner = page.named("section", **{"aria-label": "Activity data"})[0]
    assert "ActivityFeed.Read" in banner.text
    assert page.links()["Grant Permission"] == f"/grants/{asking.grant_id}/steps/activity_consent/begin"
    assert answer.headers["location"] == "/"
    assert not read(later).named("section", **{"aria-label": "Activity data"})


async def test_service_accounts_are_listed_with_tenant_and_maker(parts: Grantline) -> None:
    """What the seed's screen shows of a service account, and the actions that work today."""
    tenant = {"tenant_id": "0b2c", "tenant_name": "Fabrikam Inc", "created_by": "ann"}
    row = account_row("sa", "Fabrikam", "completed", **tenant, is_service_account=True, last_sync=NOW)
    await parts.container.storage.accounts.put(row)

    page = await look(parts, administration.service_accounts)

    line = next(each.text for each in page.named("tr") if "Fabrikam Inc" in each.text)
    for told in ("0b2c", "Exchange Online (Inline Mode)", "Fabrikam", "Inbound", "Active", "ann", "Nov 23, 2026, 12:30:15 UTC"):
        assert told in line
    assert page.links()["Details"].startswith("/grants/")


@pytest.mark.parametrize(("role", "acts"), [(access.Role.VIEWER, False), (access.Role.OPERATOR, True)])
async def test_a_viewer_sees_and_cannot_act(parts: Grantline, role: access.Role, *, acts: bool) -> None:
    """No button or link that would be refused: an operator has them, a viewer has none."""
    visitor = Visitor("somebody", role)
    row = account_row("v", "V", "completed", asks_activity=True)
    banner = {"permissions": (), "link": "/x"}

    accounts = rendered(parts, "service_accounts.html", visitor=visitor, rows=[row], after="", following="", offers_activity=True)
    status = dashboard_of(parts, row, account_row("n", "N", "not_granted", grant_id=""), visitor=visitor, banner=banner)

    assert ("Grant Permission to read activity data" in accounts.links()) is acts
    assert ("Grant Access" in status.links(), "Grant Permission" in status.links()) == (acts, acts)
    assert status.links()["View"] == f"/grants/{row.grant_id}"


@pytest.mark.parametrize(
    ("clock", "told"), [(None, "-"), (NOW, "Now"), (NOW + timedelta(seconds=1), "Nov 23, 2026, 12:30:16 UTC")]
)
async def test_the_next_clock_is_never_in_the_past(parts: Grantline, clock: datetime | None, told: str) -> None:
    """The list is a projection and may lag: what is due is told as due."""
    page = dashboard_of(parts, account_row("c", "C", next_clock=clock))

    assert [each.text for each in page.named("td", **{"data-label": "Next clock"})] == [told]


# --- a problem's page ----------------------------------------------------------------------------------------------------------

RAW = 'AADSTS65001: <script>alert("1")</script> {{ x }} \u202eright to left\u202c ' + "x" * 1900


@pytest.mark.parametrize("code", CATALOGUE)
async def test_every_problem_has_a_page(parts: Grantline, code: str) -> None:
    """Cause, what to do, who, and Microsoft's own words as text."""
    found = problem(code, raw=RAW, correlation_id="an-id")

    page = rendered(parts, "problem.html", status=400, problem=problem_view(found), back="/grants/x", sign_in="", transfer="")

    assert found.cause in page.words
    assert found.fix in page.words
    assert words(found.who) in page.words
    assert [each.text for each in page.named("pre")] == [RAW]
    assert "an-id" in page.words
    assert (page.links()["Back to the grant"], page.links()["Go to Service Status"]) == ("/grants/x", "/")


async def test_the_dashboard_knows_every_state_of_an_account() -> None:
    """No state without its filter and its counter."""
    assert set(pages.STATES) == set(ACCOUNT_STATES)


@pytest.mark.parametrize(
    ("settings", "headers", "method", "link"),
    [
        ({"WEBSITE_AUTH_ENABLED": "True"}, {}, "GET", "/.auth/login/aad?post_login_redirect_uri=%2Fservice-accounts"),
        ({"WEBSITE_AUTH_ENABLED": "True"}, {}, "POST", "/.auth/login/aad?post_login_redirect_uri=%2F"),
        ({"WEBSITE_AUTH_ENABLED": "True"}, {"x-ms-client-principal": "e30="}, "GET", ""),
        ({}, {}, "GET", ""),
    ],
    ids=["nobody", "a form of nobody", "signed in without a role", "no sign-in on this platform"],
)
async def test_who_is_not_signed_in_is_shown_where_to(
    parts: Grantline, settings: dict[str, str], headers: dict[str, str], method: str, link: str
) -> None:
    """A button to App Service's own sign-in, which leads back; none where it would not help."""
    refusing = replace(parts.container.site, settings=app_settings.load({**APP_SETTINGS, **settings}))

    reply = await refusing.answer(
        "console_service_accounts", Request(method, "/service-accounts", headers=headers), pages.dashboard
    )

    assert (reply.status, read(reply).links().get("Sign in", "")) == (403, link)
