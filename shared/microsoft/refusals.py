"""What every refusal of Microsoft means: one table for each kind of caller, tried in order, the first match wins.

Microsoft asks not to depend on texts or numbers staying the same, so a table ends with what an answer means that it does not
know: a problem with the raw text, never a guess. ``docs/errors.md`` is made from here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Reaction(StrEnum):
    """What to do about an answer that no person need put right, or not yet."""

    NOT_YET = "not_yet"
    TRANSIENT = "transient"
    EXPIRED_PAGE = "expired_page"
    """A page of a collection is gone: the collection is read from its beginning."""
    NOT_FOUND = "not_found"
    ALREADY = "already"
    """What was asked for is there: success."""
    UNLICENSED = "unlicensed"
    """The tenant has no licence for Privileged Identity Management: the role is assigned without it."""
    POLICY = "policy"
    """Rules of the tenant's policy refuse; Microsoft names them."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of a table: what an answer whose line matches ``pattern`` means; a reaction, or the code of a problem.

    ``names`` are Microsoft's codes, as people search for them; ``source`` is where they are from.
    """

    pattern: str
    meaning: Reaction | str
    names: tuple[str, ...] = ()
    source: str = ""


Rules = Sequence[Rule]

_AADSTS = "learn.microsoft.com/entra/identity-platform/reference-error-codes"
_ADMIN_CONSENT = "learn.microsoft.com/entra/identity-platform/v2-admin-consent"
_GRAPH = "learn.microsoft.com/graph/errors"
_ROLE_ASSIGNMENTS = "learn.microsoft.com/graph/api/rbacapplication-post-roleassignments"
_TERRAFORM = "github.com/hashicorp/terraform-provider-azuread internal/services/directoryroles"
_PIM_ERRORS = "learn.microsoft.com/graph/api/governanceroleassignmentrequest-post (errors)"
_PIM_RULES = "github.com/microsoftgraph/microsoft-graph-docs-contrib/issues/9119"
_PIM_EXISTS = "github.com/Microsoft365DSC/Microsoft365DSC/issues/5532"
_PIM_FIELD = "seen in the field; no page of Microsoft's names it"
_CIPP = "github.com/KelvinTegelaar/CIPP-API Get-NormalizedError.ps1"
_EXCHANGE = "github.com/KelvinTegelaar/CIPP-API New-ExoRequest.ps1; github.com/rknightion/graph2otel internal/exoclient"
_EXCHANGE_APP = "github.com/MicrosoftDocs/office-docs-powershell app-only-auth-powershell-v2.md"
_ACTIVITY = "learn.microsoft.com/office/office-365-management-api/office-365-management-activity-api-reference"
_ACTIVITY_ON = "github.com/microsoft/coe-starter-kit/issues/2807"
_ACTIVITY_FAQ = "learn.microsoft.com/office/office-365-management-api/troubleshooting-the-office-365-management-activity-api"
_AUDIT_OFF = "github.com/MicrosoftDocs/office-365-management-api/issues/89; github.com/wazuh/wazuh/issues/34320"


def _named(meaning: Reaction | str, *names: str, source: str) -> Rule:
    """Return the rule for answers that carry one of Microsoft's codes."""
    return Rule(rf"\b({'|'.join(names)})\b", meaning, names, source)


def _aadsts(meaning: Reaction | str, *numbers: int, source: str = _AADSTS) -> Rule:
    return _named(meaning, *(f"AADSTS{number}" for number in numbers), source=source)


_BUSY = Rule(
    r"^(408|429|5\d\d)\b", Reaction.TRANSIENT, ("HTTP 408", "HTTP 429", "HTTP 5xx"), "RFC 9110 15.5.9 and 15.6, RFC 6585 4"
)
_NOT_IMPLEMENTED = Rule(r"^501\b", "unexpected", ("HTTP 501",), "RFC 9110 15.6.2")

_SIGN_IN: Rules = (
    _aadsts("consent_denied", 65004),
    _aadsts("not_administrator", 90094),
    _aadsts("consent_requested", 90095),
    _aadsts("no_exchange", 650052, 65005, 500011),
    _aadsts("credential_expired", 7000215, 7000222, 700027),
    _aadsts("our_registration", 700211, 700212, 700213, 7002131, 700023, 700024, 700038, 7000218),
    _aadsts("our_registration", 650053, 650056, 650057, 70011, 50011, 500112),
    _aadsts("assignment_required", 50105),
    _aadsts("tenant_differs", 50020, 50177, 90072),
    _aadsts("guest_account", 90099),
    _aadsts("tenant_unknown", 90002, 900023),
    _aadsts("tenant_blocked", 5000224, source=_CIPP),
    _aadsts("other_cloud", 90038),
    _aadsts("conditional_access", 53003),
    _aadsts("sign_in_again", 50076, 50079, 501481, 54005, 70008, 700082),
    _aadsts("network_restricted", 500021),
    _aadsts("application_disabled", 7000112),
)

