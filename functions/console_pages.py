"""The console's pages."""

import azure.functions as func

from functions.adapter import reply
from shared.web import site

blueprint = func.Blueprint()


@blueprint.route(route="", methods=["GET"])
async def console_dashboard(req: func.HttpRequest) -> func.HttpResponse:
    """Show the service status of every account."""
    return await reply("console_dashboard", req, site.dashboard)


@blueprint.route(route="grant-access", methods=["GET"])
async def console_grant_access(req: func.HttpRequest) -> func.HttpResponse:
    """Show the form that starts a grant."""
    return await reply("console_grant_access", req, site.grant_access)


@blueprint.route(route="commands", methods=["POST"])
async def console_command(req: func.HttpRequest) -> func.HttpResponse:
    """Carry out the command in a form."""
    return await reply("console_command", req, site.command)


@blueprint.route(route="grants/{grant_id}", methods=["GET"])
async def console_grant(req: func.HttpRequest) -> func.HttpResponse:
    """Show one grant."""
    return await reply("console_grant", req, site.grant)


@blueprint.route(route="static/{file}", methods=["GET"])
async def console_static(req: func.HttpRequest) -> func.HttpResponse:
    """Give a file of the console."""
    return await reply("console_static", req, site.static)
