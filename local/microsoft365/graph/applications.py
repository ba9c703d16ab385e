"""Service principals, and what has been granted to them."""

from __future__ import annotations

from local.microsoft365.graph.collections import entity, list_page, scan_list
from local.microsoft365.graph.context import Answer, Context
from local.microsoft365.graph.errors import not_found
from local.microsoft365.graph.shapes import APP_ROLE_ASSIGNMENT, PERMISSION_GRANT, SERVICE_PRINCIPAL
from local.microsoft365.model import AppRoleAssignment, OAuth2PermissionGrant, ServicePrincipal


def _principals(context: Context) -> list[ServicePrincipal]:
    """Return the service principals that have spread by now."""
    return [item for item in context.tenant.service_principals.values() if item.visible_at <= context.now]


def _principal(context: Context) -> ServicePrincipal:
    identifier = context.key("servicePrincipal-id")
    found = next((item for item in _principals(context) if item.id == identifier.lower()), None)
    if found is None:
        raise not_found(identifier)
    return found


def list_service_principals(context: Context) -> Answer:
    """GET /servicePrincipals; `$filter=appId eq '…'` is how one is found by its application id."""
    return list_page(context, "servicePrincipals", SERVICE_PRINCIPAL, scan_list(_principals(context)))


def get_service_principal(context: Context) -> Answer:
    """GET /servicePrincipals/{id}: an object id, not an application id; raises GraphError (404) when there is none."""
    return entity(context, "servicePrincipals", SERVICE_PRINCIPAL, _principal(context))


def get_service_principal_by_application(context: Context) -> Answer:
    """GET /servicePrincipals(appId='{appId}'); raises GraphError (404) when there is none."""
    app_id = context.key("appId").lower()
    found = next((item for item in _principals(context) if item.app_id.lower() == app_id), None)
    if found is None:
        raise not_found(context.key("appId"))
    return entity(context, "servicePrincipals", SERVICE_PRINCIPAL, found)


def _assignments(context: Context) -> list[AppRoleAssignment]:
    return [item for item in context.tenant.app_role_assignments.values() if item.visible_at <= context.now]


def list_app_role_assignments(context: Context) -> Answer:
    """GET /servicePrincipals/{id}/appRoleAssignments: the application permissions granted to it."""
    principal = _principal(context)
    rows = [item for item in _assignments(context) if item.principal_id == principal.id]
    return list_page(context, "appRoleAssignments", APP_ROLE_ASSIGNMENT, scan_list(rows))


def list_app_role_assigned_to(context: Context) -> Answer:
    """GET /servicePrincipals/{id}/appRoleAssignedTo: the permissions of this resource that were granted."""
    principal = _principal(context)
    rows = [item for item in _assignments(context) if item.resource_id == principal.id]
    return list_page(context, "appRoleAssignments", APP_ROLE_ASSIGNMENT, scan_list(rows))


def _grants(context: Context) -> list[OAuth2PermissionGrant]:
    return [item for item in context.tenant.oauth2_permission_grants.values() if item.visible_at <= context.now]


def list_permission_grants(context: Context) -> Answer:
    """GET /oauth2PermissionGrants: the delegated permissions granted in the tenant."""
    return list_page(context, "oauth2PermissionGrants", PERMISSION_GRANT, scan_list(_grants(context)))


def list_permission_grants_of(context: Context) -> Answer:
    """GET /servicePrincipals/{id}/oauth2PermissionGrants: the delegated permissions granted to it."""
    principal = _principal(context)
    rows = [item for item in _grants(context) if item.client_id == principal.id]
    return list_page(context, "oauth2PermissionGrants", PERMISSION_GRANT, scan_list(rows))


def get_permission_grant(context: Context) -> Answer:
    """GET /oauth2PermissionGrants/{id}; raises GraphError (404) when there is none."""
    identifier = context.key("oAuth2PermissionGrant-id")
    found = next((item for item in _grants(context) if item.id == identifier), None)
    if found is None:
        raise not_found(identifier)
    return entity(context, "oauth2PermissionGrants", PERMISSION_GRANT, found)
