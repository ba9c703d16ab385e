"""A tour of the console's pages, as an operator takes it: every page is opened, every form of its own is used once."""

from collections.abc import Mapping
from typing import Any

from local.browser import Browser, BrowserError, Form, Page

ROLE_GROUP, BY_HAND, BY_SIGN_IN = "role_group", "by_hand", "sign_in"


async def change_of_mind(browser: Browser, console: str, grant_url: str) -> None:
    """Choose a role group on a grant's page, read its script, then by hand, and have the role assigned after all."""
    page = await _at(browser, console + grant_url, "Step 2")
    page = await browser.submit(page, _form(page, role_mode=ROLE_GROUP))
    await _at(browser, console + page.links.get("Download the script", "/none"), "New-RoleGroup")
    page = await browser.submit(page, _form(page, role_mode=BY_HAND))
    if "Without Privileged Identity Management" not in page.words:
        raise BrowserError(f"the role by hand is not explained: {page.words[:300]}")
    await browser.submit(page, _form(page, role_mode=BY_SIGN_IN))


async def tour(browser: Browser, console: str, grant_url: str, account: Mapping[str, Any]) -> None:
    """Look at everything that a completed grant leaves. Raises BrowserError for a page that does not show it."""
    await _at(browser, f"{console}{grant_url}/live", account["message"])
    await _at(browser, f"{console}{grant_url}/history", "Access granted")
    await _at(browser, f"{console}{grant_url}/plan", "What is changed")
    await _at(browser, f"{console}{grant_url}/remove", "It can't be called off")
    await _at(browser, f"{console}/service-accounts", account["tenant_name"])
    await _at(browser, f"{console}/permissions", "Exchange.ManageAsApp")
    details = await _at(browser, f"{console}{grant_url.replace('/grants', '/service-accounts')}", "Last check")
    if "Release this tenant" not in details.links:
        raise BrowserError(f"the service account can't be released: {details.words[:300]}")
    dashboard = await _at(browser, f"{console}/", "activity data")
    after = await browser.submit(dashboard, next(form for form in dashboard.forms if form.action == "/dismiss"))
    if after.status != 200 or "Service Status" not in after.words or "activity data" in after.words:
        raise BrowserError(f"the banner was not dismissed: {after.status} {after.words[:300]}")


async def _at(browser: Browser, url: str, words: str) -> Page:
    page = await browser.open(url)
    if page.status != 200 or words not in page.words:
        raise BrowserError(f"{url} does not show {words!r}: {page.status} {page.words[:300]}")
    return page


def _form(page: Page, **fields: str) -> Form:
    """Return the page's form that has these fields."""
    found = next((form for form in page.forms if fields.items() <= dict(form.fields).items()), None)
    if found is None:
        raise BrowserError(f"{page.url} has no form with {fields}: {page.words[:300]}")
    return found
