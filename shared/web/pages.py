"""The views of the console's pages."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from shared import messages
from shared.commands import AccountHasGrantError, CommandReusedError
from shared.consent.state import new_secret
from shared.domain.grant import BY_HAND_BECAUSE, MAXIMUM_USERS, Direction, Grant, RoleMode, ScopeKind
from shared.domain.problems import ProblemError, problem
from shared.domain.steps import STEPS, StepName, StepState
from shared.mailflow.desired import planned_objects
from shared.mailflow.role_script import role_group_script
from shared.ports import AccountRow
from shared.web import access, mailflow, role, views
from shared.web.http import Reply, Request, if_changed, see_other
from shared.web.redirects import grant_page
from shared.web.site import Site, page

DISMISSED = "grantline_activity_banner"
"""The cookie of a browser that wants to hear no more of activity data."""
STATIC = Path(__file__).parents[2] / "console" / "static"
ASKED = (
    ("mail_flow", "Step 1: to configure the Exchange mail flow", "Asked by the mail-flow application when you grant permission."),
    (
        "role_helper",
        "Step 2: to assign the Exchange Administrator role",
        "Asked by the role helper, if the role is to be assigned for you. The administrator's sign-in is used for this alone.",
    ),
    (
        "role_assigner",
        "Step 2, by an application permission",
        "Asked by the role assigner in place of the role helper, only if you choose that way.",
    ),
    ("directory", "Step 3: to sync users and domains and to access mailboxes", "Asked by the directory application."),
)
"""The applications that a grant asks permissions for: name, title, when."""
APPLICATIONS = ("mail_flow", "role_helper", "role_assigner", "directory", "activity")
"""Every application that an administrator may be asked for, in the order in which people read them."""
SERVICE_ACCOUNTS = "service-accounts"
"""Where a form of a service account's page leads back to."""
STATES = (
    "needs_attention",
    "waiting_for_person",
    "in_progress",
    "completed",
    "protecting",
    "paused",
    "removing",
    "removed",
    "released",
    "not_granted",
)
"""The states of accounts, in the order in which they want to be looked at."""
ACTIONS = {"needs_attention": "Fix", "waiting_for_person": "Continue", "in_progress": "Continue"}
"""What an operator does about a grant, by its state; View is for all others."""
MOVING = frozenset({StepState.QUEUED, StepState.RUNNING, StepState.WAITING})
REMOVAL_STEPS = frozenset(name for name, each in STEPS.items() if each.is_removal)
LONGEST_SEARCH = 2000
"""How long a search or a page's token may be, in characters."""
EVENTS = 100
"""How many audit events one page shows."""
CONTENT_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


async def dashboard(site: Site, request: Request) -> Reply:
    """Show the service status: a line for each account, one storage page a screen."""
    name, state, after = (request.query.get(each, "")[:LONGEST_SEARCH] for each in ("name", "state", "after"))
    rows, following = await site.accounts.page(after=after, state=state if state in STATES else "", name=name)
    kept = {key: value for key, value in (("name", name), ("state", state)) if value}
    return page(
        site,
        request,
        "dashboard.html",
        rows=rows,
        now=site.commands.engine.clock(),
        name=name,
        state=state,
        after=after,
        states=STATES,
        actions=ACTIONS,
        counts=_counted(await site.accounts.counts()),
        banner=_banner(site, request, rows),
        address=address("/", kept, after),
        first=address("/", kept),
        following=address("/", kept, following) if following else "",
    )


async def dismiss(site: Site, _request: Request) -> Reply:
    """Hide the banner about activity data from this browser for a month."""
    secure = "; Secure" if site.settings.public_url.startswith("https://") else ""
    cookie = f"{DISMISSED}=yes; Path=/; Max-Age=2592000; HttpOnly; SameSite=Lax{secure}"
    return see_other("/", **{"set-cookie": cookie})


