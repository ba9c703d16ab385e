"""At every call of apply, activation, pause and removal no message is lost, looped, scanned twice or let past by a forged header.

The simulated Exchange carries out the calls in this process; its own evaluator, which knows nothing of Grantline, carries
messages through what it holds before and after each call. Rules spread server by server (real-tenants.md 11): a message may meet
one server that has the rules of one moment and come back to another that has those of any other moment of the same hour.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from local.microsoft365.exchange.tenants import TenantOrganization
from local.microsoft365.mail.directory import TenantMail
from local.microsoft365.mail.journey import Journey
from local.microsoft365.mail.model import Copy, Switches
from local.microsoft365.mail.rules import Rule, enforced
from local.microsoft365.mail.trace import read_message
from shared.domain.grant import Direction, Intent, Scope, ScopeKind
from shared.mailflow.desired import Request, Routing, certificate_name, header_name
from shared.mailflow.diff import Change
from shared.mailflow.undo import routing_off
from shared.mailflow.verdict import verdict_secret
from tests.mailflow.tenants import NOW, PEOPLE, WHERE, Grant, Simulated, tenants
from tests.unit.mailflow.requests import GRANT_ID, SETTINGS

Trace = dict[str, Any]
FINE = frozenset({"delivered", "relayed", "on_premises"})
"""Where a message ends that is neither lost nor kept from its reader."""
CALM = settings(
    deadline=None,
    derandomize=True,
    max_examples=8,
    phases=(Phase.explicit, Phase.generate),  # a tenant does not get smaller in an hour of trying
    suppress_health_check=list(HealthCheck),
)
SECRET = verdict_secret(SETTINGS.sealing_key, GRANT_ID)
LOOP = "X-MS-Exchange-Transport-Rules-Loop"
OUTSIDE = {
    "source_ip": "198.18.0.7",
    "spf": "pass",
    "dkim": "pass",
    "mail_from": "eve@fabrikam.com",
    "header_from": "eve@fabrikam.com",
}
SPOOFED = {**OUTSIDE, "dkim": "none", "header_from": "user0@contoso.com"}
INSIDE = {"from_tenant": "contoso", "mail_from": "user0@contoso.com", "header_from": "user0@contoso.com", "authenticated": True}
OUR_VERDICTS = ("Grantline Inline Inbound Skip Spam Filter Rule", "Grantline Inline Inbound Move to Junk Rule")


@dataclass(frozen=True, slots=True)
class Sample:
    """A message, and whether the grant's routing is meant to take it to the scanner."""

    name: str
    message: Mapping[str, Any]
    direction: Direction | None = None
    is_forged: bool = False


def samples(request: Request) -> list[Sample]:
    """Return messages each way: those in scope, those that go by, and those that lie."""
    clean, junk = (header_name(request, verdict) for verdict in ("Clean", "Junk"))
    lies = {
        "verdict, secret known": {clean: SECRET},
        "junk verdict, secret known": {junk: SECRET},
        "verdict, no secret": {clean: "yes"},
        "organization header": {"X-MS-Exchange-Organization-AuthAs": "Internal"},
        "loop header": {LOOP: "fabrikam.example;1"},
    }
    return [
        Sample("to a user", {**OUTSIDE, "recipients": ["user1@contoso.com"]}, Direction.INBOUND),
        Sample("to two users", {**OUTSIDE, "recipients": ["user1@contoso.com", "user2@contoso.com"]}, Direction.INBOUND),
        Sample("to a list", {**OUTSIDE, "recipients": [WHERE]}, Direction.INBOUND),
        Sample("bounce", {**OUTSIDE, "mail_from": "", "kind": "bounce", "recipients": ["user1@contoso.com"]}, Direction.INBOUND),
        Sample("own-domain spoof", {**SPOOFED, "recipients": ["user1@contoso.com"]}, Direction.INBOUND, is_forged=True),
        Sample("encrypted", {**OUTSIDE, "kind": "encrypted", "recipients": ["user1@contoso.com"]}, Direction.INBOUND),
        *(
            Sample(name, {**OUTSIDE, "headers": headers, "recipients": ["user1@contoso.com"]}, Direction.INBOUND, is_forged=True)
            for name, headers in lies.items()
        ),
        Sample("outgoing", {**INSIDE, "recipients": ["bob@fabrikam.com"]}, Direction.OUTBOUND),
        Sample("outgoing reply", {**INSIDE, "mail_from": "", "kind": "auto_reply", "recipients": ["bob@fabrikam.com"]}),
        Sample(
            "outgoing forward",
            {**INSIDE, "mail_from": "eve@fabrikam.com", "kind": "auto_forward", "recipients": ["b@adatum.com"]},
        ),
        Sample("inside and outside", {**INSIDE, "recipients": ["user1@contoso.com", "bob@fabrikam.com"]}),
        Sample("internal", {**INSIDE, "recipients": ["user1@contoso.com"]}),
    ]


