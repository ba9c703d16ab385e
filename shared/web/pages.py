"""The views of the console's pages."""

from typing import Any

from shared import messages
from shared.commands import AccountHasGrantError, CommandReusedError
from shared.consent.state import new_secret
from shared.domain.problems import ProblemError, problem
from shared.web.http import Reply, Request, if_changed, see_other
from shared.web.redirects import grant_page
from shared.web.site import CONSOLE, Site, page

DISMISSED = "grantline_activity_banner"
"""The cookie of a browser that wants to hear no more of activity data."""
CONTENT_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


async def dashboard(site: Site, request: Request) -> Reply:
    """Show the service status: a line for each account."""
    rows, following = await site.accounts.page(after=request.query.get("after", ""))
    return page(site, request, "dashboard.html", rows=rows, following=following)


async def dismiss(_site: Site, _request: Request) -> Reply:
    """Hide the banner about activity data from this browser for a month."""
    cookie = f"{DISMISSED}=yes; Path=/; Max-Age=2592000; HttpOnly; SameSite=Lax"
    return see_other("/", **{"set-cookie": cookie})


async def service_accounts(site: Site, request: Request) -> Reply:
    """Show the service accounts that completed grants have left."""
    rows, following = await site.accounts.page(after=request.query.get("after", ""), service_accounts=True)
    return page(site, request, "service_accounts.html", rows=rows, following=following)


async def grant_access(site: Site, request: Request) -> Reply:
    """Show the form that starts a grant, with what will be asked and made."""
    return page(
        site,
        request,
        "grant_access.html",
        account_id=request.query.get("account_id", ""),
        account_name=request.query.get("account_name", ""),
        policies=site.settings.policy_names,
        command_id=new_secret(),
    )


async def start(site: Site, request: Request) -> Reply:
    """Start the grant that a form asks for, and show it; where the account has one already, that one."""
    fields = request.form()
    content: dict[str, Any] = {name: values[-1] for name, values in fields.items() if name not in _NOT_IN_COMMANDS}
    content |= {"type": "grant.start", "directions": fields.get("directions", [])}
    content["scope"] = _scope(content, fields.get("domains", [""])[-1])
    try:
        return await _execute(site, request, content)
    except AccountHasGrantError as error:
        return see_other(grant_page(error.grant_id))


async def grant(site: Site, request: Request) -> Reply:
    """Show a grant: each step with its state, its clock and what a person can do."""
    return page(site, request, "grant.html", grant=await site.view_of(request))


async def live(site: Site, request: Request) -> Reply:
    """Show the part of a grant's page that changes."""
    view = await site.view_of(request)
    return if_changed(page(site, request, "live.html", grant=view), request)


async def grant_command(site: Site, request: Request) -> Reply:
    """Carry out the command in a form of a grant's page, on that grant alone."""
    content = {name: values[-1] for name, values in request.form().items() if name not in _NOT_IN_COMMANDS}
    return await _execute(site, request, {**content, "grant_id": request.route["grant_id"]})


async def static(_site: Site, request: Request) -> Reply:
    """Give a file of the console."""
    path = CONSOLE / "static" / request.route["file"]
    if path.suffix not in CONTENT_TYPES or path.parent != CONSOLE / "static" or not path.is_file():
        return Reply(404, "not found", "text/plain; charset=utf-8")
    headers = {"cache-control": "public, max-age=300"}
    return Reply(200, path.read_bytes(), CONTENT_TYPES[path.suffix], headers)


_NOT_IN_COMMANDS = frozenset({"csrf", "directions", "domains"})
"""Fields of forms that a command does not have as they are."""


async def _execute(site: Site, request: Request, content: dict[str, Any]) -> Reply:
    """Carry out a command and show its grant."""
    try:
        command = messages.read_command({**content, "requested_by": request.visitor.name or "the tenant's administrator"})
        return see_other(grant_page(await site.commands.execute(command)))
    except CommandReusedError as error:
        raise ProblemError(problem=problem("command_reused")) from error
    except messages.MessageError as error:
        raise ProblemError(problem=problem("form_unreadable", cause=f"The form can't be taken: {error}")) from error


def _scope(content: dict[str, Any], domains: str) -> dict[str, Any]:
    """Return the scope of a form, taking its fields out of ``content``."""
    names = [name.strip().lower() for name in domains.replace(",", " ").split()]
    return {"kind": content.pop("scope", "all_domains"), "domains": names, "group": content.pop("group", "").strip()}
