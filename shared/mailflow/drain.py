"""When no message is under way any more between a tenant and the scanner (real-tenants.md 11): a pure decision, with its clocks.

A change of a rule takes up to an hour to reach every server of Exchange Online; a message that can't be delivered is tried for
about a day; the scanner may hold messages in its queue, or release one from its quarantine days later.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.domain import schedule
from shared.domain.grant import Facts, Waiver
from shared.domain.problems import Actor

RULES_SETTLE = timedelta(minutes=60)
"""How long servers may still act on a rule that was switched off."""
QUEUES_LIVE = timedelta(hours=24)
"""How long Exchange Online tries to deliver what it has queued for the scanner."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What is known of messages under way.

    ``off_at`` is when the routing was read back as off. ``pending`` is how many messages message trace shows as not delivered yet
    to or from the scanner, None where it was not asked. ``scanner`` is the scanner's last report, None before the first.
    """

    off_at: datetime
    pending: int | None = None
    scanner: Facts | None = None
    waived: Collection[Waiver] = ()


@dataclass(frozen=True, slots=True)
class Missing:
    """One condition that does not hold yet: why, the moment when time alone fulfils it, and who else must act."""

    why: str
    until: datetime | None = None
    who: Actor | None = None


def still_missing(traffic: Traffic, now: datetime) -> tuple[Missing, ...]:
    """Return what is still to be waited for, none when no message can be under way any more."""
    conditions = (_rules(traffic), _queues(traffic), _trace(traffic), _scanner(traffic))
    return tuple(each for each in conditions if each is not None and _holds_up(each, now))


def is_settled(traffic: Traffic, now: datetime) -> bool:
    """True once every server has the routing off: only then do message trace and the scanner say anything for good."""
    return now >= traffic.off_at + RULES_SETTLE


def _holds_up(missing: Missing, now: datetime) -> bool:
    return missing.until is None or now < missing.until


def _rules(traffic: Traffic) -> Missing:
    return Missing("every server of Exchange Online has the routing off after 60 minutes", traffic.off_at + RULES_SETTLE)


def _queues(traffic: Traffic) -> Missing:
    return Missing("Exchange Online gives up what it has queued after 24 hours", traffic.off_at + QUEUES_LIVE)


def _trace(traffic: Traffic) -> Missing | None:
    if traffic.pending == 0 or {Waiver.MESSAGE_TRACE, Waiver.LEFTOVERS} & set(traffic.waived):
        return None
    if traffic.pending is None:
        return Missing("message trace is to show none that wait to be delivered to or from the scanner")
    return Missing(f"message trace shows {traffic.pending} that wait to be delivered to or from the scanner")


def _scanner(traffic: Traffic) -> Missing | None:
    if Waiver.SCANNER_QUEUE in traffic.waived:
        return None
    report = traffic.scanner
    if report is None or schedule.parse(str(report["at"])) < traffic.off_at + RULES_SETTLE:
        return Missing("the scanner reports that it holds none, or an operator waives that", who=Actor.OPERATOR)
    if not report["queued"] and not report["quarantined"]:
        return None
    held = f"the scanner holds {report['queued']} in its queue and {report['quarantined']} in its quarantine"
    return Missing(held, who=Actor.OPERATOR)
