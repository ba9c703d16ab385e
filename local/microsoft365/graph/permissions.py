"""Who may call what: the table `permissions.json`, derived by `tools/derive_graph_permissions.py`, and its rules."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from local.microsoft365.graph.errors import denied
from local.microsoft365.tokens import AccessToken


@dataclass(frozen=True, slots=True)
class PermissionTable:
    """The permissions that work for each operation, the properties that some show only, and the roles that people need."""

    application: Mapping[str, frozenset[str]]
    delegated: Mapping[str, frozenset[str]]
    visible: Mapping[str, Mapping[str, frozenset[str]]]
    """Resource type, then permission, then the properties that it shows; other permissions show all."""
    delegated_roles: Mapping[str, frozenset[str]]
    """Role template ids, one of which a signed-in person needs for the operation."""
    departures: Mapping[str, str]
    """Operations whose permissions differ from Microsoft's data, with the reason."""


@cache
def permission_table() -> PermissionTable:
    """Return the committed table."""
    data = json.loads(Path(__file__).with_name("permissions.json").read_text(encoding="utf-8"))
    operations = data["operations"]
    return PermissionTable(
        application={name: frozenset(lists["application"]) for name, lists in operations.items()},
        delegated={name: frozenset(lists["delegated"]) for name, lists in operations.items()},
        visible={
            resource: {permission: frozenset(names) for permission, names in rows.items()}
            for resource, rows in data["visible"].items()
        },
        delegated_roles={name: frozenset(roles) for name, roles in data["delegated_roles"].items()},
        departures=data["departures"],
    )


def effective_permissions(token: AccessToken, operation: str) -> frozenset[str]:
    """Return those of the token's permissions that work for the operation; empty when none does."""
    table = permission_table()
    if token.is_app_only:
        return token.roles & table.application[operation]
    roles = table.delegated_roles.get(operation)
    if roles is not None and not token.wids & roles:
        return frozenset()
    return token.scopes & table.delegated[operation]


def authorize(token: AccessToken, operation: str) -> frozenset[str]:
    """Return the permissions that let the token call the operation; raises GraphError (403) when there are none."""
    effective = effective_permissions(token, operation)
    if not effective:
        raise denied()
    return effective


def visible_properties(resource: str, effective: frozenset[str]) -> frozenset[str] | None:
    """Return the only properties that these permissions show of a resource type; None when they show all."""
    limited = permission_table().visible.get(resource, {})
    if not effective or not effective <= limited.keys():
        return None if effective else frozenset()
    shown: frozenset[str] = frozenset()
    for permission in effective:
        shown |= limited[permission]
    return shown
