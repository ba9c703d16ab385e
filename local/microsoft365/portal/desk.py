"""Who is at the portal: signing in by the identity platform's own pages, coming back, and forms that nobody can forge.

A form counts only with this session's canary and with an `Origin` that is the portal's own (RFC 6454): cookies alone,
which a browser adds to whatever another site makes it send, prove nothing.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler
from yarl import URL

from local.microsoft365.identity.consent import directory_roles
from local.microsoft365.identity.errors import IdentityError
from local.microsoft365.identity.people import SignedIn, enter
from local.microsoft365.identity.sessions import Account
from local.microsoft365.identity.signin import Browser, PageShown, Visit
from local.microsoft365.model import ROLE_NAMES, Registration, Role, Tenant
from local.microsoft365.pages import render
from local.microsoft365.population import User
from local.microsoft365.seed import MICROSOFT_SERVICES
from local.microsoft365.simulation import OPERATION, TENANT_ID

HOME = "/"
SIGN_IN = "/portal/signin"
PORTAL = Registration(
    name="portal",
    app_id="c44b4083-3bb0-49c1-b47d-974e53cbdf3c",
    display_name="Microsoft Entra admin center",
    home_tenant_id=MICROSOFT_SERVICES,
    redirect_uris=(),
    required_permissions=(),
    group_membership_claims=None,
    sign_in_audience="AzureADMultipleOrgs",
)
"""Microsoft's own application, so nobody is asked for consent to it.

Id: learn.microsoft.com/troubleshoot/entra/entra-id/governance/verify-first-party-apps-sign-in ("Azure Portal").
"""
_OWN_PAGE = re.compile(r"/|/portal(/[A-Za-z0-9-]+)+(\?[!-~]*)?")
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'; base-uri 'none';"
        " frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who is signed in to the portal, with the request."""

    desk: Desk
    visit: Visit
    tenant: Tenant
    person: SignedIn
    """Who it is in this tenant: one of its own people, a guest, or a partner's administrator."""
    chosen: tuple[str, ...]
    """Ids of the principals or assignments that the form's boxes, or the address, name."""

    @property
    def user(self) -> User:
        """The person's object."""
        return self.person.user

    @property
    def role_ids(self) -> frozenset[str]:
        """Template ids of the directory roles that count for this person now."""
        if self.person.delegated_roles is not None:
            return self.person.delegated_roles
        return directory_roles(self.desk.browser.simulation, self.tenant, self.user.id)

    @property
    def has_second_factor(self) -> bool:
        """Whether the person has shown a second factor in this session."""
        return "mfa" in self.desk.browser.methods(self.visit, self.person)

    def way_to_second_factor(self) -> str:
        """Return the address of a sign-in that asks for a second factor, and leads back to this page."""
        back = str(self.visit.request.rel_url)
        asked = {"tenant": self.tenant.id, "login_hint": self.person.sign_in_name, "mfa": "1", "return": back}
        return str(URL(SIGN_IN).with_query(asked))

    def page(self, template: str, status: int = 200, **values: Any) -> web.Response:
        """Return a page of the portal; what was to be told since the last page stands on it once."""
        shown = {
            "canary": self.desk.browser.sessions.canary(self.visit.session_id),
            "here": str(self.visit.request.rel_url),
            "user": self.user,
            "name_at_home": self.person.sign_in_name,
            "tenant": self.tenant,
            "your_roles": sorted(ROLE_NAMES[Role(each)] for each in self.role_ids),
            "notice": self.desk.take_notice(self.visit.session_id),
            "faults": (),
            **values,
        }
        text = render(f"portal/{template}", **shown)
        response = web.Response(text=text, status=status, content_type="text/html", headers=_HEADERS)
        return self.desk.browser.with_session(self.visit, response)

    def go_to(self, path: str, notice: str = "") -> web.Response:
        """Return the way to another page of the portal, which tells `notice`."""
        self.desk.leave_notice(self.visit.session_id, notice)
        return self.desk.browser.with_session(self.visit, _see_other(path))


PageHandler = Callable[[Visitor], web.Response]


