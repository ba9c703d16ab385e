"""Sample messages by which a plan is judged: of every accepted domain, in and out of scope, and those that try to deceive.

Each says how often the scanner must have had it for whom, once everything is switched on. The people are stand-ins
(``situation``); names outside are reserved ones (RFC 2606), addresses outside documentation ones (RFC 5737).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from shared.domain.grant import Direction, ScopeKind
from shared.mailflow.desired import ALL_SENDERS, Request, header_name, scoped_domains
from shared.mailflow.route.model import AUTHENTICATED_AS
from shared.mailflow.route.situation import NEIGHBOUR, NEIGHBOUR_DOMAIN, OURS, domain_names
from shared.mailflow.route.trace import first_address

OUTSIDER, ELSEWHERE = "somebody@sender.example", "203.0.113.7"
PARTNER = "customer@receiver.example"
GUESSES = ("true", "yes", "1", "clean", "skip", "bypass")
"""What somebody who knows our headers but no secret would write into them."""
NULL_SENDER = "It has a null sender and could not return through the scanner's connector: it goes out directly."
FOREIGN_SENDER = "Its envelope sender is in no accepted domain, so that it could not return: it goes out directly."
INTERNAL = "It stays inside the organization, where no rule routes it."
OUT_OF_SCOPE = "It is out of the chosen scope."


@dataclass(frozen=True, slots=True)
class Sample:
    """One message. ``expects`` says by final address how often our scanner must have had it; ``unscanned`` why not, where never.

    ``forged``: it carries what only the scanner may write, so that no rule may believe it. ``verdict`` is what the scanner finds,
    ``modifies`` that it changes the message. ``condition`` is what must be true outside of the tenant for it to happen at all:
    what goes wrong with such a sample is told, and does not make a plan unsafe. ``unrouted``: it is sent while routing is off.
    """

    name: str
    description: str
    domain: str
    message: Mapping[str, Any] = field(repr=False)
    expects: Mapping[str, int] = field(default_factory=dict)
    unscanned: str = ""
    forged: bool = False
    verdict: str = "none"
    modifies: bool = False
    condition: str = ""
    unrouted: bool = False


@dataclass(frozen=True, slots=True)
class _Scope:
    """What is in scope, for one accepted domain."""

    request: Request
    domain: str

    def scans(self, direction: Direction, who: str = "person") -> int:
        """Return how often mail of or to somebody of the domain must be scanned."""
        intent = self.request.intent
        if direction not in intent.directions:
            return 0
        if intent.scope.is_by_people:
            return int(who == "person")
        return int(self.domain in scoped_domains(self.request))

    def scans_all_senders(self, who: str = "") -> int:
        """Return how often mail without an own envelope sender must be scanned, where all of the scope's is routed."""
        intent = self.request.intent
        routes = self.request.settings.outbound_senders == ALL_SENDERS and intent.scope.kind is not ScopeKind.DOMAINS
        return self.scans(Direction.OUTBOUND, who) if routes else 0

    def address(self, who: str) -> str:
        return f"{who}@{self.domain}"


def samples(request: Request) -> list[Sample]:
    """Return the samples of every accepted domain."""
    return [sample for domain in domain_names(request) for sample in samples_of(request, domain)]


def samples_of(request: Request, domain: str) -> list[Sample]:
    """Return the samples of one accepted domain."""
    scope = _Scope(request, domain)
    return [replace(sample, domain=domain) for make in (_inbound, _forged, _outbound, _inside) for sample in make(scope)]


def _message(sender: str, *recipients: str, **changes: Any) -> dict[str, Any]:
    """A message from outside unless ``changes`` say otherwise."""
    base = {"mail_from": sender, "header_from": sender, "recipients": list(recipients), "source_ip": ELSEWHERE, "spf": "pass"}
    return {**base, "subject": "Sample", "body": "Sample", **changes}


def _own(sender: str, *recipients: str, **changes: Any) -> dict[str, Any]:
    """A message that somebody in the tenant sends."""
    return _message(sender, *recipients, **{"from_tenant": OURS, "authenticated": True, "source_ip": "", **changes})


