"""Policy activation: routing goes on last, and only while everything else stands."""

from dataclasses import replace
from datetime import timedelta

import pytest

from shared.domain.grant import ROUTING, ROUTING_OFF, ROUTING_OFF_AT, ROUTING_ON, Intent, Scope
from shared.domain.outcomes import Done, NeedsPerson, Progress, Reopen, Wait
from shared.domain.schedule import stamp
from shared.domain.steps import StepName
from shared.mailflow.kinds import ENABLE_CUSTOMIZATION, KINDS, SETTING_CMDLETS
from shared.mailflow.plan import Plan
from shared.mailflow.route.findings import Harm, RouteFinding
from shared.workflows.mail_flow import NEEDED_CMDLETS, mail_flow
from shared.workflows.policy_activation import policy_activation
from tests.workflows.fake_exchange import PowerCutError
from tests.workflows.mail_flow_runs import BOTH, INTENTS, NAMES, Bench, life

ROUTING_RULES = ["Grantline Inline Inbound Domain Rule", "Grantline Inline Outbound Domain Rule"]


async def _applied(intent: Intent | None = None) -> Bench:
    bench = Bench(intent=intent or Intent(BOTH, Scope(), "standard"))
    assert isinstance(await bench.once(mail_flow), Done)
    bench.exchange.calls.clear()
    bench.journal.entries.clear()
    return bench


def _states(bench: Bench) -> list[str]:
    states = {rule["Name"]: rule["State"] for rule in bench.exchange.objects["TransportRule"]}
    return [states[name] for name in ROUTING_RULES]


async def test_the_routing_rules_go_on_and_nothing_else_changes() -> None:
    """Both routing rules are switched on, journaled and read back."""
    bench = await _applied()
    outcome = await bench.once(policy_activation)

    assert isinstance(outcome, Done)
    assert outcome.facts == {"routing_rules": ROUTING_RULES, "policy": "standard", "routing": ROUTING_ON, "routing_off_at": ""}
    assert _states(bench) == ["Enabled", "Enabled"]
    assert {cmdlet for cmdlet, _ in bench.exchange.writes} == {"Enable-TransportRule"}
    assert ("before", ROUTING_RULES[0], {"State": "Disabled"}) in bench.journal.entries


async def test_progress_is_shown_after_every_switch() -> None:
    """People see the routing rules go on, one by one, in a row of the step's own."""
    bench = await _applied()
    bench.step = replace(bench.step, name=StepName.POLICY_ACTIVATION)
    bench.rows.shown.clear()
    await bench.once(policy_activation)

    assert {row.key for row in bench.rows.shown} == {"progress|policy_activation"}
    left = [row.value["of"] - row.value["objects"] for row in bench.rows.shown]
    assert left == list(reversed(range(len(left))))


async def test_switching_on_twice_changes_nothing() -> None:
    """A second run reads that the rules are on, and writes nothing."""
    bench = await _applied()
    await bench.once(policy_activation)
    bench.exchange.calls.clear()

    assert isinstance(await bench.once(policy_activation), Done)
    assert bench.exchange.writes == []


@pytest.mark.parametrize("cut", [1, 2])
async def test_a_crash_after_any_switch_is_resumed(cut: int) -> None:
    """A process that died after a switch leaves one rule on; the next run switches on the rest."""
    bench = await _applied()
    bench.exchange.cut_after = cut
    with pytest.raises(PowerCutError):
        await bench.once(policy_activation)

    assert isinstance(await bench.once(policy_activation), Done)
    assert _states(bench) == ["Enabled", "Enabled"]
    assert len(bench.exchange.writes) == 2


@pytest.mark.parametrize("name", NAMES[:4])
async def test_no_routing_without_the_way_back(name: str) -> None:
    """While a connector is missing nothing is switched on; when it stays missing, its step is done again."""
    bench = await _applied()
    for noun in ("InboundConnector", "OutboundConnector"):
        bench.exchange.objects[noun] = [item for item in bench.exchange.objects[noun] if item["Name"] != name]
    first = await bench.once(policy_activation)
    last = await bench.until_settled(policy_activation)

    assert isinstance(first, Wait)
    assert isinstance(last, Reopen)
    assert last.step is StepName.MAIL_FLOW
    assert name in last.why
    assert _states(bench) == ["Disabled", "Disabled"]
    assert bench.exchange.writes == []


