"""The consents: done when the application's own token carries its permissions, whatever the browser brought back before."""

from collections.abc import AsyncIterator
from datetime import timedelta
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import pytest_asyncio

from shared.domain.grant import Step
from shared.domain.steps import STEPS, StepName, StepState
from shared.microsoft.permissions import Permission, registered
from shared.ports import Binding
from tests.support.grantline import CONSOLE
from tests.support.worlds import Case, World

pytestmark = pytest.mark.asyncio(loop_scope="module")

MAIL_FLOW, DIRECTORY = StepName.MAIL_FLOW_CONSENT, StepName.DIRECTORY_CONSENT
APPLICATIONS = {MAIL_FLOW: "mail_flow", DIRECTORY: "directory"}
TOKEN = "/oauth2/v2.0/token"
DIRECTORY_PERMISSIONS = registered("directory", "Mail.ReadBasic.All")
SPREADS = "Microsoft Entra does not know yet what was just granted"


@pytest_asyncio.fixture(loop_scope="module")
async def case(shared_world: World) -> AsyncIterator[Case]:
    """A grant that waits for its first consent."""
    yield await shared_world.case()
    shared_world.calm()


async def _accepted(case: Case, name: StepName) -> None:
    """Come to a consent's step and have the administrator accept; the look for its effect is queued."""
    await case.until(name)
    await case.act(name)
    assert (await case.step(name)).state is StepState.QUEUED


async def _binding(case: Case) -> Binding | None:
    return await case.parts.container.storage.bindings.tenant(case.tenant_id)


def _wait_of(step: Step) -> timedelta:
    """Return how long a waiting step waits, from when its run ended."""
    assert step.state is StepState.WAITING
    assert step.clock is not None
    assert step.changed_at is not None
    return step.clock - step.changed_at


@pytest.mark.parametrize("name", APPLICATIONS)
async def test_a_consent_that_spreads_late_is_awaited(case: Case, name: StepName) -> None:
    """While Microsoft does not know the consent yet the step waits, longer each time; once it is there the step is done."""
    if name is DIRECTORY:
        await case.until(DIRECTORY)
    await case.world.set(consent_delay=600)
    await _accepted(case, name)
    waits = []
    for _ in range(3):
        step = await case.work(name)
        assert step.reason == SPREADS
        waits.append(_wait_of(step))

    case.parts.simulation.clock.advance(601)
    step = await case.work(name)

    assert waits[0] < waits[1] < waits[2] < STEPS[name].retry_cap
    assert step.is_done
    assert step.facts["client_id"] == case.application_id(APPLICATIONS[name])
    assert [record.why for record in step.waits] == [SPREADS]


@pytest.mark.parametrize("permission", DIRECTORY_PERMISSIONS, ids=lambda permission: permission.name)
async def test_a_permission_that_is_missing_is_named(case: Case, permission: Permission) -> None:
    """A token without one of the permissions is no consent: the step waits and names it, and goes on once it is there."""
    await _accepted(case, DIRECTORY)
    granted = dict(case.tenant.app_role_assignments)
    await case.tamper("appRoleAssignment", permission.permission_id)
    step = await case.work(DIRECTORY)

    assert _wait_of(step) > timedelta()
    assert step.reason == f"Microsoft has not spread the consent yet; missing: {permission.name}"
    case.tenant.app_role_assignments.update(granted)
    assert (await case.work(DIRECTORY)).is_done


async def test_all_that_is_missing_is_named(case: Case) -> None:
    """An enterprise application that was made without any permission lacks them all."""
    await _accepted(case, DIRECTORY)
    await case.tamper("appRoleAssignment", case.application_id("directory"))

    reason = (await case.work(DIRECTORY)).reason

    assert reason.endswith(", ".join(sorted(permission.name for permission in DIRECTORY_PERMISSIONS)))


@pytest.mark.parametrize("loses", ["servicePrincipal", "appRoleAssignment"])
async def test_a_consent_without_effect_is_asked_for_again(case: Case, loses: str) -> None:
    """The wait ends after half an hour: the administrator is asked once more, and one more consent goes on."""
    await _accepted(case, MAIL_FLOW)
    await case.tamper(loses, case.application_id("mail_flow"))
    step = await case.work(MAIL_FLOW)
    assert step.begun_at is not None
    give_up = STEPS[MAIL_FLOW].give_up
    case.parts.clock.advance_to(step.begun_at + give_up - timedelta(minutes=1))
    assert (await case.work(MAIL_FLOW)).state is StepState.WAITING

    case.parts.clock.advance_to(step.begun_at + give_up)
    step = await case.work(MAIL_FLOW)

    assert step.problem is not None
    assert (step.state, step.problem.code) == (StepState.WAITING_FOR_PERSON, "consent_without_effect")
    assert step.problem.raw
    await case.act(MAIL_FLOW)
    assert (await case.settle(MAIL_FLOW)).is_done


async def test_the_tenant_is_reserved_then_confirmed(case: Case) -> None:
    """A proved sign-in reserves the tenant for the account; only the effect of the consent confirms it."""
    assert await _binding(case) is None
    await case.world.set(consent_delay=600)
    await _accepted(case, MAIL_FLOW)
    await case.work(MAIL_FLOW)
    reserved = await _binding(case)
    assert reserved is not None
    assert (reserved.grant_id, reserved.confirmed) == (case.grant_id, False)

    case.parts.simulation.clock.advance(601)
    await case.work(MAIL_FLOW)

    confirmed = await _binding(case)
    assert confirmed is not None
    assert (confirmed.grant_id, confirmed.confirmed) == (case.grant_id, True)


