"""Transport rules: what they fit, in what order they act, and what a second pass does (real-tenants.md 3 to 6)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.microsoft365.mails import (
    CLEAN,
    OUTSIDE,
    carried,
    end,
    ends,
    inbound,
    mailbox,
    outbound,
    protected,
    rule,
    scans,
    tenant,
)

GROUP = "all@contoso.com"


def counted(message: dict[str, Any], *, uncertain: dict[str, bool] | None = None, **properties: Any) -> int:
    """Return how often a rule with these properties acts on a message in Contoso."""
    nested = {"address": "some@contoso.com", "kind": "group", "members": ["eve@example.org", "all@contoso.com"]}
    here = tenant(recipients=[nested], transport_rules=[rule("It", PrependSubject="x", **properties)])
    return int(carried(message, here, **(uncertain or {}))["rules"].get("It", 0))


FITTING: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ("From", {"From": ["ada@contoso.com"]}, outbound(), outbound(header_from="ben@contoso.com")),
    ("From, not an alias", {"From": ["ada@contoso.com"]}, outbound(), outbound(header_from="countess@contoso.com")),
    ("FromMemberOf", {"FromMemberOf": [GROUP]}, outbound(), inbound()),
    ("FromScope in", {"FromScope": "InOrganization"}, outbound(), inbound()),
    ("FromScope out", {"FromScope": "NotInOrganization"}, inbound(), outbound()),
    ("SenderDomainIs", {"SenderDomainIs": ["example.org"]}, inbound(header_from="a@mail.example.org"), outbound()),
    (
        "SenderDomainIs, envelope",
        {"SenderDomainIs": ["example.net"], "SenderAddressLocation": "Envelope"},
        inbound(mail_from="b@example.net"),
        inbound(header_from="b@example.net"),
    ),
    ("SenderIpRanges", {"SenderIpRanges": ["198.51.100.0/28"]}, inbound(), outbound(source_ip=OUTSIDE)),
    (
        "SentTo",
        {"SentTo": ["ada@contoso.com"]},
        inbound(recipients=["countess@contoso.com"]),
        inbound(recipients=["ben@contoso.com"]),
    ),
    ("SentToScope in", {"SentToScope": "InOrganization"}, inbound(), outbound()),
    ("SentToScope out", {"SentToScope": "NotInOrganization"}, outbound(), inbound()),
    ("SentToMemberOf", {"SentToMemberOf": [GROUP]}, inbound(), outbound()),
    ("RecipientDomainIs", {"RecipientDomainIs": ["contoso.com"]}, inbound(), outbound()),
    (
        "RecipientAddressContainsWords",
        {"RecipientAddressContainsWords": ["ada"]},
        inbound(),
        inbound(recipients=["ben@contoso.com"]),
    ),
    ("AnyOfToHeader", {"AnyOfToHeader": [GROUP]}, inbound(recipients=[GROUP]), inbound()),
    (
        "AnyOfRecipientAddressContainsWords",
        {"AnyOfRecipientAddressContainsWords": ["ben"]},
        inbound(recipients=["ada@contoso.com", "ben@contoso.com"]),
        inbound(),
    ),
    (
        "HeaderContainsMessageHeader",
        {"HeaderContainsMessageHeader": "X-Tag", "HeaderContainsWords": ["red"]},
        inbound(headers={"x-tag": "Red, green"}),
        inbound(headers={"x-tag": "redder"}),
    ),
    (
        "HeaderMatchesMessageHeader",
        {"HeaderMatchesMessageHeader": "X-Tag", "HeaderMatchesPatterns": ["^re+d$"]},
        inbound(headers={"X-Tag": "reed"}),
        inbound(),
    ),
    (
        "HeaderContainsMessageHeader, one of two words",
        {"HeaderContainsMessageHeader": "X-Tag", "HeaderContainsWords": ["blue", "red"]},
        inbound(headers={"X-Tag": "red"}),
        inbound(headers={"X-Tag": "green"}),
    ),
    (
        "SubjectMatchesPatterns, one of two",
        {"SubjectMatchesPatterns": ["^x", "fer$"]},
        inbound(subject="an offer"),
        inbound(subject="offered"),
    ),
    (
        "AnyOfCcHeader",
        {"AnyOfCcHeader": ["ben@contoso.com"]},
        inbound(headers={"Cc": "Ben <ben@contoso.com>, x@y.example"}),
        inbound(),
    ),
    ("AnyOfToCcHeader", {"AnyOfToCcHeader": ["ben@contoso.com"]}, inbound(headers={"Cc": "ben@contoso.com"}), inbound()),
    (
        "AnyOfToHeader, as the header says",
        {"AnyOfToHeader": ["ben@contoso.com"]},
        inbound(headers={"To": "ben@contoso.com"}),
        inbound(),
    ),
    ("AnyOfToHeaderMemberOf", {"AnyOfToHeaderMemberOf": [GROUP]}, inbound(), outbound()),
    (
        "BetweenMemberOf1 and 2",
        {"BetweenMemberOf1": ["some@contoso.com"], "BetweenMemberOf2": [GROUP]},
        outbound(header_from="eve@example.org", recipients=["ada@contoso.com"]),
        inbound(header_from="mallory@example.org"),
    ),
    (
        "BetweenMemberOf1 and 2, the other way",
        {"BetweenMemberOf1": [GROUP], "BetweenMemberOf2": ["some@contoso.com"]},
        outbound(header_from="eve@example.org", recipients=["ada@contoso.com"]),
        outbound(header_from="ada@contoso.com", recipients=["x@example.net"]),
    ),
    ("SentToMemberOf, nested", {"SentToMemberOf": ["some@contoso.com"]}, inbound(), outbound(recipients=["x@example.net"])),
    ("SentToMemberOf, one of two", {"SentToMemberOf": ["none@contoso.com", GROUP]}, inbound(), outbound()),
    ("RecipientAddressMatchesPatterns", {"RecipientAddressMatchesPatterns": ["^ada"]}, inbound(), outbound()),
    ("FromAddressContainsWords", {"FromAddressContainsWords": ["@example.org"]}, inbound(), outbound()),
    ("MessageTypeMatches", {"MessageTypeMatches": "OOF"}, outbound(kind="auto_reply"), outbound()),
    ("SubjectContainsWords", {"SubjectContainsWords": ["offer"]}, inbound(subject="An Offer!"), inbound(subject="offering")),
    ("SubjectOrBodyContainsWords", {"SubjectOrBodyContainsWords": ["offer"]}, inbound(body="an offer"), inbound()),
    ("MessageSizeOver", {"MessageSizeOver": "1 MB (1,048,576 bytes)"}, inbound(size_kb=1025), inbound(size_kb=1024)),
]


@pytest.mark.parametrize(("properties", "fits", "differs"), [each[1:] for each in FITTING], ids=[each[0] for each in FITTING])
def test_a_condition_and_its_exception(properties: dict[str, Any], fits: dict[str, Any], differs: dict[str, Any]) -> None:
    """The words of New-TransportRule: what a condition fits, its ExceptIf twin leaves alone, and the reverse."""
    steering = {name: value for name, value in properties.items() if name == "SenderAddressLocation"}
    excepted = {f"ExceptIf{name}": value for name, value in properties.items() if name not in steering} | steering

    assert (counted(fits, **properties), counted(differs, **properties)) == (1, 0)
    assert (counted(fits, **excepted), counted(differs, **excepted)) == (0, 1)


def test_conditions_are_and_exceptions_are_or() -> None:
    """Microsoft's page on conditions and exceptions of mail flow rules."""
    both: dict[str, Any] = {"SubjectContainsWords": ["offer"], "SenderDomainIs": ["example.org"]}
    either: dict[str, Any] = {"ExceptIfSubjectContainsWords": ["offer"], "ExceptIfSenderDomainIs": ["example.net"]}

    assert [counted(inbound(subject=text), **both) for text in ("offer", "")] == [1, 0]
    assert [counted(inbound(subject=text), **either) for text in ("offer", "")] == [0, 1]
    assert counted(inbound(header_from="eve@example.net"), **either) == 0


