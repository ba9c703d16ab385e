"""The JSON API by the front door: what it does. Every reply is one that is documented (``tests/support/program.py``)."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from shared.domain import decide
from shared.domain.grant import SUCCESS_MESSAGE
from shared.domain.steps import StepName
from shared.web.openapi import document
from tests.console.asking import account_row
from tests.security.routes import ROUTES
from tests.security.visitor import operator
from tests.support.grantline import Grantline, grantline
from tests.support.program import OF_A_GRANT, Program, listed, places, started, wanted

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOW = datetime(2026, 11, 23, 12, 30, 15, tzinfo=UTC)
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
"""Names of accounts that a careless API would stumble over."""
READING = [name for name, route in ROUTES.items() if route.is_api and route.method == "GET"]


# --- a grant is started --------------------------------------------------------------------------------------------------------


async def test_a_grant_is_started(service: Grantline, program: Program, account: str) -> None:
    """Accepted, with its address and live state; who asked is who is signed in."""
    scope = {"kind": "domains", "domains": ["a.example"], "group": "", "users": []}
    body = wanted(account, directions=["outbound"], scope=scope, policy="strict", role_mode="by_hand")
    answer = await program.post("api_start", body, key="k1")

    grant = await service.grant(answer.json["grant_id"])
    assert (answer.status, answer.headers["location"]) == (202, f"/api/v1/grants/{grant.grant_id}")
    assert (grant.account_id, grant.created_by) == (account, "operator@vendor.example")
    assert answer.json.items() >= {**body, "state": "waiting_for_person", "tenant_id": ""}.items()


async def test_a_grant_for_chosen_people_is_started(service: Grantline, program: Program, account: str) -> None:
    """Whoever is named twice counts once; the live state tells them as they were named first."""
    body = wanted(account, scope={"kind": "users", "users": ["Ada@a.example", "bob@a.example", "ada@A.example"]})
    answer = await program.post("api_start", body, key="k1")

    people = ["Ada@a.example", "bob@a.example"]
    assert answer.json["scope"] == {"kind": "users", "domains": [], "group": "", "users": people}
    assert (await service.grant(answer.json["grant_id"])).intent.scope.users == tuple(people)


@pytest.mark.parametrize("again", ["k-1.x", '"k-1.x"'], ids=["as it was", "as a structured field"])
async def test_the_same_key_is_the_same_grant(service: Grantline, program: Program, account: str, again: str) -> None:
    """Sent once more, by whoever, however spelt: the same answer, and nothing was done twice."""
    first = await program.post("api_start", wanted(account, policy="strict"), key="k-1.x")
    colleague = replace(program, headers=operator("colleague@vendor.example"))
    second = await colleague.post("api_start", {"policy": "strict", **wanted(account)}, key=again)

    assert (second.status, second.headers["location"], second.json) == (202, first.headers["location"], first.json)
    assert (await service.events(first.json["grant_id"])).count("grant.created") == 1


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


async def test_the_same_request_sent_at_once_starts_one_grant(service: Grantline, program: Program, account: str) -> None:
    """A program that lost patience: both answers are the one grant."""
    answers = await asyncio.gather(*(program.post("api_start", wanted(account), key="k") for _ in range(4)))

    assert {answer.status for answer in answers} == {202}
    grant_ids = {answer.json["grant_id"] for answer in answers}
    assert len(grant_ids) == 1
    assert (await service.events(grant_ids.pop())).count("grant.created") == 1


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


# --- access --------------------------------------------------------------------------------------------------------------------


async def test_a_ticket_goes_with_the_way_to_the_role(program: Program, account: str) -> None:
    """What the tenant's policy wants is kept, and shown with the way; without a ticket it stays as it was."""
    grant_id = await started(program, account)
    choice = {"type": "role_mode.choose", "role_mode": "by_hand"}

    await program.post(
        "api_grant_command", {**choice, "ticket_number": "CHG-1", "ticket_system": "Desk"}, key="t", grant_id=grant_id
    )
    after = await program.post("api_grant_command", {**choice, "role_mode": "application"}, key="u", grant_id=grant_id)

    role = after.json["role"]
    assert (role["mode"], role["ticket_number"], role["ticket_system"], role["end"]) == ("application", "CHG-1", "Desk", "")


