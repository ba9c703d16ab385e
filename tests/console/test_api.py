"""The JSON API by the front door: what it does, what it refuses and how it says so. Every reply is one that is documented."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from local import azurite
from shared.domain.grant import SUCCESS_MESSAGE
from shared.domain.steps import StepName
from shared.ports import AccountRow, TransientError
from shared.web.access import Role
from shared.web.openapi import document
from shared.web.reading import MAXIMUM_BODY
from tests.security.routes import ROUTES
from tests.security.visitor import operator
from tests.support.grantline import Grantline, grantline
from tests.support.program import Answer, Program

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOW = datetime(2026, 11, 23, 12, 30, 15, tzinfo=UTC)
_ACCOUNTS = count(1)
NAMES = {
    "markup": "</title><script>alert(1)</script>&amp;\"'",
    "right to left": "\u202egpj.exe\u202c \u2066אבגד\u2069",
    "emoji": "👩‍👩‍👧‍👦 Ünïcode ﷽",
    "control": "line\nbreak\ttab\x00nul\x85\x1b[31m",
    "slashes": "/\\#?%" * 51,
    "long": "W" * 256,
    "long emoji": "🦊" * 256,
    "key": "~|\uffff",
}
HOSTILE_IDS = [
    *("x", "..", ".", "../grant", "a/b", "%2F", "a?b", "a#b", "\\", "'", "' or PartitionKey ne '", "\x00", "\n", "\ud7ff\uffff"),
    *("0" * 2000, "ΐ" * 600, str(uuid4()).upper(), f"{uuid4()}\n", f"{{{uuid4()}}}", uuid4().hex),
]
OF_A_GRANT = [name for name, route in ROUTES.items() if route.is_api and "{grant_id}" in route.address]
READING = [name for name, route in ROUTES.items() if route.is_api and route.method == "GET"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def parts() -> AsyncIterator[Grantline]:
    """Give one Grantline, with App Service Authentication on, for all tests of this module; each has accounts of its own."""
    async with (
        await azurite.start() as storage,
        grantline(storage.connection_string, WEBSITE_AUTH_ENABLED="true", GRANTLINE_POLICIES="standard,strict") as parts,
    ):
        yield parts


@pytest.fixture
def program(parts: Grantline) -> Program:
    """Give a program that is signed in as an operator."""
    return Program(parts.container.site)


@pytest.fixture
def account() -> str:
    """Give an account that no other test has."""
    return f"api-{next(_ACCOUNTS)}"


class Away:
    """Storage that is away."""

    async def page(self, *_: Any, **__: Any) -> Any:
        """Fail as storage does."""
        raise TransientError("Azure Storage: 503")

    load = page


def wanted(account_id: str, **more: Any) -> dict[str, Any]:
    """Return the body that starts a grant."""
    return {"account_id": account_id, "account_name": account_id.title(), **more}


async def started(program: Program, account_id: str, **more: Any) -> str:
    """Start a grant; return its id."""
    answer = await program.post("api_start", wanted(account_id, **more), key=f"start-{account_id}")
    assert answer.status == 202
    return str(answer.json["grant_id"])


def places(answer: Answer) -> list[str]:
    """Return where the errors of a refusal are."""
    assert (answer.status, answer.json["code"]) == (400, "request_unreadable")
    return sorted(
        next((error[name] for name in ("pointer", "parameter", "header") if name in error), "") for error in answer.json["errors"]
    )


# --- a grant is started --------------------------------------------------------------------------------------------------------


async def test_a_grant_is_started(parts: Grantline, program: Program, account: str) -> None:
    """Accepted, with its address and live state; who asked is who is signed in."""
    body = wanted(
        account,
        directions=["outbound"],
        scope={"kind": "domains", "domains": ["a.example"]},
        policy="strict",
        role_mode="by_hand",
    )
    answer = await program.post("api_start", body, key="k1")

    grant = await parts.grant(answer.json["grant_id"])
    assert (answer.status, answer.headers["location"]) == (202, f"/api/v1/grants/{grant.grant_id}")
    assert (grant.account_id, grant.created_by) == (account, "operator@vendor.example")
    assert (answer.json["state"], answer.json["directions"], answer.json["policy"]) == (
        "waiting_for_person",
        ["outbound"],
        "strict",
    )
    assert (answer.json["scope"], answer.json["role_mode"]) == (
        {"kind": "domains", "domains": ["a.example"], "group": ""},
        "by_hand",
    )


@pytest.mark.parametrize("again", ["k-1.x", '"k-1.x"'], ids=["as it was", "as a structured field"])
async def test_the_same_key_is_the_same_grant(parts: Grantline, program: Program, account: str, again: str) -> None:
    """Sent once more, by whoever, however spelt: the same answer, and nothing was done twice."""
    first = await program.post("api_start", wanted(account, policy="strict"), key="k-1.x")
    colleague = replace(program, headers=operator("colleague@vendor.example"))
    second = await colleague.post("api_start", {"policy": "strict", **wanted(account)}, key=again)

    assert (second.status, second.headers["location"], second.json) == (202, first.headers["location"], first.json)
    assert (await parts.events(first.json["grant_id"])).count("grant.created") == 1


async def test_a_key_that_was_used_for_another_body_is_refused(program: Program, account: str) -> None:
    """What was done first stands."""
    first = await program.post("api_start", wanted(account), key="k")

    second = await program.post("api_start", wanted(account, policy="strict"), key="k")

    assert (second.status, second.json["code"]) == (422, "command_reused")
    assert (await program.get("api_grant", grant_id=first.json["grant_id"])).json["policy"] == "standard"


async def test_an_account_has_one_grant(program: Program, account: str) -> None:
    """Another key for the same account is told which grant there is."""
    grant_id = await started(program, account)

    answer = await program.post("api_start", wanted(account), key="another")

    assert (answer.status, answer.json["code"], answer.json["grant"]) == (409, "account_has_grant", f"/api/v1/grants/{grant_id}")


async def test_the_same_request_sent_at_once_starts_one_grant(parts: Grantline, program: Program, account: str) -> None:
    """A program that lost patience: both answers are the one grant."""
    answers = await asyncio.gather(*(program.post("api_start", wanted(account), key="k") for _ in range(4)))

    assert {answer.status for answer in answers} == {202}
    grant_ids = {answer.json["grant_id"] for answer in answers}
    assert len(grant_ids) == 1
    assert (await parts.events(grant_ids.pop())).count("grant.created") == 1


async def test_rivals_start_one_grant(program: Program, account: str) -> None:
    """Several operators at once: one gets the grant, the others are refused, and whoever asks later is told of that one."""
    answers = await asyncio.gather(*(program.post("api_start", wanted(account), key=f"k{number}") for number in range(4)))
    later = await program.post("api_start", wanted(account), key="later")

    assert sorted(answer.status for answer in answers) == [202, 409, 409, 409]
    assert [answer.headers["location"] for answer in answers if answer.status == 202] == [later.json["grant"]]


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
async def test_any_name_comes_back_as_it_is(program: Program, account: str, name: str) -> None:
    """In the answer, the live state and the list."""
    grant_id = await started(program, account, account_name=name)

    assert (await program.get("api_grant", grant_id=grant_id)).json["account_name"] == name
    found = [item for item in await listed(program, "api_accounts") if item["account_id"] == account]
    assert [(item["account_name"], item["grant_id"]) for item in found] == [(name, grant_id)]


# --- what can't be taken -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b"", ["#"]),
        (b"{", ["#"]),
        (b"\xff\xfe", ["#"]),
        (b'{"account_id": "\\ud800"}', ["#"]),
        (b"[" * 20_000, ["#"]),
        (b"null", ["#"]),
        (b"[]", ["#"]),
        ({}, ["#/account_id", "#/account_name"]),
        ({"account_id": "a b", "account_name": " "}, ["#/account_id", "#/account_name"]),
        ({"account_id": "a", "account_name": "W" * 257}, ["#/account_name"]),
        ({"account_id": 7, "account_name": None}, ["#/account_id", "#/account_name"]),
        (
            wanted("a", requested_by="me", command_id="x", type="grant.start", version=1),
            [*map("#/{}".format, ("command_id", "requested_by", "type", "version"))],
        ),
        (wanted("a", **{"a/b~c": 1}), ["#/a~1b~0c"]),
        (wanted("a", scope={"kind": "domains", "domains": ["-", "ok.example"]}), ["#/scope/domains/0"]),
        (wanted("a", directions=[], tenant_id="contoso"), ["#/directions", "#/tenant_id", "#/tenant_id"]),
        (wanted("a", scope={"kind": "group"}), [""]),
        (wanted("a", policy="unheard of"), [""]),
    ],
    ids=lambda value: repr(value)[:40],
)
async def test_a_body_that_cant_be_taken_is_told_whole(program: Program, body: Any, where: list[str]) -> None:
    """Every fault with its place; nothing is started."""
    answer = await program.post("api_start", body, key="k")

    assert places(answer) == where


@pytest.mark.parametrize("key", [None, "", "a b", "ü", '"', '"a', "a" * 65, "a\x00"])
async def test_without_a_key_nothing_is_done(program: Program, account: str, key: str | None) -> None:
    """The header is needed, and its faults are told together with those of the body."""
    answer = await program.post("api_start", wanted(account, colour="red"), key=key)

    assert places(answer) == ["#/colour", "Idempotency-Key"]


async def test_a_thousand_faults_are_told_in_part(program: Program) -> None:
    """An answer has its limits, too."""
    answer = await program.post("api_start", {f"field-{number}": number for number in range(1000)}, key="k")

    assert len(places(answer)) == 100


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonp"]
)
async def test_only_json_is_taken(program: Program, content_type: str) -> None:
    """What a form of another site could send is refused before it is read."""
    answer = await program.post("api_start", wanted("a"), key="k", headers={"content-type": content_type})

    assert (answer.status, answer.json["code"]) == (415, "not_json")


async def test_json_may_name_its_encoding(program: Program, account: str) -> None:
    """A parameter of the content type is no other type, whatever its letter case."""
    answer = await program.post(
        "api_start", wanted(account), key="k", headers={"content-type": "Application/JSON; charset=utf-8"}
    )

    assert answer.status == 202


async def test_a_body_that_is_too_large_is_not_read(program: Program) -> None:
    """More than any that can be meant."""
    answer = await program.post("api_start", b" " * (MAXIMUM_BODY + 1), key="k")

    assert (answer.status, answer.json["code"]) == (413, "body_too_large")


@pytest.mark.parametrize("query", ["count=0", "count=101", "count=-1", "count=x", "count=1,2", f"count={'9' * 5000}"])
@pytest.mark.parametrize("function", ["api_accounts", "api_service_accounts", "api_events"])
async def test_a_page_has_one_to_a_hundred_items(program: Program, account: str, function: str, query: str) -> None:
    """A count that is none is told."""
    route = {"grant_id": await started(program, account)} if function in OF_A_GRANT else {}

    assert places(await program.get(function, query, **route)) == ["count"]


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ("state=open", {"state"}),
        (f"name={'W' * 257}", {"name"}),
        (f"after={'a' * 1025}", {"after"}),
        ("after=%25", {"after"}),
        ("after=a/b", {"after"}),
        ("state=x&count=0", {"count", "state"}),
    ],
)
async def test_a_query_that_cant_be_taken_is_told(program: Program, query: str, where: set[str]) -> None:
    """By the parameter's name."""
    assert set(places(await program.get("api_accounts", query))) == where


