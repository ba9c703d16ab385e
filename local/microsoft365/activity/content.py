"""What there is to fetch: one piece of content an hour for each content type, computed from its time.

Forms: office-365-management-activity-api-reference (list of content), office-365-management-activity-api-schema (records).
An id holds its time, so nothing is kept. Real pieces come when events come, and are not in the order of their times.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid5

from local.microsoft365.model import IDS, ActivitySubscription, Tenant

KEPT = timedelta(days=7)
"""How long content can be fetched; documented so, though longer was measured."""
BACKFILL = timedelta(hours=22)
"""How far before its start the content of a new subscription reaches, as measured by a third party."""
_HOUR = timedelta(hours=1)
_STAMP = "%Y%m%d%H%M%S"
_ID = re.compile(r"(\d{14})(\d{9})\$\1\2\$([a-z_]+)\$([A-Za-z_]+)")
_EVENTS = {
    "Audit.AzureActiveDirectory": ("AzureActiveDirectory", 15, "UserLoggedIn"),
    "Audit.Exchange": ("Exchange", 1, "Set-Mailbox"),
    "Audit.SharePoint": ("SharePoint", 6, "FileAccessed"),
    "Audit.General": ("MicrosoftTeams", 25, "TeamsSessionStarted"),
    "DLP.All": ("Exchange", 13, "DlpRuleMatch"),
}
"""Workload, record type and operation of each content type's events."""
CONTENT_TYPES = frozenset(_EVENTS)


@dataclass(frozen=True, slots=True)
class Piece:
    """One piece of content ("blob")."""

    content_type: str
    created_at: datetime

    @property
    def id(self) -> str:
        """The content id."""
        stamp = f"{self.created_at.strftime(_STAMP)}{self.created_at.microsecond:06}000"
        name = self.content_type.replace(".", "_")
        return f"{stamp}${stamp}${name.lower()}${name}"

    @property
    def expires_at(self) -> datetime:
        """Until when it can be fetched."""
        return self.created_at + KEPT

    def entry(self, base: str) -> dict[str, str]:
        """Its line in a list of content; `base` is the feed's address."""
        return {
            "contentUri": f"{base}/audit/{self.id}",
            "contentId": self.id,
            "contentType": self.content_type,
            "contentCreated": _written(self.created_at),
            "contentExpiration": _written(self.expires_at),
        }

    def records(self, tenant: Tenant) -> list[dict[str, Any]]:
        """Its events: one of the hour, and a late one that is older than what earlier pieces hold."""
        return [self._record(tenant, self.created_at), self._record(tenant, self.created_at - 3 * _HOUR)]

    def _record(self, tenant: Tenant, at: datetime) -> dict[str, Any]:
        workload, record_type, operation = _EVENTS[self.content_type]
        person = next(iter(tenant.users))
        return {
            "CreationTime": at.strftime("%Y-%m-%dT%H:%M:%S"),
            "Id": str(uuid5(IDS, f"activity|{tenant.id}|{self.id}|{at}")),
            "Operation": operation,
            "OrganizationId": tenant.id,
            "RecordType": record_type,
            "ResultStatus": "Success",
            "UserKey": person.id,
            "UserType": 0,
            "Version": 1,
            "Workload": workload,
            "UserId": person.user_principal_name,
            "ClientIP": "203.0.113.10",
        }


def pieces(subscription: ActivitySubscription, start: datetime, end: datetime, now: datetime) -> list[Piece]:
    """The content created from `start` to before `end`, in no order of time."""
    found = _hours(max(start, subscription.started_at - BACKFILL), min(end, now))
    return sorted(
        (Piece(subscription.content_type, each) for each in found), key=lambda each: hashlib.sha256(each.id.encode()).digest()
    )


def piece_named(identifier: str) -> Piece | None:
    """The piece that an id means, whether it ever was or not; None when it is no such id."""
    match = _ID.fullmatch(identifier)
    content_type = match[4].replace("_", ".") if match else ""
    if match is None or content_type not in CONTENT_TYPES or match[3] != match[4].lower():
        return None
    try:
        created = datetime.strptime(match[1], _STAMP).replace(microsecond=int(match[2]) // 1000, tzinfo=UTC)
    except ValueError:
        return None
    return Piece(content_type, created)


def was_made(piece: Piece, subscription: ActivitySubscription, now: datetime) -> bool:
    """Whether a subscription got this piece."""
    on_the_hour = piece.created_at == piece.created_at.replace(minute=0, second=0, microsecond=0)
    return on_the_hour and subscription.started_at - BACKFILL <= piece.created_at <= now


def _hours(start: datetime, end: datetime) -> Iterator[datetime]:
    hour = start.replace(minute=0, second=0, microsecond=0)
    hour = hour if hour >= start else hour + _HOUR
    while hour < end:
        yield hour
        hour += _HOUR


def _written(moment: datetime) -> str:
    return f"{moment.strftime('%Y-%m-%dT%H:%M:%S')}.{moment.microsecond // 1000:03}Z"
