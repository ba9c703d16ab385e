"""A whole simulated Microsoft 365 over TLS in this process, a browser at it, and what a client of it does."""

from __future__ import annotations

import base64
import hashlib
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import jwt

from local.microsoft365.keys import SigningKeys
from local.microsoft365.model import Registration, RequiredPermission, Tenant
from local.microsoft365.server import Options, serve
from local.microsoft365.simulation import Simulation

CONSOLE = "https://console.example"
SIGNED_IN = f"{CONSOLE}/signed-in"
CONSENTED = f"{CONSOLE}/consented"
GRAPH_DEFAULT = "https://graph.microsoft.com/.default"
EXCHANGE_DEFAULT = "https://outlook.office365.com/.default"
ROLE_SCOPE = "https://graph.microsoft.com/RoleManagement.ReadWrite.Directory"
VERIFIER = "v" * 50
_GRAPH, _EXCHANGE = "00000003-0000-0000-c000-000000000000", "00000002-0000-0ff1-ce00-000000000000"
_PERMISSIONS = {
    "mail_flow": [(_EXCHANGE, "dc50a0fb-09a3-484d-be87-e023b12c6440", "Role")],
    "directory": [
        (_GRAPH, "df021288-bdef-4463-88db-98f22de89214", "Role"),  # User.Read.All
        (_GRAPH, "dbb9058a-0e50-45d7-ae91-66909b5d4664", "Role"),  # Domain.Read.All
        (_EXCHANGE, "dc50a0fb-09a3-484d-be87-e023b12c6440", "Role"),
        (_GRAPH, "e1fe6dd8-ba31-4d61-89e7-88639da4683d", "Scope"),  # User.Read
    ],
    "role_helper": [(_GRAPH, "d01b97e9-cbc0-49fe-810a-750afd5527a3", "Scope")],
}


def write_applications(directory: Path, claims: str | None = "DirectoryRole") -> Path:
    """Write three registrations into `directory` and return it."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, permissions in _PERMISSIONS.items():
        body = {
            "displayName": f"Test {name}",
            "signInAudience": "AzureADMultipleOrgs",
            "groupMembershipClaims": claims,
            "web": {"redirectUris": ["https://console.invalid/signed-in", "https://console.invalid/consented"]},
            "requiredResourceAccess": [
                {"resourceAppId": resource, "resourceAccess": [{"id": permission, "type": kind}]}
                for resource, permission, kind in permissions
            ],
        }
        (directory / f"{name}.json").write_text(json.dumps(body))
    return directory


@dataclass(slots=True)
class Platform:
    """The running simulation, seen from outside."""

    simulation: Simulation
    client: httpx.AsyncClient
    browsers: list[httpx.AsyncClient] = field(default_factory=list)

    @property
    def tenant(self) -> Tenant:
        """Contoso."""
        return self.simulation.store.default_tenant

    @property
    def other(self) -> Tenant:
        """Fabrikam."""
        return self.simulation.store.tenant("fabrikam.onmicrosoft.com")

    def application(self, name: str) -> Registration:
        """A registration by its file's name."""
        return next(each for each in self.simulation.store.registrations.values() if each.name == name)

    def browser(self) -> httpx.AsyncClient:
        """A browser with no cookies yet, which shows redirects instead of following them."""
        self.browsers.append(new_client(self.simulation))
        return self.browsers[-1]

    def authorize_url(self, name: str = "mail_flow", tenant: str = "organizations", **changes: str) -> str:
        """The address of the authorize page for an application; `changes` replace parameters (empty: leave out)."""
        parameters = {
            "client_id": self.application(name).app_id,
            "response_type": "code",
            "redirect_uri": SIGNED_IN,
            "scope": "openid profile",
            "state": "the-state",
            "nonce": "the-nonce",
            "code_challenge": challenge(VERIFIER),
            "code_challenge_method": "S256",
            **changes,
        }
        return f"{self.simulation.url}/{tenant}/oauth2/v2.0/authorize?{query(parameters)}"

    def consent_url(self, name: str = "mail_flow", tenant: str = "contoso.com", version: int = 2, **changes: str) -> str:
        """The address of the admin consent page for an application."""
        parameters = {
            "client_id": self.application(name).app_id,
            "redirect_uri": CONSENTED,
            "state": "the-state",
            "scope": GRAPH_DEFAULT if version == 2 else "",
            **changes,
        }
        path = "v2.0/adminconsent" if version == 2 else "adminconsent"
        return f"{self.simulation.url}/{tenant}/{path}?{query(parameters)}"

    async def token(self, tenant: str = "contoso.com", **form: str) -> httpx.Response:
        """Post a form to the token endpoint."""
        return await self.client.post(f"/{tenant}/oauth2/v2.0/token", data=form)

    async def app_token(
        self, name: str = "mail_flow", scope: str = EXCHANGE_DEFAULT, tenant: str = "contoso.com"
    ) -> httpx.Response:
        """Ask for a token of the application itself, with its secret."""
        application = self.application(name)
        return await self.token(
            tenant,
            grant_type="client_credentials",
            client_id=application.app_id,
            client_secret=application.secrets[-1].value,
            scope=scope,
        )

    async def redeem(self, code: str, name: str = "mail_flow", tenant: str = "organizations", **changes: str) -> httpx.Response:
        """Redeem an authorization code with the application's secret; `changes` replace fields (empty: leave out)."""
        application = self.application(name)
        form = {
            "grant_type": "authorization_code",
            "client_id": application.app_id,
            "client_secret": application.secrets[-1].value,
            "code": code,
            "redirect_uri": SIGNED_IN,
            "code_verifier": VERIFIER,
            **changes,
        }
        return await self.token(tenant, **{key: value for key, value in form.items() if value})

    async def control(self, method: str, path: str, **options: Any) -> Any:
        """Call the control interface; the answer must be 200."""
        answer = await self.client.request(method, f"/_control/{path}", **options)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def grant(self, name: str, *, tenant: str = "contoso.com", person: str = "admin") -> dict[str, str]:
        """Walk the admin consent page to its end and return what the redirect says."""
        page = await self.sign_in(self.consent_url(name, tenant), f"{person}@{tenant}")
        return await self.press(page, "accept")

    async def sign_in(self, url: str, name: str, browser: httpx.AsyncClient | None = None, password: str | None = None) -> Shown:
        """Open an address in a browser and fill its sign-in form."""
        shown = Shown(self, browser or self.browser())
        await shown.open(url)
        return await shown.submit(loginfmt=name, passwd=password or self.simulation.store.password)

    async def sign_in_refused(self, url: str) -> Shown:
        """Open an address that is refused before anybody signs in."""
        return await Shown(self, self.browser()).open(url)

    def with_permissions(self, application: Registration, permissions: tuple[RequiredPermission, ...]) -> Registration:
        """The registration with other permissions."""
        return replace(application, required_permissions=permissions)

    async def press(self, shown: Shown, decision: str, **fields: str) -> dict[str, str]:
        """Press a button of the consent page, which must lead back to the console, and return the redirect's parameters."""
        await shown.submit(decision, **fields)
        assert shown.returned is not None, shown.words
        return shown.returned


