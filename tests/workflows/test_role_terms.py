"""The role's term: kept from our own request or the role watch, told ahead of its end, extended, never doubled.

And what else a tenant's policy may ask: a ticket. And with less than the role: a role group.
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from local.browser import Browser
from local.microsoft365.model import Role, RolePolicy
from shared.domain import schedule
from shared.domain.grant import GrantState, RoleMode, Step
from shared.domain.roles import ENDS_AT, SOON, term_of
from shared.domain.steps import StepName, StepState
from shared.mailflow.kinds import NEEDED_CMDLETS
from shared.messages import ChooseRoleMode
from shared.workflows.access_watch import ROLE_WATCH
from shared.workflows.verification import PATIENCE
from tests.microsoft365.portal import assign_by_hand
from tests.support.worlds import Case, World, open_world

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROLE, WATCH = StepName.ROLE_ASSIGNMENT, StepName.ACCESS_WATCH
REQUESTS = "/roleManagement/directory/roleAssignmentScheduleRequests"
LIMITED = RolePolicy(is_expiration_required=True, maximum_duration="P90D", enabled_rules=frozenset({"Justification"}))
TICKETED = replace(LIMITED, enabled_rules=frozenset({"Justification", "Ticketing"}))
TERM = timedelta(days=90)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared_world() -> AsyncIterator[World]:
    """The running parts, where the operator has a registration with the role watch."""
    async with open_world(GRANTLINE_ROLE_WATCH="true") as world:
        yield world


@pytest_asyncio.fixture(loop_scope="module")
async def world(shared_world: World) -> AsyncIterator[World]:
    """The running parts, as quiet as at their start."""
    yield shared_world
    shared_world.calm()


async def _limited(world: World, policy: RolePolicy = LIMITED, **intent: Any) -> Case:
    """Return a grant whose tenant has Privileged Identity Management, with a policy of its own for the role."""
    case = await world.case(**intent)
    case.tenant.licences = (*case.tenant.licences, "AAD_PREMIUM_P2")
    case.tenant.role_policies[Role.EXCHANGE_ADMINISTRATOR] = policy
    case.parts.simulation.store.changed(case.tenant)
    return case


def _advance(case: Case, to: datetime) -> None:
    """Move our time, and Microsoft's with it."""
    case.parts.clock.advance_to(to)
    case.parts.simulation.clock.offset = case.parts.clock.offset


async def _watch_at(case: Case, at: datetime) -> Step:
    """Let the watch look at a time, and again until its patience with stale reads has ended."""
    _advance(case, at)
    step = await case.work(WATCH)
    if step.state is StepState.WAITING:
        assert step.begun_at
        _advance(case, step.begun_at + PATIENCE)
        step = await case.work(WATCH)
    return step


async def _end(case: Case) -> datetime:
    end = term_of(await case.grant()).ends_at
    assert end
    return end


async def _asked(case: Case) -> list[dict[str, Any]]:
    """Return the requests for an assignment that were made."""
    return [each for each in await case.requests(api="graph", operation=REQUESTS) if each["method"] == "POST"]


def _instances(case: Case) -> int:
    client = case.tenant.service_principal_of(case.application_id("mail_flow"))
    return sum(1 for each in case.tenant.role_assignments.values() if client and each.principal_id == client.id)


async def _assign_by_hand(case: Case) -> None:
    """Assign the role in Microsoft's portal, as the tenant's administrator."""
    simulation, application = case.parts.simulation, case.application_id("mail_flow")
    async with Browser(str(simulation.ca_file)) as browser:
        password = simulation.store.password
        await assign_by_hand(browser, simulation.url, case.administrator, case.tenant_id, application, password=password)


def _let_watch(case: Case) -> None:
    """Give the directory application the optional permission, as a consent to a registration that lists it does."""
    tenant, resources = case.tenant, case.parts.simulation
    directory = tenant.service_principal_of(case.application_id("directory"))
    assert directory
    like = next(each for each in tenant.app_role_assignments.values() if each.principal_id == directory.id)
    tenant.app_role_assignments["watch"] = replace(like, id="watch", app_role_id=WATCH_ID)
    resources.store.changed(tenant)


WATCH_ID = "d5fe8ce8-684c-4c83-a52c-46e882ce4be1"
"""Microsoft Graph's application permission RoleAssignmentSchedule.Read.Directory."""


