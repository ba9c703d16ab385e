"""Problem pages, each reached as a person reaches it: by what they do in the console and on Microsoft's pages."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.async_api import Page, expect

from local.stack import Stack
from shared.consent import onboarding
from shared.consent.onboarding import Sent
from shared.consent.state import from_row, row_key, to_row
from shared.container import Container
from shared.domain.problems import CATALOGUE
from shared.ports import Binding
from shared.settings import GUID
from shared.web.site import STATUS
from shared.web.templates import words
from tests.browser.conftest import Visit
from tests.support import situations, stacks
from tests.support.accessibility import axe, sideways
from tests.support.chromium import Watch
from tests.support.situations import NOW
from tests.support.walks import MAIL_FLOW, sign_in

NOBODYS = "00000000-0000-4000-8000-000000000000"
"""The id of no grant and no tenant."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Where a problem happens: a person's page, the stack and its storage; ``visit`` opens another browser."""

    page: Page
    stack: Stack
    parts: Container
    visit: Visit

    async def grant(self) -> str:
        """Show a new grant, and return its id."""
        path = await situations.put(self.parts, situations.waiting_for_person())
        await self.page.goto(path)
        return path.removeprefix("/grants/")

    async def at_microsoft(self) -> tuple[str, str]:
        """Begin a new grant's first step; return the grant's id and the state that Microsoft is to bring back."""
        grant = await self.grant()
        await self.page.get_by_role("link", name=MAIL_FLOW).first.click()
        await self.page.wait_for_url(f"{self.stack.tenant['url']}/**")
        return grant, parse_qs(urlsplit(self.page.url).query)["state"][0]

    async def as_person(self, beginning: str) -> None:
        """Go through Microsoft's pages as one of the simulated people."""
        await sign_in(self.page, stacks.person(self.stack, beginning))

    async def link(self, page: Page | None = None, tenant: str = "") -> str:
        """Make an onboarding link on the page of the grant that is shown, and return its address."""
        page = page or self.page
        await page.get_by_label("Tenant ID or domain").fill(tenant)
        await page.get_by_role("button", name="Make an onboarding link").click()
        return await page.locator("#address").inner_text()


async def cancelled(scene: Scene) -> None:
    """Press Cancel where Microsoft asks for the password."""
    await scene.at_microsoft()
    await scene.page.get_by_role("button", name="Cancel").click()


async def not_accepted(scene: Scene) -> None:
    """Sign in as the administrator of a new tenant, and press Cancel where the organization's permissions are asked."""
    person = await stacks.new_tenant(scene.stack, "Northwind", "northwind")
    await scene.at_microsoft()
    page = scene.page
    await page.get_by_label("Email or username").fill(person["user_principal_name"])
    await page.get_by_label("Password").fill(person["password"])
    await page.get_by_role("button", name="Sign in").click()
    await page.get_by_role("button", name="Accept").click()
    await expect(page.get_by_role("heading")).to_contain_text("Review for your organization")
    await page.get_by_role("button", name="Cancel").click()


async def no_administrator(scene: Scene) -> None:
    """Sign in as somebody without a role."""
    await scene.at_microsoft()
    await scene.as_person("member@contoso.")


async def another_tenant(scene: Scene) -> None:
    """Sign in while the operator says, in another tab, which tenant it is to be."""
    grant, _ = await scene.at_microsoft()
    tab = await scene.page.context.new_page()
    await tab.goto(f"/grants/{grant}")
    await scene.link(tab, tenant="fabrikam.onmicrosoft.com")
    await scene.as_person("admin@contoso.")


async def tenant_of_another(scene: Scene) -> None:
    """Sign in with a tenant that another account is connected to."""
    person = stacks.person(scene.stack, "admin@contoso.")
    await scene.parts.storage.bindings.bind_tenant(Binding(person["tenant_id"], "somebody-else", NOBODYS, NOW))
    await scene.at_microsoft()
    await scene.as_person("admin@contoso.")


