"""The ``due`` table: one partition, sorted by minute, so that a sweep costs what is due."""

from datetime import datetime, timedelta

from shared.domain.schedule import floor_minute
from shared.ports import DueRow
from shared.storage import keys
from shared.storage.table import Table

PARTITION = "due"
SWEEP_ROWS = 500
"""How many due rows one sweep takes: the oldest ones; the next sweep takes the next ones."""
VERSION = 1


class TableDueIndex:
    """Implements ``ports.DueIndex``."""

    def __init__(self, due: Table) -> None:
        self._table = due

    async def put(self, row: DueRow) -> None:
        """Write the row; writing it twice is no error. Raises ValueError when its time is not a whole minute."""
        await self._table.put(keys.entity(PARTITION, _row_key(row), {"version": VERSION}))

    async def until(self, now: datetime, limit: int = SWEEP_ROWS) -> list[DueRow]:
        """Return the rows at or before ``now``, oldest first, at most ``limit``."""
        end = keys.minute(floor_minute(now) + timedelta(minutes=1))
        return [_due_row(found.row) for found in await self._table.between(PARTITION, "", end, limit)]

    async def delete(self, row: DueRow) -> None:
        """Delete the row; an absent one is no error."""
        await self._table.delete(PARTITION, _row_key(row))


def _row_key(row: DueRow) -> str:
    return f"{keys.minute(row.at)}|{row.grant_id}"


def _due_row(key: str) -> DueRow:
    at, _, grant_id = key.partition("|")
    return DueRow(keys.parse_minute(at), grant_id)
