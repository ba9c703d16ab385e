"""Checks of the tenant's own transport rules: what they do to mail that takes the way over the scanner."""

from collections.abc import Iterator, Mapping

from shared.domain.grant import Direction
from shared.mailflow.checks.finding import Check, Finding, FindingKind, Severity
from shared.mailflow.checks.values import RULES_PAGE, egress, foreign, name_of, says, shown, texts
from shared.mailflow.desired import DesiredSetting, Request
from shared.mailflow.kinds import KINDS, Kind
from shared.mailflow.networks import overlapping, uncovered
from shared.mailflow.rule_properties import CONDITIONS
from shared.mailflow.tenant import Found, TenantObjects

RULES = KINDS[Kind.TRANSPORT_RULE].get
FROM_ADDRESSES, EXCEPT_ADDRESSES = "SenderIpRanges", "ExceptIfSenderIpRanges"
ENDING = (
    *("RejectMessageReasonText", "RejectMessageEnhancedStatusCode", "SmtpRejectMessageRejectText"),
    *("SmtpRejectMessageRejectStatusCode", "DeleteMessage", "Quarantine", "Disconnect"),
)
"""Actions after which a message does not go on."""
EFFECTS: Mapping[str, tuple[str, ...]] = {
    "refuses or removes messages": ENDING,
    "redirects messages": ("RedirectMessageTo",),
    "adds recipients": ("AddToRecipients", "CopyTo", "BlindCopyTo", "AddManagerAsRecipientType"),
    "holds messages for approval": ("ModerateMessageByUser", "ModerateMessageByManager"),
    "changes the text or the subject": ("ApplyHtmlDisclaimerText", "PrependSubject"),
    "encrypts messages": ("ApplyOME", "ApplyRightsProtectionTemplate"),
    "stops the rules after it": ("StopRuleProcessing",),
}
"""What a rule does that matters to the way over the scanner, and the actions that do it (page of New-TransportRule)."""
ABOUT_SCOPE = frozenset(
    {
        *("FromScope", "SentToScope", "SentTo", "SentToMemberOf", "RecipientDomainIs", "RecipientAddressContainsWords"),
        *("RecipientAddressMatchesPatterns", "AnyOfToHeader", "AnyOfToCcHeader", "AnyOfCcHeader"),
        "AnyOfRecipientAddressContainsWords",
    }
)
"""Conditions on where a message goes and from which side it comes: neither who wrote it nor what is in it."""

_ADMISSION = FindingKind(
    Severity.BLOCKING,
    "The rule '{object}' lets mail pass only from certain addresses, and the scanner's ({addresses}) are not among them: scanned "
    "messages would be stopped.",
    f"Open {RULES_PAGE}, choose '{{object}}', press 'Edit rule conditions', and add {{addresses}} to the exception 'Sender's IP "
    "address is in any of these ranges', press Save; then open this step again.",
    fix="Adds the scanner's addresses to the exception of the rule.",
    evidence=("Priority", "ExceptIfSenderIpRanges"),
)
_NARROW_ADMISSION = FindingKind(
    Severity.ACKNOWLEDGE,
    "The rule '{object}' acts on some messages ({conditions}) unless they come from certain addresses. Scanned messages come "
    "from the scanner's addresses, so that the exception holds for none of them: what was to be spared is stopped.",
    f"Open {RULES_PAGE} and decide: leave the rule as it is; or add {{addresses}} to its exception 'Sender's IP address is in "
    "any of these ranges', after which it no longer acts on any scanned message, so that the scanner must look after what it "
    "was for.",
    evidence=("Priority", "ExceptIfSenderIpRanges"),
)
_STOPS_SCANNER = FindingKind(
    Severity.BLOCKING,
    "The rule '{object}' stops mail from addresses from which scanned messages return ({addresses}).",
    f"Open {RULES_PAGE}, choose '{{object}}', press 'Edit rule conditions', and add {{addresses}} to an exception 'Sender's IP "
    "address is in any of these ranges', press Save; then open this step again.",
    fix="Adds the scanner's addresses to the exceptions of the rule.",
    evidence=("Priority", "SenderIpRanges"),
)
_LOOKS_AT_ADDRESSES = FindingKind(
    Severity.NOTICE,
    "The rule '{object}' looks at the address that a message came from. On scanned messages that is the scanner's, so that it "
    "acts on other messages than before.",
    f"Look at the rule ({RULES_PAGE}): what it is to do with scanned messages must be told by something else than their address.",
    evidence=("Priority", "SenderIpRanges", "ExceptIfSenderIpRanges"),
)
_EFFECT = FindingKind(
    Severity.NOTICE,
    "The rule '{object}' {effects}. It acts once, on the message that comes back from the scanner.",
    "Nothing, where that is as it should be. The plan shows where the rule stands, and what becomes of the messages it acts on.",
    evidence=("Priority", "actions"),
)
_SKIPS_FILTER = FindingKind(
    Severity.NOTICE,
    "The rule '{object}' spares messages spam filtering (SCL -1), as other protection products do for mail that they return.",
    f"If it belongs to a product that is no longer used, remove it ({RULES_PAGE}).",
    evidence=("Priority", "SetSCL"),
)