async def grant_access(site: Site, request: Request) -> Reply:
    """Show the form that starts a grant, with all that will be asked and made."""
    return _form(site, request, {name: request.query.get(name, "") for name in ("account_id", "account_name")})


def _form(site: Site, request: Request, given: Mapping[str, Any], fault: str = "") -> Reply:
    """Return the form with what was ``given``, and what is wrong with the chosen people at their field."""
    ways = role.ways(site.settings)
    return page(
        site,
        request,
        "grant_access.html",
        status=400 if fault else 200,
        given={**_UNTOUCHED, "role_mode": ways[0].mode, **given},
        fault=fault,
        most_people=MAXIMUM_USERS,
        policies=site.settings.policy_names,
        command_id=new_secret(),
        ways=ways,
        asked=[
            {"title": title, "when": when, "permissions": site.microsoft.identity.asked_permissions(application)}
            for application, title, when in ASKED
            if application != "role_assigner" or site.settings.offers_role_assigner
        ],
        planned=planned_objects(site.settings),
    )


_UNTOUCHED = {
    **dict.fromkeys(("account_id", "account_name", "tenant", "domains", "group", "users", "policy"), ""),
    "directions": list(Direction),
    "scope": ScopeKind.ALL_DOMAINS,
}
"""The form's fields before anybody has filled them in; the first policy and the first way to the role stand chosen."""


async def start(site: Site, request: Request) -> Reply:
    """Start the grant that a form asks for, and show it; where the account has one already, that one."""
    fields = request.form()
    given: dict[str, Any] = {name: values[-1] for name, values in fields.items()} | {"directions": fields.get("directions", [])}
    people = [name for name in _BETWEEN.split(given.get("users", "")) if name]
    fault = _fault_of_people(given.get("scope", ""), people)
    if fault:
        return _form(site, request, given, fault)
    content = {name: value for name, value in given.items() if name not in _NOT_IN_COMMANDS}
    content |= {"type": "grant.start", "directions": given["directions"]}
    content["scope"] = _scope(content, given.get("domains", ""), people)
    content["tenant_id"] = await site.tenant_of(content.pop("tenant", ""))
    try:
        return await _execute(site, request, content)
    except AccountHasGrantError as error:
        return see_other(grant_page(error.grant_id))


async def grant(site: Site, request: Request) -> Reply:
    """Show a grant: each step with its state, its clock and what a person can do."""
    return page(site, request, "grant.html", **await _shown(site, request))


async def live(site: Site, request: Request) -> Reply:
    """Show the part of a grant's page that changes."""
    return if_changed(page(site, request, "live.html", **await _shown(site, request)), request)


async def _shown(site: Site, request: Request) -> dict[str, Any]:
    """Return what the templates show of a grant."""
    stored = (await site.load(request)).grant
    is_at_rest = stored.is_complete or stored.state in views.AT_REST
    return {
        **await shown_grant(site, request, stored),
        "announcement": views.announcement(stored),
        "is_live": not is_at_rest or any(step.state in MOVING for step in stored.steps.values()),
        "offers_activity": site.settings.offers_activity,
        "receipt": await site.receipt_of(stored) if views.is_granted(stored) else None,
        "checked": await site.findings_of(stored),
        "proof": await site.proof_of(stored),
        "awaits_approval": mailflow.awaits_approval(stored),
        "removal_steps": REMOVAL_STEPS,
        "removal": await site.removal_of(stored) if stored.intent.is_removed else None,
        **_role_shown(site, stored),
    }


async def shown_grant(site: Site, request: Request, stored: Grant) -> dict[str, Any]:
    """Return what the templates of every page about one grant show."""
    view = await site.view_of_grant(stored)
    return {
        "grant": view,
        "steps": {step["name"]: step for step in view["steps"]},
        "consents": {application: views.consent_view(stored, name) for name, application in views.CONSENTS.items()},
        "may_act": access.RANKS.get(request.visitor.role, 0) != access.RANKS[access.Role.VIEWER],
        "asked": {name: site.microsoft.identity.asked_permissions(name) for name in APPLICATIONS},
        "expiry": "" if view["role"]["end"] in ("", role.NO_END) else role.EXPIRY,
        "released": _over(stored),
        "start_again": address("/grant-access", {"account_id": stored.account_id, "account_name": stored.account_name}),
    }


