"""What the filters do to a message, and what the scanner's hop does to the filters (real-tenants.md 7 to 10)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.microsoft365.mails import (
    INBOUND_EGRESS,
    OUTSIDE,
    end,
    ends,
    inbound,
    mailbox,
    on_premises,
    outbound,
    protected,
    rule,
    scanner,
    tenant,
)

CONTENT = "HostedContentFilterPolicy"
CONNECTION = "HostedConnectionFilterPolicy"


def policies(noun: str, *objects: dict[str, Any], **properties: Any) -> dict[str, Any]:
    """Return a tenant's policies of one noun."""
    return {"policies": {noun: [*objects, *([properties] if properties else [])]}}


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        ("none", "delivered"),
        ("spam", "junk"),
        ("phish", "quarantined"),
        ("high_confidence_phish", "quarantined"),
        ("malware", "quarantined"),
    ],
)
def test_each_verdict_has_its_default_action(verdict: str, expected: str) -> None:
    """Defaults of Set-HostedContentFilterPolicy; malware is quarantined whatever a policy says."""
    assert end(inbound(verdict=verdict)) == expected


@pytest.mark.parametrize(
    ("action", "expected"),
    [("Quarantine", "quarantined"), ("Delete", "dropped"), ("NoAction", "delivered"), ("AddXHeader", "delivered")],
)
def test_a_policy_names_the_action(action: str, expected: str) -> None:
    """SpamAction and its like; the default policy counts."""
    other = {"Name": "Other", "SpamAction": "MoveToJmf"}
    here = tenant(**policies(CONTENT, other, {"Name": "Default", "IsDefault": True, "SpamAction": action}))

    assert end(inbound(verdict="spam"), here) == expected
    assert end(inbound(verdict="phish"), here) == "quarantined"


def test_a_skipped_filter_still_quarantines_high_confidence_phish() -> None:
    """SCL is an input, not the decision (SetSCL); known in the field: a switch. Malware is never skipped."""
    skips = tenant(transport_rules=[rule("Skip", SetSCL=-1)])

    assert end(inbound(verdict="spam"), skips) == "delivered"
    assert end(inbound(verdict="high_confidence_phish"), skips) == "quarantined"
    assert end(inbound(verdict="high_confidence_phish"), skips, high_confidence_phish_overrides_scl=False) == "delivered"
    assert end(inbound(verdict="malware"), skips) == "quarantined"


@pytest.mark.parametrize(
    ("scl", "expected"), [(0, "delivered"), (4, "delivered"), (5, "junk"), (6, "junk"), (7, "quarantined"), (9, "quarantined")]
)
def test_a_spam_confidence_level_leads_to_the_action_of_its_class(scl: int, expected: str) -> None:
    """5 and 6 are spam, 7 to 9 high-confidence spam; 0 to 4 go on to the filter (SetSCL)."""
    here = tenant(transport_rules=[rule("It", SetSCL=scl)], **policies(CONTENT, HighConfidenceSpamAction="Quarantine"))

    assert end(inbound(), here) == expected


def test_low_confidence_doesnt_excuse_spam() -> None:
    """SCL 0 to 4: the filter judges all the same."""
    assert end(inbound(verdict="spam"), tenant(transport_rules=[rule("It", SetSCL=0)])) == "junk"


def test_a_hard_fail_policy_junks_what_the_scanner_returns() -> None:
    """SPF is seen from the scanner's address (product.md 1.3, check 1); skip-spam helps, an IP allow entry too."""
    hard = policies(CONTENT, MarkAsSpamSpfRecordHardFail="On")
    unjudged = scanner(verdict="none")
    allowed = hard["policies"] | {CONNECTION: [{"IPAllowList": INBOUND_EGRESS}]}

    assert end(inbound(), tenant(**hard)) == "delivered"
    assert end(inbound(), protected(**hard), scanners=[unjudged]) == "junk"
    assert end(inbound(), protected(**hard)) == "delivered"
    assert end(inbound(), protected(policies=allowed), scanners=[unjudged]) == "delivered"
    assert end(inbound(), protected(), scanners=[unjudged]) == "delivered"
    assert end(inbound(spf="none"), protected(**hard), scanners=[unjudged]) == "delivered"


