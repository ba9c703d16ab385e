"""Queue functions run whole: the message objects that they get, their outputs, and what failures of theirs lead to."""

import asyncio
import json
import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import azure.functions as func
import pytest

from local.host.queue_service import QueueServiceError
from tests.host.apps import Running, running
from tests.host.doubles import START


def on_queue(app: func.FunctionApp, queue_name: str = "work") -> Callable[..., Any]:
    """Decorate a function with a queue trigger whose message is the parameter ``message``."""
    return app.queue_trigger(arg_name="message", queue_name=queue_name, connection="Storage")


async def test_1_1_15_a_message_carries_its_metadata(tmp_path: Path) -> None:
    """The function's QueueMessage has body, id, dequeue count, times and pop receipt as the real worker hands them over."""
    app = func.FunctionApp()
    seen: list[Any] = []

    @on_queue(app)
    async def work(message: func.QueueMessage) -> None:
        seen.append(message)

    async with running(app, tmp_path) as at:
        at.queues.named("work").put('{"schön": 1}'.encode(), dequeue_count=2)
        await at.clock.advance(2)

    (message,) = seen
    assert message.get_body() == '{"schön": 1}'.encode()
    assert message.get_json() == {"schön": 1}
    assert (message.id, message.dequeue_count) == ("message-0", 3)
    assert message.insertion_time == START
    assert message.expiration_time == START + timedelta(days=7)
    assert message.time_next_visible > START + timedelta(minutes=10)
    assert message.pop_receipt.startswith("receipt-")


async def test_a_sync_function_runs_in_a_thread_and_does_not_block_others(tmp_path: Path) -> None:
    """Sync functions run in the thread pool: the event loop goes on while one waits."""
    app, done = func.FunctionApp(), []
    loop, may_end = asyncio.get_running_loop(), asyncio.Event()

    @on_queue(app)
    def work(message: func.QueueMessage) -> None:
        asyncio.run_coroutine_threadsafe(may_end.wait(), loop).result(timeout=10)
        done.append(message.get_body())

    async with running(app, tmp_path) as at:
        at.queues.named("work").put(b"one")
        await at.clock.advance(2)
        assert done == []
        may_end.set()
    assert done == [b"one"]


async def test_a_function_with_a_context_gets_one(tmp_path: Path) -> None:
    """A parameter named context tells the invocation id and the function's name; each invocation has its own id."""
    app, seen = func.FunctionApp(), []

    @on_queue(app)
    async def work(message: func.QueueMessage, context: func.Context) -> None:
        seen.append((context.function_name, context.invocation_id))

    async with running(app, tmp_path) as at:
        at.queues.named("work").put(b"one")
        at.queues.named("work").put(b"two")
        await at.clock.advance(2)

    assert {name for name, _ in seen} == {"work"}
    assert len({invocation for _, invocation in seen}) == 2


def forwarding_app() -> func.FunctionApp:
    """An app whose function forwards each message through an output binding."""
    app = func.FunctionApp()

    @app.queue_output(arg_name="forwarded", queue_name="next", connection="Storage")
    @on_queue(app)
    def work(message: func.QueueMessage, forwarded: func.Out[str]) -> None:
        forwarded.set(message.get_body().decode())

    return app


async def until(at: Running, condition: Callable[[], object]) -> None:
    """Let threads and the loop work until the condition holds; the test's own timeout ends a wait without an end."""
    while not condition():
        await at.clock.settle()


async def test_1_1_6_outputs_are_written_before_the_message_is_deleted(tmp_path: Path) -> None:
    """A queue output is sent, base64-encoded, after the return and before the delete."""
    async with running(forwarding_app(), tmp_path) as at:
        work, onward = at.queues.named("work"), at.queues.named("next")
        work.put(b"one")
        await at.clock.advance(2)
        await until(at, lambda: not work.messages)
        assert onward.bodies() == [b"one"]


async def test_1_1_7_an_output_that_cannot_be_written_fails_the_invocation(tmp_path: Path) -> None:
    """The message isn't deleted but released when the output's queue refuses."""
    async with running(forwarding_app(), tmp_path) as at:
        work = at.queues.named("work")
        at.queues.named("next").failures["send"] = [QueueServiceError("503 ServerBusy")]
        work.put(b"one")
        await at.clock.advance(2)
        await until(at, lambda: "update 30" in work.calls)
        assert work.bodies() == [b"one"]


async def test_1_1_11_an_output_binding_wakes_the_listener_of_its_queue(tmp_path: Path) -> None:
    """What a function of this host writes by output binding is polled at once, without waiting for the back-off."""
    app, seen = func.FunctionApp(), []

    @app.queue_output(arg_name="$return", queue_name="next", connection="Storage")
    @on_queue(app)
    async def first(message: func.QueueMessage) -> list[str]:
        return [message.get_body().decode(), "and more"]

    @on_queue(app, "next")
    async def second(message: func.QueueMessage) -> None:
        seen.append(message.get_body())

    async with running(app, tmp_path) as at:
        await at.clock.advance(20)
        await at.client.post("/admin/functions/first", json={"input": "one"}, headers=at.as_admin)
        await until(at, lambda: len(seen) == 2)
        assert sorted(seen) == [b"and more", b"one"]


