"""Privileged Identity Management (PIM) for directory roles: requests, the schedules they make, and what is in force now.

Shapes and examples: learn.microsoft.com/graph/api/resources/privilegedidentitymanagementv3-overview and the pages of each
call. Only the whole tenant is a scope here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import AwareDatetime, TypeAdapter, ValidationError

from local.microsoft365.clock import timestamp
from local.microsoft365.graph.collections import accepted, entity, page, scan_list, selection
from local.microsoft365.graph.context import Answer, Context, Handler
from local.microsoft365.graph.errors import GraphError, bad_request, not_found
from local.microsoft365.graph.roles import expanded, read_assignee
from local.microsoft365.graph.shapes import Shape, mapping_shape, row
from local.microsoft365.model import Role, RoleAssignment, RoleEligibility, RoleRequest, RoleWish
from local.microsoft365.role_assignments import (
    PimError,
    Requester,
    cancel_request,
    eligible,
    invalid_schedule,
    is_active,
    licence_required,
    pim_of,
    request_eligibility,
    request_role,
    status_of,
)

REQUEST_KEY = "unifiedRoleAssignmentScheduleRequest-id"
_BASE = "roleManagement/directory"
_REQUESTS = f"{_BASE}/roleAssignmentScheduleRequests"
_ELIGIBILITY_REQUESTS = f"{_BASE}/roleEligibilityScheduleRequests"
_TIME = TypeAdapter(AwareDatetime)
_ACTIONS = {
    name.lower(): name
    for name in (
        "adminAssign",
        "adminUpdate",
        "adminRemove",
        "adminExtend",
        "adminRenew",
        "selfActivate",
        "selfDeactivate",
        "selfExtend",
        "selfRenew",
    )
}
_REMOVAL = frozenset({"adminRemove", "selfDeactivate"})
_REMOVES_ONLY = frozenset({"RoleAssignmentSchedule.Remove.Directory", "RoleEligibilitySchedule.Remove.Directory"})

_NAMES = ("id", "principalId", "roleDefinitionId", "directoryScopeId", "appScopeId")
_INSTANCE = mapping_shape(
    "unifiedRoleAssignmentScheduleInstance",
    *_NAMES,
    "startDateTime",
    "endDateTime",
    "assignmentType",
    "memberType",
    "roleAssignmentOriginId",
    "roleAssignmentScheduleId",
)
_SCHEDULE_NAMES = (*_NAMES, "createdUsing", "createdDateTime", "modifiedDateTime", "status", "scheduleInfo", "memberType")
_SCHEDULE = mapping_shape("unifiedRoleAssignmentSchedule", *_SCHEDULE_NAMES, "assignmentType")
_ELIGIBILITY_SCHEDULE = mapping_shape("unifiedRoleEligibilitySchedule", *_SCHEDULE_NAMES)
_ELIGIBILITY = mapping_shape(
    "unifiedRoleEligibilityScheduleInstance", *_NAMES, "startDateTime", "endDateTime", "memberType", "roleEligibilityScheduleId"
)
_REQUEST_NAMES = (
    *_NAMES,
    "status",
    "createdDateTime",
    "completedDateTime",
    "approvalId",
    "customData",
    "action",
    "isValidationOnly",
    "targetScheduleId",
    "justification",
    "createdBy",
    "scheduleInfo",
    "ticketInfo",
)
_REQUEST = mapping_shape("unifiedRoleAssignmentScheduleRequest", *_REQUEST_NAMES)
_ELIGIBILITY_REQUEST = mapping_shape("unifiedRoleEligibilityScheduleRequest", *_REQUEST_NAMES)


def refused(error: PimError) -> GraphError:
    """Return PIM's refusal as Graph writes it."""
    return GraphError(error.status, error.code, error.text)


def licensed(handler: Handler) -> Handler:
    """Return the handler of a tenant with a licence; in any other it raises GraphError (400), for readers and writers alike."""

    def answer(context: Context) -> Answer:
        if not pim_of(context.tenant):
            raise refused(licence_required())
        try:
            return handler(context)
        except PimError as error:
            raise refused(error) from None

    return answer


def list_instances(context: Context) -> Answer:
    """GET roleAssignmentScheduleInstances: who holds which role now; direct assignments show without a start."""
    found = (each for each in context.tenant.role_assignments.values() if is_active(each, context.now))
    return _listed(context, "roleAssignmentScheduleInstances", _INSTANCE, [_instance(each) for each in found])


def list_schedules(context: Context) -> Answer:
    """GET roleAssignmentSchedules: what is in force, and what will be."""
    found = (each for each in context.tenant.role_assignments.values() if not (each.ends_at and each.ends_at <= context.now))
    return _listed(context, "roleAssignmentSchedules", _SCHEDULE, [_schedule(each) for each in found])


