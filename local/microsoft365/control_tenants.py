"""The part of the control interface that is about one tenant: its people from elsewhere, its policies, its state."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar
from uuid import UUID

from aiohttp import web
from pydantic import TypeAdapter

from local.microsoft365.identity.people import delegate_administration, invite_guest
from local.microsoft365.identity.sessions import Account
from local.microsoft365.model import ALL, ConditionalAccessPolicy, GrantControl, Role, Tenant
from local.microsoft365.simulation import Simulation

Handler = Callable[[web.Request], Awaitable[dict[str, Any]]]
Body = TypeVar("Body")
_ROLES = {role.name.lower(): role.value for role in Role}


@dataclass(frozen=True, slots=True)
class TenantChange:
    """Body of `POST /_control/tenants/{tenant}`: what is named is changed; the meanings are `model.Tenant`'s."""

    licences: tuple[str, ...] | None = None
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


_CHANGE = TypeAdapter(TenantChange)
_INVITATION = TypeAdapter(Invitation)
_POLICY = TypeAdapter(NewPolicy)
_REVOCATION = TypeAdapter(Revocation)


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
        user = tenant.users.find(wanted.principal)
        client = tenant.service_principal_of(self._application(wanted.principal)) if user is None else None
        if user is None and client is None:
            raise ValueError(f"nobody called {wanted.principal}")
        identifier = user.id if user else client.id if client else ""
        tenant.sessions_revoked_at[identifier] = self._simulation.clock.now()
        self._simulation.store.changed(tenant)
        return {"principal_id": identifier}

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


async def _read(request: web.Request, adapter: TypeAdapter[Body]) -> Body:
    return adapter.validate_json(await request.read(), extra="forbid")
