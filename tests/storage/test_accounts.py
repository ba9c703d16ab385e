"""The contract of ``ports.Accounts``, on the double and on Azurite."""

import asyncio
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from azure.data.tables.aio import TableServiceClient
from yarl import URL

from shared.domain.grant import GrantState
from shared.ports import ACCOUNT_STATES, NOT_GRANTED, AccountRow
from shared.snapshot import count_accounts
from shared.storage.accounts import TableAccounts
from shared.storage.codec import Columns
from shared.storage.table import Found, Table
from tests.storage.conftest import Kept, OnAzurite
from tests.storage.examples import NOW
from tests.support.accounts import many, seed

ODD_NAMES = {
    "slashes": "/\\#?%" * 51,
    "percent": "100%25 / 100 %",
    "quote": "O'Neill's \"best\" @low",
    "emoji": "🦊" * 256,
    "right to left": "\u202egpj.exe\u202c \u2066אבגד\u2069 \u200f",
    "control": "line\nbreak\ttab\x00nul\x1b[31m\x85",
    "folding": "ΐ" * 256,
    "sharp s": "Straße",
    "last": "\uffff" * 256,
    "last of all": "\U0010ffff|",
    "before surrogates": "\ud7ff name",
    "bar": "a|b",
}
"""Names whose keys are encoded, long, or at the end of the order of keys; 256 characters are the most that a name may have."""
DECOYS = ("a", "Z", "~", "ÿ", "\ue000", "\uffff", "🦊", "\U0010ffff")
"""Names around them."""


def row(name: str, account_id: str = "1", state: str = "in_progress", **changes: Any) -> AccountRow:
    """Return an account's row."""
    made = AccountRow(account_id, name, f"grant-{account_id}", state, ("inbound", "outbound"), None, None, NOW)
    return replace(made, **changes)


async def put(kept: Kept, *rows: AccountRow) -> None:
    """Put rows, one after the other."""
    for each in rows:
        await kept.storage.accounts.put(each)


async def listed(kept: Kept, **narrowed: Any) -> list[AccountRow]:
    """Return all rows of a list, in pages of two."""
    found: list[AccountRow] = []
    after = ""
    while True:
        rows, after = await kept.storage.accounts.page(2, after, **narrowed)
        found += rows
        if not after:
            return found


async def names(kept: Kept, **narrowed: Any) -> list[str]:
    """Return all names of a list."""
    return [each.account_name for each in await listed(kept, **narrowed)]


async def test_an_empty_list_has_one_empty_page(kept: Kept) -> None:
    """Nothing is no error."""
    for narrowed in ({}, {"state": "completed"}, {"name": "a"}, {"service_accounts": True}):
        assert await kept.storage.accounts.page(**narrowed) == ([], "")


async def test_a_row_comes_back_as_it_was(kept: Kept) -> None:
    """Every field comes back, set or not."""
    rows = [
        row("A"),
        replace(row("B", "2"), users_synced=2500, last_sync=NOW, next_clock=None, directions=()),
        row("C", "3", tenant_id="t", tenant_name="T", created_by="me", is_service_account=True, asks_activity=True, seq=12),
        row("D", "4", notices=("uncovered_domains", "hidden_groups")),
    ]
    await put(kept, *rows)

    assert await kept.storage.accounts.page() == (rows, "")


async def test_accounts_are_sorted_by_name_whatever_its_letters(kept: Kept) -> None:
    """Letter case does not matter; two accounts with one name are two."""
    for number, name in enumerate(("beta", "Alpha", "Gamma / 100 %", "alpha", "Ärger")):
        await kept.storage.accounts.put(row(name, str(number)))

    assert await names(kept) == ["Alpha", "alpha", "beta", "Gamma / 100 %", "Ärger"]


async def test_pages_end_exactly(kept: Kept) -> None:
    """The last page says that it is the last, even when it is full."""
    await put(kept, *(row(f"name {number}", str(number)) for number in range(4)))

    first, token = await kept.storage.accounts.page(2)
    second, end = await kept.storage.accounts.page(2, token)

    assert [one.account_name for one in first + second] == ["name 0", "name 1", "name 2", "name 3"]
    assert end == ""


async def test_a_page_goes_on_where_an_account_has_gone(kept: Kept) -> None:
    """The account that a page is to begin with may leave the list meanwhile: the page begins with the one after it."""
    await put(kept, *(row(f"name {number}", str(number)) for number in range(4)))
    _, token = await kept.storage.accounts.page(2, state="in_progress")

    await put(kept, row("name 2", "2", "completed"))

    assert [each.account_id for each in (await kept.storage.accounts.page(2, token, state="in_progress"))[0]] == ["3"]


