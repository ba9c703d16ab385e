"""A removal: the routing first, the rest when nothing is under way; from any state, resumable at any call, or told exactly."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from shared.domain.grant import ROUTING_OFF_AT, Facts, Intent, Step, Waiver
from shared.domain.intents import SCANNER_ROW
from shared.domain.outcomes import Done, Failed, NeedsPerson, Progress, Reopen, Wait
from shared.domain.schedule import parse, stamp
from shared.domain.steps import StepName
from shared.mailflow.drain import QUEUES_LIVE, RULES_SETTLE
from shared.ports import NotYetError
from shared.workflows.drain import drain
from shared.workflows.mail_flow import mail_flow
from shared.workflows.policy_activation import policy_activation
from shared.workflows.removal import HICCUP, REMOVAL_ROW, SHUT_OUT_SINCE, mail_flow_removal, routing_removal
from shared.workflows.routing_off import WAS_ROUTED
from shared.workflows.run import Workflow
from tests.workflows.fake_exchange import SEED, FakeExchange, PowerCutError
from tests.workflows.mail_flow_runs import DOMAIN_INTENT, GROUP_INTENT, INTENTS, NOW, Bench

GRANTED: dict[Intent, Bench] = {}
"""Grants that were made once, by what they want: each test gets a copy."""
ROUTED = {WAS_ROUTED: True, ROUTING_OFF_AT: stamp(NOW)}


@dataclass
class Tenant(FakeExchange):
    """A tenant with message trace, which may shut the application out."""

    is_shut: bool = False
    traced: list[dict[str, Any]] = field(default_factory=list)
    details: dict[str, str] = field(default_factory=dict)
    """What happened to a message, by its trace id."""

    def run(self, cmdlet: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
        """Answer message trace; everything else as ever, unless shut."""
        if self.is_shut:
            raise NotYetError("Exchange Online does not let the application in")
        if cmdlet == "Get-MessageTraceV2":
            return [each for each in self.traced if each["Status"] in parameters["Status"]]
        if cmdlet == "Get-MessageTraceDetailV2":
            return [{"Event": "Defer", "Detail": self.details.get(parameters["MessageTraceId"], "")}]
        return super().run(cmdlet, parameters)


async def _granted(intent: Intent = DOMAIN_INTENT) -> tuple[Bench, Tenant]:
    """Return a tenant whose mail is routed, and the bench of the grant that is removed now."""
    if intent not in GRANTED:
        GRANTED[intent] = await _grant(intent)
    bench = deepcopy(GRANTED[intent])
    assert isinstance(bench.exchange, Tenant)
    return bench, bench.exchange


async def _grant(intent: Intent) -> Bench:
    tenant = Tenant()
    bench = Bench(exchange=tenant, intent=intent)
    assert isinstance(await bench.once(mail_flow), Done)
    activated = await bench.once(policy_activation)
    assert isinstance(activated, Done)
    bench.steps[StepName.POLICY_ACTIVATION] = activated.facts
    bench.intent = replace(intent, is_removed=True)
    tenant.calls.clear()
    return bench


async def _step(bench: Bench, name: StepName, workflow: Workflow) -> Facts:
    """Do one step of the removal to its end, and carry on what it leaves."""
    bench.step = Step(name, begun_at=bench.now)
    outcome = await bench.until_settled(workflow)
    assert isinstance(outcome, Done), outcome
    bench.steps[name] = outcome.facts
    return outcome.facts


async def _mail_flow_gone(bench: Bench) -> Facts:
    await _step(bench, StepName.ROUTING_REMOVAL, routing_removal)
    await _step(bench, StepName.MAIL_FLOW_REMOVAL, mail_flow_removal)
    report = await bench.rows.row(REMOVAL_ROW)
    assert report
    return report


def _held(tenant: FakeExchange) -> dict[str, list[Mapping[str, Any]]]:
    """Return what a tenant holds, without what the fake numbers anew."""
    return {noun: [dict(item) for item in items] for noun, items in tenant.objects.items() if items}


@pytest.mark.parametrize("intent", INTENTS, ids=["domains", "group", "users"])
async def test_a_removal_leaves_the_tenant_as_it_was(intent: Intent) -> None:
    """Every object of ours is gone, everything else is as before, and the report says so."""
    bench, tenant = await _granted(intent)
    made = len([name for _, name, entry in bench.journal.entries if entry == {"exists": False}])
    report = await _mail_flow_gone(bench)

    assert _held(tenant) == {noun: list(items) for noun, items in SEED.items() if items}
    assert (report["is_clean"], report["left"]) == (True, [])
    assert 0 < len(report["removed"]) <= made
    assert tenant.writes[0][0] == "Disable-TransportRule"


async def test_the_routing_goes_off_before_anything_else_does() -> None:
    """The first step takes nothing away: it switches the routing rules off, and reads that they are."""
    bench, tenant = await _granted()
    facts = await _step(bench, StepName.ROUTING_REMOVAL, routing_removal)

    assert {cmdlet for cmdlet, _ in tenant.writes} == {"Disable-TransportRule"}
    assert (facts[WAS_ROUTED], facts[ROUTING_OFF_AT]) == (True, stamp(bench.now))


async def test_a_pause_before_counts_for_the_clocks() -> None:
    """What has been off since yesterday is off since yesterday."""
    bench, _ = await _granted()
    bench.intent = replace(bench.intent, is_paused=True)
    paused = await bench.once(policy_activation)
    assert isinstance(paused, Done)
    bench.steps[StepName.POLICY_ACTIVATION] = paused.facts
    bench.now += timedelta(hours=20)

    assert (await _step(bench, StepName.ROUTING_REMOVAL, routing_removal))[ROUTING_OFF_AT] == stamp(NOW)


@pytest.mark.parametrize("intent", INTENTS, ids=["domains", "group", "users"])
async def test_a_removal_is_resumed_after_a_crash_at_any_call(intent: Intent) -> None:
    """The process dies after each write in turn: the next run goes on, does no call twice, and ends the same."""
    bench, tenant = await _granted(intent)
    await _mail_flow_gone(bench)
    calls = [(cmdlet, parameters["Identity"]) for cmdlet, parameters in tenant.writes]
    for cut in range(1, len(calls) + 1):
        bench, tenant = await _granted(intent)
        for name, workflow in ((StepName.ROUTING_REMOVAL, routing_removal), (StepName.MAIL_FLOW_REMOVAL, mail_flow_removal)):
            tenant.cut_after = cut if len(tenant.writes) < cut else None
            bench.step = Step(name, begun_at=bench.now)
            try:
                await bench.once(workflow)
            except PowerCutError:
                await _step(bench, name, workflow)
        assert [(cmdlet, parameters["Identity"]) for cmdlet, parameters in tenant.writes] == calls
        assert _held(tenant) == {noun: list(items) for noun, items in SEED.items() if items}


@pytest.mark.parametrize("writes", range(4))
async def test_a_half_made_grant_is_removed(writes: int) -> None:
    """Whatever was made when the removal was asked for goes again."""
    bench = Bench(exchange=Tenant(), loses_step_after=writes)
    assert isinstance(await bench.once(mail_flow), Progress)
    bench.loses_step_after = None
    await _step(bench, StepName.ROUTING_REMOVAL, routing_removal)
    await _step(bench, StepName.MAIL_FLOW_REMOVAL, mail_flow_removal)

    assert _held(bench.exchange) == {noun: list(items) for noun, items in SEED.items() if items}


async def test_nothing_is_asked_of_a_tenant_that_was_never_touched() -> None:
    """A grant that had no consent yet has no way into the tenant, and needs none."""
    tenant = Tenant(is_shut=True)
    bench = Bench(exchange=tenant)
    await _step(bench, StepName.ROUTING_REMOVAL, routing_removal)
    await _step(bench, StepName.DRAIN, drain)

    assert await _step(bench, StepName.MAIL_FLOW_REMOVAL, mail_flow_removal) == {"is_clean": True}


async def test_an_object_that_the_tenant_needs_is_told_and_stays() -> None:
    """A rule of somebody else's that uses our group keeps the group; a waiver ends the removal there."""
    bench, tenant = await _granted(GROUP_INTENT)
    group = next(item for item in tenant.objects["DistributionGroup"] if item["Name"].startswith("Grantline"))
    tenant.tamper("TransportRule", "Disclaimer", SentToMemberOf=[group["Name"]])
    await _step(bench, StepName.ROUTING_REMOVAL, routing_removal)
    bench.step = Step(StepName.MAIL_FLOW_REMOVAL, begun_at=bench.now)
    outcome = await bench.until_settled(mail_flow_removal)

    assert isinstance(outcome, NeedsPerson)
    assert outcome.problem.code == "removal_leaves"
    assert "Disclaimer" in outcome.problem.cause
    bench.intent = replace(bench.intent, waived=(Waiver.LEFTOVERS,))
    assert (await _step(bench, StepName.MAIL_FLOW_REMOVAL, mail_flow_removal))["is_clean"] is False
    assert group in tenant.objects["DistributionGroup"]


