"""The role: the administrator's token is used once and dropped, the role is assigned once, and its effect is awaited."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from local.microsoft365.model import Role
from shared.consent.sealing import SEALED_ROW
from shared.domain.steps import STEPS, StepName, StepState
from shared.mailflow.kinds import NEEDED_CMDLETS, WRITE_CMDLETS
from shared.ports import Change, GrantStore, HeldRole, Roles, RoleWish, Stored
from shared.workflows.role_assignment import READ_CMDLETS, missing_cmdlets
from shared.workflows.run import Run
from tests.support.worlds import Case, KilledError, World

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROLE = StepName.ROLE_ASSIGNMENT
ASSIGNMENTS = "/roleManagement/directory/roleAssignments"
DAY = timedelta(hours=24)


@pytest_asyncio.fixture(loop_scope="module")
async def case(shared_world: World) -> AsyncIterator[Case]:
    """A grant whose administrator has just signed in for the role; the token lies sealed."""
    case = await shared_world.case()
    await case.until(ROLE)
    await case.act(ROLE)
    yield case
    shared_world.calm()


def _holders(case: Case) -> list[str]:
    """Return the application ids of the service principals that hold the Exchange Administrator role."""
    tenant = case.tenant
    held = [each for each in tenant.role_assignments.values() if each.role_definition_id == Role.EXCHANGE_ADMINISTRATOR]
    return [
        tenant.service_principals[each.principal_id].app_id for each in held if each.principal_id in tenant.service_principals
    ]


async def _helper_calls(case: Case) -> list[str]:
    """Return the methods of the calls that were made with the administrator's token."""
    calls = await case.requests(api="graph", operation=ASSIGNMENTS)
    assert {each["app_id"] for each in calls} <= {case.application_id("role_helper")}
    return [each["method"] for each in calls]


@dataclass
class _Saves:
    """A store of grants that remembers each change that it saved."""

    inner: GrantStore
    changes: list[Change] = field(default_factory=list)

    async def save(self, stored: Stored, change: Change) -> Stored:
        """Save the change, then remember it."""
        saved = await self.inner.save(stored, change)
        self.changes.append(change)
        return saved

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


async def test_the_token_is_used_once_and_dropped_with_the_outcome(case: Case) -> None:
    """The one transaction that says that the role is assigned deletes the sealed token; later tries make no call with it."""
    await case.world.set(role_delay=600.0)
    engine = case.parts.container.engine
    saves = _Saves(engine.grants)
    assert await case.row(SEALED_ROW) is not None

    step = await case.work(ROLE, replace(engine, grants=saves))
    await case.work(ROLE)

    assert step.state is StepState.WAITING
    (outcome,) = (change for change in saves.changes if SEALED_ROW in change.deletes)
    assert outcome.grant.steps[ROLE].state is StepState.WAITING
    assert await case.row(SEALED_ROW) is None
    assert await _helper_calls(case) == ["GET", "POST"]
    assert _holders(case) == [case.application_id("mail_flow")]


@pytest.mark.parametrize("role_delay", [0.0, 600.0])
async def test_a_crash_after_the_assignment_does_not_double_it(case: Case, role_delay: float) -> None:
    """A process that dies before the outcome is saved leaves the token; the next run finds the role assigned, or its effect."""
    await case.world.set(role_delay=role_delay)
    with pytest.raises(KilledError):
        await case.work(ROLE, case.world.engine(_killed_after_assignment))
    step = await case.step(ROLE)
    assert (step.state, await case.row(SEALED_ROW) is None) == (StepState.RUNNING, False)
    assert step.clock is not None

    case.parts.clock.advance_to(step.clock)
    step = await case.work(ROLE)

    assert step.state is (StepState.WAITING if role_delay else StepState.DONE)
    assert await case.row(SEALED_ROW) is None
    assert (await _helper_calls(case)).count("POST") == 1
    assert _holders(case) == [case.application_id("mail_flow")]


