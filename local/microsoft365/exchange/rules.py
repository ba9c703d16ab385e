"""Transport rules (mail flow rules): conditions, exceptions and actions as properties, order by priority.

Rules: the pages of New-/Set-/Get-/Enable-/Disable-/Remove-TransportRule (github:MicrosoftDocs/office-docs-powershell);
`The specified rule priority is invalid.`: github:Microsoft365DSC/Microsoft365DSC issue 3552.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from functools import cache
from typing import Any

from local.microsoft365.exchange.definitions import Parameter, documented_cmdlets
from local.microsoft365.exchange.errors import VALIDATION, invalid, not_found
from local.microsoft365.exchange.objects import (
    DOMAIN_CONTROLLER,
    STEERING,
    Call,
    check_name,
    create,
    find,
    get_objects,
    merged,
    require,
    timestamp,
    update,
)
from local.microsoft365.exchange.rule_limits import check_count, check_sizes, sizes
from local.microsoft365.exchange.values import is_address

RULE = "TransportRule"
_TASKS = "Microsoft.Exchange.MessagingPolicies.Rules.Tasks."

# Parameters that describe the rule as a whole; every other one is a condition, an exception or an action.
_GENERAL: Mapping[str, Any] = {
    "Comments": None,
    "Mode": "Enforce",
    "RuleErrorAction": "Ignore",
    "RuleSubType": "None",
    "SenderAddressLocation": "Header",
    "RecipientAddressType": "Resolved",
    "StopRuleProcessing": False,
    "SetAuditSeverity": None,
    "ActivationDate": None,
    "ExpiryDate": None,
    "DlpPolicy": None,
    "UseLegacyRegex": False,
}
_NOT_STORED = STEERING | {"Enabled", "Priority", "Name"}

_ACTIONS = frozenset(
    {
        "AddManagerAsRecipientType",
        "AddToRecipients",
        "ApplyClassification",
        "ApplyHtmlDisclaimerText",
        "ApplyOME",
        "ApplyRightsProtectionTemplate",
        "BlindCopyTo",
        "CopyTo",
        "DeleteMessage",
        "Disconnect",
        "GenerateIncidentReport",
        "GenerateNotification",
        "LogEventText",
        "ModerateMessageByManager",
        "ModerateMessageByUser",
        "NotifySender",
        "PrependSubject",
        "Quarantine",
        "RedirectMessageTo",
        "RejectMessageEnhancedStatusCode",
        "RejectMessageReasonText",
        "RemoveHeader",
        "RemoveOME",
        "RemoveOMEv2",
        "RemoveRMSAttachmentEncryption",
        "RouteMessageOutboundConnector",
        "RouteMessageOutboundRequireTls",
        "SetHeaderName",
        "SetSCL",
        "SmtpRejectMessageRejectStatusCode",
        "SmtpRejectMessageRejectText",
    }
)
# Values that belong to another parameter and make no condition or action of their own.
_COMPANIONS: Mapping[str, str] = {
    "SetHeaderValue": "SetHeaderName",
    "HeaderContainsWords": "HeaderContainsMessageHeader",
    "HeaderMatchesPatterns": "HeaderMatchesMessageHeader",
    "ExceptIfHeaderContainsWords": "ExceptIfHeaderContainsMessageHeader",
    "ExceptIfHeaderMatchesPatterns": "ExceptIfHeaderMatchesMessageHeader",
    "BetweenMemberOf2": "BetweenMemberOf1",
    "ExceptIfBetweenMemberOf2": "ExceptIfBetweenMemberOf1",
}
_OPTIONAL_COMPANIONS = frozenset(
    {
        "ApplyHtmlDisclaimerFallbackAction",
        "ApplyHtmlDisclaimerLocation",
        "ApplyRightsProtectionCustomizationTemplate",
        "IncidentReportContent",
    }
)


@cache
def _parameters() -> Mapping[str, Parameter]:
    return {item.name: item for item in documented_cmdlets()["new-transportrule"].parameters.values()}


@cache
def empty_rule() -> Mapping[str, Any]:
    """Return the properties of a rule without conditions and actions; an unset one is null, an unset flag false."""
    unset = {
        name: False if parameter.type == "Boolean" else None
        for name, parameter in _parameters().items()
        if name not in _NOT_STORED
    }
    return {**unset, **_GENERAL}


def _task_names(rule: Mapping[str, Any], names: list[str], suffix: str) -> list[str]:
    set_names = [name for name in names if rule.get(name) not in (None, False, [], "")]
    return [f"{_TASKS}{name.removeprefix('ExceptIf').removesuffix('MessageHeader')}{suffix}" for name in set_names]


@cache
def _kinds() -> tuple[list[str], list[str], list[str]]:
    """Return the names of the parameters that are a condition, an exception, an action."""
    own = [name for name in empty_rule() if name not in {*_GENERAL, *_COMPANIONS, *_OPTIONAL_COMPANIONS}]
    exceptions = [name for name in own if name.startswith("ExceptIf")]
    actions = [name for name in own if name in _ACTIONS]
    conditions = [name for name in own if name not in {*exceptions, *actions}]
    return conditions, exceptions, actions


def described(rule: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the server adds to a rule: its sizes, and the lists of conditions, exceptions and actions."""
    conditions, exceptions, actions = _kinds()
    return {
        **sizes(rule, (*conditions, *exceptions, *actions, *_COMPANIONS)),
        "Conditions": _task_names(rule, conditions, "Predicate"),
        "Exceptions": _task_names(rule, exceptions, "Predicate"),
        "Actions": _task_names(rule, actions, "Action"),
    }


