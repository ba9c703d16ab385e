"""host.json and the app settings, read as the Functions host reads them, every fault told at once.

Options, defaults and limits: azure-sdk-for-net ``QueuesOptions.cs``, azure-functions-host ``HostJsonFileConfigurationSource.cs``.
"""

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

# .NET's TimeSpan as text: "00:00:30", "1.02:03:04" (a day first), "00:00:00.5".
_TIME_SPAN = re.compile(r"(?:(?P<days>\d+)\.)?(?P<hours>\d{1,2}):(?P<minutes>[0-5]?\d)(?::(?P<seconds>[0-5]?\d(?:\.\d{1,7})?))?")
_SETTING_REFERENCE = re.compile(r"%([^%]+)%")
UNBOUNDED = timedelta.max


class ConfigurationError(Exception):
    """Raised when host.json, an app setting or a function can't be used; ``faults`` holds one sentence for each reason."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


def time_span(text: str) -> timedelta:
    """Read .NET's ``[d.]hh:mm[:ss[.fffffff]]``; raise ValueError for anything else."""
    match = _TIME_SPAN.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a time span such as 00:00:30")
    return timedelta(**{unit: float(value) for unit, value in match.groupdict(default="0").items()})


@dataclass(frozen=True, slots=True)
class QueueOptions:
    """``extensions.queues`` of host.json: how queue functions take their messages."""

    batch_size: int = 16
    new_batch_threshold: int = 8
    max_polling_interval: timedelta = timedelta(minutes=1)
    visibility_timeout: timedelta = timedelta(0)
    """How long a failed message stays invisible; not the lease, which is fixed at ten minutes."""
    max_dequeue_count: int = 5
    base64: bool = True

    @property
    def max_concurrency(self) -> int:
        """How many messages of one queue one host works on at most."""
        return self.batch_size + self.new_batch_threshold


@dataclass(frozen=True, slots=True)
class HostConfiguration:
    """What host.json says, with the host's defaults."""

    queues: QueueOptions = field(default_factory=QueueOptions)
    route_prefix: str = "api"
    function_timeout: timedelta = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class _Rule:
    """How one option of ``extensions.queues`` is read: the field it fills, the reader and the values allowed."""

    name: str
    read: Callable[[Any], Any]
    allowed: Callable[[Any], bool]
    limits: str


def _default_new_batch_threshold(batch_size: int) -> int:
    return batch_size // 2 * (os.cpu_count() or 1)


