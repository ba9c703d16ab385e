"""A random schedule of the engine: every storage operation is a point where others run, the process dies or an answer is lost.

One grant goes from its creation to its completion while nudges are lost and doubled, workers are killed, a person is slow and
time jumps. The engine, the transitions and the storage's contract are the real ones; only the workflows are small and the storage
is in memory. Everything that is random comes from one seed.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from shared.domain import decide
from shared.domain.grant import Direction, Grant, Intent, Nudge, Row, Scope, Step
from shared.domain.outcomes import Done, Failed, Outcome, Progress, Wait
from shared.domain.problems import problem
from shared.domain.steps import WORK_QUEUES, StepName, StepState
from shared.engine import Engine
from shared.messages import NudgeMessage, read
from shared.ports import ConflictError
from tests.storage.memory import Message, World, open_memory

GRANT = "9b0e0b52-7d0a-4a35-8f1e-0d3c7c6a7a11"
SLICES = 3
HOST_LEASE = timedelta(minutes=10)
SWEEP_EVERY = timedelta(seconds=60)
MAXIMUM_TURNS = 20_000
WORKERS = 4
QUIET_ROUNDS = 12
"""After so many rounds of the loop without a new wait every actor waits: between two gates there are fewer hops."""
ACTOR: ContextVar[str | None] = ContextVar("actor", default=None)
"""Who is acting: a worker, the sweep, a person; its own tasks inherit it."""


@dataclass(frozen=True, slots=True)
class Odds:
    """How likely each misfortune is, at each turn where it may happen."""

    lose: float = 0.15
    double: float = 0.10
    kill: float = 0.02
    lose_answer: float = 0.03
    jump: float = 0.004


@dataclass(slots=True)
class Result:
    """What a schedule came to."""

    completed: bool
    overlaps: int
    """Writes of runs that did not hold their step."""
    effects: dict[StepName, int]
    seqs: list[int]
    told: list[int]
    minutes: float


@dataclass
class Schedule:
    """One seeded run of everything."""

    seed: int
    odds: Odds = Odds()
    engine_class: type[Engine] = Engine
    now: datetime = datetime(2026, 11, 23, 12, tzinfo=UTC)
    effects: dict[StepName, int] = field(default_factory=dict)
    overlaps: int = 0

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)  # noqa: S311 - a schedule, not a secret
        self.actors: dict[str, asyncio.Task[None]] = {}
        self.waiting: dict[int, tuple[str, asyncio.Future[None]]] = {}
        self.numbers = count(1)
        self.world = World(clock=lambda: self.now, gate=self._gate)
        storage = open_memory(self.world)
        self.engine = self.engine_class(
            grants=storage.grants,
            due=storage.due,
            nudges=storage.nudges,
            events=storage.events,
            accounts=storage.accounts,
            workflows=dict.fromkeys(StepName, self._workflow),
            open_run=self._open_run,
            clock=lambda: self.now,
            new_run_id=lambda: f"{self.random.getrandbits(64):016x}",
        )

    async def run(self) -> Result:
        """Play the schedule until the grant is complete, or for so long that it must be stuck."""
        await self._create()
        next_sweep = self.now
        for _ in range(MAXIMUM_TURNS):
            await self._settle()
            grant = self._grant()
            if _is_over(grant):
                break
            if self.now >= next_sweep and not self._running("sweep"):
                self._start(self._sweep(), "sweep")
                next_sweep = self.now + SWEEP_EVERY
            self._maybe_person()
            self._maybe_worker()
            self._turn()
        await self._end()
        return self._result()

    async def _gate(self, name: str) -> None:
        """Hold the calling task until the schedule lets it go on; lose the answer of a save now and then."""
        actor = ACTOR.get()
        if actor is None:
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting[next(self.numbers)] = (actor, turn)
        await turn
        if name == "grants.save.answer" and self.random.random() < self.odds.lose_answer:
            raise ConflictError("the answer was lost")

    def _turn(self) -> None:
        """Let one task go on, kill one, or let time pass."""
        if not self.waiting:
            self.now += timedelta(seconds=self.random.choice([1, 5, 20]))
            return
        actor, turn = self.waiting.pop(self.random.choice(sorted(self.waiting)))
        if self.random.random() < self.odds.kill:
            self.waiting = {number: wait for number, wait in self.waiting.items() if wait[0] != actor}
            self.actors[actor].cancel()
            return
        turn.set_result(None)
        self.now += timedelta(seconds=self.random.choice([0, 0, 0, 0, 1]))
        if self.random.random() < self.odds.jump:
            self.now += timedelta(seconds=self.random.choice([30, 70, 200]))

    async def _settle(self) -> None:
        """Let every actor run until it waits for its turn or has ended: then the loop finds nothing new to do."""
        quiet, seen = 0, -1
        while quiet < QUIET_ROUNDS:
            await asyncio.sleep(0)
            last = max(self.waiting, default=0) + len(self.actors)
            quiet, seen = (quiet + 1 if last == seen else 0), last
            for actor, task in list(self.actors.items()):
                if not task.done():
                    continue
                del self.actors[actor]
                if not task.cancelled() and task.exception() and not isinstance(task.exception(), ConflictError):
                    raise AssertionError(f"{actor} failed") from task.exception()

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        actor = f"{name} {next(self.numbers):06}"
        token = ACTOR.set(actor)
        self.actors[actor] = asyncio.get_running_loop().create_task(work)
        ACTOR.reset(token)

    def _running(self, name: str) -> int:
        return sum(actor.startswith(name) for actor in self.actors)

    def _maybe_person(self) -> None:
        """A person comes now and then to a step that waits for one, or that was begun too often without an outcome."""
        states = (StepState.WAITING_FOR_PERSON, StepState.NEEDS_ATTENTION)
        waits = [step.name for step in self._grant().steps.values() if step.state in states]
        if waits and self.random.random() < 0.02 and not self._running("person"):
            name = self.random.choice(waits)
            self._start(self._act(name), "person")

    async def _act(self, name: StepName) -> None:
        await self.engine.commit(GRANT, lambda grant, now: decide.person_acted(grant, name, now, actor="an administrator"))

    async def _sweep(self) -> None:
        await self.engine.sweep()

    def _maybe_worker(self) -> None:
        """Deliver a visible message to a free worker, losing or doubling some."""
        visible = [
            (queue, message)
            for queue in WORK_QUEUES
            for message in self.world.queues.get(queue, ())
            if message.visible_at <= self.now
        ]
        if not visible or self._running("worker") >= WORKERS:
            return
        queue, message = self.random.choice(visible)
        messages = self.world.queues[queue]
        chance = self.random.random()
        if chance < self.odds.lose:
            messages.remove(message)
            return
        leased = Message(message.body, self.now + HOST_LEASE)
        if chance > 1 - self.odds.double:
            messages.append(Message(message.body, self.now))
        messages[messages.index(message)] = leased
        self._start(self._deliver(messages, leased), "worker")

    async def _deliver(self, messages: list[Message], message: Message) -> None:
        nudge = read(message.body)
        assert isinstance(nudge, NudgeMessage)
        await self.engine.work(Nudge(nudge.grant_id, nudge.step, self.now, nudge.cause))
        if message in messages:
            messages.remove(message)

    async def _workflow(self, run: Any) -> Outcome:
        """Write in the tenant three times; the sync in slices; the role waits once for its effect."""
        name: StepName = run.step.name
        for _ in range(3):
            await self._gate("tenant.write")
            if self.now > run.deadline:
                raise TimeoutError
            self.overlaps += self._grant().steps[name].run_id != run.step.run_id
            self.effects[name] = self.effects.get(name, 0) + 1
        return self._outcome(run, name)

    def _outcome(self, run: Any, name: StepName) -> Outcome:
        row = self.world.grants[GRANT].rows.get("sync|directory")
        done = int(row.split(":")[1].rstrip("}")) if row else 0
        if name is StepName.DIRECTORY_SYNC and done + 1 < SLICES:
            return Progress(rows=(Row("sync|directory", {"slices": done + 1}),))
        if name is StepName.ROLE_ASSIGNMENT and not run.step.waits:
            return Wait(
                until=self.now + timedelta(seconds=40),
                why="the role spreads",
                give_up_at=self.now + timedelta(days=1),
                then=Failed(problem=problem("role_without_effect")),
            )
        return Done()

    @asynccontextmanager
    async def _open_run(self, grant: Grant, step: Step, deadline: datetime) -> AsyncIterator[Any]:
        yield SimpleRun(grant, step, deadline)

    async def _create(self) -> None:
        intent = Intent((Direction.INBOUND,), Scope(), "standard")
        decision = decide.create(grant_id=GRANT, account_id="a", account_name="A", intent=intent, created_by="x", now=self.now)
        await self.engine.create(decision)

    def _grant(self) -> Grant:
        stored = self.world.grants[GRANT].stored
        assert stored
        return stored.grant

    async def _end(self) -> None:
        for task in self.actors.values():
            task.cancel()
        await asyncio.gather(*self.actors.values(), return_exceptions=True)

    def _result(self) -> Result:
        told = [int(message.body.split(f'"id": "{GRANT}/')[1].split('"')[0]) for message in self.world.queues["grant-events"]]
        grant = self._grant()
        return Result(
            completed=_is_over(grant),
            overlaps=self.overlaps,
            effects=self.effects,
            seqs=sorted(self.world.grants[GRANT].events),
            told=told,
            minutes=(self.now - grant.created_at).total_seconds() / 60,
        )


@dataclass(frozen=True, slots=True)
class SimpleRun:
    """What the simulation's workflows need of a run."""

    grant: Grant
    step: Step
    deadline: datetime


def play(seed: int, engine_class: type[Engine] = Engine, odds: Odds | None = None) -> Result:
    """Play one seed and return what it came to."""
    schedule: Callable[[], Coroutine[Any, Any, Result]] = Schedule(seed, odds or Odds(), engine_class).run
    return asyncio.run(schedule())


def _is_over(grant: Grant) -> bool:
    """Tell whether the grant is complete, its watch has looked once, and others have been told everything."""
    has_watched = grant.steps[StepName.ACCESS_WATCH].is_done
    return grant.is_complete and has_watched and grant.published == grant.seq
