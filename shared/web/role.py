"""The way to the application's rights in Exchange Online, as people and programs are shown it, and when they end."""

from dataclasses import dataclass
from typing import Any

from shared.domain.grant import BY_HAND_BECAUSE, Grant, RoleMode
from shared.domain.roles import ENDS_AT, term_of
from shared.domain.schedule import stamp
from shared.domain.steps import StepName
from shared.settings import Settings

EXPIRY = "Expiry stops management, not mail."
"""What people must know of a role that ends."""
NO_END, UNKNOWN_BY_HAND, UNKNOWN = "no end", "unknown: assigned by hand", "unknown: assigned elsewhere"
"""How an end is told that is no date."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way to the role: its name, what it asks of whom, and the button that changes to it."""

    mode: RoleMode
    title: str
    explained: str
    instead: str


WAYS = (
    Way(
        RoleMode.SIGN_IN,
        "Assign it for me",
        "The administrator signs in once more, and the sign-in is used for this alone. No right to assign roles stays.",
        "Have it assigned for me instead",
    ),
    Way(
        RoleMode.APPLICATION,
        "By an application permission",
        "The administrator accepts one more permission. It stays, so that the role can be extended without a sign-in; "
        "it could assign any directory role.",
        "Have an application permission assign it instead",
    ),
    Way(
        RoleMode.BY_HAND,
        "By hand",
        "An administrator assigns the role in the Microsoft Entra admin center, with instructions.",
        "Assign it by hand instead",
    ),
    Way(
        RoleMode.ROLE_GROUP,
        "With less: an Exchange role group",
        "No directory role: an Exchange administrator runs a script, which allows only the cmdlets that are needed.",
        "Use an Exchange role group instead",
    ),
)
"""Every way, the usual one first."""


def ways(settings: Settings) -> tuple[Way, ...]:
    """Return the ways that this installation offers."""
    return tuple(way for way in WAYS if way.mode is not RoleMode.APPLICATION or settings.offers_role_assigner)


def role_end(grant: Grant) -> str:
    """Return in words when the application's role ends; "" as long as it has none."""
    step = grant.steps[StepName.ROLE_ASSIGNMENT]
    if step.finished_at is None and ENDS_AT not in step.facts:
        return ""
    term = term_of(grant)
    if term.ends_at:
        return f"until {term.ends_at.day} {term.ends_at:%B %Y}"
    if term.is_known or grant.role_mode is RoleMode.ROLE_GROUP:
        return NO_END
    return UNKNOWN_BY_HAND if grant.role_mode is RoleMode.BY_HAND else UNKNOWN


def role_view(grant: Grant) -> dict[str, Any]:
    """Return the way to the role, and the role's end; ``by_hand_because`` is the code of why the chosen way is closed."""
    term = term_of(grant)
    return {
        "mode": grant.role_mode,
        "chosen_mode": grant.intent.role_mode,
        "by_hand_because": grant.steps[StepName.ROLE_ASSIGNMENT].facts.get(BY_HAND_BECAUSE, ""),
        "ends_at": stamp(term.ends_at) if term.ends_at else None,
        "end": role_end(grant),
        "ticket_number": grant.intent.ticket_number,
        "ticket_system": grant.intent.ticket_system,
    }
