"""Every check, and what their findings come to together: a report for people, and the problem that stops a grant."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from shared.domain.problems import Problem, problem
from shared.domain.steps import StepName
from shared.mailflow.checks.connectors import CONNECTOR_CHECKS
from shared.mailflow.checks.domains import DOMAIN_CHECKS
from shared.mailflow.checks.filters import FILTER_CHECKS
from shared.mailflow.checks.finding import Check, Finding, Severity
from shared.mailflow.checks.organization import ORGANIZATION_CHECKS
from shared.mailflow.checks.plan import FOREIGN_NAMES, PLAN_CHECKS
from shared.mailflow.checks.rules import RULE_CHECKS
from shared.mailflow.desired import Request
from shared.mailflow.diff import Difference
from shared.mailflow.tenant import TenantObjects

CHECKS: tuple[Check, ...] = (
    *FILTER_CHECKS,
    *RULE_CHECKS,
    *CONNECTOR_CHECKS,
    *DOMAIN_CHECKS,
    *ORGANIZATION_CHECKS,
    *PLAN_CHECKS,
)
"""Every check, in the order in which people read them."""
READS = frozenset[str]().union(*(check.reads | check.also for check in CHECKS))
"""What the checks together read, of Exchange and beside it."""
CHECKED_CMDLETS = frozenset(name for name in READS if name.startswith("Get-"))
"""The cmdlets among it."""
MAXIMUM_TOLD = 5
"""How many findings a problem tells of: it is kept with the step, and a grant's row must stay small."""
MAXIMUM_LISTED, MAXIMUM_ENTRIES, MAXIMUM_TEXT = 40, 20, 200
"""How many findings of a check, entries of a list and characters of a text the report holds."""

Findings = Mapping[str, tuple[Finding, ...]]
"""The findings of every check, by the name of the check."""


def judge(request: Request, tenant: TenantObjects) -> dict[str, tuple[Finding, ...]]:
    """Make every check and return its findings, by the name of the check.

    A check whose reads the tenant does not offer comes to one finding that says so.
    """
    return {check.name: tuple(_stamped(check, item) for item in _findings(check, request, tenant)) for check in CHECKS}


def _findings(check: Check, request: Request, tenant: TenantObjects) -> Iterable[Finding]:
    unread = sorted(check.reads - tenant.answers.keys())
    if not unread:
        return check.judge(request, tenant)
    cause = f"Not checked, for it could not be read: {', '.join(unread)}."
    remedy = "Nothing. What the tenant does not offer to the application (its role, a licence, a later consent) is left out."
    return [Finding(Severity.NOT_CHECKED, ", ".join(unread), cause, remedy)]


def _stamped(check: Check, finding: Finding) -> Finding:
    """Return the finding with its check's name, also in the settings that put it right."""
    named = replace(finding, check=check.name)
    return replace(named, fix=tuple(replace(setting, key=named.key) for setting in named.fix))


def every(findings: Findings) -> list[Finding]:
    """Return all findings, the gravest first."""
    return sorted((item for group in findings.values() for item in group), key=lambda item: item.severity.rank)


def stopping(findings: Findings, acknowledged: Collection[str] = ()) -> list[Finding]:
    """Return what stops the grant: every blocking finding, and those to acknowledge whose key nobody has acknowledged."""
    return [
        item
        for item in every(findings)
        if item.severity is Severity.BLOCKING or (item.severity is Severity.ACKNOWLEDGE and item.key not in acknowledged)
    ]


def report(findings: Findings) -> list[dict[str, Any]]:
    """Return the checks with their results and findings, as JSON values for people: of each check the gravest, and how many more.

    It fits into a row of the table, however many objects the tenant has and however long their lists are.
    """
    return [{**entry, **_listed(findings[entry["check"]])} for entry in results(findings)]


def _listed(group: tuple[Finding, ...]) -> dict[str, Any]:
    ranked = sorted(group, key=lambda item: item.severity.rank)
    return {"findings": [shown(item) for item in ranked[:MAXIMUM_LISTED]], "more": max(len(ranked) - MAXIMUM_LISTED, 0)}


def results(findings: Findings) -> list[dict[str, Any]]:
    """Return the checks with their results alone, as JSON values: short enough for the facts of a step."""
    return [
        {
            "check": check.name,
            "title": check.title,
            "result": _result(findings[check.name]),
        }
        for check in CHECKS
    ]


def _result(group: tuple[Finding, ...]) -> str:
    return str(min((item.severity for item in group), key=lambda severity: severity.rank)) if group else "passed"


def shown(finding: Finding) -> dict[str, Any]:
    """Return a finding as JSON values for people; ``fix`` names the settings that Grantline can put right itself."""
    return {
        "key": finding.key,
        "severity": str(finding.severity),
        "object": finding.object,
        "cause": finding.cause,
        "remedy": finding.remedy,
        "evidence": {name: _brief(value) for name, value in finding.evidence.items()},
        "fix": [
            {"object": setting.identity, "property": setting.property, "adds": list(setting.adds), "value": setting.value}
            for setting in finding.fix
        ],
    }


def _brief(value: Any) -> Any:
    """Return a value as it was read, or its beginning where it is long."""
    if isinstance(value, list | tuple):
        more = [f"and {len(value) - MAXIMUM_ENTRIES} more"] if len(value) > MAXIMUM_ENTRIES else []
        return [*map(_brief, value[:MAXIMUM_ENTRIES]), *more]
    if isinstance(value, bool | int | float) or value is None:
        return value
    text = value if isinstance(value, str) else str(value)
    return text if len(text) <= MAXIMUM_TEXT else f"{text[:MAXIMUM_TEXT]}…"


def stopping_problem(findings: Findings, acknowledged: Collection[str] = ()) -> Problem | None:
    """Return the problem that what stops the grant is together, None when nothing does."""
    items = stopping(findings, acknowledged)
    if not items:
        return None
    told = items[:MAXIMUM_TOLD]
    more = [f"And {len(items) - len(told)} more."] if len(items) > len(told) else []
    evidence = "; ".join(f"{item.object}: {name} = {value}" for item in told for name, value in item.evidence.items())
    blocks = items[0].severity is Severity.BLOCKING
    code = items[0].problem_code if blocks else "finding_unacknowledged"
    found = problem(code, cause=" ".join([*(item.cause for item in told), *more]), raw=evidence)
    return replace(found, fix=" ".join(item.remedy for item in told))


def unsettled(findings: Findings, acknowledged: Collection[str] = ()) -> Iterator[Difference]:
    """Yield what stops the grant as facts of verification that preflight owns; taken names are facts of the objects anyway."""
    for finding in stopping(findings, acknowledged):
        if finding.check != FOREIGN_NAMES and not finding.fix:
            yield Difference(finding.object, finding.check, "passed", finding.cause, StepName.PREFLIGHT)
        for setting in finding.fix:
            wanted = setting.value if setting.value is not None else f"with {', '.join(setting.adds)}"
            found = finding.evidence.get(setting.property)
            yield Difference(finding.object, setting.property, wanted, found, StepName.PREFLIGHT)
