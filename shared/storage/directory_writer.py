"""Writes one generation of a tenant's directory: many rows in few transactions, and the counts of each shard exactly.

Every transaction that inserts or changes records inserts a row, too, with its number in the shard and with how many records the
shard holds from then on. So the counts are exact whatever is cut off where; and of two runs that write one generation, the one
that lost its step to the other meets a number that is taken, before it does harm. (Rows are inserted, not one row updated: that
is no dearer for Table storage, and much cheaper for Azurite, whose updates cost as much as the whole table is long.)
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

from shared.domain.directory import Edit, Generation, Group, Member, Record, User
from shared.ports import ConflictError, TransientError
from shared.storage import directory_rows as rows
from shared.storage import keys, transactions
from shared.storage.codec import Columns
from shared.storage.limits import MissingError
from shared.storage.records import COUNT, MEMBER, Counted, MemberKind
from shared.storage.table import Found, Table, each
from shared.storage.transactions import Operation

AT_ONCE = 8
"""How many requests one write sends side by side: 12 and 16 wrote no faster where this was measured, on Azurite."""
NOTHING, TRANSACTION, ONE_USER = Counted(), Counted(number=1), Counted(users=1)
ONE_GROUP, ONE_HIDDEN = Counted(groups=1), Counted(groups=1, hidden_groups=1)


@dataclass(frozen=True, slots=True)
class Insertion:
    """What is inserted into one shard: records, and addresses by their rows."""

    records: list[Record] = field(default_factory=list)
    addresses: dict[str, User] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Planned:
    """One operation, and how many records more there are by it."""

    operation: Operation
    more: Counted = NOTHING


def member_columns(member: Member) -> Columns:
    """Return the columns of a member's row; its id stands in the key."""
    return MEMBER.write(MemberKind(member.kind))


def member_of(found: Found) -> Member:
    """Return the member of a row."""
    return Member(found.row.rpartition("|")[2], MEMBER.read(found.columns).kind)


