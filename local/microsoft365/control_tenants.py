"""The part of the control interface that is about one tenant: its people from elsewhere, its policies, its state."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import timedelta
from enum import StrEnum
from typing import Any, TypeVar
from uuid import UUID

from aiohttp import web
from pydantic import TypeAdapter

from local.microsoft365.clock import timestamp
from local.microsoft365.exchange import put_role_group
from local.microsoft365.identity.people import delegate_administration, invite_guest
from local.microsoft365.identity.sessions import Account
from local.microsoft365.model import ALL, ConditionalAccessPolicy, GrantControl, Role, RolePolicy, Tenant
from local.microsoft365.role_assignments import assign, make_eligible, seconds_of
from local.microsoft365.simulation import Simulation

Handler = Callable[[web.Request], Awaitable[dict[str, Any]]]
Body = TypeVar("Body")
_ROLES = {role.name.lower(): role.value for role in Role}


@dataclass(frozen=True, slots=True)
class TenantChange:
    """Body of `POST /_control/tenants/{tenant}`: what is named is changed; the meanings are `model.Tenant`'s."""

    licences: tuple[str, ...] | None = None
    is_trial: bool | None = None
    is_deleted: bool | None = None
    national_cloud: str | None = None
    takes_approval_requests: bool | None = None
    unified_audit_log: bool | None = None
    activity_disabled_by: str | None = None


@dataclass(frozen=True, slots=True)
class Invitation:
    """Body of `POST .../guests` and `POST .../delegated-administrators`: an account of another tenant, and roles."""

    account: str
    """Its user principal name at home."""
    roles: tuple[str, ...] = ()
    """Template ids, or names as on the command line's JSON line (global_administrator)."""


@dataclass(frozen=True, slots=True)
class NewPolicy:
    """Body of `POST .../policies`: a Conditional Access policy."""

    control: GrantControl
    users: tuple[str, ...] = ()
    """Names or ids of people in the tenant, or All."""
    applications: tuple[str, ...] = (ALL,)
    """Application ids, or names of registrations."""
    service_principals: tuple[str, ...] = ()
    """The same, for applications' own tokens."""


@dataclass(frozen=True, slots=True)
class Revocation:
    """Body of `POST .../revocations`."""

    principal: str
    """A person by name or id, or an application by its id or its registration's name."""


class Right(StrEnum):
    """How somebody has a directory role."""

    ACTIVE = "active"
    ACTIVATED = "activated"
    """As after a person has activated it herself."""
    ELIGIBLE = "eligible"
    NONE = "none"
    """Neither: what there was is taken away."""


@dataclass(frozen=True, slots=True)
class RoleChange:
    """Body of `POST .../roles`: a person or an application gets a directory role, or the right to activate it."""

    principal: str
    """A person by name or id, or an application by its id or its registration's name."""
    role: str
    """Template id, or name (exchange_administrator)."""
    right: Right = Right.ACTIVE
    seconds: float | None = None
    """Until it ends; None: never."""


@dataclass(frozen=True, slots=True)
class NewRolePolicy:
    """Body of `POST .../role-policies`: what assigning a role asks for; the meanings are `model.RolePolicy`'s."""

    role: str
    policy: RolePolicy = field(default_factory=RolePolicy)
    """What is not named is as in a new tenant."""


@dataclass(frozen=True, slots=True)
class RoleGroup:
    """Body of `POST .../role-groups`: a custom role group of Exchange."""

    name: str
    cmdlets: tuple[str, ...] = ()
    """None: the group is taken away."""
    members: tuple[str, ...] = ()
    """Applications, by id or by registration's name."""


_CHANGE = TypeAdapter(TenantChange)
_INVITATION = TypeAdapter(Invitation)
_POLICY = TypeAdapter(NewPolicy)
_REVOCATION = TypeAdapter(Revocation)
_ROLE_CHANGE = TypeAdapter(RoleChange)
_ROLE_POLICY = TypeAdapter(NewRolePolicy)
_ROLE_GROUP = TypeAdapter(RoleGroup)


