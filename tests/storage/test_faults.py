"""What the storage makes of lost answers and of errors: the caller is told what it may rely on, at once."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic

import pytest
import pytest_asyncio
from yarl import URL

from shared import settings
from shared.domain.directory import Edit, Generation, SyncedDomain, User
from shared.domain.grant import Nudge, Row
from shared.domain.steps import StepName
from shared.ports import Binding, ConflictError, DueRow, TransientError
from shared.storage import Storage, open_storage
from shared.storage.limits import StorageError, TooLargeError, UnreadableError
from tests.storage.conftest import OnAzurite
from tests.storage.examples import NOW, change, new_grant
from tests.storage.faulty import Fault, Proxy, proxy
from tests.support.app_settings import APP_SETTINGS

NUDGE = Nudge("11111111-2222-4333-8444-555555555555", StepName.MAIL_FLOW, NOW)
SDK_SLEEPS = 15
"""Seconds that the SDK's own first sleep takes where it repeats: whatever ends sooner did not sleep."""


@dataclass
class Shaken:
    """The storage behind proxies that lose and refuse; ``tables`` and ``queues`` are these proxies."""

    storage: Storage
    tables: Proxy
    queues: Proxy


@pytest_asyncio.fixture
async def shaken(connection: str, on_azurite: OnAzurite) -> AsyncIterator[Shaken]:
    """A storage on Azurite, through a proxy for tables and one for queues."""
    async with proxy(endpoint(connection, "Table")) as tables, proxy(endpoint(connection, "Queue")) as queues:
        through = connection.replace(tables.target, tables.address).replace(queues.target, queues.address)
        storage = await open_storage(settings.load(APP_SETTINGS | {"AzureWebJobsStorage": through}))
        yield Shaken(storage, tables, queues)
        await storage.close()


def endpoint(connection: str, service: str) -> str:
    """Return scheme, host and port of a service."""
    found = re.search(rf"{service}Endpoint=([^;]+)", connection)
    assert found
    return str(URL(found[1]).origin())


def fail(target: Proxy, *faults: Fault, method: str = "", path: str = "") -> None:
    """Give the next requests that match a method and a part of the path these faults."""
    target.hit.clear()
    target.faults = list(faults)
    target.matches = lambda request: request.method.startswith(method) and path in request.path


@pytest.mark.parametrize("fault", [Fault.LOSE_ANSWER, Fault.LOSE_REQUEST, Fault.FAILED, Fault.BUSY])
async def test_a_save_without_an_answer_is_a_conflict(shaken: Shaken, on_azurite: OnAzurite, fault: Fault) -> None:
    """It may be saved or not, all of it or nothing; it is sent once, and whoever reads again can tell."""
    stored = await shaken.storage.grants.create(new_grant())
    fail(shaken.tables, fault, path="$batch")

    with pytest.raises(ConflictError):
        await shaken.storage.grants.save(stored, change(stored.grant, rows=(Row("sync|users", {}),), events=1))

    is_saved = fault is Fault.LOSE_ANSWER
    found = await on_azurite.storage.grants.load(stored.grant.grant_id)
    assert shaken.tables.hit == ["POST"]
    assert found
    assert found.grant.seq == stored.grant.seq + is_saved
    assert (await on_azurite.storage.grants.row(stored.grant.grant_id, "sync|users") is not None) is is_saved
    assert len(await on_azurite.storage.grants.events(stored.grant.grant_id)) == found.grant.seq


async def test_a_creation_without_an_answer_is_a_conflict(shaken: Shaken) -> None:
    """The same for a new grant."""
    decision = new_grant()
    fail(shaken.tables, Fault.LOSE_ANSWER, path="$batch")

    with pytest.raises(ConflictError):
        await shaken.storage.grants.create(decision)

    found = await shaken.storage.grants.load(decision.grant.grant_id)
    assert found
    assert found.grant == decision.grant


