"""One directory role's assignments in a tenant with Privileged Identity Management: tabs, and assignments that may end.

Steps: learn.microsoft.com/entra/id-governance/privileged-identity-management/pim-how-to-add-role-to-user (Select member,
Setting, assignment type, start and end, Update and Remove) and /pim-how-to-renew-extend (Extend, Renew). What a policy asks
and refuses is decided by the code that answers Microsoft Graph, so both leave the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from local.microsoft365.model import ROLE_NAMES, Role, RoleAssignment, RoleEligibility, RolePolicy, RoleWish
from local.microsoft365.portal.desk import PageHandler, Visitor
from local.microsoft365.portal.principals import Principal, find_principals, principal
from local.microsoft365.portal.role import REFUSED, ROLE_PATH, SCOPES, SHOWN, RolePage, address_of, counted, may, role_of
from local.microsoft365.role_assignments import (
    PimError,
    Requester,
    eligible,
    is_active,
    policy_of,
    request_eligibility,
    request_role,
    seconds_of,
)

REQUEST = "POST /roleManagement/directory/roleAssignmentScheduleRequests"
"""Graph's operation that does the same: who may do it there may do it here."""
TABS = {"eligible": "Eligible assignments", "active": "Active assignments", "expired": "Expired assignments"}
LONGEST_ELIGIBILITY = timedelta(days=365)
"""How long the preset end of an eligible assignment is away."""
_FORM_TIME = "%Y-%m-%dT%H:%M"
_NO_APPLICATION = "An application can't activate a role, so it can't be eligible. Select the assignment type Active."


@dataclass(frozen=True, slots=True)
class Act:
    """Something that the page with start and end is for."""

    path: str
    action: str
    """Of the request to Privileged Identity Management."""
    title: str
    button: str
    done: str


ACTS = (
    Act("setting", "adminAssign", "Add assignments", "Assign", "Added {} to {}."),
    Act("update", "adminUpdate", "Update assignment", "Save", "Updated {} of {}."),
    Act("extend", "adminExtend", "Extend assignment", "Extend", "Extended {} of {}."),
    Act("renew", "adminRenew", "Renew assignment", "Renew", "Renewed {} of {}."),
)


@dataclass(frozen=True, slots=True)
class Row:
    """An assignment as a tab lists it."""

    who: Principal
    scope: str
    state: str
    start: str
    end: str
    acts: tuple[tuple[str, str], ...]
    """Text and address of what can be done with it."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What stands in the form of the Setting tab."""

    kind: str
    """`active` or `eligible`."""
    is_permanent: bool
    start: str
    end: str
    justification: str = ""
    ticket_number: str = ""
    ticket_system: str = ""

    def wish(self, action: str, role: Role, principal_id: str) -> RoleWish:
        """Return the request for one principal. Raises ValueError where a time can't be read."""
        end = None if self.is_permanent else _read_time(self.end)
        return RoleWish(
            action,
            role,
            principal_id,
            end=end,
            start=_read_time(self.start) if self.start else None,
            justification=self.justification,
            ticket_number=self.ticket_number,
            ticket_system=self.ticket_system,
        )


def show_tabs(visitor: Visitor) -> web.Response:
    """Return who may activate the role, who holds it, or whose assignment has ended: one tab of three."""
    return _tab(visitor)


def show_membership(visitor: Visitor) -> web.Response:
    """Return the page that an assignment begins with: whom it is for."""
    role, chosen = role_of(visitor), _members(visitor)
    return visitor.page("privileged_add.html", role=role.value, name=ROLE_NAMES[role], members=chosen, query=_query(visitor))


def select_members(visitor: Visitor) -> web.Response:
    """Return the screen on which users and applications are searched for and selected."""
    role, search = role_of(visitor), visitor.visit.parameter("search").strip()
    found = list(islice(find_principals(visitor.tenant, search, _now(visitor)), SHOWN + 1))
    values: dict[str, Any] = {"role": role.value, "name": ROLE_NAMES[role], "search": search}
    return visitor.page("privileged_members.html", **values, rows=found[:SHOWN], more=len(found) > SHOWN)


def show_terms(act: Act) -> PageHandler:
    """Return the handler of the page on which type, start, end and justification are chosen."""

    def handler(visitor: Visitor) -> web.Response:
        if not visitor.chosen:
            return visitor.go_to(address_of(role_of(visitor)) + "/add")
        return _terms_page(visitor, act, _preset(visitor))

    return handler


