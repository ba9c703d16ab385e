"""Whose message it is, and who may relay: real-tenants.md 1, 2, 10 and its list of what must be modelled."""

from __future__ import annotations

from typing import Any

import pytest

from tests.microsoft365.mails import (
    INBOUND_EGRESS,
    OUTSIDE,
    carried,
    end,
    ends,
    inbound,
    on_premises,
    outbound,
    partner,
    protected,
    scanner,
    scans,
    tenant,
)

OURS = "203.0.113.9"


def relayed(**properties: Any) -> dict[str, Any]:
    """Return a message that a server of Contoso's hands in for the outside."""
    return inbound(mail_from="ada@contoso.com", recipients=["eve@example.org"], source_ip=OURS, **properties)


def test_an_on_premises_connector_relays_for_a_sender_of_ours() -> None:
    """By address and MAIL FROM (Microsoft's page on SMTP relay requirements)."""
    servers = on_premises(SenderIPAddresses=[OURS])

    assert end(relayed(), tenant(inbound_connectors=[servers])) == "relayed"
    assert end(relayed(), tenant(inbound_connectors=[{**servers, "Enabled": False}])) == "rejected 5.7.64"


def test_a_partner_connector_gives_no_relay() -> None:
    """Page of New-InboundConnector: it is for a partner's mail to us."""
    assert end(relayed(), tenant(inbound_connectors=[partner(SenderIPAddresses=[OURS])])) == "rejected 5.7.64"


def test_from_does_not_count_for_relay() -> None:
    """Since 1 Nov 2023 the From header no longer makes a message ours."""
    servers = tenant(inbound_connectors=[on_premises(SenderIPAddresses=[OURS])])
    message = {**relayed(), "mail_from": "eve@example.org", "header_from": "ada@contoso.com"}

    assert end(message, servers) == "rejected 5.7.64"


@pytest.mark.parametrize("name", ["contoso.com", "mail.contoso.com"])
def test_a_certificate_of_an_accepted_domain_relays_every_sender(name: str) -> None:
    """The name or a parent of it is an accepted domain (real-tenants.md 1, variant B); a wildcard means the domain too (PS)."""
    message = {**relayed(), "mail_from": "", "certificate": name}

    for wanted in (name, "*.contoso.com"):
        assert end(message, tenant(inbound_connectors=[on_premises(TlsSenderCertificateName=wanted)])) == "relayed"
    assert end(message, tenant(inbound_connectors=[on_premises(TlsSenderCertificateName="x.contoso.com")])) == "rejected 5.7.64"
    foreign = {**message, "certificate": "mail.example.net"}
    assert end(foreign, tenant(inbound_connectors=[on_premises(TlsSenderCertificateName="*.example.net")])) == "rejected 5.7.64"


def test_null_sender_mail_returning_for_the_outside_is_refused() -> None:
    """It matches neither MAIL FROM nor a certificate of an accepted domain (real-tenants.md 1, inferred): a switch."""
    rules = [{"Name": "All out", "SentToScope": "NotInOrganization", "ExceptIfSenderIpRanges": ["192.0.2.128/25"]}]
    routed = [{**each, "RouteMessageOutboundConnector": "To the outbound scanner"} for each in rules]
    here = protected(first_rules=routed)
    bounce = outbound(mail_from="", kind="bounce")
    forward = outbound(mail_from="mallory@example.net", kind="auto_forward")

    assert end(bounce, here) == end(forward, here) == "rejected 5.7.64"
    assert end(bounce, here, null_sender_relays=True) == "relayed"
    assert end(forward, here, null_sender_relays=True) == "rejected 5.7.64"


def test_mail_with_a_foreign_envelope_goes_out_directly() -> None:
    """The outbound rule asks for an envelope sender of ours (variant A)."""
    assert scans(outbound(mail_from=""), protected()) == 0
    assert end(outbound(mail_from="", kind="bounce"), protected()) == "relayed"
    assert scans(outbound(), protected()) == 1


def test_mail_between_two_customers_is_scanned_by_both() -> None:
    """Out through the sender's scanner, in through the recipient's, each once."""
    message = outbound(recipients=["ada@fabrikam.com"])

    found = carried(message, protected(), protected("fabrikam"))

    assert found["recipients"] == {"ada@fabrikam.com": {"end": "delivered", "scans": 2, "status": ""}}
    assert found["rules"] == {"Outbound routing": 1, "Inbound routing": 1, "Skip spam": 1}


