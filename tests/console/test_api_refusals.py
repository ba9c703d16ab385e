"""The JSON API by the front door: what it refuses, and how it says so. Every reply is one that is documented."""

from dataclasses import replace
from typing import Any

import pytest

from shared.ports import TransientError
from shared.web.access import Role
from shared.web.reading import MAXIMUM_BODY
from tests.security.routes import ROUTES
from tests.security.visitor import operator
from tests.support.program import OF_A_GRANT, Program, places, started, wanted

pytestmark = pytest.mark.asyncio(loop_scope="module")

GRANT_ID = "0d1c5a3e-6f0b-5c1e-8d5f-3c1d2f0a7b11"
HOSTILE_IDS = [
    *("x", "..", ".", "../grant", "a/b", "%2F", "a?b", "a#b", "\\", "'", "' or PartitionKey ne '", "\x00", "\n", "\ud7ff\uffff"),
    *("0" * 2000, "ΐ" * 600, GRANT_ID.upper(), f"{GRANT_ID}\n", f"{{{GRANT_ID}}}", GRANT_ID.replace("-", "")),
]


class Away:
    """Storage that is away."""

    async def page(self, *_: Any, **__: Any) -> Any:
        """Fail as storage does."""
        raise TransientError("Azure Storage: 503")

    load = page


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
        (wanted("a", requested_by="me", type="grant.start"), ["#/requested_by", "#/type"]),
        (wanted("a", command_id="x", version=1), ["#/command_id", "#/version"]),
        (wanted("a", **{"a/b~c": 1}), ["#/a~1b~0c"]),
        (wanted("a", scope={"kind": "domains", "domains": ["-", "ok.example"]}), ["#/scope/domains/0"]),
        (wanted("a", directions=[], tenant_id="contoso"), ["#/directions", "#/tenant_id", "#/tenant_id"]),
        (wanted("a", scope={"kind": "group"}), [""]),
        (wanted("a", scope={"kind": "users"}), [""]),
        (wanted("a", scope={"kind": "users", "users": ["a@b.example", "a b", "c"]}), ["#/scope/users/1", "#/scope/users/2"]),
        (wanted("a", scope={"kind": "users", "users": [f"u{n}@b.example" for n in range(101)]}), ["#/scope/users"]),
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


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, ["#"]),
        ({"type": "grant.start"}, ["#"]),
        ({"type": "step.retry"}, ["#/step"]),
        ({"type": "step.retry", "step": "x"}, ["#/step"]),
        ({"type": "step.retry", "step": "mail_flow", "grant_id": "x"}, ["#/grant_id"]),
    ],
    ids=lambda value: repr(value)[:60],
)
async def test_a_command_that_cant_be_taken_is_told(
    program: Program, account: str, body: dict[str, Any], where: list[str]
) -> None:
    """With the place of each fault."""
    answer = await program.post("api_grant_command", body, key="c", grant_id=await started(program, account))

    assert places(answer) == where


# --- who ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({}, (401, "sign_in_needed", "Bearer")),
        (operator("guest@vendor.example", ""), (403, "not_allowed", None)),
        (operator("viewer@vendor.example", Role.VIEWER), (403, "not_allowed", None)),
    ],
    ids=["nobody", "no role", "viewer"],
)
async def test_who_may_not_start_is_told_why(
    program: Program, account: str, headers: dict[str, str], told: tuple[int, str, str | None]
) -> None:
    """401 names the way to sign in; who is signed in already is told that it does not help."""
    answer = await replace(program, headers=headers).post("api_start", wanted(account), key="k")

    assert (answer.status, answer.json["code"], answer.headers.get("www-authenticate")) == told


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
async def test_another_site_cant_send(program: Program, account: str, origin: str) -> None:
    """A browser says where a request comes from."""
    answer = await program.post("api_start", wanted(account), key="k", headers={"origin": origin})

    assert (answer.status, answer.json["code"]) == (403, "form_expired")


# --- what goes wrong here ------------------------------------------------------------------------------------------------------


async def test_storage_that_is_away_is_told_in_problem_details(program: Program) -> None:
    """503, as every error: a program reads one shape."""
    site = replace(program.site, accounts=Away())  # type: ignore[arg-type] # only what is asked for

    answer = await replace(program, site=site).get("api_accounts")

    assert (answer.status, answer.json["code"]) == (503, "unavailable")


async def test_a_defect_is_told_in_problem_details(program: Program) -> None:
    """500, without a word of what went wrong inside."""
    site = replace(program.site, accounts=None)  # type: ignore[arg-type] # a defect

    answer = await replace(program, site=site).get("api_accounts")

    assert (answer.status, answer.json["code"]) == (500, "unexpected")
    assert "NoneType" not in str(answer.json)
