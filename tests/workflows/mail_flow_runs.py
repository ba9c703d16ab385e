"""Runs of the mail-flow workflows against the fake Exchange, with a clock and a journal in memory."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from shared.container import GrantJournal
from shared.domain.grant import Direction, Facts, Grant, Intent, Row, Scope, ScopeKind, Step
from shared.domain.outcomes import Outcome, Progress, Wait
from shared.domain.probes import Probe
from shared.domain.steps import StepName, StepState
from shared.ports import Bindings, DirectoryStore, Exchange, GrantStore, Microsoft
from shared.settings import Settings
from shared.workflows.mail_flow import mail_flow
from shared.workflows.policy_activation import policy_activation
from shared.workflows.preflight import preflight
from shared.workflows.run import Clients, Run, Workflow
from tests.unit.mailflow.requests import GRANT_ID, SETTINGS
from tests.workflows.fake_exchange import FakeExchange

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
BOTH = (Direction.INBOUND, Direction.OUTBOUND)
DOMAIN_INTENT = Intent(BOTH, Scope(), "standard")
GROUP_INTENT = Intent(BOTH, Scope(ScopeKind.GROUP, group="everybody@contoso.com"), "standard")
USERS_INTENT = Intent(BOTH, Scope(ScopeKind.USERS, users=("ada@contoso.com", "bob@contoso.com")), "standard")
INTENTS = (DOMAIN_INTENT, GROUP_INTENT, USERS_INTENT)
TAMPERED: dict[str, dict[str, Any]] = {
    "InboundConnector": {"RequireTls": None},
    "OutboundConnector": {"UseMXRecord": True},
    "TransportRule": {"State": "Enabled", "Mode": "Audit"},
    "DistributionGroup": {"_members": [], "HiddenFromAddressListsEnabled": False},
}
"""A change of somebody else's for each kind of object, made through every cmdlet that could make it."""
NAMES = [
    "Grantline Inline Inbound Return Connector",
    "Grantline Inline Outbound Return Connector",
    "Grantline Inline Inbound Routing Connector",
    "Grantline Inline Outbound Routing Connector",
    "Grantline Inline Inbound Move to Junk Rule",
    "Grantline Inline Inbound Skip Spam Filter Rule",
    "Grantline Inline Outbound Domain Rule",
    "Grantline Inline Inbound Domain Rule",
]
"""The objects of a grant for domains, in the order of their creation."""


class NobodyBefore:
    """Bindings of a tenant that nobody had before."""

    async def tenant(self, _tenant_id: str) -> None:
        """Tell that nobody has it."""


@dataclass
class MemoryJournal:
    """``run.Journal`` in memory; ``entries`` keeps the order of everything that was written."""

    exchange: FakeExchange
    rows: "MemoryRows"
    entries: list[tuple[str, str, Mapping[str, Any]]] = field(default_factory=list)
    writes_before: list[int] = field(default_factory=list)
    """How many writes the tenant had seen when each former value was stored."""

    async def before(self, object_name: str, former: Mapping[str, Any], written: Mapping[str, Any]) -> None:
        """Keep the former values, and how far the tenant had been changed by then."""
        self.entries.append(("before", object_name, dict(former)))
        self.writes_before.append(len(self.exchange.writes))
        await self._kept().before(object_name, former, written)

    async def after(self, object_name: str, result: Mapping[str, Any]) -> None:
        """Keep the result."""
        self.entries.append(("after", object_name, dict(result)))
        await self._kept().after(object_name, result)

    def _kept(self) -> GrantJournal:
        """Return the real journal, on rows in memory."""
        return GrantJournal(cast("GrantStore", self.rows.journal), GRANT_ID, lambda: NOW)


@dataclass
class JournalRows:
    """The part of ``ports.GrantStore`` that the journal writes to."""

    kept: dict[str, Row] = field(default_factory=dict)

    async def insert(self, _grant_id: str, row: Row) -> bool:
        """Insert one row, unless it exists."""
        return self.kept.setdefault(row.key, row) is row

    async def put(self, _grant_id: str, row: Row) -> None:
        """Write one row; last one wins."""
        self.kept[row.key] = row


@dataclass
class MemoryRows:
    """``run.GrantRows`` in memory; ``shown`` keeps everything that was written, in order."""

    shown: list[Row] = field(default_factory=list)
    journal: JournalRows = field(default_factory=JournalRows)

    async def row(self, key: str) -> Facts | None:
        """Return what was written last under a key."""
        kept = self.journal.kept.get(key)
        return next((row.value for row in reversed(self.shown) if row.key == key), kept.value if kept else None)

    async def rows(self, prefix: str, *, of: str = "") -> list[Row]:
        """Return what was written last under each key that begins with ``prefix``, in key order; there is one grant."""
        assert of in ("", GRANT_ID)
        written = {**self.journal.kept, **{row.key: row for row in self.shown}}
        newest = {key: row for key, row in written.items() if key.startswith(prefix)}
        return [newest[key] for key in sorted(newest)]

    async def put(self, row: Row) -> None:
        """Keep the row."""
        self.shown.append(row)


