"""Tenants of the simulated Exchange Online, with foreign objects made by a generator; changes are run in-process, journaled.

What reads is the workflows' own code, what keeps the journal is the container's; only HTTP and tables are left out.
"""

import asyncio
import atexit
from collections.abc import Callable, Coroutine, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from typing import Any, cast

from hypothesis import strategies as st

from local.microsoft365.exchange.errors import CommandError
from local.microsoft365.exchange.tenants import TenantOrganization
from local.microsoft365.model import Domain
from shared.container import GrantJournal
from shared.domain.grant import Direction, Facts, Intent, Row, Scope, ScopeKind
from shared.domain.problems import problem
from shared.mailflow.desired import DesiredSetting, Request, Routing, desired_objects, desired_settings, group_names
from shared.mailflow.diff import Change, Difference, changes, differences, setting_changes, setting_differences, setting_reads
from shared.mailflow.snapshot import CHANGE_ROWS, FORMER_ROWS, WRITTEN_ROWS, Snapshot, read_snapshot
from shared.mailflow.tenant import TenantObjects
from shared.mailflow.undo import removal_changes, removal_groups, removal_reads
from shared.mailflow.verdict import verdict_secret
from shared.ports import CmdletAnswer, CmdletCall, Exchange, GrantStore, NotFoundError, RefusedError
from shared.settings import load
from shared.workflows.tenant import OBJECT_READS, read_tenant
from tests.microsoft365.cmdlets import small_exchange, user
from tests.unit.mailflow.requests import ENVIRONMENT, GRANT_ID

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
NOUNS = (
    *("TransportRule", "InboundConnector", "OutboundConnector", "DistributionGroup", "HostedContentFilterPolicy"),
    *("HostedConnectionFilterPolicy", "ArcConfig", "TenantAllowBlockListSpoofItems", "OrganizationConfig"),
)
"""What a grant may change, or must leave as it is."""
VOLATILE = frozenset({"WhenChangedUTC", "WhenChanged", "Priority"})
"""Properties that tell when an object was changed and where a rule stands: the order of rules is compared by itself."""
WHERE = "everybody@contoso.com"
PEOPLE = ("user0@contoso.com", "USER1@contoso.com", "user2@contoso.com", "three@contoso.onmicrosoft.com")
"""Everybody, one by one; the last is named by a user principal name that is no address."""


class CutError(Exception):
    """Raised in the place of a process that dies."""


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """Return the one loop of all examples: making one takes longer than what it runs."""
    loop = asyncio.new_event_loop()
    atexit.register(loop.close)
    return loop


def finished(work: Coroutine[Any, Any, Any]) -> Any:
    """Return what a coroutine comes to."""
    return _loop().run_until_complete(work)


class MemoryRows:
    """The rows of one grant's partition, insert-only or not, as the journal writes them."""

    def __init__(self) -> None:
        """Begin with none."""
        self.rows: dict[str, Facts] = {}

    async def insert(self, _grant_id: str, row: Row) -> bool:
        """Keep a row unless there is one of this key."""
        return self.rows.setdefault(row.key, row.value) is row.value

    async def put(self, _grant_id: str, row: Row) -> None:
        """Keep a row in the place of whatever was there."""
        self.rows[row.key] = row.value


