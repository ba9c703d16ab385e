"""What is there before anybody changes anything: the policies and settings of a new Exchange Online organization."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from local.microsoft365.exchange.errors import not_found
from local.microsoft365.exchange.objects import DOMAIN_CONTROLLER, AcceptedDomain, Call, get_objects, names

_CREATED = "2021-03-01T09:00:00.0000000Z"


@cache
def _read(name: str) -> Mapping[str, Any]:
    table: Mapping[str, Any] = json.loads(Path(__file__).with_name(name).read_text(encoding="utf-8"))
    return table


def _seeded(tenant_id: str, noun: str, properties: Mapping[str, Any]) -> dict[str, Any]:
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
        if noun != "OrganizationConfig":
            named = [dict(item) for item in items]
        state[noun] = [_seeded(tenant_id, noun, item) for item in named]
    return state


def _domain_view(tenant_id: str, domain: AcceptedDomain) -> dict[str, Any]:
    return _seeded(
        tenant_id,
        "AcceptedDomain",
        {
            "Name": domain.name,
            "DomainName": domain.name,
            "DomainType": "Authoritative",
            "Default": domain.is_default,
            "InitialDomain": domain.is_initial,
            "MatchSubDomains": False,
            "OutboundOnly": False,
            "PendingRemoval": False,
            "PendingCompletion": False,
            "SendingFromDomainDisabled": False,
            "SendingToDomainDisabled": False,
        },
    )


def get_accepted_domains(call: Call) -> list[dict[str, Any]]:
    """Get-AcceptedDomain: the verified domains of the tenant, all authoritative."""
    organization = call.organization
    views = [_domain_view(organization.tenant_id, domain) for domain in organization.accepted_domains()]
    found = [view for view in views if not call.identity or names(view, call.identity)]
    if call.identity and not found:
        raise not_found(call.identity, DOMAIN_CONTROLLER)
    return found


def get_content_filter_rules(call: Call) -> list[dict[str, Any]]:
    """Get-HostedContentFilterRule; State filters."""
    state = call.parameters.get("State")
    return [rule for rule in get_objects(call, "HostedContentFilterRule") if state in (None, rule["State"])]
