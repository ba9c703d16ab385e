"""The contract of ``ports.DueIndex``, on the double and on Azurite."""

import asyncio
from datetime import timedelta

import pytest

from shared.ports import DueRow
from shared.storage.due import SWEEP_ROWS
from tests.storage.conftest import Kept
from tests.storage.examples import NOW

MINUTE = timedelta(minutes=1)


async def test_due_rows_come_oldest_first(kept: Kept) -> None:
    """Rows at or before now come back by time; later ones do not."""
    rows = [DueRow(NOW + minutes * MINUTE, f"grant-{minutes}") for minutes in (-1, 1, 0, -600, -60 * 24 * 400)]
    for row in rows:
        await kept.storage.due.put(row)

    found = await kept.storage.due.until(NOW)

    assert found == [rows[4], rows[3], rows[0], rows[2]]


async def test_a_row_is_due_from_its_minute_on(kept: Kept) -> None:
    """A row is due at its very minute and within it, and not a second before."""
    row = DueRow(NOW, "grant")
    await kept.storage.due.put(row)

    assert await kept.storage.due.until(NOW - timedelta(seconds=1)) == []
    assert await kept.storage.due.until(NOW) == [row]
    assert await kept.storage.due.until(NOW + timedelta(seconds=59)) == [row]


async def test_writing_and_deleting_twice_is_no_error(kept: Kept) -> None:
    """A row is there once, however often it is written, and may be deleted when it is gone."""
    row = DueRow(NOW, "grant")
    await kept.storage.due.put(row)
    await kept.storage.due.put(row)
    once = await kept.storage.due.until(NOW)

    await kept.storage.due.delete(row)
    await kept.storage.due.delete(row)

    assert once == [row]
    assert await kept.storage.due.until(NOW) == []


async def test_a_delete_takes_one_minute_of_one_grant(kept: Kept) -> None:
    """Other minutes of the grant, and other grants of the minute, stay."""
    rows = [DueRow(NOW - MINUTE, "a"), DueRow(NOW, "a"), DueRow(NOW, "b")]
    for row in rows:
        await kept.storage.due.put(row)

    await kept.storage.due.delete(rows[1])

    assert await kept.storage.due.until(NOW) == [rows[0], rows[2]]


async def test_one_sweep_takes_a_bounded_number(kept: Kept) -> None:
    """Of many due rows the oldest come first, at most 500; the next sweep finds the rest once these are gone."""
    rows = [DueRow(NOW - number * MINUTE, "grant") for number in range(SWEEP_ROWS + 3)]
    await asyncio.gather(*map(kept.storage.due.put, rows))

    found = await kept.storage.due.until(NOW)

    assert found == rows[: -SWEEP_ROWS - 1 : -1]


async def test_a_time_within_a_minute_is_a_defect(kept: Kept) -> None:
    """Rounding is the engine's: a row that was not rounded would never be found by its name."""
    with pytest.raises(ValueError, match="not a whole minute"):
        await kept.storage.due.put(DueRow(NOW + timedelta(seconds=1), "grant"))
