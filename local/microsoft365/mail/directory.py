"""A tenant as its mail flow sees it: accepted domains, recipients, groups, connectors and policies, made ready for look-ups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from local.microsoft365.mail.addresses import domain_of, is_within
from local.microsoft365.mail.model import Addressee, Copy

_EMPTY: Mapping[str, Any] = {}


class TenantMail:
    """A tenant of a trace. Look-ups are made when they are first needed."""

    def __init__(self, tenant: Mapping[str, Any]) -> None:
        self.tenant = tenant
        self.id = str(tenant["id"])
        self.domains = {str(item["DomainName"]).lower(): item for item in tenant.get("accepted_domains") or ()}
        self._with_subdomains = [name for name, item in self.domains.items() if item.get("MatchSubDomains")]
        self._closures: dict[str, frozenset[str]] = {}

    @cached_property
    def people(self) -> Mapping[str, Mapping[str, Any]]:
        """The recipients by every address of theirs."""
        found: dict[str, Mapping[str, Any]] = {}
        for item in self.tenant.get("recipients") or ():
            for address in (item["address"], *(item.get("aliases") or ())):
                found.setdefault(address.lower(), item)
        return found

    @cached_property
    def outbound(self) -> dict[str, Mapping[str, Any]]:
        """The outbound connectors by name."""
        return {str(item["Name"]).lower(): item for item in self.tenant.get("outbound_connectors") or ()}

    @cached_property
    def on_premises_connectors(self) -> list[Mapping[str, Any]]:
        """The enabled inbound connectors of the type OnPremises."""
        return [item for item in self._inbound if item.get("ConnectorType") == "OnPremises"]

    @cached_property
    def partner_connectors(self) -> list[Mapping[str, Any]]:
        """The enabled inbound connectors of the type Partner, which is the default."""
        return [item for item in self._inbound if item.get("ConnectorType", "Partner") != "OnPremises"]

    @property
    def _inbound(self) -> list[Mapping[str, Any]]:
        return [item for item in self.tenant.get("inbound_connectors") or () if item.get("Enabled", True)]

    def server(self, copy: Copy) -> int:
        """Return the number of the server that looks at a copy; a trace has one."""
        del copy
        return 0

    def rules(self, server: int) -> Sequence[Mapping[str, Any]]:
        """Return the transport rules that a server knows, in the order of their priority."""
        del server
        return self.tenant.get("transport_rules") or ()

    def policy(self, noun: str) -> Mapping[str, Any]:
        """Return the tenant's default policy of a noun, else its first one, else an empty one."""
        policies = (self.tenant.get("policies") or _EMPTY).get(noun) or ()
        return next((item for item in policies if item.get("IsDefault")), policies[0] if policies else _EMPTY)

    def policies(self, noun: str) -> Iterable[Mapping[str, Any]]:
        """Return the tenant's objects of a noun."""
        found: Iterable[Mapping[str, Any]] = (self.tenant.get("policies") or _EMPTY).get(noun) or ()
        return found

    def organization(self, setting: str) -> Any:
        """Return a setting of the organization's configuration."""
        return (self.tenant.get("organization") or _EMPTY).get(setting)

    def accepted(self, domain: str) -> Mapping[str, Any] | None:
        """Return the accepted domain that a domain is, or is a subdomain of where that is set; None: it is not ours."""
        found = self.domains.get(domain)
        if found is None and self._with_subdomains:
            return next((self.domains[name] for name in self._with_subdomains if is_within(domain, name)), None)
        return found

    def owns(self, address: str) -> bool:
        """Tell whether an address is in a domain that we accept."""
        return self.accepted(domain_of(address)) is not None

    def is_authoritative(self, address: str) -> bool:
        """Tell whether we know every recipient in an address's domain."""
        accepted = self.accepted(domain_of(address))
        return accepted is not None and accepted.get("DomainType", "Authoritative") == "Authoritative"

    def person(self, address: str) -> str:
        """Return the primary address of whom an address means; empty: nobody here."""
        found = self.people.get(address)
        return str(found["address"]).lower() if found is not None else ""

    def members(self, group: str) -> frozenset[str] | None:
        """Return everybody in a group, nested groups included, by primary or foreign address; None: no such group."""
        known = self._closures.get(group)
        if known is not None:
            return known
        item = self.people.get(group)
        if item is None or item.get("kind") != "group":
            return None
        closure = self._closures[group] = frozenset(self._closure(item))
        return closure

    def _closure(self, group: Mapping[str, Any]) -> set[str]:
        found: set[str] = set()
        waiting = list(group.get("members") or ())
        while waiting:
            address = str(waiting.pop()).lower()
            primary = self.person(address) or address
            if primary in found:
                continue
            found.add(primary)
            item = self.people.get(address, _EMPTY)
            if item.get("kind") == "group":
                waiting.extend(item.get("members") or ())
        return found

    def resolve(self, recipients: Iterable[Addressee]) -> list[Addressee]:
        """Return the final recipients: aliases as primary addresses, groups as members, contacts as their outside address.

        Nobody comes twice, and groups may contain each other.
        """
        found: dict[str, Addressee] = {}
        expanded: set[str] = set()
        waiting = list(recipients)
        waiting.reverse()
        while waiting:
            addressee = waiting.pop()
            item = self.people.get(addressee.address)
            if item is None:
                found.setdefault(addressee.address, addressee)
                continue
            primary = str(item["address"]).lower()
            kind = item.get("kind")
            if kind == "group":
                if primary not in expanded:
                    expanded.add(primary)
                    members = [str(member).lower() for member in item.get("members") or ()]
                    waiting.extend(Addressee(member, member) for member in reversed(members))
                continue
            outside = str(item.get("external_address") or "").lower() if kind == "contact" else ""
            address = outside or primary
            found.setdefault(address, Addressee(address, addressee.original, primary))
        return list(found.values())
