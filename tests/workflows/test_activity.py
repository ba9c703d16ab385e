"""The optional permission to read activity data: granted or not, the grant stays complete."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import pytest_asyncio

from shared.consent.state import RedirectError
from shared.domain.grant import GrantState
from shared.domain.steps import STEPS, StepName, StepState
from shared.engine import account_row
from shared.microsoft import open_microsoft
from shared.ports import RefusedError
from tests.support.grantline import CONSOLE
from tests.support.worlds import Case, World, types_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

ACTIVITY = StepName.ACTIVITY_CONSENT
WANTED = ["Audit.AzureActiveDirectory", "Audit.Exchange"]
"""The content types of the settings, which every grant subscribes to."""


@pytest_asyncio.fixture(loop_scope="module")
async def case(shared_world: World) -> AsyncIterator[Case]:
    """A grant that is complete."""
    case = await shared_world.case()
    await case.until(ACTIVITY)
    yield case
    shared_world.calm()


def _subscribed(case: Case) -> dict[str, str]:
    """Return the activity application's subscriptions in the tenant: status by content type."""
    own = [each for each in case.tenant.activity_subscriptions.values() if each.app_id == case.application_id("activity")]
    return {each.content_type: each.status for each in own}


async def _listed(case: Case) -> bool:
    """Tell whether the console's list says that the permission could still be granted."""
    rows, _ = await case.parts.container.storage.accounts.page(900)
    return next(row.asks_activity for row in rows if row.grant_id == case.grant_id)


async def _to_consent(case: Case, cookie: str) -> str:
    """Sign in as the administrator; return the state with which the consent comes back."""
    parts = case.parts
    signed_in = await parts.through_microsoft(await parts.begin(case.grant_id, ACTIVITY, cookie), case.administrator)
    (state,) = parse_qs(urlsplit(await parts.take_redirect(signed_in, cookie)).query)["state"]
    return state


async def test_it_is_offered_once_the_grant_is_complete(case: Case) -> None:
    """The banner's fact: the account could grant it, and nothing hurries anybody."""
    grant, step = await case.grant(), await case.step(ACTIVITY)

    assert grant.state is GrantState.COMPLETED
    assert (step.state, step.clock) == (StepState.WAITING_FOR_PERSON, None)
    assert await _listed(case)
    assert not account_row(replace(grant, steps={**grant.steps, ACTIVITY: replace(step, state=StepState.DONE)})).asks_activity


async def test_an_accepted_consent_is_done_with_the_tokens_permission(case: Case) -> None:
    """What counts is the application's own token for the Office 365 Management APIs; the grant was and stays complete."""
    await case.act(ACTIVITY)
    assert (await case.grant()).state is GrantState.COMPLETED
    step = await case.settle(ACTIVITY)

    assert step.is_done
    assert step.facts["permissions"] == ["ActivityFeed.Read"]
    assert step.facts["client_id"] == case.application_id("activity")
    assert step.facts["content_types"] == WANTED
    assert _subscribed(case) == dict.fromkeys(WANTED, "enabled")
    assert (await case.grant()).state is GrantState.COMPLETED
    types = types_of(await case.events())
    assert (types.count("grant.completed"), types.count("policy.enabled"), types[-1]) == (1, 1, "step.done")
    assert not await _listed(case)


async def test_a_denied_consent_changes_nothing(case: Case) -> None:
    """The administrator says no: they are told how to go on, it is written down, and it is offered still."""
    state = await _to_consent(case, "a-browser")
    denied = {"error": "access_denied", "error_description": "AADSTS65004: User declined to consent to access the app."}
    query = urlencode({**denied, "admin_consent": "True", "tenant": case.tenant_id, "state": state})
    with pytest.raises(RedirectError) as caught:
        await case.parts.take_redirect(f"{CONSOLE}/consented?{query}", "a-browser")
    step = await case.step(ACTIVITY)

    assert caught.value.problem.code == "consent_denied"
    assert step.problem == caught.value.problem
    assert (step.state, (await case.grant()).state) == (StepState.WAITING_FOR_PERSON, GrantState.COMPLETED)
    assert types_of(await case.events())[-1] == "consent.refused"
    assert await _listed(case)
    await case.act(ACTIVITY)
    assert (await case.settle(ACTIVITY)).is_done