def test_a_header_as_exception_beside_the_address_lets_anybody_past() -> None:
    """real-tenants.md 3: exceptions are OR, so a header alone is enough, and anybody can write a header."""
    here = protected()
    here["transport_rules"][0] |= {"ExceptIfHeaderContainsMessageHeader": CLEAN, "ExceptIfHeaderContainsWords": ["yes"]}

    assert scans(inbound(headers={CLEAN: "yes"}), here) == 0
    assert scans(inbound(headers={CLEAN: "yes"}), protected()) == 1


def test_a_rule_on_a_group_that_is_gone_does_nothing() -> None:
    """Page of New-TransportRule: a condition on it never fits, an exception exempts nobody."""
    assert counted(inbound(), SentToMemberOf=["gone@contoso.com"]) == 0
    assert counted(inbound(), ExceptIfSentToMemberOf=["gone@contoso.com"]) == 1
    assert counted(outbound(), FromMemberOf=["gone@contoso.com"]) == 0


def test_an_own_domain_spoof_is_neither_inside_nor_outside() -> None:
    """Microsoft's pages disagree: a switch (real-tenants.md 6)."""
    spoof = inbound(header_from="ada@contoso.com")
    doubted = {"from_scope_needs_authentication": False}

    assert counted(spoof, FromScope="InOrganization") == 0
    assert counted(spoof, FromScope="NotInOrganization") == 0
    assert counted(spoof, FromScope="InOrganization", uncertain=doubted) == 1


