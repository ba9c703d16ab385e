"""Where messages go: mailboxes, lists, contacts, other servers, forwards, automatic replies (real-tenants.md, its last list)."""

from __future__ import annotations

from typing import Any

import pytest

from local.microsoft365.mail.trace import outcome
from tests.microsoft365.mails import (
    OUTSIDE,
    carried,
    end,
    ends,
    inbound,
    mailbox,
    on_premises,
    outbound,
    protected,
    rule,
    scanner,
    scans,
    tenant,
)


def test_inbound_mail_is_scanned_once_and_delivered() -> None:
    """The two passes of one message: routed with a stop, then judged by the verdict rules."""
    found = carried(inbound(), protected())

    assert found == {
        "recipients": {"ada@contoso.com": {"end": "delivered", "scans": 1, "status": ""}},
        "rules": {"Inbound routing": 1, "Skip spam": 1},
    }


def test_internal_mail_is_left_alone() -> None:
    """Out of scope, and proved untouched."""
    found = carried(outbound(recipients=["ben@contoso.com"]), protected())

    assert found == {"recipients": {"ben@contoso.com": {"end": "delivered", "scans": 0, "status": ""}}, "rules": {}}


def test_mixed_recipients_go_their_own_ways() -> None:
    """The outbound rule forks: the colleague's copy is not scanned."""
    found = carried(outbound(recipients=["ben@contoso.com", "eve@example.org"]), protected())

    assert {address: each["scans"] for address, each in found["recipients"].items()} == {
        "ben@contoso.com": 0,
        "eve@example.org": 1,
    }
    assert found["rules"] == {"Outbound routing": 1}


@pytest.mark.parametrize(
    "message",
    [
        inbound(header_from="ada@contoso.com", mail_from="ada@contoso.com"),
        inbound(recipients=["countess@contoso.com"]),
        inbound(mail_from="", kind="bounce"),
        inbound(kind="auto_reply", mail_from=""),
        inbound(kind="encrypted"),
        inbound(kind="calendar"),
    ],
    ids=["own-domain spoof", "alias", "null sender", "automatic reply", "encrypted", "invitation"],
)
def test_whatever_comes_from_outside_is_scanned_once(message: dict[str, Any]) -> None:
    """real-tenants.md 6: message types and senders are the sender's to choose, and never a guard."""
    assert (scans(message, protected()), end(message, protected())) == (1, "delivered")


def test_a_list_is_expanded_and_nobody_gets_two() -> None:
    """Nested lists, lists that contain each other, members outside."""
    lists = [
        {
            "address": "top@contoso.com",
            "kind": "group",
            "members": ["all@contoso.com", "ada@contoso.com", "eve@example.org", "top2@contoso.com"],
        },
        {"address": "top2@contoso.com", "kind": "group", "members": ["top@contoso.com"]},
    ]

    assert ends(inbound(recipients=["top@contoso.com"]), tenant(recipients=lists)) == {
        "ada@contoso.com": "delivered",
        "ben@contoso.com": "delivered",
        "eve@example.org": "relayed",
    }


def test_a_contact_is_outside() -> None:
    """Its mail leaves for the address behind it, and rules see that one."""
    contact = {"address": "partner@contoso.com", "kind": "contact", "external_address": "p@example.org"}

    assert ends(outbound(recipients=["partner@contoso.com"]), protected(recipients=[contact])) == {"p@example.org": "relayed"}
    assert scans(outbound(recipients=["partner@contoso.com"]), protected(recipients=[contact])) == 1


@pytest.mark.parametrize("kind", ["shared", "public_folder"])
def test_every_mailbox_receives(kind: str) -> None:
    """Shared mailboxes belong to disabled users, mail-enabled public folders to nobody in Entra."""
    assert (
        end(inbound(recipients=["x@contoso.com"]), protected(recipients=[{"address": "x@contoso.com", "kind": kind}]))
        == "delivered"
    )