async def test_a_row_is_replaced_in_place(kept: Kept) -> None:
    """An account is in the list once, with what was written last."""
    await put(kept, row("A"), replace(row("A"), users_synced=7))

    assert await listed(kept) == [replace(row("A"), users_synced=7)]


async def test_an_account_is_listed_under_its_state_alone(kept: Kept) -> None:
    """A change of state takes the account from under the former one; a repetition changes nothing."""
    for state in ("in_progress", "completed", "completed"):
        await kept.storage.accounts.put(row("A", state=state))

    assert await names(kept, state="in_progress") == []
    assert await names(kept, state="completed") == ["A"]
    assert await names(kept) == ["A"]


async def test_an_account_is_listed_under_its_newest_name_alone(kept: Kept) -> None:
    """What an account was called before is in no list."""
    await put(kept, row("Before", grant_id="", state=NOT_GRANTED), row("After", seq=1))

    assert await names(kept) == ["After"]
    assert await names(kept, state=NOT_GRANTED) == []
    assert await names(kept, state="in_progress") == ["After"]


async def test_an_account_without_a_service_account_is_not_among_them(kept: Kept) -> None:
    """Service accounts are a list of their own, whatever their state."""
    done = row("Done", "1", "completed", is_service_account=True)
    broken = row("Broken", "2", "needs_attention", is_service_account=True)
    await put(kept, done, broken, row("New", "3"))

    assert await names(kept, service_accounts=True) == ["Broken", "Done"]
    assert await names(kept, service_accounts=True, name="d") == ["Done"]

    await put(kept, replace(done, is_service_account=False))

    assert await names(kept, service_accounts=True) == ["Broken"]
    assert await names(kept) == ["Broken", "Done", "New"]


# --- which row is the newest ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("newer", "older"),
    [
        (row("New", state="completed", seq=7, is_service_account=True), row("Old", seq=6)),
        (row("New", seq=7), row("Old", state="completed", seq=6, is_service_account=True)),
        (row("New", seq=0), row("Old", state=NOT_GRANTED, grant_id="", seq=9)),
    ],
    ids=["state", "service account", "no grant"],
)
async def test_an_older_row_changes_nothing(kept: Kept, newer: AccountRow, older: AccountRow) -> None:
    """Neither a row of a smaller sequence number nor one without a grant comes through to any list."""
    await put(kept, newer, older)

    assert await everywhere(kept) == belonging(newer)


async def test_another_grant_of_the_account_begins_anew(kept: Kept) -> None:
    """Sequence numbers of two grants say nothing about each other: the one that was written later stands."""
    await put(kept, row("A", state="completed", seq=40), row("A", grant_id="another", seq=1))

    assert await everywhere(kept) == belonging(row("A", grant_id="another", seq=1))


async def test_of_rivals_the_newest_stands(kept: Kept) -> None:
    """Many writers at once, in any order: each list holds the newest row, or nothing."""
    rows = [
        row(f"Name {number % 3}", state=tuple(GrantState)[number % 4], seq=number, is_service_account=number > 4)
        for number in (3, 9, 1, 7, 5)
    ]

    await asyncio.gather(*map(kept.storage.accounts.put, rows))

    assert await everywhere(kept) == belonging(rows[1])


class Interrupted(Table):
    """A table where something happens before an operation."""

    before: Callable[[], Awaitable[None]]

    async def get(self, partition: str, row: str) -> Found | None:
        """Read a row."""
        await self.before()
        return await super().get(partition, row)

    async def write(self, row: Columns, found: Found | None) -> bool:
        """Write a row."""
        await self.before()
        return await super().write(row, found)

    async def remove(self, found: Found) -> bool:
        """Delete a row."""
        await self.before()
        return await super().remove(found)


class KilledError(Exception):
    """The process ends here."""


BEFORE = row("Before", state="waiting_for_person", seq=4)
OLDER = row("After", state="needs_attention", seq=5)
NEWER = row("After", state="completed", seq=6, is_service_account=True)


