"""The refusals of Microsoft Graph, each with its status, code and message.

Form and codes: learn.microsoft.com/graph/errors; the messages are those that Microsoft's pages and public issue threads
show for the case.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class GraphError(Exception):
    """Raised when a request is refused; `code` is Graph's, `status` the HTTP status."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers or {}

    def document(self, *, date: str, request_id: str, client_request_id: str) -> dict[str, Any]:
        """Return the JSON document of the answer."""
        inner = {"date": date, "request-id": request_id, "client-request-id": client_request_id}
        return {"error": {"code": self.code, "message": self.message, "innerError": inner}}


_TOKEN_MESSAGES = {
    "missing": "Access token is empty.",
    "malformed": "IDX14100: JWT is not well formed, there are no dots (.).",
    "signature": "Access token validation failure. Invalid signature.",
    "expired": "Access token has expired or is not yet valid.",
    "audience": "Access token validation failure. Invalid audience.",
    "tenant": "Access token validation failure. Invalid tenant.",
}


def invalid_token(reason: str) -> GraphError:
    """Return the refusal of a bearer token; `reason` is BearerError's."""
    return GraphError(401, "InvalidAuthenticationToken", _TOKEN_MESSAGES[reason])


def denied() -> GraphError:
    """Return the refusal of a caller without a permission or a role that the operation needs."""
    return GraphError(403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")


def not_found(identifier: str) -> GraphError:
    """Return the refusal of an id that names nothing."""
    message = f"Resource '{identifier}' does not exist or one of its queried reference-property objects are not present."
    return GraphError(404, "Request_ResourceNotFound", message)


def bad_request(message: str) -> GraphError:
    """Return the refusal of a request whose values the directory doesn't take."""
    return GraphError(400, "Request_BadRequest", message)


def malformed(message: str) -> GraphError:
    """Return the refusal of a request that Graph's front end can't read."""
    return GraphError(400, "BadRequest", message)


def unsupported_query(message: str) -> GraphError:
    """Return the refusal of a query that is well formed and not supported."""
    return GraphError(400, "Request_UnsupportedQuery", message)


def expired_page() -> GraphError:
    """Return the refusal of a page token that isn't ours or isn't this collection's."""
    message = "The specified page token value has expired and can no longer be included in your request."
    return GraphError(400, "Directory_ExpiredPageToken", message)


def sync_state_not_found(address: str) -> GraphError:
    """Return the refusal of a delta token that is too old or isn't this collection's; `address` is where to begin again.

    Status, code and the header: learn.microsoft.com/graph/delta-query-overview, "Synchronization reset".
    """
    message = "The state of the synchronization was not found. Begin again with a full synchronization."
    return GraphError(410, "syncStateNotFound", message, {"Location": f"{address}?$deltatoken="})
