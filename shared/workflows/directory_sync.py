"""The directory sync: domains, users and groups with their members, first as a whole and then by what changed.

One workflow for the first sync of a grant and for the daily one. A first sync takes Microsoft's token of now, reads the list at
999 a page into a new generation, and then applies what changed since the token; later syncs apply what changed in place. The list
may come from a replica that is older than the token, so the first daily sync reads a full round of changes into another one and
compares. Each slice commits its cursor; readers have the former generation until the new one is whole.

Sources: https://learn.microsoft.com/graph/delta-query-overview, https://learn.microsoft.com/graph/api/user-list.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

from shared import failures, telemetry
from shared.domain import schedule, sync
from shared.domain.directory import (
    DirectoryState,
    Generation,
    Group,
    Record,
    SyncedDomain,
    User,
    record_of,
    shards_again,
    shards_for,
)
from shared.domain.grant import Facts, Row, ScopeKind
from shared.domain.outcomes import Done, Failed, Outcome, Progress
from shared.domain.problems import GrantlineError, problem
from shared.domain.steps import STEPS, StepName
from shared.domain.sync import Cursor, Plan, Stage, Tally
from shared.ports import Directory, DirectoryWriter, Domain, Page, RefusedError, TransientError
from shared.workflows.directory_pages import PAGE_EXPIRED, Changes, Fill, Read, Sink, batches
from shared.workflows.run import Run, progress_row, together

LOG = logging.getLogger(__name__)

CURSOR_ROW = "sync|directory"
"""Both steps go on from it: no run of one begins while one of the other is under way (``StepDefinition.apart_from``)."""
DOMAINS_ROW = "sync|domains"
"""Whose service records were read before a slice ended in the middle of them."""
MARGIN = timedelta(seconds=15)
"""What a slice leaves of its run for the page or the shard that is under way, and for its outcome."""
SHOWN_EVERY = timedelta(seconds=2)
"""How often the progress is written at the most."""
READERS_CACHE = timedelta(minutes=15)
"""How long a former generation stays, for readers who still look there (docs/tables.md)."""
AT_ONCE = 8
"""How many domains' service records are read side by side."""
TOGETHER = 24
"""How many domains are read before they are written."""
UNKNOWN_SIZE = 20_000
"""How many users a tenant is taken to have where Microsoft does not count them."""
MOST_NAMES = 20
"""How many names a fact lists: it is kept with the step, and a grant's row must stay small."""


@dataclass
class Slice:
    """One run's part of a sync: what it works with, and when it ends."""

    run: Run
    directory: Directory
    current: DirectoryState | None
    begun: datetime
    ends: datetime
    began_at: Cursor | None = None
    seen_before: int = 0
    shown_at: datetime | None = None
    writers: dict[Generation, DirectoryWriter] = field(default_factory=dict)

    def writer(self, copy: Generation) -> DirectoryWriter:
        """Return this run's writer of a generation: one for all stages, for it remembers what it has counted."""
        return self.writers.setdefault(copy, self.run.clients.directory.writer(self.tenant_id, copy))

    @property
    def tenant_id(self) -> str:
        """The tenant."""
        return self.run.grant.tenant_id

    @property
    def selection(self) -> str:
        """The fingerprint of what is asked for now."""
        return sync.selection_of(self.run.grant.intent.scope)

    def has_come_to(self, cursor: Cursor) -> bool:
        """True where the slice has got anywhere."""
        return self.began_at is not None and cursor.place != self.began_at.place

    def waits_from(self, cursor: Cursor) -> Run:
        """Return the run as it counts for a wait: a sync that gets on is not given up, nor does it wait longer each time.

        A large tenant's takes days, and is throttled every now and then.
        """
        begun = schedule.parse(cursor.moved_at) if cursor.moved_at else self.run.step.begun_at
        attempts = 0 if self.has_come_to(cursor) else self.run.step.attempts
        return replace(self.run, step=replace(self.run.step, begun_at=begun, attempts=attempts))

    def goes_on(self) -> bool:
        """True while there is time for another page."""
        return self.run.clock() < self.ends

    async def save(self, cursor: Cursor) -> None:
        """Save where the sync is, outside of any transition: a killed run goes on there."""
        await self.run.clients.rows.put(_row(cursor))

    async def show(self, cursor: Cursor, *, always: bool = False) -> None:
        """Show people how far the sync is, not too often."""
        now = self.run.clock()
        if not always and self.shown_at is not None and now - self.shown_at < SHOWN_EVERY:
            return
        self.shown_at = now
        await self.run.clients.rows.put(progress_row(self.run.step.name, {**self.progress(cursor), "at": schedule.stamp(now)}))

    def progress(self, cursor: Cursor) -> Facts:
        """Return how far the sync is."""
        return sync.progress_of(cursor, self.begun, self.seen_before, self.run.clock())


