"""Checks of the organization as a whole: what it is subscribed to, what it records, how much room is left in it."""

from collections.abc import Iterator, Mapping
from typing import Any

from shared.domain.grant import Direction
from shared.mailflow.checks.finding import Check, Finding, FindingKind, Severity
from shared.mailflow.checks.values import is_on, name_of, says, shown
from shared.mailflow.compare import has_entry
from shared.mailflow.desired import DesiredObject, Request, desired_objects, desired_settings
from shared.mailflow.kinds import KINDS, Kind
from shared.mailflow.lists import way_of
from shared.mailflow.rule_properties import RULE_PROPERTIES
from shared.mailflow.tenant import TenantObjects

ORGANIZATION = "Get-OrganizationConfig"
AUDIT = "Get-AdminAuditLogConfig"
JOURNALING = "Get-JournalRule"
PLANS = "assignedPlans"
"""What Microsoft Graph says of the organization's service plans (``ports.Directory.service_plans``)."""
FOUNDATION = "113feb6c-3fe4-4440-bddc-54d774bf0318"
"""EXCHANGE_S_FOUNDATION, the part of Exchange Online that other products bring with them, without its management
(https://learn.microsoft.com/entra/identity/users/licensing-service-plan-reference)."""
MAXIMUM_RULES = 300
"""Transport rules of an organization (Exchange Online limits: journal, transport and inbox rule limits)."""
MAXIMUM_RULE_SIZE = 8192
"""Characters in one transport rule (ibid.). How Exchange counts them is not said: all values of the rule together."""

MAXIMUM_ENTRIES = {"IPAllowList": 1273, "Entries": 1024}
"""Entries of the lists that Grantline adds to: the IP allow list (known in the field), the allow entries for spoofed senders
(page of New-TenantAllowBlockListSpoofItems)."""

_FOUNDATION_ONLY = FindingKind(
    Severity.BLOCKING,
    "The tenant has no plan of Exchange Online but Foundation, which other products bring with them: it has no connectors and "
    "rules that could be managed.",
    "Buy and assign a plan of Exchange Online in the Microsoft 365 admin center (https://admin.microsoft.com > Billing), then "
    "open this step again.",
    problem_code="no_exchange",
    evidence=("plans",),
)
_SUBSCRIPTION_ENDS = FindingKind(
    Severity.NOTICE,
    "Exchange Online is in the state {states} in this tenant: a subscription has ended or was suspended, and mail may stop.",
    "Look at the subscription in the Microsoft 365 admin center (https://admin.microsoft.com > Billing > Your products).",
    evidence=("capabilityStatus",),
)
_DEHYDRATED = FindingKind(
    Severity.NOTICE,
    "The organization has not been enabled for customization: Exchange Online may refuse some changes until it is. That can't be "
    "undone.",
    "Nothing now. Where a change needs it, the plan asks for a yes of its own; an administrator can also run "
    "Enable-OrganizationCustomization in Exchange Online PowerShell, which may take an hour to have its effect.",
    evidence=("IsDehydrated",),
)
_DIRECT_SEND = FindingKind(
    Severity.NOTICE,
    "The tenant rejects Direct Send: mail with a sender of its own domains that comes in from outside over no connector. Scanned "
    "mail comes in over the return connector, and passes.",
    "Nothing. Where mail of own domains bounces with 5.7.68, see that the return connector has all addresses of the scanner.",
    evidence=("RejectDirectSend",),
)
_JOURNAL = FindingKind(
    Severity.NOTICE,
    "The journal rule '{object}' reports messages. A scanned message passes Exchange Online twice, so that it may be reported "
    "twice.",
    "Tell whoever looks after the archive that a message can have two reports with the same Message-ID.",
    evidence=("Scope", "Recipient", "JournalEmailAddress"),
)
_AUDIT_OFF = FindingKind(
    Severity.NOTICE,
    "The tenant does not record what is done in it ({what}): changes of the mail-flow objects by others can't be traced.",
    "Turn auditing on: https://purview.microsoft.com > Audit > Start recording user and admin activity; where auditing of "
    "mailboxes is off, run Set-OrganizationConfig -AuditDisabled $false in Exchange Online PowerShell.",
    evidence=("UnifiedAuditLogIngestionEnabled", "AuditDisabled"),
)
_FULL = FindingKind(
    Severity.BLOCKING,
    "The tenant has {count} transport rules and needs {needed} more; Exchange Online takes {limit}.",
    "Remove or join rules that are no longer needed (https://admin.exchange.microsoft.com/#/transportrules), then open this step "
    "again.",
    evidence=("rules", "needed", "limit"),
)
_TOO_LARGE = FindingKind(
    Severity.BLOCKING,
    "The rule '{object}' would have about {size} characters; Exchange Online takes {limit}. It names {domains} domains.",
    "Choose fewer domains, or the members of a group, and start the grant anew.",
    evidence=("size", "limit"),
)
_LIST_FULL = FindingKind(
    Severity.BLOCKING,
    "The list {list} of '{object}' has {count} entries and needs {needed} more; Exchange Online takes {limit}.",
    "Remove entries that are no longer needed, then open this step again; or have the operator switch the allow entries off.",
    evidence=("entries", "needed", "limit"),
)


def _plans(_: Request, tenant: TenantObjects) -> Iterator[Finding]:
    exchange = [plan for plan in tenant.of(PLANS) if says(plan, "service", "exchange")]
    live = [plan for plan in exchange if not says(plan, "capabilityStatus", "Deleted")]
    if all(says(plan, "servicePlanId", FOUNDATION) for plan in live):
        yield _FOUNDATION_ONLY.about("Exchange Online", {"plans": [dict(plan) for plan in exchange]})
        return
    states = sorted({str(plan.get("capabilityStatus")) for plan in live if not says(plan, "servicePlanId", FOUNDATION)})
    if "Enabled" not in states:
        yield _SUBSCRIPTION_ENDS.about("Exchange Online", {"capabilityStatus": states}, states=", ".join(states))