@pytest.mark.parametrize("grant_id", HOSTILE_IDS)
@pytest.mark.parametrize("function", OF_A_GRANT)
async def test_what_can_be_no_grant_is_unknown(program: Program, function: str, grant_id: str) -> None:
    """Whatever stands in the address's place of an id: there is no such grant, and storage is not asked for it.

    Azure refuses keys that Azurite takes: learn.microsoft.com/rest/api/storageservices/understanding-the-table-service-data-model
    """
    site = replace(program.site, grants=Away())  # type: ignore[arg-type] # nothing is asked of it
    program = replace(program, site=site)
    if ROUTES[function].method == "GET":
        answer = await program.get(function, grant_id=grant_id)
    else:
        answer = await program.post(function, {}, key="k", grant_id=grant_id)

    assert (answer.status, answer.json["code"]) == (404, "grant_unknown")


# --- who ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 401, "sign_in_needed"),
        (operator("guest@vendor.example", ""), 403, "not_allowed"),
        (operator("viewer@vendor.example", Role.VIEWER), 403, "not_allowed"),
    ],
    ids=["nobody", "no role", "viewer"],
)
async def test_who_may_not_start_is_told_why(
    program: Program, account: str, headers: dict[str, str], status: int, code: str
) -> None:
    """401 names the way to sign in; who is signed in already is told that it does not help."""
    answer = await replace(program, headers=headers).post("api_start", wanted(account), key="k")

    assert (answer.status, answer.json["code"], answer.headers.get("www-authenticate")) == (
        status,
        code,
        "Bearer" if status == 401 else None,
    )


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
async def test_another_site_cant_send(program: Program, account: str, origin: str) -> None:
    """A browser says where a request comes from."""
    answer = await program.post("api_start", wanted(account), key="k", headers={"origin": origin})

    assert (answer.status, answer.json["code"]) == (403, "form_expired")


