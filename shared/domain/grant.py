"""The grant: one account's access to one tenant's service, with its steps. Immutable; changed only by transitions."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from shared.domain.problems import Actor, Problem
from shared.domain.steps import STEPS, StepName, StepState

SERVICE = "exchange-online-inline"
"""The service that is granted; others may follow."""
SUCCESS_MESSAGE = "Successfully created a service account and synced data."
"""The seed's success message, word for word."""

BY_HAND_BECAUSE = "by_hand_because"
"""The fact of the role's step that tells why the role must be assigned by hand although another way was chosen; "" or absent
where nothing stands in the way."""

IS_PROVED = "is_proved"
"""The fact of the mail proof that tells that it has passed; absent where proofs are switched off."""
ROUTING, ROUTING_ON, ROUTING_OFF, ROUTING_OFF_AT = "routing", "on", "off", "routing_off_at"
"""The facts of the steps that switch the routing: how it was read back last, and since when it is off."""

SEALED_ROW = f"sealed|{StepName.ROLE_ASSIGNMENT}"
"""Where the administrator's token for the role lies, sealed, until the step's outcome is saved."""
SEALED_LIFETIME = timedelta(minutes=30)
"""How long it may lie at the most, however long Microsoft would take it."""

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
    USERS = "users"


MAXIMUM_USERS = 100
"""How many people may be chosen one by one; more belong into a group."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose mail is scanned: all accepted domains, the chosen ``domains``, members of the mail-enabled ``group``, or ``users``.

    ``users`` are the chosen people, each by a user principal name or a primary SMTP address, at most ``MAXIMUM_USERS``.
    """

    kind: ScopeKind = ScopeKind.ALL_DOMAINS
    domains: tuple[str, ...] = ()
    group: str = ""
    users: tuple[str, ...] = ()

    @property
    def is_by_people(self) -> bool:
        """True where people are chosen, by a group or one by one, and not domains."""
        return self.kind in (ScopeKind.GROUP, ScopeKind.USERS)

    @property
    def people(self) -> tuple[str, ...]:
        """Whom the choice names: the group or the chosen people; nobody where domains are chosen."""
        return self.users if self.kind is ScopeKind.USERS else (self.group,) if self.kind is ScopeKind.GROUP else ()


class Waiver(StrEnum):
    """What a removal need not wait for, if an operator says so: the scanner, message trace, what can't be taken back."""

    SCANNER_QUEUE = "scanner_queue"
    MESSAGE_TRACE = "message_trace"
    LEFTOVERS = "leftovers"


class RoleMode(StrEnum):
    """How the application gets its rights in Exchange Online.

    ``sign_in``: Grantline assigns the Exchange Administrator role as the administrator who signs in. ``application``: Grantline
    assigns it by an application permission, where the operator has a registration for that. ``by_hand``: an administrator assigns
    it in the Microsoft Entra admin center, and Grantline notices. ``role_group``: no directory role, but an Exchange role group
    with the needed cmdlets alone, made by a script that the customer's administrator runs; Grantline notices.
    """

    SIGN_IN = "sign_in"
    APPLICATION = "application"
    BY_HAND = "by_hand"
    ROLE_GROUP = "role_group"


@dataclass(frozen=True, slots=True)
class Intent:
    """What the account wants; only commands change it.

    ``expected_tenant`` is the id of the tenant that the operator expects, "" for whichever an administrator proves. The ticket is
    what the tenant's policy may want to see with the assignment of a role. ``region`` names the scanner's, "" for the first.

    ``is_paused``: mail is not to be routed for now. ``is_removed``: all that was added to the tenant is to be taken back.
    ``approved_plan`` is the digest of the plan that an operator has approved; ``accepts_irreversible`` counts for that one alone.
    ``acknowledged`` and ``fixes`` are keys of preflight's findings: those that a person takes as they are, and those that
    Grantline is to put right. ``waived`` is what a removal does not wait for.
    """

    directions: tuple[Direction, ...]
    scope: Scope
    policy: str
    role_mode: RoleMode = RoleMode.SIGN_IN
    expected_tenant: str = ""
    ticket_number: str = ""
    ticket_system: str = ""
    region: str = ""
    is_paused: bool = False
    is_removed: bool = False
    approved_plan: str = ""
    accepts_irreversible: bool = False
    acknowledged: tuple[str, ...] = ()
    fixes: tuple[str, ...] = ()
    waived: tuple[Waiver, ...] = ()


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
    PROTECTING = "protecting"
    PAUSED = "paused"
    REMOVING = "removing"
    REMOVED = "removed"
    RELEASED = "released"


