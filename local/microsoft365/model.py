"""What a simulated Microsoft Entra tenant holds. Objects are frozen: a change puts a new object in the place of the old.

Names follow Microsoft Graph's resources (https://learn.microsoft.com/graph/api/resources/user and its neighbours),
written as Python writes names. `visible_at` is when a change has spread: before it, tokens are issued as if the
object were not there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid5

from local.microsoft365.mail.log import MailLog
from local.microsoft365.population import UserDirectory

IDS = UUID("5b0e8a52-6a0f-4a0b-9f5a-3f1d1f0c7a11")
"""Namespace of every id that the simulation derives, so that two runs of one seed agree."""


class Role(StrEnum):
    """Template ids of the built-in directory roles that the simulation knows.

    Source: entra-docs, identity/role-based-access-control/permissions-reference.md.
    """

    GLOBAL_ADMINISTRATOR = "62e90394-69f5-4237-9190-012177145e10"
    PRIVILEGED_ROLE_ADMINISTRATOR = "e8611ab8-c189-46e8-94e1-60213ab1f814"
    EXCHANGE_ADMINISTRATOR = "29232cdf-9323-42fd-ade2-1d097af3e4de"
    APPLICATION_ADMINISTRATOR = "9b895d92-2cd3-44c7-9d02-a6ac2d5ea5c3"
    CLOUD_APPLICATION_ADMINISTRATOR = "158c047a-c907-4556-b7ef-446551a6b5f7"
    GLOBAL_READER = "f2ef992c-3afb-46b9-b7cf-a126ee74c451"
    SECURITY_READER = "5d6b6bb7-de71-4623-b4af-96380a352509"
    USER_ADMINISTRATOR = "fe930be7-5e62-47db-91af-98c3a49a38b1"


ROLE_NAMES = {role: role.name.replace("_", " ").title() for role in Role}
"""Display name of each role, as Microsoft writes it."""


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain name of the tenant; `supported_services` contains "Email" where Exchange accepts its mail."""

    name: str
    is_default: bool = False
    is_initial: bool = False
    is_verified: bool = True
    authentication_type: str = "Managed"
    supported_services: tuple[str, ...] = ("Email", "OfficeCommunicationsOnline")
    mail_host: str = ""
    """The host that takes its mail, under `mx.microsoft` for a domain added since July 2026. Empty: it was added before."""


@dataclass(frozen=True, slots=True)
class Group:
    """A group of the directory. A mail-enabled one that is not Unified is Exchange's distribution or security group."""

    id: str
    display_name: str
    created_at: datetime
    description: str | None = None
    mail: str | None = None
    mail_nickname: str = ""
    mail_enabled: bool = False
    security_enabled: bool = True
    group_types: tuple[str, ...] = ()
    visibility: str | None = None
    proxy_addresses: tuple[str, ...] = ()
    member_ids: tuple[str, ...] = ()
    """Ids of users, groups and service principals."""
    owner_ids: tuple[str, ...] = ()
    exchange: dict[str, Any] = field(default_factory=dict)
    """What only Exchange knows of the group (HiddenFromAddressListsEnabled and the like), by cmdlet property name."""


@dataclass(frozen=True, slots=True)
class ServicePrincipal:
    """An application's local representation in the tenant ("enterprise application")."""

    id: str
    app_id: str
    display_name: str
    app_owner_organization_id: str | None
    created_at: datetime
    visible_at: datetime
    account_enabled: bool = True
    service_principal_type: str = "Application"
    app_role_assignment_required: bool = False
    """Whether people need an assignment to sign in; who lacks it is refused as AADSTS50105."""


@dataclass(frozen=True, slots=True)
class AppRoleAssignment:
    """An application permission that an administrator has granted: `app_role_id` of `resource_id` to `principal_id`."""

    id: str
    app_role_id: str
    principal_id: str
    principal_display_name: str
    resource_id: str
    resource_display_name: str
    created_at: datetime
    visible_at: datetime
    principal_type: str = "ServicePrincipal"


