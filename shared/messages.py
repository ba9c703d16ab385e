"""The queue messages: one versioned JSON shape for each kind, validated on the way in, documented in ``docs/messages.md``.

Work queues carry nudges ("look at this step of this grant") and, on ``console-commands``, commands of the product's console.
``grant-events`` carries CloudEvents 1.0.
"""

import json
import re
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    field_validator,
)
from pydantic_core import PydanticCustomError

from shared.domain import schedule
from shared.domain.grant import MAXIMUM_USERS, Direction, Event, Grant, Intent, Nudge, RoleMode, Scope, ScopeKind, Waiver
from shared.domain.probes import Probe, ProbeKind
from shared.domain.problems import GrantlineError
from shared.domain.steps import StepName

VERSION = 1
"""The version of every message that this code writes, and the newest that it reads."""

Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
"""An account's or a command's id, as the console knows it: safe in keys and addresses."""
DomainName = Annotated[str, StringConstraints(pattern=r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}$")]
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
PERSON_NAME = rf"^{_ATOM}(\.{_ATOM})*@([A-Za-z0-9]([A-Za-z0-9-]{{0,61}}[A-Za-z0-9])?\.)+[A-Za-z0-9-]{{2,63}}$"
"""A user principal name or an SMTP address without quotation marks: a Dot-string at a domain (RFC 5321 4.1.2)."""
MAXIMUM_NAME = 320
"""Characters in such a name: 64, the sign and 255 (RFC 5321 4.5.3.1)."""


def is_person_name(text: str) -> bool:
    """True for what may be a user principal name or a primary SMTP address; whether somebody has it is Exchange's to say."""
    return len(text) <= MAXIMUM_NAME and re.fullmatch(PERSON_NAME, text) is not None


def folded_people(names: Iterable[str]) -> tuple[str, ...]:
    """Return each name once, as it was written first, whatever the letter case: Exchange tells none apart by that."""
    each: dict[str, str] = {}
    for name in names:
        each.setdefault(name.casefold(), name)
    return tuple(each.values())


def _person_name(text: str) -> str:
    if not is_person_name(text):
        raise PydanticCustomError("person_name", "this is no user principal name and no e-mail address")
    return text


PersonName = Annotated[
    str,
    StringConstraints(strip_whitespace=True),
    AfterValidator(_person_name),
    WithJsonSchema({"type": "string", "pattern": PERSON_NAME, "maxLength": MAXIMUM_NAME}),
]
"""A person, as people know one another: ``PERSON_NAME``."""
GuidText = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
FindingKey = Annotated[str, StringConstraints(min_length=1, max_length=300)]
"""Names a finding of preflight: of which check, on which object."""
PlainName = Annotated[str, StringConstraints(min_length=1, max_length=256, strip_whitespace=True)]


class MessageError(GrantlineError):
    """Raised when a message is not of a shape or version that this code reads; the message says what is wrong with it."""


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1


class NudgeMessage(_Message):
    """Look at this step of this grant. Carries no truth; losing, doubling or reordering it changes only latency."""

    type: Literal["step.nudge"] = "step.nudge"
    grant_id: GuidText
    step: StepName
    cause: Literal["commit", "sweep"] = "commit"


class ScopeMessage(BaseModel):
    """Whose mail is scanned: all accepted domains, chosen ``domains``, members of the mail-enabled ``group``, or ``users``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: ScopeKind = ScopeKind.ALL_DOMAINS
    domains: tuple[DomainName, ...] = Field((), max_length=100)
    group: str = Field("", max_length=320)
    users: tuple[PersonName, ...] = Field(
        (),
        description="User principal names or primary SMTP addresses of the chosen people: at most "
        f"{MAXIMUM_USERS}, where one that is given twice, whatever the letter case, counts once.",
    )

    @field_validator("users")
    @classmethod
    def _folded(cls, users: tuple[str, ...]) -> tuple[str, ...]:
        """Keep each person once. Raises for too many, since nobody may be left out unsaid."""
        each = folded_people(users)
        if len(each) > MAXIMUM_USERS:
            told = f"{len(each)} people are given, and at most {MAXIMUM_USERS} can be; choose a group for more"
            raise PydanticCustomError("too_many_people", "{told}", {"told": told})
        return each

    def to_scope(self) -> Scope:
        """Return the scope. Raises MessageError when what its kind needs is missing, or what it does not need is there."""
        given = {ScopeKind.DOMAINS: self.domains, ScopeKind.GROUP: self.group, ScopeKind.USERS: self.users}
        if any(bool(value) is not (kind is self.kind) for kind, value in given.items()):
            raise MessageError(
                f"scope {self.kind}: give domains for 'domains', group for 'group', users for 'users', none for 'all_domains'"
            )
        return Scope(self.kind, self.domains, self.group, self.users)


class StartGrant(_Message):
    """Command: grant the account's access to a tenant. ``command_id`` makes it idempotent: the same id is the same grant."""

    type: Literal["grant.start"] = "grant.start"
    command_id: Identifier
    account_id: Identifier
    account_name: PlainName
    directions: tuple[Direction, ...] = Field((Direction.INBOUND, Direction.OUTBOUND), min_length=1, max_length=2)
    scope: ScopeMessage = ScopeMessage()
    policy: str = Field("", max_length=64, description="The policy to enable when the grant completes; empty: the first.")
    role_mode: RoleMode = RoleMode.SIGN_IN
    tenant_id: Literal[""] | GuidText = Field("", description="The tenant that is expected; another's sign-in is refused.")
    region: str = Field("", pattern=r"^[a-z0-9-]{0,32}$", description="The scanner's region; empty: the first.")
    requested_by: PlainName

    def to_intent(self, policies: tuple[str, ...]) -> Intent:
        """Return what the account wants. Raises MessageError for a policy that is not offered."""
        policy = self.policy or policies[0]
        if policy not in policies:
            raise MessageError(f"policy {policy!r} is not offered; choose one of: {', '.join(policies)}")
        directions = tuple(direction for direction in Direction if direction in self.directions)
        return Intent(directions, self.scope.to_scope(), policy, self.role_mode, self.tenant_id, region=self.region)


class ChooseRoleMode(_Message):
    """Command: have the application get its role in another way, or with a ticket, as long as it has not got it yet."""

    type: Literal["role_mode.choose"] = "role_mode.choose"
    command_id: Identifier
    grant_id: GuidText
    role_mode: RoleMode
    ticket_number: str = Field("", max_length=64, description="The ticket that the tenant's policy wants; empty: as it was.")
    ticket_system: str = Field("", max_length=64, description="The system that the ticket is in; empty: as it was.")
    requested_by: PlainName


class RetryStep(_Message):
    """Command: begin a step again that needs attention, or have done at once what is done daily."""

    type: Literal["step.retry"] = "step.retry"
    command_id: Identifier
    grant_id: GuidText
    step: StepName
    requested_by: PlainName


class GrantCommand(_Message):
    """What the commands have in common that change the intent of a grant. ``requested_by`` is written into its history."""

    command_id: Identifier
    grant_id: GuidText
    requested_by: PlainName


class PauseRouting(GrantCommand):
    """Command: route no mail to the scanner for now. The routing rules go off; all else stays in the tenant."""

    type: Literal["routing.pause"] = "routing.pause"


class ResumeRouting(GrantCommand):
    """Command: route mail to the scanner again, once the way back has been seen to stand."""

    type: Literal["routing.resume"] = "routing.resume"


class ApprovePlan(GrantCommand):
    """Command: carry out the plan with this digest, as it was shown. Another plan needs an approval of its own."""

    type: Literal["plan.approve"] = "plan.approve"
    plan: str = Field(pattern=r"^[A-Za-z0-9:._-]{1,128}$", description="The plan's digest.")
    accepts_irreversible: bool = Field(False, description="Also carry out those of its changes that can't be undone.")


class AcknowledgeFinding(GrantCommand):
    """Command: go on in spite of a finding of preflight that only asks to be known."""

    type: Literal["finding.acknowledge"] = "finding.acknowledge"
    finding: FindingKey


class FixFinding(GrantCommand):
    """Command: have Grantline put right what a finding of preflight names. Removal puts back what was before."""

    type: Literal["finding.fix"] = "finding.fix"
    finding: FindingKey


class RemoveGrant(GrantCommand):
    """Command: take back all that was added to the tenant, and release it. It can't be called off."""

    type: Literal["grant.remove"] = "grant.remove"


class WaiveRemoval(GrantCommand):
    """Command: have a removal not wait for the scanner's report, or for what can't be taken back from outside."""

    type: Literal["removal.waive"] = "removal.waive"
    what: Waiver


class ReportScanner(GrantCommand):
    """Command of the product: how many messages of a grant that is removed its scanner still holds."""

    type: Literal["scanner.report"] = "scanner.report"
    queued: int = Field(ge=0, description="Messages in its queue.")
    quarantined: int = Field(ge=0, description="Messages in its quarantine that may be released yet.")


class ReportProbe(GrantCommand):
    """Command of the product: what its scanner has seen of a test message by now."""

    type: Literal["probe.report"] = "probe.report"
    probe_id: Identifier
    scans: int = Field(ge=0, le=1000, description="How often the message came to the scanner.")
    answer: str = Field("", max_length=200, description="What the next hop answered to it last, in SMTP's words.")


Command = (
    StartGrant
    | RetryStep
    | ChooseRoleMode
    | PauseRouting
    | ResumeRouting
    | ApprovePlan
    | AcknowledgeFinding
    | FixFinding
    | RemoveGrant
    | WaiveRemoval
    | ReportScanner
    | ReportProbe
)
WorkMessage = Annotated[NudgeMessage | Command, Field(discriminator="type")]
_WORK: TypeAdapter[NudgeMessage | Command] = TypeAdapter(WorkMessage)


def read(body: bytes | str) -> NudgeMessage | Command:
    """Read a work message. Raises MessageError that says what is wrong, without repeating the body."""
    try:
        content = json.loads(body)
    except ValueError:
        raise MessageError("the message is not JSON") from None
    except RecursionError:
        raise MessageError("the message is nested too deeply") from None
    version = content.get("version", 1) if isinstance(content, dict) else 1
    if isinstance(version, int) and version > VERSION:
        raise MessageError(f"the message is of version {version}; this code reads up to version {VERSION}")
    return _validated(content)


def read_command(content: object) -> Command:
    """Read a command that came in another way than by a queue. Raises MessageError."""
    message = _validated(content)
    if isinstance(message, NudgeMessage):
        raise MessageError("a nudge is not a command")
    return message


def _validated(content: object) -> NudgeMessage | Command:
    try:
        return _WORK.validate_python(content, strict=False)
    except ValidationError as error:
        faults = error.errors(include_input=False, include_url=False)
        lines = (f"{'.'.join(map(str, fault['loc'])) or 'message'}: {fault['msg']}" for fault in faults)
        raise MessageError("; ".join(lines)) from None


def encode_nudge(nudge: Nudge) -> str:
    """Write a nudge as the JSON body of a queue message."""
    return NudgeMessage.model_validate({"grant_id": nudge.grant_id, "step": nudge.step, "cause": nudge.cause}).model_dump_json()


def cloud_event(grant: Grant, event: Event) -> str:
    """Write an event as a CloudEvents 1.0 JSON message (https://cloudevents.io, structured mode).

    Its ``id`` is grant id/sequence number: whoever reads an event twice can tell.
    """
    return json.dumps(
        {
            "specversion": "1.0",
            "id": f"{grant.grant_id}/{event.seq}",
            "source": f"/grants/{grant.grant_id}",
            "type": event.type,
            "subject": str(event.step) if event.step else grant.account_id,
            "time": schedule.stamp(event.at),
            "datacontenttype": "application/json",
            "data": {"version": VERSION, "grant_id": grant.grant_id, "account_id": grant.account_id, **event.data},
        }
    )


class CloudEvent(BaseModel):
    """The shape of a message on ``grant-events``: CloudEvents 1.0, structured mode.

    ``step.done`` carries the step's facts in its data. Those of ``directory_sync`` and ``daily_sync``, of which each one is told,
    are ``users`` and ``groups`` (how many are stored), ``domains``, ``tenant_name``, ``changed`` (``users`` and ``groups``, each
    with ``added``, ``changed``, ``removed``; null where everything was read anew, as at first), and from the first comparison
    with everything on ``differences`` (what the last one found: ``missing``, ``gone``, ``different``; put right). Names are cut
    after twenty. What people should know: ``uncovered_domains`` (domains that receive mail and that nobody
    protects), ``hidden_groups`` (how many hide their members), ``unknown_users`` (users of the scope that are not there).
    """

    specversion: Literal["1.0"]
    id: str = Field(description="Grant id/sequence number; unique, and growing within a grant.")
    source: str = Field(description="/grants/{grant id}")
    type: str = Field(description="What happened, for example grant.completed.")
    subject: str = Field(description="The step, or the account for what concerns the whole grant.")
    time: datetime
    datacontenttype: Literal["application/json"]
    data: dict[str, Any]


class MailProbe(_Message):
    """The shape of a message on ``mail-probes``: a test message that the product is to send, once, whatever comes of it.

    Inbound it comes from the product's address and arrives at the tenant's MX; outbound it is sent by the tenant's mailbox. An
    ``alias`` one is like a ``normal`` one. A ``spoofed`` one has the recipient's address in From, without a signature of its
    domain. A ``forged_header`` one carries the header of the scanner's verdict without the secret, a ``looped`` one as many
    hops as a message may have. What the scanner saw is told by ``probe.report``, with the same ``probe_id``.
    """

    type: Literal["mail.probe"] = "mail.probe"
    probe_id: Identifier
    grant_id: GuidText
    tenant_id: GuidText
    region: str = Field("", description="The region of the grant's scanner; empty: the one without a name.")
    direction: Direction
    kind: ProbeKind
    mail_from: str
    recipient: str
    message_id: str = Field(description="The Message-ID that the message must bear, in angle brackets.")


def encode_probe(grant: Grant, probe: Probe) -> str:
    """Write an order of a test message as the JSON body of a queue message."""
    own = {"grant_id": grant.grant_id, "tenant_id": grant.tenant_id, "region": grant.intent.region}
    sent = {"mail_from": probe.mail_from, "recipient": probe.recipient, "message_id": probe.message_id}
    order = {"probe_id": probe.probe_id, **own, "direction": probe.direction, "kind": probe.kind, **sent}
    return MailProbe.model_validate(order).model_dump_json()


MODELS: dict[str, type[BaseModel]] = {
    "step.nudge": NudgeMessage,
    "grant.start": StartGrant,
    "step.retry": RetryStep,
    "role_mode.choose": ChooseRoleMode,
    "plan.approve": ApprovePlan,
    "finding.acknowledge": AcknowledgeFinding,
    "finding.fix": FixFinding,
    "routing.pause": PauseRouting,
    "routing.resume": ResumeRouting,
    "grant.remove": RemoveGrant,
    "removal.waive": WaiveRemoval,
    "scanner.report": ReportScanner,
    "probe.report": ReportProbe,
    "grant-events": CloudEvent,
    "mail-probes": MailProbe,
}
"""Every documented message, by its type or queue; ``docs/messages.md`` is generated from it."""