@dataclass
class MemoryProbes:
    """``ports.ProbeQueue`` in memory."""

    ordered: list[Probe] = field(default_factory=list)

    async def order(self, _grant: Grant, probe: Probe) -> None:
        """Keep the order."""
        self.ordered.append(probe)


@dataclass
class FakeMicrosoft:
    """The part of ``ports.Microsoft`` that the mail flow uses."""

    tenant: FakeExchange

    def exchange(self, tenant_id: str) -> Exchange:
        """Return the one tenant that there is."""
        assert tenant_id == "tenant"
        return self.tenant


@dataclass
class Bench:
    """A grant's step, run after run, as the engine would: what an outcome says of facts and time is carried on."""

    exchange: FakeExchange = field(default_factory=FakeExchange)
    intent: Intent = field(default_factory=lambda: Intent(BOTH, Scope(), "standard"))
    step: Step = field(default_factory=lambda: Step(StepName.MAIL_FLOW, begun_at=NOW))
    now: datetime = NOW
    tick: timedelta = timedelta()
    """How much time each look at the clock takes."""
    rows: MemoryRows = field(default_factory=MemoryRows)
    steps: dict[StepName, Facts] = field(default_factory=dict)
    """The facts of steps that were done before."""
    probes: MemoryProbes = field(default_factory=MemoryProbes)
    loses_step_after: int | None = None
    """After how many writes a command takes the step from the run; None for never."""
    settings: Settings = SETTINGS
    journal: MemoryJournal = field(init=False)

    def __post_init__(self) -> None:
        """Open the journal."""
        self.journal = MemoryJournal(self.exchange, self.rows)

    def clock(self) -> datetime:
        """Tell the time, and let it pass."""
        self.now += self.tick
        return self.now

    def run(self) -> Run:
        """Return a new run of the step."""
        clients = Clients(
            microsoft=cast("Microsoft", FakeMicrosoft(self.exchange)),
            journal=self.journal,
            rows=self.rows,
            directory=cast("DirectoryStore", None),
            bindings=cast("Bindings", NobodyBefore()),
            probes=self.probes,
        )
        grant = Grant(GRANT_ID, "account", "Contoso", self.intent, NOW, "operator", tenant_id="tenant")
        for name, facts in self.steps.items():
            grant = grant.with_step(Step(name, StepState.DONE, begun_at=NOW, finished_at=NOW, facts=facts))
        return Run(grant, self.step, clients, self.settings, self.clock, self.now + timedelta(seconds=60), self._holds_step)

    async def _holds_step(self) -> bool:
        return self.loses_step_after is None or len(self.exchange.writes) < self.loses_step_after

    async def once(self, workflow: Workflow) -> Outcome:
        """Run the workflow once and carry on what its outcome says."""
        outcome = await workflow(self.run())
        for row in outcome.rows:
            await self.rows.put(row)
        if isinstance(outcome, Wait):
            self.now = outcome.until
            self.step = replace(self.step, attempts=self.step.attempts + 1, facts={**self.step.facts, **outcome.facts})
        if isinstance(outcome, Progress):
            self.step = replace(self.step, attempts=0, facts={**self.step.facts, **outcome.facts})
        return outcome

    async def until_settled(self, workflow: Workflow, most: int = 40) -> Outcome:
        """Run the workflow until its outcome is neither a wait within its time nor a slice."""
        for _ in range(most):
            outcome = await self.once(workflow)
            if isinstance(outcome, Wait) and self.now >= outcome.give_up_at:
                return outcome.then
            if not isinstance(outcome, Wait | Progress):
                return outcome
        raise AssertionError("the workflow came to no end")

    def tenant(self) -> dict[str, list[dict[str, Any]]]:
        """Return a copy of what the tenant holds."""
        return deepcopy(self.exchange.objects)


async def life(intent: Intent) -> Bench:
    """Let a grant go its way through the mail flow, with every one of its objects changed by somebody else in between."""
    bench = Bench(intent=intent)
    await bench.once(preflight)
    await bench.once(mail_flow)
    for noun, properties in TAMPERED.items():
        for item in bench.exchange.objects[noun]:
            item.update(properties if item["Name"].startswith("Grantline") else {})
    await bench.once(mail_flow)
    await bench.once(policy_activation)
    assert {item["State"] for item in bench.exchange.objects["TransportRule"]} == {"Enabled"}
    return bench
