"""Distribution groups and their members.

Rules: the pages of New-/Set-/Remove-DistributionGroup and of the member cmdlets
(github:MicrosoftDocs/office-docs-powershell). A caller that manages no group, such as an application, needs
BypassSecurityGroupManagerCheck for every change of an existing group.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from local.microsoft365.exchange.errors import (
    ADDRESS_IN_USE,
    ALREADY_MEMBER,
    NOT_A_MEMBER,
    VALIDATION,
    ExecutionError,
    invalid,
    not_found,
)
from local.microsoft365.exchange.objects import (
    DOMAIN_CONTROLLER,
    Call,
    Recipient,
    check_name,
    create,
    get_objects,
    merged,
    require,
    update,
)

GROUP = "DistributionGroup"
_NOT_A_MANAGER = "Microsoft.Exchange.Configuration.Tasks.OperationRequiresGroupManagerException"

GROUP_DEFAULTS: Mapping[str, Any] = {
    "Alias": "",
    "DisplayName": "",
    "PrimarySmtpAddress": "",
    "EmailAddresses": [],
    "Description": [],
    "ManagedBy": [],
    "MemberJoinRestriction": "Closed",
    "MemberDepartRestriction": "Open",
    "ModerationEnabled": False,
    "ModeratedBy": [],
    "RequireSenderAuthenticationEnabled": True,
    "HiddenFromAddressListsEnabled": False,
    "HiddenGroupMembershipEnabled": False,
    "BccBlocked": False,
    "SendModerationNotifications": "Always",
    "AcceptMessagesOnlyFromSendersOrMembers": [],
    "RejectMessagesFromSendersOrMembers": [],
    "BypassModerationFromSendersOrMembers": [],
    "GrantSendOnBehalfTo": [],
    "MailTip": None,
    "ReportToManagerEnabled": False,
    "ReportToOriginatorEnabled": True,
    "SendOofMessageToOriginatorEnabled": False,
}
# Given by New-DistributionGroup, and told by other properties of the group.
_CONSUMED = frozenset({"Type", "Members", "Notes", "OrganizationalUnit", "RoomList", "CopyOwnerToMember"})
GROUP_KINDS: Mapping[str, Mapping[str, str]] = {
    "Distribution": {"GroupType": "Universal", "RecipientTypeDetails": "MailUniversalDistributionGroup"},
    "Security": {"GroupType": "Universal, SecurityEnabled", "RecipientTypeDetails": "MailUniversalSecurityGroup"},
}


def _alias(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]", "", name) or "group"


def _check_address(call: Call, address: str, group: Mapping[str, Any] | None = None) -> None:
    """Raise ExecutionError unless the address is in an accepted domain and nobody else's."""
    domain = address.rpartition("@")[2].lower()
    if domain not in {accepted.name.lower() for accepted in call.organization.accepted_domains()}:
        message = f"The domain name in the email address '{address}' isn't an accepted domain for your organization."
        raise invalid(message, VALIDATION)
    holder = call.organization.recipient(address)
    if holder is not None and (group is None or holder.id != group["ExternalDirectoryObjectId"]):
        message = (
            f'The proxy address "SMTP:{address}" is already being used by the proxy addresses or LegacyExchangeDN of '
            f'"{holder.name}". Please choose another proxy address.'
        )
        raise ExecutionError(message, kind=ADDRESS_IN_USE)


def _default_domain(call: Call) -> str:
    domains = call.organization.accepted_domains()
    return next((domain.name for domain in domains if domain.is_default), call.organization.initial_domain)


def _check_manager(call: Call) -> None:
    if not call.parameters.get("BypassSecurityGroupManagerCheck"):
        message = "You don't have sufficient permissions. This operation can only be performed by a manager of the group."
        raise ExecutionError(message, kind=_NOT_A_MANAGER)


def _managed(call: Call) -> dict[str, Any]:
    group = require(call, GROUP)
    _check_manager(call)
    return group


def _recipient(call: Call, identity: str) -> Recipient:
    found = call.organization.recipient(identity)
    if found is None:
        raise not_found(identity, DOMAIN_CONTROLLER)
    return found


def _member_ids(call: Call, identities: Sequence[str]) -> list[str]:
    """Return the ids of the recipients named, each once; raises ExecutionError (404) for an unknown one."""
    return list(dict.fromkeys(_recipient(call, identity).id for identity in identities))


def get_groups(call: Call) -> list[dict[str, Any]]:
    """Get-DistributionGroup; RecipientTypeDetails filters."""
    wanted = {text.lower() for text in call.parameters.get("RecipientTypeDetails") or []}
    found = get_objects(call, GROUP)
    return [group for group in found if not wanted or group["RecipientTypeDetails"].lower() in wanted]