def test_unknown_recipients_are_refused_or_handed_on() -> None:
    """Authoritative domains know everybody: 5.4.1 at the edge, 5.1.10 inside; internal-relay domains have others elsewhere."""
    relays = tenant(accepted_domains=[{"DomainName": "contoso.com", "DomainType": "InternalRelay"}])

    assert end(inbound(recipients=["nobody@contoso.com"])) == "rejected 5.4.1"
    assert end(outbound(recipients=["nobody@contoso.com"])) == "rejected 5.1.10"
    assert end(inbound(recipients=["nobody@contoso.com"]), relays) == "on_premises"
    assert end(inbound(recipients=["ada@contoso.com"]), relays) == "delivered"
    assert (
        end(inbound(recipients=["max@contoso.com"]), tenant(recipients=[{"address": "max@contoso.com", "kind": "on_premises"}]))
        == "on_premises"
    )


def test_centralized_transport_takes_all_outside_mail_on_premises() -> None:
    """RouteAllMessagesViaOnPremises (New-OutboundConnector): what our rule routes never sees it."""
    hybrid = {
        "Name": "Hybrid",
        "ConnectorType": "OnPremises",
        "SmartHosts": ["mail.contoso.com"],
        "RouteAllMessagesViaOnPremises": True,
    }

    assert end(outbound(), tenant(outbound_connectors=[hybrid])) == "on_premises"
    assert end(outbound(), tenant(outbound_connectors=[{**hybrid, "Enabled": False}])) == "relayed"
    assert scans(outbound(), protected(outbound_connectors=[hybrid])) == 1
    assert end(outbound(), protected(outbound_connectors=[hybrid])) == "on_premises"


def test_a_connector_for_a_domain_is_used_by_itself() -> None:
    """RecipientDomains: the closest one; rule-scoped ones only by a rule."""
    foreign = {
        "Name": "Partner",
        "ConnectorType": "Partner",
        "SmartHosts": ["mx.example.org"],
        "RecipientDomains": ["*.example.org"],
    }
    servers = {"Name": "Ours", "ConnectorType": "OnPremises", "SmartHosts": ["mail.contoso.com"], "RecipientDomains": ["*"]}

    assert end(outbound(), tenant(outbound_connectors=[servers])) == "on_premises"
    assert end(outbound(), tenant(outbound_connectors=[servers, foreign])) == "relayed"
    assert end(outbound(), tenant(outbound_connectors=[{**servers, "IsTransportRuleScoped": True}])) == "relayed"


def test_the_hybrid_hop_comes_in_through_its_connector() -> None:
    """Mail from on-premises senders to cloud mailboxes is ours, and its own connector's."""
    servers = protected(inbound_connectors=[on_premises(SenderIPAddresses=[OUTSIDE], CloudServicesMailEnabled=True)])
    message = inbound(
        mail_from="max@contoso.com", header_from="max@contoso.com", headers={"X-MS-Exchange-CrossPremises-AuthAs": "Internal"}
    )

    assert scans(message, servers) == 0
    assert scans({**message, "headers": {}}, servers) == 1


def test_a_forward_leaves_with_a_foreign_envelope() -> None:
    """The sender stays: the outbound rule does not fit, so that it goes out directly (real-tenants.md 1, variant A)."""
    forwards = protected(recipients=[mailbox("max@contoso.com", forwards_to="max@example.net")])

    found = carried(inbound(recipients=["max@contoso.com"]), forwards)

    assert found["recipients"] == {"max@example.net": {"end": "relayed", "scans": 1, "status": ""}}
    assert "Outbound routing" not in found["rules"]


def test_a_rewritten_forward_is_scanned_like_ours() -> None:
    """SRS puts an address of ours into the envelope."""
    rewritten = outbound(mail_from="eve+srs=abc@contoso.com", header_from="eve@example.org", kind="auto_forward")

    assert (scans(rewritten, protected()), end(rewritten, protected())) == (1, "relayed")


def test_two_mailboxes_that_forward_to_each_other_end() -> None:
    """5.4.14."""
    circle = [
        mailbox("max@contoso.com", forwards_to="moritz@contoso.com"),
        mailbox("moritz@contoso.com", forwards_to="max@contoso.com"),
    ]

    assert end(inbound(recipients=["max@contoso.com"]), tenant(recipients=circle)) == "rejected 5.4.14"