@dataclass
class Simulated:
    """A simulated tenant with a grant's journal. ``calls`` are the writes that were run, ``reads`` the reads, with parameters."""

    exchange: Any = field(default_factory=small_exchange)
    kept: MemoryRows = field(default_factory=MemoryRows)
    calls: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    reads: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    steps_left: int | None = None
    """How many of the next steps are taken before the process dies: each write has three, and its journal lies around it."""

    def __post_init__(self) -> None:
        """Give the tenant what every test's tenant has."""
        self.exchange.tenant.domains["contoso.net"] = Domain("contoso.net")
        self.exchange.tenant.users.put(replace(user(3), user_principal_name=PEOPLE[3]))
        self.exchange("New-DistributionGroup", Name="Everybody", PrimarySmtpAddress=WHERE)

    async def invoke(self, cmdlet: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Run a cmdlet, as ``ports.Exchange`` would."""
        if cmdlet.startswith("Get-"):
            self.reads.append((cmdlet, dict(parameters or {})))
        try:
            return deepcopy(self.exchange(cmdlet, **deepcopy(dict(parameters or {}))))
        except CommandError as error:
            if error.status == 404:
                raise NotFoundError(error.message) from None
            raise RefusedError(error.message, problem("exchange_refused", raw=error.message)) from None

    async def invoke_many(self, calls: Sequence[CmdletCall]) -> list[CmdletAnswer]:
        """Run reads, each by itself; a refusal stands in the place of its answer."""
        answers: list[CmdletAnswer] = []
        for call in calls:
            try:
                answers.append(await self.invoke(call.cmdlet, call.parameters))
            except (NotFoundError, RefusedError) as error:
                answers.append(error)
        return answers

    def read(self, groups: Sequence[str], cmdlets: frozenset[str]) -> TenantObjects:
        """Read the tenant as the workflows do."""
        tenant: TenantObjects = finished(read_tenant(cast("Exchange", self), groups, cmdlets))
        return tenant

    @property
    def snapshot(self) -> Snapshot:
        """What the journal has kept."""
        prefixes = (FORMER_ROWS, WRITTEN_ROWS, CHANGE_ROWS)
        return read_snapshot(Row(key, value) for key, value in sorted(self.kept.rows.items()) if key.startswith(prefixes))

    def run(self, pending: Sequence[Change]) -> None:
        """Make changes one after the other, each journaled; raises CutError where the process is to die."""
        journal = GrantJournal(cast("GrantStore", self.kept), GRANT_ID, lambda: NOW)
        for change in pending:
            self._step()
            finished(journal.before(change.object.name, change.former, change.written))
            self._step()
            finished(self.invoke(change.cmdlet, change.parameters))
            self.calls.append((change.cmdlet, change.parameters))
            self._step()
            finished(journal.after(change.object.name, change.result))

    def _step(self) -> None:
        if self.steps_left is not None:
            if not self.steps_left:
                self.steps_left = None
                raise CutError
            self.steps_left -= 1

    def state(self) -> dict[str, Any]:
        """Return all that the tenant holds, but for what is volatile: by noun, rules in their order."""
        organization = TenantOrganization(self.exchange.tenant, NOW)
        held: dict[str, Any] = {}
        for noun in NOUNS:
            items = organization.objects(noun)
            if noun == "TransportRule":
                items = sorted(items, key=lambda item: int(item["Priority"]))
            held[noun] = [{name: value for name, value in item.items() if name not in VOLATILE} for item in items]
            if noun == "DistributionGroup":
                held[noun] = [{**item, "Members": organization.members(item["Guid"])} for item in held[noun]]
        return deepcopy(held)


@dataclass
class Grant:
    """A grant's request on a tenant, and the settings of others that it is to put right."""

    request: Request
    tenant: Simulated
    fixed: tuple[DesiredSetting, ...] = ()

    def view(self, routing: Routing) -> tuple[Request, TenantObjects]:
        """Return the request and the tenant, as read now."""
        request = replace(self.request, routing=routing)
        cmdlets = frozenset({*OBJECT_READS, *setting_reads([*desired_settings(request), *self.fixed])})
        tenant = self.tenant.read(group_names(request), cmdlets)
        return replace(request, accepted_domains=tenant.accepted_domains), tenant

    def pending(self, routing: Routing = Routing.OFF) -> list[Change]:
        """Return the changes that are still to be made: those of preflight's fixes, then the mail flow's."""
        request, tenant = self.view(routing)
        wanted = desired_settings(request)
        put_right = setting_changes(self.fixed, tenant)
        mail_flow = changes(desired_objects(request), tenant, GRANT_ID, request.former_grants, wanted)
        return [*put_right, *(change for change in mail_flow if change not in put_right)]

    def differences(self, routing: Routing = Routing.OFF) -> list[Difference]:
        """Return what is not as the grant wants it."""
        request, tenant = self.view(routing)
        settings = (*desired_settings(request), *self.fixed)
        return [*differences(desired_objects(request), tenant, GRANT_ID), *setting_differences(settings, tenant)]

    def apply(self, routing: Routing = Routing.OFF) -> None:
        """Make all changes, from one look."""
        self.tenant.run(self.pending(routing))

    def removal(self) -> list[Change]:
        """Return what is still to be taken back."""
        return removal_changes(self.removal_request(), self.removal_tenant(), self.tenant.snapshot)

    def removal_request(self) -> Request:
        """Return the request with what the tenant's domains are now."""
        return replace(self.request, accepted_domains=self.removal_tenant().accepted_domains)

    def removal_tenant(self) -> TenantObjects:
        """Read what a removal needs."""
        return self.tenant.read(removal_groups(self.request, self.tenant.snapshot), removal_reads(self.tenant.snapshot))

    def remove(self) -> None:
        """Take everything back, from one look."""
        self.tenant.run(self.removal())


def grant_of(tenant: Simulated, *fixed: DesiredSetting, scope: Scope | None = None, **chosen: str) -> Grant:
    """Return a grant of both directions for a group, unless another scope is given, with these app settings chosen."""
    loaded = load({**ENVIRONMENT, **{f"GRANTLINE_{name.upper()}": value for name, value in chosen.items()}})
    intent = Intent(tuple(Direction), scope or Scope(ScopeKind.GROUP, group=WHERE), "standard")
    return Grant(Request(GRANT_ID, intent, loaded, (), verdict_secret(loaded.sealing_key, GRANT_ID)), tenant, fixed)


def foreign_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a tenant's state is not ours, by name: our product's objects left out."""
    return {noun: [item for item in items if "Grantline" not in str(item.get("Name"))] for noun, items in state.items()}


# --- what others have, and do ---

_PEOPLE = [f"user{index}@contoso.com" for index in range(4)]
CONDITIONS = st.sampled_from(
    [
        {},
        {"SentToScope": "NotInOrganization"},
        {"FromScope": "NotInOrganization"},
        {"SenderDomainIs": ["fabrikam.com", "contoso.com"]},
        {"RecipientDomainIs": ["contoso.net"]},
        {"FromMemberOf": [WHERE]},
        {"SentTo": [_PEOPLE[0]], "ExceptIfFrom": [_PEOPLE[1]]},
        {"SenderIpRanges": ["203.0.113.0/24"]},
        {"HeaderContainsMessageHeader": "X-Their", "HeaderContainsWords": ["yes"]},
        {"SubjectContainsWords": ["invoice"], "ExceptIfSubjectContainsWords": ["paid"]},
    ]
)
ACTIONS = st.sampled_from(
    [
        {"ApplyHtmlDisclaimerText": "Be careful.", "ApplyHtmlDisclaimerLocation": "Append"},
        {"RejectMessageReasonText": "Not here.", "RejectMessageEnhancedStatusCode": "5.7.1"},
        {"DeleteMessage": True},
        {"Quarantine": True},
        {"RedirectMessageTo": [_PEOPLE[2]]},
        {"ModerateMessageByUser": [_PEOPLE[3]]},
        {"PrependSubject": "[external] "},
        {"SetSCL": 5},
        {"RouteMessageOutboundConnector": "Their gateway"},
    ]
)
FLAGS = st.fixed_dictionaries(
    {
        "Mode": st.sampled_from(["Enforce", "Enforce", "Audit"]),
        "Enabled": st.sampled_from([True, True, False]),
        "StopRuleProcessing": st.booleans(),
        "RuleErrorAction": st.sampled_from(["Ignore", "Defer"]),
    }
)
RULE = st.builds(lambda when, then, flags: {**when, **then, **flags}, CONDITIONS, ACTIONS, FLAGS)
ADDRESSES = st.sampled_from(["203.0.113.0/25", "203.0.113.200", "192.0.2.0/26", "192.0.2.0/25", "198.51.100.7", "192.0.2.0/24"])
SEALERS = st.sampled_from(["fabrikam.com", "cohovineyard.com", "Sealer.Example.NET"])
SPOOFED = st.sampled_from(
    [
        ("External", "*", "fabrikam.com", "Allow"),
        ("External", "*", "relay.scanner.example.net", "Allow"),
        ("Internal", "contoso.com", "203.0.113.0/24", "Block"),
    ]
)


@st.composite
def tenants(draw: st.DrawFn) -> Simulated:
    """Make a tenant that others have set up in their ways."""
    tenant = Simulated()
    exchange = tenant.exchange
    exchange("New-OutboundConnector", Name="Their gateway", SmartHosts=["gateway.example"], UseMXRecord=False)
    for number, addresses in enumerate(draw(st.lists(st.lists(ADDRESSES, min_size=1, max_size=2, unique=True), max_size=2))):
        exchange("New-InboundConnector", Name=f"Theirs {number}", SenderDomains=["*"], SenderIPAddresses=addresses)
    for number, rule in enumerate(draw(st.lists(RULE, min_size=2, max_size=4))):
        exchange("New-TransportRule", Name=f"Rule {number}", **rule)
    if draw(st.booleans()):
        route = {"SentToScope": "NotInOrganization", "RouteMessageOutboundConnector": "Their gateway"}
        exchange("New-TransportRule", Name="To their gateway", Priority=draw(st.integers(0, 2)), **route)
    allowed = draw(st.lists(ADDRESSES, min_size=1, max_size=3, unique=True))
    exchange("Set-HostedConnectionFilterPolicy", Identity="Default", IPAllowList=allowed)
    sealers = draw(st.lists(SEALERS, min_size=1, max_size=2, unique_by=str.casefold))
    exchange("Set-ArcConfig", Identity="Default", ArcTrustedSealers=sealers)
    for entry in draw(st.lists(SPOOFED, max_size=2, unique=True)):
        pair = dict(zip(("SpoofType", "SpoofedUser", "SendingInfrastructure", "Action"), entry, strict=True))
        exchange("New-TenantAllowBlockListSpoofItems", Identity="Default", **pair)
    hard_fail = draw(st.sampled_from(["On", "Off"]))
    exchange("Set-HostedContentFilterPolicy", Identity="Default", MarkAsSpamSpfRecordHardFail=hard_fail)
    exchange.tenant.exchange["OrganizationConfig"][0]["IsDehydrated"] = draw(st.booleans())
    return tenant


REGIONS = """{"eu": {"inbound_host": "in.eu.example.net", "outbound_host": "out.eu.example.net", "inbound_egress": "192.0.2.0/24",
"outbound_egress": "198.51.100.0/25", "certificate_zone": "relay.eu.example.net"}}"""
SETTINGS = st.builds(
    lambda entries, sealer, senders: load(
        {
            **ENVIRONMENT,
            "GRANTLINE_ALLOW_ENTRIES": entries,
            "GRANTLINE_ARC_SEALER": sealer,
            "GRANTLINE_OUTBOUND_SENDERS": senders,
            "GRANTLINE_SCANNER_REGIONS": REGIONS,
        }
    ),
    st.sampled_from(["ip,spoof", "ip", "spoof", "none"]),
    st.sampled_from(["sealer.example.net", ""]),
    st.sampled_from(["own_domains", "all"]),
)
SCOPES = st.sampled_from(
    [
        Scope(),
        Scope(ScopeKind.DOMAINS, ("contoso.net",)),
        Scope(ScopeKind.GROUP, group=WHERE),
        Scope(ScopeKind.USERS, users=PEOPLE[2:]),
    ]
)
DIRECTIONS = st.sampled_from([tuple(Direction), (Direction.INBOUND,), (Direction.OUTBOUND,)])
INTENTS = st.builds(
    lambda directions, scope, region: Intent(directions, scope, "standard", region=region),
    DIRECTIONS,
    SCOPES,
    st.sampled_from(["", "eu"]),
)


@st.composite
def grants(draw: st.DrawFn) -> Grant:
    """Make a grant of a tenant, with fixes of what others have there."""
    tenant, settings = draw(tenants()), draw(SETTINGS)
    request = Request(GRANT_ID, draw(INTENTS), settings, (), verdict_secret(settings.sealing_key, GRANT_ID))
    wanted = [DesiredSetting("HostedContentFilterPolicy", "Default", "MarkAsSpamSpfRecordHardFail", value="Off")]
    state = tenant.state()
    egress = request.scanner.inbound_egress
    wanted += [
        DesiredSetting("InboundConnector", item["Name"], "SenderIPAddresses", adds=egress)
        for item in state["InboundConnector"][:1]
    ]
    wanted += [
        DesiredSetting("TransportRule", item["Name"], "ExceptIfSenderIpRanges", adds=egress)
        for item in state["TransportRule"][:1]
    ]
    fixed = tuple(item for item in wanted if draw(st.booleans()))
    if wanted[0] in fixed:  # A fix is not worth an irreversible change: Exchange refuses it where the organization needs one.
        tenant.exchange.tenant.exchange["OrganizationConfig"][0]["IsDehydrated"] = False
    return Grant(request, tenant, fixed)


Edit = Callable[[Simulated], None]


def _quietly(tenant: Simulated, cmdlet: str, **parameters: Any) -> None:
    """Run somebody's cmdlet; what Exchange refuses they give up."""
    try:
        tenant.exchange(cmdlet, **parameters)
    except CommandError:
        return


def _seal(tenant: Simulated, domain: str) -> None:
    """Add a trusted sealer as Microsoft's example does: read, then write all of them."""
    there = tenant.exchange("Get-ArcConfig")[0]["ArcTrustedSealers"]
    _quietly(tenant, "Set-ArcConfig", Identity="Default", ArcTrustedSealers=[*filter(None, there.split(",")), domain])


FOREIGN_EDITS: tuple[Edit, ...] = (
    lambda tenant: _quietly(tenant, "New-TransportRule", Name="New at the top", Priority=0, DeleteMessage=True),
    lambda tenant: _quietly(tenant, "New-TransportRule", Name="New at the end", SetSCL=6, SentToScope="NotInOrganization"),
    lambda tenant: _quietly(tenant, "Remove-TransportRule", Identity="Rule 0"),
    lambda tenant: _quietly(tenant, "Set-TransportRule", Identity="Rule 1", Priority=0, Comments="moved"),
    lambda tenant: _quietly(tenant, "Disable-TransportRule", Identity="Rule 2"),
    lambda tenant: _quietly(tenant, "New-InboundConnector", Name="New partner", SenderDomains=["fabrikam.com"]),
    lambda tenant: _quietly(tenant, "Set-InboundConnector", Identity="Theirs 0", Comment="looked at"),
    lambda tenant: _quietly(
        tenant,
        "Set-HostedConnectionFilterPolicy",
        Identity="Default",
        IPAllowList={"Add": ["203.0.113.99"], "Remove": ["198.51.100.7"]},
    ),
    lambda tenant: _quietly(
        tenant,
        *("New-TenantAllowBlockListSpoofItems",),
        Identity="Default",
        SpoofType="External",
        SpoofedUser="new.example",
        SendingInfrastructure="new.example",
        Action="Allow",
    ),
    lambda tenant: _quietly(tenant, "Set-HostedContentFilterPolicy", Identity="Default", BulkThreshold=4),
    lambda tenant: _seal(tenant, "tailspintoys.com"),
)
"""What others do to what is theirs, at any time."""
OWN_EDITS: tuple[Edit, ...] = (
    lambda tenant: _quietly(tenant, "Remove-TransportRule", Identity="Grantline Inline Inbound Domain Rule"),
    lambda tenant: _quietly(
        tenant, "Set-TransportRule", Identity="Grantline Inline Outbound Domain Rule", Priority=0, Mode="Audit"
    ),
    lambda tenant: _quietly(tenant, "Enable-TransportRule", Identity="Grantline Inline Inbound User Rule"),
    lambda tenant: _quietly(
        tenant, "Set-InboundConnector", Identity="Grantline Inline Inbound Return Connector", RequireTls=True
    ),
    lambda tenant: _quietly(
        tenant, "Set-HostedConnectionFilterPolicy", Identity="Default", IPAllowList={"Remove": ["192.0.2.0/25"]}
    ),
)
"""What others do to what is ours."""
