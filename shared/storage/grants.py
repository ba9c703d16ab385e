"""The ``grants`` table: one partition a grant, changed by entity group transactions on the grant row's ETag."""

import asyncio
from collections.abc import Iterable

from shared.domain.grant import Event, Facts, Grant, Row
from shared.ports import Change, Stored
from shared.storage import keys, transactions
from shared.storage.records import EVENT, read_grant, read_value, write_grant, write_value
from shared.storage.table import Table
from shared.storage.transactions import Operation

GRANT_ROW = "grant"
EVENT_ROWS = "event|"


def event_row(seq: int) -> str:
    """Return an event's row key: keys sort as sequence numbers do."""
    return f"{EVENT_ROWS}{seq:010}"


class TableGrantStore:
    """Implements ``ports.GrantStore``."""

    def __init__(self, grants: Table) -> None:
        self._table = grants

    async def load(self, grant_id: str) -> Stored | None:
        """Return the grant, or None when there is none. Raises UnreadableError for a row of a newer version."""
        found = await self._table.get(grant_id, GRANT_ROW)
        return Stored(read_grant(found.columns), found.etag) if found else None

    async def create(self, change: Change) -> Stored:
        """Insert a new grant with its first events and rows in one transaction. Raises ConflictError when any of them exists."""
        grant = change.grant
        first = transactions.create(_grant_entity(grant))
        events = [transactions.create(_event_entity(grant.grant_id, event)) for event in change.events]
        rows = [transactions.create(_row_entity(grant.grant_id, row)) for row in change.rows]
        return Stored(grant, await self._table.transaction([first, *events, *rows]))

    async def save(self, stored: Stored, change: Change) -> Stored:
        """Save a change in one transaction on the ETag of ``stored``; see ``ports.GrantStore.save``.

        Deleting an absent row would fail the whole transaction, so only rows are deleted that a read finds just before. What
        happens in between is a conflict, and the caller reads again: a row that another save has deleted or written means
        another ETag of the grant.
        """
        first = transactions.update(_grant_entity(change.grant), stored.etag)
        return Stored(change.grant, await self._table.transaction([first, *await self._others(change)]))

    async def row(self, grant_id: str, key: str) -> Facts | None:
        """Return one row of the grant's partition, or None."""
        found = await self._table.get(grant_id, key)
        return read_value(found.columns) if found else None

    async def rows(self, grant_id: str, prefix: str) -> list[Row]:
        """Return the rows of the grant's partition whose key begins with ``prefix``, in key order."""
        return [Row(one.row, read_value(one.columns)) for one in await self._table.beginning(grant_id, prefix)]

    async def put(self, grant_id: str, row: Row) -> None:
        """Write one row outside of any transition: last one wins."""
        await self._table.put(_row_entity(grant_id, row))

    async def insert(self, grant_id: str, row: Row) -> bool:
        """Insert one row; return False, and change nothing, when it exists already."""
        return await self._table.insert(_row_entity(grant_id, row))

    async def events(self, grant_id: str, after: int = 0, *, limit: int | None = None) -> list[Event]:
        """Return the grant's events with a sequence number above ``after``, in order, at most ``limit``."""
        found = await self._table.between(grant_id, event_row(after + 1), keys.after_prefix(EVENT_ROWS), limit)
        return [EVENT.read(one.columns) for one in found]

    async def _others(self, change: Change) -> Iterable[Operation]:
        """Return all operations of a change but the grant row's; of rows with one key the last counts, and a delete most."""
        grant_id = change.grant.grant_id
        operations = {event_row(event.seq): transactions.create(_event_entity(grant_id, event)) for event in change.events}
        operations |= {row.key: transactions.upsert(_row_entity(grant_id, row)) for row in change.rows}
        deletes = list(dict.fromkeys(change.deletes))
        found = await asyncio.gather(*(self._table.exists(grant_id, key) for key in deletes))
        for key, is_there in zip(deletes, found, strict=True):
            operations.pop(key, None)
            if is_there:
                operations[key] = transactions.delete(grant_id, key)
        return operations.values()


def _grant_entity(grant: Grant) -> dict[str, object]:
    return keys.entity(grant.grant_id, GRANT_ROW, write_grant(grant))


def _event_entity(grant_id: str, event: Event) -> dict[str, object]:
    return keys.entity(grant_id, event_row(event.seq), EVENT.write(event))


def _row_entity(grant_id: str, row: Row) -> dict[str, object]:
    if row.key == GRANT_ROW or row.key.startswith(EVENT_ROWS):
        raise ValueError(f"{row.key!r} is written by transitions only")
    return keys.entity(grant_id, row.key, write_value(row.value))
