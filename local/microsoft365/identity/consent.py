"""Consent: who may give it, what is missing, and what it leaves in the tenant.

Sources: entra-docs, enterprise-apps/grant-admin-consent.md (which roles may consent to what) and
identity-platform/v2-admin-consent.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from local.microsoft365.catalogue import GRAPH, Resource
from local.microsoft365.identity.scopes import Asked
from local.microsoft365.model import (
    AppRoleAssignment,
    OAuth2PermissionGrant,
    Registration,
    Role,
    ServicePrincipal,
    Tenant,
)
from local.microsoft365.role_assignments import held_roles
from local.microsoft365.simulation import Simulation

_EVERYTHING = frozenset({Role.GLOBAL_ADMINISTRATOR, Role.PRIVILEGED_ROLE_ADMINISTRATOR})
_ALL_BUT_GRAPH_ROLES = frozenset({Role.APPLICATION_ADMINISTRATOR, Role.CLOUD_APPLICATION_ADMINISTRATOR})
EVERYBODY = "AllPrincipals"
ONE_PERSON = "Principal"


def directory_roles(simulation: Simulation, tenant: Tenant, principal_id: str) -> frozenset[str]:
    """Template ids of the roles that tokens of this principal carry now."""
    return held_roles(tenant, principal_id, simulation.clock.now())


def may_consent_for_all(roles: frozenset[str], asked: Iterable[Asked]) -> bool:
    """Whether somebody with these roles may consent to these permissions for the whole organization."""
    if roles & _EVERYTHING:
        return True
    graph_roles = any(each.permission.kind == "Role" and each.resource.app_id == GRAPH for each in asked)
    return bool(roles & _ALL_BUT_GRAPH_ROLES) and not graph_roles


def missing_scopes(tenant: Tenant, registration: Registration, user_id: str, asked: Iterable[Asked]) -> tuple[Asked, ...]:
    """The delegated permissions that neither everybody nor this person has consented to."""
    client = tenant.service_principal_of(registration.app_id)
    return tuple(each for each in asked if each.permission.value not in _granted(tenant, client, each.resource, user_id))


def granted_scopes(tenant: Tenant, client: ServicePrincipal, resource: Resource, user_id: str) -> frozenset[str]:
    """The delegated permissions of a resource that this application has for this person."""
    return _granted(tenant, client, resource, user_id)


def application_permissions(simulation: Simulation, tenant: Tenant, client: ServicePrincipal, resource: Resource) -> list[str]:
    """The names of the application permissions of a resource that tokens of `client` carry now, sorted."""
    now = simulation.clock.now()
    principal = tenant.service_principal_of(resource.app_id)
    granted = (
        resource.by_id(each.app_role_id, "Role")
        for each in tenant.app_role_assignments.values()
        if principal and each.principal_id == client.id and each.resource_id == principal.id and each.visible_at <= now
    )
    return sorted(permission.value for permission in granted if permission)


class Consent:
    """Carries out an accepted consent in one tenant."""

    def __init__(self, simulation: Simulation, tenant: Tenant, registration: Registration) -> None:
        self._tenant = tenant
        self._registration = registration
        self._now = simulation.clock.now()
        self._visible_at = self._now + timedelta(seconds=simulation.settings.consent_delay)
        self._later = self._visible_at + timedelta(seconds=simulation.settings.late_permissions_delay)
        self._revokes = simulation.settings.reconsent_revokes
        self._simulation = simulation

    def grant(self, asked: tuple[Asked, ...], user_id: str | None) -> None:
        """Grant delegated permissions to everybody, or to one person, and application permissions; save it."""
        client = self._client()
        roles = [each for each in asked if each.permission.kind == "Role"]
        scopes = [each for each in asked if each.permission.kind == "Scope"]
        if self._revokes and user_id is None:
            self._revoke(client, asked)
        for position, each in enumerate(roles):
            self._assign(client, each, self._visible_at if position == 0 else self._later)
        for resource in {each.resource.app_id: each.resource for each in scopes}.values():
            self._delegate(client, resource, [each.permission.value for each in scopes if each.resource == resource], user_id)
        self._simulation.store.changed(self._tenant)

    def _client(self) -> ServicePrincipal:
        found = self._tenant.service_principal_of(self._registration.app_id)
        if found:
            return found
        client = ServicePrincipal(
            id=self._tenant.new_id("servicePrincipal", self._registration.app_id),
            app_id=self._registration.app_id,
            display_name=self._registration.display_name,
            app_owner_organization_id=self._registration.home_tenant_id,
            created_at=self._now,
            visible_at=self._visible_at,
        )
        self._tenant.service_principals[client.id] = client
        return client

    def _revoke(self, client: ServicePrincipal, asked: tuple[Asked, ...]) -> None:
        wanted = {each.permission.id for each in asked}
        assignments = self._tenant.app_role_assignments
        for each in [each for each in assignments.values() if each.principal_id == client.id]:
            if each.app_role_id not in wanted:
                del assignments[each.id]

    def _assign(self, client: ServicePrincipal, asked: Asked, visible_at: datetime) -> None:
        resource = self._tenant.service_principal_of(asked.resource.app_id)
        if resource is None or self._is_assigned(client, resource, asked):
            return
        assignment = AppRoleAssignment(
            id=self._tenant.new_id("appRoleAssignment", client.id, asked.permission.id),
            app_role_id=asked.permission.id,
            principal_id=client.id,
            principal_display_name=client.display_name,
            resource_id=resource.id,
            resource_display_name=resource.display_name,
            created_at=self._now,
            visible_at=visible_at,
        )
        self._tenant.app_role_assignments[assignment.id] = assignment

    def _is_assigned(self, client: ServicePrincipal, resource: ServicePrincipal, asked: Asked) -> bool:
        return any(
            each.principal_id == client.id and each.resource_id == resource.id and each.app_role_id == asked.permission.id
            for each in self._tenant.app_role_assignments.values()
        )

    def _delegate(self, client: ServicePrincipal, resource: Resource, values: list[str], user_id: str | None) -> None:
        principal = self._tenant.service_principal_of(resource.app_id)
        if principal is None:
            return
        grants = self._tenant.oauth2_permission_grants
        found = next(
            (
                each
                for each in grants.values()
                if each.client_id == client.id and each.resource_id == principal.id and each.principal_id == user_id
            ),
            None,
        )
        if found is None:
            identifier = self._tenant.new_id("oauth2PermissionGrant", client.id, principal.id, user_id or EVERYBODY)
            kind = EVERYBODY if user_id is None else ONE_PERSON
            scope = " ".join(values)
            found = OAuth2PermissionGrant(identifier, client.id, kind, user_id, principal.id, scope, self._now, self._visible_at)
        former = () if self._revokes and user_id is None else found.scope.split()
        grants[found.id] = replace(found, scope=" ".join(dict.fromkeys((*former, *values))))


def _granted(tenant: Tenant, client: ServicePrincipal | None, resource: Resource, user_id: str) -> frozenset[str]:
    principal = tenant.service_principal_of(resource.app_id)
    if client is None or principal is None:
        return frozenset()
    grants = (
        each.scopes
        for each in tenant.oauth2_permission_grants.values()
        if each.client_id == client.id and each.resource_id == principal.id and each.principal_id in {None, user_id}
    )
    return frozenset().union(*grants)
