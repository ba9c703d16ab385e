"""Preflight of simulated tenants: what it reads through the real client, and what people's answers come to."""

from collections.abc import Callable
from functools import partial

import pytest

from local.microsoft365.dns.records import Records
from shared.domain import intents
from shared.domain.decision import Decision
from shared.domain.steps import StepName, StepState
from shared.workflows.preflight import FINDINGS_ROW
from shared.workflows.surroundings import RETURN_HOSTS_ROW
from shared.workflows.verification import PATIENCE
from tests.support.worlds import Case, World

pytestmark = pytest.mark.asyncio(loop_scope="module")

GATEWAY = "203.0.113.9"
SPF_HARD_FAIL = "MarkAsSpamSpfRecordHardFail"
LOCK_DOWN = {
    "Name": "Only our gateway",
    "ConnectorType": "Partner",
    "SenderDomains": ["*"],
    "RestrictDomainsToIPAddresses": True,
    "SenderIPAddresses": [GATEWAY],
}
ADMISSION = {
    "Name": "Only our gateway",
    "FromScope": "NotInOrganization",
    "RejectMessageReasonText": "Not by the front door.",
    "RejectMessageEnhancedStatusCode": "5.7.1",
    "ExceptIfSenderIpRanges": [GATEWAY],
}
FIXABLE = ("spf_hard_fail|Default", "lock_down_connectors|Only our gateway", "rules_that_admit_addresses|Only our gateway")


async def _results(case: Case) -> dict[str, str]:
    return {entry["check"]: entry["result"] for entry in (await case.step(StepName.PREFLIGHT)).facts["checks"]}


async def _answer(case: Case, answer: Callable[..., Decision | None], finding: str) -> None:
    """Answer a finding as an operator."""
    change = partial(answer, finding=finding, actor="an operator")
    assert await case.parts.container.engine.commit(case.grant_id, change)


async def test_an_ordinary_tenant_passes_without_a_person(shared_world: World) -> None:
    """What a new tenant has stops nothing: Microsoft's defaults are notices at most, and every cmdlet is answered."""
    case = await shared_world.case()
    await case.until(StepName.MAIL_FLOW)
    results = await _results(case)

    assert {name for name, result in results.items() if result == "notice"} == {"dmarc_reject"}
    assert {name for name, result in results.items() if result == "not_checked"} <= {"mail_exchangers", "exchange_plan"}
    assert set(results.values()) <= {"passed", "notice", "not_checked"}


async def test_three_blocking_settings_are_put_right_on_request(shared_world: World) -> None:
    """A hard SPF failure, a locking connector and an admitting rule stop the grant; asked for, Grantline changes just those."""
    case = await shared_world.case()
    await case.until(StepName.PREFLIGHT)
    exchange = case.parts.container.microsoft.exchange(case.tenant_id)
    await exchange.invoke("Set-HostedContentFilterPolicy", {"Identity": "Default", SPF_HARD_FAIL: "On"})
    await exchange.invoke("New-InboundConnector", LOCK_DOWN)
    await exchange.invoke("New-TransportRule", ADMISSION)
    step = await case.settle(StepName.PREFLIGHT)
    report = await case.row(FINDINGS_ROW)

    assert step.problem is not None
    assert (step.state, step.problem.code) == (StepState.WAITING_FOR_PERSON, "setting_blocks")
    blocking = [item["key"] for entry in report["checks"] for item in entry["findings"] if item["severity"] == "blocking"]
    assert sorted(blocking) == sorted(FIXABLE)

    for key in FIXABLE:
        await _answer(case, intents.fix, key)
    assert (await case.settle(StepName.PREFLIGHT)).is_done
    (policy,) = await exchange.invoke("Get-HostedContentFilterPolicy", {"Identity": "Default"})
    (connector,) = await exchange.invoke("Get-InboundConnector", {"Identity": "Only our gateway"})
    (rule,) = await exchange.invoke("Get-TransportRule", {"Identity": "Only our gateway"})
    assert policy[SPF_HARD_FAIL] == "Off"
    assert connector["SenderIPAddresses"] == [GATEWAY, "192.0.2.0/24"]
    assert rule["ExceptIfSenderIpRanges"] == [GATEWAY, "192.0.2.0/24"]


async def test_mail_that_arrives_elsewhere_is_noticed_once_the_directory_may_be_read(shared_world: World) -> None:
    """What preflight could not know yet, verification finds: preflight waits until it is acknowledged."""
    case = await shared_world.case()
    await case.until(StepName.VERIFICATION)
    case.parts.simulation.dns.put(Records(case.domain, "MX", ("10 mx.gateway.example.",)))
    step = await case.work(StepName.VERIFICATION)
    assert (step.state, "mail_exchangers" in step.reason) == (StepState.WAITING, True)

    case.parts.clock.advance_to(case.parts.clock() + PATIENCE)
    await case.work(StepName.VERIFICATION)
    asked = await case.settle(StepName.PREFLIGHT)
    assert asked.problem is not None
    assert (asked.problem.code, "mx.gateway.example" in asked.problem.cause) == ("finding_unacknowledged", True)

    await _answer(case, intents.acknowledge, f"mail_exchangers|{case.domain}")
    assert (await case.settle(StepName.PREFLIGHT)).is_done
    done = await case.settle(StepName.VERIFICATION)
    assert done.is_done
    assert done.facts[RETURN_HOSTS_ROW][case.domain][0].endswith(".mail.protection.outlook.com")
