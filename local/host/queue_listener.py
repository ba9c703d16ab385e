"""The queue trigger: takes messages, has them processed, deletes, releases or poisons them.

Behaviour re-implemented from azure-sdk-for-net ``QueueListener.cs`` and ``QueueProcessor.cs`` and from azure-webjobs-sdk
``RandomizedExponentialBackoffStrategy.cs``; docs/host.md numbers its statements.
"""

import asyncio
import base64
import binascii
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from local.host.clock import Clock, sleep_unless
from local.host.configuration import QueueOptions
from local.host.queue_service import MessageLostError, Queue, QueueServiceError, ReceivedMessage

logger = logging.getLogger("local.host.queue")

LEASE_SECONDS = 600
"""How long a taken message stays invisible; no setting changes it."""
RENEWAL_SECONDS = LEASE_SECONDS / 2
MINIMUM_RENEWAL_SECONDS = 60
MINIMUM_POLLING_SECONDS = 0.1
JITTER = 0.2
POISON_SUFFIX = "-poison"
LONGEST_QUEUE_NAME = 63


def poison_queue_name(queue_name: str) -> str | None:
    """Name the poison queue of a queue; None for a poison queue itself and where the name would be too long."""
    if queue_name.endswith(POISON_SUFFIX) or len(queue_name + POISON_SUFFIX) > LONGEST_QUEUE_NAME:
        return None
    return queue_name + POISON_SUFFIX


class Backoff:
    """The wait between polls of an idle queue, in seconds: 0.1 and then growing twofold, +-20 %, up to a limit."""

    def __init__(self, longest: float, random: Callable[[], float]) -> None:
        self._longest = longest
        self._random = random
        self._current = 0.0
        self._exponent = 0

    def next(self, *, found: bool) -> float:
        """Give the next wait; ``found`` says whether a message came since the last wait, which starts anew."""
        if found:
            self._current, self._exponent = MINIMUM_POLLING_SECONDS, 1
        elif self._current != self._longest:
            self._grow()
        return self._current

    def _grow(self) -> None:
        wait = MINIMUM_POLLING_SECONDS
        if self._exponent:
            factor = 1 - JITTER + 2 * JITTER * self._random()
            wait += factor * 2 ** (self._exponent - 1) * MINIMUM_POLLING_SECONDS
        if wait < self._longest:
            self._current = wait
            self._exponent += 1
        else:
            self._current = self._longest


@dataclass(slots=True)
class Lease:
    """A message that is ours for now; every renewal changes its pop receipt."""

    message: ReceivedMessage
    pop_receipt: str


Execute = Callable[[ReceivedMessage, bytes], Awaitable[bool]]
"""Run the function with a message and its decoded body; tell whether it succeeded. Never raises an Exception."""


