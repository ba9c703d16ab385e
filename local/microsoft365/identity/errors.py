"""What the identity platform refuses, and how it says so.

Codes and texts: https://learn.microsoft.com/entra/identity-platform/reference-error-codes; the body was captured from a
real tenant (github.com/calvinchengx/entra-emulator, e2e/differential, 2026-08). What is not documented or captured is
marked uncertain in PARITY.md.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

from aiohttp import web

from local.microsoft365.simulation import REFUSAL

NO_STORE = {"Cache-Control": "no-store, no-cache", "Pragma": "no-cache", "Expires": "-1"}
_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(frozen=True, slots=True)
class Kind:
    """One AADSTS code: OAuth error, HTTP status at the token endpoint, text with places for facts."""

    error: str
    status: int
    text: str
    has_uri: bool = True
    """Whether the token endpoint's body carries `error_uri`: captured answers differ by code."""
    redirect_error: str = ""
    """The OAuth error in a redirect, where it is another one than at the token endpoint."""
    is_shown: bool = False
    """Whether a person stays on Microsoft's page with it, instead of being sent back to the client."""
    suberror: str = ""


KINDS: dict[int, Kind] = {
    50011: Kind(
        "invalid_request",
        400,
        "The redirect URI '{redirect_uri}' specified in the request does not match the redirect URIs configured for the"
        " application '{app_id}'. Make sure the redirect URI sent in the request matches one added to your application in"
        " the Azure portal.",
    ),
    50020: Kind(
        "invalid_request",
        400,
        "User account '{account}' from identity provider 'https://sts.windows.net/{home}/' does not exist in tenant '{tenant}'"
        " and cannot access the application '{app_id}'({app_name}) in that tenant. The account needs to be added as an"
        " external user in the tenant first. Sign out and sign in again with a different Azure Active Directory user account.",
        is_shown=True,
    ),
    50057: Kind("invalid_grant", 400, "The user account is disabled.", is_shown=True),
    50058: Kind("login_required", 400, "Session information is not sufficient for single-sign-on."),
    50059: Kind(
        "invalid_request",
        400,
        "No tenant-identifying information found in either the request or implied by any provided credentials.",
    ),
    50076: Kind(
        "invalid_grant",
        400,
        "Due to a configuration change made by your administrator, or because you moved to a new location, you must use"
        " multi-factor authentication to access '{resource}'.",
        redirect_error="interaction_required",
        suberror="basic_action",
    ),
    50079: Kind(
        "invalid_grant",
        400,
        "Due to a configuration change made by your administrator, or because you moved to a new location, you must enroll in"
        " multi-factor authentication to access '{resource}'.",
        redirect_error="interaction_required",
        suberror="basic_action",
    ),
    50105: Kind(
        "invalid_grant",
        400,
        "Your administrator has configured the application {app_name} ('{app_id}') to block users unless they are specifically"
        " granted ('assigned') access to the application. The signed in user '{account}' is blocked because they are not a direct"
        " member of a group with access, nor had access directly assigned by an administrator. Please contact your administrator"
        " to assign access to this application.",
        redirect_error="access_denied",
        is_shown=True,
    ),
    50177: Kind(
        "invalid_request",
        400,
        "User account '{account}' from identity provider '{home}' does not exist in tenant '{tenant}' and cannot access the"
        " application '{app_id}'({app_name}) in that tenant. The account needs to be added as an external user in the tenant"
        " first. Sign out and sign in again with a different Azure Active Directory user account.",
        is_shown=True,
    ),
    53003: Kind(
        "invalid_grant",
        400,
        "Access has been blocked by Conditional Access policies. The access policy does not allow token issuance.",
        redirect_error="interaction_required",
        is_shown=True,
        suberror="message_only",
    ),
    54005: Kind(
        "invalid_grant",
        400,
        "OAuth2 Authorization code was already redeemed, please retry with a new valid code or use an existing refresh token.",
    ),
    65001: Kind(
        "invalid_grant",
        400,
        "The user or administrator has not consented to use the application with ID '{app_id}' named '{app_name}'. Send an"
        " interactive authorization request for this user and resource.",
        redirect_error="consent_required",
        suberror="consent_required",
    ),
    65004: Kind("consent_required", 400, "The resource owner or authorization server denied the request."),
    70000: Kind("invalid_grant", 400, "Provided grant is invalid or malformed."),
    70003: Kind("unsupported_grant_type", 400, "The app requested an unsupported grant type '{grant_type}'.", has_uri=False),
    70008: Kind(
        "invalid_grant",
        400,
        "The provided authorization code or refresh token has expired due to inactivity. Send a new interactive authorization"
        " request for this user and resource.",
    ),
    70011: Kind(
        "invalid_scope", 400, "The provided value for the input parameter 'scope' is not valid. The scope {scope} is not valid."
    ),
    28000: Kind(
        "invalid_scope",
        400,
        "Provided value for the input parameter scope is not valid because it contains more than one resource. Scope {scope}"
        " is not valid.",
    ),
    90002: Kind(
        "invalid_tenant",
        400,
        "Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud."
        " Check with your subscription administrator, this may happen if there are no active subscriptions for the tenant.",
    ),
    90014: Kind(
        "invalid_request",
        400,
        "The required field '{field}' is missing from the credential. Ensure that you have all the"
        " necessary parameters for the login request.",
    ),
    90038: Kind(
        "invalid_request", 400, "Tenant '{tenant}' request is being redirected to the National Cloud '{cloud}'.", is_shown=True
    ),
    90072: Kind(
        "invalid_grant",
        400,
        "User account '{account}' from identity provider '{home}' does not exist in tenant '{tenant}' and cannot access the"
        " application '{app_id}'({app_name}) in that tenant. The account needs to be added as an external user in the tenant"
        " first. Sign out and sign in again with a different Azure Active Directory user account.",
        is_shown=True,
    ),
    90094: Kind(
        "access_denied",
        400,
        "{app_name} needs permission to access resources in your organization that only an admin can grant. Please ask an admin"
        " to grant permission to this app before you can use it.",
        is_shown=True,
    ),
    90095: Kind(
        "access_denied",
        400,
        "{app_name} needs permission to access resources in your organization that only an admin can grant. Request approval"
        " from your admin.",
        is_shown=True,
    ),
    90100: Kind("invalid_request", 400, "The '{field}' parameter is empty or not valid."),
    90099: Kind(
        "invalid_request",
        400,
        "The application '{app_id}' ({app_name}) has not been authorized in the tenant '{tenant}'. Applications must be"
        " authorized to access the customer tenant before partner delegated administrators can use them. Provide pre-consent or"
        " execute the appropriate Partner Center API to authorize the application.",
        is_shown=True,
    ),
    165000: Kind(
        "invalid_request",
        400,
        "Invalid Request: The request tokens do not match the user context. Do not copy the user context values (cookies; form"
        " fields; headers) between different requests or user sessions; always maintain the ALL of the supplied values across a"
        " complete single user flow.",
    ),
    500021: Kind("access_denied", 400, "Access to '{tenant}' tenant is denied.", is_shown=True),
    500011: Kind(
        "invalid_resource",
        400,
        "The resource principal named {resource} was not found in the tenant named {tenant}. This can happen if the application"
        " has not been installed by the administrator of the tenant or consented to by any user in the tenant. You might have"
        " sent your authentication request to the wrong tenant.",
    ),
    500112: Kind(
        "invalid_client",
        400,
        "The reply address '{redirect_uri}' does not match the reply address '{expected}' provided when requesting Authorization"
        " code.",
    ),
    501481: Kind(
        "invalid_grant", 400, "The Code_Verifier does not match the code_challenge supplied in the authorization request."
    ),
    501491: Kind("invalid_request", 400, "Invalid size of Code_Challenge parameter."),
    650051: Kind("invalid_client", 400, "The service principal name is already present for the tenant {tenant}."),
    650052: Kind(
        "invalid_client",
        400,
        "The app is trying to access a service '{resource}'({resource_name}) that your organization '{tenant}' lacks a service"
        " principal for. Contact your IT Admin to review the configuration of your service subscriptions or consent to the"
        " application in order to create the required service principal.",
    ),
    650056: Kind(
        "invalid_client",
        400,
        "Misconfigured application. This could be due to one of the following: the client has not listed any permissions for"
        " '{resource}' in the requested permissions in the client's application registration. Or, the admin has not consented in"
        " the tenant. Or, check the application identifier in the request to ensure it matches the configured client application"
        " identifier.",
    ),
    650057: Kind(
        "invalid_resource",
        400,
        "Invalid resource. The client has requested access to a resource which is not listed in the requested permissions in the"
        " client's application registration. Client app ID: {app_id}({app_name}).",
    ),
    650053: Kind(
        "invalid_client",
        400,
        "The application '{app_name}' asked for scope '{scope}' that doesn't exist on the resource '{resource}'. Contact the app"
        " vendor.",
    ),
    700005: Kind("invalid_grant", 400, "Provided Authorization Code is intended to use against other tenant, thus rejected."),
    700016: Kind(
        "unauthorized_client",
        400,
        "Application with identifier '{app_id}' was not found in the directory '{tenant}'. This can happen if the application has"
        " not been installed by the administrator of the tenant or consented to by any user in the tenant. You may have sent your"
        " authentication request to the wrong tenant.",
    ),
    700023: Kind(
        "invalid_client",
        401,
        "Client assertion audience claim does not match Realm issuer.",
    ),
    700024: Kind("invalid_client", 401, "Client assertion is not within its valid time range."),
    700027: Kind(
        "invalid_client",
        401,
        "The certificate with identifier used to sign the client assertion is not registered on application. [Reason - {reason}]",
    ),
    700038: Kind("unauthorized_client", 400, "{app_id} is not a valid application identifier.", has_uri=False),
    700211: Kind("invalid_client", 401, "No matching federated identity record found for presented assertion issuer '{issuer}'."),
    700212: Kind(
        "invalid_client", 401, "No matching federated identity record found for presented assertion audience '{audience}'."
    ),
    700213: Kind(
        "invalid_client",
        401,
        "No matching federated identity record found for presented assertion subject '{subject}'. Check your federated identity"
        " credential Subject, Audience and Issuer against the presented assertion.",
    ),
    700054: Kind("unsupported_response_type", 400, "response_type '{response_type}' is not enabled for the application."),
    900144: Kind("invalid_request", 400, "The request body must contain the following parameter: '{field}'."),
    900023: Kind(
        "invalid_request",
        400,
        "Specified tenant identifier '{tenant}' is neither a valid DNS name, nor a valid external domain.",
    ),
    7002131: Kind(
        "invalid_client",
        401,
        "No matching federated identity record found for presented assertion subject '{subject}'. Check your federated identity"
        " credential Subject, Audience and Issuer against the presented assertion.",
    ),
    5000224: Kind(
        "invalid_grant",
        400,
        "We are sorry, this resource is not available. If you are seeing this message by mistake, please contact Microsoft"
        " support.",
        is_shown=True,
    ),
    7000112: Kind("unauthorized_client", 400, "Application '{app_id}'({app_name}) is disabled."),
    7000215: Kind(
        "invalid_client",
        401,
        "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client"
        " secret ID, for a secret added to app '{app_id}'.",
    ),
    7000218: Kind(
        "invalid_client",
        401,
        "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
    ),
    7000222: Kind(
        "invalid_client",
        401,
        "The provided client secret keys for app '{app_id}' are expired. Visit the Azure portal to create new keys for your app,"
        " or consider using certificate credentials for added security.",
    ),
    7000229: Kind(
        "invalid_client",
        401,
        "The client application {app_id} is missing service principal in the tenant {tenant}. See instructions here:"
        " https://go.microsoft.com/fwlink/?linkid=2225119",
    ),
}
"""Every refusal of the simulation by its AADSTS number."""

