"""Examples that the tests of the storage share."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

from shared.domain import decide
from shared.domain.decision import Decision
from shared.domain.grant import Direction, Event, Grant, Intent, Row, Scope

NOW = datetime(2026, 11, 23, 12, 30, tzinfo=UTC)


def new_grant(name: str = "Ärger & Söhne / 100 %") -> Decision:
    """Return the decision that creates a grant with a fresh id."""
    intent = Intent((Direction.INBOUND,), Scope(), "standard")
    return decide.create(
        grant_id=str(uuid4()), account_id="account-1", account_name=name, intent=intent, created_by="operator", now=NOW
    )


def change(grant: Grant, *, rows: tuple[Row, ...] = (), deletes: tuple[str, ...] = (), events: int = 0) -> Decision:
    """Return a change of ``grant`` with so many new events."""
    new = tuple(Event(grant.seq + number, NOW, "step.done", None, {"n": number}) for number in range(1, events + 1))
    return Decision(replace(grant, seq=grant.seq + events), events=new, rows=rows, deletes=deletes)
