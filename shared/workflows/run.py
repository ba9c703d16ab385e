"""What a workflow works with. It knows nothing of queues and tables: only of its grant, of ports and of the time."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from shared.domain.grant import Facts, Grant, Row, Step
from shared.domain.outcomes import Failed, NeedsPerson, Outcome, Reopen, Wait
from shared.domain.steps import StepName
from shared.ports import Bindings, Clock, DirectoryStore, Microsoft, ProbeQueue, Resolver, TransientError
from shared.settings import Settings

PROGRESS_ROWS = "progress|"
"""How the keys of the rows begin that show people how far running steps are."""
MAXIMUM_TOLD = 8
"""How many facts a reason names: it is kept with each wait, and a grant's row must stay small."""


def told(facts: Sequence[object]) -> str:
    """Return facts for people in one line: the first few, and how many there are beside."""
    more = [f"and {len(facts) - MAXIMUM_TOLD} more"] if len(facts) > MAXIMUM_TOLD else []
    return "; ".join([*map(str, facts[:MAXIMUM_TOLD]), *more])


def progress_row(step: StepName, value: Facts) -> Row:
    """Return the row that shows people how far a running step is. Steps run side by side: each has its own."""
    return Row(f"{PROGRESS_ROWS}{step}", value)


async def together(*work: Coroutine[Any, Any, Any]) -> tuple[Any, ...]:
    """Return what all of ``work`` returns, done side by side; the first error ends the others, and is raised.

    ``asyncio.gather`` would let the others go on, and write after their run has ended.
    """
    try:
        async with asyncio.TaskGroup() as tasks:
            begun = [tasks.create_task(each) for each in work]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return tuple(task.result() for task in begun)


class Journal(Protocol):
    """The record of changes in a customer's tenant: written before each change, and its result after."""

    async def before(self, object_name: str, former: Mapping[str, Any], written: Mapping[str, Any]) -> None:
        """Store the former value of each property that is about to change ({"exists": False} for a new object).

        What was stored the first time is kept: it is what the tenant was before Grantline. ``written``, what properties of
        somebody else's object are given, is stored beside it, last one wins (``shared.mailflow.snapshot`` reads both).
        """

    async def after(self, object_name: str, result: Mapping[str, Any]) -> None:
        """Store what the change came to."""


class GrantRows(Protocol):
    """The rows of the grant's own partition that workflows read and that are not part of a transition."""

    async def row(self, key: str) -> Facts | None:
        """Return one row, or None."""

    async def rows(self, prefix: str, *, of: str = "") -> list[Row]:
        """Return the rows whose key begins with ``prefix``, in key order; those of another grant where ``of`` names one."""

    async def put(self, row: Row) -> None:
        """Write one row; last one wins."""


@dataclass(frozen=True, slots=True)
class Clients:
    """What a run reads and writes through. ``resolver`` is None where the settings name none."""

    microsoft: Microsoft
    journal: Journal
    rows: GrantRows
    directory: DirectoryStore
    bindings: Bindings
    probes: ProbeQueue
    resolver: Resolver | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one step. No write in a tenant begins after ``deadline``, nor unless ``holds_step`` says that it may.

    ``holds_step`` reads the grant anew, one row: a pause, a removal, a release and a lost lease all take the step from the run.
    """

    grant: Grant
    step: Step
    clients: Clients
    settings: Settings
    clock: Clock
    deadline: datetime
    holds_step: Callable[[], Awaitable[bool]]

    def time_left(self) -> timedelta:
        """Return how long this run may still work."""
        return self.deadline - self.clock()

    async def check_held(self) -> None:
        """Raise TransientError where this run no longer holds its step: another may have it, or the grant may be over."""
        if not await self.holds_step():
            raise TransientError(f"this run no longer holds the step {self.step.name}")

    def wait(self, delay: timedelta, why: str, *, give_up: timedelta, then: NeedsPerson | Failed | Reopen, **facts: Any) -> Wait:
        """Return the outcome of waiting ``delay`` for the reason ``why``.

        ``give_up`` counts from when the work under way was asked for; a wait beyond it becomes ``then``.
        """
        begun = self.step.begun_at or self.clock()
        return Wait(until=self.clock() + delay, why=why, give_up_at=begun + give_up, then=then, facts=facts)


Workflow = Callable[[Run], Awaitable[Outcome]]
