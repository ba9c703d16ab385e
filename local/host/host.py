"""The embedded host: one function app, its listeners and its HTTP side, in this process."""

import asyncio
import base64
import logging
import random as random_module
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from aiohttp import web
from azure.functions import FunctionApp

from local.host.clock import Clock, SystemClock
from local.host.configuration import host_configuration
from local.host.functions import Function, Trigger, functions_of
from local.host.keys import Keys
from local.host.payloads import UNSCHEDULED, message_by_hand, message_inputs, output_bodies, timer_input
from local.host.plan import Bindings, QueueTrigger, TimerTrigger, make_plan
from local.host.queue_listener import QueueListener
from local.host.queue_service import AzureQueues, Queues, QueueServiceError, ReceivedMessage
from local.host.schedule import is_monitored
from local.host.timer_listener import ScheduleMonitor, TimerListener, TimerLock, run_when_alone
from local.host.web import WebSide
from local.host.worker import Datum, InvocationError, Worker, Written

logger = logging.getLogger("local.host")

HOST_ID = "local"
GRACE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class HostOptions:
    """How a host is set up."""

    data: Path
    """Where the keys and the timers' status are kept."""
    host_json: Mapping[str, Any]
    environment: Mapping[str, str]
    """The app settings."""
    directory: Path = field(default_factory=Path.cwd)
    """The directory of function_app.py."""
    port: int = 0
    """The port of the HTTP side; 0 takes a free one."""
    grace: float = GRACE_SECONDS
    """Seconds that running functions get at the end."""


