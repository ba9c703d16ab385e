"""Mailboxes and other recipients, as Get-Mailbox and Get-Recipient show them.

Properties: the pages of the two cmdlets and https://learn.microsoft.com/powershell/exchange/filter-properties.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from local.microsoft365.exchange.errors import not_found
from local.microsoft365.exchange.objects import DOMAIN_CONTROLLER, Call, Recipient
from local.microsoft365.exchange.opath import matching

MAILBOXES: frozenset[str] = frozenset({"UserMailbox", "SharedMailbox", "RoomMailbox", "EquipmentMailbox"})
_TYPES: Mapping[str, str] = {
    **dict.fromkeys(MAILBOXES, "UserMailbox"),
    "GuestMailUser": "MailUser",
    "GroupMailbox": "MailUniversalDistributionGroup",
}


def _recipient_view(recipient: Recipient) -> dict[str, Any]:
    return {
        "Identity": recipient.name,
        "Name": recipient.name,
        "Alias": recipient.alias,
        "DisplayName": recipient.name,
        "PrimarySmtpAddress": recipient.address,
        "EmailAddresses": list(recipient.addresses),
        "WindowsLiveID": recipient.user_principal_name,
        "RecipientType": _TYPES.get(recipient.type_details, recipient.type_details),
        "RecipientTypeDetails": recipient.type_details,
        "ExternalDirectoryObjectId": recipient.id,
        "Guid": recipient.id,
    }


def _mailbox_view(recipient: Recipient) -> dict[str, Any]:
    return {
        **_recipient_view(recipient),
        "UserPrincipalName": recipient.user_principal_name,
        "ForwardingAddress": None,
        "ForwardingSmtpAddress": None,
        "DeliverToMailboxAndForward": False,
        "HiddenFromAddressListsEnabled": False,
        "IsShared": recipient.type_details == "SharedMailbox",
        "IsResource": recipient.type_details == "RoomMailbox",
        "IsValid": True,
    }


def _wanted(call: Call, parameter: str) -> Callable[[Mapping[str, Any]], bool]:
    """Return the test of a parameter that lists types; without it everything fits."""
    types = {text.lower() for text in call.parameters.get(parameter) or []}
    return lambda row: not types or str(row[parameter]).lower() in types


def _selected(call: Call, view: Callable[[Recipient], dict[str, Any]], kinds: frozenset[str] | None) -> list[dict[str, Any]]:
    """Return the recipients that the call asks for, as `view` shows them; raises CommandError for an unknown identity."""
    tests = [_wanted(call, name) for name in ("RecipientType", "RecipientTypeDetails")]
    if call.parameters.get("Filter"):
        tests.append(matching(call.parameters["Filter"]))
    found = call.organization.recipients() if not call.identity else [call.organization.recipient(call.identity)]
    rows = [view(each) for each in found if each is not None and (kinds is None or each.type_details in kinds)]
    if call.identity and not rows:
        raise not_found(call.identity, DOMAIN_CONTROLLER)
    return [row for row in rows if all(test(row) for test in tests)]


def get_mailboxes(call: Call) -> list[dict[str, Any]]:
    """Get-Mailbox: people's, shared and room mailboxes; Identity, Filter and RecipientTypeDetails select."""
    return _selected(call, _mailbox_view, MAILBOXES)


def get_recipients(call: Call) -> list[dict[str, Any]]:
    """Get-Recipient: mailboxes, guests and mail-enabled groups; Identity, Filter and the types select."""
    return _selected(call, _recipient_view, None)
