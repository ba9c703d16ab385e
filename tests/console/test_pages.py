"""The console's pages: every one renders whatever the names are, its forms do what they say, and faults are told in words."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import uuid4

import pytest
import pytest_asyncio

from local import azurite
from shared.domain.decide import Decision
from shared.domain.grant import SUCCESS_MESSAGE, Direction, Grant, Intent, Row, Scope, ScopeKind, Step
from shared.domain.problems import CATALOGUE, Actor, problem
from shared.domain.steps import STEPS, StepName, StepState
from shared.ports import AccountRow
from shared.storage.accounts import row_key
from shared.storage.keys import encode
from shared.web import site
from shared.web.http import MAXIMUM_FORM, Reply, Request
from shared.web.site import View
from shared.web.views import problem_view
from tests.console.markup import Markup
from tests.support.grantline import CONSOLE, Grantline, grantline

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOW = datetime(2026, 11, 23, 12, 30, 15, tzinfo=UTC)
FORM = "application/x-www-form-urlencoded"
_ACCOUNTS = count(1)
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


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def parts() -> AsyncIterator[Grantline]:
    """Give one console for all tests of this module, whose visitors are operators; each test has accounts of its own."""
    async with (
        await azurite.start() as storage,
        grantline(
            storage.connection_string, GRANTLINE_DEVELOPMENT_IDENTITY="true", GRANTLINE_POLICIES="standard,strict"
        ) as parts,
    ):
        yield parts


@pytest.fixture
def account() -> str:
    """Give an account that no other test has."""
    return f"page-{next(_ACCOUNTS)}"


async def ask(parts: Grantline, view: View, url: str = "/", **route: str) -> Reply:
    """Ask for a page."""
    request = Request("GET", urlsplit(url).path, query=dict(parse_qsl(urlsplit(url).query)), route=route)
    return await parts.container.site.answer("console_dashboard", request, view)


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
    assert not names & {"script", "img", "iframe", "object", "style", "svg"}
    assert not [each for each in page.elements for name in each.attributes if name.startswith("on") or name == "style"]
    return page


async def send(parts: Grantline, fields: list[tuple[str, str]] | bytes, content_type: str = FORM) -> Reply:
    """Submit a form to the console, from a page of its own."""
    body = fields if isinstance(fields, bytes) else urlencode(fields).encode()
    request = Request("POST", "/commands", headers={"content-type": content_type, "origin": CONSOLE}, body=body)
    return await parts.container.site.answer("console_command", request, site.command)


def filled(page: Markup, **values: str) -> list[tuple[str, str]]:
    """Return the fields of a page's first form with some filled in."""
    left = dict(page.forms[0].fields) | values
    return [(name, value) for name, value in page.forms[0].fields if name not in values] + [(name, left[name]) for name in values]


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


# --- the dashboard -------------------------------------------------------------------------------------------------------------


@pytest.mark.asyncio(loop_scope="function")
async def test_an_empty_dashboard_says_how_to_begin(storage_connection: str) -> None:
    """Nobody yet: one line that says so, and where to go."""
    async with grantline(storage_connection, GRANTLINE_DEVELOPMENT_IDENTITY="true") as parts:
        page = await look(parts, site.dashboard)

    assert "No account yet" in page.words
    assert page.links()["Grant Access"] == "/grant-access"
    assert "Next page" not in page.links()


async def test_the_dashboard_shows_every_account_once(parts: Grantline) -> None:
    """Fifty a page, by name; the link of each page leads to the next, and the last has none."""
    names = {f"Walked {number:03}" for number in range(104)}
    for number, name in enumerate(sorted(names)):
        await parts.container.storage.accounts.put(account_row(f"walked-{number}", name))

    url, seen, pages = "/", list[str](), 0
    while url:
        page = await look(parts, site.dashboard, url)
        rows = [each.text for each in page.named("th", scope="row")]
        assert len(rows) <= 50
        seen, pages, url = seen + rows, pages + 1, page.links().get("Next page", "")

    assert pages >= 3
    assert sorted(name for name in seen if name.startswith("Walked")) == sorted(names)


