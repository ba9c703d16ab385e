"""What the route model knows: tenants, scanners, the message and its copies on their way."""

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple

AUTHENTICATED_AS = "x-ms-exchange-organization-authas"
"""Exchange's own header on who a message comes from: ``Internal`` or ``Anonymous``. Header names are in lower case here."""
LOOP = "x-ms-exchange-transport-rules-loop"
"""Marks a message that a rule redirected or added recipients to; a second time it bounces."""
_DASHES = re.compile(r"\s*-\s*")


class End(StrEnum):
    """Where a copy ended for one recipient, from the best end to the worst."""

    DELIVERED = "delivered"
    ON_PREMISES = "on_premises"
    RELAYED = "relayed"
    JUNK = "junk"
    QUARANTINED = "quarantined"
    MODERATED = "moderated"
    DEFERRED = "deferred"
    DROPPED = "dropped"
    REJECTED = "rejected"


RANK = {end: rank for rank, end in enumerate(End)}
"""How bad an end is: where two copies reach one address, the worse one is told."""
SWITCHES = {
    "from_scope_needs_authentication": True,
    "recipient_domain_includes_subdomains": True,
    "auth_header_in_conditions": True,
    "loop_header_survives": True,
    "null_sender_relays": False,
    "high_confidence_phish_overrides_scl": True,
}
"""What Microsoft's pages leave open, with what is taken for true until a real tenant decides (docs/mail-traces.md)."""


class Oracle:
    """Decides what is uncertain, and remembers what was asked.

    Keys are names of switches; ``rule:`` with the name of a rule whose conditions can't be told; ``server:`` with the number of a
    pass, whose server may still have former rules. ``choices`` override what is taken for true: switches as SWITCHES has them, a
    rule that can't be told does not match, a server has the new rules.
    """

    __slots__ = ("asked", "choices")

    def __init__(self, choices: Mapping[str, bool] | None = None) -> None:
        self.choices = choices or {}
        self.asked: dict[str, bool] = {}

    def __call__(self, key: str) -> bool:
        """Return the decision on ``key``."""
        decision = self.choices.get(key)
        if decision is None:
            decision = SWITCHES.get(key, False)
        self.asked[key] = decision
        return decision


@dataclass(frozen=True, slots=True)
class Recipient:
    """Somebody whom a tenant knows. ``members`` is None for a group whose members are not known."""

    address: str
    kind: str
    members: tuple[str, ...] | None = ()
    external_address: str = ""
    forwards_to: str = ""
    auto_replies: bool = False


@dataclass(frozen=True, slots=True)
class InboundConnector:
    """A way into a tenant, as Get-InboundConnector returns it."""

    name: str
    is_on_premises: bool
    domains: tuple[str, ...]
    networks: tuple[tuple[int, int], ...]
    certificate: str
    restricts_addresses: bool = False
    restricts_certificate: bool = False
    is_hybrid: bool = False
    is_internal: bool = False

    def matches(self, source: int, certificate: str) -> bool:
        """True when the connecting host is one of the connector's, by its certificate where one is named, or by address."""
        return self.matches_certificate(certificate) or self.matches_address(source)

    def matches_address(self, source: int) -> bool:
        """True for a connecting address (0 for none) in the connector's ranges."""
        return is_in(self.networks, source)

    def matches_certificate(self, certificate: str) -> bool:
        """True for a certificate of the connector's name, exactly or by ``*.``: the domain and all below it."""
        return bool(self.certificate and certificate) and is_below(certificate, self.certificate)


@dataclass(frozen=True, slots=True)
class OutboundConnector:
    """A way out of a tenant, as Get-OutboundConnector returns it."""

    name: str
    is_on_premises: bool
    is_on: bool
    hosts: tuple[str, ...]
    domains: tuple[str, ...]
    is_for_rules: bool
    takes_all: bool
    uses_mx: bool