async def at_every_operation(
    on_azurite: OnAzurite, first: AccountRow, action: Callable[[], Awaitable[None]], check: Callable[[], Awaitable[None]]
) -> int:
    """Put ``BEFORE``, then ``first`` with ``action`` before one of its operations, then check; for each of its operations.

    Return how many there are.
    """
    for stop in count():
        await put(on_azurite, BEFORE)
        operations = count()

        async def before(stop: int = stop, operations: Iterable[int] = operations) -> None:
            if next(iter(operations)) == stop:
                await action()

        table = Interrupted(on_azurite.tables.get_table_client("accounts"))
        table.before = before
        with suppress(KilledError):
            await TableAccounts(table).put(first)
        if next(operations) <= stop:
            return stop
        await check()
        await clear(on_azurite)
    raise AssertionError("unreachable")


async def clear(on_azurite: OnAzurite) -> None:
    """Delete every row of the table."""
    client = on_azurite.tables.get_table_client("accounts")
    await asyncio.gather(*[client.delete_entity(entity) async for entity in client.list_entities()])


@pytest.mark.parametrize(("first", "second"), [(OLDER, NEWER), (NEWER, OLDER)], ids=["older first", "newer first"])
async def test_a_rival_at_any_moment_changes_nothing(on_azurite: OnAzurite, first: AccountRow, second: AccountRow) -> None:
    """Between any two operations of a put another one may be carried out whole: the newer row stands, everywhere alone."""

    async def check() -> None:
        assert await everywhere(on_azurite) == belonging(NEWER)

    async def rival() -> None:
        await put(on_azurite, second)

    assert await at_every_operation(on_azurite, first, rival, check) > 6


async def test_a_put_that_was_killed_is_finished_by_its_repetition(on_azurite: OnAzurite) -> None:
    """Whenever the process ends, the same put, or a later one, tidies up."""

    async def kill() -> None:
        raise KilledError

    async def check() -> None:
        await put(on_azurite, OLDER)
        assert await everywhere(on_azurite) == belonging(OLDER)

    assert await at_every_operation(on_azurite, OLDER, kill, check) > 6


async def test_a_put_that_was_killed_amid_a_race_is_tidied_by_the_next_move(on_azurite: OnAzurite) -> None:
    """What a slower writer left behind, with nobody to repeat it, is gone when the account changes its state again."""
    moved = replace(NEWER, state="in_progress", seq=8)

    async def overtake_and_kill() -> None:
        await put(on_azurite, NEWER)
        raise KilledError

    async def check() -> None:
        await put(on_azurite, moved)
        assert await everywhere(on_azurite) == belonging(moved)

    assert await at_every_operation(on_azurite, OLDER, overtake_and_kill, check) > 6


async def everywhere(kept: Kept) -> dict[str, list[AccountRow]]:
    """Return what each list holds that holds anything."""
    lists = {"all": await listed(kept), "service accounts": await listed(kept, service_accounts=True)}
    lists |= {state: await listed(kept, state=state) for state in ACCOUNT_STATES}
    return {name: rows for name, rows in lists.items() if rows}


def belonging(one: AccountRow) -> dict[str, list[AccountRow]]:
    """Return what the lists hold when this is the only account."""
    return {"all": [one], one.state: [one]} | ({"service accounts": [one]} if one.is_service_account else {})


# --- search --------------------------------------------------------------------------------------------------------------------


async def test_a_name_narrows_the_list_to_what_begins_with_it(kept: Kept) -> None:
    """Letter case does not matter; the beginning counts, not the middle; it goes with a state."""
    await put(kept, *(row(name, name) for name in ("Contoso", "contoso B", "CONTOSO A", "Conto", "My Contoso", "Contosp")))
    await put(kept, row("contoso Z", "contoso Z", "completed"))

    assert await names(kept, name="contoSO") == ["CONTOSO A", "contoso B", "contoso Z", "Contoso"]
    assert await names(kept, name="contoso ") == ["CONTOSO A", "contoso B", "contoso Z"]
    assert await names(kept, name="contoso", state="completed") == ["contoso Z"]
    assert await names(kept, name="nobody") == []