class QueueListener:
    """Listens to one queue for one function."""

    def __init__(
        self,
        queue: Queue,
        poison: Queue | None,
        execute: Execute,
        options: QueueOptions,
        clock: Clock,
        random: Callable[[], float],
    ) -> None:
        self.queue_name = queue.name
        self._queue = queue
        self._poison = poison
        self._execute = execute
        self._options = options
        self._clock = clock
        self._backoff = Backoff(options.max_polling_interval.total_seconds(), random)
        self._known_to_exist = False
        self._found = False
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()
        self.on_poisoned: Callable[[str], None] = lambda _queue_name: None
        """Called with the poison queue's name when a message went there, so that a listener of it polls at once."""

    async def run(self) -> None:
        """Poll until ``stop`` is called; messages that are being processed go on afterwards."""
        while not self._stopping.is_set():
            self._wake.clear()
            if await self._fetch():
                self._found = True
                await self._until_room()
            else:
                await self._idle()

    def notify(self) -> None:
        """Poll at once: somebody in this host has put a message into the queue."""
        self._wake.set()

    def stop(self) -> None:
        """Take no more messages."""
        self._stopping.set()
        self._wake.set()

    async def finished(self) -> None:
        """Return when every message that was taken has been dealt with."""
        while self._running:
            await asyncio.wait(self._running)

    def abandon(self) -> None:
        """End what still runs; its messages come back when their leases run out, as after a kill."""
        for task in self._running:
            task.cancel()

    async def _idle(self) -> None:
        wait = self._backoff.next(found=self._found)
        self._found = False
        await sleep_unless(self._wake, self._clock, wait)

    async def _until_room(self) -> None:
        while len(self._running) > self._options.new_batch_threshold and not self._stopping.is_set():
            stopping = asyncio.ensure_future(self._stopping.wait())
            await asyncio.wait([*self._running, stopping], return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()

    async def _fetch(self) -> bool:
        try:
            messages = await self._take()
        except QueueServiceError as error:
            self._known_to_exist = False
            logger.warning("queue %s: %s", self._queue.name, error)
            return False
        for message in messages:
            task = asyncio.create_task(self._process(message), name=f"message {message.id}")
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return bool(messages)

    async def _take(self) -> list[ReceivedMessage]:
        # The first Get, and the first after any error, is preceded by Exists; a missing queue is never created.
        if not self._known_to_exist:
            self._known_to_exist = await self._queue.exists()
        if not self._known_to_exist:
            return []
        return await self._queue.receive(self._options.batch_size, LEASE_SECONDS)

    async def _process(self, message: ReceivedMessage) -> None:
        try:
            body = self._decode(message.text)
            if body is None or message.dequeue_count > self._options.max_dequeue_count:
                await self._move_to_poison(Lease(message, message.pop_receipt))
                return
            lease, succeeded = await self._execute_renewing(message, body)
            await self._complete(lease, succeeded=succeeded)
        except QueueServiceError as error:
            # The message is as it was: it comes back when its lease runs out.
            logger.warning("queue %s, message %s: %s", self._queue.name, message.id, error)

    def _decode(self, text: str) -> bytes | None:
        if not self._options.base64:
            return text.encode()
        try:
            return base64.b64decode("".join(text.split()), validate=True)  # .NET's decoder passes over white space
        except (binascii.Error, ValueError):
            logger.warning("queue %s: a message is not base64", self._queue.name)
            return None

    async def _execute_renewing(self, message: ReceivedMessage, body: bytes) -> tuple[Lease, bool]:
        lease = Lease(message, message.pop_receipt)
        done = asyncio.Event()
        renewal = asyncio.create_task(self._renew(lease, done), name=f"lease of {message.id}")
        try:
            succeeded = await self._execute(message, body)
            # A renewal under way is awaited, not cut off: only its answer tells the pop receipt that counts.
            done.set()
            await renewal
        finally:
            renewal.cancel()
        return lease, succeeded

    async def _renew(self, lease: Lease, done: asyncio.Event) -> None:
        wait = RENEWAL_SECONDS
        while not await sleep_unless(done, self._clock, wait):
            try:
                lease.pop_receipt = await self._queue.update(lease.message.id, lease.pop_receipt, LEASE_SECONDS)
                wait = RENEWAL_SECONDS
            except MessageLostError:
                return
            except QueueServiceError:
                wait = max(wait / 2, MINIMUM_RENEWAL_SECONDS)

    async def _complete(self, lease: Lease, *, succeeded: bool) -> None:
        if succeeded:
            await self._delete(lease)
        elif self._poison is None:
            return  # Released at once it would come back at once, for ever; so it waits for the end of its lease.
        elif lease.message.dequeue_count >= self._options.max_dequeue_count:
            await self._move_to_poison(lease)
        else:
            await self._release(lease)

    async def _delete(self, lease: Lease) -> None:
        try:
            await self._queue.delete(lease.message.id, lease.pop_receipt)
        except MessageLostError as error:
            logger.debug("queue %s, message %s: not deleted: %s", self._queue.name, lease.message.id, error)

    async def _release(self, lease: Lease) -> None:
        wait = self._options.visibility_timeout.total_seconds()
        try:
            await self._queue.update(lease.message.id, lease.pop_receipt, wait)
        except MessageLostError as error:
            logger.debug("queue %s, message %s: not released: %s", self._queue.name, lease.message.id, error)

    async def _move_to_poison(self, lease: Lease) -> None:
        if self._poison is None:
            return
        logger.warning("queue %s: a message goes to %s", self._queue.name, self._poison.name)
        await self._poison.send(lease.message.text)
        await self._delete(lease)
        self.on_poisoned(self._poison.name)