def _customization(_: Request, tenant: TenantObjects) -> Iterator[Finding]:
    for found in tenant.of(ORGANIZATION):
        if is_on(found, "IsDehydrated"):
            yield _DEHYDRATED.about(name_of(found), shown(found, "IsDehydrated"))


def _direct_send(request: Request, tenant: TenantObjects) -> Iterator[Finding]:
    """What matches an inbound connector is not rejected (page of Set-OrganizationConfig, RejectDirectSend)."""
    for found in tenant.of(ORGANIZATION) if Direction.INBOUND in request.intent.directions else ():
        if is_on(found, "RejectDirectSend"):
            yield _DIRECT_SEND.about(name_of(found), shown(found, "RejectDirectSend"))


def _journaling(_: Request, tenant: TenantObjects) -> Iterator[Finding]:
    for rule in tenant.of(JOURNALING):
        if is_on(rule, "Enabled", unless_absent=True):
            yield _JOURNAL.about(name_of(rule), shown(rule, "Scope", "Recipient", "JournalEmailAddress"))


def _audit(_: Request, tenant: TenantObjects) -> Iterator[Finding]:
    off: dict[str, Mapping[str, Any]] = {
        "the audit log": next(
            (
                shown(found, "UnifiedAuditLogIngestionEnabled")
                for found in tenant.answers.get(AUDIT, ())
                if not is_on(found, "UnifiedAuditLogIngestionEnabled", unless_absent=True)
            ),
            {},
        ),
        "mailbox auditing": next(
            (shown(found, "AuditDisabled") for found in tenant.of(ORGANIZATION) if is_on(found, "AuditDisabled")), {}
        ),
    }
    found = {what: evidence for what, evidence in off.items() if evidence}
    if found:
        evidence = {name: value for each in found.values() for name, value in each.items()}
        yield _AUDIT_OFF.about("audit", evidence, what=", ".join(found))


def size(rule: DesiredObject) -> int:
    """Return about how many characters a rule of ours has."""
    values = [value for name, value in rule.parameters.items() if name in RULE_PROPERTIES]
    return sum(len(str(item)) for value in values for item in (value if isinstance(value, list) else [value]))


def _lists(request: Request, tenant: TenantObjects) -> Iterator[Finding]:
    for setting in desired_settings(request):
        limit = MAXIMUM_ENTRIES.get(setting.property)
        entries = way_of(setting.noun).read(tenant.of(setting.get), setting.property)
        needed = sum(not has_entry(setting.property, entries, entry) for entry in setting.adds)
        if limit and needed and len(entries) + needed > limit:
            evidence = {"entries": len(entries), "needed": needed, "limit": limit}
            count, name = len(entries), setting.property
            yield _LIST_FULL.about(setting.name, evidence, list=name, count=count, needed=needed, limit=limit)


def _limits(request: Request, tenant: TenantObjects) -> Iterator[Finding]:
    rules = [item for item in desired_objects(request) if item.kind is Kind.TRANSPORT_RULE]
    count = len(tenant.of(KINDS[Kind.TRANSPORT_RULE].get))
    needed = sum(tenant.find(rule) is None for rule in rules)
    if needed and count + needed > MAXIMUM_RULES:
        evidence = {"rules": count, "needed": needed, "limit": MAXIMUM_RULES}
        yield _FULL.about("transport rules", evidence, count=count, needed=needed, limit=MAXIMUM_RULES)
    for rule in rules:
        if size(rule) > MAXIMUM_RULE_SIZE:
            evidence = {"size": size(rule), "limit": MAXIMUM_RULE_SIZE}
            named = len(rule.parameters.get("RecipientDomainIs") or rule.parameters.get("SenderDomainIs") or ())
            yield _TOO_LARGE.about(rule.name, evidence, size=size(rule), limit=MAXIMUM_RULE_SIZE, domains=named)


ORGANIZATION_CHECKS = (
    Check(
        "exchange_plan",
        "The tenant has a plan of Exchange Online with its management",
        frozenset({PLANS}),
        (_FOUNDATION_ONLY, _SUBSCRIPTION_ENDS),
        _plans,
    ),
    Check(
        "limits",
        "There is room for the rules",
        frozenset({"Get-AcceptedDomain", KINDS[Kind.TRANSPORT_RULE].get}),
        (_FULL, _TOO_LARGE),
        _limits,
    ),
    Check(
        "list_limits",
        "There is room in the lists of allow entries",
        frozenset({"Get-HostedConnectionFilterPolicy", "Get-TenantAllowBlockListSpoofItems", "Get-ArcConfig"}),
        (_LIST_FULL,),
        _lists,
    ),
    Check(
        "organization_customization",
        "The organization has been enabled for customization",
        frozenset({ORGANIZATION}),
        (_DEHYDRATED,),
        _customization,
    ),
    Check("direct_send", "The tenant does not reject Direct Send", frozenset({ORGANIZATION}), (_DIRECT_SEND,), _direct_send),
    Check("journaling", "No journal rule is on", frozenset({JOURNALING}), (_JOURNAL,), _journaling),
    Check(
        "audit",
        "The tenant records what is done in it",
        frozenset({ORGANIZATION}),
        (_AUDIT_OFF,),
        _audit,
        also=frozenset({AUDIT}),
    ),
)
"""The checks of the organization."""
