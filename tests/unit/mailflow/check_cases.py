"""What each check finds, case by case: objects of a tenant, and the findings that they come to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shared.domain.grant import Direction, Scope, ScopeKind
from shared.mailflow.checks.finding import Severity
from shared.mailflow.desired import Request
from shared.settings import load
from tests.unit.mailflow.requests import ENVIRONMENT, SETTINGS, request

B, A, N, X = Severity.BLOCKING, Severity.ACKNOWLEDGE, Severity.NOTICE, Severity.NOT_CHECKED
INBOUND, OUTBOUND = (Direction.INBOUND,), (Direction.OUTBOUND,)
IN_EGRESS = ("192.0.2.0/25", "192.0.2.200")
OUT_EGRESS = ("198.51.100.0/24",)
ELSEWHERE = "203.0.113.0/24"
GRANT = "0f8fad5b-d9cb-469f-a165-70867728950e"
Objects = Mapping[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class Case:
    """A tenant that differs from a calm one in ``objects``, and what one check finds: severity and object, fix and words."""

    name: str
    check: str
    objects: Objects
    finds: tuple[tuple[Severity, str], ...] = ()
    adds: tuple[str, ...] = ()
    """The entries that the first finding's fix adds."""
    value: Any = None
    """The value that the first finding's fix puts."""
    says: str = ""
    """Words of the first finding's cause."""
    directions: tuple[Direction, ...] = tuple(Direction)
    scope: Scope = field(default_factory=Scope)
    settings: Mapping[str, str] = field(default_factory=dict)

    def request(self) -> Request:
        """Return what the grant asks for."""
        return request(
            self.directions, self.scope, settings=load({**ENVIRONMENT, **self.settings}) if self.settings else SETTINGS
        )


def _spam(**hard_fail: Any) -> Objects:
    policies = [{"Name": name, "MarkAsSpamSpfRecordHardFail": value} for name, value in hard_fail.items()]
    return {"HostedContentFilterPolicy": policies}


def _blocks(*addresses: str) -> Objects:
    return {"HostedConnectionFilterPolicy": [{"Name": "Default", "IPBlockList": list(addresses)}]}


def _spoofs(spoof_type: str, action: str) -> Objects:
    pair = {"SpoofType": spoof_type, "SpoofedUser": "*", "SendingInfrastructure": "relay.scanner.example.net"}
    return {"TenantAllowBlockListSpoofItems": [{**pair, "Action": action}]}


def _addresses(count: int) -> list[str]:
    return [f"10.0.{number // 250}.{number % 250}" for number in range(count)]


def _dmarc(*, honored: bool) -> Objects:
    return {"AntiPhishPolicy": [{"Name": "D", "HonorDmarcPolicy": honored, "DmarcRejectAction": "Reject"}]}


def _presets(noun: str, **states: str) -> Objects:
    return {noun: [{"Name": name, "State": state} for name, state in states.items()]}


def _rules(count: int) -> Objects:
    return {"TransportRule": [{"Name": f"rule {number}"} for number in range(count)]}


def _rule(**properties: Any) -> Objects:
    return {"TransportRule": [{"Name": "theirs", **properties}]}


def _inbound(**properties: Any) -> Objects:
    return {"InboundConnector": [{"Name": "theirs", "Enabled": True, "ConnectorType": "Partner", **properties}]}


def _outbound(**properties: Any) -> Objects:
    return {"OutboundConnector": [{"Name": "theirs", "Enabled": True, "ConnectorType": "Partner", **properties}]}


def _organization(**properties: Any) -> Objects:
    return {"OrganizationConfig": [{"Name": "contoso", **properties}]}


def _mx(found: list[str], *, expected: tuple[str, ...] = ("mx.example",), answered: bool = True, error: str = "") -> Objects:
    row = {"Domain": "contoso.com", "Expected": list(expected), "Found": found, "IsAnswered": answered, "Error": error}
    return {"MX": [row]}


def _plans(*plans: tuple[str, str]) -> Objects:
    return {"assignedPlans": [{"service": "exchange", "servicePlanId": plan, "capabilityStatus": state} for plan, state in plans]}


