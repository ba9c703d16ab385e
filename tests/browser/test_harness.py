"""The harness itself: whom the browser trusts, what it may reach, and that it finds what is wrong with a page."""

import re
from pathlib import Path

import pytest
from playwright.async_api import Error, Page, Playwright

from local.stack import Stack
from tests.support import chromium
from tests.support.accessibility import axe, out_of_reach, sideways
from tests.support.chromium import PHONE, Look, Watch
from tests.support.hands import ByKeyboard, ByMouse, Hands

ADDRESS = "/organizations/v2.0/.well-known/openid-configuration"
DOCUMENT = "<!doctype html><html lang='en'><title>A page</title><main><h1>A page</h1>{}</main></html>"


async def test_the_authority_of_the_database_is_trusted(page: Page, stack: Stack) -> None:
    """With the simulated tenant's authority in its NSS database, Chromium opens the tenant's addresses."""
    answer = await page.goto(stack.tenant["url"] + ADDRESS)

    assert answer is not None
    assert answer.ok
    security = await answer.security_details()
    assert security is not None
    assert str(security["protocol"]).startswith("TLS")


async def test_without_the_database_chromium_refuses(
    playwright: Playwright, executable: Path, stack: Stack, tmp_path: Path
) -> None:
    """A Chromium whose home has no database refuses the tenant's certificate."""
    async with chromium.launched(playwright, executable, tmp_path) as browser, chromium.visit(browser, stack.console) as page:
        with pytest.raises(Error, match="ERR_CERT_AUTHORITY_INVALID"):
            await page.goto(stack.tenant["url"] + ADDRESS)


@pytest.mark.parametrize("address", ["http://192.0.2.1/pixel.png", "https://www.example.com/pixel.png"])
async def test_foreign_addresses_are_out_of_reach_and_noticed(page: Page, watch: Watch, address: str) -> None:
    """A page that asks for an address outside of this machine gets nothing, and its test fails."""
    watch.expect(f"^foreign address: {re.escape(address)}$")
    watch.expect("^failed: GET .*ERR_NAME_NOT_RESOLVED")
    await page.set_content(DOCUMENT.format(f"<img alt='a pixel' src='{address}'>"))

    assert watch.wrong() == []


async def test_what_goes_wrong_in_a_page_is_noticed(page: Page, watch: Watch) -> None:
    """Errors of scripts, lines in the console, dialogs, statuses, and what the page's own policy refuses are noticed."""
    await page.goto("/")
    await page.evaluate("() => console.error('a line')")
    await page.evaluate("() => alert('a question')")
    await page.evaluate("() => { setTimeout(() => { throw new Error('thrown'); }); }")
    await page.evaluate("() => { document.body.append(Object.assign(document.createElement('script'), {text: '1'})); }")
    await page.goto("/grants/none")
    found = "\n".join(watch.wrong())
    for pattern in (
        "console: a line",
        "dialog: a question",
        "script: thrown",
        "console: .*Content Security Policy",
        "404 GET /grants/none",
    ):
        assert re.search(pattern, found), found
        watch.expect(pattern)


async def test_an_expected_trouble_that_stays_away_is_wrong() -> None:
    """A test that expects a trouble fails when it does not come."""
    watch = Watch()
    watch.expect("404 GET /nowhere")

    assert watch.wrong() == ["expected, but did not come: 404 GET /nowhere"]


async def test_axe_finds_what_is_wrong(page: Page) -> None:
    """axe-core names the rule, the element and how it is repaired, under the console's policy too."""
    await page.goto("/")
    await page.evaluate("() => { document.querySelector('main').innerHTML += '<img src=\"/static/console.css\">'; }")
    found = await axe(page)

    assert len(found) == 1
    assert found[0].startswith("image-alt (critical)")
    assert await page.evaluate("() => typeof window.axe") == "undefined"


async def test_small_targets_are_found(page: Page) -> None:
    """The rules of WCAG 2.2 are on."""
    small = "<button style='width:9px;height:9px;padding:0;margin:0;border:0' aria-label='{}'></button>"
    await page.set_content(DOCUMENT.format(small.format("one") + small.format("two")))

    assert {entry.split()[0] for entry in await axe(page)} == {"target-size"}


@pytest.mark.parametrize("look", [PHONE], ids=str)
async def test_sideways_scrolling_is_found(page: Page, look: Look) -> None:
    """An element that is wider than the window is named."""
    await page.set_content(DOCUMENT.format("<p style='width:500px'>wide</p>"))

    assert any("width:500px" in element for element in await sideways(page))


async def test_lost_focus_is_found(page: Page) -> None:
    """What Tab skips or what shows no focus is named."""
    links = "<a href='#a'>a</a> <a href='#b' style='outline: none'>b</a>"
    await page.set_content(DOCUMENT.format(f"{links}<button>c</button><button>d</button>"))
    await page.evaluate(
        "() => addEventListener('keydown', (e) => {"
        " if (document.activeElement.innerText === 'c') { e.preventDefault(); document.querySelector('a').focus(); } })"
    )

    assert await out_of_reach(page) == ["not reached by Tab: button d", "no visible focus: a #b b"]


FORM = """<form><label>Name <input name="name" value="old"></label>
<fieldset><legend>Mode</legend><label><input type="radio" name="mode" value="a" checked> A</label>
<label><input type="radio" name="mode" value="b"> B</label></fieldset>
<label><input type="checkbox" name="sure"> Sure</label>
<label>Policy <select name="policy"><option>standard</option><option>strict</option></select></label>
<details><summary>More</summary><p>folded away</p></details></form>"""


@pytest.mark.parametrize("hands", [ByMouse(), ByKeyboard()], ids=["mouse", "keyboard"])
async def test_hands_work_every_kind_of_field(page: Page, hands: Hands) -> None:
    """What stood in a field is replaced; a radio button, a box, a list's option and a summary do what they are for."""
    await page.set_content(DOCUMENT.format(FORM))
    await hands.write(page.get_by_label("Name"), "new")
    await hands.tick(page.get_by_label("B", exact=True))
    await hands.tick(page.get_by_label("Sure"))
    await hands.choose(page.get_by_label("Policy"), "strict")
    await hands.press(page.get_by_text("More"))

    entries = await page.evaluate("() => Object.fromEntries(new FormData(document.querySelector('form')))")
    assert entries == {"name": "new", "mode": "b", "sure": "on", "policy": "strict"}
    assert await page.get_by_text("folded away").is_visible()
