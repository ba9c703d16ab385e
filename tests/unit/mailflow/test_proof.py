"""What test messages prove: scanned exactly once, then judged by Microsoft; loops refused; nothing believed that nobody says."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.domain.grant import Direction, Facts, Scope, ScopeKind
from shared.domain.probes import Probe, ProbeKind
from shared.mailflow.proof import MAXIMUM_DOMAINS, Evidence, Mailboxes, Result, Verdict, judge, outside_address, probes, unproved
from tests.unit.mailflow.requests import request

REQUEST = request()
SENT = datetime(2026, 11, 23, 12, tzinfo=UTC)
PRIMARY = {"contoso.com": "ada@contoso.com"}
MAILBOXES = Mailboxes(PRIMARY, {"contoso.com": "countess@contoso.com"})
ALL = {(each.direction, each.kind): each for each in probes(REQUEST, "1", MAILBOXES)}
IN, OUT = Direction.INBOUND, Direction.OUTBOUND
RETURNED = {IN: "192.0.2.7", OUT: "198.51.100.7"}
"""An address of the scanner's egress for each direction."""
SEEN_ONCE: Facts = {"scans": 1, "answer": "250 2.6.0 Queued mail for delivery"}


def _passage(status: str, address: str = "203.0.113.9", after: float = 0) -> dict[str, Any]:
    at = (SENT + timedelta(seconds=after)).strftime("%Y-%m-%dT%H:%M:%S.%f0Z")
    return {"Status": status, "FromIP": address, "Received": at}


def _judged(probe: Probe, *passages: dict[str, Any], report: Facts | None = None, is_believed: bool | None = None) -> Verdict:
    return judge(Evidence(probe, passages, report, is_believed), REQUEST)


def test_every_direction_and_domain_has_its_messages() -> None:
    """A normal one each, one to an alias, a spoofed and a forged one inbound, a looped one each way; no two have one id."""
    primary = {**PRIMARY, "contoso.net": "ada@contoso.net", "elsewhere.com": "x@y"}
    made = probes(REQUEST, "7", Mailboxes(primary, MAILBOXES.aliases))
    kinds = [(each.direction, each.kind) for each in made]

    assert kinds.count((IN, ProbeKind.NORMAL)) == kinds.count((OUT, ProbeKind.NORMAL)) == 2
    once = [(IN, each) for each in ProbeKind if each is not ProbeKind.NORMAL]
    assert [kinds.count(each) for each in (*once, (OUT, ProbeKind.LOOPED))] == [1] * 5
    assert len(made) == 4 + 5
    assert [each.recipient for each in made if each.kind is ProbeKind.ALIAS] == ["countess@contoso.com"]
    assert unproved(REQUEST, made) == ["contoso.onmicrosoft.com"]
    assert len({each.message_id for each in made}) == len({each.probe_id for each in made}) == len(made)
    assert {each.mail_from for each in made if each.direction is IN} == {outside_address(REQUEST)}
    assert {each.recipient for each in made if each.direction is OUT} == {outside_address(REQUEST)}


def test_a_tenant_with_many_domains_gets_few_messages() -> None:
    """Their rules are the same: nobody's mailbox is flooded; which domains got none is told."""
    domains = [f"d{number}.example.com" for number in range(50)]
    wide = request(scope=Scope(ScopeKind.DOMAINS, tuple(domains)))
    made = probes(wide, "1", Mailboxes({domain: f"a@{domain}" for domain in domains}))

    assert len(made) == 2 * MAXIMUM_DOMAINS + 4
    assert unproved(wide, made) == sorted(set(domains) - {each.domain for each in made})
    assert len(unproved(wide, made)) == 50 - MAXIMUM_DOMAINS


def test_a_domain_that_has_other_addresses_alone_gets_its_message_there() -> None:
    """Nobody's own address is in the domain that a tenant begins with; a domain without any address is not called proved."""
    wide = request(scope=Scope(ScopeKind.DOMAINS, ("contoso.com", "contoso.net", "empty.com")))
    made = probes(wide, "1", Mailboxes(PRIMARY, {"contoso.net": "ada@contoso.net", "contoso.com": "countess@contoso.com"}))

    assert [each.recipient for each in made if each.kind is ProbeKind.ALIAS] == ["ada@contoso.net"]
    assert unproved(wide, made) == ["empty.com"]


@pytest.mark.parametrize("way", [IN, OUT])
@pytest.mark.parametrize("status", ["Delivered", "FilteredAsSpam", "Quarantined"])
def test_scanned_once_and_judged_by_microsoft_is_a_pass(way: Direction, status: str) -> None:
    """Wherever Microsoft's own filters let it end; how long it took is told."""
    passages = (_passage("Delivered"), _passage(status, RETURNED[way], after=2.5))
    found = _judged(ALL[way, ProbeKind.NORMAL], *passages, report=SEEN_ONCE)

    assert (found.result, found.seconds) == (Result.PASSED, 2.5)
    assert _judged(ALL[way, ProbeKind.NORMAL], *passages).result is Result.PASSED


