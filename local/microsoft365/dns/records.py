"""What the simulated DNS knows: the records of the tenants' domains, those that somebody has put in their place, and faults.

At first every domain that takes mail is published as Microsoft 365 asks for it (`service_records`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from local.microsoft365.model import Tenant
from local.microsoft365.service_records import TTL, service_records

_KEPT_QUESTIONS = 10_000
_LONGEST_CHAIN = 8


class Trouble(StrEnum):
    """What a fault answers: a response code of RFC 1035, or nothing at all."""

    NXDOMAIN = "NXDOMAIN"
    SERVFAIL = "SERVFAIL"
    REFUSED = "REFUSED"
    TIMEOUT = "TIMEOUT"
    """No answer ever comes."""
    TRUNCATED = "TRUNCATED"
    """Over UDP an empty answer that asks for TCP, as for one that is too long."""


@dataclass(frozen=True, slots=True)
class DnsFault:
    """What happens to the next `times` questions about a name; None meets every name."""

    trouble: Trouble
    name: str | None = None
    times: int = 1


@dataclass(frozen=True, slots=True)
class Records:
    """The records of one name and one type, in the form of a zone file."""

    name: str
    type: str
    values: tuple[str, ...]
    ttl: int = TTL


@dataclass(frozen=True, slots=True)
class Found:
    """What is known for a question: the chain of records that leads to the answer, and whether the last name exists."""

    chain: tuple[Records, ...]
    exists: bool


def canonical(name: str) -> str:
    """Return a name in lower case without the dot at its end."""
    return name.lower().rstrip(".")


@dataclass(slots=True)
class DnsRecords:
    """The data of the DNS server. `tenants` is live: a domain that is added there is published here."""

    tenants: Mapping[str, Tenant]
    changed: dict[tuple[str, str], Records] = field(default_factory=dict)
    """By name and type, in the place of what a domain publishes at first; no values: there is none."""
    faults: list[DnsFault] = field(default_factory=list)
    questions: deque[tuple[str, str, str]] = field(default_factory=lambda: deque(maxlen=_KEPT_QUESTIONS))
    """Name, type and transport of what was asked, oldest first."""

    def put(self, records: Records) -> None:
        """Publish records in the place of those of the same name and type; none takes them away."""
        kept = replace(records, name=canonical(records.name), type=records.type.upper())
        self.changed[kept.name, kept.type] = kept

    def clear(self) -> None:
        """Publish everything as at first, without faults; forget what was asked."""
        self.changed.clear()
        self.faults.clear()
        self.questions.clear()

    def all(self) -> list[Records]:
        """Return everything that is published, by name and type."""
        published = {(each.name, each.type): each for each in self._at_first()} | self.changed
        return [published[key] for key in sorted(published) if published[key].values]

    def find(self, name: str, kind: str) -> Found:
        """Return what answers a question; a CNAME is followed, as resolvers do."""
        published = self.all()
        chain: list[Records] = []
        wanted = canonical(name)
        while len(chain) < _LONGEST_CHAIN:
            here = {each.type: each for each in published if each.name == wanted}
            if kind in here:
                return Found((*chain, here[kind]), exists=True)
            if "CNAME" not in here:
                return Found(tuple(chain), exists=bool(here) or self._has_below(published, wanted))
            chain.append(here["CNAME"])
            wanted = canonical(here["CNAME"].values[0])
        return Found(tuple(chain), exists=True)

    def take_fault(self, name: str, transport: str) -> Trouble | None:
        """Return the first fault that waits for a question about this name, used once."""
        for position, fault in enumerate(self.faults):
            is_met = fault.name is None or canonical(fault.name) == canonical(name)
            if is_met and (fault.trouble is not Trouble.TRUNCATED or transport == "udp"):
                self.faults[position : position + 1] = [replace(fault, times=fault.times - 1)] if fault.times > 1 else []
                return fault.trouble
        return None

    def _has_below(self, published: list[Records], name: str) -> bool:
        """Whether a name without records exists: it is a tenant's domain, or stands above a name that has some."""
        owned = any(name in tenant.domains for tenant in self.tenants.values())
        return owned or any(each.name.endswith(f".{name}") for each in published)

    def _at_first(self) -> Iterator[Records]:
        for tenant in self.tenants.values():
            for domain in tenant.domains.values():
                for record in service_records(domain):
                    preference = "" if record.preference is None else f"{record.preference} "
                    value = f'"{record.value}"' if record.type == "TXT" else f"{preference}{record.value}."
                    yield Records(record.name, record.type, (value,))
