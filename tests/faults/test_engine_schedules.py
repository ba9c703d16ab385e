"""Losing, doubling and reordering messages and killing processes change only latency; without each rule of the engine, not so."""

import os
from dataclasses import replace

import pytest

from shared.domain import decide
from shared.domain.decision import Decision
from shared.domain.grant import Nudge
from shared.domain.steps import STEPS
from shared.engine import Engine
from shared.ports import DueRow
from tests.faults.simulation import SLICES, Odds, play

SEEDS = int(os.environ.get("GRANTLINE_FAULT_SEEDS", "60"))


@pytest.mark.parametrize("block", range(4))
def test_every_schedule_ends_the_same(block: int) -> None:
    """Whatever is lost, doubled or killed: the grant completes, no two runs write at once, and every event is told in order."""
    for seed in range(block, SEEDS, 4):
        result = play(seed)

        assert result.completed, f"seed {seed} is stuck"
        assert result.overlaps == 0, f"seed {seed}: a run wrote that did not hold its step"
        assert result.seqs == list(range(1, len(result.seqs) + 1)), f"seed {seed}"
        first_told = list(dict.fromkeys(result.told))
        assert first_told == result.seqs, f"seed {seed}: told {first_told}"
        assert min(effects for name, effects in result.effects.items() if not STEPS[name].is_optional) >= 3
        assert result.effects[next(name for name in result.effects if name == "directory_sync")] >= 3 * SLICES


def test_a_calm_schedule_does_everything_once() -> None:
    """Without misfortunes nothing is done twice: the simulation itself adds none."""
    result = play(1, odds=Odds(0, 0, 0, 0, 0))

    assert result.completed
    assert {name: effects for name, effects in result.effects.items() if effects != 3} == {
        "directory_sync": 3 * SLICES,
        "role_assignment": 6,
    }
    assert list(dict.fromkeys(result.told)) == result.seqs


def test_a_seed_plays_the_same_twice() -> None:
    """A schedule that went wrong can be played again."""
    assert play(7) == play(7)


class IndexedAfterwards(Engine):
    """Breaks "the due row is written before the save that names it": a kill in between leaves a grant that no sweep finds."""

    async def _write_ahead(self, decision: Decision) -> Decision:
        at = decide.index_time(decision.grant, self.clock())
        return replace(decision, grant=replace(decision.grant, indexed_at=at)) if at else decision

    async def _tell(self, decision: Decision) -> None:
        if decision.grant.indexed_at:
            await self.due.put(DueRow(decision.grant.indexed_at, decision.grant.grant_id))
        await Engine._tell(self, decision)


class SweptWithoutSaving(Engine):
    """Breaks "the sweep deletes a row only after an ETag save of the grant"."""

    async def _sweep_grant(self, rows: list[DueRow]) -> None:
        stored = await self.grants.load(rows[0].grant_id)
        assert stored
        now = self.clock()
        moved = decide.swept(stored.grant, now)
        if moved.indexed_at:
            await self.due.put(DueRow(moved.indexed_at, moved.grant_id))
        for name in decide.due_steps(stored.grant, now):
            await self.nudges.send(Nudge(moved.grant_id, name, now, "sweep"), delay=now - now)
        if stored.grant.publish_by and stored.grant.publish_by <= now:
            await self.publish(moved.grant_id)
        await self._delete(rows)


class NeverSwept(Engine):
    """Breaks "what no nudge reached is found by the sweep"."""

    async def sweep(self) -> int:
        """Look at nothing."""
        return 0


@pytest.mark.parametrize("broken", [IndexedAfterwards, SweptWithoutSaving, NeverSwept])
def test_without_a_rule_grants_are_stuck(broken: type[Engine]) -> None:
    """Each rule is needed: without it some schedule never ends."""
    odds = Odds(lose=0.4, kill=0.05)

    assert any(not play(seed, broken, odds).completed for seed in range(40))