# --- lists ---------------------------------------------------------------------------------------------------------------------


async def listed(program: Program, function: str, query: str = "count=100", **route: str) -> list[dict[str, Any]]:
    """Return all items of a list, page by page."""
    items, after = list[dict[str, Any]](), ""
    while True:
        answer = await program.get(function, f"{query}&after={after}", **route)
        assert answer.status == 200
        items += answer.json["items"]
        if "next" not in answer.json:
            return items
        after = answer.json["next"]


def account_row(account_id: str, name: str, state: str = "not_granted", **changes: Any) -> AccountRow:
    """Return an account's line."""
    return replace(AccountRow(account_id, name, "", state, ("inbound",), None, None, None), **changes)


async def test_every_account_is_listed_once_and_by_name(parts: Grantline, program: Program) -> None:
    """Page by page, in order; ``name`` narrows the list, ``state`` too, and nothing follows the last page."""
    names = [f"Walked {number:03}" for number in range(23)]
    for number, name in enumerate(reversed(names)):
        await parts.container.storage.accounts.put(account_row(f"walked-{number}", name))

    pages = await listed(program, "api_accounts", "name=wALKED&count=5")
    unfiltered = await listed(program, "api_accounts", "count=7")
    in_state = await listed(program, "api_accounts", "name=Walked&state=not_granted")
    elsewhere = await program.get("api_accounts", "name=Walked&state=completed")

    assert [item["account_name"] for item in pages] == names
    assert [item["account_name"] for item in unfiltered if item["account_name"].startswith("Walked")] == names
    assert [item["account_name"] for item in in_state] == names
    assert elsewhere.json == {"items": []}


