"""The admin consent pages: version 1 (/adminconsent) and version 2 (/v2.0/adminconsent).

Sources: entra-docs v2-admin-consent.md (version 2) and v2-oauth2-client-creds-grant-flow.md (version 1). Whoever may
not consent stays on Microsoft's own page: no redirect tells the client.
"""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from local.microsoft365.identity.admission import check_services
from local.microsoft365.identity.authorize import redirect
from local.microsoft365.identity.claims_request import ClaimsRequest
from local.microsoft365.identity.client_authentication import find_registration
from local.microsoft365.identity.consent import Consent, may_consent_for_all
from local.microsoft365.identity.errors import IdentityError, new_trace, refuse_as_injected
from local.microsoft365.identity.metadata import tenant_named
from local.microsoft365.identity.people import SignedIn
from local.microsoft365.identity.scopes import Asked, read_scope, registered
from local.microsoft365.identity.signin import Browser, PageShown, Visit
from local.microsoft365.model import Registration, Tenant


@dataclass(frozen=True, slots=True)
class ConsentRequest:
    """An admin consent request whose client, redirect and scope are right."""

    visit: Visit
    tenant: Tenant | None
    registration: Registration
    redirect_uri: str
    asked: tuple[Asked, ...]


class AdminConsentEndpoint:
    """Asks an administrator to consent for the whole organization; `version` is 1 or 2."""

    def __init__(self, browser: Browser, version: int) -> None:
        self._browser = browser
        self._simulation = browser.simulation
        self._version = version

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """A page, or the redirect back with the outcome."""
        try:
            visit = await self._browser.visit(request)
            consent = self._consent_request(visit)
        except IdentityError as error:
            return self._browser.refusal(request, error)
        try:
            refuse_as_injected(request)
            person = self._browser.admitted(visit, consent.tenant, consent.registration, ClaimsRequest())
            values = self._decide(consent, person)
        except PageShown as shown:
            return shown.response
        except IdentityError as error:
            if error.kind.is_shown:
                return self._browser.with_session(visit, self._browser.refusal(request, error))
            values = self._failed(request, error)
        state = visit.parameter("state")
        values |= {"state": state} if state else {}
        return self._browser.with_session(visit, redirect(consent.redirect_uri, values))

    def _consent_request(self, visit: Visit) -> ConsentRequest:
        tenant = self._tenant(visit.request.match_info["tenant"])
        if not visit.parameter("client_id"):
            raise IdentityError(900144, field="client_id")
        name = tenant.display_name if tenant else visit.request.match_info["tenant"]
        registration = find_registration(self._simulation, visit.parameter("client_id"), name)
        redirect_uri = visit.parameter("redirect_uri")
        if redirect_uri not in registration.redirect_uris:
            raise IdentityError(50011, redirect_uri=redirect_uri, app_id=registration.app_id)
        return ConsentRequest(visit, tenant, registration, redirect_uri, self._asked(visit, registration))

    def _tenant(self, segment: str) -> Tenant | None:
        # Version 1 takes `common`, version 2 `organizations` (v2-admin-consent.md: common is not to be used).
        if self._version == 2 and segment.lower() == "common":
            raise IdentityError(900023, tenant=segment)
        return tenant_named(self._simulation, segment)

    def _asked(self, visit: Visit, registration: Registration) -> tuple[Asked, ...]:
        if self._version == 1:
            return registered(registration)
        if not visit.parameter("scope"):
            raise IdentityError(900144, field="scope")
        return read_scope(visit.parameter("scope"), registration).permissions

    def _decide(self, consent: ConsentRequest, person: SignedIn) -> dict[str, str]:
        """The outcome as redirect parameters. Raises PageShown while there is none."""
        if not may_consent_for_all(person.roles(self._simulation), consent.asked):
            raise PageShown(self._browser.need_approval(consent.visit, person, consent.registration))
        check_services(person.tenant, consent.asked)
        if consent.visit.step != "consent" or consent.visit.form.get("account") != person.account.user_id:
            raise PageShown(self._consent_page(consent, person))
        if consent.visit.form.get("decision") != "accept":
            return self._refused(consent.visit.request)
        Consent(self._simulation, person.tenant, consent.registration).grant(consent.asked, None)
        return self._granted(consent, person)

    def _refused(self, request: web.Request) -> dict[str, str]:
        if self._version == 1:
            return {"error": "permission_denied", "error_description": "The admin canceled the request"}
        # True on a refusal too: documented so, and the trap of every client that looks here first.
        return {"admin_consent": "True", **self._failed(request, IdentityError(65004))}

    def _failed(self, request: web.Request, error: IdentityError) -> dict[str, str]:
        """A refusal as redirect parameters."""
        trace = new_trace(request, self._simulation.clock.now())
        return {"error": error.redirected_as, "error_description": trace.described(error.text, "\r\n")}

    def _granted(self, consent: ConsentRequest, person: SignedIn) -> dict[str, str]:
        outcome = {"admin_consent": "True", "tenant": person.tenant.id}
        return outcome if self._version == 1 else {**outcome, "scope": consent.visit.parameter("scope")}

    def _consent_page(self, consent: ConsentRequest, person: SignedIn) -> web.Response:
        return self._browser.page(
            consent.visit,
            "consent.html",
            application=consent.registration.display_name,
            permissions=[each.permission for each in consent.asked],
            account_id=person.account.user_id,
            name=person.sign_in_name,
            organization=person.tenant.display_name,
            for_organization=True,
            may_choose_organization=False,
        )
