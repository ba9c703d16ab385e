"""Small traces: two tenants of one scanner, and what becomes of a message."""

from __future__ import annotations

from typing import Any

from local.microsoft365.mail.trace import outcome

SECRET = "told to nobody"
INBOUND_EGRESS = ["192.0.2.0/25"]
OUTBOUND_EGRESS = ["192.0.2.128/25"]
OUTSIDE = "198.51.100.7"
CLEAN = "X-Scanner-Clean"
JUNK = "X-Scanner-Junk"


def mailbox(address: str, **properties: Any) -> dict[str, Any]:
    """Return a recipient of a tenant."""
    return {"address": address, "kind": "mailbox", **properties}


def tenant(name: str = "contoso", **properties: Any) -> dict[str, Any]:
    """Return a tenant with two people, a list of both, and no rule or connector."""
    domain = f"{name}.com"
    return {
        "id": name,
        "accepted_domains": [{"DomainName": domain, "DomainType": "Authoritative", "Default": True}],
        "recipients": [
            mailbox(f"ada@{domain}", aliases=[f"countess@{domain}"]),
            mailbox(f"ben@{domain}"),
            {"address": f"all@{domain}", "kind": "group", "members": [f"ada@{domain}", f"ben@{domain}"]},
            *properties.pop("recipients", ()),
        ],
        **properties,
    }


def on_premises(**properties: Any) -> dict[str, Any]:
    """Return an inbound connector of the type OnPremises."""
    return {"Name": "From our servers", "ConnectorType": "OnPremises", "SenderDomains": ["smtp:*;1"], **properties}


def partner(**properties: Any) -> dict[str, Any]:
    """Return an inbound connector of the type Partner."""
    return {"Name": "From a partner", "ConnectorType": "Partner", "SenderDomains": ["smtp:*;1"], **properties}


def rule(name: str, **properties: Any) -> dict[str, Any]:
    """Return an enabled transport rule."""
    return {"Name": name, "State": "Enabled", "Mode": "Enforce", **properties}


def scanner(name: str = "contoso", **properties: Any) -> dict[str, Any]:
    """Return the scanner of a tenant; both directions have their own hosts, addresses and certificates."""
    return {
        "tenant": name,
        "inbound_host": "inbound.scanner.example",
        "outbound_host": f"{name}.outbound.scanner.example",
        "inbound_egress": INBOUND_EGRESS,
        "outbound_egress": OUTBOUND_EGRESS,
        "inbound_certificate": "inbound.scanner.example",
        "outbound_certificate": f"{name}.relay.scanner.example",
        "verdict": "clean",
        "verdict_headers": {"clean": CLEAN, "junk": JUNK},
        "secret": SECRET,
        **properties,
    }


def protected(name: str = "contoso", **properties: Any) -> dict[str, Any]:
    """Return a tenant whose mail is routed through its scanner, in and out, with verdict rules; further rules come last."""
    domain = f"{name}.com"
    loop = {"StopRuleProcessing": True, "RuleErrorAction": "Defer"}
    verdict = {"SenderIpRanges": INBOUND_EGRESS, "HeaderContainsWords": [SECRET]}
    rules = [
        rule(
            "Inbound routing",
            RecipientDomainIs=[domain],
            HeaderMatchesMessageHeader="X-MS-Exchange-Organization-AuthAs",
            HeaderMatchesPatterns=["Anonymous"],
            ExceptIfSenderIpRanges=INBOUND_EGRESS,
            RouteMessageOutboundConnector="To the inbound scanner",
            **loop,
        ),
        rule(
            "Outbound routing",
            SenderDomainIs=[domain],
            SenderAddressLocation="Envelope",
            SentToScope="NotInOrganization",
            ExceptIfSenderIpRanges=OUTBOUND_EGRESS,
            RouteMessageOutboundConnector="To the outbound scanner",
            **loop,
        ),
        rule("Skip spam", HeaderContainsMessageHeader=CLEAN, SetSCL=-1, RemoveHeader=CLEAN, **verdict),
        rule("Junk", HeaderContainsMessageHeader=JUNK, SetSCL=6, RemoveHeader=JUNK, **verdict),
    ]
    connectors = [
        {"Name": "To the inbound scanner", "IsTransportRuleScoped": True, "SmartHosts": ["inbound.scanner.example"]},
        {"Name": "To the outbound scanner", "IsTransportRuleScoped": True, "SmartHosts": [f"{name}.outbound.scanner.example"]},
    ]
    inbound = [
        partner(Name="Inbound return", SenderIPAddresses=INBOUND_EGRESS),
        on_premises(Name="Outbound return", TlsSenderCertificateName=f"{name}.relay.scanner.example"),
    ]
    return tenant(
        name,
        inbound_connectors=[*inbound, *properties.pop("inbound_connectors", ())],
        outbound_connectors=[*connectors, *properties.pop("outbound_connectors", ())],
        transport_rules=[*properties.pop("first_rules", ()), *rules, *properties.pop("transport_rules", ())],
        **properties,
    )


def inbound(**properties: Any) -> dict[str, Any]:
    """Return a message from the internet to Ada."""
    return {
        "from_tenant": "",
        "mail_from": "eve@example.org",
        "header_from": "eve@example.org",
        "recipients": ["ada@contoso.com"],
        "source_ip": OUTSIDE,
        "spf": "pass",
        "dkim": "pass",
        **properties,
    }


def outbound(**properties: Any) -> dict[str, Any]:
    """Return a message of Ada's to somebody on the internet."""
    return {
        "from_tenant": "contoso",
        "mail_from": "ada@contoso.com",
        "header_from": "ada@contoso.com",
        "recipients": ["eve@example.org"],
        "spf": "pass",
        "dkim": "pass",
        **properties,
    }


def carried(message: dict[str, Any], *tenants: dict[str, Any], **properties: Any) -> dict[str, Any]:
    """Return the outcome of a message with these tenants (Contoso alone, without rules, where none is given)."""
    given = tenants or (tenant(),)
    scanners = properties.pop("scanners", [scanner(each["id"]) for each in given])
    return outcome({"version": 1, "tenants": list(given), "scanners": scanners, "message": message, "uncertain": properties})


def ends(message: dict[str, Any], *tenants: dict[str, Any], **properties: Any) -> dict[str, str]:
    """Return the end of each recipient: the word, and the status of a refusal behind it."""
    found = carried(message, *tenants, **properties)["recipients"]
    return {address: f"{each['end']} {each['status']}".strip() for address, each in found.items()}


def end(message: dict[str, Any], *tenants: dict[str, Any], **properties: Any) -> str:
    """Return the end of a message with one recipient."""
    (only,) = ends(message, *tenants, **properties).values()
    return only


def scans(message: dict[str, Any], *tenants: dict[str, Any], **properties: Any) -> int:
    """Return how often a scanner had a message with one recipient."""
    (only,) = carried(message, *tenants, **properties)["recipients"].values()
    return int(only["scans"])
