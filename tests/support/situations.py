"""Grants and accounts in every situation that a page shows, put straight into the storage of a stack: none is waited for."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from local.stack import Stack
from shared import container, settings
from shared.container import Container
from shared.domain import schedule
from shared.domain.decision import Decision
from shared.domain.grant import Direction, Event, Facts, Grant, Intent, RoleMode, Row, Scope, ScopeKind, Step
from shared.domain.problems import CATALOGUE, Actor, problem
from shared.domain.steps import STEPS, StepName, StepState
from shared.ports import ACCOUNT_STATES, NOT_GRANTED, AccountRow
from shared.storage.accounts import ALL, TableAccounts
from shared.workflows.run import progress_row

NOW = datetime.now(UTC).replace(microsecond=0)
LATER = NOW + timedelta(hours=12)
"""Clocks are in the future: the sweep of the running stack leaves these grants alone."""
RAW = "AADSTS50105: the administrator's <b>own</b> \u202ewords\u202c of Microsoft, " + "long" * 60
"""What Microsoft said: with markup, with a mark that turns the text, and without a place to break the line."""
CORRELATION = "7f0d8f3a-0000-4000-8000-000000000001"
REQUIRED = tuple(name for name, each in STEPS.items() if not each.is_optional and not each.is_removal)
READING: Facts = {
    "users": 12_000,
    "of": 100_000,
    "groups": 0,
    "collection": "users",
    "rate": 900,
    "left_seconds": 98,
    "at": schedule.stamp(LATER),
}
"""How far a sync is that reads users."""
MANY_ROWS = 60
"""More accounts than one page of the dashboard shows."""


@dataclass(frozen=True, slots=True)
class Situation:
    """A grant as a page shows it, with rows of its partition and audit events."""

    grant: Grant
    rows: tuple[Row, ...] = ()
    events: tuple[Event, ...] = ()


@asynccontextmanager
async def opened(stack: Stack) -> AsyncIterator[Container]:
    """Open the stack's storage beside its functions host."""
    built = await container.build(settings.load(stack.environment))
    try:
        yield built
    finally:
        await built.close()


async def put(parts: Container, situation: Situation) -> str:
    """Store a grant as it stands, and return the path of its page."""
    await parts.storage.grants.create(Decision(situation.grant, events=situation.events, rows=situation.rows))
    return f"/grants/{situation.grant.grant_id}"


@asynccontextmanager
async def without_accounts(parts: Container) -> AsyncIterator[None]:
    """Empty the dashboard's list, and put everything back."""
    accounts = parts.storage.accounts
    assert isinstance(accounts, TableAccounts)
    client = accounts._table._client
    listed = [row async for row in client.query_entities(f"PartitionKey eq '{ALL}'")]
    for row in listed:
        await client.delete_entity(row["PartitionKey"], row["RowKey"])
    try:
        yield
    finally:
        for row in listed:
            await client.upsert_entity(row)


async def many_accounts(parts: Container) -> None:
    """Put accounts in every state into the lists, one that asks for activity data among them, and count them."""
    for number in range(MANY_ROWS):
        state = ACCOUNT_STATES[number % len(ACCOUNT_STATES)]
        is_complete = state == "completed"
        row = AccountRow(
            f"listed-{number}",
            f"Listed {number:02}",
            "" if state == NOT_GRANTED else str(uuid4()),
            state,
            () if state == NOT_GRANTED else ("inbound", "outbound"),
            2500 if is_complete else None,
            NOW if is_complete else None,
            LATER if state == "in_progress" else None,
            tenant_id=str(uuid4()) if is_complete else "",
            tenant_name=f"Listed {number:02} Incorporated" if is_complete else "",
            created_by="an operator",
            is_service_account=is_complete,
            asks_activity=is_complete,
        )
        await parts.storage.accounts.put(row)
    await parts.storage.accounts.keep_counts(await parts.storage.accounts.count(), NOW)


def a_grant(*steps: Step, name: str = "Contoso", tenant_name: str = "Contoso", group: str = "") -> Grant:
    """Return a grant of a tenant of its own with some steps as given, all others blocked."""
    scope = Scope(ScopeKind.GROUP, group=group) if group else Scope()
    intent = Intent((Direction.INBOUND, Direction.OUTBOUND), scope, "standard")
    account = f"shown-{uuid4()}"
    grant = Grant(str(uuid4()), account, name, intent, NOW, "an operator", tenant_id=str(uuid4()))
    named = Step(StepName.DIRECTORY_SYNC, facts={"tenant_name": tenant_name})
    for step in (named, *steps):
        grant = grant.with_step(step)
    return grant


