"""The contract of ``ports.GrantStore``, on the double and on Azurite."""

import asyncio
from dataclasses import replace

import pytest

from shared.domain.grant import Row
from shared.ports import ConflictError, Stored
from shared.storage.limits import TRANSACTION_ROWS, TooLargeError
from tests.storage.conftest import Kept
from tests.storage.examples import change, new_grant

HARD_KEY = "snapshot|Rule 100 % / \\ # ? ü'\x01|Mode"
"""A row key with everything that Table storage forbids in keys."""


async def created(kept: Kept) -> Stored:
    """Return a grant that was just created."""
    return await kept.storage.grants.create(new_grant())


async def test_a_created_grant_is_loaded_as_it_was(kept: Kept) -> None:
    """Every field comes back, with the ETag that the creation told."""
    decision = new_grant()

    stored = await kept.storage.grants.create(decision)

    assert stored == await kept.storage.grants.load(decision.grant.grant_id)
    assert stored.grant == decision.grant


async def test_a_grant_that_is_not_there_is_none(kept: Kept) -> None:
    """An unknown id is no error, and it has no rows and no events."""
    grants = kept.storage.grants

    assert await grants.load("nobody") is None
    assert await grants.row("nobody", "progress") is None
    assert await grants.rows("nobody", "sync|") == []
    assert await grants.events("nobody") == []


async def test_a_grant_is_created_once(kept: Kept) -> None:
    """The second creation is a conflict and writes nothing."""
    decision = new_grant()
    stored = await kept.storage.grants.create(decision)

    with pytest.raises(ConflictError):
        await kept.storage.grants.create(replace(decision, rows=(Row("late", {}),)))

    assert await kept.storage.grants.load(decision.grant.grant_id) == stored
    assert await kept.storage.grants.row(decision.grant.grant_id, "late") is None


async def test_a_save_writes_grant_events_and_rows_together(kept: Kept) -> None:
    """All parts of a change are there after it."""
    stored = await created(kept)
    grant = replace(stored.grant, tenant_id="tenant")

    saved = await kept.storage.grants.save(stored, change(grant, rows=(Row("sync|users", {"next": 2}),), events=2))

    assert await kept.storage.grants.load(grant.grant_id) == saved
    assert saved.grant.tenant_id == "tenant"
    assert await kept.storage.grants.row(grant.grant_id, "sync|users") == {"next": 2}
    assert [event.data for event in await kept.storage.grants.events(grant.grant_id, after=stored.grant.seq)] == [
        {"n": 1},
        {"n": 2},
    ]


async def test_a_save_on_an_old_etag_changes_nothing(kept: Kept) -> None:
    """Whoever comes second learns of the conflict; no event, row or deletion of theirs is kept."""
    stored = await created(kept)
    grant_id = stored.grant.grant_id
    await kept.storage.grants.put(grant_id, Row("keep", {"me": 1}))
    saved = await kept.storage.grants.save(stored, change(stored.grant, events=1))

    with pytest.raises(ConflictError):
        await kept.storage.grants.save(stored, change(stored.grant, rows=(Row("lost", {}),), deletes=("keep",), events=1))

    assert await kept.storage.grants.load(grant_id) == saved
    assert len(await kept.storage.grants.events(grant_id)) == saved.grant.seq
    assert await kept.storage.grants.row(grant_id, "lost") is None
    assert await kept.storage.grants.row(grant_id, "keep") == {"me": 1}


@pytest.mark.parametrize("events", [0, 1])
async def test_of_rivals_one_wins(kept: Kept, events: int) -> None:
    """Of eight saves on the same ETag exactly one is carried out: a claim, which has no event, as well as an outcome."""
    stored = await created(kept)
    rivals = [change(replace(stored.grant, tenant_id=str(number)), events=events) for number in range(8)]
    saves = (kept.storage.grants.save(stored, rival) for rival in rivals)

    results = await asyncio.gather(*saves, return_exceptions=True)

    winners = [result for result in results if isinstance(result, Stored)]
    assert len(winners) == 1
    assert sum(isinstance(result, ConflictError) for result in results) == 7
    assert await kept.storage.grants.load(stored.grant.grant_id) == winners[0]


async def test_an_event_is_never_written_over(kept: Kept) -> None:
    """An event with a sequence number that is taken is a conflict for the whole change."""
    stored = await created(kept)
    before = await kept.storage.grants.events(stored.grant.grant_id)
    again = change(replace(stored.grant, seq=0), events=1, rows=(Row("lost", {}),))

    with pytest.raises(ConflictError):
        await kept.storage.grants.save(stored, again)

    assert await kept.storage.grants.events(stored.grant.grant_id) == before
    assert await kept.storage.grants.row(stored.grant.grant_id, "lost") is None


async def test_a_save_deletes_rows_in_its_transaction(kept: Kept) -> None:
    """Rows that are named go; rows that are absent, or named twice, are no error."""
    stored = await created(kept)
    await kept.storage.grants.put(stored.grant.grant_id, Row("sealed|role_assignment", {"token": "sealed"}))
    deletes = ("sealed|role_assignment", "consent|absent", "sealed|role_assignment")

    await kept.storage.grants.save(stored, change(stored.grant, deletes=deletes))

    assert await kept.storage.grants.row(stored.grant.grant_id, "sealed|role_assignment") is None


async def test_a_row_that_is_written_and_deleted_at_once_is_deleted(kept: Kept) -> None:
    """A deletion counts more than a write of the same change; of two writes the later one counts."""
    stored = await created(kept)
    grant_id = stored.grant.grant_id
    await kept.storage.grants.put(grant_id, Row("there", {}))
    rows = (Row("there", {}), Row("new", {}), Row("twice", {"n": 1}), Row("twice", {"n": 2}))

    await kept.storage.grants.save(stored, change(stored.grant, rows=rows, deletes=("there", "new")))

    assert await kept.storage.grants.row(grant_id, "there") is None
    assert await kept.storage.grants.row(grant_id, "new") is None
    assert await kept.storage.grants.row(grant_id, "twice") == {"n": 2}


