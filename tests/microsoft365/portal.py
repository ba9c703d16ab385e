"""A person's browser at the simulated portal, and what the tenant holds afterwards."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlencode, urljoin

import httpx

from local.browser import Browser, Form, Page
from local.microsoft365.model import Role, RoleAssignment, ServicePrincipal
from tests.microsoft365.platform import PageReader, Platform

ROLE = f"/portal/roles/{Role.EXCHANGE_ADMINISTRATOR}"
ADD = f"{ROLE}/add"
NOBODY = "11111111-2222-4333-8444-555555555555"


class RefusedByPortalError(Exception):
    """Raised when a page of the portal refuses what was asked for; its argument is the page's own words."""


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


async def assign_by_hand(
    browser: Browser,
    portal_url: str,
    person: str,
    tenant: str,
    app_id: str,
    justification: str = "It looks after the mail flow.",
    *,
    password: str = "",
) -> Page:
    """Assign Exchange Administrator to an application by hand, in either kind of tenant; return the page that lists it.

    `person` is a sign-in name, `tenant` an id or a domain where she is a member, a guest or a partner's administrator.
    Raises RefusedByPortalError with the words of the page on which it ends otherwise. `password` is needed where nobody
    of that name has signed in with this browser yet.
    """
    asked = urlencode({"tenant": tenant, "login_hint": person, "return": ROLE})
    page = await browser.open(f"{portal_url.rstrip('/')}/portal/signin?{asked}")
    if page.forms and ("step", "signin") in page.forms[0].fields:
        page = await browser.submit(page, page.forms[0], press=("decision", "accept"), loginfmt=person, passwd=password)
    role = _unrefused(page, "Assignments")
    add = await browser.open(urljoin(role.url, role.links["Add assignments"]))
    if "No member selected" in add.links:
        done = await _assign_with_privileged_identity_management(browser, add, app_id, justification)
    else:
        found = await _find(browser, add, app_id)
        done = await browser.submit(found, form_of(found, "post"), chosen=_chosen(found))
    if app_id.lower() not in _unrefused(done, "Assignments").words:
        raise RefusedByPortalError(done.words)
    return done


async def _assign_with_privileged_identity_management(browser: Browser, add: Page, app_id: str, justification: str) -> Page:
    found = await _find(browser, await browser.open(urljoin(add.url, add.links["No member selected"])), app_id)
    select = next(each for each in found.forms if each.action.endswith("/add"))
    selected = await browser.submit(found, select, chosen=_chosen(found))
    setting = await browser.open(urljoin(selected.url, selected.links["Setting"]))
    if "Verify your identity" in setting.links:
        asked = await browser.open(urljoin(setting.url, setting.links["Verify your identity"]))
        approve = any(name == "step" and value == "mfa" for name, value in asked.forms[0].fields)
        setting = await browser.submit(asked, asked.forms[0], press=("decision", "accept")) if approve else asked
    return await browser.submit(setting, form_of(setting, "post"), justification=justification)


async def _find(browser: Browser, page: Page, app_id: str) -> Page:
    """Paste the app ID into the search box and press Enter."""
    found = await browser.submit(page, form_of(page, "get"), search=app_id)
    if 'name="chosen"' not in found.text:
        raise RefusedByPortalError(found.words)
    return found


def _chosen(page: Page) -> str:
    """The value of the only box of a list."""
    (found,) = re.findall(r'name="chosen" value="([^"]+)"', page.text)
    return str(found)


def _unrefused(page: Page, heading: str) -> Page:
    """The page, if it is the wanted one and tells of no fault."""
    if page.status != 200 or heading not in page.words or 'role="alert"' in page.text:
        raise RefusedByPortalError(page.words)
    return page
