"""Every call that Grantline makes to Microsoft, and the permission that it is made with (DESIGN.md rule 8).

The one list: the consent pages show it, ``tools/registrations.py`` writes the app registrations from it, the consent steps
wait for exactly these permissions, and tests compare it with the calls that the code makes.

Sources: permission names, ids and what is least for a call are Microsoft's own data (microsoft-graph-devx-content,
``permissions/new``); Exchange's are from "App-only authentication for unattended scripts" (office-docs-powershell,
``app-only-auth-powershell-v2.md``); that of the Office 365 Management APIs is from third parties (KelvinTegelaar/CIPP-API,
``Config/SAMManifest.json``), for Microsoft names the permission and not its id.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from shared.settings import Settings


class Application(StrEnum):
    """The operator's app registrations."""

    MAIL_FLOW = "mail_flow"
    DIRECTORY = "directory"
    ROLE_HELPER = "role_helper"
    ACTIVITY = "activity"
    ROLE_ASSIGNER = "role_assigner"


class Consumer(StrEnum):
    """Who makes the calls that a permission is for."""

    GRANTLINE = "Grantline"
    PRODUCT = "the product"
    BOTH = "Grantline and the product"


class Resource(StrEnum):
    """The Microsoft services that permissions belong to, by application id (the same in every cloud)."""

    GRAPH = "00000003-0000-0000-c000-000000000000"
    EXCHANGE = "00000002-0000-0ff1-ce00-000000000000"
    MANAGEMENT = "c5393580-f805-4401-95e8-94b7a6ef2fc2"


RESOURCE_NAMES: Mapping[Resource, str] = {
    Resource.GRAPH: "Microsoft Graph",
    Resource.EXCHANGE: "Office 365 Exchange Online",
    Resource.MANAGEMENT: "Office 365 Management APIs",
}
"""What Microsoft calls the services."""


@dataclass(frozen=True, slots=True)
class Permission:
    """One permission of one registration: what an administrator reads before accepting.

    ``permission_id`` is Microsoft's id of the app role, or of the delegated scope where ``delegated`` is true. An ``optional``
    one is asked for only where the operator wants it, and nothing waits for it or breaks without.
    """

    application: Application
    resource: Resource
    name: str
    permission_id: str
    consumer: Consumer
    reason: str
    risk: str
    delegated: bool = False
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """One call that Grantline makes, and the permission that Microsoft documents as the least for what we read or write."""

    application: Application
    method: str
    path: str
    permission: str
    source: str


_DEVX = "github.com/microsoftgraph/microsoft-graph-devx-content permissions/new/permissions.json"
_EXCHANGE_ADMIN = "github.com/MicrosoftDocs/office-docs-powershell exchange/docs-conceptual/app-only-auth-powershell-v2.md"
_ORGANIZATION = "learn.microsoft.com/graph/api/organization-list"
_RECORDS = "learn.microsoft.com/graph/api/domain-list-serviceconfigurationrecords"
_MEMBERS = "learn.microsoft.com/graph/api/group-list-transitivemembers"
_BATCH = "learn.microsoft.com/graph/json-batching (each request in it needs what it needs alone)"
_ACTIVITY_API = "learn.microsoft.com/office/office-365-management-api/office-365-management-activity-api-reference"

