"""Checks of the tenant's own connectors: those that shut the scanner out or claim its mail, hybrid ways, other products."""

from collections.abc import Iterator, Mapping

from shared.domain.grant import Direction
from shared.mailflow.checks.finding import Check, Finding, FindingKind, Severity
from shared.mailflow.checks.rules import RULES, active_rules, is_set
from shared.mailflow.checks.values import (
    CONNECTORS_PAGE,
    RULES_PAGE,
    domains,
    egress,
    foreign,
    is_on,
    name_of,
    says,
    shown,
    texts,
)
from shared.mailflow.desired import DesiredSetting, Request, certificate_name, scoped_domains
from shared.mailflow.kinds import KINDS, Kind
from shared.mailflow.networks import overlapping, uncovered
from shared.mailflow.tenant import Found, TenantObjects

INBOUND, OUTBOUND = KINDS[Kind.INBOUND_CONNECTOR].get, KINDS[Kind.OUTBOUND_CONNECTOR].get
ACCEPTED_DOMAINS = "Get-AcceptedDomain"
HYBRID_ORGANIZATION = "Get-OnPremisesOrganization"
INTRA_ORGANIZATION = "Get-IntraOrganizationConnector"
IP_FLAG, CERTIFICATE_FLAG = "RestrictDomainsToIPAddresses", "RestrictDomainsToCertificate"
ADDRESSES, CERTIFICATE = "SenderIPAddresses", "TlsSenderCertificateName"
RESTRICTION = ("SenderDomains", IP_FLAG, ADDRESSES, CERTIFICATE_FLAG, CERTIFICATE)
ROUTE = "RouteMessageOutboundConnector"
VENDORS: Mapping[str, str] = {
    "mimecast": "Mimecast",
    "pphosted": "Proofpoint",
    "ppe-hosted": "Proofpoint Essentials",
    "proofpoint": "Proofpoint",
    "avanan": "Check Point Harmony Email",
    "checkpointcloudsec": "Check Point Harmony Email",
    "tmcas": "Trend Micro Cloud App Security",
    "sophos": "Sophos Email",
    "xgeconnector": "Sophos Email",
    "barracuda": "Barracuda",
    "perception-point": "Perception Point",
    "hornetsecurity": "Hornetsecurity",
    "iphmx": "Cisco Secure Email",
    "messagelabs": "Symantec Email Security.cloud",
    "exclaimer": "Exclaimer",
    "codetwo": "CodeTwo",
}
"""What the names and hosts of known products hold: a hint for people, never more."""

