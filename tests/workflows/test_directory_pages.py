"""Pages of a directory: the next is fetched while the last is written, small ones are joined, and what was read still counts."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from datetime import timedelta

import pytest

from shared.domain.directory import DirectoryChange
from shared.ports import Page, RefusedError, TransientError
from shared.workflows.directory_pages import BATCH, PAGE_EXPIRED, Batch, batches

PLENTY = 3
"""How many full pages there are."""


class Pages:
    """A series of full pages; ``asked`` are the links at which it was read."""

    def __init__(self, size: int = BATCH, count: int = PLENTY, breaks_at: str = "") -> None:
        self.asked: list[str] = []
        self._size, self._count, self._breaks_at = size, count, breaks_at

    async def read(self, link: str) -> Page:
        """Return the page at a link."""
        self.asked.append(link)
        if self._breaks_at and link == self._breaks_at:
            raise TransientError("busy")
        number = int(link or 0)
        items = tuple(DirectoryChange(f"{number}-{position}") for position in range(self._size))
        return Page(items, next_link=str(number + 1) if number + 1 < self._count else "")


def always() -> bool:
    """There is time for another page."""
    return True


async def taken(pages: Pages, goes_on: Callable[[], bool] = always) -> list[Batch]:
    """Read all batches that there is time for."""
    return [batch async for batch in batches(pages.read, "", goes_on, BATCH)]


async def test_the_next_page_is_asked_for_while_the_last_is_written() -> None:
    """A batch is given while the page after it is still to come, which is asked for all the same: one ahead, and no more."""
    pages, asked, is_written = Pages(), [], asyncio.Event()

    async def slow(link: str) -> Page:
        page = await pages.read(link)
        if link:  # the first page has no write before it
            await is_written.wait()
            is_written.clear()
        return page

    async with asyncio.timeout(10), aclosing(batches(slow, "", always, BATCH)) as found:
        async for _ in found:
            await asyncio.sleep(0)  # a write begins
            asked.append(list(pages.asked))
            is_written.set()

    assert asked == [["", "1"], ["", "1", "2"], ["", "1", "2"]]


async def test_no_page_is_asked_for_when_the_time_is_over() -> None:
    """The batch that is there is given, and nothing is read ahead of the next slice."""
    pages = Pages()

    (batch,) = await taken(pages, goes_on=lambda: False)

    assert (pages.asked, batch.last.next_link, batch.is_last) == ([""], "1", False)


async def test_a_page_that_names_itself_as_the_next_one_is_no_place_to_go_on() -> None:
    """Following it would never end. What came before still counts; the sync begins anew, as after a link that has expired."""

    async def stuck(link: str) -> Page:
        return Page((DirectoryChange(link or "first"),), next_link="again")

    async with asyncio.timeout(10):
        (batch,) = [batch async for batch in batches(stuck, "", always, BATCH)]

    assert isinstance(batch.error, RefusedError)
    assert batch.error.problem.code == PAGE_EXPIRED
    assert [change.object_id for change in batch.changes] == ["first"]


async def test_a_reader_who_ends_early_leaves_no_read_behind() -> None:
    """The page that was asked for ahead is given up."""
    pages = Pages()
    before = asyncio.all_tasks()
    async with aclosing(batches(pages.read, "", always, BATCH)) as found:
        await anext(found)

    assert asyncio.all_tasks() == before


@pytest.mark.parametrize(("size", "joined"), [(BATCH, 1), (BATCH - 1, 2), (BATCH // 3, 3)])
async def test_small_pages_are_joined(size: int, joined: int) -> None:
    """As many as fill one page of the list, so that a transaction is worth its request; never more pages than that."""
    first, *_ = await taken(Pages(size, count=9))

    assert len(first.changes) == size * joined
    assert first.last.next_link == str(joined)


async def test_what_was_read_before_an_error_still_counts() -> None:
    """It is given with the error, and with the link at which that was met."""
    (batch,) = await taken(Pages(size=1, breaks_at="2"))

    assert [change.object_id for change in batch.changes] == ["0-0", "1-0"]
    assert isinstance(batch.error, TransientError)
    assert (batch.last.next_link, batch.is_last) == ("2", False)


async def test_a_page_that_asks_for_a_pause_ends_its_batch() -> None:
    """Microsoft is left alone: nothing is joined, and nothing is read ahead."""
    asked = []

    async def read(link: str) -> Page:
        asked.append(link)
        return Page((DirectoryChange("one"),), next_link="more", pause=timedelta(seconds=10))

    (batch,) = [batch async for batch in batches(read, "", always, BATCH)]

    assert asked == [""]
    assert batch.last.pause == timedelta(seconds=10)
