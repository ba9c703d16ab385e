"""Subscriptions to activity data: started, seen, left alone once they are on, and every documented refusal named."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from shared.domain.grant import GrantState
from shared.domain.steps import STEPS, StepName, StepState
from shared.microsoft import open_microsoft
from tests.support.worlds import Case, open_world

pytestmark = pytest.mark.asyncio(loop_scope="module")

ACTIVITY = StepName.ACTIVITY_CONSENT
WANTED = ["Audit.AzureActiveDirectory", "Audit.Exchange"]
"""The content types of the settings, which every grant subscribes to."""
LIST = "subscriptions/list"
START = "subscriptions/start"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared_case() -> AsyncIterator[Case]:
    """A grant that is complete; its administrator may still consent to activity data."""
    async with open_world() as world:
        case = await world.case()
        await case.until(ACTIVITY)
        yield case


@pytest_asyncio.fixture(loop_scope="module")
async def case(shared_case: Case) -> AsyncIterator[Case]:
    """The same for each test: nothing is subscribed to, and the consent was just given."""
    steps = await shared_case.grant()
    await shared_case.act(ACTIVITY)
    shared_case.parts.simulation.recorder.clear()
    yield shared_case
    await _tenant(shared_case, unified_audit_log=True, activity_disabled_by="")
    shared_case.tenant.activity_subscriptions.clear()
    await shared_case.put_back(steps)
    shared_case.world.calm()


def _subscribed(case: Case) -> dict[str, str]:
    """Return the activity application's subscriptions in the tenant: status by content type."""
    return {each.content_type: each.status for each in case.tenant.activity_subscriptions.values()}


async def _tenant(case: Case, **change: object) -> None:
    """Change a state of the tenant that its administrators or Microsoft decide."""
    await case.world.command(f"tenants/{case.tenant_id}", change)


async def _starts(case: Case) -> list[int]:
    """Return the statuses of the starts that were asked for in this test; 0 is one whose answer was lost."""
    return [each["status"] for each in await case.requests(api="activity", operation=START)]


async def test_what_is_subscribed_to_stays_as_it_is(case: Case) -> None:
    """A second run sees that everything is on, changes nothing and asks for no start."""
    await case.settle(ACTIVITY)
    started = case.tenant.activity_subscriptions.copy()
    await case.queue_again(ACTIVITY)

    assert (await case.settle(ACTIVITY)).facts["content_types"] == WANTED
    assert case.tenant.activity_subscriptions == started
    assert await _starts(case) == [200, 200]


async def test_a_start_whose_answer_was_lost_is_success(case: Case) -> None:
    """The subscription was made and nobody heard of it: the next run goes on, "already enabled" or not."""
    await case.world.fault(START, drop=True, after=True)
    step = await case.work(ACTIVITY)
    assert step.state is StepState.WAITING
    await case.world.fault(LIST, stale=3600)  # a list that has not heard of it: the start is asked for once more, AF20024

    assert (await case.settle(ACTIVITY)).is_done
    assert await _starts(case) == [0, 400, 200]
    assert _subscribed(case) == dict.fromkeys(WANTED, "enabled")


async def test_a_subscription_that_was_stopped_is_started_again(case: Case) -> None:
    """Somebody has stopped one of them: it alone is started again."""
    await case.settle(ACTIVITY)
    key = next(name for name, each in case.tenant.activity_subscriptions.items() if each.content_type == "Audit.Exchange")
    case.tenant.activity_subscriptions[key] = replace(case.tenant.activity_subscriptions[key], status="disabled")
    await case.queue_again(ACTIVITY)

    assert (await case.settle(ACTIVITY)).is_done
    assert _subscribed(case) == dict.fromkeys(WANTED, "enabled")
    assert await _starts(case) == [200, 200, 200]


async def test_a_subscription_that_does_not_show_is_waited_for(case: Case) -> None:
    """The list lags behind: which content types are missing is said, and in the end the administrator is asked to look."""
    await case.world.fault(LIST, times=6, stale=3600)
    step = await case.work(ACTIVITY)
    assert (step.state, step.reason.rpartition("; ")[2]) == (StepState.WAITING, f"missing: {', '.join(WANTED)}")
    assert step.begun_at is not None
    assert step.gives_up_at == step.begun_at + STEPS[ACTIVITY].give_up

    case.parts.clock.advance_to(step.gives_up_at)
    step = await case.work(ACTIVITY)

    assert step.problem is not None
    assert (step.state, step.problem.code) == (StepState.WAITING_FOR_PERSON, "activity_refused")
    assert step.problem.raw.endswith(": " + ", ".join(WANTED))
    case.parts.simulation.faults.clear()
    await case.act(ACTIVITY)
    assert (await case.settle(ACTIVITY)).is_done


REFUSALS = {
    "audit log off": ({"unified_audit_log": False}, "audit_off", "does not exist"),
    "disabled": ({"activity_disabled_by": "a tenant admin"}, "activity_disabled", "AF20023"),
    "by the service": ({"activity_disabled_by": "a service admin"}, "activity_disabled", "a service admin"),
}


@pytest.mark.parametrize(("state", "code", "words"), REFUSALS.values(), ids=REFUSALS.keys())
async def test_what_an_administrator_must_put_right_is_named(case: Case, state: dict[str, Any], code: str, words: str) -> None:
    """The grant stays complete, the step says what is wrong in the tenant, and goes on once it is put right."""
    await _tenant(case, **state)
    step = await case.settle(ACTIVITY)

    assert step.problem is not None
    assert (step.state, step.problem.code) == (StepState.WAITING_FOR_PERSON, code)
    assert words in step.problem.raw
    assert ((await case.grant()).state, step.clock) == (GrantState.COMPLETED, None)
    await _tenant(case, unified_audit_log=True, activity_disabled_by="")
    await case.act(ACTIVITY)
    assert (await case.settle(ACTIVITY)).is_done


async def test_an_unknown_refusal_keeps_microsofts_words(case: Case) -> None:
    """What no table knows is shown as Microsoft said it."""
    body = {"error": {"code": "AF20012", "message": "The tenant is incorrectly configured in the system."}}
    await case.world.fault(START, status=400, body=body)
    step = await case.settle(ACTIVITY)

    assert step.problem is not None
    assert (step.state, step.problem.code) == (StepState.WAITING_FOR_PERSON, "activity_refused")
    assert "The tenant is incorrectly configured in the system." in step.problem.raw


async def test_throttling_with_403_is_waited_for(case: Case) -> None:
    """Too many requests are a 403 here, and no refusal."""
    await case.world.fault(LIST, status=403)
    step = await case.work(ACTIVITY)

    assert (step.state, step.problem) == (StepState.WAITING, None)
    assert (await case.settle(ACTIVITY)).is_done


async def test_the_publisher_is_named_where_it_is_set(case: Case) -> None:
    """With the operator's own tenant in the settings, every request names it; without, none does."""
    publisher = "00000000-0000-4000-8000-0000000000aa"
    microsoft = open_microsoft(case.parts.settings.model_copy(update={"publisher_tenant_id": publisher}))
    await case.settle(ACTIVITY)
    try:
        assert await microsoft.activity(case.tenant_id).subscriptions() == frozenset(WANTED)
    finally:
        await microsoft.close()

    *ours, named = await case.requests(api="activity")
    assert named["query"] == f"PublisherIdentifier={publisher}"
    assert ours
    assert not any("PublisherIdentifier" in each["query"] for each in ours)
