"""The views of the JSON API, and the health check. Every answer of a GET has its entity tag."""

from shared.commands import AccountHasGrantError, CommandReusedError
from shared.domain.problems import ProblemError, problem
from shared.messages import Command, MessageError, StartGrant, read_command
from shared.web import schemas, views
from shared.web.http import Reply, Request, as_json, if_changed
from shared.web.reading import Reading, unreadable
from shared.web.site import Site

GRANTS = "/api/v1/grants"
LONGEST_ACTOR = 256
"""How much of a visitor's name is written down, in characters."""


async def accounts(site: Site, request: Request) -> Reply:
    """List accounts."""
    asked = Reading(request).query(schemas.AccountQuery)
    rows, following = await site.accounts.page(asked.count, asked.after, state=asked.state, name=asked.name)
    return _page(request, [views.account(row) for row in rows], following)


async def service_accounts(site: Site, request: Request) -> Reply:
    """List the service accounts that completed grants have left."""
    asked = Reading(request).query(schemas.ServiceAccountQuery)
    rows, following = await site.accounts.page(asked.count, asked.after, name=asked.name, service_accounts=True)
    return _page(request, [views.account(row) for row in rows], following)


async def summary(site: Site, request: Request) -> Reply:
    """Count the accounts in each state."""
    return if_changed(as_json(views.summary(await site.accounts.counts())), request)


async def start(site: Site, request: Request) -> Reply:
    """Start a grant."""
    reading = Reading(request)
    key = reading.key()
    wanted = reading.body(schemas.GrantRequest)
    return await _accept(site, request, StartGrant(command_id=key, requested_by=_actor(request), **wanted.model_dump()))


async def grant(site: Site, request: Request) -> Reply:
    """Show a grant's live state."""
    return if_changed(as_json(await site.view_of(request)), request)


async def receipt(site: Site, request: Request) -> Reply:
    """Show a grant's receipt: objects, permissions, changed settings, times."""
    return if_changed(as_json(await site.receipt_of((await site.load(request)).grant)), request)


async def events(site: Site, request: Request) -> Reply:
    """List a grant's audit events."""
    asked = Reading(request).query(schemas.EventQuery)
    grant_id = (await site.load(request)).grant.grant_id
    found = await site.grants.events(grant_id, asked.after, limit=asked.count + 1)
    shown = found[: asked.count]
    return _page(request, [views.event_view(event) for event in shown], shown[-1].seq if len(found) > len(shown) else None)


async def findings(site: Site, request: Request) -> Reply:
    """Show what the checks have found."""
    return if_changed(as_json(await site.findings_of((await site.load(request)).grant)), request)


async def plan(site: Site, request: Request) -> Reply:
    """Show the newest plan."""
    return if_changed(as_json(await site.plan_of((await site.load(request)).grant)), request)


async def proof(site: Site, request: Request) -> Reply:
    """Show what test messages have proved."""
    return if_changed(as_json(await site.proof_of((await site.load(request)).grant)), request)


async def removal(site: Site, request: Request) -> Reply:
    """Show how a removal stands."""
    return if_changed(as_json(await site.removal_of((await site.load(request)).grant)), request)


async def grant_command(site: Site, request: Request) -> Reply:
    """Do something with a grant."""
    grant_id = (await site.load(request)).grant.grant_id
    reading = Reading(request)
    key = reading.key()
    wanted = reading.body(schemas.CommandRequest)
    ours = {"command_id": key, "grant_id": grant_id, "requested_by": _actor(request)}
    return await _accept(site, request, read_command({**wanted.model_dump(), **ours}))


async def openapi(_site: Site, request: Request) -> Reply:
    """Describe this API (OpenAPI 3.1)."""
    from shared.web.openapi import document  # noqa: PLC0415 - the shapes are built for those who ask for them

    return if_changed(as_json(document()), request)


async def healthz(site: Site, _request: Request) -> Reply:
    """Tell that the application runs and its storage answers."""
    await site.accounts.page(count=1)
    return as_json({"status": "ok"})


def _page(request: Request, items: list[views.View], following: str | int | None) -> Reply:
    """Give a page of a list, with where the next one is; the last has no ``next``."""
    return if_changed(as_json({"items": items} | ({"next": following} if following else {})), request)


async def _accept(site: Site, request: Request, command: Command) -> Reply:
    """Carry out a command and give its grant's live state; what goes on from there, the grant's address tells."""
    try:
        grant_id = await site.execute(request, command)
    except AccountHasGrantError as error:
        raise ProblemError(problem=problem("account_has_grant"), more={"grant": f"{GRANTS}/{error.grant_id}"}) from error
    except CommandReusedError as error:
        raise ProblemError(problem=problem("command_reused")) from error
    except MessageError as error:
        raise unreadable([{"detail": str(error)}]) from error
    stored = await site.grants.load(grant_id)
    if stored is None:
        raise ProblemError(problem=problem("grant_unknown"))
    return as_json(await site.view_of_grant(stored.grant), status=202, location=f"{GRANTS}/{grant_id}")


def _actor(request: Request) -> str:
    """Return who is written down as having asked."""
    return request.visitor.name[:LONGEST_ACTOR].strip() or "the tenant's administrator"
