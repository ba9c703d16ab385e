"""Exchange Online's admin endpoint, the one that Microsoft's ExchangeOnlineManagement module speaks to.

Not documented as an API: the wire contract is read from public clients (KelvinTegelaar/CIPP-API New-ExoRequest.ps1,
rknightion/graph2otel internal/exoclient) and recorded answers; cmdlets and parameters are documented in the Exchange PowerShell
reference (https://learn.microsoft.com/powershell/module/exchange).
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import httpx

from shared.domain.problems import problem
from shared.microsoft import errors
from shared.microsoft.clouds import Cloud, Egress
from shared.microsoft.errors import Service
from shared.microsoft.graph import OpenCredential
from shared.microsoft.permissions import Resource
from shared.ports import RefusedError

SYSTEM_MAILBOX = "SystemMailbox{bb558c35-97f1-4cb9-8ff7-d53741dc928c}"
"""The arbitration mailbox by which requests of applications are routed to the tenant's servers."""
MODULE_VERSION = "3.9.0"
"""The version of the ExchangeOnlineManagement module that the list of cmdlets is asked for."""
MAXIMUM_REDIRECTS = 3
BACK_END_PORT = 446
"""Redirects of the front door may name the port of its back end; the public one is the default port."""

Json = dict[str, Any]


class ExchangeAdmin:
    """``ports.Exchange`` for one tenant, with one token for its life."""

    def __init__(
        self, cloud: Cloud, egress: Egress, http: httpx.AsyncClient, tenant_id: str, open_credential: OpenCredential
    ) -> None:
        self._base = cloud.exchange
        self._scope = cloud.scope(Resource.EXCHANGE)
        self._egress = egress
        self._http = http
        self._tenant_id = tenant_id
        self._open_credential = open_credential
        self._token = ""
        self._connection_id = str(uuid4())

    async def offered_cmdlets(self) -> frozenset[str]:
        """See ``ports.Exchange``. What is offered are the functions of the module that Exchange makes for this caller."""
        url = f"{self._base}/adminapi/v1.0/{self._tenant_id}/EXOModuleFile?Version={MODULE_VERSION}"
        document = await self._send("GET", url, {"CommandName": "*"})
        modules = document.get("value") or ()
        names = ",".join(str(module.get("exportedCmdlets", "")) for module in modules)
        return frozenset(name.strip() for name in names.split(",") if name.strip())

    async def invoke(self, cmdlet: str, parameters: Mapping[str, Any] | None = None) -> list[Json]:
        """See ``ports.Exchange``. Pages are asked for by posting the same body to the next link."""
        body = {"CmdletInput": {"CmdletName": cmdlet, "Parameters": dict(parameters or {})}}
        headers = {"X-CmdletName": cmdlet, "Prefer": "odata.maxpagesize=1000"}
        url = f"{self._base}/adminapi/beta/{self._tenant_id}/InvokeCommand"
        found: list[Json] = []
        while url:
            document = await self._send("POST", url, headers, body)
            found += (without_annotations(row) for row in document.get("value") or ())
            url = self._next_page(str(document.get("@odata.nextLink", "")))
        return found

    async def _send(self, method: str, url: str, headers: Mapping[str, str], body: Json | None = None) -> Mapping[str, Any]:
        """Send a request, through the redirects of the front door, and return the JSON object of the answer."""
        sent = {**await self._headers(), **headers}
        for _ in range(MAXIMUM_REDIRECTS):
            response = await self._request(method, url, sent, body)
            if not response.is_redirect:
                return _document(response)
            url = _public(str(httpx.URL(url).join(response.headers["Location"])))
            self._base = _base(url)
        found = problem("exchange_refused", raw="Exchange Online redirects in a circle")
        raise RefusedError(found.raw, found)

    async def _request(self, method: str, url: str, headers: Mapping[str, str], body: Json | None) -> httpx.Response:
        try:
            return await self._http.request(method, url, headers=headers, json=body)
        except httpx.TransportError as error:
            raise errors.unreachable(Service.EXCHANGE, error) from None

    async def _headers(self) -> dict[str, str]:
        if not self._token:
            credential = await self._open_credential()
            self._token = (await credential.get_token(self._scope)).token
        return {
            "Authorization": f"Bearer {self._token}",
            "Accept": "application/json",
            "X-AnchorMailbox": f"APP:{SYSTEM_MAILBOX}@{self._tenant_id}",
            "X-ResponseFormat": "json",
            "X-SerializationLevel": "Partial",
            "connection-id": self._connection_id,
            "client-request-id": str(uuid4()),
        }

    def _next_page(self, link: str) -> str:
        """Return where the next page is asked for: the link, on our own host where it names one that is not Exchange's here.

        Answers have been seen to name outlook.office.com while the endpoint is outlook.office365.com.
        """
        if not link or self._egress.allows(link):
            return link
        path = urlsplit(link)
        return f"{self._base}{path.path}?{path.query}"


def without_annotations(value: Any) -> Any:
    """Return a value of an answer without the ``@odata.type`` and ``@data.type`` companions of its properties, at any depth."""
    if isinstance(value, dict):
        return {name: without_annotations(inner) for name, inner in value.items() if "@" not in name}
    if isinstance(value, list):
        return [without_annotations(inner) for inner in value]
    return value


def _document(response: httpx.Response) -> Mapping[str, Any]:
    if response.status_code >= 400:
        raise errors.error_of(errors.exchange_answer(response), errors.EXCHANGE)
    document = errors.json_of(response)
    if not document:
        raise errors.unreadable(Service.EXCHANGE, response.status_code)
    return document


def _public(url: str) -> str:
    """Return an address of the front door's redirect with the public port in place of the back end's."""
    parts = urlsplit(url)
    if parts.port != BACK_END_PORT:
        return url
    return urlunsplit(parts._replace(netloc=parts.hostname or ""))


def _base(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
