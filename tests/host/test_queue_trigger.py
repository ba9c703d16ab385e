"""The queue trigger, statement by statement of docs/host.md (1.1), on queues in memory and a clock that only moves when told."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from local.host.configuration import ConfigurationError, QueueOptions, host_configuration
from local.host.queue_listener import QueueListener, poison_queue_name
from local.host.queue_service import MessageLostError, QueueServiceError, ReceivedMessage
from tests.host.doubles import FakeClock, MemoryQueue

OPTIONS = QueueOptions(
    batch_size=4, new_batch_threshold=2, max_polling_interval=timedelta(seconds=2), visibility_timeout=timedelta(seconds=30)
)
MIDDLE = 0.5
"""A random number that makes the jitter nothing."""

Work = Callable[[ReceivedMessage, bytes], Awaitable[bool]]


@dataclass(slots=True)
class Bench:
    """A listener at work, its queue and the bodies that reached the function."""

    clock: FakeClock
    queue: MemoryQueue
    poison: MemoryQueue
    listener: QueueListener
    seen: list[bytes] = field(default_factory=list)


async def succeed(_message: ReceivedMessage, _body: bytes) -> bool:
    """A function that returns."""
    return True


async def fail(_message: ReceivedMessage, _body: bytes) -> bool:
    """A function that raises."""
    return False


@asynccontextmanager
async def listening(
    work: Work = succeed,
    *,
    name: str = "work",
    options: QueueOptions = OPTIONS,
    prepare: Callable[[MemoryQueue], None] = lambda _queue: None,
    random: Callable[[], float] = lambda: MIDDLE,
) -> AsyncIterator[Bench]:
    """Run a listener whose function is ``work``; at the end nothing of it is left."""
    clock = FakeClock()
    queue, poison = MemoryQueue(name, clock), MemoryQueue(f"{name}-poison", clock, present=False)
    prepare(queue)
    seen: list[bytes] = []

    async def execute(message: ReceivedMessage, body: bytes) -> bool:
        seen.append(body)
        return await work(message, body)

    listener = QueueListener(queue, poison if poison_queue_name(name) else None, execute, options, clock, random)
    running = asyncio.create_task(listener.run())
    await clock.settle()
    try:
        yield Bench(clock, queue, poison, listener, seen)
    finally:
        listener.stop()
        listener.abandon()
        await running
        await listener.finished()


class Gate:
    """A function that runs until the test lets it end."""

    def __init__(self) -> None:
        self.running = 0
        self.most = 0
        self._may_end = asyncio.Semaphore(0)

    async def work(self, _message: ReceivedMessage, _body: bytes) -> bool:
        """Run until let go, and count."""
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self._may_end.acquire()
        finally:
            self.running -= 1
        return True

    def let_go(self, count: int) -> None:
        """Let so many of them end."""
        for _ in range(count):
            self._may_end.release()


def put(*bodies: bytes, dequeue_count: int = 0) -> Callable[[MemoryQueue], None]:
    """Prepare a queue with these messages."""

    def prepare(queue: MemoryQueue) -> None:
        for body in bodies:
            queue.put(body, dequeue_count)

    return prepare


def absent(queue: MemoryQueue) -> None:
    """Prepare a queue that isn't there."""
    queue.present = False


async def test_1_1_1_first_poll_is_at_once_and_asks_whether_the_queue_exists() -> None:
    """The first poll happens without a wait: Exists, then Get."""
    async with listening(prepare=put(b"one")) as bench:
        assert bench.seen == [b"one"]
        assert bench.queue.calls[:2] == ["exists", "receive"]


async def test_1_1_1_missing_queue_is_not_created_but_waited_for() -> None:
    """A missing queue gets no Get and isn't made; when it appears its messages are found."""
    async with listening(prepare=absent) as bench:
        await bench.clock.advance(10)
        assert set(bench.queue.calls) == {"exists"}
        assert not bench.queue.present

        bench.queue.present = True
        bench.queue.put(b"late")
        await bench.clock.advance(2)
        assert bench.seen == [b"late"]