def list_eligibilities(context: Context) -> Answer:
    """GET roleEligibilityScheduleInstances: who may activate which role now."""
    rows = [_eligibility(each) for role in Role for each in eligible(context.tenant, role, context.now)]
    return _listed(context, "roleEligibilityScheduleInstances", _ELIGIBILITY, rows)


def list_eligibility_schedules(context: Context) -> Answer:
    """GET roleEligibilitySchedules."""
    rows = [_eligibility_schedule(each) for role in Role for each in eligible(context.tenant, role, context.now)]
    return _listed(context, "roleEligibilitySchedules", _ELIGIBILITY_SCHEDULE, rows)


def list_requests(context: Context) -> Answer:
    """GET roleAssignmentScheduleRequests."""
    found = (each for each in context.tenant.role_requests.values() if not each.is_eligibility)
    rows = [_request(each, context.now) for each in found]
    return _listed(context, "roleAssignmentScheduleRequests", _REQUEST, rows)


def list_eligibility_requests(context: Context) -> Answer:
    """GET roleEligibilityScheduleRequests."""
    found = (each for each in context.tenant.role_requests.values() if each.is_eligibility)
    rows = [_request(each, context.now) for each in found]
    return _listed(context, "roleEligibilityScheduleRequests", _ELIGIBILITY_REQUEST, rows)


def get_request(context: Context) -> Answer:
    """GET roleAssignmentScheduleRequests/{id}; raises GraphError (404) when there is none."""
    return entity(context, _REQUESTS, _REQUEST, _request(_known(context), context.now))


def cancel(context: Context) -> Answer:
    """POST roleAssignmentScheduleRequests/{id}/cancel: 204, for a request whose start is still to come.

    Raises GraphError: 404 when there is none, 400 for any other.
    """
    cancel_request(context.tenant, _known(context).id, context.now)
    return Answer(204)


def create_request(context: Context) -> Answer:
    """POST roleAssignmentScheduleRequests: 201, done at once or, with a start to come, planned.

    Raises GraphError as Microsoft's list of common errors has it.
    """
    wish = _read_wish(context)
    if context.effective <= _REMOVES_ONLY and wish.action not in _REMOVAL:
        raise scope_not_granted("RoleAssignmentSchedule.ReadWrite.Directory")
    has_mfa = "mfa" in context.token.amr
    made = request_role(context.tenant, wish, has_mfa, context.now, context.settings.role_delay, _requester(context))
    return _created(context, _REQUESTS, _REQUEST, made)


def create_eligibility_request(context: Context) -> Answer:
    """POST roleEligibilityScheduleRequests by an administrator: 201.

    Raises GraphError; what people ask for themselves is absent (501).
    """
    wish = _read_wish(context)
    if wish.action not in {"adminAssign", "adminUpdate", "adminRemove"}:
        raise GraphError(501, "NotImplemented", "This operation target is not yet supported.")
    made = request_eligibility(context.tenant, wish, context.now, _requester(context))
    return _created(context, _ELIGIBILITY_REQUESTS, _ELIGIBILITY_REQUEST, made)


def scope_not_granted(scope: str) -> GraphError:
    """Return PIM's refusal of a caller whose permissions don't suffice: its message is a JSON document itself."""
    message = f"Authorization failed due to missing permission scope {scope}."
    return GraphError(403, "UnknownError", json.dumps({"errorCode": "PermissionScopeNotGranted", "message": message}))