def test_the_first_verdict_is_lost_when_a_rule_skips_the_filter_on_return() -> None:
    """real-tenants.md 8: Microsoft's verdict on the first pass is gone unless the scanner hands it back."""
    assert end(inbound(verdict="spam"), protected()) == "delivered"
    assert end(inbound(verdict="spam"), protected(), scanners=[scanner(verdict="none")]) == "junk"
    assert end(inbound(), protected(), scanners=[scanner(verdict="junk")]) == "junk"


def test_a_forged_verdict_is_not_believed() -> None:
    """Address and secret are both conditions: neither a header nor a wrong secret is enough (real-tenants.md 3)."""
    forged = inbound(verdict="spam", headers={"X-Scanner-Clean": "told to nobody"})
    guessed = inbound(verdict="spam", headers={"X-Scanner-Clean": "guess"})
    routed = protected(recipients=[mailbox("max@contoso.com")])
    routed["transport_rules"][0] = rule("Off", SentTo=["nobody@contoso.com"], SetSCL=0)

    assert end(forged, routed) == "junk"
    assert end(guessed, protected(), scanners=[scanner(verdict="none")]) == "junk"


@pytest.mark.parametrize(("action", "expected"), [("Reject", "rejected 5.7.509"), ("Quarantine", "quarantined")])
def test_mail_that_fails_a_rejecting_dmarc_policy(action: str, expected: str) -> None:
    """HonorDmarcPolicy and DmarcRejectAction, Reject by default (Set-AntiPhishPolicy)."""
    spoof = inbound(spf="fail", dkim="fail", dmarc_policy="reject")

    assert end(spoof, tenant(**policies("AntiPhishPolicy", DmarcRejectAction=action))) == expected
    assert end(spoof, tenant()) == "rejected 5.7.509"
    assert end(spoof, tenant(**policies("AntiPhishPolicy", HonorDmarcPolicy=False))) == "junk"
    assert end(spoof, tenant(**policies("AntiPhishPolicy", HonorDmarcPolicy=False, EnableSpoofIntelligence=False))) == "delivered"


def test_modified_mail_of_a_strict_sender_is_refused_on_its_return() -> None:
    """real-tenants.md 10, in spite of the skip-spam rule; a trusted ARC sealer is the gentler way (8)."""
    strict = inbound(dmarc_policy="reject")
    sealing = scanner(modifies=True, arc_domain="scanner.example")
    trusting = policies("ArcConfig", ArcTrustedSealers="other.example, scanner.example")

    assert end(strict, protected()) == "delivered"
    assert end(strict, protected(), scanners=[scanner(modifies=True)]) == "rejected 5.7.509"
    assert end(strict, protected(), scanners=[sealing]) == "rejected 5.7.509"
    assert end(strict, protected(**trusting), scanners=[sealing]) == "delivered"
    assert end(strict, protected(**trusting), scanners=[scanner(modifies=True)]) == "rejected 5.7.509"


def test_a_sealer_is_not_believed_about_mail_that_failed_before() -> None:
    """ARC tells what the sealer saw; what failed on arrival stays failed."""
    spoof = inbound(spf="fail", dkim="fail", dmarc_policy="reject")
    sealing = scanner(modifies=True, arc_domain="scanner.example")
    lenient = {"ArcConfig": [{"ArcTrustedSealers": "scanner.example"}], "AntiPhishPolicy": [{"DmarcRejectAction": "Quarantine"}]}

    assert end(spoof, protected(policies=lenient), scanners=[{**sealing, "verdict": "none"}]) == "quarantined"


def test_alignment_counts() -> None:
    """SPF of a foreign envelope sender says nothing about the From address; a subdomain is aligned."""
    strict = {"dkim": "none", "dmarc_policy": "reject"}

    assert end(inbound(mail_from="x@mailer.example", **strict)) == "rejected 5.7.509"
    assert end(inbound(mail_from="x@bounces.example.org", **strict)) == "delivered"
    assert end(inbound(mail_from="", **strict)) == "rejected 5.7.509"