ONLY_BY_FAULT = frozenset({50079, 50177, 90072, 90094, 90095, 650051, 650056, 650057, 7002131})
"""Numbers that no state of a tenant leads to here: a test gets them by a fault with `aadsts`. 90094 and 90095 are also what
the two approval pages say."""
_UNKNOWN_FACTS = {name: "(injected)" for kind in KINDS.values() for name in re.findall(r"\{(\w+)\}", kind.text)}


class IdentityError(Exception):
    """Raised when the identity platform refuses: `code` is the AADSTS number, facts fill its text."""

    def __init__(self, code: int, **facts: str) -> None:
        self.code = code
        self.kind = KINDS[code]
        self.policies: tuple[str, ...] = ()
        self.text = f"AADSTS{code}: {self.kind.text.format(**facts)}"
        super().__init__(self.text)

    def because_of(self, policies: tuple[str, ...]) -> IdentityError:
        """This refusal, with the Conditional Access policies that make it: a client is told their ids as a claims challenge."""
        self.policies = policies
        return self

    @property
    def redirected_as(self) -> str:
        """The OAuth error in a redirect."""
        return self.kind.redirect_error or self.kind.error

    @property
    def claims(self) -> str:
        """The claims challenge in a token endpoint's refusal, JSON; empty where there is none."""
        demand = {"access_token": {"capolids": {"essential": True, "values": list(self.policies)}}}
        return json.dumps(demand, separators=(",", ":")) if self.policies else ""