@pytest.mark.parametrize("token", ["x", "%%%", "=", "w4k", "////", "a" * 3000])
async def test_a_page_token_that_nobody_gave_begins_anew(parts: Grantline, token: str) -> None:
    """A broken link is no error."""
    first = await look(parts, site.dashboard)

    page = await look(parts, site.dashboard, f"/?{urlencode({'after': token})}")

    assert page.words == first.words


def account_row(account_id: str, name: str, state: str = "in_progress", **changes: Any) -> AccountRow:
    """Return an account's line."""
    return replace(AccountRow(account_id, name, str(uuid4()), state, ("inbound",), None, None, None), **changes)


@pytest.mark.parametrize(
    ("row", "action"),
    [
        (account_row("a", "In progress"), "Continue"),
        (account_row("b", "Waiting", "waiting_for_person"), "Continue"),
        (account_row("c", "Attention", "needs_attention"), "Continue"),
        (account_row("d", "Done", "completed", users_synced=2500, last_sync=NOW), "View"),
        (account_row("e", "Nobody", "not_granted", grant_id="", directions=()), "Grant Access"),
    ],
    ids=lambda value: value.state if isinstance(value, AccountRow) else "",
)
async def test_a_line_of_the_dashboard_says_how_an_account_stands(parts: Grantline, row: AccountRow, action: str) -> None:
    """State, directions, users, last sync, and the one next action."""
    reply = site.page("dashboard.html", rows=[row], following="")

    page = read(reply)

    cells = [each.text.strip() for each in page.named("td")]
    assert row.state.replace("_", " ") in cells
    assert (", ".join(row.directions) or "-") in cells
    assert ("2500" in cells, "2026-11-23 12:30 UTC" in cells) == ((True, True) if row.last_sync else (False, False))
    assert action in cells[-1]
    assert page.links()[action].startswith("/grants/" if row.grant_id else "/grant-access")


# --- names that a careless page would stumble over -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
async def test_any_name_goes_through_every_page(parts: Grantline, account: str, name: str) -> None:
    """The name stands as text on the dashboard, in the form and on the grant's page, and changes nothing around it."""
    await parts.container.storage.accounts.put(account_row(account, name, "not_granted", grant_id=""))
    line = read(site.page("dashboard.html", rows=[account_row(account, name, "not_granted", grant_id="")], following=""))
    form = await look(parts, site.grant_access, next(href for href in line.links().values() if "account_id=" in href))
    assert dict(form.forms[0].fields)["account_name"] == name

    grant = await grant_of(parts, await send(parts, form.forms[0].fields))
    page = await look(parts, site.grant, grant_id=grant.grant_id)

    plain = await look(parts, site.grant, grant_id=await stored(parts, a_grant(*grant.steps.values())))
    assert grant.account_name == name.strip()
    assert page.named("h1")[0].text == name.strip()
    assert [each.name for each in page.elements] == [each.name for each in plain.elements]
    assert [each.text for each in page.named("h2")] == [each.title for each in STEPS.values()]
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
    page, other = await look(parts, site.grant_access), await look(parts, site.grant_access)

    fields = page.forms[0].fields
    assert (page.forms[0].action, page.forms[0].method) == ("/commands", "post")
    assert [value for name, value in fields if name == "directions"] == ["inbound", "outbound"]
    assert {"scope": "all_domains", "policy": "standard", "type": "grant.start"}.items() <= dict(fields).items()
    assert [each.attributes["value"] for each in page.named("option")] == ["standard", "strict"]
    assert dict(fields)["command_id"] != dict(other.forms[0].fields)["command_id"]


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
            {"scope": "group", "group": " pilot@contoso.com "},
            Intent((Direction.INBOUND, Direction.OUTBOUND), Scope(ScopeKind.GROUP, (), "pilot@contoso.com"), "standard"),
        ),
    ],
    ids=["as it stands", "outbound only", "chosen domains", "a group"],
)
async def test_the_form_creates_a_grant(parts: Grantline, account: str, chosen: dict[str, str], intent: Intent) -> None:
    """What was chosen is the grant's intent; who chose it is kept; the browser is led to the grant's page."""
    page = await look(parts, site.grant_access)

    grant = await grant_of(parts, await send(parts, filled(page, account_id=account, account_name="Contoso", **chosen)))

    assert (grant.account_id, grant.account_name, grant.intent) == (account, "Contoso", intent)
    assert grant.created_by == "developer on this machine"
    assert grant.steps[StepName.MAIL_FLOW_CONSENT].state is StepState.WAITING_FOR_PERSON


