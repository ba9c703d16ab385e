"""The refusals of the Management Activity API.

Codes and words: learn.microsoft.com/office/office-365-management-api/office-365-management-activity-api-reference#errors;
AF20024 is not there and was measured (github:rknightion/graph2otel internal/o365activityclient, 2026-07-16). The page
names no HTTP statuses: 400 where none was measured. AF429 comes with 403 (troubleshooting page), AF50000 with 500.
"""

from __future__ import annotations

from typing import Any

_PERIOD = (
    "Start time and end time must both be specified (or both omitted) and must be less than or equal to 24 hours apart, with the"
    " start time no more than 7 days in the past."
)
_MESSAGES = {
    "AF10001": "The permission set ({0}) sent in the request did not include the expected permission ActivityFeed.Read.",
    "AF20001": "Missing parameter: {0}.",
    "AF20002": "Invalid parameter type: {0}. Expected type: {1}",
    "AF20010": "The tenant ID passed in the URL ({0}) does not match the tenant ID passed in the access token ({1}).",
    "AF20011": "Specified tenant ID ({0}) does not exist in the system or has been deleted.",
    "AF20013": "The tenant ID passed in the URL ({0}) is not a valid GUID.",
    "AF20020": "The specified content type is not valid.",
    "AF20022": "No subscription found for the specified content type.",
    "AF20023": "The subscription was disabled by {0}.",
    "AF20024": "The subscription is already enabled. No property change.",
    "AF20030": _PERIOD,
    "AF20031": "Invalid nextPage Input: {0}.",
    "AF20050": "The specified content ({0}) does not exist.",
    "AF20051": "Content requested with the key {0} has already expired. Content older than 7 days cannot be retrieved.",
    "AF20052": "Content ID {0} in the URL is invalid.",
    "AF20055": _PERIOD,
    "AF429": "Too many requests. Method={0}, PublisherId={1}",
    "AF50000": "An internal error occurred. Retry the request.",
}
_STATUSES = {"AF10001": 403, "AF429": 403, "AF50000": 500}
NO_PUBLISHER = "00000000-0000-0000-0000-000000000000"
"""Stands for whoever calls without a PublisherIdentifier; all of them share one pool."""


class ActivityError(Exception):
    """Raised when the API refuses; facts fill the places of the code's message."""

    def __init__(self, code: str, *facts: str, message: str = "") -> None:
        """`message` is said in the place of the code's own words, where Microsoft has none for it."""
        self.code = code
        self.status = _STATUSES.get(code, 400)
        self.message = message or _MESSAGES[code].format(*facts)
        super().__init__(self.message)

    def document(self) -> dict[str, Any]:
        """Return the body of the answer."""
        return {"error": {"code": self.code, "message": self.message}}


def default_document(status: int, method: str, publisher: str) -> dict[str, Any]:
    """Return what the API says to a refusal that is not the request's fault: throttled (403, 429) or broken."""
    code = "AF429" if status in {403, 429} else "AF50000"
    return ActivityError(code, method, publisher or NO_PUBLISHER).document()
