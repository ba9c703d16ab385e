"""The preflight step: reads, judges, and asks a person where something must change first."""

from shared.domain.grant import Intent, Scope, ScopeKind
from shared.domain.outcomes import Done, NeedsPerson
from shared.domain.problems import Actor
from shared.workflows.mail_flow import mail_flow
from shared.workflows.preflight import preflight
from tests.workflows.mail_flow_runs import BOTH, Bench


async def test_a_fit_tenant_passes_and_stays_as_it_is() -> None:
    """The checks are told with their results, and nothing is written."""
    bench = Bench()
    outcome = await bench.once(preflight)

    assert isinstance(outcome, Done)
    told = {entry["check"]: entry["result"] for entry in outcome.facts["checks"]}
    assert [told[name] for name in ("spf_hard_fail", "accepted_domains", "foreign_names")] == ["passed"] * 3
    assert set(told.values()) == {"passed", "not_checked"}
    (row,) = outcome.rows
    assert [entry["check"] for entry in row.value["checks"]] == list(told)
    assert bench.exchange.writes == []
    assert bench.journal.entries == []


async def test_a_blocking_setting_waits_for_the_administrator_and_is_read_again() -> None:
    """A custom policy that acts on hard SPF failures blocks by name; once it is changed, the same step passes."""
    bench = Bench()
    bench.exchange.tamper("HostedContentFilterPolicy", "Finance", MarkAsSpamSpfRecordHardFail="On")
    outcome = await bench.once(preflight)

    assert isinstance(outcome, NeedsPerson)
    assert (outcome.problem.code, outcome.problem.who) == ("setting_blocks", Actor.TENANT_ADMINISTRATOR)
    assert "'Finance'" in outcome.problem.cause
    bench.exchange.tamper("HostedContentFilterPolicy", "Finance", MarkAsSpamSpfRecordHardFail="Off")
    assert isinstance(await bench.once(preflight), Done)


async def test_a_domain_of_nobody_blocks() -> None:
    """A chosen domain that the tenant does not have is told before any rule names it."""
    bench = Bench(intent=Intent(BOTH, Scope(ScopeKind.DOMAINS, ("fabrikam.com",)), "standard"))
    outcome = await bench.once(preflight)

    assert isinstance(outcome, NeedsPerson)
    assert outcome.problem.code == "domain_not_accepted"


async def test_a_foreign_group_blocks() -> None:
    """A group of somebody else's with the name of ours is found as well, though groups are read by name only."""
    bench = Bench(intent=Intent(BOTH, Scope(ScopeKind.GROUP, group="everybody@contoso.com"), "standard"))
    bench.exchange.objects["DistributionGroup"].append(
        {"Name": "Grantline Inline Inbound Scope Group", "Description": None, "_members": []}
    )
    outcome = await bench.once(preflight)

    assert isinstance(outcome, NeedsPerson)
    assert "'Grantline Inline Inbound Scope Group' (DistributionGroup)" in outcome.problem.cause


async def test_own_objects_of_an_earlier_run_do_not_block() -> None:
    """A preflight that is repeated after the objects were made takes them for ours."""
    bench = Bench()
    await bench.once(mail_flow)

    assert isinstance(await bench.once(preflight), Done)
