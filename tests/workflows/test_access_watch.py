"""The daily watch: what is taken away in the tenant is noticed, given back by its owner, and everything is verified after it."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
import pytest_asyncio

from local.microsoft365.model import AppRoleAssignment, Role
from shared.domain.grant import GrantState, Step
from shared.domain.steps import StepName, StepState
from shared.workflows.verification import PATIENCE
from tests.support.worlds import Case, World, types_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

WATCH = StepName.ACCESS_WATCH
DAY = timedelta(days=1)
GRAPH = "Microsoft Graph"
DIRECTORY_READ_ALL = "7ab1d382-f21e-4acd-a863-ba3e13f7da61"
"""Microsoft Graph's application permission Directory.Read.All: more than Grantline asks for."""


@pytest_asyncio.fixture(loop_scope="module")
async def case(shared_world: World) -> AsyncIterator[Case]:
    """A grant that is complete."""
    case = await shared_world.case()
    await case.until(WATCH)
    yield case
    shared_world.calm()


async def _look(case: Case) -> Step:
    """Have the watch look now, and again until its patience with stale reads has ended."""
    step = await case.work(WATCH)
    if step.state is StepState.WAITING:
        assert step.begun_at is not None
        _advance(case, step.begun_at + PATIENCE)
        step = await case.work(WATCH)
    return step


async def _next_day(case: Case) -> None:
    step = await case.step(WATCH)
    assert step.clock is not None
    _advance(case, step.clock)


def _advance(case: Case, to: datetime) -> None:
    """Move our time, and Microsoft's with it: its tokens must not be a day old."""
    case.parts.clock.advance_to(to)
    case.parts.simulation.clock.offset = case.parts.clock.offset


def _assignments(case: Case, application: str) -> list[AppRoleAssignment]:
    client = case.tenant.service_principal_of(case.application_id(application))
    assert client
    return [each for each in case.tenant.app_role_assignments.values() if each.principal_id == client.id]


async def test_a_healthy_grant_is_looked_at_daily_and_left_alone(case: Case) -> None:
    """A look changes nothing in the tenant, is told once, and names the moment of the next."""
    before = [each for each in await case.requests() if each["method"] in ("POST", "PATCH", "DELETE") and each["api"] == "graph"]
    first = await _look(case)
    events = await case.events()
    await _next_day(case)
    second = await _look(case)

    assert (first.state, first.facts["extra"], first.facts["missing"]) == (StepState.DONE, {}, {})
    assert first.clock is not None
    assert second.clock is not None
    assert (await case.grant()).state is GrantState.COMPLETED
    assert second.clock >= first.clock + DAY
    assert len(await case.events()) == len(events)
    after = [each for each in await case.requests() if each["method"] in ("POST", "PATCH", "DELETE") and each["api"] == "graph"]
    assert after == before


async def test_a_permission_that_is_taken_away_is_asked_for_again(case: Case) -> None:
    """The consent waits for an administrator who reads what is missing; then all is verified, and the grant is whole again."""
    await _look(case)
    taken = _assignments(case, "directory")[0]
    del case.tenant.app_role_assignments[taken.id]
    await _next_day(case)
    watch = await _look(case)

    grant = await case.grant()
    consent = grant.steps[StepName.DIRECTORY_CONSENT]
    assert consent.problem is not None
    assert (consent.state, consent.problem.code) == (StepState.WAITING_FOR_PERSON, "consent_missing")
    (missing,) = watch.facts["missing"]["directory"]
    assert missing in consent.problem.raw
    assert (watch.state, grant.steps[StepName.VERIFICATION].state, grant.state) == (
        StepState.BLOCKED,
        StepState.BLOCKED,
        GrantState.WAITING_FOR_PERSON,
    )

    seen = (await case.events())[-1].seq
    await case.act(StepName.DIRECTORY_CONSENT)
    for name in (StepName.DIRECTORY_CONSENT, StepName.VERIFICATION, WATCH):
        assert (await case.settle(name)).is_done
    assert (await case.grant()).state is GrantState.COMPLETED
    assert "grant.restored" in types_of(await case.events(seen))
    assert "grant.completed" not in types_of(await case.events(seen))
    assert (await case.step(WATCH)).facts["missing"] == {}


