"""The token endpoint: authorization codes and client credentials.

Sources: entra-docs v2-oauth2-auth-code-flow.md and v2-oauth2-client-creds-grant-flow.md; RFC 7636 for PKCE.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from local.microsoft365.catalogue import Resource
from local.microsoft365.identity.admission import check_application, check_client, check_person, check_tenant, policies
from local.microsoft365.identity.claims_request import ClaimsRequest, read_claims
from local.microsoft365.identity.client_authentication import authenticate, find_registration, with_basic_credentials
from local.microsoft365.identity.consent import granted_scopes, missing_scopes
from local.microsoft365.identity.errors import IdentityError, endpoint_headers, error_response, new_trace, refuse_as_injected
from local.microsoft365.identity.issue import Issuer, lifetime
from local.microsoft365.identity.metadata import tenant_named
from local.microsoft365.identity.people import SignedIn, enter
from local.microsoft365.identity.scopes import OPENID_SCOPES, Request, read_scope, resource_of
from local.microsoft365.identity.sessions import AuthorizationCode, Codes
from local.microsoft365.keys import base64url
from local.microsoft365.model import GrantControl, Registration, ServicePrincipal, Tenant
from local.microsoft365.simulation import APP_ID, Simulation


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A token request whose client is known."""

    form: Mapping[str, str]
    segment: str
    """The tenant in the path, as written."""
    tenant: Tenant | None
    """None at `organizations` and `common`."""
    registration: Registration
    authentication: str
    asked: ClaimsRequest

    def field(self, name: str) -> str:
        """A required field. Raises IdentityError 900144."""
        if not self.form.get(name):
            raise IdentityError(900144, field=name)
        return self.form[name]


