"""Transport rules at work: which copies a rule fits, what it does to them, in what order.

Conditions are AND, exceptions OR (Microsoft's page on conditions and exceptions of mail flow rules). A rule that fits only some
recipients splits the copy. RuleErrorAction, Mode, the default 5.7.1: the page of New-TransportRule. The loop header and 5.7.128:
known from the field.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from local.microsoft365.mail.conditions import (
    COMPANIONS,
    MESSAGE_CONDITIONS,
    RECIPIENT_CONDITIONS,
    SEALED,
    MessageCondition,
    RecipientCondition,
    View,
)
from local.microsoft365.mail.directory import TenantMail
from local.microsoft365.mail.log import Fate
from local.microsoft365.mail.model import LOOP_HEADER, Addressee, Copy, Record, Switches

EXCEPT = "ExceptIf"
_ABOUT_NOTHING = frozenset(
    {
        *("ADComparisonAttribute", "HasClassification", "HasSenderOverride", "ManagerAddresses", "ManagerForEvaluatedUser"),
        *("MessageContainsDataClassifications", "ContentCharacterSetContainsWords", "WithImportance", "SenderInRecipientList"),
        *("RecipientInSenderList", "SenderManagementRelationship", "SenderADAttributeContainsWords"),
        *("SenderADAttributeMatchesPatterns", "RecipientADAttributeContainsWords", "RecipientADAttributeMatchesPatterns"),
        *("AttachmentContainsWords", "AttachmentExtensionMatchesWords", "AttachmentHasExecutableContent"),
        *("AttachmentIsPasswordProtected", "AttachmentIsUnsupported", "AttachmentMatchesPatterns"),
        *("AttachmentNameMatchesPatterns", "AttachmentProcessingLimitExceeded", "AttachmentPropertyContainsWords"),
        "AttachmentSizeOver",
    }
)
"""Conditions on what no message here has: attachments, classifications, directory attributes. They fit nothing."""


def _never(_view: View, _value: Any) -> bool:
    return False


_ADDING = ("AddToRecipients", "CopyTo", "BlindCopyTo")


@dataclass(slots=True)
class _Predicates:
    """Conditions, or exceptions: of the message, and of each recipient."""

    of_message: list[tuple[MessageCondition, Any]]
    of_recipient: list[tuple[RecipientCondition, Any]]


class Rule:
    """A rule made ready: its conditions and exceptions are found once."""

    def __init__(self, rule: Mapping[str, Any]) -> None:
        self.rule = rule
        self.name = str(rule["Name"])
        self.conditions = _Predicates([], [])
        self.exceptions = _Predicates([], [])
        for name, value in rule.items():
            if value or (value == 0 and value is not False):
                self._add(name, value)

    def _add(self, name: str, value: Any) -> None:
        excepts = name.startswith(EXCEPT)
        bare = name.removeprefix(EXCEPT)
        into = self.exceptions if excepts else self.conditions
        companion = COMPANIONS.get(bare)
        if companion is not None:
            value = (value, self.rule.get((EXCEPT if excepts else "") + companion) or ())
        if bare in RECIPIENT_CONDITIONS:
            into.of_recipient.append((RECIPIENT_CONDITIONS[bare], value))
        elif bare in MESSAGE_CONDITIONS:
            into.of_message.append((MESSAGE_CONDITIONS[bare], value))
        elif bare in _ABOUT_NOTHING:
            into.of_message.append((_never, value))

    @cached_property
    def stops(self) -> bool:
        """Whether no further rule looks at what this one fits."""
        return bool(self.rule.get("StopRuleProcessing"))

    def fitting(self, tenant: TenantMail, copy: Copy, switches: Switches) -> list[Addressee]:
        """Return the recipients of a copy that the rule fits."""
        view = View(
            tenant,
            copy,
            switches,
            self.rule.get("SenderAddressLocation") or "Header",
            self.rule.get("RecipientAddressType") or "Resolved",
        )
        conditions, exceptions = self.conditions, self.exceptions
        if not all(fits(view, value) for fits, value in conditions.of_message):
            return []
        if any(fits(view, value) for fits, value in exceptions.of_message):
            return []
        if not (conditions.of_recipient or exceptions.of_recipient):
            return copy.recipients
        return [
            to
            for to in copy.recipients
            if all(fits(view, to, value) for fits, value in conditions.of_recipient)
            and not any(fits(view, to, value) for fits, value in exceptions.of_recipient)
        ]


def enforced(rules: Iterable[Mapping[str, Any]]) -> list[Rule]:
    """Return the rules that act: enabled ones in enforcing mode, in the order given, which is that of their priority."""
    return [
        Rule(rule) for rule in rules if rule.get("State", "Enabled") == "Enabled" and (rule.get("Mode") or "Enforce") == "Enforce"
    ]


def _connector_is_there(tenant: TenantMail, rule: Mapping[str, Any]) -> bool:
    name = rule.get("RouteMessageOutboundConnector")
    if not name:
        return True
    connector = tenant.outbound.get(str(name).lower())
    return connector is not None and bool(connector.get("Enabled", True))


def _addresses(values: Any) -> list[Addressee]:
    texts = [values] if isinstance(values, str) else values or ()
    return [Addressee(str(text).lower(), str(text).lower()) for text in texts]


class RulePass:
    """One pass of one tenant's rules over what arrived."""

    def __init__(self, tenant: TenantMail, rules: list[Rule], switches: Switches, record: Record) -> None:
        self._tenant = tenant
        self._rules = rules
        self._switches = switches
        self._record = record

    def run(self, copy: Copy) -> list[Copy]:
        """Return the copies that are left when all rules have looked; the others have ended."""
        left: list[Copy] = []
        waiting: list[tuple[Copy, int]] = [(copy, 0)]
        while waiting:
            current, position = waiting.pop()
            self._follow(current, position, waiting, left)
        return left

    def _follow(self, copy: Copy, position: int, waiting: list[tuple[Copy, int]], left: list[Copy]) -> None:
        for number in range(position, len(self._rules)):
            rule = self._rules[number]
            fitting = rule.fitting(self._tenant, copy, self._switches)
            if not fitting:
                continue
            if len(fitting) < len(copy.recipients):
                fits = set(fitting)
                waiting.append((copy.fork([to for to in copy.recipients if to not in fits]), number + 1))
                copy = copy.fork(fitting)
            if not _connector_is_there(self._tenant, rule.rule):
                if rule.rule.get("RuleErrorAction") == "Defer":
                    self._record.end_all(copy, "deferred")
                    return
                continue
            if self._ends(rule, copy):
                return
            if rule.stops:
                break
        left.append(copy)

    def _ends(self, rule: Rule, copy: Copy) -> bool:
        """Do to a copy what a rule says; tell whether that was its end."""
        actions = rule.rule
        redirects = bool(actions.get("RedirectMessageTo"))
        if copy.came_redirected and (redirects or any(actions.get(name) for name in _ADDING)):
            self._record.end_all(copy, "rejected", "5.7.128")
            return True
        if actions.get("ApplyHtmlDisclaimerText") and copy.kind in SEALED:
            fallback = actions.get("ApplyHtmlDisclaimerFallbackAction") or "Wrap"
            if fallback == "Reject":
                self._record.applied(rule.name, copy)
                self._record.end_all(copy, "rejected", "5.7.1")
                return True
        self._record.applied(rule.name, copy)
        _change(copy, actions)
        self._add_recipients(copy, actions)
        return self._final(copy, actions)

    def _add_recipients(self, copy: Copy, actions: Mapping[str, Any]) -> None:
        added = [to for name in _ADDING for to in _addresses(actions.get(name))]
        redirected = _addresses(actions.get("RedirectMessageTo"))
        if redirected:
            if copy.passage is not None:
                copy.passage.fates |= {to.address: Fate("redirected") for to in copy.recipients}
            copy.recipients = self._tenant.resolve(redirected + added)
        elif added:
            copy.recipients = self._tenant.resolve([*copy.recipients, *added])
        else:
            return
        copy.headers[LOOP_HEADER] = ["1"]

    def _final(self, copy: Copy, actions: Mapping[str, Any]) -> bool:
        """End a copy where the actions do that."""
        status = actions.get("RejectMessageEnhancedStatusCode")
        if status or actions.get("RejectMessageReasonText"):
            self._record.end_all(copy, "rejected", str(status or "5.7.1"))
        elif actions.get("DeleteMessage"):
            self._record.end_all(copy, "dropped")
        elif actions.get("Quarantine"):
            self._record.end_all(copy, "quarantined", reason="TransportRule")
        elif actions.get("ModerateMessageByUser") or actions.get("ModerateMessageByManager"):
            self._record.end_all(copy, "moderated")
        else:
            return False
        return True


def _change(copy: Copy, actions: Mapping[str, Any]) -> None:
    """Change headers, subject, spam confidence and route as the actions say."""
    if name := actions.get("SetHeaderName"):
        copy.headers[str(name).lower()] = [str(actions.get("SetHeaderValue") or "")]
    if name := actions.get("RemoveHeader"):
        copy.headers.pop(str(name).lower(), None)
    if prefix := actions.get("PrependSubject"):
        copy.subject = f"{prefix}{copy.subject}"
    if actions.get("SetSCL") is not None:
        copy.scl = int(actions["SetSCL"])
    if connector := actions.get("RouteMessageOutboundConnector"):
        copy.route = str(connector).lower()
