"""The contract of ``ports.DirectoryStore`` and ``ports.DirectoryWriter``, on the double and on Azurite."""

import re
import zlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from shared.domain.directory import (
    Differences,
    DirectoryState,
    Edit,
    Generation,
    Group,
    Member,
    Record,
    SyncedDomain,
    User,
)
from shared.ports import DirectoryStore, DirectoryWriter, TransientError
from shared.storage.table import Found, Table
from shared.storage.transactions import batches, upsert
from tests.storage.conftest import Kept, OnAzurite
from tests.storage.examples import NOW

FIRST = Generation(1, 4)
SECOND = Generation(2, 4)
NOTHING: dict[str, Sequence[Member]] = {}


def user(number: int, *aliases: str) -> User:
    """Return a user with a primary address and aliases."""
    mail = f"user{number}@contoso.example"
    return User(f"id-{number}", mail, f"Üser {number}", mail, (mail, *aliases), enabled=True, user_type="Member")


def group(number: int) -> Group:
    """Return a group."""
    return Group(f"group-{number}", "Gruppe", "", ("Unified",), mail_enabled=True)


def state(generation: Generation, users: int = 0) -> DirectoryState:
    """Return the state that makes a generation the current one."""
    return DirectoryState(
        generation.number,
        generation.shards,
        {"users": users, "groups": 0},
        NOW,
        tenant_name="Contoso",
        links={"users": "https://graph.example/" + "x" * 40_000, "groups": ""},
        former=(Generation(generation.number - 1, 8),),
    )


async def fill(writer: DirectoryWriter, records: Sequence[Record], members: dict[str, Sequence[Member]] | None = None) -> None:
    """Insert records with their addresses."""
    assert await writer.insert(records, members or {}, ())
    assert await writer.insert((), {}, [record for record in records if isinstance(record, User)])


async def filled(directory: DirectoryStore, *records: Record, generation: Generation = FIRST) -> DirectoryWriter:
    """Return a writer of a generation that holds these records and is current."""
    writer = directory.writer("tenant", generation)
    await fill(writer, records)
    await directory.publish("tenant", state(generation))
    return writer


async def found(directory: DirectoryStore, *addresses: str) -> list[User | None]:
    """Return who has each of the addresses."""
    return [await directory.find_by_address("tenant", address) for address in addresses]


# --- readers -------------------------------------------------------------------------------------------------------------------


async def test_before_the_first_sync_there_is_nothing(kept: Kept) -> None:
    """A tenant that was never synced has no current generation, users, members or domains."""
    directory = kept.storage.directory

    assert await directory.current("tenant") is None
    assert await directory.find_by_address("tenant", "a@b.example") is None
    assert list(await directory.members("tenant", "group-1")) == []
    assert list(await directory.domains("tenant")) == []


async def test_users_are_found_once_their_generation_is_current(kept: Kept) -> None:
    """A sync that is under way is not seen; its publication shows all at once."""
    directory = kept.storage.directory
    await fill(directory.writer("tenant", FIRST), [user(1)])
    before = await directory.find_by_address("tenant", "user1@contoso.example")

    await directory.publish("tenant", state(FIRST, users=1))

    assert before is None
    assert await directory.current("tenant") == state(FIRST, users=1)
    assert await directory.find_by_address("tenant", "user1@contoso.example") == user(1)


async def test_every_address_finds_its_user_whatever_its_letter_case(kept: Kept) -> None:
    """Primary address and aliases alike, with odd characters too (RFC 5321 allows % ? # / in a local part)."""
    odd = "o'd%d/#?+=@contoso.example"
    await filled(kept.storage.directory, user(1, "alias@contoso.example", odd), user(2))

    for address in ("USER1@Contoso.Example", "Alias@contoso.example", odd.upper()):
        assert await kept.storage.directory.find_by_address("tenant", address) == user(1, "alias@contoso.example", odd)
    assert await kept.storage.directory.find_by_address("tenant", "nobody@contoso.example") is None
    assert await kept.storage.directory.find_by_address("other", "user2@contoso.example") is None