def done(*names: StepName, **facts: Any) -> list[Step]:
    """Return steps that are done."""
    return [Step(name, StepState.DONE, started_at=NOW, begun_at=NOW, finished_at=NOW, facts=facts) for name in names]


def waiting_for_person() -> Situation:
    """Return a grant that nobody has signed in for."""
    step = Step(StepName.MAIL_FLOW_CONSENT, StepState.WAITING_FOR_PERSON, who=Actor.TENANT_ADMINISTRATOR, clock=LATER)
    return Situation(replace(a_grant(replace(step, reason=STEPS[step.name].asks)), tenant_id=""))


def by_hand() -> Situation:
    """Return a grant that waits until an administrator has assigned the role."""
    why = "Waiting for an administrator to assign the role."
    role = Step(StepName.ROLE_ASSIGNMENT, StepState.WAITING, why, Actor.TENANT_ADMINISTRATOR, LATER, gives_up_at=LATER)
    grant = a_grant(*done(StepName.MAIL_FLOW_CONSENT), role)
    return Situation(replace(grant, intent=replace(grant.intent, role_mode=RoleMode.BY_HAND)))


def role_step(mode: RoleMode, code: str = "", **facts: Any) -> Situation:
    """Return a grant that waits for its role by a way, with a problem of a code where one is given."""
    state = StepState.WAITING_FOR_PERSON if code else StepState.WAITING
    found = problem(code, raw=RAW, correlation_id=CORRELATION) if code else None
    why = "Something is waited for."
    role = Step(StepName.ROLE_ASSIGNMENT, state, why, Actor.TENANT_ADMINISTRATOR, LATER, gives_up_at=LATER, problem=found)
    consent = done(StepName.MAIL_FLOW_CONSENT, client_id=str(uuid4()), object_id=str(uuid4()))
    grant = a_grant(*consent, replace(role, facts=facts))
    return Situation(replace(grant, intent=replace(grant.intent, role_mode=mode)))


def role_group() -> Situation:
    """Return a grant that waits until an administrator has run the script."""
    return role_step(RoleMode.ROLE_GROUP, seen="No Exchange Administrator role shows in the application's tokens yet.")


def by_application() -> Situation:
    """Return a grant that waits for the permission to assign the role."""
    return role_step(RoleMode.APPLICATION, "role_consent_needed")


def needs_ticket() -> Situation:
    """Return a grant whose tenant wants a ticket with the role."""
    return role_step(RoleMode.SIGN_IN, "role_needs_ticket")


def became_by_hand() -> Situation:
    """Return a grant whose way to the role has turned out to be closed."""
    return role_step(RoleMode.SIGN_IN, "role_not_assigned", by_hand_because="role_by_hand")


def tenant_taken() -> Situation:
    """Return a grant whose tenant is another account's."""
    found = problem("tenant_taken")
    step = Step(StepName.MAIL_FLOW_CONSENT, StepState.WAITING_FOR_PERSON, who=found.who, clock=LATER, problem=found)
    return Situation(a_grant(step))


def running() -> Situation:
    """Return a grant whose work is under way in two steps, each with its progress."""
    sync = Step(StepName.DIRECTORY_SYNC, StepState.RUNNING, clock=LATER, run_id="1", started_at=NOW)
    flow = Step(StepName.MAIL_FLOW, StepState.RUNNING, clock=LATER, run_id="2", started_at=NOW)
    before = done(*REQUIRED[:3], StepName.PREFLIGHT)
    rows = (
        progress_row(sync.name, {**READING, "users": 1998, "of": 2500}),
        progress_row(flow.name, {"objects": 3, "of": 8}),
    )
    return Situation(a_grant(*before, sync, flow), rows)