def _check_companions(rule: Mapping[str, Any]) -> None:
    for companion, leader in _COMPANIONS.items():
        if bool(rule[companion]) != bool(rule[leader]):
            raise invalid(f"The parameters {leader} and {companion} must be specified together.")


def _check_range(text: str) -> None:
    first, dash, last = text.partition("-")
    try:
        if dash:
            if ipaddress.IPv4Address(first) > ipaddress.IPv4Address(last):
                raise invalid(f"The IP address range '{text}' isn't valid.", VALIDATION)
            return
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise invalid(f"The IP address range '{text}' isn't valid.", VALIDATION) from None


def _resolve_recipient(call: Call, parameter: str, identity: str) -> str:
    """Return the primary address of a recipient; a group is required where the parameter means members."""
    recipient = call.organization.recipient(identity)
    members = "MemberOf" in parameter
    if recipient is not None and (not members or "Group" in recipient.type_details):
        return recipient.address
    if not members and is_address(identity):
        return identity
    raise not_found(identity, DOMAIN_CONTROLLER)


def _resolve_connector(call: Call, identity: str) -> str:
    connector = find(call, "OutboundConnector", identity)
    if connector is None:
        raise not_found(identity, DOMAIN_CONTROLLER)
    return str(connector["Name"])


def _resolved(call: Call, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the changes with recipients and the connector resolved; raises ExecutionError for unknown ones."""
    result: dict[str, Any] = {}
    for name, value in changes.items():
        kind = _parameters()[name].type if name in _parameters() else ""
        result[name] = value
        if kind == "RecipientIdParameter[]" and value:
            result[name] = [_resolve_recipient(call, name, identity) for identity in value]
        elif kind == "OutboundConnectorIdParameter" and value:
            result[name] = _resolve_connector(call, value)
        elif name.endswith("SenderIpRanges"):
            for text in value:
                _check_range(text)
    return {name: None if value == [] else value for name, value in result.items()}


def _check_rule(rule: Mapping[str, Any]) -> None:
    _check_companions(rule)
    _, _, actions = _kinds()
    if not _task_names(rule, actions, "Action"):
        raise invalid("The rule must have at least one action.")


def _ordered(call: Call) -> list[dict[str, Any]]:
    rules = call.organization.objects(RULE)
    rules.sort(key=lambda rule: int(rule["Priority"]))
    return rules


def _place(call: Call, rule: dict[str, Any], priority: int | None) -> None:
    """Put a rule at its priority (last when None) and number all rules again, without gaps."""
    others = [item for item in _ordered(call) if item is not rule]
    position = len(others) if priority is None else priority
    if not 0 <= position <= len(others):
        raise invalid("The specified rule priority is invalid.")
    others.insert(position, rule)
    for number, item in enumerate(others):
        item["Priority"] = number
    call.organization.objects(RULE)[:] = others


def get_rules(call: Call) -> list[dict[str, Any]]:
    """Get-TransportRule, in the order of priority; State filters."""
    _ordered(call)
    return get_objects(call, RULE)


def new_rule(call: Call) -> list[dict[str, Any]]:
    """New-TransportRule: enabled unless Enabled is false, last unless Priority says otherwise.

    Raises ExecutionError for a name in use, an unknown group or connector, no action, an invalid priority, a rule that is too
    large or one too many.
    """
    name = call.parameters["Name"]
    check_count(call.organization.objects(RULE))
    check_name(call, RULE, name)
    given = {key: value for key, value in merged(empty_rule(), call.parameters).items() if key not in _NOT_STORED}
    properties = {**empty_rule(), **_resolved(call, given)}
    _check_rule(properties)
    rule = create(call, RULE, name, properties)
    server_added = {
        "State": "Disabled" if call.parameters.get("Enabled") is False else "Enabled",
        "RuleVersion": "14.4.0.0",
        "ManuallyModified": False,
        "ImmutableId": rule["Guid"],
        "WhenChanged": timestamp(call.now),
        "Priority": 0,
    }
    rule.update(server_added | described(rule))
    check_sizes(rule, call.organization.objects(RULE))
    _place(call, rule, call.parameters.get("Priority"))
    return [rule]


def set_rule(call: Call) -> list[dict[str, Any]]:
    """Set-TransportRule: changes what is given; Priority moves the rule and shifts the others.

    Raises ExecutionError for an unknown rule, a name in use, an unknown group or connector, or an invalid priority.
    """
    rule = require(call, RULE)
    check_name(call, RULE, call.parameters.get("Name") or rule["Name"], other_than=rule)
    changes = {key: value for key, value in merged(rule, call.parameters).items() if key not in _NOT_STORED - {"Name"}}
    changes = _resolved(call, changes)
    changed = {**rule, **changes}
    _check_rule(changed)
    changed |= described(changed)
    if changes:
        check_sizes(changed, (each for each in _ordered(call) if each is not rule))
    if call.given("Priority"):
        _place(call, rule, call.parameters["Priority"])
    if changes:
        update(call, rule, changes | described(changed))
    return []


def enable_rule(call: Call) -> list[dict[str, Any]]:
    """Enable-TransportRule; Mode, where given, is set as well."""
    rule = require(call, RULE)
    update(call, rule, {"State": "Enabled", "Mode": call.parameters.get("Mode") or rule["Mode"]})
    return []


def disable_rule(call: Call) -> list[dict[str, Any]]:
    """Disable-TransportRule."""
    update(call, require(call, RULE), {"State": "Disabled"})
    return []


def remove_rule(call: Call) -> list[dict[str, Any]]:
    """Remove-TransportRule; the priorities of those behind it close the gap."""
    call.organization.objects(RULE).remove(require(call, RULE))
    for number, rule in enumerate(_ordered(call)):
        rule["Priority"] = number
    return []