async def test_a_tenant_that_another_account_took_meanwhile_is_not_ours(case: Case) -> None:
    """A reservation that lapsed while the consent spread may be another account's by then: nothing is taken from it."""
    await case.world.set(consent_delay=600)
    await _accepted(case, MAIL_FLOW)
    await case.work(MAIL_FLOW)
    later = case.parts.clock() + timedelta(hours=2)
    other = Binding(case.tenant_id, "another", "another-grant", later, confirmed=True)
    assert (await case.parts.container.storage.bindings.bind_tenant(other)).account_id == "another"

    case.parts.simulation.clock.advance(601)
    step = await case.work(MAIL_FLOW)

    assert step.problem is not None
    assert (step.state, step.problem.code) == (StepState.NEEDS_ATTENTION, "tenant_taken")
    assert await _binding(case) == other


async def test_a_disabled_application_is_for_the_administrator(case: Case) -> None:
    """An enterprise application that is switched off: told with Microsoft's words, and done once it is switched on."""
    await _accepted(case, MAIL_FLOW)
    await case.tamper("servicePrincipal", case.application_id("mail_flow"), accountEnabled=False)
    step = await case.work(MAIL_FLOW)

    assert step.problem is not None
    assert (step.state, step.problem.code) == (StepState.WAITING_FOR_PERSON, "application_disabled")
    assert step.problem.raw.startswith("AADSTS7000112: ")
    await case.tamper("servicePrincipal", case.application_id("mail_flow"), accountEnabled=True)
    await case.act(MAIL_FLOW)
    assert (await case.settle(MAIL_FLOW)).is_done


@pytest.mark.parametrize(
    ("code", "error", "text", "problem_code", "state"),
    [
        (53003, "interaction_required", "Access has been blocked by Conditional Access policies.", "conditional_access", None),
        (650052, "invalid_resource", "The app needs access to a service that your organization lacks.", "no_exchange", None),
        (7000215, "invalid_client", "Invalid client secret provided.", "credential_expired", StepState.NEEDS_ATTENTION),
        (5000224, "invalid_grant", "We are sorry, this resource is not available.", "tenant_blocked", None),
    ],
)
async def test_a_refusal_of_microsoft_entra_is_for_whom_it_concerns(
    case: Case, code: int, error: str, text: str, problem_code: str, state: StepState | None
) -> None:
    """Each refusal becomes its problem, with Microsoft's text and correlation id, for the administrator or the operator."""
    correlation = "33333333-3333-4333-8333-333333333333"
    description = f"AADSTS{code}: {text} Trace ID: 4 Correlation ID: {correlation} Timestamp: 2026-11-23 10:00:00Z"
    await _accepted(case, MAIL_FLOW)
    body = {"error": error, "error_description": description, "error_codes": [code], "correlation_id": correlation}
    await case.world.fault(TOKEN, status=400, body=body)
    step = await case.work(MAIL_FLOW)

    assert step.problem is not None
    assert step.state is (state or StepState.WAITING_FOR_PERSON)
    assert (step.problem.code, step.problem.correlation_id) == (problem_code, correlation)
    assert step.problem.raw.startswith(f"AADSTS{code}: {text}")


@pytest.mark.parametrize(
    ("status", "reason"), [(429, "asks to slow down"), (503, "is busy (HTTP 503)"), (500, "is busy (HTTP 500)")]
)
async def test_a_busy_token_endpoint_is_waited_for(case: Case, status: int, reason: str) -> None:
    """Retry-After is honoured, nothing sleeps inside the run, and the next look succeeds."""
    await _accepted(case, MAIL_FLOW)
    await case.world.fault(TOKEN, status=status, headers={"Retry-After": "90"})
    before = case.parts.clock()
    step = await case.work(MAIL_FLOW)

    assert step.reason == f"Microsoft Entra {reason}"
    assert _wait_of(step) >= timedelta(seconds=89)
    assert case.parts.clock() - before < timedelta(seconds=30)
    assert len(await case.requests(status=str(status))) == 1
    assert (await case.work(MAIL_FLOW)).is_done


async def test_a_token_endpoint_that_drops_connections_is_waited_for(case: Case) -> None:
    """Without any answer the step waits and says why; it goes on when the endpoint answers again."""
    await _accepted(case, MAIL_FLOW)
    await case.world.fault(TOKEN, drop=True, times=20)
    step = await case.work(MAIL_FLOW)

    assert step.reason.startswith("Microsoft Entra can't be reached")
    case.world.calm()
    assert (await case.work(MAIL_FLOW)).is_done


async def test_a_forged_redirect_gives_nothing(case: Case) -> None:
    """Who signs in and makes the consent's redirect up has only a look taken: no permission is there, nothing is confirmed."""
    parts, cookie = case.parts, "a-browser"
    signed_in = await parts.through_microsoft(await parts.begin(case.grant_id, MAIL_FLOW, cookie), case.administrator)
    consent_page = await parts.take_redirect(signed_in, cookie)
    (state,) = parse_qs(urlsplit(consent_page).query)["state"]
    forged = urlencode({"admin_consent": "True", "tenant": case.tenant_id, "state": state})
    await parts.take_redirect(f"{CONSOLE}/consented?{forged}", cookie)
    step = await case.work(MAIL_FLOW)

    assert step.reason == "Microsoft has not spread the consent yet; missing: Exchange.ManageAsApp"
    binding = await _binding(case)
    assert binding is not None
    assert not binding.confirmed