@dataclass(frozen=True, slots=True)
class OAuth2PermissionGrant:
    """Delegated permissions granted to `client_id` for `resource_id`, for everyone or for one person."""

    id: str
    client_id: str
    consent_type: str
    """`AllPrincipals` or `Principal`."""
    principal_id: str | None
    resource_id: str
    scope: str
    """Space separated, in the order of consent."""
    created_at: datetime
    visible_at: datetime

    @property
    def scopes(self) -> frozenset[str]:
        """The granted permissions by name."""
        return frozenset(self.scope.split())


@dataclass(frozen=True, slots=True)
class RoleAssignment:
    """An active assignment of a directory role, from `created_at` on; tokens carry it from `visible_at` on."""

    id: str
    role_definition_id: str
    principal_id: str
    created_at: datetime
    visible_at: datetime
    directory_scope_id: str = "/"
    ends_at: datetime | None = None
    """From then on nobody holds it any more. None: it has no end."""
    schedule_id: str = ""
    """Of the schedule of Privileged Identity Management that it follows; empty for one that was assigned directly."""
    assignment_type: str = "Assigned"
    """`Assigned` by an administrator, or `Activated` by a person who was eligible."""


@dataclass(frozen=True, slots=True)
class RoleEligibility:
    """A person's right to activate a directory role (PIM: eligible assignment). No token carries it."""

    id: str
    role_definition_id: str
    principal_id: str
    created_at: datetime
    ends_at: datetime | None = None
    directory_scope_id: str = "/"


@dataclass(frozen=True, slots=True)
class RolePolicy:
    """What Privileged Identity Management asks where a role is assigned; by default what it asks in a new tenant.

    Sources: learn.microsoft.com/graph/identity-governance-pim-rules-overview, and for the defaults the example of
    learn.microsoft.com/graph/api/policyroot-list-rolemanagementpolicyassignments.
    """

    is_expiration_required: bool = False
    """Of the rule Expiration_Admin_Assignment: whether an active assignment must have an end."""
    maximum_duration: str = "P180D"
    """Of the same rule: how long an active assignment with an end may last (ISO 8601)."""
    enabled_rules: frozenset[str] = frozenset({"Justification"})
    """Of Enablement_Admin_Assignment: some of Justification, MultiFactorAuthentication, Ticketing."""
    requires_approval: bool = False
    """Of Approval_EndUser_Assignment, which counts where a person activates a role, not where an administrator assigns it."""
    authentication_context: str = ""
    """Claim value of AuthenticationContext_EndUser_Assignment, which counts there too; empty: not enabled."""


@dataclass(frozen=True, slots=True)
class RoleWish:
    """What a request to Privileged Identity Management asks for. With neither duration nor end it is for good."""

    action: str
    """As Graph writes it: adminAssign, adminUpdate, adminRemove, adminExtend, adminRenew, selfActivate and so on."""
    role: Role
    principal_id: str
    duration: str | None = None
    """ISO 8601."""
    end: datetime | None = None
    start: datetime | None = None
    """A start that is past means at once, as None does."""
    justification: str = ""
    ticket_number: str = ""
    ticket_system: str = ""
    is_validation_only: bool = False
    """Check it and change nothing."""


@dataclass(frozen=True, slots=True)
class RoleRequest:
    """A request to Privileged Identity Management that was accepted, and what became of it."""

    id: str
    wish: RoleWish
    status: str
    """Provisioned, Granted (its start is still to come), Revoked (an assignment was removed) or Canceled."""
    created_at: datetime
    starts_at: datetime
    ends_at: datetime | None
    schedule_id: str
    """Of the schedule that it made or changed."""
    is_eligibility: bool = False
    """Whether it was about an eligible assignment."""
    requester_id: str = ""
    """The person who asked; empty where an application did."""
    application_id: str = ""
    """The application that asked by itself; empty where a person did."""


class GrantControl(StrEnum):
    """What a Conditional Access policy demands (Graph: conditionalAccessGrantControl)."""

    BLOCK = "block"
    MFA = "mfa"


ALL = "All"
"""Stands in a Conditional Access policy for every user or application, as in Graph."""


