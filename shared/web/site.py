"""The console's and the API's views: a coroutine function from a site and a request to a reply, one for each HTTP function.

``Site.answer`` wraps them all: who may, where from, and every error as a page (or problem details) in plain words.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from shared import messages, telemetry
from shared.commands import AccountHasGrantError, Commands
from shared.consent.state import BROWSER_COOKIE, LIFETIME, new_secret
from shared.domain.problems import GrantlineError, Problem, ProblemError, problem
from shared.domain.steps import StepName
from shared.ports import Accounts, GrantStore, Stored
from shared.settings import Settings
from shared.web import access, views
from shared.web.http import SECURITY_HEADERS, Reply, Request, as_json, see_other
from shared.web.redirects import ConsentFlow

LOG = logging.getLogger(__name__)

CONSOLE = Path(__file__).parents[2] / "console"
CONTENT_TYPES = {".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
STATUS = {
    "grant_unknown": 404,
    "not_allowed": 403,
    "account_has_grant": 409,
    "unexpected": 500,
    "kept_failing": 503,
}
"""The HTTP status of a problem's page; of every other one it is 400."""


@dataclass(frozen=True, slots=True)
class Site:
    """What the views stand on."""

    settings: Settings
    grants: GrantStore
    accounts: Accounts
    commands: Commands
    consent: ConsentFlow

    async def answer(self, route: str, request: Request, view: "View") -> Reply:
        """Return the view's reply if its audience may see it; any error becomes a page in plain words, or problem details."""
        try:
            self._admit(route, request)
            reply = await view(self, request)
        except ProblemError as error:
            reply = self._problem(request, error.problem)
        except Exception as error:  # noqa: BLE001 - a person is told in words, never by an empty page
            LOG.error("%s: %s", route, telemetry.describe(error))  # noqa: TRY400 - a trace may hold secrets
            code = "kept_failing" if isinstance(error, GrantlineError) else "unexpected"
            reply = self._problem(request, problem(code))
        return replace(reply, headers={**SECURITY_HEADERS, **reply.headers})

    def _admit(self, route: str, request: Request) -> None:
        is_allowed = access.may(route, access.who(request, self.settings))
        if not is_allowed or not access.is_from_here(request, self.settings):
            raise ProblemError(problem=problem("not_allowed"))

    def _problem(self, request: Request, found: Problem) -> Reply:
        status = STATUS.get(found.code, 400)
        if request.path.startswith("/api/"):
            details = views.problem_details(found, status)
            return as_json(details, status=status, content_type="application/problem+json")
        return page("problem.html", status=status, problem=views.problem_view(found))


View = Callable[[Site, Request], Awaitable[Reply]]


async def dashboard(site: Site, request: Request) -> Reply:
    """Show the service status: a line for each account."""
    rows, following = await site.accounts.page(after=request.query.get("after", ""))
    return page("dashboard.html", rows=rows, following=following)


async def grant_access(site: Site, request: Request) -> Reply:
    """Show the form that starts a grant, with what will be asked and made."""
    return page(
        "grant_access.html",
        account_id=request.query.get("account_id", ""),
        account_name=request.query.get("account_name", ""),
        policies=site.settings.policy_names,
        command_id=new_secret(),
    )


async def command(site: Site, request: Request) -> Reply:
    """Carry out the command in a form, and show its grant."""
    fields = request.form()
    content: dict[str, Any] = {name: values[-1] for name, values in fields.items() if name not in ("directions", "domains")}
    content["directions"] = fields.get("directions", [])
    if content.get("type") == "step.retry":
        del content["directions"]
    else:
        content["scope"] = _scope(content, fields.get("domains", [""])[-1])
    content["requested_by"] = access.who(request, site.settings)
    try:
        grant_id = await site.commands.execute(messages.read_command(content))
    except AccountHasGrantError as error:
        return see_other(f"/grants/{error.grant_id}")
    except messages.MessageError as error:
        raise ProblemError(problem=problem("form_unreadable", cause=f"The form can't be taken: {error}")) from error
    return see_other(f"/grants/{grant_id}")


async def grant(site: Site, request: Request) -> Reply:
    """Show a grant: each step with its state, its clock and what a person can do."""
    view = await _grant_view(site, request)
    return page("grant.html", grant=view, command_id=new_secret())


async def static(_site: Site, request: Request) -> Reply:
    """Give a file of the console."""
    path = CONSOLE / "static" / request.route["file"]
    if path.suffix not in CONTENT_TYPES or path.parent != CONSOLE / "static" or not path.is_file():
        return Reply(404, "not found", "text/plain; charset=utf-8")
    headers = {"cache-control": "public, max-age=300"}
    return Reply(200, path.read_bytes(), CONTENT_TYPES[path.suffix], headers)


async def begin(site: Site, request: Request) -> Reply:
    """Begin a person's step: give the browser its cookie and send it to Microsoft's sign-in."""
    browser = request.cookie(BROWSER_COOKIE) or new_secret()
    try:
        step = StepName(request.route["step"])
    except ValueError:
        raise ProblemError(problem=problem("grant_unknown")) from None
    location = await site.consent.begin(request.route["grant_id"], step, browser)
    return see_other(location, **{"set-cookie": _browser_cookie(site, browser)})


async def signed_in(site: Site, request: Request) -> Reply:
    """Take the redirect of a sign-in; the browser's cookie lives as long as the consent that comes next."""
    browser = request.cookie(BROWSER_COOKIE)
    location = await site.consent.signed_in(request.query, browser)
    return see_other(location, **{"set-cookie": _browser_cookie(site, browser)})


async def consented(site: Site, request: Request) -> Reply:
    """Take the redirect of an admin consent."""
    return see_other(await site.consent.consented(request.query, request.cookie(BROWSER_COOKIE)))


def _browser_cookie(site: Site, browser: str) -> str:
    secure = "; Secure" if site.settings.public_url.startswith("https://") else ""
    attributes = f"Path=/; Max-Age={int(LIFETIME.total_seconds())}; HttpOnly; SameSite=Lax{secure}"
    return f"{BROWSER_COOKIE}={browser}; {attributes}"


async def api_grant(site: Site, request: Request) -> Reply:
    """Give a grant's live state as JSON."""
    return as_json(await _grant_view(site, request))


async def api_receipt(site: Site, request: Request) -> Reply:
    """Give a grant's receipt as JSON."""
    stored = await _load(site, request)
    return as_json(views.receipt(stored.grant))


async def healthz(site: Site, _request: Request) -> Reply:
    """Tell that the application runs and its storage answers."""
    await site.accounts.page(count=1)
    return as_json({"status": "ok"})


async def _load(site: Site, request: Request) -> Stored:
    stored = await site.grants.load(request.route["grant_id"])
    if stored is None:
        raise ProblemError(problem=problem("grant_unknown"))
    return stored


async def _grant_view(site: Site, request: Request) -> dict[str, Any]:
    stored = await _load(site, request)
    progress = await site.grants.row(stored.grant.grant_id, "progress")
    return views.grant_view(stored.grant, progress)


def _scope(content: dict[str, Any], domains: str) -> dict[str, Any]:
    """Return the scope of a form, taking its fields out of ``content``."""
    names = [name.strip().lower() for name in domains.replace(",", " ").split()]
    return {"kind": content.pop("scope", "all_domains"), "domains": names, "group": content.pop("group", "").strip()}


def page(template: str, *, status: int = 200, **values: object) -> Reply:
    """Return a page of the console."""
    return Reply(status, _templates().get_template(template).render(**values))


@cache
def _templates() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 - queue functions need no templates

    return Environment(
        loader=FileSystemLoader(CONSOLE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