async def test_a_tenant_that_shuts_us_out_is_told_what_is_left() -> None:
    """With the consent withdrawn every object is named, with the command that removes it; a hiccup is waited for first."""
    bench, tenant = await _granted()
    await _step(bench, StepName.ROUTING_REMOVAL, routing_removal)
    tenant.is_shut = True
    bench.step = Step(StepName.MAIL_FLOW_REMOVAL, begun_at=bench.now)
    first = await bench.once(mail_flow_removal)
    outcome = await bench.until_settled(mail_flow_removal)

    assert isinstance(first, Wait)
    assert isinstance(outcome, NeedsPerson)
    assert outcome.problem.code == "removal_shut_out"
    assert "Remove-TransportRule -Identity 'Grantline Inline Inbound Domain Rule'" in outcome.problem.raw
    report = await bench.rows.row(REMOVAL_ROW)
    assert report
    made = {name for kind, name, entry in bench.journal.entries if kind == "before" and entry == {"exists": False}}
    assert {item["object"] for item in report["left"]} == made
    assert all(item["powershell"] for item in report["left"])


async def test_what_can_not_be_taken_back_from_outside_can_be_waived() -> None:
    """The removal of a tenant that shuts us out ends when an operator says so, with the list of what was left."""
    bench, tenant = await _granted()
    tenant.is_shut = True
    bench.intent = replace(bench.intent, waived=(Waiver.LEFTOVERS,))
    for name, workflow in (
        (StepName.ROUTING_REMOVAL, routing_removal),
        (StepName.DRAIN, drain),
        (StepName.MAIL_FLOW_REMOVAL, mail_flow_removal),
    ):
        facts = await _step(bench, name, workflow)

    assert (facts["is_clean"], facts["left"]) == (False, 8)