async def test_a_row_that_is_gone_before_it_is_deleted_is_a_conflict(shaken: Shaken, on_azurite: OnAzurite) -> None:
    """Between looking for a row and deleting it another may delete it: nothing is saved, and the next attempt succeeds."""
    stored = await shaken.storage.grants.create(new_grant())
    grant_id = stored.grant.grant_id
    await shaken.storage.grants.put(grant_id, Row("consent|1", {}))
    table = on_azurite.tables.get_table_client("grants")
    change_of_it = change(stored.grant, deletes=("consent|1",), events=1)
    fail(shaken.tables, Fault.MEDDLE, path="$batch")
    shaken.tables.meddle = lambda: table.delete_entity(grant_id, "consent|1")

    with pytest.raises(ConflictError):
        await shaken.storage.grants.save(stored, change_of_it)
    untouched = await shaken.storage.grants.load(grant_id)
    await shaken.storage.grants.save(stored, change_of_it)

    assert untouched == stored
    assert await shaken.storage.grants.row(grant_id, "consent|1") is None


async def test_reads_are_tried_again_at_once_when_a_connection_ends(shaken: Shaken) -> None:
    """Two lost answers in a row are not noticed by the reader."""
    stored = await shaken.storage.grants.create(new_grant())
    fail(shaken.tables, Fault.LOSE_ANSWER, Fault.LOSE_REQUEST, method="GET")

    assert await shaken.storage.grants.load(stored.grant.grant_id) == stored
    assert shaken.tables.hit == ["GET"] * 3


async def test_a_read_that_gets_no_answer_is_transient(shaken: Shaken) -> None:
    """After three attempts (aiohttp may double each on a connection that was open before) the caller is told."""
    fail(shaken.tables, *[Fault.LOSE_REQUEST] * 12, method="GET")

    with pytest.raises(TransientError):
        await shaken.storage.grants.load("grant")

    assert 3 <= len(shaken.tables.hit) <= 6


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST"])
async def test_throttling_is_told_at_once(shaken: Shaken, method: str) -> None:
    """A 503 with Retry-After 30 is neither repeated nor slept upon: the wait is the caller's, who knows how long."""
    operations: dict[str, Callable[[], Awaitable[object]]] = {
        "GET": lambda: shaken.storage.due.until(NOW),
        "PUT": lambda: shaken.storage.due.put(DueRow(NOW, "grant")),
        "DELETE": lambda: shaken.storage.due.delete(DueRow(NOW, "grant")),
        "POST": lambda: shaken.storage.grants.insert("grant", Row("command|1", {})),
    }
    fail(shaken.tables, Fault.BUSY)
    began = monotonic()

    with pytest.raises(TransientError) as caught:
        await operations[method]()

    assert caught.value.retry_after == timedelta(seconds=30)
    assert shaken.tables.hit == [method]
    assert monotonic() - began < SDK_SLEEPS


async def test_a_throttled_queue_is_told_at_once(shaken: Shaken) -> None:
    """The same for queues, whose SDK would sleep 15 s and more."""
    fail(shaken.queues, Fault.BUSY)
    began = monotonic()

    with pytest.raises(TransientError):
        await shaken.storage.nudges.send(NUDGE, delay=timedelta())

    assert shaken.queues.hit == ["POST"]
    assert monotonic() - began < SDK_SLEEPS


async def test_an_insert_without_an_answer_is_transient_and_sent_once(shaken: Shaken) -> None:
    """A repetition would be told that the row exists, and a command that counts would be taken for a second one."""
    fail(shaken.tables, Fault.LOSE_ANSWER, method="POST")

    with pytest.raises(TransientError):
        await shaken.storage.grants.insert("grant", Row("command|1", {}))

    assert shaken.tables.hit == ["POST"]
    assert await shaken.storage.grants.insert("grant", Row("command|1", {})) is False


async def test_a_missing_role_is_told_as_such(shaken: Shaken) -> None:
    """403 is no trouble that passes, and no conflict: its message names the status."""
    stored = await shaken.storage.grants.create(new_grant())
    fail(shaken.tables, Fault.FORBIDDEN, Fault.FORBIDDEN)

    with pytest.raises(StorageError, match="403"):
        await shaken.storage.grants.load("grant")
    with pytest.raises(StorageError, match="403"):
        await shaken.storage.grants.save(stored, change(stored.grant))


