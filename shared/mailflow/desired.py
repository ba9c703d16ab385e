"""The mail-flow objects that a grant wants in its tenant, and what it wants of others' objects, as data.

The settings follow real-tenants.md 1 to 7, whose sources are the pages of the cmdlets
(github:MicrosoftDocs/office-docs-powershell) and of Exchange Online's mail flow (github:MicrosoftDocs/OfficeDocs-Exchange).
"""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, ClassVar

from shared.domain.grant import Direction, Intent, Scope, ScopeKind
from shared.mailflow.kinds import KINDS, Kind
from shared.mailflow.lists import ARC, SPOOF_ENTRIES, spoof_entry
from shared.scanners import SMALLEST_PREFIX, Scanner
from shared.settings import Settings

VERSION = 1
"""The version of the objects' settings; written into their mark, so that a newer Grantline knows what it finds."""
ALL_SENDERS = "all"
"""The setting that routes outbound mail whoever its envelope sender is."""
MAXIMUM_NAME = 64
"""Characters in a rule's name (page of New-TransportRule)."""
AUTHENTICATED_AS = "X-MS-Exchange-Organization-AuthAs"
"""Exchange's own header on who a message comes from; stripped from outside mail, so that nobody can forge it."""
_EXAMPLE = "example.com"
"""Stands for the tenant's domain as long as it is not known (RFC 2606)."""
RESTRICTIONS = ("RestrictDomainsToIPAddresses", "RestrictDomainsToCertificate")
"""What makes an inbound connector refuse the mail of its sender domains from anywhere else (page of New-InboundConnector)."""
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class Routing(StrEnum):
    """Whether the routing rules are to be on: off until the way back is verified.

    Once they have been on, a rule that must be made again is off until that is verified; one that is there stays as it is.
    """

    ON = "Enabled"
    OFF = "Disabled"
    KEPT = "as it is"


@dataclass(frozen=True, slots=True)
class AcceptedDomain:
    """A domain that the tenant receives mail for."""

    name: str
    is_initial: bool = False
    is_default: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """What the objects are made from. ``secret`` is the grant's verdict secret; it shows in no representation."""

    grant_id: str
    intent: Intent
    settings: Settings
    accepted_domains: tuple[AcceptedDomain, ...]
    secret: str = field(repr=False)
    routing: Routing = Routing.OFF
    former_grants: tuple[str, ...] = ()
    """The grants that had the tenant before: what bears their mark is this grant's now."""

    @property
    def scanner(self) -> Scanner:
        """The scanner of the grant's region. Raises SettingsError for a region that is not set (any more)."""
        return self.settings.scanner(self.intent.region)

    @property
    def owners(self) -> tuple[str, ...]:
        """The grants whose mark makes an object ours."""
        return (self.grant_id, *self.former_grants)


@dataclass(frozen=True, slots=True)
class DesiredObject:
    """One object: ``parameters`` by the names of its New- and Set- cmdlets. ``secrets`` names those that nobody may be shown.

    ``purpose`` says in a sentence what it is for, to people. ``routes``: a rule that sends messages to the scanner; one that
    ``keeps_state`` is not switched. Raises ValueError for a connector that would shut out every other sender of the internet: a
    defect (real-tenants.md 2).
    """

    kind: Kind
    name: str
    purpose: str
    parameters: Mapping[str, Any] = field(repr=False)
    routes: bool = False
    keeps_state: bool = False
    secrets: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Refuse a lock-down of everybody, whoever asks for it."""
        restricts = any(self.parameters.get(flag) for flag in RESTRICTIONS)
        if restricts and "*" in self.parameters.get("SenderDomains", ()):
            raise ValueError(f"{self.name}: a restriction of all sender domains would refuse every other sender's mail")

    def shown(self, property_name: str, value: Any) -> Any:
        """Return a property's value for people, journals and events: never a secret."""
        return "(secret)" if property_name in self.secrets and value else value


