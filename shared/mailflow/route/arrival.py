"""What a tenant's front door does with mail from outside: whose it is, whether it may enter, and what the filters make of it.

Sources: the pages of New-InboundConnector, Set-OrganizationConfig (RejectDirectSend), New-AntiPhishPolicy and
New-HostedContentFilterPolicy (github:MicrosoftDocs/office-docs-powershell), Microsoft's list of NDR codes, and real-tenants.md.
"""

from shared.mailflow.route.conditions import Settings, values_of
from shared.mailflow.route.model import (
    AUTHENTICATED_AS,
    Copy,
    End,
    InboundConnector,
    Oracle,
    Tenant,
    World,
    domain_of,
    is_below,
    is_in,
    number,
    span,
)

NO_RELAY, WRONG_TENANT, RESTRICTED, DIRECT_SEND = "5.7.64", "5.4.14", "5.7.51", "5.7.68"
UNKNOWN_OUTSIDE, UNKNOWN_INSIDE, DMARC = "5.4.1", "5.1.10", "5.7.509"
_CROSS_PREMISES, _ORGANIZATION = "x-ms-exchange-crosspremises-", "x-ms-exchange-organization-"
_OWN_HEADERS = (_ORGANIZATION, _CROSS_PREMISES)
_ENDS = {"MoveToJmf": End.JUNK, "Quarantine": End.QUARANTINED, "Delete": End.DROPPED}
"""Actions of the filters that change where a message ends; the others mark it and deliver it."""


def attributed(world: World, copy: Copy, oracle: Oracle) -> tuple[Tenant, InboundConnector] | tuple[None, None]:
    """Return the tenant that mail from outside is taken to come from, as its own on-premises mail, and by which connector.

    Decided over all tenants: an OnPremises connector that the certificate or else the address matches, where MAIL FROM or the
    certificate's name is in an accepted domain of its tenant (real-tenants.md 1; null senders are in none).
    """
    source = number(copy.source_ip)
    sender = domain_of(copy.mail_from)
    for by_certificate in (True, False):
        for tenant in world.tenants.values():
            for connector in tenant.inbound:
                if not connector.is_on_premises:
                    continue
                named = connector.matches_certificate(copy.certificate)
                matches = named if by_certificate else connector.matches_address(source)
                if matches and _may_relay(tenant, sender, copy.certificate, oracle):
                    return tenant, connector
    return None, None


def _may_relay(tenant: Tenant, sender: str, certificate: str, oracle: Oracle) -> bool:
    if sender in tenant.domains or any(certificate == name or certificate.endswith(f".{name}") for name in tenant.domains):
        return True
    return not sender and oracle("null_sender_relays")


def refusal(tenant: Tenant, copy: Copy) -> str:
    """Return the status by which a tenant's front door refuses a message from outside, "" when it may enter."""
    sender, source = domain_of(copy.mail_from), number(copy.source_ip)
    partners = [each for each in tenant.inbound if not each.is_on_premises]
    for connector in partners:
        if not any(is_below(sender, pattern) for pattern in connector.domains):
            continue
        if connector.restricts_addresses and not connector.matches_address(source):
            return RESTRICTED
        if connector.restricts_certificate and not connector.matches_certificate(copy.certificate):
            return RESTRICTED
    if tenant.rejects_direct_send and sender in tenant.domains:
        connectors = tenant.inbound
        if not any(each.matches(source, copy.certificate) for each in connectors):
            return DIRECT_SEND
    if copy.message.dmarc_policy == "reject" and not passes_dmarc(tenant, copy):
        policy = tenant.policies["AntiPhishPolicy"]
        if policy.get("HonorDmarcPolicy", True) and policy.get("DmarcRejectAction", "Reject") == "Reject":
            return DMARC
    return ""


def passes_dmarc(tenant: Tenant, copy: Copy) -> bool:
    """True when a message passes DMARC, or the tenant trusts it anyway: an allowed address, spoof pair or ARC sealer."""
    if copy.message.dmarc_policy == "none" or _is_allowed(tenant, copy) or authenticates(copy):
        return True
    return copy.sealed in tenant.trusted_sealers or _is_allowed_spoof(tenant, copy)


def authenticates(copy: Copy) -> bool:
    """True when SPF of an aligned envelope, or DKIM, tells who sent the copy that arrives."""
    return (_is_aligned(copy) and spf(copy) == "pass") or (copy.message.dkim == "pass" and not copy.modified)


def _is_allowed(tenant: Tenant, copy: Copy) -> bool:
    return is_in(tenant.allowed_networks, number(copy.source_ip))


