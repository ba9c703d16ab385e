"""Microsoft Graph, and the directory of a tenant, read from raw answers (``graph_sdk``)."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Any, TypeVar

import httpx

from shared.domain.directory import DirectoryChange, Member
from shared.domain.problems import problem
from shared.microsoft import errors
from shared.microsoft.clouds import Cloud
from shared.microsoft.errors import Answer, Rules, Service
from shared.microsoft.identity import TokenCredential, load
from shared.ports import Domain, Organization, Page, RefusedError

PAGE_SIZE = 999
"""The largest page of users (https://learn.microsoft.com/graph/api/user-list)."""
NAMES_A_FILTER = 7
"""Two clauses each: Graph takes up to 15 that are joined by ``or``."""
NEAR_LIMIT = 0.8
LIMIT_WINDOW = timedelta(seconds=10)
"""In which time Microsoft counts an application's resource units in a tenant."""
UNHURRIED = ("x-ms-throttle-priority", "Low")
EVENTUALLY = ("ConsistencyLevel", "eventual")
"""The header of advanced queries (https://learn.microsoft.com/graph/aad-advanced-queries)."""
NEXT_LINK, DELTA_LINK, REMOVED = "@odata.nextLink", "@odata.deltaLink", "@removed"
GUID = r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
DOMAIN_PROPERTIES = ("id", "isVerified", "isInitial", "isDefault", "supportedServices")

Row = Mapping[str, Any]
Reader = Callable[[Row], DirectoryChange]
T = TypeVar("T")
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
        self._opening = asyncio.Lock()

    async def builders(self) -> tuple[Any, Any]:
        """Return the SDK, and the root of its request builders."""
        async with self._opening:
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
        while link := page.get(NEXT_LINK):
            page = await self.read(sdk.next_page(builder, link))
            rows += page.get("value") or ()
        return rows

    def meaning(self, response: httpx.Response) -> str:
        """Return what a refusal means: a reaction, or the code of a problem."""
        return errors.meaning(errors.graph_answer(response), self._rules)

    def refusal(self, response: httpx.Response) -> Exception:
        """Return the error that an answer means."""
        return self.meant(errors.graph_answer(response))

    def meant(self, answer: Answer) -> Exception:
        """Return the error that an answer means, which was read already."""
        return errors.error_of(answer, self._rules)


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
        information.headers.try_add(*EVENTUALLY)
        count = (await self._graph.read(information)).get("@odata.count")
        if not isinstance(count, int):
            raise errors.unreadable(Service.GRAPH, HTTPStatus.OK)
        return count

    async def users(self, link: str = "") -> Page:
        """See ``ports.Directory`` (https://learn.microsoft.com/graph/api/user-list)."""
        sdk, client = await self._graph.builders()
        information = _page_at(sdk, client.users, link, select=USER_PROPERTIES, top=PAGE_SIZE)
        return await self._page(information, read_whole_user)

    async def user_changes(self, link: str = "") -> Page:
        """See ``ports.Directory`` (https://learn.microsoft.com/graph/api/user-delta)."""
        sdk, client = await self._graph.builders()
        return await self._round(_page_at(sdk, client.users.delta, link, select=USER_PROPERTIES), read_user)

    async def group_changes(self, link: str = "") -> Page:
        """See ``ports.Directory`` (https://learn.microsoft.com/graph/api/group-delta). Members come because they are selected."""
        sdk, client = await self._graph.builders()
        return await self._round(_page_at(sdk, client.groups.delta, link, select=GROUP_PROPERTIES), read_group)

    async def latest_users(self) -> str:
        """See ``ports.Directory`` (https://learn.microsoft.com/graph/delta-query-overview)."""
        sdk, client = await self._graph.builders()
        document = await self._graph.read(_in_background(sdk.changes_from_now(client.users.delta, select=USER_PROPERTIES)))
        if link := _text(document, DELTA_LINK):
            return link
        raise RefusedError(
            "Microsoft Graph gives no link of changes from now on",
            problem("graph_refused", raw="The answer to $deltatoken=latest has no @odata.deltaLink."),
        )

    async def whole_users(self, ids: Sequence[str]) -> Sequence[DirectoryChange]:
        """See ``ports.Directory`` (https://learn.microsoft.com/graph/json-batching)."""
        sdk, client = await self._graph.builders()
        wanted = [sdk.first_page(client.users.by_user_id(each), select=USER_PROPERTIES) for each in ids]
        answers = await self._batches(wanted)
        return [
            DirectoryChange(user_id, is_removed=True)
            if answer.status == HTTPStatus.NOT_FOUND
            else _told(read_whole_user, [self._answered(answer)])[0]
            for user_id, answer in zip(ids, answers, strict=True)
        ]

    async def group_users(self, group: str, link: str = "") -> Page:
        """See ``ports.Directory`` (https://learn.microsoft.com/graph/api/group-list-transitivemembers).

        The cast to users is an advanced query: it takes ``$count`` and its header, on every page.
        """
        sdk, client = await self._graph.builders()
        builder = client.groups.by_group_id("" if link else await self._group_id(group)).transitive_members.graph_user
        information = _page_at(sdk, builder, link, select=USER_PROPERTIES, top=PAGE_SIZE, count=True)
        information.headers.try_add(*EVENTUALLY)
        return await self._page(information, read_whole_user, _no_such_group)

    async def chosen_users(self, names: Sequence[str]) -> Sequence[DirectoryChange]:
        """See ``ports.Directory``. Several names make one filter, several filters one batch."""
        sdk, client = await self._graph.builders()
        filters = [" or ".join(map(_is_named, some)) for some in _parts(tuple(dict.fromkeys(names)), NAMES_A_FILTER)]
        wanted = [sdk.first_page(client.users, select=USER_PROPERTIES, filter=each, top=PAGE_SIZE) for each in filters]
        found: dict[str, DirectoryChange] = {}
        for answer in await self._batches(wanted):
            rows = await self._graph.rest(client.users, self._answered(answer))
            found.update((user.object_id, user) for user in _told(read_whole_user, rows))
        return list(found.values())

    async def _group_id(self, group: str) -> str:
        """Return the id of the group with this address or id. Raises RefusedError when there is none or it hides its members.

        Those of such a group take a permission of their own, without which it must not pass for an empty one.
        """
        sdk, client = await self._graph.builders()
        if re.fullmatch(GUID, group):
            response = await self._graph.send(sdk.first_page(client.groups.by_group_id(group), select=SCOPE_PROPERTIES))
            if response.status_code == HTTPStatus.NOT_FOUND:
                raise _no_such_group(response)
            row = self._graph.document(response)
        else:
            filtered = sdk.first_page(client.groups, select=SCOPE_PROPERTIES, filter=f"mail eq {_literal(group)}")
            row = next(iter((await self._graph.read(filtered)).get("value") or ()), {})
        if not row:
            raise _no_such_group(None)
        if _text(row, "visibility").casefold() == "hiddenmembership":
            raise RefusedError("the scope's group hides its members", problem("scope_group_hidden"))
        return str(row["id"])

    async def _page(self, information: Any, read: Reader, not_found: Callable[[httpx.Response], Exception] | None = None) -> Page:
        """Return a page of a list."""
        response = await self._graph.send(_in_background(information))
        if not_found and response.status_code == HTTPStatus.NOT_FOUND:
            raise not_found(response)
        document = self._graph.document(response)
        return Page(
            items=tuple(_told(read, document.get("value"))),
            next_link=_text(document, NEXT_LINK),
            delta_link=_text(document, DELTA_LINK),
            pause=pause_of(response.headers),
        )

    async def _round(self, information: Any, read: Reader) -> Page:
        """Return a page of changes: what comes next stands on each, or the sync would end where it does not."""
        page = await self._page(information, read)
        if not page.next_link and not page.delta_link:
            raise errors.unreadable(Service.GRAPH, HTTPStatus.OK)
        return page

    async def _batches(self, wanted: Sequence[Any]) -> "list[BatchAnswer]":
        """Send described requests in batches, one after the other; return the answers in the order of the requests."""
        sdk, client = await self._graph.builders()
        answers: list[BatchAnswer] = []
        for some in _parts(wanted, sdk.BATCH_SIZE):
            document = await self._graph.read(_in_background(sdk.batch(client, some)))
            answers += batch_answers(document, range(len(some)))
        return answers

    def _answered(self, answer: "BatchAnswer") -> Row:
        """Return what a request of a batch was answered. Raises what a refusal means, with the wish in its own headers."""
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raise self._graph.meant(errors.graph_answer_of(answer.status, answer.headers, answer.body))
        return answer.body


@dataclass(frozen=True, slots=True)
class BatchAnswer:
    """The answer to one request of a batch."""

    status: int
    headers: Mapping[str, str]
    body: Row


def batch_answers(document: Row, places: Iterable[int]) -> list[BatchAnswer]:
    """Return the answers to the requests at ``places`` of a batch, in their order: Microsoft gives them in any.

    Raises TransientError when one is missing or can't be read.
    """
    try:
        told = {str(each["id"]): each for each in document["responses"]}
        return [
            BatchAnswer(int(each["status"]), httpx.Headers(each.get("headers") or {}), each.get("body") or {})
            for each in (told[str(place)] for place in places)
        ]
    except (KeyError, TypeError, ValueError, AttributeError):
        raise errors.unreadable(Service.GRAPH, HTTPStatus.OK) from None


def pause_of(headers: Mapping[str, str]) -> timedelta | None:
    """Return how long to leave Microsoft alone after an answer with these headers.

    The share of the limit that is used up stands there from 0.8 on (https://learn.microsoft.com/graph/throttling-limits).
    """
    try:
        used = float(headers.get("x-ms-throttle-limit-percentage", 0))
    except ValueError:
        return None
    return LIMIT_WINDOW if used >= NEAR_LIMIT else None


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


def read_user(row: Row) -> DirectoryChange:
    """Read what a delta query tells of a user: the properties that are there, and no others."""
    if REMOVED in row:
        return DirectoryChange(row["id"], is_removed=True)
    return DirectoryChange(row["id"], {field: read(row[name]) for name, field, read in _USER if name in row})


def read_whole_user(row: Row) -> DirectoryChange:
    """Read a user that was asked for by itself or in a list."""
    return DirectoryChange(row["id"], {field: read(row[name]) for name, field, read in _USER if name in row}, is_whole=True)


def read_group(row: Row) -> DirectoryChange:
    """Read what a delta query tells of a group. A large one repeats, on other pages too, with more of its members."""
    if REMOVED in row:
        return DirectoryChange(row["id"], is_removed=True)
    values = {field: read(row[name]) for name, field, read in _GROUP if name in row}
    return DirectoryChange(row["id"], values, members=tuple(map(read_member, row.get("members@delta") or ())))


def read_member(row: Row) -> Member:
    """Read one of ``members@delta``."""
    kind = (row.get("@odata.type") or "directoryObject").removeprefix("#microsoft.graph.")
    return Member(row["id"], kind, is_removed=REMOVED in row)


def smtp_addresses(proxy_addresses: Sequence[str] | None) -> tuple[str, ...]:
    """Return all SMTP addresses, the primary one first, case-folded.

    ``SMTP:`` marks the primary address, ``smtp:`` the others; SIP, X500 and the like are no mail addresses
    (https://learn.microsoft.com/graph/api/resources/user).
    """
    primary_first = sorted(proxy_addresses or (), key=lambda address: not address.startswith("SMTP:"))
    smtp = [address[5:].casefold() for address in primary_first if address[:5].casefold() == "smtp:"]
    return tuple(dict.fromkeys(smtp))


def _words(value: Any) -> tuple[str, ...]:
    return tuple(map(str, value or ()))


def _string(value: Any) -> str:
    return value or ""


_USER = (
    ("userPrincipalName", "user_principal_name", _string),
    ("displayName", "display_name", _string),
    ("mail", "mail", _string),
    ("proxyAddresses", "smtp_addresses", smtp_addresses),
    ("accountEnabled", "enabled", bool),
    ("userType", "user_type", _string),
)
"""Graph's properties of a user, the fields of ``directory.User`` that they become, and how: null is empty."""
_GROUP = (
    ("displayName", "display_name", _string),
    ("mail", "mail", _string),
    ("groupTypes", "group_types", _words),
    ("mailEnabled", "mail_enabled", bool),
    ("securityEnabled", "security_enabled", bool),
    ("visibility", "visibility", _string),
)
"""The same of a group."""
USER_PROPERTIES = ["id", *(name for name, _, _ in _USER)]
SCOPE_PROPERTIES = ["id", "visibility"]
GROUP_PROPERTIES = ["id", *(name for name, _, _ in _GROUP), "members"]


def _told(read: Reader, rows: Any) -> list[DirectoryChange]:
    """Read rows. Raises TransientError when they are not what Microsoft documents."""
    try:
        return [read(row) for row in rows]
    except (KeyError, TypeError, AttributeError):
        raise errors.unreadable(Service.GRAPH, HTTPStatus.OK) from None


def _page_at(sdk: Any, builder: Any, link: str, **parameters: Any) -> Any:
    """Describe a GET of a collection's page: the one at Microsoft's own link, or the first."""
    return sdk.next_page(builder, link) if link else sdk.first_page(builder, **parameters)


def _in_background(information: Any) -> Any:
    """Have a request give way when Microsoft must slow the application down: nobody waits for a sync in front of a screen."""
    information.headers.try_add(*UNHURRIED)
    return information


def _no_such_group(response: httpx.Response | None) -> RefusedError:
    answer = errors.graph_answer(response) if response is not None else None
    found = problem(
        "scope_group_unknown", raw=answer.raw if answer else "", correlation_id=answer.correlation_id if answer else ""
    )
    return RefusedError("Microsoft Graph knows no group by the scope's address or id", found)


def _is_named(name: str) -> str:
    return f"mail eq {_literal(name)} or userPrincipalName eq {_literal(name)}"


def _literal(text: str) -> str:
    """Return a string of an OData filter: an apostrophe stands twice (OData 4.01 URL Conventions 5.1.1.14.1)."""
    return "'{}'".format(text.replace("'", "''"))


def _parts(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (values[start : start + size] for start in range(0, len(values), size))


def _text(row: Row, name: str) -> str:
    return str(row.get(name) or "")
