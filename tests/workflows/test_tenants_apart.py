"""One tenant's trouble never delays another's: whatever Microsoft does to the one, the other's grant goes on to its end."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, cast

import pytest
import pytest_asyncio

from shared.domain.grant import GrantState, Nudge
from shared.domain.problems import GrantlineError
from shared.domain.steps import StepName, StepState
from shared.ports import GrantStore, Stored
from tests.support.worlds import Case, World

pytestmark = pytest.mark.asyncio(loop_scope="module")

MANY = 100_000
SYNC, LAST = StepName.DIRECTORY_SYNC, StepName.POLICY_ACTIVATION
TROUBLE: dict[str, dict[str, Any]] = {
    "drops every connection": {"drop": True},
    "asks to slow down": {"status": 429, "headers": {"Retry-After": "3600"}},
    "fails": {"status": 503},
}


@pytest_asyncio.fixture(loop_scope="module")
async def cases(shared_world: World) -> AsyncIterator[tuple[Case, Case]]:
    """Two grants of two tenants, both about to be synced and to have their role assigned."""
    cases = await shared_world.case(), await shared_world.case()
    for case in cases:
        await case.until(SYNC)
    yield cases
    shared_world.calm()


async def _complete(case: Case) -> GrantState:
    """Go on to the grant's end, step by step."""
    await case.until(LAST)
    await case.settle(LAST)
    return (await case.grant()).state


@pytest.mark.parametrize("trouble", TROUBLE)
async def test_a_tenant_in_trouble_delays_no_other(cases: tuple[Case, Case], trouble: str) -> None:
    """The one tenant's step waits with a reason and a clock, while the other's grant completes; later the one's does too."""
    troubled, other = cases
    await troubled.world.fault(troubled.tenant_id, times=MANY, **TROUBLE[trouble])
    begun = troubled.parts.clock()

    waiting, state = await asyncio.gather(troubled.work(SYNC), _complete(other))

    assert state is GrantState.COMPLETED
    assert waiting.state is StepState.WAITING
    assert waiting.reason
    assert waiting.clock is not None
    assert waiting.clock > begun
    assert not [step for step in (await other.grant()).steps.values() if "Microsoft" in step.reason and step.clock]
    troubled.parts.simulation.faults.clear()
    assert await _complete(troubled) is GrantState.COMPLETED


async def test_a_tenant_that_never_answers_holds_no_other_up(cases: tuple[Case, Case]) -> None:
    """While a run of the one tenant hangs in a request, the other's grant completes, sweep and all."""
    troubled, other = cases
    await troubled.world.fault(troubled.tenant_id, times=MANY, latency_ms=600_000)
    hanging = asyncio.create_task(troubled.work(SYNC))
    try:
        state = await _complete(other)
        await other.parts.container.engine.sweep()
        assert state is GrantState.COMPLETED
        assert not hanging.done()
        assert (await troubled.step(SYNC)).state is StepState.RUNNING
    finally:
        hanging.cancel()
        await asyncio.gather(hanging, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class _Unreadable:
    """A store in which one grant can't be read any more."""

    inner: Any
    grant_id: str

    async def load(self, grant_id: str) -> Stored | None:
        """Return a grant, but for the one."""
        if grant_id == self.grant_id:
            raise GrantlineError("unreadable")
        stored: Stored | None = await self.inner.load(grant_id)
        return stored

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@dataclass(frozen=True, slots=True)
class _Sent:
    """Nudges that are remembered in place of being sent."""

    nudges: list[Nudge] = field(default_factory=list)

    async def send(self, nudge: Nudge, *, delay: timedelta) -> None:
        """Remember it."""
        assert delay == timedelta()
        self.nudges.append(nudge)


async def test_a_grant_that_cannot_be_read_does_not_stop_the_sweep(cases: tuple[Case, Case]) -> None:
    """The sweep leaves the one grant and nudges every due step of the others."""
    broken, other = cases
    engine, sent = other.parts.container.engine, _Sent()
    other.parts.clock.offset = timedelta(minutes=10)
    readable = cast("GrantStore", _Unreadable(engine.grants, broken.grant_id))

    await replace(engine, grants=readable, nudges=sent).sweep()

    assert {(nudge.grant_id, nudge.step) for nudge in sent.nudges} >= {(other.grant_id, SYNC)}
    assert broken.grant_id not in {nudge.grant_id for nudge in sent.nudges}
