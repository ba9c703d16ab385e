"""A grant's later life in the simulated tenant: paused and resumed by commands, removed from any state, released after it."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any, cast

import pytest
import pytest_asyncio

from shared.commands import CommandReusedError
from shared.domain.grant import GrantState, Row, Waiver
from shared.domain.problems import ProblemError
from shared.domain.steps import StepName, StepState
from shared.mailflow.drain import QUEUES_LIVE
from shared.messages import Command, GrantCommand, PauseRouting, RemoveGrant, ResumeRouting, WaiveRemoval
from shared.workflows.removal import HICCUP, REMOVAL_ROW
from tests.support.syncs import stored
from tests.support.worlds import Case, World, types_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

ACTIVATION = StepName.POLICY_ACTIVATION
MINE = "Grantline"


@pytest_asyncio.fixture(loop_scope="module")
async def case(shared_world: World) -> AsyncIterator[Case]:
    """A grant whose mail is routed."""
    made = await shared_world.case()
    await made.until(StepName.MAIL_PROOF)
    yield made
    shared_world.calm()


async def _command(case: Case, kind: type[GrantCommand], **fields: Any) -> None:
    command_id = f"{kind.__name__}-{len(await case.events())}"
    command = kind(command_id=command_id, grant_id=case.grant_id, requested_by="ann", **fields)
    await case.parts.container.site.commands.execute(cast("Command", command))


async def _commands(case: Case, prefix: str) -> list[Row]:
    return await case.parts.container.storage.grants.rows(case.grant_id, prefix)


def _rules(case: Case) -> dict[str, str]:
    return {rule["Name"]: rule["State"] for rule in case.tenant.exchange.get("TransportRule", ()) if MINE in rule["Name"]}


def _ours(case: Case) -> list[str]:
    return [item["Name"] for items in case.tenant.exchange.values() for item in items if MINE in str(item.get("Name"))]


def _advance(case: Case, to: datetime) -> None:
    case.parts.clock.advance_to(to)
    case.parts.simulation.clock.offset = case.parts.clock.offset


def _delete_applications(case: Case) -> None:
    """Do what the administrator does in Enterprise applications."""
    for principal in list(case.tenant.service_principals.values()):
        if principal.app_id in {case.application_id(name) for name in ("mail_flow", "directory", "activity", "role_helper")}:
            del case.tenant.service_principals[principal.id]


async def test_a_pause_and_a_resumption_show_in_the_tenant(case: Case) -> None:
    """Only the routing rules are switched; the state and the events say what was done, and who asked."""
    before = _rules(case)
    await _command(case, PauseRouting)
    await case.settle(ACTIVATION)
    paused, state = _rules(case), (await case.grant()).state
    (pause,) = [row.key.removeprefix("command|Pause") for row in await _commands(case, "command|Pause")]
    with pytest.raises(CommandReusedError):
        await case.parts.container.site.commands.execute(
            ResumeRouting(command_id=f"Pause{pause}", grant_id=case.grant_id, requested_by="ann")
        )
    await _command(case, ResumeRouting)
    await case.settle(ACTIVATION)

    assert state is GrantState.PAUSED
    assert {name: was for name, was in before.items() if paused[name] != was} == {
        f"{MINE} Inline Inbound Domain Rule": "Enabled",
        f"{MINE} Inline Outbound Domain Rule": "Enabled",
    }
    assert (_rules(case), (await case.grant()).is_complete) == (before, True)
    types = types_of(await case.events())
    assert [each for each in types if "paus" in each or "resum" in each] == [
        "routing.pause_asked",
        "grant.paused",
        "routing.resume_asked",
        "grant.resumed",
    ]


async def test_a_removed_grant_leaves_nothing_and_its_tenant_is_free(case: Case) -> None:
    """All of ours is gone, the report says so, the applications are noticed to be gone; the account may begin anew."""
    await _command(case, RemoveGrant)
    await case.settle(StepName.ROUTING_REMOVAL)
    await _command(case, WaiveRemoval, what=Waiver.SCANNER_QUEUE)
    await _command(case, WaiveRemoval, what=Waiver.LEFTOVERS)
    assert (await case.work(StepName.DRAIN)).state is StepState.WAITING
    assert _ours(case)
    _advance(case, case.parts.clock() + QUEUES_LIVE)
    assert (await case.settle(StepName.DRAIN)).is_done
    assert (await case.settle(StepName.MAIL_FLOW_REMOVAL)).is_done
    assert _ours(case) == []
    assert await stored(case)
    assert (await case.settle(StepName.DIRECTORY_REMOVAL)).is_done
    assert await stored(case) == []
    assert (await case.settle(StepName.ACCESS_REMOVAL)).is_done

    grant, report = await case.grant(), await case.row(REMOVAL_ROW)
    assert (grant.state, report["is_clean"], report["left"]) == (GrantState.REMOVED, True, [])
    assert types_of(await case.events())[-1] == "grant.removed"
    account = grant.account_id
    again = await case.parts.start(account, command_id="again")
    assert await case.parts.container.storage.bindings.live_grant(account) == again
    with pytest.raises(ProblemError):
        await _command(case, PauseRouting)


async def test_the_applications_are_waited_for_until_an_administrator_has_deleted_them(shared_world: World) -> None:
    """A grant that was never completed is removed too; what remains of its access is listed, and noticed to be gone."""
    case = await shared_world.case()
    await case.until(StepName.PREFLIGHT)
    await _command(case, RemoveGrant)
    for name in (StepName.ROUTING_REMOVAL, StepName.DRAIN, StepName.MAIL_FLOW_REMOVAL, StepName.DIRECTORY_REMOVAL):
        assert (await case.settle(name)).is_done
    waiting = await case.work(StepName.ACCESS_REMOVAL)
    assert (waiting.state, (await case.grant()).state) == (StepState.WAITING, GrantState.WAITING_FOR_PERSON)
    assert {item["application"] for item in waiting.facts["residue"]} == {"mail_flow", "directory"}
    _delete_applications(case)

    assert (await case.settle(StepName.ACCESS_REMOVAL)).is_done
    assert (await case.grant()).state is GrantState.REMOVED
    shared_world.calm()


async def test_a_withdrawn_consent_holds_one_removal_and_no_other(case: Case, shared_world: World) -> None:
    """The tenant that shuts us out is told exactly what is left; another tenant's removal goes on meanwhile."""
    other = await shared_world.case()
    await other.until(StepName.MAIL_PROOF)
    await _command(case, RemoveGrant)
    await _command(other, RemoveGrant)
    _delete_applications(case)
    held = await case.work(StepName.ROUTING_REMOVAL)
    other_first = await other.settle(StepName.ROUTING_REMOVAL)
    assert held.begun_at is not None
    case.parts.clock.advance_to(held.begun_at + HICCUP + timedelta(minutes=1))
    told = await case.settle(StepName.ROUTING_REMOVAL)

    assert held.state is StepState.WAITING
    assert other_first.is_done
    assert told.problem is not None
    assert (told.state, told.problem.code) == (StepState.WAITING_FOR_PERSON, "removal_shut_out")
    report = await case.row(REMOVAL_ROW)
    assert sorted(item["object"] for item in report["left"]) == sorted(_ours(case))
