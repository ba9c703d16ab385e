"""Mail proof: test messages go through the simulated tenant, the local scanner reports, the grant is protecting or is not."""

from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
import pytest_asyncio

from local.scanner import LocalScanner, scanning
from shared.domain.grant import IS_PROVED, Grant, GrantState, Step
from shared.domain.outcomes import Done, Failed, Wait
from shared.domain.probes import Probe, ProbeKind
from shared.domain.steps import Queue, StepName, StepState
from shared.messages import RetryStep
from shared.workflows.mail_flow import mail_flow
from shared.workflows.mail_proof import PROOF_ROW, SETTLED, mail_proof
from tests.support.app_settings import APP_SETTINGS
from tests.support.worlds import Case, World, types_of
from tests.workflows.fake_exchange import FakeExchange, Object
from tests.workflows.mail_flow_runs import GROUP_INTENT, NOW, USERS_INTENT, Bench, MemoryProbes

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROOF = StepName.MAIL_PROOF
NOBODYS = "00000000-0000-4000-8000-000000000001"
"""The id of somebody whom a test puts into a tenant."""
ROUTING = "Grantline Inline Inbound Domain Rule"
SKIP = "Grantline Inline Inbound Skip Spam Filter Rule"


@dataclass(frozen=True, slots=True)
class Proving:
    """A grant whose mail is routed, and the product's scanner."""

    case: Case
    scanner: LocalScanner

    async def settle(self) -> Step:
        """Run the proof until it comes to an end, with the scanner doing what it is told in between."""
        for _ in range(60):
            step = await self.case.step(PROOF)
            if step.state not in (StepState.QUEUED, StepState.WAITING):
                return step
            await self.case.work(PROOF)
            self.case.parts.simulation.clock.offset = self.case.parts.clock.offset
            await self.scan()
        raise AssertionError("the proof came to no end")

    async def scan(self) -> None:
        """Have the scanner carry out its orders, and the console read its reports."""
        while await self.scanner.step():
            pass
        async for message in self.scanner.commands.receive_messages():
            await self.case.parts.container.inbox.receive(Queue.CONSOLE_COMMANDS, b64decode(message.content))
            await self.scanner.commands.delete_message(message)


@pytest_asyncio.fixture(loop_scope="module")
async def proving(shared_world: World) -> AsyncIterator[Proving]:
    """A grant that is to be proved."""
    case = await shared_world.case()
    await case.until(PROOF)
    async with _scanned(case) as opened:
        yield opened
    shared_world.calm()


@asynccontextmanager
async def _scanned(case: Case) -> AsyncIterator[Proving]:
    """Open the product's scanner for a grant."""
    settings = case.parts.settings
    assert settings.storage_connection
    environment = {
        **APP_SETTINGS,
        "AzureWebJobsStorage": settings.storage_connection.get_secret_value(),
        "GRANTLINE_SEALING_KEY": settings.sealing_key.get_secret_value(),
    }
    simulation = case.parts.simulation
    async with scanning(environment, simulation.url, str(simulation.ca_file)) as scanner:
        yield Proving(case, scanner)


async def test_mail_that_is_scanned_once_makes_a_grant_protecting(proving: Proving) -> None:
    """Each way, for each domain, with a forged and a looped message; the evidence is kept."""
    step = await proving.settle()
    grant = await proving.case.grant()
    proof = await proving.case.row(PROOF_ROW)

    assert (step.state, step.problem) == (StepState.DONE, None), step.reason
    assert (grant.state, step.facts[IS_PROVED]) == (GrantState.PROTECTING, True)
    assert step.facts["messages"] == len(proof["probes"]) == len(proof["verdicts"])
    assert {each["result"] for each in proof["verdicts"]} == {"passed"}
    assert {each["kind"] for each in proof["verdicts"]} == set(ProbeKind)
    assert step.facts["unproved"] == proof["unproved"]
    assert {each["direction"] for each in proof["verdicts"]} == {"inbound", "outbound"}
    assert types_of(await proving.case.events())[-1] == "grant.protecting"
    assert "grant.completed" in types_of(await proving.case.events())


async def test_a_grant_for_chosen_people_ends_protecting(shared_world: World) -> None:
    """Who is not there yet is named before anything is made; then those people alone are members, and their mail is proved."""
    domain = f"tenant{shared_world.count + 1}.example.com"
    people = [f"ADMIN@{domain}", f"late@{domain}"]
    case = await shared_world.case(scope={"kind": "users", "users": people})
    await case.until(StepName.PREFLIGHT)
    found = (await case.settle(StepName.PREFLIGHT)).problem
    assert found is not None
    assert (found.code, case.tenant.exchange.get("InboundConnector", [])) == ("person_not_found", [])
    assert people[1] in found.cause
    assert people[0] not in found.cause

    admin = case.tenant.users.find(people[0])
    assert admin is not None
    address = f"late.person@{domain}"
    late = replace(admin, id=NOBODYS, user_principal_name=people[1], mail=address, proxy_addresses=(f"SMTP:{address}",))
    case.tenant.users.put(late)
    await case.retry(StepName.PREFLIGHT)
    await case.until(PROOF)
    members = [group.member_ids for group in case.tenant.groups.values() if group.display_name.endswith("Scope Group")]
    async with _scanned(case) as proving:
        step = await proving.settle()

    assert members == [(admin.id, late.id)] * 2
    assert (step.state, step.problem) == (StepState.DONE, None), step.reason
    assert (await case.grant()).state is GrantState.PROTECTING


