"""The role by hand: an administrator assigns it in the admin center, and the step notices; no sign-in is asked for meanwhile."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
import pytest_asyncio

from local.microsoft365 import role_assignments
from local.microsoft365.model import Role
from shared.consent.sealing import SEALED_ROW
from shared.domain import schedule
from shared.domain.grant import GrantState, RoleMode, Step
from shared.domain.outcomes import Outcome
from shared.domain.problems import Actor
from shared.domain.steps import StepName, StepState
from shared.engine import Engine
from shared.messages import ChooseRoleMode, RetryStep
from shared.workflows.role_assignment import OFTEN, SELDOM, role_assignment
from shared.workflows.run import PROGRESS_ROWS, Run
from tests.support.worlds import Case, World, types_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROLE = StepName.ROLE_ASSIGNMENT
BY_HAND, SIGN_IN = RoleMode.BY_HAND, RoleMode.SIGN_IN
_COMMANDS = count(1)


@pytest_asyncio.fixture(loop_scope="module")
async def case(shared_world: World) -> AsyncIterator[Case]:
    """A grant whose role is to be assigned by hand, about to look for it for the first time."""
    case = await shared_world.case(role_mode=BY_HAND)
    await case.until(ROLE)
    yield case
    shared_world.calm()


@pytest_asyncio.fixture(loop_scope="module")
async def signing_in(shared_world: World) -> AsyncIterator[Case]:
    """A grant whose administrator is asked to sign in for the role."""
    case = await shared_world.case()
    await case.until(ROLE)
    yield case
    shared_world.calm()


async def _assign(case: Case) -> None:
    """Assign the role to the mail-flow application, as an administrator does in the admin center."""
    principal = (await case.step(StepName.MAIL_FLOW_CONSENT)).facts["object_id"]
    simulation = case.parts.simulation
    now, spreads_in = simulation.clock.now(), simulation.settings.role_delay
    role_assignments.assign(case.tenant, Role.EXCHANGE_ADMINISTRATOR, principal, now, spreads_in)
    simulation.store.changed(case.tenant)


async def _choose(case: Case, role_mode: RoleMode) -> Step:
    """Choose another way to the role, as an operator."""
    command = ChooseRoleMode(
        command_id=f"choose-{next(_COMMANDS)}", grant_id=case.grant_id, role_mode=role_mode, requested_by="an operator"
    )
    await case.parts.container.site.commands.execute(command)
    return await case.step(ROLE)


async def _check_again(case: Case) -> Step:
    """Press "Check again"."""
    command = RetryStep(command_id=f"check-{next(_COMMANDS)}", grant_id=case.grant_id, step=ROLE, requested_by="an operator")
    await case.parts.container.site.commands.execute(command)
    return await case.step(ROLE)


async def _helper_requests(case: Case) -> list[str]:
    """Return what was asked with the role helper, the application of the sign-in."""
    return [each["path"] for each in await case.requests() if each["app_id"] == case.application_id("role_helper")]


def _delay(step: Step) -> timedelta:
    """Return until the next look, to the second: the run itself took some of it."""
    assert step.clock is not None
    assert step.changed_at is not None
    return timedelta(seconds=round((step.clock - step.changed_at).total_seconds()))


async def test_the_step_notices_by_itself(case: Case) -> None:
    """It waits for the administrator, says so, and goes on at its own next look; nobody has signed in for the role."""
    await case.world.set(role_delay=0.0)
    step = await case.work(ROLE)
    begun = step.begun_at
    assert begun is not None
    assert (step.state, step.who) == (StepState.WAITING, Actor.TENANT_ADMINISTRATOR)
    assert "assign the role in the Microsoft Entra admin center" in step.reason
    assert step.gives_up_at == begun + schedule.PERSON_PATIENCE
    assert (await case.grant()).state is GrantState.WAITING_FOR_PERSON

    await _assign(case)
    assert (await case.work(ROLE)).is_done

    assert (await case.step(StepName.PREFLIGHT)).state is StepState.QUEUED
    assert await _helper_requests(case) == []
    assert await case.row(SEALED_ROW) is None


async def test_a_whole_grant_completes_by_hand(case: Case) -> None:
    """Everything after the role is as with a sign-in; the grant completes."""
    await _assign(case)
    await case.until(StepName.POLICY_ACTIVATION)
    await case.settle(StepName.POLICY_ACTIVATION)

    assert (await case.grant()).state is GrantState.COMPLETED
    assert types_of(await case.events()).count("grant.completed") == 1


async def test_steps_side_by_side_show_their_own_progress(case: Case) -> None:
    """The sync and the mail flow run at the same time: each has a row, and both are full in the end."""
    await _assign(case)
    await case.until(StepName.POLICY_ACTIVATION)
    await case.settle(StepName.POLICY_ACTIVATION)
    rows = {row.key: row.value for row in await case.parts.container.storage.grants.rows(case.grant_id, PROGRESS_ROWS)}

    assert set(rows) == {f"{PROGRESS_ROWS}{name}" for name in ("directory_sync", "mail_flow", "policy_activation")}
    sync, mail_flow, activation = (rows[key] for key in sorted(rows))
    assert sync["users"] == sync["of"] == (await case.step(StepName.DIRECTORY_SYNC)).facts["users"]
    assert mail_flow["objects"] == mail_flow["of"] == activation["objects"] == activation["of"]


async def test_an_assignment_that_spreads_late_is_awaited(case: Case) -> None:
    """Exchange notices the role after minutes: until then the step goes on watching."""
    await case.world.set(role_delay=600.0)
    await _assign(case)
    assert (await case.work(ROLE)).state is StepState.WAITING

    case.parts.simulation.clock.advance(601)
    assert (await case.work(ROLE)).is_done


async def test_it_looks_often_at_first_and_seldom_later(case: Case) -> None:
    """For an hour the administrator is likely at it; then every five minutes will do. No look ever asks for a sign-in."""
    first = [_delay(await case.work(ROLE)) for _ in range(6)]
    step = await case.step(ROLE)
    assert step.begun_at is not None
    case.parts.clock.advance_to(step.begun_at + timedelta(hours=1))
    later = [_delay(await case.work(ROLE)) for _ in range(6)]

    assert first == sorted(first)
    assert (first[0] < OFTEN, first[-1], later[-1]) == (True, OFTEN, SELDOM)
    assert max(later) == SELDOM
    (record,) = (await case.step(ROLE)).waits
    assert record.count == 11


async def test_nobody_in_two_weeks_is_a_problem(case: Case) -> None:
    """The wait ends when it said; then somebody is told, and "Check again" begins another one."""
    for _ in range(9):
        step = await case.work(ROLE)
    end = step.gives_up_at
    assert end is not None
    case.parts.clock.advance_to(end - SELDOM / 2)
    assert (await case.work(ROLE)).clock == end
    step = await case.work(ROLE)

    assert step.problem is not None
    assert (step.state, step.problem.code) == (StepState.NEEDS_ATTENTION, "role_not_assigned")
    assert step.problem.raw == "Exchange Online does not know yet what was just granted"
    assert (await _check_again(case)).state is StepState.QUEUED
    step = await case.work(ROLE)
    assert step.state is StepState.WAITING
    assert step.gives_up_at is not None
    assert step.gives_up_at >= end + schedule.PERSON_PATIENCE


async def test_check_again_looks_at_once(case: Case) -> None:
    """Whoever has just assigned the role need not wait for the next look."""
    step = await case.work(ROLE)
    await _assign(case)
    now = case.parts.clock()
    assert step.clock is not None
    assert now < step.clock

    step = await _check_again(case)
    assert step.state is StepState.QUEUED
    assert (await case.work(ROLE)).is_done


@pytest.mark.parametrize("fault", [{"status": 503}, {"status": 429, "headers": {"Retry-After": "9"}}, {"drop": True, "times": 9}])
async def test_a_busy_microsoft_does_not_end_the_watch(case: Case, fault: dict[str, Any]) -> None:
    """Days after it was begun an answer fails: the step goes on watching, until the same end, for the same person."""
    step = await case.work(ROLE)
    assert step.begun_at is not None
    case.parts.clock.advance_to(step.begun_at + timedelta(days=3))
    await case.world.fault("/oauth2/v2.0/token", **fault)
    interrupted = await case.work(ROLE)

    assert interrupted.state is StepState.WAITING
    assert interrupted.reason != step.reason
    assert (interrupted.gives_up_at, interrupted.who) == (step.gives_up_at, step.who)
    case.world.parts.simulation.faults.clear()
    await _assign(case)
    assert (await case.work(ROLE)).is_done


async def test_there_is_nothing_to_begin(case: Case) -> None:
    """By hand no sign-in is begun, whoever knows the address of one: it leads to the grant's page."""
    await case.work(ROLE)

    assert await case.parts.begin(case.grant_id, ROLE, "a-browser") == f"/grants/{case.grant_id}"