async def test_a_verdict_rule_that_is_off_stops_the_activation() -> None:
    """A rule of ours that is no routing rule is not switched on here: its step owns it."""
    bench = await _applied()
    bench.exchange.tamper("TransportRule", NAMES[4], State="Disabled")

    assert isinstance(await bench.once(policy_activation), Wait)
    assert bench.exchange.writes == []


async def test_a_stale_read_of_the_switch_is_waited_for() -> None:
    """A switch that does not show at once costs a wait."""
    bench = await _applied()
    bench.exchange.freeze(reads=100)
    first = await bench.once(policy_activation)
    bench.exchange.stale_reads = 0

    assert isinstance(first, Wait)
    assert isinstance(await bench.once(policy_activation), Done)


async def test_a_rule_that_vanishes_before_its_switch_is_waited_for() -> None:
    """A rule that was read and is gone when it is switched shows that the read was old."""
    bench = await _applied()
    bench.exchange.missing = "Enable-TransportRule"

    assert isinstance(await bench.once(policy_activation), Wait)
    assert isinstance(await bench.once(policy_activation), Done)


async def test_a_switch_that_never_shows_is_a_persons_matter() -> None:
    """Rules that stay off in what is read end in a problem that names them."""
    bench = await _applied()
    bench.exchange.freeze(reads=10_000)
    outcome = await bench.until_settled(policy_activation)

    assert isinstance(outcome, NeedsPerson)
    assert outcome.problem.code == "fact_missing"
    assert f"{ROUTING_RULES[0]}: State is 'Disabled', must be 'Enabled'" in outcome.problem.cause


async def test_no_switch_after_the_time_is_up() -> None:
    """A run without time left switches nothing and comes again."""
    bench = await _applied()
    run = bench.run()
    bench.now = run.deadline

    assert isinstance(await policy_activation(run), Progress)
    assert _states(bench) == ["Disabled", "Disabled"]


async def test_every_needed_cmdlet_is_used_and_no_other() -> None:
    """The lives of grants run exactly the cmdlets that the role is checked for, but for removals and settings of others."""
    used = {cmdlet for intent in INTENTS for cmdlet, _ in (await life(intent)).exchange.calls}
    of_settings = SETTING_CMDLETS | {f"Get-{cmdlet.partition('-')[2]}" for cmdlet in SETTING_CMDLETS}

    assert used | {kind.remove for kind in KINDS.values()} | of_settings | {ENABLE_CUSTOMIZATION} == NEEDED_CMDLETS
    assert not used & (SETTING_CMDLETS | {kind.remove for kind in KINDS.values()})


async def _paused() -> Bench:
    """Return a bench whose routing was on, and is to be off now."""
    bench = await _applied()
    await bench.once(policy_activation)
    bench.exchange.calls.clear()
    bench.intent = replace(bench.intent, is_paused=True)
    return bench


async def test_a_pause_switches_the_routing_off_and_nothing_else() -> None:
    """The routing rules are off and read back; connectors and verdict rules stay as they are."""
    bench = await _paused()
    outcome = await bench.once(policy_activation)

    assert isinstance(outcome, Done)
    assert (outcome.facts[ROUTING], _states(bench)) == (ROUTING_OFF, ["Disabled", "Disabled"])
    assert {cmdlet for cmdlet, _ in bench.exchange.writes} == {"Disable-TransportRule"}
    assert outcome.facts[ROUTING_OFF_AT] == stamp(bench.now)


async def test_a_pause_switches_a_rule_off_whose_comment_somebody_edited() -> None:
    """What names a connector of ours routes mail, whoever says that it is theirs: no pause is told while it is on."""
    bench = await _paused()
    bench.exchange.tamper("TransportRule", ROUTING_RULES[1], Comments="ours now")
    outcome = await bench.once(policy_activation)

    assert isinstance(outcome, Done)
    assert outcome.facts["routing_rules"] == ROUTING_RULES
    assert _states(bench) == ["Disabled", "Disabled"]