class PausedError(Exception):
    """Raised where a slice ends before its stage does: its time is over, or it must wait for what ``cause`` or ``why`` tells."""

    def __init__(self, cursor: Cursor, cause: TransientError | RefusedError | None = None, wait: timedelta = timedelta()) -> None:
        super().__init__()
        self.cursor = cursor
        self.cause = cause
        self.wait = wait


async def directory_sync(run: Run) -> Outcome:
    """Sync one slice."""
    directory = run.clients.microsoft.directory(run.grant.tenant_id)
    current = await run.clients.directory.current(run.grant.tenant_id)
    part = Slice(run, directory, current, run.clock(), run.deadline - MARGIN)
    saved = await run.clients.rows.row(CURSOR_ROW)
    cursor = Cursor.from_row(saved) if saved else None
    if cursor is None or _is_over(part, cursor):
        cursor = await _begin(part)
    if cursor.selection != part.selection:
        cursor = await _begin(part, instead_of=cursor)
    part.began_at, part.seen_before = cursor, cursor.seen.get("users", 0)
    try:
        return await _work(part, cursor)
    except PausedError as paused:
        return await _paused(part, paused)
    except TransientError as error:
        return failures.outcome_of(error, part.waits_from(cursor).step, run.clock())


async def _work(part: Slice, cursor: Cursor) -> Outcome:
    """Do stage after stage, and plan after plan. Raises PausedError where the slice ends before all is done."""
    while True:
        cursor = await STAGES[cursor.stage](part, cursor)
        await part.show(cursor)
        following = await _following(part, cursor) if cursor.is_last else cursor.next_stage()
        if following is None:
            return await _done(part, cursor)
        if not part.goes_on():
            raise PausedError(following)
        cursor = following


async def _paused(part: Slice, paused: PausedError) -> Outcome:
    """Return what a slice comes to that ended early; its cursor is kept."""
    rate, now = part.progress(paused.cursor)["rate"], part.run.clock()
    cursor = replace(paused.cursor, rate=rate or paused.cursor.rate)
    cursor = replace(cursor, moved_at=schedule.stamp(now)) if part.has_come_to(cursor) else cursor
    run = part.waits_from(cursor)
    await part.show(cursor, always=True)
    if isinstance(paused.cause, TransientError):
        # What the slice has done so far is kept; only its failed page is read again.
        return replace(failures.outcome_of(paused.cause, run.step, now), rows=(_row(cursor),))
    if paused.cause is not None:
        return await _read_again(part, cursor, paused.cause)
    if paused.wait:
        stuck = Failed(problem=problem("kept_failing", raw="a former copy of the directory could not be deleted"))
        why = "the former copy of the directory is deleted once no reader can still be using it"
        return replace(run.wait(paused.wait, why, give_up=STEPS[run.step.name].give_up, then=stuck), rows=(_row(cursor),))
    is_first = run.step.name is StepName.DIRECTORY_SYNC and cursor.plan is not Plan.INCREMENT
    return Progress(rows=(_row(cursor),), facts=dict(cursor.seen) if is_first else {})


async def _read_again(part: Slice, cursor: Cursor, refused: RefusedError) -> Outcome:
    """Begin again in a new generation, where nobody is who has left meanwhile: Microsoft no longer knows how to go on.

    Raises the refusal itself where it means anything else, or where nothing was asked to go on.
    """
    if refused.problem.code != PAGE_EXPIRED or not cursor.link:
        raise refused
    definition, attempts = STEPS[part.run.step.name], part.run.step.attempts + 1
    wait = part.run.wait(
        schedule.backoff(attempts, definition.retry_first, definition.retry_cap),
        f"Microsoft no longer knows where to go on with the {_noun(cursor)}; reading everything again from the first",
        give_up=definition.give_up,
        then=Failed(problem=refused.problem),
    )
    return replace(wait, rows=(_row(await _begin(part, instead_of=cursor)),))


def _is_over(part: Slice, cursor: Cursor) -> bool:
    """True where there is nothing to go on with.

    Either only tidying is left, which is the daily sync's; or readers have something newer, and a run that lost its step saved
    this late.
    """
    is_past = part.current is not None and cursor.generation < part.current.generation
    return is_past or (cursor.plan is Plan.TIDY and part.run.step.name is StepName.DIRECTORY_SYNC)