class Desk:
    """Lets signed-in people in to the portal's pages. Kept in memory only, like the sessions themselves."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        self._accounts: dict[str, tuple[Account, str]] = {}
        """With what account each session is in which tenant."""
        self._notices: dict[str, str] = {}

    def page(self, handler: PageHandler) -> Handler:
        """Return a handler that asks for a sign-in first, refuses forged forms, and then answers with `handler`."""

        async def answer(visit: Visit) -> web.Response:
            return handler(await self._visitor(visit))

        return self._guarded(answer)

    def sign_in_page(self) -> Handler:
        """Return a handler that asks who it is, then goes back to the own page that `return` names, or home."""
        return self._guarded(self._sign_in)

    def leave_notice(self, session_id: str, text: str) -> None:
        """Keep what the session's next page tells."""
        self._notices[session_id] = text

    def take_notice(self, session_id: str) -> str:
        """Return what is to be told, once."""
        return self._notices.pop(session_id, "")

    def clear(self) -> None:
        """Forget everybody."""
        self._accounts.clear()
        self._notices.clear()

    def _guarded(self, answer: Callable[[Visit], Awaitable[web.Response]]) -> Handler:
        """Return a handler that reads the visit; a form that another site or another session sent is refused: AADSTS165000."""

        async def handler(request: web.Request) -> web.StreamResponse:
            request[OPERATION] = request.path
            try:
                visit = await self.browser.visit(request)
                _check_origin(request)
                return await answer(visit)
            except PageShown as shown:
                return shown.response
            except IdentityError as error:
                return self.browser.refusal(request, error)

        return handler

    async def _sign_in(self, visit: Visit) -> web.Response:
        if visit.is_cancelled:
            return self.browser.page(visit, "portal/cancelled.html")
        wanted = visit.parameter("tenant")
        tenant = self.browser.simulation.store.find_tenant(wanted) if wanted else None
        if wanted and tenant is None:
            raise IdentityError(90002, tenant=wanted)
        person = self.browser.signed_in(visit, tenant, PORTAL, visit.parameter("prompt"))
        if not person.user.account_enabled:
            raise IdentityError(50057)
        if visit.parameter("mfa"):
            self.browser.ask_second_factor(visit, person, PORTAL)
        self._accounts[visit.session_id] = (person.account, person.tenant.id)
        return self.browser.with_session(visit, _see_other(own_page(visit.parameter("return"))))

    async def _visitor(self, visit: Visit) -> Visitor:
        """Return who it is. Raises PageShown with the way to the sign-in where nobody is."""
        request = visit.request
        account, tenant_id = self._accounts.get(visit.session_id, (None, ""))
        # Signing out at the identity platform ends the portal's sign-in too.
        if account is None or account not in self.browser.sessions.accounts(visit.session_id):
            raise PageShown(self._ask(visit))
        request[TENANT_ID] = tenant_id
        simulation = self.browser.simulation
        reads = request.method == "GET"
        tenant = simulation.tenant_for(request, tenant_id) if reads else simulation.store.tenant(tenant_id)
        person = enter(simulation.store, tenant, account)
        if person is None or not person.user.account_enabled:
            raise PageShown(self._ask(visit))
        named = request.query if reads else await request.post()
        chosen = dict.fromkeys(str(each) for each in named.getall("chosen", []))
        return Visitor(self, visit, tenant, person, tuple(chosen))

    def _ask(self, visit: Visit) -> web.Response:
        """Return the way to the sign-in and back. A form is not sent again: that way leads to the page above it."""
        address = visit.request.rel_url
        back = str(address if visit.request.method == "GET" else address.parent)
        return self.browser.with_session(visit, _see_other(str(URL(SIGN_IN).with_query({"return": back}))))


def own_page(address: str) -> str:
    """Return the address where it is a page of the portal's on this very server, otherwise the home page's."""
    return address if _OWN_PAGE.fullmatch(address) else HOME


def _check_origin(request: web.Request) -> None:
    own = f"{request.scheme}://{request.host}"
    if request.method == "POST" and request.headers.get("Origin") != own:
        raise IdentityError(165000)


def _see_other(path: str) -> web.Response:
    return web.Response(status=303, headers={"Location": path})
