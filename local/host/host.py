"""The embedded host: one function app, its listeners and its HTTP side, in this process."""

import asyncio
import base64
import json
import logging
import random as random_module
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from aiohttp import web
from azure.functions import FunctionApp

from local.host.clock import Clock, SystemClock
from local.host.configuration import ConfigurationError, HostConfiguration, host_configuration, resolve
from local.host.functions import Binding, Function, Trigger, functions_of
from local.host.keys import Keys
from local.host.queue_listener import QueueListener, poison_queue_name
from local.host.queue_service import AzureQueues, Queue, Queues, QueueServiceError, ReceivedMessage
from local.host.routes import parse_route
from local.host.schedule import Schedule, is_monitored, parse_schedule
from local.host.timer_listener import ScheduleMonitor, TimerListener, TimerLock, run_when_alone
from local.host.web import HttpFunction, WebSide
from local.host.worker import Datum, InvocationError, Worker, Written, datum, metadata

logger = logging.getLogger("local.host")

DEFAULT_CONNECTION = "AzureWebJobsStorage"
HOST_ID = "local"
GRACE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class QueueTrigger:
    """A queue function and its queues."""

    function: Function
    queue: Queue
    poison: Queue | None


@dataclass(frozen=True, slots=True)
class TimerTrigger:
    """A timer function and its schedule."""

    function: Function
    schedule: Schedule


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that the host runs, checked before anything starts."""

    http: tuple[HttpFunction, ...]
    queues: tuple[QueueTrigger, ...]
    timers: tuple[TimerTrigger, ...]


class _Bindings:
    """Finds what bindings name: queues by connection and name, ``%SETTING%`` replaced."""

    def __init__(self, settings: Mapping[str, str], queues: Queues) -> None:
        self.settings = settings
        self._queues = queues

    def queue(self, binding: Binding) -> Queue:
        """Give the queue of a queue binding; raise ValueError when a setting is missing."""
        name = resolve(binding.text("queueName"), self.settings)
        return self._queues.queue(binding.text("connection") or DEFAULT_CONNECTION, name)

    def poison(self, binding: Binding) -> Queue | None:
        """Give the poison queue that belongs to the queue of a trigger, if it has one."""
        name = poison_queue_name(resolve(binding.text("queueName"), self.settings))
        return None if name is None else self._queues.queue(binding.text("connection") or DEFAULT_CONNECTION, name)

    def disabled(self, function: Function) -> bool:
        """Tell whether an app setting switches the function off (``AzureWebJobs.NAME.Disabled``)."""
        return self.settings.get(f"AzureWebJobs.{function.name}.Disabled", "").lower() in {"true", "1"}


def _http_trigger(function: Function, bindings: _Bindings, configuration: HostConfiguration) -> HttpFunction:
    route = parse_route(configuration.route_prefix, function.binding.text("route", function.name))
    return HttpFunction.of(function, route, disabled=bindings.disabled(function))


def _queue_trigger(function: Function, bindings: _Bindings, _configuration: HostConfiguration) -> QueueTrigger:
    return QueueTrigger(function, bindings.queue(function.binding), bindings.poison(function.binding))


def _timer_trigger(function: Function, bindings: _Bindings, _configuration: HostConfiguration) -> TimerTrigger:
    return TimerTrigger(function, parse_schedule(resolve(function.binding.text("schedule"), bindings.settings)))


_MAKERS: Mapping[Trigger, Callable[[Function, _Bindings, HostConfiguration], Any]] = {
    Trigger.HTTP: _http_trigger,
    Trigger.QUEUE: _queue_trigger,
    Trigger.TIMER: _timer_trigger,
}


def _make_plan(functions: tuple[Function, ...], bindings: _Bindings, configuration: HostConfiguration) -> Plan:
    """Check and connect all functions; raise ConfigurationError with every fault."""
    made: dict[Trigger, list[Any]] = {trigger: [] for trigger in Trigger}
    faults: list[str] = []
    for function in functions:
        try:
            made[function.trigger].append(_MAKERS[function.trigger](function, bindings, configuration))
            for output in function.outputs:
                if output.type == "queue":
                    bindings.queue(output)
        except ValueError as error:
            faults.append(f"function {function.name}: {error}")
    if faults:
        raise ConfigurationError(faults)
    return Plan(http=tuple(made[Trigger.HTTP]), queues=tuple(made[Trigger.QUEUE]), timers=tuple(made[Trigger.TIMER]))


def _message_inputs(message: ReceivedMessage, body: bytes, binding: Binding) -> tuple[Datum, dict[str, Datum]]:
    """Make what the worker is given of a queue message (functions-host 1.1.15)."""
    binary = binding.text("dataType").upper() == "BINARY"
    value = datum(body, "bytes") if binary else datum(body.decode(errors="replace"), "string")
    return value, metadata(
        {
            "Id": message.id,
            "DequeueCount": message.dequeue_count,
            "InsertionTime": message.inserted_on.isoformat(),
            "ExpirationTime": message.expires_on.isoformat(),
            "NextVisibleTime": message.next_visible_on.isoformat(),
            "PopReceipt": message.pop_receipt,
        }
    )


def _texts(value: Datum) -> list[bytes]:
    """Give the bodies that a queue output stands for: text, bytes, or a JSON list of texts."""
    if value.type == "bytes":
        return [value.value]
    if value.type == "string":
        return [value.value.encode()]
    items = json.loads(value.value)
    bodies = [item["body"] if isinstance(item, dict) else item for item in (items if isinstance(items, list) else [items])]
    return [body.encode() for body in bodies]


class Host:
    """One running function app: ``async with Host(app, ...) as host``.

    The app is indexed at entry, once in its life. At exit the listeners stop, what runs may end within ``grace`` seconds, the rest is
    abandoned: its messages come back when their leases run out.
    """

    def __init__(
        self,
        app: FunctionApp,
        *,
        host_json: Mapping[str, Any],
        environment: Mapping[str, str],
        data: Path,
        port: int = 0,
        directory: Path | None = None,
        queues: Queues | None = None,
        clock: Clock | None = None,
        random: Callable[[], float] = random_module.random,
        grace: float = GRACE_SECONDS,
    ) -> None:
        self._app = app
        self._directory = directory or Path.cwd()
        self._configuration = host_configuration(host_json)
        self._data = data
        self._port = port
        self._queues = queues if queues is not None else AzureQueues(environment)
        self._bindings = _Bindings(environment, self._queues)
        self._clock = clock or SystemClock()
        self._random = random
        self._grace = grace
        self._worker = Worker(str(self._directory), environment, self._configuration.function_timeout)
        self._lock = TimerLock(data, HOST_ID)
        self._monitor = ScheduleMonitor(data, HOST_ID)
        self._queue_listeners: list[QueueListener] = []
        self._timer_listeners: list[TimerListener] = []
        self._stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._runner: web.AppRunner | None = None
        self.functions: tuple[Function, ...] = ()
        self.url = ""

    async def __aenter__(self) -> Self:
        self.functions = functions_of(self._app)
        self._plan = _make_plan(self.functions, self._bindings, self._configuration)
        self._keys = Keys.load(self._data / "keys.json", (function.name for function in self.functions))
        await self._serve()
        self._listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.drain()
        if not await self._finished(self._grace):
            logger.warning("%s invocations did not end within %s s and are abandoned", self._worker.running, self._grace)
        for listener in self._queue_listeners:
            listener.abandon()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()
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
        for listener in [*self._queue_listeners, *self._timer_listeners]:
            listener.stop()

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
        for body in _texts(output.value):
            await queue.send(base64.b64encode(body).decode() if self._configuration.queues.base64 else body.decode())
        self._notify(queue.name)

    def _notify(self, queue_name: str) -> None:
        for listener in self._queue_listeners:
            if listener.queue_name == queue_name:
                listener.notify()

    async def _serve(self) -> None:
        application = WebSide(self._plan.http, self._keys, self.invoke, self).application()
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=self._grace)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
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
                await self.invoke(trigger.function, *_message_inputs(message, body, trigger.function.binding))
                return True
            return False

        listener = QueueListener(
            trigger.queue, trigger.poison, execute, self._configuration.queues, self._clock, self._random
        )
        listener.on_poisoned = self._notify
        return listener

    def _timer_listener(self, trigger: TimerTrigger) -> TimerListener:
        async def execute(timer: dict[str, Any]) -> None:
            # A failed occurrence is not repeated and never stops the schedule; the failure is already logged.
            with suppress(InvocationError):
                await self.invoke(trigger.function, datum(json.dumps(timer), "json"), {})

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
        if function.trigger is Trigger.TIMER:
            timer = {"Schedule": {"AdjustForDST": True}, "ScheduleStatus": None, "IsPastDue": False}
            value, fields = datum(json.dumps(timer), "json"), dict[str, Datum]()
        else:
            now = self._clock.now()
            never = datetime.max.replace(tzinfo=UTC)
            message = ReceivedMessage(str(uuid.uuid4()), text, 0, "", now, never, now)
            value, fields = _message_inputs(message, text.encode(), function.binding)
        with suppress(InvocationError):
            await self.invoke(function, value, fields)

    def _spawn(self, work: Any, name: str) -> None:
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
