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
    """How the application gets the Exchange Administrator role.

    ``sign_in``: Grantline assigns it as the administrator who signs in. ``by_hand``: an administrator assigns it in the Microsoft
    Entra admin center, and Grantline notices.
    """

    SIGN_IN = "sign_in"
    BY_HAND = "by_hand"


@dataclass(frozen=True, slots=True)
class Intent:
    """What the account wants; only commands change it.

    ``expected_tenant`` is the id of the tenant that the operator expects, "" for whichever an administrator proves.
    """

    directions: tuple[Direction, ...]
    scope: Scope
    policy: str
    role_mode: RoleMode = RoleMode.SIGN_IN
    expected_tenant: str = ""


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
    ``begun_at`` is when the work that is under way was asked for; retries and waits do not move it. ``gives_up_at`` is when the
    wait that is under way ends for good. ``who`` is who must act, if anybody.
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
    gives_up_at: datetime | None = None
    waits: tuple[WaitRecord, ...] = ()
    problem: Problem | None = None
    facts: Facts = field(default_factory=dict)

    @property
    def is_done(self) -> bool:
        """True when nothing is left to do."""
        return self.state is StepState.DONE

    @property
    def awaits_person(self) -> bool:
        """True when the step waits for what a person does, here or elsewhere."""
        is_watching = self.state in (StepState.WAITING, StepState.RUNNING) and self.who is not None
        return self.state is StepState.WAITING_FOR_PERSON or is_watching


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
        """The state as a whole: what most needs a person's eye comes first. Optional steps do not count."""
        steps = [step for step in self.steps.values() if not STEPS[step.name].is_optional]
        if any(step.state is StepState.NEEDS_ATTENTION for step in steps):
            return GrantState.NEEDS_ATTENTION
        if all(step.is_done for step in steps):
            return GrantState.COMPLETED
        if any(step.awaits_person for step in steps):
            return GrantState.WAITING_FOR_PERSON
        return GrantState.IN_PROGRESS

    @property
    def earliest_clock(self) -> datetime | None:
        """The next moment at which the sweep must look at this grant; None when nothing is left that time could move."""
        clocks = [step.clock for step in self.steps.values() if step.clock]
        return min([*clocks, self.publish_by] if self.publish_by else clocks, default=None)

    @property
    def pinned_tenant(self) -> str:
        """The only tenant whose administrator may go on: the proved one, or the one that the operator expects; "" for any.

        Until somebody has come back from the first consent, a fresh proof may change the tenant.
        """
        is_settled = self.steps[StepName.MAIL_FLOW_CONSENT].begun_at is not None
        return self.tenant_id if self.tenant_id and is_settled else self.intent.expected_tenant

    def person_of(self, name: StepName) -> Actor | None:
        """Return who begins the step by a sign-in; None where nobody does: by hand, the role is assigned elsewhere."""
        is_by_hand = name is StepName.ROLE_ASSIGNMENT and self.intent.role_mode is RoleMode.BY_HAND
        return None if is_by_hand else STEPS[name].person

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
