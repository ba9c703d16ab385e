"""The storage in memory: the same ports, held to the same contract tests as Azurite, for seeded simulations.

Every operation awaits ``World.gate`` with its name before it acts (``grants.save``) and once more when it has acted, before the
caller hears of it (``grants.save.answer``). A gate may wait, so that others run in between; raise before, so that nothing is
done; or raise after, so that all is done and the answer is lost. Between its two gates an operation never waits.
"""

import heapq
import json
import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import wraps
from itertools import count
from typing import Any, Concatenate, ParamSpec, TypeVar

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
    users_of,
)
from shared.domain.grant import Event, Facts, Grant, Nudge, Row
from shared.domain.probes import Probe
from shared.domain.steps import STEPS, Queue
from shared.messages import cloud_event, encode_nudge, encode_probe
from shared.ports import (
    ACCOUNT_STATES,
    AccountRow,
    Binding,
    Change,
    Clock,
    ConflictError,
    DeadLetter,
    DueRow,
    Stored,
    TransientError,
)
from shared.storage import Storage
from shared.storage.directory_rows import address_row, object_row
from shared.storage.keys import encode, order, shard
from shared.storage.limits import TRANSACTION_ROWS, TooLargeError

Gate = Callable[[str], Awaitable[None]]
"""Awaited around every operation, with its name."""
P = ParamSpec("P")
R = TypeVar("R")
PartT = TypeVar("PartT", bound="Part")
T = TypeVar("T")
DirectoryValue = User | Group | Member


async def open_gate(_: str) -> None:
    """Let everything pass."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message on a queue, visible from ``visible_at``."""

    body: str
    visible_at: datetime


@dataclass
class Partition:
    """One grant's partition; rows may be there before the grant is."""

    stored: Stored | None = None
    events: dict[int, Event] = field(default_factory=dict)
    rows: dict[str, str] = field(default_factory=dict)
    """JSON text by row key: what comes back is what JSON keeps."""


@dataclass
class Copy:
    """One generation of a tenant's directory."""

    rows: dict[str, DirectoryValue] = field(default_factory=dict)
    """Users, groups, members and owners of addresses, by the row keys of ``docs/tables.md``."""
    version: int = 0
    """Grows with every transaction that counts: what tells writers that another one is at work."""


@dataclass
class World:
    """Everything that is kept. Simulations and tests may look inside."""

    clock: Clock = lambda: datetime.now(UTC)
    gate: Gate = open_gate
    grants: dict[str, Partition] = field(default_factory=dict)
    due: set[DueRow] = field(default_factory=set)
    queues: dict[str, list[Message]] = field(default_factory=dict)
    """Messages by the name of their queue, poison queues among them."""
    letters: dict[str, DeadLetter] = field(default_factory=dict)
    tenants: dict[str, Binding] = field(default_factory=dict)
    live: dict[str, str] = field(default_factory=dict)
    accounts: dict[str, AccountRow] = field(default_factory=dict)
    """The newest row of each account, by the account's id."""
    counts: tuple[Mapping[str, int], datetime] | None = None
    current: dict[str, DirectoryState] = field(default_factory=dict)
    begun: dict[str, tuple[Generation, ...]] = field(default_factory=dict)
    copies: dict[tuple[str, int], Copy] = field(default_factory=dict)
    """The directories, by tenant and number of generation."""
    domains: dict[str, tuple[SyncedDomain, ...]] = field(default_factory=dict)
    numbers: "count[int]" = field(default_factory=lambda: count(1))
    """Where ETags and ids come from."""

    def put(self, queue: str, body: str, delay: timedelta = timedelta()) -> None:
        """Put a message on a queue."""
        self.queues.setdefault(queue, []).append(Message(body, self.clock() + delay))


@dataclass(frozen=True, slots=True)
class Part:
    """What implements one port on the world."""

    world: World


def gated(
    name: str,
) -> Callable[[Callable[Concatenate[PartT, P], Awaitable[R]]], Callable[Concatenate[PartT, P], Coroutine[Any, Any, R]]]:
    """Make a method an operation with a gate before it and one after it."""

    def wrap(
        method: Callable[Concatenate[PartT, P], Awaitable[R]],
    ) -> Callable[Concatenate[PartT, P], Coroutine[Any, Any, R]]:
        @wraps(method)
        async def operation(part: PartT, /, *args: P.args, **kwargs: P.kwargs) -> R:
            await part.world.gate(name)
            result = await method(part, *args, **kwargs)
            await part.world.gate(f"{name}.answer")
            return result

        return operation

    return wrap