class Servers(TenantMail):
    """A tenant with two servers: the first looks at a message when it comes, the second each time that it comes back."""

    def server(self, copy: Copy) -> int:
        """Return the server of this pass."""
        return min(copy.passes, 2) - 1


@dataclass(frozen=True, slots=True)
class Moment:
    """What the tenant holds at one moment; ``rules`` as its servers evaluate them."""

    tenant: Servers
    rules: list[Rule]


def moment(simulated: Simulated) -> Moment:
    """Freeze the tenant as it is now, in the form of a trace."""
    tenant = simulated.exchange.tenant
    held = TenantOrganization(tenant, NOW)

    def read(noun: str) -> list[Trace]:
        return deepcopy(held.objects(noun))

    rules = sorted(read("TransportRule"), key=lambda rule: int(rule["Priority"]))
    people = [{"address": user.mail, "kind": "mailbox"} for user in tenant.users]
    groups = [
        {"address": group["PrimarySmtpAddress"], "kind": "group", "members": _addresses(held, group["Guid"])}
        for group in read("DistributionGroup")
    ]
    mail = Servers(
        {
            "id": "contoso",
            "accepted_domains": [{"DomainName": domain.name} for domain in held.accepted_domains()],
            "recipients": [*people, *groups],
            "inbound_connectors": read("InboundConnector"),
            "outbound_connectors": read("OutboundConnector"),
            "transport_rules": rules,
            "policies": {noun: read(noun) for noun in ("HostedContentFilterPolicy", "HostedConnectionFilterPolicy", "ArcConfig")},
        }
    )
    return Moment(mail, enforced(rules))


def _addresses(held: TenantOrganization, group_id: str) -> list[str]:
    found = (held.recipient(member) for member in held.members(group_id))
    return [recipient.address for recipient in found if recipient]


def scanner(request: Request) -> Trace:
    """Return the scanner that the grant's settings name."""
    parts = request.scanner
    return {
        "tenant": "contoso",
        "inbound_host": parts.inbound_host,
        "outbound_host": parts.outbound_host,
        "inbound_egress": list(parts.inbound_egress),
        "outbound_egress": list(parts.outbound_egress),
        "inbound_certificate": parts.inbound_host,
        "outbound_certificate": certificate_name(request),
        "verdict": "clean",
        "verdict_headers": {"clean": header_name(request, "Clean"), "junk": header_name(request, "Junk")},
        "secret": SECRET,
    }


def carry(request: Request, first: Moment, later: Moment, connectors: Moment, message: Mapping[str, Any]) -> Trace:
    """Carry a message that meets ``first``'s rules when it comes and ``later``'s when it comes back."""
    journey = Journey([connectors.tenant], [scanner(request)], Switches())
    journey._rules.update({("contoso", 0): first.rules, ("contoso", 1): later.rules})
    copy = read_message(message)
    if message.get("from_tenant"):
        journey.submit(connectors.tenant, copy)
    else:
        journey.receive(copy)
    return {"recipients": journey.record.recipients, "rules": journey.record.rules}