async def test_a_form_that_is_sent_twice_is_one_grant(parts: Grantline, account: str) -> None:
    """A second click, and a second form for the same account, both lead to the grant that is there."""
    fields = filled(await look(parts, site.grant_access), account_id=account, account_name="Contoso")
    first = await send(parts, fields)

    again = await send(parts, fields)
    other = await send(parts, filled(await look(parts, site.grant_access), account_id=account, account_name="Contoso"))

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
        ({"type": "grant.stop"}, "type"),
        ({"type": "step.nudge"}, "step.nudge"),
        ({"version": "2"}, "version"),
        ({"requested_by": "somebody else", "unheard_of": "x"}, "unheard_of"),
    ],
    ids=lambda value: repr(value)[:50],
)
async def test_a_form_that_cannot_be_taken_says_what_is_wrong(
    parts: Grantline, account: str, changes: dict[str, str], named: str
) -> None:
    """A page in words that names the field and says what to do; nothing is begun."""
    fields = filled(await look(parts, site.grant_access), account_id=account, account_name="Contoso")

    reply = await send(parts, [(name, value) for name, value in fields if name not in changes] + list(changes.items()))

    page = read(reply)
    assert reply.status == 400
    assert "The form can't be taken" in page.words
    assert named in page.words
    assert CATALOGUE["form_unreadable"].fix in page.words
    assert await parts.container.storage.bindings.live_grant(account) is None


WHOLE_FORM = b"type=grant.start&command_id=c&account_id=not-a-form&account_name=x&directions=inbound"


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", FORM),
        (b"&&&===&", FORM),
        (b"\xff\xfe\x00", FORM),
        (WHOLE_FORM + b"&domains=" + b"+" * MAXIMUM_FORM, FORM),
        (WHOLE_FORM, "text/plain"),
        (b'{"type": "grant.start"}', "application/json"),
        (b"type=step.retry", FORM),
        (b"type=step.retry&command_id=c&grant_id=x&step=mail_flow", FORM),
        (f"type=step.retry&command_id=c&grant_id={uuid4()}&step=mail_flow".encode(), FORM),
    ],
    ids=["empty", "no fields", "no text", "too large", "other type", "json", "retry of nothing", "no id", "no such grant"],
)
async def test_what_is_no_form_is_told_in_words(parts: Grantline, body: bytes, content_type: str) -> None:
    """Whatever is sent, the answer is a page that says that it can't be taken."""
    reply = await send(parts, body, content_type)

    assert reply.status == 400
    assert "The form can't be taken" in read(reply).words
    assert await parts.container.storage.bindings.live_grant("not-a-form") is None


# --- a grant's page ------------------------------------------------------------------------------------------------------------

RAW = 'AADSTS65001: <script>alert("1")</script> {{ x }} \u202eright to left\u202c ' + "x" * 1900
HELD = problem("setting_blocks", raw=RAW, correlation_id="7f0d8f3a-0000-4000-8000-000000000001")
IN_STATE = {
    StepState.BLOCKED: {},
    StepState.WAITING_FOR_PERSON: {"who": Actor.TENANT_ADMINISTRATOR, "reason": "Somebody must do something.", "problem": HELD},
    StepState.QUEUED: {"clock": NOW},
    StepState.RUNNING: {"clock": NOW, "run_id": "1"},
    StepState.WAITING: {"clock": NOW, "reason": "Microsoft asks to slow down"},
    StepState.DONE: {"finished_at": NOW + timedelta(seconds=3), "facts": {"users": 7, "groups": 3}},
    StepState.NEEDS_ATTENTION: {"who": Actor.OPERATOR, "reason": "It did not work.", "problem": HELD},
}
"""What a step has in each of its states."""


