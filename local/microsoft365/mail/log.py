"""What a tenant remembers of the messages that went through it: the facts that message trace and quarantine are made from.

A message that comes back from a scanner is a new passage: the same Message-ID, a new message trace id.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from local.microsoft365.mail.live import MailOrder
    from local.microsoft365.mail.model import Copy

KEPT = timedelta(days=90)
"""How far back message trace goes (page of Get-MessageTraceV2)."""
EXPIRES = timedelta(hours=24)
"""How long a message is tried before its sender is told; known in the field (real-tenants.md 11)."""
_NEVER = datetime.min.replace(tzinfo=UTC)
QUERIES = 100
WINDOW = timedelta(minutes=5)
"""Queries that are accepted in a running window (page of Get-MessageTraceV2)."""


class Fate(NamedTuple):
    """What became of one recipient's copy in this passage."""

    end: str
    """An end of a journey, or `sent` (it left the tenant), `expanded` (a group) or `redirected`."""
    status: str = ""
    reason: str = ""
    """Why a message was quarantined: Malware, HighConfPhish, Phish, Spam, TransportRule."""
    host: str = ""
    to_ip: str = ""


class Happening(NamedTuple):
    """An event on the way, for some recipients."""

    name: str
    recipients: tuple[str, ...]
    detail: str
    connector: str = ""


@dataclass(slots=True)
class Passage:
    """One message in one tenant, once."""

    tenant: str
    sender: str
    subject: str
    size_kb: float
    source_ip: str
    received_for: tuple[str, ...]
    connector: str = ""
    """The inbound connector that took it."""
    is_judged: bool = True
    """Whether the filters look at it: it was neither born here nor brought by an OnPremises connector."""
    fates: dict[str, Fate] = field(default_factory=dict)
    happenings: list[Happening] = field(default_factory=list)
    message_id: str = ""
    trace_id: str = ""
    at: datetime = _NEVER

    def note(self, name: str, recipients: Iterable[str], detail: str, connector: str = "") -> None:
        """Remember an event."""
        self.happenings.append(Happening(name, tuple(recipients), detail, connector))

    def is_expired(self, now: datetime) -> bool:
        """Tell whether what still waits in the queue has waited too long."""
        return now - self.at >= EXPIRES


class Waiting(NamedTuple):
    """A message that waits in a tenant's queue for another try, and the order that it is of."""

    copy: Copy
    order: MailOrder


@dataclass(slots=True)
class MailLog:
    """A tenant's passages, oldest first, and when message trace was asked."""

    passages: list[Passage] = field(default_factory=list)
    waiting: list[Waiting] = field(default_factory=list)
    """What is in the queue."""
    _asked: dict[str, deque[datetime]] = field(default_factory=dict)

    def add(self, passage: Passage) -> None:
        """Keep a passage, and forget what message trace no longer shows."""
        oldest = passage.at - KEPT
        if self.passages and self.passages[0].at < oldest:
            self.passages = [each for each in self.passages if each.at >= oldest]
        self.passages.append(passage)

    def admits(self, cmdlet: str, now: datetime) -> bool:
        """Count a query of a cmdlet; tell whether it is still within what is accepted."""
        asked = self._asked.setdefault(cmdlet, deque())
        while asked and now - asked[0] >= WINDOW:
            asked.popleft()
        if len(asked) >= QUERIES:
            return False
        asked.append(now)
        return True
