"""The mail-flow step: applied once and completely, whatever happens between two calls."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from shared.domain.grant import Direction, Intent, Scope
from shared.domain.outcomes import Done, NeedsPerson, Progress, Wait
from shared.domain.problems import problem
from shared.domain.steps import StepName
from shared.mailflow.kinds import ENABLE_CUSTOMIZATION
from shared.ports import NotFoundError, RefusedError, TransientError
from shared.settings import load
from shared.workflows.mail_flow import NEEDED_CMDLETS, SETTLING, SWITCHED_OFF, mail_flow, read_facts
from shared.workflows.policy_activation import policy_activation
from shared.workflows.tenant import StaleReadError, apply, look
from tests.unit.mailflow.requests import ENVIRONMENT, SETTINGS, request
from tests.workflows.fake_exchange import FakeExchange, PowerCutError
from tests.workflows.mail_flow_runs import DOMAIN_INTENT, GROUP_INTENT, NAMES, USERS_INTENT, Bench

CUTS = [(DOMAIN_INTENT, cut) for cut in range(1, 9)] + [(GROUP_INTENT, cut) for cut in range(1, 13)]
"""Every write of a grant for domains, and of one for a group."""


async def _undisturbed(intent: Intent) -> dict[str, Any]:
    bench = Bench(intent=intent)
    assert isinstance(await bench.once(mail_flow), Done)
    return bench.tenant()


async def test_the_objects_are_made_and_told() -> None:
    """One run makes everything, leaves routing off, and tells what it made."""
    bench = Bench()
    outcome = await bench.once(mail_flow)

    assert isinstance(outcome, Done)
    assert outcome.facts["names"] == NAMES
    assert [entry["kind"] for entry in outcome.facts["objects"]].count("transport_rule") == 4
    states = {rule["Name"]: rule["State"] for rule in bench.exchange.objects["TransportRule"]}
    assert [states[name] for name in NAMES[-4:]] == ["Enabled", "Enabled", "Disabled", "Disabled"]
    assert await read_facts(bench.run()) == []


async def test_progress_is_shown_after_every_change() -> None:
    """People see how many objects are as they must be, of how many: from the first look to the last change, never back."""
    bench = Bench(intent=GROUP_INTENT)
    outcome = await bench.once(mail_flow)

    assert isinstance(outcome, Done)
    made = len(outcome.facts["objects"])
    shown = [row.value for row in bench.rows.shown if row.key == "progress|mail_flow"]
    done = [value["objects"] for value in shown]
    assert (done[0], done[-1], done) == (0, made, sorted(done))
    assert len(done) == len(bench.exchange.writes) + 1
    assert {value["of"] for value in shown} == {made}


async def test_progress_tells_what_an_earlier_run_has_made() -> None:
    """A run that finds everything made says so: a bar that a crash left halfway does not stay there."""
    bench = Bench()
    bench.exchange.cut_after = 3
    with pytest.raises(PowerCutError):
        await bench.once(mail_flow)
    await bench.until_settled(mail_flow)
    bench.rows.shown.clear()
    await bench.once(mail_flow)

    (row,) = bench.rows.shown
    assert row.value["objects"] == row.value["of"] == len(NAMES)


async def test_applying_twice_changes_nothing() -> None:
    """A second run of a step that is done reads, and writes nothing."""
    bench = Bench(intent=GROUP_INTENT)
    await bench.once(mail_flow)
    writes = len(bench.exchange.writes)

    assert isinstance(await bench.once(mail_flow), Done)
    assert len(bench.exchange.writes) == writes


@pytest.mark.parametrize(("intent", "cut"), CUTS)
async def test_a_crash_after_any_write_is_resumed(intent: Intent, cut: int) -> None:
    """Whatever write the process died after, the next run adopts what is there: the tenant ends the same, nothing made twice."""
    bench = Bench(intent=intent)
    bench.exchange.cut_after = cut
    with pytest.raises(PowerCutError):
        await bench.once(mail_flow)
    assert isinstance(await bench.until_settled(mail_flow), Done)
    made = [(cmdlet, str(parameters)) for cmdlet, parameters in bench.exchange.writes]

    assert bench.tenant() == await _undisturbed(intent)
    assert len(set(made)) == len(made) == max(other for scoped, other in CUTS if scoped is intent)


async def test_every_change_is_written_down_before_it_is_made() -> None:
    """The former value stands in the journal before the tenant's write, its result after; the verdict secret in neither."""
    bench = Bench(intent=GROUP_INTENT)
    await bench.once(mail_flow)
    entries = bench.journal.entries

    assert bench.journal.writes_before == list(range(len(bench.exchange.writes)))
    assert [kind for kind, _, _ in entries] == ["before", "after"] * len(bench.exchange.writes)
    assert all(values == {"exists": False} for kind, _, values in entries if kind == "before")
    assert request().secret not in str(entries)
    assert request().secret in str(bench.exchange.writes)


