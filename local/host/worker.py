"""Invokes functions as Microsoft's Python worker does, in this process.

Async functions run on the host's event loop, others in a thread pool. Inputs and outputs pass azure-functions' own converters, so
a function gets the objects that the real worker builds (azure-functions-python-worker ``dispatcher.py``, ``bindings/meta.py``).
"""

import asyncio
import contextvars
import json
import logging
import os
import threading
import time
import traceback
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

from azure.functions import Context, Out, http, meta, queue, timer

from local.host.configuration import UNBOUNDED
from local.host.functions import Binding, Function, Trigger

logger = logging.getLogger("local.host.worker")

# azure-functions has type marks, but leaves these classes and their methods untyped.
_Datum: Any = meta.Datum
_DECODERS: Mapping[Trigger, Any] = {
    Trigger.HTTP: http.HttpRequestConverter,
    Trigger.QUEUE: queue.QueueMessageInConverter,
    Trigger.TIMER: timer.TimerRequestConverter,
}
_ENCODERS: Mapping[str, Any] = {"http": http.HttpResponseConverter, "queue": queue.QueueMessageOutConverter}

Datum = Any


def datum(value: Any, kind: str) -> Datum:
    """Make the worker's typed value; kinds are string, bytes, json and http."""
    return _Datum(value=value, type=kind)


def metadata(fields: Mapping[str, object]) -> dict[str, Datum]:
    """Make trigger metadata as the host sends it: text as such, every other value as JSON."""
    return {
        name: datum(value, "string") if isinstance(value, str) else datum(json.dumps(value), "json")
        for name, value in fields.items()
    }


class InvocationError(Exception):
    """Raised when an invocation fails; its cause is the function's own exception."""


@dataclass(frozen=True, slots=True)
class TraceContext:
    """The W3C trace context of an invocation; empty here, as when a request brings none."""

    trace_parent: str = ""
    trace_state: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)


class InvocationContext(Context):
    """What a function with a parameter named ``context`` is given."""

    def __init__(self, function_name: str, invocation_id: str, directory: str) -> None:
        self._function_name = function_name
        self._invocation_id = invocation_id
        self._directory = directory
        self._local = threading.local()

    @property
    def invocation_id(self) -> str:
        """The id of this one invocation (a GUID)."""
        return self._invocation_id

    @property
    def thread_local_storage(self) -> Any:
        """Storage of the invoking thread."""
        return self._local

    @property
    def function_name(self) -> str:
        """The function's name."""
        return self._function_name

    @property
    def function_directory(self) -> str:
        """The directory of function_app.py."""
        return self._directory

    @property
    def trace_context(self) -> Any:
        """The trace context, always empty here."""
        return TraceContext()

    @property
    def retry_context(self) -> Any:
        """Always None: this host refuses retry policies."""
        return None


class Output(Out[Any]):
    """An output parameter (``func.Out``): keeps what the function sets last."""

    def __init__(self) -> None:
        self._value: Any = None

    def set(self, val: Any) -> None:
        """Set the value to write when the function has returned."""
        self._value = val

    def get(self) -> Any:
        """Give the value set last."""
        return self._value


@dataclass(frozen=True, slots=True)
class Written:
    """One encoded output of an invocation."""

    binding: Binding
    value: Datum


def _thread_count(environment: Mapping[str, str]) -> int:
    default = min(32, (os.cpu_count() or 1) + 4)
    return int(environment.get("PYTHON_THREADPOOL_THREAD_COUNT", default))


def _return_binding(function: Function) -> Binding | None:
    return next((binding for binding in function.outputs if binding.name == "$return"), None)


def _encode(binding: Binding, value: Any) -> Written:
    if value is None:
        # The worker can't send "nothing" as a result (functions-host 1.3: None from an HTTP function is a failure).
        raise TypeError("unable to encode outgoing TypedData: NoneType")
    return Written(binding, _ENCODERS[binding.type].encode(value, expected_type=None))


def _encode_return(function: Function, value: Any) -> list[Written]:
    binding = _return_binding(function)
    if binding is None:
        if value is not None:
            raise RuntimeError(f"function {function.name} without a $return binding returned a value")
        return []
    if value is None and binding.type != "http":
        return []
    return [_encode(binding, value)]


class Worker:
    """Runs one invocation at a time or many at once; knows nothing of what triggers them."""

    def __init__(self, directory: str, environment: Mapping[str, str], timeout: timedelta = UNBOUNDED) -> None:
        self._directory = directory
        self._timeout = None if timeout == UNBOUNDED else timeout.total_seconds()
        self._threads = ThreadPoolExecutor(_thread_count(environment), thread_name_prefix="function")
        self.running = 0
        """How many invocations run now."""

    async def invoke(self, function: Function, value: Datum, trigger_metadata: Mapping[str, Datum]) -> list[Written]:
        """Run a function once and return its encoded outputs, the result among them.

        Raise InvocationError when it raises, can't be given its input, runs longer than functionTimeout (the real host then
        restarts the whole worker; here only this invocation ends) or returns what can't be encoded.
        """
        invocation_id = str(uuid.uuid4())
        began = time.monotonic()
        self.running += 1
        logger.debug("%s %s: begins", function.name, invocation_id)
        try:
            outputs = await self._guarded(function, invocation_id, value, trigger_metadata)
        except InvocationError as error:
            cause = error.__cause__
            logger.error("%s %s: failed: %s: %s", function.name, invocation_id, type(cause).__name__, cause)  # noqa: TRY400
            logger.debug("%s %s:\n%s", function.name, invocation_id, "".join(traceback.format_exception(cause)))
            raise
        finally:
            self.running -= 1
        logger.debug("%s %s: succeeded in %.3f s", function.name, invocation_id, time.monotonic() - began)
        return outputs

    async def _guarded(
        self, function: Function, invocation_id: str, value: Datum, trigger_metadata: Mapping[str, Datum]
    ) -> list[Written]:
        try:
            async with asyncio.timeout(self._timeout):
                return await self._run(function, invocation_id, value, trigger_metadata)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise  # The host itself is ending.
            raise InvocationError from error
        except (Exception, SystemExit) as error:
            # SystemExit too: a function must not be able to end the host (functions-host 2, "the host must guard").
            raise InvocationError from error

    async def _run(
        self, function: Function, invocation_id: str, value: Datum, trigger_metadata: Mapping[str, Datum]
    ) -> list[Written]:
        outputs = {binding.name: Output() for binding in function.outputs if binding.name != "$return"}
        arguments: dict[str, Any] = dict(outputs)
        arguments[function.binding.name] = _DECODERS[function.trigger].decode(value, trigger_metadata=trigger_metadata)
        if function.takes_context:
            arguments["context"] = InvocationContext(function.name, invocation_id, self._directory)
        result = await self._call(function, arguments)
        written = [
            _encode(binding, outputs[binding.name].get())
            for binding in function.outputs
            if binding.name in outputs and outputs[binding.name].get() is not None
        ]
        return [*written, *_encode_return(function, result)]

    async def _call(self, function: Function, arguments: Mapping[str, Any]) -> Any:
        if function.is_async:
            return await function.call(**arguments)
        context = contextvars.copy_context()
        call = partial(context.run, function.call, **arguments)
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    def close(self) -> None:
        """Begin no more threads; those that run end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)