async def test_a_new_generation_forgets_who_is_gone(kept: Kept) -> None:
    """Users of the former generation alone are not found any more."""
    directory = kept.storage.directory
    await filled(directory, user(1), user(2))
    await filled(directory, user(2), generation=SECOND)

    assert await found(directory, "user1@contoso.example", "user2@contoso.example") == [None, user(2)]


async def test_an_older_generation_never_replaces_a_newer_one(kept: Kept) -> None:
    """A run that lost its lease publishes late and changes nothing; the same generation may be published again."""
    directory = kept.storage.directory
    newest = replace(state(SECOND, users=9), synced_at=NOW + timedelta(hours=1))
    await directory.publish("tenant", state(SECOND))
    await directory.publish("tenant", state(FIRST))
    standing = await directory.current("tenant")
    await directory.publish("tenant", newest)

    assert standing == state(SECOND)
    assert await directory.current("tenant") == newest


async def test_a_mailbox_is_found_by_its_address_whoever_else_names_it(kept: Kept) -> None:
    """An account without a mailbox may have somebody's address as its ``mail``: it gives way, whichever of them comes first."""
    directory, mailbox, address = kept.storage.directory, user(1), "user1@contoso.example"
    second = User("second", "adm@contoso.example", "Second", address)
    writer = await filled(directory, mailbox)
    await writer.write([Edit(None, second)])
    named = await directory.find_by_address("tenant", address)
    await writer.write([Edit(second, replace(second, display_name="Renamed")), Edit(mailbox, mailbox)], is_repeated=True)
    together = await directory.find_by_address("tenant", address)
    await writer.write([Edit(second, None)])
    alone = await directory.find_by_address("tenant", address)
    await writer.write([Edit(mailbox, replace(mailbox, smtp_addresses=("new@contoso.example",))), Edit(None, second)])

    assert named == together == alone == mailbox
    assert await directory.find_by_address("tenant", address) == second
    await writer.write([Edit(replace(mailbox, smtp_addresses=("new@contoso.example",)), mailbox)])
    assert await directory.find_by_address("tenant", address) == mailbox


async def test_no_number_of_a_generation_is_used_twice(kept: Kept) -> None:
    """What was begun and never published is told to whoever begins next, until something newer is published; by tenant."""
    directory = kept.storage.directory
    first, second = Generation(1, 2), Generation(2, 8)

    assert await directory.begin("tenant", 2) == (first, ())
    assert await directory.begin("tenant", 8) == (second, (first,))
    assert await directory.begin("other", 1) == (Generation(1, 1), ())
    await directory.publish("tenant", state(second))
    assert await directory.begin("tenant", 4) == (Generation(3, 4), ())
    assert await directory.begin("tenant", 4) == (Generation(4, 4), (Generation(3, 4),))


async def test_the_members_of_a_group_are_those_who_have_not_left(kept: Kept) -> None:
    """Direct members with their kinds, by id; of each the last word counts."""
    directory = kept.storage.directory
    writer = directory.writer("tenant", FIRST)
    told = [Member("b", "group"), Member("a", is_removed=True), Member("a"), Member("c"), Member("c", is_removed=True)]
    await fill(writer, [group(1), group(11)], {"group-1": told, "group-11": [Member("z")]})
    await directory.publish("tenant", state(FIRST))

    assert list(await directory.members("tenant", "group-1")) == [Member("a"), Member("b", "group")]
    assert list(await directory.members("tenant", "nobody")) == []


async def test_domains_are_what_was_put_last(kept: Kept) -> None:
    """Those that are gone go, and others tenants' stay."""
    directory = kept.storage.directory
    contoso = SyncedDomain("contoso.example", True, False, True, True, ("mx.example",))
    other = SyncedDomain("other.example", False, False, False, False)
    await directory.put_domains("tenant", [other, contoso])
    await directory.put_domains("another", [other])
    first = list(await directory.domains("tenant"))
    await directory.put_domains("tenant", [replace(contoso, receives_mail=False)])

    assert first == [contoso, other]
    assert list(await directory.domains("tenant")) == [replace(contoso, receives_mail=False)]
    assert list(await directory.domains("another")) == [other]


# --- insertions ----------------------------------------------------------------------------------------------------------------


