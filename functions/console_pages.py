"""The console's pages."""

import azure.functions as func

from functions.adapter import reply
from shared.web import pages

blueprint = func.Blueprint()


@blueprint.route(route="", methods=["GET"])
async def console_dashboard(req: func.HttpRequest) -> func.HttpResponse:
    """Show the service status of every account."""
    return await reply("console_dashboard", req, pages.dashboard)


@blueprint.route(route="dismiss", methods=["POST"])
async def console_dismiss(req: func.HttpRequest) -> func.HttpResponse:
    """Hide a banner from this browser."""
    return await reply("console_dismiss", req, pages.dismiss)


@blueprint.route(route="grant-access", methods=["GET"])
async def console_grant_access(req: func.HttpRequest) -> func.HttpResponse:
    """Show the form that starts a grant."""
    return await reply("console_grant_access", req, pages.grant_access)


@blueprint.route(route="grant-access", methods=["POST"])
async def console_start(req: func.HttpRequest) -> func.HttpResponse:
    """Start the grant that a form asks for."""
    return await reply("console_start", req, pages.start)


@blueprint.route(route="grants/{grant_id}", methods=["GET"])
async def console_grant(req: func.HttpRequest) -> func.HttpResponse:
    """Show one grant."""
    return await reply("console_grant", req, pages.grant)


@blueprint.route(route="grants/{grant_id}/live", methods=["GET"])
async def console_live(req: func.HttpRequest) -> func.HttpResponse:
    """Show what changes of one grant, for its page to replace."""
    return await reply("console_live", req, pages.live)


@blueprint.route(route="grants/{grant_id}/history", methods=["GET"])
async def console_history(req: func.HttpRequest) -> func.HttpResponse:
    """Show the audit events of one grant."""
    return await reply("console_history", req, pages.history)


@blueprint.route(route="grants/{grant_id}/plan", methods=["GET"])
async def console_plan(req: func.HttpRequest) -> func.HttpResponse:
    """Show the plan of one grant's mail flow."""
    return await reply("console_plan", req, pages.plan)


@blueprint.route(route="grants/{grant_id}/remove", methods=["GET"])
async def console_remove(req: func.HttpRequest) -> func.HttpResponse:
    """Show what it means to take everything back from a tenant."""
    return await reply("console_remove", req, pages.remove)


@blueprint.route(route="grants/{grant_id}/commands", methods=["POST"])
async def console_grant_command(req: func.HttpRequest) -> func.HttpResponse:
    """Carry out the command in a form of a grant's page."""
    return await reply("console_grant_command", req, pages.grant_command)


@blueprint.route(route="grants/{grant_id}/role-group.ps1", methods=["GET"])
async def console_role_script(req: func.HttpRequest) -> func.HttpResponse:
    """Give the script that makes a role group in Exchange Online."""
    return await reply("console_role_script", req, pages.role_script)


@blueprint.route(route="static/{file}", methods=["GET"])
async def console_static(req: func.HttpRequest) -> func.HttpResponse:
    """Give a file of the console."""
    return await reply("console_static", req, pages.static)