_TRAITS = ("forged", "verdict", "modifies", "condition", "unrouted")


def _to(scope: _Scope, who: str, name: str, description: str, **changes: Any) -> Sample:
    """A message from outside to one address; who reads it is ``changes['reader']``, else the addressee."""
    reader, sender = changes.pop("reader", who), changes.pop("sender", OUTSIDER)
    more = {key: changes.pop(key) for key in _TRAITS if key in changes}
    expected = {scope.address(reader): scope.scans(Direction.INBOUND, reader)}
    unscanned = "" if any(expected.values()) else OUT_OF_SCOPE
    message = _message(sender, scope.address(who), **changes)
    return Sample(name, description, "", message, expected, unscanned, **more)


def _inbound(scope: _Scope) -> Iterator[Sample]:
    spoof = {"sender": scope.address("person"), "spf": "fail"}
    yield _to(scope, "person", "from outside", "A message from the internet.")
    yield _to(scope, "alias", "to an alias", "A message to another address of the same mailbox.", reader="person")
    yield _to(scope, "person", "own-domain spoof", "A message from the internet that claims to come from inside.", **spoof)
    yield _to(scope, "person", "subdomain spoof", "The same, of a subdomain.", sender=f"ceo@mail.{scope.domain}", spf="fail")
    yield _to(scope, "on-premises", "to a mailbox on premises", "A message to a mailbox on the organization's own servers.")
    yield _to(scope, "person", "bounce from outside", "A report on a message that was sent.", sender="", kind="bounce")
    yield _to(scope, "person", "automatic reply from outside", "An automatic reply.", sender="", kind="auto_reply")
    yield _to(scope, "person", "encrypted from outside", "S/MIME: the scanner sees only the headers.", kind="encrypted")
    yield _to(
        scope,
        "person",
        "from a domain that asks to reject, changed by the scanner",
        "The sender's domain publishes DMARC reject, and the scanner changed the message.",
        dkim="pass",
        dmarc_policy="reject",
        modifies=True,
        condition="the scanner changes messages",
    )
    yield _to(scope, "person", "found clean", "A message that the scanner finds clean.", verdict="clean")
    contact = _message(OUTSIDER, scope.address("contact"))
    text = "A message to a contact that has an address of the tenant and reads mail elsewhere."
    own = "contacts have addresses of accepted domains"
    yield Sample("to a contact", text, "", contact, {}, OUT_OF_SCOPE, condition=own)
    readers = {scope.address(who): scope.scans(Direction.INBOUND, who) for who in ("person", "colleague")}
    group = _message(OUTSIDER, scope.address("list"))
    yield Sample("to a distribution list", "A message to a list with two members.", "", group, readers, _out(readers))
    yield _from_neighbour(scope)


def _out(expected: Mapping[str, int]) -> str:
    return "" if any(expected.values()) else OUT_OF_SCOPE


def _from_neighbour(scope: _Scope) -> Sample:
    """Another customer of the scanner, all of whose outgoing mail is scanned for them."""
    message = _own(f"person@{NEIGHBOUR_DOMAIN}", scope.address("person"), from_tenant=NEIGHBOUR)
    expected = {scope.address("person"): 1 + scope.scans(Direction.INBOUND)}
    return Sample("from another customer", "A message from another customer of the same scanner.", "", message, expected)


def _forged(scope: _Scope) -> Iterator[Sample]:
    """What somebody outside writes who knows how our rules look; a secret is never guessed, an address never forged."""
    request = scope.request
    for verdict in ("Clean", "Junk"):
        name = header_name(request, verdict)
        words = {name: " ".join(GUESSES), "X-MS-Exchange-Organization-AuthAs": "Internal"}
        text = f"A message from the internet with the header {name} and guessed words in it."
        yield _to(scope, "person", f"forged verdict: {verdict.lower()}", text, headers=words, forged=True)
    loop = {"X-MS-Exchange-Transport-Rules-Loop": "1", "X-Loop": "1"}
    yield _to(scope, "person", "forged loop mark", "A message that claims to have been scanned.", headers=loop, forged=True)
    secret = {header_name(request, "Clean"): request.secret}
    text = "A message that did not come from the scanner, with the grant's verdict secret in it."
    yield _to(scope, "person", "stolen verdict secret", text, headers=secret, forged=True, unrouted=True)
    scanner = request.scanner
    text = "A message of another customer that comes from the scanner's own address, without a verdict."
    egress = first_address(scanner.inbound_egress[0])
    message = _message(OUTSIDER, scope.address("person"), source_ip=egress, certificate=scanner.inbound_host)
    expected = {scope.address("person"): 0}
    yield Sample("from the scanner's address", text, "", message, expected, "It comes from the scanner.", forged=True)


