"""The part of a removal that deletes the synced directory: in slices, killed anywhere, never another grant's."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, cast

import pytest
import pytest_asyncio

from shared.domain import directory
from shared.domain.directory import Generation
from shared.domain.steps import StepName, StepState
from shared.engine import Engine
from shared.messages import RemoveGrant
from shared.ports import DirectoryStore
from shared.workflows.run import Run
from tests.support.syncs import current, found, lease_over, stored
from tests.support.worlds import Case, KilledError, World

pytestmark = pytest.mark.asyncio(loop_scope="module")

REMOVAL = StepName.DIRECTORY_REMOVAL
USERS, SHARDS = 16, 4
"""How many users a tenant has, and over how many shards they are spread."""


@pytest_asyncio.fixture(loop_scope="module")
async def case(shared_world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Case]:
    """A grant that is removed, come to the deletion of its directory, which is spread over four shards."""
    monkeypatch.setattr(directory, "USERS_A_SHARD", USERS // SHARDS)
    case = await shared_world.case(users=USERS)
    await case.until(StepName.DIRECTORY_SYNC)
    assert (await case.settle(StepName.DIRECTORY_SYNC)).is_done
    state = await current(case)
    assert state
    assert state.shards == SHARDS
    await case.parts.container.site.commands.execute(RemoveGrant(command_id="remove", grant_id=case.grant_id, requested_by="ann"))
    for name in (StepName.ROUTING_REMOVAL, StepName.DRAIN, StepName.MAIL_FLOW_REMOVAL):
        assert (await case.settle(name)).is_done
    yield case
    shared_world.calm()


@dataclass(frozen=True, slots=True)
class _Watched:
    """A store of which ``before`` is told before each deletion of a shard."""

    inner: DirectoryStore
    before: Callable[[], Awaitable[None]]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def delete(self, tenant_id: str, generation: Generation, shard: int) -> None:
        """Delete a shard."""
        await self.before()
        await self.inner.delete(tenant_id, generation, shard)


def _watching(case: Case, before: Callable[[], Awaitable[None]]) -> Engine:
    def change(run: Run) -> Run:
        store = cast("DirectoryStore", _Watched(run.clients.directory, before))
        return replace(run, clients=replace(run.clients, directory=store))

    return case.world.engine(change)


async def test_a_slice_ends_in_time_and_the_next_goes_on(case: Case) -> None:
    """Readers find nobody from the first slice on; what is left is deleted by those that follow."""

    async def slow() -> None:
        case.parts.clock.offset += timedelta(seconds=30)

    address = f"admin@{case.domain}"
    assert await found(case, address)
    slices: list[tuple[bool, bool]] = []
    for _ in range(SHARDS // 2):  # two of them take as long as a slice may
        step = await case.work(REMOVAL, _watching(case, slow))
        slices.append((step.is_done, bool(await stored(case))))
        assert await found(case, address) is None

    assert slices == [(False, True), (True, False)]


@pytest.mark.parametrize("shard", range(SHARDS))
async def test_a_removal_that_is_killed_is_done_again(case: Case, shard: int) -> None:
    """Whichever shard it was at: nothing of the directory is left, and nothing of how far its sync was."""
    calls = iter(range(shard))

    async def killed() -> None:
        if next(calls, None) is None:
            raise KilledError

    with pytest.raises(KilledError):
        await case.work(REMOVAL, _watching(case, killed))
    assert await stored(case)
    await lease_over(case, REMOVAL)

    assert (await case.work(REMOVAL)).is_done
    assert await stored(case) == []


async def test_a_run_that_has_lost_its_step_deletes_nothing(case: Case) -> None:
    """The tenant may be another account's by then, whose directory this is."""
    before = await stored(case)

    async def lost() -> bool:
        return False

    step = await case.work(REMOVAL, case.world.engine(lambda run: replace(run, holds_step=lost)))

    assert (step.state, await stored(case)) == (StepState.WAITING, before)


async def test_a_grant_that_has_proved_no_tenant_has_nothing_to_delete(shared_world: World) -> None:
    """Nobody has signed in yet: its removal ends all the same."""
    case = await shared_world.case()
    await case.parts.container.site.commands.execute(RemoveGrant(command_id="remove", grant_id=case.grant_id, requested_by="ann"))
    for name in (StepName.ROUTING_REMOVAL, StepName.DRAIN, StepName.MAIL_FLOW_REMOVAL, REMOVAL):
        assert (await case.settle(name)).is_done
