"""The role in a tenant with Privileged Identity Management, and how a tenant changes hands: by clicking, in a real browser."""

import re
from typing import Any

from playwright.async_api import Page, expect

from local.stack import Stack
from shared.domain.problems import CATALOGUE
from tests.support import stacks
from tests.support.accessibility import axe
from tests.support.chromium import Watch
from tests.support.walks import (
    DIRECTORY,
    MAIL_FLOW,
    RELEASE,
    ROLE,
    TAKE,
    assign_with_pim,
    begin,
    consent,
    sign_in,
    until_complete,
    until_done,
    until_listed,
)

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


async def privileged(stack: Stack, name: str, **policy: Any) -> dict[str, Any]:
    """Make a tenant with Privileged Identity Management and a policy of the role's own; return its Global Administrator."""
    person = await stacks.new_tenant(stack, name.title(), name)
    tenant = f"tenants/{name}.onmicrosoft.com"
    await stacks.control(stack, tenant, {"licences": ["SPE_E5"]})
    await stacks.control(stack, f"{tenant}/role-policies", {"role": "exchange_administrator", "policy": policy})
    return person


async def test_a_second_factor_is_one_more_sign_in(page: Page, stack: Stack) -> None:
    """The policy wants it: the page says so, the next sign-in has it, and the page says how long the role lasts."""
    person = await privileged(
        stack, "factor", is_expiration_required=True, maximum_duration="P180D", enabled_rules=["MultiFactorAuthentication"]
    )
    await begin(page, "factor", "Factor")
    await consent(page, MAIL_FLOW, person)
    await consent(page, ROLE, person)
    await expect(page.get_by_role("alert")).to_contain_text(CATALOGUE["role_needs_mfa"].cause)
    assert await axe(page) == []

    await consent(page, ROLE, person)

    await until_done(page, "role_assignment")
    ends = page.locator("#step-role_assignment").get_by_text("Exchange Administrator role:")
    await expect(ends).to_contain_text(re.compile(r"until \d{1,2} [A-Z][a-z]+ 20\d\d\."))
    await expect(ends).to_contain_text("Expiry stops management, not mail.")


async def test_a_whole_grant_by_hand_with_privileged_identity_management(page: Page, stack: Stack) -> None:
    """The seed's second branch: default settings, the justification pasted; the role's end is not ours to see."""
    person = await privileged(stack, "pim")
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=stack.console)
    grant = await begin(page, "pim", "Pim", role_by_hand=True)
    await consent(page, MAIL_FLOW, person)
    await assign_with_pim(page, "mail flow")

    await until_done(page, "role_assignment")
    await consent(page, DIRECTORY, person)
    await until_complete(page)
    await until_listed(page, grant, "Pim", "Pim")
    await page.get_by_role("link", name="Service account: consents").click()
    await expect(page.get_by_role("main")).to_contain_text("unknown: assigned by hand")
    await page.get_by_role("button", name="Re-create access token").click()
    await expect(page.get_by_role("main")).to_contain_text("Next check")
    assert await axe(page) == []
