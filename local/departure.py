"""How a tenant leaves an account: another account takes it over, then its administrator gives it back."""

from collections.abc import Awaitable, Callable

from local.browser import Browser, BrowserError, Form, Page

Through = Callable[[str], Awaitable[Page]]
"""Opens an address as the administrator, goes through all of Microsoft's pages, and returns where that ends."""
NEXT_ID, NEXT_NAME = "fabrikam", "Fabrikam"
"""The account that takes the tenant over."""


async def depart(operator: Browser, administrator: Browser, through: Through, console: str, grant_url: str) -> None:
    """Have another account take the tenant of a grant over, then release it. Raises BrowserError for a page that goes wrong."""
    form = await operator.open(f"{console}/grant-access")
    successor = await operator.submit(form, form.forms[0], account_id=NEXT_ID, account_name=NEXT_NAME)
    taken = await through(f"{successor.url}/steps/mail_flow_consent/begin")
    after = await _onward(administrator, through, taken, "/transfer")
    _expect(after.url == successor.url and after.status == 200, "the transfer leads back to the grant", after)
    former = await operator.open(console + grant_url)
    _expect("has taken it back" in former.words, "the former grant is released", former)
    page = await administrator.open(f"{successor.url}/release")
    _expect("Mail goes on being routed" in page.words, "the release is explained", page)
    released = await _onward(administrator, through, page, "/release")
    _expect("has taken it back" in released.words, "the grant is released", released)


async def _onward(browser: Browser, through: Through, page: Page, action: str) -> Page:
    """Press the button of a page's form, follow the link to Microsoft, and sign in once more."""
    shown = await browser.submit(page, _form(page, action))
    link = shown.links.get("Continue to Microsoft")
    if link is None:
        raise BrowserError(f"{shown.url} does not lead to Microsoft: {shown.status} {shown.words[:300]}")
    return await through(link)


def _form(page: Page, action: str) -> Form:
    found = next((form for form in page.forms if form.action.endswith(action)), None)
    if found is None:
        raise BrowserError(f"{page.url} has no form for {action}: {page.status} {page.words[:300]}")
    return found


def _expect(holds: bool, what: str, page: Page) -> None:
    if not holds:
        raise BrowserError(f"not so: {what}: {page.url} {page.status} {page.words[:300]}")
