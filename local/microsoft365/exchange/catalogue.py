"""Which cmdlets the simulation has, what runs each, and which directory role is offered which.

A documented cmdlet that is not here is answered as not recognised, like one that a role is not offered; PARITY.md
lists them as absent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from local.microsoft365.exchange import connectors, domains, groups, organization, policies, recipients, rules, traces
from local.microsoft365.exchange.objects import Call, get_objects

_PLAIN_NOUNS = (
    "AcceptedDomain",
    "AntiPhishPolicy",
    "AntiPhishRule",
    "ArcConfig",
    "ATPProtectionPolicyRule",
    "DkimSigningConfig",
    "EOPProtectionPolicyRule",
    "HostedConnectionFilterPolicy",
    "HostedContentFilterPolicy",
    "HostedContentFilterRule",
    "HostedOutboundSpamFilterPolicy",
    "IntraOrganizationConnector",
    "JournalRule",
    "MalwareFilterPolicy",
    "OnPremisesOrganization",
    "OrganizationConfig",
    "RemoteDomain",
    "TransportConfig",
)
"""Nouns whose Get- cmdlet shows the objects as they are kept."""
_DEFENDER_NOUNS = ("AtpPolicyForO365", "SafeAttachmentPolicy", "SafeAttachmentRule", "SafeLinksPolicy", "SafeLinksRule")
"""The same, in tenants with Microsoft Defender for Office 365 only."""

HANDLERS: Mapping[str, Callable[[Call], list[dict[str, Any]]]] = {
    "Get-MessageTraceV2": traces.get_message_trace,
    "Get-MessageTraceDetailV2": traces.get_message_trace_detail,
    "Get-QuarantineMessage": traces.get_quarantine_messages,
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
    "Get-Mailbox": recipients.get_mailboxes,
    "Get-Recipient": recipients.get_recipients,
    "Set-AcceptedDomain": domains.set_accepted_domain,
    "Set-OrganizationConfig": organization.set_configuration,
    "Enable-OrganizationCustomization": organization.enable_customization,
    "Get-AdminAuditLogConfig": organization.get_audit_log,
    "Set-AdminAuditLogConfig": organization.set_audit_log,
    "Set-HostedContentFilterPolicy": policies.set_content_filter,
    "Set-HostedConnectionFilterPolicy": policies.set_connection_filter,
    "Set-ArcConfig": policies.set_arc,
    "Get-TenantAllowBlockListSpoofItems": policies.get_spoof_entries,
    "New-TenantAllowBlockListSpoofItems": policies.new_spoof_entry,
    "Remove-TenantAllowBlockListSpoofItems": policies.remove_spoof_entries,
    **{f"Get-{noun}": partial(get_objects, noun=noun) for noun in (*_PLAIN_NOUNS, *_DEFENDER_NOUNS)},
}

_PROTECTION_WORDS = (
    "Hosted",
    "Spoof",
    "Arc",
    "AntiPhish",
    "ProtectionPolicyRule",
    "Malware",
    "Dkim",
    "Safe",
    "Atp",
    "Trace",
    "Quarantine",
)
_DEFENDER = frozenset(f"Get-{noun}" for noun in _DEFENDER_NOUNS)
_ALL = frozenset(HANDLERS)
_READ = frozenset(name for name in HANDLERS if name.startswith("Get-"))
_RECIPIENTS = frozenset(name for name in HANDLERS if "DistributionGroup" in name or name.endswith(("-Mailbox", "-Recipient")))
_PROTECTION = frozenset(name for name in HANDLERS if any(word in name for word in _PROTECTION_WORDS))

DEFENDER_PLANS = frozenset({"ATP_ENTERPRISE", "THREAT_INTELLIGENCE"})
"""Service plans of Microsoft Defender for Office 365, plan 1 and plan 2 (entra-docs licensing-service-plan-reference)."""

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


def licensed_cmdlets(plans: Iterable[str]) -> frozenset[str]:
    """Return the cmdlets that a tenant with these service plans has: Defender's only with one of its plans.

    Source: github:cisagov/ScubaGear, its export of Defender's settings, which finds out about the licence in this way.
    """
    return _ALL if DEFENDER_PLANS & set(plans) else _ALL - _DEFENDER


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