async def test_what_is_inserted_is_read_and_counted(kept: Kept) -> None:
    """Records are read by id, those that are not stored are left out; another writer counts the same."""
    directory = kept.storage.directory
    users = [user(number, f"alias{number}@contoso.example") for number in range(230)]
    writer = await filled(directory, *users, group(1), group(2))
    later = directory.writer("tenant", FIRST)

    assert await writer.counts() == await later.counts() == {"users": 230, "groups": 2, "hidden_groups": 0}
    assert await later.records(User, ["id-7", "nobody", "id-229", "id-7"]) == {"id-7": users[7], "id-229": users[229]}
    assert await later.records(Group, ["group-1", "id-7"]) == {"group-1": group(1)}
    assert await found(directory, "alias229@contoso.example", "user0@contoso.example") == [users[229], users[0]]


async def test_an_insertion_says_that_some_of_it_exists(kept: Kept) -> None:
    """It returns False for a record, a member or an address that is there; ``write`` puts the rest right, and counts."""
    directory = kept.storage.directory
    writer = await filled(directory, user(1))
    users = [user(number) for number in range(1, 9)]

    assert not await writer.insert(users, NOTHING, ())
    assert not await writer.insert((), NOTHING, users)
    stored = await writer.records(User, [one.user_id for one in users])
    await writer.write([Edit(stored.get(one.user_id), one) for one in users], is_repeated=True)

    assert await writer.counts() == {"users": 8, "groups": 0, "hidden_groups": 0}
    assert await found(directory, *(one.mail for one in users)) == users


async def test_counts_are_found_after_any_number_of_transactions(kept: Kept) -> None:
    """Whether they were asked for in between or not, by this run or another."""
    directory, one = kept.storage.directory, Generation(1, 1)
    writer = directory.writer("tenant", one)
    for number in range(1, 24):
        assert await writer.insert([user(number)], NOTHING, ())
        if number in (6, 7, 15):
            assert await writer.counts() == {"users": number, "groups": 0, "hidden_groups": 0}
        if number in (2, 3, 8, 12, 13, 21):
            writer = directory.writer("tenant", one)

    assert (
        await directory.writer("tenant", one).counts() == await writer.counts() == {"users": 23, "groups": 0, "hidden_groups": 0}
    )


async def test_nothing_may_be_written(kept: Kept) -> None:
    """An empty page is no error."""
    writer = kept.storage.directory.writer("tenant", FIRST)

    assert await writer.insert((), NOTHING, ())
    await writer.write(())
    assert await writer.records(User, ()) == {}
    assert await writer.counts() == {"users": 0, "groups": 0, "hidden_groups": 0}


# --- edits ---------------------------------------------------------------------------------------------------------------------


async def test_edits_change_what_is_read_and_counted(kept: Kept) -> None:
    """One user is new, one is renamed and one is gone."""
    directory = kept.storage.directory
    writer = await filled(directory, user(1), user(2, "two@contoso.example"))
    renamed = replace(user(1), display_name="Renamed", enabled=False)

    await writer.write([Edit(None, user(3)), Edit(user(1), renamed), Edit(user(2, "two@contoso.example"), None)])

    assert await found(directory, user(1).mail, user(2).mail, "two@contoso.example", user(3).mail) == [
        renamed,
        None,
        None,
        user(3),
    ]
    assert await writer.records(User, ["id-1", "id-2", "id-3"]) == {"id-1": renamed, "id-3": user(3)}
    assert (
        await writer.counts() == await directory.writer("tenant", FIRST).counts() == {"users": 2, "groups": 0, "hidden_groups": 0}
    )


async def test_edits_that_do_not_know_what_is_stored_are_counted_once(kept: Kept) -> None:
    """A creation of what is there and a deletion of what is not leave exact counts, and the rest is carried out."""
    directory = kept.storage.directory
    one = Generation(1, 1)
    writer = await filled(directory, user(1), group(1), generation=one)
    renamed = replace(user(1), display_name="Renamed")

    await writer.write([Edit(None, renamed), Edit(user(2), None), Edit(None, user(3))])
    await writer.write([Edit(group(2), None, members=(Member("a"),)), Edit(None, replace(group(1), mail="new"))])

    assert (
        await writer.counts() == await directory.writer("tenant", one).counts() == {"users": 2, "groups": 1, "hidden_groups": 0}
    )
    assert await writer.records(User, ["id-1", "id-2", "id-3"]) == {"id-1": renamed, "id-3": user(3)}
    assert await writer.records(Group, ["group-1", "group-2"]) == {"group-1": replace(group(1), mail="new")}


