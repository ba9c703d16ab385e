"""Every page in every situation keeps nobody out: by axe-core, in light and dark, on a desktop and a phone, by keyboard alone."""

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from shared.container import Container
from shared.domain.grant import Scope, ScopeKind
from shared.domain.problems import CATALOGUE
from shared.web.templates import words
from tests.browser.conftest import Visit
from tests.support import mail_flow, situations
from tests.support.accessibility import shortcomings
from tests.support.chromium import Watch
from tests.support.situations import CORRELATION, MANY_ROWS, RAW, Situation
from tests.support.walks import begin

PLAIN = ("/", "/?name=nobody+is+called+so", "/?state=needs_attention", "/grant-access", "/service-accounts", "/permissions")
"""Pages without a grant, with accounts in every state."""
SITUATIONS: dict[str, Callable[[], Situation]] = {
    "waiting for a person": situations.waiting_for_person,
    "role by hand": situations.by_hand,
    "running": situations.running,
    "waiting for Microsoft": situations.waiting,
    "completed": situations.completed,
    "role group": situations.role_group,
    "application permission": situations.by_application,
    "ticket": situations.needs_ticket,
    "became by hand": situations.became_by_hand,
    "tenant taken": situations.tenant_taken,
    "a consent lost": situations.watched,
    "syncing, with notices": situations.syncing,
    "synced": situations.synced,
    "released": situations.released,
    **mail_flow.SITUATIONS,
}
GROUPS = situations.problems()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def accounts(parts: Container) -> None:
    """Put accounts in every state into the lists."""
    await situations.many_accounts(parts)


async def test_an_empty_console(page: Page, parts: Container) -> None:
    """No account, no service account: both pages say so, and say how to begin."""
    async with situations.without_accounts(parts):
        await page.goto("/")
        await expect(page.get_by_role("cell")).to_contain_text("No account yet")
        found = await shortcomings(page)
    assert found == []


@pytest.mark.usefixtures("accounts")
@pytest.mark.parametrize("path", PLAIN)
async def test_pages_without_a_grant(page: Page, path: str) -> None:
    """Dashboard with banner, counters and further pages, without a match, and in one state; the form; the service accounts."""
    await page.goto(path)

    assert await shortcomings(page) == []


async def test_a_fault_of_the_form_stands_at_its_field(page: Page, watch: Watch) -> None:
    """What is wrong with chosen people is told where they are entered; put right there, the same form begins the grant."""
    watch.expect("^400 POST /grant-access")
    await page.goto("/grant-access?account_id=people&account_name=People")
    await page.get_by_label("Selected people", exact=True).check()
    people = page.get_by_label("User principal names or e-mail addresses")
    await people.fill("ada@contoso.com\nbob")
    await page.get_by_role("button", name="Begin").click()
    await expect(people).to_have_accessible_description(re.compile("no e-mail address: bob"))
    await expect(people).to_have_value("ada@contoso.com\nbob")

    assert await shortcomings(page) == []
    await page.get_by_role("alert").get_by_role("link", name="Selected people").click()
    await expect(page).to_have_url(re.compile("#users$"))
    await people.fill("ada@contoso.com\nbob@contoso.com")
    await page.get_by_role("button", name="Begin").click()
    await expect(page.get_by_text("Selected people: ada@contoso.com, bob@contoso.com")).to_be_visible()


async def test_a_hundred_people_unfold(page: Page, parts: Container) -> None:
    """The page of a grant for many people stays short until somebody wants to read all names."""
    grant = situations.a_grant()
    scope = Scope(ScopeKind.USERS, users=tuple(f"{'long.' * 9}name.{number}@contoso.com" for number in range(100)))
    situation = Situation(replace(grant, intent=replace(grant.intent, scope=scope)))
    await page.goto(await situations.put(parts, situation))
    last = page.get_by_text("name.99@contoso.com")
    await expect(last).to_be_hidden()
    await page.get_by_text("All 100 people").click()
    await expect(last).to_be_visible()

    assert await shortcomings(page) == []


@pytest.mark.usefixtures("accounts")
async def test_the_dashboard_pages_on(page: Page) -> None:
    """Fifty accounts a page; the second page is reached, read, and left by links."""
    await page.goto("/?name=listed")
    await page.get_by_role("link", name="Next page").click()
    await expect(page.get_by_role("row")).to_have_count(1 + MANY_ROWS - 50)

    assert await shortcomings(page) == []
    await page.get_by_role("link", name="First page").click()
    await expect(page.get_by_role("row")).to_have_count(1 + 50)


