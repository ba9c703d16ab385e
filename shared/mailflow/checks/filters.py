"""Checks of the filters that mail passes when it returns from the scanner: spam, phishing, connections, preset policies."""

from collections.abc import Iterator

from shared.domain.grant import Direction
from shared.mailflow.checks.finding import Check, Finding, FindingKind, Severity
from shared.mailflow.checks.values import egress, is_on, name_of, says, shown, texts
from shared.mailflow.compare import has_entry
from shared.mailflow.desired import DesiredSetting, Request, desired_settings
from shared.mailflow.lists import SPOOF_ENTRIES, spoof_text
from shared.mailflow.networks import overlapping
from shared.mailflow.tenant import TenantObjects

CONTENT_FILTERS = "Get-HostedContentFilterPolicy"
CONNECTION_FILTERS = "Get-HostedConnectionFilterPolicy"
SPOOFED_SENDERS = f"Get-{SPOOF_ENTRIES}"
PHISHING_POLICIES = "Get-AntiPhishPolicy"
PRESET_RULES = ("Get-EOPProtectionPolicyRule", "Get-ATPProtectionPolicyRule")
SPF_HARD_FAIL = "MarkAsSpamSpfRecordHardFail"

_SPF = FindingKind(
    Severity.BLOCKING,
    "The inbound anti-spam policy '{object}' marks messages as spam when SPF fails hard: scanned messages would be taken for "
    "spam.",
    "Open https://security.microsoft.com/antispam (Microsoft Defender portal > Email & collaboration > Policies & rules "
    "> Threat policies > Anti-spam), choose the inbound policy '{object}', press 'Edit spam threshold and "
    "properties', set 'SPF record: hard fail' to Off, press Save; then open this step again.",
    fix="Sets 'SPF record: hard fail' of the policy to Off.",
    evidence=("MarkAsSpamSpfRecordHardFail",),
)
_BLOCKED = FindingKind(
    Severity.BLOCKING,
    "The connection filter policy '{object}' blocks addresses from which scanned mail returns ({addresses}): it would be "
    "refused.",
    "Open https://security.microsoft.com/antispam, choose 'Connection filter policy', press 'Edit connection filter policy', "
    "take {addresses} out of 'Always block messages from the following IP addresses or address range', press Save; then open "
    "this step again.",
    evidence=("IPBlockList",),
)
_PAIR_BLOCKED = FindingKind(
    Severity.BLOCKING,
    "The tenant blocks spoofed senders that Grantline is to allow ({entries}): its allow entries can't be added.",
    "Open https://security.microsoft.com/tenantAllowBlockList > Spoofed senders, and delete {entries} if nobody needs them "
    "blocked; or let the operator leave 'spoof' out of GRANTLINE_ALLOW_ENTRIES; then open this step again.",
    evidence=("SpoofedUser", "SendingInfrastructure", "SpoofType", "Action"),
)
_DMARC = FindingKind(
    Severity.NOTICE,
    "The anti-phishing policy '{object}' rejects messages that fail DMARC where the sender's domain says p=reject (Microsoft's "
    "default). Where the scanner changes a message, the sender's DKIM signature breaks, and such a message would be rejected "
    "when it returns.",
    "Nothing, where the scanner changes no messages. Where it does: let it seal messages (ARC) and name its domain under "
    "https://security.microsoft.com/authentication > ARC; or open https://security.microsoft.com/antiphishing, choose "
    "'{object}', and set 'If the message is detected as spoof and DMARC Policy is set as p=reject' to Quarantine the message.",
    evidence=("HonorDmarcPolicy", "DmarcRejectAction"),
)
_PRESET = FindingKind(
    Severity.NOTICE,
    "The preset security policy '{object}' is on. It acts before all other policies of its kind on those it is for, and its "
    "settings can't be changed; it filters scanned mail again.",
    "Nothing. If scanned mail of its users ends in Junk or quarantine, look at "
    "https://security.microsoft.com/presetSecurityPolicies.",
    evidence=("State", "Priority"),
)