async def made_up(scene: Scene) -> None:
    """Follow a link that looks like a return from Microsoft."""
    await scene.page.goto("/signed-in?state=made-up&code=made-up")


async def too_late(scene: Scene) -> None:
    """Sign in when the time for it is over."""
    grant, state = await scene.at_microsoft()
    found = await scene.parts.storage.grants.row(grant, row_key(state))
    assert found
    await scene.parts.storage.grants.put(grant, to_row(state, replace(from_row(found), expires_at=NOW - timedelta(minutes=1))))
    await scene.as_person("admin@contoso.")


async def made_up_code(scene: Scene) -> None:
    """Bring back the state of a sign-in with a code that Microsoft never gave."""
    _, state = await scene.at_microsoft()
    await scene.page.goto(f"/signed-in?state={state}&code=made-up")


async def elsewhere(scene: Scene) -> None:
    """Bring a sign-in back to another browser than the one that began it."""
    async with scene.visit() as other:
        _, state = await Scene(other, scene.stack, scene.parts, scene.visit).at_microsoft()
    await scene.page.goto(f"/signed-in?state={state}&code=anything")


async def closed_meanwhile(scene: Scene) -> None:
    """Send a form of a browser that was closed and opened again since."""
    await scene.page.goto("/grant-access?account_id=closed&account_name=Closed")
    await scene.page.context.clear_cookies()
    await scene.page.get_by_role("button", name="Begin").click()


async def no_grant(scene: Scene) -> None:
    """Open the page of a grant that is not there."""
    await scene.page.goto(f"/grants/{NOBODYS}")


async def no_direction(scene: Scene) -> None:
    """Choose neither direction."""
    await scene.page.goto("/grant-access?account_id=none&account_name=None")
    for direction in ("Inbound messages", "Outbound messages"):
        await scene.page.get_by_label(direction).uncheck()
    await scene.page.get_by_role("button", name="Begin").click()


async def no_tenant(scene: Scene) -> None:
    """Name a tenant that Microsoft does not know."""
    await scene.page.goto("/grant-access?account_id=unknown&account_name=Unknown")
    await scene.page.get_by_label("Tenant ID or domain").fill("nobody.example.com")
    await scene.page.get_by_role("button", name="Begin").click()


async def settled(scene: Scene) -> None:
    """Ask for an onboarding link for another tenant than the one that the grant is for."""
    await scene.page.goto(await situations.put(scene.parts, situations.waiting()))
    await scene.page.get_by_label("Tenant ID or domain").fill("fabrikam.onmicrosoft.com")
    await scene.page.get_by_role("button", name="Make an onboarding link").click()


async def half_a_link(scene: Scene) -> None:
    """Open an onboarding link whose end was cut off."""
    await scene.grant()
    await scene.page.goto((await scene.link())[:-5])


async def older_link(scene: Scene) -> None:
    """Open an onboarding link after a newer one was made."""
    grant = await scene.grant()
    address = await scene.link()
    await scene.page.goto(f"/grants/{grant}")
    await scene.link()
    await scene.page.goto(address)


async def late_link(scene: Scene) -> None:
    """Open an onboarding link that nobody used in time."""
    sent = Sent(replace(onboarding.new_link(await scene.grant(), "late", NOW), expires_at=NOW - timedelta(hours=1)), "Olga")
    await scene.parts.storage.grants.put(sent.link.grant_id, onboarding.to_row(sent))
    await scene.page.goto(scene.parts.site.links.address(sent.link))


