"""The Office 365 Management Activity API: a tenant's audit log, as content that an application subscribes to.

https://learn.microsoft.com/office/office-365-management-api/office-365-management-activity-api-reference
"""

from http import HTTPStatus
from typing import Any

import httpx

from shared.microsoft import errors
from shared.microsoft.clouds import Cloud
from shared.microsoft.errors import Reaction, Service
from shared.microsoft.graph import OpenCredential
from shared.microsoft.permissions import Resource


class ActivityFeed:
    """``ports.Activity`` for one tenant, with one token for its life.

    Every request names the ``publisher``, the operator's own tenant: without one ("") it shares a quota with everybody else's.
    """

    def __init__(
        self, cloud: Cloud, http: httpx.AsyncClient, tenant_id: str, open_credential: OpenCredential, publisher: str
    ) -> None:
        self._base = f"{cloud.management}/api/v1.0/{tenant_id}/activity/feed/subscriptions"
        self._scope = cloud.scope(Resource.MANAGEMENT)
        self._http = http
        self._open_credential = open_credential
        self._named = {"PublisherIdentifier": publisher} if publisher else {}
        self._token = ""

    async def start(self, content_type: str) -> None:
        """See ``ports.Activity``. No webhook is named: content is asked for, never sent to anybody."""
        response = await self._send("POST", "start", contentType=content_type)
        if response.status_code < HTTPStatus.BAD_REQUEST:
            return
        answer = errors.activity_answer(response)
        if errors.meaning(answer, errors.ACTIVITY) is not Reaction.ALREADY:
            raise errors.error_of(answer, errors.ACTIVITY)

    async def subscriptions(self) -> frozenset[str]:
        """See ``ports.Activity``."""
        response = await self._send("GET", "list")
        if response.status_code >= HTTPStatus.BAD_REQUEST:
            raise errors.error_of(errors.activity_answer(response), errors.ACTIVITY)
        return frozenset(str(row["contentType"]) for row in _rows(response) if row.get("status") == "enabled")

    async def _send(self, method: str, operation: str, **query: str) -> httpx.Response:
        """Send a request; return the answer, whatever its status. Raises TransientError, and what asking for a token raises."""
        if not self._token:
            credential = await self._open_credential()
            self._token = (await credential.get_token(self._scope)).token
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}
        try:
            return await self._http.request(method, f"{self._base}/{operation}", params={**query, **self._named}, headers=headers)
        except httpx.TransportError as error:
            raise errors.unreachable(Service.ACTIVITY, error) from None


def _rows(response: httpx.Response) -> list[dict[str, Any]]:
    """Return the objects of an answer that is a list. Raises TransientError for any other."""
    try:
        found = response.json()
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(row, dict) and "contentType" in row for row in found):
        raise errors.unreadable(Service.ACTIVITY, response.status_code)
    return found
