"""How directory objects are written: each resource type's properties, and which of them are returned by default.

Properties and defaults: learn.microsoft.com/graph/api/resources ("Returned by default"). A property that Microsoft
documents and that stands in no table here is not simulated (PARITY.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter, itemgetter
from typing import Any, Generic, TypeVar

from local.microsoft365.catalogue import Permission, resources
from local.microsoft365.clock import timestamp
from local.microsoft365.graph.errors import denied, malformed
from local.microsoft365.model import (
    AppRoleAssignment,
    Domain,
    Group,
    OAuth2PermissionGrant,
    RoleAssignment,
    ServicePrincipal,
)
from local.microsoft365.population import User

T = TypeVar("T")
Column = tuple[str, Callable[[Any], Any]]


def _constant(value: object) -> Callable[[object], Any]:
    return lambda _: value


def _listed(attribute: str) -> Callable[[object], list[Any]]:
    get = attrgetter(attribute)
    return lambda item: list(get(item))


def _time(attribute: str) -> Callable[[object], str]:
    get = attrgetter(attribute)
    return lambda item: timestamp(get(item))


@dataclass(frozen=True, slots=True)
class Shape(Generic[T]):
    """A resource type: its name, a function for each property, and the properties returned by default (None: all)."""

    name: str
    properties: Mapping[str, Callable[[T], Any]]
    default: tuple[str, ...] | None = None

    @property
    def annotation(self) -> str:
        """The type as `@odata.type` writes it."""
        return f"#microsoft.graph.{self.name}"

    def columns(self, select: tuple[str, ...], visible: frozenset[str] | None) -> tuple[Column, ...]:
        """Return what to write: the selected properties or the default ones, without those that are not visible.

        Raises GraphError (400) for a property that the type doesn't have.
        """
        names = [self.canonical(name) for name in select] or self.default or tuple(self.properties)
        return tuple((name, self.properties[name]) for name in names if visible is None or name in visible)

    def canonical(self, name: str) -> str:
        """Return a property's name as documented; raises GraphError (400) when the type doesn't have it."""
        if name in self.properties:
            return name
        match = next((known for known in self.properties if known.lower() == name.lower()), None)
        if match is None:
            raise malformed(f"Could not find a property named '{name}' on type 'microsoft.graph.{self.name}'.")
        return match

    def reader(self, names: frozenset[str], visible: frozenset[str] | None) -> Callable[[T], Callable[[str], Any]]:
        """Return a reader of the properties that a filter names.

        Raises GraphError: 400 for a property that the type doesn't have, 403 for one that the caller may not see.
        """
        getters = {name: self.properties[self.canonical(name)] for name in names}
        if visible is not None and not {self.canonical(name) for name in names} <= visible:
            raise denied()
        return lambda item: lambda name: getters[name](item)


def row(columns: tuple[Column, ...], item: object) -> dict[str, Any]:
    """Return an object as JSON has it."""
    return {name: get(item) for name, get in columns}


USER: Shape[User] = Shape(
    "user",
    {
        "businessPhones": _constant([]),
        "displayName": attrgetter("display_name"),
        "givenName": attrgetter("given_name"),
        "jobTitle": attrgetter("job_title"),
        "mail": attrgetter("mail"),
        "mobilePhone": _constant(None),
        "officeLocation": attrgetter("office_location"),
        "preferredLanguage": attrgetter("preferred_language"),
        "surname": attrgetter("surname"),
        "userPrincipalName": attrgetter("user_principal_name"),
        "id": attrgetter("id"),
        "accountEnabled": attrgetter("account_enabled"),
        "companyName": _constant(None),
        "createdDateTime": _time("created_at"),
        "department": attrgetter("department"),
        "employeeId": _constant(None),
        "externalUserState": _constant(None),
        "mailNickname": attrgetter("mail_nickname"),
        "onPremisesSyncEnabled": _constant(None),
        "otherMails": _listed("other_mails"),
        "proxyAddresses": _listed("proxy_addresses"),
        "showInAddressList": _constant(None),
        "usageLocation": attrgetter("usage_location"),
        "userType": attrgetter("user_type"),
    },
    (
        "businessPhones",
        "displayName",
        "givenName",
        "jobTitle",
        "mail",
        "mobilePhone",
        "officeLocation",
        "preferredLanguage",
        "surname",
        "userPrincipalName",
        "id",
    ),
)

GROUP: Shape[Group] = Shape(
    "group",
    {
        "id": attrgetter("id"),
        "deletedDateTime": _constant(None),
        "classification": _constant(None),
        "createdDateTime": _time("created_at"),
        "description": attrgetter("description"),
        "displayName": attrgetter("display_name"),
        "expirationDateTime": _constant(None),
        "groupTypes": _listed("group_types"),
        "isAssignableToRole": _constant(None),
        "mail": attrgetter("mail"),
        "mailEnabled": attrgetter("mail_enabled"),
        "mailNickname": attrgetter("mail_nickname"),
        "membershipRule": _constant(None),
        "membershipRuleProcessingState": _constant(None),
        "onPremisesLastSyncDateTime": _constant(None),
        "onPremisesSyncEnabled": _constant(None),
        "preferredDataLocation": _constant(None),
        "preferredLanguage": _constant(None),
        "proxyAddresses": _listed("proxy_addresses"),
        "renewedDateTime": _time("created_at"),
        "resourceBehaviorOptions": _constant([]),
        "resourceProvisioningOptions": _constant([]),
        "securityEnabled": attrgetter("security_enabled"),
        "theme": _constant(None),
        "visibility": attrgetter("visibility"),
    },
)

DOMAIN: Shape[Domain] = Shape(
    "domain",
    {
        "authenticationType": attrgetter("authentication_type"),
        "availabilityStatus": _constant(None),
        "id": attrgetter("name"),
        "isAdminManaged": _constant(True),
        "isDefault": attrgetter("is_default"),
        "isInitial": attrgetter("is_initial"),
        "isRoot": attrgetter("is_verified"),
        "isVerified": attrgetter("is_verified"),
        "passwordNotificationWindowInDays": _constant(None),
        "passwordValidityPeriodInDays": _constant(None),
        "state": _constant(None),
        "supportedServices": _listed("supported_services"),
    },
)


def _permissions(kind: str, write: Callable[[Permission], dict[str, Any]]) -> Callable[[ServicePrincipal], list[Any]]:
    def offered(principal: ServicePrincipal) -> list[dict[str, Any]]:
        resource = resources().get(principal.app_id)
        permissions = resource.permissions if resource is not None else ()
        return [write(permission) for permission in permissions if permission.kind == kind]

    return offered


def _app_role(permission: Permission) -> dict[str, Any]:
    return {
        "allowedMemberTypes": ["Application"],
        "description": permission.display_name,
        "displayName": permission.display_name,
        "id": permission.id,
        "isEnabled": True,
        "origin": "Application",
        "value": permission.value,
    }


def _scope(permission: Permission) -> dict[str, Any]:
    return {
        "adminConsentDescription": permission.display_name,
        "adminConsentDisplayName": permission.display_name,
        "id": permission.id,
        "isEnabled": True,
        "type": "Admin" if permission.admin_consent else "User",
        "userConsentDescription": None,
        "userConsentDisplayName": None,
        "value": permission.value,
    }


SERVICE_PRINCIPAL: Shape[ServicePrincipal] = Shape(
    "servicePrincipal",
    {
        "id": attrgetter("id"),
        "deletedDateTime": _constant(None),
        "accountEnabled": attrgetter("account_enabled"),
        "alternativeNames": _constant([]),
        "appDisplayName": attrgetter("display_name"),
        "appId": attrgetter("app_id"),
        "appOwnerOrganizationId": attrgetter("app_owner_organization_id"),
        "appRoleAssignmentRequired": _constant(False),
        "appRoles": _permissions("Role", _app_role),
        "displayName": attrgetter("display_name"),
        "oauth2PermissionScopes": _permissions("Scope", _scope),
        "servicePrincipalNames": lambda principal: [principal.app_id],
        "servicePrincipalType": attrgetter("service_principal_type"),
        "signInAudience": _constant("AzureADMultipleOrgs"),
        "tags": _constant([]),
    },
)

APP_ROLE_ASSIGNMENT: Shape[AppRoleAssignment] = Shape(
    "appRoleAssignment",
    {
        "id": attrgetter("id"),
        "deletedDateTime": _constant(None),
        "appRoleId": attrgetter("app_role_id"),
        "createdDateTime": _time("created_at"),
        "principalDisplayName": attrgetter("principal_display_name"),
        "principalId": attrgetter("principal_id"),
        "principalType": attrgetter("principal_type"),
        "resourceDisplayName": attrgetter("resource_display_name"),
        "resourceId": attrgetter("resource_id"),
    },
)

PERMISSION_GRANT: Shape[OAuth2PermissionGrant] = Shape(
    "oAuth2PermissionGrant",
    {
        "clientId": attrgetter("client_id"),
        "consentType": attrgetter("consent_type"),
        "id": attrgetter("id"),
        "principalId": attrgetter("principal_id"),
        "resourceId": attrgetter("resource_id"),
        "scope": attrgetter("scope"),
    },
)

ROLE_ASSIGNMENT: Shape[RoleAssignment] = Shape(
    "unifiedRoleAssignment",
    {
        "id": attrgetter("id"),
        "principalId": attrgetter("principal_id"),
        "directoryScopeId": attrgetter("directory_scope_id"),
        "roleDefinitionId": attrgetter("role_definition_id"),
    },
)


def mapping_shape(name: str, *properties: str) -> Shape[Mapping[str, Any]]:
    """Return the shape of a resource whose rows are made as mappings where they are listed."""
    return Shape(name, {item: itemgetter(item) for item in properties})


ROLE_DEFINITION = mapping_shape(
    "unifiedRoleDefinition",
    "id",
    "description",
    "displayName",
    "isBuiltIn",
    "isEnabled",
    "templateId",
    "version",
    "rolePermissions",
)
ORGANIZATION = mapping_shape(
    "organization",
    "id",
    "deletedDateTime",
    "assignedPlans",
    "businessPhones",
    "city",
    "country",
    "countryLetterCode",
    "createdDateTime",
    "displayName",
    "onPremisesSyncEnabled",
    "preferredLanguage",
    "provisionedPlans",
    "technicalNotificationMails",
    "tenantType",
    "verifiedDomains",
)
SUBSCRIBED_SKU = mapping_shape(
    "subscribedSku",
    "id",
    "accountId",
    "appliesTo",
    "capabilityStatus",
    "consumedUnits",
    "prepaidUnits",
    "servicePlans",
    "skuId",
    "skuPartNumber",
)
