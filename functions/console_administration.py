"""The console's pages under Administration, and the one that a tenant is given back by."""

import azure.functions as func

from functions.adapter import reply
from shared.web import administration

blueprint = func.Blueprint()


@blueprint.route(route="service-accounts", methods=["GET"])
async def console_service_accounts(req: func.HttpRequest) -> func.HttpResponse:
    """Show the service accounts."""
    return await reply("console_service_accounts", req, administration.service_accounts)


@blueprint.route(route="service-accounts/{grant_id}", methods=["GET"])
async def console_service_account(req: func.HttpRequest) -> func.HttpResponse:
    """Show one service account, and what can be done about its access."""
    return await reply("console_service_account", req, administration.service_account)


@blueprint.route(route="permissions", methods=["GET"])
async def console_permissions(req: func.HttpRequest) -> func.HttpResponse:
    """Show every permission, with the calls that it is for."""
    return await reply("console_permissions", req, administration.permissions)


@blueprint.route(route="grants/{grant_id}/release", methods=["GET"])
async def console_release(req: func.HttpRequest) -> func.HttpResponse:
    """Show what it means to give a tenant back."""
    return await reply("console_release", req, administration.release)