def syncing() -> Situation:
    """Return a completed grant whose daily sync is under way, with every notice, and what the former sync has brought."""
    situation = completed()
    grant, changed = situation.grant, {"added": 12, "changed": 3, "removed": 1}
    facts = {
        "users": 100_000,
        "groups": 1200,
        "tenant_name": "Contoso",
        "changed": {"users": changed, "groups": {"added": 0, "changed": 1, "removed": 0}},
        "differences": {"missing": 2, "gone": 1, "different": 0},
        "uncovered_domains": ["new.contoso.com", "a.very.long.name." * 3 + "contoso.com"],
        "hidden_groups": 2,
        "unknown_users": ["ada@contoso.com"],
    }
    ended = NOW + timedelta(seconds=1)
    daily = Step(StepName.DAILY_SYNC, StepState.RUNNING, clock=LATER, run_id="1", begun_at=NOW, finished_at=ended, facts=facts)
    return replace(situation, grant=grant.with_step(daily), rows=(*situation.rows, progress_row(daily.name, READING)))


def synced() -> Situation:
    """Return the same grant when that sync has ended."""
    situation = syncing()
    daily = replace(situation.grant.steps[StepName.DAILY_SYNC], state=StepState.DONE, run_id="")
    return replace(situation, grant=situation.grant.with_step(daily))


def waiting() -> Situation:
    """Return a grant that waits for Microsoft, with its clock."""
    why = "Exchange Online does not know the role yet."
    role = Step(StepName.ROLE_ASSIGNMENT, StepState.WAITING, why, clock=LATER, gives_up_at=LATER, started_at=NOW)
    return Situation(a_grant(*done(StepName.MAIL_FLOW_CONSENT), role))


def completed(**named: str) -> Situation:
    """Return a grant that is complete but for what is optional, with everything that a receipt and a history may show."""
    facts: Facts = {
        "users": 2500,
        "groups": 3,
        "permissions": ["User.Read.All", "Exchange.ManageAsApp"],
        "objects": [{"kind": "inbound_connector", "name": "Grantline Inbound"}, {"kind": "transport_rule", "name": "Grantline"}],
    }
    optional = Step(StepName.ACTIVITY_CONSENT, StepState.WAITING_FOR_PERSON, who=Actor.TENANT_ADMINISTRATOR)
    synced = done(StepName.DIRECTORY_SYNC, **facts, tenant_name=named.get("tenant_name", "Contoso"))
    grant = a_grant(*done(*REQUIRED, **facts), *synced, optional, **named)
    former = {"former": "192.0.2.0/24", "at": NOW.isoformat()}
    data: Facts = {"actor": named.get("name", "Ada"), "until": LATER.isoformat(), "objects": facts["objects"]}
    kinds = ("grant.created", "tenant.proved", "step.waiting", "grant.completed")
    events = tuple(Event(number, NOW, kind, data=data) for number, kind in enumerate(kinds, start=1))
    return Situation(replace(grant, seq=len(events)), (Row("snapshot|Default|IPAllowList", former),), events)


def watched() -> Situation:
    """Return a completed grant of which a permission was taken away, to which another was given, and whose role ends."""
    situation = completed()
    facts = {
        "missing": {"directory": ["User.Read.All"]},
        "extra": {"mail_flow": ["full_access_as_app"]},
        "role_seen_at": NOW.isoformat(),
        "role_ends_at": LATER.isoformat(),
    }
    grant, found = situation.grant, problem("consent_missing")
    consent, watch = grant.steps[StepName.DIRECTORY_CONSENT], grant.steps[StepName.ACCESS_WATCH]
    consent = replace(consent, state=StepState.WAITING_FOR_PERSON, who=found.who, clock=LATER, problem=found)
    grant = grant.with_step(consent).with_step(replace(watch, clock=LATER, facts={**watch.facts, **facts}))
    return replace(situation, grant=grant)


def released() -> Situation:
    """Return a grant whose tenant was taken back."""
    situation = completed()
    return replace(situation, grant=replace(situation.grant, released_at=NOW))


def problems() -> dict[str, tuple[str, ...]]:
    """Return the codes of the catalogue in groups that one grant's page can show, by the first code."""
    codes = tuple(CATALOGUE)
    groups = (codes[start : start + len(REQUIRED)] for start in range(0, len(codes), len(REQUIRED)))
    return {group[0]: group for group in groups}


def troubled(codes: tuple[str, ...]) -> Situation:
    """Return a grant with a problem of each of these codes, one a step."""
    steps = (
        Step(name, StepState.NEEDS_ATTENTION, who=CATALOGUE[code].who, problem=problem(code, raw=RAW, correlation_id=CORRELATION))
        for name, code in zip(REQUIRED, codes, strict=False)
    )
    return Situation(a_grant(*steps))
