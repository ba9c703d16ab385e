"""The front door: every HTTP function comes in with its view, a coroutine function from a site and a request to a reply.

``Site.answer`` wraps all views: who may, where from, the browser's cookie, and every error as a page or problem details, told
plainly.
"""

import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from shared import telemetry
from shared.commands import Commands
from shared.consent.proof import PERSONAL_ACCOUNTS_TENANT
from shared.consent.state import BROWSER_COOKIE, grant_of, new_secret
from shared.domain.grant import Grant
from shared.domain.problems import GrantlineError, Problem, ProblemError, problem
from shared.messages import Command
from shared.ports import Accounts, GrantStore, Microsoft, Stored
from shared.settings import GUID, Settings
from shared.web import access, mailflow, templates, views
from shared.web.http import SECURITY_HEADERS, Reply, Request, as_json
from shared.web.links import OnboardingLinks
from shared.web.redirects import ConsentFlow
from shared.workflows.mail_proof import PROOF_ROW
from shared.workflows.plans import PLAN_ROWS
from shared.workflows.preflight import FINDINGS_ROW
from shared.workflows.removal import REMOVAL_ROW
from shared.workflows.run import PROGRESS_ROWS

LOG = logging.getLogger(__name__)

STATUS = {
    "grant_removed": 409,
    "command_untimely": 409,
    "grant_unknown": 404,
    "sign_in_needed": 401,
    "not_allowed": 403,
    "form_expired": 403,
    "account_has_grant": 409,
    "tenant_settled": 409,
    "onboarding_unknown": 404,
    "onboarding_expired": 410,
    "onboarding_replaced": 410,
    "onboarding_used": 403,
    "not_json": 415,
    "body_too_large": 413,
    "command_reused": 422,
    "unexpected": 500,
    "unavailable": 503,
}
"""The HTTP status of a problem's page; of every other one it is 400."""
HTML = "text/html"
SNAPSHOT_ROWS = "snapshot|"
"""How the keys of the rows begin that hold what a tenant was before a change."""
PROBLEM_JSON = "application/problem+json"
_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")
"""What ``new_secret`` makes; another cookie is none of ours."""


