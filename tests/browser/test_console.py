"""The console's first pages in a real Chromium: for everybody, in every look; and a whole grant, by mouse and by keyboard."""

import pytest
from playwright.async_api import Page, expect

from local.stack import Stack
from tests.support import stacks
from tests.support.accessibility import axe, out_of_reach, sideways
from tests.support.chromium import EVERY_LOOK, PHONE, PHONE_DARK, Look
from tests.support.hands import by_keyboard, by_mouse
from tests.support.walks import DIRECTORY, MAIL_FLOW, ROLE, begin, consent, until_complete

PATHS = ("/", "/grant-access", "/service-accounts")
"""Pages that need no grant."""
WAYS = {"contoso": by_mouse, "fabrikam": by_keyboard}
"""A tenant is one account's only, so each way through has a tenant of its own."""


@pytest.mark.parametrize("look", EVERY_LOOK, ids=str)
@pytest.mark.parametrize("path", PATHS)
async def test_axe_finds_no_violation(page: Page, path: str, look: Look) -> None:
    """Nobody is kept out: axe-core finds nothing, in light and dark, on a desktop and a phone."""
    await page.goto(path)

    assert await axe(page) == []


@pytest.mark.parametrize("look", [PHONE, PHONE_DARK], ids=str)
@pytest.mark.parametrize("path", PATHS)
async def test_nothing_scrolls_sideways_on_a_phone(page: Page, path: str, look: Look) -> None:
    """Every page fits into the width of a phone."""
    await page.goto(path)

    assert await sideways(page) == []


@pytest.mark.parametrize("look", EVERY_LOOK, ids=str)
@pytest.mark.parametrize("path", PATHS)
async def test_tab_reaches_everything_with_a_visible_focus(page: Page, path: str, look: Look) -> None:
    """Whoever has no mouse reaches everything, and sees where they are."""
    await page.goto(path)

    assert await out_of_reach(page) == []


@pytest.mark.parametrize("customer", WAYS)
async def test_a_whole_grant(page: Page, stack: Stack, customer: str) -> None:
    """From the dashboard to the success message: the form, and three sign-ins at Microsoft; with the keyboard alone, too."""
    hands = WAYS[customer]()
    person = stacks.person(stack, f"admin@{customer}.")
    grant = await begin(page, customer, customer.title(), hands)
    for step in (MAIL_FLOW, ROLE, DIRECTORY):
        await consent(page, step, person, hands)

    await until_complete(page)
    await page.goto("/")
    row = page.get_by_role("row").filter(has_text=customer.title())
    await expect(row.get_by_role("link", name="View")).to_have_attribute("href", grant)
    for path in (grant, f"{grant}/history", "/service-accounts"):
        await page.goto(path)
        assert await axe(page) == []
