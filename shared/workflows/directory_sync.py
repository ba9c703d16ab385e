"""The directory sync: domains, users and groups, page by page into a new generation that readers see when it is whole.

Each slice commits its cursor in its outcome's transaction; a crash repeats at most the pages of one slice, and writing a page
twice is no error. Users come as pages of up to 999 (https://learn.microsoft.com/graph/api/user-list).
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Any

from shared import failures, telemetry
from shared.domain import schedule
from shared.domain.grant import Row
from shared.domain.outcomes import Done, Failed, Outcome, Progress
from shared.domain.problems import GrantlineError, Problem
from shared.domain.steps import STEPS
from shared.ports import DIRECTORY_SHARDS, Directory, DirectoryState, RefusedError, TransientError
from shared.workflows.run import Run, progress_row

LOG = logging.getLogger(__name__)

CURSOR_ROW = "sync|directory"
PAGE_EXPIRED = "page_expired"
SLICE = timedelta(seconds=20)
"""How long one slice fetches pages before it gives way to other work in the queue."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a sync is: the generation that it fills, the collection that it reads, and the page that comes next.

    ``of`` is how many users there were about when it began; 0 where Microsoft did not tell.
    """

    generation: int
    collection: str = "users"
    next_link: str = ""
    users: int = 0
    groups: int = 0
    tenant_name: str = ""
    domains: tuple[str, ...] = ()
    of: int = 0


Reader = Callable[[Run, Directory, Cursor], Awaitable[Cursor]]


async def directory_sync(run: Run) -> Outcome:
    """Sync one slice; the last one makes the new generation the current one."""
    directory = run.clients.microsoft.directory(run.grant.tenant_id)
    ends = min(run.clock() + SLICE, run.deadline - timedelta(seconds=20))
    cursor = await _start(run, directory)
    try:
        while cursor.collection and run.clock() < ends:
            cursor = await READERS[cursor.collection](run, directory, cursor)
            await _show_progress(run, cursor)
    except TransientError as error:
        # What the slice has done so far is kept; only its failed page is read again.
        return replace(failures.outcome_of(error, run.step, run.clock()), rows=(_row(cursor),))
    except RefusedError as error:
        if error.problem.code != PAGE_EXPIRED or not cursor.next_link:
            raise
        return _read_again(run, cursor, error.problem)
    if cursor.collection:
        return Progress(rows=(_row(cursor),), facts=_counts(cursor))
    return await _finish(run, cursor)


async def _start(run: Run, directory: Directory) -> Cursor:
    """Return the saved cursor, or the first of a new generation."""
    row = await run.clients.rows.row(CURSOR_ROW)
    if row and row["collection"]:
        return Cursor(**{**row, "domains": tuple(row["domains"])})
    current = await run.clients.directory.current(run.grant.tenant_id)
    organization = await directory.organization()
    domains = tuple(domain.name for domain in await directory.domains() if domain.is_verified)
    generation = (current.generation if current else 0) + 1
    return Cursor(generation, tenant_name=organization.display_name, domains=domains, of=await _estimate(directory))


async def _estimate(directory: Directory) -> int:
    """Return how many users there are about. It is for people to see: whatever goes wrong with it never holds up the sync."""
    try:
        return await directory.user_count()
    except GrantlineError as error:
        LOG.info("the number of users is not known: %s", telemetry.describe(error))
        return 0


async def _read_users(run: Run, directory: Directory, cursor: Cursor) -> Cursor:
    page = await directory.users(cursor.next_link)
    await run.clients.directory.write_users(run.grant.tenant_id, cursor.generation, page.items)
    cursor = replace(cursor, users=cursor.users + len(page.items), next_link=page.next_link)
    return cursor if page.next_link else replace(cursor, collection="groups")


async def _read_groups(run: Run, directory: Directory, cursor: Cursor) -> Cursor:
    page = await directory.groups(cursor.next_link)
    await run.clients.directory.write_groups(run.grant.tenant_id, cursor.generation, page.items)
    cursor = replace(cursor, groups=cursor.groups + len(page.items), next_link=page.next_link)
    return cursor if page.next_link else replace(cursor, collection="")


READERS: Mapping[str, Reader] = {"users": _read_users, "groups": _read_groups}
"""How a page of each collection is read, in the order in which they are synced."""


def _read_again(run: Run, cursor: Cursor, expired: Problem) -> Outcome:
    """Wait, then read a collection from its beginning: Microsoft no longer knows its next page. What is done before it stays."""
    definition = STEPS[run.step.name]
    wait = run.wait(
        schedule.backoff(run.step.attempts + 1, definition.retry_first, definition.retry_cap),
        f"Microsoft no longer knows the next page of the list; reading the {cursor.collection} again from the first",
        give_up=definition.give_up,
        then=Failed(problem=expired),
    )
    return replace(wait, rows=(_row(_from_the_first(cursor)),))


def _from_the_first(cursor: Cursor) -> Cursor:
    """Return the cursor at the collection's first page; users go to a new generation, where nobody is who has left meanwhile."""
    if cursor.collection == "users":
        return replace(cursor, generation=cursor.generation + 1, users=0, next_link="")
    return replace(cursor, groups=0, next_link="")


async def _finish(run: Run, cursor: Cursor) -> Outcome:
    counts = {"users": cursor.users, "groups": cursor.groups, "domains": len(cursor.domains)}
    state = DirectoryState(cursor.generation, DIRECTORY_SHARDS, counts, run.clock())
    await run.clients.directory.publish(run.grant.tenant_id, state)
    facts = {**_counts(cursor), "tenant_name": cursor.tenant_name, "domains": list(cursor.domains)}
    return Done(facts=facts, deletes=(CURSOR_ROW,))


def _row(cursor: Cursor) -> Row:
    return Row(CURSOR_ROW, asdict(cursor))


def _counts(cursor: Cursor) -> dict[str, Any]:
    return {"users": cursor.users, "groups": cursor.groups}


async def _show_progress(run: Run, cursor: Cursor) -> None:
    value = {**_counts(cursor), "of": _of(cursor), "collection": cursor.collection, "at": schedule.stamp(run.clock())}
    await run.clients.rows.put(progress_row(run.step.name, value))


def _of(cursor: Cursor) -> int | None:
    """Return how many users there will be: never fewer than are done, exact once all are read, None while nobody knows."""
    if cursor.collection != "users":
        return cursor.users
    return max(cursor.of, cursor.users) if cursor.of else None
