"""Exchange Online's admin endpoint, the one that Microsoft's ExchangeOnlineManagement module speaks to.

Not documented as an API: the wire contract is read from public clients (KelvinTegelaar/CIPP-API New-ExoRequest.ps1,
rknightion/graph2otel internal/exoclient) and recorded answers; cmdlets and parameters are documented in the Exchange PowerShell
reference (https://learn.microsoft.com/powershell/module/exchange).
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import httpx

from shared.domain.problems import GrantlineError, problem
from shared.microsoft import errors
from shared.microsoft.clouds import Cloud, Egress
from shared.microsoft.errors import ExpiredPageError, Service
from shared.microsoft.graph import OpenCredential
from shared.microsoft.permissions import Resource
from shared.ports import CmdletAnswer, CmdletCall, NotFoundError, NotYetError, RefusedError, TransientError

LOG = logging.getLogger(__name__)
SYSTEM_MAILBOX = "SystemMailbox{bb558c35-97f1-4cb9-8ff7-d53741dc928c}"
"""The arbitration mailbox by which requests of applications are routed to the tenant's servers."""
MODULE_VERSION = "3.9.0"
"""The version of the ExchangeOnlineManagement module that the list of cmdlets is asked for."""
MAXIMUM_REDIRECTS = 3
BACK_END_PORT = 446
"""Redirects of the front door may name the port of its back end; the public one is the default port."""
MAXIMUM_BATCH = 10
"""How many calls one batch takes (github.com/KelvinTegelaar/CIPP-API New-ExoBulkRequest.ps1)."""
NO_BATCHES = frozenset({400, 404, 405, 501})
"""Statuses of an endpoint that takes no batches, or no longer in this form."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the endpoint, by itself or out of a batch: status, headers, and the JSON object of its body."""

    status: int
    headers: Mapping[str, str]
    document: Mapping[str, Any]