COMPLETE = frozenset({GrantState.COMPLETED, GrantState.PROTECTING})
"""The states in which mail is routed as the grant wants it; the later one is proved by test messages."""
OVER = frozenset({GrantState.RELEASED, GrantState.REMOVED})
"""The states in which nothing is done for a grant any more."""


@dataclass(frozen=True, slots=True)
class Grant:
    """One account's access to one tenant's service: the aggregate.

    ``seq`` counts its events, ``published`` those that others have been told. ``publish_by`` is when the sweep takes the rest
    for forgotten. ``indexed_at`` names its live row in the due index. ``released_at`` is when an administrator took the tenant
    back, or when its removal had ended: nothing is done for the grant after it.
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
    released_at: datetime | None = None

    @property
    def state(self) -> GrantState:
        """The state as a whole: what most needs a person's eye comes first.

        Optional steps do not count, and of what repeats only that it needs somebody. Of a grant that is removed the steps of the
        removal count alone.
        """
        if self.released_at:
            return GrantState.REMOVED if self.steps[StepName.ACCESS_REMOVAL].is_done else GrantState.RELEASED
        if any(step.state is StepState.NEEDS_ATTENTION for step in self._counting):
            return GrantState.NEEDS_ATTENTION
        if any(step.awaits_person for step in self._counting):
            return GrantState.WAITING_FOR_PERSON
        if self.intent.is_removed:
            return GrantState.REMOVING
        return self._state_of_routing if self.is_whole else GrantState.IN_PROGRESS

    @property
    def _state_of_routing(self) -> GrantState:
        if self.intent.is_paused:
            return GrantState.PAUSED
        return GrantState.PROTECTING if self.is_proved else GrantState.COMPLETED

    @property
    def is_complete(self) -> bool:
        """True when mail is routed as the grant wants it, whether that is proved already or not."""
        return self.state in COMPLETE

    @property
    def is_whole(self) -> bool:
        """True when every step is done that a grant needs, and none of them but what repeats has anything left to do."""
        return all(step.is_done for step in self._counting if not STEPS[step.name].repeats)

    @property
    def is_ending(self) -> bool:
        """True once the grant is over, or its removal was asked for: nobody is sent to Microsoft for it any more."""
        return self.released_at is not None or self.intent.is_removed

    @property
    def is_proved(self) -> bool:
        """True when test messages have shown, since the last change of the routing, that mail is scanned as it must be."""
        step = self.steps[StepName.MAIL_PROOF]
        return step.is_done and bool(step.facts.get(IS_PROVED))

    @property
    def was_completed(self) -> bool:
        """True once mail has been routed, whatever has happened to the grant since."""
        return self.steps[StepName.POLICY_ACTIVATION].finished_at is not None

    @property
    def _counting(self) -> list[Step]:
        """The steps that the state as a whole is made from."""
        definitions = ((step, STEPS[step.name]) for step in self.steps.values())
        return [step for step, each in definitions if not each.is_optional and each.is_removal is self.intent.is_removed]

    @property
    def last_sync_step(self) -> Step:
        """The step that synced the directory last: its facts tell what was synced, its end when."""
        first, daily = self.steps[StepName.DIRECTORY_SYNC], self.steps[StepName.DAILY_SYNC]
        is_daily = daily.finished_at is not None and (first.finished_at is None or daily.finished_at > first.finished_at)
        return daily if is_daily else first

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

    @property
    def role_mode(self) -> RoleMode:
        """The way to the role that is gone: the chosen one, or by hand where that one has turned out to be closed."""
        is_closed = bool(self.steps[StepName.ROLE_ASSIGNMENT].facts.get(BY_HAND_BECAUSE))
        return RoleMode.BY_HAND if is_closed else self.intent.role_mode

    def person_of(self, name: StepName) -> Actor | None:
        """Return who begins the step by a sign-in; None where it begins by itself, or is done elsewhere."""
        is_begun_otherwise = name is StepName.ROLE_ASSIGNMENT and self.role_mode is not RoleMode.SIGN_IN
        return None if is_begun_otherwise else STEPS[name].person

    def takes_sign_in(self, name: StepName) -> bool:
        """True where a sign-in moves the step, now or later: with an application permission it is asked for once that lacks."""
        is_elsewhere = name is StepName.ROLE_ASSIGNMENT and self.role_mode in (RoleMode.BY_HAND, RoleMode.ROLE_GROUP)
        return STEPS[name].person is not None and not is_elsewhere

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