class MemoryGrants(Part):
    """Implements ``ports.GrantStore``."""

    @gated("grants.load")
    async def load(self, grant_id: str) -> Stored | None:
        """Return the grant, or None when there is none."""
        return self._partition(grant_id).stored

    @gated("grants.create")
    async def create(self, change: Change) -> Stored:
        """Insert a new grant with its rows, or raise ConflictError."""
        found = self._partition(change.grant.grant_id)
        if found.stored or any(row.key in found.rows for row in change.rows):
            raise ConflictError("the grant, or one of its rows, exists")
        return self._write(change)

    @gated("grants.save")
    async def save(self, stored: Stored, change: Change) -> Stored:
        """Save a change if nobody else has, or raise ConflictError."""
        found = self._partition(change.grant.grant_id)
        is_as_read = found.stored is not None and found.stored.etag == stored.etag
        if not is_as_read or any(event.seq in found.events for event in change.events):
            raise ConflictError("the grant changed since it was read")
        return self._write(change)

    @gated("grants.row")
    async def row(self, grant_id: str, key: str) -> Facts | None:
        """Return one row, or None."""
        found = self._partition(grant_id).rows.get(key)
        return read_json(found) if found else None

    @gated("grants.rows")
    async def rows(self, grant_id: str, prefix: str) -> list[Row]:
        """Return the rows whose key begins with ``prefix``, in key order."""
        found = sorted((key for key in self._partition(grant_id).rows if key.startswith(prefix)), key=encode)
        return [Row(key, read_json(self._partition(grant_id).rows[key])) for key in found]

    @gated("grants.put")
    async def put(self, grant_id: str, row: Row) -> None:
        """Write one row."""
        self._partition(grant_id).rows[row.key] = json.dumps(row.value)

    @gated("grants.insert")
    async def insert(self, grant_id: str, row: Row) -> bool:
        """Insert one row; False when it exists."""
        rows = self._partition(grant_id).rows
        is_new = row.key not in rows
        rows.setdefault(row.key, json.dumps(row.value))
        return is_new

    @gated("grants.events")
    async def events(self, grant_id: str, after: int = 0, *, limit: int | None = None) -> list[Event]:
        """Return the events above ``after``, in order, at most ``limit``."""
        events = self._partition(grant_id).events
        return [events[seq] for seq in sorted(events) if seq > after][:limit]

    def _partition(self, grant_id: str) -> Partition:
        return self.world.grants.setdefault(grant_id, Partition())

    def _write(self, change: Change) -> Stored:
        found = self._partition(change.grant.grant_id)
        check_size(change, existing=sum(key in found.rows for key in change.deletes))
        found.stored = Stored(change.grant, f"etag {next(self.world.numbers)}")
        found.events |= {event.seq: event for event in change.events}
        found.rows |= {row.key: json.dumps(row.value) for row in change.rows}
        for key in change.deletes:
            found.rows.pop(key, None)
        return found.stored


class MemoryDueIndex(Part):
    """Implements ``ports.DueIndex``."""

    @gated("due.put")
    async def put(self, row: DueRow) -> None:
        """Write the row of a whole minute."""
        if row.at.second or row.at.microsecond:
            raise ValueError(f"not a whole minute: {row.at}")
        self.world.due.add(row)

    @gated("due.until")
    async def until(self, now: datetime, limit: int = 500) -> list[DueRow]:
        """Return the rows at or before ``now``, oldest first."""
        found = (row for row in self.world.due if row.at <= now)
        return sorted(found, key=lambda row: (row.at, row.grant_id))[:limit]

    @gated("due.delete")
    async def delete(self, row: DueRow) -> None:
        """Delete the row, if it is there."""
        self.world.due.discard(row)


class MemoryNudges(Part):
    """Implements ``ports.Nudges``."""

    @gated("nudges.send")
    async def send(self, nudge: Nudge, *, delay: timedelta) -> None:
        """Put the nudge on the queue of its step."""
        seconds = math.ceil(min(max(delay, timedelta()), timedelta(days=7)).total_seconds())
        self.world.put(STEPS[nudge.step].queue, encode_nudge(nudge), timedelta(seconds=seconds))