_BASE: tuple[Permission, ...] = (
    Permission(
        Application.MAIL_FLOW,
        Resource.EXCHANGE,
        "Exchange.ManageAsApp",
        "dc50a0fb-09a3-484d-be87-e023b12c6440",
        Consumer.GRANTLINE,
        "Read the related security settings, and create the connectors, rules and group that route mail through the scanner.",
        "Without a directory role it allows nothing; with Exchange Administrator it can change the organization's mail settings.",
    ),
    Permission(
        Application.DIRECTORY,
        Resource.GRAPH,
        "Organization.Read.All",
        "498476ce-e0fe-48b0-b801-37ba7e2685c6",
        Consumer.GRANTLINE,
        "Read the organization's name, so that people see which tenant is connected, and its plans: Exchange Online must be one.",
        "Shows the organization's contacts and subscriptions as well.",
    ),
    Permission(
        Application.DIRECTORY,
        Resource.GRAPH,
        "Domain.Read.All",
        "dbb9058a-0e50-45d7-ae91-66909b5d4664",
        Consumer.GRANTLINE,
        "Read which domains are verified and receive mail, and to which hosts their mail is to go.",
        "Shows the configuration of every domain.",
    ),
    Permission(
        Application.DIRECTORY,
        Resource.GRAPH,
        "User.Read.All",
        "df021288-bdef-4463-88db-98f22de89214",
        Consumer.GRANTLINE,
        "Sync users and mailboxes with all addresses; User.ReadBasic.All shows neither other addresses nor disabled accounts.",
        "Shows the full profile of every user.",
    ),
    Permission(
        Application.DIRECTORY,
        Resource.GRAPH,
        "GroupMember.Read.All",
        "98830695-27a2-44f7-8c18-0c3ebc9698f6",
        Consumer.GRANTLINE,
        "Sync groups and who is in them, so that a scope can be a group; Group.ReadBasic.All does not tell members.",
        "Shows the basic properties of every group and its members, but for groups that hide their members.",
    ),
    Permission(
        Application.ROLE_HELPER,
        Resource.GRAPH,
        "RoleManagement.ReadWrite.Directory",
        "d01b97e9-cbc0-49fe-810a-750afd5527a3",
        Consumer.GRANTLINE,
        "Assign the Exchange Administrator role to the mail-flow application, once, as the administrator who signs in.",
        "Can assign any directory role while the administrator's sign-in lasts; it is deleted as soon as the role is assigned.",
        delegated=True,
    ),
    Permission(
        Application.ACTIVITY,
        Resource.MANAGEMENT,
        "ActivityFeed.Read",
        "594c1fb6-4f81-4475-ae41-0c394909246c",
        Consumer.BOTH,
        "Start the subscription to activity data, and let the product read it, for protection based on user behavior.",
        "Shows the audit log of the organization: who signed in, and who did what in mail, files and settings.",
    ),
    Permission(
        Application.ROLE_ASSIGNER,
        Resource.GRAPH,
        "RoleManagement.ReadWrite.Directory",
        "9e3f62cf-ca93-4989-b6ce-bf83c28f9fe8",
        Consumer.GRANTLINE,
        "Assign the Exchange Administrator role to the mail-flow application, and extend it, without a person's sign-in.",
        "Can assign any directory role at any time, for as long as the consent stands; take it back when the role is assigned.",
    ),
)
"""What every installation asks for. The two that assign roles ask for one permission although smaller ones would do for some
calls: a tenant without Privileged Identity Management takes no other for the assignment itself, and it covers all calls."""

_ROLE_WATCH = Permission(
    Application.DIRECTORY,
    Resource.GRAPH,
    "RoleAssignmentSchedule.Read.Directory",
    "d5fe8ce8-684c-4c83-a52c-46e882ce4be1",
    Consumer.GRANTLINE,
    "Optional: see until when the mail-flow application has its role, so that it can be extended in time.",
    "Shows every active assignment of a directory role, whoever has it.",
    optional=True,
)
"""The *role watch*. Without it the end of the role is known from our own assignment alone."""

_MAILBOX: Mapping[str, tuple[str, str, str]] = {
    "Mail.ReadBasic.All": (
        "693c5e45-0940-467d-9b8a-1022fb9d42ef",
        "Let the product see sender, recipients and subject of messages in all mailboxes.",
        "Shows the headers of every message in every mailbox, not the body.",
    ),
    "Mail.Read": (
        "810c84a8-4a9e-49e6-bf7d-12d183f40d01",
        "Let the product read messages in all mailboxes.",
        "Shows every message in every mailbox.",
    ),
    "Mail.ReadWrite": (
        "e2a3a72e-5f79-4c64-b1b1-878b674786c9",
        "Let the product read, move and quarantine messages in all mailboxes.",
        "Can read, change and delete every message in every mailbox.",
    ),
}
"""The product's permissions for all mailboxes, by the setting ``mailbox_permission``: id, reason, risk."""

_POLICIES = "/policies/roleManagementPolicyAssignments"
_ROLES = "/roleManagement/directory"
_USERS_OF_A_GROUP = "/groups/{group-id}/transitiveMembers/microsoft.graph.user"
_FEED = "/api/v1.0/{tenant}/activity/feed/subscriptions"


def _role_calls(application: Application) -> tuple[Call, ...]:
    """Return the calls by which a role is assigned or extended, with and without Privileged Identity Management."""
    calls = (
        ("GET", _POLICIES),
        ("GET", f"{_ROLES}/roleAssignmentScheduleInstances"),
        ("POST", f"{_ROLES}/roleAssignmentScheduleRequests"),
        ("GET", f"{_ROLES}/roleAssignments"),
        ("POST", f"{_ROLES}/roleAssignments"),
    )
    return tuple(Call(application, method, path, "RoleManagement.ReadWrite.Directory", _DEVX) for method, path in calls)


