"""Ways through the console and Microsoft's (simulated) pages, in a real browser, by real clicks or keys."""

from collections.abc import Mapping
from typing import Any

from playwright.async_api import Page, expect

from tests.support.hands import Hands, by_mouse

SUCCESS = "Successfully created a service account and synced data."
MAIL_FLOW, ROLE, DIRECTORY = "Grant Permission", "Assign the role", "Click here"
TAKE, RELEASE = "Take the tenant from the other account", "Release this tenant"
"""The three steps of a person, as their links on the grant's page are called."""
MICROSOFTS_PAGES = 8
"""How many pages of Microsoft's one step may show at the most."""
GRANT_SECONDS = 60
"""How long a grant may take after its last sign-in."""


async def sign_in(page: Page, person: Mapping[str, Any], hands: Hands | None = None) -> None:
    """Go through Microsoft's pages as ``person``: sign in, pick the account, accept; back in the console, the page is loaded.

    Raises AssertionError when a page of Microsoft's is not known, or there are too many.
    """
    for _ in range(MICROSOFTS_PAGES):
        if not await _is_microsofts(page):
            return
        async with page.expect_navigation():
            await _answer(page, person, hands or by_mouse())
    raise AssertionError(f"Microsoft's pages have no end: {await page.title()}")


async def _is_microsofts(page: Page) -> bool:
    return await page.get_by_text("Microsoft (simulated)", exact=True).count() > 0


async def _answer(page: Page, person: Mapping[str, Any], hands: Hands) -> None:
    """Fill in one page of Microsoft's and go on."""
    match await page.title():
        case "Sign in to your account" if await page.get_by_label("Password").count():
            await hands.write(page.get_by_label("Email or username"), person["user_principal_name"])
            await hands.write(page.get_by_label("Password"), person["password"])
            await hands.press(page.get_by_role("button", name="Sign in"))
        case "Sign in to your account":
            await hands.press(page.get_by_role("button", name="Approve"))
        case "Pick an account":
            await hands.press(page.get_by_role("button", name=person["user_principal_name"]))
        case "Permissions requested":
            await hands.press(page.get_by_role("button", name="Accept"))
        case title:
            raise AssertionError(f"a page of Microsoft's that nobody expected: {title}: {await page.inner_text('main')}")


async def begin(page: Page, account_id: str, account_name: str, hands: Hands | None = None, *, role_by_hand: bool = False) -> str:
    """Start a grant from the dashboard, and return the path of its page, which is shown then."""
    hands = hands or by_mouse()
    await page.goto("/")
    await hands.press(page.get_by_role("link", name="Grant Access").first)
    await hands.write(page.get_by_label("Account id"), account_id)
    await hands.write(page.get_by_label("Account name"), account_name)
    if role_by_hand:
        await hands.tick(page.get_by_label("By hand"))
    await hands.press(page.get_by_role("button", name="Begin"))
    await page.wait_for_url("**/grants/*")
    return page.url.removeprefix(await page.evaluate("() => location.origin"))


async def consent(page: Page, step: str, person: Mapping[str, Any], hands: Hands | None = None) -> None:
    """Do a person's step of the grant's page: follow its link, go through Microsoft's pages, and come back."""
    hands = hands or by_mouse()
    here = page.url  # a page that htmx renews "navigates" to the address that it has
    async with page.expect_navigation(url=lambda url: url != here):
        await hands.press(page.get_by_role("link", name=step).first)
    await sign_in(page, person, hands)
    await page.wait_for_url("**/grants/*")


async def assign_by_hand(page: Page, application: str, hands: Hands | None = None) -> None:
    """Assign the role in the portal, in a tab of its own, with the app ID that the grant's page gives to the clipboard.

    The browser is signed in at Microsoft already, as an administrator who may.
    """
    hands = hands or by_mouse()
    portal = await _at_assignments(page, hands)
    await _choose_application(portal, application, hands)
    await hands.press(portal.get_by_role("button", name="Add", exact=True))
    await expect(portal.get_by_role("status")).to_contain_text("Added 1 assignment to Exchange Administrator.")
    await portal.close()


async def assign_with_pim(page: Page, application: str, hands: Hands | None = None) -> None:
    """The same in a tenant with Privileged Identity Management: default settings, and the grant's page's own justification."""
    hands = hands or by_mouse()
    portal = await _at_assignments(page, hands)
    await hands.press(portal.get_by_role("link", name="No member selected"))
    await _choose_application(portal, application, hands)
    await hands.press(portal.get_by_role("button", name="Select", exact=True))
    await hands.press(portal.get_by_role("link", name="Setting", exact=True))
    await page.bring_to_front()
    await hands.press(page.get_by_text("With Privileged Identity Management", exact=True))
    await hands.press(page.get_by_role("button", name="Copy the justification"))
    await portal.bring_to_front()
    await hands.press(portal.get_by_label("Enter justification"))
    await portal.keyboard.press("Control+V")
    await hands.press(portal.get_by_role("button", name="Assign", exact=True))
    row = portal.get_by_role("region", name="Active assignments").get_by_role("row").filter(has_text=application)
    await expect(row).to_contain_text("Assigned")
    await portal.close()


async def _at_assignments(page: Page, hands: Hands) -> Page:
    """Copy the app ID and go to where the role is assigned, in a tab of its own: the steps that both branches begin with."""
    await hands.press(page.get_by_role("button", name="Copy the app ID"))
    await expect(page.locator("#copied")).to_have_text("Copied")
    async with page.context.expect_page() as opening:
        await hands.press(page.get_by_role("link", name='Open "Roles & admins"'))
    portal = await opening.value
    for name in ("Roles & admins", "Exchange Administrator", "Add assignments"):
        await hands.press(portal.get_by_role("link", name=name, exact=True))
    return portal


async def _choose_application(portal: Page, application: str, hands: Hands) -> None:
    """Paste the app ID into the search box, press Enter, and choose the application."""
    await hands.press(portal.get_by_role("searchbox", name="Search"))
    await portal.keyboard.press("Control+V")
    await portal.keyboard.press("Enter")
    await hands.tick(portal.get_by_role("checkbox", name=application))


async def stay(page: Page) -> None:
    """Mark the page, so that ``stayed`` tells whether it was loaded again since."""
    await page.evaluate("() => { window.stays = true; }")


async def stayed(page: Page) -> bool:
    """Tell whether the page is the one that was marked: what changed on it came without a reload."""
    return bool(await page.evaluate("() => window.stays === true"))


async def until_done(page: Page, step: str) -> None:
    """Wait until a step of a grant's page, which shows itself anew, is done."""
    await expect(page.locator(f"#step-{step}.done")).to_be_visible(timeout=GRANT_SECONDS * 1000)


async def until_listed(page: Page, grant: str, account: str, tenant: str, hands: Hands | None = None) -> None:
    """Go from a completed grant to the Service Account page and back by its link; the tenant stands there under its name."""
    hands = hands or by_mouse()
    await hands.press(page.get_by_role("link", name="Service Account", exact=True))
    row = page.get_by_role("row").filter(has_text=account)
    await expect(row.get_by_role("rowheader").locator("bdi")).to_have_text(tenant)
    await expect(row).to_contain_text("Active")
    await hands.press(row.get_by_role("link", name="Details"))
    await page.wait_for_url(f"**{grant}")


async def until_complete(page: Page) -> None:
    """Wait for the success message, word for word."""
    await expect(page.get_by_role("strong").filter(has_text=SUCCESS)).to_have_text(SUCCESS, timeout=GRANT_SECONDS * 1000)
