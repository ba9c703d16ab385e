"""The contract of ``ports.DirectoryStore``, on the double and on Azurite."""

from dataclasses import replace
from datetime import timedelta

from shared.ports import DIRECTORY_SHARDS, DirectoryState, Group, User
from shared.storage.directory import batches
from shared.storage.table import upsert
from tests.storage.conftest import Kept, OnAzurite
from tests.storage.examples import NOW


def user(number: int, *aliases: str) -> User:
    """Return a user with a primary address and aliases."""
    mail = f"user{number}@contoso.example"
    return User(f"id-{number}", mail, f"Üser {number}", mail, (mail, *aliases), enabled=True, user_type="Member")


def state(generation: int, users: int = 0) -> DirectoryState:
    """Return the state that makes a generation the current one."""
    return DirectoryState(generation, DIRECTORY_SHARDS, {"users": users}, NOW)


async def test_before_the_first_sync_there_is_nothing(kept: Kept) -> None:
    """A tenant that was never synced has no current generation and no users."""
    assert await kept.storage.directory.current("tenant") is None
    assert await kept.storage.directory.find_by_address("tenant", "a@b.example") is None


async def test_users_are_found_once_their_generation_is_current(kept: Kept) -> None:
    """A sync that is under way is not seen; its publication shows all at once."""
    directory = kept.storage.directory
    await directory.write_users("tenant", 1, [user(1)])
    before = await directory.find_by_address("tenant", "user1@contoso.example")

    await directory.publish("tenant", state(1, users=1))

    assert before is None
    assert await directory.current("tenant") == state(1, users=1)
    assert await directory.find_by_address("tenant", "user1@contoso.example") == user(1)


async def test_every_address_finds_its_user_whatever_its_letter_case(kept: Kept) -> None:
    """Primary address and aliases alike, with odd characters too (RFC 5321 allows % ? # / in a local part)."""
    odd = "o'd%d/#?+=@contoso.example"
    await kept.storage.directory.write_users("tenant", 1, [user(1, "alias@contoso.example", odd), user(2)])
    await kept.storage.directory.publish("tenant", state(1))

    for address in ("USER1@Contoso.Example", "Alias@contoso.example", odd.upper()):
        found = await kept.storage.directory.find_by_address("tenant", address)
        assert found == user(1, "alias@contoso.example", odd)
    assert await kept.storage.directory.find_by_address("tenant", "nobody@contoso.example") is None
    assert await kept.storage.directory.find_by_address("other", "user2@contoso.example") is None


async def test_a_page_may_be_written_twice(kept: Kept) -> None:
    """A slice that is done again after a crash, and a user who comes twice in one page, leave the same directory."""
    users = [user(number, f"alias{number}@contoso.example") for number in range(60)]
    await kept.storage.directory.write_users("tenant", 1, [*users, users[0]])
    await kept.storage.directory.write_users("tenant", 1, users)
    await kept.storage.directory.publish("tenant", state(1))

    assert await kept.storage.directory.find_by_address("tenant", "alias59@contoso.example") == users[59]


async def test_the_last_writing_of_a_user_counts(kept: Kept) -> None:
    """What is read again in the same generation is what is found."""
    changed = replace(user(1), display_name="Renamed", enabled=False)
    await kept.storage.directory.write_users("tenant", 1, [user(1)])
    await kept.storage.directory.write_users("tenant", 1, [changed])
    await kept.storage.directory.publish("tenant", state(1))

    assert await kept.storage.directory.find_by_address("tenant", "user1@contoso.example") == changed


async def test_a_new_generation_forgets_who_is_gone(kept: Kept) -> None:
    """Users of the former generation alone are not found any more."""
    directory = kept.storage.directory
    await directory.write_users("tenant", 1, [user(1), user(2)])
    await directory.publish("tenant", state(1))
    await directory.write_users("tenant", 2, [user(2)])
    await directory.publish("tenant", state(2))

    assert await directory.find_by_address("tenant", "user1@contoso.example") is None
    assert await directory.find_by_address("tenant", "user2@contoso.example") == user(2)


async def test_an_older_generation_never_replaces_a_newer_one(kept: Kept) -> None:
    """A run that lost its lease publishes late and changes nothing; the same generation may be published again."""
    directory = kept.storage.directory
    newest = replace(state(2, users=9), synced_at=NOW + timedelta(hours=1))
    await directory.publish("tenant", state(2))
    await directory.publish("tenant", state(1))
    standing = await directory.current("tenant")
    await directory.publish("tenant", newest)

    assert standing == state(2)
    assert await directory.current("tenant") == newest


async def test_nothing_may_be_written(kept: Kept) -> None:
    """An empty page is no error."""
    await kept.storage.directory.write_users("tenant", 1, [])
    await kept.storage.directory.write_groups("tenant", 1, [])

    assert await kept.storage.directory.current("tenant") is None


async def test_groups_and_users_are_rows_of_sixteen_partitions(on_azurite: OnAzurite) -> None:
    """Users, groups and addresses are spread over all shards of the generation, each exactly once."""
    users = [user(number, f"alias{number}@contoso.example") for number in range(700)]
    groups = [Group(f"group-{number}", "Gruppe", "", ("Unified",)) for number in range(50)]
    await on_azurite.storage.directory.write_users("tenant", 3, users)
    await on_azurite.storage.directory.write_groups("tenant", 3, groups)

    table = on_azurite.tables.get_table_client("directory")
    keys = [(row["PartitionKey"], row["RowKey"]) async for row in table.list_entities(select=["PartitionKey", "RowKey"])]

    assert {partition for partition, _ in keys} == {f"tenant|000003|{shard:02}" for shard in range(DIRECTORY_SHARDS)}
    expected = [f"user|{one.user_id}" for one in users] + [f"address|{address}" for one in users for address in one.addresses]
    assert sorted(row for _, row in keys) == sorted(expected + [f"group|{one.group_id}" for one in groups])


def test_transactions_are_cut_by_number_and_by_size() -> None:
    """No batch has more rows or bytes than Table storage takes, and all operations come out in order."""
    many = [upsert({"RowKey": str(number)}) for number in range(250)]
    large = [upsert({"RowKey": str(number), "text": "x" * 900_000}) for number in range(9)]

    assert [len(batch) for batch in batches(many)] == [100, 100, 50]
    assert [len(batch) for batch in batches(large)] == [4, 4, 1]
    assert [operation for batch in batches(many + large) for operation in batch] == many + large
    assert list(batches([])) == []


async def test_a_user_with_very_many_addresses_fits(on_azurite: OnAzurite) -> None:
    """Each address row carries all addresses, in parts where they are too long for one property."""
    addresses = tuple(f"alias{number:04}@{'subdomain.' * 6}contoso.example" for number in range(400))
    many = replace(user(1), addresses=addresses)

    await on_azurite.storage.directory.write_users("tenant", 1, [many])
    await on_azurite.storage.directory.publish("tenant", state(1))

    assert await on_azurite.storage.directory.find_by_address("tenant", addresses[399]) == many