async def test_mail_that_is_not_scanned_is_told_once_rules_have_settled(proving: Proving) -> None:
    """A rule that somebody switched off: tried again while it may be on its way, then a problem; the grant stays complete."""
    case = proving.case
    await case.tamper("TransportRule", ROUTING, State="Disabled")
    step = await proving.settle()
    assert step.problem is not None
    activated = (await case.step(StepName.POLICY_ACTIVATION)).finished_at
    assert activated is not None
    assert step.changed_at is not None
    assert (step.state, step.problem.code) == (StepState.NEEDS_ATTENTION, "mail_not_proved")
    assert "Delivered without having been scanned" in step.problem.cause
    assert step.changed_at >= activated + SETTLED
    assert (await case.grant()).state is GrantState.COMPLETED

    await case.tamper("TransportRule", ROUTING, State="Enabled")
    retry = RetryStep(command_id="prove-again", grant_id=case.grant_id, step=PROOF, requested_by="ann")
    await case.parts.container.site.commands.execute(retry)
    assert (await proving.settle()).is_done
    assert (await case.grant()).state is GrantState.PROTECTING


async def test_a_forged_verdict_that_is_believed_is_told(proving: Proving) -> None:
    """The rules go on to a verdict rule that believes any address and word: what is scanned all the same fails."""
    case = proving.case
    await case.tamper("TransportRule", ROUTING, StopRuleProcessing=False)
    await case.tamper("TransportRule", SKIP, SenderIpRanges=None, HeaderContainsWords=["forged"])
    step = await proving.settle()

    assert step.problem is not None
    assert step.problem.code == "mail_not_proved"
    assert "inbound forged_header" in step.problem.cause
    assert "A forged verdict was believed" in step.problem.cause


class CrashError(Exception):
    """Stands for a process that dies."""


@dataclass
class FailingProbes(MemoryProbes):
    """A queue whose caller dies after some orders, once."""

    dies_after: int | None = None

    async def order(self, grant: Grant, probe: Probe) -> None:
        """Keep the order, unless dead."""
        if len(self.ordered) == self.dies_after:
            self.dies_after = None
            raise CrashError
        await super().order(grant, probe)


class Traced(FakeExchange):
    """A tenant with message trace, in which nothing is ever seen."""

    def run(self, cmdlet: str, parameters: dict[str, object]) -> list[Object]:
        """Answer message trace with nothing."""
        return [] if cmdlet == "Get-MessageTraceV2" else super().run(cmdlet, parameters)


def _bench(*, members: tuple[str, ...] = ("bob@contoso.com", "ada@contoso.com"), dies_after: int | None = None) -> Bench:
    bench = Bench(exchange=Traced(), intent=GROUP_INTENT, probes=FailingProbes(dies_after=dies_after))
    bench.exchange.tamper("DistributionGroup", "Everybody", _members=list(members))
    bench.intent = replace(GROUP_INTENT, scope=replace(GROUP_INTENT.scope, group="Everybody"))
    bench.step = Step(PROOF, begun_at=NOW)
    return bench


@pytest.mark.parametrize("dies_after", range(4))
async def test_no_message_is_ordered_twice(dies_after: int) -> None:
    """A crash between two orders makes a new set of messages: one that was sent twice would look scanned twice."""
    bench = _bench(dies_after=dies_after)
    with pytest.raises(CrashError):
        await bench.once(mail_proof)
    assert isinstance(await bench.once(mail_proof), Wait)
    assert isinstance(await bench.once(mail_proof), Wait)

    ids = [probe.message_id for probe in bench.probes.ordered]
    assert len(ids) == len(set(ids)) == dies_after + 6
    assert {probe.recipient for probe in bench.probes.ordered if probe.direction == "inbound"} == {"ada@contoso.com"}


async def test_of_chosen_people_the_members_of_our_group_get_messages() -> None:
    """Their mailboxes are read as those of a chosen group are, from the group of ours that they are members of."""
    bench = _bench()
    bench.intent = USERS_INTENT
    await bench.once(mail_flow)
    assert isinstance(await bench.once(mail_proof), Wait)

    inbound = [probe for probe in bench.probes.ordered if probe.direction == "inbound"]
    assert {probe.recipient for probe in inbound} == {"ada@contoso.com"}
    assert ("Get-DistributionGroupMember", {"Identity": "Everybody", "ResultSize": "Unlimited"}) not in bench.exchange.calls


async def test_a_proof_without_evidence_ends_with_what_to_look_at() -> None:
    """Nobody sends, nobody reports: after its patience the proof says for which messages nothing is known."""
    bench = _bench()
    outcome = await bench.until_settled(mail_proof, most=200)

    assert isinstance(outcome, Failed)
    assert outcome.problem.code == "mail_not_proved"
    assert "inbound normal contoso.com: Not seen to have come back from the scanner yet." in outcome.problem.cause
    assert bench.now - NOW < timedelta(hours=3)


async def test_a_scope_without_a_mailbox_is_told() -> None:
    """Without anybody to send to, nothing is called proved."""
    outcome = await _bench(members=()).once(mail_proof)

    assert isinstance(outcome, Failed)
    assert outcome.problem.code == "no_test_mailbox"


async def test_a_proof_that_is_switched_off_proves_nothing() -> None:
    """The step ends at once, without a message, and without calling the grant protecting."""
    bench = _bench()
    bench.settings = bench.settings.model_copy(update={"mail_proof": "off"})
    outcome = await bench.once(mail_proof)

    assert isinstance(outcome, Done)
    assert outcome.facts == {IS_PROVED: False, "is_off": True}
    assert bench.probes.ordered == []
