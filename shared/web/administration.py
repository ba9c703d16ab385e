"""The views of Administration: service accounts with what can be done about their access, and the catalogue of permissions."""

from shared.domain.steps import StepName
from shared.web.http import Reply, Request, see_other
from shared.web.pages import APPLICATIONS, MOVING, SERVICE_ACCOUNTS, address, shown_grant
from shared.web.redirects import grant_page
from shared.web.site import Site, page


async def service_accounts(site: Site, request: Request) -> Reply:
    """Show the service accounts that completed grants have left."""
    after = request.query.get("after", "")
    rows, following = await site.accounts.page(after=after, service_accounts=True)
    return page(
        site,
        request,
        "service_accounts.html",
        rows=rows,
        after=after,
        following=address(f"/{SERVICE_ACCOUNTS}", {}, following) if following else "",
        offers_activity=site.settings.offers_activity,
    )


async def service_account(site: Site, request: Request) -> Reply:
    """Show one service account: its consents against what is needed, its role's end, the last check, and what can be done."""
    stored = (await site.load(request)).grant
    shown = await shown_grant(site, request, stored)
    watch = stored.steps[StepName.ACCESS_WATCH]
    return page(site, request, "service_account.html", **shown, watch=shown["steps"][watch.name], is_moving=watch.state in MOVING)


async def release(site: Site, request: Request) -> Reply:
    """Show what it means to give a tenant back, before anybody signs in for it; the grant's page, where there is none to give."""
    stored = (await site.load(request)).grant
    if stored.released_at or not stored.tenant_id:
        return see_other(grant_page(stored.grant_id))
    return page(site, request, "release.html", **await shown_grant(site, request, stored))


async def permissions(site: Site, request: Request) -> Reply:
    """Show every permission with the calls that it is for, from the one catalogue."""
    identity, settings = site.microsoft.identity, site.settings
    applications = [
        {
            "name": name,
            "permissions": identity.asked_permissions(name),
            "is_offered": getattr(settings, f"{name}_client_id") is not None,
        }
        for name in APPLICATIONS
    ]
    return page(site, request, "permissions.html", applications=applications)
