"""Directory roles: who holds which, and how Privileged Identity Management (PIM) gives and takes them.

One piece of code for Microsoft Graph and for the portal, so that both leave the same. The caller tells the store of changes.
Sources: learn.microsoft.com/graph/api/rbacapplication-post-roleassignmentschedulerequests and, for the refusals,
learn.microsoft.com/rest/api/authorization/includes/privileged-role-common-errors.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from local.microsoft365.licences import pim_of
from local.microsoft365.model import (
    Role,
    RoleAssignment,
    RoleEligibility,
    RolePolicy,
    RoleRequest,
    RoleWish,
    Tenant,
)

__all__ = [
    "WHOLE_TENANT",
    "AlreadyAssignedError",
    "PimError",
    "Requester",
    "RoleWish",
    "UnknownPrincipalError",
    "assign",
    "assignment_id",
    "cancel_request",
    "eligible",
    "held_roles",
    "holders",
    "invalid_schedule",
    "is_active",
    "licence_required",
    "make_eligible",
    "pim_of",
    "policy_of",
    "request_eligibility",
    "request_role",
    "seconds_of",
    "status_of",
    "take_back",
]

SHORTEST = timedelta(minutes=5)
"""No active assignment may last, or have lasted when it is removed, less."""
WHOLE_TENANT = "/"
_DURATION = TypeAdapter(timedelta)


class UnknownPrincipalError(LookupError):
    """Raised when the principal is not in the tenant, or has not spread yet; its argument is the id."""


class AlreadyAssignedError(ValueError):
    """Raised when the principal holds the role already."""


class PimError(ValueError):
    """Raised when Privileged Identity Management refuses; `code` and `text` are Microsoft's."""

    def __init__(self, code: str, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.status = status


def licence_required() -> PimError:
    """Return the answer of every call in a tenant without a licence, to readers and writers alike."""
    text = "The tenant needs to have Microsoft Entra ID P2 or Microsoft Entra ID Governance license."
    return PimError("AadPremiumLicenseRequired", text)


def invalid_schedule() -> PimError:
    """Return the refusal of a schedule that can't be read, or whose end is not after its start."""
    return PimError("InvalidRoleAssignmentRequestSchedule", "The role assignment request schedule is invalid.")


def _missing() -> PimError:
    return PimError("RoleAssignmentDoesNotExist", "The Role assignment does not exist.")


def _exists() -> PimError:
    return PimError("RoleAssignmentExists", "The Role assignment already exists.")


def _failed(rules: list[str]) -> PimError:
    names = json.dumps(rules, separators=(",", ":"))
    return PimError("RoleAssignmentRequestPolicyValidationFailed", f"The following policy rules failed: {names}")


def assignment_id(role_id: str, principal_id: str) -> str:
    """Return the id of a tenant-wide assignment: both GUIDs' bytes in base64 for URLs, and `-1`.

    Read off the ids in the examples of learn.microsoft.com/graph/api/rbacapplication-list-roleassignments.
    """
    content = UUID(role_id).bytes_le + UUID(principal_id).bytes_le
    return f"{base64.urlsafe_b64encode(content).decode().rstrip('=')}-1"


def assign(tenant: Tenant, role: Role, principal_id: str, now: datetime, spreads_in: float) -> RoleAssignment:
    """Give a role for good, tenant-wide, past PIM; tokens carry it `spreads_in` seconds after `now`.

    Raises UnknownPrincipalError or AlreadyAssignedError.
    """
    if not _is_known(tenant, principal_id, now):
        raise UnknownPrincipalError(principal_id)
    if _standing(tenant, role, principal_id, now):
        raise AlreadyAssignedError(principal_id)
    spread = now + timedelta(seconds=spreads_in)
    return _put(tenant, RoleAssignment(assignment_id(role.value, principal_id), role.value, principal_id, now, spread))


def take_back(tenant: Tenant, identifier: str) -> None:
    """Remove an assignment; raises KeyError when there is none."""
    del tenant.role_assignments[identifier]


def is_active(assignment: RoleAssignment, now: datetime) -> bool:
    """Tell whether an assignment has begun and not ended."""
    return assignment.created_at <= now and not _has_ended(assignment, now)


def holders(tenant: Tenant, role: Role, now: datetime) -> tuple[RoleAssignment, ...]:
    """Return the active assignments of a role, the oldest first."""
    return tuple(each for each in tenant.role_assignments.values() if each.role_definition_id == role and is_active(each, now))


def held_roles(tenant: Tenant, principal_id: str, now: datetime) -> frozenset[str]:
    """Return the template ids of the roles that tokens of this principal carry now: spread, and not ended."""
    return frozenset(
        each.role_definition_id
        for each in tenant.role_assignments.values()
        if each.principal_id == principal_id
        and each.visible_at <= now
        and is_active(each, now)
        and each.directory_scope_id == WHOLE_TENANT
    )


def eligible(tenant: Tenant, role: Role, now: datetime | None = None) -> tuple[RoleEligibility, ...]:
    """Return who may activate a role; with `now`, only those whose right has not ended."""
    found = (each for each in tenant.role_eligibilities.values() if each.role_definition_id == role)
    return tuple(each for each in found if now is None or each.ends_at is None or now < each.ends_at)


def make_eligible(tenant: Tenant, role: Role, principal_id: str, now: datetime, ends_at: datetime | None) -> RoleEligibility:
    """Give the right to activate a role, in the place of the one that was there."""
    former = next((each.id for each in eligible(tenant, role) if each.principal_id == principal_id), "")
    identifier = former or tenant.new_id("roleEligibility", role.value, principal_id)
    made = RoleEligibility(identifier, role.value, principal_id, now, ends_at)
    tenant.role_eligibilities[identifier] = made
    return made


def policy_of(tenant: Tenant, role: Role) -> RolePolicy:
    """Return what PIM asks where this role is assigned: the tenant's own policy, else Microsoft's default."""
    return tenant.role_policies.get(role.value, RolePolicy())


def seconds_of(duration: str) -> timedelta:
    """Return an ISO 8601 duration as Graph writes it (`P180D`, `PT8H`). Raises PimError for anything else."""
    try:
        length = _DURATION.validate_python(duration)
    except ValidationError:
        raise invalid_schedule() from None
    if not duration.startswith("P"):
        raise invalid_schedule()
    return length


def status_of(request: RoleRequest, now: datetime) -> str:
    """Return a request's status as Graph shows it: one that waited for its start is provisioned once that has come."""
    return "Provisioned" if request.status == "Granted" and request.starts_at <= now else request.status


def request_role(
    tenant: Tenant, wish: RoleWish, caller_has_mfa: bool, now: datetime, spreads_in: float, requester: Requester | None = None
) -> RoleRequest:
    """Do what a request for an active assignment asks, at once; approval never stands in an administrator's way.

    `caller_has_mfa`: the caller has proved a second factor, as no application alone can. Raises PimError.
    """
    handler = _ACTIONS.get(wish.action)
    if handler is None:
        return _refuse_self(tenant, wish, now)
    attempt = Attempt(tenant, wish, caller_has_mfa, now, spreads_in, requester or Requester())
    attempt.check_names()
    return handler(attempt)


def request_eligibility(tenant: Tenant, wish: RoleWish, now: datetime, requester: Requester | None = None) -> RoleRequest:
    """Do what a request for an eligible assignment asks: adminAssign, adminUpdate or adminRemove. Raises PimError."""
    attempt = Attempt(tenant, wish, True, now, 0.0, requester or Requester())
    attempt.check_names()
    former = next((each for each in eligible(tenant, wish.role, now) if each.principal_id == wish.principal_id), None)
    if wish.action == "adminAssign" and former is not None:
        raise _exists()
    if wish.action != "adminAssign" and former is None:
        raise _missing()
    if wish.action == "adminRemove" and former is not None:
        if not wish.is_validation_only:
            del tenant.role_eligibilities[former.id]
        return attempt.accepted("Revoked", now, None, former.id, is_eligibility=True)
    start, end = attempt.term()
    identifier = former.id if former else ""
    if not wish.is_validation_only:
        identifier = make_eligible(tenant, wish.role, wish.principal_id, start, end).id
    return attempt.accepted("Provisioned", start, end, identifier, is_eligibility=True)


def cancel_request(tenant: Tenant, identifier: str, now: datetime) -> None:
    """Cancel a request whose start is still to come, and what it has planned.

    Raises KeyError when there is no such request, PimError when it waits for nothing any more.
    """
    request = tenant.role_requests[identifier]
    if status_of(request, now) != "Granted":
        raise PimError("Request_BadRequest", "Only a request with the status Granted can be canceled.")
    tenant.role_requests[identifier] = replace(request, status="Canceled")
    for key in [key for key, each in tenant.role_assignments.items() if each.schedule_id == request.schedule_id]:
        del tenant.role_assignments[key]


@dataclass(frozen=True, slots=True)
class Requester:
    """Who asks: a person, or an application by itself."""

    user_id: str = ""
    application_id: str = ""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A request on its way: it changes nothing before every rule has let it through."""

    tenant: Tenant
    wish: RoleWish
    caller_has_mfa: bool
    now: datetime
    spreads_in: float
    requester: Requester

    def check_names(self) -> None:
        """Raise PimError where the tenant has no licence, or does not know the principal (yet)."""
        if not pim_of(self.tenant):
            raise licence_required()
        if not _is_known(self.tenant, self.wish.principal_id, self.now):
            raise PimError("SubjectNotFound", "The subject is not found.", 404)

    @property
    def standing(self) -> RoleAssignment | None:
        """The assignment that has not ended, if there is one; its start may be still to come."""
        return _standing(self.tenant, self.wish.role, self.wish.principal_id, self.now)

    @property
    def active(self) -> RoleAssignment:
        """The active assignment. Raises PimError when there is none."""
        found = self.standing
        if found is None or not is_active(found, self.now):
            raise _missing()
        return found

    def term(self) -> tuple[datetime, datetime | None]:
        """Return start and end of what is asked for. Raises PimError where they make no sense."""
        start = max(self.wish.start or self.now, self.now)
        end = self.wish.end if self.wish.duration is None else start + seconds_of(self.wish.duration)
        if end is not None and end <= start:
            raise invalid_schedule()
        if end is not None and end - start < SHORTEST:
            raise _too_short()
        return start, end

    def check_policy(self, start: datetime, end: datetime | None) -> None:
        """Raise PimError with the names of all rules that are broken."""
        policy = policy_of(self.tenant, self.wish.role)
        broken = [name for name, breaks in _RULES.items() if name in policy.enabled_rules and breaks(self)]
        failed = [_RULE_NAMES[name] for name in broken]
        if _exceeds(policy, start, end):
            failed.append("ExpirationRule")
        if failed:
            raise _failed(failed)

    def give(self, former: RoleAssignment | None, start: datetime, end: datetime | None) -> RoleRequest:
        """Put the assignment into the place of the former one, and return the request."""
        self.check_policy(start, end)
        wish = self.wish
        waits = former is None and start > self.now
        request = self.accepted("Granted" if waits else "Provisioned", start, end, former.schedule_id if former else "")
        if wish.is_validation_only:
            return request
        spread = former.visible_at if former else start + timedelta(seconds=self.spreads_in)
        begun = former.created_at if former else start
        identifier = former.id if former else assignment_id(wish.role.value, wish.principal_id)
        made = RoleAssignment(
            identifier, wish.role.value, wish.principal_id, begun, spread, ends_at=end, schedule_id=request.schedule_id
        )
        _put(self.tenant, made)
        return request

    def accepted(
        self,
        status: str,
        start: datetime,
        end: datetime | None,
        schedule_id: str = "",
        *,
        is_eligibility: bool = False,
    ) -> RoleRequest:
        """Return the request, kept by the tenant unless it was for validation only."""
        identifier = self.tenant.new_id("roleRequest", self.wish.role.value, self.wish.principal_id)
        request = RoleRequest(
            id=identifier,
            wish=self.wish,
            status=status,
            created_at=self.now,
            starts_at=start,
            ends_at=end,
            schedule_id=schedule_id or identifier,
            is_eligibility=is_eligibility,
            requester_id=self.requester.user_id,
            application_id=self.requester.application_id,
        )
        if not self.wish.is_validation_only:
            self.tenant.role_requests[identifier] = request
        return request


def _admin_assign(attempt: Attempt) -> RoleRequest:
    """A new assignment, now or later."""
    start, end = attempt.term()
    former = attempt.standing
    if former is not None and not is_active(former, attempt.now):
        raise PimError("PendingRoleAssignmentRequest", "There is already an existing pending Role assignment request.")
    if former is not None:
        raise _exists()
    return attempt.give(None, start, end)


def _admin_update(attempt: Attempt) -> RoleRequest:
    """Another end for an active assignment, sooner or later than it was."""
    former = attempt.active
    return attempt.give(former, *attempt.term())


def _admin_extend(attempt: Attempt) -> RoleRequest:
    """A later end for an active assignment that has one; the duration counts from the request on."""
    former = attempt.active
    start, end = attempt.term()
    if former.ends_at is None or (end is not None and end <= former.ends_at):
        raise invalid_schedule()
    return attempt.give(former, start, end)


def _admin_renew(attempt: Attempt) -> RoleRequest:
    """A new assignment in the place of one that has ended."""
    if attempt.standing is not None:
        raise _exists()
    if next(_of(attempt.tenant, attempt.wish.role, attempt.wish.principal_id), None) is None:
        raise _missing()
    return attempt.give(None, *attempt.term())


def _admin_remove(attempt: Attempt) -> RoleRequest:
    """The end of an active assignment, at once, whoever made it."""
    former = attempt.active
    if attempt.now - former.created_at < SHORTEST:
        raise _too_short()
    if not attempt.wish.is_validation_only:
        take_back(attempt.tenant, former.id)
    return attempt.accepted("Revoked", attempt.now, None, former.schedule_id or former.id)


_ACTIONS: Mapping[str, Callable[[Attempt], RoleRequest]] = {
    "adminAssign": _admin_assign,
    "adminUpdate": _admin_update,
    "adminExtend": _admin_extend,
    "adminRenew": _admin_renew,
    "adminRemove": _admin_remove,
}
_RULES: Mapping[str, Callable[[Attempt], bool]] = {
    "MultiFactorAuthentication": lambda attempt: not attempt.caller_has_mfa,
    "Justification": lambda attempt: not attempt.wish.justification.strip(),
    "Ticketing": lambda attempt: not attempt.wish.ticket_number.strip(),
}
"""What breaks each rule that a policy may enable."""
_RULE_NAMES = {"MultiFactorAuthentication": "MfaRule", "Justification": "JustificationRule", "Ticketing": "TicketingRule"}


def _refuse_self(tenant: Tenant, wish: RoleWish, now: datetime) -> RoleRequest:
    """Refuse what people ask for themselves: nobody activates a role here, so there is nothing to end or to extend either."""
    if not pim_of(tenant):
        raise licence_required()
    if wish.action != "selfActivate":
        raise _missing()
    if any(each.principal_id == wish.principal_id for each in eligible(tenant, wish.role, now)):
        raise PimError("NotImplemented", "This operation target is not yet supported.", 501)
    raise _failed(["EligibilityRule"])


def _too_short() -> PimError:
    """Microsoft's own spelling."""
    return PimError("ActiveDurationTooShort", "The Active duration is too short. Miniumum Required is 5 minutes.")


def _exceeds(policy: RolePolicy, start: datetime, end: datetime | None) -> bool:
    if end is None:
        return policy.is_expiration_required
    return end - start > seconds_of(policy.maximum_duration)


def _has_ended(assignment: RoleAssignment, now: datetime) -> bool:
    return assignment.ends_at is not None and assignment.ends_at <= now


def _of(tenant: Tenant, role: Role, principal_id: str) -> Iterator[RoleAssignment]:
    for each in tenant.role_assignments.values():
        if each.role_definition_id == role and each.principal_id == principal_id:
            yield each


def _standing(tenant: Tenant, role: Role, principal_id: str, now: datetime) -> RoleAssignment | None:
    return next((each for each in _of(tenant, role, principal_id) if not _has_ended(each, now)), None)


def _put(tenant: Tenant, assignment: RoleAssignment) -> RoleAssignment:
    """Keep an assignment as the newest, in the place of those of the same role and principal, which have ended."""
    for former in list(_of(tenant, Role(assignment.role_definition_id), assignment.principal_id)):
        del tenant.role_assignments[former.id]
    tenant.role_assignments[assignment.id] = assignment
    return assignment


def _is_known(tenant: Tenant, principal_id: str, now: datetime) -> bool:
    principal = tenant.service_principals.get(principal_id)
    if principal is not None:
        return principal.visible_at <= now
    return principal_id in tenant.groups or tenant.users.get(principal_id) is not None