def carry_out(act: Act) -> PageHandler:
    """Return the handler of that page's form."""

    def handler(visitor: Visitor) -> web.Response:
        role, terms = role_of(visitor), _filled(visitor)
        if not may(visitor, REQUEST):
            return _terms_page(visitor, act, terms, 403, REFUSED)
        if not visitor.chosen:
            return _terms_page(visitor, act, terms, 400, "Select at least one member.")
        faults = [fault for each in visitor.chosen if (fault := _request(visitor, act.action, terms, each))]
        if faults:
            return _terms_page(visitor, act, terms, 400, *faults)
        done = act.done.format(counted(len(visitor.chosen)), ROLE_NAMES[role])
        return visitor.go_to(f"{address_of(role)}?tab={terms.kind}", done)

    return handler


def remove(visitor: Visitor) -> web.Response:
    """Ask whether an assignment is to be removed and, once the answer is yes, remove it."""
    role, decision, kind = role_of(visitor), visitor.visit.form.get("decision"), _kind(visitor)
    back = f"{address_of(role)}?tab={kind}"
    if decision == "no" or not visitor.chosen:
        return visitor.go_to(back)
    if decision != "yes":
        values: dict[str, Any] = {"role": role.value, "name": ROLE_NAMES[role], "rows": _members(visitor), "tab": kind}
        return visitor.page("privileged_remove.html", **values)
    if not may(visitor, REQUEST):
        return _tab(visitor, 403, REFUSED)
    terms = Terms(kind, is_permanent=True, start="", end="")
    faults = [fault for each in visitor.chosen if (fault := _request(visitor, "adminRemove", terms, each))]
    if faults:
        return _tab(visitor, 400, *faults)
    return visitor.go_to(back, f"Removed {counted(len(visitor.chosen))} from {ROLE_NAMES[role]}.")


PRIVILEGED_PAGES = (
    RolePage("GET", ROLE_PATH, show_tabs),
    RolePage("GET", f"{ROLE_PATH}/add", show_membership),
    RolePage("GET", f"{ROLE_PATH}/members", select_members),
    *(RolePage("GET", f"{ROLE_PATH}/{act.path}", show_terms(act)) for act in ACTS),
    *(RolePage("POST", f"{ROLE_PATH}/{act.path}", carry_out(act)) for act in ACTS),
    RolePage("GET", f"{ROLE_PATH}/remove", remove),
    RolePage("POST", f"{ROLE_PATH}/remove", remove),
)


def _now(visitor: Visitor) -> datetime:
    return visitor.desk.browser.simulation.clock.now()


def _kind(visitor: Visitor) -> str:
    """Return which kind of assignment the form or the address names."""
    named = visitor.visit.form.get("type") or visitor.visit.parameter("type")
    return "eligible" if named == "eligible" else "active"


def _members(visitor: Visitor) -> list[Principal]:
    return [principal(visitor.tenant, each) for each in visitor.chosen]


def _query(visitor: Visitor) -> str:
    return urlencode({"chosen": visitor.chosen}, doseq=True)


def _tab(visitor: Visitor, status: int = 200, *faults: str) -> web.Response:
    role, named = role_of(visitor), visitor.visit.parameter("tab") or visitor.visit.parameter("type")
    tab = named if named in TABS else "eligible"
    rows = [row for row in _rows(visitor, role) if row[0] == tab]
    values: dict[str, Any] = {"role": role.value, "name": ROLE_NAMES[role], "tabs": TABS, "tab": tab, "faults": faults}
    return visitor.page("privileged_role.html", status, **values, rows=[row for _, row in rows])


def _rows(visitor: Visitor, role: Role) -> Iterator[tuple[str, Row]]:
    """Yield every assignment of the role, with the tab that lists it."""
    now = _now(visitor)
    for assignment in visitor.tenant.role_assignments.values():
        if assignment.role_definition_id == role:
            tab = "expired" if _has_ended(assignment, now) else "active"
            yield tab, _row(visitor, role, assignment, _acts(assignment, now), assignment.assignment_type)
    for right in eligible(visitor.tenant, role):
        ended = _has_ended(right, now)
        acts = () if ended else ("remove", "update")
        yield "expired" if ended else "eligible", _row(visitor, role, right, acts, "Eligible")


