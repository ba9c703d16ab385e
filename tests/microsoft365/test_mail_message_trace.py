"""Message trace and quarantine: what the cmdlets tell of mail that went through."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from local.microsoft365.exchange.errors import CommandError
from tests.microsoft365.mail_live import MEMBER, Live, defer, to
from tests.microsoft365.mails import outbound


@pytest.fixture
def live() -> Live:
    """Two tenants without rules."""
    return Live()


def test_message_trace_tells_each_passage(live: Live) -> None:
    """A message that comes back has the same Message-ID and a trace of its own (documented statuses)."""
    live.route()
    live.send(to())

    back, out = sorted(live("Get-MessageTraceV2", MessageId=["<1@example.org>"]), key=lambda row: row["FromIP"])

    assert (out["Status"], out["FromIP"], out["ToIP"]) == ("Delivered", "198.51.100.7", "192.0.2.0")
    assert (back["Status"], back["FromIP"], back["ToIP"]) == ("Delivered", "192.0.2.0", None)
    assert out["MessageTraceId"] != back["MessageTraceId"]
    assert (out["RecipientAddress"], out["SenderAddress"], out["Subject"]) == (MEMBER, "eve@example.org", "An offer")


def _quarantine(live: Live) -> None:
    live.send(to(verdict="high_confidence_phish"))


def _junk(live: Live) -> None:
    live.send(to(verdict="spam"))


def _reject(live: Live) -> None:
    live("New-TransportRule", Name="No", RejectMessageReasonText="no")
    live.send(to())


def _expand(live: Live) -> None:
    live("New-DistributionGroup", Name="All", PrimarySmtpAddress="all@contoso.com", Members=[MEMBER])
    live.send(to("all@contoso.com"))


def _redirect(live: Live) -> None:
    live("New-TransportRule", Name="Redirect", RedirectMessageTo=["admin@contoso.com"])
    live.send(to())


STATUSES: list[tuple[Callable[[Live], None], dict[str, str]]] = [
    (_quarantine, {MEMBER: "Quarantined"}),
    (_junk, {MEMBER: "FilteredAsSpam"}),
    (_reject, {MEMBER: "Failed"}),
    (defer, {MEMBER: "Pending"}),
    (_expand, {"all@contoso.com": "Expanded", MEMBER: "Delivered"}),
    (_redirect, {MEMBER: "None", "admin@contoso.com": "Delivered"}),
]


@pytest.mark.parametrize(("happens", "expected"), STATUSES, ids=[each[0].__name__ for each in STATUSES])
def test_each_end_has_its_documented_status(live: Live, happens: Callable[[Live], None], expected: dict[str, str]) -> None:
    """The values of Get-MessageTraceV2's Status."""
    happens(live)

    assert {row["RecipientAddress"]: row["Status"] for row in live("Get-MessageTraceV2")} == expected


def test_what_waits_is_given_up_after_a_day(live: Live) -> None:
    """Pending to the scanner's address, then Failed (24 hours, known in the field)."""
    defer(live)
    live.now += timedelta(hours=23, minutes=59)
    (waiting,) = live("Get-MessageTraceV2", Status=["Pending"])
    live.now += timedelta(minutes=1)

    assert waiting["ToIP"] == "192.0.2.0"
    assert live("Get-MessageTraceV2", Status=["Pending"]) == []
    assert [row["Status"] for row in live("Get-MessageTraceV2")] == ["Failed"]


def test_status_may_come_late() -> None:
    """GettingStatus: waits for an update."""
    live = Live(message_trace_delay=300)
    live.send(to())
    early = [row["Status"] for row in live("Get-MessageTraceV2")]
    live.now += timedelta(minutes=5)

    assert (early, [row["Status"] for row in live("Get-MessageTraceV2")]) == (["GettingStatus"], ["Delivered"])


def test_what_is_refused_at_the_edge_leaves_no_trace(live: Live) -> None:
    """Exchange team, on RejectDirectSend: it is blocked at the protocol layer."""
    live("Set-OrganizationConfig", RejectDirectSend=True)

    assert live.send(to(mail_from="admin@contoso.com"))["recipients"][MEMBER]["status"] == "5.7.68"
    assert live("Get-MessageTraceV2") == []


