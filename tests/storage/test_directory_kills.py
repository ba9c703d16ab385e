"""Killed at any request, and done again by another run: the rows and the counts of an undisturbed one."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import uuid4

import pytest
from azure.data.tables.aio import TableServiceClient

from shared.domain.directory import DirectoryChange, DirectoryState, Generation, Group, Member, Record, User, edits_of, folded
from shared.ports import DirectoryStore, DirectoryWriter
from shared.storage.directory import TableDirectory
from shared.storage.table import Table
from tests.storage.conftest import InMemory, Kept, OnAzurite
from tests.storage.examples import NOW
from tests.storage.faulty import Fuse, FusedTransport, KilledError
from tests.storage.memory import open_memory

COPY = Generation(1, 2)
SHARED = "shared@contoso.example"
LATE = "late@contoso.example"
MOST = 500
"""More requests than any of these runs has."""


def user(number: int, *aliases: str) -> User:
    """Return a user with a primary address and aliases."""
    mail = f"user{number}@contoso.example"
    return User(f"id-{number}", mail, f"User {number}", mail, (mail, *aliases), enabled=True, user_type="Member")


USERS = [user(1, SHARED), user(2), user(3, "gone@contoso.example"), user(4), user(5, LATE)]
HIDDEN = "HiddenMembership"
GROUPS = [Group("team"), Group("club", visibility=HIDDEN), Group("crew", visibility=HIDDEN), Group("rest")]
NEWCOMERS = [Member(f"id-{number}") for number in range(100, 230)]
"""More than one transaction takes."""
MEMBERS = {one.group_id: [Member(user.user_id) for user in USERS] for one in GROUPS} | {"rest": NEWCOMERS, "club": NEWCOMERS}
USER_CHANGES = [
    DirectoryChange("id-5", {"smtp_addresses": ("user5@contoso.example",)}),
    DirectoryChange("id-1", {"smtp_addresses": ("user1@contoso.example",)}),
    DirectoryChange("id-2", {"smtp_addresses": ("user2@contoso.example", SHARED), "display_name": "Renamed"}),
    DirectoryChange("id-3", is_removed=True),
    DirectoryChange("id-4", is_removed=True),
    DirectoryChange("id-4", {"user_principal_name": "again@contoso.example", "mail": "Again@contoso.example"}),
    DirectoryChange("id-6", {"user_principal_name": "new@contoso.example", "smtp_addresses": (LATE,)}, is_whole=True),
    DirectoryChange("id-7", is_removed=True),
]
GROUP_CHANGES = [
    DirectoryChange(
        "team", {"visibility": HIDDEN}, members=(Member("id-1", is_removed=True), Member("id-9", "device"), *NEWCOMERS)
    ),
    DirectoryChange("club", is_removed=True),
    DirectoryChange("crew", is_removed=True),
    DirectoryChange("crew", {"display_name": "Again"}, members=(Member("id-2"), Member("id-8"))),
    DirectoryChange("new", {"display_name": "New"}, is_whole=True, members=(Member("team", "group"),)),
]


@asynccontextmanager
async def fused(kept: Kept, connection: str, fuse: Fuse) -> AsyncIterator[DirectoryStore]:
    """Give the directory of a process that dies when the fuse blows."""
    if isinstance(kept, InMemory):
        world = replace(kept.world, gate=gate(fuse))
        yield open_memory(world).directory
        return
    async with TableServiceClient.from_connection_string(connection, transport=FusedTransport(fuse)) as tables:
        yield TableDirectory(Table(tables.get_table_client("directory")))


def gate(fuse: Fuse) -> Callable[[str], Awaitable[None]]:
    """Return a gate with a fuse in it."""

    async def pass_by(name: str) -> None:
        if name.endswith(".answer"):
            fuse.behind()
        else:
            fuse.before()

    return pass_by


async def insert(writer: DirectoryWriter, *, is_repeated: bool = False) -> None:
    """Insert all, and put right what was there already, as a first sync does."""
    parts: list[tuple[list[Record], list[User]]] = [([*USERS, *GROUPS], []), ([], USERS)]
    for records, owners in parts:
        if not await writer.insert(records, MEMBERS, owners):
            await put_right(writer, User, [*records, *owners])
            await put_right(writer, Group, records)


async def put_right(writer: DirectoryWriter, kind: type[Record], records: Sequence[Record]) -> None:
    """Write records that may be there, with their members."""
    told = [
        DirectoryChange(
            record.object_id,
            {name: getattr(record, name) for name in record.__slots__[1:]},
            is_whole=True,
            members=tuple(MEMBERS.get(record.object_id, ())),
        )
        for record in records
        if isinstance(record, kind)
    ]
    await apply(writer, kind, told, is_repeated=True)


async def edit(writer: DirectoryWriter, *, is_repeated: bool = False) -> None:
    """Apply changes, as an increment does."""
    await apply(writer, User, USER_CHANGES, is_repeated=is_repeated)
    await apply(writer, Group, GROUP_CHANGES, is_repeated=is_repeated)


async def apply(writer: DirectoryWriter, kind: type[Record], told: Sequence[DirectoryChange], *, is_repeated: bool) -> None:
    """Write what changes make of what is stored."""
    changes = folded(told)
    await writer.write(edits_of(kind, changes, await writer.records(kind, list(changes))), is_repeated=is_repeated)


async def rows(kept: Kept, tenant_id: str) -> Mapping[str, object]:
    """Return all rows of the tenant's only generation but its counts, by key."""
    if isinstance(kept, InMemory):
        return dict(kept.world.copies[(tenant_id, COPY.number)].rows)
    assert isinstance(kept, OnAzurite)
    query, parameters = "PartitionKey ge @low and PartitionKey lt @high", {"low": f"{tenant_id}|", "high": f"{tenant_id}}}"}
    found = [row async for row in kept.tables.get_table_client("directory").query_entities(query, parameters=parameters)]
    kept_rows = [row for row in found if not row["RowKey"].startswith("count")]
    return {f"{row['PartitionKey'][-3:]}|{row['RowKey']}": {**row, "PartitionKey": ""} for row in kept_rows}