async def test_what_does_not_change_is_not_written(on_azurite: OnAzurite) -> None:
    """Edits that change nothing touch no row, and one that changes a member touches not its group."""
    directory = on_azurite.storage.directory
    writer = await filled(directory, user(1), group(1))
    table = on_azurite.tables.get_table_client("directory")

    async def etags() -> dict[str, str | None]:
        rows = [row async for row in table.list_entities() if not row["RowKey"].startswith("count|")]
        return {row["RowKey"]: row.metadata["etag"] for row in rows}

    before = await etags()
    await writer.write([Edit(user(1), user(1)), Edit(group(1), group(1))])
    unchanged = await etags()
    await writer.write([Edit(user(1), user(1)), Edit(group(1), group(1), members=(Member("a"),))])
    after = await etags()

    assert unchanged == before
    assert {row for row in after if after[row] != before.get(row)} == {"member|group-1|a"}


async def test_nested_groups_are_walked_to_their_users(kept: Kept) -> None:
    """All users of a group and of those in it, each once, even where groups contain each other; no other kind of member."""
    directory = kept.storage.directory
    nested = {
        "staff": [Member("sales", "group"), Member("ada"), Member("robot", "servicePrincipal")],
        "sales": [Member("bob"), Member("ada"), Member("staff", "group")],
        "empty": [],
    }
    await directory.writer("tenant", FIRST).insert([Group(name, name) for name in nested], nested, ())
    await directory.publish("tenant", state(FIRST))

    assert await directory.users_in("tenant", "staff") == {"ada", "bob"}
    assert await directory.users_in("tenant", "sales") == {"ada", "bob"}
    assert await directory.users_in("tenant", "empty") == frozenset()
    assert await directory.users_in("other", "staff") == frozenset()


async def test_a_large_group_that_goes_leaves_no_member_behind(kept: Kept) -> None:
    """More members than a page of a query has, and than a transaction may: all of them go, and nobody else's."""
    directory, many = kept.storage.directory, [Member(f"{number:04}") for number in range(1_100)]
    writer = directory.writer("tenant", FIRST)
    await writer.insert([group(1), group(2)], {"group-1": many, "group-2": many[:3]}, ())
    await directory.publish("tenant", state(FIRST))

    await writer.write([Edit(group(1), None), Edit(group(2), group(2), resets=True, members=tuple(many[2:4]))])

    assert list(await directory.members("tenant", "group-1")) == []
    assert list(await directory.members("tenant", "group-2")) == many[2:4]
    assert (await directory.writer("tenant", FIRST).counts())["groups"] == 1


async def test_a_group_s_edits_change_its_members(kept: Kept) -> None:
    """Members come and go; a group that was gone in between keeps none, and one that is gone leaves none."""
    directory = kept.storage.directory
    writer = directory.writer("tenant", FIRST)
    groups = [group(1), group(2), group(3), group(4)]
    await fill(writer, groups, {one.group_id: [Member("a"), Member("b", "group")] for one in groups})
    await directory.publish("tenant", state(FIRST))

    await writer.write(
        [
            Edit(group(1), group(1), members=(Member("c"), Member("a", is_removed=True), Member("x", is_removed=True))),
            Edit(group(2), replace(group(2), display_name="New"), resets=True, members=(Member("b"), Member("d", "device"))),
            Edit(group(3), None),
        ]
    )

    assert list(await directory.members("tenant", "group-1")) == [Member("b", "group"), Member("c")]
    assert list(await directory.members("tenant", "group-2")) == [Member("b"), Member("d", "device")]
    assert list(await directory.members("tenant", "group-3")) == []
    assert list(await directory.members("tenant", "group-4")) == [Member("a"), Member("b", "group")]
    assert await writer.counts() == {"users": 0, "groups": 3, "hidden_groups": 0}


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("order", [1, -1])
async def test_an_address_may_move_from_one_user_to_another(kept: Kept, *, together: bool, order: int) -> None:
    """It leads to who has it now, whichever of the two is told first, in one page or in two."""
    directory = kept.storage.directory
    shared = "shared@contoso.example"
    writer = await filled(directory, user(1, shared), user(2))
    edits = [Edit(user(1, shared), user(1)), Edit(user(2), user(2, shared))][::order]

    for part in [edits] if together else [edits[:1], edits[1:]]:
        await writer.write(part)

    assert await found(directory, shared, user(1).mail, user(2).mail) == [user(2, shared), user(1), user(2, shared)]


