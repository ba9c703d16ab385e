"""The double's gates: what a simulation may do between, before and after operations."""

import asyncio

import pytest

from shared.domain.grant import Row
from shared.ports import ConflictError
from tests.storage.examples import change, new_grant
from tests.storage.memory import World, open_memory


class KilledError(Exception):
    """The process dies here."""


async def test_every_operation_passes_a_gate_before_and_after() -> None:
    """The gate hears of each operation by name, and of its answer; it comes before the operation acts."""
    world = World()
    heard: list[tuple[str, int]] = []

    async def gate(name: str) -> None:
        heard.append((name, len([found for found in world.grants.values() if found.stored])))

    world.gate = gate
    await open_memory(world).grants.create(new_grant())

    assert heard == [("grants.create", 0), ("grants.create.answer", 1)]


@pytest.mark.parametrize(("where", "is_saved"), [("grants.save", False), ("grants.save.answer", True)])
async def test_a_gate_may_kill_before_or_lose_the_answer(where: str, *, is_saved: bool) -> None:
    """Raised before, nothing is done; raised after, all is done and nobody hears of it."""
    world = World()
    storage = open_memory(world)
    stored = await storage.grants.create(new_grant())

    async def gate(name: str) -> None:
        if name == where:
            raise KilledError

    world.gate = gate
    with pytest.raises(KilledError):
        await storage.grants.save(stored, change(stored.grant, rows=(Row("progress", {}),), events=1))

    found = await storage.grants.load(stored.grant.grant_id)
    assert (found != stored) is is_saved
    assert (await storage.grants.row(stored.grant.grant_id, "progress") is not None) is is_saved


async def test_a_gate_may_let_others_in_between() -> None:
    """Two runs that load the same grant and then save it conflict: one of them must read again."""
    world = World()
    storage = open_memory(world)
    grant_id = (await storage.grants.create(new_grant())).grant.grant_id
    both_have_read = asyncio.Barrier(2)

    async def gate(name: str) -> None:
        if name == "grants.load.answer":
            await both_have_read.wait()

    async def run() -> None:
        stored = await storage.grants.load(grant_id)
        assert stored
        await storage.grants.save(stored, change(stored.grant, events=1))

    world.gate = gate
    results = await asyncio.gather(run(), run(), return_exceptions=True)

    assert [type(result) for result in results].count(ConflictError) == 1


async def test_what_comes_back_is_a_copy() -> None:
    """Nobody changes a row by changing what they read or wrote, as with a real table."""
    storage = open_memory(World())
    value = {"list": [1]}
    await storage.grants.put("grant", Row("progress", value))
    value["list"].append(2)
    found = await storage.grants.row("grant", "progress")
    assert found
    found["list"].append(3)

    assert await storage.grants.row("grant", "progress") == {"list": [1]}