@pytest.mark.parametrize("name", ODD_NAMES.values(), ids=ODD_NAMES)
async def test_any_name_is_found_by_its_beginnings(kept: Kept, name: str) -> None:
    """Whatever the characters, an account is found by each beginning of its name, and others are not."""
    others = [row(other, f"other-{number}") for number, other in enumerate(DECOYS)]
    await put(kept, row(name, "odd"), *others)
    beginnings = sorted({1, 2, 3, len(name) // 2, 63, 64, 65, len(name)} & set(range(1, len(name) + 1)))

    assert sorted(each.account_id for each in await listed(kept)) == sorted(["odd", *(each.account_id for each in others)])
    for length in beginnings:
        found = await listed(kept, name=name[:length])
        expected = [each.account_id for each in others if begins(each.account_name, name[:length])]
        assert sorted(each.account_id for each in found) == sorted(["odd", *expected])
    assert await names(kept, name=name + "x") == []


def begins(name: str, prefix: str) -> bool:
    """Tell whether a name begins with a prefix, whatever the letter case."""
    return name.casefold().startswith(prefix.casefold())


async def test_names_that_differ_late_are_told_apart(kept: Kept) -> None:
    """Sixty-four characters sort the list; a longer search is compared with the whole name, and a bar is no end of a name."""
    await put(kept, *(row("n" * 64 + end, end) for end in "abc"), row("a", "b|id"), row("a|bc", "d"))

    assert await names(kept, name="n" * 64 + "b") == ["n" * 64 + "b"]
    assert await names(kept, name="N" * 64) == ["n" * 64 + end for end in "abc"]
    assert await names(kept, name="a|b") == ["a|bc"]


async def test_a_token_that_can_not_be_used_begins_anew(on_azurite: OnAzurite) -> None:
    """Tokens come back from browsers: one that is broken, too long or of another list shows the first page, no error."""
    await put(on_azurite, *(row(name, name) for name in ("a", "b 1", "b 2", "b 3", "c")))
    _, of_all = await on_azurite.storage.accounts.page(1)
    _, of_the_end = await on_azurite.storage.accounts.page(4)
    _, of_the_name = await on_azurite.storage.accounts.page(1, name="b")
    too_long = urlsafe_b64encode(b"b 2" + b"~" * 600).decode()

    for token in ("%%%", "/w==", "ü", "7aCA", too_long, of_all[:-2] + "##", of_the_end):
        found = await on_azurite.storage.accounts.page(1, token, name="b")
        assert [each.account_name for each in found[0]] == ["b 1"], token
    assert [each.account_name for each in (await on_azurite.storage.accounts.page(1, of_the_name))[0]] == ["b 2"]


async def test_a_token_does_not_lead_into_another_list(on_azurite: OnAzurite) -> None:
    """A token of all accounts says where in the order a page begins, never in which list."""
    await put(on_azurite, row("a", "a"), row("b", "b", "completed"), row("c", "c"))
    _, token = await on_azurite.storage.accounts.page(1)

    found, _ = await on_azurite.storage.accounts.page(5, token, state="in_progress")

    assert [each.account_id for each in found] == ["c"]


async def test_a_page_of_many_costs_one_request(on_azurite: OnAzurite, connection: str) -> None:
    """Wherever the page is among 10,000 accounts, and however it is narrowed, it is one request that brings one page of rows."""
    rows = many(10_000)
    await seed(on_azurite.tables.get_table_client("accounts"), rows, only="all")
    requests: list[Any] = []
    async with TableServiceClient.from_connection_string(connection, raw_request_hook=requests.append) as service:
        accounts = TableAccounts(Table(service.get_table_client("accounts")))
        first, token = await accounts.page()
        second, _ = await accounts.page(after=token)
        found, following = await accounts.page(name="contoso 0099")
        late, end = await accounts.page(name="contoso 009999")

    assert first + second == rows[:100]
    assert (found, following != "") == (rows[9900:9950], True)
    assert (late, end) == (rows[9999:], "")
    assert len(requests) == 4
    assert [URL(each.http_request.url).query["$top"] for each in requests] == ["51"] * 4


# --- counters ------------------------------------------------------------------------------------------------------------------


async def test_accounts_are_counted_by_state(kept: Kept) -> None:
    """Every state has its number, none too."""
    states = (*GrantState, GrantState.COMPLETED, NOT_GRANTED, NOT_GRANTED)
    await put(kept, *(row("same name", str(number), state) for number, state in enumerate(states)))

    expected = dict.fromkeys(ACCOUNT_STATES, 1) | {GrantState.COMPLETED: 2, NOT_GRANTED: 2}
    assert await kept.storage.accounts.count() == expected


async def test_what_was_counted_last_is_kept_with_its_time(kept: Kept) -> None:
    """Before the first count there is nothing; each replaces the former, and changes no list."""
    accounts = kept.storage.accounts
    assert await accounts.counts() is None

    await put(kept, row("A"))
    await accounts.keep_counts({"completed": 5}, NOW)
    assert await accounts.counts() == ({"completed": 5}, NOW)

    await count_accounts(accounts, lambda: NOW)
    assert await accounts.counts() == (dict.fromkeys(ACCOUNT_STATES, 0) | {"in_progress": 1}, NOW)
    assert await names(kept) == ["A"]