async def test_more_than_was_asked_for_is_told(case: Case) -> None:
    """An administrator gave the application more: nothing breaks, and the page can say so."""
    given = _assignments(case, "directory")[0]
    graph = next(each for each in case.tenant.service_principals.values() if each.display_name == GRAPH)
    extra = replace(given, id="extra", app_role_id=DIRECTORY_READ_ALL, resource_id=graph.id)
    case.tenant.app_role_assignments["extra"] = extra
    step = await _look(case)

    assert (step.state, step.facts["extra"]) == (StepState.DONE, {"directory": ["Directory.Read.All"]})


async def test_a_role_that_is_taken_away_is_assigned_again(case: Case) -> None:
    """The role's step asks for a sign-in and says why; the sign-in makes the grant whole."""
    held = [each for each in case.tenant.role_assignments.values() if each.role_definition_id == Role.EXCHANGE_ADMINISTRATOR]
    for each in held:
        if each.principal_id in case.tenant.service_principals:
            del case.tenant.role_assignments[each.id]
    await _look(case)
    step = await case.step(StepName.ROLE_ASSIGNMENT)
    assert step.problem is not None
    assert (step.state, step.problem.code) == (StepState.WAITING_FOR_PERSON, "fact_missing")

    await case.act(StepName.ROLE_ASSIGNMENT)
    for name in (StepName.ROLE_ASSIGNMENT, StepName.VERIFICATION, WATCH):
        assert (await case.settle(name)).is_done
    assert (await case.grant()).state is GrantState.COMPLETED


async def test_a_deleted_application_is_a_lost_consent(case: Case) -> None:
    """Without its service principal the application gets no token at all: the first consent is asked for again."""
    await case.tamper("servicePrincipal", case.application_id("mail_flow"))
    await _look(case)

    step = await case.step(StepName.MAIL_FLOW_CONSENT)
    assert step.problem is not None
    assert (step.state, step.problem.code) == (StepState.WAITING_FOR_PERSON, "consent_missing")


async def test_the_operators_own_fault_asks_nobody_in_the_tenant(case: Case) -> None:
    """A secret that Microsoft does not take needs the operator; once it is right, the next day's look ends it by itself."""
    body = {
        "error": "invalid_client",
        "error_description": "AADSTS7000222: The provided client secret keys for app are expired.",
        "error_codes": [7000222],
    }
    await case.world.fault("/oauth2/v2.0/token", status=401, body=body, times=20)
    step = await case.work(WATCH)
    assert step.problem is not None
    assert (step.state, (await case.grant()).state) == (StepState.NEEDS_ATTENTION, GrantState.NEEDS_ATTENTION)
    assert step.problem.code in ("credential_expired", "our_registration")

    case.world.calm()
    await _next_day(case)
    assert (await _look(case)).is_done
    assert (await case.grant()).state is GrantState.COMPLETED


async def test_an_operator_looks_at_once(case: Case) -> None:
    """What the page calls Re-create access token: new tokens of every application, and all that stands on them, now."""
    await _look(case)
    asked = len(await case.requests(api="identity", method="POST"))
    await case.retry(WATCH)
    step = await case.work(WATCH)

    assert step.is_done
    assert len(await case.requests(api="identity", method="POST")) >= asked + 3


async def test_verifying_again_interrupts_no_scanning(case: Case) -> None:
    """A routing rule that is gone is made anew, off until it is verified; the one that is there stays on all the while."""
    gone, kept = "Grantline Inline Inbound Domain Rule", "Grantline Inline Outbound Domain Rule"
    await case.tamper("TransportRule", gone)
    seen = (await case.events())[-1].seq
    await case.queue_again(StepName.VERIFICATION)
    states: list[str] = []
    for _ in range(60):
        grant = await case.grant()
        ready = [step.name for step in grant.steps.values() if step.state in (StepState.QUEUED, StepState.WAITING)]
        if not ready:
            break
        await case.work(ready[0])
        rules = {each["Name"]: each["State"] for each in case.tenant.exchange["TransportRule"]}
        assert rules[kept] == "Enabled"
        states += [rules.get(gone, "gone")]

    assert list(dict.fromkeys(states)) == ["gone", "Disabled", "Enabled"]
    assert (await case.grant()).state is GrantState.COMPLETED
    assert "grant.completed" not in types_of(await case.events(seen))
    assert "grant.restored" in types_of(await case.events(seen))
