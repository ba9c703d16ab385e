"""Inbound and outbound connectors.

Rules and defaults: the pages of New-InboundConnector and New-OutboundConnector (github:MicrosoftDocs/office-docs-powershell);
the properties of an answer: recorded connectors in github:rknightion/graph2otel (2026-07-24). Where inbound connectors are
restricted: the page of New-InboundConnector (developer subscriptions), and for service offerings that create them disabled
https://learn.microsoft.com/exchange/mail-flow-best-practices/use-connectors-to-configure-mail-flow/inbound-connector-faq
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from local.microsoft365.exchange.errors import IN_USE, RESTRICTED, VALIDATION, ExecutionError, invalid
from local.microsoft365.exchange.objects import Call, check_name, create, get_objects, merged, require, update
from local.microsoft365.exchange.values import is_domain

INBOUND = "InboundConnector"
OUTBOUND = "OutboundConnector"
MAXIMUM_PREFIX_SIZE = 24
DEVELOPER_SUBSCRIPTION = "DEVELOPERPACK_E5"

INBOUND_DEFAULTS: Mapping[str, Any] = {
    "Enabled": True,
    "ConnectorType": "Partner",
    "ConnectorSource": "Default",
    "Comment": "",
    "SenderIPAddresses": [],
    "SenderDomains": [],
    "TrustedOrganizations": [],
    "ClientHostNames": [],
    "AssociatedAcceptedDomains": [],
    "RequireTls": True,
    "RestrictDomainsToIPAddresses": False,
    "RestrictDomainsToCertificate": False,
    "CloudServicesMailEnabled": False,
    "TreatMessagesAsInternal": False,
    "TlsSenderCertificateName": None,
    "EFTestMode": False,
    "ScanAndDropRecipients": [],
    "EFSkipLastIP": False,
    "EFSkipIPs": [],
    "EFSkipMailGateway": [],
    "EFUsers": [],
    "AdminDisplayName": "",
}
OUTBOUND_DEFAULTS: Mapping[str, Any] = {
    "Enabled": True,
    "UseMXRecord": True,
    "Comment": "",
    "ConnectorType": "Partner",
    "ConnectorSource": "Default",
    "RecipientDomains": [],
    "SmartHosts": [],
    "TlsDomain": None,
    "TlsSettings": None,
    "IsTransportRuleScoped": False,
    "RouteAllMessagesViaOnPremises": False,
    "CloudServicesMailEnabled": False,
    "AllAcceptedDomains": False,
    "SenderRewritingEnabled": False,
    "MtaStsMode": "Opportunistic",
    "SmtpDaneMode": "Opportunistic",
    "TestMode": False,
    "ValidationRecipients": [],
    "IsValidated": False,
    "LastValidationTimestamp": None,
    "AdminDisplayName": "",
}


_CREATED_DISABLED = "Inbound connector for this service offering is created in a disabled state. Contact Support to enable it."
_NOT_ENABLED = "For this service offering, you can't enable an inbound connector. Contact Support to enable it."


def _is_kept_disabled(call: Call, connector: Mapping[str, Any]) -> bool:
    """Tell whether the connector would be enabled where only Microsoft's support enables one."""
    return call.organization.is_trial and connector["ConnectorType"] == "OnPremises" and bool(connector["Enabled"])


def _address_space(text: str) -> str:
    """Return a sender domain as Exchange stores it: `smtp:domain;cost`; raises ExecutionError for no domain."""
    domain, _, cost = text.removeprefix("smtp:").partition(";")
    if not (domain == "*" or is_domain(domain)) or not (cost or "1").isdigit():
        raise invalid(f"The address space '{text}' isn't a valid SMTP domain.", VALIDATION)
    return f"smtp:{domain};{cost or '1'}"


def _check_source(text: str) -> None:
    """Raise ExecutionError unless `text` is an IPv4 address or a network of /24 to /32."""
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise invalid(f"The IP address '{text}' isn't valid.", VALIDATION) from None
    if network.version == 4 and network.prefixlen < MAXIMUM_PREFIX_SIZE:
        raise invalid(f"The IP address range '{text}' isn't valid: the subnet mask must be /24 through /32.", VALIDATION)


def _check_inbound(connector: Mapping[str, Any]) -> None:
    for source in connector["SenderIPAddresses"]:
        _check_source(source)
    on_premises = connector["ConnectorType"] == "OnPremises"
    if on_premises and not (connector["SenderIPAddresses"] or connector["TlsSenderCertificateName"]):
        raise invalid("An OnPremises connector needs SenderIPAddresses or TlsSenderCertificateName.")
    if connector["RestrictDomainsToCertificate"] and not connector["TlsSenderCertificateName"]:
        raise invalid("RestrictDomainsToCertificate needs TlsSenderCertificateName.")
    if connector["RestrictDomainsToIPAddresses"] and not connector["SenderIPAddresses"]:
        raise invalid("RestrictDomainsToIPAddresses needs SenderIPAddresses.")
    if connector["TreatMessagesAsInternal"] and not on_premises:
        raise invalid("TreatMessagesAsInternal can be used with OnPremises connectors only.")


def _inbound(connector: Mapping[str, Any]) -> dict[str, Any]:
    spaces = [_address_space(domain) for domain in connector["SenderDomains"]]
    checked = {**connector, "SenderDomains": spaces}
    _check_inbound(checked)
    return checked


