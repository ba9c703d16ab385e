"""A real Chromium for tests and screenshots: it trusts the local stack's authority, reaches this machine only, and is watched."""

import os
import re
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Dialog,
    Page,
    Playwright,
    Request,
    Response,
    StorageState,
    WebError,
    WebSocket,
)

FLAGS = (
    # Every name and address but this machine's is unknown to the browser, its own services' too, and no proxy is asked.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE localhost , EXCLUDE 127.0.0.1",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--no-first-run",
)
HERE = ("localhost", "127.0.0.1", "::1")
SECONDS = 40
"""How long a page may take to show what a test waits for, where the test says nothing else: several stacks share two cores."""


@dataclass(frozen=True, slots=True)
class Look:
    """How a page is looked at: colour scheme, and the window's size in CSS pixels."""

    scheme: Literal["light", "dark"]
    width: int
    height: int

    def __str__(self) -> str:
        """Return the words that a test's id has."""
        return f"{self.scheme}-{self.width}"


DESKTOP, DESKTOP_DARK = Look("light", 1200, 800), Look("dark", 1200, 800)
PHONE, PHONE_DARK = Look("light", 390, 844), Look("dark", 390, 844)
EVERY_LOOK = (DESKTOP, DESKTOP_DARK, PHONE, PHONE_DARK)


@dataclass  # without slots: Playwright keeps the handlers of an object in attributes of it
class Watch:
    """What went wrong in a browser's pages: errors, dialogs, refused content, failed requests, foreign addresses."""

    seen: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)

    def expect(self, pattern: str) -> None:
        """Let a trouble be, which this test means to cause; it is wrong then that none is like this regular expression."""
        self.expected.append(pattern)

    def wrong(self) -> list[str]:
        """Return what nobody expected, and what was expected and did not come."""
        unexpected = [entry for entry in self.seen if not any(re.search(pattern, entry) for pattern in self.expected)]
        absent = [pattern for pattern in self.expected if not any(re.search(pattern, entry) for entry in self.seen)]
        return [*unexpected, *(f"expected, but did not come: {pattern}" for pattern in absent)]

    def over(self, context: BrowserContext) -> None:
        """Watch every page of a browser context, from now on."""
        context.on("console", self._console)
        context.on("weberror", self._script)
        context.on("request", self._request)
        context.on("response", self._response)
        context.on("requestfailed", self._failure)
        context.on("page", self._page)
        context.on("dialog", self._dialog)

    def _console(self, message: ConsoleMessage) -> None:
        # The status of a failed request is noted with its address by _response and _failure.
        if message.type in ("error", "assert") and not message.text.startswith("Failed to load resource"):
            self.seen.append(f"console: {message.text}")

    def _script(self, error: WebError) -> None:
        self.seen.append(f"script: {error.error}")

    def _request(self, request: Request) -> None:
        self._address(request.url)

    def _response(self, response: Response) -> None:
        if response.status >= 400:
            self.seen.append(f"{response.status} {response.request.method} {urlsplit(response.url).path}")

    def _failure(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # the page was left before the answer came
            self.seen.append(f"failed: {request.method} {request.url}: {request.failure}")

    async def _dialog(self, dialog: Dialog) -> None:
        self.seen.append(f"dialog: {dialog.message}")
        await dialog.dismiss()

    def _page(self, page: Page) -> None:
        page.on("websocket", self._socket)

    def _socket(self, socket: WebSocket) -> None:
        self._address(socket.url)

    def _address(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.hostname not in HERE:
            self.seen.append(f"foreign address: {url}")


def trust(home: Path, ca_file: str, certutil: Path) -> None:
    """Write the NSS database of a home folder, with one authority that is trusted for web sites.

    Chromium reads ``$HOME/.pki/nssdb`` on Linux when it starts (Chromium's own docs/linux/cert_management.md); what is added
    later counts from its next start.
    """
    database = home / ".pki" / "nssdb"
    database.mkdir(parents=True)
    name, place = "throw-away authority of the simulated tenant", f"sql:{database}"
    for command in (("-N", "--empty-password"), ("-A", "-t", "C,,", "-n", name, "-i", ca_file)):
        subprocess.run([certutil, "-d", place, *command], check=True, capture_output=True, stdin=subprocess.DEVNULL)  # noqa: S603 - found by tools/browsers.py


@asynccontextmanager
async def launched(playwright: Playwright, executable: Path, home: Path) -> AsyncIterator[Browser]:
    """Start Chromium with a home folder of its own, and end it."""
    browser = await playwright.chromium.launch(
        executable_path=executable,
        args=FLAGS,
        chromium_sandbox=os.geteuid() != 0,  # Chromium's sandbox refuses to run as root, as in a container
        env={**os.environ, "HOME": str(home)},
    )
    try:
        yield browser
    finally:
        await browser.close()


@asynccontextmanager
async def visit(
    browser: Browser,
    console: str,
    look: Look = DESKTOP,
    watch: Watch | None = None,
    *,
    storage: StorageState | None = None,
    headers: Mapping[str, str] | None = None,
) -> AsyncIterator[Page]:
    """Give a page of a new visitor, with no cookies or with copies of another's ``storage``; paths are the console's.

    ``headers`` go with every request, as those do that a platform adds between browser and console.
    """
    context = await browser.new_context(
        base_url=console,
        color_scheme=look.scheme,
        viewport={"width": look.width, "height": look.height},
        locale="en-GB",
        timezone_id="UTC",
        reduced_motion="reduce",
        storage_state=storage,
        extra_http_headers=dict(headers or {}),
    )
    context.set_default_timeout(SECONDS * 1000)
    (watch or Watch()).over(context)
    try:
        yield await context.new_page()
    finally:
        await context.close()
