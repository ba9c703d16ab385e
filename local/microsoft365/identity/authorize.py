"""The authorization endpoint: sign-in, consent where it is missing, and the way back with a code.

Source: entra-docs v2-oauth2-auth-code-flow.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from aiohttp import web
from yarl import URL

from local.microsoft365.identity.admission import check_services
from local.microsoft365.identity.claims_request import ClaimsRequest, read_claims
from local.microsoft365.identity.client_authentication import find_registration
from local.microsoft365.identity.consent import Consent, may_consent_for_all, missing_scopes
from local.microsoft365.identity.errors import IdentityError, new_trace, refuse_as_injected
from local.microsoft365.identity.metadata import tenant_named
from local.microsoft365.identity.people import SignedIn
from local.microsoft365.identity.scopes import Asked, Request, read_scope
from local.microsoft365.identity.sessions import CODE_LIFETIME, AuthorizationCode
from local.microsoft365.identity.signin import Browser, PageShown, Visit
from local.microsoft365.model import Registration, Tenant
from local.microsoft365.pages import render

_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_BLOCKED = 53003
_RESPONSE_MODES = frozenset({"query", "form_post", "fragment", ""})


@dataclass(frozen=True, slots=True)
class Authorization:
    """An authorize request whose client and redirect are right: from here on refusals go back to the client."""

    visit: Visit
    tenant: Tenant | None
    registration: Registration
    redirect_uri: str


class RedirectedError(Exception):
    """Raised when the client is told of a refusal by its redirect."""

    def __init__(self, error: str, description: str, subcode: str = "") -> None:
        super().__init__(description)
        self.error = error
        self.description = description
        self.subcode = subcode


class AuthorizeEndpoint:
    """Answers a browser that a client sent here."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._simulation = browser.simulation

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """A page, or the redirect back to the client."""
        try:
            visit = await self._browser.visit(request)
            authorization = self._authorization(visit)
        except IdentityError as error:
            return self._browser.refusal(request, error)
        try:
            answer = self._go_on(authorization)
        except PageShown as shown:
            return shown.response
        except RedirectedError as error:
            answer = {"error": error.error, "error_description": error.description}
            answer |= {"error_subcode": error.subcode} if error.subcode else {}
        except IdentityError as error:
            if self._is_shown(visit, error):
                return self._browser.with_session(visit, self._browser.refusal(request, error))
            trace = new_trace(request, self._simulation.clock.now())
            answer = {"error": error.redirected_as, "error_description": trace.described(error.text, "\r\n")}
        return self._send_back(authorization, answer)

    def _is_shown(self, visit: Visit, error: IdentityError) -> bool:
        """Whether the person stays on Microsoft's page; without a page (prompt=none) every refusal goes back."""
        if visit.parameter("prompt") == "none":
            return False
        return error.kind.is_shown and not (error.code == _BLOCKED and self._simulation.settings.blocked_people_return)

    def _authorization(self, visit: Visit) -> Authorization:
        """Client and redirect, checked; a fault here is shown on our own page. Raises IdentityError."""
        tenant = tenant_named(self._simulation, visit.request.match_info["tenant"])
        if not visit.parameter("client_id"):
            raise IdentityError(900144, field="client_id")
        name = tenant.display_name if tenant else visit.request.match_info["tenant"]
        registration = find_registration(self._simulation, visit.parameter("client_id"), name)
        redirect_uri = visit.parameter("redirect_uri")
        if redirect_uri not in registration.redirect_uris:
            raise IdentityError(50011, redirect_uri=redirect_uri, app_id=registration.app_id)
        return Authorization(visit, tenant, registration, redirect_uri)

    def _go_on(self, authorization: Authorization) -> dict[str, str]:
        """The parameters of the redirect. Raises PageShown, RedirectedError or IdentityError."""
        visit, registration = authorization.visit, authorization.registration
        refuse_as_injected(visit.request)
        asked = self._asked(authorization)
        claims = read_claims(visit.parameter("claims"))
        prompt = visit.parameter("prompt")
        if visit.is_cancelled and visit.step != "consent":
            raise RedirectedError("access_denied", "AADSTS65004: User declined to consent to access the app.", "cancel")
        try:
            person = self._browser.admitted(visit, authorization.tenant, registration, claims, prompt)
        except PageShown:
            if prompt == "none":
                raise IdentityError(50058) from None
            raise
        self._settle_consent(authorization, person, asked, prompt)
        return {"code": self._issue_code(authorization, person, claims), "session_state": _session_state(visit)}

    def _asked(self, authorization: Authorization) -> Request:
        visit = authorization.visit
        if visit.parameter("response_type") != "code":
            raise IdentityError(700054, response_type=visit.parameter("response_type"))
        if not visit.parameter("scope"):
            raise IdentityError(900144, field="scope")
        if visit.parameter("response_mode") not in _RESPONSE_MODES:
            raise IdentityError(900144, field="response_mode")
        challenge = visit.parameter("code_challenge")
        if challenge and (visit.parameter("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(challenge)):
            raise IdentityError(501491)
        asked = read_scope(visit.parameter("scope"), authorization.registration)
        # More than one resource is refused here already, not first at the token endpoint.
        _ = asked.token_resource
        return asked

    def _settle_consent(self, authorization: Authorization, person: SignedIn, asked: Request, prompt: str) -> None:
        """Return when all is granted; else show the page, or take the decision that it sent."""
        visit, registration = authorization.visit, authorization.registration
        scopes = asked.of_kind("Scope")
        missing = missing_scopes(person.tenant, registration, person.user.id, scopes)
        wants = scopes if prompt == "consent" else missing
        if not wants:
            return
        if prompt == "none":
            raise IdentityError(65001, app_id=registration.app_id, app_name=registration.display_name)
        administrator = may_consent_for_all(person.roles(self._simulation), wants)
        needs_administrator = any(each.permission.admin_consent for each in wants) or not self._simulation.settings.user_consent
        if needs_administrator and not administrator:
            raise PageShown(self._browser.need_approval(visit, person, registration))
        check_services(person.tenant, wants)
        if visit.step != "consent" or visit.form.get("account") != person.account.user_id:
            raise PageShown(self._consent_page(visit, person, registration, wants, administrator=administrator))
        if visit.form.get("decision") != "accept":
            raise RedirectedError("access_denied", "AADSTS65004: User declined to consent to access the app.", "cancel")
        for_all = administrator and visit.form.get("for_organization") == "true"
        Consent(self._simulation, person.tenant, registration).grant(wants, None if for_all else person.user.id)

    def _consent_page(
        self, visit: Visit, person: SignedIn, registration: Registration, wants: tuple[Asked, ...], *, administrator: bool
    ) -> web.Response:
        return self._browser.page(
            visit,
            "consent.html",
            application=registration.display_name,
            permissions=[each.permission for each in wants],
            account_id=person.account.user_id,
            name=person.sign_in_name,
            organization=person.tenant.display_name,
            for_organization=False,
            may_choose_organization=administrator,
        )

    def _issue_code(self, authorization: Authorization, person: SignedIn, claims: ClaimsRequest) -> str:
        visit = authorization.visit
        return self._browser.codes.issue(
            AuthorizationCode(
                app_id=authorization.registration.app_id,
                tenant_id=person.tenant.id,
                account=person.account,
                redirect_uri=authorization.redirect_uri,
                scopes=tuple(visit.parameter("scope").split()),
                code_challenge=visit.parameter("code_challenge") or None,
                nonce=visit.parameter("nonce") or None,
                expires_at=self._simulation.clock.now() + CODE_LIFETIME,
                methods=self._browser.methods(visit, person),
                contexts=claims.contexts,
                signed_in_at=self._browser.sessions.signed_in_at(visit.session_id, person.account),
            )
        )

    def _send_back(self, authorization: Authorization, answer: dict[str, str]) -> web.StreamResponse:
        visit = authorization.visit
        state = visit.parameter("state")
        values = {**answer, **({"state": state} if state else {})}
        mode = visit.parameter("response_mode")
        if mode == "form_post":
            text = render("form_post.html", redirect_uri=authorization.redirect_uri, values=values)
            return self._browser.with_session(visit, web.Response(text=text, content_type="text/html"))
        return self._browser.with_session(visit, redirect(authorization.redirect_uri, values, fragment=mode == "fragment"))


def redirect(uri: str, values: dict[str, str], *, fragment: bool = False) -> web.Response:
    """A 302 to `uri` with `values` in its query, or in its fragment."""
    target = URL(uri)
    encoded = str(URL.build(query=values)).removeprefix("?")
    location = target.with_fragment(encoded) if fragment else target.update_query(values)
    return web.Response(status=302, headers={"Location": str(location)})


def _session_state(visit: Visit) -> str:
    return visit.session_id[:16]