def _integer(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{value!r} is not a whole number")  # noqa: TRY004 - the caller tells one kind of fault
    return value


_DEFAULTS = HostConfiguration()

_RULES: Mapping[str, _Rule] = {
    "batchSize": _Rule("batch_size", _integer, lambda n: 1 <= n <= 32, "1 to 32"),
    "newBatchThreshold": _Rule("new_batch_threshold", _integer, lambda n: n >= 0, "0 or more"),
    "maxPollingInterval": _Rule(
        "max_polling_interval", time_span, lambda t: t >= timedelta(milliseconds=100), "00:00:00.1 or more"
    ),
    "visibilityTimeout": _Rule("visibility_timeout", time_span, lambda t: t <= timedelta(days=7), "up to 7 days"),
    "maxDequeueCount": _Rule("max_dequeue_count", _integer, lambda n: n >= 1, "1 or more"),
    "messageEncoding": _Rule(
        "base64",
        lambda text: {"base64": True, "none": False}.get(str(text).lower()),
        lambda value: value is not None,
        "base64 or none",
    ),
}


def _queue_option(name: str, value: object) -> tuple[str, object]:
    rule = _RULES.get(name)
    if rule is None:
        raise ValueError(f"host.json extensions.queues.{name}: unknown option")
    try:
        read = rule.read(value)
    except (ValueError, AttributeError) as error:
        raise ValueError(f"host.json extensions.queues.{name}: {error}") from error
    if not rule.allowed(read):
        raise ValueError(f"host.json extensions.queues.{name}: {value!r} must be {rule.limits}")
    return rule.name, read


def _queue_options(section: Mapping[str, object], faults: list[str]) -> QueueOptions:
    values: dict[str, Any] = {}
    for name, value in section.items():
        try:
            values.update([_queue_option(name, value)])
        except ValueError as error:
            faults.append(str(error))
    batch_size = values.get("batch_size", _DEFAULTS.queues.batch_size)
    values.setdefault("new_batch_threshold", _default_new_batch_threshold(batch_size))
    return QueueOptions(**values)


def _function_timeout(value: object, faults: list[str]) -> timedelta:
    if value is None:
        return _DEFAULTS.function_timeout
    try:
        return UNBOUNDED if str(value) == "-1" else time_span(str(value))
    except ValueError as error:
        faults.append(f"host.json functionTimeout: {error}")
        return _DEFAULTS.function_timeout


def host_configuration(host_json: Mapping[str, Any]) -> HostConfiguration:
    """Read host.json; raise ConfigurationError with every fault.

    Dynamic concurrency (``concurrency.dynamicConcurrencyEnabled``) is learned from load in Azure and refused here, rather than
    ignored.
    """
    faults: list[str] = []
    if host_json.get("version") != "2.0":
        faults.append('host.json version: must be "2.0"')
    if host_json.get("concurrency", {}).get("dynamicConcurrencyEnabled"):
        faults.append("host.json concurrency.dynamicConcurrencyEnabled: this host has only batchSize and newBatchThreshold")
    extensions = host_json.get("extensions", {})
    configuration = HostConfiguration(
        queues=_queue_options(extensions.get("queues", {}), faults),
        route_prefix=str(extensions.get("http", {}).get("routePrefix", _DEFAULTS.route_prefix)).strip("/"),
        function_timeout=_function_timeout(host_json.get("functionTimeout"), faults),
    )
    if faults:
        raise ConfigurationError(faults)
    return configuration


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file; raise ConfigurationError when it is missing or something else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError([f"{path.name}: {error.strerror}: {path}"]) from error
    except ValueError as error:
        raise ConfigurationError([f"{path.name}: not JSON: {error}"]) from error
    if not isinstance(value, dict):
        raise ConfigurationError([f"{path.name}: must be a JSON object"])
    return value


def settings_of_file(path: Path) -> dict[str, str]:
    """Read the ``Values`` of a file in the form of ``local.settings.json``."""
    values = read_json_object(path).get("Values", {})
    return {str(name): str(value) for name, value in values.items()}


def resolve(text: str, settings: Mapping[str, str]) -> str:
    """Replace each ``%NAME%`` by that app setting; raise ValueError naming a setting that is missing."""

    def value(match: re.Match[str]) -> str:
        try:
            return settings[match.group(1)]
        except KeyError:
            raise ValueError(f"'%{match.group(1)}%' does not resolve to an app setting") from None

    return _SETTING_REFERENCE.sub(value, text)


@dataclass(frozen=True, slots=True)
class Connection:
    """A storage connection: a connection string, or the address of the queue service with an identity."""

    connection_string: str | None = None
    queue_service_url: str | None = None
    client_id: str | None = None


def _identity_urls(name: str, settings: Mapping[str, str]) -> Iterator[str]:
    if url := settings.get(f"{name}__queueServiceUri"):
        yield url
    if account := settings.get(f"{name}__accountName"):
        yield f"https://{account}.queue.core.windows.net"


def connection(name: str, settings: Mapping[str, str]) -> Connection:
    """Find the connection of a binding: the setting itself wins over its ``__`` settings (functions-host 1.7).

    Raise ValueError when there is neither.
    """
    if text := settings.get(name):
        return Connection(connection_string=text)
    for url in _identity_urls(name, settings):
        return Connection(queue_service_url=url, client_id=settings.get(f"{name}__clientId"))
    raise ValueError(f"connection {name!r}: no app setting {name}, {name}__queueServiceUri or {name}__accountName")
