"""A clock that only moves when told, and queues in memory that follow the queue service's rules for leases and receipts."""

import asyncio
import base64
import heapq
import itertools
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from local.host.queue_service import MessageLostError, QueueServiceError, ReceivedMessage

START = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
TIME_TO_LIVE = timedelta(days=7)
ENOUGH_TURNS = 40
"""Turns of the event loop after which work that waits for nothing but itself has come to rest."""


class FakeClock:
    """Time that passes in ``advance`` alone."""

    def __init__(self, start: datetime = START) -> None:
        self._now = start
        self._order = itertools.count()
        self._sleepers: list[tuple[datetime, int, asyncio.Future[None]]] = []
        self.sleeps: list[float] = []
        """Every wait that was asked for, in seconds."""

    def now(self) -> datetime:
        """Tell the fake time."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Wait until ``advance`` has moved so far."""
        self.sleeps.append(seconds)
        if seconds <= 0:
            return await asyncio.sleep(0)
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + timedelta(seconds=seconds), next(self._order), woken))
        return await woken

    async def advance(self, seconds: float = 0) -> None:
        """Move on, waking every sleeper at its own time, and let what they do come to rest."""
        target = self._now + timedelta(seconds=seconds)
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= target:
            self._now, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                woken.set_result(None)
                await self.settle()
        self._now = target
        await self.settle()

    async def settle(self) -> None:
        """Let everything run that can run without time passing."""
        for _ in range(ENOUGH_TURNS):
            await asyncio.sleep(0)


@dataclass(slots=True)
class StoredMessage:
    """A message in a queue, with what only the service knows."""

    message: ReceivedMessage
    visible_at: datetime


@dataclass(slots=True)
class MemoryQueue:
    """A queue in memory. ``failures`` holds errors to raise, by method, one for each call."""

    name: str
    clock: FakeClock
    present: bool = True
    messages: list[StoredMessage] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    failures: dict[str, list[QueueServiceError]] = field(default_factory=dict)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def put(self, body: bytes, dequeue_count: int = 0) -> None:
        """Add a message with this body as base64, as a client with the base64 policy does."""
        self.put_text(base64.b64encode(body).decode(), dequeue_count)

    def put_text(self, text: str, dequeue_count: int = 0) -> None:
        """Add a message with this text on the wire; it has been taken ``dequeue_count`` times before."""
        now = self.clock.now()
        message = ReceivedMessage(
            f"message-{next(self._numbers)}", text, dequeue_count, "receipt-put", now, now + TIME_TO_LIVE, now
        )
        self.messages.append(StoredMessage(message, now))

    def bodies(self) -> list[bytes]:
        """Give the decoded bodies of all messages, hidden ones too."""
        return [base64.b64decode(stored.message.text) for stored in self.messages]

    def texts(self) -> list[str]:
        """Give the texts on the wire of all messages."""
        return [stored.message.text for stored in self.messages]

    async def exists(self) -> bool:
        """Tell whether the queue is there."""
        self._call("exists")
        return self.present

    async def receive(self, limit: int, visibility: float) -> list[ReceivedMessage]:
        """Take visible messages in order."""
        self._call("receive")
        visible = [stored for stored in self.messages if stored.visible_at <= self.clock.now()][:limit]
        return [self._taken(stored, visibility) for stored in visible]

    async def update(self, message_id: str, pop_receipt: str, visibility: float) -> str:
        """Hide a message anew."""
        self._call(f"update {visibility:g}")
        stored = self._held(message_id, pop_receipt)
        self._hide(stored, visibility)
        return stored.message.pop_receipt

    async def delete(self, message_id: str, pop_receipt: str) -> None:
        """Delete a message."""
        self._call("delete")
        self.messages.remove(self._held(message_id, pop_receipt))

    async def send(self, text: str) -> None:
        """Add a message, and the queue when it is missing."""
        self._call("send")
        self.present = True
        self.put_text(text)

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if waiting := self.failures.get(name.split(maxsplit=1)[0]):
            raise waiting.pop(0)

    def _taken(self, stored: StoredMessage, visibility: float) -> ReceivedMessage:
        self._hide(stored, visibility)
        stored.message = replace(
            stored.message, dequeue_count=stored.message.dequeue_count + 1, next_visible_on=stored.visible_at
        )
        return stored.message

    def _hide(self, stored: StoredMessage, visibility: float) -> None:
        stored.visible_at = self.clock.now() + timedelta(seconds=visibility)
        stored.message = replace(stored.message, pop_receipt=f"receipt-{next(self._numbers)}")

    def _held(self, message_id: str, pop_receipt: str) -> StoredMessage:
        for stored in self.messages:
            if stored.message.id == message_id and stored.message.pop_receipt == pop_receipt:
                return stored
        raise MessageLostError("400 PopReceiptMismatch")


class MemoryQueues:
    """All queues of a storage account in memory."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._queues: dict[str, MemoryQueue] = {}

    def queue(self, _connection_name: str, queue_name: str) -> MemoryQueue:
        """Give a queue by its name."""
        return self._queues.setdefault(queue_name, MemoryQueue(queue_name, self._clock))

    def named(self, queue_name: str) -> MemoryQueue:
        """Give a queue to a test."""
        return self.queue("", queue_name)

    async def close(self) -> None:
        """Nothing is open."""