@pytest.mark.parametrize("way", [IN, OUT])
def test_what_was_not_scanned_or_twice_fails(way: Direction) -> None:
    """By message trace, or by the scanner's own count."""
    first, back = _passage("Delivered"), _passage("Delivered", RETURNED[way], after=1)
    other_way = _passage("Delivered", RETURNED[OUT if way is IN else IN])
    normal = ALL[way, ProbeKind.NORMAL]

    assert _judged(normal, first, report={"scans": 0, "answer": "250"}).result is Result.FAILED
    assert _judged(normal, first, back, back | {"MessageTraceId": "2"}).result is Result.FAILED
    assert _judged(normal, first, back, report={"scans": 2, "answer": "250"}).result is Result.FAILED
    assert _judged(normal, other_way, report={"scans": 0, "answer": ""}).result is Result.FAILED


def test_a_message_that_was_refused_fails_and_says_where() -> None:
    """On its way to the scanner, or on its way back; with the words of whoever refused it."""
    before = _judged(ALL[IN, ProbeKind.NORMAL], _passage("Failed"))
    after = _judged(ALL[OUT, ProbeKind.NORMAL], _passage("Delivered"), _passage("Failed", RETURNED[OUT]))
    answered = _judged(ALL[OUT, ProbeKind.NORMAL], report={"scans": 1, "answer": "550 5.7.64 Relay Access Denied"})

    assert [each.result for each in (before, after, answered)] == [Result.FAILED] * 3
    assert "before it was scanned" in before.words
    assert "after it was scanned" in after.words
    assert "5.7.64" in answered.words


def test_what_nobody_has_said_yet_is_open() -> None:
    """No news is no proof: neither that a message was scanned, nor that it was not, nor that a loop was refused."""
    normal, looped = ALL[IN, ProbeKind.NORMAL], ALL[IN, ProbeKind.LOOPED]
    for found in (
        _judged(normal),
        _judged(normal, _passage("Delivered")),
        _judged(normal, _passage("Delivered"), _passage("Pending", RETURNED[IN])),
        _judged(normal, report=SEEN_ONCE),
        _judged(looped),
        _judged(looped, _passage("Pending")),
    ):
        assert found.result is Result.OPEN


def test_a_forged_header_spares_no_scan() -> None:
    """Once scanned is right, if no rule believed it before; what no event is told of is open."""
    forged = ALL[IN, ProbeKind.FORGED_HEADER]
    scanned = (_passage("Delivered"), _passage("Delivered", RETURNED[IN]))

    assert _judged(forged, *scanned, is_believed=False).result is Result.PASSED
    assert _judged(forged, *scanned).result is Result.OPEN
    assert _judged(forged, *scanned, is_believed=True).result is Result.FAILED
    assert _judged(forged, _passage("Delivered"), report={"scans": 0, "answer": "250"}).result is Result.FAILED


def test_what_pretends_to_come_from_inside_is_scanned_or_refused() -> None:
    """By DMARC, or as mail that was sent directly: either way nobody got it unscanned."""
    spoofed = ALL[IN, ProbeKind.SPOOFED]
    scanned = (_passage("Delivered"), _passage("FilteredAsSpam", RETURNED[IN]))

    assert _judged(spoofed, *scanned).result is Result.PASSED
    assert _judged(spoofed, report={"scans": 0, "answer": "550 5.7.509"}).result is Result.PASSED
    assert _judged(spoofed, _passage("Failed")).result is Result.PASSED
    assert _judged(spoofed, _passage("Delivered"), report={"scans": 0, "answer": "250"}).result is Result.FAILED
    assert _judged(spoofed, _passage("Pending")).result is Result.OPEN


def test_a_loop_must_be_refused() -> None:
    """At once, which leaves no trace, or on its way; one that arrives is a failure."""
    looped = ALL[OUT, ProbeKind.LOOPED]

    assert _judged(looped, report={"scans": 0, "answer": "554 5.4.14 Hop count exceeded"}).result is Result.PASSED
    assert _judged(looped, _passage("Failed")).result is Result.PASSED
    assert _judged(looped, _passage("Delivered"), report=SEEN_ONCE).result is Result.FAILED


def test_a_verdict_is_told_with_its_message() -> None:
    """People find the message by its id in message trace."""
    document = _judged(ALL[IN, ProbeKind.NORMAL]).document()

    assert document["message_id"] == ALL[IN, ProbeKind.NORMAL].message_id
    assert (document["direction"], document["kind"], document["result"]) == ("inbound", "normal", "open")