def spf(copy: Copy) -> str:
    """Return SPF's result for the connecting address: the scanner's is in no sender's record but the scanner's own."""
    if not copy.via_scanner or copy.message.spf == "none" or copy.message.source_ip == copy.source_ip:
        return copy.message.spf
    return "fail"


def _is_aligned(copy: Copy) -> bool:
    envelope, header = domain_of(copy.mail_from), domain_of(copy.header_from)
    if not (envelope and header):
        return False
    return envelope == header or envelope.endswith(f".{header}") or header.endswith(f".{envelope}")


def _is_allowed_spoof(tenant: Tenant, copy: Copy) -> bool:
    source, domain = number(copy.source_ip), domain_of(copy.header_from)
    spoof = "internal" if domain in tenant.domains else "external"
    return any(
        kind == spoof and user in {"*", domain, copy.header_from} and _is_infrastructure(infrastructure, source, copy.certificate)
        for kind, user, infrastructure in tenant.spoof_allowed
    )


def _is_infrastructure(infrastructure: str, source: int, certificate: str) -> bool:
    """A /24 is told by the address; a name, which is a PTR's domain, by the name in the certificate."""
    return is_in((span(infrastructure),), source) or (bool(certificate) and certificate.endswith(infrastructure))


def stamped(copy: Copy, tenant: Tenant, connector: InboundConnector | None) -> Copy:
    """Return the copy as it enters a tenant: organization headers from outside are stripped, and Exchange writes its own.

    ``connector``: what attributed it to the tenant; a hybrid one promotes cross-premises headers.
    """
    headers = {name: text for name, text in copy.headers.items() if not name.startswith(_OWN_HEADERS)}
    internal = connector is not None and connector.is_internal and domain_of(copy.header_from) in tenant.domains
    if connector is not None and connector.is_hybrid:
        promoted = {name: text for name, text in copy.headers.items() if name.startswith(_CROSS_PREMISES)}
        headers |= {name.replace(_CROSS_PREMISES, _ORGANIZATION): text for name, text in promoted.items()}
        internal = headers.get(AUTHENTICATED_AS) == "Internal"
    headers[AUTHENTICATED_AS] = "Internal" if internal else "Anonymous"
    return copy._replace(headers=headers, authenticated=internal, scl=None)


def filtered(tenant: Tenant, copy: Copy, oracle: Oracle) -> End:
    """Return where the filters put a message from outside. The level that a rule set is an input, not the decision.

    An allowed address spares a message as level -1 does, unless a rule sets another level.
    """
    content = tenant.policies["HostedContentFilterPolicy"]
    is_spared = (copy.scl if copy.scl is not None else -int(_is_allowed(tenant, copy))) == -1
    if copy.message.verdict == "high_confidence_phish" and not (is_spared and not oracle("high_confidence_phish_overrides_scl")):
        return _ENDS.get(str(content.get("HighConfidencePhishAction") or "Quarantine"), End.DELIVERED)
    return End.DELIVERED if is_spared else _ENDS.get(_content_action(tenant, copy), End.DELIVERED)


def _content_action(tenant: Tenant, copy: Copy) -> str:
    """Return the action of the gravest verdict (Microsoft: order and precedence of email protection)."""
    content, phish = tenant.policies["HostedContentFilterPolicy"], tenant.policies["AntiPhishPolicy"]
    level = copy.scl or 0
    hard_fail = values_of(content.get("MarkAsSpamSpfRecordHardFail")) == ("on",) and spf(copy) == "fail"
    if copy.message.verdict == "phish":
        return str(content.get("PhishSpamAction") or "Quarantine")
    if level >= 7 or hard_fail:  # the levels: page of Set-TransportRule, SetSCL
        return str(content.get("HighConfidenceSpamAction") or "MoveToJmf")
    if not passes_dmarc(tenant, copy):
        return _dmarc_action(phish, copy.message.dmarc_policy)
    if level >= 5 or copy.message.verdict == "spam":
        return str(content.get("SpamAction") or "MoveToJmf")
    return ""


def _dmarc_action(phish: Settings, policy: str) -> str:
    """Return the action of the sender's own policy, or that of spoofed mail where the tenant does not honour it."""
    if not phish.get("HonorDmarcPolicy", True):
        return str(phish.get("AuthenticationFailAction") or "MoveToJmf")
    return str(phish.get("DmarcRejectAction" if policy == "reject" else "DmarcQuarantineAction") or "Quarantine")