@dataclass(frozen=True, slots=True)
class ForeignObject:
    """Somebody else's object, by its noun and its name; ``identity`` is "" where a tenant has but one."""

    noun: str
    identity: str

    secrets: ClassVar[frozenset[str]] = frozenset()

    @property
    def name(self) -> str:
        """How journals and people name the object; no object of ours has such a name."""
        return f"{self.noun} '{self.identity}'" if self.identity else self.noun

    @property
    def get(self) -> str:
        """The cmdlet that reads it."""
        return f"Get-{self.noun}"

    def shown(self, property_name: str, value: Any) -> Any:
        """Return a property's value for people: nothing of this kind is secret."""
        del property_name
        return value


@dataclass(frozen=True, slots=True)
class DesiredSetting(ForeignObject):
    """What is wanted of somebody else's object: list entries that it has beside its own (``adds``), or a ``value`` in a property.

    ``key`` names the finding that this puts right, if any; ``purpose`` says in a sentence what it is for.
    """

    property: str
    adds: tuple[str, ...] = ()
    value: Any = None
    key: str = ""
    purpose: str = ""


def desired_settings(request: Request) -> tuple[DesiredSetting, ...]:
    """Return what the grant wants of objects that are not its own: allow entries and the trusted sealer, each only by setting.

    They spare inbound mail that returns from the scanner Microsoft's judgement of its address (real-tenants.md 8 and 9).
    """
    if Direction.INBOUND not in request.intent.directions:
        return ()
    kinds = request.settings.allow_entry_kinds
    sealer = request.settings.arc_sealer
    return (
        *([_ip_allow_entries(request)] if "ip" in kinds else []),
        *([_spoof_allow_entries(request)] if "spoof" in kinds else []),
        *([_trusted_sealer(sealer)] if sealer else []),
    )


def _ip_allow_entries(request: Request) -> DesiredSetting:
    purpose = "Spares messages that return from the scanner the connection filter."
    egress = request.scanner.inbound_egress
    return DesiredSetting("HostedConnectionFilterPolicy", "Default", "IPAllowList", adds=egress, purpose=purpose)


def _spoof_allow_entries(request: Request) -> DesiredSetting:
    """An entry's infrastructure is a /24 or a domain of reverse DNS; a smaller network is not widened to others' addresses."""
    scanner = request.scanner
    networks = [ipaddress.IPv4Network(text) for text in scanner.inbound_egress]
    named = [str(each) if each.prefixlen == SMALLEST_PREFIX else scanner.certificate_zone for each in networks]
    entries = [spoof_entry(kind, "*", each) for each in dict.fromkeys(named) for kind in ("External", "Internal")]
    purpose = "Keeps messages that return from the scanner from being taken for spoofed ones."
    return DesiredSetting(SPOOF_ENTRIES, "Default", "Entries", adds=tuple(entries), purpose=purpose)


def _trusted_sealer(domain: str) -> DesiredSetting:
    purpose = "Lets Microsoft believe what the scanner sealed of a message's authentication before it changed the message."
    return DesiredSetting(ARC, "Default", "ArcTrustedSealers", adds=(domain,), purpose=purpose)


def desired_objects(request: Request) -> tuple[DesiredObject, ...]:
    """Return every object in the order of its creation: the return path first, routing rules last.

    Rules are created one above the other, so that they stand in the tenant in the reverse of this order: routing of inbound
    mail, routing of outbound mail, skip spam filter, move to junk.
    """
    both = request.intent.directions
    objects = [_return_connector(request, direction) for direction in both]
    objects += [_routing_connector(request, direction) for direction in both]
    if request.intent.scope.is_by_people:
        objects += [_scope_group(request, direction) for direction in both]
    if Direction.INBOUND in both:
        objects += [_junk_rule(request), _skip_spam_rule(request)]
    objects += [_ROUTING_RULES[direction](request) for direction in reversed(Direction) if direction in both]
    return tuple(_marked(request, item) for item in objects)


@dataclass(frozen=True, slots=True)
class PlannedObject:
    """An object that a grant may make, told before its tenant is known: for which direction and which kinds of scope."""

    kind: Kind
    name: str
    purpose: str
    direction: Direction
    scopes: frozenset[ScopeKind]


