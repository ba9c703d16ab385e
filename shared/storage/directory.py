"""The ``directory`` table: the users, groups and domains of tenants, in generations that are spread over shards.

A sync fills the partitions of a new generation; then one row makes it the current one. An address has a row of its own that
holds its user, so that looking up a recipient takes one point read besides that of the current generation.
"""

from collections.abc import AsyncIterator, Sequence

from shared.domain.directory import Differences, DirectoryState, Generation, Group, Member, SyncedDomain, User, users_of
from shared.ports import TransientError
from shared.storage import directory_rows as rows
from shared.storage import keys, transactions
from shared.storage.codec import Columns
from shared.storage.directory_writer import AT_ONCE, TableDirectoryWriter, member_of
from shared.storage.limits import TRANSACTION_ROWS, MissingError
from shared.storage.records import BEGUN, DIRECTORY, DOMAIN, USER, Begun
from shared.storage.table import Found, Table, each

ATTEMPTS = 10
"""How often a publication reads again, and a deletion begins again: a tenant is synced by one run at a time."""
KEYS = ["PartitionKey", "RowKey"]


class TableDirectory:
    """Implements ``ports.DirectoryStore``."""

    def __init__(self, directory: Table) -> None:
        self._table = directory

    async def current(self, tenant_id: str) -> DirectoryState | None:
        """Return what readers read, or None before the first sync."""
        found = await self._table.get(tenant_id, rows.CURRENT_ROW)
        return DIRECTORY.read(found.columns) if found else None

    async def begin(self, tenant_id: str, shards: int) -> tuple[Generation, tuple[Generation, ...]]:
        """Return a new generation, and those that were begun before it and never published. See ``ports.DirectoryStore``."""
        for _ in range(ATTEMPTS):
            found = await self._table.get(tenant_id, rows.BEGUN_ROW)
            state = await self.current(tenant_id)
            published = state.generation if state else 0
            begun = BEGUN.read(found.columns).generations if found else ()
            left = tuple(each for each in begun if each.number > published)
            new = Generation(max([published, *(each.number for each in left)]) + 1, shards)
            row = keys.entity(tenant_id, rows.BEGUN_ROW, BEGUN.write(Begun((*left, new))))
            if await self._table.write(row, found):
                return new, left
        raise TransientError(f"the directory of tenant {tenant_id} is being begun by others")

    def writer(self, tenant_id: str, generation: Generation) -> TableDirectoryWriter:
        """Return a writer of one generation, for one run."""
        return TableDirectoryWriter(self._table, tenant_id, generation)

    async def publish(self, tenant_id: str, state: DirectoryState) -> None:
        """Make ``state`` what readers read. An older generation never replaces a newer one.

        Raises TransientError when others keep publishing, or when no answer comes.
        """
        row = keys.entity(tenant_id, rows.CURRENT_ROW, DIRECTORY.write(state))
        for _ in range(ATTEMPTS):
            found = await self._table.get(tenant_id, rows.CURRENT_ROW)
            if found and DIRECTORY.read(found.columns).generation > state.generation:
                return
            if await self._table.write(row, found):
                return
        raise TransientError(f"the directory of tenant {tenant_id} is being published by others")

    async def compare(self, tenant_id: str, former: Generation, newer: Generation, shard: int) -> Differences:
        """Tell how the users, groups and members in one shard of two generations with as many shards differ.

        Both are read side by side in key order, a page at a time. Raises ValueError where they have not as many shards.
        """
        if former.shards != newer.shards:
            raise ValueError(f"generations of {former.shards} and of {newer.shards} shards can't be compared shard by shard")
        olds = self._records(rows.shard_partition(tenant_id, former, shard))
        news = self._records(rows.shard_partition(tenant_id, newer, shard))
        return await _differences(olds, news)

    async def delete(self, tenant_id: str, generation: Generation, shard: int) -> None:
        """Delete every row in one shard of a generation; none is no error, and it may be done again.

        Raises TransientError where no answer came, or where others keep deleting there.
        """
        partition = rows.shard_partition(tenant_id, generation, shard)
        for _ in range(ATTEMPTS):
            try:
                async for page in self._table.pages(partition, select=KEYS):
                    await self._delete(partition, [found.row for found in page])
            except MissingError:
                continue
            return
        raise TransientError(f"a former generation of tenant {tenant_id} is being deleted by others")

    async def retire(self, tenant_id: str) -> tuple[Generation, ...]:
        """Take the tenant's directory from its readers; return every generation that may have rows. See ``ports.DirectoryStore``.

        What was published is noted as begun before ``current`` goes: a crash in between forgets no generation.
        """
        for _ in range(ATTEMPTS):
            begun, current = await self._table.get(tenant_id, rows.BEGUN_ROW), await self._table.get(tenant_id, rows.CURRENT_ROW)
            known = set(BEGUN.read(begun.columns).generations) if begun else set()
            state = DIRECTORY.read(current.columns) if current else None
            left = tuple(sorted({*known, *((*state.former, state.copy) if state else ())}, key=lambda each: each.number))
            if set(left) != known:
                row = keys.entity(tenant_id, rows.BEGUN_ROW, BEGUN.write(Begun(left)))
                if not await self._table.write(row, begun):
                    continue
            if current is None or await self._table.remove(current):
                await self.put_domains(tenant_id, ())
                return left
        raise TransientError(f"the directory of tenant {tenant_id} is being published by others")

    async def find_by_address(self, tenant_id: str, address: str) -> User | None:
        """Return the user who has the SMTP address in the current generation, whatever its letter case."""
        state = await self.current(tenant_id)
        if state is None:
            return None
        row = rows.address_row(address)
        found = await self._table.get(rows.partition_of(tenant_id, state.copy, row), row)
        return USER.read(found.columns) if found else None

    async def members(self, tenant_id: str, group_id: str) -> list[Member]:
        """Return the direct members of a group in the current generation, by their ids."""
        state = await self.current(tenant_id)
        if state is None:
            return []
        partition = rows.partition_of(tenant_id, state.copy, rows.object_row(Group, group_id))
        return [member_of(found) for found in await self._table.beginning(partition, rows.member_rows(group_id))]

    async def users_in(self, tenant_id: str, group_id: str) -> frozenset[str]:
        """Return the ids of all users in a group, nested groups included: one query for each group that is nested in it."""
        found: dict[str, list[Member]] = {}
        waiting = [group_id]
        while waiting:
            group = waiting.pop()
            if group not in found:
                found[group] = await self.members(tenant_id, group)
                waiting += [member.member_id for member in found[group] if member.kind == "group"]
        return users_of(found, group_id)

    async def domains(self, tenant_id: str) -> list[SyncedDomain]:
        """Return the tenant's domains by name."""
        return [DOMAIN.read(found.columns) for found in await self._table.beginning(tenant_id, rows.DOMAIN_ROWS)]

    async def put_domains(self, tenant_id: str, domains: Sequence[SyncedDomain]) -> None:
        """Make these the tenant's domains; only what differs is written. Raises TransientError when no answer came."""
        stored = {found.row: found.columns for found in await self._table.beginning(tenant_id, rows.DOMAIN_ROWS)}
        wanted: dict[str, Columns] = {rows.domain_row(domain.name): DOMAIN.write(domain) for domain in domains}
        gone = [transactions.delete(tenant_id, row) for row in stored if row not in wanted]
        changed = [
            transactions.upsert(keys.entity(tenant_id, row, columns))
            for row, columns in wanted.items()
            if stored.get(row) != columns
        ]
        try:
            for batch in transactions.batches([*gone, *changed]):
                await self._table.attempt(batch)
        except MissingError:
            raise TransientError(f"the domains of tenant {tenant_id} are being written by others") from None

    async def _records(self, partition: str) -> AsyncIterator[Found]:
        """Yield the rows of groups, members and users in a partition, in key order."""
        async for page in self._table.pages(partition, rows.RECORD_ROWS):
            for found in page:
                yield found

    async def _delete(self, partition: str, names: Sequence[str]) -> None:
        parts = [names[start : start + TRANSACTION_ROWS] for start in range(0, len(names), TRANSACTION_ROWS)]
        work = [[transactions.delete(partition, name) for name in part] for part in parts]
        await each(self._table.attempt, work, AT_ONCE)


async def _differences(olds: AsyncIterator[Found], news: AsyncIterator[Found]) -> Differences:
    """Count how two series of rows differ, which both come in key order."""
    missing = gone = different = 0
    old, new = await anext(olds, None), await anext(news, None)
    while old or new:
        if old and new and old.row == new.row:
            different += old.columns != new.columns
            old, new = await anext(olds, None), await anext(news, None)
        elif new is None or (old and _order(old) < _order(new)):
            gone += 1
            old = await anext(olds, None)
        else:
            missing += 1
            new = await anext(news, None)
    return Differences(missing, gone, different)


def _order(found: Found) -> bytes:
    return keys.order(keys.encode(found.row))
