"""Accounts, tenants, groups and operators that are called what a careless page would stumble over, in a real browser."""

from dataclasses import replace

import pytest
from playwright.async_api import Page, expect

from shared.container import Container
from shared.ports import AccountRow
from tests.console.asking import NAMES
from tests.support import situations
from tests.support.accessibility import axe, sideways
from tests.support.chromium import DESKTOP, PHONE, Look
from tests.support.situations import LATER, NOW

MARKUP = "<script>alert(1)</script> <b>&amp;</b> \"'"
TURNING = {
    "closed": NAMES["right to left"],
    "never closed": "\u202egpj.exe",
    "isolate never closed": "\u2067\u202eאבגד",
    "isolate closed too early": "\u2069\u2069\u202egpj.exe",
    "Arabic, beginning with digits": "123 شركة",
}
"""Names that turn the text around them where nothing isolates them (Unicode Standard Annex 9)."""
MARKS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f")
"""The marks that do so; a title has no markup that could isolate a name."""
READ = """(element) => {
  const range = document.createRange(), found = [];
  const texts = document.createTreeWalker(element, NodeFilter.SHOW_TEXT, (node) =>
    node.parentElement.closest('bdi') ? NodeFilter.FILTER_REJECT : NodeFilter.FILTER_ACCEPT);
  while (texts.nextNode())
    for (let at = 0; at < texts.currentNode.length; at += 1) {
      range.setStart(texts.currentNode, at);
      range.setEnd(texts.currentNode, at + 1);
      const {left, top, width} = range.getBoundingClientRect();
      if (width) found.push([texts.currentNode.data[at], Math.round(top), left]);
    }
  return found;
}"""
"""The characters of an element that belong to no name, with the place of each."""


async def seeded(parts: Container, name: str) -> str:
    """Put an account and its completed grant into the storage in which everybody has one name; return the grant's path."""
    situation = situations.completed(name=name, tenant_name=name, group=name)
    grant = replace(situation.grant, created_by=name)
    row = AccountRow(grant.account_id, name, grant.grant_id, "completed", ("inbound",), 7, NOW, LATER)
    named = replace(row, tenant_id=grant.tenant_id, tenant_name=name, created_by=name)
    await parts.storage.accounts.put(replace(named, is_service_account=True, asks_activity=True))
    return await situations.put(parts, replace(situation, grant=grant))


async def wide(page: Page) -> list[str]:
    """Return what does not fit into the width of a phone or of a desktop."""
    found: list[str] = []
    for look in (PHONE, DESKTOP):
        await page.set_viewport_size({"width": look.width, "height": look.height})
        found += await sideways(page)
    return found


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
async def test_a_name_harms_no_page(page: Page, parts: Container, name: str) -> None:
    """No script runs, nothing asks, nothing is too wide, nobody is kept out, and the title is one line that nothing turns."""
    path = await seeded(parts, name)
    for address in (path, f"{path}/history", "/", "/service-accounts"):
        await page.goto(address)
        assert await axe(page) == []
        assert await wide(page) == []
        title = await page.title()
        assert title.endswith(" - Grantline")
        assert not MARKS & set(title)


@pytest.mark.parametrize("name", [MARKUP, "\N{FAMILY} Ünïcode \N{FOX FACE}", "W" * 256], ids=["markup", "emoji", "long"])
async def test_a_name_stands_on_the_page_as_it_is(page: Page, parts: Container, name: str) -> None:
    """The account, the group, the tenant and who began the grant are read as they were written."""
    await page.goto(await seeded(parts, name))

    for place in ("Account", "Whose mail", "Started"):
        told = page.locator("dl div").filter(has=page.get_by_text(place, exact=True))
        await expect(told.locator("bdi")).to_have_text(name)
    await expect(page.locator("#live").get_by_text("Tenant:").locator("bdi")).to_have_text(name)


@pytest.mark.parametrize("look", [Look("light", 4000, 800)], ids=["wide"])
@pytest.mark.parametrize("name", TURNING.values(), ids=TURNING)
async def test_text_around_a_name_keeps_its_direction(page: Page, parts: Container, name: str, look: Look) -> None:
    """What stands beside a name from right to left is read from left to right, and in its order."""
    await page.goto(await seeded(parts, name))
    tenant = page.locator("#live").get_by_text("Tenant:")
    started = page.locator("dl div").filter(has_text="Started").locator("dd")

    for element in (tenant, started):
        lines: dict[int, list[float]] = {}
        for _, top, left in await element.evaluate(READ):
            lines.setdefault(top // 8, []).append(left)
        assert lines
        assert all(line == sorted(line) for line in lines.values())
    code, bdi = await tenant.locator("code").bounding_box(), await tenant.locator("bdi").bounding_box()
    assert code
    assert bdi
    assert bdi["x"] + bdi["width"] <= code["x"]
