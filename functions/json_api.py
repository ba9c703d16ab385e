"""The JSON API, and the health check."""

import azure.functions as func

from functions.adapter import reply
from shared.web import api, onboarding

blueprint = func.Blueprint()


@blueprint.route(route="api/v1/accounts", methods=["GET"])
async def api_accounts(req: func.HttpRequest) -> func.HttpResponse:
    """List accounts."""
    return await reply("api_accounts", req, api.accounts)


@blueprint.route(route="api/v1/service-accounts", methods=["GET"])
async def api_service_accounts(req: func.HttpRequest) -> func.HttpResponse:
    """List the service accounts that completed grants have left."""
    return await reply("api_service_accounts", req, api.service_accounts)


@blueprint.route(route="api/v1/summary", methods=["GET"])
async def api_summary(req: func.HttpRequest) -> func.HttpResponse:
    """Count the accounts in each state."""
    return await reply("api_summary", req, api.summary)


@blueprint.route(route="api/v1/grants", methods=["POST"])
async def api_start(req: func.HttpRequest) -> func.HttpResponse:
    """Start a grant."""
    return await reply("api_start", req, api.start)


@blueprint.route(route="api/v1/grants/{grant_id}", methods=["GET"])
async def api_grant(req: func.HttpRequest) -> func.HttpResponse:
    """Show a grant's live state."""
    return await reply("api_grant", req, api.grant)


@blueprint.route(route="api/v1/grants/{grant_id}/receipt", methods=["GET"])
async def api_receipt(req: func.HttpRequest) -> func.HttpResponse:
    """Show what a grant has come to."""
    return await reply("api_receipt", req, api.receipt)


@blueprint.route(route="api/v1/grants/{grant_id}/events", methods=["GET"])
async def api_events(req: func.HttpRequest) -> func.HttpResponse:
    """List a grant's audit events."""
    return await reply("api_events", req, api.events)


@blueprint.route(route="api/v1/grants/{grant_id}/findings", methods=["GET"])
async def api_findings(req: func.HttpRequest) -> func.HttpResponse:
    """Show what was found before a grant's mail flow is changed."""
    return await reply("api_findings", req, api.findings)


@blueprint.route(route="api/v1/grants/{grant_id}/plan", methods=["GET"])
async def api_plan(req: func.HttpRequest) -> func.HttpResponse:
    """Show the newest plan of a grant's mail flow."""
    return await reply("api_plan", req, api.plan)


@blueprint.route(route="api/v1/grants/{grant_id}/proof", methods=["GET"])
async def api_proof(req: func.HttpRequest) -> func.HttpResponse:
    """Show what test messages have proved of a grant's mail flow."""
    return await reply("api_proof", req, api.proof)


@blueprint.route(route="api/v1/grants/{grant_id}/removal", methods=["GET"])
async def api_removal(req: func.HttpRequest) -> func.HttpResponse:
    """Show how the removal of a grant stands."""
    return await reply("api_removal", req, api.removal)


@blueprint.route(route="api/v1/grants/{grant_id}/commands", methods=["POST"])
async def api_grant_command(req: func.HttpRequest) -> func.HttpResponse:
    """Do something with a grant."""
    return await reply("api_grant_command", req, api.grant_command)


@blueprint.route(route="api/v1/openapi.json", methods=["GET"])
async def api_openapi(req: func.HttpRequest) -> func.HttpResponse:
    """Describe the API."""
    return await reply("api_openapi", req, api.openapi)


@blueprint.route(route="api/v1/grants/{grant_id}/onboarding-link", methods=["POST"])
async def api_onboarding_link(req: func.HttpRequest) -> func.HttpResponse:
    """Create a grant's onboarding link."""
    return await reply("api_onboarding_link", req, onboarding.api_create)


@blueprint.route(route="healthz", methods=["GET"])
async def healthz(req: func.HttpRequest) -> func.HttpResponse:
    """Tell that the application runs and its storage answers."""
    return await reply("healthz", req, api.healthz)
