"""A person's browser at the simulated portal, and what the tenant holds afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode, urljoin

import httpx

from local.browser import Browser, Form, Page
from local.microsoft365.model import Role, RoleAssignment, ServicePrincipal
from tests.microsoft365.platform import PageReader, Platform

ROLE = f"/portal/roles/{Role.EXCHANGE_ADMINISTRATOR}"
ADD = f"{ROLE}/add"
NOBODY = "11111111-2222-4333-8444-555555555555"


@dataclass(slots=True)
class Walk:
    """A person's browser at the portal."""

    platform: Platform
    browser: Browser

    async def open(self, path: str) -> Page:
        """Go to a page of the simulation."""
        return await self.browser.open(f"{self.platform.simulation.url}{path}")

    async def sign_in(self, name: str = "privileged@contoso.com", path: str = "/") -> Page:
        """Ask for a page, fill the sign-in form that comes, and return what comes then."""
        return await self.fill(await self.open(path), name)

    async def fill(self, page: Page, name: str, password: str = "") -> Page:
        """Fill the sign-in form of a page."""
        secret = password or self.platform.simulation.store.password
        return await self.browser.submit(page, page.forms[0], press=("decision", "accept"), loginfmt=name, passwd=secret)

    async def follow(self, page: Page, text: str) -> Page:
        """Click the link with this text."""
        return await self.browser.open(urljoin(page.url, page.links[text]))

    async def search(self, page: Page, text: str) -> Page:
        """Type into the page's search box and press Enter."""
        return await self.browser.submit(page, form_of(page, "get"), search=text)

    async def press(self, page: Page, button: str = "", **fields: str) -> Page:
        """Press a button of the page's form that changes something."""
        return await self.browser.submit(page, form_of(page, "post"), press=("decision", button) if button else None, **fields)

    async def add(self, principal_id: str, search: str = "") -> Page:
        """Select a principal on the page Add assignments, and press Add."""
        return await self.press(await self.open(f"{ADD}?{urlencode({'search': search})}"), chosen=principal_id)


def form_of(page: Page, method: str) -> Form:
    """The page's form that is sent with this method."""
    return next(form for form in page.forms if form.method == method)


def path_of(page: Page) -> str:
    """Where a page is, without host."""
    return page.url.removeprefix(page.origin)


def mail_flow(platform: Platform) -> ServicePrincipal:
    """The mail-flow application's service principal in Contoso."""
    found = platform.tenant.service_principal_of(platform.application("mail_flow").app_id)
    assert found is not None
    return found


def held(platform: Platform, principal_id: str) -> list[RoleAssignment]:
    """The Exchange Administrator assignments of a principal."""
    return [
        each
        for each in platform.tenant.role_assignments.values()
        if each.principal_id == principal_id and each.role_definition_id == Role.EXCHANGE_ADMINISTRATOR
    ]


def user_id(platform: Platform, name: str) -> str:
    """The id of a user of Contoso."""
    user = platform.tenant.users.find(name)
    assert user is not None
    return user.id


async def signed_in_client(platform: Platform, name: str = "privileged@contoso.com") -> httpx.AsyncClient:
    """A client that sends only what a test tells it, with the cookie of somebody who has signed in to the portal."""
    client = platform.browser()
    asked = PageReader((await client.get("/portal/signin")).text)
    form = {**asked.fields, "loginfmt": name, "passwd": platform.simulation.store.password}
    answer = await client.post("/portal/signin", data=form, headers={"Origin": platform.simulation.url})
    assert answer.status_code == 303
    return client