async def test_of_two_writers_the_former_one_ends(kept: Kept) -> None:
    """A run that lost its step to another can neither insert nor edit any more, and counts stay exact."""
    directory = kept.storage.directory
    one = Generation(1, 1)
    stale = await filled(directory, user(1), generation=one)
    newer = directory.writer("tenant", one)
    await fill(newer, [user(2)])

    for _ in range(2):
        with pytest.raises(TransientError, match="another run"):
            await stale.insert([user(3)], NOTHING, ())
        with pytest.raises(TransientError, match="another run"):
            await stale.insert([user(2)], NOTHING, ())
        with pytest.raises(TransientError, match="another run"):
            await stale.write([Edit(user(1), None)])
    await newer.write([Edit(user(2), replace(user(2), enabled=False))])

    assert await directory.writer("tenant", one).counts() == {"users": 2, "groups": 0, "hidden_groups": 0}


# --- generations ---------------------------------------------------------------------------------------------------------------


async def test_generations_are_compared_shard_by_shard(kept: Kept) -> None:
    """Users, groups and members that one lacks, that are gone or are otherwise are counted; addresses are not."""
    directory = kept.storage.directory
    same = [user(number) for number in range(20)]
    other = replace(user(30), display_name="Other")
    old, new = directory.writer("tenant", FIRST), directory.writer("tenant", SECOND)
    await fill(old, [*same, user(30), user(31, "a@b.example"), group(1)], {"group-1": [Member("a"), Member("b")]})
    await fill(new, [*same, other, user(32), user(33), group(1)], {"group-1": [Member("b", "group"), Member("c")]})

    differences = [await directory.compare("tenant", FIRST, SECOND, shard) for shard in range(4)]

    assert sum(differences, Differences()) == Differences(missing=3, gone=2, different=2)
    assert sum([await directory.compare("tenant", FIRST, FIRST, shard) for shard in range(4)], Differences()) == Differences()
    with pytest.raises(ValueError, match="shards"):
        await directory.compare("tenant", FIRST, Generation(2, 8), 0)


async def test_a_generation_is_deleted_shard_by_shard(kept: Kept) -> None:
    """Nothing is left of it, another generation stays, and doing it again is no error."""
    directory = kept.storage.directory
    await filled(directory, *(user(number) for number in range(250)), group(1))
    await filled(directory, user(1), generation=SECOND)

    for shard in [*range(4), *range(4)]:
        await directory.delete("tenant", FIRST, shard)

    assert await directory.writer("tenant", FIRST).counts() == {"users": 0, "groups": 0, "hidden_groups": 0}
    assert await directory.writer("tenant", FIRST).records(User, ["id-1"]) == {}
    assert await found(directory, user(1).mail) == [user(1)]


async def test_a_retired_directory_is_nobody_s_and_all_of_it_is_named(kept: Kept) -> None:
    """Readers find nothing at once; whatever may have rows is named, as often as it is asked, and no number comes again."""
    directory = kept.storage.directory
    await filled(directory, user(1))
    await directory.put_domains("tenant", [SyncedDomain("contoso.example", True, False, True, True)])
    begun, _ = await directory.begin("tenant", 2)
    before = await directory.current("tenant")
    assert before
    everything = [*before.former, FIRST, begun]

    assert [await directory.retire("tenant") for _ in range(2)] == [tuple(sorted(everything, key=lambda each: each.number))] * 2
    assert (await directory.current("tenant"), await found(directory, user(1).mail)) == (None, [None])
    assert list(await directory.domains("tenant")) == []
    assert (await directory.begin("tenant", 1))[0].number == begun.number + 1
    assert await directory.retire("another") == ()


