"""What the authorize and the admin consent page share: who is at the browser, and the pages on the way.

Every step is a plain form that is posted back to the address it came from, so the request's own parameters stay in
the query and nothing but the session cookie is kept.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from local.microsoft365.identity.admission import check_client, check_person, check_tenant, policies
from local.microsoft365.identity.claims_request import ClaimsRequest
from local.microsoft365.identity.errors import NO_STORE, IdentityError, new_trace
from local.microsoft365.identity.people import SignedIn, enter, home_of
from local.microsoft365.identity.sessions import COOKIE, Account, Codes, Sessions
from local.microsoft365.model import ApprovalRequest, GrantControl, Registration, Tenant
from local.microsoft365.pages import render
from local.microsoft365.population import User
from local.microsoft365.simulation import Simulation


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of a browser: its parameters, what its form sent, and its session."""

    request: web.Request
    form: Mapping[str, str]
    session_id: str

    def parameter(self, name: str) -> str:
        """A parameter of the address; empty when it is absent."""
        return str(self.request.query.get(name, ""))

    @property
    def step(self) -> str:
        """Which form was posted: signin, account, mfa, approval, consent; empty when none was."""
        return self.form.get("step", "")

    @property
    def is_cancelled(self) -> bool:
        """Whether the form's cancel button was pressed."""
        return self.form.get("decision") == "cancel"


class PageShown(Exception):  # noqa: N818 - not an error: the visit ends with a page
    """Raised when the next thing is a page; `response` is that page."""

    def __init__(self, response: web.Response) -> None:
        super().__init__()
        self.response = response


