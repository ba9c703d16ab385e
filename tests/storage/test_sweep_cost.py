"""What a sweep costs depends on what is due, not on how many grants there are. ``make bench-large`` does it with 100,000."""

from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from shared.storage.due import PARTITION, TableDueIndex
from tests.support.sweeps import NOW, Sweep, grants, swept

DUE = 100
EXPECTED = Counter(
    {
        ("GET", "due"): 1,  # one page of due rows
        ("GET", "grants"): DUE,  # load
        ("PUT", "due"): DUE,
        ("POST", "$batch"): DUE,  # save
        ("POST", "directory-syncs/messages"): DUE,
        ("DELETE", "due"): DUE,
    }
)
"""Each due grant is loaded, its due row moved ahead, saved, nudged, and its former due row deleted."""


@pytest.mark.parametrize("of", [1_000, 5_000])
async def test_a_sweep_costs_what_is_due(tmp_path: Path, of: int) -> None:
    """The same requests for 100 due grants among a thousand and among five thousand; none of the other rows is read."""
    async with grants(tmp_path, due=DUE, of=of) as parts:
        first: Sweep = await swept(parts)
        again = await swept(parts)
        assert isinstance(parts.storage.due, TableDueIndex)
        listed = await parts.storage.due.until(NOW + timedelta(days=2), limit=2 * of)

    assert (first.found, first.nudges) == (DUE, DUE)
    assert first.requests == EXPECTED
    (asked,) = first.filters
    assert asked.startswith(f"PartitionKey eq '{PARTITION}' and RowKey lt '20261123T1231")
    assert len(listed) == of  # the others are there, over several pages
    assert (again.found, again.requests) == (0, Counter({("GET", "due"): 1}))
