"""Grantline in this process: its container on a real Azurite and a simulated Microsoft 365 over TLS, without a functions host.

A test starts grants, plays the administrator's browser, runs steps one by one, and may tamper with the tenant between them. The
clock is the real one plus an offset, so that waits are walked through at once.
"""

from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from local.browser import Browser, Page
from local.demo import press_on
from local.microsoft365.__main__ import ready
from local.microsoft365.server import Options, serve
from local.microsoft365.simulation import Simulation
from shared import settings as app_settings
from shared.consent.state import new_secret
from shared.container import Container, Overrides, build
from shared.domain.grant import Grant, Nudge
from shared.domain.steps import STEPS, StepName, StepState
from shared.messages import StartGrant
from shared.settings import Settings
from tests.conftest import CONTRACTS
from tests.support.app_settings import APP_SETTINGS

CONSOLE = "https://console.example.com"
ADMINISTRATOR = "admin@contoso.com"
MAXIMUM_RUNS = 60
MICROSOFTS_PAGES = 8


@dataclass
class TestClock:
    """The time, ahead of the real one by an offset."""

    __test__ = False
    offset: timedelta = timedelta()

    def __call__(self) -> datetime:
        """Return the time."""
        return datetime.now(UTC) + self.offset

    def advance_to(self, moment: datetime) -> None:
        """Move the time ahead to a moment; never back."""
        self.offset += max(moment - self(), timedelta())


@dataclass
class Grantline:
    """The running parts, and what a test does with them."""

    container: Container
    simulation: Simulation
    clock: TestClock
    facts: Mapping[str, Any]
    """What the simulated tenant prints when it is ready: tenants, applications, people."""
    cookies: dict[str, str] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        """The app settings."""
        return self.container.settings

    async def start(self, account_id: str = "contoso", **more: Any) -> str:
        """Carry out a command that starts a grant, and return the grant's id."""
        command = StartGrant(
            command_id=more.pop("command_id", f"start-{account_id}"),
            account_id=account_id,
            account_name=account_id.title(),
            requested_by="a test",
            **more,
        )
        return await self.container.site.commands.execute(command)

    async def grant(self, grant_id: str) -> Grant:
        """Return the grant as it is stored."""
        stored = await self.container.storage.grants.load(grant_id)
        assert stored
        return stored.grant

    async def events(self, grant_id: str) -> list[str]:
        """Return the types of the grant's audit events, in order."""
        return [event.type for event in await self.container.storage.grants.events(grant_id)]

    def person(self, name: str = ADMINISTRATOR) -> Mapping[str, Any]:
        """Return one of the people who can sign in, by the user principal name."""
        return next(person for person in self.facts["people"] if person["user_principal_name"] == name)

    async def begin(self, grant_id: str, step: StepName, cookie: str) -> str:
        """Begin a person's step; return where the browser is sent."""
        return await self.container.site.consent.begin(grant_id, step, cookie)

    async def through_microsoft(self, location: str, name: str = ADMINISTRATOR) -> str:
        """Walk Microsoft's pages as a person, signing in and accepting; return the redirect that comes back to the console."""
        async with Browser(str(self.simulation.ca_file), stop_at=CONSOLE) as browser:
            page = await browser.open(location)
            for _ in range(MICROSOFTS_PAGES):
                if page.url.startswith(CONSOLE):
                    break
                page = await self._press_on(browser, name, page)
            return page.url

    async def act(self, grant_id: str, step: StepName, name: str = ADMINISTRATOR, cookie: str = "") -> str:
        """Do a person's whole step as an administrator; return the page of the console that it ends on."""
        cookie = cookie or new_secret()
        location = await self.begin(grant_id, step, cookie)
        while not location.startswith("/"):
            location = await self.take_redirect(await self.through_microsoft(location, name), cookie)
        return location

    async def take_redirect(self, url: str, cookie: str) -> str:
        """Hand a redirect of Microsoft's to the console; return where the browser is sent next."""
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query))
        flow = self.container.site.consent
        take = {"/signed-in": flow.signed_in, "/consented": flow.consented}[parts.path]
        return await take(query, cookie)

    async def work(self, grant_id: str, name: StepName) -> Grant:
        """Run one step once, moving the time to its clock first, and return the grant."""
        step = (await self.grant(grant_id)).steps[name]
        if step.state is StepState.WAITING and step.clock:
            self.clock.advance_to(step.clock)
        await self.container.engine.work(Nudge(grant_id, name, self.clock()))
        return await self.grant(grant_id)

    async def until(self, grant_id: str, last: StepName, name: str = ADMINISTRATOR) -> Grant:
        """Do everything that ``last`` requires, person's steps too, and return the grant with ``last`` ready to run.

        ``name`` is the administrator who does a person's steps.
        """
        for _ in range(MAXIMUM_RUNS):
            grant = await self.grant(grant_id)
            if grant.steps[last].state is not StepState.BLOCKED:
                return grant
            for step in grant.steps.values():
                if step.state is StepState.WAITING_FOR_PERSON and STEPS[step.name].person:
                    await self.act(grant_id, step.name, name)
                elif step.state in (StepState.QUEUED, StepState.WAITING):
                    await self.work(grant_id, step.name)
        raise AssertionError(
            f"{last} was never reached: {[(step.name, step.state, step.reason) for step in grant.steps.values()]}"
        )

    async def settle(self, grant_id: str, name: StepName) -> Grant:
        """Run a step until it neither waits nor is queued, and return the grant."""
        for _ in range(MAXIMUM_RUNS):
            grant = await self.grant(grant_id)
            if grant.steps[name].state not in (StepState.QUEUED, StepState.WAITING):
                return grant
            await self.work(grant_id, name)
        raise AssertionError(f"{name} never settled")

    async def _press_on(self, browser: Browser, name: str, page: Page) -> Page:
        return await press_on(browser, self.person(name), page)


@asynccontextmanager
async def grantline(connection: str, options: Options | None = None, **settings: str) -> AsyncIterator[Grantline]:
    """Open a Grantline on a storage account, with a simulated Microsoft 365 of its own; ``settings`` are more app settings."""
    contracts = CONTRACTS if CONTRACTS.is_dir() else None
    chosen = replace(options or Options(users=12), console=CONSOLE, contracts=contracts)
    async with serve(chosen) as simulation:
        facts = ready(simulation)
        clock = TestClock()
        container = await build(app_settings.load(environment(connection, facts, **settings)), Overrides(clock=clock))
        try:
            yield Grantline(container, simulation, clock, facts)
        finally:
            await container.close()


def environment(connection: str, facts: Mapping[str, Any], **settings: str) -> dict[str, str]:
    """Return the app settings for a storage account and for what a simulated Microsoft 365 prints when it is ready."""
    services = ("AUTHORITY", "GRAPH", "EXCHANGE", "MANAGEMENT", "PORTAL")
    return {
        **APP_SETTINGS,
        "AzureWebJobsStorage": connection,
        "GRANTLINE_SEALING_KEY": urlsafe_b64encode(bytes(range(32))).decode(),
        **{f"GRANTLINE_{name}_URL": facts["url"] for name in services},
        "GRANTLINE_CA_FILE": facts["ca_file"],
        "GRANTLINE_DNS_RESOLVER": facts["dns"],
        **_credentials(facts),
        **settings,
    }


def _credentials(facts: Mapping[str, Any]) -> dict[str, str]:
    return {
        f"GRANTLINE_{name.upper()}_{key.upper()}": application[key]
        for name, application in facts["applications"].items()
        for key in ("client_id", "client_secret")
    }
