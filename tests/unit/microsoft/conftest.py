"""A Microsoft of a few lines behind real TLS: it answers what a test told it to, and remembers what it was asked."""

import json
import ssl
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
import pytest
import trustme
from aiohttp import web

from shared.microsoft.client import MicrosoftClient
from shared.settings import Settings

TENANT = "11111111-1111-4111-8111-111111111111"
MAIL_FLOW_ID = "aaaaaaaa-0000-4000-8000-000000000001"
DIRECTORY_ID = "aaaaaaaa-0000-4000-8000-000000000002"
ROLE_HELPER_ID = "aaaaaaaa-0000-4000-8000-000000000003"
SECRET = "s3cret-of-a-test"
SIGNING_KEY = "a key of a test that is long enough for HMAC"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it came in."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    text: str

    @property
    def document(self) -> Any:
        """The JSON body."""
        return json.loads(self.text)


@dataclass(frozen=True, slots=True)
class Said:
    """One answer."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


class Scripted:
    """Answers each path from its own queue; the last answer of a queue stays."""

    def __init__(self, ca_file: Path) -> None:
        self.ca_file = str(ca_file)
        self.url = ""
        self.asked: list[Asked] = []
        self._answers: dict[str, deque[Said]] = defaultdict(deque)

    def say(self, path: str, *answers: Said) -> None:
        """Answer requests for a path with these, in turn."""
        self._answers[path.lower()].extend(answers)

    def asked_for(self, path: str) -> list[Asked]:
        """Return the requests for a path, in order."""
        return [entry for entry in self.asked if entry.path.lower() == path.lower()]

    async def handle(self, request: web.Request) -> web.Response:
        """Take any request."""
        text = await request.text()
        self.asked.append(Asked(request.method, request.path, dict(request.query), dict(request.headers), text))
        queue = self._answers.get(request.path.lower())
        if not queue:
            return web.json_response({"error": {"code": "NotScripted", "message": request.path}}, status=599)
        said = queue.popleft() if len(queue) > 1 else queue[0]
        body = said.body if isinstance(said.body, bytes) else json.dumps(said.body).encode()
        return web.Response(status=said.status, body=body, headers={"Content-Type": "application/json", **said.headers})


def token_path(tenant: str = TENANT) -> str:
    """Return the path of a tenant's token endpoint."""
    return f"/{tenant}/oauth2/v2.0/token"


def access_token(**claims: Any) -> str:
    """Return an access token with these claims beside the usual ones."""
    usual = {"tid": TENANT, "appid": MAIL_FLOW_ID, "oid": "22222222-2222-4222-8222-222222222222"}
    return jwt.encode({**usual, **claims}, SIGNING_KEY, algorithm="HS256")


def token_answer(**claims: Any) -> Said:
    """Return the token endpoint's answer with a token of these claims."""
    return Said({"token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599, "access_token": access_token(**claims)})


def settings_for(url: str, ca_file: str, **changes: Any) -> Settings:
    """Return settings that point at a server."""
    values: dict[str, Any] = {
        "public_url": "https://console.example.com",
        "authority_url": url,
        "graph_url": url,
        "exchange_url": url,
        "management_url": url,
        "ca_file": ca_file,
        "mail_flow_client_id": MAIL_FLOW_ID,
        "mail_flow_client_secret": SECRET,
        "directory_client_id": DIRECTORY_ID,
        "directory_client_secret": SECRET,
        "role_helper_client_id": ROLE_HELPER_ID,
        "role_helper_client_secret": SECRET,
        "sealing_key": "A" * 43,
        "scanner_inbound_host": "inbound.scanner.example.com",
        "scanner_outbound_host": "outbound.scanner.example.com",
        "scanner_inbound_egress": "192.0.2.0/24",
        "scanner_outbound_egress": "198.51.100.0/24",
        "scanner_certificate_zone": "scanner.example.com",
        "storage_connection": "UseDevelopmentStorage=true",
    }
    return Settings.model_validate({**values, **changes})


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """A throw-away certificate authority."""
    return trustme.CA()


@pytest.fixture(scope="session")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its certificate as a PEM file."""
    path = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may depend on proxies or authorities of the environment: a proxy that is not there, and no authority."""
    for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")


@pytest.fixture
async def server(authority: trustme.CA, ca_file: Path) -> AsyncIterator[Scripted]:
    """The scripted server, up."""
    scripted = Scripted(ca_file)
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", scripted.handle)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    scripted.url = f"https://localhost:{runner.addresses[0][1]}"
    scripted.say(token_path(), token_answer())
    try:
        yield scripted
    finally:
        await runner.cleanup()


@pytest.fixture
async def microsoft(server: Scripted) -> AsyncIterator[MicrosoftClient]:
    """Grantline's client of that server."""
    client = MicrosoftClient(settings_for(server.url, server.ca_file))
    try:
        yield client
    finally:
        await client.close()