async def test_a_consent_that_was_taken_away_is_asked_for_again(case: Case) -> None:
    """Accepted, and removed in the admin center before we look: named, waited for, then the administrator is asked once more."""
    await case.act(ACTIVITY)
    await case.tamper("appRoleAssignment", case.application_id("activity"))
    step = await case.work(ACTIVITY)
    assert (step.state, step.reason.rpartition("; ")[2]) == (StepState.WAITING, "missing: ActivityFeed.Read")
    assert step.begun_at is not None
    assert step.gives_up_at == step.begun_at + STEPS[ACTIVITY].give_up

    case.parts.clock.advance_to(step.gives_up_at)
    step = await case.work(ACTIVITY)

    assert step.problem is not None
    assert (step.state, step.problem.code) == (StepState.WAITING_FOR_PERSON, "consent_without_effect")
    assert (step.clock, (await case.grant()).state) == (None, GrantState.COMPLETED)
    await case.act(ACTIVITY)
    assert (await case.settle(ACTIVITY)).is_done


async def test_who_may_not_consent_is_refused(case: Case) -> None:
    """The same proof as for every consent: a member of the tenant is no administrator."""
    with pytest.raises(RedirectError) as caught:
        await case.parts.act(case.grant_id, ACTIVITY, f"member@{case.domain}")

    assert caught.value.problem.code == "not_administrator"
    assert (await case.step(ACTIVITY)).state is StepState.WAITING_FOR_PERSON


async def test_the_sign_in_is_at_the_grants_own_tenant(case: Case) -> None:
    """The tenant is settled: Microsoft lets nobody else's administrator in at its address, and the proof would refuse them."""
    location = await case.parts.begin(case.grant_id, ACTIVITY, "a-browser")

    assert urlsplit(location).path == f"/{case.tenant_id}/oauth2/v2.0/authorize"
    assert parse_qs(urlsplit(location).query)["client_id"] == [case.application_id("activity")]


async def test_it_is_not_begun_before_the_grant_is_complete(shared_world: World) -> None:
    """While the grant is on its way there is nothing to consent to yet: the browser is sent to the grant's page."""
    case = await shared_world.case()

    assert await case.parts.begin(case.grant_id, ACTIVITY, "a-browser") == f"/grants/{case.grant_id}"
    assert not account_row(await case.grant()).asks_activity


async def test_where_it_is_not_configured_that_is_said(case: Case) -> None:
    """An installation without the application says so to whoever follows a link, and to a run that was under way."""
    settings = case.parts.settings.model_copy(update={"activity_client_id": None, "activity_client_secret": None})
    flow = replace(case.parts.container.site.consent, settings=settings)
    with pytest.raises(RedirectError) as caught:
        await flow.begin(case.grant_id, ACTIVITY, "a-browser")
    microsoft = open_microsoft(settings)
    try:
        with pytest.raises(RefusedError) as refused:
            await microsoft.identity.application_token("activity", case.tenant_id)
    finally:
        await microsoft.close()

    assert {caught.value.problem.code, refused.value.problem.code} == {"application_not_offered"}
    assert (await case.step(ACTIVITY)).state is StepState.WAITING_FOR_PERSON


async def test_a_grant_is_never_waiting_for_it(case: Case) -> None:
    """A year later the grant is complete, nothing is due, and the step can be done."""
    await case.parts.container.engine.sweep()
    case.parts.clock.offset += timedelta(days=365)
    await case.parts.container.engine.sweep()

    assert (await case.grant()).state is GrantState.COMPLETED
    assert (await case.step(ACTIVITY)).problem is None