def planned_objects(settings: Settings) -> tuple[PlannedObject, ...]:
    """Return everything that a grant may make in a tenant, whatever its intent, in the order of its creation."""
    planned: dict[str, PlannedObject] = {}
    for direction in Direction:
        for kind in ScopeKind:
            scope = Scope(kind, domains=(_EXAMPLE,), group=f"group@{_EXAMPLE}", users=(f"person@{_EXAMPLE}",))
            request = Request("grant", Intent((direction,), scope, ""), settings, (AcceptedDomain(_EXAMPLE),), secret="")
            for item in desired_objects(request):
                known = planned[item.name].scopes if item.name in planned else frozenset()
                planned[item.name] = PlannedObject(item.kind, item.name, item.purpose, direction, known | {kind})
    return tuple(planned.values())


def standing(desired: Sequence[DesiredObject]) -> tuple[str, ...]:
    """Return the names of the rules in the order in which they are to stand, first of all rules of the tenant."""
    return tuple(item.name for item in reversed(desired) if item.kind is Kind.TRANSPORT_RULE)


def owner_mark(grant_id: str) -> str:
    """Return how the mark of a grant's objects begins, whatever their version."""
    return f"[grantline {grant_id} v"


def group_names(request: Request) -> tuple[str, ...]:
    """Return the names of the groups that this scope needs; none unless people are chosen."""
    if not request.intent.scope.is_by_people:
        return ()
    return tuple(_name(request, direction, "Scope Group") for direction in request.intent.directions)


def scoped_domains(request: Request) -> list[str]:
    """Return the domains whose mail is scanned: those chosen, else all that the tenant accepts mail for."""
    if request.intent.scope.kind is ScopeKind.DOMAINS:
        return sorted(domain.lower() for domain in request.intent.scope.domains)
    # A certificate's name that was made an accepted domain for the way back is nobody's address.
    own = certificate_name(request)
    return sorted(domain.name.lower() for domain in request.accepted_domains if domain.name.lower() != own)


def certificate_name(request: Request) -> str:
    """Return the name in the certificate by which outbound mail of this grant, and of no other, returns (real-tenants.md 1).

    Raises ValueError for a grant id that is no label of a host name (RFC 1123 2.1): a defect, since grant ids are GUIDs.
    """
    if not _LABEL.fullmatch(request.grant_id):
        raise ValueError(f"grant id {request.grant_id!r} can't be a label of a host name")
    return f"{request.grant_id}.{request.scanner.certificate_zone}"


def missing_accepted_domain(request: Request) -> str:
    """Return the certificate name that the tenant must have as accepted domain and does not have; "" where nothing is missing.

    Without it Exchange relays no message that returns with a null or a foreign sender: 550 5.7.64 (real-tenants.md 1).
    """
    needed = request.settings.outbound_senders == ALL_SENDERS and Direction.OUTBOUND in request.intent.directions
    name = certificate_name(request)
    is_there = name in {domain.name.lower() for domain in request.accepted_domains}
    return name if needed and not is_there else ""


def header_name(request: Request, verdict: str) -> str:
    """Return the name of the header by which the scanner tells its verdict: ``Clean`` or ``Junk``."""
    return f"X-{re.sub(r'[^A-Za-z0-9]+', '-', request.settings.product_name).strip('-')}-{verdict}"


def _name(request: Request, direction: Direction, what: str) -> str:
    return f"{request.settings.product_name} Inline {direction.capitalize()} {what}"


def _egress(request: Request, direction: Direction) -> list[str]:
    scanner = request.scanner
    return list(scanner.inbound_egress if direction is Direction.INBOUND else scanner.outbound_egress)


def _marked(request: Request, item: DesiredObject) -> DesiredObject:
    """Return the object with its owner's mark in the property where its kind bears it."""
    text = (
        f"Made and kept by {request.settings.product_name} for inline protection; change it there, not here. "
        f"{owner_mark(request.grant_id)}{VERSION}]"
    )
    parameters = {**item.parameters, KINDS[item.kind].mark: [text] if item.kind is Kind.DISTRIBUTION_GROUP else text}
    return replace(item, parameters=parameters)