async def test_a_hiccup_is_waited_for_whatever_is_waived() -> None:
    """A waiver of what is left counts once the tenant has stayed shut; mail counts as routed where nobody could look."""
    bench, tenant = await _granted()
    tenant.is_shut = True
    bench.intent = replace(bench.intent, waived=(Waiver.LEFTOVERS,))
    bench.step = Step(StepName.ROUTING_REMOVAL, begun_at=NOW)
    first = await bench.once(routing_removal)
    assert isinstance(first, Wait)
    assert (first.facts[SHUT_OUT_SINCE], first.until < NOW + HICCUP) == (stamp(NOW), True)
    tenant.is_shut = False
    facts = {**bench.step.facts, **(await _step(bench, StepName.ROUTING_REMOVAL, routing_removal))}

    assert facts[WAS_ROUTED] is True
    assert {rule["State"] for rule in tenant.objects["TransportRule"] if "Domain Rule" in rule["Name"]} == {"Disabled"}


@pytest.mark.parametrize(("name", "workflow"), [(StepName.DRAIN, drain), (StepName.MAIL_FLOW_REMOVAL, mail_flow_removal)])
async def test_a_tenant_that_opens_again_is_drained_first(name: StepName, workflow: Workflow) -> None:
    """What a waiver ended while the tenant was shut begins anew once it answers: nothing is removed before."""
    bench, tenant = await _granted()
    tenant.is_shut = True
    bench.intent = replace(bench.intent, waived=(Waiver.LEFTOVERS,))
    ended = await _step(bench, StepName.ROUTING_REMOVAL, routing_removal)
    assert (ended[WAS_ROUTED], bool(ended[SHUT_OUT_SINCE])) == (True, True)
    tenant.is_shut = False
    bench.step = Step(name, begun_at=bench.now)
    outcome = await bench.once(workflow)

    assert isinstance(outcome, Reopen)
    assert (outcome.step, tenant.writes) == (StepName.ROUTING_REMOVAL, [])