def test_an_automatic_reply_has_no_sender_and_goes_out_directly() -> None:
    """RFC 3834; its own end stands under the address that it answers, and nothing answers a null sender."""
    away = [mailbox("max@contoso.com", auto_replies=True)]
    message = inbound(recipients=["max@contoso.com"])

    assert ends(message, protected(recipients=away)) == {"max@contoso.com": "delivered", "eve@example.org": "relayed"}
    assert ends(inbound(recipients=["max@contoso.com"], mail_from="", kind="bounce"), protected(recipients=away)) == {
        "max@contoso.com": "delivered"
    }


def test_an_automatic_reply_is_a_message_of_its_own_to_the_rules() -> None:
    """MessageTypeMatches OOF."""
    here = tenant(
        recipients=[mailbox("max@contoso.com", auto_replies=True)],
        transport_rules=[rule("It", MessageTypeMatches="OOF", SetSCL=0)],
    )

    assert carried(inbound(recipients=["max@contoso.com"]), here)["rules"] == {"It": 1}


def journaled(message: dict[str, Any], here: dict[str, Any], **rule: Any) -> int:
    """Return how many reports a journal rule makes of a message."""
    journal = {"JournalRule": [{"JournalEmailAddress": "archive@example.net", "Recipient": None, **rule}]}
    found = carried(message, {**here, "policies": journal})
    return int(found.get("journal", {}).get("archive@example.net", 0))


def test_a_second_pass_doubles_journal_reports() -> None:
    """real-tenants.md, journaling; each pass is a message to the journal."""
    assert journaled(inbound(), tenant()) == 1
    assert journaled(inbound(), protected()) == 2
    assert journaled(inbound(), tenant(transport_rules=[rule("No", DeleteMessage=True)])) == 0


@pytest.mark.parametrize(
    ("properties", "reports"),
    [
        ({"Scope": "Internal"}, (0, 1)),
        ({"Scope": "External"}, (1, 0)),
        ({"Recipient": "ada@contoso.com"}, (1, 1)),
        ({"Recipient": "all@contoso.com"}, (1, 1)),
        ({"Recipient": "eve@example.org"}, (1, 0)),
        ({"Enabled": False}, (0, 0)),
    ],
)
def test_a_journal_rule_has_scope_and_recipient(properties: dict[str, Any], reports: tuple[int, int]) -> None:
    """Sender or recipient, a list among them (New-JournalRule)."""
    inside = outbound(recipients=["ben@contoso.com"])

    assert (journaled(inbound(), tenant(), **properties), journaled(inside, tenant(), **properties)) == reports


def test_mail_born_inside_has_no_last_hop() -> None:
    """SenderIpRanges: neither condition nor exception fits (PS); mail of another tenant comes from the service's own address."""
    anywhere = ["0.0.0.0-255.255.255.255"]
    rules = [rule("Seen", SenderIpRanges=anywhere, SetSCL=0), rule("Unseen", ExceptIfSenderIpRanges=anywhere, SetSCL=0)]
    elsewhere = outbound(recipients=["ada@fabrikam.com"])

    assert carried(outbound(), tenant(transport_rules=rules))["rules"] == {"Unseen": 1}
    assert carried(inbound(), tenant(transport_rules=rules))["rules"] == {"Seen": 1}
    assert carried(elsewhere, tenant(), tenant("fabrikam", transport_rules=rules))["rules"] == {"Seen": 1}


def test_somebody_who_signs_in_to_send_is_inside() -> None:
    """SMTP AUTH client submission: authenticated, whatever the address."""
    message = inbound(
        mail_from="ada@contoso.com", header_from="ada@contoso.com", recipients=["eve@example.org"], authenticated=True
    )

    assert (scans(message, protected()), end(message, protected())) == (1, "relayed")
    assert end({**message, "authenticated": False}, protected()) == "rejected 5.7.64"


def test_an_inbound_host_relays_for_nobody() -> None:
    """What it got for the outside comes back to the tenant, which has no right for it."""
    here = protected(first_rules=[rule("Wrong", RouteMessageOutboundConnector="To the inbound scanner", StopRuleProcessing=True)])

    assert (end(outbound(), here), scans(outbound(), here)) == ("rejected 5.7.64", 1)