TOKEN: Rules = (
    _BUSY,
    _aadsts(Reaction.TRANSIENT, 90033),
    # Before a consent has spread, the token endpoint knows neither application nor consent.
    _aadsts(Reaction.NOT_YET, 7000229, 65001, 700016),
    _aadsts(Reaction.NOT_YET, 650051, source=_CIPP),
    *_SIGN_IN,
    Rule("", "unexpected"),
)
"""The token endpoint's answers to an application that asks for itself."""

CODE: Rules = (
    _BUSY,
    _aadsts(Reaction.TRANSIENT, 90033),
    *_SIGN_IN,
    _aadsts("our_registration", 700016, 7000229),
    Rule("", "sign_in_again"),
)
"""The token endpoint's answers to a code."""

REDIRECT: Rules = (
    Rule(r"^0 permission_denied\b", "consent_denied", ("permission_denied",), _ADMIN_CONSENT),
    *_SIGN_IN,
    _aadsts("our_registration", 700016, 7000229),
    _aadsts("consent_without_effect", 65001),
    # The service principal was just being made, by a consent of the same moment: the next one finds it.
    _aadsts("consent_without_effect", 650051, source=_CIPP),
    Rule(r"^0 consent_required\b", "consent_denied", ("consent_required",), _ADMIN_CONSENT),
    Rule(r"^0 access_denied\b", "sign_in_failed", ("access_denied",), "RFC 6749 4.1.2.1"),
    Rule("", "sign_in_failed"),
)
"""Errors that a browser brings back."""

_GRAPH_BUSY: Rules = (
    _NOT_IMPLEMENTED,
    _BUSY,
    Rule(r"^423\b|ConcurrencyViolation", Reaction.TRANSIENT, ("HTTP 423", "Directory_ConcurrencyViolation"), _GRAPH),
)

DIRECTORY: Rules = (
    *_GRAPH_BUSY,
    # "40X" with one of the codes, or 410: the status does not tell, so the codes come first, in whatever letter case.
    Rule(
        r"(?i)ExpiredPageToken|resyncRequired|syncStateNotFound|^410\b",
        "page_expired",
        ("Directory_ExpiredPageToken", "resyncRequired", "syncStateNotFound", "HTTP 410"),
        "learn.microsoft.com/graph/delta-query-overview",
    ),
    Rule(r"^409\b", Reaction.TRANSIENT, ("HTTP 409",), _GRAPH),
    # Graph has not heard of a fresh service principal: 401, or Authorization_IdentityNotFound.
    Rule(
        r"^401\b|IdentityNotFound",
        Reaction.NOT_YET,
        ("HTTP 401", "InvalidAuthenticationToken", "Authorization_IdentityNotFound"),
        _GRAPH,
    ),
    _named("graph_refused", "Authorization_RequestDenied", "Request_BadRequest", "Request_ResourceNotFound", source=_GRAPH),
    Rule("", "graph_refused"),
)
"""Graph's answers to the directory application."""

_ROLES: Rules = (
    *_GRAPH_BUSY,
    _named(Reaction.UNLICENSED, "AadPremiumLicenseRequired", source=_PIM_FIELD),
    _named(Reaction.POLICY, "RoleAssignmentRequestPolicyValidationFailed", source=_PIM_RULES),
    _named("role_request_pending", "PendingRoleAssignmentRequest", source=_PIM_ERRORS),
    _named("role_by_hand", "RoleAssignmentRequestAcrsValidationFailed", "ActiveDurationTooShort", source=_PIM_FIELD),
    _named("role_by_hand", "InvalidRoleAssignmentRequestSchedule", source=_PIM_FIELD),
    _named("role_not_assigned", "RoleAssignmentDoesNotExist", source=_PIM_ERRORS),
    Rule(
        r"RoleAssignmentExists|conflicting object|already exists|^409\b",
        Reaction.ALREADY,
        ("RoleAssignmentExists", "A conflicting object with one or more of the specified property values is present", "HTTP 409"),
        f"{_PIM_EXISTS}; {_ROLE_ASSIGNMENTS}",
    ),
    # The principal has not spread: 404, or 400 "... does not exist or one of its queried reference-property objects ...".
    Rule(
        r"SubjectNotFound|RoleNotFound|^404\b|^400 .*(does not exist|reference update)",
        Reaction.NOT_YET,
        ("SubjectNotFound", "RoleNotFound", "Request_ResourceNotFound", "Not a valid reference update"),
        _TERRAFORM,
    ),
)

ROLES: Rules = (
    *_ROLES,
    Rule(r"^401\b", "sign_in_again", ("HTTP 401", "InvalidAuthenticationToken"), _GRAPH),
    _named("role_refused", "Authorization_RequestDenied", "PermissionScopeNotGranted", source=_GRAPH),
    Rule("", "role_refused"),
)
"""Graph's answers about roles to an administrator's own token."""

APPLICATION_ROLES: Rules = (
    *_ROLES,
    # Without its permission, or before that has spread, an application is refused as any stranger is.
    Rule(
        r"^401\b|^403\b|PermissionScopeNotGranted",
        Reaction.NOT_YET,
        ("HTTP 401", "HTTP 403", "Authorization_RequestDenied", "PermissionScopeNotGranted"),
        _GRAPH,
    ),
    Rule("", "role_refused"),
)
"""Graph's answers about roles to an application's own token."""