def _noun(cursor: Cursor) -> str:
    return "groups" if cursor.stage is Stage.GROUPS else "users"


# --- beginning and ending ------------------------------------------------------------------------------------------------------


async def _begin(part: Slice, *, instead_of: Cursor | None = None) -> Cursor:
    """Return the cursor of a new sync, with the domains synced; one that is begun ``instead_of`` another reads everything."""
    scope, current = part.run.grant.intent.scope, part.current
    plan = sync.plan_of(scope, current, may_increment=instead_of is None)
    is_new = plan is not Plan.INCREMENT
    organization, count, begins, _ = await together(
        part.directory.organization(),
        _estimate(part.directory) if is_new and not scope.is_by_people else _known(current),
        _token(part.directory) if plan is Plan.LIST else _links(current),
        _sync_domains(part, reads_all=is_new),
    )
    if plan is Plan.LIST and not begins:
        plan = Plan.DELTA
    shards = _shards(plan, current, scope.kind, count)
    if is_new or current is None:
        copy, left = await part.run.clients.directory.begin(part.tenant_id, shards)
    else:
        copy, left = current.copy, ()
    return Cursor(
        plan=plan,
        generation=copy.number,
        shards=copy.shards,
        stage=sync.STAGES[plan][0],
        begins=begins if plan in (Plan.LIST, Plan.INCREMENT) else {},
        of=count,
        is_anew=plan in (Plan.LIST, Plan.DELTA),
        selection=part.selection,
        former=left,
        tenant_name=organization.display_name,
    ).at_first_page()


def _shards(plan: Plan, current: DirectoryState | None, kind: ScopeKind, count: int) -> int:
    """Return over how many partitions the generation is spread: what is compared with the current one, as that."""
    if current is not None and plan in (Plan.INCREMENT, Plan.SCOPE):
        return shards_again(current)
    return 1 if kind is ScopeKind.USERS else shards_for(count or UNKNOWN_SIZE)


async def _estimate(directory: Directory) -> int:
    """Return how many users there are about. It is for people to see: whatever goes wrong with it never holds up the sync."""
    try:
        return await directory.user_count()
    except GrantlineError as error:
        LOG.info("the number of users is not known: %s", telemetry.describe(error))
        return 0


async def _known(current: DirectoryState | None) -> int:
    return current.counts.get("users", 0) if current else 0


async def _token(directory: Directory) -> dict[str, str]:
    """Return where changes from now on begin, before anything is read; nothing where Microsoft refuses to say."""
    try:
        return {Stage.USERS: await directory.latest_users()}
    except RefusedError as error:
        LOG.info("no token without data: %s", telemetry.describe(error))
        return {}


async def _links(current: DirectoryState | None) -> dict[str, str]:
    return dict(current.links) if current else {}


async def _sync_domains(part: Slice, *, reads_all: bool) -> None:
    """Sync the domains; what Microsoft expects in their DNS is read for all of them, or for those alone that have changed.

    There may be thousands, each with a request of its own: what was read is kept, for the case that the slice ends before them.
    """
    store, rows, now, limit = part.run.clients.directory, part.run.clients.rows, part.run.clock(), asyncio.Semaphore(AT_ONCE)
    stored = {domain.name: domain for domain in await store.domains(part.tenant_id)}
    kept = (await rows.row(DOMAINS_ROW) or {}).get("read", ()) if reads_all else stored.keys()
    domains = await part.directory.domains()
    found = {domain.name: stored[domain.name] for domain in domains if domain.name in stored}

    async def synced(domain: Domain) -> SyncedDomain:
        known = stored.get(domain.name)
        flags = asdict(domain)
        if known and domain.name in kept and flags.items() <= asdict(known).items():
            return known
        async with limit:
            hosts = await part.directory.service_records(domain.name) if domain.receives_mail else ()
        # Those of a first sync were there before anything was routed: nobody need be told of them.
        seen = known.receiving_since if known and known.receives_mail else now if part.current else None
        return SyncedDomain(**flags, mail_exchangers=hosts, receiving_since=seen if domain.receives_mail else None)

    size = TOGETHER if reads_all else max(len(domains), 1)
    for start in range(0, len(domains), size):
        found |= {each.name: each for each in await together(*map(synced, domains[start : start + size]))}
        await store.put_domains(part.tenant_id, list(found.values()))
        if len(domains) > size:
            read = [domain.name for domain in domains[: start + size]] if start + size < len(domains) else []
            await rows.put(Row(DOMAINS_ROW, {"read": read}))


