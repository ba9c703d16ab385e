"""One message's way: through tenants, scanners and back, until every copy has ended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from local.microsoft365.mail import filters
from local.microsoft365.mail.addresses import domain_of, first_address
from local.microsoft365.mail.attribution import attribute, is_internal, partner_name, refusal, refused_recipients
from local.microsoft365.mail.directory import TenantMail
from local.microsoft365.mail.journal import reports
from local.microsoft365.mail.log import Fate
from local.microsoft365.mail.model import (
    AUTHENTICATED_AS,
    CROSS_PREMISES_HEADERS,
    LOOP_HEADER,
    MAXIMUM_PASSES,
    ORGANIZATION_HEADERS,
    Addressee,
    Copy,
    Hop,
    Record,
    Switches,
)
from local.microsoft365.mail.rules import Rule, RulePass, enforced
from local.microsoft365.mail.ways import connector_for

SERVICE_ADDRESS = "40.107.0.1"
"""Stands for the service's own servers (learn.microsoft.com/microsoft-365/enterprise/urls-and-ip-address-ranges)."""
_UNANSWERED = frozenset({"auto_reply", "bounce"})
"""Kinds that no mailbox answers by itself."""


class Journey:
    """Carries the copies of one message between tenants, scanners and the internet."""

    def __init__(
        self,
        tenants: Iterable[TenantMail],
        scanners: Iterable[Mapping[str, Any]],
        switches: Switches,
        *,
        is_traced: bool = False,
    ) -> None:
        self._tenants = list(tenants)
        self._switches = switches
        self._hops: dict[tuple[str, str], Hop] = {}
        for scanner in scanners:
            for name in ("inbound_host", "outbound_host"):
                host, hop = str(scanner.get(name) or "").lower(), Hop(scanner, name == "inbound_host")
                if host:
                    # A host may serve several tenants, each with its own secret; another tenant gets what the first one has.
                    self._hops.setdefault((str(scanner.get("tenant") or ""), host), hop)
                    self._hops.setdefault(("", host), hop)
        self._rules: dict[tuple[str, int], list[Rule]] = {}
        self.record = Record(is_traced=is_traced)

    def tenant_of(self, address: str) -> TenantMail | None:
        """Return the tenant that accepts mail for an address."""
        domain = domain_of(address)
        return next((tenant for tenant in self._tenants if tenant.accepted(domain) is not None), None)

    def tenant(self, name: str) -> TenantMail:
        """Return a tenant by its id. Raises ValueError for an unknown one."""
        found = next((tenant for tenant in self._tenants if tenant.id == name), None)
        if found is None:
            raise ValueError(f"no tenant {name}")
        return found

    def receive(self, copy: Copy, edge: TenantMail | None = None) -> str:
        """Take a message from a server on the internet, on premises, or a scanner: find whose it is, and go on there.

        `edge` is the tenant whose MX the server gave it to; None: to that of each recipient. Returns what the server is
        answered: the enhanced status of the first refusal, empty when all was taken. A message that has been through too many
        tenants is refused whole, whoever is to get it.
        """
        if copy.passes >= MAXIMUM_PASSES:
            self.record.end_all(copy, "rejected", "5.4.14")
            return "5.4.14"
        found = attribute(self._tenants, copy, self._switches)
        if found is not None and edge is found[0]:
            return self._pass(edge, copy, found[1])
        answer = ""
        for owner, recipients in self._by_tenant(copy.recipients).items():
            part = copy.fork(recipients)
            reached = edge or owner
            if found is not None and reached in (None, found[0]):
                status = self._pass(found[0], part, found[1])
            elif found is None and owner is not None:
                status = self._pass(owner, part, None)
            else:
                status = "5.7.64" if found is None else "5.4.14"
                self.record.end_all(part, "rejected", status)
            answer = answer or status
        return answer

    def _by_tenant(self, recipients: Iterable[Addressee]) -> dict[TenantMail | None, list[Addressee]]:
        found: dict[TenantMail | None, list[Addressee]] = {}
        for to in recipients:
            found.setdefault(self.tenant_of(to.address), []).append(to)
        return found

    def submit(self, tenant: TenantMail, copy: Copy) -> None:
        """Take a message that is born inside a tenant."""
        copy.source_ip = copy.certificate = ""
        copy.is_internal = True
        copy.headers[AUTHENTICATED_AS] = ["Internal"]
        self._process(tenant, copy, "", is_judged=False)

    def _pass(self, tenant: TenantMail, copy: Copy, connector: Mapping[str, Any] | None) -> str:
        """Let a message from outside into a tenant, or refuse it at its edge; return the status of a refusal."""
        self._strip(copy, connector)
        copy.is_internal = is_internal(tenant, connector, copy)
        copy.headers[AUTHENTICATED_AS] = ["Internal" if copy.is_internal else "Anonymous"]
        status = self._refusal(tenant, copy) if connector is None else ""
        if status:
            self.record.end_all(copy, "rejected", status)
            return status
        unknown = refused_recipients(tenant, copy.recipients)
        for to in unknown:
            self.record.end(copy, to, "rejected", "5.4.1")
        copy.recipients = [to for to in copy.recipients if to not in unknown]
        if copy.recipients:
            self._process(tenant, copy, self._connector_name(tenant, copy, connector), is_judged=connector is None)
        return "5.4.1" if unknown else ""

    def _connector_name(self, tenant: TenantMail, copy: Copy, connector: Mapping[str, Any] | None) -> str:
        """Return the name of the inbound connector that a message came through, where that is remembered."""
        if not self.record.is_traced:
            return ""
        return str(connector["Name"]) if connector is not None else partner_name(tenant, copy)

    def _refusal(self, tenant: TenantMail, copy: Copy) -> str:
        """Return the status with which a tenant refuses mail that is not its own; empty: it doesn't."""
        if filters.blocks(tenant, copy):
            return "5.7.1"
        status = refusal(tenant, copy)
        return status or ("5.7.509" if filters.spoof_action(tenant, copy) == "Reject" else "")

    def _strip(self, copy: Copy, connector: Mapping[str, Any] | None) -> None:
        """Take off what only the service itself may say; a hybrid connector lets the other half say it."""
        promotes = connector is not None and bool(connector.get("CloudServicesMailEnabled"))
        promoted = {
            ORGANIZATION_HEADERS + name.removeprefix(CROSS_PREMISES_HEADERS): texts
            for name, texts in copy.headers.items()
            if promotes and name.startswith(CROSS_PREMISES_HEADERS)
        }
        _remove_own(copy)
        copy.headers |= promoted

    def _process(self, tenant: TenantMail, copy: Copy, connector: str, *, is_judged: bool) -> None:
        """One pass of a tenant: its hops are counted, malware is looked for, then its rules and ways follow."""
        self.record.open(tenant.id, copy, connector, is_judged=is_judged)
        copy.passes += 1
        if copy.passes > MAXIMUM_PASSES:
            self.record.end_all(copy, "rejected", "5.4.14")
        elif copy.verdict == "malware":
            self.record.end_all(copy, "quarantined", reason="Malware")
        else:
            self._look(tenant, copy, is_judged=is_judged)

    def resume(self, tenant: TenantMail, copy: Copy) -> None:
        """Look again at a copy that waited in a tenant's queue, as it arrived."""
        self._look(tenant, copy, is_judged=copy.passage is not None and copy.passage.is_judged)

    def _look(self, tenant: TenantMail, copy: Copy, *, is_judged: bool) -> None:
        """Find a copy's recipients, let the rules act, and send what is left on."""
        if copy.passage is not None:
            copy.arrival = copy.fork(copy.recipients)
            lists = [to.address for to in copy.recipients if tenant.members(to.address) is not None]
            copy.passage.fates |= dict.fromkeys(lists, Fate("expanded"))
        copy.recipients = self._known(tenant, copy, tenant.resolve(copy.recipients))
        copy.route = ""
        copy.scl = filters.SKIP if filters.allows(tenant, copy) else None
        if not self._switches.loop_header_survives:
            copy.headers.pop(LOOP_HEADER, None)
        copy.came_redirected = LOOP_HEADER in copy.headers
        server = tenant.server(copy)
        rules = self._rules.get((tenant.id, server))
        if rules is None:
            rules = self._rules[tenant.id, server] = enforced(tenant.rules(server))
        left = RulePass(tenant, rules, self._switches, self.record).run(copy)
        for address in reports(tenant, left):
            self.record.journaled[address] = self.record.journaled.get(address, 0) + 1
        for each in left:
            self._route(tenant, each, is_judged=is_judged)

    def _known(self, tenant: TenantMail, copy: Copy, recipients: list[Addressee]) -> list[Addressee]:
        """Return the recipients without those whom nobody here knows, for whom the sender is told so before any rule acts."""
        unknown = refused_recipients(tenant, recipients)
        for to in unknown:
            self.record.end(copy, to, "rejected", "5.1.10")
        return [to for to in recipients if to not in unknown] if unknown else recipients

    def _route(self, tenant: TenantMail, copy: Copy, *, is_judged: bool) -> None:
        """Send each recipient's copy on: by the connector that a rule chose, to a mailbox, on premises, or outside."""
        if copy.route:
            self._send(tenant, copy, tenant.outbound[copy.route])
            return
        outside: dict[str, list[Addressee]] = {}
        connectors: dict[str, Mapping[str, Any] | None] = {}
        for to in copy.recipients:
            if tenant.owns(to.address):
                self._arrive(tenant, copy, to, is_judged=is_judged)
                continue
            connector = connector_for(tenant, domain_of(to.address))
            name = str(connector["Name"]) if connector is not None else ""
            connectors[name] = connector
            outside.setdefault(name, []).append(to)
        for name, recipients in outside.items():
            self._send(tenant, copy.fork(recipients), connectors[name])

    def _arrive(self, tenant: TenantMail, copy: Copy, to: Addressee, *, is_judged: bool) -> None:
        """End a copy at a recipient in a domain of ours."""
        person = tenant.people.get(to.address)
        end, reason = filters.content_end(tenant, copy, self._switches) if is_judged else ("delivered", "")
        if person is None or person.get("kind") == "on_premises":
            # There, junk is only a mark on the message.
            self.record.end(copy, to, "on_premises" if end in ("delivered", "junk") else end, reason=reason)
            return
        forward = str(person.get("forwards_to") or "").lower()
        if end == "delivered" and forward:
            if copy.passage is not None:
                copy.passage.fates[to.address] = Fate("delivered")
            self._forward(tenant, copy, forward)
            return
        self.record.end(copy, to, end, reason=reason)
        if end == "delivered" and person.get("auto_replies") and copy.kind not in _UNANSWERED and copy.mail_from:
            self._reply(tenant, copy, to)

    def _forward(self, tenant: TenantMail, copy: Copy, address: str) -> None:
        """A mailbox sends on what it gets: the sender stays, so that the envelope's is foreign."""
        forwarded = copy.fork([Addressee(address, address)])
        forwarded.kind = "auto_forward"
        self.submit(tenant, forwarded)

    def _reply(self, tenant: TenantMail, copy: Copy, to: Addressee) -> None:
        """A mailbox answers by itself, with the null sender (RFC 3834); what one message sets off is counted as one way."""
        reply = Copy(
            mail_from="",
            header_from=to.address,
            to=(copy.mail_from,),
            recipients=[Addressee(copy.mail_from, copy.mail_from)],
            headers={},
            kind="auto_reply",
            subject=f"Automatic reply: {copy.subject}",
            body="",
            size_kb=1,
            spf="pass",
            dkim="pass",
            dmarc_policy="none",
            verdict="none",
            own_spf="pass",
            own_dkim="pass",
            passes=copy.passes,
        )
        self.submit(tenant, reply)

    def _send(self, tenant: TenantMail, copy: Copy, connector: Mapping[str, Any] | None) -> None:
        """Send a copy out of a tenant, through a connector or to the recipients' MX."""
        _remove_own(copy)
        name, hosts = (str(connector["Name"]), connector.get("SmartHosts") or ()) if connector is not None else ("", ())
        host = str(hosts[0]).lower() if hosts else ""
        hop = self._hops.get((tenant.id, host)) or self._hops.get(("", host))
        if hop is not None and not hop.scanner.get("accepts", True):
            self.record.end_all(copy, "deferred")
            _note_way(copy, Fate("deferred", host=host, to_ip=first_address(hop.egress)), name)
            return
        _note_way(copy, Fate("sent", host=host, to_ip=first_address(hop.egress) if hop is not None else ""), name)
        copy.passage = None
        is_on_premises = connector is not None and connector.get("ConnectorType") == "OnPremises"
        if hop is not None:
            self._scan(tenant, copy, hop)
        elif is_on_premises or host:
            self.record.end_all(copy, "on_premises" if is_on_premises else "relayed")
        else:
            self._send_by_mx(tenant, copy)

    def _send_by_mx(self, sender: TenantMail, copy: Copy) -> None:
        """Send a copy to the MX of each domain: another tenant here, or the internet.

        The service sends from its own addresses and signs for its tenant: for a foreign sender SPF fails; for none it is
        asked of the greeting's name (RFC 7208 2.4), which is the service's own.
        """
        copy.source_ip, copy.certificate, copy.sealed_by = SERVICE_ADDRESS, "", ""
        if not copy.mail_from or sender.owns(copy.mail_from):
            copy.spf = copy.own_spf
        elif copy.spf == "pass":
            copy.spf = "fail"
        copy.dkim = copy.own_dkim if sender.owns(copy.header_from) else copy.dkim
        by_domain: dict[str, list[Addressee]] = {}
        for to in copy.recipients:
            by_domain.setdefault(domain_of(to.address), []).append(to)
        for recipients in by_domain.values():
            part, tenant = copy.fork(recipients), self.tenant_of(recipients[0].address)
            if tenant is None:
                self.record.end_all(part, "relayed")
            else:
                self._pass(tenant, part, None)

    def _scan(self, tenant: TenantMail, copy: Copy, hop: Hop) -> None:
        """A scanner takes a copy and gives it back: from its own address, with its verdict, the sender as it was."""
        scanner = hop.scanner
        copy.scans += 1
        if self.record.is_traced:
            self.record.scanned.append(_seen(tenant, copy, hop))
        copy.sealed_by = str(scanner.get("arc_domain") or "").lower() if filters.passes_dmarc(copy) else ""
        copy.source_ip, copy.certificate = first_address(hop.egress), hop.certificate
        if copy.own_ip and copy.source_ip == copy.own_ip:
            copy.spf = copy.own_spf
        elif copy.spf == "pass":
            copy.spf = "fail"
        if scanner.get("modifies") and copy.dkim == "pass":
            copy.dkim = "fail"
        verdict = scanner.get("verdict") or "none"
        if hop.is_inbound and verdict != "none":
            name = str((scanner.get("verdict_headers") or {}).get(verdict) or "").lower()
            copy.headers.setdefault(name, []).append(str(scanner.get("secret") or ""))
        self._give_back(tenant, copy, hop)

    def _give_back(self, tenant: TenantMail, copy: Copy, hop: Hop) -> None:
        """Return a scanned copy: to the MX of the tenant that it came from, or, by an inbound host, of its recipients."""
        number = len(self.record.scanned) - 1
        owned = [to for to in copy.recipients if hop.is_inbound and self.tenant_of(to.address) is not None]
        others = [to for to in copy.recipients if to not in owned]
        parts: tuple[tuple[list[Addressee], TenantMail | None], ...] = ((owned, None), (others, tenant))
        answers = [self.receive(copy.fork(recipients), edge) for recipients, edge in parts if recipients]
        if self.record.is_traced:
            status = next((answer for answer in answers if answer), "")
            self.record.scanned[number]["answer"] = f"550 {status}" if status else "250 2.6.0"


def _note_way(copy: Copy, fate: Fate, connector: str) -> None:
    """Remember that a copy left by a connector, or that it couldn't."""
    if copy.passage is not None:
        to = [each.address for each in copy.recipients]
        copy.passage.fates |= dict.fromkeys(to, fate)
        copy.passage.note("Send external" if fate.end == "sent" else "Defer", to, fate.host, connector)


def _seen(tenant: TenantMail, copy: Copy, hop: Hop) -> dict[str, Any]:
    return {
        "direction": "inbound" if hop.is_inbound else "outbound",
        "tenant": tenant.id,
        "mail_from": copy.mail_from,
        "recipients": [to.address for to in copy.recipients],
    }


def _remove_own(copy: Copy) -> None:
    for name in [name for name in copy.headers if name.startswith((ORGANIZATION_HEADERS, CROSS_PREMISES_HEADERS))]:
        del copy.headers[name]
