"""The views of the JSON API, and the health check."""

from shared.web import views
from shared.web.http import Reply, Request, as_json
from shared.web.site import Site


async def grant(site: Site, request: Request) -> Reply:
    """Give a grant's live state."""
    return as_json(await site.view_of(request))


async def receipt(site: Site, request: Request) -> Reply:
    """Give a grant's receipt."""
    return as_json(views.receipt((await site.load(request)).grant))


async def healthz(site: Site, _request: Request) -> Reply:
    """Tell that the application runs and its storage answers."""
    await site.accounts.page(count=1)
    return as_json({"status": "ok"})
