"""host.json, app settings, connections and the app's own declarations: read as the real host reads them, faults told together."""

import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import azure.functions as func
import pytest

from local.host.configuration import (
    UNBOUNDED,
    ConfigurationError,
    Connection,
    QueueOptions,
    connection,
    host_configuration,
    read_json_object,
    resolve,
    settings_of_file,
    time_span,
)
from local.host.functions import functions_of
from local.host.queue_service import AzureQueues

PROJECT = Path(__file__).parents[2]


def queues_section(**options: Any) -> dict[str, Any]:
    """A host.json with these queue options."""
    return {"version": "2.0", "extensions": {"queues": options}}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("00:00:30", timedelta(seconds=30)),
        ("00:00:00.25", timedelta(milliseconds=250)),
        ("1.02:00:00", timedelta(days=1, hours=2)),
        ("12:30", timedelta(hours=12, minutes=30)),
    ],
)
def test_time_spans(text: str, expected: timedelta) -> None:
    """.NET's text form of a TimeSpan."""
    assert time_span(text) == expected


def test_queue_defaults_are_the_extensions() -> None:
    """Without options: 16, half of it for each processor, one minute, at once, five times, base64."""
    options = host_configuration({"version": "2.0"}).queues
    assert options == QueueOptions(16, 8 * (os.cpu_count() or 1), timedelta(minutes=1), timedelta(0), 5, base64=True)


def test_the_projects_own_host_json_is_read_whole() -> None:
    """Every queue option of the project's host.json arrives."""
    configuration = host_configuration(read_json_object(PROJECT / "host.json"))
    assert configuration.queues == QueueOptions(16, 8, timedelta(seconds=2), timedelta(seconds=30), 5, base64=True)
    assert configuration.route_prefix == ""


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("batchSize", 0),
        ("batchSize", 33),
        ("batchSize", "16"),
        ("newBatchThreshold", -1),
        ("maxPollingInterval", "00:00:00.05"),
        ("maxPollingInterval", "soon"),
        ("visibilityTimeout", 30),
        ("maxDequeueCount", 0),
        ("messageEncoding", "rot13"),
        ("batchsize", 16),
    ],
)
def test_queue_options_out_of_range_are_faults(option: str, value: object) -> None:
    """Each limit of QueuesOptions.cs; an unknown option, too, is told rather than ignored."""
    with pytest.raises(ConfigurationError, match=rf"host.json extensions.queues.{option}: "):
        host_configuration(queues_section(**{option: value}))


def test_all_faults_of_host_json_come_together() -> None:
    """A person repairs host.json once."""
    with pytest.raises(ConfigurationError) as caught:
        host_configuration({**queues_section(batchSize=99, maxDequeueCount=0), "version": "3", "functionTimeout": "never"})
    assert len(caught.value.faults) == 4


@pytest.mark.parametrize(
    ("value", "expected"), [("-1", UNBOUNDED), ("00:10:00", timedelta(minutes=10)), (None, timedelta(minutes=30))]
)
def test_function_timeout(value: str | None, expected: timedelta) -> None:
    """30 minutes by default (Flex Consumption); -1 is none at all."""
    assert host_configuration({"version": "2.0", "functionTimeout": value}).function_timeout == expected


def test_settings_in_percent_signs() -> None:
    """Every %NAME% is replaced; a missing one is named."""
    assert resolve("%A%-x-%B%", {"A": "1", "B": "2"}) == "1-x-2"
    with pytest.raises(ValueError, match="'%C%' does not resolve"):
        resolve("%C%", {})


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"S": "text", "S__accountName": "ignored"}, Connection(connection_string="text")),
        (
            {"S__queueServiceUri": "https://q.example", "S__clientId": "c"},
            Connection(queue_service_url="https://q.example", client_id="c"),
        ),
        ({"S__accountName": "acct"}, Connection(queue_service_url="https://acct.queue.core.windows.net")),
    ],
)
def test_1_7_connections(settings: dict[str, str], expected: Connection) -> None:
    """A connection string wins over the settings of an identity; an account's name stands for its address."""
    assert connection("S", settings) == expected


def test_1_7_a_connection_without_settings_is_a_fault() -> None:
    """The setting that is missing is named."""
    with pytest.raises(ValueError, match="no app setting S, S__queueServiceUri or S__accountName"):
        connection("S", {})


async def test_1_7_an_identity_is_used_lazily() -> None:
    """A connection by identity makes its client without asking for a token."""
    queues = AzureQueues({"S__queueServiceUri": "https://acct.queue.core.windows.net"})
    assert queues.queue("S", "work").name == "work"
    await queues.close()


def test_settings_of_a_file_in_the_form_of_local_settings(tmp_path: Path) -> None:
    """Values become text; a file that isn't there is told."""
    (tmp_path / "local.settings.json").write_text(json.dumps({"IsEncrypted": False, "Values": {"A": "1", "B": 2}}))
    assert settings_of_file(tmp_path / "local.settings.json") == {"A": "1", "B": "2"}
    with pytest.raises(ConfigurationError, match=r"none\.json"):
        settings_of_file(tmp_path / "none.json")


def test_everything_is_read_from_the_decorators() -> None:
    """Names, routes, methods, levels, queues, connections and schedules are what the app's own decorators say."""
    app = func.FunctionApp()

    @app.route("a/{id}", methods=["GET", "POST"], auth_level=func.AuthLevel.ANONYMOUS)
    def a(req: func.HttpRequest) -> str:
        return ""

    @app.function_name("other_name")
    @app.queue_trigger(arg_name="message", queue_name="%Q%", connection="S")
    async def b(message: func.QueueMessage, context: func.Context) -> None: ...

    @app.timer_trigger(arg_name="timer", schedule="0 * * * * *", run_on_startup=True, use_monitor=False)
    async def c(timer: func.TimerRequest) -> None: ...

    assert [function.describe for function in functions_of(app)] == [
        {"name": "a", "trigger": "httpTrigger", "methods": ["GET", "POST"], "authLevel": "ANONYMOUS", "route": "a/{id}"},
        {"name": "other_name", "trigger": "queueTrigger", "queueName": "%Q%", "connection": "S"},
        {"name": "c", "trigger": "timerTrigger", "schedule": "0 * * * * *", "runOnStartup": True, "useMonitor": False},
    ]


def test_functions_that_the_worker_would_not_load_are_faults() -> None:
    """Parameters and bindings must agree, and only triggers and outputs that this host runs are taken."""
    app = func.FunctionApp()

    @app.queue_trigger(arg_name="message", queue_name="q", connection="S")
    async def misnamed(msg: func.QueueMessage) -> None: ...

    @app.blob_trigger(arg_name="blob", path="c/x", connection="S")
    async def blob(blob: func.InputStream) -> None: ...

    with pytest.raises(ConfigurationError) as caught:
        functions_of(app)
    assert [fault.split(":")[0] for fault in caught.value.faults] == ["function misnamed", "function misnamed", "function blob"]


def test_two_functions_of_one_name_are_a_fault() -> None:
    """As for the worker: names are unique."""
    app = func.FunctionApp()
    for _ in range(2):

        @app.timer_trigger(arg_name="timer", schedule="0 * * * * *")
        async def same(timer: func.TimerRequest) -> None: ...

    with pytest.raises(ConfigurationError, match="unique"):
        functions_of(app)
