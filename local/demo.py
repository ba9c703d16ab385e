"""The demo: a whole grant without hands, through every real part.

A browser without a screen starts the grant in the console, signs in and accepts at the simulated tenant; the queue functions do
the rest. Ends with a receipt that is read from the API alone.
"""

import asyncio
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from local.browser import Browser, BrowserError, Page
from local.stack import Stack

POLL_SECONDS = 0.1
COMPLETED = "completed"
TIMERS = ("sweep", "drain_poison_queues")
WALK_PAGES = 8
"""How many pages of Microsoft's one step may show at the most."""
SLOW_MILLISECONDS = 700
"""How slow the tenant answers while the demo waits for a step to kill the host in, so that the step is surely seen running."""

THROTTLED = {"match": {"path": "/v1.0/users"}, "times": 1, "status": 429, "headers": {"Retry-After": "2"}}
"""One request for users that Microsoft throttles, so that such a wait is seen."""

Show = Callable[[Mapping[str, Any]], None]


class DemoError(Exception):
    """Raised when the grant does not go as it must; says what was seen."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the demo is to do: how long without any progress is too long, and in which step the host is killed, if any."""

    patience: float = 60
    kill_host_at: str = ""
    kill_patience: float = 240


async def run(stack: Stack, plan: Plan, show: Show) -> dict[str, Any]:
    """Grant the tenant's access and return the receipt. Raises DemoError or BrowserError."""
    async with Browser(stack.tenant["ca_file"]) as browser, _control(stack) as control:
        await control.post("/_control/faults", json=THROTTLED)
        if plan.kill_host_at:
            await control.post("/_control/settings", json={"latency_ms": SLOW_MILLISECONDS})
        grant_url = await _start(browser, stack)
        await _follow(browser, stack, control, grant_url, plan, show)
        receipt = await browser.json(f"{stack.console}/api/v1{grant_url}/receipt")
        await _run_timers(stack)
        return receipt


async def _start(browser: Browser, stack: Stack) -> str:
    """Begin on the dashboard, as a person would, and return the path of the new grant's page."""
    dashboard = await browser.open(f"{stack.console}/", with_styles=True)
    form_page = await browser.open(stack.console + _link(dashboard, "Grant Access"))
    if not form_page.forms:
        raise DemoError(f"the Grant Access page has no form: {form_page.words[:200]}")
    name = str(stack.tenant.get("tenant_name", "Contoso"))
    page = await browser.submit(form_page, form_page.forms[0], account_id="contoso", account_name=name)
    path = page.url.removeprefix(stack.console)
    if page.status != 200 or not path.startswith("/grants/"):
        raise DemoError(f"the grant was not started: {page.words[:300]}")
    return path


async def _follow(browser: Browser, stack: Stack, control: httpx.AsyncClient, grant_url: str, plan: Plan, show: Show) -> None:
    """Watch the grant, doing a person's part where it waits for one, until it is complete."""
    done, seen, changed, patience = "", "", time.monotonic(), plan.patience
    walked: set[str] = set()
    while done != COMPLETED:
        grant = await _look(browser, stack, grant_url)
        show(grant)
        done = grant["state"]
        now_seen = repr([(step["state"], step["facts"]) for step in grant["steps"]])
        if now_seen != seen:
            seen, changed = now_seen, time.monotonic()
        elif time.monotonic() - changed > patience:
            raise DemoError(f"nothing moved for {patience:.0f} seconds: {_standing(grant)}")
        _raise_on_problem(grant)
        if plan.kill_host_at and patience != plan.kill_patience and _is_running(grant, plan.kill_host_at):
            await stack.kill_host()
            await control.post("/_control/settings", json={"latency_ms": 0})
            await stack.start_host()
            patience = plan.kill_patience
        for step in grant["steps"]:
            if step["link"] and step["name"] not in walked:
                walked.add(step["name"])
                await _walk(browser, stack, step["link"])
        await asyncio.sleep(POLL_SECONDS)


async def _walk(browser: Browser, stack: Stack, link: str) -> None:
    """Go through Microsoft's pages: sign in as the administrator, accept, and come back to the console."""
    page = await browser.open(stack.console + link)
    for _ in range(WALK_PAGES):
        if page.url.startswith(stack.console):
            break
        page = await press_on(browser, stack.administrator, page)
    if page.status != 200 or not page.url.startswith(f"{stack.console}/grants/"):
        raise DemoError(f"Microsoft's pages led elsewhere: {page.words[:300]}")


async def press_on(browser: Browser, person: Mapping[str, Any], page: Page) -> Page:
    """Fill in and submit the form of one of Microsoft's pages as ``person``: sign in, or accept."""
    if not page.forms:
        raise DemoError(f"Microsoft's page has no form: {page.words[:300]}")
    answers = {"loginfmt": person["user_principal_name"], "passwd": person["password"]}
    form = page.forms[0]
    fields = {name: value for name, value in answers.items() if name in dict(form.fields)}
    accept = next((button for button in form.buttons if button[1] == "accept"), None)
    return await browser.submit(page, form, press=accept, **fields)


async def _look(browser: Browser, stack: Stack, grant_url: str) -> dict[str, Any]:
    return await browser.json(f"{stack.console}/api/v1{grant_url}")


def _is_running(grant: Mapping[str, Any], name: str) -> bool:
    return any(step["name"] == name and step["state"] == "running" for step in grant["steps"])


def _raise_on_problem(grant: Mapping[str, Any]) -> None:
    for step in grant["steps"]:
        if step["problem"]:
            found = step["problem"]
            raise DemoError(f"{step['title']}: {found['cause']} {found['fix']} {found['raw']}".strip())


def _standing(grant: Mapping[str, Any]) -> str:
    return ", ".join(f"{step['name']} {step['state']}" for step in grant["steps"] if step["state"] not in ("done", "blocked"))


def _link(page: Page, text: str) -> str:
    if page.status != 200 or text not in page.links:
        raise BrowserError(f"{page.url} has no link {text!r}: {page.words[:200]}")
    return page.links[text]


async def _run_timers(stack: Stack) -> None:
    """Run each timer once by the host's admin address, as an operator may: the next tick may be a minute away."""
    headers = {"x-functions-key": str(stack.host["master_key"])}
    async with httpx.AsyncClient(base_url=stack.console, headers=headers, trust_env=False) as client:
        for name in TIMERS:
            answer = await client.post(f"/admin/functions/{name}", json={"input": ""})
            if answer.status_code != 202:
                raise DemoError(f"the timer {name} could not be run: {answer.status_code}")


def _control(stack: Stack) -> httpx.AsyncClient:
    """Return a client of the simulated tenant's control interface."""
    context = ssl.create_default_context()
    context.load_verify_locations(stack.tenant["ca_file"])
    return httpx.AsyncClient(base_url=stack.tenant["url"], verify=context, trust_env=False)
