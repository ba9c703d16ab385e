"""How pages of a tenant's directory become rows: the next ones are fetched while the last ones are written.

Delta pages are small and their size is Microsoft's choice; they are joined until about a list's page is full, so that a
transaction is worth its request. Members count as items do: a large group goes on over many pages of one item each. Memory holds
two such batches, whatever the tenant's size, and no page is joined once the slice's time is over.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from shared.domain.directory import DirectoryChange, Edit, Record, User, edits_of, folded, record_of, unknown
from shared.domain.problems import problem
from shared.domain.sync import Tally, tally
from shared.ports import Directory, DirectoryWriter, Page, RefusedError, TransientError

BATCH = 999
"""How many items are written together, at the least while there are more."""
CHANGES = 200
"""The same where they change what is stored: each may have to be read whole, and a slice must not end in the middle."""

PAGE_EXPIRED = "page_expired"

Read = Callable[[str], Awaitable[Page]]


@dataclass(frozen=True, slots=True)
class Batch:
    """What some pages in a row have told, and the last of them. ``error`` is what was met after them; they still count.

    ``links`` are where each of them is followed by the next, "" for the last of all.
    """

    changes: tuple[DirectoryChange, ...]
    last: Page
    links: tuple[str, ...] = ()
    error: TransientError | RefusedError | None = None

    def count(self, kind: type[Record]) -> int:
        """Return how many objects it tells; a large group goes on in items that name nothing but further members."""
        return len({change.object_id for change in self.changes if change.is_telling(kind)})

    @property
    def is_last(self) -> bool:
        """True where nothing follows."""
        return self.error is None and not self.last.next_link

    @property
    def ends(self) -> bool:
        """True where nothing can be read right after it."""
        return self.error is not None or self.last.pause is not None or self.is_last


def weight_of(page: Page) -> int:
    """Return how much of a batch a page fills: items, and the members of groups among them."""
    return len(page.items) + sum(len(change.members) for change in page.items)


async def read_batch(read: Read, link: str, goes_on: Callable[[], bool], size: int) -> Batch:
    """Read pages until there are ``size`` items, or no more, or no time, or Microsoft is better left alone.

    What goes wrong is told in the batch.
    """
    pages: list[Page] = []
    weight, error, follows = 0, None, True
    try:
        while follows:
            page = await read(link)
            _check_leads_on(page, link)
            pages.append(page)
            link, weight = page.next_link, weight + weight_of(page)
            follows = bool(link) and weight < size and page.pause is None and goes_on()
    except (TransientError, RefusedError) as met:
        error = met
    changes = tuple(change for page in pages for change in page.items)
    return Batch(changes, pages[-1] if pages else Page((), next_link=link), tuple(page.next_link for page in pages), error)


def _check_leads_on(page: Page, link: str) -> None:
    """Raise RefusedError for a page that names itself as the next one: whoever follows it never comes to an end."""
    if link and page.next_link == link:
        raw = "The page names itself as the next one."
        raise RefusedError("the link of a page leads to the page itself", problem(PAGE_EXPIRED, raw=raw))


async def batches(read: Read, link: str, goes_on: Callable[[], bool], size: int) -> AsyncGenerator[Batch]:
    """Give batches while ``goes_on`` says so when one is read; the next is fetched while the caller handles the last."""
    ahead: asyncio.Task[Batch] | None = asyncio.create_task(read_batch(read, link, goes_on, size))
    try:
        while ahead is not None:
            batch = await ahead
            is_last = batch.ends or not goes_on()
            ahead = None if is_last else asyncio.create_task(read_batch(read, batch.last.next_link, goes_on, size))
            yield batch
    finally:
        if ahead is not None:
            ahead.cancel()
            await asyncio.gather(ahead, return_exceptions=True)


class Sink(Protocol):
    """Takes what was read of one kind of object, and writes it."""

    @property
    def size(self) -> int:
        """How many items it takes at once."""

    async def take(self, changes: Sequence[DirectoryChange], *, is_repeated: bool) -> Tally:
        """Write the changes, and say what they came to. ``is_repeated``: a killed run may have written some of them."""

    @property
    def is_behind(self) -> bool:
        """True where something of the last batch is still to be written, with the next one or by ``flush``."""

    async def flush(self) -> None:
        """Write what is left."""


@dataclass
class Fill:
    """Fills a new generation: rows are inserted, and only where some are there already is read what is stored.

    The addresses of one batch are inserted together with the records of the next: records always go first, and each transaction
    is as full as it can be.
    """

    directory: Directory
    writer: DirectoryWriter
    kind: type[Record]
    carried: tuple[User, ...] = field(default=())

    @property
    def size(self) -> int:
        """See ``Sink``."""
        return BATCH

    async def take(self, changes: Sequence[DirectoryChange], *, is_repeated: bool) -> Tally:
        """See ``Sink``."""
        told: Mapping[str, DirectoryChange] = folded(changes)
        if not is_repeated and all(change.is_telling(self.kind) and not change.is_removed for change in told.values()):
            records = [record_of(self.kind, change) for change in told.values()]
            members = {change.object_id: change.members for change in told.values() if change.members}
            if await self.writer.insert(records, members, self.carried):
                self.carried = tuple(record for record in records if isinstance(record, User))
                return Tally(added=len(records))
        return await self._mend(told)

    @property
    def is_behind(self) -> bool:
        """See ``Sink``."""
        return bool(self.carried)

    async def flush(self) -> None:
        """See ``Sink``."""
        if self.carried and not await self.writer.insert((), {}, self.carried):
            await self._mend({})
        self.carried = ()

    async def _mend(self, told: Mapping[str, DirectoryChange]) -> Tally:
        """Write rows of which some are there already, with what is left of the batch before."""
        left = [Edit(user, user) for user in self.carried if user.object_id not in told]
        stored = await self.writer.records(self.kind, list(told))
        told = await completed(self.directory, self.kind, told, stored, is_new=True)
        edits = edits_of(self.kind, told, stored)
        await self.writer.write([*left, *edits], is_repeated=True)
        self.carried = ()
        return tally(edits)


@dataclass
class Changes:
    """Changes the current generation in place: what is stored is read, and only what differs is written."""

    directory: Directory
    writer: DirectoryWriter
    kind: type[Record]

    @property
    def size(self) -> int:
        """See ``Sink``."""
        return min(BATCH, CHANGES)

    async def take(self, changes: Sequence[DirectoryChange], *, is_repeated: bool) -> Tally:
        """See ``Sink``."""
        told: Mapping[str, DirectoryChange] = folded(changes)
        stored = await self.writer.records(self.kind, list(told))
        told = await completed(self.directory, self.kind, told, stored)
        edits = edits_of(self.kind, told, stored)
        await self.writer.write(edits, is_repeated=is_repeated)
        return tally(edits)

    @property
    def is_behind(self) -> bool:
        """See ``Sink``: it never is."""
        return False

    async def flush(self) -> None:
        """See ``Sink``: there is nothing left."""


async def completed(
    directory: Directory,
    kind: type[Record],
    told: Mapping[str, DirectoryChange],
    stored: Mapping[str, Record],
    *,
    is_new: bool = False,
) -> Mapping[str, DirectoryChange]:
    """Return the changes, with those users read whole of whom too little is known; ``is_new``: what tells enough is whole.

    A delta item may carry changed properties only, of a user who was never stored: the list came from an older replica.
    Of a group the first item always tells it, for its changes are read from the beginning.
    """
    if kind is not User:
        return told
    partly = [each for each in unknown(kind, told, stored) if not (is_new and told[each].is_telling(kind))]
    whole = {change.object_id: change for change in (await directory.whole_users(partly) if partly else ())}
    return {**told, **whole}