class TableDirectoryWriter:
    """Implements ``ports.DirectoryWriter``."""

    def __init__(self, directory: Table, tenant_id: str, generation: Generation) -> None:
        self._table = directory
        self._tenant_id = tenant_id
        self._generation = generation
        self._known: dict[int, Counted] = {}
        self._noted: dict[int, int] = {}

    async def records(self, kind: type[Record], ids: Sequence[str]) -> Mapping[str, Record]:
        """Return those of the objects that are stored, by id.

        The counts of their shards are read before them: what another run changes from then on is noticed by ``write``.
        """
        names = [rows.object_row(kind, object_id) for object_id in dict.fromkeys(ids)]
        await self._know(map(self._shard, names))
        found = await each(self._get, names, AT_ONCE)
        stored: list[Record] = [rows.CODECS[kind].read(one.columns) for one in found if one]
        return {record.object_id: record for record in stored}

    async def insert(self, records: Sequence[Record], members: Mapping[str, Sequence[Member]], owners: Sequence[User]) -> bool:
        """Insert new records and the addresses of ``owners``; False where a row exists. See ``ports.DirectoryWriter.insert``."""
        shards: defaultdict[int, Insertion] = defaultdict(Insertion)
        for record in records:
            shards[self._shard(rows.record_row(record))].records.append(record)
        for row, user in owned(owners).items():
            shards[self._shard(row)].addresses[row] = user
        await self._know(shards)
        return all(await each(lambda shard: self._inserted(shard, shards[shard], members), list(shards), AT_ONCE))

    async def write(self, edits: Sequence[Edit], *, is_repeated: bool = False) -> None:
        """Carry edits out, so that it may be repeated whatever was cut off. See ``ports.DirectoryWriter.write``."""
        carried = [edit for edit in edits if is_repeated or edit.changes_record or edit.members or edit.resets]
        await self._release(carried)
        await self._write_records(carried)
        await self._write_addresses([edit.record for edit in carried if is_repeated or edit.changes_record])

    async def counts(self) -> Mapping[str, int]:
        """Return how many ``users``, ``groups`` and ``hidden_groups`` the generation holds."""
        await self._know(range(self._generation.shards))
        await each(self._note, [shard for shard in self._known if self._is_behind(shard)], AT_ONCE)
        counted = sum(self._known.values(), NOTHING)
        return {"users": counted.users, "groups": counted.groups, "hidden_groups": counted.hidden_groups}

    def _shard(self, row: str) -> int:
        return rows.shard_of(row, self._generation)

    def _partition(self, shard: int) -> str:
        return rows.shard_partition(self._tenant_id, self._generation, shard)

    def _entity(self, shard: int, row: str, columns: Columns) -> Columns:
        return keys.entity(self._partition(shard), row, columns)

    async def _get(self, row: str) -> Found | None:
        return await self._table.get(self._partition(self._shard(row)), row)

    async def _know(self, shards: Iterable[int]) -> None:
        """Read the counts of those of the shards that are not known."""
        unknown = sorted(set(shards) - self._known.keys())
        self._known |= zip(unknown, await each(self._read, unknown, AT_ONCE), strict=True)

    async def _read(self, shard: int) -> Counted:
        """Return the newest count of a shard: from the one that was noted, by steps that double, then by halves."""
        found = await self._counted(shard, rows.COUNT_ROW) or Counted()
        self._noted[shard] = found.number
        step = 1
        while later := await self._counted(shard, rows.count_row(found.number + step)):
            found, step = later, 2 * step
        while step > 1:
            step //= 2
            found = await self._counted(shard, rows.count_row(found.number + step)) or found
        return found

    async def _counted(self, shard: int, row: str) -> Counted | None:
        found = await self._table.get(self._partition(shard), row)
        return COUNT.read(found.columns) if found else None

    def _is_behind(self, shard: int) -> bool:
        return self._noted.get(shard, 0) < self._known[shard].number

    async def _note(self, shard: int) -> None:
        """Note the newest count, so that the next run finds it at once."""
        await self._table.put(self._entity(shard, rows.COUNT_ROW, COUNT.write(self._known[shard])))
        self._noted[shard] = self._known[shard].number

    # --- insertions ----------------------------------------------------------------------------------------------------------

    async def _inserted(self, shard: int, found: Insertion, members: Mapping[str, Sequence[Member]]) -> bool:
        """Insert rows of one shard; return False where one of them exists.

        They are encoded here, not before: while one shard's are encoded, storage works at those of others.
        """
        planned = [each for record in found.records for each in self._record(shard, record, members.get(record.object_id, ()))]
        planned += [
            Planned(transactions.create(self._entity(shard, row, rows.CODECS[User].write(user))))
            for row, user in found.addresses.items()
        ]
        try:
            await self._run(shard, planned)
        except ConflictError:
            return False
        return True

    def _record(self, shard: int, record: Record, members: Sequence[Member]) -> Iterator[Planned]:
        """Return what inserts a record, and a group's members."""
        columns = rows.CODECS[type(record)].write(record)
        yield Planned(transactions.create(self._entity(shard, rows.record_row(record), columns)), count_of(record))
        for member in joined(members) if isinstance(record, Group) else ():
            row = rows.member_row(record.object_id, member)
            yield Planned(transactions.create(self._entity(shard, row, member_columns(member))))

    # --- edits ---------------------------------------------------------------------------------------------------------------

    async def _release(self, edits: Sequence[Edit]) -> None:
        """Delete the rows of addresses that have left their users, and that nobody of these edits takes over."""
        users = [edit.record for edit in edits if isinstance(edit.record, User) and not edit.record.gives_way]
        taken = {address for user in users for address in user.addresses}
        released = [
            (edit.former.object_id, address) for edit in edits if edit.former for address in edit.released if address not in taken
        ]
        await each(self._release_one, released, AT_ONCE)

    async def _release_one(self, one: tuple[str, str]) -> None:
        """Delete an address's row, if it still is this user's."""
        user_id, address = one
        found = await self._get(rows.address_row(address))
        if found and found.columns.get("user_id") == user_id:
            await self._table.remove(found)

    async def _write_records(self, edits: Sequence[Edit]) -> None:
        shards: defaultdict[int, list[Edit]] = defaultdict(list)
        for edit in edits:
            if record := edit.record or edit.former:
                shards[self._shard(rows.record_row(record))].append(edit)
        await self._know(shards)
        await each(lambda shard: self._write_shard(shard, shards[shard]), list(shards), AT_ONCE)

    async def _write_shard(self, shard: int, edits: Sequence[Edit]) -> None:
        """Carry out the edits of one shard; where they do not say what is stored, that is read first."""
        try:
            await self._run(shard, await self._plan(shard, edits, [edit.former for edit in edits]))
        except (ConflictError, MissingError):
            await self._run(shard, await self._plan(shard, edits, await each(self._stored, edits, AT_ONCE)))

    async def _stored(self, edit: Edit) -> Record | None:
        """Return what is stored of an edit's object now."""
        found = await self._get(rows.record_row(object_of(edit)))
        record: Record | None = rows.CODECS[type(object_of(edit))].read(found.columns) if found else None
        return record

    async def _plan(self, shard: int, edits: Sequence[Edit], stored: Sequence[Record | None]) -> list[Planned]:
        """Return what carries edits out; ``stored`` are the objects as they are.

        A group's own row goes after its members' rows: whoever is killed in between still finds it.
        """
        planned: list[Planned] = []
        for edit, former in zip(edits, stored, strict=True):
            if not isinstance(object_of(edit), User):
                planned += await self._member_operations(shard, edit)
            planned += self._record_operations(shard, edit, former)
        return planned

    def _record_operations(self, shard: int, edit: Edit, former: Record | None) -> list[Planned]:
        row, more = rows.record_row(object_of(edit)), count_of(edit.record) + -count_of(former)
        if edit.record is None:
            return [Planned(transactions.delete(self._partition(shard), row), more)] if former else []
        if former and not edit.changes_record:
            return []
        entity = self._entity(shard, row, rows.CODECS[type(edit.record)].write(edit.record))
        return [Planned(transactions.upsert(entity) if former else transactions.create(entity), more)]

    async def _member_operations(self, shard: int, edit: Edit) -> list[Planned]:
        """Return what changes a group's members: those who left go, and all go where the group did, or was gone in between."""
        group_id = object_of(edit).object_id
        staying = [] if edit.record is None else joined(edit.members)
        written = {rows.member_row(group_id, member): member_columns(member) for member in staying}
        if edit.record is None or edit.resets:
            await self._forget_members(shard, group_id, kept=written.keys())
            gone = []
        else:
            left = [rows.member_row(group_id, member) for member in last_of(edit.members) if member.is_removed]
            is_there = await each(partial(self._table.exists, self._partition(shard)), left, AT_ONCE)
            gone = [row for row, there in zip(left, is_there, strict=True) if there and row not in written]
        deletes = [Planned(transactions.delete(self._partition(shard), row)) for row in gone]
        return deletes + [Planned(transactions.upsert(self._entity(shard, row, columns))) for row, columns in written.items()]

    async def _forget_members(self, shard: int, group_id: str, kept: Collection[str]) -> None:
        """Delete the rows of a group's members, a page at a time: there may be more of them than memory is to hold."""
        prefix, partition = rows.member_rows(group_id), self._partition(shard)
        async for page in self._table.pages(partition, low=keys.encode(prefix), select=["PartitionKey", "RowKey"]):
            members = [found.row for found in page if found.row.startswith(prefix)]
            await self._run(shard, [Planned(transactions.delete(partition, row)) for row in members if row not in kept])
            if len(members) < len(page):
                return

    async def _write_addresses(self, records: Sequence[Record | None]) -> None:
        shards: defaultdict[int, list[Operation]] = defaultdict(list)
        owners = owned(record for record in records if isinstance(record, User))
        kept = await each(self._is_another_s, [(row, user) for row, user in owners.items() if user.gives_way], AT_ONCE)
        for row, user in owners.items():
            if row in kept:
                continue
            columns = rows.CODECS[User].write(user)
            shards[self._shard(row)].append(transactions.upsert(self._entity(self._shard(row), row, columns)))
        work = [batch for operations in shards.values() for batch in transactions.batches(operations)]
        await each(self._table.attempt, work, AT_ONCE)

    async def _is_another_s(self, one: tuple[str, User]) -> str:
        """Return the row of an address that somebody else's mailbox has, "" of another."""
        row, user = one
        found = await self._get(row)
        if found is None or found.columns.get("user_id") == user.user_id or rows.CODECS[User].read(found.columns).gives_way:
            return ""
        return row

    # --- transactions --------------------------------------------------------------------------------------------------------

    async def _run(self, shard: int, planned: Sequence[Planned]) -> None:
        """Carry out what is planned for one shard, transaction by transaction, each with the shard's new count."""
        rest = iter(planned)
        for batch in transactions.batches((one.operation for one in planned), room=1):
            part = list(islice(rest, len(batch)))
            await self._commit(shard, batch, sum((one.more for one in part), TRANSACTION))

    async def _commit(self, shard: int, operations: Sequence[Operation], more: Counted) -> None:
        """Carry out one transaction with the shard's new count.

        Raises ConflictError or MissingError where a row is not as supposed, and TransientError where the number is taken: then
        this writer never writes there again. TransientError, too, where no answer came: the count is read anew the next time.
        """
        known = self._known.pop(shard)
        counted = known + more
        row = rows.count_row(counted.number)
        first = transactions.create(self._entity(shard, row, COUNT.write(counted)))
        try:
            await self._table.attempt([first, *operations])
        except (ConflictError, MissingError):
            self._known[shard] = known
            if await self._table.exists(self._partition(shard), row):
                raise TransientError("the directory is being written by another run; this one ends") from None
            raise
        self._known[shard] = counted


def count_of(record: Record | None) -> Counted:
    """Return what a record counts as."""
    if isinstance(record, Group):
        return ONE_HIDDEN if record.hides_members else ONE_GROUP
    return ONE_USER if record else NOTHING


def object_of(edit: Edit) -> Record:
    """Return the object of an edit, as it is to be or was. Raises ValueError for an edit of nothing."""
    record = edit.record or edit.former
    if record is None:
        raise ValueError("an edit of nothing")
    return record


def owned(users: Iterable[User]) -> dict[str, User]:
    """Return whose each address is, by its row: of two users with one address the later one's, if it does not give way."""
    return {rows.address_row(address): user for user in sorted(users, key=is_mailbox) for address in user.addresses}


def is_mailbox(user: User) -> bool:
    """Tell whether a user has addresses of their own."""
    return not user.gives_way


def last_of(members: Sequence[Member]) -> list[Member]:
    """Return what was told last of each member."""
    return list({member.member_id: member for member in members}.values())


def joined(members: Sequence[Member]) -> list[Member]:
    """Return those who are members after all that was told."""
    return [member for member in last_of(members) if not member.is_removed]