async def test_1_1_1_exists_is_asked_again_after_a_storage_error() -> None:
    """Once known, a queue isn't asked for again, until a storage error makes it doubtful."""
    async with listening() as bench:
        await bench.clock.advance(1)
        assert bench.queue.calls.count("exists") == 1

        bench.queue.failures["receive"] = [QueueServiceError("503 ServerBusy")]
        await bench.clock.advance(3)
        assert bench.queue.calls.count("exists") == 2


async def test_1_1_2_lease_is_ten_minutes_and_renewed_at_half_time() -> None:
    """A running function's message stays invisible: 10 minutes, set anew every 5, whatever host.json says."""
    gate = Gate()
    async with listening(gate.work, prepare=put(b"long")) as bench:
        assert bench.queue.messages[0].visible_at - bench.clock.now() == timedelta(minutes=10)

        await bench.clock.advance(299)
        assert "update 600" not in bench.queue.calls
        await bench.clock.advance(1)
        assert bench.queue.messages[0].visible_at - bench.clock.now() == timedelta(minutes=10)

        await bench.clock.advance(3600)
        assert bench.seen == [b"long"]
        gate.let_go(1)
        await bench.clock.settle()
        assert bench.queue.messages == []


async def test_1_1_2_renewal_speeds_up_after_server_errors_to_a_minute() -> None:
    """Each failed renewal halves the wait to the next, never below one minute; a success makes it 5 minutes again."""
    gate = Gate()
    async with listening(gate.work, prepare=put(b"long")) as bench:
        bench.queue.failures["update"] = [QueueServiceError("500 InternalError") for _ in range(3)]
        for wait, renewals in [(300, 1), (150, 2), (75, 3), (60, 4), (300, 5)]:
            await bench.clock.advance(wait - 1)
            assert bench.queue.calls.count("update 600") == renewals - 1
            await bench.clock.advance(1)
            assert bench.queue.calls.count("update 600") == renewals


async def test_1_1_2_renewal_stops_silently_when_the_message_is_lost() -> None:
    """A pop-receipt mismatch ends the renewal; the function goes on."""
    gate = Gate()
    async with listening(gate.work, prepare=put(b"long")) as bench:
        bench.queue.messages.clear()
        await bench.clock.advance(1800)
        assert bench.queue.calls.count("update 600") == 1
        assert gate.running == 1


async def test_1_1_3_at_most_batch_size_plus_threshold_run_at_once() -> None:
    """The next Get waits until no more than newBatchThreshold run, so that batchSize + newBatchThreshold is the most."""
    gate = Gate()
    async with listening(gate.work, prepare=put(*(b"%d" % number for number in range(20)))) as bench:
        assert gate.running == 4
        gate.let_go(1)
        await bench.clock.advance(5)
        assert gate.running == 3

        gate.let_go(1)
        await bench.clock.settle()
        assert gate.running == 6 == OPTIONS.max_concurrency

        gate.let_go(18)
        await bench.clock.advance(5)
        assert (gate.most, bench.queue.messages) == (6, [])


async def test_1_1_3_one_at_a_time() -> None:
    """BatchSize 1 with newBatchThreshold 0 runs one message at a time."""
    gate = Gate()
    one = QueueOptions(batch_size=1, new_batch_threshold=0, max_polling_interval=timedelta(seconds=2))
    async with listening(gate.work, options=one, prepare=put(b"a", b"b", b"c")) as bench:
        gate.let_go(3)
        await bench.clock.advance(5)
        assert (gate.most, bench.seen) == (1, [b"a", b"b", b"c"])


@pytest.mark.parametrize(
    ("random", "expected"),
    [
        (0.0, [0.1, 0.18, 0.26, 0.42, 0.74, 1.38, 2.0, 2.0]),
        (0.5, [0.1, 0.2, 0.3, 0.5, 0.9, 1.7, 2.0, 2.0]),
        (1.0, [0.1, 0.22, 0.34, 0.58, 1.06, 2.0, 2.0, 2.0]),
    ],
)
async def test_1_1_4_empty_polls_back_off_exponentially_with_jitter(random: float, expected: list[float]) -> None:
    """Waits begin at 100 ms and grow twofold, +-20 %, up to maxPollingInterval."""
    async with listening(random=lambda: random) as bench:
        await bench.clock.advance(9)
        assert [round(wait, 6) for wait in bench.clock.sleeps[:8]] == expected