@pytest.mark.parametrize("fault", [Fault.LOSE_ANSWER, Fault.LOSE_REQUEST])
async def test_a_binding_without_an_answer_is_read_again(shaken: Shaken, fault: Fault) -> None:
    """The first binding, its confirmation and the account's grant stand although an answer was lost."""
    ours = Binding("tenant", "ours", "grant-1", NOW)
    confirmed = Binding("tenant", "ours", "grant-1", NOW, confirmed=True)
    fail(shaken.tables, fault, method="POST")
    first = await shaken.storage.bindings.bind_tenant(ours)
    fail(shaken.tables, fault, method="P")
    second = await shaken.storage.bindings.bind_tenant(confirmed)
    fail(shaken.tables, fault, method="POST")
    live = await shaken.storage.bindings.bind_account("ours", "grant-1")

    assert (first, second, live) == (ours, confirmed, "grant-1")


@pytest.mark.parametrize("is_same_run", [True, False])
@pytest.mark.parametrize("fault", [Fault.LOSE_ANSWER, Fault.LOSE_REQUEST, Fault.FAILED, Fault.BUSY])
async def test_a_directory_s_counts_survive_lost_answers(shaken: Shaken, fault: Fault, *, is_same_run: bool) -> None:
    """Whoever writes the directory is told to come back, and when; what is there by then is counted once."""
    copy, directory = Generation(1, 1), shaken.storage.directory
    writer = directory.writer("tenant", copy)
    users = [User(str(number), smtp_addresses=(f"{number}@contoso.example",)) for number in range(3)]
    fail(shaken.tables, fault, path="$batch")
    with pytest.raises(TransientError) as caught:
        await writer.insert(users, {}, ())
    writer = writer if is_same_run else directory.writer("tenant", copy)
    is_new = await writer.insert(users, {}, ())
    fail(shaken.tables, fault, path="$batch")
    with pytest.raises(TransientError):
        await writer.write([Edit(users[0], None)])
    writer = writer if is_same_run else directory.writer("tenant", copy)
    left = await writer.records(User, ["0", "1"])
    await writer.write([Edit(left.get("0"), None)] if "0" in left else [], is_repeated=True)

    assert is_new is (fault is not Fault.LOSE_ANSWER)
    assert caught.value.retry_after == (timedelta(seconds=30) if fault is Fault.BUSY else None)
    assert ("0" in left) is (fault is not Fault.LOSE_ANSWER)
    assert (
        await writer.counts() == await directory.writer("tenant", copy).counts() == {"users": 2, "groups": 0, "hidden_groups": 0}
    )


@pytest.mark.parametrize("fault", [Fault.LOSE_ANSWER, Fault.LOSE_REQUEST, Fault.BUSY])
async def test_a_deletion_without_an_answer_may_be_done_again(shaken: Shaken, fault: Fault) -> None:
    """Whoever deletes a generation is told to come back; then what is left goes."""
    copy, directory = Generation(1, 1), shaken.storage.directory
    await directory.writer("tenant", copy).insert([User(str(number)) for number in range(250)], {}, ())
    fail(shaken.tables, fault, path="$batch")

    with pytest.raises(TransientError):
        await directory.delete("tenant", copy, 0)
    await directory.delete("tenant", copy, 0)

    assert await directory.writer("tenant", copy).records(User, ["0", "249"]) == {}
    assert await directory.writer("tenant", copy).counts() == {"users": 0, "groups": 0, "hidden_groups": 0}