@dataclass(frozen=True, slots=True)
class _KillingRoles:
    """Assigns a role; then the process ends."""

    inner: Roles

    async def assign(self, wish: RoleWish, *, with_pim: bool) -> HeldRole:
        """Assign the role and end."""
        await self.inner.assign(wish, with_pim=with_pim)
        raise KilledError

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@dataclass(frozen=True, slots=True)
class _KillingMicrosoft:
    """Microsoft, but for its role assignments."""

    inner: Any

    def roles(self, tenant_id: str, access_token: str = "", *, application: str = "") -> _KillingRoles:
        """Return the roles that end the process."""
        return _KillingRoles(self.inner.roles(tenant_id, access_token, application=application))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def _killed_after_assignment(run: Run) -> Run:
    return replace(run, clients=replace(run.clients, microsoft=_KillingMicrosoft(run.clients.microsoft)))


async def test_a_lost_answer_does_not_double_the_assignment(case: Case) -> None:
    """The assignment was made but its answer lost: the token stays for the next try, which finds the role."""
    await case.world.set(role_delay=600.0)
    await case.world.fault(ASSIGNMENTS, method="POST", drop=True, after=True)

    step = await case.work(ROLE)
    assert (step.reason, await case.row(SEALED_ROW) is None) == ("Microsoft Graph can't be reached (RemoteProtocolError)", False)
    step = await case.work(ROLE)

    assert "waiting for Exchange Online to notice it" in step.reason
    assert (await _helper_calls(case)).count("POST") == 1


async def test_an_expired_token_asks_for_one_more_sign_in(case: Case) -> None:
    """A token that lay too long is dropped unused; one more sign-in goes on."""
    case.parts.clock.offset = timedelta(minutes=31)
    step = await case.work(ROLE)

    assert step.problem is not None
    assert (step.state, step.problem.code) == (StepState.WAITING_FOR_PERSON, "sign_in_again")
    assert await case.row(SEALED_ROW) is None
    assert await _helper_calls(case) == []

    await case.act(ROLE)
    assert (await case.settle(ROLE)).is_done


async def test_a_token_that_microsoft_takes_for_expired_asks_for_one_more_sign_in(case: Case) -> None:
    """Microsoft's own word on the token counts, however long we would have kept it."""
    await case.world.fault(ASSIGNMENTS, status=401)
    step = await case.work(ROLE)

    assert step.problem is not None
    assert (step.state, step.problem.code) == (StepState.WAITING_FOR_PERSON, "sign_in_again")
    assert await case.row(SEALED_ROW) is None


async def test_a_token_of_another_grant_opens_nothing(case: Case) -> None:
    """A sealed token that was moved from another grant's partition does not open here: it is dropped, nothing is assigned."""
    other = await case.world.case()
    await other.until(ROLE)
    await other.act(ROLE)
    grants = case.parts.container.storage.grants
    (stolen,) = await grants.rows(other.grant_id, SEALED_ROW)
    await grants.put(case.grant_id, stolen)

    step = await case.work(ROLE)

    assert step.problem is not None
    assert (step.state, step.problem.code) == (StepState.WAITING_FOR_PERSON, "sign_in_again")
    assert await case.row(SEALED_ROW) is None
    assert await _helper_calls(case) == []
    assert _holders(case) == []


async def test_a_refused_assignment_is_for_another_administrator(case: Case) -> None:
    """An administrator who has lost the right is told so, and the token is dropped; one who has it goes on."""
    await case.world.fault(ASSIGNMENTS, method="POST", status=403, body=REFUSED)
    step = await case.work(ROLE)

    assert step.problem is not None
    assert (step.state, step.problem.code) == (StepState.WAITING_FOR_PERSON, "role_refused")
    assert step.problem.raw == "Authorization_RequestDenied: Insufficient privileges to complete the operation."
    assert await case.row(SEALED_ROW) is None
    assert _holders(case) == []

    await case.act(ROLE)
    assert (await case.settle(ROLE)).is_done


REFUSED = {
    "error": {
        "code": "Authorization_RequestDenied",
        "message": "Insufficient privileges to complete the operation.",
        "innerError": {"request-id": "22222222-2222-4222-8222-222222222222"},
    }
}
"""https://learn.microsoft.com/graph/resolve-auth-errors"""


async def test_a_busy_microsoft_keeps_the_token(case: Case) -> None:
    """A 429 is a wait as long as Microsoft wishes; the token stays sealed for the next try."""
    await case.world.fault(ASSIGNMENTS, status=429, headers={"Retry-After": "77"})
    step = await case.work(ROLE)

    assert (step.state, step.reason) == (StepState.WAITING, "Microsoft Graph asks to slow down")
    assert step.clock is not None
    assert step.changed_at is not None
    assert step.clock - step.changed_at >= timedelta(seconds=76)
    assert await case.row(SEALED_ROW) is not None
    assert (await case.settle(ROLE)).is_done


