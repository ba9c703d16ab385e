"""The shapes of the JSON API: what a program sends is read by these models, what it is given is documented by them.

``views`` makes the values of the answers; tests hold every reply against these models. Fields may be added to answers: programs
ignore those that they do not know.
"""

from functools import reduce
from operator import or_
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, RootModel, StringConstraints, create_model

from shared.domain.grant import Direction, GrantState, RoleMode, ScopeKind, Waiver
from shared.domain.problems import Actor
from shared.domain.steps import StepName, StepState
from shared.messages import Command, StartGrant

MAXIMUM_COUNT = 100
"""How many items one page holds at the most."""
MAXIMUM_NAME = 256
PAGE_PATTERN = "^[A-Za-z0-9_=-]{0,1024}$"
"""What a page's token is made of: base64url (RFC 4648, section 5)."""
MAXIMUM_SEQ = 2**31 - 1

Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
"""A moment in ISO 8601, UTC, with milliseconds."""
AccountState = GrantState | Literal["not_granted"]
"""``ports.ACCOUNT_STATES`` as a type."""


class _Shape(BaseModel):
    """What all shapes have in common: they are built at the first use, which queue functions never come to."""

    model_config = ConfigDict(frozen=True, defer_build=True)


class _Sent(_Shape):
    """What programs send: a misspelt field is told, not passed over."""

    model_config = ConfigDict(extra="forbid")


# --- what programs send --------------------------------------------------------------------------------------------------------


class KeyHeader(_Shape):
    """The header of every request that creates or changes something."""

    key: str = Field(
        alias="Idempotency-Key",
        pattern=r'^(?:[A-Za-z0-9._-]{1,64}|"[A-Za-z0-9._-]{1,64}")$',
        description="Made up by the program, one for each intention: the same key with the same body is done once and answered "
        "alike. A key counts within its account (a grant's start) or its grant (all else). It may stand in quotation marks.",
    )


class PageQuery(_Shape):
    """Which page of a list."""

    after: str = Field("", pattern=PAGE_PATTERN, description="The `next` of the page before; empty: the first page.")
    count: int = Field(50, ge=1, le=MAXIMUM_COUNT, description="How many items the page may hold.")


class ServiceAccountQuery(PageQuery):
    """Which page of the service accounts."""

    name: str = Field("", max_length=MAXIMUM_NAME, description="How the accounts' names begin, whatever the letter case.")


class AccountQuery(ServiceAccountQuery):
    """Which page of the accounts."""

    state: AccountState | Literal[""] = Field("", description="Only the accounts in this state; empty: in any.")


class EventQuery(_Shape):
    """Which page of a grant's events."""

    after: int = Field(0, ge=0, le=MAXIMUM_SEQ, description="The sequence number of the last event that is known.")
    count: int = Field(50, ge=1, le=MAXIMUM_COUNT, description="How many events the page may hold.")


SET_BY_US = frozenset({"version", "type", "command_id", "requested_by"})
"""Fields of a command that come from the address, the header and the sign-in, never from the body."""
GrantRequest = create_model(
    "GrantRequest",
    __base__=_Sent,
    __doc__="What a new grant is to be.",
    **{name: (field.annotation, field) for name, field in StartGrant.model_fields.items() if name not in SET_BY_US},  # type: ignore[call-overload] # fields that are made from fields
)


def _wish(command: type[BaseModel]) -> Any:
    """Return the shape of a command as a program sends it; the grant is named by the address."""
    own = {
        name: (field.annotation, field) for name, field in command.model_fields.items() if name not in {*SET_BY_US, "grant_id"}
    }
    kind = (command.model_fields["type"].annotation, ...)
    doc = (command.__doc__ or "").removeprefix("Command: ").removeprefix("Command of the product: ")
    return create_model(f"{command.__name__}Request", __base__=_Sent, __doc__=doc[:1].upper() + doc[1:], type=kind, **own)  # type: ignore[call-overload] # fields that are made from fields


_COMMANDS: Any = reduce(or_, [_wish(command) for command in get_args(Command) if command is not StartGrant])


class CommandRequest(RootModel[Annotated[_COMMANDS, Field(discriminator="type")]]):
    """What is to be done with a grant."""

    model_config = ConfigDict(frozen=True, defer_build=True)


