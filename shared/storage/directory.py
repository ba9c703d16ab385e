"""The ``directory`` table: the users and groups of tenants, in generations that are spread over shards.

A sync fills the partitions of a new generation; then one row makes it the current one. An address has a row of its own that
holds its user, so that looking up a recipient takes two point reads.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby

from shared.ports import DIRECTORY_SHARDS, ConflictError, DirectoryState, Group, User
from shared.storage import keys, table
from shared.storage.codec import Columns
from shared.storage.limits import TRANSACTION_BYTES, TRANSACTION_ROWS
from shared.storage.records import DIRECTORY, GROUP, USER
from shared.storage.table import Operation, Table, side_by_side

CURRENT_ROW = "current"
AT_ONCE = 8
"""How many transactions one write sends side by side."""
ATTEMPTS = 10
"""How often a publication reads again: a tenant is synced by one run at a time."""


class TableDirectory:
    """Implements ``ports.DirectoryStore``."""

    def __init__(self, directory: Table) -> None:
        self._table = directory

    async def current(self, tenant_id: str) -> DirectoryState | None:
        """Return what readers read, or None before the first sync."""
        found = await self._table.get(tenant_id, CURRENT_ROW)
        return DIRECTORY.read(found.columns) if found else None

    async def write_users(self, tenant_id: str, generation: int, users: Sequence[User]) -> None:
        """Upsert users and one row for each of their addresses into a generation; writing the same twice is no error.

        Of two users with one address the later one has it.
        """
        rows: dict[str, Columns] = {}
        for user in users:
            columns = USER.write(user)
            rows |= dict.fromkeys((user_row(user.user_id), *map(address_row, user.addresses)), columns)
        await self._write(tenant_id, generation, rows)

    async def write_groups(self, tenant_id: str, generation: int, groups: Sequence[Group]) -> None:
        """Upsert groups into a generation."""
        await self._write(tenant_id, generation, {group_row(group.group_id): GROUP.write(group) for group in groups})

    async def publish(self, tenant_id: str, state: DirectoryState) -> None:
        """Make a filled generation the current one. An older generation never replaces a newer one."""
        row = table.entity(tenant_id, CURRENT_ROW, DIRECTORY.write(state))
        for _ in range(ATTEMPTS):
            found = await self._table.get(tenant_id, CURRENT_ROW)
            if found and DIRECTORY.read(found.columns).generation > state.generation:
                return
            if await self._table.write(row, found):
                return
        raise ConflictError(f"the directory of tenant {tenant_id} is being published by others")

    async def find_by_address(self, tenant_id: str, address: str) -> User | None:
        """Return the user who has the SMTP address in the current generation, whatever its letter case."""
        state = await self.current(tenant_id)
        if state is None:
            return None
        row = address_row(address)
        found = await self._table.get(shard_partition(tenant_id, state.generation, keys.shard(row, state.shards)), row)
        return USER.read(found.columns) if found else None

    async def _write(self, tenant_id: str, generation: int, rows: dict[str, Columns]) -> None:
        """Upsert rows: a transaction for each hundred of a shard, several transactions side by side."""

        def shard(row: str) -> int:
            return keys.shard(row, DIRECTORY_SHARDS)

        work: list[list[Operation]] = []
        for number, names in groupby(sorted(rows, key=shard), key=shard):
            partition = shard_partition(tenant_id, generation, number)
            work += batches(table.upsert(table.entity(partition, name, rows[name])) for name in names)
        await side_by_side((partial(self._table.upserts, operations) for operations in work), AT_ONCE)


def batches(operations: Iterable[Operation]) -> Iterator[list[Operation]]:
    """Cut operations of one partition into transactions that Table storage takes."""
    batch: list[Operation] = []
    total = 0
    for operation in operations:
        length = table.size(operation[1])
        if batch and (len(batch) == TRANSACTION_ROWS or total + length > TRANSACTION_BYTES):
            yield batch
            batch, total = [], 0
        batch.append(operation)
        total += length
    if batch:
        yield batch


def shard_partition(tenant_id: str, generation: int, number: int) -> str:
    """Return the partition of one shard of a generation."""
    return f"{tenant_id}|{generation:06}|{number:02}"


def user_row(user_id: str) -> str:
    """Return a user's row key."""
    return f"user|{user_id}"


def group_row(group_id: str) -> str:
    """Return a group's row key."""
    return f"group|{group_id}"


def address_row(address: str) -> str:
    """Return an address's row key, whatever its letter case."""
    return f"address|{address.casefold()}"