Test = Callable[["Sight"], bool | None]
"""A condition on a message as a whole: None when it can't be told."""
RecipientTest = Callable[["Sight", str], bool | None]
"""A condition on one recipient."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A transport rule that is on: conditions AND, exceptions OR."""

    name: str
    enforced: bool
    conditions: tuple[Test, ...]
    exceptions: tuple[Test, ...]
    recipient_conditions: tuple[RecipientTest, ...]
    recipient_exceptions: tuple[RecipientTest, ...]
    actions: Mapping[str, Any]
    stops: bool
    defers: bool


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant: accepted domains (True for an internal relay), whom it knows by every address, connectors, rules, policies."""

    id: str
    domains: Mapping[str, bool]
    directory: Mapping[str, Recipient]
    inbound: tuple[InboundConnector, ...]
    outbound: Mapping[str, OutboundConnector]
    rules: tuple[Rule, ...]
    policies: Mapping[str, Mapping[str, Any]]
    allowed_networks: tuple[tuple[int, int], ...] = ()
    spoof_allowed: tuple[tuple[str, str, str], ...] = ()
    trusted_sealers: frozenset[str] = frozenset()
    rejects_direct_send: bool = False
    closures: dict[str, frozenset[str] | None] = field(default_factory=dict)

    def members(self, group: str) -> frozenset[str] | None:
        """Return the primary addresses of all members of a group, nested ones too; empty for none; None when not known."""
        if group not in self.closures:
            self.closures[group] = self._closure(group, {group})
        return self.closures[group]

    def _closure(self, group: str, seen: set[str]) -> frozenset[str] | None:
        known = self.directory.get(group)
        if known is None or known.kind != "group":
            return frozenset()
        if known.members is None:
            return None
        found: set[str] = set()
        for address in known.members:
            member = self.directory.get(address)
            primary = member.address if member else address
            found.add(primary)
            if member and member.kind == "group" and primary not in seen:
                seen.add(primary)
                nested = self._closure(primary, seen)
                if nested is None:
                    return None
                found |= nested
        return frozenset(found)


@dataclass(frozen=True, slots=True)
class Scanner:
    """The product's scanner as one tenant's customer sees it."""

    tenant: str
    inbound_host: str
    outbound_host: str
    inbound_egress: tuple[str, ...]
    outbound_egress: tuple[str, ...]
    inbound_certificate: str
    outbound_certificate: str
    verdict_header: str
    secret: str
    modifies: bool
    arc_domain: str


@dataclass(frozen=True, slots=True)
class Message:
    """What does not change on the way."""

    subject: str
    body: str
    size_kb: float
    to: tuple[str, ...]
    spf: str
    dkim: str
    dmarc_policy: str
    verdict: str
    source_ip: str


class Copy(NamedTuple):
    """A copy on its way: envelope, headers (names in lower case), and how it came to where it is.

    ``message`` is what does not change. ``tenant`` is where it was born or, for a message from outside, "". ``mx`` names the
    tenant at whose MX it arrives: "" for that of each recipient's domain. ``via_scanner`` tells that the connecting address is
    the scanner's, ``sealed`` under which domain the scanner vouched for it.
    """

    mail_from: str
    header_from: str
    recipients: tuple[str, ...]
    headers: Mapping[str, str]
    kind: str
    message: Message
    source_ip: str = ""
    certificate: str = ""
    tenant: str = ""
    mx: str = ""
    authenticated: bool = False
    scans: int = 0
    hops: int = 0
    via_scanner: bool = False
    modified: bool = False
    sealed: str = ""
    scl: int | None = None


@dataclass(slots=True)
class Sight:
    """What a rule sees: a copy in a tenant, and who decides what is uncertain."""

    copy: Copy
    tenant: Tenant
    oracle: Oracle


@dataclass(frozen=True, slots=True)
class World:
    """Everything that a message can meet.

    ``former`` are tenants whose rules were changed within the hour, as they were before: any server may still have those.
    """

    tenants: Mapping[str, Tenant]
    owners: Mapping[str, str]
    scanners: Sequence[Scanner]
    former: Mapping[str, Tenant] = field(default_factory=dict)

    def owner(self, address: str) -> str:
        """Return the id of the tenant that accepts mail for the address, "" for none."""
        return self.owners.get(domain_of(address), "")


def domain_of(address: str) -> str:
    """Return the domain of an address, "" for the null sender."""
    return address.rpartition("@")[2]


def is_below(domain: str, pattern: str) -> bool:
    """True when the pattern names the domain: exactly, by ``*`` or by ``*.``, the domain and all below it."""
    if pattern == "*":
        return True
    if pattern.startswith("*."):
        return domain == pattern[2:] or domain.endswith(pattern[1:])
    return domain == pattern


@lru_cache(4096)
def number(address: str) -> int:
    """Return an IPv4 address as a number, 0 for none and for what is no IPv4 address."""
    try:
        return int(ipaddress.IPv4Address(address)) if address else 0
    except ValueError:
        return 0


@lru_cache(4096)
def span(text: str) -> tuple[int, int]:
    """Return the first and last address of a range, network or single address; (1, 0), which holds nothing, for anything else."""
    try:
        if "-" in text:
            first, last = _DASHES.split(text.strip())
            return int(ipaddress.IPv4Address(first)), int(ipaddress.IPv4Address(last))
        network = ipaddress.IPv4Network(text.strip(), strict=False)
        return int(network.network_address), int(network.broadcast_address)
    except ValueError:
        return 1, 0


def is_in(spans: Sequence[tuple[int, int]], address: int) -> bool:
    """True when the address, which is none where it is 0, lies in one of the spans."""
    return address != 0 and any(first <= address <= last for first, last in spans)