class ExchangeAdmin:
    """``ports.Exchange`` for one tenant, with one token for its life. What was answered is never asked for again in here.

    This is the one place that knows the module's private contract (``docs/adr/0014``).
    """

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
        self._takes_batches = True

    async def offered_cmdlets(self) -> frozenset[str]:
        """See ``ports.Exchange``. What is offered are the functions of the module that Exchange makes for this caller."""
        url = f"{self._base}/adminapi/v1.0/{self._tenant_id}/EXOModuleFile?Version={MODULE_VERSION}"
        document = _document(await self._send("GET", url, {**await self._headers(), "CommandName": "*"}))
        modules = document.get("value") or ()
        names = ",".join(str(module.get("exportedCmdlets", "")) for module in modules)
        return frozenset(name.strip() for name in names.split(",") if name.strip())

    async def invoke(self, cmdlet: str, parameters: Mapping[str, Any] | None = None) -> list[Json]:
        """See ``ports.Exchange``."""
        return await self._rows(CmdletCall(cmdlet, parameters or {}))

    async def invoke_many(self, calls: Sequence[CmdletCall]) -> list[CmdletAnswer]:
        """See ``ports.Exchange``. In batches, for as long as the endpoint takes them; then one by one."""
        answers: list[CmdletAnswer] = []
        for begin in range(0, len(calls), MAXIMUM_BATCH):
            part = calls[begin : begin + MAXIMUM_BATCH]
            replies = await self._batch(part) if self._takes_batches and len(part) > 1 else {}
            answers += [await self._settled(call, replies.get(str(number))) for number, call in enumerate(part)]
        return answers

    async def _settled(self, call: CmdletCall, first: Reply | None) -> CmdletAnswer:
        """Return what a call comes to, whose first page may be there already."""
        try:
            return await self._rows(call, first)
        except (NotFoundError, RefusedError) as error:
            return error

    async def _rows(self, call: CmdletCall, first: Reply | None = None) -> list[Json]:
        """Return the objects of all pages; begin again, once, when a page is gone: they live for 30 minutes, on one server."""
        try:
            return await self._pages(call, first)
        except ExpiredPageError:
            return await self._pages(call)

    async def _pages(self, call: CmdletCall, first: Reply | None = None) -> list[Json]:
        """Return the objects of all pages: the same body is posted to each next link."""
        document = _document(first or await self._post(call, self._invoke_url))
        found = _objects(document)
        while link := self._next_page(str(document.get("@odata.nextLink", ""))):
            document = _document(await self._post(call, link))
            found += _objects(document)
        return found

    async def _post(self, call: CmdletCall, url: str) -> Reply:
        return await self._send("POST", url, await self._call_headers(call), _body(call))

    async def _batch(self, calls: Sequence[CmdletCall]) -> Mapping[str, Reply]:
        """Post the calls as one batch and return the replies by the positions of their calls.

        Form and size are those of public clients (KelvinTegelaar/CIPP-API New-ExoBulkRequest.ps1), in the JSON format of OData
        4.01 (https://docs.oasis-open.org/odata/odata-json-format/v4.01/, section 19). What has no reply is left to be asked by
        itself: all of it where the endpoint takes no batch, which is remembered. Raises the longest wait of any reply.
        """
        headers = {**await self._headers(), "Prefer": "odata.continue-on-error"}
        items = [await self._item(number, call) for number, call in enumerate(calls)]
        answer = await self._send("POST", f"{self._base}/adminapi/beta/{self._tenant_id}/$batch", headers, {"requests": items})
        listed = None if answer.status in NO_BATCHES else _document(answer).get("responses")
        if not isinstance(listed, list):
            LOG.warning("Exchange Online takes no batches (HTTP %d): its calls go one by one", answer.status)
            self._takes_batches = False
            return {}
        replies = {str(item.get("id")): _item_reply(item) for item in listed if isinstance(item, dict)}
        _raise_waits(replies.values())
        return {number: reply for number, reply in replies.items() if reply.status >= 400 or reply.document}

    async def _item(self, number: int, call: CmdletCall) -> Json:
        headers = {**await self._call_headers(call), "Content-Type": "application/json"}
        return {"id": str(number), "method": "POST", "url": self._invoke_url, "headers": headers, "body": _body(call)}

    async def _send(self, method: str, url: str, headers: Mapping[str, str], body: Json | None = None) -> Reply:
        """Send a request, through the redirects of the front door, and return the answer."""
        for _ in range(MAXIMUM_REDIRECTS):
            response = await self._request(method, url, headers, body)
            if not response.is_redirect:
                return Reply(response.status_code, response.headers, errors.json_of(response))
            url = _public(str(httpx.URL(url).join(response.headers["Location"])))
            self._base = _base(url)
        found = problem("exchange_refused", raw="Exchange Online redirects in a circle")
        raise RefusedError(found.raw, found)

    async def _request(self, method: str, url: str, headers: Mapping[str, str], body: Json | None) -> httpx.Response:
        try:
            return await self._http.request(method, url, headers=headers, json=body)
        except httpx.TransportError as error:
            raise errors.unreachable(Service.EXCHANGE, error) from None

    async def _call_headers(self, call: CmdletCall) -> dict[str, str]:
        return {**await self._headers(), "X-CmdletName": call.cmdlet, "Prefer": "odata.maxpagesize=1000"}

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

    @property
    def _invoke_url(self) -> str:
        return f"{self._base}/adminapi/beta/{self._tenant_id}/InvokeCommand"

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


def _body(call: CmdletCall) -> Json:
    return {"CmdletInput": {"CmdletName": call.cmdlet, "Parameters": dict(call.parameters)}}


def _objects(document: Mapping[str, Any]) -> list[Json]:
    return [without_annotations(row) for row in document.get("value") or ()]


def _item_reply(item: Mapping[str, Any]) -> Reply:
    """Return an item of a batch's answer as the reply that its call would have got by itself."""
    headers = {str(name): str(value) for name, value in (item.get("headers") or {}).items()}
    body = item.get("body")
    return Reply(int(item.get("status", 0)), httpx.Headers(headers), body if isinstance(body, dict) else {})


def _document(reply: Reply) -> Mapping[str, Any]:
    """Return what a reply holds. Raises what it means where it refuses or can't be read."""
    refusal = _refusal(reply)
    if refusal:
        raise refusal
    if not reply.document:
        raise errors.unreadable(Service.EXCHANGE, reply.status)
    return reply.document


def _refusal(reply: Reply) -> GrantlineError | None:
    if reply.status < 400:
        return None
    return errors.error_of(errors.exchange_answer(reply.status, reply.headers, reply.document), errors.EXCHANGE)


def _raise_waits(replies: Iterable[Reply]) -> None:
    """Raise what asks to come back later, the longest wait first: none of the calls is worth more requests before."""
    waits = [error for error in map(_refusal, replies) if isinstance(error, TransientError | NotYetError)]
    if waits:
        raise max(waits, key=lambda error: getattr(error, "retry_after", None) or timedelta())


def _public(url: str) -> str:
    """Return an address of the front door's redirect with the public port in place of the back end's."""
    parts = urlsplit(url)
    if parts.port != BACK_END_PORT:
        return url
    return urlunsplit(parts._replace(netloc=parts.hostname or ""))


def _base(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