def test_returned_mail_that_matches_the_senders_connector_is_attributed_to_the_sender() -> None:
    """ATTR34: the recipient's scanner returns from an address of the sender's OnPremises connector (real-tenants.md 1)."""
    shared = protected(inbound_connectors=[on_premises(Name="Too much", SenderIPAddresses=INBOUND_EGRESS)])
    by_certificate = protected(inbound_connectors=[on_premises(Name="Too", TlsSenderCertificateName="*.scanner.example")])
    message = outbound(recipients=["ada@fabrikam.com"])

    assert end(message, shared, protected("fabrikam")) == "rejected 5.4.14"
    assert end(message, by_certificate, protected("fabrikam")) == "rejected 5.4.14"
    assert end(inbound(recipients=["ada@fabrikam.com"]), shared, protected("fabrikam")) == "delivered"


def test_another_tenants_connector_does_not_take_mail_of_senders_that_it_does_not_own() -> None:
    """MAIL FROM decides between two tenants that name the same server."""
    names = [tenant(name, inbound_connectors=[on_premises(SenderIPAddresses=[OURS])]) for name in ("fabrikam", "contoso")]

    assert end(relayed(), *names) == "relayed"
    assert end({**relayed(), "mail_from": "eve@example.net"}, *names) == "rejected 5.7.64"


@pytest.mark.parametrize("flag", ["RestrictDomainsToIPAddresses", "RestrictDomainsToCertificate"])
def test_a_restrict_flag_with_all_senders_shuts_out_the_internet(flag: str) -> None:
    """Third-party cloud page of Microsoft's, step 4; the scanner is shut out as well where the connector lacks it."""
    lock = partner(SenderIPAddresses=["203.0.113.0/28"], TlsSenderCertificateName="gate.example.net", **{flag: True})
    gate = inbound(source_ip="203.0.113.1", certificate="gate.example.net")

    assert end(inbound(), tenant(inbound_connectors=[lock])) == "rejected 5.7.51"
    assert end(gate, tenant(inbound_connectors=[lock])) == "delivered"
    assert end(gate, protected(inbound_connectors=[lock])) == "rejected 5.7.51"
    assert end(inbound(), tenant(inbound_connectors=[{**lock, "SenderDomains": ["smtp:example.net;1"]}])) == "delivered"
    assert end(inbound(), tenant(inbound_connectors=[{**lock, flag: False}])) == "delivered"


def test_reject_direct_send_refuses_our_own_senders_from_servers_that_no_connector_names() -> None:
    """Exchange team's announcement of RejectDirectSend: P1 sender in an accepted domain, no connector."""
    closed: dict[str, Any] = {"organization": {"RejectDirectSend": True}}
    device = inbound(mail_from="printer@contoso.com", header_from="printer@contoso.com")

    assert end(device, tenant(**closed)) == "rejected 5.7.68"
    assert end(device, tenant(inbound_connectors=[partner(SenderIPAddresses=[OUTSIDE])], **closed)) == "delivered"
    assert end(device, tenant()) == "delivered"
    assert end(inbound(header_from="ada@contoso.com"), tenant(**closed)) == "delivered"


def test_only_a_trusted_connector_makes_mail_internal() -> None:
    """AuthAs: what outside mail claims is taken off; CloudServicesMailEnabled promotes the cross-premises header."""
    rules = [{"Name": "Inside", "FromScope": "InOrganization", "PrependSubject": "x"}]
    claim = inbound(
        mail_from="ada@contoso.com",
        header_from="ada@contoso.com",
        source_ip=OURS,
        headers={f"X-MS-Exchange-{kind}-AuthAs": "Internal" for kind in ("Organization", "CrossPremises")},
    )

    def counted(**properties: Any) -> int:
        here = tenant(transport_rules=rules, inbound_connectors=[on_premises(SenderIPAddresses=[OURS], **properties)])
        return int(carried(claim, here)["rules"].get("Inside", 0))

    assert counted() == 0
    assert counted(CloudServicesMailEnabled=True) == 1
    assert counted(TreatMessagesAsInternal=True) == 1
    assert carried(claim, tenant(transport_rules=rules))["rules"] == {}


def test_mixed_recipients_of_one_message_belong_to_their_own_tenants() -> None:
    """A message from the internet is one for each tenant; nobody relays for outside."""
    message = inbound(recipients=["ada@contoso.com", "ben@fabrikam.com", "eve@example.net"])

    assert ends(message, tenant(), tenant("fabrikam")) == {
        "ada@contoso.com": "delivered",
        "ben@fabrikam.com": "delivered",
        "eve@example.net": "rejected 5.7.64",
    }


def test_a_loop_ends_when_a_tenant_has_had_it_too_often() -> None:
    """5.4.14: without its exception the routing rule sends the message round and round."""
    here = protected()
    here["transport_rules"][0] = {**here["transport_rules"][0], "ExceptIfSenderIpRanges": None}

    assert end(inbound(), here, scanners=[scanner()]) == "rejected 5.4.14"
