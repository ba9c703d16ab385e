"""The contracts of ``ports.Nudges``, ``EventQueue`` and ``PoisonQueues``, on the double and on Azurite."""

import json
from datetime import timedelta

import pytest

from shared import messages
from shared.domain.grant import Event, Nudge
from shared.domain.problems import GrantlineError
from shared.domain.steps import STEPS, StepName
from tests.storage.conftest import Kept, OnAzurite
from tests.storage.examples import NOW, new_grant

NUDGE = Nudge("11111111-2222-4333-8444-555555555555", StepName.MAIL_FLOW, NOW)


@pytest.mark.parametrize("step", StepName)
async def test_a_nudge_goes_to_the_queue_of_its_step(kept: Kept, step: StepName) -> None:
    """The queue that the table of steps names gets the message that ``messages`` writes."""
    nudge = Nudge(NUDGE.grant_id, step, NOW)

    await kept.storage.nudges.send(nudge, delay=timedelta())

    assert await kept.bodies(STEPS[step].queue) == [messages.encode_nudge(nudge)]


@pytest.mark.parametrize("delay", [timedelta(milliseconds=1), timedelta(days=7), timedelta(days=20)])
async def test_a_delayed_nudge_is_not_visible_yet(kept: Kept, delay: timedelta) -> None:
    """The shortest delay is rounded up to a second, the longest down to the 7 days that Queue storage takes."""
    await kept.storage.nudges.send(NUDGE, delay=delay)

    assert await kept.bodies(STEPS[NUDGE.step].queue) == []


async def test_a_nudge_of_the_past_is_visible_at_once(kept: Kept) -> None:
    """A negative delay is none."""
    await kept.storage.nudges.send(NUDGE, delay=timedelta(seconds=-5))

    assert len(await kept.bodies(STEPS[NUDGE.step].queue)) == 1


async def test_events_are_published_in_order_as_cloud_events(kept: Kept) -> None:
    """Other systems find CloudEvents 1.0 on ``grant-events``, in the order of publication."""
    grant = new_grant().grant
    events = [Event(seq, NOW, "step.done", StepName.PREFLIGHT, {"name": "Söhne"}) for seq in (1, 2)]

    for event in events:
        await kept.storage.events.publish(grant, event)

    bodies = [json.loads(body) for body in await kept.bodies("grant-events")]
    assert [body["id"] for body in bodies] == [f"{grant.grant_id}/1", f"{grant.grant_id}/2"]
    assert bodies[0]["specversion"] == "1.0"
    assert bodies[0]["data"]["name"] == "Söhne"


async def test_a_poison_queue_is_drained_once(kept: Kept) -> None:
    """Each body is kept, and its message is gone then."""
    bodies = [f"böse {number}" for number in range(40)]
    for body in bodies:
        await kept.put("verifications-poison", body)
    found: list[str] = []

    async def keep(body: str) -> None:
        found.append(body)

    count = await kept.storage.poison.drain("verifications", keep)
    again = await kept.storage.poison.drain("verifications", keep)

    assert (count, again) == (40, 0)
    assert sorted(found) == sorted(bodies)


async def test_a_missing_poison_queue_is_empty(kept: Kept) -> None:
    """The functions host makes a poison queue with its first message (functions-host 1.1.7); until then there is none."""

    async def keep(body: str) -> None:
        raise AssertionError(body)

    assert await kept.storage.poison.drain("role-assignments", keep) == 0


async def test_a_message_that_could_not_be_kept_stays(kept: Kept) -> None:
    """When keeping fails, the error is the caller's, and nothing but what was kept is deleted."""
    for body in ("first", "second"):
        await kept.put("verifications-poison", body)
    found: list[str] = []

    async def keep(body: str) -> None:
        if found:
            raise GrantlineError("the table is away")
        found.append(body)

    with pytest.raises(GrantlineError, match="the table is away"):
        await kept.storage.poison.drain("verifications", keep)

    assert found == ["first"]
    assert await remaining(kept, "verifications-poison") == 1


async def test_a_body_that_is_no_base64_is_kept_as_it_is(on_azurite: OnAzurite) -> None:
    """The host moves what it can't decode to the poison queue untouched (functions-host 1.1.10); so do we keep it."""
    texts = ["no base64: ü", "YWJj", "/w=="]
    for text in texts:
        await on_azurite.put_raw("console-commands-poison", text)
    found: list[str] = []

    async def keep(body: str) -> None:
        found.append(body)

    await on_azurite.storage.poison.drain("console-commands", keep)

    assert sorted(found) == sorted(["no base64: ü", "abc", "/w=="])


async def test_messages_live_as_long_as_they_are_of_use(on_azurite: OnAzurite) -> None:
    """A nudge that is delayed for the longest time still lives 7 days when it becomes visible; an event never expires."""
    grant = new_grant().grant
    await on_azurite.storage.events.publish(grant, Event(1, NOW, "grant.created"))
    await on_azurite.storage.nudges.send(NUDGE, delay=timedelta())

    events = on_azurite.queues.get_queue_client("grant-events").receive_messages()
    nudges = on_azurite.queues.get_queue_client(STEPS[NUDGE.step].queue).receive_messages()

    (event,), (nudge,) = [one async for one in events], [one async for one in nudges]
    assert event.expires_on
    assert event.expires_on.year == 9999
    assert nudge.expires_on
    assert nudge.inserted_on
    assert nudge.expires_on - nudge.inserted_on == timedelta(days=7)


async def remaining(kept: Kept, queue: str) -> int:
    """Return how many messages a queue holds, visible or not."""
    if not isinstance(kept, OnAzurite):
        return len(await kept.bodies(queue))
    properties = await kept.queues.get_queue_client(queue).get_queue_properties()
    return properties.approximate_message_count or 0