def test_a_quarantining_dmarc_policy_is_left_to_the_content_filter() -> None:
    """DmarcQuarantineAction, unless the filter is skipped."""
    doubtful = inbound(spf="fail", dkim="fail", dmarc_policy="quarantine")

    assert end(doubtful) == "quarantined"
    assert end(doubtful, tenant(**policies("AntiPhishPolicy", DmarcQuarantineAction="MoveToJmf"))) == "junk"
    assert end(doubtful, tenant(transport_rules=[rule("Skip", SetSCL=-1)])) == "delivered"


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"SpoofedUser": "*", "SendingInfrastructure": "198.51.100.0/24", "SpoofType": "External"}, "delivered"),
        ({"SpoofedUser": "example.org", "SendingInfrastructure": "198.51.100.0/24", "SpoofType": "External"}, "delivered"),
        ({"SpoofedUser": "eve@example.org", "SendingInfrastructure": "mail.example", "SpoofType": "External"}, "delivered"),
        ({"SpoofedUser": "*", "SendingInfrastructure": "198.51.100.0/24", "SpoofType": "Internal"}, "rejected 5.7.509"),
        ({"SpoofedUser": "*", "SendingInfrastructure": "203.0.113.0/24", "SpoofType": "External"}, "rejected 5.7.509"),
        ({"SpoofedUser": "example.net", "SendingInfrastructure": "198.51.100.0/24", "SpoofType": "External"}, "rejected 5.7.509"),
        (
            {"SpoofedUser": "*", "SendingInfrastructure": "198.51.100.0/24", "SpoofType": "External", "Action": "Block"},
            "rejected 5.7.509",
        ),
    ],
)
def test_an_allow_entry_names_sender_server_and_kind(entry: dict[str, str], expected: str) -> None:
    """New-TenantAllowBlockListSpoofItems: a pair, for outside or own senders (real-tenants.md 9)."""
    spoof = inbound(spf="fail", dkim="fail", dmarc_policy="reject", certificate="out.mail.example")
    allowed = policies("TenantAllowBlockListSpoofItems", {"Action": "Allow", **entry})

    assert end(spoof, tenant(**allowed)) == expected


def test_own_senders_need_the_internal_entry() -> None:
    """real-tenants.md 9: at least two entries, External and Internal."""
    spoof = inbound(mail_from="x@contoso.com", header_from="ada@contoso.com", spf="fail", dkim="fail", dmarc_policy="reject")
    entry = {"Action": "Allow", "SpoofedUser": "*", "SendingInfrastructure": "198.51.100.0/24"}

    assert (
        end(spoof, tenant(**policies("TenantAllowBlockListSpoofItems", {**entry, "SpoofType": "External"}))) == "rejected 5.7.509"
    )
    assert end(spoof, tenant(**policies("TenantAllowBlockListSpoofItems", {**entry, "SpoofType": "Internal"}))) == "delivered"


def test_an_ip_allow_entry_trusts_every_sender_behind_it() -> None:
    """It skips sender authentication too (Microsoft's page on the connection filter; real-tenants.md 9)."""
    spoof = inbound(spf="fail", dkim="fail", dmarc_policy="reject")

    assert end(spoof, tenant(**policies(CONNECTION, IPAllowList=["198.51.100.0/24"]))) == "delivered"


def test_mail_for_servers_on_premises_is_filtered_here_too() -> None:
    """Quarantine holds it, junk is only a mark."""
    there = tenant(recipients=[{"address": "max@contoso.com", "kind": "on_premises"}])

    assert end(inbound(recipients=["max@contoso.com"], verdict="spam"), there) == "on_premises"
    assert end(inbound(recipients=["max@contoso.com"], verdict="high_confidence_phish"), there) == "quarantined"


def test_phish_goes_before_spam_and_spam_of_high_confidence_before_spoof() -> None:
    """Microsoft's page on the order and precedence of e-mail protection."""
    actions = {"PhishSpamAction": "Quarantine", "HighConfidenceSpamAction": "Delete", "SpamAction": "NoAction"}
    here = tenant(transport_rules=[rule("It", SetSCL=9)], **policies(CONTENT, **actions))
    doubtful = {"spf": "fail", "dkim": "fail", "dmarc_policy": "quarantine"}

    assert end(inbound(verdict="phish"), here) == "quarantined"
    assert end(inbound(**doubtful), here) == "dropped"
    assert end(inbound(**doubtful, verdict="spam"), tenant(**policies(CONTENT, **actions))) == "quarantined"


def test_the_connection_filter_blocks_and_trusts_the_last_hop() -> None:
    """IPBlockList refuses; IPAllowList skips the spam filter for every customer behind that address (real-tenants.md 9)."""
    both = {"IPBlockList": [OUTSIDE], "IPAllowList": [OUTSIDE]}

    assert end(inbound(), tenant(**policies(CONNECTION, IPBlockList=["198.51.100.0/24"]))) == "rejected 5.7.1"
    assert end(inbound(verdict="spam"), tenant(**policies(CONNECTION, IPAllowList=[OUTSIDE]))) == "delivered"
    assert end(inbound(), tenant(**policies(CONNECTION, **both))) == "delivered"