def _over(stored: Grant) -> views.View | None:
    """Return why nothing is done for a grant any more; None while it lives."""
    code = "grant_removed" if stored.intent.is_removed else "tenant_released"
    return views.problem_view(problem(code)) if stored.released_at else None


def _role_shown(site: Site, stored: Grant) -> dict[str, Any]:
    """Return what the templates show of the ways to the role."""
    because = stored.steps[StepName.ROLE_ASSIGNMENT].facts.get(BY_HAND_BECAUSE)
    names = {"product": site.settings.product_name, "account": stored.account_name}
    return {
        "ways": role.ways(site.settings),
        "because": views.problem_view(problem(because)) if because else None,
        "app_id": site.microsoft.sign_in.client_id("mail_flow"),
        "roles_page": site.microsoft.sign_in.roles_page(),
        "justification": site.settings.role_justification.format(**names),
        "script": _script(site, stored) if stored.role_mode is RoleMode.ROLE_GROUP else "",
    }


def _script(site: Site, stored: Grant) -> str:
    """Return the script that makes the role group; "" before the consent, which makes the application known to the tenant."""
    facts = stored.steps[StepName.MAIL_FLOW_CONSENT].facts
    if "object_id" not in facts:
        return ""
    return role_group_script(facts["client_id"], facts["object_id"], site.settings.product_name)


async def role_script(site: Site, request: Request) -> Reply:
    """Give the script that makes the role group as a file; where it can't be made yet, the grant's page."""
    stored = (await site.load(request)).grant
    script = _script(site, stored)
    if not script:
        return see_other(grant_page(stored.grant_id))
    headers = {"content-disposition": 'attachment; filename="exchange-role-group.ps1"'}
    return Reply(200, script, "text/plain; charset=utf-8", headers)


async def plan(site: Site, request: Request) -> Reply:
    """Show the newest plan of a grant: what it changes, and what becomes of messages then."""
    stored = (await site.load(request)).grant
    shown = await shown_grant(site, request, stored)
    return page(site, request, "plan.html", **shown, plan=await site.plan_of(stored))


async def remove(site: Site, request: Request) -> Reply:
    """Show what it means to take everything back, before anybody asks; where there is nothing to take, the grant's page."""
    stored = (await site.load(request)).grant
    if stored.is_ending or not stored.tenant_id:
        return see_other(grant_page(stored.grant_id))
    return page(site, request, "remove.html", **await shown_grant(site, request, stored))


async def history(site: Site, request: Request) -> Reply:
    """Show the audit events of a grant, oldest first."""
    stored = (await site.load(request)).grant
    text = request.query.get("after", "")
    after = int(text) if text.isascii() and text.isdigit() and len(text) < len(str(2**31)) else 0
    events = await site.grants.events(stored.grant_id, after, limit=EVENTS + 1)
    return page(
        site,
        request,
        "history.html",
        grant_id=stored.grant_id,
        account_name=stored.account_name,
        events=[views.event_lines(event) for event in events[:EVENTS]],
        after=after,
        following=events[EVENTS - 1].seq if len(events) > EVENTS else "",
    )


async def grant_command(site: Site, request: Request) -> Reply:
    """Carry out the command in a form of a grant's page, on that grant alone."""
    content = {name: values[-1] for name, values in request.form().items() if name not in _NOT_IN_COMMANDS}
    reply = await _execute(site, request, {**content, "grant_id": request.route["grant_id"]})
    is_from_list = request.form().get("back") == [SERVICE_ACCOUNTS]
    return see_other(f"/{SERVICE_ACCOUNTS}/{request.route['grant_id']}") if is_from_list else reply


