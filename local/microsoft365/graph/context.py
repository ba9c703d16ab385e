"""One Graph request on its way to a handler, and the answer on its way back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from local.microsoft365.graph.permissions import effective_permissions, visible_properties
from local.microsoft365.graph.query import Query
from local.microsoft365.model import Tenant
from local.microsoft365.settings import SimulationSettings
from local.microsoft365.tokens import AccessToken


@dataclass(frozen=True, slots=True)
class Context:
    """An authenticated and authorized request.

    `tenant` is the caller's, `keys` the values in the path by their names in the template, `effective` the permissions
    that let the call through, `prefer` the header Prefer and `service` the address before `/v1.0`.
    """

    tenant: Tenant
    token: AccessToken
    operation: str
    effective: frozenset[str]
    keys: Mapping[str, str]
    query: Query
    body: Any
    now: datetime
    settings: SimulationSettings
    service: str
    prefer: str
    address: str
    """This request's own, without a query."""
    next_page: Callable[[str], str]
    """Returns this request's address with another skip token."""

    def key(self, name: str) -> str:
        """Return a value in the path."""
        return self.keys[name]

    def metadata(self, path: str) -> str:
        """Return the value of `@odata.context` for a path of the metadata document."""
        return f"{self.service}/v1.0/$metadata#{path}"

    def visible(self, resource: str, operation: str | None = None) -> frozenset[str] | None:
        """Return the only properties of a resource type that the caller sees; None for all.

        `operation` is the one that reads the type where this request reads it on the way to something else.
        """
        if operation is None:
            return visible_properties(resource, self.effective)
        return visible_properties(resource, effective_permissions(self.token, operation))


@dataclass(frozen=True, slots=True)
class Answer:
    """What a handler answers; `document` None means no body."""

    status: int = 200
    document: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[Context], Answer]
