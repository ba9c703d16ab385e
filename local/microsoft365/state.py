"""The tenant's state as the control interface shows it: stable order, Graph's names, comparable across runs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any

from local.microsoft365 import exchange
from local.microsoft365.clock import timestamp
from local.microsoft365.model import Tenant
from local.microsoft365.naming import camel_case

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?")
_VOLATILE = exchange.VOLATILE - {"Guid"}
"""Times and the like. Ids are derived, so they agree across runs and stay."""
_COLLECTIONS = {
    "domains": "domains",
    "groups": "groups",
    "servicePrincipals": "service_principals",
    "roleAssignments": "role_assignments",
    "roleEligibilities": "role_eligibilities",
    "appRoleAssignments": "app_role_assignments",
    "oauth2PermissionGrants": "oauth2_permission_grants",
    "conditionalAccess": "conditional_access",
    "activitySubscriptions": "activity_subscriptions",
}
PARTS = (*_COLLECTIONS, "users", "exchange")
"""What can be asked for."""


def tenant_state(tenant: Tenant, parts: Iterable[str] = PARTS) -> dict[str, Any]:
    """The asked parts of the tenant as JSON values, each list sorted by a name that says what the object is."""
    head = {"id": tenant.id, "displayName": tenant.display_name, "defaultDomain": tenant.default_domain}
    return {"tenant": head, **{name: _part(tenant, name) for name in parts}}


def _part(tenant: Tenant, name: str) -> Any:
    if name == "exchange":
        return exchange.snapshot(tenant)
    if name == "users":
        return _objects(tenant.users)
    return _objects(getattr(tenant, _COLLECTIONS[name]).values())


def normalized(value: Any, labels: Mapping[str, str]) -> Any:
    """`value` without times, and with each text of `labels` replaced by its label: equal for two runs that did the same."""
    if isinstance(value, dict):
        kept = {key: each for key, each in value.items() if key not in _VOLATILE and not _is_time(each)}
        return {key: normalized(each, labels) for key, each in kept.items()}
    if isinstance(value, list):
        return [normalized(each, labels) for each in value]
    return _labelled(value, labels) if isinstance(value, str) else value


def _labelled(text: str, labels: Mapping[str, str]) -> str:
    for former, label in labels.items():
        text = text.replace(former, label)
    return text


def _is_time(value: object) -> bool:
    return isinstance(value, str) and _TIME.fullmatch(value) is not None


def _objects(objects: Iterable[Any]) -> list[dict[str, Any]]:
    return sorted((_object(each) for each in objects), key=_order)


def _object(item: Any) -> dict[str, Any]:
    return {camel_case(field.name): _value(getattr(item, field.name)) for field in fields(item)}


def _value(value: Any) -> Any:
    if isinstance(value, datetime):
        return timestamp(value)
    return list(value) if isinstance(value, tuple) else value


def _order(item: Mapping[str, Any]) -> tuple[str, str]:
    names = ("userPrincipalName", "appId", "name", "displayName", "principalId", "clientId")
    return next((str(item[name]) for name in names if name in item), ""), str(item.get("id", ""))