async def test_long_names_have_tokens_that_are_taken(parts: Grantline, program: Program) -> None:
    """What sorts the list may be as many bytes as characters allow."""
    for number in range(3):
        await parts.container.storage.accounts.put(account_row(f"{'x' * 63}{number}", "🐢" * 256))

    found = await listed(program, "api_accounts", "name=🐢&count=1")

    assert [item["account_id"][-1] for item in found] == ["0", "1", "2"]


@pytest.mark.parametrize("token", ["x", "=", "w4k", "____", "a" * 1000, "AAAA", "8J-Niob_", "JyBvciAn"])
async def test_a_page_token_that_nobody_gave_begins_anew(program: Program, token: str) -> None:
    """A broken token is no error of the service."""
    first = await program.get("api_accounts", "name=nobody-at-all")

    assert (await program.get("api_accounts", f"name=nobody-at-all&after={token}")).json == first.json


async def test_the_summary_says_when_it_was_counted(parts: Grantline, program: Program) -> None:
    """As the timer counted them."""
    counts = await parts.container.storage.accounts.count()
    await parts.container.storage.accounts.keep_counts(counts, NOW)

    answer = await program.get("api_summary")

    assert answer.json == {"counted_at": "2026-11-23T12:30:15.000Z", "accounts": counts}