class MemoryEventQueue(Part):
    """Implements ``ports.EventQueue``."""

    @gated("events.publish")
    async def publish(self, grant: Grant, event: Event) -> None:
        """Put the event on the queue."""
        self.world.put("grant-events", cloud_event(grant, event))


class MemoryProbeQueue(Part):
    """Implements ``ports.ProbeQueue``."""

    @gated("probes.order")
    async def order(self, grant: Grant, probe: Probe) -> None:
        """Put the order on the queue."""
        self.world.put(Queue.MAIL_PROBES, encode_probe(grant, probe))


class MemoryDeadLetters(Part):
    """Implements ``ports.DeadLetters``."""

    @gated("dead_letters.keep")
    async def keep(self, letter: DeadLetter) -> str:
        """Store the letter and return its id."""
        letter_id = letter.letter_id or f"{letter.at.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}|{next(self.world.numbers):032}"
        self.world.letters[letter_id] = replace(letter, letter_id=letter_id)
        return letter_id

    @gated("dead_letters.recent")
    async def recent(self, count: int = 50) -> list[DeadLetter]:
        """Return the newest letters first."""
        return [self.world.letters[letter_id] for letter_id in heapq.nlargest(count, self.world.letters)]


class MemoryPoisonQueues(Part):
    """Implements ``ports.PoisonQueues``; the world's queues hold bodies already decoded."""

    @gated("poison.drain")
    async def drain(self, queue: str, keep: Callable[[str], Awaitable[object]], limit: int = 320) -> int:
        """Await ``keep`` for each message, then delete it."""
        messages = self.world.queues.get(f"{queue}-poison", [])
        taken = messages[:limit]
        for message in taken:
            await keep(message.body)
            messages.remove(message)
        return len(taken)


class MemoryBindings(Part):
    """Implements ``ports.Bindings``."""

    @gated("bindings.tenant")
    async def tenant(self, tenant_id: str) -> Binding | None:
        """Return who has the tenant."""
        return self.world.tenants.get(tenant_id)

    @gated("bindings.bind_tenant")
    async def bind_tenant(self, binding: Binding, *, instead_of: str = "") -> Binding:
        """Bind the tenant, unless another account has it; return the binding that stands."""
        standing = self.world.tenants.get(binding.tenant_id, replace(binding, former_grants=()))
        is_new = standing.grant_id != binding.grant_id
        former = (standing.grant_id, *standing.former_grants)[:20] if is_new else standing.former_grants
        binding = replace(binding, former_grants=former)
        is_own = standing.account_id == binding.account_id
        is_released = bool(instead_of) and standing.grant_id == instead_of
        is_stale = not standing.confirmed and binding.reserved_at >= standing.reserved_at + timedelta(hours=1)
        if is_own:
            standing = replace(binding, confirmed=binding.confirmed or standing.confirmed)
        elif is_stale or is_released:
            standing = binding
        self.world.tenants[binding.tenant_id] = standing
        return standing

    @gated("bindings.live_grant")
    async def live_grant(self, account_id: str) -> str | None:
        """Return the account's live grant."""
        return self.world.live.get(account_id)

    @gated("bindings.bind_account")
    async def bind_account(self, account_id: str, grant_id: str, *, instead_of: str = "") -> str:
        """Name the account's live grant, unless it has another than ``instead_of``."""
        if self.world.live.get(account_id, instead_of) == instead_of:
            self.world.live[account_id] = grant_id
        return self.world.live[account_id]