def _spf_hard_fail(_: Request, tenant: TenantObjects) -> Iterator[Finding]:
    """All policies count, not the default one alone: a custom policy takes its recipients out of the default.

    Returned mail comes from the scanner's addresses, which no sender's SPF record names (product.md 1.3).
    """
    for policy in tenant.of(CONTENT_FILTERS):
        if says(policy, SPF_HARD_FAIL, "on"):
            name = name_of(policy)
            purpose = "Scanned messages, which come from the scanner's addresses, are not taken for spam."
            fix = DesiredSetting("HostedContentFilterPolicy", name, SPF_HARD_FAIL, value="Off", purpose=purpose)
            yield _SPF.about(name, shown(policy, SPF_HARD_FAIL), (fix,))


def _connection_filter(request: Request, tenant: TenantObjects) -> Iterator[Finding]:
    for policy in tenant.of(CONNECTION_FILTERS):
        blocked = overlapping(egress(request), texts(policy, "IPBlockList"))
        if blocked:
            yield _BLOCKED.about(name_of(policy), shown(policy, "IPBlockList"), addresses=", ".join(blocked))


def _dmarc_reject(request: Request, tenant: TenantObjects) -> Iterator[Finding]:
    """Behaviour of the two properties: page of Set-AntiPhishPolicy (real-tenants.md 10).

    Where the scanner seals what it changes, its seal is believed instead (page of Set-ArcConfig).
    """
    if Direction.INBOUND not in request.intent.directions or request.settings.arc_sealer:
        return
    for policy in tenant.of(PHISHING_POLICIES):
        is_active = is_on(policy, "Enabled", unless_absent=True) and is_on(policy, "HonorDmarcPolicy")
        if is_active and says(policy, "DmarcRejectAction", "Reject"):
            yield _DMARC.about(name_of(policy), shown(policy, "HonorDmarcPolicy", "DmarcRejectAction"))


def _preset_policies(_: Request, tenant: TenantObjects) -> Iterator[Finding]:
    """The rules of a preset policy tell whether it is on (pages of Get-EOPProtectionPolicyRule, Get-ATPProtectionPolicyRule)."""
    active = {
        name_of(rule): shown(rule, "State", "Priority")
        for cmdlet in PRESET_RULES
        for rule in tenant.answers.get(cmdlet, ())
        if says(rule, "State", "Enabled")
    }
    for name, evidence in active.items():
        yield _PRESET.about(name, evidence)


def _spoofed_senders(request: Request, tenant: TenantObjects) -> Iterator[Finding]:
    """A pair is in the list once, allowed or blocked; what somebody blocks is theirs to decide."""
    wanted = [entry for item in desired_settings(request) if item.noun == SPOOF_ENTRIES for entry in item.adds]
    for found in tenant.of(SPOOFED_SENDERS) if wanted else ():
        if says(found, "Action", "block") and has_entry("Entries", wanted, spoof_text(found)):
            names = ("SpoofedUser", "SendingInfrastructure", "SpoofType", "Action")
            yield _PAIR_BLOCKED.about(spoof_text(found), shown(found, *names), entries=spoof_text(found))


FILTER_CHECKS = (
    Check(
        "spf_hard_fail",
        "No anti-spam policy acts on a hard SPF failure",
        frozenset({CONTENT_FILTERS}),
        (_SPF,),
        _spf_hard_fail,
    ),
    Check(
        "connection_filter",
        "The connection filter does not block the scanner",
        frozenset({CONNECTION_FILTERS}),
        (_BLOCKED,),
        _connection_filter,
    ),
    Check(
        "spoofed_senders",
        "No spoofed sender is blocked that is to be allowed",
        frozenset({SPOOFED_SENDERS}),
        (_PAIR_BLOCKED,),
        _spoofed_senders,
    ),
    Check(
        "dmarc_reject",
        "Messages that fail DMARC are not rejected",
        frozenset({PHISHING_POLICIES}),
        (_DMARC,),
        _dmarc_reject,
    ),
    Check(
        "preset_policies",
        "No preset security policy is on",
        frozenset(PRESET_RULES[:1]),
        (_PRESET,),
        _preset_policies,
        also=frozenset(PRESET_RULES[1:]),
    ),
)
"""The checks of filters."""
