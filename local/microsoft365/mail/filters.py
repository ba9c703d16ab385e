"""What the service's filters do: connection, DMARC, malware, content.

Order and precedence: Microsoft's page on the order of e-mail protection (malware, high-confidence phish, phish, high-confidence
spam, spoof, spam). Properties and defaults: the cmdlet pages of Set-HostedContentFilterPolicy, Set-AntiPhishPolicy,
Set-HostedConnectionFilterPolicy, Set-ArcConfig, New-TenantAllowBlockListSpoofItems.
"""

from __future__ import annotations

from collections.abc import Mapping

from local.microsoft365.mail.addresses import domain_of, in_ranges, is_within
from local.microsoft365.mail.directory import TenantMail
from local.microsoft365.mail.model import Copy, Switches

DEFAULT_ACTIONS: Mapping[str, str] = {
    "SpamAction": "MoveToJmf",
    "HighConfidenceSpamAction": "MoveToJmf",
    "PhishSpamAction": "Quarantine",
    "HighConfidencePhishAction": "Quarantine",
}
"""The content filter's actions where a policy doesn't say (page of New-HostedContentFilterPolicy)."""
SKIP = -1
_ENDS: Mapping[str, str] = {"MoveToJmf": "junk", "Quarantine": "quarantined", "Delete": "dropped"}
"""Ends by action; every other action (a header, a subject, none) delivers."""


def blocks(tenant: TenantMail, copy: Copy) -> bool:
    """Tell whether the connection filter refuses the last hop."""
    policy = tenant.policy("HostedConnectionFilterPolicy")
    return in_ranges(copy.source_ip, policy.get("IPBlockList") or ()) and not allows(tenant, copy)


def allows(tenant: TenantMail, copy: Copy) -> bool:
    """Tell whether the connection filter trusts the last hop: its mail skips spam filter and sender authentication."""
    return in_ranges(copy.source_ip, tenant.policy("HostedConnectionFilterPolicy").get("IPAllowList") or ())


def passes_dmarc(copy: Copy) -> bool:
    """Tell whether a message passes DMARC by itself: a signature, or SPF for a sender that is aligned with the From address."""
    sender, author = domain_of(copy.mail_from), domain_of(copy.header_from)
    aligned = bool(sender) and (is_within(sender, author) or is_within(author, sender))
    return copy.dkim == "pass" or (copy.spf == "pass" and aligned)


def _is_sealed(tenant: TenantMail, copy: Copy) -> bool:
    """Tell whether a sealer that the tenant trusts found that the message passed."""
    sealers = str(tenant.policy("ArcConfig").get("ArcTrustedSealers") or "").lower()
    return bool(copy.sealed_by) and copy.sealed_by in [each.strip() for each in sealers.split(",")]


def _names_sender(text: str, address: str) -> bool:
    return text in ("*", address) or domain_of(address) == text


def _names_host(text: str, copy: Copy) -> bool:
    if "/" in text:
        return in_ranges(copy.source_ip, (text,))
    return bool(copy.certificate) and is_within(copy.certificate, text)


def _is_allowed_spoof(tenant: TenantMail, copy: Copy) -> bool:
    """Tell whether an allow entry names this sender and the server that it comes from. A server's name is its certificate's."""
    spoof_type = "Internal" if tenant.owns(copy.header_from) else "External"
    return any(
        entry.get("Action") == "Allow"
        and entry.get("SpoofType") == spoof_type
        and _names_sender(str(entry.get("SpoofedUser") or "").lower(), copy.header_from)
        and _names_host(str(entry.get("SendingInfrastructure") or "").lower(), copy)
        for entry in tenant.policies("TenantAllowBlockListSpoofItems")
    )


def spoof_action(tenant: TenantMail, copy: Copy) -> str:
    """Return what the anti-phishing policy does with a message that fails DMARC: Reject, Quarantine, MoveToJmf or nothing."""
    if copy.is_internal or copy.dmarc_policy == "none" or passes_dmarc(copy):
        return ""
    if allows(tenant, copy) or _is_sealed(tenant, copy) or _is_allowed_spoof(tenant, copy):
        return ""
    policy = tenant.policy("AntiPhishPolicy")
    if not policy.get("HonorDmarcPolicy", True):
        acts = policy.get("EnableSpoofIntelligence", True)
        return str(policy.get("AuthenticationFailAction") or "MoveToJmf") if acts else ""
    if copy.dmarc_policy == "reject":
        return str(policy.get("DmarcRejectAction") or "Reject")
    return str(policy.get("DmarcQuarantineAction") or "Quarantine")


def _verdict_action(tenant: TenantMail, copy: Copy) -> str:
    """Return the name of the policy's action for what the filter finds, or an action itself; in the order of precedence."""
    scl = copy.scl if copy.scl is not None else 0
    hard_fail = copy.spf == "fail" and tenant.policy("HostedContentFilterPolicy").get("MarkAsSpamSpfRecordHardFail") == "On"
    if copy.verdict == "phish":
        return "PhishSpamAction"
    if scl >= 7 or hard_fail:
        return "HighConfidenceSpamAction"
    if action := spoof_action(tenant, copy):
        return action
    return "SpamAction" if scl >= 5 or copy.verdict == "spam" else ""


_REASONS: Mapping[str, str] = {"HighConfidencePhishAction": "HighConfPhish", "PhishSpamAction": "Phish"}
"""Quarantine's word for what was found; spam of either confidence is Spam, and so is what fails DMARC."""


def content_end(tenant: TenantMail, copy: Copy, switches: Switches) -> tuple[str, str]:
    """Return how a message from outside for a recipient here ends (delivered, junk, quarantined, dropped), and why.

    SCL is an input, not the decision.
    """
    skips = copy.scl == SKIP
    found = ""
    if copy.verdict == "high_confidence_phish" and (switches.high_confidence_phish_overrides_scl or not skips):
        found = "HighConfidencePhishAction"
    elif not skips:
        found = _verdict_action(tenant, copy)
    reason = _REASONS.get(found, "Spam")
    if found in DEFAULT_ACTIONS:
        found = str(tenant.policy("HostedContentFilterPolicy").get(found) or DEFAULT_ACTIONS[found])
    return _ENDS.get(found, "delivered"), reason
