"""The demo: a whole grant without hands, through every real part.

A browser without a screen starts the grant in the console, signs in and accepts at the simulated tenant; the queue functions do
the rest. Ends with a receipt that is read from the API alone.
"""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from local import program
from local.browser import Browser, BrowserError, Page
from local.departure import depart
from local.invitation import invite
from local.tour import change_of_mind, tour

ACCOUNT_ID, ACCOUNT_NAME = "contoso", "Contoso"
"""The account that a local console begins with."""
POLL_SECONDS = 0.1
ACTIVE = ("queued", "waiting")
TIMERS = ("sweep", "drain_poison_queues", "count_accounts")
WALK_PAGES = 8
"""How many pages of Microsoft's one step may show at the most."""
SLOW_MILLISECONDS = 700
"""How slow the tenant answers while the demo waits for a step to kill the host in, so that the step is surely seen running."""

RETRY_AFTER = 2
"""Seconds that Microsoft asks to wait when it throttles the demo."""
THROTTLED = {
    "match": {"path": r"/v1\.0/users\?.*displayName"},
    "times": 1,
    "status": 429,
    "headers": {"Retry-After": str(RETRY_AFTER)},
}
"""One request for a page of users that Microsoft throttles, so that such a wait is seen."""

Show = Callable[[Mapping[str, Any]], None]
Receipt = dict[str, Any]
"""A JSON object of the API."""


class DemoError(Exception):
    """Raised when the grant does not go as it must; says what was seen."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the demo is to do: how long without any progress is too long, and in which step the host is killed, if any."""

    patience: float = 60
    kill_host_at: str = ""
    kill_patience: float = 240


@dataclass(frozen=True, slots=True)
class Local:
    """Where the demo finds what it talks to; ``crash_host`` ends the functions host with SIGKILL and starts another."""

    console: str
    tenant: str
    ca_file: str
    administrator: Mapping[str, Any]
    master_key: Callable[[], str]
    crash_host: Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class People:
    """The browsers of the two people of a grant."""

    operator: Browser
    administrator: Browser
    """The tenant's administrator, who does a person's steps."""


@asynccontextmanager
async def people(ca_file: str) -> AsyncIterator[People]:
    """Give both their browsers, with no cookies yet; they trust the tenant's authority."""
    async with Browser(ca_file) as operator, Browser(ca_file) as administrator:
        yield People(operator, administrator)


async def run(local: Local, plan: Plan, show: Show) -> Receipt:
    """Grant the tenant's access, use it, give it back, and return the receipt. Raises DemoError or BrowserError."""
    async with people(local.ca_file) as both:
        grant_url = await obtain(both, local, plan, show)
        receipt = await use(both, local, grant_url)
        await leave(both, local, grant_url)
        return receipt


async def obtain(both: People, local: Local, plan: Plan, show: Show) -> str:
    """Grant the tenant's access and return the path of the grant's page. Raises DemoError or BrowserError."""
    async with _control(local) as control:
        await control.post("/_control/faults", json=THROTTLED)
        if plan.kill_host_at:
            await control.post("/_control/settings", json={"latency_ms": SLOW_MILLISECONDS})
        grant_url = await _start(both.operator, local)
        await invite(both.operator, both.administrator, local.console, grant_url)
        watch = _Watch(both, local, control, plan, plan.patience, to_crash=bool(plan.kill_host_at))
        await watch.until_complete(grant_url, show)
        return grant_url


async def use(both: People, local: Local, grant_url: str) -> Receipt:
    """Use what a completed grant leaves, and return its receipt. Raises DemoError or BrowserError."""
    receipt = await both.operator.json(f"{local.console}/api/v1{grant_url}/receipt")
    await program.listed(local.console)
    await _run_timers(local)
    await program.use(local.console, ACCOUNT_ID, receipt)
    await tour(both.operator, local.console, grant_url, receipt)
    return receipt


async def leave(both: People, local: Local, grant_url: str) -> None:
    """Move the tenant to another account, which gives it back. Raises DemoError or BrowserError."""
    administrator = both.administrator
    await depart(both.operator, administrator, lambda url: _through(administrator, local, url), local.console, grant_url)


async def _start(browser: Browser, local: Local) -> str:
    """See that the application is well, begin on the dashboard as a person would, and return the path of the new grant's page."""
    health = await browser.json(f"{local.console}/healthz")
    if health["status"] != "ok":
        raise DemoError(f"the application is not well: {health}")
    dashboard = await browser.open(f"{local.console}/", with_styles=True)
    form_page = await browser.open(local.console + _link(dashboard, "Grant Access"))
    if not form_page.forms:
        raise DemoError(f"the Grant Access page has no form: {form_page.words[:200]}")
    page = await browser.submit(form_page, form_page.forms[0], account_id=ACCOUNT_ID, account_name=ACCOUNT_NAME)
    path = page.url.removeprefix(local.console)
    if page.status != 200 or not path.startswith("/grants/"):
        raise DemoError(f"the grant was not started: {page.words[:300]}")
    return path


