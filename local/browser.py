"""A browser without a screen: an HTTP client with a cookie jar that follows ``Location`` and submits forms, nothing else."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from types import TracebackType
from typing import Self
from urllib.parse import urljoin, urlsplit

import httpx

MAXIMUM_HOPS = 20
"""How many redirects in a row are followed: more is a loop."""


class BrowserError(Exception):
    """Raised when a page is not what the walk expects; says what was found instead."""


@dataclass(slots=True)
class Form:
    """A form of a page: where it goes, its fields as they stand, and its buttons."""

    action: str
    method: str
    fields: list[tuple[str, str]] = field(default_factory=list)
    buttons: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class Page:
    """A page that was reached: its address, status, links by their text, forms and stylesheets."""

    url: str
    status: int
    text: str
    links: dict[str, str] = field(default_factory=dict)
    forms: list[Form] = field(default_factory=list)
    stylesheets: list[str] = field(default_factory=list)

    @property
    def origin(self) -> str:
        """Scheme, host and port of the page's address."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def words(self) -> str:
        """The page's text without markup, for messages."""
        reader = _Words()
        reader.feed(self.text)
        return " ".join(" ".join(reader.words).split())


class Browser:
    """One browser: its cookies are its identity."""

    def __init__(self, ca_file: str, *, stop_at: str = "") -> None:
        """Trust the authority of ``ca_file`` alone; follow no redirect to an address that begins with ``stop_at``."""
        self._stop_at = stop_at
        context = ssl.create_default_context(cafile=ca_file)
        self._client = httpx.AsyncClient(verify=context, trust_env=False, timeout=60)

    async def __aenter__(self) -> Self:
        """Open the browser."""
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close it."""
        await self._client.aclose()

    async def open(self, url: str, *, with_styles: bool = False) -> Page:
        """Go to an address, following redirects; with the page's stylesheets where asked."""
        page = await self._go("GET", url)
        if with_styles:
            for stylesheet in page.stylesheets:
                answer = await self._client.get(urljoin(page.url, stylesheet))
                if answer.status_code != 200:
                    raise BrowserError(f"{stylesheet} answered {answer.status_code}")
        return page

    async def submit(self, page: Page, form: Form, *, press: tuple[str, str] | None = None, **fields: str) -> Page:
        """Fill a form's fields and submit it, by a button where one is named."""
        content: dict[str, list[str]] = {}
        for name, value in (*form.fields, *([press] if press else [])):
            content.setdefault(name, []).append(value)
        content |= {name: [value] for name, value in fields.items()}
        address = urljoin(page.url, form.action)
        if form.method == "get":
            return await self._go("GET", f"{address}?{httpx.QueryParams(content)}")
        return await self._go("POST", address, content, {"origin": page.origin})

    async def json(self, url: str) -> dict[str, object]:
        """Read a JSON object. Raises BrowserError for anything but 200."""
        answer = await self._client.get(url)
        if answer.status_code != 200:
            raise BrowserError(f"{url} answered {answer.status_code}")
        content: dict[str, object] = answer.json()
        return content

    async def post(self, url: str, content: Mapping[str, object], *, key: str) -> dict[str, object]:
        """Send a JSON object as a program does, with an idempotency key; read the reply. Raises BrowserError."""
        answer = await self._client.post(url, json=content, headers={"idempotency-key": f'"{key}"'})
        if not answer.is_success:
            raise BrowserError(f"{urlsplit(url).path} answered {answer.status_code}: {answer.text[:300]}")
        found: dict[str, object] = answer.json()
        return found

    async def _go(
        self, method: str, url: str, form: Mapping[str, list[str]] | None = None, headers: Mapping[str, str] | None = None
    ) -> Page:
        for _ in range(MAXIMUM_HOPS):
            answer = await self._client.request(method, url, data=form, headers=headers)
            if answer.status_code not in (301, 302, 303, 307, 308):
                return _read(str(answer.url), answer.status_code, answer.text)
            url = urljoin(str(answer.url), answer.headers["location"])
            if self._stop_at and url.startswith(self._stop_at):
                return Page(url, answer.status_code, "")
            if answer.status_code not in (307, 308):
                method, form, headers = "GET", None, None
        raise BrowserError(f"more than {MAXIMUM_HOPS} redirects, last to {urlsplit(url).path}")


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 - HTMLParser's shape
        self._hidden += tag in ("style", "script", "title")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("style", "script", "title")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.words.append(data)


class _Reader(HTMLParser):
    """Collects links, forms and stylesheets."""

    def __init__(self, page: Page) -> None:
        super().__init__()
        self.page = page
        self._link = ""
        self._select = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "a":
            self._link = values.get("href", "")
        elif tag == "link" and values.get("rel") == "stylesheet":
            self.page.stylesheets.append(values["href"])
        elif tag == "form":
            self.page.forms.append(Form(values.get("action", ""), values.get("method", "get").lower()))
        elif self.page.forms and tag in ("input", "button", "select", "option"):
            self._field(tag, values)

    def handle_data(self, data: str) -> None:
        if self._link and data.strip():
            self.page.links.setdefault(data.strip(), self._link)

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self._link = ""

    def _field(self, tag: str, values: dict[str, str]) -> None:
        form, name, kind = self.page.forms[-1], values.get("name", ""), values.get("type", "")
        if tag == "select":
            self._select = name
        elif tag == "option":
            if self._select not in dict(form.fields) or "selected" in values:
                form.fields = [pair for pair in form.fields if pair[0] != self._select]
                form.fields.append((self._select, values.get("value", "")))
        elif tag == "button" or kind == "submit":
            form.buttons.append((name, values.get("value", "")))
        elif name and (kind not in ("checkbox", "radio") or "checked" in values):
            form.fields.append((name, values.get("value", "on" if kind in ("checkbox", "radio") else "")))


def _read(url: str, status: int, text: str) -> Page:
    page = Page(url, status, text)
    _Reader(page).feed(text)
    return page
