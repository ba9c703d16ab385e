"""The ``accounts`` table: the console's lists, sorted by name. A projection of the grants: written again, it is the same.

Each list is a partition, so that a page of any of them is one range of keys. An account's own row, in a partition of its own,
says which lists it is in and under which name.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from functools import partial

from shared.ports import ACCOUNT_STATES, AccountRow, ConflictError
from shared.storage import keys
from shared.storage.limits import KEY_BYTES
from shared.storage.records import ACCOUNT, read_value, write_value
from shared.storage.table import PAGE, Found, Table, side_by_side

ALL = "all"
SERVICE_ACCOUNTS = "service-account"
COUNTS = "counts"
CURRENT_ROW = "current"
SORTED_CHARACTERS = 64
"""How much of a name sorts the list. A key holds 1 KiB of UTF-16, and one character may be six when it is percent-encoded."""
ATTEMPTS = 10
"""How often a row is read again: rivals for one account are few."""
AT_ONCE = 8
"""How many rows of one account are changed side by side."""
Place = tuple[str, str]
"""A list, and the key of an account's row in it."""
Change = Callable[[Place, Found | None], Awaitable[bool]]
"""Changes what is at a place; False when that was not, or no longer, what was found there."""


class TableAccounts:
    """Implements ``ports.Accounts``."""

    def __init__(self, accounts: Table) -> None:
        self._table = accounts

    async def put(self, row: AccountRow) -> None:
        """Put the account into its lists, take it from those where it was, and write its own row last.

        Until then the own row says where the account was before, so that a repetition after a crash tidies up as well. Every
        write is refused when another came in between, and nobody replaces or deletes a newer row: of several that write the same
        account at once, the newest row stands, in the lists where it belongs. Raises ConflictError when rivals keep changing it.
        """
        partition = account_partition(row.account_id)
        for _ in range(ATTEMPTS):
            found = await self._table.get(partition, CURRENT_ROW)
            standing = ACCOUNT.read(found.columns) if found else None
            if standing and row.is_older_than(standing):
                await self._leave(row, places(row) - places(standing))
                return
            await self._enter(row)
            await self._leave(row, _former_places(row, standing))
            if await self._table.write(keys.entity(partition, CURRENT_ROW, ACCOUNT.write(row)), found):
                return
        raise ConflictError(f"account {row.account_id} is being changed by others")

    async def page(
        self, count: int = 50, after: str = "", *, state: str = "", name: str = "", service_accounts: bool = False
    ) -> tuple[list[AccountRow], str]:
        """Return the next ``count`` rows by name, and the token of the following page ("" at the end).

        One request: a range of the keys of one list. A key holds the beginning of a name only, so names are compared as well.
        """
        partition = SERVICE_ACCOUNTS if service_accounts else state_partition(state) if state else ALL
        count, folded = min(count, PAGE - 1), name.casefold()
        low = keys.encode(folded[:SORTED_CHARACTERS])
        high = keys.after_prefix(low)
        found = await self._table.between(partition, _read_token(after, low, high), high, count + 1)
        rows = [ACCOUNT.read(one.columns) for one in found[:count]]
        following = _token(found[count].row) if len(found) > count else ""
        return [row for row in rows if row.account_name.casefold().startswith(folded)], following

    async def count(self) -> Mapping[str, int]:
        """Return how many accounts are in each state, reading keys alone."""
        return {state: await self._length(state_partition(state)) for state in ACCOUNT_STATES}

    async def keep_counts(self, counts: Mapping[str, int], at: datetime) -> None:
        """Keep what was counted; last one wins."""
        value = {"counts": dict(counts), "at": at.isoformat()}
        await self._table.put(keys.entity(COUNTS, CURRENT_ROW, write_value(value)))

    async def counts(self) -> tuple[Mapping[str, int], datetime] | None:
        """Return what was counted last, and when: a point read."""
        found = await self._table.get(COUNTS, CURRENT_ROW)
        if found is None:
            return None
        value = read_value(found.columns)
        return value["counts"], datetime.fromisoformat(value["at"])

    async def _length(self, partition: str) -> int:
        parameters = {"partition": keys.encode(partition)}
        return len(await self._table.query("PartitionKey eq @partition", parameters, select=["PartitionKey", "RowKey"]))

    async def _enter(self, row: AccountRow) -> None:
        columns = ACCOUNT.write(row)

        async def write(place: Place, found: Found | None) -> bool:
            return await self._table.write(keys.entity(*place, columns), found)

        await side_by_side((partial(self._change, row, place, write) for place in places(row)), AT_ONCE)

    async def _leave(self, row: AccountRow, left: Iterable[Place]) -> None:
        async def remove(_: Place, found: Found | None) -> bool:
            return found is None or await self._table.remove(found)

        await side_by_side((partial(self._change, row, place, remove) for place in left), AT_ONCE)

    async def _change(self, row: AccountRow, place: Place, change: Change) -> None:
        """Change what is at a place, unless it is newer than ``row``; again when another was quicker."""
        for _ in range(ATTEMPTS):
            found = await self._table.get(*place)
            if found and row.is_older_than(ACCOUNT.read(found.columns)):
                return
            if await change(place, found):
                return
        raise ConflictError(f"account {row.account_id} is being changed by others")


def row_key(row: AccountRow) -> str:
    """Return the key that sorts accounts by the beginning of their names, whatever its letter case."""
    return f"{row.account_name.casefold()[:SORTED_CHARACTERS]}|{row.account_id}"


def state_partition(state: str) -> str:
    """Return the partition of the accounts in a state."""
    return f"state|{state}"


def account_partition(account_id: str) -> str:
    """Return the partition of an account's own row."""
    return f"account|{account_id}"


def places(row: AccountRow) -> set[Place]:
    """Return the lists that an account belongs to, with its key."""
    lists = [ALL, state_partition(row.state), *([SERVICE_ACCOUNTS] if row.is_service_account else [])]
    return {(each, row_key(row)) for each in lists}


def _former_places(row: AccountRow, standing: AccountRow | None) -> set[Place]:
    """Return where the account may still be listed, but not belong: nowhere, when its own row says that it has not moved.

    When it has moved, every list is looked at, so that even what two writers left that were killed amid a race is gone by then.
    """
    stood = places(standing) if standing else set()
    if stood == places(row):
        return set()
    names = {row_key(row), *(key for _, key in stood)}
    everywhere = {(each, name) for each in (ALL, SERVICE_ACCOUNTS, *map(state_partition, ACCOUNT_STATES)) for name in names}
    return (everywhere | stood) - places(row)


def _token(row: str) -> str:
    """Return the token of the page that begins with ``row``."""
    return urlsafe_b64encode(row.encode()).decode()


def _read_token(token: str, low: str, high: str) -> str:
    """Return where a token's page begins; ``low`` for a token that can't be read or points outside of the list."""
    try:
        key = keys.encode(urlsafe_b64decode(token).decode())
    except ValueError:
        return low
    is_inside = keys.order(low) <= keys.order(key) and (not high or keys.order(key) < keys.order(high))
    return key if is_inside and len(keys.order(key)) <= KEY_BYTES else low