@pytest.mark.parametrize("fault", [Fault.LOSE_ANSWER, Fault.LOSE_REQUEST, Fault.MEDDLE])
async def test_domains_without_an_answer_are_put_again(shaken: Shaken, on_azurite: OnAzurite, fault: Fault) -> None:
    """Whoever puts domains is told to come back, also when another has put some meanwhile; then they are what was put."""
    old, new = (SyncedDomain(f"{name}.example", True, False, False, True) for name in ("old", "new"))
    await shaken.storage.directory.put_domains("tenant", [old])
    table = on_azurite.tables.get_table_client("directory")
    fail(shaken.tables, fault, path="$batch")
    shaken.tables.meddle = lambda: table.delete_entity("tenant", "domain|old.example")

    with pytest.raises(TransientError):
        await shaken.storage.directory.put_domains("tenant", [new])
    await shaken.storage.directory.put_domains("tenant", [new])

    assert await shaken.storage.directory.domains("tenant") == [new]


@pytest.mark.parametrize("is_always_so", [False, True])
async def test_two_deletions_at_once_both_end(shaken: Shaken, on_azurite: OnAzurite, *, is_always_so: bool) -> None:
    """A row that another deletion took is no error: what is left is read anew, though not for ever."""
    copy, directory = Generation(1, 1), shaken.storage.directory
    await directory.writer("tenant", copy).insert([User(str(number)) for number in range(50)], {}, ())
    table = on_azurite.tables.get_table_client("directory")
    names = iter(range(50))
    fail(shaken.tables, *[Fault.MEDDLE] * (50 if is_always_so else 2), path="$batch")
    shaken.tables.meddle = lambda: table.delete_entity("tenant|000001|000", f"user|{next(names)}")

    with pytest.raises(TransientError, match="by others") if is_always_so else nullcontext():
        await directory.delete("tenant", copy, 0)

    assert len(shaken.tables.hit) == (10 if is_always_so else 3)
    assert (await directory.writer("tenant", copy).counts() == {"users": 0, "groups": 0, "hidden_groups": 0}) is not is_always_so


async def test_a_transaction_of_more_than_4_mib_is_refused(shaken: Shaken) -> None:
    """It is refused before anything is sent."""
    stored = await shaken.storage.grants.create(new_grant())
    rows = tuple(Row(f"row|{number}", {"text": "x" * 500_000}) for number in range(9))
    fail(shaken.tables)

    with pytest.raises(TooLargeError, match="bytes"):
        await shaken.storage.grants.save(stored, change(stored.grant, rows=rows))

    assert shaken.tables.hit == []


async def test_a_grant_of_a_newer_release_is_not_read(on_azurite: OnAzurite) -> None:
    """After a roll-back, what the newer release wrote is refused with a clear message, and left as it is."""
    stored = await on_azurite.storage.grants.create(new_grant())
    keys = {"PartitionKey": stored.grant.grant_id, "RowKey": "grant"}
    await on_azurite.tables.get_table_client("grants").update_entity({**keys, "version": 2})

    with pytest.raises(UnreadableError, match="Grant is of version 2; this code reads up to version 1"):
        await on_azurite.storage.grants.load(stored.grant.grant_id)


async def test_rows_of_transitions_are_not_written_by_hand(on_azurite: OnAzurite) -> None:
    """The grant row and event rows change by transitions only."""
    for key in ("grant", "event|0000000001"):
        with pytest.raises(ValueError, match="written by transitions only"):
            await on_azurite.storage.grants.put("grant", Row(key, {}))


async def test_the_start_is_repeatable_and_finds_what_is_there(connection: str, on_azurite: OnAzurite) -> None:
    """Several processes may start at once on an empty account, and a later one on a full one."""
    await on_azurite.wipe()
    found = settings.load(APP_SETTINGS | {"AzureWebJobsStorage": connection})

    for storage in [await open_storage(found) for _ in range(3)]:
        assert await storage.grants.load("nobody") is None
        await storage.close()


async def test_a_storage_that_is_away_stops_the_start(connection: str) -> None:
    """The start fails with an error of ours, and leaves no connection open (pytest fails on the warning of one)."""
    away = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:1", connection)

    with pytest.raises(TransientError):
        await open_storage(settings.load(APP_SETTINGS | {"AzureWebJobsStorage": away}))
