"""The checks before anything is changed: what blocks, with evidence and remedy."""

from typing import Any

import pytest

from shared.domain.grant import Scope, ScopeKind
from shared.domain.problems import Actor
from shared.mailflow.desired import Request
from shared.mailflow.facts import missing_facts
from shared.mailflow.kinds import READ_CMDLETS
from shared.mailflow.preflight import CHECKED_CMDLETS, CHECKS, Finding, Severity, blocking_problem, judge, report
from shared.mailflow.tenant import TenantObjects
from tests.unit.mailflow.requests import request
from tests.workflows.fake_exchange import SEED


def _tenant(**objects: list[dict[str, Any]]) -> TenantObjects:
    nouns = [cmdlet.removeprefix("Get-") for cmdlet in CHECKED_CMDLETS]
    rules = [{**rule, "Priority": position} for position, rule in enumerate(SEED["TransportRule"])]
    return TenantObjects({f"Get-{noun}": {**SEED, "TransportRule": rules, **objects}[noun] for noun in nouns})


def _spam(**hard_fail: str) -> list[dict[str, Any]]:
    return [{"Name": name, "MarkAsSpamSpfRecordHardFail": value} for name, value in hard_fail.items()]


def _findings(wanted: Request, tenant: TenantObjects) -> list[Finding]:
    return [finding for group in judge(wanted, tenant).values() for finding in group]


def test_a_fit_tenant_passes_every_check() -> None:
    """Nothing is found, nothing blocks, and the report names each check as passed."""
    findings = judge(request(), _tenant())

    assert blocking_problem(findings) is None
    assert [(entry["check"], entry["result"]) for entry in report(findings)] == [(check.name, "passed") for check in CHECKS]


def test_every_policy_counts_not_only_the_default() -> None:
    """Each inbound anti-spam policy that acts on a hard SPF failure blocks, is named, and its portal path is told."""
    tenant = _tenant(HostedContentFilterPolicy=_spam(Default="On", Finance="on", Test="Test", Sales="Off"))
    findings = judge(request(), tenant)
    problem = blocking_problem(findings)

    assert [finding.object for finding in findings["spf_hard_fail"]] == ["Default", "Finance"]
    assert problem is not None
    assert (problem.code, problem.who) == ("setting_blocks", Actor.TENANT_ADMINISTRATOR)
    assert "'Default'" in problem.cause
    assert "'Finance'" in problem.cause
    assert "https://security.microsoft.com/antispam" in problem.fix
    assert "Finance: MarkAsSpamSpfRecordHardFail = on" in problem.raw


def test_a_chosen_domain_must_be_the_tenants() -> None:
    """A domain that the tenant does not accept mail for blocks, whatever its letter case; the tenant's own do not."""
    scope = Scope(ScopeKind.DOMAINS, ("Contoso.COM", "fabrikam.com"))
    findings = _findings(request(scope=scope), _tenant())

    assert [(finding.object, finding.problem_code) for finding in findings] == [("fabrikam.com", "domain_not_accepted")]
    assert findings[0].severity is Severity.BLOCKING


TAKEN = [("TransportRule", "Inbound Domain Rule"), ("OutboundConnector", "Inbound Routing Connector")]


@pytest.mark.parametrize(("noun", "name"), TAKEN)
def test_a_taken_name_blocks(noun: str, name: str) -> None:
    """An object of somebody else's with one of our names blocks before anything is written."""
    theirs = {"Name": f"grantline inline {name}", "Priority": 0}
    findings = _findings(request(), _tenant(**{noun: [theirs]}))

    assert [(finding.object, finding.problem_code) for finding in findings] == [(f"Grantline Inline {name}", "foreign_object")]


def test_findings_of_several_checks_are_told_together() -> None:
    """One problem names them all, so that nobody fixes one only to meet the next."""
    scope = Scope(ScopeKind.DOMAINS, ("fabrikam.com",))
    problem = blocking_problem(judge(request(scope=scope), _tenant(HostedContentFilterPolicy=_spam(Default="On"))))

    assert problem is not None
    assert "'Default'" in problem.cause
    assert "'fabrikam.com'" in problem.cause
    assert "admin.microsoft.com" in problem.fix


def test_checks_read_only() -> None:
    """A check names each cmdlet that it needs, once among those that read."""
    assert CHECKED_CMDLETS <= READ_CMDLETS
    assert all(cmdlet.startswith("Get-") for cmdlet in CHECKED_CMDLETS)
    assert len({check.name for check in CHECKS}) == len(CHECKS)


def test_the_setting_is_a_fact_of_verification_too() -> None:
    """A policy that acts on SPF again after preflight is a missing fact that preflight owns."""
    facts = missing_facts(request(), _tenant(HostedContentFilterPolicy=_spam(Default="On")))

    assert [(fact.object, fact.step) for fact in facts if fact.step != "mail_flow"] == [("Default", "preflight")]
