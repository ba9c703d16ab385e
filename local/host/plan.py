"""What the host is going to run: every function connected to its trigger, every fault found before anything starts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from local.host.configuration import ConfigurationError, HostConfiguration, resolve
from local.host.functions import Binding, Function, Trigger
from local.host.queue_listener import poison_queue_name
from local.host.queue_service import Queue, Queues
from local.host.routes import parse_route
from local.host.schedule import Schedule, parse_schedule
from local.host.web import HttpFunction

DEFAULT_CONNECTION = "AzureWebJobsStorage"


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


class Bindings:
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


def _http_trigger(function: Function, bindings: Bindings, configuration: HostConfiguration) -> HttpFunction:
    route = parse_route(configuration.route_prefix, function.binding.text("route", function.name))
    return HttpFunction.of(function, route, disabled=bindings.disabled(function))


def _queue_trigger(function: Function, bindings: Bindings, _configuration: HostConfiguration) -> QueueTrigger:
    return QueueTrigger(function, bindings.queue(function.binding), bindings.poison(function.binding))


def _timer_trigger(function: Function, bindings: Bindings, _configuration: HostConfiguration) -> TimerTrigger:
    return TimerTrigger(function, parse_schedule(resolve(function.binding.text("schedule"), bindings.settings)))


_MAKERS: Mapping[Trigger, Callable[[Function, Bindings, HostConfiguration], Any]] = {
    Trigger.HTTP: _http_trigger,
    Trigger.QUEUE: _queue_trigger,
    Trigger.TIMER: _timer_trigger,
}


def make_plan(functions: tuple[Function, ...], bindings: Bindings, configuration: HostConfiguration) -> Plan:
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