async def test_the_end_is_told_ahead_and_moved_by_one_more_sign_in(world: World) -> None:
    """Two weeks before the end the step asks for a sign-in and says why; mail goes on; the sign-in moves the end."""
    case = await _limited(world)
    await case.until(WATCH)
    assert (await case.work(WATCH)).is_done
    end = await _end(case)
    assert abs(end - case.parts.clock() - TERM) < timedelta(minutes=10)

    assert (await _watch_at(case, end - SOON - timedelta(days=1))).is_done
    await _watch_at(case, end - SOON + timedelta(hours=24))
    step, grant = await case.step(ROLE), await case.grant()
    assert step.problem
    assert (step.state, step.problem.code, grant.state) == (
        StepState.WAITING_FOR_PERSON,
        "role_ends_soon",
        GrantState.WAITING_FOR_PERSON,
    )
    assert schedule.stamp(end) in step.problem.cause

    await case.act(ROLE)
    for name in (ROLE, StepName.VERIFICATION, WATCH):
        assert (await case.settle(name)).is_done, name
    assert await _end(case) > end + TERM / 2
    assert ((await case.grant()).state, _instances(case), len(await _asked(case))) == (GrantState.COMPLETED, 1, 2)


async def test_an_application_permission_extends_by_itself(world: World) -> None:
    """With the role assigner nobody is asked again: the watch's finding is cured by the step alone."""
    case = await _limited(world, role_mode=RoleMode.APPLICATION)
    await case.until(WATCH)
    assert (await case.work(WATCH)).is_done
    end = await _end(case)

    await _watch_at(case, end - SOON + timedelta(hours=25))
    for name in (ROLE, StepName.VERIFICATION, WATCH):
        assert (await case.settle(name)).is_done, name

    assert await _end(case) > end + TERM / 2
    assert ((await case.grant()).state, _instances(case)) == (GrantState.COMPLETED, 1)


async def test_an_expired_role_is_noticed_and_assigned_anew(world: World) -> None:
    """Nobody came in time: management stops, the grant says so, and a sign-in makes it whole."""
    case = await _limited(world)
    await case.until(WATCH)
    assert (await case.work(WATCH)).is_done
    end = await _end(case)

    await _watch_at(case, end + timedelta(days=1))
    step = await case.step(ROLE)
    assert step.problem
    assert (step.state, step.problem.code) == (StepState.WAITING_FOR_PERSON, "fact_missing")
    rules = {each["Name"]: each["State"] for each in case.tenant.exchange["TransportRule"]}
    assert rules["Grantline Inline Inbound Domain Rule"] == "Enabled"  # expiry stops management, not mail

    await case.act(ROLE)
    for name in (ROLE, StepName.VERIFICATION, WATCH):
        assert (await case.settle(name)).is_done, name
    assert (await case.grant()).state is GrantState.COMPLETED
    assert await _end(case) > end


async def test_an_extension_that_is_refused_is_no_extension(world: World) -> None:
    """That the assignment exists is success for who assigns it, not for who moves its end: a person reads what Microsoft said."""
    case = await _limited(world)
    await case.until(WATCH)
    assert (await case.work(WATCH)).is_done
    await _watch_at(case, await _end(case) - SOON + timedelta(hours=24))
    await case.act(ROLE)
    exists = {"error": {"code": "RoleAssignmentExists", "message": "The Role assignment already exists."}}
    await world.fault(REQUESTS, method="POST", status=400, body=exists)

    step = await case.work(ROLE)
    assert step.problem
    assert (step.state, step.problem.code) == (StepState.WAITING_FOR_PERSON, "role_refused")


async def test_a_busy_role_watch_keeps_what_was_seen(world: World) -> None:
    """The optional read never holds up the watch: what it saw last stands."""
    case = await _limited(world)
    await case.until(WATCH)
    _let_watch(case)
    assert (await case.work(WATCH)).is_done
    end = await _end(case)
    await case.retry(WATCH)
    await world.fault("roleAssignmentScheduleInstances", status=503, times=9)

    step = await case.work(WATCH)
    assert (step.is_done, await _end(case)) == (True, end)


@pytest.mark.parametrize("code", ["RoleAssignmentRequestAcrsValidationFailed", "InvalidRoleAssignmentRequestSchedule"])
async def test_what_only_the_portal_can_show_is_waited_for_by_hand(world: World, code: str) -> None:
    """A refusal that no sign-in here can cure: the page says by hand, and the assignment made there is noticed."""
    case = await _limited(world)
    await case.until(ROLE)
    await case.act(ROLE)
    await world.fault(REQUESTS, method="POST", status=400, body={"error": {"code": code, "message": "The policy refuses."}})
    step = await case.work(ROLE)
    assert step.problem
    assert (step.state, step.problem.code, (await case.grant()).role_mode) == (
        StepState.WAITING,
        "role_by_hand",
        RoleMode.BY_HAND,
    )

    await _assign_by_hand(case)
    assert (await case.settle(ROLE)).is_done
    assert (await case.grant()).role_mode is RoleMode.SIGN_IN