async def test_1_1_4_a_found_message_resets_the_back_off() -> None:
    """After a message the first wait is 100 ms again."""
    async with listening() as bench:
        await bench.clock.advance(9)
        bench.queue.put(b"one")
        before = len(bench.clock.sleeps)
        await bench.clock.advance(2)
        # The renewal of the message's lease (300 s) is a wait too.
        assert [round(wait, 6) for wait in bench.clock.sleeps[before:] if wait < 100][:3] == [0.1, 0.2, 0.3]


async def test_1_1_5_more_than_max_dequeue_count_goes_to_poison_without_a_run() -> None:
    """A message that crashed its host five times isn't tried a sixth time."""
    async with listening(prepare=put(b"deadly", dequeue_count=5)) as bench:
        assert bench.seen == []
        assert (bench.poison.bodies(), bench.queue.messages) == ([b"deadly"], [])


async def test_1_1_6_success_deletes_the_message() -> None:
    """A function that returns has its message deleted, with the pop receipt of the last renewal."""
    gate = Gate()
    async with listening(gate.work, prepare=put(b"one")) as bench:
        await bench.clock.advance(301)
        gate.let_go(1)
        await bench.clock.settle()
        assert bench.queue.messages == []


async def test_1_1_6_a_message_lost_before_its_delete_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """PopReceiptMismatch, 404 and 409 of the delete are swallowed."""
    gate = Gate()
    async with listening(gate.work, prepare=put(b"one")) as bench:
        bench.queue.failures["delete"] = [MessageLostError("404 MessageNotFound")]
        gate.let_go(1)
        await bench.clock.settle()
        assert "delete" in bench.queue.calls
        assert not [record for record in caplog.records if record.levelname in {"WARNING", "ERROR"}]


async def test_1_1_7_failure_releases_the_message_for_visibility_timeout() -> None:
    """A failed message comes back after host.json's visibilityTimeout."""
    async with listening(fail, prepare=put(b"bad")) as bench:
        assert bench.queue.messages[0].visible_at - bench.clock.now() == timedelta(seconds=30)
        await bench.clock.advance(29)
        assert bench.seen == [b"bad"]
        await bench.clock.advance(3)
        assert bench.seen == [b"bad"] * 2


async def test_1_1_7_last_failure_copies_the_body_alone_to_the_poison_queue() -> None:
    """At maxDequeueCount the body goes to a poison queue made for it; id, times and count are new, and the TTL restarts."""
    async with listening(fail, prepare=put(b"bad")) as bench:
        original = bench.queue.messages[0].message
        await bench.clock.advance(200)
        assert bench.seen == [b"bad"] * 5
        assert (bench.queue.calls.count("update 30"), bench.queue.messages) == (4, [])

        copy = bench.poison.messages[0].message
        assert (bench.poison.present, copy.text, copy.dequeue_count) == (True, original.text, 0)
        assert copy.expires_on > original.expires_on


async def test_1_1_8_poison_queue_has_no_poison_queue_and_a_failure_waits_for_its_lease() -> None:
    """A failing message of a queue without a poison queue is neither released nor moved: it returns every 10 minutes."""
    async with listening(fail, name="work-poison", prepare=put(b"bad")) as bench:
        await bench.clock.advance(599)
        assert bench.seen == [b"bad"]
        await bench.clock.advance(3)
        assert bench.seen == [b"bad"] * 2

        await bench.clock.advance(7 * 602)
        assert len(bench.seen) == 5, "after maxDequeueCount it is no longer run"
        assert bench.queue.bodies() == [b"bad"]


@pytest.mark.parametrize(
    ("name", "expected"), [("work", "work-poison"), ("work-poison", None), ("a" * 56, "a" * 56 + "-poison"), ("a" * 57, None)]
)
def test_1_1_8_names_of_poison_queues(name: str, expected: str | None) -> None:
    """A name that ends in -poison, or would grow over 63 characters, has no poison queue."""
    assert poison_queue_name(name) == expected


