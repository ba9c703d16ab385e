"""Takes the pictures of the README: starts the local stack, walks a grant in a real Chromium, and writes docs/screenshots/*.png.

usage: python -m tools.screenshots [--only NAME ...] [--into FOLDER]

A picture is written only where it differs visibly from the one that is there, so that a clock or an id alone changes no file.
"""

import argparse
import asyncio
import io
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops
from playwright.async_api import Browser, Page, async_playwright

from local.stack import Options, Stack
from tests.support import chromium, stacks
from tests.support.chromium import DESKTOP, DESKTOP_DARK, PHONE, Look
from tests.support.walks import DIRECTORY, MAIL_FLOW, ROLE, begin, consent, until_complete
from tools import browsers

FOLDER = Path(__file__).parents[1] / "docs" / "screenshots"
USERS = 1000
TENANT = ("--role-delay", "8")
"""The tenant's role takes its time, so that a wait is seen."""
WAIT_SECONDS, POLL_SECONDS = 90, 0.1
CUSTOMER, OTHER_CUSTOMER = "contoso", "fabrikam"
COLOURS = 64
"""Colours of a picture's palette: pages of flat colours look the same, and the file is a quarter."""
UNLIKE_LEVEL, UNLIKE_SHARE = 48, 0.01
"""A picture differs when this share of its pixels differs by this much (of 255) in a colour."""


class Moment(StrEnum):
    """Where in the walk of a grant a picture is taken."""

    REFUSED = "refused"
    INVITED = "invited"
    BEFORE = "before"
    BEGUN = "begun"
    BY_HAND = "by hand"
    ROLE_GROUP = "role group"
    WAITING = "waiting"
    COMPLETED = "completed"
    REMOVING = "removing"


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture: its file's name, the moment, the page (``{here}``: where the walk is, ``{id}``: its grant), and the look.

    ``unfold`` is the summary that is clicked before.
    """

    name: str
    moment: Moment
    path: str
    look: Look = DESKTOP
    unfold: str = ""


SHOTS = (
    Shot("problem", Moment.REFUSED, "{here}", unfold="What Microsoft said"),
    Shot("onboarding", Moment.INVITED, "{here}"),
    Shot("grant-access", Moment.BEFORE, "/grant-access"),
    Shot("grant-begun", Moment.BEGUN, "{here}"),
    Shot("grant-by-hand", Moment.BY_HAND, "{here}", unfold="Without Privileged Identity Management"),
    Shot("grant-role-group", Moment.ROLE_GROUP, "{here}"),
    Shot("grant-waiting", Moment.WAITING, "{here}"),
    Shot("grant-completed", Moment.COMPLETED, "{here}"),
    Shot("grant-completed-phone", Moment.COMPLETED, "{here}", PHONE),
    Shot("service-status", Moment.COMPLETED, "/"),
    Shot("service-status-dark", Moment.COMPLETED, "/", DESKTOP_DARK),
    Shot("grant-history", Moment.COMPLETED, "{here}/history"),
    Shot("service-account", Moment.COMPLETED, "/service-accounts"),
    Shot("service-account-access", Moment.COMPLETED, "/service-accounts/{id}"),
    Shot("plan", Moment.COMPLETED, "{here}/plan"),
    Shot("remove", Moment.COMPLETED, "{here}/remove"),
    Shot("removal", Moment.REMOVING, "{here}"),
    Shot("release", Moment.COMPLETED, "{here}/release"),
    Shot("permissions", Moment.COMPLETED, "/permissions"),
)
"""The pictures; one more is one more line."""


@dataclass(slots=True)
class Walk:
    """A walk through a grant that stops for pictures."""

    browser: Browser
    stack: Stack
    shots: tuple[Shot, ...]
    folder: Path
    here: str = ""

    async def refused(self, page: Page) -> None:
        """Begin a grant, cancel at Microsoft, and make an onboarding link for somebody who may go on."""
        grant = await begin(page, OTHER_CUSTOMER, OTHER_CUSTOMER.title())
        await page.get_by_role("link", name=MAIL_FLOW).first.click()
        await page.get_by_role("button", name="Cancel").click()
        self.here = grant
        await self.take(Moment.REFUSED, page)
        await page.get_by_role("link", name="Back to the grant").click()
        await page.get_by_role("button", name="Make an onboarding link").click()
        self.here = await page.locator("#address").inner_text()
        await self.take(Moment.INVITED, page)

    async def whole(self, page: Page) -> None:
        """Grant the tenant's access, from the dashboard to the success message, and begin to take everything back."""
        administrator = self.stack.administrator
        await self.take(Moment.BEFORE, page)
        self.here = await begin(page, CUSTOMER, CUSTOMER.title())
        await self.take(Moment.BEGUN, page)
        await consent(page, MAIL_FLOW, administrator)
        await page.get_by_role("button", name="Assign it by hand instead").click()
        await self.until_waiting(page, "role_assignment")
        await self.take(Moment.BY_HAND, page)
        await page.get_by_role("button", name="Use an Exchange role group instead").click()
        await self.until_waiting(page, "role_assignment")
        await self.take(Moment.ROLE_GROUP, page)
        await page.get_by_role("button", name="Have it assigned for me instead").click()
        await consent(page, ROLE, administrator)
        await self.until_waiting(page, "role_assignment")
        await self.take(Moment.WAITING, page)
        await consent(page, DIRECTORY, administrator)
        await until_complete(page)
        await self.until(page, lambda grant: grant["state"] == "protecting")
        await self.take(Moment.COMPLETED, page)
        await page.goto(f"{self.here}/remove")
        await page.get_by_role("button", name="Remove everything").click()
        await self.until_waiting(page, "drain")
        await self.take(Moment.REMOVING, page)

    async def until_waiting(self, page: Page, name: str) -> None:
        """Wait until a step waits for Microsoft. Raises TimeoutError when it does not."""
        await self.until(page, lambda grant: any(step["name"] == name and step["state"] == "waiting" for step in grant["steps"]))

    async def until(self, page: Page, condition: Callable[[Any], bool]) -> None:
        """Look at the grant again and again until it is as wanted. Raises TimeoutError when it never is."""
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                if condition(await (await page.request.get(f"/api/v1{self.here}")).json()):
                    return
                await asyncio.sleep(POLL_SECONDS)

    async def take(self, moment: Moment, walker: Page) -> None:
        """Take this moment's pictures, with the walker's cookies."""
        storage = await walker.context.storage_state()
        for shot in self.shots:
            if shot.moment is moment:
                async with chromium.visit(self.browser, self.stack.console, shot.look, storage=storage) as page:
                    await page.goto(shot.path.format(here=self.here, id=self.here.rpartition("/")[2]))
                    if shot.unfold:
                        await page.get_by_text(shot.unfold, exact=True).first.click()
                    write(
                        self.folder / f"{shot.name}.png",
                        await page.screenshot(full_page=True, animations="disabled", caret="hide"),
                    )