async def test_by_hand_the_end_is_seen_by_the_role_watch(world: World) -> None:
    """What an administrator assigned in the portal ends some day: the watch tells them, and sees that they have extended it."""
    case = await _limited(world, role_mode=RoleMode.BY_HAND)
    await case.until(ROLE)
    await _assign_by_hand(case)
    await case.settle(ROLE)
    await case.until(WATCH)
    assert (await case.work(WATCH)).is_done
    assert not term_of(await case.grant()).is_known
    _let_watch(case)
    await case.retry(WATCH)
    assert (await case.work(WATCH)).is_done
    end = await _end(case)

    step = await _watch_at(case, end - SOON + timedelta(hours=25))
    assert step.problem
    assert (step.state, step.problem.code) == (StepState.WAITING_FOR_PERSON, "role_ends_soon")
    assert (await case.grant()).state is GrantState.WAITING_FOR_PERSON
    held = next(each for each in case.tenant.role_assignments.values() if each.ends_at)
    case.tenant.role_assignments[held.id] = replace(held, ends_at=end + TERM)
    assert step.clock
    assert (await _watch_at(case, step.clock)).is_done
    assert (await _end(case) - end, (await case.grant()).state) == (TERM, GrantState.COMPLETED)


async def test_without_the_optional_permission_the_watch_goes_on(world: World) -> None:
    """A tenant that has not consented to the role watch is watched all the same; only the end stays unknown."""
    case = await world.case(role_mode=RoleMode.BY_HAND)
    await case.until(ROLE)
    await _assign_by_hand(case)
    await case.settle(ROLE)
    await case.until(WATCH)
    step = await case.work(WATCH)

    assert (step.is_done, step.facts[ENDS_AT]) == (True, None)
    consent = (await case.step(StepName.DIRECTORY_CONSENT)).facts["permissions"]
    assert ROLE_WATCH not in consent


async def test_a_ticket_is_asked_for_and_sent(world: World) -> None:
    """The policy wants a ticket: the step says so before it asks Microsoft, and goes on once it was given."""
    case = await _limited(world, TICKETED)
    await case.until(ROLE)
    await case.act(ROLE)
    step = await case.work(ROLE)
    assert step.problem
    assert (step.state, step.problem.code, await _asked(case)) == (StepState.WAITING_FOR_PERSON, "role_needs_ticket", [])

    await case.parts.container.site.commands.execute(
        ChooseRoleMode(
            command_id="ticket",
            grant_id=case.grant_id,
            role_mode=RoleMode.SIGN_IN,
            ticket_number="INC-7",
            ticket_system="Desk",
            requested_by="an operator",
        )
    )
    await case.act(ROLE)
    assert (await case.settle(ROLE)).is_done
    (request,) = case.tenant.role_requests.values()
    assert (request.wish.ticket_number, request.wish.ticket_system) == ("INC-7", "Desk")


async def test_the_justification_is_the_operators(world: World) -> None:
    """Whoever looks into the tenant's requests reads whose application it is, and for which account."""
    case = await _limited(world)
    await case.until(ROLE)
    await case.act(ROLE)
    assert (await case.settle(ROLE)).is_done

    (request,) = case.tenant.role_requests.values()
    account = (await case.grant()).account_name
    assert request.wish.justification == f"Grantline sets up and looks after the mail flow of {account}."
    assert request.wish.duration == LIMITED.maximum_duration


@pytest.mark.parametrize("lacks", [(), ("New-TransportRule",)])
async def test_a_role_group_with_the_needed_cmdlets_is_enough(world: World, lacks: tuple[str, ...]) -> None:
    """No directory role at all: the step is done when the group offers every needed cmdlet, and names what it lacks till then."""
    case = await world.case(role_mode=RoleMode.ROLE_GROUP)
    await case.until(ROLE)
    client = case.tenant.service_principal_of(case.application_id("mail_flow"))
    assert client
    groups = {"Grantline mail flow": {"Cmdlets": sorted(NEEDED_CMDLETS - set(lacks)), "Members": [client.id]}}
    case.tenant.exchange["RoleGroups"] = groups
    step = await case.work(ROLE)

    if not lacks:
        assert step.is_done
        assert (await case.until(WATCH)).state is StepState.QUEUED
        assert (await case.work(WATCH)).is_done
        return
    assert (step.state, "run the script" in step.reason) == (StepState.WAITING, True)
    assert lacks[0] in step.facts["seen"]