async def static(_site: Site, request: Request) -> Reply:
    """Give a file of the console."""
    path = STATIC / request.route["file"]
    if path.suffix not in CONTENT_TYPES or path.parent != STATIC or not path.is_file():
        return Reply(404, "not found", "text/plain; charset=utf-8")
    headers = {"cache-control": "public, max-age=300"}
    return Reply(200, path.read_bytes(), CONTENT_TYPES[path.suffix], headers)


_NOT_IN_COMMANDS = frozenset({"csrf", "directions", "domains", "users", "back"})
"""Fields of forms that a command does not have as they are."""


async def _execute(site: Site, request: Request, content: dict[str, Any]) -> Reply:
    """Carry out a command and show its grant."""
    try:
        command = messages.read_command({**content, "requested_by": request.visitor.name or "the tenant's administrator"})
        return see_other(grant_page(await site.execute(request, command)))
    except CommandReusedError as error:
        raise ProblemError(problem=problem("command_reused")) from error
    except messages.MessageError as error:
        raise ProblemError(problem=problem("form_unreadable", cause=f"The form can't be taken: {error}")) from error


def _banner(site: Site, request: Request, rows: Sequence[AccountRow]) -> dict[str, Any] | None:
    """Return what the banner about activity data shows; None where nobody on the screen could grant it, or it was dismissed."""
    asking = [row for row in rows if row.asks_activity]
    if not asking or not site.settings.offers_activity or request.cookie(DISMISSED):
        return None
    begin = f"{grant_page(asking[0].grant_id)}/steps/{StepName.ACTIVITY_CONSENT}/begin"
    permissions = site.microsoft.identity.asked_permissions("activity")
    return {"permissions": permissions, "link": begin if len(asking) == 1 else "/service-accounts"}


def _counted(snapshot: tuple[Mapping[str, int], datetime] | None) -> dict[str, Any] | None:
    """Return the counters of the timer's snapshot, in the order of ``STATES``."""
    if snapshot is None:
        return None
    counts, at = snapshot
    return {"all": sum(counts.values()), "states": {state: counts.get(state, 0) for state in STATES}, "at": at}


def address(path: str, query: Mapping[str, str], after: str = "") -> str:
    """Return the address of a page of a list."""
    wanted = {**query, **({"after": after} if after else {})}
    return f"{path}?{urlencode(wanted)}" if wanted else path


def _scope(content: dict[str, Any], domains: str, people: Sequence[str]) -> dict[str, Any]:
    """Return the scope of a form, taking its fields out of ``content``."""
    names = [name.strip().lower() for name in domains.replace(",", " ").split()]
    chosen = {"domains": names, "group": content.pop("group", "").strip(), "users": list(people)}
    return {"kind": content.pop("scope", "all_domains"), **chosen}


_BETWEEN = re.compile(r"[\s,;]+")
"""What stands between people in the form: line ends, and what lists of addresses have where they are copied from elsewhere."""
_TOLD, _TOLD_CHARACTERS = 5, 80
"""How many wrong addresses are told, and how much of each."""


def _fault_of_people(scope: str, people: Sequence[str]) -> str:
    """Return what is wrong with the people that a form names, to be told at their field; "" when nothing is."""
    if scope != ScopeKind.USERS:
        return "People are entered here, but not chosen above: choose Selected people, or empty this field." if people else ""
    if not people:
        return "Enter at least one address."
    wrong = [name for name in people if not messages.is_person_name(name)]
    if wrong:
        more = f" and {len(wrong) - _TOLD} more" if len(wrong) > _TOLD else ""
        told = ", ".join(name if len(name) <= _TOLD_CHARACTERS else f"{name[:_TOLD_CHARACTERS]}…" for name in wrong[:_TOLD])
        return f"No user principal name and no e-mail address: {told}{more}."
    count = len(messages.folded_people(people))
    too_many = f"{count} people are entered, and at most {MAXIMUM_USERS} can be: choose a mail-enabled group for more."
    return too_many if count > MAXIMUM_USERS else ""