@dataclass(frozen=True, slots=True)
class Browser:
    """The pages and sessions of the identity platform."""

    simulation: Simulation
    sessions: Sessions
    codes: Codes

    async def visit(self, request: web.Request) -> Visit:
        """Read a request. A form without this session's canary is refused: IdentityError 165000."""
        session_id = request.cookies.get(COOKIE) or self.sessions.start()
        posted = await request.post() if request.method == "POST" else {}
        visit = Visit(request, {name: value for name, value in posted.items() if isinstance(value, str)}, session_id)
        canary = visit.form.get("canary", "")
        if request.method == "POST" and not hmac.compare_digest(canary.encode(), self.sessions.canary(session_id).encode()):
            raise IdentityError(165000)
        return visit

    def page(self, visit: Visit, template: str, status: int = 200, **values: Any) -> web.Response:
        """A page that belongs to the visit's session."""
        shown = {
            "action": str(visit.request.rel_url),
            "canary": self.sessions.canary(visit.session_id),
            "accounts": [self._shown_account(each) for each in self.sessions.accounts(visit.session_id)],
            **values,
        }
        return self.with_session(visit, web.Response(text=render(template, **shown), status=status, content_type="text/html"))

    def with_session(self, visit: Visit, response: web.Response) -> web.Response:
        """The response with the session's cookie."""
        response.headers.update(NO_STORE)
        response.set_cookie(COOKIE, visit.session_id, path="/", secure=True, httponly=True, samesite="None")
        return response

    def refusal(self, request: web.Request, error: IdentityError) -> web.Response:
        """The page that a person sees where no redirect can be trusted; she stays on it."""
        trace = new_trace(request, self.simulation.clock.now())
        text = render("error.html", error=error, trace=trace)
        return web.Response(text=text, status=400, content_type="text/html", headers=NO_STORE)

    def signed_in(self, visit: Visit, tenant: Tenant | None, registration: Registration, prompt: str = "") -> SignedIn:
        """Who goes on. Raises PageShown with the page that asks, or that refuses the account."""
        account = self._posted_account(visit, registration) or self._known_account(visit, tenant, prompt)
        if account is None:
            raise PageShown(self._ask(visit, registration, prompt))
        found = home_of(self.simulation.store, account)
        if found is None:
            raise PageShown(self._sign_in_page(visit, registration, "We couldn't find an account with that username."))
        person = enter(self.simulation.store, tenant, account)
        if person is None:
            raise PageShown(self._foreign(visit, tenant or found[0], *found, registration))
        return person

    def admitted(
        self, visit: Visit, tenant: Tenant | None, registration: Registration, asked: ClaimsRequest, prompt: str = ""
    ) -> SignedIn:
        """Who goes on, once the tenant's own demands are met too. Raises PageShown or IdentityError."""
        if tenant is not None:
            check_tenant(tenant, visit.request)
        person = self.signed_in(visit, tenant, registration, prompt)
        check_tenant(person.tenant, visit.request)
        self._check_partner(person, registration)
        check_client(person.tenant, registration)
        check_person(person, registration)
        self._demand_second_factor(visit, person, registration, asked, prompt)
        return person

    def methods(self, visit: Visit, person: SignedIn) -> tuple[str, ...]:
        """How the person has proved to be who she is, as the claim `amr` says it."""
        return self.sessions.methods(visit.session_id, person.account)

    def ask_second_factor(self, visit: Visit, person: SignedIn, registration: Registration) -> None:
        """Return when the person has shown a second factor. Raises PageShown with the page that asks for it."""
        if not self._has_second_factor(visit, person):
            shown: dict[str, Any] = {"name": person.sign_in_name, "account_id": person.account.user_id}
            raise PageShown(self.page(visit, "mfa.html", application=registration.display_name, **shown))

    def _has_second_factor(self, visit: Visit, person: SignedIn) -> bool:
        """Whether a second factor was shown, before or by this very form."""
        approved = visit.step == "mfa" and visit.form.get("decision") == "accept"
        if approved and visit.form.get("account") == person.account.user_id:
            self.sessions.prove_second_factor(visit.session_id, person.account)
        return "mfa" in self.methods(visit, person)

    def need_approval(self, visit: Visit, person: SignedIn, registration: Registration) -> web.Response:
        """The page for whoever may not consent: a dead end, or a request to the administrators where the tenant takes those."""
        shown: dict[str, Any] = {"application": registration.display_name, "name": person.sign_in_name}
        if not person.tenant.takes_approval_requests:
            return self.page(visit, "approval.html", **shown)
        shown |= {"account_id": person.account.user_id, "fault": ""}
        if visit.step != "approval" or visit.form.get("account") != person.account.user_id:
            return self.page(visit, "approval_request.html", **shown)
        justification = visit.form.get("justification", "").strip()
        if not justification:
            return self.page(visit, "approval_request.html", **{**shown, "fault": "Please enter a justification."})
        self._send_to_administrators(person, registration, justification)
        return self.page(visit, "approval_sent.html", **shown)

    def _send_to_administrators(self, person: SignedIn, registration: Registration, justification: str) -> None:
        now = self.simulation.clock.now()
        person.tenant.approval_requests.append(ApprovalRequest(registration.app_id, person.user.id, justification, now))
        self.simulation.store.changed(person.tenant)

    def _check_partner(self, person: SignedIn, registration: Registration) -> None:
        """Raise IdentityError 90099 where a partner's people need the application to be consented to before."""
        asks = self.simulation.settings.partners_need_consent and person.is_partner
        if asks and person.tenant.service_principal_of(registration.app_id) is None:
            facts = {"app_id": registration.app_id, "app_name": registration.display_name}
            raise IdentityError(90099, tenant=person.tenant.display_name, **facts)

    def _demand_second_factor(
        self, visit: Visit, person: SignedIn, registration: Registration, asked: ClaimsRequest, prompt: str
    ) -> None:
        """Return when none is asked for, or it was shown. Raises PageShown, or IdentityError 50076 for prompt=none."""
        demanding = policies(person, registration, GrantControl.MFA)
        wanted = "mfa" in asked.methods and not self.simulation.settings.ignore_amr_request
        if not demanding and not wanted and not asked.contexts:
            return
        if prompt == "none" and not self._has_second_factor(visit, person):
            raise IdentityError(50076, resource=registration.app_id).because_of(demanding)
        self.ask_second_factor(visit, person, registration)

    def _posted_account(self, visit: Visit, registration: Registration) -> Account | None:
        if visit.step == "signin":
            return self._sign_in(visit, registration)
        chosen = visit.form.get("account", "")
        if visit.step == "account" and chosen == "other":
            raise PageShown(self._sign_in_page(visit, registration))
        accounts = self.sessions.accounts(visit.session_id)
        return next((each for each in accounts if each.user_id == chosen), None)

    def _sign_in(self, visit: Visit, registration: Registration) -> Account:
        name = visit.form.get("loginfmt", "").strip()
        home = self.simulation.store.find_tenant(name.rpartition("@")[2])
        user = home.users.find(name) if home else None
        if home is None or user is None:
            raise PageShown(self._sign_in_page(visit, registration, "We couldn't find an account with that username.", name))
        password = self.simulation.store.password.encode()
        if not hmac.compare_digest(visit.form.get("passwd", "").encode(), password):
            raise PageShown(self._sign_in_page(visit, registration, "Your account or password is incorrect.", name))
        if not user.account_enabled:
            raise PageShown(self.refusal(visit.request, IdentityError(50057)))
        account = Account(home.id, user.id)
        self.sessions.sign_in(visit.session_id, account, self.simulation.clock.now())
        return account

    def _known_account(self, visit: Visit, tenant: Tenant | None, prompt: str) -> Account | None:
        """Single sign-on: the account that needs no question."""
        accounts = self.sessions.accounts(visit.session_id)
        hint = visit.parameter("login_hint").lower()
        if hint:
            accounts = tuple(each for each in accounts if self._user(each).user_principal_name.lower() == hint)
        elif tenant is not None:
            own = tuple(each for each in accounts if each.tenant_id == tenant.id)
            accounts = own or tuple(each for each in accounts if enter(self.simulation.store, tenant, each)) or accounts
        asks = prompt in {"login", "select_account"}
        return accounts[0] if len(accounts) == 1 and not asks else None

    def _ask(self, visit: Visit, registration: Registration, prompt: str) -> web.Response:
        knows_somebody = bool(self.sessions.accounts(visit.session_id))
        if knows_somebody and prompt != "login" and not visit.parameter("login_hint"):
            return self.page(visit, "accounts.html", application=registration.display_name)
        return self._sign_in_page(visit, registration)

    def _sign_in_page(self, visit: Visit, registration: Registration, fault: str = "", name: str = "") -> web.Response:
        hint = name or visit.parameter("login_hint")
        return self.page(visit, "signin.html", application=registration.display_name, fault=fault, hint=hint)

    def _foreign(self, visit: Visit, tenant: Tenant, home: Tenant, user: User, registration: Registration) -> web.Response:
        facts = {"account": user.user_principal_name, "home": home.id, "tenant": tenant.display_name}
        error = IdentityError(50020, app_id=registration.app_id, app_name=registration.display_name, **facts)
        return self.with_session(visit, self.refusal(visit.request, error))

    def _user(self, account: Account) -> User:
        user = self.simulation.store.tenant(account.tenant_id).users.get(account.user_id)
        if user is None:
            raise IdentityError(165000)
        return user

    def _shown_account(self, account: Account) -> dict[str, str]:
        user = self.simulation.store.tenant(account.tenant_id).users.get(account.user_id)
        name = user.user_principal_name if user else "(removed)"
        return {"id": account.user_id, "name": name}
