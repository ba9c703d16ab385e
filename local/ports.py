"""Ports of this machine, reserved before somebody binds them: copies that start at the same moment don't take the same."""

import fcntl
import os
import socket
import tempfile
from pathlib import Path

ATTEMPTS = 50


class NoPortError(Exception):
    """Raised when no port could be reserved."""


def reserve(wished: int) -> int:
    """Return ``wished`` if nobody listens there or has reserved it, else a free port; nobody else reserves it while we run."""
    for port in (wished, *[0] * ATTEMPTS):
        found = _free(port)
        if found and _lock(found):
            return found
    raise NoPortError("no port is free on this machine")


def _free(port: int) -> int:
    """Return the port, or one that the system chooses for 0; 0 when somebody listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
        return int(probe.getsockname()[1])


def _lock(port: int) -> bool:
    """Take the port's lock file until this process ends; False when somebody has it."""
    path = Path(tempfile.gettempdir()) / f"grantline-{os.getuid()}-port-{port}.lock"
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:  # another user's
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return False
    return True
