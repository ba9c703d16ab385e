"""The JSON API, and the health check."""

import azure.functions as func

from functions.adapter import reply
from shared.web import api

blueprint = func.Blueprint()


@blueprint.route(route="api/v1/grants/{grant_id}", methods=["GET"])
async def api_grant(req: func.HttpRequest) -> func.HttpResponse:
    """Give a grant's live state."""
    return await reply("api_grant", req, api.grant)


@blueprint.route(route="api/v1/grants/{grant_id}/receipt", methods=["GET"])
async def api_receipt(req: func.HttpRequest) -> func.HttpResponse:
    """Give a grant's receipt."""
    return await reply("api_receipt", req, api.receipt)


@blueprint.route(route="healthz", methods=["GET"])
async def healthz(req: func.HttpRequest) -> func.HttpResponse:
    """Tell that the application runs and its storage answers."""
    return await reply("healthz", req, api.healthz)
