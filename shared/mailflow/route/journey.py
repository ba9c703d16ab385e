"""The way of one message: into a tenant, through its rules, to the scanner and back, until every copy has ended."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from shared.mailflow.route import arrival
from shared.mailflow.route.model import (
    AUTHENTICATED_AS,
    RANK,
    Copy,
    End,
    Oracle,
    OutboundConnector,
    Recipient,
    Scanner,
    Sight,
    Tenant,
    World,
    domain_of,
    is_below,
)
from shared.mailflow.route.rules import Passed, apply_rules

MAXIMUM_HOPS = 10
"""How often a message may enter tenants before it is refused as a loop."""
LOOPED = "5.4.14"
_SERVICE_ADDRESS, _SERVICE_CERTIFICATE = "40.107.0.1", "mail.protection.outlook.com"
"""From where the service itself delivers to another tenant's MX (its published ranges); no connector of anybody names it."""
_MAILBOXES = ("mailbox", "shared", "public_folder")
_REPLIES = ("auto_reply", "bounce")


@dataclass(frozen=True, slots=True)
class Ending:
    """How the way ended for one recipient.

    ``level`` is the spam confidence level that a rule of the last pass set, ``by`` the connector or rule that ended it, if any.
    """

    end: End
    scans: int
    status: str = ""
    level: int | None = None
    by: str = ""


@dataclass(slots=True)
class Journey:
    """What became of a message."""

    ends: dict[str, Ending] = field(default_factory=dict)
    rules: Counter[str] = field(default_factory=Counter)

    def add(self, address: str, ending: Ending) -> None:
        """Note an end; of several copies for one address the worst is told, then the most scanned, then the greatest status."""
        known = self.ends.get(address)
        if known is None or _badness(known) < _badness(ending):
            self.ends[address] = ending


def _badness(ending: Ending) -> tuple[int, int, str]:
    return RANK[ending.end], ending.scans, ending.status


def travel(world: World, start: Copy, oracle: Oracle) -> Journey:
    """Follow a message until every copy has ended."""
    way = _Way(world, oracle)
    way.waiting.append(start)
    while way.waiting:
        copy = way.waiting.pop(0)
        if copy.hops >= MAXIMUM_HOPS:
            way.end(copy, End.REJECTED, LOOPED)
        elif copy.tenant:
            way.inside(world.tenants[copy.tenant], copy._replace(hops=copy.hops + 1), is_own=True)
        else:
            way.arrive(copy._replace(hops=copy.hops + 1))
    return way.journey