class TokenEndpoint:
    """Answers token requests."""

    def __init__(self, simulation: Simulation, codes: Codes) -> None:
        self._simulation = simulation
        self._codes = codes

    async def answer(self, request: web.Request) -> web.Response:
        """The answer: tokens, or a refusal in Microsoft's words."""
        now = self._simulation.clock.now()
        try:
            form = with_basic_credentials(_texts(await request.post()), request.headers.get("Authorization", ""))
            request[APP_ID] = form.get("client_id", "")
            refuse_as_injected(request)
            body = self._answer(request, form)
        except IdentityError as error:
            return error_response(request, error, now, self._simulation.url)
        return web.json_response(body, headers=endpoint_headers(request, new_trace(request, now)))

    def _answer(self, request: web.Request, form: Mapping[str, str]) -> dict[str, Any]:
        grants = {"client_credentials": self._client_credentials, "authorization_code": self._authorization_code}
        segment = request.match_info["tenant"]
        tenant = tenant_named(self._simulation, segment)
        if tenant is not None:
            check_tenant(tenant, request)
        for name in ("grant_type", "client_id"):
            if not form.get(name):
                raise IdentityError(900144, field=name)
        if form["grant_type"] not in grants:
            raise IdentityError(70003, grant_type=form["grant_type"])
        registration = find_registration(self._simulation, form["client_id"], tenant.display_name if tenant else segment)
        authentication = authenticate(self._simulation, registration, segment, form)
        asked = read_claims(form.get("claims", ""))
        return grants[form["grant_type"]](TokenRequest(form, segment, tenant, registration, authentication, asked))

    def _client_credentials(self, request: TokenRequest) -> dict[str, Any]:
        if request.tenant is None:
            raise IdentityError(50059)
        issuer = Issuer(self._simulation, request.tenant, request.registration, request.authentication, request.asked)
        scope = request.form.get("scope", "")
        if _is_own_api(scope, request.registration):
            token = issuer.own_api(self._client(request.tenant, request.registration))
        else:
            resource = _default_resource(scope, request.tenant)
            token = issuer.app_only(self._client(request.tenant, request.registration), resource)
        seconds = lifetime(request.asked)
        return {"token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds, "access_token": token}

    def _client(self, tenant: Tenant, registration: Registration) -> ServicePrincipal:
        client = tenant.service_principal_of(registration.app_id)
        if client is None or client.visible_at > self._simulation.clock.now():
            raise IdentityError(7000229, app_id=registration.app_id, tenant=tenant.id)
        check_client(tenant, registration)
        check_application(tenant, registration)
        return client

    def _authorization_code(self, request: TokenRequest) -> dict[str, Any]:
        value = request.field("code")
        code = self._valid_code(request, value)
        self._codes.redeem(value)
        tenant = self._simulation.store.tenant(code.tenant_id)
        person = enter(self._simulation.store, tenant, code.account)
        if person is None or not person.user.account_enabled:
            raise IdentityError(70000)
        asked = read_scope(request.form.get("scope") or " ".join(code.scopes), request.registration)
        resource = asked.token_resource
        client = self._let_in(request.registration, person, code)
        scope = _granted_scope(asked, resource, granted_scopes(tenant, client, resource, person.user.id))
        issuer = Issuer(self._simulation, tenant, request.registration, request.authentication, request.asked)
        seconds = lifetime(request.asked)
        answer: dict[str, Any] = {
            "token_type": "Bearer",
            "scope": scope,
            "expires_in": seconds,
            "ext_expires_in": seconds,
            "access_token": issuer.delegated(person, resource, scope, code),
        }
        if "openid" in code.scopes:
            answer["id_token"] = issuer.identity(person, code)
        return answer

    def _let_in(self, registration: Registration, person: SignedIn, code: AuthorizationCode) -> ServicePrincipal:
        """The client's service principal, once all that was settled at sign-in still holds. Raises IdentityError."""
        # What the client adds here (MSAL: offline_access) was never asked of the person, so it is no reason to refuse.
        settled = read_scope(" ".join(code.scopes), registration)
        client = person.tenant.service_principal_of(registration.app_id)
        if client is None or missing_scopes(person.tenant, registration, person.user.id, settled.of_kind("Scope")):
            raise IdentityError(65001, app_id=registration.app_id, app_name=registration.display_name)
        check_client(person.tenant, registration)
        check_person(person, registration)
        demanding = policies(person, registration, GrantControl.MFA)
        if demanding and "mfa" not in code.methods:
            raise IdentityError(50076, resource=settled.token_resource.app_id).because_of(demanding)
        return client

    def _valid_code(self, request: TokenRequest, value: str) -> AuthorizationCode:
        """The code, when this request may redeem it. Raises IdentityError with the first rule that is broken."""
        code = self._codes.find(value)
        if code is None or code.app_id != request.registration.app_id:
            raise IdentityError(70000)
        if code.redeemed:
            raise IdentityError(54005)
        if code.expires_at <= self._simulation.clock.now():
            raise IdentityError(70008)
        if request.tenant is not None and request.tenant.id != code.tenant_id:
            raise IdentityError(700005)
        redirect_uri = request.field("redirect_uri")
        if redirect_uri != code.redirect_uri:
            raise IdentityError(500112, redirect_uri=redirect_uri, expected=code.redirect_uri)
        if code.code_challenge is not None:
            _check_verifier(code.code_challenge, request.form.get("code_verifier", ""))
        return code


def _texts(form: Mapping[str, Any]) -> dict[str, str]:
    return {name: value for name, value in form.items() if isinstance(value, str)}


def _default_resource(scope: str, tenant: Tenant) -> Resource:
    """The resource of `{resource}/.default`. Raises IdentityError: 70011 for another form, 500011 for another resource."""
    if not scope:
        raise IdentityError(90014, field="scope")
    identifier, _, name = scope.rpartition("/")
    if name != ".default" or " " in scope.strip() or not identifier:
        raise IdentityError(70011, scope=scope)
    try:
        return resource_of(scope)
    except IdentityError as error:
        raise IdentityError(500011, resource=identifier, tenant=tenant.id) from error


def _is_own_api(scope: str, registration: Registration) -> bool:
    """Whether an application asks for a token to itself: by its id, or by the identifier URI that the portal proposes."""
    return scope in {f"{registration.app_id}/.default", f"api://{registration.app_id}/.default"}


def _granted_scope(asked: Request, resource: Resource, granted: frozenset[str]) -> str:
    """What the access token carries of what was asked for, in the order asked."""
    wanted = [each.permission.value for each in asked.of_kind("Scope") if each.resource == resource]
    openid = [each for each in asked.texts if each in OPENID_SCOPES]
    return " ".join(dict.fromkeys([*openid, *(value for value in wanted if value in granted)]))


def _check_verifier(challenge: str, verifier: str) -> None:
    computed = base64url(hashlib.sha256(verifier.encode()).digest())
    if not hmac.compare_digest(computed, challenge):
        raise IdentityError(501481)
