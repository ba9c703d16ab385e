"""What a page owes everybody, checked in a real browser: axe-core's rules, no sideways scrolling, all within Tab's reach."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.async_api import Page

from tests.support.chromium import DESKTOP, EVERY_LOOK, PHONE_DARK

AXE = Path(__file__).parents[1] / "browser" / "node_modules" / "axe-core" / "axe.min.js"
AXE_OPTIONS = {
    # WCAG 2.0 to 2.2, levels A and AA, and what Deque advises beyond (axe-core, doc/API.md: "Axe-core Tags").
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]},
    "rules": {"target-size": {"enabled": True}},  # WCAG 2.2, off by default (axe-core, doc/rule-descriptions.md)
    "resultTypes": ["violations"],
    "preload": False,  # no requests of axe's own
}

INTERACTIVE = """() => {
  const named = 'a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex], [contenteditable=true]';
  const checkedElsewhere = (e) => e.type === 'radio' && !e.checked
    && document.querySelector(`input[type=radio][name="${CSS.escape(e.name)}"]:checked`);
  return [...document.querySelectorAll(named)].filter((e) =>
    e.checkVisibility({visibilityProperty: true}) && !e.matches(':disabled') && e.tabIndex >= 0 && !checkedElsewhere(e));
}"""
"""What a person can work with, but for radio buttons beside the chosen one, which arrow keys reach."""

TELL = """(e) => {
  const style = getComputedStyle(e);
  const words = (e.innerText || e.getAttribute('aria-label') || '').trim().slice(0, 60);
  const value = e.matches('[type=radio], [type=checkbox]') ? e.value : '';
  const name = [e.tagName.toLowerCase(), e.id, e.name, value, e.getAttribute('href'), words].filter(Boolean).join(' ');
  return [name, [style.outline, style.boxShadow, style.border, style.backgroundColor, style.textDecoration].join('; ')];
}"""
"""An element's name for people, and how it looks."""

OVERFLOWING = """() => {
  const width = document.documentElement.clientWidth;
  const wide = [...document.body.querySelectorAll('*')].filter((e) => e.getBoundingClientRect().right > width + 1);
  return document.documentElement.scrollWidth <= width ? [] : wide.map((e) => e.outerHTML.slice(0, 120));
}"""


BY_TAB = (DESKTOP, PHONE_DARK)
"""The looks in which everything is tried with the keyboard: each scheme and each width once."""
UNFOLD = "() => { document.querySelectorAll('details').forEach((e) => { e.open = true; }); }"


async def shortcomings(page: Page) -> list[str]:
    """Return what a page owes somebody as it stands, all that is folded unfolded: in light and dark, on a desktop and a phone."""
    await page.evaluate(UNFOLD)
    size, found = page.viewport_size, list[str]()
    for look in EVERY_LOOK:
        await page.emulate_media(color_scheme=look.scheme)
        await page.set_viewport_size({"width": look.width, "height": look.height})
        entries = [*await axe(page), *await sideways(page), *(await out_of_reach(page) if look in BY_TAB else ())]
        found += [f"{look}: {entry}" for entry in entries]
    await page.emulate_media(color_scheme="null")
    await page.set_viewport_size(size or {"width": DESKTOP.width, "height": DESKTOP.height})
    return found


async def axe(page: Page) -> list[str]:
    """Return what axe-core finds wrong with a page as it stands now: one readable entry a rule and element.

    axe-core runs in an isolated world, made by the DevTools protocol: it sees the same document, but no script of the page sees
    it, and the page's Content-Security-Policy, which rules the page's own world, is neither loosened nor in the way.
    """
    session = await page.context.new_cdp_session(page)
    try:
        tree = await session.send("Page.getFrameTree")
        world = await session.send("Page.createIsolatedWorld", {"frameId": tree["frameTree"]["frame"]["id"], "worldName": "axe"})
        script = f"{AXE.read_text()};axe.run(document, {json.dumps(AXE_OPTIONS)})"
        answer = await session.send(
            "Runtime.evaluate",
            {
                "expression": script,
                "contextId": world["executionContextId"],
                "awaitPromise": True,
                "returnByValue": True,
            },
        )
    finally:
        await session.detach()
    if "exceptionDetails" in answer:
        raise AssertionError(f"axe-core did not run: {answer['exceptionDetails']}")
    return list(_violations(answer["result"]["value"]))


def _violations(result: dict[str, Any]) -> Iterator[str]:
    for rule in result["violations"]:
        for node in rule["nodes"]:
            why = " ".join(node["failureSummary"].split())
            yield f"{rule['id']} ({rule['impact']}): {rule['help']}\n  {node['html']}\n  {why}\n  {rule['helpUrl']}"


async def sideways(page: Page) -> list[str]:
    """Return the elements that make a page scroll sideways; none when it does not (WCAG 2.2, 1.4.10 Reflow)."""
    wide: list[str] = await page.evaluate(OVERFLOWING)
    return wide


async def out_of_reach(page: Page) -> list[str]:
    """Return what Tab does not reach, or shows no focus on (WCAG 2.2, 2.1.1 Keyboard and 2.4.7 Focus Visible)."""
    await page.evaluate("() => document.activeElement.blur()")
    plain: dict[str, str] = dict(await page.evaluate(f"() => ({INTERACTIVE})().map({TELL})"))
    reached: dict[str, str] = {}
    for _ in range(2 * len(plain) + 10):  # twice around, with places that scroll between
        await page.keyboard.press("Tab")
        name, look = await page.evaluate(f"() => ({TELL})(document.activeElement)")
        reached[name] = look
        if plain.keys() <= reached.keys():
            break
    unreached = [f"not reached by Tab: {name}" for name in plain if name not in reached]
    return unreached + [f"no visible focus: {name}" for name, look in reached.items() if plain.get(name) == look]
