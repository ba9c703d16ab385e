"""The preflight step: reads, judges, and asks a person where something must change first."""

from dataclasses import replace
from typing import Any

from shared.domain.grant import Intent, Scope, ScopeKind
from shared.domain.outcomes import Done, NeedsPerson, Progress, Wait
from shared.domain.problems import Actor
from shared.workflows.mail_flow import mail_flow
from shared.workflows.preflight import preflight
from shared.workflows.tenant import read_tenant
from tests.workflows.fake_exchange import FakeExchange
from tests.workflows.mail_flow_runs import BOTH, USERS_INTENT, Bench


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


def _with_people(*addresses: str) -> Bench:
    """Return a grant for two people, in a tenant that has these."""
    bench = Bench(intent=USERS_INTENT)
    bench.exchange.objects["Recipient"] = [{"Name": address, "PrimarySmtpAddress": address} for address in addresses]
    return bench


async def test_a_chosen_person_of_nobody_blocks_by_name() -> None:
    """Who is not in Exchange is named before anything is made; once they are there, the same step passes."""
    bench = _with_people("eve@contoso.com", "ada@contoso.com")
    outcome = await bench.once(preflight)

    assert isinstance(outcome, NeedsPerson)
    assert (outcome.problem.code, outcome.problem.who) == ("person_not_found", Actor.TENANT_ADMINISTRATOR)
    assert "'bob@contoso.com'" in outcome.problem.cause
    assert "ada@contoso.com" not in outcome.problem.cause
    assert bench.exchange.writes == []
    bench.exchange.objects["Recipient"].append({"Name": "BOB@contoso.com"})
    assert isinstance(await bench.once(preflight), Done)


async def test_each_chosen_person_is_read_once_by_name_and_nobody_else() -> None:
    """A tenant has thousands of recipients; where nobody is chosen by name none is read, nor while objects are made."""
    bench, of_domains = _with_people("ada@contoso.com", "bob@contoso.com"), Bench()
    of_domains.exchange.objects["Recipient"] = []
    await bench.once(preflight)
    outcome = await of_domains.once(preflight)
    await bench.once(mail_flow)

    assert isinstance(outcome, Done)
    read = [parameters for cmdlet, parameters in bench.exchange.calls if cmdlet == "Get-Recipient"]
    assert read == [{"Identity": "ada@contoso.com"}, {"Identity": "bob@contoso.com"}]
    assert "Get-Recipient" not in [cmdlet for cmdlet, _ in of_domains.exchange.calls]
    assert {"check": "chosen_people", "title": "The tenant has the chosen people", "result": "passed"} in outcome.facts["checks"]


async def test_a_role_that_may_not_look_people_up_says_so_and_goes_on() -> None:
    """A role group of an older script does not offer the cmdlet: nothing waits for it."""
    bench = Bench(intent=USERS_INTENT)
    outcome = await bench.once(preflight)

    assert isinstance(outcome, Done)
    told = {entry["check"]: entry["result"] for entry in outcome.facts["checks"]}
    assert told["chosen_people"] == "not_checked"


async def test_groups_and_people_are_read_apart() -> None:
    """Answers come back in one list: a group's members and people that are not there do not get into each other's places."""
    exchange = FakeExchange()
    exchange.tamper("DistributionGroup", "Everybody", _members=["eve@contoso.com"])
    exchange.objects["Recipient"] = [{"Name": "bob@contoso.com"}]
    tenant = await read_tenant(
        exchange, ["nobody", "Everybody"], ["Get-DistributionGroup", "Get-Recipient"], ["ada@contoso.com", "bob@contoso.com"]
    )

    assert [(group["Name"], len(group["Members"])) for group in tenant.of("Get-DistributionGroup")] == [("Everybody", 1)]
    assert [found["Name"] for found in tenant.of("Get-Recipient")] == ["bob@contoso.com"]


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