async def test_1_1_9_a_killed_host_leaves_the_message_to_its_lease() -> None:
    """Nothing is released when a host dies; the message returns after the rest of the 10 minutes."""
    gate = Gate()
    async with listening(gate.work, prepare=put(b"one")) as bench:
        await bench.clock.advance(60)
        bench.listener.abandon()
        await bench.clock.settle()
        assert [call for call in bench.queue.calls if call != "receive"] == ["exists"]

        await bench.clock.advance(539)
        assert bench.seen == [b"one"]
        await bench.clock.advance(3)
        assert bench.seen == [b"one"] * 2


async def test_1_1_10_undecodable_base64_goes_to_poison_as_it_is() -> None:
    """Text that isn't base64 never reaches the function; the poison queue gets it untouched."""
    async with listening(prepare=lambda queue: queue.put_text("{'not': base64}")) as bench:
        assert bench.seen == []
        assert (bench.poison.texts(), bench.queue.messages) == (["{'not': base64}"], [])


async def test_1_1_10_white_space_in_base64_is_passed_over() -> None:
    """.NET's decoder ignores white space, so this host does."""
    async with listening(prepare=lambda queue: queue.put_text(" b2\nsg ")) as bench:
        assert bench.seen == [b"ok "]


async def test_1_1_10_encoding_none_takes_the_text_as_it_is() -> None:
    """With messageEncoding none nothing is decoded."""
    plain = QueueOptions(base64=False, max_polling_interval=timedelta(seconds=2))
    async with listening(options=plain, prepare=lambda queue: queue.put_text("{'not': base64}")) as bench:
        assert bench.seen == [b"{'not': base64}"]


async def test_1_1_11_notify_polls_at_once_and_an_sdk_send_does_not() -> None:
    """A message sent past the host waits for the next poll; the host's own notice ends the wait."""
    async with listening() as bench:
        await bench.clock.advance(20)
        bench.queue.put(b"one")
        await bench.clock.settle()
        assert bench.seen == []

        bench.listener.notify()
        await bench.clock.settle()
        assert bench.seen == [b"one"]


async def test_1_1_11_a_poisoned_message_notifies_the_poison_queue() -> None:
    """A listener of the poison queue hears of what the host puts there."""
    heard: list[str] = []
    async with listening() as bench:
        bench.listener.on_poisoned = heard.append
        bench.queue.put(b"deadly", dequeue_count=5)
        await bench.clock.advance(2)
        assert heard == ["work-poison"]


def test_1_1_13_dynamic_concurrency_is_refused() -> None:
    """The host has no learned concurrency, and says so rather than ignore the option."""
    with pytest.raises(ConfigurationError, match="dynamicConcurrencyEnabled"):
        host_configuration({"version": "2.0", "concurrency": {"dynamicConcurrencyEnabled": True}})


async def test_1_1_14_two_instances_share_a_queue() -> None:
    """Each instance has its own concurrency, and a message goes to one of them."""
    gate = Gate()
    async with listening(gate.work, prepare=put(*(b"%d" % number for number in range(8)))) as bench:
        second = QueueListener(bench.queue, None, gate.work, OPTIONS, bench.clock, lambda: MIDDLE)
        running = asyncio.create_task(second.run())
        await bench.clock.settle()
        assert gate.running == 8 == 2 * OPTIONS.batch_size

        gate.let_go(8)
        second.stop()
        await bench.clock.advance(2)
        await running
        await second.finished()
        assert bench.queue.messages == []


async def test_1_1_14_a_message_may_come_twice() -> None:
    """At least once: when the delete fails, a message that was worked on returns after its lease."""
    async with listening() as bench:
        bench.queue.failures["delete"] = [QueueServiceError("500 OperationTimedOut")]
        bench.queue.put(b"one")
        await bench.clock.advance(605)
        assert bench.seen == [b"one"] * 2
        assert bench.queue.messages == []


async def test_stop_takes_no_more_but_finishes_what_runs() -> None:
    """A stopped listener gets no more messages; those under way end and are deleted."""
    gate = Gate()
    async with listening(gate.work, prepare=put(b"one")) as bench:
        bench.listener.stop()
        bench.queue.put(b"two")
        await bench.clock.advance(5)
        gate.let_go(1)
        await bench.listener.finished()
        assert bench.seen == [b"one"]
        assert bench.queue.bodies() == [b"two"]