async def _following(part: Slice, cursor: Cursor) -> Cursor | None:
    """Return what a sync goes on with when its plan is done; None when there is nothing.

    Only the daily sync has time for more: to compare what a list had given, to spread a tenant that has grown over more
    partitions, and to delete what nobody reads any more.
    """
    state = part.current
    if state is None or part.run.step.name is StepName.DIRECTORY_SYNC or cursor.plan is Plan.TIDY:
        return None
    shards = shards_again(state)
    if not state.is_compared or shards != state.shards:
        copy, left = await part.run.clients.directory.begin(part.tenant_id, shards)
        full = replace(cursor, plan=Plan.FULL, generation=copy.number, shards=shards, begins={}, links={}, seen={}, former=left)
        return replace(full, stage=sync.STAGES[Plan.FULL][0]).at_first_page()
    return replace(cursor, plan=Plan.TIDY, stage=Stage.TIDY, shard=0) if state.former else None


async def _done(part: Slice, cursor: Cursor) -> Outcome:
    await part.show(cursor, always=True)
    state = part.current
    counts = state.counts if state else {}
    domains = await part.run.clients.directory.domains(part.tenant_id)
    receiving = {domain.name: domain.receiving_since for domain in domains if domain.receives_mail}
    routed_at = part.run.grant.steps[StepName.MAIL_FLOW].finished_at
    scope, found = part.run.grant.intent.scope, cursor.differences
    users = Tally(found.missing, found.different, found.gone) if scope.is_by_people else cursor.users
    is_known = cursor.is_compared if scope.is_by_people else not cursor.is_anew
    facts = {
        "users": counts.get("users", 0),
        "groups": counts.get("groups", 0),
        "tenant_name": cursor.tenant_name,
        "domains": [domain.name for domain in domains if domain.is_verified][:MOST_NAMES],
        "changed": {"users": asdict(users), "groups": asdict(cursor.groups)} if is_known else None,
        "uncovered_domains": list(sync.uncovered(scope, receiving, routed_at))[:MOST_NAMES],
        "hidden_groups": counts.get("hidden_groups", 0),
        "unknown_users": list(cursor.unknown_users)[:MOST_NAMES],
    }
    if cursor.is_compared and not scope.is_by_people:  # of chosen people they are the day's changes
        facts["differences"] = asdict(found)
    return Done(facts=facts, deletes=(CURSOR_ROW,))


# --- stages --------------------------------------------------------------------------------------------------------------------


async def _read_users(part: Slice, cursor: Cursor) -> Cursor:
    return await _stream(part, cursor, User, part.directory.user_changes)


async def _read_groups(part: Slice, cursor: Cursor) -> Cursor:
    return await _stream(part, cursor, Group, part.directory.group_changes)


async def _read_list(part: Slice, cursor: Cursor) -> Cursor:
    return await _stream(part, cursor, User, part.directory.users)


async def _read_scope(part: Slice, cursor: Cursor) -> Cursor:
    scope = part.run.grant.intent.scope
    if scope.kind is ScopeKind.GROUP:
        return await _stream(part, cursor, User, partial(part.directory.group_users, scope.group))
    found = await part.directory.chosen_users(scope.users)
    names = {name for change in found for name in _names(record_of(User, change))}
    unknown = tuple(name for name in scope.users if name.casefold() not in names)

    async def only_page(_: str) -> Page:
        return Page(tuple(found))

    return replace(await _stream(part, cursor, User, only_page), unknown_users=unknown)


def _names(user: Record) -> Iterator[str]:
    yield from user.addresses
    if isinstance(user, User):
        yield user.user_principal_name.casefold()


