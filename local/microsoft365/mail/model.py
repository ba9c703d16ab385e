"""What a journey is about: the copies of a message, the tenants that it meets, scanners, switches, and how it ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from local.microsoft365.mail.log import Fate, Passage

ORGANIZATION_HEADERS = "x-ms-exchange-organization-"
"""Headers of this prefix are the service's own: they are taken off when a message comes from outside or leaves."""
CROSS_PREMISES_HEADERS = "x-ms-exchange-crosspremises-"
"""The same, on their way between the two halves of a hybrid organization."""
AUTHENTICATED_AS = "x-ms-exchange-organization-authas"
LOOP_HEADER = "x-ms-exchange-transport-rules-loop"
MAXIMUM_PASSES = 10
"""Receptions by tenants after which a message is refused with 5.4.14. Exchange counts hops; its number is not documented."""


@dataclass(frozen=True, slots=True)
class Switches:
    """What Microsoft's pages leave open or disagree on; PARITY.md lists each with its sources."""

    from_scope_needs_authentication: bool = True
    """Whether a sender of ours is inside only over an authenticated connection."""
    recipient_domain_includes_subdomains: bool = True
    """Whether RecipientDomainIs matches subdomains."""
    auth_header_in_conditions: bool = True
    """Whether a rule can read X-MS-Exchange-Organization-AuthAs."""
    loop_header_survives: bool = True
    """Whether X-MS-Exchange-Transport-Rules-Loop is still there when a message comes back."""
    null_sender_relays: bool = False
    """Whether mail without a sender is relayed for whom the certificate or address alone names."""
    high_confidence_phish_overrides_scl: bool = True
    """Whether high-confidence phish is quarantined in spite of SCL -1."""

    @classmethod
    def read(cls, chosen: Mapping[str, bool]) -> Switches:
        """Return the switches with those of a trace set. Raises ValueError for an unknown one."""
        unknown = set(chosen) - {each.name for each in fields(cls)}
        if unknown:
            raise ValueError(f"no such switch: {', '.join(sorted(unknown))}")
        return cls(**chosen)


class Addressee(NamedTuple):
    """One recipient of a copy: where it goes, how it was written, and whom of the tenant it is (empty: nobody)."""

    address: str
    original: str
    person: str = ""


@dataclass(slots=True)
class Copy:
    """One copy of a message at one moment. Header names are in lower case; addresses too."""

    mail_from: str
    header_from: str
    to: tuple[str, ...]
    """Whom the message names as its recipients, as written."""
    recipients: list[Addressee]
    headers: dict[str, list[str]]
    kind: str
    subject: str
    body: str
    size_kb: float
    spf: str
    dkim: str
    dmarc_policy: str
    verdict: str
    own_spf: str = "none"
    own_dkim: str = "none"
    """What SPF and DKIM say of mail from the sender's own servers."""
    source_ip: str = ""
    """The last hop before the service; empty for mail that was born inside it or comes from another tenant."""
    certificate: str = ""
    passes: int = 0
    scans: int = 0
    own_ip: str = ""
    """Where the message came from in the first place."""
    sealed_by: str = ""
    """The domain of a scanner that sealed it (ARC) when it still passed DMARC."""
    is_internal: bool = False
    """Authenticated as internal (AuthAs)."""
    came_redirected: bool = False
    """Came with the header of a rule that redirected it in an earlier pass."""
    scl: int | None = None
    """Spam confidence level, set by the connection filter or a rule."""
    route: str = ""
    """The outbound connector that a rule chose."""
    passage: Passage | None = None
    """What the tenant that has it remembers of it."""
    arrival: Copy | None = None
    """The copy as it came to the tenant that has it, for another try; where passages are remembered only."""

    def fork(self, recipients: list[Addressee]) -> Copy:
        """Return a copy of its own for these recipients."""
        values = {name: getattr(self, name) for name in _COPY_FIELDS}
        headers = {name: list(texts) for name, texts in self.headers.items()}
        return Copy(**{**values, "recipients": recipients, "headers": headers})


_COPY_FIELDS = tuple(each.name for each in fields(Copy))


@dataclass(frozen=True, slots=True)
class Hop:
    """A direction of a scanner: where it takes messages, and how it gives them back."""

    scanner: Mapping[str, Any]
    is_inbound: bool

    @property
    def egress(self) -> list[str]:
        """Its addresses."""
        ranges: list[str] = self.scanner.get("inbound_egress" if self.is_inbound else "outbound_egress") or []
        return ranges

    @property
    def certificate(self) -> str:
        """The name in its certificate."""
        name = self.scanner.get("inbound_certificate" if self.is_inbound else "outbound_certificate") or ""
        return str(name).lower()


ENDS = ("delivered", "on_premises", "relayed", "junk", "quarantined", "moderated", "deferred", "dropped", "rejected")
"""How a copy can end. Where several copies reach one address, the last of these is told: the one that somebody misses."""
_RANK = {end: number for number, end in enumerate(ENDS)}


@dataclass(slots=True)
class Record:
    """What became of a message: the end by final address, how often each rule acted, and the events on the way."""

    recipients: dict[str, dict[str, Any]] = field(default_factory=dict)
    rules: dict[str, int] = field(default_factory=dict)
    is_traced: bool = False
    """Whether passages and scans are remembered too; it costs time."""
    passages: list[Passage] = field(default_factory=list)
    scanned: list[dict[str, Any]] = field(default_factory=list)
    """What scanners saw, in order: host, direction, recipients, sender, the tenant that it came from."""
    waiting: list[Copy] = field(default_factory=list)
    """Copies that wait in a tenant's queue, each as it arrived, for one recipient."""
    journaled: dict[str, int] = field(default_factory=dict)
    """Journal reports by the address that they went to."""

    def open(self, tenant: str, copy: Copy, connector: str, *, is_judged: bool) -> None:
        """Begin a passage of a copy through a tenant, where passages are remembered."""
        if self.is_traced:
            to = tuple(each.address for each in copy.recipients)
            sender, ip = copy.mail_from, copy.source_ip
            copy.passage = Passage(tenant, sender, copy.subject, copy.size_kb, ip, to, connector, is_judged=is_judged)
            self.passages.append(copy.passage)

    def end(self, copy: Copy, addressee: Addressee, end: str, status: str = "", reason: str = "") -> None:
        """Note the end of a copy for one recipient; the worst of several ends stays, of equal ones the greatest status."""
        if copy.passage is not None:
            copy.passage.fates[addressee.address] = Fate(end, status, reason)
            if end == "deferred" and copy.arrival is not None:
                self.waiting.append(copy.arrival.fork([addressee]))
        found = self.recipients.get(addressee.address)
        if found is None or (_RANK[end], copy.scans, status) > (_RANK[found["end"]], found["scans"], found["status"]):
            self.recipients[addressee.address] = {"end": end, "scans": copy.scans, "status": status}

    def end_all(self, copy: Copy, end: str, status: str = "", reason: str = "") -> None:
        """Note the same end for all recipients of a copy."""
        for addressee in copy.recipients:
            self.end(copy, addressee, end, status, reason)

    def applied(self, rule: str, copy: Copy) -> None:
        """Count one application of a rule's actions to a copy."""
        if copy.passage is not None:
            copy.passage.note("Transport rule", (to.address for to in copy.recipients), rule)
        self.rules[rule] = self.rules.get(rule, 0) + 1