class Host:
    """One running function app: ``async with Host(app, ...) as host``.

    The app is indexed at entry, once in its life; ConfigurationError tells every fault of host.json, settings and functions. At
    exit the listeners stop and what runs may end within the grace; the rest is abandoned, its messages return when their leases
    end.
    """

    def __init__(
        self,
        app: FunctionApp,
        options: HostOptions,
        *,
        queues: Queues | None = None,
        clock: Clock | None = None,
        random: Callable[[], float] = random_module.random,
    ) -> None:
        self._app = app
        self._options = options
        self._configuration = host_configuration(options.host_json)
        self._queues = queues if queues is not None else AzureQueues(options.environment)
        self._bindings = Bindings(options.environment, self._queues)
        self._clock = clock or SystemClock()
        self._random = random
        self._worker = Worker(str(options.directory), options.environment, self._configuration.function_timeout)
        self._lock = TimerLock(options.data, HOST_ID)
        self._monitor = ScheduleMonitor(options.data, HOST_ID)
        self._queue_listeners: list[QueueListener] = []
        self._timer_listeners: list[TimerListener] = []
        self._stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self.functions: tuple[Function, ...] = ()
        self.url = ""

    async def __aenter__(self) -> Self:
        self.functions = functions_of(self._app)
        self._plan = make_plan(self.functions, self._bindings, self._configuration)
        self._keys = Keys.load(self._options.data / "keys.json", (function.name for function in self.functions))
        await self._serve()
        self._listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.drain()
        in_time, _closed = await asyncio.gather(self._finished(self._options.grace), self._runner.cleanup())
        if not in_time:
            logger.warning(
                "%s invocations outlive the grace of %s s and are abandoned", self._worker.running, self._options.grace
            )
        for listener in self._queue_listeners:
            listener.abandon()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._worker.close()
        await self._queues.close()

    @property
    def master_key(self) -> str:
        """The key that opens everything, ``/admin`` too."""
        return self._keys.master

    @property
    def keys(self) -> Keys:
        """All keys of this data directory."""
        return self._keys

    def describe(self) -> dict[str, Any]:
        """Give the ready line's content: where the host is and what it runs."""
        return {
            "url": self.url,
            "functions": [function.describe for function in self.functions],
            "master_key": self.master_key,
        }

    def status(self) -> dict[str, Any]:
        """Describe the host, as ``GET /admin/host/status`` does."""
        return {"id": HOST_ID, "state": "Running", "version": "embedded", "errors": []}

    def drain_status(self) -> dict[str, Any]:
        """Describe the drain: Disabled, InProgress or Completed."""
        outstanding = self._worker.running
        state = "Disabled" if not self._stopping.is_set() else "InProgress" if outstanding else "Completed"
        return {"state": state, "outstandingInvocations": outstanding, "outstandingRetries": 0}

    def drain(self) -> None:
        """Stop the listeners; what runs goes on, and HTTP is still answered."""
        self._stopping.set()
        for queue_listener in self._queue_listeners:
            queue_listener.stop()
        for timer_listener in self._timer_listeners:
            timer_listener.stop()

    def resume(self) -> None:
        """Start the listeners again after a drain."""
        if self._stopping.is_set():
            self._listen()

    def run_function(self, name: str, given: str | None) -> bool:
        """Run a queue or timer function in the background, with this text as its message; False when there is none."""
        for function in self.functions:
            if function.name == name and function.trigger is not Trigger.HTTP:
                self._spawn(self._run_by_hand(function, given or ""), f"{name} by hand")
                return True
        return False

    async def invoke(self, function: Function, value: Datum, trigger_metadata: Mapping[str, Datum]) -> list[Written]:
        """Run a function and write its queue outputs before it counts as done; raise InvocationError when either fails."""
        written = await self._worker.invoke(function, value, trigger_metadata)
        try:
            for output in written:
                if output.binding.type == "queue":
                    await self._write(output)
        except QueueServiceError as error:
            logger.error("%s: an output could not be written: %s", function.name, error)  # noqa: TRY400 - one line
            raise InvocationError from error
        return written

    async def _write(self, output: Written) -> None:
        queue = self._bindings.queue(output.binding)
        for body in output_bodies(output.value):
            await queue.send(base64.b64encode(body).decode() if self._configuration.queues.base64 else body.decode())
        self._notify(queue.name)

    def _notify(self, queue_name: str) -> None:
        for listener in self._queue_listeners:
            if listener.queue_name == queue_name:
                listener.notify()

    async def _serve(self) -> None:
        application = WebSide(self._plan.http, self._keys, self.invoke, self).application()
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=self._options.grace)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._options.port)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    def _listen(self) -> None:
        self._stopping = asyncio.Event()
        self._queue_listeners = [
            self._queue_listener(one) for one in self._plan.queues if not self._bindings.disabled(one.function)
        ]
        self._timer_listeners = [
            self._timer_listener(one) for one in self._plan.timers if not self._bindings.disabled(one.function)
        ]
        for listener in self._queue_listeners:
            self._spawn(listener.run(), f"queue {listener.queue_name}")
        if self._timer_listeners:
            self._spawn(run_when_alone(self._lock, self._timer_listeners, self._clock, self._stopping), "timers")

    def _queue_listener(self, trigger: QueueTrigger) -> QueueListener:
        async def execute(message: ReceivedMessage, body: bytes) -> bool:
            with suppress(InvocationError):
                await self.invoke(trigger.function, *message_inputs(message, body, trigger.function.binding))
                return True
            return False

        listener = QueueListener(trigger.queue, trigger.poison, execute, self._configuration.queues, self._clock, self._random)
        listener.on_poisoned = self._notify
        return listener

    def _timer_listener(self, trigger: TimerTrigger) -> TimerListener:
        async def execute(timer: dict[str, Any]) -> None:
            # A failed occurrence is not repeated and never stops the schedule; the failure is already logged.
            with suppress(InvocationError):
                await self.invoke(trigger.function, timer_input(timer), {})

        properties = trigger.function.binding.properties
        monitored = properties.get("useMonitor", True) and is_monitored(trigger.schedule, self._clock.now())
        return TimerListener(
            trigger.function.name,
            trigger.schedule,
            execute,
            self._clock,
            self._monitor if monitored else None,
            run_on_startup=bool(properties.get("runOnStartup")),
        )

    async def _run_by_hand(self, function: Function, text: str) -> None:
        fields: Mapping[str, Datum] = {}
        if function.trigger is Trigger.TIMER:
            value = timer_input(UNSCHEDULED)
        else:
            message = message_by_hand(text, self._clock.now())
            value, fields = message_inputs(message, text.encode(), function.binding)
        with suppress(InvocationError):
            await self.invoke(function, value, fields)

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.critical("%s ended: %r", task.get_name(), task.exception(), exc_info=task.exception())

    async def _finished(self, seconds: float) -> bool:
        """Wait until the listeners and what they began have ended; False when the time is up before."""
        try:
            async with asyncio.timeout(seconds):
                for listener in self._queue_listeners:
                    await listener.finished()
                while self._tasks:
                    await asyncio.wait(self._tasks)
        except TimeoutError:
            return False
        return True