class MemoryAccounts(Part):
    """Implements ``ports.Accounts``; the token is the key of the next page's first row."""

    @gated("accounts.put")
    async def put(self, row: AccountRow) -> None:
        """Write the account's row, unless a newer one is there."""
        standing = self.world.accounts.get(row.account_id)
        if not (standing and row.is_older_than(standing)):
            self.world.accounts[row.account_id] = row

    @gated("accounts.page")
    async def page(
        self, count: int = 50, after: str = "", *, state: str = "", name: str = "", service_accounts: bool = False
    ) -> tuple[list[AccountRow], str]:
        """Return the next rows by name, and the token of the following page."""
        listed = {
            account_key(row): row
            for row in self.world.accounts.values()
            if row.account_name.casefold().startswith(name.casefold())
            and (row.is_service_account if service_accounts else state in ("", row.state))
        }
        names = sorted(listed, key=order)
        begin = bisect_left(names, order(after), key=order)
        following = names[begin + count : begin + count + 1]
        return [listed[key] for key in names[begin : begin + count]], "".join(following)

    @gated("accounts.count")
    async def count(self) -> Mapping[str, int]:
        """Return how many accounts are in each state."""
        found = Counter(row.state for row in self.world.accounts.values())
        return {state: found[state] for state in ACCOUNT_STATES}

    @gated("accounts.keep_counts")
    async def keep_counts(self, counts: Mapping[str, int], at: datetime) -> None:
        """Keep what was counted."""
        self.world.counts = (dict(counts), at)

    @gated("accounts.counts")
    async def counts(self) -> tuple[Mapping[str, int], datetime] | None:
        """Return what was counted last, and when."""
        return self.world.counts


@dataclass(frozen=True, slots=True)
class MemoryDirectoryWriter(Part):
    """Implements ``ports.DirectoryWriter``; at most 100 rows are written between two gates, as in one transaction."""

    copy: Copy
    generation: Generation
    seen: list[int] = field(default_factory=list)
    """The copy's version as this writer knows it: another one means that another run writes."""

    @gated("directory.records")
    async def records(self, kind: type[Record], ids: Sequence[str]) -> Mapping[str, Record]:
        """Return those of the objects that are stored."""
        self._look()
        found = {object_id: self.copy.rows.get(object_row(kind, object_id)) for object_id in ids}
        return {object_id: record for object_id, record in found.items() if isinstance(record, kind)}

    async def insert(self, records: Sequence[Record], members: Mapping[str, Sequence[Member]], owners: Sequence[User]) -> bool:
        """Insert what is not there yet; False when any of it is."""
        self._look()
        new: dict[str, DirectoryValue] = {}
        for record in records:
            new[object_row(type(record), record.object_id)] = record
            changes = member_changes(record.object_id, members.get(record.object_id, ()))
            new |= {row: member for row, member in changes.items() if member}
        new |= {address_row(address): user for user in owners for address in user.addresses}
        return all([await self._insert(part) for part in parts(new)])

    async def write(self, edits: Sequence[Edit], *, is_repeated: bool = False) -> None:
        """Release addresses, write records, then their addresses."""
        self._look()
        edits = [edit for edit in edits if is_repeated or edit.changes_record or edit.members or edit.resets]
        users = [edit.record for edit in edits if isinstance(edit.record, User) and (is_repeated or edit.changes_record)]
        users.sort(key=lambda user: not user.gives_way)
        taken: dict[str, DirectoryValue | None] = {address_row(address): user for user in users for address in user.addresses}
        mailboxes = {address_row(address) for user in users for address in user.addresses if not user.gives_way}
        released = {
            address_row(address): edit.former
            for edit in edits
            for address in edit.released
            if address_row(address) not in mailboxes and edit.former
        }
        for row, former in released.items():
            await self._release(row, former.object_id)
        for part in parts({row: value for edit in edits for row, value in self._changes(edit).items()}):
            await self._write(part)
        for part in parts({row: user for row, user in taken.items() if not self._is_another_s(row, user)}):
            await self._write_addresses(part)

    def _is_another_s(self, row: str, user: object) -> bool:
        """Tell whether somebody else's mailbox has the address of a user who gives way."""
        owner = self.copy.rows.get(row)
        if not isinstance(owner, User) or not isinstance(user, User):
            return False
        return user.gives_way and not owner.gives_way and owner.user_id != user.user_id

    @gated("directory.counts")
    async def counts(self) -> Mapping[str, int]:
        """Count the users and groups."""
        self._look()
        kinds = Counter(type(value) for row, value in self.copy.rows.items() if not row.startswith("address|"))
        hidden = sum(isinstance(value, Group) and value.hides_members for value in self.copy.rows.values())
        return {"users": kinds[User], "groups": kinds[Group], "hidden_groups": hidden}

    def _look(self) -> None:
        if not self.seen:
            self.seen.append(self.copy.version)

    def _check(self) -> None:
        if self.seen != [self.copy.version]:
            raise TransientError("the directory is being written by another run")

    def _begin(self) -> None:
        """Begin a transaction, unless another writer has come."""
        self._check()
        self.copy.version += 1
        self.seen[0] += 1

    @gated("directory.insert")
    async def _insert(self, rows: Mapping[str, DirectoryValue]) -> bool:
        self._check()
        if self.copy.rows.keys() & rows.keys():
            return False
        self._begin()
        self.copy.rows.update(rows)
        return True

    @gated("directory.release")
    async def _release(self, row: str, user_id: str) -> None:
        owner = self.copy.rows.get(row)
        if isinstance(owner, User) and owner.user_id == user_id:
            del self.copy.rows[row]

    @gated("directory.write")
    async def _write(self, rows: Mapping[str, DirectoryValue | None]) -> None:
        self._begin()
        self._put(rows)

    @gated("directory.addresses")
    async def _write_addresses(self, rows: Mapping[str, DirectoryValue | None]) -> None:
        self._put(rows)

    def _put(self, rows: Mapping[str, DirectoryValue | None]) -> None:
        self.copy.rows.update({row: value for row, value in rows.items() if value})
        for row in [row for row, value in rows.items() if value is None]:
            self.copy.rows.pop(row, None)

    def _changes(self, edit: Edit) -> dict[str, DirectoryValue | None]:
        """Return the rows of an edit, None for those to delete; a group's own row comes last."""
        one = edit.record or edit.former
        if one is None:
            raise ValueError("an edit of nothing")
        changes: dict[str, DirectoryValue | None] = {}
        if edit.record is None or edit.resets:
            changes |= dict.fromkeys(row for row in self.copy.rows if row.startswith(f"member|{one.object_id}|"))
        if edit.record:
            changes |= member_changes(one.object_id, edit.members)
        return {**changes, object_row(type(one), one.object_id): edit.record}


