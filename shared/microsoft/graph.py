"""Microsoft Graph, and the directory of a tenant, read from raw answers (``graph_sdk``)."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import httpx

from shared.microsoft import errors
from shared.microsoft.clouds import Cloud
from shared.microsoft.errors import Rules, Service
from shared.microsoft.identity import TokenCredential, load
from shared.ports import Domain, Group, Organization, Page, User

PAGE_SIZE = 999
"""The largest page of users and of groups (https://learn.microsoft.com/graph/api/user-list)."""
USER_PROPERTIES = ("id", "userPrincipalName", "displayName", "mail", "proxyAddresses", "accountEnabled", "userType")
GROUP_PROPERTIES = ("id", "displayName", "mail", "groupTypes", "mailEnabled", "securityEnabled")
DOMAIN_PROPERTIES = ("id", "isVerified", "isInitial", "isDefault", "supportedServices")

Row = Mapping[str, Any]
OpenCredential = Callable[[], Awaitable[TokenCredential]]


class GraphConnection:
    """The connection to Microsoft Graph that all tenants share; the SDK is loaded with its first use."""

    def __init__(self, cloud: Cloud, http: httpx.AsyncClient) -> None:
        self._cloud = cloud
        self._http = http
        self._beneath: httpx.AsyncBaseTransport | None = None
        """The transport beneath the SDK's middleware, once that is there."""

    async def open(self, credential: TokenCredential) -> tuple[Any, Any]:
        """Return the SDK, and its client for this credential."""
        sdk = await load("shared.microsoft.graph_sdk")
        if self._beneath is None:
            self._beneath = sdk.with_middleware(self._http)
        return sdk, sdk.open_client(self._cloud, self._http, credential)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()
        if self._beneath is not None:
            await self._beneath.aclose()


class Graph:
    """Microsoft Graph with one credential, which is opened with its first use."""

    def __init__(self, connection: GraphConnection, open_credential: OpenCredential, rules: Rules) -> None:
        self._connection = connection
        self._open_credential = open_credential
        self._rules = rules
        self._opened: tuple[Any, Any] | None = None

    async def builders(self) -> tuple[Any, Any]:
        """Return the SDK, and the root of its request builders."""
        if self._opened is None:
            self._opened = await self._connection.open(await self._open_credential())
        return self._opened

    async def send(self, information: Any) -> httpx.Response:
        """Send a request that the SDK described; return the answer, whatever its status. Raises TransientError."""
        sdk, client = await self.builders()
        try:
            response: httpx.Response = await sdk.send(client, information)
        except httpx.TransportError as error:
            raise errors.unreachable(Service.GRAPH, error) from None
        return response

    async def read(self, information: Any) -> Row:
        """Send a request and return the JSON object of its answer. Raises what the answer means."""
        return self.document(await self.send(information))

    def document(self, response: httpx.Response) -> Row:
        """Return the JSON object of an answer. Raises what the answer means."""
        if response.status_code >= 400:
            raise self.refusal(response)
        document = errors.json_of(response)
        if not document:
            raise errors.unreadable(Service.GRAPH, response.status_code)
        return document

    async def pages(self, builder: Any, **parameters: Any) -> list[Row]:
        """Return the rows of all pages of a short collection."""
        sdk, _ = await self.builders()
        return await self.rest(builder, await self.read(sdk.first_page(builder, **parameters)))

    async def rest(self, builder: Any, page: Row) -> list[Row]:
        """Return the rows of a page and of all that follow it."""
        sdk, _ = await self.builders()
        rows: list[Row] = list(page.get("value") or ())
        while link := page.get("@odata.nextLink"):
            page = await self.read(sdk.next_page(builder, link))
            rows += page.get("value") or ()
        return rows

    def meaning(self, response: httpx.Response) -> str:
        """Return what a refusal means: a reaction, or the code of a problem."""
        return errors.meaning(errors.graph_answer(response), self._rules)

    def refusal(self, response: httpx.Response) -> Exception:
        """Return the error that an answer means."""
        return errors.error_of(errors.graph_answer(response), self._rules)


class GraphDirectory:
    """``ports.Directory`` by Microsoft Graph."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    async def organization(self) -> Organization:
        """See ``ports.Directory``."""
        _, client = await self._graph.builders()
        row = (await self._graph.pages(client.organization, select=["id", "displayName"]))[0]
        return Organization(str(row["id"]), _text(row, "displayName"))

    async def domains(self) -> tuple[Domain, ...]:
        """See ``ports.Directory``."""
        _, client = await self._graph.builders()
        return tuple(map(read_domain, await self._graph.pages(client.domains, select=list(DOMAIN_PROPERTIES))))

    async def service_records(self, domain: str) -> tuple[str, ...]:
        """See ``ports.Directory`` (https://learn.microsoft.com/graph/api/domain-list-serviceconfigurationrecords)."""
        _, client = await self._graph.builders()
        rows = await self._graph.pages(client.domains.by_domain_id(domain).service_configuration_records)
        mail = [row for row in rows if _text(row, "recordType").casefold() == "mx"]
        ranked = sorted(mail, key=lambda row: int(row.get("preference") or 0))
        return tuple(_text(row, "mailExchange").rstrip(".").lower() for row in ranked if row.get("mailExchange"))

    async def service_plans(self) -> tuple[Mapping[str, Any], ...]:
        """See ``ports.Directory``."""
        _, client = await self._graph.builders()
        row = (await self._graph.pages(client.organization, select=["assignedPlans"]))[0]
        names = ("service", "servicePlanId", "capabilityStatus")
        return tuple({name: _text(plan, name) for name in names} for plan in row.get("assignedPlans") or ())

    async def user_count(self) -> int:
        """See ``ports.Directory``. Counting is an advanced query (https://learn.microsoft.com/graph/aad-advanced-queries)."""
        sdk, client = await self._graph.builders()
        information = sdk.first_page(client.users, select=["id"], top=1, count=True)
        information.headers.try_add("ConsistencyLevel", "eventual")
        count = (await self._graph.read(information)).get("@odata.count")
        if not isinstance(count, int):
            raise errors.unreadable(Service.GRAPH, HTTPStatus.OK)
        return count

    async def users(self, next_link: str = "") -> Page[User]:
        """See ``ports.Directory``."""
        _, client = await self._graph.builders()
        page = await self._page(client.users, USER_PROPERTIES, next_link)
        return Page(tuple(map(read_user, page.get("value", ()))), _text(page, "@odata.nextLink"))

    async def groups(self, next_link: str = "") -> Page[Group]:
        """See ``ports.Directory``."""
        _, client = await self._graph.builders()
        page = await self._page(client.groups, GROUP_PROPERTIES, next_link)
        return Page(tuple(map(read_group, page.get("value", ()))), _text(page, "@odata.nextLink"))

    async def _page(self, builder: Any, properties: Sequence[str], next_link: str) -> Row:
        sdk, _ = await self._graph.builders()
        if next_link:
            return await self._graph.read(sdk.next_page(builder, next_link))
        return await self._graph.read(sdk.first_page(builder, select=list(properties), top=PAGE_SIZE))


def read_domain(row: Row) -> Domain:
    """Read Graph's ``domain``; its id is its name."""
    is_verified = bool(row.get("isVerified"))
    return Domain(
        name=str(row["id"]).lower(),
        is_verified=is_verified,
        is_initial=bool(row.get("isInitial")),
        is_default=bool(row.get("isDefault")),
        receives_mail=is_verified and "Email" in (row.get("supportedServices") or ()),
    )


def read_user(row: Row) -> User:
    """Read Graph's ``user``."""
    mail = _text(row, "mail")
    return User(
        user_id=str(row["id"]),
        user_principal_name=_text(row, "userPrincipalName"),
        display_name=_text(row, "displayName"),
        mail=mail,
        addresses=smtp_addresses(row.get("proxyAddresses") or (), mail),
        enabled=bool(row.get("accountEnabled")),
        user_type=_text(row, "userType"),
    )


def read_group(row: Row) -> Group:
    """Read Graph's ``group``; its kinds are Microsoft's words: Unified, DynamicMembership, mailEnabled, securityEnabled."""
    flags = [name for name in ("mailEnabled", "securityEnabled") if row.get(name)]
    kinds = (*map(str, row.get("groupTypes") or ()), *flags)
    return Group(str(row["id"]), _text(row, "displayName"), _text(row, "mail"), kinds)


def smtp_addresses(proxy_addresses: Sequence[str], mail: str) -> tuple[str, ...]:
    """Return all SMTP addresses, the primary one first, case-folded.

    ``SMTP:`` marks the primary address, ``smtp:`` the others; SIP, X500 and the like are no mail addresses
    (https://learn.microsoft.com/graph/api/resources/user). ``mail`` stands alone where there is none.
    """
    primary_first = sorted(proxy_addresses, key=lambda address: not address.startswith("SMTP:"))
    smtp = [address[5:].casefold() for address in primary_first if address[:5].casefold() == "smtp:"]
    return tuple(dict.fromkeys(smtp)) or ((mail.casefold(),) if mail else ())


def _text(row: Row, name: str) -> str:
    return str(row.get(name) or "")