_LOCKS_OUT = FindingKind(
    Severity.BLOCKING,
    "The inbound connector '{object}' rejects all mail that does not come from its own addresses, and the scanner's "
    "({addresses}) are not among them: every scanned message would be refused.",
    f"Open {CONNECTORS_PAGE}, choose '{{object}}', press 'Edit restrictions', and add {{addresses}} under 'Reject email messages "
    "if they aren't sent from within this IP address range', press Save; then open this step again.",
    fix="Adds the scanner's addresses to those of the connector.",
    evidence=(
        "SenderDomains",
        "RestrictDomainsToIPAddresses",
        "SenderIPAddresses",
        "RestrictDomainsToCertificate",
        "TlsSenderCertificateName",
    ),
)
_LOCKS_OUT_BY_CERTIFICATE = FindingKind(
    Severity.BLOCKING,
    "The inbound connector '{object}' rejects all mail that does not come with the certificate {certificate}: every scanned "
    "message would be refused.",
    f"Open {CONNECTORS_PAGE}, choose '{{object}}', press 'Edit restrictions', and take the mark from 'And require that the "
    "subject name on the certificate ... matches this domain name'. What shall still be shut out must be told by addresses: mark "
    "'Reject email messages if they aren't sent from within this IP address range' and list them with the scanner's "
    "({addresses}). Press Save; then open this step again.",
    evidence=(
        "SenderDomains",
        "RestrictDomainsToIPAddresses",
        "SenderIPAddresses",
        "RestrictDomainsToCertificate",
        "TlsSenderCertificateName",
    ),
)
_LOCKS_OUT_SENDERS = FindingKind(
    Severity.ACKNOWLEDGE,
    "The inbound connector '{object}' takes mail of {senders} only from its own addresses or with its own certificate. Scanned "
    "mail of these senders comes from the scanner ({addresses}), and may be refused.",
    f"Open {CONNECTORS_PAGE}, choose '{{object}}' and press 'Edit restrictions': add {{addresses}} to its addresses, or take the "
    "requirement of a certificate off.",
    fix="Adds the scanner's addresses to those of the connector, where it asks for addresses alone.",
    evidence=(
        "SenderDomains",
        "RestrictDomainsToIPAddresses",
        "SenderIPAddresses",
        "RestrictDomainsToCertificate",
        "TlsSenderCertificateName",
    ),
)
_CLAIMS = FindingKind(
    Severity.BLOCKING,
    "The inbound connector '{object}' takes what comes from the scanner ({claimed}) for mail of the tenant's own servers: "
    "scanned messages would pass as internal, or be refused.",
    f"Open {CONNECTORS_PAGE}, choose '{{object}}', press 'Edit sent email identity', and take {{claimed}} out, press Save; then "
    "open this step again. If it belongs to a former installation of this product, remove the connector.",
    evidence=("SenderIPAddresses", "TlsSenderCertificateName"),
)
_HYBRID = FindingKind(
    Severity.ACKNOWLEDGE,
    "The tenant is joined with an Exchange organization on premises ({parts}). Mail for mailboxes there is scanned and then goes "
    "on to the servers on premises; mail from there counts as internal, and is not scanned on its way in.",
    "Check with whoever looks after the servers on premises that mail from the scanner's addresses ({addresses}) is not refused "
    "or filtered there; then acknowledge.",
    evidence=("hybrid configuration", "intra-organization connectors", "outbound connectors to servers on premises"),
)
_CENTRALIZED = FindingKind(
    Severity.ACKNOWLEDGE,
    "The outbound connector '{object}' sends all outgoing mail over servers on premises. Scanned mail takes that way too when it "
    "has come back from the scanner.",
    "Check that the servers on premises accept the tenant's mail as before, then acknowledge; or switch centralized mail "
    "transport off in the Hybrid Configuration wizard.",
    evidence=("RouteAllMessagesViaOnPremises", "SmartHosts"),
)
_INTERNAL_RELAY = FindingKind(
    Severity.ACKNOWLEDGE,
    "'{object}' is an internal relay domain: mail for recipients whom Exchange Online does not know goes on to another server. "
    "It is scanned first, and then goes there from Exchange Online.",
    "Check that the other server does not send such mail back to Exchange Online, then acknowledge; or choose other domains.",
    evidence=("DomainType",),
)
_RELAYS = FindingKind(
    Severity.NOTICE,
    "Servers or devices send mail through the inbound connector '{object}'. What they send to the internet is scanned where its "
    "envelope sender is in a domain of the tenant.",
    "Nothing.",
    evidence=("SenderIPAddresses", "TlsSenderCertificateName"),
)
_OTHER_ROUTE = FindingKind(
    Severity.ACKNOWLEDGE,
    "The rule '{object}' sends messages to another product over the connector '{connector}'{hint}: such messages go through both "
    "products, one after the other.",
    f"If the other product is no longer used, disable the rule ({RULES_PAGE}). If both are to stay, look at the routes in the "
    "plan, see that the other product does not change or refuse scanned messages, and acknowledge.",
    evidence=("Priority", "RouteMessageOutboundConnector", "SmartHosts"),
)
_OTHER_GATEWAY = FindingKind(
    Severity.ACKNOWLEDGE,
    "The outbound connector '{object}' sends all outgoing mail to {hosts}{hint}. Scanned mail goes there too when it has come "
    "back from the scanner.",
    f"If that product is no longer used, switch the connector off ({CONNECTORS_PAGE}). Otherwise check that it accepts the "
    "tenant's mail as before, and acknowledge.",
    evidence=("RecipientDomains", "SmartHosts"),
)
_TRACE = FindingKind(
    Severity.NOTICE,
    "The connector '{object}' looks like one of another protection product{hint}.",
    f"If that product is no longer used, remove the connector ({CONNECTORS_PAGE}).",
    evidence=("SmartHosts",),
)
_ENHANCED = FindingKind(
    Severity.NOTICE,
    "The inbound connector '{object}' uses Enhanced Filtering, which looks behind it for the true source of a message. Microsoft "
    "does not support it together with a product that mail goes to from Exchange Online, nor with rules that spare spam "
    "filtering.",
    "Use the sealing of messages (ARC) by the scanner instead; see https://security.microsoft.com/skiplisting.",
    evidence=("EFSkipLastIP", "EFSkipIPs", "EFUsers"),
)


