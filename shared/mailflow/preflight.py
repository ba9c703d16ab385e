"""The checks of a tenant before anything is changed in it, as data: what each reads, and what it makes of it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from shared.domain.grant import ScopeKind
from shared.domain.problems import Problem, problem
from shared.domain.steps import StepName
from shared.mailflow.desired import Request, desired_objects
from shared.mailflow.diff import Difference, foreign_objects
from shared.mailflow.kinds import KINDS
from shared.mailflow.tenant import TenantObjects

CONTENT_FILTERS = "Get-HostedContentFilterPolicy"
SPF_HARD_FAIL = "MarkAsSpamSpfRecordHardFail"


class Severity(StrEnum):
    """How much a finding matters: a blocking one stops the grant until it is put right."""

    BLOCKING = "blocking"
    NOTICE = "notice"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found: the object and the values that prove it, and how a person puts it right.

    ``problem_code`` names the entry of the catalogue of problems that a blocking finding becomes.
    """

    severity: Severity
    object: str
    cause: str
    remedy: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    problem_code: str = "setting_blocks"


@dataclass(frozen=True, slots=True)
class Check:
    """One check: the cmdlets whose answers it needs, and its judgement of them."""

    name: str
    title: str
    cmdlets: frozenset[str]
    judge: Callable[[Request, TenantObjects], Iterator[Finding]]


def spam_differences(tenant: TenantObjects) -> list[Difference]:
    """Return each inbound anti-spam policy that marks mail as spam when SPF fails hard.

    Returned mail comes from the scanner's addresses, which no sender's SPF record names, so that every such message would fail
    (product.md 1.3). All policies count, not the default one alone: a custom policy takes its recipients out of the default.
    """
    return [
        Difference(str(policy["Name"]), SPF_HARD_FAIL, "Off", policy[SPF_HARD_FAIL], StepName.PREFLIGHT)
        for policy in tenant.of(CONTENT_FILTERS)
        if str(policy.get(SPF_HARD_FAIL)).casefold() == "on"
    ]


def _spf_hard_fail(_: Request, tenant: TenantObjects) -> Iterator[Finding]:
    for difference in spam_differences(tenant):
        yield Finding(
            Severity.BLOCKING,
            difference.object,
            f"The inbound anti-spam policy '{difference.object}' marks messages as spam when SPF fails hard: "
            "scanned messages would be taken for spam.",
            "Open https://security.microsoft.com/antispam (Microsoft Defender portal > Email & collaboration > Policies & rules "
            f"> Threat policies > Anti-spam), choose the inbound policy '{difference.object}', press 'Edit spam threshold and "
            "properties', set 'SPF record: hard fail' to Off, press Save; then open this step again.",
            {difference.property: difference.found},
        )


def _accepted_domains(request: Request, tenant: TenantObjects) -> Iterator[Finding]:
    accepted = {domain.name.casefold() for domain in tenant.accepted_domains}
    scope = request.intent.scope
    for name in scope.domains if scope.kind is ScopeKind.DOMAINS else ():
        if name.casefold() not in accepted:
            yield Finding(
                Severity.BLOCKING,
                name,
                f"The domain '{name}' is not an accepted domain of the tenant.",
                "Add and verify the domain in the Microsoft 365 admin centre (https://admin.microsoft.com > Settings > Domains), "
                "then open this step again; or start the grant anew with other domains.",
                {"accepted_domains": sorted(accepted)},
                "domain_not_accepted",
            )


def _foreign_names(request: Request, tenant: TenantObjects) -> Iterator[Finding]:
    for item in foreign_objects(desired_objects(request), tenant, request.grant_id, request.former_grants):
        noun = KINDS[item.kind].noun
        yield Finding(
            Severity.BLOCKING,
            item.name,
            f"The tenant has an object '{item.name}' ({noun}) that this grant did not make; it is not touched.",
            f"Rename or remove the {noun} '{item.name}' in the Exchange admin centre (https://admin.exchange.microsoft.com), "
            "then open this step again.",
            {"kind": str(item.kind)},
            "foreign_object",
        )


CHECKS = (
    Check("spf_hard_fail", "No anti-spam policy acts on a hard SPF failure", frozenset({CONTENT_FILTERS}), _spf_hard_fail),
    Check("accepted_domains", "The tenant has the chosen domains", frozenset({"Get-AcceptedDomain"}), _accepted_domains),
    Check(
        "foreign_names",
        "No other object has the name of one of Grantline's",
        frozenset({"Get-AcceptedDomain", *(kind.get for kind in KINDS.values())}),
        _foreign_names,
    ),
)
"""Every check, in the order in which people read them."""
CHECKED_CMDLETS = frozenset().union(*(check.cmdlets for check in CHECKS))
"""What the checks together read."""


def judge(request: Request, tenant: TenantObjects) -> dict[str, tuple[Finding, ...]]:
    """Make every check and return its findings, by the name of the check."""
    return {check.name: tuple(check.judge(request, tenant)) for check in CHECKS}


def report(findings: Mapping[str, tuple[Finding, ...]]) -> list[dict[str, Any]]:
    """Return the checks with their results, as JSON values for people."""
    return [
        {
            "check": check.name,
            "title": check.title,
            "result": min((finding.severity for finding in findings[check.name]), default="passed"),
            "findings": [
                {"severity": finding.severity, "object": finding.object, "cause": finding.cause, "evidence": finding.evidence}
                for finding in findings[check.name]
            ],
        }
        for check in CHECKS
    ]


def blocking_problem(findings: Mapping[str, tuple[Finding, ...]]) -> Problem | None:
    """Return the problem that the blocking findings are together, None when there is none."""
    blocking = [item for group in findings.values() for item in group if item.severity is Severity.BLOCKING]
    if not blocking:
        return None
    evidence = "; ".join(f"{item.object}: {name} = {value}" for item in blocking for name, value in item.evidence.items())
    found = problem(blocking[0].problem_code, cause=" ".join(item.cause for item in blocking), raw=evidence)
    return replace(found, fix=" ".join(item.remedy for item in blocking))