def test_whether_a_recipient_domain_includes_subdomains_is_a_switch() -> None:
    """PS says that it does, XO that it doesn't (real-tenants.md 6)."""
    here = tenant(
        accepted_domains=[{"DomainName": name, "DomainType": "Authoritative"} for name in ("contoso.com", "eu.contoso.com")],
        recipients=[mailbox("max@eu.contoso.com")],
        transport_rules=[rule("It", RecipientDomainIs=["contoso.com"], PrependSubject="x")],
    )
    message = inbound(recipients=["max@eu.contoso.com"])

    assert carried(message, here)["rules"] == {"It": 1}
    assert carried(message, here, recipient_domain_includes_subdomains=False)["rules"] == {}


def test_whether_rules_can_read_who_was_authenticated_is_a_switch() -> None:
    """X-MS-Exchange-Organization-AuthAs: known in the field only (real-tenants.md 6)."""
    assert scans(inbound(), protected()) == 1
    assert scans(inbound(), protected(), auth_header_in_conditions=False) == 0


def test_own_headers_from_outside_are_taken_off() -> None:
    """Nobody can forge X-MS-Exchange-Organization headers, neither a sender nor the scanner."""
    forged = inbound(headers={"X-MS-Exchange-Organization-AuthAs": "Internal", "X-MS-Exchange-Organization-SCL": "-1"})
    reads = [rule("It", HeaderContainsMessageHeader="X-MS-Exchange-Organization-SCL", HeaderContainsWords=["-1"], SetSCL=6)]

    assert scans(forged, protected()) == 1
    assert carried(forged, tenant(transport_rules=reads))["rules"] == {}


def test_addresses_are_primary_unless_the_rule_asks_for_what_was_written() -> None:
    """real-tenants.md 6 and RecipientAddressType."""
    aliased = inbound(recipients=["countess@contoso.com"])

    assert counted(aliased, RecipientAddressContainsWords=["countess"]) == 0
    assert counted(aliased, RecipientAddressContainsWords=["ada"]) == 1
    assert counted(aliased, RecipientAddressContainsWords=["countess"], RecipientAddressType="Original") == 1
    assert ends(aliased) == {"ada@contoso.com": "delivered"}


def test_rules_act_in_order_and_a_stop_keeps_the_later_ones_away() -> None:
    """Priority order; StopRuleProcessing holds for what the rule fitted only."""
    first = rule("First", SentTo=["ada@contoso.com"], PrependSubject="x", StopRuleProcessing=True)
    here = tenant(
        transport_rules=[first, rule("Second", SubjectContainsWords=["x"], PrependSubject="y"), rule("Third", PrependSubject="z")]
    )
    both = inbound(recipients=["ada@contoso.com", "ben@contoso.com"])

    assert carried(both, here)["rules"] == {"First": 1, "Third": 1}