async def test_from_watching_to_a_sign_in(case: Case) -> None:
    """The administrator would rather have it done: they sign in, and it is."""
    await case.work(ROLE)
    step = await _choose(case, SIGN_IN)
    assert (step.state, step.gives_up_at) == (StepState.WAITING_FOR_PERSON, None)

    await case.act(ROLE)
    assert (await case.settle(ROLE)).is_done
    assert await _helper_requests(case)


async def test_from_an_open_sign_in_to_by_hand(signing_in: Case) -> None:
    """The administrator would rather not sign in here: the step looks by itself from then on."""
    step = await _choose(signing_in, BY_HAND)
    assert (step.state, step.who) == (StepState.QUEUED, None)
    await signing_in.work(ROLE)
    await _assign(signing_in)

    assert (await signing_in.work(ROLE)).is_done
    assert await _helper_requests(signing_in) == []


async def test_a_token_goes_when_by_hand_is_chosen(signing_in: Case) -> None:
    """The administrator's token that lies sealed is deleted with the choice, unused."""
    await signing_in.act(ROLE)
    assert await signing_in.row(SEALED_ROW) is not None
    await _choose(signing_in, BY_HAND)
    assert await signing_in.row(SEALED_ROW) is None

    assert (await signing_in.work(ROLE)).who is Actor.TENANT_ADMINISTRATOR
    assert [path for path in await _helper_requests(signing_in) if "roleAssignments" in path] == []