def test_what_the_scanner_releases_late_needs_the_way_back() -> None:
    """real-tenants.md 11: a release days later comes from the scanner's address; outbound it relays by the connector alone."""
    released = inbound(source_ip="192.0.2.1", certificate="inbound.scanner.example", spf="fail")
    outgoing = inbound(
        mail_from="ada@contoso.com",
        header_from="ada@contoso.com",
        recipients=["eve@example.org"],
        source_ip="192.0.2.129",
        certificate="contoso.relay.scanner.example",
    )
    bare = tenant()

    assert (end(released, protected()), scans(released, protected())) == ("delivered", 0)
    assert end(outgoing, protected()) == "relayed"
    assert (end(released, bare), end(outgoing, bare)) == ("delivered", "rejected 5.7.64")
    assert end({**released, "dkim": "fail", "dmarc_policy": "reject"}, bare) == "rejected 5.7.509"


@pytest.mark.parametrize("address", ["ada@contoso.onmicrosoft.com", "ada@eu.contoso.com"])
def test_every_accepted_domain_of_the_rule_is_scanned(address: str) -> None:
    """real-tenants.md 6: the initial domain and subdomains; what the rule does not name goes past the scanner."""
    names = ["contoso.com", "contoso.onmicrosoft.com", "eu.contoso.com"]
    here = protected(recipients=[mailbox(address)], accepted_domains=[{"DomainName": name} for name in names])
    named = {**here["transport_rules"][0], "RecipientDomainIs": names}
    whole = {**here, "transport_rules": [named, *here["transport_rules"][1:]]}

    assert scans(inbound(recipients=[address]), whole) == 1
    assert scans(inbound(recipients=[address]), here, recipient_domain_includes_subdomains=False) == 0


def test_another_vendors_host_keeps_what_it_gets() -> None:
    """A smart host that is no scanner of ours: beyond what a trace knows."""
    other = {"Name": "Vendor", "ConnectorType": "Partner", "SmartHosts": ["mx.vendor.example"], "IsTransportRuleScoped": True}
    rules = [rule("Vendor", SentToScope="NotInOrganization", RouteMessageOutboundConnector="Vendor")]

    assert end(outbound(), tenant(outbound_connectors=[other], transport_rules=rules)) == "relayed"


def test_a_trace_says_what_it_is() -> None:
    """Another version, an unknown switch and an unknown tenant are refused."""
    for fault in ({"version": 2}, {"uncertain": {"nonsense": True}}, {"message": outbound(from_tenant="nobody")}):
        with pytest.raises(ValueError, match=r"version 2|nonsense|nobody"):
            outcome({"version": 1, "tenants": [tenant()], "message": inbound(), **fault})


def test_of_two_copies_to_one_person_the_worse_is_told() -> None:
    """One copy arrives, the other is refused: that is what the sender hears of."""
    rules = [
        rule("Copy", SentTo=["ben@contoso.com"], CopyTo=["ada@contoso.com"]),
        rule("No", SentTo=["ada@contoso.com"], RejectMessageReasonText="no", SubjectContainsWords=["x"]),
        rule("Mark", SentTo=["ben@contoso.com"], PrependSubject="x "),
    ]
    order = [rules[2], rules[0], rules[1]]

    both = inbound(recipients=["ben@contoso.com", "ada@contoso.com"])

    assert ends(both, tenant(transport_rules=order)) == {"ada@contoso.com": "rejected 5.7.1", "ben@contoso.com": "delivered"}


def test_of_two_equal_refusals_the_greater_status_is_told() -> None:
    """The order in which copies were looked at doesn't show."""
    looped = inbound(headers={"X-MS-Exchange-Transport-Rules-Loop": "1"})
    group = {"address": "both@contoso.com", "kind": "group", "members": ["ada@contoso.com", "eve@example.net"]}
    here = tenant(recipients=[group], transport_rules=[rule("Copy", CopyTo=["ben@contoso.com"])])

    for recipients in (["both@contoso.com", "eve@example.net"], ["eve@example.net", "both@contoso.com"]):
        assert ends({**looped, "recipients": recipients}, here)["eve@example.net"] == "rejected 5.7.64"


def test_the_scanner_is_asked_once_for_each_message_it_gets() -> None:
    """Two tenants' recipients of one message are two messages."""
    both = inbound(recipients=["ada@contoso.com", "ada@fabrikam.com"])

    found = carried(both, protected(), protected("fabrikam"), scanners=[scanner(), scanner("fabrikam")])

    assert {each["scans"] for each in found["recipients"].values()} == {1}
    assert found["rules"]["Inbound routing"] == 2