@pytest.mark.parametrize("situation", SITUATIONS)
async def test_a_grants_page(page: Page, parts: Container, situation: str) -> None:
    """In each situation of a grant."""
    await page.goto(await situations.put(parts, SITUATIONS[situation]()))

    assert await shortcomings(page) == []


@pytest.mark.parametrize("situation", [situations.watched, situations.released], ids=["a consent lost", "released"])
async def test_a_service_accounts_page(page: Page, parts: Container, situation: Callable[[], Situation]) -> None:
    """With everything that can be wrong with an access, and after the release."""
    grant = await situations.put(parts, situation())
    await page.goto(grant.replace("/grants/", "/service-accounts/"))
    await expect(page.get_by_role("heading", level=1)).to_have_text("Service account of Contoso")

    assert await shortcomings(page) == []


async def test_the_release_is_confirmed(page: Page, parts: Container) -> None:
    """The page between the grant and the sign-in."""
    await page.goto(await situations.put(parts, situations.completed()))
    await page.get_by_role("link", name="Release this tenant").click()
    await expect(page.get_by_role("main")).to_contain_text("Mail goes on being routed through the scanner")

    assert await shortcomings(page) == []


@pytest.mark.parametrize("situation", ["awaits approval", "unsafe", "checked"])
async def test_a_plan(page: Page, parts: Container, situation: str) -> None:
    """With everything unfolded: one to approve, one that is not carried out, and none yet."""
    await page.goto(f"{await situations.put(parts, mail_flow.SITUATIONS[situation]())}/plan")
    for each in await page.locator("summary").all():
        await each.click()

    assert await shortcomings(page) == []


async def test_the_removal_is_confirmed(page: Page, parts: Container) -> None:
    """The page between the grant and the removal, and what the grant's page shows once it is begun."""
    await page.goto(await situations.put(parts, mail_flow.protecting()))
    await page.get_by_role("link", name="Remove everything from this tenant").click()
    found = await shortcomings(page)
    await page.get_by_role("button", name="Remove everything").click()
    await expect(page.get_by_role("heading", name="Removal", exact=True)).to_be_visible()

    assert found + await shortcomings(page) == []


async def test_a_grants_history(page: Page, parts: Container) -> None:
    """The timeline, as the grant's page leads to it."""
    await page.goto(await situations.put(parts, situations.completed()))
    await page.get_by_role("link", name="History of this grant").click()
    await expect(page.get_by_role("heading", name="History")).to_be_visible()

    assert await shortcomings(page) == []


@pytest.mark.parametrize("group", GROUPS)
async def test_every_problem_of_the_catalogue(page: Page, parts: Container, group: str) -> None:
    """Where it happened: cause, fix and who; Microsoft's own words folded away, with the correlation id."""
    codes = GROUPS[group]
    await page.goto(await situations.put(parts, situations.troubled(codes)))
    for code, shown in zip(codes, await page.get_by_role("alert").all(), strict=True):
        kind = CATALOGUE[code]
        for told in (kind.cause, kind.fix, words(kind.who)):
            await expect(shown).to_contain_text(told)
        await expect(shown.get_by_text(CORRELATION)).to_be_hidden()
        await shown.get_by_text("What Microsoft said").click()
        await expect(shown.locator("pre")).to_have_text(RAW)
        await expect(shown.get_by_text(CORRELATION)).to_be_visible()

    assert await shortcomings(page) == []


async def test_an_onboarding_link(page: Page, visit: Visit, parts: Container, watch: Watch) -> None:
    """As it is made, opened, and refused to another browser than the one that used it."""
    await begin(page, "onboarding-pages", "Onboarding pages")
    await page.get_by_role("button", name="Make an onboarding link").click()
    address = await page.locator("#address").inner_text()
    found = await shortcomings(page)
    async with visit() as administrator, visit() as stranger:
        await administrator.goto(address)
        found += await shortcomings(administrator)
        await stranger.goto(address)
        await administrator.get_by_role("button", name="Continue").click()
        watch.expect("^403 POST /onboarding/")
        await stranger.get_by_role("button", name="Continue").click()
        await expect(stranger.get_by_role("alert")).to_contain_text(CATALOGUE["onboarding_used"].fix)
        found += await shortcomings(stranger)

    assert found == []