@pytest.mark.parametrize(
    ("parameters", "found"),
    [
        ({"SenderAddress": ["eve@example.org, x@example.org"]}, True),
        ({"SenderAddress": ["x@example.org"]}, False),
        ({"RecipientAddress": [MEMBER.upper()]}, True),
        ({"FromIP": "198.51.100.7"}, True),
        ({"FromIP": "198.51.100.8"}, False),
        ({"Subject": "offer"}, True),
        ({"Subject": "an", "SubjectFilterType": "StartsWith"}, True),
        ({"Subject": "an", "SubjectFilterType": "EndsWith"}, False),
        ({"Status": ["Failed", "Delivered"]}, True),
        ({"Status": "failed"}, False),
        ({"StartDate": "2026-08-20T09:00:00Z", "EndDate": "2026-08-20T12:00:00+02:00"}, True),
        ({"StartDate": "08/20/2026 9:00 AM", "EndDate": "08/20/2026 9:59 AM"}, False),
        ({"StartDate": "2026-08-11", "EndDate": "2026-08-20"}, False),
    ],
)
def test_parameters_select(live: Live, parameters: dict[str, Any], found: bool) -> None:
    """Every filter of the page; times are UTC."""
    live.send(to())

    assert bool(live("Get-MessageTraceV2", **parameters)) is found


def test_without_dates_two_days_are_searched(live: Live) -> None:
    """The page's default."""
    live.send(to())
    live.now += timedelta(hours=49)

    assert live("Get-MessageTraceV2") == []
    assert len(live("Get-MessageTraceV2", StartDate="2026-08-20")) == 1


@pytest.mark.parametrize(
    "parameters",
    [
        {"StartDate": "2026-08-01", "EndDate": "2026-08-12"},
        {"StartDate": "2026-05-01", "EndDate": "2026-05-02"},
        {"StartDate": "2026-08-20", "EndDate": "2026-08-19"},
        {"StartDate": "tomorrow"},
        {"ResultSize": 5001},
        {"Status": ["Lost"]},
        {"Subject": "x", "SubjectFilterType": "Somewhere"},
    ],
)
def test_what_the_page_excludes_is_refused(live: Live, parameters: dict[str, Any]) -> None:
    """Ten days a query, ninety days back, 1 to 5,000 results."""
    live.send(to())

    with pytest.raises(CommandError):
        live("Get-MessageTraceV2", **parameters)


def test_the_next_query_goes_on_behind_the_last_row(live: Live) -> None:
    """StartingRecipientAddress and EndDate take the last row's values: nothing twice, nothing left out."""
    people = ["admin@contoso.com", "exchange@contoso.com", MEMBER]
    live.send({**to(), "recipients": people})
    live.now += timedelta(minutes=1)
    live.send(to(people[0]))

    first = live("Get-MessageTraceV2", ResultSize=2)
    warned = live.warnings
    rest = live("Get-MessageTraceV2", EndDate=first[-1]["Received"], StartingRecipientAddress=first[-1]["RecipientAddress"])

    assert [row["RecipientAddress"] for row in first + rest] == [people[0], *people]
    assert "StartingRecipientAddress" in warned[0]


def test_a_hundred_queries_in_five_minutes_are_accepted(live: Live) -> None:
    """Then 429, until the window has moved on; the detail cmdlet counts by itself."""
    for _ in range(100):
        live("Get-MessageTraceV2")
    with pytest.raises(CommandError) as refused:
        live("Get-MessageTraceV2")
    live("Get-MessageTraceDetailV2", MessageTraceId="2bbad36a-a467-4c7b-a82f-4b307fff549f", RecipientAddress=MEMBER)
    live.now += timedelta(minutes=5)

    assert refused.value.status == 429
    assert refused.value.document()["error"]["code"] == "TooManyRequests"
    assert live("Get-MessageTraceV2") == []