@pytest.mark.asyncio(loop_scope="function")
async def test_before_anything_is_there(storage_connection: str) -> None:
    """Empty lists, a summary that was never counted."""
    async with grantline(storage_connection, WEBSITE_AUTH_ENABLED="true") as parts:
        program = Program(parts.container.site)

        assert (await program.get("api_accounts")).json == {"items": []}
        assert (await program.get("api_service_accounts")).json == {"items": []}
        assert (await program.get("api_summary")).json == {"counted_at": None, "accounts": {}}


# --- a grant's life ------------------------------------------------------------------------------------------------------------


async def test_a_command_changes_a_grant_once(parts: Grantline, program: Program, account: str) -> None:
    """The same key again changes nothing more; for another command it is refused."""
    grant_id = await started(program, account)
    by_hand = {"type": "role_mode.choose", "role_mode": "by_hand"}

    first = await program.post("api_grant_command", by_hand, key="c1", grant_id=grant_id)
    again = await program.post("api_grant_command", by_hand, key="c1", grant_id=grant_id)
    other = await program.post("api_grant_command", {**by_hand, "role_mode": "sign_in"}, key="c1", grant_id=grant_id)

    assert (first.status, first.json["role_mode"], first.headers["location"]) == (202, "by_hand", f"/api/v1/grants/{grant_id}")
    assert again.json == first.json
    assert (other.status, other.json["code"]) == (422, "command_reused")
    events = await parts.container.storage.grants.events(grant_id)
    chosen = [event.data for event in events if event.type == "role_mode.chosen"]
    assert chosen == [{"role_mode": "by_hand", "actor": "operator@vendor.example"}]


async def test_a_retry_of_what_needs_none_does_nothing(parts: Grantline, program: Program, account: str) -> None:
    """Accepted, and nothing changes."""
    grant_id = await started(program, account)
    before = await parts.events(grant_id)

    answer = await program.post("api_grant_command", {"type": "step.retry", "step": "verification"}, key="r", grant_id=grant_id)

    assert (answer.status, await parts.events(grant_id)) == (202, before)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"type": "grant.start"},
        {"type": "step.retry"},
        {"type": "step.retry", "step": "x"},
        {"type": "step.retry", "step": "mail_flow", "grant_id": "x"},
    ],
    ids=str,
)
async def test_a_command_that_cant_be_taken_is_told(program: Program, account: str, body: dict[str, Any]) -> None:
    """With the place of each fault."""
    answer = await program.post("api_grant_command", body, key="c", grant_id=await started(program, account))

    assert all(place.startswith("#") for place in places(answer))


async def test_events_are_paged(parts: Grantline, program: Program, account: str) -> None:
    """In order, each once, whatever the size of the page."""
    grant_id = await started(program, account)
    for number, mode in enumerate(("by_hand", "sign_in", "by_hand")):
        await program.post(
            "api_grant_command", {"type": "role_mode.choose", "role_mode": mode}, key=f"m{number}", grant_id=grant_id
        )
    stored = await parts.container.storage.grants.events(grant_id)

    for size in (1, 2, len(stored), 100):
        items = await listed(program, "api_events", f"count={size}", grant_id=grant_id)
        assert [(item["seq"], item["type"]) for item in items] == [(event.seq, event.type) for event in stored]
    last = stored[-1].seq
    assert (await program.get("api_events", f"after={last}", grant_id=grant_id)).json == {"items": []}