@pytest.mark.parametrize("is_carried_out", [False, True], ids=["before it is sent", "when it is carried out"])
@pytest.mark.parametrize("work", [insert, edit])
async def test_killed_at_any_request_and_repeated(
    kept: Kept, connection: str, work: Callable[..., Awaitable[None]], *, is_carried_out: bool
) -> None:
    """Whichever request is the last one, another run that begins again leaves the same rows and the same counts.

    What moves from one user to another is found in between, too.
    """
    directory = kept.storage.directory
    whole = await prepared(directory, work)
    fuse = Fuse(MOST)
    async with fused(kept, connection, fuse) as undisturbed:
        await work(undisturbed.writer(whole, COPY))
    expected, counts = await rows(kept, whole), await directory.writer(whole, COPY).counts()

    assert 2 < fuse.spent < MOST
    for after in range(fuse.spent):
        tenant_id = await prepared(directory, work)
        async with fused(kept, connection, Fuse(after, is_carried_out)) as mortal:
            with pytest.raises(KilledError):
                await work(mortal.writer(tenant_id, COPY))
        if work is edit:
            await directory.publish(tenant_id, DirectoryState(COPY.number, COPY.shards, {}, NOW))
            assert all([await directory.find_by_address(tenant_id, address) for address in (SHARED, LATE)])
        await work(directory.writer(tenant_id, COPY), is_repeated=True)

        assert await rows(kept, tenant_id) == expected, after
        assert await directory.writer(tenant_id, COPY).counts() == counts, after


async def prepared(directory: DirectoryStore, work: object) -> str:
    """Return a new tenant, with the directory that ``work`` begins with."""
    tenant_id = str(uuid4())
    if work is edit:
        await insert(directory.writer(tenant_id, COPY))
    return tenant_id


async def test_the_undisturbed_runs_come_to_what_was_told(kept: Kept) -> None:
    """What the runs above are compared with is right: addresses lead to whom they should, and members are those told."""
    directory = kept.storage.directory
    tenant_id = await prepared(directory, edit)
    await edit(directory.writer(tenant_id, COPY))
    found = {key.rpartition("address|")[2]: owner for key, owner in (await rows(kept, tenant_id)).items() if "address|" in key}
    owners = {address: owner.user_id if isinstance(owner, User) else owner["user_id"] for address, owner in found.items()}  # type: ignore[index]

    assert owners == {
        "user1@contoso.example": "id-1",
        "user2@contoso.example": "id-2",
        SHARED: "id-2",
        "again@contoso.example": "id-4",
        "user5@contoso.example": "id-5",
        LATE: "id-6",
    }
    assert await directory.writer(tenant_id, COPY).counts() == {"users": 5, "groups": 4, "hidden_groups": 1}
    members = [key for key in await rows(kept, tenant_id) if "member|" in key]
    assert len(members) == len(USERS) + len(NEWCOMERS) + 2 + 1 + len(NEWCOMERS)
