"""The embedded functions host in the test's own process, on a container of the test's: as real as in one of its own, soon up."""

import importlib
import json
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from azure.functions import FunctionApp

from local.host.host import Host, HostOptions
from local.stack import PROJECT
from shared import container as containers
from shared.container import Container

GRACE_SECONDS = 5


@asynccontextmanager
async def hosted(container: Container, environment: Mapping[str, str], data: Path, app: Path = PROJECT) -> AsyncIterator[Host]:
    """Run the functions of the folder ``app`` at the console's address.

    ``environment`` holds the app settings; ``os.environ`` must have them too, since the functions check them when they are
    imported. ``data`` is where the host keeps its keys. The container becomes the loop's own; who built it closes it.
    """
    containers.install(container)
    options = HostOptions(
        data=data,
        host_json=json.loads((PROJECT / "host.json").read_text()),
        environment=environment,
        directory=PROJECT,
        port=int(environment["GRANTLINE_PUBLIC_URL"].rpartition(":")[2]),
        grace=GRACE_SECONDS,
    )
    with _imported(app) as functions:
        async with Host(functions, options) as host:
            yield host


@contextmanager
def _imported(folder: Path) -> Iterator[FunctionApp]:
    """Import the function app of a folder anew: an app can be indexed once only. Nothing of it stays imported."""
    _forget()
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        app = importlib.import_module("function_app").app
        assert isinstance(app, FunctionApp)
        yield app
    finally:
        sys.path.remove(str(folder))
        _forget()


def _forget() -> None:
    for name in [name for name in sys.modules if name == "function_app" or name.split(".")[0] == "functions"]:
        del sys.modules[name]


async def never() -> None:
    """Stand for the crash of a host that nobody is to crash."""
    raise AssertionError("nobody crashes the host here")