class MemoryDirectory(Part):
    """Implements ``ports.DirectoryStore``."""

    @gated("directory.current")
    async def current(self, tenant_id: str) -> DirectoryState | None:
        """Return what readers read."""
        return self.world.current.get(tenant_id)

    @gated("directory.begin")
    async def begin(self, tenant_id: str, shards: int) -> tuple[Generation, tuple[Generation, ...]]:
        """Note a new generation; return it, and those before it that are newer than the current one."""
        state = self.world.current.get(tenant_id)
        published = state.generation if state else 0
        left = tuple(each for each in self.world.begun.get(tenant_id, ()) if each.number > published)
        new = Generation(max([published, *(each.number for each in left)]) + 1, shards)
        self.world.begun[tenant_id] = (*left, new)
        return new, left

    def writer(self, tenant_id: str, generation: Generation) -> MemoryDirectoryWriter:
        """Return a writer of one generation."""
        return MemoryDirectoryWriter(self.world, self._copy(tenant_id, generation), generation)

    @gated("directory.publish")
    async def publish(self, tenant_id: str, state: DirectoryState) -> None:
        """Make a generation the current one, unless a newer one is."""
        former = self.world.current.get(tenant_id, state)
        self.world.current[tenant_id] = former if former.generation > state.generation else state

    @gated("directory.compare")
    async def compare(self, tenant_id: str, former: Generation, newer: Generation, shard: int) -> Differences:
        """Count what differs in one shard."""
        if former.shards != newer.shards:
            raise ValueError("generations with different numbers of shards")
        olds, news = (
            {row: rows[row] for row in in_shard(rows, former, shard) if not row.startswith("address|")}
            for rows in (self._copy(tenant_id, former).rows, self._copy(tenant_id, newer).rows)
        )
        different = sum(olds[row] != news[row] for row in olds.keys() & news.keys())
        return Differences(len(news.keys() - olds.keys()), len(olds.keys() - news.keys()), different)

    @gated("directory.delete")
    async def delete(self, tenant_id: str, generation: Generation, shard: int) -> None:
        """Delete the rows of one shard."""
        copy = self._copy(tenant_id, generation)
        copy.version += 1
        for row in in_shard(copy.rows, generation, shard):
            del copy.rows[row]

    @gated("directory.retire")
    async def retire(self, tenant_id: str) -> tuple[Generation, ...]:
        """Forget the current generation and the domains; return all that may have rows."""
        state = self.world.current.pop(tenant_id, None)
        known = {*self.world.begun.get(tenant_id, ()), *((*state.former, state.copy) if state else ())}
        self.world.begun[tenant_id] = tuple(sorted(known, key=lambda each: each.number))
        self.world.domains.pop(tenant_id, None)
        return self.world.begun[tenant_id]

    @gated("directory.find_by_address")
    async def find_by_address(self, tenant_id: str, address: str) -> User | None:
        """Return the user who has the address in the current generation."""
        found = self._current_rows(tenant_id).get(address_row(address))
        return found if isinstance(found, User) else None

    @gated("directory.members")
    async def members(self, tenant_id: str, group_id: str) -> list[Member]:
        """Return the members of a group, by id."""
        rows = self._current_rows(tenant_id)
        found = [rows[row] for row in sorted(rows) if row.startswith(f"member|{group_id}|")]
        return [one for one in found if isinstance(one, Member)]

    @gated("directory.users_in")
    async def users_in(self, tenant_id: str, group_id: str) -> frozenset[str]:
        """Return the users in a group, nested ones included."""
        found: dict[str, list[Member]] = {}
        for row, one in self._current_rows(tenant_id).items():
            if isinstance(one, Member):
                found.setdefault(row.split("|")[1], []).append(one)
        return users_of(found, group_id)

    @gated("directory.domains")
    async def domains(self, tenant_id: str) -> list[SyncedDomain]:
        """Return the domains by name."""
        return sorted(self.world.domains.get(tenant_id, ()), key=lambda domain: domain.name)

    @gated("directory.put_domains")
    async def put_domains(self, tenant_id: str, domains: Sequence[SyncedDomain]) -> None:
        """Keep these domains."""
        self.world.domains[tenant_id] = tuple(domains)

    def _copy(self, tenant_id: str, generation: Generation) -> Copy:
        return self.world.copies.setdefault((tenant_id, generation.number), Copy())

    def _current_rows(self, tenant_id: str) -> Mapping[str, DirectoryValue]:
        state = self.world.current.get(tenant_id)
        return self._copy(tenant_id, state.copy).rows if state else {}


