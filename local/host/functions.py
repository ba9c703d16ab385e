"""What a function app declares: read once from the decorators of its own ``FunctionApp``, never from a second list."""

import importlib
import inspect
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from azure.functions import FunctionApp

from local.host.configuration import ConfigurationError


class Trigger(StrEnum):
    """The kinds of trigger that this host runs; values are the binding types of function.json."""

    HTTP = "httpTrigger"
    QUEUE = "queueTrigger"
    TIMER = "timerTrigger"


@dataclass(frozen=True, slots=True)
class Binding:
    """One binding of a function, as the worker tells it to the host (raw bindings: the JSON of function.json)."""

    type: str
    name: str
    is_output: bool
    properties: Mapping[str, Any]

    def text(self, name: str, default: str = "") -> str:
        """Give a property as text."""
        value = self.properties.get(name)
        return default if value is None else str(value)


@dataclass(frozen=True, slots=True)
class Function:
    """One function of the app, ready to be invoked."""

    name: str
    trigger: Trigger
    binding: Binding
    outputs: tuple[Binding, ...]
    call: Callable[..., Any]
    is_async: bool
    takes_context: bool

    @property
    def describe(self) -> dict[str, Any]:
        """Give the name, the trigger and what the trigger listens to, for people and for the ready line."""
        hidden = {"direction", "type", "name", "dataType"}
        listens = {key: value for key, value in self.binding.properties.items() if key not in hidden}
        return {"name": self.name, "trigger": self.trigger.value, **listens}


OUTPUT_TYPES = ("http", "queue")


def _binding(raw: str) -> Binding:
    properties = json.loads(raw)
    return Binding(
        type=properties["type"],
        name=properties["name"],
        is_output=properties["direction"] == "OUT",
        properties=properties,
    )


def _faults(name: str, bindings: Iterable[Binding], retry: object) -> Iterable[str]:
    for binding in bindings:
        if binding.is_output and binding.type not in OUTPUT_TYPES:
            yield f"function {name}: output binding {binding.type} is not one that this host writes"
        if not binding.is_output and binding.type not in {*Trigger}:
            yield f"function {name}: {binding.type} is not one that this host reads"
    if retry is not None:
        yield f"function {name}: a retry policy is not emulated by this host; use the queue's own retries"


def _parameter_faults(name: str, call: Callable[..., Any], bindings: Iterable[Binding]) -> Iterable[str]:
    # The worker refuses to load a function whose parameters and bindings differ.
    expected = {binding.name for binding in bindings} - {"$return"}
    actual = set(inspect.signature(call).parameters) - {"context"}
    if expected - actual:
        yield f"function {name}: declared by a binding but not a parameter: {', '.join(sorted(expected - actual))}"
    if actual - expected:
        yield f"function {name}: a parameter without a binding: {', '.join(sorted(actual - expected))}"


def _function(declared: Any, faults: list[str]) -> Function | None:
    name = str(declared.get_function_name())
    call = declared.get_user_function()
    bindings = [_binding(raw) for raw in declared.get_raw_bindings()]
    found = [*_faults(name, bindings, declared.get_settings_dict("retry_policy")), *_parameter_faults(name, call, bindings)]
    faults.extend(found)
    if found:
        return None
    trigger = next(binding for binding in bindings if not binding.is_output)
    return Function(
        name=name,
        trigger=Trigger(trigger.type),
        binding=trigger,
        outputs=tuple(binding for binding in bindings if binding.is_output),
        call=call,
        is_async=inspect.iscoroutinefunction(call),
        takes_context="context" in inspect.signature(call).parameters,
    )


def functions_of(app: FunctionApp) -> tuple[Function, ...]:
    """Index an app, once in its life: azure-functions refuses a second ``get_functions()`` of the same object.

    Raise ConfigurationError with every function that can't be run.
    """
    try:
        declared: list[Any] = app.get_functions()
    except ValueError as error:
        raise ConfigurationError([str(error)]) from error
    faults: list[str] = []
    functions = [_function(one, faults) for one in declared]
    if faults:
        raise ConfigurationError(faults)
    return tuple(one for one in functions if one is not None)


def import_app(directory: Path) -> FunctionApp:
    """Import ``function_app`` from the project's directory, as the Python worker does, and return its ``app``.

    What the import raises is the caller's to tell; raise ConfigurationError when there is no ``app`` in it.
    """
    if not (directory / "function_app.py").is_file():
        raise ConfigurationError([f"there is no function_app.py in {directory}"])
    sys.path.insert(0, str(directory))
    module = importlib.import_module("function_app")
    app = getattr(module, "app", None)
    if not isinstance(app, FunctionApp):
        raise ConfigurationError([f"{directory / 'function_app.py'} has no FunctionApp named 'app'"])
    return app