def test_a_recipient_condition_forks_the_message() -> None:
    """A rule acts on those it fits; later rules see two messages, and count twice."""
    reject = rule("No", SentTo=["ben@contoso.com"], RejectMessageReasonText="no")
    here = tenant(transport_rules=[rule("Before", SetHeaderName="X-A", SetHeaderValue="1"), reject, rule("After", SetSCL=0)])
    both = inbound(recipients=["ada@contoso.com", "ben@contoso.com"])
    twice = tenant(transport_rules=[rule("Ben", SentTo=["ben@contoso.com"], SetSCL=0), rule("After", SetSCL=0)])

    assert ends(both, here) == {"ada@contoso.com": "delivered", "ben@contoso.com": "rejected 5.7.1"}
    assert carried(both, here)["rules"] == {"Before": 1, "No": 1, "After": 1}
    assert carried(both, twice)["rules"] == {"Ben": 1, "After": 2}


def test_any_of_conditions_act_on_all_recipients() -> None:
    """AnyOf predicates don't fork (real-tenants.md, mixed recipients)."""
    here = tenant(transport_rules=[rule("All", AnyOfRecipientAddressContainsWords=["ben"], DeleteMessage=True)])

    assert ends(inbound(recipients=["ada@contoso.com", "ben@contoso.com"]), here) == dict.fromkeys(
        ["ada@contoso.com", "ben@contoso.com"], "dropped"
    )


ENDING: list[tuple[dict[str, Any], str]] = [
    ({"RejectMessageReasonText": "no"}, "rejected 5.7.1"),
    ({"RejectMessageReasonText": "no", "RejectMessageEnhancedStatusCode": "5.7.900"}, "rejected 5.7.900"),
    ({"RejectMessageEnhancedStatusCode": "5.7.12"}, "rejected 5.7.12"),
    ({"DeleteMessage": True}, "dropped"),
    ({"Quarantine": True}, "quarantined"),
    ({"ModerateMessageByUser": ["ben@contoso.com"]}, "moderated"),
    ({"SetSCL": 6}, "junk"),
    ({"SetSCL": -1}, "delivered"),
    ({"RouteMessageOutboundConnector": "Gone", "RuleErrorAction": "Defer"}, "deferred"),
    ({"RouteMessageOutboundConnector": "Gone", "RuleErrorAction": "Ignore"}, "delivered"),
    ({"RouteMessageOutboundConnector": "Gone"}, "delivered"),
]


@pytest.mark.parametrize(("actions", "expected"), ENDING, ids=[str(each[0]) for each in ENDING])
def test_an_action_ends_a_message(actions: dict[str, Any], expected: str) -> None:
    """Pages of New-TransportRule; RuleErrorAction is Ignore by default: the message goes on unscanned."""
    assert end(inbound(), tenant(transport_rules=[rule("It", **actions)])) == expected


def test_a_failing_rule_doesnt_stop_the_others_when_it_is_ignored() -> None:
    """real-tenants.md 5; a disabled connector fails like one that is gone."""
    routes: dict[str, Any] = {"RouteMessageOutboundConnector": "Off", "StopRuleProcessing": True}
    off: dict[str, Any] = {"outbound_connectors": [{"Name": "Off", "Enabled": False, "SmartHosts": ["inbound.scanner.example"]}]}
    rules = [rule("Route", **routes), rule("Then", SetSCL=0)]

    assert carried(inbound(), tenant(transport_rules=rules, **off))["rules"] == {"Then": 1}
    assert end(inbound(), tenant(transport_rules=[{**rules[0], "RuleErrorAction": "Defer"}], **off)) == "deferred"