async def test_a_released_grant_is_told_as_such(service: Grantline, program: Program) -> None:
    """Its state and when; it is listed under it, and what it came to is still there."""
    grant_id = await started(program, "released")
    await service.container.engine.commit(grant_id, lambda grant, now: decide.release(grant, now, actor="Ada", why="asked for"))

    grant = (await program.get("api_grant", grant_id=grant_id)).json
    listed_there = await listed(program, "api_accounts", "state=released")

    assert (grant["state"], grant["released_at"] is not None) == ("released", True)
    assert not [step for step in grant["steps"] if step["link"] or step["can_retry"]]
    assert [item["grant_id"] for item in listed_there] == [grant_id]
    assert (await program.get("api_receipt", grant_id=grant_id)).json["role"]["mode"] == "sign_in"


# --- lists ---------------------------------------------------------------------------------------------------------------------


async def test_every_account_is_listed_once_and_by_name(service: Grantline, program: Program) -> None:
    """Page by page, in order; ``name`` narrows the list, ``state`` too, and nothing follows the last page."""
    names = [f"Walked {number:03}" for number in range(23)]
    for number, name in enumerate(reversed(names)):
        await service.container.storage.accounts.put(account_row(f"walked-{number}", name, "not_granted", grant_id=""))

    pages = await listed(program, "api_accounts", "name=wALKED&count=5")
    unfiltered = await listed(program, "api_accounts", "count=7")
    in_state = await listed(program, "api_accounts", "name=Walked&state=not_granted")
    elsewhere = await program.get("api_accounts", "name=Walked&state=completed")

    assert [item["account_name"] for item in pages] == names
    assert [item["account_name"] for item in unfiltered if item["account_name"].startswith("Walked")] == names
    assert [item["account_name"] for item in in_state] == names
    assert elsewhere.json == {"items": []}


async def test_long_names_have_tokens_that_are_taken(service: Grantline, program: Program) -> None:
    """What sorts the list may be as many bytes as characters allow."""
    for number in range(3):
        await service.container.storage.accounts.put(account_row(f"{'x' * 63}{number}", "🐢" * 256))

    found = await listed(program, "api_accounts", "name=🐢&count=1")

    assert [item["account_id"][-1] for item in found] == ["0", "1", "2"]


@pytest.mark.parametrize("token", ["x", "=", "w4k", "____", "a" * 1000, "AAAA", "8J-Niob_", "JyBvciAn"])
async def test_a_page_token_that_nobody_gave_begins_anew(program: Program, token: str) -> None:
    """A broken token is no error of the service."""
    first = await program.get("api_accounts", "name=nobody-at-all")

    assert (await program.get("api_accounts", f"name=nobody-at-all&after={token}")).json == first.json


async def test_the_summary_says_when_it_was_counted(service: Grantline, program: Program) -> None:
    """As the timer counted them."""
    counts = await service.container.storage.accounts.count()
    await service.container.storage.accounts.keep_counts(counts, NOW)

    answer = await program.get("api_summary")

    assert answer.json == {"counted_at": "2026-11-23T12:30:15.000Z", "accounts": counts}


@pytest.mark.asyncio(loop_scope="function")
async def test_before_anything_is_there(storage_connection: str) -> None:
    """Empty lists, a summary that was never counted."""
    async with grantline(storage_connection, WEBSITE_AUTH_ENABLED="true") as service:
        program = Program(service.container.site)

        assert (await program.get("api_accounts")).json == {"items": []}
        assert (await program.get("api_service_accounts")).json == {"items": []}
        assert (await program.get("api_summary")).json == {"counted_at": None, "accounts": {}}


# --- a grant's life ------------------------------------------------------------------------------------------------------------