def faults(request: Request, before: Moment, moments: Sequence[Moment]) -> Iterator[str]:
    """Yield what goes wrong with any sample at any moment, whichever servers it meets."""
    different = list({str(each.tenant.rules(0)): each for each in (before, *moments)}.values())
    for sample in samples(request):
        was = carry(request, before, before, before, sample.message)["recipients"]
        for number, connectors in enumerate(moments):
            for first in different:
                for later in {id(each): each for each in (first, connectors)}.values():
                    now = carry(request, first, later, connectors, sample.message)
                    for fault in _faults(sample, was, now):
                        yield f"call {number}, {sample.name}: {fault}; was {was}, is {now}"


def _faults(sample: Sample, was: Trace, now: Trace) -> Iterator[str]:
    for address, end in was.items():
        found = now["recipients"].get(address)
        fine = FINE | {"junk"} if sample.is_forged else FINE  # who says of his own message that it is junk is believed
        if end["end"] in FINE and (found is None or found["end"] not in fine):
            yield f"{address} is lost"
    if any(end["scans"] > 1 for end in now["recipients"].values()):
        yield "scanned more than once"
    scans = any(end["scans"] for end in now["recipients"].values())
    if sample.is_forged and not scans and any(name in now["rules"] for name in OUR_VERDICTS):
        yield "a forged verdict was believed"


def wrongly_scanned(request: Request, last: Moment) -> list[str]:
    """Return the samples that are scanned, once the routing is fully on, other than they are meant to be."""
    found = []
    for sample in samples(request):
        ends = carry(request, last, last, last, sample.message)["recipients"].values()
        scans = {end["scans"] for end in ends}
        is_wanted = sample.direction in request.intent.directions
        allowed = {0, 1} if "outside" in sample.name else {0}
        if (is_wanted and scans != {1}) or (not is_wanted and not scans <= allowed):
            found.append(f"{sample.name}: {scans}")
    return found


class Recorded(Simulated):
    """A simulated tenant that keeps what it holds after each call."""

    def follow(self, pending: Sequence[Change]) -> list[Moment]:
        """Make the changes one by one; return what the tenant held before the first and after each."""
        found = [moment(self)]
        for change in pending:
            self.run([change])
            found.append(moment(self))
        return found


INTENTS = st.builds(
    lambda directions, scope: Intent(directions, scope, "standard"),
    st.sampled_from([(Direction.INBOUND,), (Direction.OUTBOUND,), tuple(Direction)]),
    st.sampled_from(
        [
            Scope(),
            Scope(ScopeKind.DOMAINS, ("contoso.com",)),
            Scope(ScopeKind.GROUP, group=WHERE),
            Scope(ScopeKind.USERS, users=PEOPLE),
        ]
    ),
)


def granted(simulated: Simulated, intent: Intent) -> tuple[Grant, Recorded]:
    """Return a grant on a tenant that is followed call by call; everybody is in the group of the scope, or chosen."""
    for number in range(4):
        simulated.exchange(
            "Add-DistributionGroupMember",
            Identity=WHERE,
            Member=f"user{number}@contoso.com",
            BypassSecurityGroupManagerCheck=True,
        )
    recorded = Recorded.__new__(Recorded)
    recorded.__dict__.update(simulated.__dict__)
    request = Request(GRANT_ID, intent, SETTINGS, (), SECRET)
    return Grant(request, recorded), recorded


@given(tenants(), INTENTS)
@CALM
def test_no_message_is_lost_looped_or_let_past_at_any_call(simulated: Simulated, intent: Intent) -> None:
    """Old and new rules side by side, while objects are made, routing goes on and off, and everything is taken back."""
    grant, recorded = granted(simulated, intent)
    before = moment(recorded)

    applied = recorded.follow(grant.pending(Routing.OFF))
    assert not list(faults(grant.request, before, applied))[:1]
    on = recorded.follow(grant.pending(Routing.ON))
    assert not list(faults(grant.request, before, [*applied[-1:], *on]))[:1]

    request, tenant = grant.view(Routing.ON)
    off = recorded.follow(routing_off(request, tenant, grant.tenant.snapshot))
    assert not list(faults(grant.request, before, off))[:1]
    # Between these two lies the drain: every server has the rules off by now, and nothing is under way.
    removed = recorded.follow(grant.removal())
    assert not list(faults(grant.request, before, removed))[:1]


