"""Whose message it is: the service looks for an OnPremises connector among all tenants before it looks at the recipient.

Sources: Microsoft's page on the requirements of SMTP relay (since 1 Nov 2023 MAIL FROM or the certificate must name an accepted
domain; 5.7.64), New-InboundConnector (Partner connectors give no relay; the Restrict flags), the Exchange team's announcement of
RejectDirectSend (5.7.68).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from local.microsoft365.mail.addresses import domain_of, in_ranges, is_within
from local.microsoft365.mail.directory import TenantMail
from local.microsoft365.mail.model import AUTHENTICATED_AS, Addressee, Copy, Switches


def _has_certificate(connector: Mapping[str, Any], copy: Copy) -> bool:
    wanted = str(connector.get("TlsSenderCertificateName") or "").lower()
    if not (wanted and copy.certificate):
        return False
    return is_within(copy.certificate, wanted) if wanted.startswith("*.") else copy.certificate == wanted


def _has_address(connector: Mapping[str, Any], copy: Copy) -> bool:
    return in_ranges(copy.source_ip, connector.get("SenderIPAddresses") or ())


def identifies(connector: Mapping[str, Any], copy: Copy) -> bool:
    """Tell whether the connecting server is the one that a connector names, by certificate or by address."""
    return _has_certificate(connector, copy) or _has_address(connector, copy)


def _may_relay(tenant: TenantMail, copy: Copy, switches: Switches) -> bool:
    """Tell whether MAIL FROM or the certificate's name is in an accepted domain of the tenant."""
    by_sender = tenant.owns(copy.mail_from) if copy.mail_from else switches.null_sender_relays
    return by_sender or any(copy.certificate and is_within(copy.certificate, domain) for domain in tenant.domains)


def attribute(tenants: Iterable[TenantMail], copy: Copy, switches: Switches) -> tuple[TenantMail, Mapping[str, Any]] | None:
    """Return the tenant that a message from outside belongs to as its sender, and the connector that says so; None: nobody.

    A certificate counts before an address.
    """
    if not (copy.source_ip or copy.certificate):
        return None
    allowed = [tenant for tenant in tenants if tenant.on_premises_connectors and _may_relay(tenant, copy, switches)]
    for fits in (_has_certificate, _has_address):
        for tenant in allowed:
            for connector in tenant.on_premises_connectors:
                if fits(connector, copy):
                    return tenant, connector
    return None


def is_internal(tenant: TenantMail, connector: Mapping[str, Any] | None, copy: Copy) -> bool:
    """Tell whether a message counts as authenticated: its connector says so of our senders, or promoted what the server said."""
    if connector is None:
        return False
    if connector.get("TreatMessagesAsInternal") and tenant.owns(copy.header_from):
        return True
    return [text.lower() for text in copy.headers.get(AUTHENTICATED_AS, ())] == ["internal"]


def _concerns(connector: Mapping[str, Any], sender_domain: str) -> bool:
    """Tell whether a Partner connector is for senders of this domain: `smtp:domain;cost`, `*` for all."""
    for space in connector.get("SenderDomains") or ():
        domain = str(space).lower().removeprefix("smtp:").partition(";")[0]
        if domain == "*" or (domain.startswith("*.") and is_within(sender_domain, domain)) or domain == sender_domain:
            return True
    return False


def partner_name(tenant: TenantMail, copy: Copy) -> str:
    """Return the name of the Partner connector that a message from outside came through; empty: none."""
    sender_domain = domain_of(copy.mail_from)
    fitting = (item for item in tenant.partner_connectors if _concerns(item, sender_domain) and identifies(item, copy))
    return next((str(item["Name"]) for item in fitting), "")


def refused_recipients(tenant: TenantMail, recipients: Iterable[Addressee]) -> list[Addressee]:
    """Return those whom an authoritative domain does not know: mail from outside for them is refused at the edge (5.4.1)."""
    return [to for to in recipients if to.address not in tenant.people and tenant.is_authoritative(to.address)]


def refusal(tenant: TenantMail, copy: Copy) -> str:
    """Return the enhanced status with which the tenant's edge refuses unattributed mail from outside; empty: it is let in."""
    sender_domain = domain_of(copy.mail_from)
    concerned = [item for item in tenant.partner_connectors if _concerns(item, sender_domain)]
    for connector in concerned:
        by_address, by_certificate = connector.get("RestrictDomainsToIPAddresses"), connector.get("RestrictDomainsToCertificate")
        if (by_address and not _has_address(connector, copy)) or (by_certificate and not _has_certificate(connector, copy)):
            return "5.7.51"
    if tenant.organization("RejectDirectSend") and copy.mail_from and tenant.owns(copy.mail_from):
        connectors = [*tenant.partner_connectors, *tenant.on_premises_connectors]
        if not any(identifies(connector, copy) for connector in connectors):
            return "5.7.68"
    return ""