def new_group(call: Call) -> list[dict[str, Any]]:
    """New-DistributionGroup.

    Raises ExecutionError for a name or an address in use, a foreign domain, or an unknown member.
    """
    given = call.parameters
    name = given["Name"]
    check_name(call, GROUP, name)
    alias = given.get("Alias") or _alias(name)
    address = given.get("PrimarySmtpAddress") or f"{alias}@{_default_domain(call)}"
    _check_address(call, address)
    properties = {key: value for key, value in merged(GROUP_DEFAULTS, given).items() if key not in _CONSUMED}
    kind = GROUP_KINDS[given.get("Type") or "Distribution"]
    own = {"Alias": alias, "DisplayName": given.get("DisplayName") or name, "PrimarySmtpAddress": address}
    own |= {"EmailAddresses": [f"SMTP:{address}"], "RecipientType": kind["RecipientTypeDetails"], **kind}
    group = create(call, GROUP, name, {**GROUP_DEFAULTS, **properties, **own})
    group["ExternalDirectoryObjectId"] = group["Guid"]
    call.organization.save_group(group, _member_ids(call, given.get("Members") or []))
    return [group]


def set_group(call: Call) -> list[dict[str, Any]]:
    """Set-DistributionGroup; a new primary address keeps the former one as a secondary address."""
    group = _managed(call)
    check_name(call, GROUP, call.parameters.get("Name") or group["Name"], other_than=group)
    changes = {key: value for key, value in merged(group, call.parameters).items() if key not in _CONSUMED}
    address = changes.get("PrimarySmtpAddress")
    if address:
        _check_address(call, address, group)
        former = [text for text in group["EmailAddresses"] if text.lower() != f"smtp:{address.lower()}"]
        changes["EmailAddresses"] = [f"SMTP:{address}", *(text.replace("SMTP:", "smtp:", 1) for text in former)]
    update(call, group, changes)
    call.organization.save_group(group)
    return []


def remove_group(call: Call) -> list[dict[str, Any]]:
    """Remove-DistributionGroup; rules that name it stay, and no longer match (page of New-TransportRule)."""
    call.organization.remove_group(_managed(call)["Guid"])
    return []


def get_members(call: Call) -> list[dict[str, Any]]:
    """Get-DistributionGroupMember, in the order of joining."""
    recipients = [call.organization.recipient(member) for member in call.organization.members(require(call, GROUP)["Guid"])]
    return [_member_view(recipient) for recipient in recipients if recipient is not None]


def _member_view(recipient: Recipient) -> dict[str, Any]:
    return {
        "Identity": recipient.name,
        "Name": recipient.name,
        "DisplayName": recipient.name,
        "PrimarySmtpAddress": recipient.address,
        "EmailAddresses": list(recipient.addresses),
        "WindowsLiveID": recipient.user_principal_name,
        "RecipientType": recipient.type_details,
        "RecipientTypeDetails": recipient.type_details,
        "ExternalDirectoryObjectId": recipient.id,
        "Guid": recipient.id,
    }


def add_member(call: Call) -> list[dict[str, Any]]:
    """Add-DistributionGroupMember; raises ExecutionError for an unknown recipient or one that is a member."""
    group = _managed(call)
    recipient = _recipient(call, str(call.parameters.get("Member") or ""))
    members = call.organization.members(group["Guid"])
    if recipient.id in members:
        message = f'The recipient "{recipient.name}" is already a member of the group "{group["Name"]}".'
        raise ExecutionError(message, kind=ALREADY_MEMBER)
    call.organization.save_group(group, [*members, recipient.id])
    return []


def remove_member(call: Call) -> list[dict[str, Any]]:
    """Remove-DistributionGroupMember; raises ExecutionError for a recipient that is no member."""
    group = _managed(call)
    recipient = _recipient(call, str(call.parameters.get("Member") or ""))
    members = call.organization.members(group["Guid"])
    if recipient.id not in members:
        message = f'The recipient "{recipient.name}" isn\'t a member of the group "{group["Name"]}".'
        raise ExecutionError(message, kind=NOT_A_MEMBER)
    call.organization.save_group(group, [member for member in members if member != recipient.id])
    return []


def update_members(call: Call) -> list[dict[str, Any]]:
    """Update-DistributionGroupMember: the members given replace all that were there."""
    group = _managed(call)
    call.organization.save_group(group, _member_ids(call, call.parameters.get("Members") or []))
    return []