def refuse_as_injected(request: web.Request) -> None:
    """Raise the IdentityError that a fault has put on this request, if one has; facts that it can't know are `(injected)`."""
    code = request.get(REFUSAL)
    if code is not None:
        raise IdentityError(code, **_UNKNOWN_FACTS).because_of((_INJECTED_POLICY,) if code in _BY_POLICY else ())


_INJECTED_POLICY = "b3c2f0de-5a37-4c1c-9f57-0c4f6f0f0001"
_BY_POLICY = frozenset({50076, 50079, 53003})


@dataclass(frozen=True, slots=True)
class Trace:
    """The ids and the time that every refusal carries."""

    trace_id: str
    correlation_id: str
    timestamp: str

    def described(self, text: str, separator: str = " ") -> str:
        """`text` with the trace, as `error_description` has it."""
        parts = (f"Trace ID: {self.trace_id}", f"Correlation ID: {self.correlation_id}", f"Timestamp: {self.timestamp}")
        return separator.join((text, *parts))


def new_trace(request: web.Request, now: datetime) -> Trace:
    """A trace for one answer; the client's own `client-request-id` becomes the correlation id, where it is a GUID."""
    asked = request.headers.get("client-request-id", "")
    return Trace(str(uuid4()), asked if _GUID.fullmatch(asked) else str(uuid4()), now.strftime("%Y-%m-%d %H:%M:%SZ"))