async def test_a_command_changes_a_grant_once(service: Grantline, program: Program, account: str) -> None:
    """The same key again changes nothing more; for another command it is refused."""
    grant_id = await started(program, account)
    by_hand = {"type": "role_mode.choose", "role_mode": "by_hand"}

    first = await program.post("api_grant_command", by_hand, key="c1", grant_id=grant_id)
    again = await program.post("api_grant_command", by_hand, key="c1", grant_id=grant_id)
    other = await program.post("api_grant_command", {**by_hand, "role_mode": "sign_in"}, key="c1", grant_id=grant_id)

    assert (first.status, first.json["role_mode"], first.headers["location"]) == (202, "by_hand", f"/api/v1/grants/{grant_id}")
    assert again.json == first.json
    assert (other.status, other.json["code"]) == (422, "command_reused")
    events = await service.container.storage.grants.events(grant_id)
    chosen = [event.data for event in events if event.type == "role_mode.chosen"]
    assert chosen == [{"role_mode": "by_hand", "actor": "operator@vendor.example"}]


async def test_a_retry_of_what_needs_none_does_nothing(service: Grantline, program: Program, account: str) -> None:
    """Accepted, and nothing changes."""
    grant_id = await started(program, account)
    before = await service.events(grant_id)

    answer = await program.post("api_grant_command", {"type": "step.retry", "step": "verification"}, key="r", grant_id=grant_id)

    assert (answer.status, await service.events(grant_id)) == (202, before)


async def test_events_are_paged(service: Grantline, program: Program, account: str) -> None:
    """In order, each once, whatever the size of the page."""
    grant_id = await started(program, account)
    for number, mode in enumerate(("by_hand", "sign_in", "by_hand")):
        await program.post(
            "api_grant_command", {"type": "role_mode.choose", "role_mode": mode}, key=f"m{number}", grant_id=grant_id
        )
    stored = await service.container.storage.grants.events(grant_id)

    for size in (1, 2, len(stored), 100):
        items = await listed(program, "api_events", f"count={size}", grant_id=grant_id)
        assert [(item["seq"], item["type"]) for item in items] == [(event.seq, event.type) for event in stored]
    last = stored[-1].seq
    assert (await program.get("api_events", f"after={last}", grant_id=grant_id)).json == {"items": []}


async def test_a_completed_grant(service: Grantline, program: Program) -> None:
    """Its live state, receipt, events and service account, all as documented."""
    grant_id = await started(program, "completed")
    await service.until(grant_id, StepName.POLICY_ACTIVATION)
    await service.settle(grant_id, StepName.POLICY_ACTIVATION)
    await service.settle(grant_id, StepName.ACCESS_WATCH)

    state = (await program.get("api_grant", grant_id=grant_id)).json
    receipt = (await program.get("api_receipt", grant_id=grant_id)).json
    events = await listed(program, "api_events", grant_id=grant_id)
    found = await listed(program, "api_service_accounts", "name=completed")

    assert (state["state"], state["message"], receipt["message"]) == ("completed", SUCCESS_MESSAGE, SUCCESS_MESSAGE)
    assert receipt["service_account"]["tenant_id"] == state["tenant_id"] != ""
    assert receipt["users_synced"] == 12
    assert all(receipt["permissions"].values())
    assert receipt["delegated_grants"] == [{"application": "role_helper", "permission": "RoleManagement.ReadWrite.Directory"}]
    assert receipt["service_account"]["last_check"] == state["last_check"] is not None
    assert receipt["service_account"]["role_end"] == state["role"]["end"] == "no end"
    assert {each["application"]: each["missing"] for each in state["consents"]} == {"mail_flow": [], "directory": []}
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
    assert first.headers["cache-control"] == "private, no-cache"


async def test_what_has_changed_has_another_tag(program: Program, account: str) -> None:
    """A tag that was true is none after a change."""
    grant_id = await started(program, account)
    before = await program.get("api_grant", grant_id=grant_id)
    await program.post("api_grant_command", {"type": "role_mode.choose", "role_mode": "by_hand"}, key="c", grant_id=grant_id)

    after = await program.get("api_grant", etag=before.headers["etag"], grant_id=grant_id)

    assert (after.status, after.json["role_mode"]) == (200, "by_hand")


# --- the document --------------------------------------------------------------------------------------------------------------


async def test_the_document_is_for_anyone(program: Program) -> None:
    """Without a sign-in, as the code makes it."""
    answer = await replace(program, headers={}).get("api_openapi")

    assert answer.json == document()
