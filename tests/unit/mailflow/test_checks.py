"""The checks before anything is changed: what each finds, how much it matters, what helps."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.grant import Scope, ScopeKind
from shared.domain.problems import CATALOGUE, Actor
from shared.mailflow.checks.catalogue import (
    CHECKED_CMDLETS,
    CHECKS,
    every,
    judge,
    report,
    results,
    stopping,
    stopping_problem,
)
from shared.mailflow.checks.finding import Severity
from shared.mailflow.facts import missing_facts
from shared.mailflow.kinds import NEEDED_CMDLETS, OPTIONAL_READS, READ_CMDLETS
from shared.mailflow.tenant import TenantObjects
from tests.unit.mailflow.check_cases import CASES, REJECTS, Case
from tests.unit.mailflow.requests import CALM, REQUESTS, request
from tests.unit.mailflow.tenants import tenant

SPAM = {"HostedContentFilterPolicy": [{"Name": "Default", "MarkAsSpamSpfRecordHardFail": "On"}]}
HYBRID = {"OnPremisesOrganization": [{"Name": "contoso on premises"}]}
ODD: list[Any] = [
    None,
    "",
    "\x00",
    "{object}",
    "%s",
    0,
    -1,
    True,
    [],
    [None],
    ["*", 7, {"a": 1}],
    {"odd": ["x"]},
    "smtp:*;1",
    "10.0.0.0/33",
]
"""Values that no check may stumble over."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.check}: {case.name}")
def test_what_a_check_finds(case: Case) -> None:
    """The check finds what the case says, with evidence, a remedy, and the fix where there is a safe one."""
    findings = judge(case.request(), tenant(**case.objects))[case.check]

    assert tuple((finding.severity, finding.object) for finding in findings) == case.finds
    assert all(finding.evidence and finding.remedy and finding.key == f"{case.check}|{finding.object}" for finding in findings)
    if findings:
        first = findings[0]
        assert case.says in first.cause
        assert [(setting.adds, setting.value, setting.key) for setting in first.fix] == (
            [(case.adds, case.value, first.key)] if case.adds or case.value else []
        )


def test_every_kind_of_finding_has_a_case() -> None:
    """Each kind of finding of each check is brought about by a case, in its own words."""
    causes = [
        (case.check, finding.severity, finding.cause)
        for case in CASES
        for finding in judge(case.request(), tenant(**case.objects))[case.check]
    ]

    for check in CHECKS:
        for kind in check.kinds:
            told = re.sub(r"\\{\w+\\}", ".*", re.escape(kind.cause))
            assert any(
                (name, severity) == (check.name, kind.severity) and re.fullmatch(told, cause) for name, severity, cause in causes
            )


def test_a_calm_tenant_passes_every_check() -> None:
    """Nothing is found, nothing stops the grant, and the report names each check as passed."""
    findings = judge(request(), tenant())

    assert every(findings) == []
    assert stopping_problem(findings) is None
    assert [(entry["check"], entry["result"]) for entry in results(findings)] == [(check.name, "passed") for check in CHECKS]


def test_what_is_not_read_is_told_as_not_checked() -> None:
    """A check whose cmdlet the tenant does not offer says so, and stops nothing."""
    known = tenant()
    less = TenantObjects({name: rows for name, rows in known.answers.items() if name not in OPTIONAL_READS})
    findings = judge(request(), less)

    assert {item.severity for item in every(findings)} == {Severity.NOT_CHECKED}
    assert "Get-JournalRule" in findings["journaling"][0].cause
    assert stopping_problem(findings) is None
    assert findings["spf_hard_fail"] == ()


def test_findings_of_several_checks_are_told_together() -> None:
    """One problem names them all, so that nobody fixes one only to meet the next; the gravest decides its code."""
    objects = {**SPAM, **HYBRID}
    findings = judge(request(scope=Scope(ScopeKind.DOMAINS, ("fabrikam.com",))), tenant(**objects))
    problem = stopping_problem(findings)

    assert problem is not None
    assert (problem.code, problem.who) == ("setting_blocks", Actor.TENANT_ADMINISTRATOR)
    assert all(word in problem.cause for word in ("'Default'", "'fabrikam.com'", "on premises"))
    assert "https://security.microsoft.com/antispam" in problem.fix
    assert "Default: MarkAsSpamSpfRecordHardFail = On" in problem.raw


def test_an_acknowledged_finding_stops_no_more() -> None:
    """What is to be acknowledged stops the grant until its key is among the acknowledged ones; a blocking one always does."""
    findings = judge(request(), tenant(**HYBRID))
    problem = stopping_problem(findings)

    assert problem is not None
    assert problem.code == "finding_unacknowledged"
    assert stopping_problem(findings, ["hybrid|on premises"]) is None
    blocked = judge(request(), tenant(**SPAM))
    assert stopping(blocked, [item.key for item in every(blocked)]) == list(blocked["spf_hard_fail"])


def test_a_problem_stays_small() -> None:
    """However many objects are wrong, the problem tells of a few and counts the rest."""
    policies = [{"Name": f"policy {number}", "MarkAsSpamSpfRecordHardFail": "On"} for number in range(300)]
    problem = stopping_problem(judge(request(), tenant(HostedContentFilterPolicy=policies)))

    assert problem is not None
    assert "And 295 more." in problem.cause
    assert len(problem.cause) + len(problem.fix) < 5000