async def test_a_rule_that_went_on_during_a_pause_begins_it_anew() -> None:
    """Since when the routing is off counts from the last switch, even when the run that switched never told."""
    bench = await _paused()
    bench.step = replace(bench.step, facts={ROUTING_OFF_AT: stamp(bench.now - timedelta(days=2))})
    assert isinstance(await bench.once(policy_activation), Progress)
    bench.exchange.cut_after = 2
    with pytest.raises(PowerCutError):
        await bench.once(policy_activation)
    outcome = await bench.once(policy_activation)

    assert isinstance(outcome, Done)
    assert outcome.facts[ROUTING_OFF_AT] == stamp(bench.now)


async def test_a_pause_needs_no_region() -> None:
    """Where the grant's region has left the settings, its routing still goes off."""
    bench = await _paused()
    bench.intent = replace(bench.intent, region="left the settings")

    assert isinstance(await bench.once(policy_activation), Done)
    assert _states(bench) == ["Disabled", "Disabled"]


async def test_a_pause_does_not_need_the_rest_to_stand() -> None:
    """Where a connector is gone, routing is all the more to be switched off."""
    bench = await _paused()
    bench.exchange.objects["InboundConnector"] = []

    assert isinstance(await bench.once(policy_activation), Done)
    assert _states(bench) == ["Disabled", "Disabled"]


async def test_a_pause_is_looked_at_again_until_it_shows() -> None:
    """A rule that still reads as on is no pause."""
    bench = await _paused()
    bench.exchange.freeze(reads=20)
    first = await bench.once(policy_activation)
    bench.exchange.stale_reads = 0

    assert isinstance(first, Wait)
    assert isinstance(await bench.once(policy_activation), Done)


async def test_a_second_look_at_a_pause_keeps_its_beginning() -> None:
    """Since when the routing is off is what a removal counts from."""
    bench = await _paused()
    first = await bench.once(policy_activation)
    assert isinstance(first, Done)
    bench.step = replace(bench.step, facts=first.facts)
    bench.now += timedelta(hours=5)
    second = await bench.once(policy_activation)

    assert isinstance(second, Done)
    assert second.facts[ROUTING_OFF_AT] == first.facts[ROUTING_OFF_AT]


@pytest.mark.parametrize("writes", [0, 1])
async def test_a_pause_between_two_switches_stops_the_next(writes: int) -> None:
    """Whoever pauses while rules are switched on finds no rule switched on after it."""
    bench = await _applied()
    bench.loses_step_after = writes

    assert isinstance(await bench.once(policy_activation), Progress)
    assert _states(bench).count("Enabled") == writes


async def test_anothers_lock_down_is_seen_before_the_routing_goes_on() -> None:
    """A connector that refuses all mail but its own partner's, made during a pause, has preflight judge again."""
    bench = await _applied()
    lock_down = {
        "Name": "Partner only",
        "Enabled": True,
        "ConnectorType": "Partner",
        "SenderDomains": ["smtp:*;1"],
        "SenderIPAddresses": ["203.0.113.0/24"],
        "RestrictDomainsToIPAddresses": True,
        "RestrictDomainsToCertificate": False,
        "Comment": "",
    }
    bench.exchange.objects["InboundConnector"].append(lock_down)
    outcome = await bench.until_settled(policy_activation)

    assert isinstance(outcome, Reopen)
    assert outcome.step is StepName.PREFLIGHT
    assert "Partner only" in outcome.why
    assert _states(bench) == ["Disabled", "Disabled"]
    assert bench.exchange.writes == []


async def test_mail_that_anothers_rule_would_lose_is_not_routed() -> None:
    """What the checks take as it is, and the route model does not, is a person's matter before anything is switched."""
    bench = await _applied()
    harm = RouteFinding(Harm.LOOP, "own-domain spoof", "contoso.com", "It goes in circles.")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Plan, "findings", [harm])
        outcome = await bench.once(policy_activation)

    assert isinstance(outcome, NeedsPerson)
    assert (outcome.problem.code, outcome.problem.raw) == ("plan_unsafe", "It goes in circles.")
    assert _states(bench) == ["Disabled", "Disabled"]
    assert isinstance(await bench.once(policy_activation), Done)
