"""Traces: one JSON document is one message in one situation, with its outcome. docs/mail-traces.md describes the format."""

from collections.abc import Iterable, Mapping
from typing import Any

from shared.mailflow.route.conditions import Settings, values_of
from shared.mailflow.route.journey import Journey, travel
from shared.mailflow.route.model import (
    SWITCHES,
    Copy,
    InboundConnector,
    Message,
    Oracle,
    OutboundConnector,
    Recipient,
    Scanner,
    Tenant,
    World,
    number,
    span,
)
from shared.mailflow.route.rules import compile_rule

VERSION = 1
"""The version of the format."""
_SPACE_COST = ";"


def outcome(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what becomes of the document's message: ``recipients`` by final address, and ``rules`` with how often each acted.

    Where conditions of a rule can't be told it is taken not to match, and ``untold`` names these rules.
    Raises ValueError for a document of another version, and for a switch that nobody knows.
    """
    if document.get("version") != VERSION:
        raise ValueError(f"a trace of version {VERSION} is needed, not {document.get('version')!r}")
    choices = document.get("uncertain") or {}
    if unknown := sorted(set(choices) - set(SWITCHES)):
        raise ValueError(f"unknown switches: {', '.join(unknown)}")
    world = world_of(document["tenants"], document.get("scanners") or ())
    oracle = Oracle(choices)
    told = told_of(travel(world, start_of(document["message"]), oracle))
    untold = sorted(key.removeprefix("rule:") for key in oracle.asked if key.startswith("rule:"))
    return {**told, "untold": untold} if untold else told


def told_of(journey: Journey) -> dict[str, Any]:
    """Return a journey as the ``outcome`` of a trace."""
    return {
        "recipients": {
            address: {"end": str(found.end), "scans": found.scans, "status": found.status}
            for address, found in journey.ends.items()
        },
        "rules": dict(journey.rules),
    }


def world_of(tenants: Iterable[Mapping[str, Any]], scanners: Iterable[Mapping[str, Any]]) -> World:
    """Return the tenants and scanners of a document."""
    found = {str(each["id"]): tenant_of(each) for each in tenants}
    owners = {domain: tenant.id for tenant in reversed(found.values()) for domain in tenant.domains}
    return World(found, owners, tuple(scanner_of(each) for each in scanners))


def tenant_of(document: Mapping[str, Any]) -> Tenant:
    """Return one tenant of a document."""
    policies = document.get("policies") or {}
    firsts = {name: _first(policies, name) for name in ("HostedContentFilterPolicy", "AntiPhishPolicy")}
    connection, arc = _first(policies, "HostedConnectionFilterPolicy"), _first(policies, "ArcConfig")
    directory = {
        address: recipient
        for recipient, aliases in map(_recipient, document.get("recipients") or ())
        for address in (recipient.address, *aliases)
    }
    return Tenant(
        str(document["id"]),
        {
            str(each["DomainName"]).casefold(): each.get("DomainType") == "InternalRelay"
            for each in document.get("accepted_domains") or ()
        },
        directory,
        tuple(_inbound(each) for each in document.get("inbound_connectors") or () if each.get("Enabled", True)),
        {str(each["Name"]).casefold(): _outbound(each) for each in document.get("outbound_connectors") or ()},
        tuple(rule for each in document.get("transport_rules") or () if (rule := compile_rule(each))),
        firsts,
        tuple(span(text) for text in connection.get("IPAllowList") or ()),
        tuple(
            (_text(each, "SpoofType"), _text(each, "SpoofedUser"), _text(each, "SendingInfrastructure"))
            for each in policies.get("TenantAllowBlockListSpoofItems") or ()
            if each.get("Action", "Allow") == "Allow"
        ),
        frozenset(_listed(arc.get("ArcTrustedSealers"))),
        bool((document.get("organization") or {}).get("RejectDirectSend")),
    )


def start_of(document: Mapping[str, Any]) -> Copy:
    """Return the message of a document as the copy that starts."""
    recipients = tuple(str(each).casefold() for each in document["recipients"])
    headers = {str(name).casefold(): str(text) for name, text in (document.get("headers") or {}).items()}
    to = headers.get("to")
    sender = str(document.get("mail_from") or "").casefold()
    source = str(document.get("source_ip") or "")
    message = Message(
        subject=str(document.get("subject") or ""),
        body=str(document.get("body") or ""),
        size_kb=float(document.get("size_kb") or 10),
        to=recipients if to is None else tuple(_address(part) for part in to.split(",")),
        spf=str(document.get("spf") or "none"),
        dkim=str(document.get("dkim") or "none"),
        dmarc_policy=str(document.get("dmarc_policy") or "none"),
        verdict=str(document.get("verdict") or "none"),
        source_ip=source,
    )
    return Copy(
        sender,
        str(document.get("header_from") or sender).casefold(),
        recipients,
        headers,
        str(document.get("kind") or "normal"),
        message,
        source,
        str(document.get("certificate") or "").casefold(),
        str(document.get("from_tenant") or ""),
        authenticated=bool(document.get("authenticated")),
    )


def _address(text: str) -> str:
    """Return the address of a mailbox in a header, without its display name."""
    return text.rpartition("<")[2].rstrip("> ").strip().casefold()


def _first(policies: Mapping[str, Any], name: str) -> Settings:
    """Return the default policy of a kind, else the first, else none: then Microsoft's defaults hold."""
    found = policies.get(name) or ()
    return next((each for each in found if each.get("IsDefault")), found[0] if found else {})


def _text(settings: Settings, name: str) -> str:
    return str(settings.get(name) or "").casefold()


def _listed(value: Any) -> tuple[str, ...]:
    """Return the entries of a list that Exchange may write as one text with commas."""
    return tuple(part.strip() for text in values_of(value or ()) for part in text.split(",") if part.strip())


def _domains(value: Any) -> tuple[str, ...]:
    """Return domain patterns without Exchange's form ``smtp:domain;cost``."""
    return tuple(text.partition(_SPACE_COST)[0] for text in _listed(value))


def _recipient(document: Mapping[str, Any]) -> tuple[Recipient, tuple[str, ...]]:
    members = document.get("members", ())
    recipient = Recipient(
        str(document["address"]).casefold(),
        str(document.get("kind") or "mailbox"),
        None if members is None else values_of(members),
        str(document.get("external_address") or "").casefold(),
        str(document.get("forwards_to") or "").casefold(),
        bool(document.get("auto_replies")),
    )
    return recipient, values_of(document.get("aliases") or ())


def _inbound(settings: Settings) -> InboundConnector:
    return InboundConnector(
        str(settings.get("Name", "")),
        str(settings.get("ConnectorType") or "Partner") == "OnPremises",
        _domains(settings.get("SenderDomains") or ["*"]),
        tuple(span(str(text)) for text in settings.get("SenderIPAddresses") or ()),
        str(settings.get("TlsSenderCertificateName") or "").casefold(),
        bool(settings.get("RestrictDomainsToIPAddresses")),
        bool(settings.get("RestrictDomainsToCertificate")),
        bool(settings.get("CloudServicesMailEnabled")),
        bool(settings.get("TreatMessagesAsInternal")),
    )


def _outbound(settings: Settings) -> OutboundConnector:
    return OutboundConnector(
        str(settings["Name"]),
        str(settings.get("ConnectorType") or "Partner") == "OnPremises",
        bool(settings.get("Enabled", True)),
        _listed(settings.get("SmartHosts")),
        _domains(settings.get("RecipientDomains")),
        bool(settings.get("IsTransportRuleScoped")),
        bool(settings.get("RouteAllMessagesViaOnPremises")),
        bool(settings.get("UseMXRecord", not settings.get("SmartHosts"))),
    )


def scanner_of(document: Mapping[str, Any]) -> Scanner:
    """Return one scanner of a document."""
    inbound, outbound = (tuple(document.get(f"{way}_egress") or ()) for way in ("inbound", "outbound"))
    headers = document.get("verdict_headers") or {}
    return Scanner(
        str(document["tenant"]),
        str(document.get("inbound_host") or "").casefold(),
        str(document.get("outbound_host") or "").casefold(),
        tuple(first_address(text) for text in inbound),
        tuple(first_address(text) for text in outbound),
        str(document.get("inbound_certificate") or "").casefold(),
        str(document.get("outbound_certificate") or "").casefold(),
        str(headers.get(document.get("verdict", "none"), "")).casefold(),
        str(document.get("secret") or ""),
        bool(document.get("modifies")),
        str(document.get("arc_domain") or "").casefold(),
    )


def first_address(network: str) -> str:
    """Return the first address of a network or range, in whose name the scanner connects."""
    text = network.partition("/")[0].partition("-")[0].strip()
    return text if number(text) else ""