@dataclass(frozen=True, slots=True)
class ConditionalAccessPolicy:
    """A Conditional Access policy: of people, or of applications themselves (workload identities).

    Names after learn.microsoft.com/graph/api/resources/conditionalaccesspolicy.
    """

    id: str
    control: GrantControl
    include_users: tuple[str, ...] = ()
    """Ids of people in this tenant, guests by their guest object's; ALL for everybody."""
    include_applications: tuple[str, ...] = (ALL,)
    """Application ids to which those people sign in."""
    include_service_principals: tuple[str, ...] = ()
    """Application ids whose own tokens the policy is about."""


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """What a person asked the administrators for on the page "Approval required"."""

    app_id: str
    user_id: str
    justification: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ActivitySubscription:
    """An application's subscription to one content type of the Office 365 Management Activity API."""

    app_id: str
    content_type: str
    status: str
    """`enabled` or `disabled`."""
    started_at: datetime


CREATED = "@created"
"""Stands in the journal for a new object, and for one that was restored."""
REMOVED = "@removed"
"""Stands in the journal for an object that was deleted and can be restored."""
DELETED = "@deleted"
"""Stands in the journal for an object that was deleted for good."""


@dataclass(frozen=True, slots=True)
class MemberChange:
    """Somebody or something that came into a group, or left it."""

    id: str
    kind: str
    """`user`, `group` or `servicePrincipal`."""
    is_removed: bool = False


@dataclass(frozen=True, slots=True)
class DirectoryChange:
    """One entry of a tenant's journal, from which delta queries are answered."""

    sequence: int
    """1 for the first entry of a tenant, and so on without gaps."""
    at: datetime
    noun: str
    """`user` or `group`."""
    object_id: str
    properties: tuple[str, ...]
    """Graph names of the changed properties; or one of CREATED, REMOVED and DELETED alone."""
    members: tuple[MemberChange, ...] = ()
    """Of a group whose members changed, or that was created."""


