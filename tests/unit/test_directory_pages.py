"""How pages are joined to batches: by what they hold, and only while there is time."""

import asyncio

from shared.domain.directory import DirectoryChange, Member
from shared.ports import Page
from shared.workflows.directory_pages import BATCH, Batch, batches


async def _joined(pages: list[Page], seconds: int) -> tuple[list[Batch], int]:
    """Return the batches of a slice of so many seconds, each page taking one, and how many pages were read."""
    read = 0

    async def page(_: str) -> Page:
        nonlocal read
        read += 1
        return pages[read - 1]

    return [batch async for batch in batches(page, "", lambda: read < seconds)], read


def test_a_slice_whose_time_is_over_joins_no_more_pages() -> None:
    """Many pages may be empty, and each takes its time: the slice ends where it is, and the next one goes on there."""
    pages = [Page((), next_link=f"page {number}") for number in range(1, 100)]

    found, read = asyncio.run(_joined(pages, 30))

    assert read == 30
    assert found[-1].last.next_link == "page 30"
    assert not found[-1].is_last


def test_a_large_group_fills_a_batch_by_its_members() -> None:
    """Its members come page by page in one item each: memory holds as many of them as of any other items."""
    members = tuple(Member(str(number)) for number in range(BATCH // 3))
    pages = [Page((DirectoryChange("large", members=members),), next_link=f"page {number}") for number in range(1, 10)]

    found, _ = asyncio.run(_joined([*pages, Page((), delta_link="next round")], 100))

    assert [len(batch.changes) for batch in found] == [3, 3, 3, 0]
    assert found[-1].last.delta_link == "next round"