async def test_a_sign_in_that_comes_back_late_leaves_no_token(signing_in: Case) -> None:
    """By hand was chosen while the administrator was at Microsoft: nothing is stored of what they bring back."""
    parts, cookie = signing_in.parts, "a-browser"
    location = await parts.begin(signing_in.grant_id, ROLE, cookie)
    await _choose(signing_in, BY_HAND)
    before = await signing_in.work(ROLE)
    redirect = await parts.through_microsoft(location, signing_in.administrator)
    page = await parts.take_redirect(redirect, cookie)

    assert page == f"/grants/{signing_in.grant_id}"
    assert await signing_in.row(SEALED_ROW) is None
    assert await signing_in.step(ROLE) == before


def _choosing_meanwhile(case: Case, role_mode: RoleMode) -> Engine:
    """Return an engine in which somebody chooses another way while the run is at work."""

    async def workflow(run: Run) -> Outcome:
        outcome = await role_assignment(run)
        await _choose(case, role_mode)
        return outcome

    engine = case.parts.container.engine
    return replace(engine, workflows={**engine.workflows, ROLE: workflow})


async def test_a_run_with_a_token_is_dropped_by_the_choice(signing_in: Case) -> None:
    """What the run has done shows by its effect; its outcome, and the token, do not count any more."""
    await signing_in.world.set(role_delay=600.0)
    await signing_in.act(ROLE)
    step = await signing_in.work(ROLE, _choosing_meanwhile(signing_in, BY_HAND))
    assert (step.state, dict(step.facts)) == (StepState.QUEUED, {})
    assert await signing_in.row(SEALED_ROW) is None

    signing_in.parts.simulation.clock.advance(601)
    assert (await signing_in.work(ROLE)).is_done


@pytest.mark.parametrize("look", [1, 2], ids=["the first look", "a later look"])
async def test_a_look_is_dropped_by_the_choice(case: Case, look: int) -> None:
    """A look that is under way says nothing of a sign-in: the administrator is asked, without a problem."""
    for _ in range(look - 1):
        await case.work(ROLE)
    step = await case.work(ROLE, _choosing_meanwhile(case, SIGN_IN))

    assert (step.state, step.problem, step.who) == (StepState.WAITING_FOR_PERSON, None, Actor.TENANT_ADMINISTRATOR)
    assert step.reason == "Sign in at Microsoft once, so that the role can be assigned for you."


async def test_from_a_problem_to_the_other_way(case: Case) -> None:
    """A step that needs attention begins anew in the way that is chosen then."""
    step = await case.work(ROLE)
    assert step.gives_up_at is not None
    case.parts.clock.advance_to(step.gives_up_at)
    assert (await case.work(ROLE)).state is StepState.NEEDS_ATTENTION

    step = await _choose(case, SIGN_IN)
    assert (step.state, step.problem) == (StepState.WAITING_FOR_PERSON, None)
    step = await _choose(case, BY_HAND)
    assert step.state is StepState.QUEUED
    assert (await case.work(ROLE)).state is StepState.WAITING


async def test_a_choice_before_its_turn_counts_then(shared_world: World) -> None:
    """A step that is blocked begins in the way that was chosen last."""
    case = await shared_world.case()
    assert (await _choose(case, BY_HAND)).state is StepState.BLOCKED
    await case.until(ROLE)

    assert (await case.step(ROLE)).state is StepState.QUEUED
    assert (await case.work(ROLE)).state is StepState.WAITING


async def test_once_assigned_there_is_nothing_to_choose(case: Case) -> None:
    """A role that is there is there: the choice changes nothing, and is no event."""
    await _assign(case)
    assert (await case.work(ROLE)).is_done
    before = await case.grant()

    await _choose(case, SIGN_IN)

    assert await case.grant() == before