def write(path: Path, content: bytes) -> None:
    """Write a picture, as small as a palette makes it, unless one that looks the same is there."""
    with Image.open(io.BytesIO(content)) as taken:
        picture = taken.convert("RGB").quantize(COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    if path.exists() and looks_the_same(path, picture):
        print(f"{path.name}: as it was")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, optimize=True)
    print(f"{path.name}: {path.stat().st_size // 1024} KiB")


def looks_the_same(path: Path, picture: Image.Image) -> bool:
    """Tell whether a picture differs from a file by no more than an id or a clock."""
    with Image.open(path) as before:
        if before.size != picture.size:
            return False
        levels = ImageChops.difference(before.convert("RGB"), picture.convert("RGB")).convert("L").histogram()
    return sum(levels[UNLIKE_LEVEL:]) < UNLIKE_SHARE * sum(levels)


@asynccontextmanager
async def _parts(executable: Path, certutil: Path) -> AsyncIterator[tuple[Browser, Stack]]:
    """Start the stack and a browser that trusts it."""
    with tempfile.TemporaryDirectory(prefix="grantline-screenshots-") as folder:
        async with (
            stacks.running(Options(Path(folder) / "stack", USERS, tenant=TENANT)) as stack,
            async_playwright() as playwright,
        ):
            chromium.trust(Path(folder) / "home", stack.tenant["ca_file"], certutil)
            async with chromium.launched(playwright, executable, Path(folder) / "home") as browser:
                yield browser, stack


async def take(shots: tuple[Shot, ...], folder: Path, executable: Path, certutil: Path) -> None:
    """Write the pictures into a folder."""
    async with _parts(executable, certutil) as (browser, stack):
        walk = Walk(browser, stack, shots, folder)
        for way in (walk.refused, walk.whole):
            async with chromium.visit(browser, stack.console) as page:
                await way(page)


def main() -> int:
    """Take the pictures that the command line names, else all."""
    parser = argparse.ArgumentParser(prog="python -m tools.screenshots", description=__doc__)
    names = [shot.name for shot in SHOTS]
    parser.add_argument("--only", nargs="*", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--into", type=Path, default=FOLDER, help="where the pictures are written")
    arguments = parser.parse_args()
    executable, certutil = browsers.chromium(), browsers.certutil()
    if executable is None or certutil is None:
        print(browsers.missing(), file=sys.stderr)
        return 1
    asyncio.run(take(tuple(shot for shot in SHOTS if shot.name in arguments.only), arguments.into, executable, certutil))
    return 0


if __name__ == "__main__":
    sys.exit(main())