@dataclass(slots=True)
class Tenant:
    """One organization and all that it holds. Change it on the event loop only, then call `Store.changed`."""

    id: str
    display_name: str
    created_at: datetime
    country: str
    users: UserDirectory
    domains: dict[str, Domain] = field(default_factory=dict)
    """By name, lower case."""
    groups: dict[str, Group] = field(default_factory=dict)
    service_principals: dict[str, ServicePrincipal] = field(default_factory=dict)
    app_role_assignments: dict[str, AppRoleAssignment] = field(default_factory=dict)
    oauth2_permission_grants: dict[str, OAuth2PermissionGrant] = field(default_factory=dict)
    role_assignments: dict[str, RoleAssignment] = field(default_factory=dict)
    """By id; those that have ended stay until the same role is assigned again, as Microsoft's list of expired ones."""
    role_eligibilities: dict[str, RoleEligibility] = field(default_factory=dict)
    role_requests: dict[str, RoleRequest] = field(default_factory=dict)
    role_policies: dict[str, RolePolicy] = field(default_factory=dict)
    """By role template id; a role that is not here has Microsoft's default policy."""
    licences: tuple[str, ...] = ("SPE_E3",)
    """Part numbers of the subscribed products."""
    is_trial: bool = False
    """Whether the subscriptions are trials, for which Exchange Online does less."""
    exchange: dict[str, Any] = field(default_factory=dict)
    """Exchange Online's own objects: JSON values, keys and shapes are the exchange package's."""
    deleted_groups: dict[str, Group] = field(default_factory=dict)
    """Those that can be restored, by id."""
    journal: list[DirectoryChange] = field(default_factory=list)
    """Only ever added to."""
    delta_epoch: int = 0
    """Delta tokens of another epoch are refused: a new one makes every token of the tenant worthless."""
    names_used: dict[str, int] = field(default_factory=dict)
    """How often each name got an id from `new_id`."""
    delegated_administrators: dict[str, frozenset[str]] = field(default_factory=dict)
    """Granular delegated administration (GDAP): a partner's user by id, with the template ids of the roles held here."""
    conditional_access: dict[str, ConditionalAccessPolicy] = field(default_factory=dict)
    approval_requests: list[ApprovalRequest] = field(default_factory=list)
    takes_approval_requests: bool = False
    """Whether the consent request workflow is on: who may not consent can ask for it."""
    is_deleted: bool = False
    """Deleted or blocked: every sign-in and token is refused as AADSTS5000224."""
    national_cloud: str = ""
    """Login host of the national cloud that the tenant lives in: refused here as AADSTS90038. Empty: it lives in this one."""
    sessions_revoked_at: dict[str, datetime] = field(default_factory=dict)
    """By id of person or service principal: access tokens for CAE clients issued before are challenged."""
    unified_audit_log: bool = True
    """Whether the unified audit log takes events in; without it there is no activity data."""
    activity_disabled_by: str = ""
    """Who switched activity data off, in Microsoft's words: `a tenant admin`, `a service admin`. Empty: nobody."""
    activity_subscriptions: dict[str, ActivitySubscription] = field(default_factory=dict)
    """By `application id|content type`."""
    mail: MailLog = field(default_factory=MailLog)
    """The messages that went through; forgotten when the simulation ends."""

    @property
    def initial_domain(self) -> str:
        """The name under onmicrosoft.com."""
        return next(domain.name for domain in self.domains.values() if domain.is_initial)

    @property
    def default_domain(self) -> str:
        """The name that new users get; the initial one where the default one was taken away."""
        return next((domain.name for domain in self.domains.values() if domain.is_default), self.initial_domain)

    def new_id(self, noun: str, *names: str) -> str:
        """A GUID for a new object: the same in every run for the n-th object of these names, never used twice."""
        name = "|".join((noun, *names))
        count = self.names_used.get(name, 0)
        self.names_used[name] = count + 1
        return str(uuid5(IDS, f"{self.id}|{name}|{count}"))

    def record_change(
        self, at: datetime, noun: str, object_id: str, *properties: str, members: tuple[MemberChange, ...] = ()
    ) -> None:
        """Add an entry to the journal."""
        self.journal.append(DirectoryChange(len(self.journal) + 1, at, noun, object_id, properties, members))

    def service_principal_of(self, app_id: str) -> ServicePrincipal | None:
        """The service principal of the application `app_id` here, if there is one."""
        return next((each for each in self.service_principals.values() if each.app_id == app_id), None)


@dataclass(frozen=True, slots=True)
class RequiredPermission:
    """One entry of a registration's requiredResourceAccess."""

    resource_app_id: str
    id: str
    kind: str
    """`Role` (application permission) or `Scope` (delegated permission)."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A client secret (Graph: passwordCredential). Several may be valid at once, so that one can be put in another's place."""

    key_id: str
    value: str
    expires_at: datetime
    starts_at: datetime | None = None
    """None: at once."""


@dataclass(frozen=True, slots=True)
class FederatedCredential:
    """Trust in another issuer's tokens. `public_key` (PEM) stands for the keys that the issuer would publish."""

    issuer: str
    subject: str
    audience: str
    public_key: str


@dataclass(frozen=True, slots=True)
class Registration:
    """An app registration of the operator (Microsoft Graph `application`), multi-tenant."""

    name: str
    """The file's name without ending: mail_flow, directory, role_helper."""
    app_id: str
    display_name: str
    home_tenant_id: str
    redirect_uris: tuple[str, ...]
    required_permissions: tuple[RequiredPermission, ...]
    group_membership_claims: str | None
    sign_in_audience: str
    secrets: tuple[Secret, ...] = ()
    certificates: tuple[str, ...] = ()
    """PEM."""
    federated_credentials: tuple[FederatedCredential, ...] = ()
    known_at: tuple[tuple[str, datetime], ...] = ()
    """From when the token endpoint knows a credential (certificate in PEM, or secret's key id) that was added lately."""
    optional_id_claims: frozenset[str] = frozenset()
    """Claims that id_tokens carry because the registration lists them (`optionalClaims.idToken`)."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who can sign in and is named on the command line's JSON line."""

    user_principal_name: str
    user_id: str
    tenant_id: str
    roles: tuple[Role, ...]
