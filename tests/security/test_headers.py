"""What every answer tells the browser to forbid, which cookies it is given, and that no page needs what is forbidden."""

import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from http.cookies import SimpleCookie
from pathlib import Path

import pytest
import pytest_asyncio

from shared.consent.state import new_secret
from shared.web.access import AUDIENCES
from shared.web.http import SECURITY_HEADERS, Reply, Request
from shared.web.site import Site, cookie_name
from tests.security.bare import WITH_SIGN_IN, bare_site
from tests.security.routes import ROUTES
from tests.security.visitor import ask, new_account, operator
from tests.support.grantline import Grantline

TEMPLATES = Path(__file__).parents[2] / "console" / "templates"
STATIC = TEMPLATES.parent / "static"
HTTPS, HTTP = "https://console.example.com", "http://localhost:7071"


@pytest_asyncio.fixture(loop_scope="module")
async def grant_id(parts: Grantline) -> str:
    """Give a grant that waits for its administrator."""
    return await parts.start(new_account())


# --- the headers ---------------------------------------------------------------------------------------------------------------


def directives() -> dict[str, list[str]]:
    """Return the content security policy, by directive."""
    parts = (part.split() for part in SECURITY_HEADERS["content-security-policy"].split(";"))
    return {name: values for name, *values in parts}


def test_the_policy_allows_our_own_files_and_nothing_else() -> None:
    """Nothing by default, own files alone, nothing inline, no frame (Content Security Policy Level 3)."""
    found = directives()

    assert found["default-src"] == ["'none'"]
    assert found["base-uri"] == ["'none'"]
    assert found["frame-ancestors"] == ["'none'"]
    assert found["form-action"] == ["'self'"]
    assert {value for name in found if name.endswith("-src") for value in found[name]} <= {"'none'", "'self'"}


def test_no_other_site_is_told_an_address() -> None:
    """An onboarding link is in its page's address: the Referer stays here (Referrer Policy, 3.3 "same-origin")."""
    assert SECURITY_HEADERS["referrer-policy"] == "same-origin"
    assert SECURITY_HEADERS["x-content-type-options"] == "nosniff"


VALUES = {"step": "mail_flow_consent", "file": "console.css", "token": "none-of-ours"}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("route", AUDIENCES)
async def test_every_answer_carries_the_security_headers(parts: Grantline, grant_id: str, route: str) -> None:
    """Pages, redirects, files, JSON and refusals alike; only what says nothing of a customer may be cached."""
    for headers, named in ((operator(), grant_id), ({}, grant_id), (operator(), "x"), ({"origin": "https://evil.example"}, "x")):
        reply = await ask(parts.container.site, route, new_secret(), headers, grant_id=named, **VALUES)
        fixed = {name: value for name, value in SECURITY_HEADERS.items() if name != "cache-control"}
        assert fixed.items() <= reply.headers.items()
        caching = {"public, max-age=300"} if route == "console_static" else {"no-store", "private, no-cache"}
        assert reply.headers["cache-control"] in caching | {"no-store"}
        assert "Traceback" not in str(reply.body)


# --- cookies -------------------------------------------------------------------------------------------------------------------