async def _stream(part: Slice, cursor: Cursor, kind: type[Record], read: Read) -> Cursor:
    """Read and write a stage's pages. Raises PausedError where the slice ends before the stage does."""
    fills, writer = cursor.fills, part.writer(cursor.copy)
    sink: Sink = (Fill if fills else Changes)(part.directory, writer, kind)
    safe, is_repeated, writes_to = cursor, cursor.is_writing, cursor.writes_to
    async with aclosing(batches(read, cursor.link, part.goes_on, sink.size)) as found:
        async for batch in found:
            is_again = is_repeated
            is_repeated = is_again and writes_to not in batch.links
            writes_to = writes_to if is_repeated else batch.last.next_link
            if batch.changes:
                await part.save(replace(safe, is_writing=True, writes_to=writes_to))
                tally = await sink.take(batch.changes, is_repeated=is_again)
                before = cursor
                cursor = _counted(cursor, kind, batch.count(kind), tally)
                safe = before if sink.is_behind else cursor
                is_repeated = is_repeated and not fills  # whoever fills meets what is there already
            cursor = replace(cursor, link=batch.last.next_link, is_writing=is_repeated, writes_to=writes_to)
            safe = safe if sink.is_behind else cursor
            await part.show(cursor)
    await sink.flush()
    if not batch.is_last:
        if fills:
            await writer.counts()  # it notes them, so that the next slice's writer need not look for them
        raise PausedError(cursor, batch.error or _slowed(batch.last))
    links = {**cursor.links, cursor.stage: batch.last.delta_link} if batch.last.delta_link else cursor.links
    return replace(cursor, links=links, is_writing=False)


def _slowed(page: Page) -> TransientError | None:
    return TransientError("Microsoft Graph is close to its limit in this tenant", page.pause) if page.pause else None


def _counted(cursor: Cursor, kind: type[Record], count: int, tally: Tally) -> Cursor:
    """Return the cursor with what a batch came to: a stage that fills counts what was seen, the others what was changed."""
    name = "groups" if kind is Group else "users"
    if cursor.fills:
        return replace(cursor, seen={**cursor.seen, name: cursor.seen.get(name, 0) + count})
    return replace(cursor, **{name: getattr(cursor, name) + tally})


async def _compare(part: Slice, cursor: Cursor) -> Cursor:
    """Count how the new generation differs from the current one, where they can be compared."""
    state = part.current
    if state is None or state.shards != cursor.shards or state.selection != part.selection:
        return cursor
    for shard in range(cursor.shard, cursor.shards):
        if not part.goes_on():
            raise PausedError(cursor)
        found = await part.run.clients.directory.compare(part.tenant_id, state.copy, cursor.copy, shard)
        cursor = replace(cursor, shard=shard + 1, differences=cursor.differences + found, is_compared=True)
        await part.show(cursor)
    return cursor


async def _publish(part: Slice, cursor: Cursor) -> Cursor:
    """Make what was written what readers read; not where the grant was released or removed meanwhile, or another run goes on.

    The cursor is saved before: a run that is killed right after it publishes again, and still knows what it has found.
    """
    await part.run.check_held()
    await part.save(cursor)
    store, was = part.run.clients.directory, part.current
    is_new = was is None or was.generation != cursor.generation
    domains = await store.domains(part.tenant_id)
    counts = {**await part.writer(cursor.copy).counts(), "domains": sum(each.is_verified for each in domains)}
    former = (*(was.former if was else ()), *cursor.former, *((was.copy,) if was and is_new else ()))
    part.current = DirectoryState(
        cursor.generation,
        cursor.shards,
        counts,
        part.run.clock(),
        tenant_name=cursor.tenant_name,
        links=cursor.links,
        selection=part.selection,
        is_compared=cursor.plan in sync.NEED_NO_COMPARISON or bool(was and not is_new and was.is_compared),
        former=tuple(dict.fromkeys(former)),
    )
    await store.publish(part.tenant_id, part.current)
    return cursor


async def _tidy(part: Slice, cursor: Cursor) -> Cursor:
    """Delete the generations that nobody reads any more, once readers have had time to notice."""
    store, state = part.run.clients.directory, part.current
    if state is None:
        return cursor
    left = state.synced_at + READERS_CACHE - part.run.clock()
    if left > timedelta():
        raise PausedError(cursor, wait=left)
    shards = [(generation, shard) for generation in state.former for shard in range(generation.shards)]
    for number, (generation, shard) in enumerate(shards[cursor.shard :], cursor.shard):
        if not part.goes_on():
            raise PausedError(replace(cursor, shard=number))
        await store.delete(part.tenant_id, generation, shard)
    part.current = replace(state, former=())
    await store.publish(part.tenant_id, part.current)
    return cursor


STAGES: Mapping[Stage, Callable[[Slice, Cursor], Awaitable[Cursor]]] = {
    Stage.LIST: _read_list,
    Stage.USERS: _read_users,
    Stage.GROUPS: _read_groups,
    Stage.SCOPE: _read_scope,
    Stage.COMPARE: _compare,
    Stage.PUBLISH: _publish,
    Stage.TIDY: _tidy,
}
"""How each stage is done: it returns the cursor at the stage's end."""


def _row(cursor: Cursor) -> Row:
    return Row(CURSOR_ROW, cursor.to_row())