def _routing_connector(request: Request, direction: Direction) -> DesiredObject:
    """The way from Exchange to the scanner, used by routing rules alone."""
    scanner = request.scanner
    host = scanner.inbound_host if direction is Direction.INBOUND else scanner.outbound_host
    parameters = {
        "ConnectorType": "Partner",
        "Enabled": True,
        "IsTransportRuleScoped": True,
        "UseMXRecord": False,
        "SmartHosts": [host],
        "TlsSettings": "DomainValidation",
        "TlsDomain": host,
        "CloudServicesMailEnabled": False,
    }
    purpose = f"Takes {direction} messages to the scanner; only the routing rule uses it."
    return DesiredObject(Kind.OUTBOUND_CONNECTOR, _name(request, direction, "Routing Connector"), purpose, parameters)


def _return_connector(request: Request, direction: Direction) -> DesiredObject:
    """The way back from the scanner to Exchange.

    Inbound mail returns through a Partner connector that restricts nobody: with ``SenderDomains *`` a Restrict flag would shut
    out every other sender on the internet. Outbound mail returns through an OnPremises connector, the only kind that relays,
    found by a certificate name of this grant's own and by no address, so that no other customer's mail is taken for ours.
    """
    shared = {"Enabled": True, "SenderDomains": ["*"], "CloudServicesMailEnabled": False}
    inbound = {
        "ConnectorType": "Partner",
        "SenderIPAddresses": _egress(request, direction),
        "RequireTls": False,
        "RestrictDomainsToIPAddresses": False,
        "RestrictDomainsToCertificate": False,
    }
    outbound = {
        "ConnectorType": "OnPremises",
        "RequireTls": True,
        "TlsSenderCertificateName": certificate_name(request),
    }
    parameters = {**shared, **(inbound if direction is Direction.INBOUND else outbound)}
    purpose = f"Takes {direction} messages back from the scanner."
    return DesiredObject(Kind.INBOUND_CONNECTOR, _name(request, direction, "Return Connector"), purpose, parameters)


def _scope_group(request: Request, direction: Direction) -> DesiredObject:
    """A group of our own that contains the chosen group or people: rules name ours, so that the chosen group may change."""
    name = _name(request, direction, "Scope Group")
    parameters = {
        "Alias": _alias(request, direction),
        "DisplayName": name,
        "PrimarySmtpAddress": _group_address(request, direction),
        "Members": list(request.intent.scope.people),
        "MemberJoinRestriction": "Closed",
        "MemberDepartRestriction": "Closed",
        "RequireSenderAuthenticationEnabled": True,
        "HiddenFromAddressListsEnabled": True,
    }
    purpose = f"Names those whose {direction} messages are scanned: it contains the chosen people or group, which stays as it is."
    return DesiredObject(Kind.DISTRIBUTION_GROUP, name, purpose, parameters)


def _alias(request: Request, direction: Direction) -> str:
    product = re.sub(r"[^a-z0-9]+", "-", request.settings.product_name.lower()).strip("-")
    return f"{product}-inline-{direction}-scope"


def _group_address(request: Request, direction: Direction) -> str:
    """Return the group's address in the tenant's initial domain, which every tenant has and none can remove."""
    ranked = sorted(request.accepted_domains, key=lambda domain: (not domain.is_initial, not domain.is_default, domain.name))
    return f"{_alias(request, direction)}@{ranked[0].name.lower()}"


