"""The engine: one shape for all work. The table is the truth; a queue message is a nudge.

``work``: load, claim, run, decide, save, publish. Every change of a grant goes through ``commit``: reload, decide, write the due
row ahead, save on the ETag with its events; on a conflict or an unknown answer again from the reload, never the effects.
``sweep`` finds what no nudge reached. What goes wrong without each of these rules is shown by tests/faults.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import uuid4

from shared import failures, telemetry
from shared.domain import decide, schedule
from shared.domain.decision import Decision
from shared.domain.grant import Grant, Nudge, Step
from shared.domain.notices import notices_of
from shared.domain.outcomes import Outcome
from shared.domain.steps import StepName
from shared.ports import AccountRow, Accounts, Clock, ConflictError, DueIndex, DueRow, EventQueue, GrantStore, Nudges
from shared.workflows.run import Run, Workflow

LOG = logging.getLogger(__name__)

COMMIT_ATTEMPTS = 30
"""How often a commit reads again before it leaves the rest to the sweep: rivals for one grant are few."""
SWEEP_AT_ONCE = 16
"""How many grants one sweep looks at side by side."""
ORPHAN_AGE = timedelta(hours=1)
"""A due row of a grant that is not there is kept this long: its creation may still be under way."""

Change = Callable[[Grant, datetime], Decision | None]
"""A transition: from the grant as it is now and the time to what must be saved; None when there is nothing to do."""
OpenRun = Callable[[Grant, Step, datetime], AbstractAsyncContextManager[Run]]
"""Opens what a run works with, until its deadline."""


@dataclass(frozen=True, slots=True)
class Engine:
    """Does the work of all steps of all grants; holds no state of its own."""

    grants: GrantStore
    due: DueIndex
    nudges: Nudges
    events: EventQueue
    accounts: Accounts
    workflows: Mapping[StepName, Workflow]
    open_run: OpenRun
    clock: Clock
    new_run_id: Callable[[], str] = lambda: uuid4().hex

    async def create(self, decision: Decision) -> Grant:
        """Save a new grant, its due row first. One that is there already stands: creating it twice is no error."""
        decision = await self._write_ahead(decision)
        try:
            await self.grants.create(decision)
        except ConflictError:
            stored = await self.grants.load(decision.grant.grant_id)
            if stored is None:
                raise
        await self._tell(decision)
        return decision.grant

    async def commit(self, grant_id: str, change: Change, *, unless: str = "") -> Grant | None:
        """Carry out a transition and send its nudges and events; return the grant as saved, None when there was nothing to do.

        ``unless`` is the key of a row that only transitions write: where it is there, there is nothing to do. It is looked for
        after each load, so a rival that writes it in between changes the grant's ETag, and one of the two finds it.
        Raises ConflictError when rivals kept changing the grant: the caller's message or click comes again.
        """
        for _ in range(COMMIT_ATTEMPTS):
            stored = await self.grants.load(grant_id)
            is_done = bool(unless) and await self.grants.row(grant_id, unless) is not None
            decision = change(stored.grant, self.clock()) if stored and not is_done else None
            if stored is None or decision is None:
                return None
            decision = await self._write_ahead(decision)
            try:
                await self.grants.save(stored, decision)
            except ConflictError:
                continue
            await self._tell(decision)
            return decision.grant
        raise ConflictError(f"grant {grant_id} is being changed by others")

    async def work(self, nudge: Nudge) -> None:
        """Run the nudged step once, if it is ready and nobody else holds it, and save what comes of it."""
        run_id = self.new_run_id()
        grant = await self.commit(nudge.grant_id, lambda grant, now: decide.claim(grant, nudge.step, run_id, now))
        if grant is None:
            await self._send_again_if_early(nudge)
            return
        step = grant.steps[nudge.step]
        if step.run_id != run_id:
            return
        outcome = await self._perform(grant, step)
        LOG.info("step %s of grant %s: %s", step.name, grant.grant_id, type(outcome).__name__)
        await self.commit(nudge.grant_id, lambda current, now: decide.decide(current, nudge.step, run_id, outcome, now))

    async def publish(self, grant_id: str) -> None:
        """Tell others every event of the grant that they have not been told, in order, and bring the list up to date."""
        told = 0
        for _ in range(COMMIT_ATTEMPTS):
            stored = await self.grants.load(grant_id)
            if stored is None:
                return
            if stored.grant.published == stored.grant.seq:
                if told:  # a rival was quicker, and its line in the list may be the one that ours replaced
                    await self.accounts.put(account_row(stored.grant))
                return
            for event in await self.grants.events(grant_id, after=max(told, stored.grant.published)):
                await self.events.publish(stored.grant, event)
                told = event.seq
            await self.accounts.put(account_row(stored.grant))
            rest = None if told == stored.grant.seq else stored.grant.publish_by
            try:
                await self.grants.save(stored, Decision(replace(stored.grant, published=told, publish_by=rest)))
            except ConflictError:
                continue

    async def sweep(self) -> int:
        """Nudge every step whose clock has run out, and tell events that were not told; return how many grants were due.

        One at a time for the whole application (a timer is a singleton). One grant's trouble never stops another's sweep.
        """
        found: dict[str, list[DueRow]] = {}
        for row in await self.due.until(self.clock()):
            found.setdefault(row.grant_id, []).append(row)
        limit = asyncio.Semaphore(SWEEP_AT_ONCE)

        async def one(rows: list[DueRow]) -> None:
            async with limit:
                await self._sweep_grant(rows)

        results = await asyncio.gather(*map(one, found.values()), return_exceptions=True)
        for grant_id, result in zip(found, results, strict=True):
            if isinstance(result, Exception):
                LOG.error("sweep of grant %s failed: %s", grant_id, telemetry.describe(result))
        return len(found)

    async def _sweep_grant(self, rows: list[DueRow]) -> None:
        """Move the grant's due row ahead, save that, and only then nudge and delete the rows that were found."""
        for _ in range(COMMIT_ATTEMPTS):
            stored = await self.grants.load(rows[0].grant_id)
            now = self.clock()
            if stored is None:
                await self._delete([row for row in rows if row.at + ORPHAN_AGE < now])
                return
            grant = decide.swept(stored.grant, now)
            if grant.indexed_at:
                await self.due.put(DueRow(grant.indexed_at, grant.grant_id))
            try:
                await self.grants.save(stored, Decision(grant))
            except ConflictError:
                continue
            for name in decide.due_steps(grant, now):
                await self.nudges.send(Nudge(grant.grant_id, name, now, cause="sweep"), delay=timedelta())
            if grant.publish_by and grant.publish_by <= now:
                await self.publish(grant.grant_id)
            await self._delete(rows)
            return

    async def _delete(self, rows: list[DueRow]) -> None:
        for row in rows:
            await self.due.delete(row)

    async def _write_ahead(self, decision: Decision) -> Decision:
        """Write the due row that the grant needs, if it has none as early, before the save that names it."""
        at = decide.index_time(decision.grant, self.clock())
        if at is None:
            return decision
        await self.due.put(DueRow(at, decision.grant.grant_id))
        return replace(decision, grant=replace(decision.grant, indexed_at=at))

    async def _tell(self, decision: Decision) -> None:
        """Send nudges and events of a saved decision. What fails here is found by the sweep: latency, nothing else."""
        grant_id = decision.grant.grant_id
        try:
            for nudge in decision.nudges:
                await self.nudges.send(nudge, delay=max(nudge.at - self.clock(), timedelta()))
            if decision.events:
                await self.publish(grant_id)
        except Exception as error:  # noqa: BLE001 - saved already: the sweep sends what was not sent
            LOG.warning("left to the sweep for grant %s: %s", grant_id, telemetry.describe(error))

    async def _perform(self, grant: Grant, step: Step) -> Outcome:
        """Run the step's workflow within its budget; whatever it raises becomes an outcome."""
        now = self.clock()
        deadline = schedule.run_deadline(now)
        try:
            async with asyncio.timeout((deadline - now).total_seconds()), self.open_run(grant, step, deadline) as run:
                return await self.workflows[step.name](run)
        except Exception as error:  # noqa: BLE001 - every failure reaches a person as a problem
            LOG.warning("step %s of grant %s: %s", step.name, grant.grant_id, telemetry.describe(error))
            return failures.outcome_of(error, step, self.clock())

    async def _send_again_if_early(self, nudge: Nudge) -> None:
        """Put a nudge back that came a little before its step's clock; one that comes twice, or far too early, is dropped."""
        stored = await self.grants.load(nudge.grant_id)
        step = stored.grant.steps[nudge.step] if stored else None
        left = step.clock - self.clock() if step and step.clock and step.state in decide.TIMED else None
        if left is not None and timedelta() < left <= schedule.EARLY:
            await self.nudges.send(nudge, delay=left)


def account_row(grant: Grant) -> AccountRow:
    """Return the grant's line in the console's list."""
    sync = grant.last_sync_step
    return AccountRow(
        account_id=grant.account_id,
        account_name=grant.account_name,
        grant_id=grant.grant_id,
        state=grant.state,
        directions=tuple(grant.intent.directions),
        users_synced=sync.facts.get("users"),
        last_sync=sync.finished_at,
        next_clock=grant.earliest_clock,
        tenant_id=grant.tenant_id,
        tenant_name=sync.facts.get("tenant_name", ""),
        created_by=grant.created_by,
        is_service_account=grant.was_completed,
        asks_activity=grant.is_complete and not grant.steps[StepName.ACTIVITY_CONSENT].is_done,
        notices=tuple(notice.code for notice in notices_of(grant)),
        seq=grant.seq,
    )