async def test_1_1_12_one_process_is_one_instance(tmp_path: Path) -> None:
    """There is no scaling: however long the queue, at most batchSize + newBatchThreshold messages run."""
    app, gate = func.FunctionApp(), asyncio.Event()

    @on_queue(app)
    async def work(message: func.QueueMessage) -> None:
        await gate.wait()

    async with running(app, tmp_path) as at:
        for _ in range(100):
            at.queues.named("work").put(b"x")
        await at.clock.advance(30)
        status = await at.client.get("/admin/host/drain/status", headers=at.as_admin)
        assert status.json()["outstandingInvocations"] == 16
        gate.set()


@pytest.mark.parametrize("error", [ValueError("oops"), SystemExit(3), asyncio.CancelledError()])
async def test_1_1_7_whatever_a_function_raises_is_a_failure_of_it_alone(
    tmp_path: Path, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception, even SystemExit or CancelledError, fails this invocation, in one log line with its id, and no more."""
    app = func.FunctionApp()

    @on_queue(app)
    async def work(message: func.QueueMessage) -> None:
        raise error

    caplog.set_level(logging.INFO, "local.host")
    async with running(app, tmp_path) as at:
        at.queues.named("work").put(b"one")
        await at.clock.advance(2)
        assert "update 30" in at.queues.named("work").calls
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert errors[0].exc_info is None
    assert type(error).__name__ in errors[0].getMessage()


async def test_1_1_7_a_value_without_a_return_binding_is_a_failure(tmp_path: Path) -> None:
    """A queue function without a $return binding must return None."""
    app = func.FunctionApp()

    @on_queue(app)
    async def work(message: func.QueueMessage) -> str:
        return "nowhere to go"

    async with running(app, tmp_path) as at:
        at.queues.named("work").put(b"one")
        await at.clock.advance(2)
        calls = at.queues.named("work").calls

    assert "update 30" in calls


async def test_1_1_7_a_function_that_exceeds_its_timeout_fails(tmp_path: Path) -> None:
    """After functionTimeout the invocation ends and counts as failed."""
    app = func.FunctionApp()

    @on_queue(app)
    async def work(message: func.QueueMessage) -> None:
        await asyncio.Event().wait()

    host_json = {"version": "2.0", "functionTimeout": "00:00:00.05", "extensions": {"queues": {"visibilityTimeout": "00:00:30"}}}
    async with running(app, tmp_path, host_json=host_json) as at:
        at.queues.named("work").put(b"one")
        await at.clock.advance(2)
        await until(at, lambda: "update 30" in at.queues.named("work").calls)
        calls = at.queues.named("work").calls

    assert "delete" not in calls


async def test_drain_finishes_what_runs_and_resume_listens_again(tmp_path: Path) -> None:
    """Drain: no new message, the running one ends and is deleted; resume: listening goes on."""
    app, gate, seen = func.FunctionApp(), asyncio.Event(), []

    @on_queue(app)
    async def work(message: func.QueueMessage) -> None:
        await gate.wait()
        seen.append(message.get_body())

    async with running(app, tmp_path) as at:

        async def state() -> str:
            answer = await at.client.get("/admin/host/drain/status", headers=at.as_admin)
            return str(answer.json()["state"])

        queue = at.queues.named("work")
        queue.put(b"one")
        await at.clock.advance(2)
        assert await state() == "Disabled"
        assert (await at.client.post("/admin/host/drain", headers=at.as_admin)).status_code == 202
        queue.put(b"two")
        await at.clock.advance(5)
        assert await state() == "InProgress"
        gate.set()
        await until(at, lambda: seen == [b"one"])
        assert (await state(), queue.bodies()) == ("Completed", [b"two"])

        assert (await at.client.post("/admin/host/resume", headers=at.as_admin)).json() == {"state": "Running"}
        await at.clock.advance(5)
        assert (seen, queue.messages) == ([b"one", b"two"], [])


async def test_a_stop_abandons_what_outlives_the_grace(tmp_path: Path) -> None:
    """A function that doesn't end in time is cut off; its message is neither deleted nor released."""
    app = func.FunctionApp()

    @on_queue(app)
    async def work(message: func.QueueMessage) -> None:
        await asyncio.Event().wait()

    async with running(app, tmp_path, grace=0.05) as at:
        queue = at.queues.named("work")
        queue.put(b"one")
        await at.clock.advance(2)
    assert queue.bodies() == [b"one"]
    assert not [call for call in queue.calls if call.startswith(("update", "delete"))]


async def test_a_disabled_queue_function_does_not_listen(tmp_path: Path) -> None:
    """AzureWebJobs.NAME.Disabled switches the listener off."""
    app = func.FunctionApp()

    @on_queue(app)
    async def work(message: func.QueueMessage) -> None:
        raise AssertionError

    async with running(app, tmp_path, settings={"Storage": "x", "AzureWebJobs.work.Disabled": "true"}) as at:
        await at.clock.advance(5)
        assert at.queues.named("work").calls == []


async def test_admin_runs_a_queue_function_by_hand(tmp_path: Path) -> None:
    """POST /admin/functions/NAME gives the input as the message's body and answers 202."""
    app, seen = func.FunctionApp(), []

    @on_queue(app)
    async def work(message: func.QueueMessage) -> None:
        seen.append((message.get_body(), message.dequeue_count))

    async with running(app, tmp_path) as at:
        answer = await at.client.post("/admin/functions/work", json={"input": json.dumps({"a": 1})}, headers=at.as_admin)
        await at.clock.settle()
        assert (answer.status_code, seen) == (202, [(b'{"a": 1}', 0)])