def _outbound(scope: _Scope) -> Iterator[Sample]:
    sender = scope.address("person")
    once = {PARTNER: scope.scans(Direction.OUTBOUND)}

    def sent(name: str, description: str, **changes: Any) -> Sample:
        return Sample(name, description, "", _own(sender, PARTNER, **changes), once, _out(once))

    yield sent("to outside", "A message to the internet.")
    yield sent("encrypted to outside", "S/MIME: the scanner sees only the headers.", kind="encrypted")
    for name, description, who, why, message in (
        ("automatic reply", "Somebody is out of office.", "person", NULL_SENDER, {"header_from": sender, "kind": "auto_reply"}),
        (
            "bounce",
            "A report to somebody outside.",
            "",
            NULL_SENDER,
            {"header_from": f"postmaster@{scope.domain}", "kind": "bounce"},
        ),
        ("forward", "A mailbox forwards what it gets from outside.", "", FOREIGN_SENDER, {"kind": "auto_forward"}),
    ):
        expected = {PARTNER: scope.scans_all_senders(who)}
        envelope = OUTSIDER if name == "forward" else ""
        text = "" if any(expected.values()) else why
        yield Sample(f"{name} to outside", description, "", _own(envelope, PARTNER, **message), expected, text)
    colleague = scope.address("colleague")
    mixed = {PARTNER: once[PARTNER], colleague: 0}
    text = "One message to a colleague and to the internet."
    yield Sample("to inside and outside", text, "", _own(sender, colleague, PARTNER), mixed, _out(once))
    neighbour = f"person@{NEIGHBOUR_DOMAIN}"
    both = {neighbour: 1 + once[PARTNER]}
    text = "A message to another customer of the same scanner."
    yield Sample("to another customer", text, "", _own(sender, neighbour), both)


def _inside(scope: _Scope) -> Iterator[Sample]:
    message = _own(scope.address("person"), scope.address("colleague"))
    expected = {scope.address("colleague"): 0}
    yield Sample("inside", "A message between two people of the tenant.", "", message, expected, INTERNAL)


def forgeries(request: Request, rules: Iterable[Mapping[str, Any]], domain: str) -> Iterator[Sample]:
    """Yield, for each header that one of our rules makes a condition or exception, a message from outside that forges it.

    Words that hold the grant's secret can't be forged; the address of the scanner neither.
    """
    scope = _Scope(request, domain)
    for rule in rules:
        for prefix in ("", "ExceptIf"):
            for name, text in _forgeable(rule, prefix, request.secret):
                what = f"A message from the internet that forges {name}, which the rule '{rule['Name']}' reads."
                yield replace(_to(scope, "person", f"forged {name}", what, headers={name: text}, forged=True), domain=domain)


_HEADER_PAIRS = (("HeaderContainsMessageHeader", "HeaderContainsWords"), ("HeaderMatchesMessageHeader", "HeaderMatchesPatterns"))


def _forgeable(rule: Mapping[str, Any], prefix: str, secret: str) -> Iterator[tuple[str, str]]:
    for header, words in _HEADER_PAIRS:
        name, values = rule.get(f"{prefix}{header}"), rule.get(f"{prefix}{words}") or ()
        guessable = [str(value) for value in values if str(value).casefold() != secret.casefold()]
        if name and guessable and str(name).casefold() != AUTHENTICATED_AS:
            yield str(name), " ".join(guessable)
