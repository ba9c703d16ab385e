"""The contract of ``ports.Accounts``, on the double and on Azurite."""

from dataclasses import replace

from shared.ports import AccountRow
from tests.storage.conftest import Kept, OnAzurite
from tests.storage.examples import NOW


def row(name: str, account_id: str = "1", state: str = "in_progress") -> AccountRow:
    """Return an account's row."""
    return AccountRow(account_id, name, f"grant-{account_id}", state, ("inbound", "outbound"), None, None, NOW)


async def names(kept: Kept, state: str = "") -> list[str]:
    """Return all names of a list, in pages of two."""
    found: list[str] = []
    after = ""
    while True:
        rows, after = await kept.storage.accounts.page(2, after, state)
        found += [one.account_name for one in rows]
        if not after:
            return found


async def test_an_empty_list_has_one_empty_page(kept: Kept) -> None:
    """Nothing is no error."""
    assert await kept.storage.accounts.page() == ([], "")


async def test_a_row_comes_back_as_it_was(kept: Kept) -> None:
    """Every field comes back, set or not."""
    rows = [row("A"), replace(row("B", "2"), users_synced=2500, last_sync=NOW, next_clock=None, directions=())]
    for one in rows:
        await kept.storage.accounts.put(one)

    assert await kept.storage.accounts.page() == (rows, "")


async def test_accounts_are_sorted_by_name_whatever_its_letters(kept: Kept) -> None:
    """Letter case does not matter; two accounts with one name are two."""
    for number, name in enumerate(("beta", "Alpha", "Gamma / 100 %", "alpha", "Ärger")):
        await kept.storage.accounts.put(row(name, str(number)))

    assert await names(kept) == ["Alpha", "alpha", "beta", "Gamma / 100 %", "Ärger"]


async def test_pages_end_exactly(kept: Kept) -> None:
    """The last page says that it is the last, even when it is full."""
    for number in range(4):
        await kept.storage.accounts.put(row(f"name {number}", str(number)))

    first, token = await kept.storage.accounts.page(2)
    second, end = await kept.storage.accounts.page(2, token)

    assert [one.account_name for one in first + second] == ["name 0", "name 1", "name 2", "name 3"]
    assert end == ""


async def test_a_row_is_replaced_in_place(kept: Kept) -> None:
    """An account is in the list once, with what was written last."""
    await kept.storage.accounts.put(row("A"))
    await kept.storage.accounts.put(replace(row("A"), users_synced=7))

    assert (await kept.storage.accounts.page())[0] == [replace(row("A"), users_synced=7)]


async def test_an_account_is_listed_under_its_state_alone(kept: Kept) -> None:
    """A change of state takes the account from under the former one; a repetition changes nothing."""
    for state in ("in_progress", "completed", "completed"):
        await kept.storage.accounts.put(row("A", state=state))

    assert await names(kept, "in_progress") == []
    assert await names(kept, "completed") == ["A"]
    assert await names(kept) == ["A"]


async def test_a_token_that_can_not_be_read_begins_anew(on_azurite: OnAzurite) -> None:
    """Tokens come back from browsers: a broken one shows the first page instead of an error."""
    await on_azurite.storage.accounts.put(row("A"))

    for token in ("%%%", "/w==", "ü"):
        assert (await on_azurite.storage.accounts.page(2, token))[0] == [row("A")]