@pytest.mark.parametrize("directions", [(Direction.INBOUND,), (Direction.OUTBOUND,), tuple(Direction)])
def test_no_message_is_lost_when_routing_is_resumed_repaired_or_moved(directions: tuple[Direction, ...]) -> None:
    """A pause and its end, rules that somebody took and that come back, more ranges of the scanner beside those it had."""
    grant, recorded = granted(Simulated(), Intent(directions, Scope(), "standard"))
    before = moment(recorded)
    recorded.follow(grant.pending(Routing.OFF))
    recorded.follow(grant.pending(Routing.ON))

    paused = recorded.follow(routing_off(*grant.view(Routing.ON), recorded.snapshot))
    resumed = recorded.follow(grant.pending(Routing.ON))
    assert len(resumed) == len(paused) > len(directions)
    assert not list(faults(grant.request, before, [*paused, *resumed]))[:1]
    assert not wrongly_scanned(grant.request, resumed[-1])
    assert wrongly_scanned(grant.request, paused[-1])

    for rule in resumed[-1].tenant.rules(0):
        if rule["Name"] in OUR_VERDICTS:
            recorded.exchange("Remove-TransportRule", Identity=rule["Name"])
    repaired = recorded.follow(grant.pending(Routing.KEPT))
    assert not list(faults(grant.request, before, repaired))[:1]
    assert not wrongly_scanned(grant.request, repaired[-1])

    both = _moved(grant, {way: ",".join((*_egress(grant.request, way), MORE[way])) for way in Direction})
    moved = recorded.follow(both.pending(Routing.KEPT))
    assert len(moved) > 1
    assert not list(faults(grant.request, before, moved))[:1]
    new = _moved(grant, MORE).request
    assert not list(faults(new, before, moved[-1:]))[:1]
    assert not wrongly_scanned(new, moved[-1])


MORE = {Direction.INBOUND: "203.0.113.64/28", Direction.OUTBOUND: "203.0.113.128/28"}
"""Ranges that the scanner gets besides, for each direction."""


def _moved(grant: Grant, egress: Mapping[Direction, str]) -> Grant:
    """Return the grant with other ranges of the scanner."""
    update = {f"scanner_{way}_egress": ranges for way, ranges in egress.items()}
    return Grant(replace(grant.request, settings=SETTINGS.model_copy(update=update)), grant.tenant)


def _egress(request: Request, way: Direction) -> tuple[str, ...]:
    return request.scanner.inbound_egress if way is Direction.INBOUND else request.scanner.outbound_egress


@given(INTENTS)
@CALM
def test_once_the_routing_is_on_every_message_in_scope_is_scanned_once(intent: Intent) -> None:
    """In a tenant without rules of others, what is in scope goes through the scanner, whatever headers it brings along."""
    grant, recorded = granted(Simulated(), intent)
    recorded.follow(grant.pending(Routing.OFF))
    last = recorded.follow(grant.pending(Routing.ON))[-1]

    assert not wrongly_scanned(grant.request, last)


@pytest.mark.parametrize("broken", ["order", "exception", "return", "ranges"])
def test_the_test_sees_what_would_go_wrong(broken: str) -> None:
    """The same look finds routing without a way back, loops without the exception or the ranges, rules on too early."""
    grant, recorded = granted(Simulated(), Intent(tuple(Direction), Scope(), "standard"))
    before = moment(recorded)
    recorded.follow(grant.pending(Routing.OFF))
    on = recorded.follow(grant.pending(Routing.ON))
    name = "Grantline Inline Outbound Domain Rule"
    if broken == "exception":
        recorded.exchange("Set-TransportRule", Identity=name, ExceptIfSenderIpRanges=None)
    if broken == "return":
        recorded.exchange("Remove-InboundConnector", Identity="Grantline Inline Outbound Return Connector")
    if broken == "ranges":  # replaced, not listed together
        recorded.follow(_moved(grant, MORE).pending(Routing.KEPT))
    if broken == "order":
        recorded.exchange("Set-OutboundConnector", Identity="Grantline Inline Outbound Routing Connector", Enabled=False)

    assert list(faults(grant.request, before, [*on[-1:], moment(recorded)]))