def test_the_detail_names_rules_connectors_and_the_end(live: Live) -> None:
    """Documented events; which connector a message came and went by."""
    live.route()
    live.send(to())

    def events(from_ip: str) -> list[dict[str, Any]]:
        (row,) = live("Get-MessageTraceV2", FromIP=from_ip)
        return live("Get-MessageTraceDetailV2", MessageTraceId=row["MessageTraceId"], RecipientAddress=MEMBER)

    out, back = events("198.51.100.7"), events("192.0.2.0")
    (connector,) = live("Get-InboundConnector")

    assert [each["Event"] for each in out] == ["Receive", "Transport rule", "Send external"]
    assert "'Route'" in out[1]["Detail"]
    assert out[2]["Detail"] == "Mail host: inbound.scanner.example"
    assert "To the scanner" in out[2]["Data"]
    assert [each["Event"] for each in back] == ["Receive", "Transport rule", "Deliver"]
    assert connector["Guid"] in back[0]["Data"]


@pytest.mark.parametrize(
    ("filters", "events"), [({"Event": ["FAIL"]}, ["Fail"]), ({"Event": ["receive"]}, ["Receive"]), ({"Action": ["x"]}, [])]
)
def test_events_are_selected(live: Live, filters: dict[str, Any], events: list[str]) -> None:
    """Event and Action of Get-MessageTraceDetailV2; the status of a refusal is its detail."""
    _reject(live)
    (row,) = live("Get-MessageTraceV2")

    found = live("Get-MessageTraceDetailV2", MessageTraceId=row["MessageTraceId"], RecipientAddress=MEMBER, **filters)

    assert [each["Event"] for each in found] == events
    assert all(each["Detail"] == "5.7.1" for each in found if each["Event"] == "Fail")


@pytest.mark.parametrize(
    ("verdict", "kind", "policy"),
    [("high_confidence_phish", "HighConfPhish", "HostedContentFilterPolicy"), ("malware", "Malware", "AntiMalwarePolicy")],
)
def test_quarantine_shows_what_it_keeps_until_it_expires(live: Live, verdict: str, kind: str, policy: str) -> None:
    """Get-QuarantineMessage: type, policy, retention of the default policy."""
    live.send(to(verdict=verdict))
    live.send(to("admin@contoso.com"))

    (row,) = live("Get-QuarantineMessage")
    selected = [live("Get-QuarantineMessage", Type=each) for each in (kind, "Bulk")]
    live.now += timedelta(days=15)

    assert (row["MessageId"], row["RecipientAddress"], row["Type"], row["PolicyType"]) == (
        "<1@example.org>",
        [MEMBER],
        kind,
        policy,
    )
    assert selected == [[row], []]
    assert live("Get-QuarantineMessage") == []


def test_a_rule_quarantines_too_and_pages_are_cut(live: Live) -> None:
    """TransportRule; Page and PageSize; an identity that names nothing shows all, as the page warns."""
    live("New-TransportRule", Name="Hold", Quarantine=True)
    live.send({**to(), "recipients": [MEMBER, "admin@contoso.com"]})

    rows = live("Get-QuarantineMessage", QuarantineTypes=["TransportRule"])

    assert len(rows) == 2
    assert live("Get-QuarantineMessage", PageSize=1, Page=2) == rows[1:]
    assert live("Get-QuarantineMessage", Identity=rows[1]["Identity"]) == rows[1:]
    assert live("Get-QuarantineMessage", Identity="nothing") == rows
    with pytest.raises(CommandError):
        live("Get-QuarantineMessage", PageSize=1001)


def test_each_tenant_remembers_its_own(live: Live) -> None:
    """Between two tenants: one passage in each."""
    live.send(
        outbound(from_tenant="", recipients=["member@fabrikam.onmicrosoft.com"], mail_from=MEMBER), from_tenant="contoso.com"
    )

    assert [row["ToIP"] for row in live("Get-MessageTraceV2")] == [None]
    assert [row["FromIP"] for row in live("Get-MessageTraceV2", live.other)] == ["40.107.0.1"]
