"""The ``deadletters`` table: messages that could not be read or kept failing, whole."""

import asyncio
import heapq
from dataclasses import replace
from datetime import UTC
from uuid import uuid4

from shared.ports import DeadLetter
from shared.storage import keys
from shared.storage.records import LETTER
from shared.storage.table import Table

TIME = "%Y%m%dT%H%M%S.%fZ"
DAY_DIGITS = 8
"""How much of a letter's id names its day, which is its partition."""


class TableDeadLetters:
    """Implements ``ports.DeadLetters``."""

    def __init__(self, letters: Table) -> None:
        self._table = letters

    async def keep(self, letter: DeadLetter) -> str:
        """Store the letter and return its id. A body too large for one property is stored in parts."""
        letter_id = letter.letter_id or f"{letter.at.astimezone(UTC).strftime(TIME)}|{uuid4().hex}"
        kept = replace(letter, letter_id=letter_id)
        await self._table.put(keys.entity(letter_id[:DAY_DIGITS], letter_id, LETTER.write(kept)))
        return letter_id

    async def recent(self, count: int = 50) -> list[DeadLetter]:
        """Return the newest letters first.

        Tables sort upwards only, so the keys of all letters are read, 1,000 at once; dead letters are few.
        """
        found = await self._table.query("PartitionKey ge @low", {"low": ""}, select=["PartitionKey", "RowKey"])
        newest = heapq.nlargest(count, (one.row for one in found))
        rows = await asyncio.gather(*(self._table.get(letter_id[:DAY_DIGITS], letter_id) for letter_id in newest))
        return [LETTER.read(row.columns) for row in rows if row]