# --- what programs are given ---------------------------------------------------------------------------------------------------


class WaitView(_Shape):
    """Waits of a step for one reason: how many, and how long they took together."""

    why: str
    count: int
    seconds: float


class ProblemView(_Shape):
    """What went wrong with a step: its cause, who can fix it and how, and what Microsoft said."""

    code: str = Field(description="One of the problems' codes, the same for the same kind of problem.")
    cause: str
    fix: str
    who: Actor
    raw: str = Field(description="Microsoft's own error text; empty when there is none.")
    correlation_id: str = Field(description="The id that Microsoft's support asks for; empty when there is none.")


class StepView(_Shape):
    """One step of a grant: where it is, why, until when, and who must do what."""

    name: StepName
    title: str
    is_optional: bool
    state: StepState
    reason: str
    who: Actor | None
    until: Moment | None = Field(description="When it goes on by itself, or how long a person is waited for.")
    gives_up_at: Moment | None = Field(description="When the wait that is under way ends for good.")
    link: str = Field(description="Where a person begins the step, a path on this host; empty when nobody does.")
    can_retry: bool
    progress: dict[str, Any] = Field(
        description="How far a running step is. A sync: `users` read `of` how many (null: not known), `groups`, `collection` "
        "(`list`, `users`, `scope`, `groups`, `compare`, `publish`, `tidy`), `rate` (users a second), `left_seconds`, `at`. "
        "Mail flow: `objects`, `of`."
    )
    progress_text: str = Field(description="The same in words; empty where there is none.")
    problem: ProblemView | None
    seconds: float | None = Field(description="How long the step took; null until it has ended.")
    waits: list[WaitView]
    facts: dict[str, Any] = Field(description="What the step left behind: counts, names and ids, by step.")


class ScopeView(_Shape):
    """Whose mail is scanned."""

    kind: ScopeKind
    domains: list[str]
    group: str
    users: list[str] = Field(description="The chosen people, each by a user principal name or a primary SMTP address.")


class RoleView(_Shape):
    """The way to the application's role, and when the role ends. Expiry stops management, not mail."""

    mode: RoleMode = Field(description="The way that is gone.")
    chosen_mode: RoleMode = Field(description="The way that was chosen.")
    by_hand_because: str = Field(description="The code of why the chosen way is closed, so that it is by hand; empty: it is not.")
    ends_at: Moment | None = Field(description="When the role ends; null for good and where it is unknown: `end` tells.")
    end: str = Field(description="The same in words: `until 12 March 2027`, `no end`, `unknown: ...`; empty before there is one.")
    ticket_number: str = Field(description="The ticket that goes with the assignment; empty for none.")
    ticket_system: str


class CredentialView(_Shape):
    """The operator's credential that Microsoft took from an application at the last check; nothing of it is secret."""

    kind: str
    name: str
    ends_at: Moment | Literal[""] = Field(description="When it ends; empty for what has no end, or none that is known.")
    is_former: bool = Field(description="True where Microsoft does not know the newest yet, and the one before it was used.")


class ConsentView(_Shape):
    """What a consent has given to an application, as the last daily check saw it."""

    application: str
    step: StepName
    permissions: list[str] = Field(description="The application permissions that were seen when the consent was given.")
    missing: list[str] = Field(description="Those that were taken away since; the step is to be done again.")
    extra: list[str] = Field(description="Those that were granted beside, and that nobody asked for.")
    credential: CredentialView | None = Field(description="The operator's credential that Microsoft took; null before a check.")


class RoutingView(_Shape):
    """Whether mail is routed to the scanner."""

    is_paused: bool = Field(description="True while an operator wants no mail routed.")
    state: Literal["on", "off", ""] = Field(description="How the routing rules were read back last; empty: not at all yet.")
    off_since: Moment | None


class NoticeView(_Shape):
    """Something that people should know although no step has gone wrong."""

    code: str = Field(description="`uncovered_domains`, `hidden_groups` or `unknown_users`.")
    cause: str
    fix: str = Field(description="What to do about it.")
    names: list[str] = Field(description="The domains or users that it is about; empty where it is about none by name.")