async def test_a_foreign_name_stops_before_anything_is_written() -> None:
    """Somebody else's object with one of our names is a person's matter; the tenant stays as it was."""
    bench = Bench()
    bench.exchange.objects["TransportRule"].append({"Name": NAMES[-1].upper(), "Comments": "theirs", "State": "Enabled"})
    before = bench.tenant()
    outcome = await bench.once(mail_flow)

    assert isinstance(outcome, NeedsPerson)
    assert (outcome.problem.code, outcome.problem.raw) == ("foreign_object", NAMES[-1])
    assert bench.tenant() == before


async def test_stale_reads_after_the_writes_are_waited_for() -> None:
    """Reads that lag behind our writes cost a wait, and no second write of anything."""
    bench = Bench()
    bench.exchange.freeze(reads=14)
    first = await bench.once(mail_flow)

    assert isinstance(first, Wait)
    assert "shows the changes" in first.why
    writes = len(bench.exchange.writes)
    assert isinstance(await bench.until_settled(mail_flow), Done)
    assert len(bench.exchange.writes) == writes


async def test_a_crash_and_stale_reads_together_make_nothing_twice() -> None:
    """What was made before a crash and is not seen afterwards is not taken for missing: its name is taken, so we wait."""
    bench = Bench()
    bench.exchange.cut_after = 3
    bench.exchange.freeze(reads=12)
    with pytest.raises(PowerCutError):
        await bench.once(mail_flow)
    second = await bench.once(mail_flow)

    assert isinstance(second, Wait)
    assert isinstance(await bench.until_settled(mail_flow), Done)
    assert bench.tenant() == await _undisturbed(bench.intent)


async def test_a_change_that_never_shows_is_a_persons_matter() -> None:
    """When the read-back still differs at the end of the wait, the problem names object and property."""
    bench = Bench()
    bench.exchange.freeze(reads=10_000)
    outcome = await bench.until_settled(mail_flow)

    assert isinstance(outcome, NeedsPerson)
    assert outcome.problem.code == "fact_missing"
    assert "Grantline Inline Inbound Return Connector: exists" in outcome.problem.cause


async def test_what_is_changed_back_after_the_wait_is_put_right_again() -> None:
    """Right after a write a difference is taken for a stale read; later it is taken for a change, and put right."""
    bench = Bench()
    bench.exchange.freeze(reads=10)
    assert isinstance(await bench.once(mail_flow), Wait)
    bench.exchange.stale_reads = 0
    bench.exchange.tamper("InboundConnector", NAMES[0], RequireTls=True)
    writes = len(bench.exchange.writes)

    assert isinstance(await bench.once(mail_flow), Wait)
    assert len(bench.exchange.writes) == writes
    bench.now += SETTLING
    assert isinstance(await bench.once(mail_flow), Done)
    assert bench.exchange.writes[writes:] == [
        ("Set-InboundConnector", {"Identity": NAMES[0], "RequireTls": False, "Confirm": False})
    ]


