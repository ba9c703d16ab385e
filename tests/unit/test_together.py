"""Work of one run that is done side by side: what one part meets ends the others, so that none goes on after its run."""

import asyncio

import pytest

from shared.ports import TransientError
from shared.workflows.run import together

pytestmark = pytest.mark.asyncio


async def test_an_error_ends_the_others_before_it_is_raised() -> None:
    """The other part has no chance to write once the caller knows of the error."""
    written: list[str] = []
    begun = asyncio.Event()

    async def writes() -> None:
        begun.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        written.append("late")

    async def fails() -> None:
        await begun.wait()
        raise TransientError("busy")

    with pytest.raises(TransientError, match="busy"):
        await together(writes(), fails())
    for _ in range(5):
        await asyncio.sleep(0)

    assert written == []


async def test_results_come_in_the_order_of_the_work() -> None:
    """Whichever is done first."""
    first_may_end = asyncio.Event()

    async def first() -> int:
        await first_may_end.wait()
        return 1

    async def second() -> str:
        first_may_end.set()
        return "two"

    assert await together(first(), second()) == (1, "two")
