"""Answers one cmdlet call, whether it came by itself or in a batch: who may run it, on which tenant, and which page it gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from yarl import URL

from local.microsoft365.exchange.catalogue import licensed_cmdlets, offered_cmdlets
from local.microsoft365.exchange.errors import CommandError
from local.microsoft365.exchange.invoke import execute, prepare
from local.microsoft365.exchange.objects import Call
from local.microsoft365.exchange.tenants import TenantOrganization, cmdlets_of_groups
from local.microsoft365.exchange.wire import (
    CmdletInput,
    annotated,
    answer_document,
    page_size,
    page_token,
    read_page_token,
)
from local.microsoft365.items import Reply
from local.microsoft365.licences import plans_of
from local.microsoft365.model import Tenant
from local.microsoft365.simulation import Simulation
from local.microsoft365.tokens import AccessToken

UNCERTAIN = ("connector_in_use_removable", "dehydrated_refuses_mail_flow")
"""Settings that switch what Microsoft doesn't document; each is off where the simulation's settings don't have it."""
_RATE_LIMIT = 30_000
_RATE_WINDOW = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Asked:
    """A call as it came: the address with its query, the Prefer header, the cmdlet; `stale` in seconds, of a reading fault."""

    url: URL
    prefer: str
    call: CmdletInput
    stale: float | None = None


class RateLimit:
    """Counts the calls of each application in each tenant for the Rate-Limit headers; it refuses nothing."""

    def __init__(self) -> None:
        self._used: dict[tuple[str, str], tuple[datetime, int]] = {}

    def headers(self, token: AccessToken, now: datetime) -> dict[str, str]:
        """Count one call and return the headers of its answer."""
        key = (token.tenant_id, token.app_id)
        reset, used = self._used.get(key, (now, 0))
        if now >= reset:
            reset, used = now + _RATE_WINDOW, 0
        self._used[key] = (reset, used + 1)
        return {
            "Rate-Limit-Limit": str(_RATE_LIMIT),
            "Rate-Limit-Remaining": str(max(0, _RATE_LIMIT - used - 1)),
            "Rate-Limit-Reset": reset.strftime("%Y-%m-%dT%H:%M:%S.") + f"{reset.microsecond // 1000:03}Z",
        }


def offered_to(tenant: Tenant, token: AccessToken) -> frozenset[str]:
    """Return the cmdlets that the caller may run: those of its roles that the tenant's licences hold."""
    offered = offered_cmdlets(token.wids, cmdlets_of_groups(tenant, token.object_id))
    return offered & licensed_cmdlets(plan["name"] for plan in plans_of(tenant))


class Calls:
    """Answers the calls of callers who may use the endpoint."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._rate_limit = RateLimit()

    def answer(self, asked: Asked, token: AccessToken) -> Reply:
        """Return what the cmdlet comes to, or its refusal, as the endpoint writes them."""
        headers = self._rate_limit.headers(token, self._simulation.clock.now())
        try:
            document = self._document(asked, token)
        except CommandError as error:
            return Reply(error.status, error.document(), headers)
        return Reply(200, document, {**headers, "Preference-Applied": 'odata.include-annotations="*"'})

    def _document(self, asked: Asked, token: AccessToken) -> dict[str, Any]:
        """Return the document of one cmdlet; raises CommandError when it is refused."""
        store, call, now = self._simulation.store, asked.call, self._simulation.clock.now()
        reads = call.name.lower().startswith("get-")
        is_stale = reads and asked.stale is not None
        tenant = store.tenant_before(token.tenant_id, asked.stale or 0) if is_stale else store.tenant(token.tenant_id)
        bound = self._prepared(call, tenant, token)
        skip = asked.url.query.get("$skiptoken")
        offset = read_page_token(skip, call, now) if skip else 0
        rows = execute(call.name, bound)
        if not reads:
            store.changed(tenant)
        return self._page(asked, answer_document(tenant.initial_domain, (), bound.warnings), rows, offset)

    def _prepared(self, call: CmdletInput, tenant: Tenant, token: AccessToken) -> Call:
        settings, now = self._simulation.settings, self._simulation.clock.now()
        return prepare(
            call,
            TenantOrganization(tenant, now),
            offered_to(tenant, token),
            now=now,
            uncertain={name for name in UNCERTAIN if getattr(settings, name, False)},
            customization_delay=settings.customization_delay,
            trace_delay=settings.message_trace_delay,
        )

    def _page(self, asked: Asked, document: dict[str, Any], rows: list[Mapping[str, Any]], offset: int) -> dict[str, Any]:
        """Return the document with the page at `offset`, and the address that is posted to for the next one."""
        size = page_size(asked.prefer)
        select = [name for name in asked.url.query.get("$select", "").split(",") if name]
        document["value"] = [annotated(row, select) for row in rows[offset : offset + size]]
        if offset + size < len(rows):
            token = page_token(offset + size, asked.call, self._simulation.clock.now())
            query = {key: value for key, value in asked.url.query.items() if key.lower() != "$skiptoken"}
            link = asked.url.relative() if asked.url.is_absolute() else asked.url
            document["@odata.nextLink"] = f"{self._simulation.url}{link.with_query({**query, '$skiptoken': token})}"
        return document
