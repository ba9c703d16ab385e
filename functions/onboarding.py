"""The onboarding link: an operator creates it, an administrator without an account in the console opens and uses it."""

import azure.functions as func

from functions.adapter import reply
from shared.web import onboarding

blueprint = func.Blueprint()


@blueprint.route(route="grants/{grant_id}/onboarding-link", methods=["POST"])
async def console_onboarding_link(req: func.HttpRequest) -> func.HttpResponse:
    """Create a grant's onboarding link and show it once."""
    return await reply("console_onboarding_link", req, onboarding.create)


@blueprint.route(route="onboarding/{token}", methods=["GET"])
async def onboarding_open(req: func.HttpRequest) -> func.HttpResponse:
    """Show what an onboarding link is about."""
    return await reply("onboarding_open", req, onboarding.open_link)


@blueprint.route(route="onboarding/{token}", methods=["POST"])
async def onboarding_accept(req: func.HttpRequest) -> func.HttpResponse:
    """Use an onboarding link in this browser."""
    return await reply("onboarding_accept", req, onboarding.accept)
