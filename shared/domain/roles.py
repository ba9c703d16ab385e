"""What to do about the application's role: pure decisions from what the tenant holds and what its policy asks."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from shared.domain import schedule
from shared.domain.grant import Facts, Grant
from shared.domain.steps import StepName

ASSIGNED_AT, SEEN_AT, WITH_PIM = "assigned_at", "role_seen_at", "with_pim"
"""Facts: when we assigned the role, when the daily watch first saw its term, whether Privileged Identity Management keeps it."""
BEGINS_AT, ENDS_AT = "role_begins_at", "role_ends_at"
"""Facts of the role's step and of the watch: the term. The end is "" for none, and None or absent where it is unknown."""
SOON = timedelta(days=14)
"""How long before its end an assignment is a problem; Microsoft, too, offers its extension from then on
(https://learn.microsoft.com/entra/id-governance/privileged-identity-management/pim-how-to-renew-extend)."""
SOON_SHARE = 4
"""Of a short assignment, only its last quarter is soon: otherwise it would never be anything else."""


class Deed(StrEnum):
    """What an administrator's sign-in, or an application permission, is used for."""

    NOTHING = "nothing"
    ASSIGN = "assign"
    EXTEND = "extend"


@dataclass(frozen=True, slots=True)
class Term:
    """An assignment's end; ``ends_at`` is None where it has none. ``is_known`` is False where nobody could look."""

    is_known: bool
    ends_at: datetime | None = None
    begins_at: datetime | None = None

    def is_soon_over(self, now: datetime) -> bool:
        """True when the end is near enough to ask a person for more time."""
        if self.ends_at is None:
            return False
        window = SOON if self.begins_at is None else min(SOON, (self.ends_at - self.begins_at) / SOON_SHARE)
        return now >= self.ends_at - window


UNKNOWN = Term(is_known=False)


def term_of(grant: Grant) -> Term:
    """Return what is known of the end of the application's role: by the daily watch, or our own assignment if later."""
    assigned, watched = grant.steps[StepName.ROLE_ASSIGNMENT].facts, grant.steps[StepName.ACCESS_WATCH].facts
    is_newer = watched.get(ENDS_AT) is not None and str(watched.get(SEEN_AT)) > str(assigned.get(ASSIGNED_AT, ""))
    return _read(watched if is_newer else assigned)


def term_facts(term: Term) -> Facts:
    """Return a term as facts of a step."""
    return {BEGINS_AT: _stamp(term.begins_at), ENDS_AT: _stamp(term.ends_at) if term.is_known else None}


def _read(facts: Facts) -> Term:
    end = facts.get(ENDS_AT)
    return UNKNOWN if end is None else Term(is_known=True, ends_at=_parse(end), begins_at=_parse(facts.get(BEGINS_AT) or ""))


def _stamp(at: datetime | None) -> str:
    return schedule.stamp(at) if at else ""


def _parse(stamp: str) -> datetime | None:
    return schedule.parse(stamp) if stamp else None


def deed(held: Term | None, now: datetime) -> Deed:
    """Return what is to be done where the tenant holds ``held`` (None: no assignment). Nothing is ever taken away or doubled."""
    if held is None:
        return Deed.ASSIGN
    return Deed.EXTEND if held.is_soon_over(now) else Deed.NOTHING