class _Way:
    """A message on its way; ``waiting`` are the copies that are between two tenants, or about to start."""

    def __init__(self, world: World, oracle: Oracle) -> None:
        self.world, self.oracle = world, oracle
        self.journey = Journey()
        self.waiting: list[Copy] = []

    def end(self, copy: Copy, end: End, status: str = "", recipients: Iterable[str] | None = None, by: str = "") -> None:
        """Note that a copy ended for its recipients."""
        for address in copy.recipients if recipients is None else recipients:
            self.journey.add(address, Ending(end, copy.scans, status, copy.scl, by))

    def arrive(self, copy: Copy) -> None:
        """Take a message from outside: whose it is decides the service over all tenants, then each tenant whether it enters."""
        owner, connector = arrival.attributed(self.world, copy, self.oracle)
        groups: dict[tuple[str, str, str], list[str]] = {}
        for address in copy.recipients:
            groups.setdefault(self._group(owner, copy.mx, address), []).append(address)
        for (name, _, status), addresses in groups.items():
            part = copy._replace(recipients=tuple(addresses))
            tenant = self.world.tenants.get(name)
            refused = status or ("" if owner or tenant is None else arrival.refusal(tenant, part))
            if refused or tenant is None:
                self.end(part, End.REJECTED, refused)
            else:
                self.inside(tenant, arrival.stamped(part, tenant, connector), is_own=owner is not None)

    def _group(self, owner: Tenant | None, mx: str, address: str) -> tuple[str, str, str]:
        """Return the tenant that a recipient's copy goes to, at whose MX it arrives, and the status if it is refused at once.

        The internet sends to the MX of each domain, a scanner all at once to that of its customer.
        """
        target = self.world.owner(address)
        if owner is None:
            return target, "", "" if target else arrival.NO_RELAY
        host = mx or target
        return (owner.id, host, "") if host in {"", owner.id} else ("", host, arrival.WRONG_TENANT)

    def inside(self, tenant: Tenant, copy: Copy, *, is_own: bool) -> None:
        """Take a copy through a tenant: find the recipients, apply the rules, deliver. ``is_own``: the tenant's own mail."""
        if copy.tenant:
            copy = copy._replace(headers={**copy.headers, AUTHENTICATED_AS: "Internal"}, authenticated=True)
        else:
            copy = self._known(tenant, copy, arrival.UNKNOWN_OUTSIDE)  # the edge refuses while it is told the recipients
        if copy.message.verdict == "malware":
            self.end(copy, End.QUARANTINED)
            return
        copy = self._known(tenant, copy._replace(recipients=_resolved(tenant, copy.recipients)), arrival.UNKNOWN_INSIDE)
        if not copy.recipients:
            return
        former = self.world.former.get(tenant.id)
        if former is not None and self.oracle(f"server:{copy.hops}"):
            tenant = former
        sight = Sight(copy, tenant, self.oracle)
        passed = apply_rules(sight, lambda addresses: _resolved(tenant, addresses), self.journey.rules)
        for each in passed:
            self._go_on(tenant, each, is_own=is_own)

    def _known(self, tenant: Tenant, copy: Copy, status: str) -> Copy:
        """Return the copy without recipients whom an authoritative domain does not know; these are refused with ``status``."""
        unknown = [
            address
            for address in copy.recipients
            if address not in tenant.directory and tenant.domains.get(domain_of(address)) is False
        ]
        if not unknown:
            return copy
        self.end(copy, End.REJECTED, status, unknown)
        return copy._replace(recipients=tuple(address for address in copy.recipients if address not in unknown))

    def _go_on(self, tenant: Tenant, passed: Passed, *, is_own: bool) -> None:
        copy = passed.copy
        if passed.end is not None:
            self.end(copy, passed.end, passed.status, _targets(tenant, copy), by=passed.by)
        elif passed.route:
            self._through(tenant, tenant.outbound[passed.route.casefold()], copy._replace(recipients=_targets(tenant, copy)))
        else:
            leaving: dict[tuple[OutboundConnector | None, str], list[str]] = {}
            for address in copy.recipients:
                recipient = tenant.directory.get(address)
                target = recipient.external_address if recipient else ""
                if not target and (recipient or domain_of(address) in tenant.domains):
                    self._deliver(tenant, copy._replace(recipients=(address,)), is_own=is_own)
                else:
                    domain = domain_of(target or address)
                    way = (_way_out(tenant, domain), domain)
                    leaving.setdefault(way, []).append(target or address)
            for (connector, _), addresses in leaving.items():
                self._leave(tenant, connector, copy._replace(recipients=tuple(dict.fromkeys(addresses))))

    def _deliver(self, tenant: Tenant, copy: Copy, *, is_own: bool) -> None:
        (address,) = copy.recipients
        recipient = tenant.directory.get(address)
        end = End.DELIVERED if is_own else arrival.filtered(tenant, copy, self.oracle)
        if recipient is None and not tenant.domains[domain_of(address)]:
            self.end(copy, End.REJECTED, arrival.UNKNOWN_INSIDE)
        elif recipient is None or recipient.kind not in _MAILBOXES:
            self.end(copy, End.ON_PREMISES if end in {End.DELIVERED, End.JUNK} else end)
        else:
            forwards = end is End.DELIVERED and recipient.forwards_to
            if not forwards:
                self.end(copy, end)
            if end is End.DELIVERED:
                self._react(tenant, recipient, copy)

    def _react(self, tenant: Tenant, recipient: Recipient, copy: Copy) -> None:
        """Send what a mailbox sends by itself: a forward keeps the envelope's sender, an automatic reply has a null one."""
        base = copy._replace(tenant=tenant.id, mx="", source_ip="", certificate="", via_scanner=False, scl=None)
        if recipient.forwards_to:
            self.waiting.append(base._replace(recipients=(recipient.forwards_to,), kind="auto_forward"))
        if recipient.auto_replies and copy.mail_from and copy.kind not in _REPLIES:
            self.waiting.append(_reply(base, recipient.address))

    def _leave(self, tenant: Tenant, connector: OutboundConnector | None, copy: Copy) -> None:
        """Send a copy out by the connector for its recipients' domain, or else to that domain's MX."""
        if domain_of(copy.header_from) in tenant.domains:
            copy = copy._replace(modified=False)  # it is signed when it leaves
        if connector is not None and not connector.uses_mx:
            self._through(tenant, connector, copy)
        elif self.world.owner(copy.recipients[0]):
            self.waiting.append(
                copy._replace(
                    tenant="",
                    mx="",
                    source_ip=_SERVICE_ADDRESS,
                    certificate=_SERVICE_CERTIFICATE,
                    via_scanner=False,
                    authenticated=False,
                )
            )
        else:
            self.end(copy, End.RELAYED)

    def _through(self, tenant: Tenant, connector: OutboundConnector, copy: Copy) -> None:
        """Hand a copy to a connector's host: a scanner gives it back; what others do is theirs."""
        for scanner in self._scanners(tenant):
            if scanner.inbound_host in connector.hosts:
                self._return_inbound(tenant, scanner, copy)
                return
            if scanner.outbound_host in connector.hosts:
                returned = _scanned(scanner, copy, scanner.outbound_egress, scanner.outbound_certificate)
                self.waiting.append(returned._replace(mx=tenant.id))
                return
        self.end(copy, End.ON_PREMISES if connector.is_on_premises else End.RELAYED, by=connector.name)

    def _scanners(self, tenant: Tenant) -> Iterable[Scanner]:
        """The scanners, the tenant's own first: two customers share the hosts of one."""
        return sorted(self.world.scanners, key=lambda scanner: scanner.tenant != tenant.id)

    def _return_inbound(self, tenant: Tenant, scanner: Scanner, copy: Copy) -> None:
        """Give inbound mail back, with the verdict, to the tenant of each recipient; what is nobody's to where it came from."""
        returned = _scanned(scanner, copy, scanner.inbound_egress, scanner.inbound_certificate)
        name = scanner.verdict_header
        if name:  # one more header of that name, beside what the message may bring
            text = f"{returned.headers[name]}\n{scanner.secret}" if name in returned.headers else scanner.secret
            returned = returned._replace(headers={**returned.headers, name: text})
        groups: dict[str, list[str]] = {}
        for address in copy.recipients:
            groups.setdefault(self.world.owner(address), []).append(address)
        self.waiting += [
            returned._replace(mx=owner or tenant.id, recipients=tuple(addresses)) for owner, addresses in groups.items()
        ]