CALLS: tuple[Call, ...] = (
    Call(Application.MAIL_FLOW, "POST", "/adminapi/beta/{tenant}/InvokeCommand", "Exchange.ManageAsApp", _EXCHANGE_ADMIN),
    Call(Application.MAIL_FLOW, "POST", "/adminapi/beta/{tenant}/$batch", "Exchange.ManageAsApp", _EXCHANGE_ADMIN),
    Call(Application.MAIL_FLOW, "GET", "/adminapi/v1.0/{tenant}/EXOModuleFile", "Exchange.ManageAsApp", _EXCHANGE_ADMIN),
    Call(Application.DIRECTORY, "GET", "/organization", "Organization.Read.All", _ORGANIZATION),
    Call(Application.DIRECTORY, "GET", "/domains", "Domain.Read.All", _DEVX),
    Call(Application.DIRECTORY, "GET", "/domains/{domain-id}/serviceConfigurationRecords", "Domain.Read.All", _RECORDS),
    Call(Application.DIRECTORY, "GET", "/users", "User.Read.All", _DEVX),
    Call(Application.DIRECTORY, "GET", "/users/delta", "User.Read.All", _DEVX),
    Call(Application.DIRECTORY, "GET", "/users/{user-id}", "User.Read.All", _DEVX),
    Call(Application.DIRECTORY, "POST", "/$batch", "User.Read.All", _BATCH),
    Call(Application.DIRECTORY, "GET", "/groups", "GroupMember.Read.All", _DEVX),
    Call(Application.DIRECTORY, "GET", "/groups/{group-id}", "GroupMember.Read.All", _DEVX),
    Call(Application.DIRECTORY, "GET", "/groups/delta", "GroupMember.Read.All", _DEVX),
    Call(Application.DIRECTORY, "GET", _USERS_OF_A_GROUP, "GroupMember.Read.All", _MEMBERS),
    Call(Application.DIRECTORY, "GET", f"{_ROLES}/roleAssignmentScheduleInstances", _ROLE_WATCH.name, _DEVX),
    *_role_calls(Application.ROLE_HELPER),
    *_role_calls(Application.ROLE_ASSIGNER),
    Call(Application.ACTIVITY, "POST", f"{_FEED}/start", "ActivityFeed.Read", _ACTIVITY_API),
    Call(Application.ACTIVITY, "GET", f"{_FEED}/list", "ActivityFeed.Read", _ACTIVITY_API),
)
"""Every call beside sign-in and tokens. Those need no permission: what an application was granted, and which directory roles it
has, stands in its own tokens (``roles``, ``wids``)."""


@dataclass(frozen=True, slots=True)
class Scope:
    """One OpenID Connect scope of a person's sign-in; an administrator consents to it with everything else."""

    name: str
    reason: str
    risk: str
    source: str


SIGN_IN_SCOPES: tuple[Scope, ...] = (
    Scope(
        "openid",
        "Sign the administrator in, and so prove the tenant.",
        "Shows Grantline a number that stands for the person.",
        "learn.microsoft.com/entra/identity-platform/scopes-oidc",
    ),
    Scope(
        "profile",
        "Know the administrator by the object id, which stands in the token with this scope alone.",
        "Shows Grantline the person's name and sign-in name; the latter stands in the grant's history.",
        "learn.microsoft.com/entra/identity-platform/id-token-claims-reference",
    ),
)
"""What every sign-in asks for."""


def catalogue(mailbox_permission: str, *, role_watch: bool = False) -> tuple[Permission, ...]:
    """Return every permission, with the product's for all mailboxes ("" for none) and, if wanted, the optional role watch.

    Raises KeyError for a mailbox permission that the settings do not allow.
    """
    chosen = (*_BASE, *([_ROLE_WATCH] if role_watch else []))
    if not mailbox_permission:
        return chosen
    permission_id, reason, risk = _MAILBOX[mailbox_permission]
    product = Permission(Application.DIRECTORY, Resource.GRAPH, mailbox_permission, permission_id, Consumer.PRODUCT, reason, risk)
    return (*chosen, product)


def registered(application: str, mailbox_permission: str, *, role_watch: bool = False) -> tuple[Permission, ...]:
    """Return the permissions that one registration lists, in the order in which people read them."""
    return tuple(entry for entry in catalogue(mailbox_permission, role_watch=role_watch) if entry.application == application)


def asked(application: str, settings: Settings) -> tuple[Permission, ...]:
    """Return the permissions that one registration of this installation lists."""
    return registered(application, settings.mailbox_permission, role_watch=settings.role_watch)


def expected(application: str, settings: Settings) -> frozenset[str]:
    """Return the names of the application permissions that a consent must have given: the ``roles`` of its own tokens."""
    return frozenset(entry.name for entry in asked(application, settings) if not entry.delegated and not entry.optional)


def optional(application: str, settings: Settings) -> frozenset[str]:
    """Return the names of the application permissions that a consent may have given beside."""
    return frozenset(entry.name for entry in asked(application, settings) if entry.optional)


def calls_of(permission: Permission) -> tuple[Call, ...]:
    """Return the calls that are made with a permission; none for one that only the product uses."""
    wanted = (permission.application, permission.name)
    return tuple(call for call in CALLS if (call.application, call.permission) == wanted)


def resource_of(application: str) -> Resource:
    """Return the service that an application's own tokens are for."""
    return next(entry.resource for entry in _BASE if entry.application == application)