def member_changes(group_id: str, members: Sequence[Member]) -> Mapping[str, DirectoryValue | None]:
    """Return the rows of a group's members; None for one that has left."""
    return {f"member|{group_id}|{one.member_id}": None if one.is_removed else one for one in members}


def in_shard(rows: Mapping[str, object], generation: Generation, number: int) -> list[str]:
    """Return the rows of one shard: a member is where its group is."""
    return [row for row in rows if shard(home(row), generation.shards) == number]


def home(row: str) -> str:
    """Return the row whose shard holds a row."""
    return f"group|{row.split('|')[1]}" if row.startswith("member|") else row


def parts(rows: Mapping[str, T]) -> list[dict[str, T]]:
    """Cut rows into what one transaction takes."""
    names = list(rows)
    cuts = range(0, len(names), TRANSACTION_ROWS)
    return [{name: rows[name] for name in names[cut : cut + TRANSACTION_ROWS]} for cut in cuts]


def account_key(row: AccountRow) -> str:
    """Return what sorts an account among others: the beginning of its name, then its id."""
    return encode(f"{row.account_name.casefold()[:64]}|{row.account_id}")


def open_memory(world: World) -> Storage:
    """Return the ports on a world; several may be open on one, as several processes are on one account."""
    return Storage(
        grants=MemoryGrants(world),
        due=MemoryDueIndex(world),
        nudges=MemoryNudges(world),
        events=MemoryEventQueue(world),
        probes=MemoryProbeQueue(world),
        dead_letters=MemoryDeadLetters(world),
        poison=MemoryPoisonQueues(world),
        bindings=MemoryBindings(world),
        accounts=MemoryAccounts(world),
        directory=MemoryDirectory(world),
        close=_nothing_to_close,
    )


def check_size(change: Change, existing: int) -> None:
    """Raise TooLargeError where Table storage would: ``existing`` of the deleted rows are there."""
    operations = 1 + len(change.events) + len(change.rows) + existing
    if operations > TRANSACTION_ROWS:
        raise TooLargeError(f"a transaction of {operations} rows; Table storage takes {TRANSACTION_ROWS}")


def read_json(text: str) -> Facts:
    """Return a row's value, as a new object."""
    value: Facts = json.loads(text)
    return value


async def _nothing_to_close() -> None:
    pass
