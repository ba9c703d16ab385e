"""How an administrator without an account in the console is invited: by an onboarding link, which opens in one browser only."""

import re
from html import unescape

from local.browser import Browser, BrowserError, Page

COPIED = re.compile(r'data-copy="(https?://[^"]+)"')
"""What the copy button beside an address copies."""


async def invite(operator: Browser, administrator: Browser, console: str, grant_url: str) -> None:
    """Invite an administrator to a grant: a link from its page, then a newer one by the API, which is opened and used.

    Raises BrowserError when the older link still opens, or the newer one opens in another browser than the administrator's.
    """
    older = await _on_the_page(operator, console, grant_url)
    answer = await operator.post(f"{console}/api/v1{grant_url}/onboarding-link", {}, key="a-second-link")
    newer = str(answer["address"])
    _expect(await administrator.open(older), 410, "the older link")
    page = _expect(await administrator.open(newer), 200, "the newer link")
    arrived = _expect(await administrator.submit(page, page.forms[0]), 200, "the administrator's way in")
    if arrived.url != console + grant_url:
        raise BrowserError(f"the onboarding link led elsewhere: {arrived.url}")
    _expect(await operator.open(newer), 403, "the link in another browser")


async def _on_the_page(operator: Browser, console: str, grant_url: str) -> str:
    """Create a link on the grant's page; return its address."""
    page = await operator.open(console + grant_url)
    form = next((form for form in page.forms if form.action.endswith("/onboarding-link")), None)
    if form is None:
        raise BrowserError(f"the grant's page creates no onboarding link: {page.words[:300]}")
    shown = await operator.submit(page, form)
    found = COPIED.search(shown.text)
    if found is None:
        raise BrowserError(f"no onboarding link was shown: {shown.words[:300]}")
    return unescape(found[1])


def _expect(page: Page, status: int, what: str) -> Page:
    if page.status != status:
        raise BrowserError(f"{what}: {page.status} instead of {status}: {page.words[:300]}")
    return page
