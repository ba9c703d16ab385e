"""Which cmdlets the simulation has, what runs each, and which directory role is offered which.

A documented cmdlet that is not here is answered as not recognised, like one that a role is not offered; PARITY.md
lists them as absent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from local.microsoft365.exchange import connectors, groups, organization, policies, rules
from local.microsoft365.exchange.objects import Call, get_objects


def _reader(noun: str) -> Callable[[Call], list[dict[str, Any]]]:
    return partial(get_objects, noun=noun)


HANDLERS: Mapping[str, Callable[[Call], list[dict[str, Any]]]] = {
    "Get-InboundConnector": connectors.get_inbound,
    "New-InboundConnector": connectors.new_inbound,
    "Set-InboundConnector": connectors.set_inbound,
    "Remove-InboundConnector": connectors.remove_inbound,
    "Get-OutboundConnector": connectors.get_outbound,
    "New-OutboundConnector": connectors.new_outbound,
    "Set-OutboundConnector": connectors.set_outbound,
    "Remove-OutboundConnector": connectors.remove_outbound,
    "Get-TransportRule": rules.get_rules,
    "New-TransportRule": rules.new_rule,
    "Set-TransportRule": rules.set_rule,
    "Enable-TransportRule": rules.enable_rule,
    "Disable-TransportRule": rules.disable_rule,
    "Remove-TransportRule": rules.remove_rule,
    "Get-DistributionGroup": groups.get_groups,
    "New-DistributionGroup": groups.new_group,
    "Set-DistributionGroup": groups.set_group,
    "Remove-DistributionGroup": groups.remove_group,
    "Get-DistributionGroupMember": groups.get_members,
    "Add-DistributionGroupMember": groups.add_member,
    "Remove-DistributionGroupMember": groups.remove_member,
    "Update-DistributionGroupMember": groups.update_members,
    "Get-AcceptedDomain": organization.get_accepted_domains,
    "Get-OrganizationConfig": _reader("OrganizationConfig"),
    "Get-TransportConfig": _reader("TransportConfig"),
    "Get-RemoteDomain": _reader("RemoteDomain"),
    "Get-AntiPhishPolicy": _reader("AntiPhishPolicy"),
    "Get-HostedContentFilterPolicy": _reader("HostedContentFilterPolicy"),
    "Set-HostedContentFilterPolicy": policies.set_content_filter,
    "Get-HostedContentFilterRule": organization.get_content_filter_rules,
    "Get-HostedConnectionFilterPolicy": _reader("HostedConnectionFilterPolicy"),
    "Set-HostedConnectionFilterPolicy": policies.set_connection_filter,
    "Get-ArcConfig": _reader("ArcConfig"),
    "Set-ArcConfig": policies.set_arc,
    "Get-TenantAllowBlockListSpoofItems": policies.get_spoof_entries,
    "New-TenantAllowBlockListSpoofItems": policies.new_spoof_entry,
    "Remove-TenantAllowBlockListSpoofItems": policies.remove_spoof_entries,
}

_ALL = frozenset(HANDLERS)
_READ = frozenset(name for name in HANDLERS if name.startswith("Get-"))
_RECIPIENTS = frozenset(name for name in HANDLERS if "DistributionGroup" in name)
_PROTECTION = frozenset(name for name in HANDLERS if "Hosted" in name or "Spoof" in name or "Arc" in name)

# Role template ids: github:MicrosoftDocs/entra-docs permissions-reference.md; the roles that app-only access supports:
# office-docs-powershell app-only-auth-powershell-v2.md. What each role group of Exchange holds is cut to the cmdlets here.
ROLE_CMDLETS: Mapping[str, frozenset[str]] = {
    "29232cdf-9323-42fd-ade2-1d097af3e4de": _ALL,  # Exchange Administrator
    "62e90394-69f5-4237-9190-012177145e10": _ALL,  # Global Administrator
    "f2ef992c-3afb-46b9-b7cf-a126ee74c451": _READ,  # Global Reader
    "5d6b6bb7-de71-4623-b4af-96380a352509": _READ & _PROTECTION,  # Security Reader
    "194ae4cb-b126-40b2-bd5b-6091b380977d": _PROTECTION,  # Security Administrator
    "31392ffb-586c-42d1-9346-e59415a2cc4e": _RECIPIENTS | {"Get-AcceptedDomain"},  # Exchange Recipient Administrator
}


def offered_cmdlets(role_ids: Iterable[str], role_groups: Iterable[Iterable[str]] = ()) -> frozenset[str]:
    """Return the cmdlets offered to the holder of these roles and the member of these custom role groups: rights add up.

    Empty when nothing of it counts for Exchange. A role group's cmdlet that the simulation doesn't have is not offered.
    """
    offered: frozenset[str] = frozenset()
    for role_id in role_ids:
        offered |= ROLE_CMDLETS.get(role_id, frozenset())
    for cmdlets in role_groups:
        offered |= _ALL & frozenset(cmdlets)
    return offered