async def test_a_step_that_was_reopened_repairs_at_once() -> None:
    """Writes of an earlier piece of work are no reason to take a difference for a stale read."""
    bench = Bench()
    bench.exchange.freeze(reads=10)
    assert isinstance(await bench.once(mail_flow), Wait)
    bench.exchange.stale_reads = 0
    bench.exchange.objects["OutboundConnector"].pop()
    bench.step = replace(bench.step, begun_at=bench.now + timedelta(seconds=1))
    bench.now += timedelta(seconds=1)

    assert isinstance(await bench.once(mail_flow), Done)


async def test_no_write_begins_after_the_time_is_up() -> None:
    """A run stops before its deadline and hands the rest to the next slice; together they make everything, once."""
    bench = Bench(intent=GROUP_INTENT, tick=timedelta(seconds=9))
    slices = 0
    while isinstance(await bench.once(mail_flow), Progress):
        slices += 1

    assert slices > 1
    assert bench.tenant() == await _undisturbed(GROUP_INTENT)
    made = [str(call) for call in bench.exchange.writes]
    assert len(set(made)) == len(made)


async def test_routing_that_somebody_switched_on_goes_off_again() -> None:
    """Until the way back is verified no mail is routed: a rule that was switched on behind our back goes off first."""
    bench = Bench()
    await bench.once(mail_flow)
    bench.exchange.tamper("TransportRule", NAMES[-1], State="Enabled")
    writes = len(bench.exchange.writes)
    bench.step = replace(bench.step, facts={})

    assert isinstance(await bench.once(mail_flow), Done)
    assert [cmdlet for cmdlet, _ in bench.exchange.writes[writes:]] == ["Disable-TransportRule"]
    assert bench.journal.entries[-2] == ("before", NAMES[-1], {"State": "Enabled"})


