"""Converts the JSON values of a call to the types of Exchange's parameters, or refuses them.

Rules: PowerShell's argument transformation as recorded for the endpoint (github:rknightion/graph2otel, 2026-07-23),
prefixes of enumeration names included; the members of each enumeration come from the cmdlet pages of
github:MicrosoftDocs/office-docs-powershell.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from local.microsoft365.exchange.definitions import Parameter
from local.microsoft365.exchange.errors import TRANSFORMATION, InvocationError

HASH_TABLE = "#Exchange.GenericHashTable"

_OUTBOUND_TLS = ("EncryptionOnly", "CertificateValidation", "DomainValidation")
_SPAM_ACTIONS = ("MoveToJmf", "AddXHeader", "ModifySubject", "Redirect", "Delete", "Quarantine", "NoAction")
_MESSAGE_TYPES = (
    "OOF",
    "AutoForward",
    "Encrypted",
    "Calendaring",
    "PermissionControlled",
    "Voicemail",
    "Signed",
    "ApprovalRequest",
    "ReadReceipt",
)

ENUMERATIONS: Mapping[str, tuple[str, ...]] = {
    "AcceptedDomainType": ("Authoritative", "InternalRelay"),
    "AddedRecipientType": ("To", "Cc", "Bcc", "Redirect"),
    "DisclaimerFallbackAction": ("Wrap", "Ignore", "Reject"),
    "DisclaimerLocation": ("Append", "Prepend"),
    "EvaluatedUser": ("Recipient", "Sender"),
    "Evaluation": ("Equal", "NotEqual"),
    "FromUserScope": ("InOrganization", "NotInOrganization"),
    "GroupType": ("Distribution", "Security"),
    "Importance": ("Low", "Normal", "High"),
    "IntraOrgFilterState": ("Default", "HighConfidencePhish", "Phish", "HighConfidenceSpam", "Spam", "Disabled"),
    "ManagementRelationship": ("Manager", "DirectReport"),
    "MemberUpdateType": ("Open", "Closed", "ApprovalRequired"),
    "MessageType": _MESSAGE_TYPES,
    "MtaStsMode": ("Opportunistic", "None"),
    "NotifySenderType": (
        "NotifyOnly",
        "RejectMessage",
        "RejectUnlessFalsePositiveOverride",
        "RejectUnlessSilentOverride",
        "RejectUnlessExplicitOverride",
    ),
    "PhishFilteringAction": ("MoveToJmf", "Redirect", "Quarantine"),
    "RecipientAddressType": ("Original", "Resolved"),
    "RuleErrorAction": ("Ignore", "Defer"),
    "RuleMode": ("Audit", "AuditAndNotify", "Enforce"),
    "RuleState": ("Enabled", "Disabled"),
    "RuleSubType": ("None", "Dlp"),
    "SenderAddressLocation": ("Header", "Envelope", "HeaderOrEnvelope"),
    "SmtpDaneMode": ("Opportunistic", "Mandatory", "None"),
    "SpamFilteringAction": _SPAM_ACTIONS,
    "SpamFilteringOption": ("Off", "On", "Test"),
    "SpamFilteringTestModeAction": ("None", "AddXHeader", "BccMessage"),
    "TenantConnectorSource": ("Default", "HybridWizard", "Migrated", "AdminUI"),
    "TenantConnectorType": ("OnPremises", "Partner"),
    "TlsAuthLevel": _OUTBOUND_TLS,
    "ToUserScope": ("InOrganization", "NotInOrganization", "ExternalPartner", "ExternalNonPartner"),
    "TransportModerationNotificationFlags": ("Never", "Internal", "Always"),
}

_ADDRESS = re.compile(r"[^@\s<>\"]+@[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9-]+)+")
_DOMAIN = re.compile(r"(?:\*\.)?[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)+")


@dataclass(frozen=True, slots=True)
class ListChange:
    """A change of a list by a hash table: what is added and what is removed; all else stays."""

    add: tuple[str, ...]
    remove: tuple[str, ...]

    def apply(self, current: list[str]) -> list[str]:
        """Return the changed list: removals first, then additions that are not there yet; case is ignored."""
        removed = {value.lower() for value in self.remove}
        kept = [value for value in current if value.lower() not in removed]
        present = {value.lower() for value in kept}
        return kept + [value for value in self.add if value.lower() not in present]


def is_address(text: str) -> bool:
    """Tell whether `text` is an SMTP address."""
    return _ADDRESS.fullmatch(text) is not None


def is_domain(text: str) -> bool:
    """Tell whether `text` is an SMTP domain, with or without a leading `*.`."""
    return _DOMAIN.fullmatch(text) is not None


def is_list(type_name: str) -> bool:
    """Tell whether a parameter of this type holds several values."""
    return type_name.endswith("[]") or type_name in {"MultiValuedProperty", "ProxyAddressCollection"}


def _refuse(parameter: Parameter, value: object, reason: str) -> InvocationError:
    message = (
        f"Cannot process argument transformation on parameter '{parameter.name}'. "
        f'Cannot convert value "{value}" to type "{parameter.type}". Error: "{reason}"'
    )
    return InvocationError(message, kind=TRANSFORMATION)


def _boolean(parameter: Parameter, value: object) -> bool:
    if isinstance(value, bool | int) and value in {True, False}:
        return bool(value)
    reason = "Boolean parameters accept only Boolean values and numbers, such as $True, $False, 1 or 0 instead."
    raise _refuse(parameter, value, reason)


def _integer(parameter: Parameter, value: object) -> int:
    if isinstance(value, bool) or not re.fullmatch(r"-?\d{1,10}", str(value)):
        raise _refuse(parameter, value, "Input string was not in a correct format.")
    return int(str(value))


def _text(parameter: Parameter, value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise _refuse(parameter, value, "Invalid cast to System.String.")


def _address(parameter: Parameter, value: object) -> str:
    text = _text(parameter, value)
    if not is_address(text):
        raise _refuse(parameter, value, f"The email address '{text}' isn't correct.")
    return text


def _domain(parameter: Parameter, value: object) -> str:
    text = _text(parameter, value)
    if not is_domain(text):
        raise _refuse(parameter, value, f"'{text}' isn't a valid SMTP domain.")
    return text


def _guid(parameter: Parameter, value: object) -> str:
    try:
        return str(UUID(_text(parameter, value)))
    except ValueError:
        raise _refuse(parameter, value, "Unrecognized Guid format.") from None


def _unlimited(parameter: Parameter, value: object) -> int | None:
    if isinstance(value, str) and value.lower() == "unlimited":
        return None
    number = _integer(parameter, value)
    if number <= 0:
        raise _refuse(parameter, value, "The value must be greater than 0.")
    return number


def _spam_confidence(parameter: Parameter, value: object) -> int:
    number = _integer(parameter, value)
    if not -1 <= number <= 9:
        raise _refuse(parameter, value, f"The SCL value {number} isn't between -1 and 9.")
    return number


def match_enumeration(parameter: Parameter, members: tuple[str, ...], value: object) -> str:
    """Return the member that `value` names: whole or by a prefix that fits one member only, case ignored.

    Raises InvocationError, with the members listed, for any other value.
    """
    text = _text(parameter, value).lower()
    exact = [member for member in members if member.lower() == text]
    matches = exact or [member for member in members if text and member.lower().startswith(text)]
    if len(matches) == 1:
        return matches[0]
    reason = (
        f"Unable to match the identifier name {value} to a valid enumerator name. "
        f"Specify one of the following enumerator names and try again: {', '.join(members)}"
    )
    raise _refuse(parameter, value, reason)


_SCALARS: Mapping[str, Callable[[Parameter, object], Any]] = {
    "Boolean": _boolean,
    "System.Boolean": _boolean,
    "SwitchParameter": _boolean,
    "Int16": _integer,
    "Int32": _integer,
    "UInt32": _integer,
    "Guid": _guid,
    "SclValue": _spam_confidence,
    "SmtpAddress": _address,
    "SmtpDomainWithSubdomains": _domain,
    "Unlimited": _unlimited,
}


def _scalar(parameter: Parameter, value: object) -> Any:
    members = ENUMERATIONS.get(parameter.type)
    if members is not None:
        return match_enumeration(parameter, members, value)
    return _SCALARS.get(parameter.type, _text)(parameter, value)


def _texts(parameter: Parameter, value: object) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(_text(parameter, item) for item in values if item not in ("", None))


def _change(parameter: Parameter, table: Mapping[str, object]) -> ListChange:
    actions = {key.lower(): value for key, value in table.items() if not key.startswith("@")}
    unknown = set(actions) - {"add", "remove"}
    if unknown or table.get("@odata.type", HASH_TABLE) != HASH_TABLE:
        raise _refuse(parameter, dict(table), "A hash table may have the keys Add and Remove only.")
    return ListChange(_texts(parameter, actions.get("add", [])), _texts(parameter, actions.get("remove", [])))


def convert(parameter: Parameter, value: object) -> Any:
    """Return `value` as the parameter's type has it: a list, a ListChange, a scalar, or None to clear it.

    Raises InvocationError when the value doesn't fit the type.
    """
    if is_list(parameter.type):
        if isinstance(value, dict):
            return _change(parameter, value)
        return list(_texts(parameter, value))
    clears = value is None or (value == "" and parameter.type in ENUMERATIONS)
    if clears and _SCALARS.get(parameter.type) is not _boolean:
        return None
    return _scalar(parameter, value)