async def test_nothing_is_removed_while_the_routing_is_on() -> None:
    """A rule that somebody switched on after the drain sends the removal back to its beginning, with the way back in place."""
    bench, tenant = await _granted()
    await _step(bench, StepName.ROUTING_REMOVAL, routing_removal)
    tenant.tamper("TransportRule", "Grantline Inline Outbound Domain Rule", State="Enabled", Comments="mine")
    tenant.calls.clear()
    bench.step = Step(StepName.MAIL_FLOW_REMOVAL, begun_at=bench.now)
    outcome = await bench.once(mail_flow_removal)

    assert isinstance(outcome, Reopen)
    assert (outcome.step, tenant.writes) == (StepName.ROUTING_REMOVAL, [])


async def test_an_old_pause_does_not_count_once_a_rule_is_found_on() -> None:
    """That the clocks begin anew is saved before the rule goes off: a run that dies in between changes nothing of it."""
    bench, tenant = await _granted()
    bench.steps[StepName.POLICY_ACTIVATION] = {ROUTING_OFF_AT: stamp(NOW - timedelta(days=2))}
    bench.step = Step(StepName.ROUTING_REMOVAL, begun_at=NOW)
    first = await bench.once(routing_removal)
    assert isinstance(first, Progress)
    assert (first.facts[ROUTING_OFF_AT], tenant.writes) == ("", [])
    tenant.cut_after = 2
    with pytest.raises(PowerCutError):
        await bench.once(routing_removal)
    bench.now += timedelta(minutes=5)
    outcome = await bench.once(routing_removal)

    assert isinstance(outcome, Done)
    assert (outcome.facts[ROUTING_OFF_AT], outcome.facts[WAS_ROUTED]) == (stamp(bench.now), True)


async def test_a_tenant_that_lets_us_in_again_is_cleaned() -> None:
    """Nothing that was told as left stays, once the way in is open again."""
    bench, tenant = await _granted()
    await _step(bench, StepName.ROUTING_REMOVAL, routing_removal)
    tenant.is_shut = True
    bench.step = Step(StepName.MAIL_FLOW_REMOVAL, begun_at=bench.now)
    await bench.once(mail_flow_removal)
    tenant.is_shut = False

    assert (await _step(bench, StepName.MAIL_FLOW_REMOVAL, mail_flow_removal))["is_clean"] is True


async def _draining(now_after: timedelta, **more: Any) -> tuple[Bench, Tenant]:
    tenant = Tenant()
    bench = Bench(exchange=tenant, steps={StepName.ROUTING_REMOVAL: ROUTED}, now=NOW + now_after, **more)
    bench.step = Step(StepName.DRAIN, begun_at=NOW)
    await bench.once(mail_flow)  # so that the journal knows of something
    tenant.calls.clear()
    return bench, tenant


async def _report(bench: Bench, *, queued: int = 0) -> None:
    value = {"queued": queued, "quarantined": 0, "at": stamp(NOW + RULES_SETTLE)}
    await bench.rows.put(replace(bench.rows.shown[-1], key=SCANNER_ROW, value=value))


async def test_a_drain_is_over_when_every_condition_holds() -> None:
    """After a day, with nothing in message trace and nothing at the scanner."""
    bench, _ = await _draining(QUEUES_LIVE)
    await _report(bench)

    assert isinstance(await bench.once(drain), Done)