def _listed(context: Context, name: str, shape: Shape[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> Answer:
    columns = shape.columns(context.query.select, None)

    def write(item: Mapping[str, Any]) -> dict[str, Any]:
        return {**row(columns, item), **expanded(context, item["principalId"], item["roleDefinitionId"])}

    path = f"{_BASE}/{name}{selection(context)}"
    return page(context, path, scan_list(rows), write, keep=lambda found: accepted(context, shape, found))


def _created(context: Context, path: str, shape: Shape[Mapping[str, Any]], made: RoleRequest) -> Answer:
    document = {"@odata.context": context.metadata(f"{path}/$entity")}
    return Answer(201, document | row(shape.columns((), None), _request(made, context.now)))


def _known(context: Context) -> RoleRequest:
    identifier = context.key(REQUEST_KEY)
    found = context.tenant.role_requests.get(identifier)
    if found is None or found.is_eligibility:
        raise not_found(identifier)
    return found


def _requester(context: Context) -> Requester:
    person = context.token.user_object_id
    return Requester(user_id=person) if person else Requester(application_id=context.token.app_id)


def _assignee(item: RoleAssignment | RoleEligibility) -> dict[str, Any]:
    return {
        "id": item.id,
        "principalId": item.principal_id,
        "roleDefinitionId": item.role_definition_id,
        "directoryScopeId": item.directory_scope_id,
        "appScopeId": None,
        "memberType": "Direct",
    }


def _time(moment: datetime | None) -> str | None:
    return timestamp(moment) if moment else None


def _term(start: datetime | None, end: datetime | None, duration: str | None = None) -> dict[str, Any]:
    kind = "noExpiration" if end is None else "afterDuration" if duration else "afterDateTime"
    expiration = {"type": kind, "endDateTime": None if duration else _time(end), "duration": duration}
    return {"startDateTime": _time(start), "recurrence": None, "expiration": expiration}


def _instance(item: RoleAssignment) -> dict[str, Any]:
    return {
        **_assignee(item),
        "startDateTime": _time(item.created_at if item.schedule_id else None),
        "endDateTime": _time(item.ends_at),
        "assignmentType": item.assignment_type,
        "roleAssignmentOriginId": item.id,
        "roleAssignmentScheduleId": item.schedule_id or item.id,
    }


def _schedule(item: RoleAssignment) -> dict[str, Any]:
    start = item.created_at if item.schedule_id else None
    return {
        **_assignee(item),
        "id": item.schedule_id or item.id,
        "createdUsing": item.schedule_id or None,
        "createdDateTime": _time(start),
        "modifiedDateTime": None,
        "status": "Provisioned",
        "scheduleInfo": _term(start, item.ends_at),
        "assignmentType": item.assignment_type,
    }


def _eligibility(item: RoleEligibility) -> dict[str, Any]:
    return {
        **_assignee(item),
        "startDateTime": _time(item.created_at),
        "endDateTime": _time(item.ends_at),
        "roleEligibilityScheduleId": item.id,
    }


def _eligibility_schedule(item: RoleEligibility) -> dict[str, Any]:
    return {
        **_assignee(item),
        "createdUsing": item.id,
        "createdDateTime": _time(item.created_at),
        "modifiedDateTime": None,
        "status": "Provisioned",
        "scheduleInfo": _term(item.created_at, item.ends_at),
    }


def _identity(identifier: str) -> dict[str, Any] | None:
    return {"displayName": None, "id": identifier} if identifier else None


def _request(item: RoleRequest, now: datetime) -> dict[str, Any]:
    wish = item.wish
    return {
        "id": item.id,
        "principalId": wish.principal_id,
        "roleDefinitionId": wish.role.value,
        "directoryScopeId": "/",
        "appScopeId": None,
        "status": status_of(item, now),
        "createdDateTime": timestamp(item.created_at),
        "completedDateTime": timestamp(max(item.created_at, item.starts_at)),
        "approvalId": None,
        "customData": None,
        "action": wish.action,
        "isValidationOnly": wish.is_validation_only,
        "targetScheduleId": item.schedule_id,
        "justification": wish.justification or None,
        "createdBy": {
            "application": _identity(item.application_id),
            "device": None,
            "user": _identity(item.requester_id),
        },
        "scheduleInfo": None if wish.action in _REMOVAL else _term(item.starts_at, item.ends_at, wish.duration),
        "ticketInfo": {"ticketNumber": wish.ticket_number or None, "ticketSystem": wish.ticket_system or None},
    }


def _read_wish(context: Context) -> RoleWish:
    """Return what the body asks for. Raises GraphError (400, 404) or PimError."""
    body = context.body
    role_id, principal_id = read_assignee(body)
    action = _ACTIONS.get(str(body.get("action")).lower())
    if action is None:
        raise bad_request("A value is required for property 'action' of resource 'RoleAssignmentScheduleRequest'.")
    if role_id not in set(Role):
        raise PimError("RoleNotFound", "The role is not found.", 404)
    schedule = _mapping(body.get("scheduleInfo"))
    duration, end = (None, None) if action in _REMOVAL else _read_expiration(_mapping(schedule.get("expiration")))
    ticket = _mapping(body.get("ticketInfo"))
    return RoleWish(
        action=action,
        role=Role(role_id),
        principal_id=principal_id,
        duration=duration,
        end=end,
        start=_read_time(schedule.get("startDateTime")),
        justification=str(body.get("justification") or ""),
        ticket_number=str(ticket.get("ticketNumber") or ""),
        ticket_system=str(ticket.get("ticketSystem") or ""),
        is_validation_only=body.get("isValidationOnly") is True,
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _read_expiration(pattern: Mapping[str, Any]) -> tuple[str | None, datetime | None]:
    """Return duration and end. Raises PimError for a pattern whose type is not one of three, or lacks its value."""
    kind = str(pattern.get("type")).lower()
    duration, end = pattern.get("duration"), _read_time(pattern.get("endDateTime"))
    if kind == "noexpiration":
        return None, None
    if kind == "afterduration" and isinstance(duration, str):
        return duration, None
    if kind == "afterdatetime" and end is not None:
        return None, end
    raise invalid_schedule()


def _read_time(value: Any) -> datetime | None:
    if value is None:
        return None
    try:
        return _TIME.validate_python(value).astimezone(UTC)
    except ValidationError:
        raise invalid_schedule() from None
