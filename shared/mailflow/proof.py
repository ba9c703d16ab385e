"""What test messages prove of a tenant's mail flow: which are sent, and what message trace and the scanner say of each. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from shared.domain.grant import Direction, Facts
from shared.domain.probes import Probe, ProbeKind
from shared.mailflow.desired import Request, scoped_domains
from shared.mailflow.networks import is_within

MAXIMUM_DOMAINS = 20
"""For how many domains test messages are sent; the others have the same rules, and are told of as not proved."""
UNDER_WAY = frozenset({"Pending", "GettingStatus"})
"""The states of a message, by message trace, that say nothing for good."""
_ENDS = {
    "Delivered": "delivered",
    "FilteredAsSpam": "put into Junk Email by Microsoft",
    "Quarantined": "quarantined by Microsoft",
}
ARRIVED = frozenset(_ENDS)
"""The ends that a scanned message may have: Microsoft's own filters have their say after the scanner (real-tenants.md 7)."""
_REFUSED = "5"
"""How an answer in SMTP's words begins that refuses a message for good."""

Traced = Mapping[str, Any]
"""One passage of a message, as Get-MessageTraceV2 returns it."""


class Result(StrEnum):
    """What is known of a test message: it shows what it was to show, or does not, or nothing is known yet."""

    PASSED = "passed"
    FAILED = "failed"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was found of one test message: its passages by message trace, and the scanner's report, None without one.

    ``is_believed``, for a forged one: whether a rule that believes the scanner took it when it had not been there; None while
    message trace does not tell which rules took it.
    """

    probe: Probe
    passages: Sequence[Traced] = ()
    report: Facts | None = None
    is_believed: bool | None = None


@dataclass(frozen=True, slots=True)
class Mailboxes:
    """Who gets test messages, by domain in scope: a mailbox's own address, and another address of a mailbox."""

    primary: Mapping[str, str]
    aliases: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a test message comes to, in words; ``seconds`` is how long it took through the scanner, where that is known."""

    probe: Probe
    result: Result
    words: str
    seconds: float | None = None

    def document(self) -> dict[str, Any]:
        """Return the verdict as JSON values for people."""
        probe = self.probe
        said = {"result": str(self.result), "words": self.words, "seconds": self.seconds}
        sent = {"mail_from": probe.mail_from, "recipient": probe.recipient, "message_id": probe.message_id}
        shows = {"direction": probe.direction, "kind": probe.kind, "domain": probe.domain}
        return {"probe_id": probe.probe_id, **shows, **sent, **said}


def outside_address(request: Request) -> str:
    """Return the product's own address, outside of every tenant, that test messages come from and go to."""
    return f"probe@{request.scanner.certificate_zone}"


def probes(request: Request, number: str, mailboxes: Mailboxes) -> tuple[Probe, ...]:
    """Return the test messages of one proof: a normal one each way for each domain, one of each other kind for the first.

    A domain in which mailboxes have no more than other addresses gets its message to one of those. ``number`` tells proofs apart.
    """
    domains = [name for name in scoped_domains(request) if name in mailboxes.primary][:MAXIMUM_DOMAINS]
    others = [name for name in scoped_domains(request) if name in mailboxes.aliases]
    only = [name for name in others if name not in mailboxes.primary][:MAXIMUM_DOMAINS]
    wanted = [(way, ProbeKind.NORMAL, name) for way in request.intent.directions for name in domains]
    for way in request.intent.directions:
        if way is Direction.INBOUND:
            wanted += [(way, ProbeKind.ALIAS, name) for name in only or others[:1]]
        wanted += [(way, kind, name) for kind in _ONCE[way] for name in domains[:1]]
    return tuple(_probe(request, f"{number}-{place}", each, mailboxes) for place, each in enumerate(wanted, 1))


def unproved(request: Request, sent: Sequence[Probe]) -> list[str]:
    """Return the domains whose mail is scanned without a test message: no mailbox of theirs is known, or they are too many."""
    return sorted(set(scoped_domains(request)) - {probe.domain for probe in sent})


def judge(evidence: Evidence, request: Request) -> Verdict:
    """Return what one test message shows by now."""
    return _JUDGES.get(evidence.probe.kind, _scanned)(evidence, request)


def is_returned(passage: Traced, request: Request, direction: Direction) -> bool:
    """True for a passage that came from the scanner's addresses of this direction."""
    scanner = request.scanner
    ranges = scanner.inbound_egress if direction is Direction.INBOUND else scanner.outbound_egress
    return is_within(str(passage.get("FromIP") or ""), ranges)