@pytest.mark.parametrize("name", StepName)
@pytest.mark.parametrize("state", StepState)
async def test_a_grants_page_shows_every_step_in_every_state(parts: Grantline, name: StepName, state: StepState) -> None:
    """Title, state, reason, clock, problem with Microsoft's own words, and the one thing that a person can do."""
    step = replace(Step(name), state=state, started_at=NOW, **IN_STATE[state])  # type: ignore[arg-type] # fields by name
    grant_id = await stored(parts, a_grant(step))

    page = await look(parts, site.grant, grant_id=grant_id)

    shown = next(each for each in page.named("li") if STEPS[name].title in each.text)
    assert state.replace("_", " ") in shown.text
    assert step.reason in shown.text
    assert ("next look at 12:30:15 UTC" in shown.text) is (state is StepState.WAITING)
    assert (HELD.cause in shown.text, HELD.fix in shown.text) == (step.problem is not None,) * 2
    assert [each.text for each in page.named("pre")] == ([RAW] if step.problem else [])
    link, forms = f"/grants/{grant_id}/steps/{name}/begin", [dict(form.fields) for form in page.forms]
    needs_person = state in (StepState.WAITING_FOR_PERSON, StepState.NEEDS_ATTENTION)
    is_persons = STEPS[name].person is not None
    assert (link in page.links().values()) is (needs_person and is_persons)
    assert [form["step"] for form in forms] == ([name] if needs_person and not is_persons else [])


async def test_a_running_sync_shows_how_far_it_is(parts: Grantline) -> None:
    """Users so far while it runs, users and groups when it is done."""
    running = replace(Step(StepName.DIRECTORY_SYNC), state=StepState.RUNNING, started_at=NOW)
    done = replace(running, state=StepState.DONE, finished_at=NOW, facts={"users": 2500, "groups": 3})

    under_way = await look(
        parts, site.grant, grant_id=await stored(parts, a_grant(running), Row("progress", {"users": 1998, "groups": 0}))
    )
    finished = await look(parts, site.grant, grant_id=await stored(parts, a_grant(done)))

    assert "1998 users so far" in under_way.words
    assert "2500 users, 3 groups" in finished.words


async def test_a_completed_grant_says_so_and_rests(parts: Grantline) -> None:
    """The success message, word for word; a page in progress comes again by itself, a finished one does not."""
    facts = {"users": 7, "groups": 3}
    steps = [replace(Step(name), state=StepState.DONE, started_at=NOW, finished_at=NOW, facts=facts) for name in STEPS]
    queued = replace(steps[-1], state=StepState.QUEUED, finished_at=None)

    finished = await look(parts, site.grant, grant_id=await stored(parts, a_grant(*steps)))
    under_way = await look(parts, site.grant, grant_id=await stored(parts, a_grant(*steps[:-1], queued)))

    assert [each.text for each in finished.named("p", role="status")] == [SUCCESS_MESSAGE]
    assert SUCCESS_MESSAGE not in under_way.words
    assert not finished.named("meta", **{"http-equiv": "refresh"})
    assert under_way.named("meta", **{"http-equiv": "refresh"})


async def test_check_again_begins_the_step_once(parts: Grantline) -> None:
    """The button of a step that needs attention queues it; a second click of the same page changes nothing."""
    name = StepName.PREFLIGHT
    step = replace(Step(name), state=StepState.NEEDS_ATTENTION, started_at=NOW, **IN_STATE[StepState.NEEDS_ATTENTION])  # type: ignore[arg-type] # fields by name
    grant_id = await stored(parts, a_grant(step))
    fields = (await look(parts, site.grant, grant_id=grant_id)).forms[0].fields

    replies = [await send(parts, fields), await send(parts, fields)]

    grant = await parts.grant(grant_id)
    assert [reply.headers["location"] for reply in replies] == [f"/grants/{grant_id}"] * 2
    assert (grant.steps[name].state, grant.steps[name].problem) == (StepState.QUEUED, None)
    events = [event for event in await parts.container.storage.grants.events(grant_id) if event.type == "step.retried"]
    assert [event.data["actor"] for event in events] == ["developer on this machine"]


# --- a problem's page ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", CATALOGUE)
async def test_every_problem_has_a_page(code: str) -> None:
    """Cause, what to do, and Microsoft's own words as text."""
    found = problem(code, raw=RAW, correlation_id="an-id")

    page = read(site.page("problem.html", status=400, problem=problem_view(found)))

    assert found.cause in page.words
    assert found.fix in page.words
    assert [each.text for each in page.named("pre")] == [RAW]
    assert "an-id" in page.words
    assert page.links()["Back to Service Status"] == "/"