class ChangeCounts(_Shape):
    """How many were added, changed and removed."""

    added: int
    changed: int
    removed: int


class SyncChanges(_Shape):
    """What a sync has changed of what was stored."""

    users: ChangeCounts
    groups: ChangeCounts


class SyncDifferences(_Shape):
    """How what was stored differed from everything that Microsoft has, when both were compared; it was put right."""

    missing: int
    gone: int
    different: int


class SyncView(_Shape):
    """The sync of the tenant's users, groups and domains: the last one, and the next."""

    last_sync: Moment | None = Field(description="When a sync ended last; null before the first.")
    next_sync: Moment | None = Field(description="When the daily sync begins next; null where one is under way, or none will be.")
    users: int | None
    groups: int | None
    stored_text: str = Field(description="How many users and groups are stored, in words; empty before the first sync.")
    changed: SyncChanges | None = Field(description="What the last sync has changed; null where that is not known.")
    changed_text: str = Field(description="The same in words.")
    differences: SyncDifferences | None = Field(
        description="What the last comparison with everything has found; null before one."
    )
    differences_text: str = Field(description="The same in words.")
    notices: list[NoticeView]


class GrantView(_Shape):
    """The live state of a grant."""

    grant_id: str
    account_id: str
    account_name: str
    service: str
    seq: int = Field(description="The sequence number of the grant's last event.")
    tenant_id: str = Field(description="The tenant that a sign-in has proved; empty until then.")
    tenant_name: str
    expected_tenant: str = Field(description="The tenant that the operator expects; empty for any.")
    state: GrantState
    message: str = Field(description="The success message, once the grant is complete; empty before.")
    directions: list[Direction]
    scope: ScopeView
    policy: str
    role_mode: RoleMode = Field(description="The way to the role that is gone: the chosen one, or by hand where that is closed.")
    role: RoleView
    routing: RoutingView
    is_removed: bool = Field(description="True once the removal was asked for: `steps` has its steps, too.")
    consents: list[ConsentView]
    last_check: Moment | None = Field(description="When consents and role were looked at last; null before the first time.")
    sync: SyncView
    released_at: Moment | None = Field(description="When an administrator took the tenant back; null while the grant lives.")
    created_at: Moment
    created_by: str
    steps: list[StepView]


class ServiceAccountView(_Shape):
    """What a completed grant leaves in Administration."""

    tenant_id: str
    tenant_name: str
    service: str
    directions: list[Direction]
    state: Literal["active"] | GrantState
    role_end: str = Field(description="In words, when the application's role ends.")
    last_check: Moment | None = Field(description="When consents and role were looked at last.")
    created_by: str
    last_sync: Moment | None


class StepReceipt(_Shape):
    """How long a step took, and what it waited for."""

    name: StepName
    state: StepState
    seconds: float | None
    waits: list[WaitView]


class MadeObject(_Shape):
    """An object that Grantline made in the tenant."""

    model_config = ConfigDict(extra="allow")

    kind: str
    name: str


class FormerSetting(_Shape):
    """A setting of the tenant as it was before Grantline changed it."""

    object: str
    property: str
    before: Any
    at: str


class DelegatedGrant(_Shape):
    """A delegated permission whose grant remains: it allows nothing without an administrator's new sign-in."""

    application: str
    permission: str


class Receipt(_Shape):
    """What a grant has come to."""

    message: str = Field(description="The success message, once the grant is complete; empty before.")
    grant_id: str
    tenant_id: str
    tenant_name: str
    service_account: ServiceAccountView | None = Field(description="Null until the grant has been complete once.")
    role: RoleView
    steps: list[StepReceipt]
    objects: list[MadeObject]
    users_synced: int
    groups_synced: int
    permissions: dict[StepName, list[str]] = Field(description="The application permissions that each consent gave.")
    delegated_grants: list[DelegatedGrant] = Field(description="What remains in the tenant of the administrator's sign-in.")
    changed_settings: list[FormerSetting]
    policy: str


