"""How a tenant changes hands, by clicking: another account takes it over, and its administrator gives it back."""

from playwright.async_api import Page, expect

from local.stack import Stack
from shared.domain.problems import CATALOGUE
from tests.support import stacks
from tests.support.accessibility import axe
from tests.support.chromium import Watch
from tests.support.walks import MAIL_FLOW, RELEASE, TAKE, begin, consent, sign_in, until_done

FIRST, SECOND = "First of two", "Second of two"


async def onward(page: Page, person: dict[str, str]) -> None:
    """Read the page between the console and Microsoft, follow its link, sign in once more, and come back."""
    assert await axe(page) == []
    await page.get_by_role("link", name="Continue to Microsoft").click()
    await sign_in(page, person)
    await page.wait_for_url("**/grants/*")


async def test_a_tenant_is_taken_over_and_given_back(page: Page, stack: Stack, watch: Watch) -> None:
    """A second account is refused without a word of the first, takes the tenant over, and releases it; both can start again."""
    person = await stacks.new_tenant(stack, "Handed over", "handed-over")
    former = await begin(page, "first-of-two", FIRST)
    await consent(page, MAIL_FLOW, person)
    await until_done(page, "mail_flow_consent")
    successor = await begin(page, "second-of-two", SECOND)
    watch.expect("^400 GET /signed-in$")
    await page.get_by_role("link", name=MAIL_FLOW).first.click()
    await sign_in(page, person)
    await expect(page.get_by_role("alert")).to_contain_text(CATALOGUE["tenant_taken"].cause)
    assert FIRST not in await page.inner_text("body")
    assert await axe(page) == []

    await page.get_by_role("button", name=TAKE).click()
    await onward(page, person)
    await page.wait_for_url(f"**{successor}")
    await until_done(page, "mail_flow_consent")
    await page.goto(former)
    await expect(page.get_by_role("alert")).to_contain_text(CATALOGUE["tenant_released"].cause)
    await page.goto(successor)
    await page.get_by_role("link", name=RELEASE).click()
    await page.get_by_role("button", name=RELEASE).click()
    await onward(page, person)
    await expect(page.get_by_role("alert")).to_contain_text(CATALOGUE["tenant_released"].cause)

    await page.goto("/?state=released")
    for name in (FIRST, SECOND):
        again = page.get_by_role("row").filter(has_text=name).get_by_role("link", name="Start again")
        await expect(again).to_have_attribute(
            "href", f"/grant-access?account_id={name.lower().replace(' ', '-')}&account_name={name.replace(' ', '%20')}"
        )
