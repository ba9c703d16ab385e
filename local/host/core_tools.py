"""Azure Functions Core Tools (``func``), Microsoft's own local host, where it is installed.

Command and options: Microsoft, "Azure Functions Core Tools reference" (``func start``). On a developer's machine Core Tools
check no keys.
"""

import shutil
from collections.abc import Mapping

NAME = "Azure Functions Core Tools (func)"
EMBEDDED_NAME = "the embedded functions host (local/host)"


def available() -> bool:
    """Tell whether ``func`` is on the PATH."""
    return shutil.which("func") is not None


def command(port: int) -> list[str]:
    """Give the command line that starts ``func`` in the project's directory; raise FileNotFoundError without it."""
    func = shutil.which("func")
    if func is None:
        raise FileNotFoundError("Azure Functions Core Tools (func) are not on the PATH")
    return [func, "start", "--port", str(port)]


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Give the app settings with the one that ``func`` needs besides: which worker runs the functions."""
    return {**settings, "FUNCTIONS_WORKER_RUNTIME": "python"}


def running(*, core_tools: bool) -> str:
    """Name the host that runs, for people."""
    return NAME if core_tools else EMBEDDED_NAME