def error_body(error: IdentityError, trace: Trace, url: str) -> dict[str, Any]:
    """The JSON body of a refusal at the token and metadata endpoints."""
    body: dict[str, Any] = {
        "error": error.kind.error,
        "error_description": trace.described(error.text),
        "error_codes": [error.code],
        "timestamp": trace.timestamp,
        "trace_id": trace.trace_id,
        "correlation_id": trace.correlation_id,
    }
    more = {
        "error_uri": f"{url}/error?code={error.code}" if error.kind.has_uri else "",
        "suberror": error.kind.suberror,
        "claims": error.claims,
    }
    return {**body, **{name: value for name, value in more.items() if value}}


def endpoint_headers(request: web.Request, trace: Trace) -> dict[str, str]:
    """Headers of the token endpoint's answers, recorded by Azure SDK tests (2021-11)."""
    headers = {
        **NO_STORE,
        "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
        "X-Content-Type-Options": "nosniff",
        "x-ms-request-id": trace.trace_id,
        "x-ms-ests-server": "2.1.12197.4 - SCUS ProdSlices",
        "x-ms-clitelem": "1,0,0,,",
    }
    wants_id = request.headers.get("return-client-request-id", "").lower() == "true"
    return {**headers, "client-request-id": trace.correlation_id} if wants_id else headers


def error_response(request: web.Request, error: IdentityError, now: datetime, url: str) -> web.Response:
    """The JSON answer to a refusal."""
    trace = new_trace(request, now)
    body = error_body(error, trace, url)
    return web.json_response(body, status=error.kind.status, headers=endpoint_headers(request, trace))