def given(reply: Reply) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield the cookies that a reply gives: name, and what it says of it."""
    for name, morsel in SimpleCookie(reply.headers.get("set-cookie", "")).items():
        yield name, {"value": morsel.value, **{key: value for key, value in morsel.items() if value}}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("public_url", "is_secure"), [(HTTPS, True), (HTTP, False)])
@pytest.mark.parametrize("route", [name for name in AUDIENCES if not ROUTES[name].is_api])
async def test_every_cookie_is_kept_from_scripts_and_other_sites(
    parts: Grantline, grant_id: str, route: str, public_url: str, *, is_secure: bool
) -> None:
    """HttpOnly, SameSite=Lax (Microsoft's redirects must bring it), this host alone, Secure where TLS is."""
    settings = parts.settings.model_copy(update={"public_url": public_url})
    site = replace(parts.container.site, settings=settings)
    browser = new_secret() if ROUTES[route].method == "POST" else ""

    reply = await ask(site, route, browser, operator(), grant_id=grant_id, **VALUES)

    cookies = dict(given(reply))
    assert (cookie_name(settings) in cookies) == (not browser and reply.content_type.startswith("text/html"))
    for name, said in cookies.items():
        value = said.pop("value")
        lifetime = said.pop("max-age", None)
        assert said == {"path": "/", "httponly": True, "samesite": "Lax"} | ({"secure": True} if is_secure else {})
        assert lifetime is None or (name, value) == ("grantline_activity_banner", "yes")


@pytest.mark.parametrize(("public_url", "name"), [(HTTPS, "__Host-grantline_browser"), (HTTP, "grantline_browser")])
async def test_a_new_browser_is_given_a_cookie_for_as_long_as_it_is_open(public_url: str, name: str) -> None:
    """256 random bits, another one each time; on TLS under a name that no other host or path can set (RFC 6265bis, 4.1.3.2)."""
    settings = WITH_SIGN_IN.model_copy(update={"public_url": public_url})
    replies = [await bare_site(settings).answer("healthz", Request("GET", "/"), _page) for _ in range(2)]

    values = [said for reply in replies for each, said in given(reply) if each == name]
    assert len(values) == 2
    assert len({str(said["value"]) for said in values}) == 2
    assert [len(str(said["value"])) for said in values] == [43, 43]
    assert not [said for said in values if "max-age" in said or "expires" in said]


async def test_a_browser_keeps_its_cookie() -> None:
    """What was begun in this browser is not cut off by the next page, which gives none: the first one stays."""
    headers = {"cookie": f"other=1; {cookie_name(WITH_SIGN_IN)}={'k' * 43}"}
    seen: list[str] = []

    async def view(_site: Site, request: Request) -> Reply:
        seen.append(request.browser)
        return Reply(200, "a page")

    reply = await bare_site(WITH_SIGN_IN).answer("healthz", Request("GET", "/", headers=headers), view)

    assert seen == ["k" * 43]
    assert "set-cookie" not in reply.headers


async def _page(_site: Site, _request: Request) -> Reply:
    return Reply(200, "a page")


# --- what pages are made of ----------------------------------------------------------------------------------------------------


class Markup(HTMLParser):
    """Notes what the content security policy would refuse: inline scripts and styles, event handlers, other sites' files."""

    def __init__(self) -> None:
        """Begin with nothing found."""
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at one element."""
        values = {name: value or "" for name, value in attrs}
        if tag == "style" or (tag == "script" and not values.get("src")):
            self.found.append(f"<{tag}> inline")
        self.found += [f"{tag} {name}" for name in values if name == "style" or re.match(r"on\w|hx-on", name)]
        address = values.get("src", "") or (values.get("href", "") if tag in ("link", "script", "base") else "")
        if tag in ("base", "iframe", "object", "embed") or re.match(r"(?i)\s*(https?:|//|data:|javascript:)", address):
            self.found.append(f"{tag} {address}")
        if values.get("href", "").lower().startswith("javascript:"):
            self.found.append(f"{tag} javascript:")
        if re.search(r"(?i)^js:|javascript:|\bevent\[", values.get("hx-vals", "") + values.get("hx-trigger", "")):
            self.found.append(f"{tag} evaluates {values}")


@pytest.mark.parametrize("template", sorted(TEMPLATES.glob("*.html")), ids=lambda path: path.name)
def test_no_template_needs_what_the_policy_forbids(template: Path) -> None:
    """No inline script or style, no event handler, no file of another site; text is never marked as safe."""
    text = template.read_text(encoding="utf-8")
    markup = Markup()
    markup.feed(text)

    assert markup.found == []
    assert not re.search(r"\|\s*safe\b|autoescape\s+false|Markup\(", text)


@pytest.mark.parametrize(
    "text",
    [
        *("<script>x</script>", "<style>p{}</style>", '<p style="x">', '<a onclick="x">', '<p hx-on:click="x">', "<iframe>"),
        *('<script src="https://cdn.example/x.js">', '<link href="//cdn.example/x.css">', '<a href="javascript:x">'),
        *('<img src="data:x">', '<base href="/x">'),
    ],
)
def test_what_is_forbidden_is_noticed(text: str) -> None:
    """The check above sees each kind."""
    markup = Markup()
    markup.feed(text)

    assert markup.found


@pytest.mark.parametrize("name", ["console.js"])
def test_our_script_builds_no_markup(name: str) -> None:
    """What a script writes is text: no markup from strings, no evaluation."""
    text = (STATIC / name).read_text(encoding="utf-8")

    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|https?://", text)


def test_no_page_talks_to_another_window() -> None:
    """Nothing is sent to, or heard from, another window or frame (RFC 9700, 4.17)."""
    files = [*TEMPLATES.glob("*.html"), *STATIC.glob("*.js")]

    assert len(files) > 5
    forbidden = re.compile(r"postMessage|window\.opener|window\.parent|BroadcastChannel|<iframe|addEventListener\(.message.")
    assert [path.name for path in files if forbidden.search(path.read_text(encoding="utf-8"))] == []
