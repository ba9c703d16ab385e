"""The way through Microsoft: the start of a person's step, of a release or transfer, and the two redirects that come back."""

import azure.functions as func

from functions.adapter import reply
from shared.web import consents

blueprint = func.Blueprint()


@blueprint.route(route="grants/{grant_id}/steps/{step}/begin", methods=["GET"])
async def consent_begin(req: func.HttpRequest) -> func.HttpResponse:
    """Send the browser to Microsoft's sign-in."""
    return await reply("consent_begin", req, consents.begin)


@blueprint.route(route="grants/{grant_id}/steps/{step}/transfer", methods=["POST"])
async def consent_transfer(req: func.HttpRequest) -> func.HttpResponse:
    """Begin to take a tenant from the other account that has it."""
    return await reply("consent_transfer", req, consents.transfer)


@blueprint.route(route="grants/{grant_id}/release", methods=["POST"])
async def consent_release(req: func.HttpRequest) -> func.HttpResponse:
    """Begin to give a grant's tenant back."""
    return await reply("consent_release", req, consents.release)


@blueprint.route(route="signed-in", methods=["GET"])
async def consent_signed_in(req: func.HttpRequest) -> func.HttpResponse:
    """Take the redirect of a sign-in."""
    return await reply("consent_signed_in", req, consents.signed_in)


@blueprint.route(route="consented", methods=["GET"])
async def consent_consented(req: func.HttpRequest) -> func.HttpResponse:
    """Take the redirect of an admin consent."""
    return await reply("consent_consented", req, consents.consented)