async def test_a_drain_shows_what_it_waits_for_and_looks_when_that_may_change() -> None:
    """Its reasons and clocks are facts; nobody is asked while time must pass, and message trace not before it can tell."""
    bench, tenant = await _draining(timedelta())
    first = await bench.once(drain)
    assert isinstance(first, Wait)
    assert (first.until, first.who, tenant.calls) == (NOW + timedelta(minutes=15), None, [])
    assert [entry["until"] for entry in first.facts["missing"]][:2] == [stamp(NOW + RULES_SETTLE), stamp(NOW + QUEUES_LIVE)]
    bench.now = NOW + QUEUES_LIVE
    last = await bench.once(drain)

    assert isinstance(last, Wait)
    assert last.who == "operator"


async def test_a_message_that_waits_for_the_scanner_holds_the_drain() -> None:
    """One that our rule has sent there, or that came from there; what waits for somebody else does not count."""
    bench, tenant = await _draining(QUEUES_LIVE)
    await _report(bench)
    tenant.traced = [
        {"MessageTraceId": "1", "RecipientAddress": "a@fabrikam.com", "FromIP": "198.18.0.1", "Status": "Pending"},
    ]
    assert isinstance(await bench.once(drain), Done)
    tenant.details = {"1": "Transport rule: 'Grantline Inline Outbound Domain Rule'"}
    routed = await bench.once(drain)
    tenant.details = {}
    tenant.traced[0]["FromIP"] = bench.settings.scanners[""].outbound_egress[0].partition("/")[0]
    returned = await bench.once(drain)

    assert isinstance(routed, Wait)
    assert isinstance(returned, Wait)
    assert "shows 1" in routed.why


@pytest.mark.parametrize("intent", [GROUP_INTENT, replace(GROUP_INTENT, region="left the settings")], ids=["group", "region"])
async def test_what_was_made_tells_what_is_under_way(intent: Intent) -> None:
    """The drain goes by the objects in the tenant: it asks neither for the scope nor for a region that is set no more."""
    bench, tenant = await _draining(QUEUES_LIVE, intent=GROUP_INTENT)
    bench.intent = replace(intent, is_removed=True)
    await _report(bench)
    address = bench.settings.scanners[""].outbound_egress[0].partition("/")[0]
    tenant.traced = [{"MessageTraceId": "1", "RecipientAddress": "a@fabrikam.com", "FromIP": address, "Status": "Pending"}]
    waiting = await bench.once(drain)
    tenant.traced[0]["FromIP"] = "198.18.0.1"

    assert isinstance(waiting, Wait)
    assert "shows 1" in waiting.why
    assert isinstance(await bench.once(drain), Done)


async def test_a_region_that_left_the_settings_stops_no_removal() -> None:
    """Marks, rules and the journal tell all that is to be taken back."""
    bench, tenant = await _granted()
    bench.intent = replace(bench.intent, region="left the settings")

    assert (await _mail_flow_gone(bench))["is_clean"]
    assert _held(tenant) == {noun: list(items) for noun, items in SEED.items() if items}


async def test_a_drain_without_an_end_needs_attention() -> None:
    """Somebody is told, when the scanner never says that it is empty."""
    bench, _ = await _draining(QUEUES_LIVE)
    outcome = await bench.until_settled(drain, most=5000)

    assert isinstance(outcome, Failed)
    assert outcome.problem.code == "drain_stuck"
    assert bench.now - NOW == timedelta(days=14)


async def test_a_later_snapshot_never_hides_a_former_value() -> None:
    """A second plan finds our own value; what was before Grantline stays what the removal goes by."""
    bench, _ = await _granted()
    before = deepcopy(bench.rows.journal.kept)
    bench.exchange.tamper("InboundConnector", "Grantline Inline Inbound Return Connector", RequireTls=True)
    bench.intent = replace(bench.intent, is_removed=False)
    bench.step = Step(StepName.MAIL_FLOW, begun_at=bench.now)
    await bench.until_settled(mail_flow)
    after = bench.rows.journal.kept

    assert {key: row for key, row in after.items() if key.startswith("snapshot|") and key in before} == {
        key: row for key, row in before.items() if key.startswith("snapshot|")
    }
    assert parse(str(before["snapshot|Grantline Inline Inbound Return Connector|exists"].value["at"])) == NOW