Cause = Callable[[Scene], Awaitable[Any]]
"""What a person does that leads to a problem."""
CAUSES: Mapping[str, tuple[Cause, str]] = {
    "consent_denied": (not_accepted, "Back to the grant"),
    "not_administrator": (no_administrator, "Back to the grant"),
    "tenant_differs": (another_tenant, "Back to the grant"),
    "tenant_taken": (tenant_of_another, "Back to the grant"),
    "sign_in_again": (made_up_code, "Back to the grant"),
    "link_unknown": (made_up, "Go to Service Status"),
    "link_expired": (too_late, "Back to the grant"),
    "other_browser": (elsewhere, "Back to the grant"),
    "form_expired": (closed_meanwhile, "Go to Service Status"),
    "grant_unknown": (no_grant, "Go to Service Status"),
    "form_unreadable": (no_direction, "Go to Service Status"),
    "tenant_unknown": (no_tenant, "Go to Service Status"),
    "tenant_settled": (settled, "Back to the grant"),
    "onboarding_unknown": (half_a_link, "Go to Service Status"),
    "onboarding_replaced": (older_link, "Go to Service Status"),
    "onboarding_expired": (late_link, "Go to Service Status"),
}
"""Problems that have a page of their own: how a person comes to it, and the link that leads on."""


async def shows(page: Page, code: str) -> None:
    """See that a page tells a problem: what to do, who can, and in words what happened; nobody is kept out of it."""
    kind, told = CATALOGUE[code], page.get_by_role("alert")
    await expect(page.get_by_role("heading", level=1)).to_have_text("This did not work")
    await expect(told).to_contain_text(kind.fix)
    await expect(told).to_contain_text(words(kind.who))
    if code != "form_unreadable":  # whose cause names the field
        await expect(told).to_contain_text(kind.cause)
    assert await axe(page) == []
    assert await sideways(page) == []


@pytest.fixture
def scene(page: Page, stack: Stack, parts: Container, visit: Visit) -> Scene:
    """Give a person's page, and what the problem needs around it."""
    return Scene(page, stack, parts, visit)


@pytest.mark.parametrize("code", CAUSES)
async def test_every_problem_page(scene: Scene, watch: Watch, code: str) -> None:
    """It is told in words, and its link leads on."""
    cause, leads_on = CAUSES[code]
    watch.expect(f"^{STATUS.get(code, 400)} ")
    await cause(scene)

    await shows(scene.page, code)
    await scene.page.get_by_role("link", name=leads_on).click()
    heading = "Dashboard" if leads_on.endswith("Service Status") else "Grant Access to Exchange Online (Inline Mode)"
    await expect(scene.page.get_by_role("heading", level=1)).to_have_text(heading)


async def unfolds(page: Page, words_of_microsoft: str, correlation_id: re.Pattern[str] | None) -> None:
    """See that Microsoft's own words, and the id for its support, stand behind a summary."""
    raw, correlation = page.locator("details pre"), page.get_by_text("Correlation ID:").locator("code")
    await expect(raw).to_be_hidden()
    await page.get_by_text("What Microsoft said").click()
    await expect(raw).to_contain_text(words_of_microsoft)
    if correlation_id:
        await expect(correlation).to_have_text(correlation_id)
        await expect(correlation).to_be_visible()


@pytest.mark.parametrize(
    ("cause", "code", "words_of_microsoft", "correlation_id"),
    [(cancelled, "consent_denied", "access_denied", None), (made_up_code, "sign_in_again", "AADSTS", GUID)],
    ids=["cancelled", "made-up code"],
)
async def test_microsofts_own_words_are_folded_away(
    scene: Scene, watch: Watch, cause: Cause, code: str, words_of_microsoft: str, correlation_id: re.Pattern[str] | None
) -> None:
    """They are on the problem's page and on the grant's page, where the way goes on."""
    watch.expect("^400 GET /signed-in")
    page = scene.page
    await cause(scene)
    await shows(page, code)
    await unfolds(page, words_of_microsoft, correlation_id)
    await page.get_by_role("link", name="Back to the grant").click()
    await expect(page.get_by_role("alert")).to_contain_text(CATALOGUE[code].fix)
    await unfolds(page, words_of_microsoft, correlation_id)

    await page.get_by_role("link", name=MAIL_FLOW).first.click()
    await expect(page).to_have_title("Sign in to your account")