def _reply(copy: Copy, replier: str) -> Copy:
    """Return the automatic reply to a message: a small one of its own, with a null sender."""
    subject = f"Automatic reply: {copy.headers.get('subject', copy.message.subject)}"
    findings = {"spf": "pass", "dkim": "pass", "dmarc_policy": "none", "verdict": "none"}
    message = replace(copy.message, subject=subject, body="", size_kb=1, to=(copy.mail_from,), source_ip="", **findings)
    return Copy("", replier, (copy.mail_from,), {}, "auto_reply", message, tenant=copy.tenant, hops=copy.hops)


def _scanned(scanner: Scanner, copy: Copy, egress: tuple[str, ...], certificate: str) -> Copy:
    return copy._replace(
        tenant="",
        source_ip=egress[0] if egress else "",
        certificate=certificate,
        authenticated=False,
        scans=copy.scans + 1,
        via_scanner=True,
        modified=copy.modified or scanner.modifies,
        # A seal vouches for what was found when the message came.
        sealed=scanner.arc_domain if arrival.authenticates(copy) else "",
    )


def _resolved(tenant: Tenant, addresses: Iterable[str]) -> tuple[str, ...]:
    """Return whom addresses stand for: primary addresses for aliases, members for groups."""
    found: dict[str, None] = {}
    waiting, seen = list(addresses), set[str]()
    while waiting:
        address = waiting.pop(0)
        recipient = tenant.directory.get(address)
        if recipient is None:
            found[address] = None
        elif recipient.address not in seen:
            seen.add(recipient.address)
            if recipient.kind == "group":
                waiting = [*(recipient.members or ()), *waiting]
            else:
                found[recipient.address] = None
    return tuple(found)


def _targets(tenant: Tenant, copy: Copy) -> tuple[str, ...]:
    """Return the addresses that a copy goes to: a contact's is the one outside."""
    known = tenant.directory
    found = (known[each].external_address or each if each in known else each for each in copy.recipients)
    return tuple(dict.fromkeys(found))


def _way_out(tenant: Tenant, domain: str) -> OutboundConnector | None:
    """Return the connector that takes mail to the domain without a rule: one that takes all, else the most specific one."""
    general = [each for each in tenant.outbound.values() if each.is_on and not each.is_for_rules]
    for connector in general:
        if connector.takes_all:
            return connector
    matching: Mapping[int, OutboundConnector] = {
        len(pattern): each for each in reversed(general) for pattern in each.domains if is_below(domain, pattern)
    }
    return matching[max(matching)] if matching else None