class _Refusing(FakeExchange):
    """Refuses to make rules, and repeats what it was given."""

    def run(self, cmdlet: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
        """Refuse New-TransportRule."""
        if cmdlet == "New-TransportRule":
            raise RefusedError("no", problem("exchange_refused", raw=f"can't convert {parameters}"))
        return super().run(cmdlet, parameters)


async def test_routing_goes_off_and_verdicts_come_back_together() -> None:
    """Rules that somebody switched the other way round are put right: mail that was routed meanwhile is no forgery."""
    bench = Bench()
    await bench.once(mail_flow)
    bench.step = replace(bench.step, facts={})
    before = bench.tenant()
    for rule in bench.exchange.objects["TransportRule"]:
        if rule["Name"] in NAMES:
            rule["State"] = {"Enabled": "Disabled", "Disabled": "Enabled"}[rule["State"]]

    assert isinstance(await bench.once(mail_flow), Done)
    assert bench.tenant() == before


class _Counted(FakeExchange):
    """Counts the requests for many calls, and the single calls that read."""

    looks = 0
    singles = 0

    async def invoke_many(self, calls: Any) -> Any:
        """Run the calls, as one request."""
        self.looks += 1
        self.singles -= len(calls)
        return await super().invoke_many(calls)

    async def invoke(self, cmdlet: str, parameters: Any = None) -> list[dict[str, Any]]:
        """Run one call."""
        self.singles += cmdlet.startswith("Get-")
        return await super().invoke(cmdlet, parameters)


@pytest.mark.parametrize("intent", [DOMAIN_INTENT, GROUP_INTENT], ids=["domains", "group"])
async def test_a_look_asks_for_everything_together(intent: Intent) -> None:
    """The tenant is read in one go before the writes and in one after them, groups and their members too."""
    exchange = _Counted()
    await Bench(exchange=exchange, intent=intent).once(mail_flow)

    assert (exchange.looks, exchange.singles) == (2, 0)


async def test_a_refusal_names_the_object_and_hides_the_secret() -> None:
    """A refused change tells people which object and cmdlet it was about; Exchange's text is kept, without the secret."""
    bench = Bench(exchange=_Refusing())
    with pytest.raises(RefusedError) as caught:
        await bench.once(mail_flow)

    found = caught.value.problem
    assert found.code == "exchange_refused"
    assert "New-TransportRule of 'Grantline Inline Inbound Move to Junk Rule'" in found.cause
    assert "can't convert" in found.raw
    assert request().secret not in found.raw + str(caught.value)


class _WithoutBob(FakeExchange):
    """Does not know one of the people any more."""

    def run(self, cmdlet: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
        """Find everybody but Bob."""
        if "bob@contoso.com" in parameters.get("Members", ()):
            raise NotFoundError("The operation couldn't be performed because object 'BOB@contoso.com' couldn't be found.")
        return super().run(cmdlet, parameters)


@pytest.mark.parametrize("cmdlet", ["New-DistributionGroup", "Update-DistributionGroupMember"])
async def test_a_person_who_has_left_since_is_named_at_once(cmdlet: str) -> None:
    """No read is stale where Exchange says that one of the members is nobody: it is told, and no half of a group is made."""
    bench = Bench(intent=USERS_INTENT)
    if cmdlet.startswith("Update"):
        await bench.once(mail_flow)
        bench.exchange.tamper("DistributionGroup", "Grantline Inline Inbound Scope Group", _members=[])
        bench.step = replace(bench.step, facts={})
    groups = bench.tenant()["DistributionGroup"]
    bench.exchange = _WithoutBob(bench.tenant())
    with pytest.raises(RefusedError) as caught:
        await bench.once(mail_flow)

    assert f"{cmdlet} of 'Grantline Inline Inbound Scope Group'" in caught.value.problem.cause
    assert "'BOB@contoso.com'" in caught.value.problem.raw
    assert bench.tenant()["DistributionGroup"] == groups


async def test_a_chosen_group_that_is_not_there_is_a_refusal() -> None:
    """Where a new object names something that does not exist, people are told which object could not be made."""
    bench = Bench(intent=GROUP_INTENT)
    bench.exchange.missing = "New-DistributionGroup"
    with pytest.raises(RefusedError) as caught:
        await bench.once(mail_flow)

    assert "New-DistributionGroup of 'Grantline Inline Inbound Scope Group'" in caught.value.problem.cause


async def test_an_object_that_vanishes_before_its_change_is_read_again() -> None:
    """A change of something that was read and is gone shows that the read was old: read again, then put right."""
    bench = Bench()
    await bench.once(mail_flow)
    bench.step = replace(bench.step, facts={})
    bench.exchange.tamper("InboundConnector", NAMES[0], RequireTls=True)
    bench.exchange.missing = "Set-InboundConnector"

    assert isinstance(await bench.once(mail_flow), Wait)
    assert isinstance(await bench.once(mail_flow), Done)


class _Sealing(FakeExchange):
    """Somebody adds a trusted sealer of theirs at our first write."""

    async def invoke(self, cmdlet: str, parameters: Any = None) -> list[dict[str, Any]]:
        """Add it once."""
        if not self.writes and cmdlet.startswith("New-"):
            self.tamper("ArcConfig", "Default", ArcTrustedSealers="fabrikam.com,later.example")
        return await super().invoke(cmdlet, parameters)


async def test_a_list_that_is_written_whole_keeps_what_came_after_the_read() -> None:
    """An entry that somebody adds between our read and our write is not lost: what was read is seen to be old, and read again."""
    settings = load({**ENVIRONMENT, "GRANTLINE_ARC_SEALER": "sealer.example"})
    bench = Bench(exchange=_Sealing(), settings=settings)

    assert isinstance(await bench.once(mail_flow), Wait)
    assert "Set-ArcConfig" not in [cmdlet for cmdlet, _ in bench.exchange.writes]
    assert isinstance(await bench.until_settled(mail_flow), Done)
    assert bench.tenant()["ArcConfig"][0]["ArcTrustedSealers"] == ["fabrikam.com", "later.example", "sealer.example"]


class _Spreading(FakeExchange):
    """Has been customized, and some of its servers do not know it yet."""

    def run(self, cmdlet: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
        """Refuse what a server refuses that takes the organization for one that never was customized."""
        if cmdlet == ENABLE_CUSTOMIZATION:
            self.objects["OrganizationConfig"][0]["IsDehydrated"] = False
            return []
        if cmdlet == "Set-HostedConnectionFilterPolicy":
            raise RefusedError("refused", problem("organization_not_customized"))
        return super().run(cmdlet, parameters)


@pytest.mark.parametrize(("is_dehydrated", "error"), [(True, StaleReadError), (False, RefusedError)])
async def test_a_customization_of_ours_is_given_time(is_dehydrated: bool, error: type[Exception]) -> None:
    """What Exchange refuses until the customization that we enabled has spread is tried again; other refusals are a person's."""
    bench = Bench(exchange=_Spreading(), settings=load({**ENVIRONMENT, "GRANTLINE_ALLOW_ENTRIES": "ip"}))
    bench.exchange.objects["OrganizationConfig"] = [{"Name": "contoso", "IsDehydrated": is_dehydrated}]
    view = await look(bench.run(), bench.exchange)
    with pytest.raises(error):
        await apply(bench.run(), bench.exchange, view.changes, len(view.desired))
    again = await look(bench.run(), bench.exchange)

    assert [change.cmdlet == ENABLE_CUSTOMIZATION for change in (view.changes[0], again.changes[0])] == [is_dehydrated, False]
    with pytest.raises(error):
        await apply(bench.run(), bench.exchange, again.changes, len(view.desired))


class _Throttled(FakeExchange):
    """Asks to slow down at its third write."""

    async def invoke(self, cmdlet: str, parameters: Any = None) -> list[dict[str, Any]]:
        """Refuse one call for a while."""
        if len(self.writes) == 2 and not cmdlet.startswith("Get-"):
            raise TransientError("slow down", timedelta(seconds=2))
        return await super().invoke(cmdlet, parameters)


async def test_throttling_is_left_to_the_engine() -> None:
    """A call that must wait ends the run with Microsoft's wish; what was made before it stays."""
    bench = Bench(exchange=_Throttled())
    with pytest.raises(TransientError) as caught:
        await bench.once(mail_flow)

    assert caught.value.retry_after == timedelta(seconds=2)
    assert len(bench.exchange.writes) == 2


async def test_one_direction_touches_nothing_of_the_other() -> None:
    """A grant for one direction makes objects of that direction alone."""
    bench = Bench(intent=Intent((Direction.OUTBOUND,), Scope(), "standard"))
    outcome = await bench.once(mail_flow)

    assert isinstance(outcome, Done)
    assert all("Inline Outbound" in name for name in outcome.facts["names"])
    assert SETTINGS.scanner_inbound_host not in str(bench.exchange.writes)


async def test_facts_name_what_was_tampered_with() -> None:
    """Verification's reading names each property that was changed, and the step that puts it right."""
    bench = Bench()
    await bench.once(mail_flow)
    bench.exchange.tamper("OutboundConnector", NAMES[2], SmartHosts=["evil.example.com"])
    bench.exchange.tamper("HostedContentFilterPolicy", "Finance", MarkAsSpamSpfRecordHardFail="On")
    bench.exchange.objects["InboundConnector"].pop()
    facts = await read_facts(bench.run())

    assert [(fact.object, fact.property, fact.step) for fact in facts] == [
        (NAMES[1], "exists", "mail_flow"),
        (NAMES[2], "SmartHosts", "mail_flow"),
        ("Finance", "MarkAsSpamSpfRecordHardFail", "preflight"),
    ]


async def test_facts_name_a_group_that_was_tampered_with() -> None:
    """Members of our own group are facts; strangers are named by their addresses."""
    bench = Bench(intent=GROUP_INTENT)
    await bench.once(mail_flow)
    assert await read_facts(bench.run()) == []
    bench.exchange.tamper("DistributionGroup", "Grantline Inline Inbound Scope Group", _members=["boss@contoso.com"])
    facts = await read_facts(bench.run())

    assert [(fact.property, fact.expected, fact.found) for fact in facts] == [
        ("Members", ["everybody@contoso.com"], ["BOSS@CONTOSO.COM"])
    ]


async def test_a_person_who_left_our_group_comes_back() -> None:
    """Who was taken out of our group behind our back is a fact that is missing, and is put in again; a stranger goes."""
    bench = Bench(intent=USERS_INTENT)
    await bench.once(mail_flow)
    bench.exchange.tamper(
        "DistributionGroup", "Grantline Inline Inbound Scope Group", _members=["ADA@contoso.com", "eve@contoso.com"]
    )
    facts = await read_facts(bench.run())
    bench.step = replace(bench.step, facts={})
    assert isinstance(await bench.once(mail_flow), Done)

    assert [(fact.property, fact.expected, fact.found) for fact in facts] == [
        ("Members", ["ada@contoso.com", "bob@contoso.com"], ["ADA@CONTOSO.COM", "EVE@CONTOSO.COM"])
    ]
    assert bench.exchange.writes[-1][0] == "Update-DistributionGroupMember"
    assert await read_facts(bench.run()) == []


def test_reads_and_writes_are_told_apart() -> None:
    """What the role is checked for is what can be read, made, changed, switched and removed."""
    verbs = {"Get", "New", "Set", "Update", "Enable", "Disable", "Remove"}
    assert {cmdlet.partition("-")[0] for cmdlet in NEEDED_CMDLETS} == verbs


@pytest.mark.parametrize("harm", ["gone", "off", "theirs"])
async def test_routing_without_a_way_back_goes_off_while_a_person_is_waited_for(harm: str) -> None:
    """No approval is needed to stop mail that would be refused on its way back; the repair itself waits for it."""
    bench = Bench()
    await bench.once(mail_flow)
    await bench.once(policy_activation)
    bench.steps[StepName.POLICY_ACTIVATION] = {}
    bench.settings = SETTINGS.model_copy(update={"plan_approval": "operator"})
    name = "Grantline Inline Outbound Return Connector"
    if harm == "gone":
        connectors = bench.exchange.objects["InboundConnector"]
        bench.exchange.objects["InboundConnector"] = [item for item in connectors if item["Name"] != name]
    else:
        bench.exchange.tamper("InboundConnector", name, **({"Enabled": False} if harm == "off" else {"Comment": "theirs"}))
    bench.exchange.calls.clear()
    outcome = await bench.once(mail_flow)

    assert isinstance(outcome, NeedsPerson)
    assert outcome.problem.code == ("foreign_object" if harm == "theirs" else "plan_awaits_approval")
    assert "without being scanned" in outcome.problem.cause
    assert sorted(outcome.facts[SWITCHED_OFF]) == sorted(NAMES[-2:])
    assert {cmdlet for cmdlet, _ in bench.exchange.writes} == {"Disable-TransportRule"}
    states = {rule["Name"]: rule["State"] for rule in bench.exchange.objects["TransportRule"]}
    assert [states[name] for name in NAMES[-2:]] == ["Disabled", "Disabled"]


async def test_routing_stays_on_while_another_repair_waits() -> None:
    """What does not stop mail on its way back is put right after the approval, with the routing as it is."""
    bench = Bench()
    await bench.once(mail_flow)
    await bench.once(policy_activation)
    bench.steps[StepName.POLICY_ACTIVATION] = {}
    bench.settings = SETTINGS.model_copy(update={"plan_approval": "operator"})
    bench.exchange.tamper("TransportRule", NAMES[4], SetSCL=9)
    bench.exchange.calls.clear()

    outcome = await bench.once(mail_flow)
    assert isinstance(outcome, NeedsPerson)
    assert SWITCHED_OFF not in outcome.facts
    assert bench.exchange.writes == []
