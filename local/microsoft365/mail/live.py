"""Mail through the simulated tenants as they are: their Exchange objects and people, and what they remember of each message.

A rule's change takes effect server by server, between nothing and `rule_propagation_minutes` later: each server sees the rules
as they were some time ago, and a message is looked at by a server that its id chooses, anew on each pass.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any

from local.microsoft365.exchange.tenants import TenantOrganization, exchange_objects
from local.microsoft365.mail.directory import TenantMail
from local.microsoft365.mail.journey import Journey
from local.microsoft365.mail.log import Passage, Waiting
from local.microsoft365.mail.model import Copy, Record, Switches
from local.microsoft365.mail.trace import read_message
from local.microsoft365.model import Group, Tenant
from local.microsoft365.simulation import Simulation

SERVERS = 4
"""Servers of a tenant whose rules are of different age: the first has a change at once, the last at the end of the time."""


@dataclass(frozen=True, slots=True)
class MailOrder:
    """Body of `POST /_control/mail`: one message, and what a trace says beside it."""

    message: dict[str, Any]
    """As in a trace; `message_id` may name it, `hops` tell how many tenants had it. Tenants are named by id or domain."""
    from_tenant: str = ""
    """Where the message is born; the same as the message's own."""
    to_tenant: str = ""
    """Whose MX gets it; empty: that of each recipient."""
    scanners: tuple[dict[str, Any], ...] = ()
    """As in a trace; `accepts` false: takes no message, so that they wait in the queue."""
    recipients: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Recipients by tenant beside those of its directory, such as contacts, as in a trace."""
    uncertain: dict[str, bool] = field(default_factory=dict)
    server: int | None = None
    """The server that looks at it on each pass; None: as its id says."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Body of `POST /_control/mail/queue`."""

    scanners: tuple[dict[str, Any], ...] = ()
    """In the place of those of the orders, such as ones that take messages again."""


class LivePeople(Mapping[str, Mapping[str, Any]]):
    """The recipients of a tenant by any address, looked up in its directory when asked for."""

    def __init__(self, organization: TenantOrganization, beside: Sequence[Mapping[str, Any]]) -> None:
        self._organization = organization
        self._known: dict[str, Mapping[str, Any] | None] = {}
        for item in beside:
            for address in (item["address"], *(item.get("aliases") or ())):
                self._known[str(address).lower()] = item

    def __getitem__(self, address: str) -> Mapping[str, Any]:
        if address not in self._known:
            self._known[address] = self._find(address)
        found = self._known[address]
        if found is None:
            raise KeyError(address)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter([address for address, item in self._known.items() if item is not None])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def _find(self, address: str) -> Mapping[str, Any] | None:
        recipient = self._organization.recipient(address)
        if recipient is None or "@" not in address:
            return None
        group = self._organization.tenant.groups.get(recipient.id)
        if group is not None:
            return {"address": recipient.address, "kind": "group", "members": list(self._members(group))}
        kinds = {"SharedMailbox": "shared", "GuestMailUser": "contact"}
        kind = kinds.get(recipient.type_details, "mailbox")
        outside = recipient.address if kind == "contact" else ""
        return {"address": recipient.address, "kind": kind, "external_address": outside}

    def _members(self, group: Group) -> Iterator[str]:
        for member_id in group.member_ids:
            member = self._organization.recipient(member_id)
            if member is not None and member.address:
                yield member.address


class LiveTenant(TenantMail):
    """A simulated tenant as it is now, but for its rules, which each server knows as of its own moment."""

    def __init__(self, simulation: Simulation, tenant: Tenant, order: MailOrder, message_id: str) -> None:
        objects = exchange_objects(tenant)
        document = {
            "id": tenant.id,
            "accepted_domains": objects["AcceptedDomain"],
            "inbound_connectors": objects.get("InboundConnector", ()),
            "outbound_connectors": objects.get("OutboundConnector", ()),
            "policies": objects,
            "organization": objects["OrganizationConfig"][0],
        }
        super().__init__(document)
        self.live = tenant
        self._simulation = simulation
        self._order = order
        self._message_id = message_id

    @cached_property
    def people(self) -> Mapping[str, Mapping[str, Any]]:
        """The tenant's recipients, and those of the order."""
        beside = [
            item
            for name, items in self._order.recipients.items()
            if self._simulation.store.find_tenant(name) is self.live
            for item in items
        ]
        return LivePeople(TenantOrganization(self.live, self._simulation.clock.now()), beside)

    def server(self, copy: Copy) -> int:
        """Return the server that looks at a copy: the order's, or one that follows from the message and its pass."""
        if self._order.server is not None:
            return self._order.server % SERVERS
        return zlib.crc32(f"{self._message_id}|{copy.passes}".encode()) % SERVERS

    def rules(self, server: int) -> Sequence[Mapping[str, Any]]:
        """Return the rules as this server knows them, in the order of their priority."""
        simulation = self._simulation
        lag = simulation.settings.rule_propagation_minutes * 60 * server / (SERVERS - 1)
        known = simulation.store.tenant_before(self.live.id, lag) if lag else self.live
        now = simulation.clock.now()
        rules = [rule for rule in known.exchange.get("TransportRule", ()) if _is_current(rule, now)]
        return sorted(rules, key=lambda rule: int(rule["Priority"]))