def _check_outbound(connector: Mapping[str, Any]) -> None:
    if not connector["UseMXRecord"] and not connector["SmartHosts"]:
        raise invalid("SmartHosts must be specified when UseMXRecord is false.")
    if connector["UseMXRecord"] and connector["SmartHosts"]:
        raise invalid("SmartHosts can't be specified when UseMXRecord is true.")
    if connector["TlsSettings"] == "DomainValidation" and not connector["TlsDomain"]:
        raise invalid("TlsDomain must be specified when TlsSettings is DomainValidation.")
    if connector["TlsDomain"] and connector["TlsSettings"] != "DomainValidation":
        raise invalid("TlsDomain can be specified only when TlsSettings is DomainValidation.")
    hybrid = [key for key in ("AllAcceptedDomains", "RouteAllMessagesViaOnPremises") if connector[key]]
    if hybrid and connector["ConnectorType"] != "OnPremises":
        raise invalid(f"{hybrid[0]} requires OnPremises for the ConnectorType value.")


def get_inbound(call: Call) -> list[dict[str, Any]]:
    """Get-InboundConnector."""
    return get_objects(call, INBOUND)


def new_inbound(call: Call) -> list[dict[str, Any]]:
    """New-InboundConnector: in a trial one of the type OnPremises is created disabled, with a warning.

    Raises ExecutionError for a name in use, values that don't go together, and in developer subscriptions always.
    """
    name = call.parameters["Name"]
    if DEVELOPER_SUBSCRIPTION in call.organization.licences:
        message = "Creation of inbound connectors is restricted in Microsoft 365 E5 developer subscriptions."
        raise ExecutionError(message, kind=RESTRICTED)
    check_name(call, INBOUND, name)
    properties = _inbound({**INBOUND_DEFAULTS, **merged(INBOUND_DEFAULTS, call.parameters)})
    if _is_kept_disabled(call, properties):
        properties["Enabled"] = False
        call.warnings.append(_CREATED_DISABLED)
    connector = create(call, INBOUND, name, properties)
    call.organization.objects(INBOUND).append(connector)
    return [connector]


def set_inbound(call: Call) -> list[dict[str, Any]]:
    """Set-InboundConnector: in a trial it enables none of the type OnPremises, and warns.

    Raises ExecutionError for an unknown connector or values that don't go together.
    """
    connector = require(call, INBOUND)
    check_name(call, INBOUND, call.parameters.get("Name") or connector["Name"], other_than=connector)
    changed = _inbound({**connector, **merged(connector, call.parameters)})
    if _is_kept_disabled(call, changed) and not connector["Enabled"]:
        changed["Enabled"] = False
        call.warnings.append(_NOT_ENABLED)
    update(call, connector, changed)
    return []


def remove_inbound(call: Call) -> list[dict[str, Any]]:
    """Remove-InboundConnector."""
    connector = require(call, INBOUND)
    call.organization.objects(INBOUND).remove(connector)
    return []


def get_outbound(call: Call) -> list[dict[str, Any]]:
    """Get-OutboundConnector: rule-scoped and test connectors are left out unless they are asked for.

    With IsTransportRuleScoped true only rule-scoped ones are returned; an Identity returns its connector always.
    """
    found = get_objects(call, OUTBOUND)
    if call.identity:
        return found
    scoped = bool(call.parameters.get("IsTransportRuleScoped"))
    tests = bool(call.parameters.get("IncludeTestModeConnectors"))
    return [item for item in found if item["IsTransportRuleScoped"] == scoped and (tests or not item["TestMode"])]


def new_outbound(call: Call) -> list[dict[str, Any]]:
    """New-OutboundConnector; raises ExecutionError for a name in use or values that don't go together."""
    name = call.parameters["Name"]
    check_name(call, OUTBOUND, name)
    properties = {**OUTBOUND_DEFAULTS, **merged(OUTBOUND_DEFAULTS, call.parameters)}
    _check_outbound(properties)
    connector = create(call, OUTBOUND, name, properties)
    call.organization.objects(OUTBOUND).append(connector)
    return [connector]


def set_outbound(call: Call) -> list[dict[str, Any]]:
    """Set-OutboundConnector; a rename is followed by the rules that name the connector."""
    connector = require(call, OUTBOUND)
    former = connector["Name"]
    name = call.parameters.get("Name") or former
    check_name(call, OUTBOUND, name, other_than=connector)
    changes = merged(connector, call.parameters)
    _check_outbound({**connector, **changes})
    for rule in rules_using(call, former):
        rule["RouteMessageOutboundConnector"] = name
    update(call, connector, changes)
    return []


def rules_using(call: Call, name: str) -> list[dict[str, Any]]:
    """Return the transport rules that route to the connector of this name."""
    rules = call.organization.objects("TransportRule")
    return [rule for rule in rules if str(rule.get("RouteMessageOutboundConnector") or "").lower() == name.lower()]


def remove_outbound(call: Call) -> list[dict[str, Any]]:
    """Remove-OutboundConnector; refused while a rule routes to it (named uncertainty `connector_in_use_removable`)."""
    connector = require(call, OUTBOUND)
    users = rules_using(call, connector["Name"])
    if users and "connector_in_use_removable" not in call.uncertain:
        message = f"The connector '{connector['Name']}' can't be removed because it's used by rule '{users[0]['Name']}'."
        raise ExecutionError(message, kind=IN_USE)
    call.organization.objects(OUTBOUND).remove(connector)
    return []