def _routing_rule(request: Request, direction: Direction, conditions: Mapping[str, Any]) -> DesiredObject:
    """A rule that sends messages to the scanner, once: what comes back from the scanner's addresses is its only exception."""
    what = "User Rule" if request.intent.scope.is_by_people else "Domain Rule"
    parameters = {
        **conditions,
        "ExceptIfSenderIpRanges": _egress(request, direction),
        "RouteMessageOutboundConnector": _name(request, direction, "Routing Connector"),
        "StopRuleProcessing": True,
        # Ignore, the default, would let the message go on unscanned (page of New-TransportRule).
        "RuleErrorAction": "Defer",
        "Mode": "Enforce",
        "Enabled": request.routing is Routing.ON,
    }
    purpose = f"Sends {direction} messages to the scanner, once. It stays switched off until everything has been verified."
    keeps_state = request.routing is Routing.KEPT
    name = _name(request, direction, what)
    return DesiredObject(Kind.TRANSPORT_RULE, name, purpose, parameters, routes=True, keeps_state=keeps_state)


def _inbound_rule(request: Request) -> DesiredObject:
    """Mail from outside is what Exchange received from nobody it knows; ``FromScope`` would miss spoofs of own domains."""
    if request.intent.scope.is_by_people:
        recipients: dict[str, Any] = {"SentToMemberOf": [_group_address(request, Direction.INBOUND)]}
    else:
        recipients = {"RecipientDomainIs": scoped_domains(request)}
    anonymous = {"HeaderMatchesMessageHeader": AUTHENTICATED_AS, "HeaderMatchesPatterns": ["Anonymous"]}
    return _routing_rule(request, Direction.INBOUND, {**recipients, **anonymous})


def _outbound_rule(request: Request) -> DesiredObject:
    """Only mail whose envelope sender is in an accepted domain can come back through the return connector and leave again.

    What has a null sender or a foreign one (bounces, automatic replies, forwards) therefore goes out directly, unless the
    certificate's name is an accepted domain: then any sender's mail can come back, and all of the scope's is scanned.
    """
    senders: dict[str, Any] = {"SenderDomainIs": scoped_domains(request), "SenderAddressLocation": "Envelope"}
    if request.settings.outbound_senders == ALL_SENDERS and request.intent.scope.kind is not ScopeKind.DOMAINS:
        senders = {}
    if request.intent.scope.is_by_people:
        senders["FromMemberOf"] = [_group_address(request, Direction.OUTBOUND)]
    return _routing_rule(request, Direction.OUTBOUND, {**senders, "SentToScope": "NotInOrganization"})


_ROUTING_RULES = {Direction.INBOUND: _inbound_rule, Direction.OUTBOUND: _outbound_rule}
_SKIP_SPAM, _JUNK = "Skip Spam Filter Rule", "Move to Junk Rule"


def _verdict_rule(request: Request, what: str, verdict: str, confidence: int, purpose: str) -> DesiredObject:
    """A rule that believes the scanner's verdict: it takes the scanner's address and the grant's secret, both as conditions.

    The header is removed, so that the secret does not reach a mailbox.
    """
    parameters = {
        "SenderIpRanges": _egress(request, Direction.INBOUND),
        "HeaderContainsMessageHeader": header_name(request, verdict),
        "HeaderContainsWords": [request.secret],
        "SetSCL": confidence,
        "RemoveHeader": header_name(request, verdict),
        "StopRuleProcessing": False,
        "RuleErrorAction": "Ignore",
        "Mode": "Enforce",
        "Enabled": True,
    }
    name = _name(request, Direction.INBOUND, what)
    return DesiredObject(Kind.TRANSPORT_RULE, name, purpose, parameters, secrets=frozenset({"HeaderContainsWords"}))


def verdict_rule_names(request: Request) -> tuple[str, ...]:
    """Return the names of the rules that believe the scanner's verdict."""
    return tuple(_name(request, Direction.INBOUND, what) for what in (_SKIP_SPAM, _JUNK))


def _skip_spam_rule(request: Request) -> DesiredObject:
    purpose = "Spares messages that the scanner found clean a second spam filtering."
    return _verdict_rule(request, _SKIP_SPAM, "Clean", -1, purpose)


def _junk_rule(request: Request) -> DesiredObject:
    return _verdict_rule(request, _JUNK, "Junk", 6, "Moves messages that the scanner took for junk to Junk Email.")
