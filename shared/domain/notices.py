"""What the last sync of a grant's directory has found that people should know although nothing is wrong with a step. Pure.

The sync leaves it behind as facts of its step: ``uncovered_domains`` (names), ``hidden_groups`` (how many), ``unknown_users``
(addresses or names).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from shared.domain.grant import Grant, ScopeKind
from shared.domain.steps import StepName

UNCOVERED_DOMAINS, HIDDEN_GROUPS, UNKNOWN_USERS = "uncovered_domains", "hidden_groups", "unknown_users"
"""The facts of a sync that notices are made of; they are the notices' codes, too."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that people should know: the code of its kind, what it is, what to do, and which domains or users it is about."""

    code: str
    cause: str
    fix: str
    names: tuple[str, ...] = ()


def notices_of(grant: Grant) -> tuple[Notice, ...]:
    """Return what the last sync has found and nobody has dealt with since; nothing of a grant that is over, or about to be."""
    if grant.is_ending:
        return ()
    facts = grant.last_sync_step.facts
    return tuple(make(grant, facts[code]) for code, make in _NOTICES.items() if facts.get(code) and not _is_settled(grant, code))


def _is_settled(grant: Grant, code: str) -> bool:
    """True for domains that the mail flow has covered since: with all domains as its scope, it covers those that there are."""
    done_at, synced_at = grant.steps[StepName.MAIL_FLOW].finished_at, grant.last_sync_step.finished_at
    is_for_all = grant.intent.scope.kind is ScopeKind.ALL_DOMAINS
    return code == UNCOVERED_DOMAINS and is_for_all and done_at is not None and synced_at is not None and done_at > synced_at


def _uncovered_domains(grant: Grant, names: list[str]) -> Notice:
    cause = "The tenant receives mail for domains that are not protected: they were added after the mail flow was set up."
    fix = "Do the mail flow again: it then covers every domain of the tenant."
    if grant.intent.scope.kind is not ScopeKind.ALL_DOMAINS:
        cause = "The tenant receives mail for domains that are not protected: the scope of this grant does not name them."
        fix = "If their mail is to be scanned, a grant whose scope names them too must take the place of this one."
    return Notice(UNCOVERED_DOMAINS, cause, fix, tuple(names))


def _hidden_groups(_grant: Grant, count: int) -> Notice:
    which = "One group hides its members" if count == 1 else f"{count:,} groups hide their members"
    fix = "To sync them too, the directory application needs the permission Member.Read.Hidden; nothing else waits for it."
    return Notice(HIDDEN_GROUPS, f"{which}, so that they are not synced.", fix)


def _unknown_users(_grant: Grant, names: list[str]) -> Notice:
    cause = "The scope of this grant names users that the tenant does not have."
    fix = "Check how they are written, and whether they have left; when they are there, the next sync finds them."
    return Notice(UNKNOWN_USERS, cause, fix, tuple(names))


_NOTICES: Mapping[str, Callable[[Grant, Any], Notice]] = {
    UNCOVERED_DOMAINS: _uncovered_domains,
    HIDDEN_GROUPS: _hidden_groups,
    UNKNOWN_USERS: _unknown_users,
}
"""How the notice of each fact is made, in the order in which people read them."""
