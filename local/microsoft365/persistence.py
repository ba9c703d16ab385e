"""The data directory: authority, signing key, secrets and the tenants' state, so that a second start goes on.

    authority.pem, authority-key.pem   the throw-away certificate authority
    signing-key.pem                    what signs tokens
    state.json                         password, secrets and everything that differs from the seed's users

Each file is written beside its place and then moved into it: a reader never sees half a file.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import trustme
from pydantic import TypeAdapter

from local.microsoft365.keys import SigningKeys
from local.microsoft365.model import (
    ActivitySubscription,
    AppRoleAssignment,
    ApprovalRequest,
    ConditionalAccessPolicy,
    DirectoryChange,
    Domain,
    FederatedCredential,
    Group,
    OAuth2PermissionGrant,
    RoleAssignment,
    RoleEligibility,
    RolePolicy,
    RoleRequest,
    Secret,
    ServicePrincipal,
    Tenant,
)
from local.microsoft365.population import User
from local.microsoft365.seed import TenantSeed, user_directory

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Credentials:
    """What an application proves itself with."""

    secrets: tuple[Secret, ...] = ()
    certificates: tuple[str, ...] = ()
    federated_credentials: tuple[FederatedCredential, ...] = ()


@dataclass(frozen=True, slots=True)
class SavedTenant:
    """A tenant as it is written: the users that nobody touched are left out, their seed makes them again."""

    seed: TenantSeed
    display_name: str
    created_at: datetime
    country: str
    users_changed: dict[str, User | None]
    users_added: dict[str, User | None]
    domains: dict[str, Domain]
    groups: dict[str, Group]
    service_principals: dict[str, ServicePrincipal]
    app_role_assignments: dict[str, AppRoleAssignment]
    oauth2_permission_grants: dict[str, OAuth2PermissionGrant]
    role_assignments: dict[str, RoleAssignment]
    licences: tuple[str, ...]
    exchange: dict[str, Any]
    journal: list[DirectoryChange]
    names_used: dict[str, int]
    delegated_administrators: dict[str, frozenset[str]] = field(default_factory=dict)
    conditional_access: dict[str, ConditionalAccessPolicy] = field(default_factory=dict)
    approval_requests: list[ApprovalRequest] = field(default_factory=list)
    takes_approval_requests: bool = False
    is_deleted: bool = False
    national_cloud: str = ""
    sessions_revoked_at: dict[str, datetime] = field(default_factory=dict)
    is_trial: bool = False
    unified_audit_log: bool = True
    activity_disabled_by: str = ""
    activity_subscriptions: dict[str, ActivitySubscription] = field(default_factory=dict)
    role_eligibilities: dict[str, RoleEligibility] = field(default_factory=dict)
    role_requests: dict[str, RoleRequest] = field(default_factory=dict)
    role_policies: dict[str, RolePolicy] = field(default_factory=dict)
    users_deleted: dict[str, User] = field(default_factory=dict)
    deleted_groups: dict[str, Group] = field(default_factory=dict)
    delta_epoch: int = 0


@dataclass(frozen=True, slots=True)
class SavedState:
    """The whole of state.json."""

    version: int
    password: str
    credentials: dict[str, Credentials]
    """By application id."""
    tenants: list[SavedTenant] = field(default_factory=list)


_STATE = TypeAdapter(SavedState)
_OWN_FIELDS = frozenset({"seed", "users_changed", "users_added", "users_deleted"})
_SHARED_FIELDS = tuple(name for name in SavedTenant.__dataclass_fields__ if name not in _OWN_FIELDS)


def save_tenant(seed: TenantSeed, tenant: Tenant) -> SavedTenant:
    """The written form of a tenant."""
    shared = {name: getattr(tenant, name) for name in _SHARED_FIELDS}
    users = tenant.users
    return SavedTenant(seed=seed, users_changed=users.changed, users_added=users.added, users_deleted=users.deleted, **shared)


def load_tenant(saved: SavedTenant) -> Tenant:
    """The tenant of a written form."""
    users = user_directory(saved.seed)
    users.changed, users.added = dict(saved.users_changed), dict(saved.users_added)
    users.deleted = dict(saved.users_deleted)
    return Tenant(id=saved.seed.tenant_id, users=users, **{name: getattr(saved, name) for name in _SHARED_FIELDS})


class DataDirectory:
    """Reads and writes one data directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def authority(self) -> trustme.CA:
        """The certificate authority: the one kept here, or a new one that is kept from now on."""
        certificate, key = self.path / "authority.pem", self.path / "authority-key.pem"
        if certificate.exists() and key.exists():
            return trustme.CA.from_pem(certificate.read_bytes(), key.read_bytes())
        authority = trustme.CA(organization_name="Grantline simulated Microsoft 365")
        write_file(key, authority.private_key_pem.bytes())
        write_file(certificate, authority.cert_pem.bytes())
        return authority

    def signing_keys(self) -> SigningKeys:
        """The signing key: the one kept here, or a new one that is kept from now on."""
        file = self.path / "signing-key.pem"
        if file.exists():
            return SigningKeys.load(file.read_bytes())
        keys = SigningKeys.generate()
        write_file(file, keys.pem())
        return keys

    def load(self) -> SavedState | None:
        """The state kept here; None in a new directory. Raises ValueError when it is of another version or broken."""
        file = self.path / "state.json"
        if not file.exists():
            return None
        state = _STATE.validate_json(file.read_bytes())
        if state.version != _VERSION:
            raise ValueError(f"{file}: version {state.version}, this simulation reads {_VERSION}")
        return state

    def save(self, password: str, credentials: dict[str, Credentials], tenants: list[SavedTenant]) -> None:
        """Write the state, in one step."""
        write_file(self.path / "state.json", _STATE.dump_json(SavedState(_VERSION, password, credentials, tenants)))


def write_file(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    beside.replace(path)
