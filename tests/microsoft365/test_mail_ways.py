"""What never counts on a message's way, and what decides between two ways."""

from __future__ import annotations

from typing import Any

import pytest

from local.microsoft365.mail.trace import outcome
from tests.microsoft365.mails import (
    carried,
    end,
    inbound,
    mailbox,
    on_premises,
    outbound,
    partner,
    protected,
    rule,
    scanner,
    tenant,
)


def shouted(value: Any) -> Any:
    """Return a trace with its addresses, domains, hosts and header names in capitals."""
    if isinstance(value, dict):
        return {name: shouted(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [shouted(each) for each in value]
    is_name = isinstance(value, str) and ("@" in value or "." in value or value.startswith(("X-", "To the")))
    return value.upper() if is_name else value


SPOOF_ENTRY = {
    "Action": "Allow",
    "SpoofedUser": "example.org",
    "SendingInfrastructure": "scanner.example",
    "SpoofType": "External",
}
LETTERS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (inbound(recipients=["countess@contoso.com"]), protected()),
    (
        inbound(recipients=["all@contoso.com"]),
        protected(transport_rules=[rule("It", SentToMemberOf=["all@contoso.com"], SetSCL=0)]),
    ),
    (outbound(), protected()),
    (inbound(dmarc_policy="reject"), protected(policies={"ArcConfig": [{"ArcTrustedSealers": "scanner.example"}]})),
    (inbound(dmarc_policy="reject"), protected(policies={"TenantAllowBlockListSpoofItems": [SPOOF_ENTRY]})),
    (
        inbound(recipients=["max@contoso.com", "partner@contoso.com"]),
        tenant(
            recipients=[
                mailbox("max@contoso.com", forwards_to="max@example.net"),
                {"address": "partner@contoso.com", "kind": "contact", "external_address": "p@example.org"},
            ]
        ),
    ),
    (
        outbound(),
        tenant(
            outbound_connectors=[
                {
                    "Name": "Ours",
                    "ConnectorType": "OnPremises",
                    "SmartHosts": ["mail.contoso.com"],
                    "RecipientDomains": ["*.example.org"],
                }
            ],
            transport_rules=[rule("Tag", SetHeaderName="X-Tag", SetHeaderValue="1"), rule("Untag", RemoveHeader="X-Tag")],
        ),
    ),
    (
        inbound(mail_from="ada@contoso.com", recipients=["eve@example.net"], certificate="mail.contoso.com"),
        tenant(inbound_connectors=[on_premises(TlsSenderCertificateName="*.contoso.com")]),
    ),
    (
        inbound(),
        tenant(inbound_connectors=[partner(SenderDomains=["smtp:example.org;1"], RestrictDomainsToIPAddresses=True)]),
    ),
    (
        inbound(headers={"Cc": "Ben <ben@contoso.com>"}),
        tenant(
            transport_rules=[
                rule("Redirect", RedirectMessageTo=["countess@contoso.com"], AnyOfCcHeader=["ben@contoso.com"]),
                rule("Gone", HeaderContainsMessageHeader="X-Tag", HeaderContainsWords=["x"], DeleteMessage=True),
            ],
            policies={"JournalRule": [{"JournalEmailAddress": "archive@example.net", "Recipient": "ada@contoso.com"}]},
        ),
    ),
]


@pytest.mark.parametrize(("message", "here"), LETTERS, ids=range(len(LETTERS)))
def test_letter_case_never_counts(message: dict[str, Any], here: dict[str, Any]) -> None:
    """Addresses, domains, hosts, headers and connectors are compared without it, and told in small letters."""
    sealing = scanner(modifies=True, arc_domain="scanner.example")
    document = {"version": 1, "tenants": [here], "scanners": [sealing], "message": message}

    assert outcome(shouted(document)) == outcome(document)
    assert outcome(document)["recipients"]
    assert all(address == address.lower() for address in outcome(shouted(document))["recipients"])


def test_a_domain_may_accept_its_subdomains() -> None:
    """MatchSubDomains (Set-AcceptedDomain): unset, a subdomain is somebody else's."""
    domain = {"DomainName": "contoso.com", "DomainType": "InternalRelay"}
    message = inbound(recipients=["max@eu.contoso.com"])

    assert end(message, tenant(accepted_domains=[domain])) == "rejected 5.7.64"
    assert end(message, tenant(accepted_domains=[{**domain, "MatchSubDomains": True}])) == "on_premises"
    assert (
        end(inbound(recipients=["max@xcontoso.com"]), tenant(accepted_domains=[{**domain, "MatchSubDomains": True}]))
        == "rejected 5.7.64"
    )


def test_the_closest_connector_takes_a_domain() -> None:
    """An address space with more letters goes first; a plain one means that domain alone."""
    wide = {"Name": "Wide", "ConnectorType": "Partner", "SmartHosts": ["mx.example"], "RecipientDomains": ["*.org"]}
    narrow = {
        "Name": "Narrow",
        "ConnectorType": "OnPremises",
        "SmartHosts": ["mail.contoso.com"],
        "RecipientDomains": ["example.org"],
    }

    for connectors in ([wide, narrow], [narrow, wide]):
        assert end(outbound(), tenant(outbound_connectors=connectors)) == "on_premises"
        assert end(outbound(recipients=["eve@sub.example.org"]), tenant(outbound_connectors=connectors)) == "relayed"
    assert end(outbound(recipients=["eve@sub.example.org"]), tenant(outbound_connectors=[narrow])) == "relayed"


def test_ten_passes_are_one_too_few_for_a_loop() -> None:
    """A message may come ten times; the eleventh time it is refused."""
    here = protected()

    assert end(inbound(hops=9), here) == "rejected 5.4.14"
    assert end(inbound(hops=8), here) == "delivered"


def test_two_scanners_of_one_host_keep_their_secrets() -> None:
    """A host may serve several tenants: each tenant's verdict has its own secret, and its own addresses come back."""
    both = [scanner("fabrikam", secret="another", verdict="junk"), scanner()]

    assert carried(inbound(), protected(), scanners=both)["rules"] == {"Inbound routing": 1, "Skip spam": 1}
    assert carried(inbound(), protected(), scanners=both[:1])["rules"] == {"Inbound routing": 1}


def test_a_network_may_be_written_with_any_of_its_addresses() -> None:
    """198.51.100.9/24 is 198.51.100.0/24; what is no range holds nobody."""
    for text, expected in (("198.51.100.9/24", "dropped"), ("198.51.100.0-198.51.100.9", "dropped"), ("nonsense", "delivered")):
        assert end(inbound(), tenant(transport_rules=[rule("It", SenderIpRanges=[text], DeleteMessage=True)])) == expected


def test_nothing_acts_on_a_message_that_has_ended() -> None:
    """Refused by a fallback or for its loop header: later rules don't see it."""
    later = rule("Later", SetSCL=0)
    fallback = rule("First", ApplyHtmlDisclaimerText="x", ApplyHtmlDisclaimerFallbackAction="Reject")
    redirect = rule("First", RedirectMessageTo=["ben@contoso.com"])
    looped = inbound(headers={"X-MS-Exchange-Transport-Rules-Loop": "1"})

    assert carried(inbound(kind="encrypted"), tenant(transport_rules=[fallback, later]))["rules"] == {"First": 1}
    assert carried(looped, tenant(transport_rules=[redirect, later]))["rules"] == {}


def test_a_copy_line_is_only_what_stands_there() -> None:
    """Without a Cc header nobody is in copy, though the message has recipients."""
    rules = [rule("It", AnyOfCcHeader=["ada@contoso.com"], SetSCL=0)]

    assert carried(inbound(), tenant(transport_rules=rules))["rules"] == {}
