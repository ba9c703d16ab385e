"""How pages are joined to batches: by what they hold, and only while there is time."""

import asyncio
from typing import cast

from shared.domain.directory import DirectoryChange, Member, User
from shared.ports import Directory, DirectoryWriter, Page
from shared.workflows.directory_pages import BATCH, Batch, Changes, Fill, batches


async def _joined(pages: list[Page], seconds: int, size: int = BATCH) -> tuple[list[Batch], int]:
    """Return the batches of a slice of so many seconds, each page taking one, and how many pages were read."""
    read = 0

    async def page(_: str) -> Page:
        nonlocal read
        read += 1
        return pages[read - 1]

    return [batch async for batch in batches(page, "", lambda: read < seconds, size)], read


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


def test_changes_are_taken_in_smaller_batches() -> None:
    """Each of a day's many newcomers may be told in part, and must be read whole: a slice that ended in them got nowhere."""
    directory, writer = cast("Directory", None), cast("DirectoryWriter", None)
    size = Changes(directory, writer, User).size
    pages = [Page(tuple(DirectoryChange(str(number)) for number in range(100)), next_link=f"page {each}") for each in range(9)]

    found, _ = asyncio.run(_joined([*pages, Page((), delta_link="next round")], 100, size))

    assert [len(batch.changes) for batch in found] == [200, 200, 200, 200, 100]
    assert Fill(directory, writer, User).size == BATCH
