"""What the products that a tenant has subscribed to contain: the table `graph/licences.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from local.microsoft365.model import Tenant

_PRIVILEGED_PLANS = frozenset({"AAD_PREMIUM_P2", "Entra_Identity_Governance"})
"""Each licenses Privileged Identity Management (entra-docs, id-governance/licensing-fundamentals.md)."""


@cache
def products() -> Mapping[str, Any]:
    """Return the known products by part number, each with its id and service plans."""
    table: Mapping[str, Any] = json.loads((Path(__file__).parent / "graph" / "licences.json").read_text(encoding="utf-8"))
    found: Mapping[str, Any] = table["products"]
    return found


def plans_of(tenant: Tenant) -> list[dict[str, Any]]:
    """Return the service plans of all subscribed products; a product that the table doesn't have counts for nothing."""
    return [plan for licence in tenant.licences for plan in products().get(licence, {"plans": []})["plans"]]


def pim_of(tenant: Tenant) -> bool:
    """Tell whether the tenant has a licence for Privileged Identity Management."""
    return any(plan["name"] in _PRIVILEGED_PLANS for plan in plans_of(tenant))