def hint(found: Found) -> str:
    """Return the words that name the product that a connector's names and hosts hint at; "" when they hint at none."""
    told = " ".join(text for name in ("Name", "Comment", "SmartHosts", "TlsDomain", CERTIFICATE) for text in texts(found, name))
    product = next((name for sign, name in VENDORS.items() if sign in told.casefold()), "")
    return f" (by its name or host: {product})" if product else ""


def _enabled(request: Request, tenant: TenantObjects, kind: Kind) -> Iterator[Found]:
    return (found for found in foreign(request, tenant, kind) if is_on(found, "Enabled", unless_absent=True))


def _lock_down(request: Request, tenant: TenantObjects) -> Iterator[Finding]:
    """A Partner connector with a Restrict flag rejects what its sender domains send from elsewhere (real-tenants.md 2)."""
    ours = egress(request, (Direction.INBOUND,))
    for connector in _enabled(request, tenant, Kind.INBOUND_CONNECTOR) if ours else ():
        if not says(connector, "ConnectorType", "Partner"):
            continue
        by_certificate = is_on(connector, CERTIFICATE_FLAG)
        missing = uncovered(ours, texts(connector, ADDRESSES)) if is_on(connector, IP_FLAG) else ()
        if missing or by_certificate:
            yield _locked(connector, missing or ours, by_certificate=by_certificate)


def _locked(connector: Found, addresses: tuple[str, ...], *, by_certificate: bool) -> Finding:
    senders = domains(connector)
    evidence = shown(connector, *RESTRICTION)
    words = {
        "addresses": ", ".join(addresses),
        "senders": ", ".join(senders) or "some domains",
        "certificate": connector.get(CERTIFICATE) or "of its own",
    }
    kind = _LOCKS_OUT_BY_CERTIFICATE if by_certificate else _LOCKS_OUT
    if "*" not in senders:
        kind = _LOCKS_OUT_SENDERS
    purpose = "Scanned messages, which come from the scanner's addresses, are let in."
    fix = DesiredSetting("InboundConnector", name_of(connector), ADDRESSES, adds=addresses, purpose=purpose)
    return kind.about(name_of(connector), evidence, () if by_certificate else (fix,), **words)


def _claims(request: Request, tenant: TenantObjects) -> Iterator[Finding]:
    """An OnPremises connector decides whose mail it is, over all tenants (real-tenants.md 1)."""
    certificate = certificate_name(request)
    for connector in _enabled(request, tenant, Kind.INBOUND_CONNECTOR):
        if not says(connector, "ConnectorType", "OnPremises"):
            continue
        claimed = [*overlapping(egress(request), texts(connector, ADDRESSES))]
        name = str(connector.get(CERTIFICATE) or "").casefold()
        if name and (certificate == name or certificate.endswith(f".{name.removeprefix('*.')}")):
            claimed.append(name)
        if claimed:
            yield _CLAIMS.about(name_of(connector), shown(connector, ADDRESSES, CERTIFICATE), claimed=", ".join(claimed))


def _hybrid(request: Request, tenant: TenantObjects) -> Iterator[Finding]:
    """One finding for all that joins the tenant with servers on premises: it is one fact to think about."""
    parts: dict[str, list[str]] = {
        "hybrid configuration": [name_of(found) for found in tenant.answers.get(HYBRID_ORGANIZATION, ())],
        "intra-organization connectors": [
            name_of(found) for found in tenant.answers.get(INTRA_ORGANIZATION, ()) if is_on(found, "Enabled", unless_absent=True)
        ],
        "outbound connectors to servers on premises": [
            name_of(found)
            for found in _enabled(request, tenant, Kind.OUTBOUND_CONNECTOR)
            if says(found, "ConnectorType", "OnPremises") and not is_on(found, "IsTransportRuleScoped")
        ],
    }
    found = {part: names for part, names in parts.items() if names}
    if found:
        yield _HYBRID.about("on premises", found, parts=", ".join(found), addresses=", ".join(egress(request)))


def _centralized(request: Request, tenant: TenantObjects) -> Iterator[Finding]:
    """A property of outbound connectors (page of Set-OutboundConnector); real-tenants.md 10."""
    if Direction.OUTBOUND in request.intent.directions:
        for connector in _enabled(request, tenant, Kind.OUTBOUND_CONNECTOR):
            if is_on(connector, "RouteAllMessagesViaOnPremises"):
                yield _CENTRALIZED.about(name_of(connector), shown(connector, "RouteAllMessagesViaOnPremises", "SmartHosts"))