def is_active(rule: Found) -> bool:
    """True for a rule that acts on messages now: it is enabled, and not merely tested."""
    return says(rule, "State", "Enabled") and (rule.get("Mode") is None or says(rule, "Mode", "Enforce"))


def active_rules(request: Request, tenant: TenantObjects) -> list[Found]:
    """Return the rules of others that act on messages, in the order of their priority."""
    found = [rule for rule in foreign(request, tenant, Kind.TRANSPORT_RULE) if is_active(rule)]
    return sorted(found, key=lambda rule: int(rule["Priority"]))


def is_set(rule: Found, name: str) -> bool:
    """True where a condition, an exception or an action of a rule has a value."""
    return bool(texts(rule, name)) and not says(rule, name, "false")


def directions(rule: Found) -> set[Direction]:
    """Return which directions a rule can act on, as far as its scopes tell."""
    if says(rule, "SentToScope", "NotInOrganization") or says(rule, "FromScope", "InOrganization"):
        return {Direction.OUTBOUND}
    if says(rule, "FromScope", "NotInOrganization") or says(rule, "SentToScope", "InOrganization"):
        return {Direction.INBOUND}
    return set(Direction)


def _ends(rule: Found) -> bool:
    return any(is_set(rule, name) for name in (*ENDING, "RedirectMessageTo"))


def _exception(rule: Found, addresses: tuple[str, ...]) -> tuple[DesiredSetting, ...]:
    purpose = "Messages that come back from the scanner are not stopped."
    return (DesiredSetting("TransportRule", name_of(rule), EXCEPT_ADDRESSES, adds=addresses, purpose=purpose),)


def _admission(request: Request, tenant: TenantObjects) -> Iterator[Finding]:
    """A rule that stops what comes from elsewhere than some addresses, or just what comes from ours."""
    for rule in active_rules(request, tenant):
        ours = egress(request, directions(rule))
        if not _ends(rule) or not ours:
            continue
        excepted = texts(rule, EXCEPT_ADDRESSES)
        missing = uncovered(ours, excepted)
        if is_set(rule, FROM_ADDRESSES):
            stopped = tuple(text for text in overlapping(ours, texts(rule, FROM_ADDRESSES)) if text in missing)
            if stopped:
                yield _about(_STOPS_SCANNER, rule, stopped, FROM_ADDRESSES)
        elif excepted and missing:
            narrow = sorted(name for name in CONDITIONS - ABOUT_SCOPE if is_set(rule, name))
            yield _about(_NARROW_ADMISSION if narrow else _ADMISSION, rule, missing, EXCEPT_ADDRESSES, ", ".join(narrow))


def _about(kind: FindingKind, rule: Found, addresses: tuple[str, ...], evidence: str, conditions: str = "") -> Finding:
    fix = _exception(rule, addresses) if kind.fix else ()
    return kind.about(
        name_of(rule), shown(rule, "Priority", evidence), fix, addresses=", ".join(addresses), conditions=conditions
    )


def _addresses(request: Request, tenant: TenantObjects) -> Iterator[Finding]:
    for rule in active_rules(request, tenant):
        if not _ends(rule) and (is_set(rule, FROM_ADDRESSES) or is_set(rule, EXCEPT_ADDRESSES)):
            yield _LOOKS_AT_ADDRESSES.about(name_of(rule), shown(rule, "Priority", FROM_ADDRESSES, EXCEPT_ADDRESSES))


def _effects(request: Request, tenant: TenantObjects) -> Iterator[Finding]:
    for rule in active_rules(request, tenant):
        done = {effect: [name for name in names if is_set(rule, name)] for effect, names in EFFECTS.items()}
        found = {effect: names for effect, names in done.items() if names}
        if found:
            evidence = {"Priority": rule.get("Priority"), "actions": [name for names in found.values() for name in names]}
            yield _EFFECT.about(name_of(rule), evidence, effects=", ".join(found))


def _skips_filter(request: Request, tenant: TenantObjects) -> Iterator[Finding]:
    for rule in active_rules(request, tenant):
        if says(rule, "SetSCL", "-1"):
            yield _SKIPS_FILTER.about(name_of(rule), shown(rule, "Priority", "SetSCL"))


RULE_CHECKS = (
    Check(
        "rules_that_admit_addresses",
        "No rule stops mail that comes from the scanner's addresses",
        frozenset({RULES}),
        (_ADMISSION, _STOPS_SCANNER, _NARROW_ADMISSION),
        _admission,
    ),
    Check(
        "rules_on_addresses",
        "No rule looks at the address that a message came from",
        frozenset({RULES}),
        (_LOOKS_AT_ADDRESSES,),
        _addresses,
    ),
    Check(
        "rules_with_effects",
        "No rule stops, redirects, holds or changes messages",
        frozenset({RULES}),
        (_EFFECT,),
        _effects,
    ),
    Check(
        "rules_that_skip_filtering",
        "No rule of others spares mail spam filtering",
        frozenset({RULES}),
        (_SKIPS_FILTER,),
        _skips_filter,
    ),
)
"""The checks of transport rules."""