class PlannedChange(_Shape):
    """One change of the tenant, as Exchange's management cmdlets make it."""

    step: int = Field(description="Its place in the order in which the changes are made.")
    object: str
    purpose: str = Field(description="What it is for; empty where the object says it.")
    cmdlet: str
    parameters: dict[str, Any]
    former: dict[str, Any] = Field(description="What the tenant has now, of what is changed.")


class RuleEffect(_Shape):
    """A rule of the tenant's own that would act on some messages more or less often than now."""

    rule: str
    messages: str
    what: str


class NotScanned(_Shape):
    """Mail that the scanner will not see, or can't read."""

    what: str
    why: str


class SampleRoute(_Shape):
    """What becomes of a sample message, now and with the plan carried out, by the model of Exchange Online's routing."""

    name: str
    description: str
    before: str
    after: str
    problem: str = Field(description="What goes wrong for certain; empty when nothing does.")
    domains: list[str] = Field(description="The accepted domains for which it goes this way.")
    more_domains: int = Field(description="How many more domains there are than are named.")


class RouteHarm(_Shape):
    """Something that would go wrong with a sample message."""

    harm: str
    sample: str
    domain: str
    what: str


class OpenQuestion(_Shape):
    """What only real mail can answer, and what would follow."""

    condition: str
    harm: str
    samples: list[str]


class BaselineView(_Shape):
    """A check of a public security baseline that the plan turns red."""

    baseline: str
    check: str
    title: str
    objects: list[str]
    gentler: str = Field(description="What would turn it green again, or why nothing does.")
    source: str


class PlanView(_Shape):
    """What would be changed in the tenant, and what that does to messages. All lists are empty before there is a plan."""

    number: int | None = Field(description="Plans are counted within a grant; null before the first.")
    digest: str = Field(description="What `plan.approve` names it by.")
    made_at: Moment | None
    applied_at: Moment | None = Field(description="When it was seen to be carried out; null before.")
    is_safe: bool = Field(description="False when a message would be lost, go in circles, or pass the scanner by.")
    is_approved: bool
    accepts_irreversible: bool = Field(description="True when the approval counts for what can't be undone, too.")
    awaits_approval: bool = Field(description="True while the grant waits for an operator to approve it.")
    creates: list[PlannedChange]
    updates: list[PlannedChange]
    deletes: list[PlannedChange]
    settings: list[PlannedChange] = Field(description="Settings of others that are touched.")
    rules_run_twice: list[RuleEffect]
    rules_never_run: list[RuleEffect]
    not_scanned: list[NotScanned]
    irreversible: list[str] = Field(description="Changes that nobody can take back; they need a yes of their own.")
    routes: list[SampleRoute]
    findings: list[RouteHarm]
    open_questions: list[OpenQuestion]
    baselines: list[BaselineView]


class SettingFix(_Shape):
    """A setting that Grantline can put right itself: entries that it adds, or a value that it puts."""

    object: str
    property: str
    adds: list[str]
    value: Any


class FindingView(_Shape):
    """Something that a check has found in the tenant before anything is changed."""

    key: str = Field(description="What `finding.acknowledge` and `finding.fix` name it by.")
    check: str
    severity: Literal["blocking", "acknowledge", "notice", "not_checked"]
    object: str
    cause: str
    remedy: str
    evidence: dict[str, Any]
    fix: list[SettingFix] = Field(description="What Grantline can put right itself; empty where a person must.")
    answer: Literal["acknowledged", "fix_asked", ""] = Field(description="What an operator has answered to it.")


class FindingsView(_Shape):
    """What the checks have found, the gravest first; empty before they were made."""

    findings: list[FindingView]
    passed: list[str] = Field(description="What is true where a check has passed.")


class Leftover(_Shape):
    """Something of ours that is in the tenant, and what removes it."""

    object: str
    what: str
    powershell: str


class RemovalView(_Shape):
    """The removal of what a grant added to its tenant, and how the tenant stands against what it was."""

    is_asked: bool
    is_over: bool
    waived: list[Waiver] = Field(description="What the removal was told not to wait for.")
    reported_at: Moment | None = Field(description="When the report was made; null before.")
    is_clean: bool = Field(description="True when nothing of ours was found in the tenant any more.")
    is_shut_out: bool = Field(
        description="True when the tenant lets the application in no more: the report is from our own rows."
    )
    left: list[Leftover] = Field(description="What is left, in the order in which it is to be removed.")
    removed: list[str]
    restored: list[dict[str, Any]] = Field(description="Settings of others that are as they were.")
    kept: list[dict[str, Any]] = Field(description="Settings that somebody has changed since: they stay.")
    irreversible: list[dict[str, Any]] = Field(description="What nobody can take back.")


