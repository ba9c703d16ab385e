"""The DNS records with which a domain uses Exchange Online: what Graph tells to publish, and what a tidy owner has published.

Source: https://learn.microsoft.com/microsoft-365/enterprise/external-domain-name-system-records ("Exchange Online"); the names
of mail hosts are known in the field: no pattern of theirs is documented, so nobody may guess them.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from local.microsoft365.model import Domain

TTL = 3600
SPF = "v=spf1 include:spf.protection.outlook.com -all"
AUTODISCOVER = "autodiscover.outlook.com"
_MAIL = "mail.protection.outlook.com"


@dataclass(frozen=True, slots=True)
class ServiceRecord:
    """One record: its name, its type in capitals, its value (of an MX record the host), and an MX record's preference."""

    name: str
    type: str
    value: str
    preference: int | None = None


def mail_host(domain: Domain) -> str:
    """Return the host that takes the domain's mail: the one that the domain has, or that of a domain of before July 2026.

    Hyphens are dropped, and an odd ending then keeps the names apart.
    """
    if domain.mail_host:
        return domain.mail_host
    if domain.is_initial:
        return f"{domain.name.partition('.')[0]}.{_MAIL}"
    ending = f"0{zlib.crc32(domain.name.encode()) % 256:02x}" if "-" in domain.name else ""
    return f"{domain.name.replace('-', '').replace('.', '-')}{ending}.{_MAIL}"


def service_records(domain: Domain) -> list[ServiceRecord]:
    """Return the records of a domain for mail; none for a domain that takes no mail in Exchange Online."""
    if "Email" not in domain.supported_services:
        return []
    return [
        ServiceRecord(domain.name, "MX", mail_host(domain), 0),
        ServiceRecord(domain.name, "TXT", SPF),
        ServiceRecord(f"autodiscover.{domain.name}", "CNAME", AUTODISCOVER),
    ]