@pytest.mark.parametrize("off", [{"Mode": "Audit"}, {"Mode": "AuditAndNotify"}, {"State": "Disabled"}])
def test_a_rule_that_is_off_or_audits_changes_nothing(off: dict[str, str]) -> None:
    """Mode Audit evaluates conditions only, and stops nobody."""
    rules = [rule("It", DeleteMessage=True, StopRuleProcessing=True) | off, rule("Then", SetSCL=0)]

    found = carried(inbound(), tenant(transport_rules=rules))

    assert found == {"recipients": {"ada@contoso.com": {"end": "delivered", "scans": 0, "status": ""}}, "rules": {"Then": 1}}


@pytest.mark.parametrize("action", ["AddToRecipients", "CopyTo", "BlindCopyTo"])
def test_added_recipients_get_the_message_too(action: str) -> None:
    """Groups among them are expanded."""
    here = tenant(transport_rules=[rule("It", **{action: [GROUP]})])

    assert ends(inbound(recipients=["ben@contoso.com"]), here) == {
        "ada@contoso.com": "delivered",
        "ben@contoso.com": "delivered",
    }


def test_a_redirect_replaces_the_recipients() -> None:
    """Later rules see the new ones."""
    here = tenant(
        transport_rules=[rule("It", RedirectMessageTo=["ben@contoso.com"]), rule("Ben", SentTo=["ben@contoso.com"], SetSCL=0)]
    )

    assert ends(inbound(), here) == {"ben@contoso.com": "delivered"}
    assert carried(inbound(), here)["rules"] == {"It": 1, "Ben": 1}


@pytest.mark.parametrize("action", ["RedirectMessageTo", "AddToRecipients", "CopyTo", "BlindCopyTo"])
def test_a_rule_that_redirects_refuses_the_message_when_it_comes_back(action: str) -> None:
    """5.7.128: the loop header survives the scanner (real-tenants.md 4); whether it does is a switch."""
    behind = protected(transport_rules=[rule("It", **{action: ["ben@contoso.com"]})])
    before = protected(first_rules=[rule("It", **{action: ["ben@contoso.com"]})])

    assert set(ends(inbound(), behind).values()) == {"delivered"}
    assert set(ends(inbound(), before).values()) == {"rejected 5.7.128"}
    assert set(ends(inbound(), before, loop_header_survives=False).values()) == {"delivered"}


def test_foreign_rules_before_ours_run_twice_and_behind_ours_once() -> None:
    """A returned message is a new pass (real-tenants.md 4)."""
    foreign = [rule("Disclaimer", ApplyHtmlDisclaimerText="Mind the links.")]

    assert carried(inbound(), protected(first_rules=foreign))["rules"]["Disclaimer"] == 2
    assert carried(inbound(), protected(transport_rules=foreign))["rules"]["Disclaimer"] == 1


def test_only_the_envelope_of_sealed_mail_is_readable() -> None:
    """S/MIME and RMS: the subject is, the body isn't; a disclaimer falls back."""
    reads: dict[str, Any] = {"SubjectOrBodyContainsWords": ["offer"]}
    for kind in ("encrypted", "rights_protected"):
        assert counted(inbound(kind=kind, body="offer"), **reads) == 0
        assert counted(inbound(kind=kind, subject="offer"), **reads) == 1
    sealed = inbound(kind="encrypted")
    rejects = rule("It", ApplyHtmlDisclaimerText="x", ApplyHtmlDisclaimerFallbackAction="Reject")

    assert end(sealed, tenant(transport_rules=[rejects])) == "rejected 5.7.1"
    assert end(inbound(), tenant(transport_rules=[rejects])) == "delivered"


def test_a_number_of_zero_is_a_condition() -> None:
    """SCLOver 0: only what has a level at all."""
    rules = [rule("Before", SCLOver=0, PrependSubject="x"), rule("Level", SetSCL=0), rule("After", SCLOver=0, PrependSubject="y")]

    assert carried(inbound(), tenant(transport_rules=rules))["rules"] == {"Level": 1, "After": 1}
    assert counted(inbound(), HasNoClassification=True) == 1


def test_a_condition_that_no_message_here_can_meet_fits_nothing() -> None:
    """No message has attachments; an exception on them exempts nothing."""
    assert counted(inbound(), AttachmentSizeOver="1 MB") == 0
    assert counted(inbound(), ExceptIfAttachmentSizeOver="1 MB") == 1
