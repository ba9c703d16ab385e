"""Many grants in one Grantline, each of a tenant of its own, so that a test may break its tenant and tell nobody.

Starting storage and the simulated Microsoft 365 costs more than a grant: the tests of a file share them.
"""

import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import httpx

from local import azurite
from local.microsoft365.__main__ import ready
from local.microsoft365.model import Tenant
from local.microsoft365.server import Options
from local.microsoft365.settings import SimulationSettings
from shared.domain import decide, schedule
from shared.domain.decision import Decision
from shared.domain.grant import Event, Grant, Nudge, Step
from shared.domain.steps import StepName, StepState
from shared.engine import Engine
from shared.workflows.run import Run
from tests.support.grantline import Grantline, grantline


@dataclass(frozen=True, slots=True)
class Case:
    """One grant, its tenant, and what a test does with both."""

    world: "World"
    grant_id: str
    tenant_id: str
    domain: str

    @property
    def parts(self) -> Grantline:
        """The running parts."""
        return self.world.parts

    @property
    def tenant(self) -> Tenant:
        """The simulated tenant as it is now."""
        return self.parts.simulation.store.tenant(self.tenant_id)

    @property
    def administrator(self) -> str:
        """The tenant's Global Administrator."""
        return f"admin@{self.domain}"

    def application_id(self, name: str) -> str:
        """Return the client id of one of the operator's applications."""
        return str(self.parts.facts["applications"][name]["client_id"])

    async def grant(self) -> Grant:
        """Return the grant as it is stored."""
        return await self.parts.grant(self.grant_id)

    async def step(self, name: StepName) -> Step:
        """Return one step as it is stored."""
        return (await self.grant()).steps[name]

    async def row(self, key: str) -> Any:
        """Return a row of the grant's partition, None when there is none."""
        return await self.parts.container.storage.grants.row(self.grant_id, key)

    async def act(self, name: StepName) -> None:
        """Do a person's step as the tenant's administrator."""
        await self.parts.act(self.grant_id, name, self.administrator)

    async def work(self, name: StepName, engine: Engine | None = None) -> Step:
        """Run a step once, at its clock, and return it; ``engine`` takes the place of the container's."""
        step = await self.step(name)
        if step.state is StepState.WAITING and step.clock:
            self.parts.clock.advance_to(step.clock)
        await (engine or self.parts.container.engine).work(Nudge(self.grant_id, name, self.parts.clock()))
        return await self.step(name)

    async def until(self, last: StepName) -> Step:
        """Do everything that ``last`` requires, and return ``last``, ready to run."""
        return (await self.parts.until(self.grant_id, last, self.administrator)).steps[last]

    async def settle(self, name: StepName) -> Step:
        """Run a step until it neither waits nor is queued, and return it."""
        return (await self.parts.settle(self.grant_id, name)).steps[name]

    async def queue_again(self, name: StepName) -> None:
        """Queue a step that is done, as a later part of a grant's life will."""

        def change(grant: Grant, now: datetime) -> Decision:
            again = replace(grant.steps[name], state=StepState.QUEUED, clock=schedule.grace_end(now), begun_at=now)
            return Decision(grant.with_step(again))

        await self.parts.container.engine.commit(self.grant_id, change)

    async def retry(self, name: StepName) -> None:
        """Have a step done again, as an operator asks for it."""
        engine = self.parts.container.engine
        assert await engine.commit(self.grant_id, lambda grant, now: decide.retry(grant, name, now, actor="an operator"))

    async def put_back(self, steps: Grant) -> None:
        """Give the grant the steps that it had."""
        await self.parts.container.engine.commit(self.grant_id, lambda grant, _: Decision(replace(grant, steps=steps.steps)))

    async def events(self, after: int = 0) -> list[Event]:
        """Return the grant's events with a number above ``after``."""
        return await self.parts.container.storage.grants.events(self.grant_id, after)

    async def tamper(self, noun: str, identity: str, **change: Any) -> None:
        """Change properties of an object behind Grantline's back, or remove it when none are given."""
        what: dict[str, Any] = {"change": change} if change else {"remove": True}
        await self.world.command("tamper", {"noun": noun, "identity": identity, "tenant": self.tenant_id, **what})

    async def requests(self, **selectors: str) -> list[dict[str, Any]]:
        """Return the requests that were about this tenant, oldest first; ``selectors`` are those of the control interface."""
        answer = await self.world.control.get("/_control/requests", params=selectors)
        found: list[dict[str, Any]] = answer.json()
        return [each for each in found if each["tenant_id"] == self.tenant_id or self.tenant_id in each["path"]]


@dataclass
class World:
    """The parts that the cases of a file share, and the simulated tenant's control interface."""

    parts: Grantline
    control: httpx.AsyncClient
    count: int = 0

    async def case(self, users: int = 6, *, is_expected: bool = False, **intent: Any) -> Case:
        """Make a tenant and start a grant for it, ``is_expected`` for it alone; ``intent`` is what the start command says."""
        self.count += 1
        name = f"tenant{self.count}"
        domain = f"{name}.example.com"
        seed = {"display_name": name.title(), "initial_domain": f"{name}.onmicrosoft.com", "custom_domain": domain}
        made = await self.command("tenants", {**seed, "unverified_domain": f"{name}.example.net", "user_count": users})
        self.parts.facts = ready(self.parts.simulation)
        expected = {"tenant_id": made["tenant_id"]} if is_expected else {}
        grant_id = await self.parts.start(name, **expected, **intent)
        return Case(self, grant_id, made["tenant_id"], domain)

    async def command(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Post to the control interface; what it refuses fails the test."""
        answer = await self.control.post(f"/_control/{path}", json=body)
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    async def fault(self, path: str = "", *, method: str | None = None, cmdlet: str | None = None, **effect: Any) -> None:
        """Let a fault wait for requests whose path or query the expression finds; ``effect`` is what the README documents."""
        await self.command("faults", {"match": {"path": path, "method": method, "cmdlet": cmdlet}, **effect})

    async def set(self, **settings: Any) -> None:
        """Change settings of the simulated Microsoft 365."""
        await self.command("settings", settings)

    def calm(self) -> None:
        """Take away what a test has set: faults, settings, and time."""
        self.parts.simulation.faults.clear()
        self.parts.simulation.settings = SimulationSettings()
        self.parts.simulation.clock.offset = self.parts.clock.offset = timedelta()

    def engine(self, change: Callable[[Run], Run]) -> Engine:
        """Return the container's engine with every run changed before its workflow sees it."""
        engine = self.parts.container.engine

        @asynccontextmanager
        async def open_run(grant: Grant, step: Step, deadline: datetime) -> AsyncIterator[Run]:
            async with engine.open_run(grant, step, deadline) as run:
                yield change(run)

        return replace(engine, open_run=open_run)


@asynccontextmanager
async def open_world(options: Options | None = None, **settings: str) -> AsyncIterator[World]:
    """Open a world on an Azurite of its own."""
    async with await azurite.start() as storage, grantline(storage.connection_string, options, **settings) as parts:
        context = ssl.create_default_context(cafile=str(parts.simulation.ca_file))
        async with httpx.AsyncClient(base_url=parts.simulation.url, verify=context, trust_env=False) as control:
            yield World(parts, control)


class KilledError(BaseException):
    """Stands for the end of the process: no handler of errors sees it."""


def types_of(events: Sequence[Event]) -> list[str]:
    """Return the types of events, in order."""
    return [event.type for event in events]