LOCK = {"SenderDomains": ["smtp:*;1"], "RestrictDomainsToIPAddresses": True, "SenderIPAddresses": [ELSEWHERE]}
REJECTS = {"RejectMessageReasonText": "no"}
FOUNDATION, STANDARD = "113feb6c-3fe4-4440-bddc-54d774bf0318", "9aaf7827-d63c-4b61-89c3-182f06f82e5c"
ADA = {
    "Name": "Ada",
    "PrimarySmtpAddress": "Ada@contoso.com",
    "EmailAddresses": ["SMTP:Ada@contoso.com", "smtp:lovelace@contoso.com"],
    "WindowsLiveID": "Ada.UPN@contoso.net",
}
ONE = Scope(ScopeKind.DOMAINS, ("contoso.com",))
MANY = tuple(f"a-rather-long-name-of-a-domain-{number}.example.com" for number in range(250))

CASES: tuple[Case, ...] = (
    Case(
        "every policy counts",
        "spf_hard_fail",
        _spam(Default="On", Finance="on", Test="Test"),
        ((B, "Default"), (B, "Finance")),
        value="Off",
    ),
    Case("off, absent or odd", "spf_hard_fail", _spam(Default="Off", Odd=None, List=["On"])),
    Case(
        "our address is blocked",
        "connection_filter",
        _blocks("192.0.2.9-192.0.2.11", "rubbish"),
        ((B, "Default"),),
        says="192.0.2.0/25",
    ),
    Case("of the other direction", "connection_filter", _blocks(*OUT_EGRESS), directions=INBOUND),
    Case(
        "somebody blocks what is to be allowed",
        "spoofed_senders",
        _spoofs("External", "block"),
        ((B, "External * relay.scanner.example.net"),),
        says="External * relay.scanner.example.net",
        settings={"GRANTLINE_ALLOW_ENTRIES": "spoof"},
    ),
    Case("allowed already", "spoofed_senders", _spoofs("External", "Allow"), settings={"GRANTLINE_ALLOW_ENTRIES": "spoof"}),
    Case("nothing is to be allowed", "spoofed_senders", _spoofs("External", "Block")),
    Case("Microsoft's default", "dmarc_reject", _dmarc(honored=True), ((N, "D"),)),
    Case("not honoured", "dmarc_reject", _dmarc(honored=False)),
    Case("outbound alone", "dmarc_reject", _dmarc(honored=True), directions=OUTBOUND),
    Case(
        "one preset in both products",
        "preset_policies",
        {
            **_presets("EOPProtectionPolicyRule", Strict="Enabled", Standard="Disabled"),
            **_presets("ATPProtectionPolicyRule", Strict="Enabled"),
        },
        ((N, "Strict"),),
    ),
    Case(
        "admits one address",
        "rules_that_admit_addresses",
        _rule(**REJECTS, FromScope="NotInOrganization", ExceptIfSenderIpRanges=[ELSEWHERE, "192.0.2.200"]),
        ((B, "theirs"),),
        adds=("192.0.2.0/25",),
    ),
    Case(
        "admits ours as a range",
        "rules_that_admit_addresses",
        _rule(**REJECTS, FromScope="NotInOrganization", ExceptIfSenderIpRanges=["192.0.2.0-192.0.2.255"]),
    ),
    Case("admits nobody", "rules_that_admit_addresses", _rule(DeleteMessage=True, FromScope="NotInOrganization")),
    Case("disabled", "rules_that_admit_addresses", _rule(**REJECTS, ExceptIfSenderIpRanges=[ELSEWHERE], State="Disabled")),
    Case("merely tested", "rules_that_admit_addresses", _rule(**REJECTS, ExceptIfSenderIpRanges=[ELSEWHERE], Mode="Audit")),
    Case(
        "way out",
        "rules_that_admit_addresses",
        _rule(Quarantine=True, SentToScope="NotInOrganization", ExceptIfSenderIpRanges=[ELSEWHERE]),
        ((B, "theirs"),),
        adds=OUT_EGRESS,
    ),
    Case(
        "way out of a grant for the way in",
        "rules_that_admit_addresses",
        _rule(Quarantine=True, SentToScope="NotInOrganization", ExceptIfSenderIpRanges=[ELSEWHERE]),
        directions=INBOUND,
    ),
    Case(
        "spoofs of own domains",
        "rules_that_admit_addresses",
        _rule(**REJECTS, FromScope="NotInOrganization", SenderDomainIs=["contoso.com"], ExceptIfSenderIpRanges=[ELSEWHERE]),
        ((A, "theirs"),),
        says="SenderDomainIs",
    ),
    Case(
        "names our addresses",
        "rules_that_admit_addresses",
        _rule(RedirectMessageTo=["it@contoso.com"], SenderIpRanges=["192.0.2.0/24"]),
        ((B, "theirs"),),
        adds=IN_EGRESS,
    ),
    Case(
        "names our addresses and spares them",
        "rules_that_admit_addresses",
        _rule(**REJECTS, SenderIpRanges=["192.0.0.0/8"], ExceptIfSenderIpRanges=["192.0.2.0/24", *OUT_EGRESS]),
    ),
    Case(
        "marks by address", "rules_on_addresses", _rule(SetHeaderName="X-Partner", SenderIpRanges=[ELSEWHERE]), ((N, "theirs"),)
    ),
    Case("stops by address is another check's", "rules_on_addresses", _rule(**REJECTS, SenderIpRanges=[ELSEWHERE])),
    Case(
        "several effects",
        "rules_with_effects",
        _rule(ApplyHtmlDisclaimerText="<hr>", AddToRecipients=["a@contoso.com"], StopRuleProcessing=True),
        ((N, "theirs"),),
        says="adds recipients, changes the text or the subject, stops the rules after it",
    ),
    Case(
        "no effect",
        "rules_with_effects",
        _rule(SetHeaderName="X-A", StopRuleProcessing=False, DeleteMessage="False"),
    ),
    Case("spares filtering", "rules_that_skip_filtering", _rule(SetSCL="-1"), ((N, "theirs"),)),
    Case("filters harder", "rules_that_skip_filtering", _rule(SetSCL=6)),
    Case("lock-down", "lock_down_connectors", _inbound(**LOCK), ((B, "theirs"),), adds=IN_EGRESS),
    Case("lock-down with us", "lock_down_connectors", _inbound(**{**LOCK, "SenderIPAddresses": [ELSEWHERE, "192.0.2.0/24"]})),
    Case("lock-down that is off", "lock_down_connectors", _inbound(**{**LOCK, "Enabled": False})),
    Case("lock-down of the way in", "lock_down_connectors", _inbound(**LOCK), directions=OUTBOUND),
    Case("no restriction", "lock_down_connectors", _inbound(**{**LOCK, "RestrictDomainsToIPAddresses": False})),
    Case("on premises", "lock_down_connectors", _inbound(**{**LOCK, "ConnectorType": "OnPremises"})),
    Case(
        "lock-down by certificate",
        "lock_down_connectors",
        _inbound(SenderDomains=["*"], RestrictDomainsToCertificate=True, TlsSenderCertificateName="*.gateway.example"),
        ((B, "theirs"),),
        says="*.gateway.example",
    ),
    Case(
        "one partner",
        "lock_down_connectors",
        _inbound(**{**LOCK, "SenderDomains": ["smtp:fabrikam.com;1"]}),
        ((A, "theirs"),),
        adds=IN_EGRESS,
        says="fabrikam.com",
    ),
    Case(
        "claims our address",
        "connectors_that_claim_scanned_mail",
        _inbound(ConnectorType="OnPremises", SenderIPAddresses=["192.0.2.200"]),
        ((B, "theirs"),),
        says="192.0.2.200",
    ),
    Case(
        "claims our certificate",
        "connectors_that_claim_scanned_mail",
        _inbound(ConnectorType="OnPremises", TlsSenderCertificateName="*.relay.scanner.example.net"),
        ((B, "theirs"),),
    ),
    Case(
        "another certificate",
        "connectors_that_claim_scanned_mail",
        _inbound(ConnectorType="OnPremises", TlsSenderCertificateName="mail.contoso.com", SenderIPAddresses=[ELSEWHERE]),
    ),
    Case(
        "hybrid in three ways is one thing",
        "hybrid",
        {
            "OnPremisesOrganization": [{"Name": "contoso on premises"}],
            "IntraOrganizationConnector": [{"Name": "HybridIOC", "Enabled": True}],
            **_outbound(ConnectorType="OnPremises"),
        },
        ((A, "on premises"),),
        says="hybrid configuration, intra-organization connectors, outbound connectors to servers on premises",
    ),
    Case("hybrid that is off", "hybrid", {"IntraOrganizationConnector": [{"Name": "HybridIOC", "Enabled": False}]}),
    Case("centralized", "centralized_transport", _outbound(RouteAllMessagesViaOnPremises=True), ((A, "theirs"),)),
    Case("centralized, way in", "centralized_transport", _outbound(RouteAllMessagesViaOnPremises=True), directions=INBOUND),
    Case(
        "internal relay",
        "internal_relay",
        {"AcceptedDomain": [{"DomainName": "Contoso.com", "DomainType": "InternalRelay"}]},
        ((A, "contoso.com"),),
    ),
    Case(
        "internal relay out of scope",
        "internal_relay",
        {"AcceptedDomain": [{"DomainName": "contoso.com", "DomainType": "InternalRelay"}]},
        scope=Scope(ScopeKind.DOMAINS, ("contoso.net",)),
    ),
    Case("a scanner in the office", "relaying_connectors", _inbound(ConnectorType="OnPremises"), ((N, "theirs"),)),
    Case(
        "another product's route",
        "other_products",
        {**_rule(RouteMessageOutboundConnector="Theirs"), **_outbound(IsTransportRuleScoped=True, SmartHosts=["x.avanan.net"])},
        ((A, "theirs"),),
        says="Check Point",
    ),
    Case("a route to nowhere", "other_products", _rule(RouteMessageOutboundConnector="gone"), ((A, "theirs"),), says="'gone'"),
    Case(
        "a gateway for all", "other_products", _outbound(RecipientDomains=["*"], SmartHosts=["out.example.net"]), ((A, "theirs"),)
    ),
    Case(
        "a trace",
        "other_products",
        _outbound(SmartHosts=["eu.mimecast.com"], IsTransportRuleScoped=True),
        ((N, "theirs"),),
        says="Mimecast",
    ),
    Case("straight to the internet", "other_products", _outbound(RecipientDomains=["*"], SmartHosts=None)),
    Case("a partner", "other_products", _outbound(RecipientDomains=["fabrikam.com"], SmartHosts=["mail.fabrikam.com"])),
    Case("enhanced filtering", "enhanced_filtering", _inbound(EFSkipLastIP=True), ((N, "theirs"),)),
    Case("no enhanced filtering", "enhanced_filtering", _inbound(EFSkipLastIP=False, EFSkipIPs=[])),
    Case(
        "a domain of nobody",
        "accepted_domains",
        {},
        ((B, "fabrikam.com"),),
        scope=Scope(ScopeKind.DOMAINS, ("Contoso.COM", "fabrikam.com")),
    ),
    Case(
        "domains left out",
        "domains_left_out",
        {},
        ((N, "accepted domains"),),
        says="contoso.net",
        scope=Scope(ScopeKind.DOMAINS, ("contoso.com", "contoso.onmicrosoft.com")),
    ),
    Case("all domains", "domains_left_out", {}),
    Case("mail arrives elsewhere", "mail_exchangers", _mx(["x.example"]), ((A, "contoso.com"),), says="x.example", scope=ONE),
    Case("a gateway beside", "mail_exchangers", _mx(["mx.example", "x.example"]), ((N, "contoso.com"),), says="x.", scope=ONE),
    Case("no mail at all", "mail_exchangers", _mx([], error="NXDOMAIN"), ((N, "contoso.com"),), says="NXDOMAIN", scope=ONE),
    Case("no answer", "mail_exchangers", _mx([], answered=False, error="late"), ((X, "contoso.com"),), says="late", scope=ONE),
    Case("mail arrives here", "mail_exchangers", _mx(["mx.example"]), scope=ONE),
    Case("no mail expected", "mail_exchangers", _mx([], expected=()), scope=ONE),
    Case(
        "a domain that was not looked up",
        "mail_exchangers",
        _mx(["mx.example"]),
        ((X, "more domains"),),
        says="contoso.net",
        scope=Scope(ScopeKind.DOMAINS, ("contoso.com", "contoso.net")),
    ),
    Case("the way out", "mail_exchangers", _mx(["mx.gateway.example"]), directions=OUTBOUND),
    Case("Foundation only", "exchange_plan", _plans((FOUNDATION, "Enabled"), (STANDARD, "Deleted")), ((B, "Exchange Online"),)),
    Case("no plan", "exchange_plan", {"assignedPlans": []}, ((B, "Exchange Online"),)),
    Case("a plan beside Foundation", "exchange_plan", _plans((FOUNDATION, "Enabled"), (STANDARD, "Enabled"))),
    Case("a suspended plan", "exchange_plan", _plans((STANDARD, "Suspended")), ((N, "Exchange Online"),), says="Suspended"),
    Case("no room", "limits", _rules(297), ((B, "transport rules"),)),
    Case("just room", "limits", _rules(296)),
    Case(
        "too many domains",
        "limits",
        {},
        ((B, "Grantline Inline Outbound Domain Rule"), (B, "Grantline Inline Inbound Domain Rule")),
        says="250 domains",
        scope=Scope(ScopeKind.DOMAINS, MANY),
    ),
    Case("dehydrated", "organization_customization", _organization(IsDehydrated=True), ((N, "contoso"),)),
    Case("customized", "organization_customization", _organization(IsDehydrated=False)),
    Case("Direct Send is rejected", "direct_send", _organization(RejectDirectSend=True), ((N, "contoso"),)),
    Case("Direct Send, way out", "direct_send", _organization(RejectDirectSend=True), directions=OUTBOUND),
    Case(
        "journaling",
        "journaling",
        {"JournalRule": [{"Name": "all", "Enabled": True}, {"Name": "off", "Enabled": False}]},
        ((N, "all"),),
    ),
    Case(
        "nothing recorded",
        "audit",
        {**_organization(AuditDisabled=True), "AdminAuditLogConfig": [{"UnifiedAuditLogIngestionEnabled": False}]},
        ((N, "audit"),),
        says="the audit log, mailbox auditing",
    ),
    Case("mailboxes alone", "audit", _organization(AuditDisabled="True"), ((N, "audit"),), says="(mailbox auditing)"),
    Case(
        "a taken name",
        "foreign_names",
        _rule(Name="grantline inline inbound domain rule"),
        ((B, "Grantline Inline Inbound Domain Rule"),),
    ),
    Case(
        "an own name",
        "foreign_names",
        _rule(Name="Grantline Inline Inbound Domain Rule", Comments=f"[grantline {GRANT} v1]"),
    ),
    Case(
        "no domain to relay for",
        "relay_domain",
        {},
        ((B, f"{GRANT}.relay.scanner.example.net"),),
        settings={"GRANTLINE_OUTBOUND_SENDERS": "all"},
    ),
    Case("own senders alone", "relay_domain", {}),
    Case(
        "strangers among the chosen people",
        "chosen_people",
        {"Recipient": [ADA]},
        ((B, "eve@contoso.com"), (B, "bob@contoso.net")),
        says="'eve@contoso.com'",
        scope=Scope(ScopeKind.USERS, users=("ADA@contoso.com", "eve@contoso.com", "ada.upn@contoso.net", "bob@contoso.net")),
    ),
    Case(
        "an alias is an address too",
        "chosen_people",
        {"Recipient": [ADA]},
        scope=Scope(ScopeKind.USERS, users=("lovelace@contoso.com",)),
    ),
    Case("nobody was chosen by name", "chosen_people", {}),
    Case(
        "a full allow list",
        "list_limits",
        {
            "HostedConnectionFilterPolicy": [
                {"Name": "Default", "IPAllowList": [f"10.0.{n // 250}.{n % 250}" for n in range(1272)]}
            ]
        },
        ((B, "HostedConnectionFilterPolicy 'Default'"),),
        says="needs 2 more",
        settings={"GRANTLINE_ALLOW_ENTRIES": "ip"},
    ),
    Case(
        "room in the allow list",
        "list_limits",
        {"HostedConnectionFilterPolicy": [{"Name": "Default", "IPAllowList": [*IN_EGRESS]}]},
        settings={"GRANTLINE_ALLOW_ENTRIES": "ip,spoof", "GRANTLINE_ARC_SEALER": "scanner.example.net"},
    ),
    Case("a sealer", "dmarc_reject", _dmarc(honored=True), settings={"GRANTLINE_ARC_SEALER": "scanner.example.net"}),
)