EXCHANGE: Rules = (
    _BUSY,
    Rule(
        r"Expired or Invalid pagination",
        Reaction.EXPIRED_PAGE,
        ("Expired or Invalid pagination request",),
        "learn.microsoft.com/answers/questions/1023619",
    ),
    Rule(r"TransientException|ServerBusy", Reaction.TRANSIENT, ("TransientException", "ServerBusy"), _EXCHANGE),
    # Before the role has spread: 401, or a 403 whose body is a run of NUL bytes and therefore has no text here.
    Rule(
        r"^401\b|^403$|isn't supported in this scenario",
        Reaction.NOT_YET,
        ("HTTP 401", "HTTP 403 without a text", "The role assigned to application ... isn't supported in this scenario"),
        f"{_EXCHANGE_APP}; {_EXCHANGE}",
    ),
    Rule(
        r"ManagementObjectNotFoundException|^404 NotFound\b",
        Reaction.NOT_FOUND,
        ("ManagementObjectNotFoundException",),
        _EXCHANGE,
    ),
    Rule(
        r"CommandNotFoundException|n't recognized as|not recognized as|role definition",
        "cmdlet_not_offered",
        ("CommandNotFoundException", "... is not recognized as the name of a cmdlet", "... not present in the role definition"),
        f"{_EXCHANGE}; {_CIPP}",
    ),
    Rule(
        r"Enable-OrganizationCustomization",
        "organization_not_customized",
        ("Enable-OrganizationCustomization",),
        "learn.microsoft.com/powershell/module/exchange/enable-organizationcustomization",
    ),
    Rule(
        r"[Cc]reation of inbound connectors is restricted",
        "connectors_restricted",
        ("Creation of inbound connectors is restricted ...",),
        "learn.microsoft.com/powershell/module/exchangepowershell/new-inboundconnector",
    ),
    _named("exchange_refused", "AmbiguousParameterSetException", "ParameterTransformationException", source=_EXCHANGE),
    Rule("", "exchange_refused"),
)
"""Exchange's answers to the mail-flow application."""

ACTIVITY: Rules = (
    _named(Reaction.TRANSIENT, "AF429", source=_ACTIVITY_FAQ),  # with HTTP 403
    _named(Reaction.TRANSIENT, "AF50000", source=_ACTIVITY),
    # With the audit log off, a start is refused for a tenant that "does not exist", with status 400 or 500.
    Rule(
        r"DataServiceException: Tenant \S+ does not exist",
        "audit_off",
        ("Microsoft.Office.Compliance.Audit.DataServiceException: Tenant ... does not exist",),
        _AUDIT_OFF,
    ),
    _BUSY,
    _named(Reaction.ALREADY, "AF20024", source=_ACTIVITY_ON),
    _named(Reaction.NOT_YET, "AF10001", source=_ACTIVITY),
    _named(Reaction.NOT_FOUND, "AF20022", "AF20050", "AF20051", source=_ACTIVITY),
    _named("activity_disabled", "AF20023", source=_ACTIVITY),
    _named("unexpected", "AF20001", "AF20002", "AF20010", "AF20011", "AF20013", "AF20020", source=_ACTIVITY),
    _named("unexpected", "AF20030", "AF20031", "AF20052", "AF20055", source=_ACTIVITY),
    Rule(r"^401\b", Reaction.NOT_YET, ("HTTP 401",), _ACTIVITY),
    Rule("", "activity_refused"),
)
"""The Office 365 Management Activity API's answers to the activity application."""

POLICY_RULES: Mapping[frozenset[str], str] = {
    frozenset({"MfaRule"}): "role_needs_mfa",
    frozenset({"TicketingRule"}): "role_needs_ticket",
}
"""Which problem the rules stand for that refuse an assignment; any others can be met in the admin center alone."""

PIM_STATUS: Mapping[str, str] = {
    **dict.fromkeys(("PendingApproval", "PendingAdminDecision"), "role_request_pending"),
    **dict.fromkeys(("Canceled", "Denied", "Failed", "Revoked"), "role_refused"),
}
"""States of a request for a role, answered with 201, that assign nothing; all others do, now or within seconds
(https://learn.microsoft.com/graph/api/resources/unifiedroleassignmentschedulerequest)."""

TABLES: Mapping[tuple[str, str], Rules] = {
    ("Microsoft Entra", "to an application that asks for a token"): TOKEN,
    ("Microsoft Entra", "to the code of a sign-in"): CODE,
    ("Microsoft Entra", "in the browser"): REDIRECT,
    ("Microsoft Graph", "to the directory application"): DIRECTORY,
    ("Microsoft Graph", "about roles, to an administrator's sign-in"): ROLES,
    ("Microsoft Graph", "about roles, to an application"): APPLICATION_ROLES,
    ("Exchange Online", "to the mail-flow application"): EXCHANGE,
    ("Office 365 Management Activity API", "to the activity application"): ACTIVITY,
}
"""Every table, by the service that answers, and where."""