def test_what_the_service_itself_sends_passes_for_its_own_senders_and_for_none() -> None:
    """From tenant to tenant: SPF and signature are the sender's own again; a forward's foreign sender fails SPF."""
    strict = tenant("fabrikam", **policies(CONTENT, MarkAsSpamSpfRecordHardFail="On"))
    there = {"recipients": ["ada@fabrikam.com"], "dmarc_policy": "reject"}
    modifying = [scanner(modifies=True), scanner("fabrikam")]

    assert end(outbound(**there), protected(), strict, scanners=modifying) == "delivered"
    assert end(outbound(**there, mail_from="", kind="bounce"), tenant(), strict) == "delivered"
    assert end(outbound(**there, mail_from="eve@example.org", kind="auto_forward"), tenant(), strict) == "junk"


def test_only_what_asks_for_dmarc_is_held_to_it() -> None:
    """A policy of none, and mail that passes, are left alone, whatever the rest says."""
    assert end(inbound(spf="fail", dkim="fail", dmarc_policy="none")) == "delivered"
    assert end(inbound(spf="fail", dkim="pass", dmarc_policy="reject")) == "delivered"


def test_a_message_that_first_came_from_the_scanners_address_keeps_its_result() -> None:
    """SPF is judged by the connecting address: there it is the same one."""
    hard = policies(CONTENT, MarkAsSpamSpfRecordHardFail="On")
    here = protected(**hard)
    here["transport_rules"][0] = rule(
        "Route",
        ExceptIfHeaderContainsMessageHeader="X-Seen",
        ExceptIfHeaderContainsWords=["1"],
        RouteMessageOutboundConnector="To the inbound scanner",
        SetHeaderName="X-Seen",
        SetHeaderValue="1",
        StopRuleProcessing=True,
    )
    unjudged = [scanner(verdict="none")]

    assert end(inbound(source_ip="192.0.2.0"), here, scanners=unjudged) == "delivered"
    assert end(inbound(source_ip="192.0.2.1"), here, scanners=unjudged) == "junk"


def test_a_forwards_signature_is_not_made_anew() -> None:
    """Exchange signs for its own senders only: what a scanner has broken of a foreign message stays broken."""
    here = protected(recipients=[mailbox("max@contoso.com", forwards_to="ada@fabrikam.com")])
    strict = inbound(recipients=["max@contoso.com"], dmarc_policy="quarantine")
    lenient = policies("AntiPhishPolicy", DmarcQuarantineAction="Quarantine")

    assert end(strict, here, tenant("fabrikam", **lenient), scanners=[scanner(modifies=True)]) == "quarantined"
    assert end(strict, here, tenant("fabrikam", **lenient), scanners=[scanner()]) == "delivered"


def test_mail_from_inside_is_not_judged() -> None:
    """What was born inside, and what an OnPremises connector brings; malware is looked for in both."""
    spoofed = {"spf": "fail", "dkim": "fail", "dmarc_policy": "reject"}
    servers = tenant(inbound_connectors=[on_premises(SenderIPAddresses=[OUTSIDE])])
    handed_in = inbound(mail_from="ben@contoso.com", header_from="ben@contoso.com", **spoofed)

    assert end(outbound(recipients=["ben@contoso.com"], verdict="spam", **spoofed)) == "delivered"
    assert end(handed_in, servers) == "delivered"
    assert end({**handed_in, "verdict": "spam"}, servers) == "delivered"
    assert end({**handed_in, "verdict": "malware"}, servers) == "quarantined"


def test_the_service_answers_for_a_null_sender() -> None:
    """SPF of no sender is asked of the greeting's name, the service's own: a reply to another tenant is no hard failure."""
    away = tenant(recipients=[mailbox("max@contoso.com", auto_replies=True)])
    hard = tenant("fabrikam", **policies(CONTENT, MarkAsSpamSpfRecordHardFail="On"))
    message = outbound(
        from_tenant="fabrikam", mail_from="ada@fabrikam.com", header_from="ada@fabrikam.com", recipients=["max@contoso.com"]
    )

    assert ends(message, away, hard)["ada@fabrikam.com"] == "delivered"