def test_a_report_fits_into_a_row() -> None:
    """Three hundred rules of others with long lists and names come to a report that a table's row can hold."""
    addresses = [f"10.{number // 250}.{number % 250}.0/24" for number in range(1000)]
    effects = {"PrependSubject": "x", "SetSCL": -1, "SenderIpRanges": addresses, "RouteMessageOutboundConnector": "y" * 5000}
    rules = [{"Name": f"{number} {'x' * 60}", **effects} for number in range(300)]
    domains = [f"smtp:{number}.example.com;1" for number in range(2000)]
    lock = {"Name": "theirs", "ConnectorType": "Partner", "RestrictDomainsToIPAddresses": True, "SenderDomains": domains}
    entries = report(judge(request(), tenant(TransportRule=rules, InboundConnector=[lock])))

    assert len(json.dumps(entries)) < 250_000
    assert {entry["check"]: entry["more"] for entry in entries if entry["more"]} == dict.fromkeys(
        ("rules_on_addresses", "rules_with_effects", "rules_that_skip_filtering", "other_products"), 260
    )
    (locked,) = next(entry["findings"] for entry in entries if entry["check"] == "lock_down_connectors")
    assert len(locked["cause"]) < 600
    assert locked["evidence"]["SenderDomains"][-1] == "and 1980 more"


def test_the_report_is_json_for_people() -> None:
    """Each finding stands in the report with its key, evidence, remedy and what a click would change."""
    entries = json.loads(json.dumps(report(judge(request(), tenant(**SPAM)))))
    (finding,) = entries[0]["findings"]

    assert (entries[0]["result"], finding["key"]) == ("blocking", "spf_hard_fail|Default")
    assert finding["evidence"] == {"MarkAsSpamSpfRecordHardFail": "On"}
    assert finding["fix"] == [{"object": "Default", "property": "MarkAsSpamSpfRecordHardFail", "adds": [], "value": "Off"}]


def test_checks_read_only() -> None:
    """Checks read; what they read beside what the role must offer is optional; each name and problem exists."""
    assert all(cmdlet.startswith("Get-") for cmdlet in CHECKED_CMDLETS)
    assert READ_CMDLETS | OPTIONAL_READS.keys() >= CHECKED_CMDLETS
    assert not OPTIONAL_READS.keys() & NEEDED_CMDLETS
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    assert {kind.problem_code for check in CHECKS for kind in check.kinds} <= CATALOGUE.keys()


def test_what_preflight_asked_for_is_a_fact_of_verification() -> None:
    """A setting that a fix would change, and that is not so again after preflight, is a missing fact that preflight owns."""
    rule = {"Name": "only us", **REJECTS, "ExceptIfSenderIpRanges": ["203.0.113.0/24"]}
    facts = missing_facts(request(), tenant(**SPAM, **HYBRID, TransportRule=[rule]))
    asked = [fact for fact in facts if fact.step == "preflight"]

    assert [(fact.object, fact.property) for fact in asked] == [
        ("Default", "MarkAsSpamSpfRecordHardFail"),
        ("only us", "ExceptIfSenderIpRanges"),
        ("on premises", "hybrid"),
    ]
    assert "must be 'Off'" in str(asked[0])
    taken = replace(request(), intent=replace(request().intent, acknowledged=("hybrid|on premises",)))
    assert [fact for fact in missing_facts(taken, tenant(**HYBRID)) if fact.step == "preflight"] == []


def test_a_taken_name_is_a_fact_once() -> None:
    """That somebody else has one of our names is told as a fact of the object, and not again as one of preflight."""
    theirs = {"Name": "Grantline Inline Inbound Domain Rule"}
    facts = missing_facts(request(), tenant(TransportRule=[theirs]))

    assert [fact.property for fact in facts if fact.object == theirs["Name"]] == ["owner"]


def test_a_secret_is_no_evidence() -> None:
    """No finding shows the grant's verdict secret."""
    wanted = request()
    text = json.dumps(report(judge(wanted, tenant(**SPAM, **HYBRID))))

    assert wanted.secret
    assert wanted.secret not in text


_NOUNS = (
    "TransportRule",
    "InboundConnector",
    "OutboundConnector",
    "HostedContentFilterPolicy",
    "OrganizationConfig",
    "JournalRule",
)
_PROPERTIES = sorted({name for case in CASES for rows in case.objects.values() for row in rows for name in row} - {"Priority"})
_ROWS = st.lists(st.dictionaries(st.sampled_from(_PROPERTIES), st.sampled_from(ODD), max_size=6), max_size=3)


@CALM
@given(REQUESTS, st.dictionaries(st.sampled_from(_NOUNS), _ROWS))
def test_no_value_makes_a_check_stumble(wanted: Any, objects: dict[str, list[dict[str, Any]]]) -> None:
    """Whatever Exchange returns, every check comes to an end, and the report can be written as JSON."""
    findings = judge(wanted, tenant(**objects))

    assert json.dumps(report(findings))