def _internal_relay(request: Request, tenant: TenantObjects) -> Iterator[Finding]:
    scoped = set(scoped_domains(request))
    for domain in tenant.of(ACCEPTED_DOMAINS):
        name = str(domain.get("DomainName")).casefold()
        if name in scoped and says(domain, "DomainType", "InternalRelay"):
            yield _INTERNAL_RELAY.about(name, shown(domain, "DomainType"))


def _relays(request: Request, tenant: TenantObjects) -> Iterator[Finding]:
    for connector in _enabled(request, tenant, Kind.INBOUND_CONNECTOR):
        if says(connector, "ConnectorType", "OnPremises"):
            yield _RELAYS.about(name_of(connector), shown(connector, ADDRESSES, CERTIFICATE))


def _other_products(request: Request, tenant: TenantObjects) -> Iterator[Finding]:
    """Rules that route elsewhere and gateways for all mail are facts; what names only hint at is a notice."""
    connectors = {name_of(found).casefold(): found for found in _enabled(request, tenant, Kind.OUTBOUND_CONNECTOR)}
    routes = [rule for rule in active_rules(request, tenant) if is_set(rule, ROUTE)]
    for rule in routes:
        connector = str(rule[ROUTE])
        found = connectors.get(connector.casefold(), {"Name": connector})
        evidence = {**shown(rule, "Priority", ROUTE), "SmartHosts": found.get("SmartHosts")}
        yield _OTHER_ROUTE.about(name_of(rule), evidence, connector=connector, hint=hint(found))
    for name in sorted(connectors.keys() - {str(rule[ROUTE]).casefold() for rule in routes}):
        found = connectors[name]
        hosts = texts(found, "SmartHosts")
        takes_all = "*" in texts(found, "RecipientDomains") and not says(found, "ConnectorType", "OnPremises")
        if takes_all and hosts and not is_on(found, "IsTransportRuleScoped"):
            evidence = shown(found, "RecipientDomains", "SmartHosts")
            yield _OTHER_GATEWAY.about(name_of(found), evidence, hosts=", ".join(hosts), hint=hint(found))
        elif hint(found):
            yield _TRACE.about(name_of(found), shown(found, "SmartHosts"), hint=hint(found))


def _enhanced(request: Request, tenant: TenantObjects) -> Iterator[Finding]:
    for connector in _enabled(request, tenant, Kind.INBOUND_CONNECTOR):
        if is_on(connector, "EFSkipLastIP") or texts(connector, "EFSkipIPs"):
            yield _ENHANCED.about(name_of(connector), shown(connector, "EFSkipLastIP", "EFSkipIPs", "EFUsers"))


CONNECTOR_CHECKS = (
    Check(
        "lock_down_connectors",
        "No inbound connector shuts the scanner out",
        frozenset({INBOUND}),
        (_LOCKS_OUT, _LOCKS_OUT_BY_CERTIFICATE, _LOCKS_OUT_SENDERS),
        _lock_down,
    ),
    Check(
        "connectors_that_claim_scanned_mail",
        "No connector for servers on premises claims the scanner's mail",
        frozenset({INBOUND}),
        (_CLAIMS,),
        _claims,
    ),
    Check(
        "hybrid",
        "The tenant is not joined with servers on premises",
        frozenset({OUTBOUND}),
        (_HYBRID,),
        _hybrid,
        also=frozenset({HYBRID_ORGANIZATION, INTRA_ORGANIZATION}),
    ),
    Check(
        "centralized_transport",
        "Outgoing mail does not go over servers on premises",
        frozenset({OUTBOUND}),
        (_CENTRALIZED,),
        _centralized,
    ),
    Check(
        "internal_relay",
        "Every domain in scope has its mailboxes in Exchange Online",
        frozenset({ACCEPTED_DOMAINS}),
        (_INTERNAL_RELAY,),
        _internal_relay,
    ),
    Check("relaying_connectors", "No servers or devices relay through a connector", frozenset({INBOUND}), (_RELAYS,), _relays),
    Check(
        "other_products",
        "No other product has mail routed to it",
        frozenset({RULES, OUTBOUND}),
        (_OTHER_ROUTE, _OTHER_GATEWAY, _TRACE),
        _other_products,
    ),
    Check("enhanced_filtering", "No connector uses Enhanced Filtering", frozenset({INBOUND}), (_ENHANCED,), _enhanced),
)
"""The checks of connectors."""