@dataclass(frozen=True, slots=True)
class Site:
    """What the views stand on."""

    settings: Settings
    grants: GrantStore
    accounts: Accounts
    microsoft: Microsoft
    commands: Commands
    consent: ConsentFlow
    links: OnboardingLinks

    async def answer(self, route: str, request: Request, view: "View") -> Reply:
        """Return the view's reply if its audience may see it; any error becomes a page in plain words, or problem details."""
        value = request.cookie(cookie_name(self.settings))
        browser = value if _SECRET.fullmatch(value) else ""
        request = replace(request, visitor=access.who(request, self.settings), browser=browser or new_secret())
        try:
            await self._admit(route, request)
            reply = await view(self, request)
        except ProblemError as error:
            reply = self._problem(request, error.problem, error.more)
        except Exception as error:  # noqa: BLE001 - a person is told in words, never by an empty page
            LOG.error("%s: %s", route, telemetry.describe(error))  # noqa: TRY400 - a trace may hold secrets
            code = "unavailable" if isinstance(error, GrantlineError) else "unexpected"
            reply = self._problem(request, problem(code))
        cookie = {} if browser or not _is_kept(reply) else {"set-cookie": _cookie(self.settings, request.browser)}
        return replace(reply, headers={**SECURITY_HEADERS, **cookie, **reply.headers})

    async def _admit(self, route: str, request: Request) -> None:
        """Raise ProblemError unless the route is open to the visitor, and a change comes from a page of ours."""
        if not access.may(route, request.visitor) and not await self._is_open_to_holder(route, request):
            is_unknown = request.is_api and route in access.AUDIENCES and access.is_unknown(request, self.settings)
            raise ProblemError(problem=problem("sign_in_needed" if is_unknown else "not_allowed"))
        if refusal := access.refusal(request, self.settings):
            raise ProblemError(problem=problem(refusal))

    async def _is_open_to_holder(self, route: str, request: Request) -> bool:
        """Tell whether the route is open to this browser by the onboarding link of the grant that the route names.

        Only asked where the visitor may not anyway: an operator's request costs no more reads.
        """
        grant_id = request.route.get("grant_id", "")
        has_cookie = request.cookie(cookie_name(self.settings)) == request.browser
        if not (GUID.fullmatch(grant_id) and has_cookie and access.may(route, request.visitor, is_holder=True)):
            return False
        return await self.links.is_held(grant_id, request.browser)

    def _problem(self, request: Request, found: Problem, more: views.View | None = None) -> Reply:
        status = STATUS.get(found.code, 400)
        if request.is_api:
            details = views.problem_details(found, status, more or {})
            challenge = {"www-authenticate": access.CHALLENGE} if status == 401 else {}
            return as_json(details, status=status, content_type=PROBLEM_JSON, **challenge)
        grant_id = request.route.get("grant_id", "") or grant_of(request.query.get("state", ""))
        back = f"/grants/{grant_id}" if grant_id and found.code not in ("grant_unknown", "not_allowed") else ""
        shown = {
            "problem": views.problem_view(found),
            "back": back,
            "sign_in": self._sign_in(request, found),
            "transfer": (more or {}).get("transfer", ""),
        }
        return page(self, request, "problem.html", status=status, **shown)

    def _sign_in(self, request: Request, found: Problem) -> str:
        """Return where somebody signs in to the console who has not; "" where that would not help.

        learn.microsoft.com/azure/app-service/configure-authentication-customize-sign-in-out
        """
        is_signed_in = bool(request.headers.get("x-ms-client-principal"))
        if found.code != "not_allowed" or is_signed_in or not self.settings.sign_in_on:
            return ""
        back = request.path if request.method == "GET" else "/"
        return f"/.auth/login/aad?{urlencode({'post_login_redirect_uri': back})}"

    async def load(self, request: Request) -> Stored:
        """Return the grant that the route names. Raises ProblemError when there is none."""
        grant_id = request.route["grant_id"]
        # Not every text is a key of a table: nothing is looked for but what a grant may be called.
        stored = await self.grants.load(grant_id) if GUID.fullmatch(grant_id) else None
        if stored is None:
            raise ProblemError(problem=problem("grant_unknown"))
        return stored

    async def view_of(self, request: Request) -> "views.View":
        """Return the live state of the grant that the route names. Raises ProblemError when there is none."""
        stored = await self.load(request)
        return await self.view_of_grant(stored.grant)

    async def view_of_grant(self, grant: Grant) -> "views.View":
        """Return the live state of a grant, with how far its running steps are."""
        rows = await self.grants.rows(grant.grant_id, PROGRESS_ROWS)
        return views.grant_view(grant, {row.key.removeprefix(PROGRESS_ROWS): row.value for row in rows})

    async def execute(self, request: Request, command: Command) -> str:
        """Carry out a command that the visitor may give, and return its grant's id. Raises what ``Commands.execute`` raises."""
        if not access.may_command(command.type, request.visitor):
            raise ProblemError(problem=problem("not_allowed"))
        return await self.commands.execute(command)

    async def receipt_of(self, grant: Grant) -> "views.View":
        """Return a grant's receipt, with the former values of what was changed in the tenant."""
        delegated = self.microsoft.identity.asked_permissions("role_helper")
        return views.receipt(grant, await self.grants.rows(grant.grant_id, SNAPSHOT_ROWS), delegated)

    async def plan_of(self, grant: Grant) -> "views.View":
        """Return the newest plan of a grant's mail flow."""
        return mailflow.plan_view(grant, await self.grants.rows(grant.grant_id, PLAN_ROWS))

    async def findings_of(self, grant: Grant) -> "views.View":
        """Return what the checks have found before the mail flow's changes."""
        return mailflow.findings_view(grant, await self.grants.row(grant.grant_id, FINDINGS_ROW) or {})

    async def removal_of(self, grant: Grant) -> "views.View":
        """Return how the tenant of a grant that is removed stands against what it was."""
        return mailflow.removal_view(grant, await self.grants.row(grant.grant_id, REMOVAL_ROW) or {})

    async def proof_of(self, grant: Grant) -> "views.View":
        """Return what test messages have shown last."""
        return mailflow.proof_view(grant, await self.grants.row(grant.grant_id, PROOF_ROW) or {})

    async def tenant_of(self, text: str) -> str:
        """Return the id of the tenant that an operator names by its id or one of its domains, "" for none.

        Raises ProblemError for one that Microsoft does not know, and for the tenant of personal accounts.
        """
        name = text.strip().lower()
        found = await self.microsoft.sign_in.tenant_of_domain(name) if name else ""
        if found is None:
            raise ProblemError(problem=problem("tenant_unknown"))
        if found == PERSONAL_ACCOUNTS_TENANT:
            raise ProblemError(problem=problem("personal_account"))
        return found


View = Callable[[Site, Request], Awaitable[Reply]]


def page(site: Site, request: Request, template: str, *, status: int = 200, **values: object) -> Reply:
    """Return a page of the console. Every template knows who looks at it, and has the token for its forms."""
    shown = {
        "visitor": request.visitor,
        "role": access.RANKS.get(request.visitor.role, 0),
        "csrf": access.form_token(request.browser, site.settings),
        "product": site.settings.product_name,
        "here": "",
        "signs_out": site.settings.sign_in_on and bool(request.visitor.name),
    }
    return Reply(status, templates.environment().get_template(template).render(**shown, **values))


def cookie_name(settings: Settings) -> str:
    """Return the name of the browser's cookie. ``__Host-`` lets no other host or path set it (RFC 6265bis, 4.1.3.2)."""
    return f"__Host-{BROWSER_COOKIE}" if settings.public_url.startswith("https://") else BROWSER_COOKIE


def _cookie(settings: Settings, browser: str) -> str:
    """Return the cookie that binds forms, sign-ins and onboarding links to one browser, for as long as it is open."""
    secure = "; Secure" if settings.public_url.startswith("https://") else ""
    return f"{cookie_name(settings)}={browser}; Path=/; HttpOnly; SameSite=Lax{secure}"


def _is_kept(reply: Reply) -> bool:
    """Tell whether the browser must keep its cookie for what comes next: it was shown a page, or is sent to Microsoft."""
    return reply.content_type.startswith(HTML)