async def test_rows_come_by_prefix_in_key_order(kept: Kept) -> None:
    """Only rows whose key begins with the prefix come back, sorted, with their names as written."""
    stored = await created(kept)
    names = ("sync|users", "sync|groups", "sync|domains", HARD_KEY, "sync", "synd")
    for number, name in enumerate(names):
        await kept.storage.grants.put(stored.grant.grant_id, Row(name, {"n": number}))

    found = await kept.storage.grants.rows(stored.grant.grant_id, "sync|")
    hard = await kept.storage.grants.rows(stored.grant.grant_id, "snapshot|Rule 100 %")

    assert found == [Row("sync|domains", {"n": 2}), Row("sync|groups", {"n": 1}), Row("sync|users", {"n": 0})]
    assert hard == [Row(HARD_KEY, {"n": 3})]


async def test_hard_row_keys_are_points_too(kept: Kept) -> None:
    """A key with forbidden characters can be written, inserted, saved, read and deleted."""
    stored = await created(kept)
    grant_id = stored.grant.grant_id

    assert await kept.storage.grants.insert(grant_id, Row(HARD_KEY, {"n": 1}))
    stored = await kept.storage.grants.save(stored, change(stored.grant, rows=(Row(HARD_KEY, {"n": 2}),)))
    assert await kept.storage.grants.row(grant_id, HARD_KEY) == {"n": 2}
    await kept.storage.grants.save(stored, change(stored.grant, deletes=(HARD_KEY,)))

    assert await kept.storage.grants.row(grant_id, HARD_KEY) is None


async def test_put_lets_the_last_one_win(kept: Kept) -> None:
    """A row written twice holds what came last, and nothing of what came first."""
    stored = await created(kept)
    await kept.storage.grants.put(stored.grant.grant_id, Row("progress", {"users": 1, "old": "x" * 70_000}))
    await kept.storage.grants.put(stored.grant.grant_id, Row("progress", {"users": 2}))

    assert await kept.storage.grants.row(stored.grant.grant_id, "progress") == {"users": 2}


async def test_insert_keeps_the_first(kept: Kept) -> None:
    """The first of two inserts stands, and the second is told so: commands count once, former values are kept."""
    stored = await created(kept)

    first = await kept.storage.grants.insert(stored.grant.grant_id, Row("command|1", {"n": 1}))
    second = await kept.storage.grants.insert(stored.grant.grant_id, Row("command|1", {"n": 2}))

    assert (first, second) == (True, False)
    assert await kept.storage.grants.row(stored.grant.grant_id, "command|1") == {"n": 1}


async def test_a_row_may_be_there_before_its_grant(kept: Kept) -> None:
    """A row of a grant that is not created yet is kept, and does not stand in the way of the creation."""
    decision = new_grant()
    grant_id = decision.grant.grant_id

    assert await kept.storage.grants.insert(grant_id, Row("command|1", {}))
    assert await kept.storage.grants.load(grant_id) is None
    await kept.storage.grants.create(decision)

    assert await kept.storage.grants.row(grant_id, "command|1") == {}


async def test_any_json_comes_back(kept: Kept) -> None:
    """Large, nested and strange values come back whole: a long one is kept in parts."""
    stored = await created(kept)
    value = {"text": "ü" * 50_000, "odd": "\x00\ud800\u2028\"'", "list": [1, 2.5, None, True, {"a": []}], "big": 2**60}

    await kept.storage.grants.put(stored.grant.grant_id, Row("plan|1", value))

    assert await kept.storage.grants.row(stored.grant.grant_id, "plan|1") == value


async def test_events_come_in_order_after_a_number(kept: Kept) -> None:
    """Events are sorted by number, not by text, and begin after the one that is named."""
    stored = await created(kept)
    stored = await kept.storage.grants.save(stored, change(stored.grant, events=60))
    stored = await kept.storage.grants.save(stored, change(stored.grant, events=60))

    events = await kept.storage.grants.events(stored.grant.grant_id, after=98)

    assert [event.seq for event in events] == list(range(99, stored.grant.seq + 1))


async def test_a_transaction_of_more_than_100_rows_is_refused(kept: Kept) -> None:
    """100 rows are one transaction; 101 are refused before anything is written, absent deletions not counted."""
    stored = await created(kept)
    rows = tuple(Row(f"row|{number:03}", {}) for number in range(TRANSACTION_ROWS))

    with pytest.raises(TooLargeError, match="101 rows"):
        await kept.storage.grants.save(stored, change(stored.grant, rows=rows))
    saved = await kept.storage.grants.save(stored, change(stored.grant, rows=rows[1:], deletes=("absent",)))

    assert await kept.storage.grants.load(stored.grant.grant_id) == saved
    assert len(await kept.storage.grants.rows(stored.grant.grant_id, "row|")) == TRANSACTION_ROWS - 1


async def test_a_creation_makes_all_of_its_rows(kept: Kept) -> None:
    """A row that is there already keeps the grant from being created: whoever wrote it was first."""
    decision = replace(new_grant(), rows=(Row("start", {}),))
    grant_id = decision.grant.grant_id
    await kept.storage.grants.insert(grant_id, Row("start", {"by": "another"}))

    with pytest.raises(ConflictError):
        await kept.storage.grants.create(decision)

    assert await kept.storage.grants.load(grant_id) is None
    assert await kept.storage.grants.row(grant_id, "start") == {"by": "another"}
