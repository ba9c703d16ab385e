"""The HTTP side of the Management Activity API: who may call, what is asked, and how an answer is written.

    POST /api/v1.0/{tenant}/activity/feed/subscriptions/start?contentType=
    POST /api/v1.0/{tenant}/activity/feed/subscriptions/stop?contentType=
    GET  /api/v1.0/{tenant}/activity/feed/subscriptions/list
    GET  /api/v1.0/{tenant}/activity/feed/subscriptions/content?contentType=&startTime=&endTime=
    GET  /api/v1.0/{tenant}/activity/feed/audit/{content id}

Source: learn.microsoft.com/office/office-365-management-api/office-365-management-activity-api-reference. What a tenant
without unified audit log answers: defender-docs, connectors' troubleshooting (DataServiceException "Tenant ... does not
exist", or AF20023).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from aiohttp import web

from local.microsoft365.activity.content import CONTENT_TYPES, KEPT, piece_named, pieces, was_made
from local.microsoft365.activity.errors import NO_PUBLISHER, ActivityError
from local.microsoft365.catalogue import MANAGEMENT
from local.microsoft365.model import ActivitySubscription, Tenant
from local.microsoft365.simulation import OPERATION, Simulation
from local.microsoft365.tokens import AccessToken, BearerError, verify_bearer

PERMISSION = "ActivityFeed.Read"
_FEED = "/api/v1.0/{tenant}/activity/feed"
_DAY = timedelta(hours=24)
_NO_CACHE = {"Cache-Control": "no-cache", "Pragma": "no-cache", "Expires": "-1"}
_UNAUTHORIZED = {"Message": "Authorization has been denied for this request."}
_TENANT_WITHOUT_LOG = "Microsoft.Office.Compliance.Audit.DataServiceException: Tenant {tenant} does not exist."


@dataclass(frozen=True, slots=True)
class Call:
    """A request of an application that may ask."""

    request: web.Request
    tenant: Tenant
    token: AccessToken
    now: datetime

    @property
    def publisher(self) -> str:
        """Whose quota the request is counted on."""
        return self.request.query.get("PublisherIdentifier", NO_PUBLISHER)

    def content_type(self) -> str:
        """The content type asked for. Raises ActivityError AF20001 or AF20020."""
        named = self.request.query.get("contentType", "")
        if not named:
            raise ActivityError("AF20001", "contentType")
        found = next((each for each in CONTENT_TYPES if each.lower() == named.lower()), None)
        if found is None:
            raise ActivityError("AF20020")
        return found

    def subscription(self, content_type: str) -> ActivitySubscription | None:
        """This application's subscription, whatever its state."""
        return self.tenant.activity_subscriptions.get(_key(self.token.app_id, content_type))

    def enabled_subscription(self, content_type: str) -> ActivitySubscription:
        """The subscription that content comes by. Raises ActivityError AF20022 or AF20023."""
        _check_not_disabled(self.tenant)
        found = self.subscription(content_type)
        if found is None or found.status != "enabled":
            raise ActivityError("AF20022")
        return found


class Feed:
    """Answers the API's requests; each method that is routed gives a JSON value and headers, or raises ActivityError."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation

    def start(self, call: Call) -> tuple[Any, dict[str, str]]:
        """Start a subscription, or start it again."""
        content_type = call.content_type()
        if not call.tenant.unified_audit_log:
            facts = f"TenantId={call.tenant.id},ContentType={content_type},ApplicationId={call.token.app_id}"
            code = f"StartSubscription [CorrId={uuid4()}] [{facts},PublisherId={call.publisher}][AppId={call.token.app_id}]"
            raise ActivityError(code, message=_TENANT_WITHOUT_LOG.format(tenant=call.tenant.id))
        _check_not_disabled(call.tenant)
        found = call.subscription(content_type)
        if found is not None and found.status == "enabled":
            raise ActivityError("AF20024")
        started = ActivitySubscription(call.token.app_id, content_type, "enabled", call.now)
        self._keep(call.tenant, started)
        return _shown(call.tenant, started), {}

    def stop(self, call: Call) -> tuple[Any, dict[str, str]]:
        """Stop a subscription; the answer has no body."""
        self._keep(call.tenant, replace(call.enabled_subscription(call.content_type()), status="disabled"))
        return None, {}

    def list(self, call: Call) -> tuple[Any, dict[str, str]]:
        """The application's subscriptions, stopped ones too."""
        own = (each for each in call.tenant.activity_subscriptions.values() if each.app_id == call.token.app_id)
        return [_shown(call.tenant, each) for each in sorted(own, key=lambda each: each.content_type)], {}

    def content(self, call: Call) -> tuple[Any, dict[str, str]]:
        """What can be fetched: a page of it, with the address of the next one in a header."""
        content_type = call.content_type()
        start, end = _period(call)
        subscription = call.enabled_subscription(content_type)
        ready_at = subscription.started_at + timedelta(seconds=self._simulation.settings.activity_delay)
        found = pieces(subscription, start, end, call.now) if ready_at <= call.now else []
        offset, size = _offset(call, len(found)), max(1, self._simulation.settings.activity_page_size)
        shown = [each.entry(self._address(call)) for each in found[offset : offset + size]]
        more = offset + size < len(found)
        return shown, {"NextPageUri": self._next_page(call, start, end, offset + size)} if more else {}

    def audit(self, call: Call) -> tuple[Any, dict[str, str]]:
        """One piece of content."""
        identifier = call.request.match_info["content_id"]
        piece = piece_named(identifier)
        if piece is None:
            raise ActivityError("AF20052", identifier)
        subscription = call.enabled_subscription(piece.content_type)
        if not was_made(piece, subscription, call.now):
            raise ActivityError("AF20050", identifier)
        if piece.expires_at <= call.now:
            raise ActivityError("AF20051", identifier)
        return piece.records(call.tenant), {}

    def _keep(self, tenant: Tenant, subscription: ActivitySubscription) -> None:
        tenant.activity_subscriptions[_key(subscription.app_id, subscription.content_type)] = subscription
        self._simulation.store.changed(tenant)

    def _address(self, call: Call) -> str:
        return f"{self._simulation.url}{_FEED.format(tenant=call.tenant.id)}"

    def _next_page(self, call: Call, start: datetime, end: datetime, offset: int) -> str:
        # The period is written out: a next page asked for later must go on in the same one.
        times = {"startTime": start.isoformat().removesuffix("+00:00"), "endTime": end.isoformat().removesuffix("+00:00")}
        query = {**call.request.query, **times, "nextPage": str(offset)}
        return f"{self._simulation.url}{call.request.rel_url.with_query(query)}"