class ProbeView(_Shape):
    """A test message, and what became of it by message trace and the scanner's report."""

    probe_id: str
    direction: Direction
    kind: str = Field(
        description="`normal`, `alias`, `spoofed` (scanned or refused), `forged_header` (not believed), `looped` (refused)."
    )
    domain: str
    mail_from: str
    recipient: str
    message_id: str
    result: Literal["passed", "failed", "open"]
    words: str
    seconds: float | None = Field(description="How long it took through the scanner; null where that is unknown.")


class ProofView(_Shape):
    """The last proof by test messages; no messages before the first."""

    is_proved: bool
    number: int | None = Field(description="Proofs are counted within a grant; null before the first.")
    sent_at: Moment | None
    looked_at: Moment | None
    unproved: list[str] = Field(description="Domains for which no test message was sent: the first hundred of them.")
    unproved_count: int
    messages: list[ProbeView]


class LinkView(_Shape):
    """An onboarding link. Whoever opens it first, in one browser, does the grant's steps without an account in the console."""

    grant_id: str
    address: str = Field(description="The link itself, shown in this answer alone.")
    expires_at: Moment
    tenant_id: str = Field(description="The only tenant that it is for; empty for any.")


class AccountItem(_Shape):
    """One account in a list. Lists follow the grants within moments; a grant's own state is the truth."""

    account_id: str
    account_name: str
    grant_id: str = Field(description="The account's grant; empty when it has none.")
    state: AccountState
    directions: list[Direction]
    tenant_id: str
    tenant_name: str
    users_synced: int | None
    last_sync: Moment | None
    next_clock: Moment | None = Field(description="When the grant is looked at next without anybody doing anything.")
    created_by: str
    is_service_account: bool = Field(description="True once the account's grant has been completed.")
    asks_activity: bool = Field(description="True while the optional permission to read activity data could still be granted.")
    notices: list[str] = Field(description="Codes of what people should know of its last sync; the grant tells them in full.")


class AccountPage(_Shape):
    """A page of accounts, by name. It may be shorter than asked for and still not be the last one: `next` tells."""

    items: list[AccountItem]
    next: str | None = Field(None, description="What to give as `after` for the next page; absent on the last one.")


class EventView(_Shape):
    """An audit event of a grant."""

    seq: int = Field(description="Its number; numbers grow within a grant.")
    at: Moment
    type: str = Field(description="What happened, for example `grant.completed`.")
    step: StepName | None
    data: dict[str, Any]


class EventPage(_Shape):
    """A page of a grant's audit events, oldest first."""

    items: list[EventView]
    next: int | None = Field(None, description="What to give as `after` for the next page; absent on the last one.")


class Summary(_Shape):
    """How many accounts are in each state, as a timer counted them last."""

    counted_at: Moment | None = Field(description="When they were counted; null before the first time.")
    accounts: dict[str, int] = Field(description="How many, by state.")


class RequestError(_Shape):
    """One thing that is wrong with a request, and where (as in RFC 9457, section 3's example)."""

    detail: str
    pointer: str | None = Field(None, description="JSON Pointer (RFC 6901), as a URI fragment, to the field of the body.")
    parameter: str | None = Field(None, description="The query parameter.")
    header: str | None = Field(None, description="The header.")


class ProblemDetails(_Shape):
    """Why a request was not carried out: problem details (RFC 9457)."""

    type: Annotated[str, StringConstraints(pattern="^/problems/")] = Field(description="/problems/{code}")
    title: str
    status: int
    detail: str = Field(description="What to do about it.")
    code: str = Field(description="The same for the same kind of problem.")
    who: Actor = Field(description="Who can put it right.")
    errors: list[RequestError] | None = Field(None, description="Everything that is wrong with the request.")
    grant: str | None = Field(None, description="The path of the grant that is in the way.")
