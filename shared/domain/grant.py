"""The grant: one account's access to one tenant's service, with its steps. Immutable; changed only by transitions."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from shared.domain.problems import Actor, Problem
from shared.domain.steps import STEPS, StepName, StepState

SERVICE = "exchange-online-inline"
"""The service that is granted; others may follow."""
SUCCESS_MESSAGE = "Successfully created a service account and synced data."
"""The seed's success message, word for word."""

SEALED_ROW = f"sealed|{StepName.ROLE_ASSIGNMENT}"
"""Where the administrator's token for the role lies, sealed, until the step's outcome is saved."""

Facts = Mapping[str, Any]
"""Small JSON values that a step leaves behind: counts, names, ids. Never customer content."""


class Direction(StrEnum):
    """The direction of the mail that is scanned."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"


class ScopeKind(StrEnum):
    """Whose mail is scanned."""

    ALL_DOMAINS = "all_domains"
    DOMAINS = "domains"
    GROUP = "group"


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose mail is scanned: all accepted domains, the chosen ``domains``, or members of the mail-enabled ``group``."""

    kind: ScopeKind = ScopeKind.ALL_DOMAINS
    domains: tuple[str, ...] = ()
    group: str = ""


class RoleMode(StrEnum):
    """How the application gets the Exchange Administrator role; the other modes of the design come with their issue."""

    SIGN_IN = "sign_in"


@dataclass(frozen=True, slots=True)
class Intent:
    """What the account wants; only commands change it."""

    directions: tuple[Direction, ...]
    scope: Scope
    policy: str
    role_mode: RoleMode = RoleMode.SIGN_IN


@dataclass(frozen=True, slots=True)
class WaitRecord:
    """Waits of one step for one reason: how many, and how long they took together in seconds."""

    why: str
    count: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Step:
    """One part of a grant.

    ``clock`` is when the sweep must look at the step: the end of a lease, of a grace, of a wait or of patience with a person.
    ``begun_at`` is when the work that is under way was asked for; retries and waits do not move it.
    """

    name: StepName
    state: StepState = StepState.BLOCKED
    reason: str = ""
    who: Actor | None = None
    clock: datetime | None = None
    run_id: str = ""
    claims: int = 0
    attempts: int = 0
    reopened: int = 0
    started_at: datetime | None = None
    begun_at: datetime | None = None
    changed_at: datetime | None = None
    finished_at: datetime | None = None
    waits: tuple[WaitRecord, ...] = ()
    problem: Problem | None = None
    facts: Facts = field(default_factory=dict)

    @property
    def is_done(self) -> bool:
        """True when nothing is left to do."""
        return self.state is StepState.DONE


class GrantState(StrEnum):
    """The state of a grant as a whole, for lists."""

    WAITING_FOR_PERSON = "waiting_for_person"
    IN_PROGRESS = "in_progress"
    NEEDS_ATTENTION = "needs_attention"
    COMPLETED = "completed"


@dataclass(frozen=True, slots=True)
class Grant:
    """One account's access to one tenant's service: the aggregate.

    ``seq`` counts its events, ``published`` those that others have been told. ``publish_by`` is when the sweep takes the rest
    for forgotten. ``indexed_at`` names its live row in the due index.
    """

    grant_id: str
    account_id: str
    account_name: str
    intent: Intent
    created_at: datetime
    created_by: str
    tenant_id: str = ""
    service: str = SERVICE
    steps: Mapping[StepName, Step] = field(default_factory=lambda: {name: Step(name) for name in STEPS})
    seq: int = 0
    published: int = 0
    publish_by: datetime | None = None
    indexed_at: datetime | None = None

    @property
    def state(self) -> GrantState:
        """The state as a whole: what most needs a person's eye comes first."""
        states = {step.state for step in self.steps.values()}
        if StepState.NEEDS_ATTENTION in states:
            return GrantState.NEEDS_ATTENTION
        if states == {StepState.DONE}:
            return GrantState.COMPLETED
        if StepState.WAITING_FOR_PERSON in states:
            return GrantState.WAITING_FOR_PERSON
        return GrantState.IN_PROGRESS

    @property
    def earliest_clock(self) -> datetime | None:
        """The next moment at which the sweep must look at this grant; None when nothing is left that time could move."""
        clocks = [step.clock for step in self.steps.values() if step.clock]
        return min([*clocks, self.publish_by] if self.publish_by else clocks, default=None)

    def with_step(self, step: Step) -> "Grant":
        """Return this grant with ``step`` in the place of its namesake."""
        return replace(self, steps={**self.steps, step.name: step})


@dataclass(frozen=True, slots=True)
class Event:
    """An audit event: what happened to a grant, written in the transaction of its transition.

    ``data`` holds JSON values only.
    """

    seq: int
    at: datetime
    type: str
    step: StepName | None = None
    data: Facts = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Nudge:
    """Look at this step of this grant, not before ``at``; carries no truth. ``cause`` tells who sent it: commit or sweep."""

    grant_id: str
    step: StepName
    at: datetime
    cause: str = "commit"


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the grant's own partition that is written in the transaction of a transition. ``value`` holds JSON values only."""

    key: str
    value: Facts
