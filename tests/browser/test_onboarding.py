"""A grant by an administrator without an account in the console, where the platform signs operators in as App Service does."""

import json
from base64 import b64encode

import pytest_asyncio
from playwright.async_api import Page, expect

from local.stack import Stack
from shared.domain.problems import CATALOGUE
from shared.web import access
from tests.browser.conftest import Visit
from tests.support import stacks
from tests.support.accessibility import shortcomings
from tests.support.chromium import Watch
from tests.support.walks import DIRECTORY, MAIL_FLOW, ROLE, begin, consent, stay, stayed, until_complete, until_done, until_listed

PRINCIPAL = {
    "auth_typ": "aad",
    "name_typ": "name",
    "role_typ": "roles",
    "claims": [{"typ": "name", "val": "Olga Operator"}, {"typ": "roles", "val": access.Role.OPERATOR}],
}
OPERATOR = {"X-MS-CLIENT-PRINCIPAL": b64encode(json.dumps(PRINCIPAL).encode()).decode()}
"""What App Service adds to the requests of somebody who is signed in (learn.microsoft.com/azure/app-service/
configure-authentication-user-identities); it takes the header off every other request, which no browser of these tests has."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stack(stack: Stack) -> Stack:
    """Give a stack as in the cloud: App Service Authentication is on, and nobody is an operator but who is signed in."""
    del stack.environment["GRANTLINE_DEVELOPMENT_IDENTITY"]
    stack.environment["WEBSITE_AUTH_ENABLED"] = "true"
    await stack.crash_host()
    return stack


async def refused(page: Page, watch: Watch, path: str, code: str) -> None:
    """Open what this visitor may not see: the page says why, and what to do."""
    watch.expect(f"^403 GET {path}$")
    await page.goto(path)
    await expect(page.get_by_role("alert")).to_contain_text(CATALOGUE[code].fix)


async def test_a_whole_grant_by_an_onboarding_link(visit: Visit, stack: Stack, watch: Watch) -> None:
    """An operator makes it, an administrator uses it in a browser of their own, and the operator sees it go on, live."""
    person = stacks.person(stack, "admin@contoso.")
    async with visit(headers=OPERATOR) as operator, visit() as administrator, visit() as stranger:
        other = await begin(operator, "other", "Other")
        grant = await begin(operator, "contoso", "Contoso")
        await operator.get_by_label("Tenant ID or domain").fill("contoso.com")
        await operator.get_by_role("button", name="Make an onboarding link").click()
        address = await operator.locator("#address").inner_text()
        await expect(operator.get_by_label("Message to the administrator")).to_contain_text(address)
        await operator.get_by_role("link", name="Back to the grant").click()
        await stay(operator)

        await refused(stranger, watch, grant, "not_allowed")
        await administrator.goto(address)
        await expect(administrator.get_by_role("heading", level=1)).to_have_text("Grant access for Contoso")
        await expect(administrator.get_by_text("Olga Operator").first).to_be_visible()
        await administrator.get_by_role("button", name="Continue").click()
        await administrator.wait_for_url(f"**{grant}")
        assert await shortcomings(administrator) == []
        await refused(stranger, watch, address.removeprefix(stack.console), "onboarding_used")
        for step, name in ((MAIL_FLOW, "mail_flow_consent"), (ROLE, "role_assignment"), (DIRECTORY, "directory_consent")):
            await consent(administrator, step, person)
            await until_done(operator, name)
        await until_complete(administrator)
        await until_complete(operator)
        assert await stayed(operator)

        for path in ("/", "/service-accounts", "/grant-access", other, "/grants/00000000-0000-4000-8000-000000000000"):
            await refused(administrator, watch, path, "not_allowed")
        await expect(administrator.get_by_role("link", name="Sign in")).to_be_visible()
        assert await shortcomings(administrator) == []
        await until_listed(operator, grant, "Contoso", "Contoso")