async def test_a_completed_grant(parts: Grantline, program: Program) -> None:
    """Its live state, receipt, events and service account, all as documented."""
    grant_id = await started(program, "completed")
    await parts.until(grant_id, StepName.POLICY_ACTIVATION)
    await parts.settle(grant_id, StepName.POLICY_ACTIVATION)

    state = (await program.get("api_grant", grant_id=grant_id)).json
    receipt = (await program.get("api_receipt", grant_id=grant_id)).json
    events = await listed(program, "api_events", grant_id=grant_id)
    found = await listed(program, "api_service_accounts", "name=completed")

    assert (state["state"], state["message"], receipt["message"]) == ("completed", SUCCESS_MESSAGE, SUCCESS_MESSAGE)
    assert receipt["service_account"]["tenant_id"] == state["tenant_id"] != ""
    assert receipt["users_synced"] == 12
    assert all(receipt["permissions"].values())
    assert {item["kind"] for item in receipt["objects"]} >= {"inbound_connector", "transport_rule"}
    assert "grant.completed" in [event["type"] for event in events]
    assert [(item["grant_id"], item["users_synced"], item["is_service_account"]) for item in found] == [(grant_id, 12, True)]


async def test_an_onboarding_link_is_created_once(program: Program, account: str) -> None:
    """The same key is the same link."""
    grant_id = await started(program, account)

    first = await program.post("api_onboarding_link", {}, key="l", grant_id=grant_id)
    again = await program.post("api_onboarding_link", {}, key="l", grant_id=grant_id)
    unreadable = await program.post("api_onboarding_link", {"tenant": "a b", "more": 1}, key="m", grant_id=grant_id)

    assert (first.status, first.json["grant_id"]) == (201, grant_id)
    assert again.json["address"] == first.json["address"]
    assert places(unreadable) == ["#/more", "#/tenant"]


# --- entity tags ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", READING)
async def test_what_has_not_changed_is_not_sent_again(program: Program, account: str, function: str) -> None:
    """Every GET has a strong entity tag; who has it already, alone or among others, is told so (RFC 9110, 13.1.2)."""
    route = {"grant_id": await started(program, account)} if function in OF_A_GRANT else {}
    query = "name=nobody-at-all" if function in ("api_accounts", "api_service_accounts") else ""
    first = await program.get(function, query, **route)
    tag = first.headers["etag"]

    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        answer = await program.get(function, query, etag=known, **route)
        assert (answer.status, answer.json, answer.headers["etag"]) == (304, None, tag)
    assert (await program.get(function, query, etag='"other"', **route)).json == first.json
    assert tag.startswith('"')
    assert first.headers["cache-control"] == "no-cache"


async def test_what_has_changed_has_another_tag(program: Program, account: str) -> None:
    """A tag that was true is none after a change."""
    grant_id = await started(program, account)
    before = await program.get("api_grant", grant_id=grant_id)
    await program.post("api_grant_command", {"type": "role_mode.choose", "role_mode": "by_hand"}, key="c", grant_id=grant_id)

    after = await program.get("api_grant", etag=before.headers["etag"], grant_id=grant_id)

    assert (after.status, after.json["role_mode"]) == (200, "by_hand")


# --- the rest ------------------------------------------------------------------------------------------------------------------


async def test_the_document_is_for_anyone(program: Program) -> None:
    """Without a sign-in, as the code makes it."""
    answer = await replace(program, headers={}).get("api_openapi")

    assert answer.json == document()


async def test_storage_that_is_away_is_told_in_problem_details(program: Program) -> None:
    """503, as every error: a program reads one shape."""
    site = replace(program.site, accounts=Away())  # type: ignore[arg-type] # only what is asked for

    answer = await replace(program, site=site).get("api_accounts")

    assert (answer.status, answer.json["code"]) == (503, "kept_failing")


async def test_a_defect_is_told_in_problem_details(program: Program) -> None:
    """500, without a word of what went wrong inside."""
    site = replace(program.site, accounts=None)  # type: ignore[arg-type] # a defect

    answer = await replace(program, site=site).get("api_accounts")

    assert (answer.status, answer.json["code"]) == (500, "unexpected")
    assert "NoneType" not in str(answer.json)
