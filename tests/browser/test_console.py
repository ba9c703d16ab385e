"""Whole grants in a real Chromium, from the dashboard to the success message and the Service Account page."""

import pytest
from playwright.async_api import Page, expect

from local.stack import Stack
from tests.support import stacks
from tests.support.accessibility import axe
from tests.support.hands import by_keyboard, by_mouse
from tests.support.walks import (
    DIRECTORY,
    MAIL_FLOW,
    ROLE,
    assign_by_hand,
    begin,
    consent,
    stay,
    stayed,
    until_complete,
    until_done,
    until_listed,
)

WAYS = {"contoso": by_mouse, "fabrikam": by_keyboard}
"""A tenant is one account's only, so each way through has a tenant of its own."""
HOSTILE = "<script>alert(1)</script> אבגד \N{FOX FACE} \"'&amp;"
"""A tenant's name that a careless page would stumble over."""


@pytest.mark.parametrize("customer", WAYS)
async def test_a_whole_grant_by_sign_ins(page: Page, stack: Stack, customer: str) -> None:
    """The form, and three sign-ins at Microsoft: by mouse, and with the keyboard alone."""
    hands, name = WAYS[customer](), customer.title()
    person = stacks.person(stack, f"admin@{customer}.")
    grant = await begin(page, customer, name, hands)
    for step in (MAIL_FLOW, ROLE, DIRECTORY):
        await consent(page, step, person, hands)

    await until_complete(page)
    await until_listed(page, grant, name, name, hands)
    await hands.press(page.get_by_role("link", name="Dashboard", exact=True).first)
    row = page.get_by_role("row").filter(has_text=name)
    await expect(row.get_by_role("link", name="View")).to_have_attribute("href", grant)
    assert await axe(page) == []


async def test_a_whole_grant_with_the_role_by_hand(page: Page, stack: Stack) -> None:
    """The app ID goes by the clipboard into the portal's search box in another tab; the grant's page goes on by itself."""
    person = await stacks.new_tenant(stack, HOSTILE, "adatum")
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=stack.console)
    grant = await begin(page, "adatum", HOSTILE, role_by_hand=True)
    await consent(page, MAIL_FLOW, person)
    await stay(page)
    await assign_by_hand(page, "mail flow")
    assert await page.evaluate("() => navigator.clipboard.readText()") == await page.locator("#app-id").inner_text()

    await until_done(page, "role_assignment")
    assert await stayed(page)
    await consent(page, DIRECTORY, person)
    await stay(page)
    await until_complete(page)
    assert await stayed(page)
    await until_listed(page, grant, HOSTILE, HOSTILE)
