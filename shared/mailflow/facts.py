"""The facts of the mail flow that verification reads back from the tenant: each has an owner step that puts it right."""

from shared.mailflow.checks.catalogue import judge, unsettled
from shared.mailflow.desired import Request, desired_objects, desired_settings
from shared.mailflow.diff import Difference, differences, setting_differences
from shared.mailflow.tenant import TenantObjects


def missing_facts(request: Request, tenant: TenantObjects) -> list[Difference]:
    """Return every fact that does not hold: objects, their properties and order, and the settings that preflight asked for."""
    objects = differences(desired_objects(request), tenant, request.grant_id, request.former_grants)
    settings = setting_differences(desired_settings(request), tenant)
    return [*objects, *settings, *unsettled(judge(request, tenant), request.intent.acknowledged)]