def routes(simulation: Simulation) -> list[web.RouteDef]:
    """Return the routes of the API."""
    feed = Feed(simulation)

    def answered(operation: str, handler: Callable[[Call], tuple[Any, dict[str, str]]]) -> Callable[..., Any]:
        async def answer(request: web.Request) -> web.Response:
            request[OPERATION] = operation
            try:
                value, headers = handler(_call(request, simulation))
            except BearerError:
                return web.json_response(_UNAUTHORIZED, status=401, headers=_NO_CACHE)
            except ActivityError as error:
                return web.json_response(error.document(), status=error.status, headers=_NO_CACHE)
            headers = {**_NO_CACHE, **headers}
            return web.Response(headers=headers) if value is None else web.json_response(value, headers=headers)

        return answer

    return [
        web.post(f"{_FEED}/subscriptions/start", answered("subscriptions/start", feed.start)),
        web.post(f"{_FEED}/subscriptions/stop", answered("subscriptions/stop", feed.stop)),
        web.get(f"{_FEED}/subscriptions/list", answered("subscriptions/list", feed.list)),
        web.get(f"{_FEED}/subscriptions/content", answered("subscriptions/content", feed.content)),
        web.get(_FEED + "/audit/{content_id}", answered("audit", feed.audit)),
    ]


def _call(request: web.Request, simulation: Simulation) -> Call:
    """The request, once its caller may ask. Raises BearerError or ActivityError."""
    token = verify_bearer(request, MANAGEMENT)
    named = request.match_info["tenant"]
    if not _is_guid(named):
        raise ActivityError("AF20013", named)
    tenant = simulation.store.tenants.get(named.lower())
    if tenant is None or tenant.is_deleted:
        raise ActivityError("AF20011", named)
    if tenant.id != token.tenant_id:
        raise ActivityError("AF20010", named, token.tenant_id)
    allowed = token.roles if token.is_app_only else token.scopes
    if PERMISSION not in allowed:
        raise ActivityError("AF10001", " ".join(sorted(allowed)))
    if not _is_guid(request.query.get("PublisherIdentifier", NO_PUBLISHER)):
        raise ActivityError("AF20002", "PublisherIdentifier", "Guid")
    # Only what reads may see the tenant as it was.
    seen = simulation.tenant_for(request, tenant.id) if request.method == "GET" else tenant
    return Call(request, seen, token, simulation.clock.now())


def _check_not_disabled(tenant: Tenant) -> None:
    if tenant.activity_disabled_by or not tenant.unified_audit_log:
        raise ActivityError("AF20023", tenant.activity_disabled_by or "a tenant admin")


def _shown(tenant: Tenant, subscription: ActivitySubscription) -> dict[str, Any]:
    status = "disabled" if tenant.activity_disabled_by else subscription.status
    return {"contentType": subscription.content_type, "status": status, "webhook": None}


def _period(call: Call) -> tuple[datetime, datetime]:
    """From when and until when content is asked for; the last day where neither is said. Raises ActivityError."""
    start, end = _time(call, "startTime"), _time(call, "endTime")
    if start is None and end is None:
        return call.now - _DAY, call.now
    if start is None or end is None or not timedelta(0) <= end - start <= _DAY:
        raise ActivityError("AF20030")
    if start < call.now - KEPT:
        raise ActivityError("AF20055")
    return start, end


def _time(call: Call, name: str) -> datetime | None:
    """A time of the query: UTC, as `2015-08-01`, `...T00:00` or `...T00:00:00`. Raises ActivityError AF20002."""
    text = call.request.query.get(name)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ActivityError("AF20002", name, "DateTime") from None
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _offset(call: Call, count: int) -> int:
    text = call.request.query.get("nextPage")
    if text is None:
        return 0
    if not text.isdecimal() or not 0 < int(text) < count:
        raise ActivityError("AF20031", text)
    return int(text)


def _key(app_id: str, content_type: str) -> str:
    return f"{app_id}|{content_type}"


def _is_guid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