async def test_the_effect_is_awaited_with_a_new_credential_each_time(case: Case) -> None:
    """Until the role has spread every try asks for a token of its own, with a reason and a clock; then the step is done."""
    await case.world.set(role_delay=600)
    await case.work(ROLE)
    delays = []
    for _ in range(3):
        tokens = len(await _tokens(case))
        step = await case.work(ROLE)
        assert step.clock is not None
        assert step.changed_at is not None
        delays.append((step.clock - step.changed_at).total_seconds())
        assert "waiting for Exchange Online to notice it" in step.reason
        assert len(await _tokens(case)) == tokens + 1

    assert delays == sorted(delays)
    assert delays[0] < delays[-1] <= STEPS[ROLE].retry_cap.total_seconds()
    case.parts.simulation.clock.advance(601)
    assert (await case.work(ROLE)).is_done


async def _tokens(case: Case) -> list[Mapping[str, Any]]:
    """Return the requests for tokens of the mail-flow application."""
    asked = await case.requests(api="identity", method="POST")
    return [each for each in asked if each["path"].endswith("/token") and each["app_id"] == case.application_id("mail_flow")]


async def test_no_effect_in_a_day_is_a_problem(case: Case) -> None:
    """The wait has an end: after 24 hours a person reads what is missing; a retry begins with a sign-in."""
    await case.world.set(role_delay=10 * DAY.total_seconds())
    step = await case.work(ROLE)
    assert step.begun_at is not None
    case.parts.clock.advance_to(step.begun_at + DAY - timedelta(minutes=1))
    assert (await case.work(ROLE)).state is StepState.WAITING

    case.parts.clock.advance_to(step.begun_at + DAY)
    step = await case.work(ROLE)

    assert step.problem is not None
    assert (step.state, step.problem.code) == (StepState.NEEDS_ATTENTION, "role_without_effect")
    assert step.problem.raw == "Exchange Online does not know yet what was just granted"
    case.world.calm()
    await case.retry(ROLE)
    assert (await case.step(ROLE)).state is StepState.WAITING_FOR_PERSON


async def test_a_smaller_role_is_not_enough(case: Case) -> None:
    """A role that offers the reads alone has not the effect; what it lacks is named at the end of the wait."""
    begun_at = (await case.work(ROLE)).begun_at
    assert begun_at is not None
    await case.tamper("roleAssignment", case.application_id("mail_flow"), roleDefinitionId=Role.GLOBAL_READER)
    assert (await case.work(ROLE)).state is StepState.WAITING

    case.parts.clock.advance_to(begun_at + DAY)
    step = await case.work(ROLE)

    assert step.problem is not None
    assert step.problem.raw == f"Exchange does not offer yet: {', '.join(sorted(WRITE_CMDLETS))}"


async def test_every_cmdlet_that_is_used_must_be_offered(case: Case) -> None:
    """Whichever cmdlet of the mail flow Exchange does not offer yet is named; with all of them offered nothing is missing."""
    await case.work(ROLE)
    grant, step = await case.grant(), await case.step(ROLE)
    for cmdlet in sorted(NEEDED_CMDLETS):
        offered = {"exportedCmdlets": ",".join(NEEDED_CMDLETS - {cmdlet})}
        await case.world.fault("EXOModuleFile", status=200, body={"value": [offered]})
        async with case.parts.container.engine.open_run(grant, step, case.parts.clock() + timedelta(minutes=1)) as run:
            assert await missing_cmdlets(run) == f"Exchange does not offer yet: {cmdlet}"

    assert (await case.work(ROLE)).is_done


@pytest.mark.parametrize("cmdlet", READ_CMDLETS)
async def test_a_read_must_succeed_as_well(case: Case, cmdlet: str) -> None:
    """Cmdlets that are offered but still answer 403 with NUL bytes are no effect yet."""
    await case.work(ROLE)
    await case.world.fault(cmdlet=cmdlet, status=403, body="")

    assert (await case.work(ROLE)).state is StepState.WAITING
    assert (await case.work(ROLE)).is_done
