"""What people and programs are shown of a grant: plain JSON values, made from the grant alone."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from shared.domain import decide, schedule
from shared.domain.grant import BY_HAND_BECAUSE, SUCCESS_MESSAGE, Event, Facts, Grant, GrantState, RoleMode, Row, Step
from shared.domain.problems import CATALOGUE, Problem
from shared.domain.roles import ASSIGNED_AT
from shared.domain.steps import STEPS, StepName, StepState
from shared.ports import AccountRow, AskedPermission
from shared.web.mailflow import routing_view
from shared.web.role import role_end, role_view
from shared.web.sync import changed_words, differences_words, progress_of, progress_words, sync_view
from shared.web.templates import moment, words

View = dict[str, Any]
NEW_OBJECT = "exists"
"""The property whose former value tells that an object was not there before."""
EVENT_TITLES: Mapping[str, str] = {
    "grant.created": "Grant started",
    "tenant.proved": "Tenant proved by a sign-in",
    "role_mode.chosen": "Way to the role chosen",
    "onboarding_link.created": "Onboarding link made",
    "onboarding_link.used": "Onboarding link used",
    "consent.refused": "A return from Microsoft was refused",
    "step.person_acted": "A person did their part",
    "step.waiting": "Waiting",
    "step.waiting_for_person": "Waiting for a person",
    "step.needs_attention": "Needs attention",
    "step.retried": "Begun again",
    "step.reopened": "To be done again",
    "step.done": "Done",
    "policy.enabled": "Policy enabled",
    "grant.completed": "Access granted",
    "grant.restored": "Access restored",
    "grant.released": "Tenant released",
    "tenant.transferred": "Tenant taken over from another account",
    "grant.protecting": "Protection proved by test messages",
    "grant.paused": "Routing paused",
    "grant.resumed": "Routing resumed",
    "grant.removed": "Everything taken back from the tenant",
    "routing.pause_asked": "Pause asked for",
    "routing.resume_asked": "Resumption asked for",
    "plan.approved": "Plan approved",
    "finding.acknowledged": "Finding acknowledged",
    "finding.fix_asked": "Fix of a finding asked for",
    "removal.asked": "Removal asked for",
    "removal.waived": "Removal told not to wait",
    "scanner.reported": "Report of the scanner's queue",
    "probe.reported": "Report of a test message",
    "message.dead_lettered": "A message could not be read",
}
"""What audit events are called on the screen, by their type."""
UNTOLD = frozenset(
    {
        "account_id",
        "service",
        "names",
        "client_id",
        "object_id",
        "link_id",
        "seen",
        "mfa_asked",
        "consent_asked",
        "by_hand_because",
    }
)
"""Details of events that tell a person nothing that the page does not say already."""
AT_REST: Mapping[GrantState, str] = {
    GrantState.RELEASED: "grant.released",
    GrantState.REMOVED: "grant.removed",
    GrantState.PAUSED: "grant.paused",
}
"""Which event tells of a state in which a grant rests without mail being routed."""
MOMENTS = frozenset(
    {"until", "give_up_at", "assigned_at", "expires_at", "role_begins_at", "role_ends_at", "role_seen_at", "checked_at"}
)
"""Details of events that are moments."""
SYNC_WORDS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {"changed": changed_words, "differences": differences_words}
"""How what a sync has changed, and what its comparison has found, is told in the history."""
CONSENTS: Mapping[StepName, str] = {
    StepName.MAIL_FLOW_CONSENT: "mail_flow",
    StepName.DIRECTORY_CONSENT: "directory",
    StepName.ACTIVITY_CONSENT: "activity",
}
"""Which application each step has a standing consent given to."""


def grant_view(grant: Grant, progress: Mapping[str, Facts]) -> View:
    """Return the live state of a grant. ``progress`` tells how far running steps are, by their names."""
    return {
        "grant_id": grant.grant_id,
        "account_id": grant.account_id,
        "account_name": grant.account_name,
        "service": grant.service,
        "seq": grant.seq,
        "tenant_id": grant.tenant_id,
        "tenant_name": grant.last_sync_step.facts.get("tenant_name", ""),
        "expected_tenant": grant.intent.expected_tenant,
        "state": grant.state,
        "message": SUCCESS_MESSAGE if grant.is_complete else "",
        "directions": list(grant.intent.directions),
        "scope": {
            "kind": grant.intent.scope.kind,
            "domains": list(grant.intent.scope.domains),
            "group": grant.intent.scope.group,
            "users": list(grant.intent.scope.users),
        },
        "policy": grant.intent.policy,
        "role_mode": grant.role_mode,
        "role": role_view(grant),
        "routing": routing_view(grant),
        "is_removed": grant.intent.is_removed,
        "consents": [consent_view(grant, name) for name in CONSENTS if "permissions" in grant.steps[name].facts],
        "last_check": _last_check(grant),
        "sync": sync_view(grant),
        "released_at": _moment(grant.released_at),
        "created_at": schedule.stamp(grant.created_at),
        "created_by": grant.created_by,
        "steps": [
            step_view(grant, step, progress.get(step.name, {}))
            for step in grant.steps.values()
            if grant.intent.is_removed or not STEPS[step.name].is_removal
        ],
    }


def step_view(grant: Grant, step: Step, progress: Facts) -> View:
    """Return the live state of one step: where it is, why, until when, and who must do what.

    ``until`` is when it goes on by itself, or how long a person is waited for; ``gives_up_at`` is when a wait ends for good.
    """
    definition, progress = STEPS[step.name], progress_of(step, progress)
    return {
        "name": step.name,
        "title": definition.title,
        "is_optional": definition.is_optional,
        "state": step.state,
        "reason": step.reason,
        "who": step.who,
        "until": _moment(step.clock),
        "gives_up_at": _moment(step.gives_up_at),
        "link": f"/grants/{grant.grant_id}/steps/{step.name}/begin" if decide.awaits_sign_in(grant, step.name) else "",
        "can_retry": _can_retry(grant, step),
        "progress": dict(progress),
        "progress_text": "" if step.is_done else progress_words(progress),
        "problem": problem_view(step.problem) if step.problem else None,
        "seconds": _seconds(step),
        "waits": [{"why": wait.why, "count": wait.count, "seconds": round(wait.seconds, 1)} for wait in step.waits],
        "facts": dict(step.facts),
    }


def _can_retry(grant: Grant, step: Step) -> bool:
    """Tell whether a person who has put something right can say so, or have what is looked at daily looked at now."""
    return decide.can_retry(grant, step.name) and not decide.awaits_sign_in(grant, step.name)


def consent_view(grant: Grant, name: StepName) -> View:
    """Return what a consent has given: its permissions, those that were taken away since, and those that nobody asked for.

    What is missing is what the last daily check has found; a consent that has been given again since has it.
    """
    step, found = grant.steps[name], grant.steps[StepName.ACCESS_WATCH].facts
    application = CONSENTS[name]
    return {
        "application": application,
        "step": name,
        "permissions": list(step.facts.get("permissions", ())),
        "missing": [] if step.is_done else list(found.get("missing", {}).get(application, ())),
        "extra": list(found.get("extra", {}).get(application, ())),
        "credential": found.get("credentials", {}).get(application),
    }


def _last_check(grant: Grant) -> str | None:
    """Return when the consents and the role were looked at last; None before the first time."""
    step = grant.steps[StepName.ACCESS_WATCH]
    return step.facts.get("checked_at") or _moment(step.finished_at)


def problem_view(found: Problem) -> View:
    """Return a problem for people: cause, who can fix it, how, and what Microsoft said."""
    return {
        "code": found.code,
        "cause": found.cause,
        "fix": found.fix,
        "who": found.who,
        "raw": found.raw,
        "correlation_id": found.correlation_id,
    }


def receipt(grant: Grant, snapshot: Sequence[Row], delegated: Sequence[AskedPermission] = ()) -> View:
    """Return what a grant has come to: what was made in the tenant, what was synced, how long each step took and waited.

    ``snapshot`` holds the rows of former values. What was not there before is in ``objects`` alone. ``delegated`` are the
    permissions that the role helper is asked for: their grant remains in the tenant after the administrator's sign-in.
    """
    sync = grant.last_sync_step
    was_completed = is_granted(grant)
    return {
        "message": SUCCESS_MESSAGE if grant.is_complete else "",
        "grant_id": grant.grant_id,
        "tenant_id": grant.tenant_id,
        "tenant_name": sync.facts.get("tenant_name", ""),
        "service_account": service_account(grant) if was_completed else None,
        "role": role_view(grant),
        "steps": [_step_receipt(step) for step in grant.steps.values()],
        "objects": list(grant.steps[StepName.MAIL_FLOW].facts.get("objects", ())),
        "users_synced": sync.facts.get("users", 0),
        "groups_synced": sync.facts.get("groups", 0),
        "permissions": {
            name: list(grant.steps[name].facts.get("permissions", ()))
            for name in CONSENTS
            if name is not StepName.ACTIVITY_CONSENT or grant.steps[name].is_done
        },
        "delegated_grants": [{"application": "role_helper", "permission": each.name} for each in delegated if _signed_in(grant)],
        "changed_settings": [_former(row) for row in snapshot if not row.key.endswith(f"|{NEW_OBJECT}")],
        "policy": grant.intent.policy,
    }


def is_granted(grant: Grant) -> bool:
    """True once the grant has been complete, whatever has happened to it since."""
    return grant.was_completed


def _signed_in(grant: Grant) -> bool:
    """True where the role was assigned, or tried to be, as the administrator who signed in."""
    facts = grant.steps[StepName.ROLE_ASSIGNMENT].facts
    return grant.intent.role_mode is RoleMode.SIGN_IN and (ASSIGNED_AT in facts or bool(facts.get(BY_HAND_BECAUSE)))


def _former(row: Row) -> View:
    """Return one setting as it was before Grantline changed it."""
    _, name, setting = row.key.split("|", 2)
    return {"object": name, "property": setting, "before": row.value["former"], "at": row.value["at"]}


def event_view(event: Event) -> View:
    """Return one audit event."""
    return {
        "seq": event.seq,
        "at": schedule.stamp(event.at),
        "type": event.type,
        "step": event.step,
        "data": dict(event.data),
    }


def event_lines(event: Event) -> View:
    """Return one audit event for people: what happened, to which step, and its details as pairs of name and text."""
    return {
        "at": event.at,
        "title": EVENT_TITLES.get(event.type, event.type),
        "step_title": STEPS[event.step].title if event.step else "",
        "details": [
            (name.replace("_", " ").capitalize(), text)
            for name, value in event.data.items()
            if name not in UNTOLD and (text := SYNC_WORDS[name](value) if name in SYNC_WORDS else _text(name, value))
        ],
    }


def announcement(grant: Grant) -> str:
    """Return in a sentence what a screen reader says when a grant has moved: nothing that changes with every look."""
    if grant.is_complete:
        return SUCCESS_MESSAGE
    if grant.state in AT_REST:
        return EVENT_TITLES[AT_REST[grant.state]]
    moving = [step for step in grant.steps.values() if step.state not in (StepState.BLOCKED, StepState.DONE)]
    required = [step for step in moving if not STEPS[step.name].is_optional]
    return " ".join(f"{STEPS[step.name].title}: {step.state.replace('_', ' ')}." for step in required)


def _text(name: str, value: Any) -> str:
    """Return a small JSON value as text for people. Of an object that is its name, or its title and result."""
    if isinstance(value, Mapping):
        named = [str(value[key]) for key in ("name", "title", "result") if key in value]
        lists = [f"{words(key)}: {', '.join(each)}" for key, each in value.items() if isinstance(each, list | tuple) and each]
        return ": ".join(named) or "; ".join(lists)
    if isinstance(value, list | tuple):
        return "; ".join(filter(None, (_text(name, each) for each in value)))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name == "role_mode":
        return words(str(value))
    if name in MOMENTS and value:
        return moment(str(value))
    return "" if value is None else str(value)


def service_account(grant: Grant) -> View:
    """Return the service account that a completed grant leaves in Administration."""
    sync = grant.last_sync_step
    return {
        "tenant_id": grant.tenant_id,
        "tenant_name": sync.facts.get("tenant_name", ""),
        "service": grant.service,
        "directions": list(grant.intent.directions),
        "state": "active" if grant.is_complete else grant.state,
        "role_end": role_end(grant),
        "last_check": _last_check(grant),
        "created_by": grant.created_by,
        "last_sync": _moment(sync.finished_at),
    }


def problem_details(found: Problem, status: int, more: View) -> View:
    """Return a problem as RFC 9457 problem details, with what more there is to say of the case.

    The title is the same whenever the type is (RFC 9457, 3.1.3): what a cause says beyond it stands in the detail.
    """
    title = CATALOGUE[found.code].cause
    return {
        "type": f"/problems/{found.code}",
        "title": title,
        "status": status,
        "detail": found.fix if found.cause == title else f"{found.cause} {found.fix}",
        "code": found.code,
        "who": found.who,
        **more,
    }


def account(row: AccountRow) -> View:
    """Return a line of the lists of accounts."""
    return {
        "account_id": row.account_id,
        "account_name": row.account_name,
        "grant_id": row.grant_id,
        "state": row.state,
        "directions": list(row.directions),
        "tenant_id": row.tenant_id,
        "tenant_name": row.tenant_name,
        "users_synced": row.users_synced,
        "last_sync": _moment(row.last_sync),
        "next_clock": _moment(row.next_clock),
        "created_by": row.created_by,
        "is_service_account": row.is_service_account,
        "asks_activity": row.asks_activity,
        "notices": list(row.notices),
    }


def summary(counted: tuple[Mapping[str, int], datetime] | None) -> View:
    """Return how many accounts are in each state, and when they were counted; null before the first time."""
    counts, at = counted or ({}, None)
    return {"counted_at": _moment(at), "accounts": dict(counts)}


def _step_receipt(step: Step) -> View:
    return {
        "name": step.name,
        "state": step.state,
        "seconds": _seconds(step),
        "waits": [{"why": wait.why, "count": wait.count, "seconds": round(wait.seconds, 1)} for wait in step.waits],
    }


def _seconds(step: Step) -> float | None:
    if step.started_at is None or step.finished_at is None:
        return None
    return round((step.finished_at - step.started_at).total_seconds(), 1)


def _moment(at: datetime | None) -> str | None:
    return schedule.stamp(at) if at else None
