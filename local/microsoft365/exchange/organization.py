"""The organization as a whole: what a new one holds, its settings, its customization, its audit log.

Rules: the pages of the cmdlets (github:MicrosoftDocs/office-docs-powershell). The words of a dehydrated organization's refusals
were recorded in github:Microsoft365DSC/Microsoft365DSC issue 136 and office-docs-powershell issues 6497 and 7519.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from local.microsoft365.exchange.errors import ExecutionError
from local.microsoft365.exchange.objects import Call, get_objects, merged, update

CONFIGURATION = "OrganizationConfig"
AUDIT_LOG = "AdminAuditLogConfig"
NEEDS_CUSTOMIZATION = frozenset({"Set-HostedConnectionFilterPolicy", "Set-HostedContentFilterPolicy"})
"""Cmdlets that a dehydrated organization refuses: the first is recorded, the second is known in the field."""
MAY_NEED_CUSTOMIZATION = frozenset({"New-TransportRule", "New-InboundConnector", "New-OutboundConnector"})
"""Refused as well where the named uncertainty `dehydrated_refuses_mail_flow` is switched on."""

_CREATED = "2021-03-01T09:00:00.0000000Z"
_DEHYDRATED = "Microsoft.Exchange.Configuration.Tasks.InvalidOperationInDehydratedContextException"
_INVALID_OPERATION = "System.InvalidOperationException"


@cache
def _read(name: str) -> Mapping[str, Any]:
    table: Mapping[str, Any] = json.loads(Path(__file__).with_name(name).read_text(encoding="utf-8"))
    return table


def seeded_nouns() -> frozenset[str]:
    """Return the nouns of which a new organization has objects, or has none but may be given some."""
    return frozenset(_read("seed.json"))


def seeded(tenant_id: str, noun: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object as it is in an organization from its beginning: the noun's defaults, and what the server adds."""
    name = properties["Name"]
    added = {
        "Identity": name,
        "Guid": str(uuid5(UUID(tenant_id), f"exchange/{noun}/{name}")),
        "WhenChangedUTC": _CREATED,
        "WhenCreatedUTC": _CREATED,
        "IsValid": True,
    }
    copied: dict[str, Any] = json.loads(json.dumps({**_read("seed_defaults.json").get(noun, {}), **properties}))
    return copied | added


def seed_objects(tenant_id: str, display_name: str, initial_domain: str) -> dict[str, list[dict[str, Any]]]:
    """Return the objects of a new organization by cmdlet noun; the same tenant id gives the same objects."""
    state: dict[str, list[dict[str, Any]]] = {}
    for noun, items in _read("seed.json").items():
        named = [{"Name": initial_domain, "DisplayName": display_name, **item} for item in items]
        if noun != CONFIGURATION:
            named = [dict(item) for item in items]
        state[noun] = [seeded(tenant_id, noun, item) for item in named]
    return state


def _configuration(call: Call) -> dict[str, Any]:
    return call.organization.objects(CONFIGURATION)[0]


def set_configuration(call: Call) -> list[dict[str, Any]]:
    """Set-OrganizationConfig: every parameter is a property of the same name."""
    configuration = _configuration(call)
    update(call, configuration, merged(configuration, call.parameters))
    return []


def check_customized(cmdlet: str, call: Call) -> None:
    """Raise ExecutionError when the cmdlet changes what a dehydrated organization shares with others.

    After Enable-OrganizationCustomization it goes on being refused until the customization has spread (`customization_delay`).
    """
    refused = NEEDS_CUSTOMIZATION
    if "dehydrated_refuses_mail_flow" in call.uncertain:
        refused |= MAY_NEED_CUSTOMIZATION
    if cmdlet not in refused:
        return
    spread = call.organization.customization.get("SpreadAt")
    if _configuration(call)["IsDehydrated"] or (spread and call.now < datetime.fromisoformat(spread)):
        message = (
            "The command you tried to run isn't currently allowed in your organization. To run this command, you first need to "
            "run the command: Enable-OrganizationCustomization."
        )
        raise ExecutionError(message, kind=_DEHYDRATED)


def enable_customization(call: Call) -> list[dict[str, Any]]:
    """Enable-OrganizationCustomization: once and for good; raises ExecutionError when it was run before."""
    configuration = _configuration(call)
    if not configuration["IsDehydrated"]:
        message = "This operation is not required. Organization is already enabled for customization."
        raise ExecutionError(message, kind=_INVALID_OPERATION)
    update(call, configuration, {"IsDehydrated": False})
    spread = call.now + timedelta(seconds=call.customization_delay)
    call.organization.customization["SpreadAt"] = spread.isoformat()
    return []


def get_audit_log(call: Call) -> list[dict[str, Any]]:
    """Get-AdminAuditLogConfig; whether the unified audit log takes events in is the tenant's own setting."""
    switched = {"UnifiedAuditLogIngestionEnabled": call.organization.unified_audit_log}
    return [{**item, **switched} for item in get_objects(call, AUDIT_LOG)]


def set_audit_log(call: Call) -> list[dict[str, Any]]:
    """Set-AdminAuditLogConfig: switches the unified audit log."""
    wanted = call.parameters.get("UnifiedAuditLogIngestionEnabled")
    if wanted is not None:
        call.organization.set_unified_audit_log(wanted)
    return []
