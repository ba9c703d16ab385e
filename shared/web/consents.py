"""The views of the way through Microsoft: a person's step is begun, and two redirects come back."""

from shared.domain.problems import ProblemError, problem
from shared.domain.steps import StepName
from shared.web.http import Reply, Request, see_other
from shared.web.site import Site


async def begin(site: Site, request: Request) -> Reply:
    """Begin a person's step: send the browser to Microsoft's sign-in."""
    try:
        step = StepName(request.route["step"])
    except ValueError:
        raise ProblemError(problem=problem("grant_unknown")) from None
    grant_id = (await site.load(request)).grant.grant_id
    return see_other(await site.consent.begin(grant_id, step, request.browser))


async def signed_in(site: Site, request: Request) -> Reply:
    """Take the redirect of a sign-in."""
    return see_other(await site.consent.signed_in(request.query, request.browser))


async def consented(site: Site, request: Request) -> Reply:
    """Take the redirect of an admin consent."""
    return see_other(await site.consent.consented(request.query, request.browser))