def _probe(request: Request, probe_id: str, wanted: tuple[Direction, ProbeKind, str], mailboxes: Mailboxes) -> Probe:
    direction, kind, domain = wanted
    addresses = mailboxes.aliases if kind is ProbeKind.ALIAS else mailboxes.primary
    outside, inside = outside_address(request), addresses[domain]
    sender, recipient = (outside, inside) if direction is Direction.INBOUND else (inside, outside)
    message_id = f"<{request.grant_id}.{probe_id}@{request.scanner.certificate_zone}>"
    return Probe(probe_id, direction, kind, domain, sender, recipient, message_id)


def _looped(evidence: Evidence, _request: Request) -> Verdict:
    """A looped message must come to nobody: it is refused at once, which leaves no trace, or on its way."""
    statuses = {str(each["Status"]) for each in evidence.passages}
    answer = str((evidence.report or {}).get("answer", ""))
    if answer.startswith(_REFUSED):
        return Verdict(evidence.probe, Result.PASSED, f"Refused: {answer}")
    if statuses and not statuses - {"Failed"}:
        return Verdict(evidence.probe, Result.PASSED, "Refused on its way.")
    if evidence.report and not statuses & UNDER_WAY and (statuses & ARRIVED or answer):
        return Verdict(evidence.probe, Result.FAILED, "A message that goes in circles was not refused.")
    return Verdict(evidence.probe, Result.OPEN, "Nobody has said yet whether it was refused.")


def _forged(evidence: Evidence, request: Request) -> Verdict:
    """A forged one must, besides, have been believed by no rule before it came from the scanner."""
    if evidence.is_believed:
        return Verdict(
            evidence.probe, Result.FAILED, "A forged verdict was believed of a message that did not come from the scanner."
        )
    found = _scanned(evidence, request)
    if found.result is Result.PASSED and evidence.is_believed is None:
        return Verdict(evidence.probe, Result.OPEN, "Scanned once; message trace does not tell yet which rules took it before.")
    return found


def _spoofed(evidence: Evidence, request: Request) -> Verdict:
    """A spoofed one may be refused, by DMARC or as sent directly: nobody has got it. It may not arrive unscanned."""
    statuses = {str(each["Status"]) for each in evidence.passages}
    answer = str((evidence.report or {}).get("answer", ""))
    if not statuses & (ARRIVED | UNDER_WAY) and (answer.startswith(_REFUSED) or "Failed" in statuses):
        return Verdict(evidence.probe, Result.PASSED, f"Refused{_answer(evidence.report)}.")
    return _scanned(evidence, request)


def _scanned(evidence: Evidence, request: Request) -> Verdict:
    """Any other message must have been scanned exactly once, and then have got to where Microsoft's filters let it."""
    probe, report = evidence.probe, evidence.report
    returned = [each for each in evidence.passages if is_returned(each, request, probe.direction)]
    others = [each for each in evidence.passages if each not in returned]
    scans = len(returned) if report is None else max(len(returned), int(report["scans"]))
    if scans > 1:
        return Verdict(probe, Result.FAILED, f"Scanned {scans} times, not once.")
    failed = [each for each in evidence.passages if str(each["Status"]) == "Failed"]
    if failed:
        where = "after it was scanned" if failed[0] in returned else "before it was scanned"
        return Verdict(probe, Result.FAILED, f"Refused or given up {where}{_answer(report)}.")
    if returned:
        return _ended(probe, others, returned[0])
    if report and str(report["answer"]).startswith(_REFUSED):
        return Verdict(probe, Result.FAILED, f"Refused{_answer(report)}.")
    if report and not report["scans"] and any(str(each["Status"]) in ARRIVED for each in others):
        return Verdict(probe, Result.FAILED, "Delivered without having been scanned.")
    return Verdict(probe, Result.OPEN, "Not seen to have come back from the scanner yet.")


_JUDGES: Mapping[ProbeKind, Callable[[Evidence, Request], Verdict]] = {
    ProbeKind.LOOPED: _looped,
    ProbeKind.FORGED_HEADER: _forged,
    ProbeKind.SPOOFED: _spoofed,
}
_ONCE: Mapping[Direction, Sequence[ProbeKind]] = {
    Direction.INBOUND: (ProbeKind.SPOOFED, ProbeKind.FORGED_HEADER, ProbeKind.LOOPED),
    Direction.OUTBOUND: (ProbeKind.LOOPED,),
}
"""The kinds of which one message says it all: they test rules that are the same for every domain."""


def _ended(probe: Probe, others: Sequence[Traced], last: Traced) -> Verdict:
    status = str(last["Status"])
    if status not in ARRIVED:
        return Verdict(probe, Result.OPEN, f"Scanned once; message trace says {status}.")
    seconds = (_at(last) - min(map(_at, others))).total_seconds() if others else None
    return Verdict(probe, Result.PASSED, f"Scanned once, then {_ENDS[status]}.", seconds)


def _answer(report: Facts | None) -> str:
    answer = str((report or {}).get("answer", ""))
    return f": {answer}" if answer else ""


def _at(passage: Traced) -> datetime:
    return datetime.fromisoformat(str(passage["Received"]))
