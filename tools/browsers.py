"""The browser of tests and screenshots: finds a Chromium and NSS's certutil, and installs what is missing where that can be done.

usage: python -m tools.browsers    asks nothing and never fails: without them the browser tests are skipped
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from playwright.sync_api import sync_playwright

SYSTEM_BROWSERS = ("chromium", "google-chrome", "google-chrome-stable", "chromium-browser")
"""Names of a Chromium that the system may have, the closest to Playwright's own first."""
TRIAL_SECONDS = 20
INSTALL_SECONDS = 600
PLAYWRIGHT = (sys.executable, "-m", "playwright")
APT_INSTALL = ("apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=120", "--no-install-recommends", "install")


def chromium() -> Path | None:
    """Return a Chromium that starts: Playwright's own, else the system's; None when there is none."""
    return next(filter(_starts, _candidates()), None)


def certutil() -> Path | None:
    """Return NSS's certutil, which writes the database of trusted authorities that Chromium reads on Linux."""
    found = shutil.which("certutil") if sys.platform == "linux" else None
    return Path(found) if found else None


def missing() -> str:
    """Return what has to be installed for the browser tests, one sentence for people; "" when nothing has."""
    if sys.platform != "linux":
        return "The browser tests run on Linux only, where Chromium trusts the authorities of an NSS database."
    lacking = [part.install for part in PARTS if part.find() is None]
    return f"The browser tests need {' and '.join(lacking)}." if lacking else ""


def _candidates() -> Iterator[Path]:
    own = _playwrights_own()
    if own.exists():
        yield own
    yield from (Path(found) for name in SYSTEM_BROWSERS if (found := shutil.which(name)))


@cache
def _playwrights_own() -> Path:
    """Return where Playwright puts its own Chromium, whether it is there or not."""
    with sync_playwright() as playwright:
        return Path(playwright.chromium.executable_path)


def _starts(browser: Path) -> bool:
    """Tell whether a browser can be started: one that lacks libraries, or a mere hint to install it, is none."""
    return _run((str(browser), "--version"), TRIAL_SECONDS).startswith(("Chromium", "Google Chrome"))


def _run(command: tuple[str, ...], seconds: float) -> str:
    """Run a command without input, and return its output; "" when it fails or takes too long."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        answer = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, check=True, env=environment
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout


def _apt(*packages: str) -> None:
    """Install Debian packages where this user may; the lists of packages are fetched first, as a fresh machine has none."""
    if shutil.which("apt-get") and os.geteuid() == 0:
        _run(("apt-get", "-q", "update"), INSTALL_SECONDS)
        _run((*APT_INSTALL, *packages), INSTALL_SECONDS)


def _download_chromium() -> None:
    _run((*PLAYWRIGHT, "install", "--no-shell", "chromium"), INSTALL_SECONDS)


def _install_libraries() -> None:
    """Install what Playwright's own Chromium needs from the system, on Debian and Ubuntu."""
    if shutil.which("apt-get") and os.geteuid() == 0 and _playwrights_own().exists():
        _run((*PLAYWRIGHT, "install-deps", "chromium"), INSTALL_SECONDS)


@dataclass(frozen=True, slots=True)
class Part:
    """Something the browser tests need: how it is found, what installs it, and the words for a person who has to."""

    name: str
    find: Callable[[], Path | None]
    attempts: tuple[Callable[[], None], ...]
    install: str


PARTS = (
    Part(
        "Chromium",
        chromium,
        (_download_chromium, _install_libraries, lambda: _apt("chromium", "fonts-liberation")),
        "Chromium (Debian's package chromium, or `python -m playwright install --with-deps chromium`)",
    ),
    Part(
        "certutil",
        certutil,
        (lambda: _apt("libnss3-tools"),),
        "NSS's certutil (Debian's package libnss3-tools, Fedora's nss-tools)",
    ),
)


def install(part: Part) -> None:
    """Try one way after the other until the part is there."""
    for attempt in part.attempts:
        if part.find() is not None:
            return
        print(f"Installing {part.name} for the browser tests ...", flush=True)
        attempt()


def main() -> int:
    """Install what is missing and say what still is."""
    if sys.platform == "linux":
        for part in PARTS:
            install(part)
    if sentence := missing():
        print(f"{sentence} Without it they are skipped.", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
