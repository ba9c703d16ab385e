"""Drives Microsoft's worker library (azure-functions-runtime) as the Functions host does; runs under Python 3.13 by itself.

Reads one JSON object from standard input (``app``: the directory of function_app.py, ``queue_function``, ``body``) and writes
one to standard output: the index, and what an HTTP and a queue function answered by both ways in. The library takes its
protobuf classes from the request, so plain objects of the same shape stand for them here: ``protos`` below has what
azure-functions-language-worker-protobuf's FunctionRpc.proto defines.
"""

import asyncio
import json
import sys
from typing import Any

MESSAGE_METADATA = {
    "Id": ("string", "9a1dd1a3-8ff0-4b21-a3ad-6a4b7c5f7a10"),
    "DequeueCount": ("json", "1"),
    "InsertionTime": ("json", '"2026-11-23T12:00:00+00:00"'),
    "ExpirationTime": ("json", '"2026-11-30T12:00:00+00:00"'),
    "NextVisibleTime": ("json", '"2026-11-23T12:10:00+00:00"'),
    "PopReceipt": ("string", "AgAAAAMAAAAAAAAA"),
}
HTTP = "http"


class Message:
    """A protobuf message: fields by keyword, a field that isn't set is None."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return None

    def WhichOneof(self, _group: str) -> str | None:  # noqa: N802 - protobuf's own name
        """Tell which field of the group is set."""
        return next((name for name in self.__dict__ if name != "name"), None)


class TypedData(Message):
    """A typed value; asked for what it isn't it has no such attribute, as the library probes."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


class BindingInfo(Message):
    """A binding, with the numbers of its direction and data type."""

    out = 1
    inout = 2
    undefined = 0


setattr(BindingInfo, "in", 0)


class StatusResult(Message):
    """A result, with the numbers of its status."""

    Failure = 0
    Success = 1
    Cancelled = 2


class Protos:
    """The module of protobuf classes; those that need no numbers are made when they are asked for."""

    TypedData = TypedData
    BindingInfo = BindingInfo
    StatusResult = StatusResult

    def __getattr__(self, name: str) -> type[Message]:
        return type(name, (Message,), {})


protos = Protos()


def request(**fields: Any) -> Message:
    """Make a message from the host to the worker."""
    return Message(request=Message(**fields), properties={"host": "127.0.0.1", "protos": protos})


def expect_success(response: Any) -> Any:
    """Give the response; raise RuntimeError with the worker's own words when it tells a failure."""
    if response.result.status != StatusResult.Success:
        raise RuntimeError(f"{response.result.exception.message}\n{response.result.exception.stack_trace}")
    return response


async def index(worker: Any, directory: str) -> dict[str, Any]:
    """Let the worker index the app; give each function's id and bindings by its name."""
    init = Message(capabilities={}, function_app_directory=directory)
    expect_success(await worker.worker_init_request(request(worker_init_request=init)))
    metadata = expect_success(await worker.functions_metadata_request(request(functions_metadata_request=Message())))
    functions = {}
    for found in metadata.function_metadata_results:
        load = Message(function_id=found.function_id)
        expect_success(await worker.function_load_request(request(function_load_request=load)))
        functions[found.name] = {
            "id": found.function_id,
            "bindings": [json.loads(binding) for binding in found.raw_bindings],
        }
    return functions


async def invoke_by_request(worker: Any, function_id: str, value: TypedData, name: str, metadata: dict[str, Any]) -> Any:
    """Invoke by the library's invocation request: the way of the worker up to 1.2."""
    invocation = Message(
        invocation_id="by-request",
        function_id=function_id,
        input_data=[Message(name=name, data=value)],
        trigger_metadata=metadata,
        trace_context=Message(trace_parent="", trace_state="", attributes={}),
        retry_context=Message(retry_count=0, max_retry_count=0),
    )
    return expect_success(await worker.invocation_request(request(invocation_request=invocation)))


async def invoke_natively(function_id: str, value: Any, name: str, metadata: dict[str, Any]) -> Any:
    """Invoke without protobuf (``native_invocation``, new in 1.3.0); give the returned value."""
    from azure_functions_runtime.native_invocation import invocation_request_native  # noqa: PLC0415 - after indexing

    ok, returned, _outputs, error, trace = await invocation_request_native("natively", function_id, [(name, value)], metadata)
    if not ok:
        raise RuntimeError(f"{error}\n{trace}")
    return returned


def healthz_request() -> TypedData:
    """Make ``GET /healthz`` as the host sends it."""
    return TypedData(
        http=Message(
            method="GET", url="http://localhost/healthz", headers={"accept": "*/*"}, params={}, query={}, body=TypedData()
        )
    )


def input_name(function: dict[str, Any]) -> str:
    """Give the name of the trigger's parameter."""
    return next(str(binding["name"]) for binding in function["bindings"] if binding["direction"] == "IN")


async def run(order: dict[str, Any]) -> dict[str, Any]:
    """Index the app and invoke both functions both ways."""
    import azure_functions_runtime as worker  # noqa: PLC0415 - inside the loop, as the worker imports it
    from azure_functions_runtime.bindings.datumdef import Datum  # noqa: PLC0415

    worker.start_threadpool_executor()
    functions = await index(worker, order["app"])
    healthz, queued = functions["healthz"], functions[order["queue_function"]]

    by_request = await invoke_by_request(worker, healthz["id"], healthz_request(), input_name(healthz), {})
    natively = await invoke_natively(healthz["id"], Datum.from_typed_data(healthz_request()), input_name(healthz), {})

    typed = {name: TypedData(**{kind: value}) for name, (kind, value) in MESSAGE_METADATA.items()}
    body = TypedData(string=order["body"])
    await invoke_by_request(worker, queued["id"], body, input_name(queued), typed)
    datums = {name: Datum.from_typed_data(value) for name, value in typed.items()}
    await invoke_natively(queued["id"], Datum.from_typed_data(body), input_name(queued), datums)
    return {
        "functions": {name: function["bindings"] for name, function in functions.items()},
        "by_request": [int(by_request.return_value.http.status_code), by_request.return_value.http.body.bytes.decode()],
        "natively": [int(natively.value["status_code"].value), natively.value["body"].value.decode()],
    }


def main() -> None:
    """Do what standard input says; the answer is the last line of standard output."""
    order = json.loads(sys.stdin.read())
    sys.path.insert(0, order["app"])
    sys.stdout.write(json.dumps(asyncio.run(run(order))) + "\n")


if __name__ == "__main__":
    main()
