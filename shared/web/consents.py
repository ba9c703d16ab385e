"""The views of the way through Microsoft: a person's step is begun, a tenant given back or taken over; redirects come back."""

from shared.consent.state import Purpose
from shared.domain.grant import Grant
from shared.domain.problems import ProblemError, problem
from shared.domain.steps import StepName
from shared.web.http import Reply, Request, see_other
from shared.web.redirects import grant_page
from shared.web.site import Site, page


async def begin(site: Site, request: Request) -> Reply:
    """Begin a person's step: send the browser to Microsoft's sign-in."""
    step = _step(request)
    grant_id = (await site.load(request)).grant.grant_id
    return see_other(await site.consent.begin(grant_id, step, request.browser))


async def transfer(site: Site, request: Request) -> Reply:
    """Begin a person's step so that the tenant is taken from another account that has it: show the way to a new sign-in."""
    step = _step(request)
    grant = (await site.load(request)).grant
    location = await site.consent.begin(grant.grant_id, step, request.browser, purpose=Purpose.TRANSFER)
    return _onward(site, request, grant, location)


async def release(site: Site, request: Request) -> Reply:
    """Begin to give a grant's tenant back: show the way to a new sign-in."""
    grant = (await site.load(request)).grant
    return _onward(site, request, grant, await site.consent.begin_release(grant.grant_id, request.browser))


async def signed_in(site: Site, request: Request) -> Reply:
    """Take the redirect of a sign-in."""
    return see_other(await site.consent.signed_in(request.query, request.browser))


async def consented(site: Site, request: Request) -> Reply:
    """Take the redirect of an admin consent."""
    return see_other(await site.consent.consented(request.query, request.browser))


def _step(request: Request) -> StepName:
    """Return the step that the route names. Raises ProblemError where there is none of that name."""
    try:
        return StepName(request.route["step"])
    except ValueError:
        raise ProblemError(problem=problem("grant_unknown")) from None


def _onward(site: Site, request: Request, grant: Grant, location: str) -> Reply:
    """Show a link to Microsoft, or send the browser to the grant's page where there is nothing to do.

    A form's answer can't send the browser to another site: Chromium holds redirects, too, against ``form-action`` of the content
    security policy (https://www.w3.org/TR/CSP3/, 6.4.1).
    """
    back = grant_page(grant.grant_id)
    if location == back:
        return see_other(back)
    return page(
        site,
        request,
        "to_microsoft.html",
        is_release="step" not in request.route,
        account_name=grant.account_name,
        tenant_id=grant.tenant_id,
        location=location,
        back=back,
    )
