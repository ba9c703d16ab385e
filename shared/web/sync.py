"""The sync of a tenant's directory as people and programs are shown it: how far it is, what it has changed, when it is next."""

from collections.abc import Mapping, Sequence
from typing import Any

from shared.domain import decide, schedule
from shared.domain.grant import Facts, Grant, Step
from shared.domain.notices import Notice, notices_of
from shared.domain.steps import StepName

COLLECTIONS: Mapping[str, str] = {
    "compare": "comparing with everything that Microsoft has",
    "publish": "putting the new copy in the place of the former one",
    "tidy": "deleting the copy that is not needed any more",
}
"""What a sync does beside reading users and groups, by its collection's name."""
CHANGES = ("added", "changed", "removed")
DIFFERENCES = ("missing", "gone", "different")
MINUTE, HOUR = 60, 3600


def sync_view(grant: Grant) -> dict[str, Any]:
    """Return what the last sync has brought, when the next one is, and what people should know of it.

    Nothing of what it has brought is told once a removal has deleted it.
    """
    last = grant.last_sync_step
    is_there = last.finished_at and not grant.steps[StepName.DIRECTORY_REMOVAL].is_done
    facts = last.facts if is_there else {}
    daily = grant.steps[StepName.DAILY_SYNC]
    return {
        "last_sync": schedule.stamp(last.finished_at) if last.finished_at else None,
        "next_sync": schedule.stamp(daily.clock) if daily.state in decide.SETTLED and daily.clock else None,
        "users": facts.get("users"),
        "groups": facts.get("groups"),
        "stored_text": " and ".join(_number(facts.get(f"{kind}s", 0), kind) for kind in ("user", "group")) if facts else "",
        "changed": facts.get("changed"),
        "changed_text": changed_words(facts.get("changed") or {}),
        "differences": facts.get("differences"),
        "differences_text": differences_words(facts.get("differences") or {}) if facts.get("differences") else "",
        "notices": [notice_view(notice) for notice in notices_of(grant)],
    }


def notice_view(notice: Notice) -> dict[str, Any]:
    """Return a notice for people and programs."""
    return {"code": notice.code, "cause": notice.cause, "fix": notice.fix, "names": list(notice.names)}


def progress_of(step: Step, progress: Facts) -> Facts:
    """Return how far a step's work is; nothing of work that ended before the present one was asked for."""
    at = progress.get("at")
    is_former = bool(at) and step.begun_at is not None and schedule.parse(str(at)) < step.begun_at
    return {} if is_former else progress


def progress_words(progress: Facts) -> str:
    """Return in words how far a step's work is, for example "12,000 of 100,000 users, about 2 minutes left, 900 a second"."""
    if "objects" in progress:
        return _counted(progress["objects"], progress.get("of"), "object")
    if "users" not in progress:
        return ""
    parts = [_read(progress), _left(progress.get("left_seconds")), _rate(progress.get("rate"))]
    return ", ".join(filter(None, parts))


def changed_words(changed: Mapping[str, Mapping[str, int]]) -> str:
    """Return what a sync has changed, for example "12 users added, 3 groups changed"; "" where that is unknown."""
    if not changed:
        return ""
    kinds = (("user", changed.get("users", {})), ("group", changed.get("groups", {})))
    parts = [f"{_number(counts[how], kind)} {how}" for kind, counts in kinds for how in CHANGES if counts.get(how)]
    return ", ".join(parts) or "nothing had changed"


def differences_words(differences: Mapping[str, int]) -> str:
    """Return what a comparison with everything has found, and that it was put right."""
    found = [f"{differences[name]:,} {name}" for name in DIFFERENCES if differences.get(name)]
    if not found:
        return "The last full comparison with Microsoft found no difference."
    return f"The last full comparison with Microsoft found {_listed(found)} among users and groups; all is put right."


def _listed(parts: Sequence[str]) -> str:
    return f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else parts[0]


def _read(progress: Facts) -> str:
    collection = str(progress.get("collection", "users"))
    if collection in COLLECTIONS:
        return COLLECTIONS[collection]
    if collection == "groups":
        return f"{_number(progress['users'], 'user')}, {_number(progress.get('groups', 0), 'group')} so far"
    return _counted(progress["users"], progress.get("of"), "user")


def _counted(done: int, total: int | None, kind: str) -> str:
    return f"{done:,} of {_number(total, kind)}" if total and total > done else f"{_number(done, kind)} so far"


def _number(count: int, kind: str) -> str:
    return f"{count:,} {kind}" if count == 1 else f"{count:,} {kind}s"


def _left(seconds: float | None) -> str:
    """Return how much time is left, as exactly as an estimate deserves."""
    if seconds is None:
        return ""
    if seconds < MINUTE:
        return "less than a minute left"
    size, kind = (MINUTE, "minute") if seconds < 1.5 * HOUR else (HOUR, "hour")
    return f"about {_number(round(seconds / size), kind)} left"


def _rate(rate: float | None) -> str:
    return f"{round(rate):,} a second" if rate and round(rate) else ""