def _row(visitor: Visitor, role: Role, each: RoleAssignment | RoleEligibility, acts: tuple[str, ...], state: str) -> Row:
    named = urlencode({"chosen": each.principal_id, "type": "eligible" if state == "Eligible" else "active"})
    links = tuple((act.capitalize(), f"{address_of(role)}/{act}?{named}") for act in acts)
    end = _shown(each.ends_at) if each.ends_at else "Permanent"
    scope = SCOPES.get(each.directory_scope_id, each.directory_scope_id)
    return Row(principal(visitor.tenant, each.principal_id), scope, state, _shown(each.created_at), end, links)


def _acts(assignment: RoleAssignment, now: datetime) -> tuple[str, ...]:
    if _has_ended(assignment, now):
        return ("renew",)
    if not is_active(assignment, now):
        return ()
    return ("remove", "update", "extend") if assignment.ends_at else ("remove", "update")


def _has_ended(each: RoleAssignment | RoleEligibility, now: datetime) -> bool:
    return each.ends_at is not None and each.ends_at <= now


def _preset(visitor: Visitor) -> Terms:
    """Return the default settings: for good where the policy lets it be, with the longest time that it lets it last."""
    services = any(each in visitor.tenant.service_principals for each in visitor.chosen)
    named = visitor.visit.parameter("type")
    kind = _kind(visitor) if services or named else "eligible"
    policy, now = policy_of(visitor.tenant, role_of(visitor)), _now(visitor)
    end = now + (LONGEST_ELIGIBILITY if kind == "eligible" else seconds_of(policy.maximum_duration))
    return Terms(
        kind, kind == "eligible" or not policy.is_expiration_required, now.strftime(_FORM_TIME), end.strftime(_FORM_TIME)
    )


def _filled(visitor: Visitor) -> Terms:
    """Return what the form says."""
    form: Mapping[str, str] = visitor.visit.form
    texts = {name: form.get(name, "").strip() for name in ("start", "end", "justification", "ticket_number", "ticket_system")}
    return Terms(_kind(visitor), "permanent" in form, **texts)


def _terms_page(visitor: Visitor, act: Act, terms: Terms, status: int = 200, *faults: str) -> web.Response:
    role = role_of(visitor)
    policy = policy_of(visitor.tenant, role)
    asks = terms.kind == "active" and "MultiFactorAuthentication" in policy.enabled_rules and not visitor.has_second_factor
    values: dict[str, Any] = {
        "role": role.value,
        "name": ROLE_NAMES[role],
        "act": act,
        "terms": terms,
        "policy": policy,
        "longest": _days(policy),
        "members": _members(visitor),
        "query": _query(visitor),
        "type_is_fixed": act.action != "adminAssign",
        "has_application": any(each in visitor.tenant.service_principals for each in visitor.chosen),
        "second_factor": visitor.way_to_second_factor() if asks else "",
    }
    return visitor.page("privileged_setting.html", status, **values, faults=faults)


def _days(policy: RolePolicy) -> str:
    length = seconds_of(policy.maximum_duration)
    return f"{length.days} days" if length.days else f"{length.total_seconds() / 3600:g} hours"


def _request(visitor: Visitor, action: str, terms: Terms, principal_id: str) -> str:
    """Do it for one principal; return what stood in the way, empty where nothing did."""
    simulation, role = visitor.desk.browser.simulation, role_of(visitor)
    requester, now = Requester(visitor.user.id), simulation.clock.now()
    if terms.kind == "eligible" and principal_id in visitor.tenant.service_principals:
        return _NO_APPLICATION
    try:
        wish = terms.wish(action, role, principal_id)
        if terms.kind == "eligible":
            request_eligibility(visitor.tenant, wish, now, requester)
        else:
            delay = simulation.settings.role_delay
            request_role(visitor.tenant, wish, visitor.has_second_factor, now, delay, requester)
    except PimError as error:
        return error.text
    except ValueError:
        return "Enter a start and an end as dates with times."
    simulation.store.changed(visitor.tenant)
    return ""


def _read_time(text: str) -> datetime:
    return datetime.strptime(text, _FORM_TIME).replace(tzinfo=UTC)


def _shown(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")
