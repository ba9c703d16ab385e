"""What was read of a tenant, as Exchange answered it."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.mailflow.desired import AcceptedDomain, DesiredObject, owner_mark
from shared.mailflow.kinds import KINDS, Kind

Found = Mapping[str, Any]
"""An object as a Get- cmdlet returned it."""
MEMBERS = "Members"
"""Where a group's members stand in what was read: Get-DistributionGroup itself does not return them."""


@dataclass(frozen=True, slots=True)
class TenantObjects:
    """The answers of the reads, by the name of the cmdlet."""

    answers: Mapping[str, Sequence[Found]]

    def of(self, cmdlet: str) -> Sequence[Found]:
        """Return the objects that a cmdlet returned. Raises KeyError for one that was not read: a defect."""
        return self.answers[cmdlet]

    def find(self, wanted: DesiredObject) -> Found | None:
        """Return the object that has the name of ``wanted`` (letter case does not count), whoever owns it."""
        name = wanted.name.casefold()
        return next((found for found in self.of(KINDS[wanted.kind].get) if _text(found, "Name").casefold() == name), None)

    def named(self, cmdlet: str, identity: str) -> Found | None:
        """Return the object of that name that a cmdlet returned; the only one there is for the name ""."""
        wanted = identity.casefold()
        return next((found for found in self.of(cmdlet) if not wanted or wanted in _identities(found)), None)

    def owned(self, kind: Kind, grant_ids: Collection[str]) -> tuple[Found, ...]:
        """Return the objects of a kind that bear the mark of one of these grants, whatever their names are now."""
        return tuple(found for found in self.of(KINDS[kind].get) if is_owned(found, kind, grant_ids))

    @property
    def accepted_domains(self) -> tuple[AcceptedDomain, ...]:
        """The domains that the tenant receives mail for."""
        return tuple(
            AcceptedDomain(_text(found, "DomainName"), bool(found.get("InitialDomain")), bool(found.get("Default")))
            for found in self.of("Get-AcceptedDomain")
        )

    @property
    def rule_order(self) -> list[str]:
        """The names of all rules of the tenant in the order in which they act, case-folded."""
        rules = sorted(self.of(KINDS[Kind.TRANSPORT_RULE].get), key=lambda found: int(found["Priority"]))
        return [_text(found, "Name").casefold() for found in rules]


def is_owned(found: Found, kind: Kind, grant_ids: Iterable[str]) -> bool:
    """True when the object bears the mark of one of these grants, of whatever version."""
    value = found.get(KINDS[kind].mark) or ""
    text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    return any(owner_mark(each).casefold() in text.casefold() for each in grant_ids)


def _identities(found: Found) -> frozenset[str]:
    return frozenset(_text(found, name).casefold() for name in ("Name", "Identity", "Guid"))


def _text(found: Found, name: str) -> str:
    return str(found.get(name) or "")
