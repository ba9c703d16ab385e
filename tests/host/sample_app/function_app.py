"""A small function app for the tests of the host: what it does is seen in the directory that SAMPLE_DIRECTORY names."""

import asyncio
import os
from pathlib import Path

import azure.functions as func

if faults := os.environ.get("SAMPLE_FAULTS"):
    # As an app does that checks its settings at the start.
    raise ValueError(faults)

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
DIRECTORY = Path(os.environ.get("SAMPLE_DIRECTORY", "."))


def leave(name: str, body: bytes = b"") -> None:
    """Leave a file for the test to find, complete from its first moment."""
    unfinished = DIRECTORY / f".{name}"
    unfinished.write_bytes(body)
    unfinished.rename(DIRECTORY / name)


@app.route("healthz", methods=["GET"])
async def healthz(req: func.HttpRequest) -> func.HttpResponse:
    """Tell that the app runs."""
    return func.HttpResponse('{"status": "ok"}', mimetype="application/json")


@app.queue_trigger(arg_name="message", queue_name="sample-work", connection="SampleStorage")
def work(message: func.QueueMessage) -> None:
    """Leave a file with the message's body, or fail when it says so."""
    body = message.get_body()
    leave(f"work-{message.dequeue_count}-{message.id}", body)
    if body == b"fail":
        raise ValueError("the message says so")


@app.queue_trigger(arg_name="message", queue_name="sample-slow", connection="SampleStorage")
async def slow(message: func.QueueMessage) -> None:
    """Leave the file slow-began, and end when the test has left the file slow-may-end."""
    leave("slow-began", message.get_body())
    may_end = DIRECTORY / "slow-may-end"
    while True:
        if await asyncio.to_thread(may_end.exists):
            return
        await asyncio.sleep(0.01)


@app.timer_trigger(arg_name="timer", schedule="%SAMPLE_SCHEDULE%", use_monitor=False)
def tick(timer: func.TimerRequest) -> None:
    """Leave a file at each occurrence."""
    leave("tick", str(timer.past_due).encode())
