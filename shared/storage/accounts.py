"""The ``accounts`` table: the console's lists, sorted by name. A projection of the grants: written again, it is the same."""

from base64 import urlsafe_b64decode, urlsafe_b64encode

from shared.ports import AccountRow
from shared.storage import keys, table
from shared.storage.records import ACCOUNT
from shared.storage.table import Table

ALL = "all"
END = "\uffff"
"""Above every key."""
SORTED_CHARACTERS = 64
"""How much of a name sorts the list. A key holds 1 KiB of UTF-16, and one character may be six when it is percent-encoded.

learn.microsoft.com/rest/api/storageservices/understanding-the-table-service-data-model
"""


class TableAccounts:
    """Implements ``ports.Accounts``."""

    def __init__(self, accounts: Table) -> None:
        self._table = accounts

    async def put(self, row: AccountRow) -> None:
        """Write the account's row, under all and under its state; take it from under the state that it had before.

        The row under all is written last: until then it names the former state, and a repetition tidies up as well.
        """
        key, columns = row_key(row), ACCOUNT.write(row)
        found = await self._table.get(ALL, key)
        await self._table.put(table.entity(state_partition(row.state), key, columns))
        if found and (former := str(found.columns["state"])) != row.state:
            await self._table.delete(state_partition(former), key)
        await self._table.put(table.entity(ALL, key, columns))

    async def page(self, count: int = 50, after: str = "", state: str = "") -> tuple[list[AccountRow], str]:
        """Return the next ``count`` rows by name, and the token of the following page ("" at the end).

        ``state`` narrows the list. The token says nothing to people; one that can't be read begins anew.
        """
        partition = state_partition(state) if state else ALL
        low = _read_token(after)
        found = await self._table.between(partition, low, END, count + 1)
        rows = [ACCOUNT.read(one.columns) for one in found[:count]]
        return rows, _token(found[count].row) if len(found) > count else ""


def row_key(row: AccountRow) -> str:
    """Return the key that sorts accounts by the beginning of their names, whatever its letter case."""
    return f"{row.account_name.casefold()[:SORTED_CHARACTERS]}|{row.account_id}"


def state_partition(state: str) -> str:
    """Return the partition of the accounts in a state."""
    return f"state|{state}"


def _token(row: str) -> str:
    """Return the token of the page that begins with ``row``."""
    return urlsafe_b64encode(row.encode()).decode()


def _read_token(token: str) -> str:
    try:
        return keys.encode(urlsafe_b64decode(token).decode())
    except ValueError:
        return ""