def _is_current(rule: Mapping[str, Any], now: datetime) -> bool:
    """Tell whether a rule's dates, where it has any, are met."""
    begins, ends = rule.get("ActivationDate"), rule.get("ExpiryDate")
    return not (begins and now < _moment(begins, now)) and not (ends and now >= _moment(ends, now))


def _moment(text: str, now: datetime) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=now.tzinfo)


def send(simulation: Simulation, order: MailOrder) -> dict[str, Any]:
    """Send a message through the tenants and return its outcome, its Message-ID, its passages and what scanners saw.

    Raises ValueError for an unknown tenant or switch, or a message without recipients.
    """
    message = _read(simulation, order)
    message_id = str(message["message_id"])
    journey = _journey(simulation, order, message_id)
    copy = read_message(message)
    home = str(message.get("from_tenant") or "")
    sender = journey.tenant_of(copy.mail_from) if message.get("authenticated") else None
    if home:
        journey.submit(journey.tenant(home), copy)
    elif sender is not None:
        journey.submit(sender, copy)
    else:
        edge = _tenant_id(simulation, order.to_tenant)
        journey.receive(copy, journey.tenant(edge) if edge else None)
    return _remembered(simulation, order, journey.record, message_id)


def retry(simulation: Simulation, scanners: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Try again what waits in the tenants' queues: with these scanners, or those of each order where none are given.

    Returns the outcomes, and how many messages were too old. A message that waits on is in its outcome as deferred.
    """
    outcomes, expired = [], 0
    for tenant in simulation.store.tenants.values():
        waiting, tenant.mail.waiting = tenant.mail.waiting, []
        for copy, order in waiting:
            passage = copy.passage
            if passage is None or passage.is_expired(simulation.clock.now()):
                expired += 1
                continue
            changed = replace(order, scanners=tuple(scanners)) if scanners else order
            journey = _journey(simulation, changed, passage.message_id)
            journey.resume(journey.tenant(tenant.id), copy)
            outcomes.append(_remembered(simulation, changed, journey.record, passage.message_id))
    return {"outcomes": outcomes, "expired": expired}


def _journey(simulation: Simulation, order: MailOrder, message_id: str) -> Journey:
    tenants = [LiveTenant(simulation, tenant, order, message_id) for tenant in simulation.store.tenants.values()]
    scanners = [{**each, "tenant": _tenant_id(simulation, str(each.get("tenant", "")))} for each in order.scanners]
    return Journey(tenants, scanners, Switches.read(order.uncertain), is_traced=True)


def _remembered(simulation: Simulation, order: MailOrder, record: Record, message_id: str) -> dict[str, Any]:
    """Let the tenants remember what happened to a message, and return it."""
    for passage in record.passages:
        _log(simulation, passage, message_id)
    for copy in record.waiting:
        if copy.passage is not None:
            simulation.store.tenant(copy.passage.tenant).mail.waiting.append(Waiting(copy, order))
    return {
        "message_id": message_id,
        "recipients": record.recipients,
        "rules": record.rules,
        "journal": record.journaled,
        "scanned": record.scanned,
        "passages": [{"tenant": each.tenant, "message_trace_id": each.trace_id} for each in record.passages],
    }


def _read(simulation: Simulation, order: MailOrder) -> dict[str, Any]:
    """Return an order's message with its tenant's id and a Message-ID; raises ValueError where it makes no sense."""
    if not order.message.get("recipients"):
        raise ValueError("message.recipients: somebody must get it")
    home = _tenant_id(simulation, order.from_tenant or str(order.message.get("from_tenant") or ""))
    new_id = simulation.store.default_tenant.new_id
    message_id = order.message.get("message_id") or f"<{new_id('Message')}@mail.example>"
    return {**order.message, "from_tenant": home, "message_id": message_id}


def _tenant_id(simulation: Simulation, name: str) -> str:
    if not name:
        return ""
    tenant = simulation.store.find_tenant(name)
    if tenant is None:
        raise ValueError(f"no tenant {name}")
    return tenant.id


def _log(simulation: Simulation, passage: Passage, message_id: str) -> None:
    tenant = simulation.store.tenant(passage.tenant)
    passage.message_id = message_id
    passage.trace_id = tenant.new_id("MessageTrace", message_id)
    passage.at = simulation.clock.now()
    tenant.mail.add(passage)
