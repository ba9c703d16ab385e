"""The resources that applications ask permissions for, with their permission ids, read from `resources.json`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter

GRAPH = "00000003-0000-0000-c000-000000000000"
EXCHANGE = "00000002-0000-0ff1-ce00-000000000000"
MANAGEMENT = "c5393580-f805-4401-95e8-94b7a6ef2fc2"
"""Application ids of Microsoft Graph, Office 365 Exchange Online and Office 365 Management APIs."""


@dataclass(frozen=True, slots=True)
class Permission:
    """One permission that a resource offers."""

    id: str
    value: str
    kind: str
    """`Role` or `Scope`."""
    display_name: str
    admin_consent: bool
    """Whether only an administrator may consent (always so for a Role)."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource application of Microsoft's."""

    app_id: str
    display_name: str
    audience: str
    """What its access tokens name as `aud`."""
    identifiers: tuple[str, ...]
    """Identifier URIs by which a scope may name it, lower case, without a slash at the end."""
    permissions: tuple[Permission, ...]

    def by_id(self, identifier: str, kind: str) -> Permission | None:
        """The permission with this id and kind."""
        return next((each for each in self.permissions if each.id == identifier and each.kind == kind), None)

    def by_value(self, value: str, kind: str) -> Permission | None:
        """The permission with this name and kind, whatever the case."""
        return next((each for each in self.permissions if each.value.lower() == value.lower() and each.kind == kind), None)


_RESOURCES = TypeAdapter(list[Resource])


@cache
def resources() -> dict[str, Resource]:
    """All resources by application id."""
    data = json.loads(Path(__file__).with_name("resources.json").read_text("utf-8"))
    return {each.app_id: each for each in _RESOURCES.validate_python(data["resources"])}


def resource_named(identifier: str) -> Resource | None:
    """The resource with this identifier URI or application id."""
    name = identifier.rstrip("/").lower()
    return next((each for each in resources().values() if name == each.app_id or name in each.identifiers), None)