async def test_a_retirement_that_is_cut_short_forgets_no_generation(
    on_azurite: OnAzurite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was current is noted before it is taken away: whoever comes next, a removal or another sync, is told of it."""
    directory = on_azurite.storage.directory
    await filled(directory, user(1))
    remove = Table.remove

    async def cut_short(table: Table, row: Found) -> bool:
        assert await remove(table, row)
        raise TransientError("the process ends here")

    monkeypatch.setattr(Table, "remove", cut_short)
    with pytest.raises(TransientError):
        await directory.retire("tenant")

    assert FIRST in await directory.retire("tenant")
    new, left = await directory.begin("tenant", 1)
    assert (new.number, FIRST in left) == (2, True)


# --- rows ----------------------------------------------------------------------------------------------------------------------


async def test_rows_are_spread_over_the_shards(on_azurite: OnAzurite) -> None:
    """Users, groups and addresses are in the shard of their own keys, members in their group's, each exactly once."""
    users = [user(number, f"alias{number}@contoso.example") for number in range(400)]
    writer = on_azurite.storage.directory.writer("tenant", Generation(3, 16))
    await fill(writer, [*users, *map(group, range(50))], {"group-7": [Member(one.user_id) for one in users[:250]]})

    table = on_azurite.tables.get_table_client("directory")
    keys = [(row["PartitionKey"], row["RowKey"]) async for row in table.list_entities(select=["PartitionKey", "RowKey"])]
    partitions = {f"tenant|000003|{shard:03}" for shard in range(16)}
    home = next(partition for partition, row in keys if row == "group|group-7")

    assert {partition for partition, _ in keys} == partitions
    assert {partition for partition, row in keys if row.startswith("member|group-7|")} == {home}
    expected = [f"user|{one.user_id}" for one in users] + [f"address|{address}" for one in users for address in one.addresses]
    expected += [f"member|group-7|{one.user_id}" for one in users[:250]] + [f"group|group-{number}" for number in range(50)]
    assert sorted(row for _, row in keys if not row.startswith("count|")) == sorted(expected)


async def test_a_reader_finds_an_address_as_the_documentation_says(on_azurite: OnAzurite) -> None:
    """``current``, then one point read in the shard that is the CRC-32 of the row key: no code of ours is needed."""
    odd = "o'd%d/#?@contoso.example"
    users = [user(number, f"ä{number}@contoso.example") for number in range(40)]
    await filled(on_azurite.storage.directory, *users, user(99, odd), generation=Generation(7, 32))
    table = on_azurite.tables.get_table_client("directory")
    current = await table.get_entity("tenant", "current")
    names = {address: one.user_id for one in users for address in one.addresses} | {odd: "id-99"}

    for address, user_id in names.items():
        row = f"address|{address}"
        partition = f"tenant|{current['generation']:06}|{zlib.crc32(row.encode()) % current['shards']:03}"
        encoded = re.sub(r"[/\\#?%]", lambda found: f"%{ord(found[0]):02X}", row)
        assert (await table.get_entity(partition, encoded))["user_id"] == user_id


def test_transactions_are_cut_by_number_and_by_size() -> None:
    """No batch has more rows or bytes than Table storage takes, and all operations come out in order."""
    many = [upsert({"PartitionKey": "p", "RowKey": str(number)}) for number in range(250)]
    large = [upsert({"PartitionKey": "p", "RowKey": str(number), "text": "x" * 250_000}) for number in range(9)]

    assert [len(batch) for batch in batches(many)] == [100, 100, 50]
    assert [len(batch) for batch in batches(many, room=1)] == [99, 99, 52]
    assert [len(batch) for batch in batches(large)] == [4, 4, 1]
    assert [operation for batch in batches(many + large) for operation in batch] == many + large
    assert list(batches([])) == []


async def test_a_user_with_very_many_addresses_fits(kept: Kept) -> None:
    """Each address row carries all addresses, in parts where they are too long for one property."""
    addresses = tuple(f"alias{number:04}@{'subdomain.' * 6}contoso.example" for number in range(400))
    many = replace(user(1), smtp_addresses=addresses)
    await filled(kept.storage.directory, many)

    assert await found(kept.storage.directory, addresses[399]) == [many]