LOCK_DOWN = {
    "Name": "Only our gateway",
    "Enabled": True,
    "ConnectorType": "Partner",
    "SenderDomains": ["*"],
    "RestrictDomainsToIPAddresses": True,
    "SenderIPAddresses": ["203.0.113.9"],
}
FIXES = ("spf_hard_fail|Finance", "lock_down_connectors|Only our gateway", "rules_that_admit_addresses|Only our gateway")


def _locked_down(**changes: Any) -> Bench:
    """Return a tenant in which three settings would stop scanned mail, and a grant that has them put right."""
    bench = Bench(intent=replace(Bench().intent, fixes=FIXES), **changes)
    bench.exchange.tamper("HostedContentFilterPolicy", "Finance", MarkAsSpamSpfRecordHardFail="On")
    bench.exchange.objects["InboundConnector"].append(dict(LOCK_DOWN))
    rule = {"Name": "Only our gateway", "State": "Enabled", "RejectMessageReasonText": "no", "FromScope": "NotInOrganization"}
    bench.exchange.objects["TransportRule"].append({**rule, "ExceptIfSenderIpRanges": ["203.0.113.9"]})
    return bench


async def test_what_people_ask_for_is_put_right_and_can_be_undone() -> None:
    """Each asked fix changes its one property, the former value is stored first, and the entries of others stay."""
    bench = _locked_down()
    outcome = await bench.once(preflight)

    assert isinstance(outcome, Done)
    assert [cmdlet for cmdlet, _ in bench.exchange.writes] == [
        "Set-HostedContentFilterPolicy",
        "Set-TransportRule",
        "Set-InboundConnector",
    ]
    tenant = bench.tenant()
    (policy,) = (item for item in tenant["HostedContentFilterPolicy"] if item["Name"] == "Finance")
    (connector,) = (item for item in tenant["InboundConnector"] if item["Name"] == "Only our gateway")
    (rule,) = (item for item in tenant["TransportRule"] if item["Name"] == "Only our gateway")
    assert policy["MarkAsSpamSpfRecordHardFail"] == "Off"
    assert connector["SenderIPAddresses"] == ["203.0.113.9", "192.0.2.0/25", "192.0.2.200"]
    assert rule["ExceptIfSenderIpRanges"] == ["203.0.113.9", "192.0.2.0/25", "192.0.2.200"]
    stored = [entry for entry in bench.journal.entries if entry[0] == "before"]
    assert bench.journal.writes_before == [0, 1, 2]
    assert stored[0][1:] == ("HostedContentFilterPolicy 'Finance'", {"MarkAsSpamSpfRecordHardFail": "On"})
    assert await bench.once(preflight) == outcome
    assert len(bench.exchange.writes) == 3


async def test_what_nobody_asked_for_stays_as_it_is() -> None:
    """A finding with a fix waits for its person as any other as long as nobody asks for the fix."""
    bench = _locked_down()
    bench.intent = replace(bench.intent, fixes=FIXES[:1])
    outcome = await bench.once(preflight)

    assert isinstance(outcome, NeedsPerson)
    assert "'Only our gateway'" in outcome.problem.cause
    assert [cmdlet for cmdlet, _ in bench.exchange.writes] == ["Set-HostedContentFilterPolicy"]


async def test_a_fix_that_does_not_show_yet_is_waited_for_and_not_made_twice() -> None:
    """Reads that lag behind the write are waited for; once they show it, the step passes."""
    bench = _locked_down()
    bench.exchange.freeze(40)
    outcome = await bench.once(preflight)

    assert isinstance(outcome, Wait)
    assert len(bench.exchange.writes) == 3
    assert isinstance(await bench.until_settled(preflight), Done)
    assert len(bench.exchange.writes) == 3


async def test_a_pause_ends_the_fixes_before_the_next_write() -> None:
    """The right to write is read anew before each: what is left is done when the step has it again."""
    bench = _locked_down(loses_step_after=1)

    assert isinstance(await bench.once(preflight), Progress)
    assert len(bench.exchange.writes) == 1
    bench.loses_step_after = None
    assert isinstance(await bench.once(preflight), Done)
    assert len(bench.exchange.writes) == 3