@dataclass(slots=True)
class _Watch:
    """Watches one grant: does a person's part where it waits for one, crashes the host once where that is planned."""

    both: People
    local: Local
    control: httpx.AsyncClient
    plan: Plan
    patience: float
    seen: str = ""
    changed_at: float = field(default_factory=time.monotonic)
    walked: set[str] = field(default_factory=set)
    to_crash: bool = False

    async def until_complete(self, grant_url: str, show: Show) -> None:
        """Look again and again until the grant is complete. Raises DemoError when it has a problem or stands still."""
        while True:
            grant = await self.both.operator.json(f"{self.local.console}/api/v1{grant_url}")
            show(grant)
            if grant["state"] in program.COMPLETE:
                return
            self._raise_on_problem(grant)
            self._raise_when_still(grant)
            await self._act(grant)
            await asyncio.sleep(POLL_SECONDS)

    async def _act(self, grant: Mapping[str, Any]) -> None:
        states = {step["name"]: step["state"] for step in grant["steps"]}
        if self.to_crash and states[self.plan.kill_host_at] == "running":
            self.to_crash, self.patience = False, self.plan.kill_patience
            await self.control.post("/_control/settings", json={"latency_ms": 0})
            await self.local.crash_host()
        elif self.to_crash and states[self.plan.kill_host_at] in ACTIVE:
            return  # it will be seen running only by somebody who does nothing else
        else:
            await self._walk_one(grant)

    async def _walk_one(self, grant: Mapping[str, Any]) -> None:
        for step in grant["steps"]:
            if step["link"] and step["name"] not in self.walked:
                self.walked.add(step["name"])
                if step["name"] == "role_assignment":
                    await change_of_mind(self.both.operator, self.local.console, f"/grants/{grant['grant_id']}")
                await _walk(self.both.administrator, self.local, step["link"])
                return

    def _raise_on_problem(self, grant: Mapping[str, Any]) -> None:
        for step in grant["steps"]:
            if step["problem"]:
                found = step["problem"]
                raise DemoError(f"{step['title']}: {found['cause']} {found['fix']} {found['raw']}".strip())

    def _raise_when_still(self, grant: Mapping[str, Any]) -> None:
        now_seen = repr([(step["state"], step["facts"], step["waits"]) for step in grant["steps"]])
        if now_seen != self.seen:
            self.seen, self.changed_at = now_seen, time.monotonic()
        elif time.monotonic() - self.changed_at > self.patience:
            standing = [f"{step['name']} {step['state']}" for step in grant["steps"] if step["state"] not in ("done", "blocked")]
            raise DemoError(f"nothing moved for {self.patience:.0f} seconds: {', '.join(standing)}")


async def _walk(browser: Browser, local: Local, link: str) -> None:
    """Go through Microsoft's pages: sign in as the administrator, accept, and come back to the console."""
    page = await _through(browser, local, local.console + link)
    if page.status != 200 or not page.url.startswith(f"{local.console}/grants/"):
        raise DemoError(f"Microsoft's pages led elsewhere: {page.words[:300]}")


async def _through(browser: Browser, local: Local, url: str) -> Page:
    """Open an address and go through Microsoft's pages as the administrator, until the console is reached."""
    page = await browser.open(url)
    for _ in range(WALK_PAGES):
        if page.url.startswith(local.console):
            break
        page = await press_on(browser, local.administrator, page)
    return page


async def press_on(browser: Browser, person: Mapping[str, Any], page: Page) -> Page:
    """Fill in and submit the form of one of Microsoft's pages as ``person``: sign in, or accept."""
    if not page.forms:
        raise DemoError(f"Microsoft's page has no form: {page.words[:300]}")
    answers = {"loginfmt": person["user_principal_name"], "passwd": person["password"]}
    form = page.forms[0]
    fields = {name: value for name, value in answers.items() if name in dict(form.fields)}
    accept = next((button for button in form.buttons if button[1] == "accept"), None)
    return await browser.submit(page, form, press=accept, **fields)


def _link(page: Page, text: str) -> str:
    if page.status != 200 or text not in page.links:
        raise BrowserError(f"{page.url} has no link {text!r}: {page.words[:200]}")
    return page.links[text]


async def _run_timers(local: Local) -> None:
    """Run each timer once by the host's admin address, as an operator may: the next tick may be a minute away."""
    headers = {"x-functions-key": local.master_key()}
    async with httpx.AsyncClient(base_url=local.console, headers=headers, trust_env=False) as client:
        for name in TIMERS:
            answer = await client.post(f"/admin/functions/{name}", json={"input": ""})
            if answer.status_code != 202:
                raise DemoError(f"the timer {name} could not be run: {answer.status_code}")


def _control(local: Local) -> httpx.AsyncClient:
    """Return a client of the simulated tenant's control interface."""
    context = ssl.create_default_context(cafile=local.ca_file)
    return httpx.AsyncClient(base_url=local.tenant, verify=context, trust_env=False)
