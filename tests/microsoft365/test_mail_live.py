"""Mail through the simulated tenants as they are: rules in their time, queues, the control request."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from local.microsoft365.mail.live import SERVERS, retry
from tests.microsoft365.mail_live import MEMBER, Live, defer, scanner, to
from tests.microsoft365.platform import Platform


@pytest.fixture
def live() -> Live:
    """Two tenants without rules."""
    return Live()


def test_nothing_is_told_of_mail_that_was_not_sent(live: Live) -> None:
    """Message trace and quarantine begin empty."""
    assert live("Get-MessageTraceV2") == live("Get-QuarantineMessage") == []


def test_mail_follows_the_rules_and_connectors_that_are_there(live: Live) -> None:
    """Made by cmdlets, used by the next message; the scanner's verdict is believed."""
    before = live.send(to(verdict="spam"))
    live.route()

    after = live.send(to(verdict="spam"))

    assert before["recipients"] == {MEMBER: {"end": "junk", "scans": 0, "status": ""}}
    assert after["recipients"] == {MEMBER: {"end": "delivered", "scans": 1, "status": ""}}
    assert after["rules"] == {"Route": 1, "Skip": 1}
    assert [(each["direction"], each["recipients"], each["answer"]) for each in after["scanned"]] == [
        ("inbound", [MEMBER], "250 2.6.0")
    ]


def test_the_scanner_hears_of_a_refusal(live: Live) -> None:
    """What the next hop answers: here a lock-down connector that lacks the scanner's addresses."""
    live.route()
    lock: dict[str, Any] = {
        "SenderDomains": ["example.org"],
        "SenderIPAddresses": ["198.51.100.0/24"],
        "RestrictDomainsToIPAddresses": True,
    }
    live("New-InboundConnector", Name="Lock", RequireTls=False, **lock)

    found = live.send(to())

    assert found["recipients"][MEMBER] == {"end": "rejected", "scans": 1, "status": "5.7.51"}
    assert [each["answer"] for each in found["scanned"]] == ["550 5.7.51"]


def test_people_groups_and_domains_are_the_directorys(live: Live) -> None:
    """Any address of anybody; nested groups; another tenant; contacts of the order."""
    live("New-DistributionGroup", Name="Inner", PrimarySmtpAddress="inner@contoso.com", Members=[MEMBER])
    live(
        "New-DistributionGroup",
        Name="All",
        PrimarySmtpAddress="all@contoso.com",
        Members=["inner@contoso.com", "admin@contoso.com"],
    )
    contact = {"address": "partner@contoso.com", "kind": "contact", "external_address": "p@example.net"}
    recipients = ["all@contoso.com", "member@fabrikam.onmicrosoft.com", "partner@contoso.com", "nobody@contoso.com"]

    found = live.send({**to(), "recipients": recipients}, recipients={"contoso.com": [contact]})["recipients"]

    assert {address: each["end"] for address, each in found.items()} == {
        MEMBER: "delivered",
        "admin@contoso.com": "delivered",
        "member@fabrikam.onmicrosoft.com": "delivered",
        "p@example.net": "relayed",
        "nobody@contoso.com": "rejected",
    }


def test_a_changed_rule_takes_effect_server_by_server() -> None:
    """Between nothing and the whole time later: old and new at once (real-tenants.md 11)."""
    live = Live(rule_propagation_minutes=60)
    live.now += timedelta(minutes=1)
    live("New-TransportRule", Name="No", RejectMessageReasonText="no")

    def refusing() -> list[int]:
        ends = [live.send(to(), server=server)["recipients"][MEMBER]["end"] for server in range(SERVERS)]
        return [server for server, end in enumerate(ends) if end == "rejected"]

    begun = refusing()
    live.now += timedelta(minutes=30)
    halfway = refusing()
    live.now += timedelta(minutes=30)

    assert (begun, halfway, refusing()) == ([0], [0, 1], [0, 1, 2, 3])


def test_different_messages_meet_different_servers() -> None:
    """Unless the order names one, the message's id chooses."""
    live = Live(rule_propagation_minutes=60)
    live.now += timedelta(minutes=1)
    live("New-TransportRule", Name="No", RejectMessageReasonText="no")

    ends = {live.send({**to(), "message_id": f"<{number}>"})["recipients"][MEMBER]["end"] for number in range(20)}

    assert ends == {"rejected", "delivered"}


def test_a_rule_has_its_dates(live: Live) -> None:
    """ActivationDate and ExpiryDate (page of New-TransportRule)."""
    dates: dict[str, Any] = {"ActivationDate": "2026-08-21T00:00:00Z", "ExpiryDate": "2026-08-22T00:00:00"}
    live("New-TransportRule", Name="No", RejectMessageReasonText="no", **dates)

    def end_on(day: int) -> str:
        live.now = datetime(2026, 8, day, 12, tzinfo=UTC)
        return str(live.send(to())["recipients"][MEMBER]["end"])

    assert [end_on(20), end_on(21), end_on(22)] == ["delivered", "rejected", "delivered"]


def test_the_queue_is_tried_again(live: Live) -> None:
    """What waits goes on once the host takes it, as it arrived, by the rules of that time; what is too old doesn't."""
    defer(live)
    down = scanner(accepts=False)

    still = retry(live.simulation, (down,))
    gone = retry(live.simulation, (scanner(),))
    statuses = [row["Status"] for row in live("Get-MessageTraceV2", FromIP="198.51.100.7")]
    live.send(to("admin@contoso.com"), scanners=(down,))
    live.now += timedelta(days=1)

    assert [each["recipients"][MEMBER]["end"] for each in still["outcomes"]] == ["deferred"]
    assert [each["recipients"][MEMBER] for each in gone["outcomes"]] == [{"end": "delivered", "scans": 1, "status": ""}]
    assert statuses == ["Delivered"]
    assert retry(live.simulation, (scanner(),)) == {"outcomes": [], "expired": 1}
    assert retry(live.simulation, ()) == {"outcomes": [], "expired": 0}


def test_a_deferring_rule_is_asked_again(live: Live) -> None:
    """RuleErrorAction Defer: the rules look anew; switched off meanwhile, the message goes on unscanned."""
    live.route()
    live("Set-OutboundConnector", Identity="To the scanner", Enabled=False)
    waiting = live.send(to())["recipients"][MEMBER]["end"]
    live("Disable-TransportRule", Identity="Route")

    (outcome,) = retry(live.simulation, ())["outcomes"]

    assert (waiting, outcome["recipients"]) == ("deferred", {MEMBER: {"end": "delivered", "scans": 0, "status": ""}})


async def test_a_message_is_sent_by_a_control_request(platform: Platform) -> None:
    """POST /_control/mail; what makes no sense is answered 400."""
    address = f"{platform.simulation.url}/_control/mail"
    order = {"message": to(verdict="spam"), "to_tenant": "contoso.com"}

    answer = (await platform.client.post(address, json=order)).json()
    faults = [{"message": {}}, {"message": to(), "to_tenant": "nobody.example"}, {"message": to(), "uncertain": {"x": True}}]
    refused = [(await platform.client.post(address, json=fault)).status_code for fault in faults]

    assert answer["recipients"] == {MEMBER: {"end": "junk", "scans": 0, "status": ""}}
    assert [each["tenant"] for each in answer["passages"]] == [platform.tenant.id]
    assert (await platform.client.post(f"{address}/queue", json={})).json() == {"outcomes": [], "expired": 0}
    assert refused == [400, 400, 400]