@dataclass(slots=True)
class Shown:
    """What a browser shows now: a page of Microsoft's, or the redirect back to the console, which is not there."""

    platform: Platform
    browser: httpx.AsyncClient
    answer: httpx.Response | None = None
    returned: dict[str, str] | None = None
    """The parameters with which the browser was sent back; None while it stays with Microsoft."""

    @property
    def page(self) -> PageReader:
        """The page's words and its form."""
        assert self.answer is not None
        return PageReader(self.answer.text)

    @property
    def words(self) -> str:
        """The text of the page."""
        return self.page.words if self.returned is None else f"(sent back with {self.returned})"

    async def open(self, url: str) -> Shown:
        """Go to an address."""
        return self._see(await self.browser.get(url))

    async def submit(self, decision: str = "accept", **fields: str) -> Shown:
        """Fill the form and press a button of it."""
        assert self.answer is not None
        page = self.page
        target = self.answer.url.join(page.action)
        return self._see(await self.browser.post(target, data={**page.fields, "decision": decision, **fields}))

    def _see(self, answer: httpx.Response) -> Shown:
        self.answer, self.returned = answer, None
        if answer.is_redirect:
            parts = urlsplit(answer.headers["location"])
            assert f"{parts.scheme}://{parts.netloc}" == CONSOLE
            self.returned = flat(parts.query or parts.fragment)
        return self


class PageReader(HTMLParser):
    """The visible words of a page, and its form with the fields as they stand."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.action = ""
        self.fields: dict[str, str] = {}
        self.buttons: list[tuple[str, str]] = []
        self._texts: list[str] = []
        self._tag = ""
        self.feed(text)

    @property
    def words(self) -> str:
        """All visible text, with single spaces."""
        return " ".join(" ".join(self._texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect forms, fields and buttons."""
        self._tag = tag
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.action = values["action"]
        elif tag == "input" and values.get("type") != "checkbox":
            self.fields[values["name"]] = values.get("value", "")
        elif tag == "button":
            self.buttons.append((values.get("name", ""), values.get("value", "")))

    def handle_data(self, data: str) -> None:
        """Collect visible text."""
        if self._tag != "style":
            self._texts.append(data)


def flat(text: str) -> dict[str, str]:
    """A query with each parameter once."""
    return {name: values[0] for name, values in parse_qs(text, keep_blank_values=True).items()}


def query(parameters: Mapping[str, str]) -> str:
    """Parameters as a query, without the empty ones."""
    return urlencode({name: value for name, value in parameters.items() if value})


def challenge(verifier: str) -> str:
    """The S256 challenge of a verifier (RFC 7636)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def claims_of(token: str) -> dict[str, Any]:
    """What a token says, unverified."""
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


@asynccontextmanager
async def running(tmp_path: Path, claims: str | None = "DirectoryRole", **options: Any) -> AsyncIterator[Platform]:
    """Serve a simulation with test registrations."""
    applications = write_applications(tmp_path / "applications", claims)
    chosen: dict[str, Any] = {"applications": applications, "console": CONSOLE, "data": _data_directory(tmp_path), **options}
    async with serve(Options(**chosen)) as simulation, new_client(simulation) as client:
        platform = Platform(simulation, client)
        yield platform
        for browser in platform.browsers:
            await browser.aclose()


@cache
def _signing_key() -> bytes:
    """A signing key for all simulations of this process: to make one takes as long as many a test."""
    return SigningKeys.generate().pem()


def _data_directory(parent: Path) -> Path:
    """A new data directory with nothing but a signing key in it."""
    parent.mkdir(parents=True, exist_ok=True)
    path = Path(mkdtemp(prefix="microsoft365-", dir=parent))
    (path / "signing-key.pem").write_bytes(_signing_key())
    return path


def new_client(simulation: Simulation) -> httpx.AsyncClient:
    """A client that trusts the simulation's authority alone."""
    context = ssl.create_default_context(cafile=str(simulation.ca_file))
    return httpx.AsyncClient(base_url=simulation.url, verify=context, trust_env=False)
