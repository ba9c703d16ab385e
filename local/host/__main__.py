"""``python -m local.host``: run a project's functions until SIGTERM or SIGINT.

Standard output gets one line, when the host is ready; the log goes to standard error.
"""

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from local.host.configuration import ConfigurationError, read_json_object, settings_of_file
from local.host.functions import import_app
from local.host.host import GRACE_SECONDS, Host, HostOptions

PARENT_LOOK_SECONDS = 0.5

logger = logging.getLogger("local.host")


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m local.host", description="Run a function app on this machine.")
    parser.add_argument("--app", type=Path, default=Path.cwd(), help="directory of function_app.py and host.json")
    parser.add_argument("--port", type=int, default=7071, help="port of the HTTP side; 0 takes a free one")
    parser.add_argument("--data", type=Path, required=True, help="directory for the keys and the timers' status")
    parser.add_argument("--json", action="store_true", help="print the ready line as JSON")
    parser.add_argument("--env-file", type=Path, help="app settings in the form of local.settings.json; the environment wins")
    parser.add_argument("--parent-pid", type=int, help="end when this process is gone")
    parser.add_argument("--grace", type=float, default=GRACE_SECONDS, help="seconds that running functions get at the end")
    parser.add_argument("--debug", action="store_true", help="log every invocation, and errors with their traces")
    return parser.parse_args(given)


def _is_alive(pid: int) -> bool:
    with suppress(PermissionError):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
    return True


async def _until_gone(pid: int) -> None:
    """Return when the process is gone. A dead parent also shows by our being adopted, even while nobody has reaped it."""
    was_parent = os.getppid() == pid
    while True:
        await asyncio.sleep(PARENT_LOOK_SECONDS)
        if not _is_alive(pid) or (was_parent and os.getppid() != pid):
            return


async def _until_told(parent_pid: int | None) -> None:
    """Return at SIGTERM, at SIGINT or when the parent is gone."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    watch = asyncio.create_task(_until_gone(parent_pid)) if parent_pid else None
    if watch is not None:
        watch.add_done_callback(lambda _task: told.set())
    await told.wait()
    if watch is not None:
        watch.cancel()


async def _run(options: argparse.Namespace) -> None:
    # Everything inside the running loop, as in the real worker: an app that can't bear that must fail here too.
    set_up = HostOptions(
        data=options.data,
        host_json=read_json_object(options.app / "host.json"),
        environment=os.environ,
        directory=options.app.resolve(),
        port=options.port,
        grace=options.grace,
    )
    async with Host(import_app(set_up.directory), set_up) as host:
        ready = {**host.describe(), "pid": os.getpid()}
        print(json.dumps(ready) if options.json else f"The functions host is ready: {host.url}", flush=True)
        await _until_told(options.parent_pid)
        logger.info("the functions host ends: its listeners stop, running functions may finish")


def _complain(error: BaseException) -> None:
    """Tell each fault in a line of its own, without a trace."""
    lines = str(error).splitlines() or [type(error).__name__]
    if not isinstance(error, ConfigurationError):
        lines[0] = f"{type(error).__name__}: {lines[0]}"
    print("The functions host can't start:", *(f"  {line}" for line in lines), sep="\n", file=sys.stderr)


def _log(*, debug: bool) -> None:
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("local.host").setLevel(logging.DEBUG if debug else logging.INFO)
    # The Azure clients tell each request and its headers at INFO.
    for noisy in ("azure", "azure.core.pipeline.policies.http_logging_policy", "httpx", "msal"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def main(given: list[str] | None = None) -> int:
    """Run the command and return its exit code: 1 when the app can't be started."""
    options = arguments(given)
    _log(debug=options.debug)
    try:
        if options.env_file is not None:
            for name, value in settings_of_file(options.env_file).items():
                os.environ.setdefault(name, value)
        asyncio.run(_run(options))
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        _complain(error)
        logger.debug("the trace", exc_info=True)
        return 1
    return 0


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    # Not sys.exit: it would wait for the thread of a function that has outlived its grace.
    os._exit(code)
