"""Anti-spam and anti-spoofing settings: content filter, connection filter, ARC sealers, spoof entries.

Rules: the cmdlet pages of github:MicrosoftDocs/office-docs-powershell; the limit of 1,273 addresses is known in the
field and not documented.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from local.microsoft365.exchange.definitions import Parameter
from local.microsoft365.exchange.errors import VALIDATION, invalid, not_found
from local.microsoft365.exchange.objects import DOMAIN_CONTROLLER, Call, merged, require, update
from local.microsoft365.exchange.values import is_address, is_domain, match_enumeration

CONTENT_FILTER = "HostedContentFilterPolicy"
CONNECTION_FILTER = "HostedConnectionFilterPolicy"
ARC = "ArcConfig"
SPOOF = "TenantAllowBlockListSpoofItems"
MAXIMUM_SPOOF_ENTRIES = 1024
MAXIMUM_FILTER_ADDRESSES = 1273
MAXIMUM_RANGE = 256

_BOUNDS: Mapping[str, tuple[int, int]] = {
    "BulkThreshold": (1, 9),
    "QuarantineRetentionPeriod": (1, 30),
    "EndUserSpamNotificationFrequency": (1, 15),
}
_SPOOF_VALUES: Mapping[str, tuple[str, ...]] = {"Action": ("Allow", "Block"), "SpoofType": ("External", "Internal")}


def set_content_filter(call: Call) -> list[dict[str, Any]]:
    """Set-HostedContentFilterPolicy; raises ExecutionError for an unknown policy or a number out of bounds."""
    policy = require(call, CONTENT_FILTER)
    changes = merged(policy, call.parameters)
    for name, (lowest, highest) in _BOUNDS.items():
        if name in changes and not lowest <= changes[name] <= highest:
            raise invalid(f"The value of {name} must be between {lowest} and {highest}.", VALIDATION)
    update(call, policy, changes)
    return []


def _check_filter_address(text: str) -> None:
    """Raise ExecutionError unless `text` is an address, an IPv4 range of at most 256, or a network /24 to /32."""
    first, dash, last = text.partition("-")
    try:
        if dash:
            size = int(ipaddress.IPv4Address(last)) - int(ipaddress.IPv4Address(first)) + 1
            if not 1 <= size <= MAXIMUM_RANGE:
                raise invalid(f"The IP address range '{text}' has more than {MAXIMUM_RANGE} addresses.", VALIDATION)
            return
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise invalid(f"The IP address '{text}' isn't valid.", VALIDATION) from None
    is_range = network.num_addresses > 1
    if is_range and (network.version == 6 or network.prefixlen < 24):
        raise invalid(f"The IP address range '{text}' isn't valid: the subnet mask must be /24 through /32.", VALIDATION)


def set_connection_filter(call: Call) -> list[dict[str, Any]]:
    """Set-HostedConnectionFilterPolicy; a hash table adds to and removes from the address lists."""
    policy = require(call, CONNECTION_FILTER)
    changes = merged(policy, call.parameters)
    for name in ("IPAllowList", "IPBlockList"):
        addresses = changes.get(name, [])
        for address in addresses:
            _check_filter_address(address)
        if len(addresses) > MAXIMUM_FILTER_ADDRESSES:
            raise invalid(f"{name} can't have more than {MAXIMUM_FILTER_ADDRESSES} entries.", VALIDATION)
    update(call, policy, changes)
    return []


def set_arc(call: Call) -> list[dict[str, Any]]:
    """Set-ArcConfig: replaces the trusted sealers; one blank clears them (page of Set-ArcConfig, example 4)."""
    config = require(call, ARC)
    sealers = [domain.strip() for text in call.parameters["ArcTrustedSealers"] for domain in text.split(",")]
    sealers = [domain for domain in sealers if domain]
    for domain in sealers:
        if not is_domain(domain):
            raise invalid(f"'{domain}' isn't a valid domain.", VALIDATION)
    update(call, config, {"ArcTrustedSealers": ",".join(dict.fromkeys(sealers))})
    return []


def _spoof_value(call: Call, name: str) -> str:
    parameter = Parameter(name, "String", required=True)
    return match_enumeration(parameter, _SPOOF_VALUES[name], call.parameters[name])


def _check_infrastructure(text: str) -> None:
    if is_domain(text):
        return
    address, slash, prefix = text.partition("/")
    if not (slash and prefix == "24" and _is_ipv4(address)):
        raise invalid(f"'{text}' isn't a domain or an IP address with /24.", VALIDATION)


def _is_ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def get_spoof_entries(call: Call) -> list[dict[str, Any]]:
    """Get-TenantAllowBlockListSpoofItems; Action and SpoofType filter, Identity is not used (its page says so)."""
    wanted = {name: _spoof_value(call, name) for name in _SPOOF_VALUES if call.given(name)}
    entries = call.organization.objects(SPOOF)
    return [entry for entry in entries if all(entry[name] == value for name, value in wanted.items())]


def new_spoof_entry(call: Call) -> list[dict[str, Any]]:
    """New-TenantAllowBlockListSpoofItems; raises ExecutionError for a wrong pair, a duplicate or a full list."""
    entries = call.organization.objects(SPOOF)
    user, infrastructure = call.parameters["SpoofedUser"], call.parameters["SendingInfrastructure"]
    if not (user == "*" or is_address(user) or is_domain(user)):
        raise invalid(f"'{user}' isn't an email address or a domain.", VALIDATION)
    _check_infrastructure(infrastructure)
    pair = {"SpoofedUser": user, "SendingInfrastructure": infrastructure, "SpoofType": _spoof_value(call, "SpoofType")}
    if any(all(entry[key].lower() == value.lower() for key, value in pair.items()) for entry in entries):
        raise invalid(f"The spoof pair '{user}', '{infrastructure}' already exists.", VALIDATION)
    if len(entries) >= MAXIMUM_SPOOF_ENTRIES:
        raise invalid(f"There can't be more than {MAXIMUM_SPOOF_ENTRIES} spoofed sender entries.", VALIDATION)
    entry = {"Identity": call.organization.new_id(SPOOF, user, infrastructure), **pair, "Action": _spoof_value(call, "Action")}
    entries.append(entry)
    return [entry]


def remove_spoof_entries(call: Call) -> list[dict[str, Any]]:
    """Remove-TenantAllowBlockListSpoofItems by Ids; raises ExecutionError (404) for an unknown one, removing none."""
    entries = call.organization.objects(SPOOF)
    wanted = {text.lower() for text in call.parameters["Ids"]}
    unknown = wanted - {entry["Identity"].lower() for entry in entries}
    if unknown:
        raise not_found(min(unknown), DOMAIN_CONTROLLER)
    entries[:] = [entry for entry in entries if entry["Identity"].lower() not in wanted]
    return []