class TenantControl:
    """Answers control requests about one tenant. Each method raises ValueError when its request makes no sense."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation

    def table(self) -> tuple[tuple[str, str, Handler], ...]:
        """Methods, paths and handlers."""
        return (
            ("POST", "tenants/{tenant}", self.change),
            ("POST", "tenants/{tenant}/guests", self.add_guest),
            ("POST", "tenants/{tenant}/delegated-administrators", self.add_delegated_administrator),
            ("POST", "tenants/{tenant}/policies", self.add_policy),
            ("DELETE", "tenants/{tenant}/policies", self.clear_policies),
            ("POST", "tenants/{tenant}/revocations", self.revoke),
            ("POST", "tenants/{tenant}/roles", self.change_role),
            ("POST", "tenants/{tenant}/role-policies", self.change_role_policy),
            ("POST", "tenants/{tenant}/role-groups", self.change_role_group),
        )

    async def change(self, request: web.Request) -> dict[str, Any]:
        """POST tenants/{tenant}: change its state; the answer shows all of it."""
        tenant, wanted = self._tenant(request), await _read(request, _CHANGE)
        for name, value in asdict(wanted).items():
            if value is not None:
                setattr(tenant, name, value)
        self._simulation.store.changed(tenant)
        return {field.name: getattr(tenant, field.name) for field in fields(TenantChange)}

    async def add_guest(self, request: web.Request) -> dict[str, Any]:
        """POST tenants/{tenant}/guests: invite an account of another tenant; the answer is the guest object's id."""
        tenant, wanted = self._tenant(request), await _read(request, _INVITATION)
        roles = frozenset(Role(each) for each in _template_ids(wanted.roles))
        account = self._account(wanted.account)
        guest = invite_guest(self._simulation.store, tenant, account, self._simulation.clock.now(), roles)
        return {"tenant_id": tenant.id, "user_id": guest.id, "user_principal_name": guest.user_principal_name}

    async def add_delegated_administrator(self, request: web.Request) -> dict[str, Any]:
        """POST tenants/{tenant}/delegated-administrators: give a partner's account roles here; no roles: none any more."""
        tenant, wanted = self._tenant(request), await _read(request, _INVITATION)
        account = self._account(wanted.account)
        delegate_administration(self._simulation.store, tenant, account, frozenset(_template_ids(wanted.roles)))
        if not wanted.roles:
            del tenant.delegated_administrators[account.user_id]
            self._simulation.store.changed(tenant)
        return {"tenant_id": tenant.id, "user_id": account.user_id}

    async def add_policy(self, request: web.Request) -> dict[str, Any]:
        """POST tenants/{tenant}/policies: add a Conditional Access policy."""
        tenant, wanted = self._tenant(request), await _read(request, _POLICY)
        policy = ConditionalAccessPolicy(
            id=tenant.new_id("conditionalAccessPolicy", wanted.control),
            control=wanted.control,
            include_users=tuple(self._person(tenant, each) for each in wanted.users),
            include_applications=tuple(self._application(each) for each in wanted.applications),
            include_service_principals=tuple(self._application(each) for each in wanted.service_principals),
        )
        tenant.conditional_access[policy.id] = policy
        self._simulation.store.changed(tenant)
        return {"id": policy.id}

    async def clear_policies(self, request: web.Request) -> dict[str, Any]:
        """DELETE tenants/{tenant}/policies: take all away."""
        tenant = self._tenant(request)
        tenant.conditional_access.clear()
        self._simulation.store.changed(tenant)
        return {}

    async def revoke(self, request: web.Request) -> dict[str, Any]:
        """POST tenants/{tenant}/revocations: tokens that a CAE client got before now are challenged."""
        tenant, wanted = self._tenant(request), await _read(request, _REVOCATION)
        identifier = self._principal(tenant, wanted.principal)
        tenant.sessions_revoked_at[identifier] = self._simulation.clock.now()
        self._simulation.store.changed(tenant)
        return {"principal_id": identifier}

    async def change_role(self, request: web.Request) -> dict[str, Any]:
        """POST tenants/{tenant}/roles: give or take a directory role or eligibility, at once; no policy is asked."""
        tenant, wanted = self._tenant(request), await _read(request, _ROLE_CHANGE)
        role, now = _role(wanted.role), self._simulation.clock.now()
        principal_id = self._principal(tenant, wanted.principal)
        ends_at = now + timedelta(seconds=wanted.seconds) if wanted.seconds is not None else None
        _take_role(tenant, role, principal_id)
        if wanted.right is Right.ELIGIBLE:
            make_eligible(tenant, role, principal_id, now, ends_at)
        elif wanted.right is not Right.NONE:
            made = assign(tenant, role, principal_id, now, 0.0)
            kind = "Activated" if wanted.right is Right.ACTIVATED else made.assignment_type
            tenant.role_assignments[made.id] = replace(made, ends_at=ends_at, assignment_type=kind)
        self._simulation.store.changed(tenant)
        return {"principal_id": principal_id, "role": role.value, "ends_at": timestamp(ends_at) if ends_at else None}

    async def change_role_policy(self, request: web.Request) -> dict[str, Any]:
        """POST tenants/{tenant}/role-policies: put a policy into the place of the one that the role had."""
        tenant, wanted = self._tenant(request), await _read(request, _ROLE_POLICY)
        role = _role(wanted.role)
        seconds_of(wanted.policy.maximum_duration)
        tenant.role_policies[role.value] = wanted.policy
        self._simulation.store.changed(tenant)
        return {**asdict(wanted.policy), "role": role.value, "enabled_rules": sorted(wanted.policy.enabled_rules)}

    async def change_role_group(self, request: web.Request) -> dict[str, Any]:
        """POST tenants/{tenant}/role-groups: make, replace or take away a custom role group of Exchange."""
        tenant, wanted = self._tenant(request), await _read(request, _ROLE_GROUP)
        members = [self._principal(tenant, each) for each in wanted.members]
        put_role_group(tenant, wanted.name, wanted.cmdlets, members)
        self._simulation.store.changed(tenant)
        return {"name": wanted.name, "cmdlets": list(wanted.cmdlets), "members": members}

    def _principal(self, tenant: Tenant, name: str) -> str:
        user = tenant.users.find(name)
        client = tenant.service_principal_of(self._application(name)) or tenant.service_principals.get(name)
        found = user or client
        if found is None:
            raise ValueError(f"nobody called {name}")
        return found.id

    def _tenant(self, request: web.Request) -> Tenant:
        name = request.match_info["tenant"]
        found = self._simulation.store.find_tenant(name)
        if found is None:
            raise ValueError(f"no tenant {name}")
        return found

    def _account(self, name: str) -> Account:
        home = self._simulation.store.find_tenant(name.rpartition("@")[2])
        user = home.users.find(name) if home else None
        if home is None or user is None:
            raise ValueError(f"no account {name}")
        return Account(home.id, user.id)

    def _person(self, tenant: Tenant, name: str) -> str:
        user = tenant.users.find(name)
        if user is None and name != ALL:
            raise ValueError(f"nobody called {name}")
        return user.id if user else ALL

    def _application(self, name: str) -> str:
        registrations = self._simulation.store.registrations.values()
        return next((each.app_id for each in registrations if each.name == name), name)


def _template_ids(roles: tuple[str, ...]) -> list[str]:
    ids = [_ROLES.get(each.lower(), each) for each in roles]
    for each in ids:
        UUID(each)
    return ids


def _role(name: str) -> Role:
    return Role(_template_ids((name,))[0])


def _take_role(tenant: Tenant, role: Role, principal_id: str) -> None:
    """Take away what a principal has of a role: assignments and eligibilities."""
    kept: tuple[dict[str, Any], ...] = (tenant.role_assignments, tenant.role_eligibilities)
    for collection in kept:
        for key, each in list(collection.items()):
            if each.principal_id == principal_id and each.role_definition_id == role:
                del collection[key]


async def _read(request: web.Request, adapter: TypeAdapter[Body]) -> Body:
    return adapter.validate_json(await request.read(), extra="forbid")
