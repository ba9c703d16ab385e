"""Exchange's part of the control interface: see every object, change or remove one behind everybody's back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from local.microsoft365.exchange.connectors import INBOUND, INBOUND_DEFAULTS, OUTBOUND, OUTBOUND_DEFAULTS
from local.microsoft365.exchange.groups import GROUP
from local.microsoft365.exchange.objects import names
from local.microsoft365.exchange.organization import seeded
from local.microsoft365.exchange.rules import RULE, described, empty_rule
from local.microsoft365.exchange.tenants import ROLE_GROUPS, TenantOrganization, exchange_objects, role_groups
from local.microsoft365.model import Tenant

VOLATILE = frozenset({"Guid", "WhenChanged", "WhenChangedUTC", "WhenCreatedUTC", "ImmutableId"})
"""Properties that differ between two runs that did the same."""


def _organization(tenant: Tenant) -> TenantOrganization:
    return TenantOrganization(tenant, tenant.created_at)


MADE_LATER = (INBOUND, OUTBOUND, RULE)
"""Nouns of which a new tenant has no object: they are shown as empty lists, not left out."""


def snapshot(tenant: Tenant) -> dict[str, list[dict[str, Any]]]:
    """Return the tenant's Exchange objects by cmdlet noun, sorted; distribution groups carry their members' ids."""
    organization = _organization(tenant)
    nouns: dict[str, list[dict[str, Any]]] = {noun: [] for noun in MADE_LATER}
    nouns |= {noun: [dict(item) for item in items] for noun, items in exchange_objects(tenant).items()}
    groups = organization.objects(GROUP)
    nouns[GROUP] = [{**group, "Members": sorted(organization.members(group["Guid"]))} for group in groups]
    if custom := tenant.exchange.get(ROLE_GROUPS):
        nouns[ROLE_GROUPS] = [{"Identity": name, **group} for name, group in custom.items()]
    return {noun: sorted(nouns[noun], key=lambda item: str(item["Identity"])) for noun in sorted(nouns)}


def put_role_group(tenant: Tenant, name: str, cmdlets: Iterable[str], members: Iterable[str]) -> None:
    """Make a custom role group, or put it into the place of the one that was there. No cmdlets: take it away."""
    groups = role_groups(tenant)
    groups.pop(name, None)
    if listed := list(cmdlets):
        groups[name] = {"Cmdlets": listed, "Members": list(members)}


def _objects(tenant: Tenant) -> dict[str, list[dict[str, Any]]]:
    """Return the live objects by noun, of those that nobody has made one of yet as well."""
    for noun in MADE_LATER:
        tenant.exchange.setdefault(noun, [])
    return exchange_objects(tenant)


def add(tenant: Tenant, noun: str, properties: Mapping[str, Any]) -> str:
    """Put an object into the tenant as if somebody had made it before, and return its identity; no cmdlet's rule is applied.

    What is not given is as Exchange has it by default. Raises KeyError for an unknown noun or properties without a Name.
    """
    items = _objects(tenant)[noun]
    defaults = _DEFAULTS.get(noun, dict)()
    item = seeded(tenant.id, noun, {**defaults, **properties})
    if noun == RULE:
        item |= {"Priority": len(items), "ImmutableId": item["Guid"], "WhenChanged": item["WhenChangedUTC"]}
        item |= described(item) | dict(properties)
    items.append(item)
    return str(item["Identity"])


_DEFAULTS: Mapping[str, Callable[[], Mapping[str, Any]]] = {
    INBOUND: lambda: INBOUND_DEFAULTS,
    OUTBOUND: lambda: OUTBOUND_DEFAULTS,
    RULE: lambda: {**empty_rule(), "State": "Enabled"},
}
"""Properties that an object has without having been given them, where `seed_defaults.json` doesn't hold them."""


def tamper(tenant: Tenant, noun: str, identity: str, change: Mapping[str, Any] | None) -> None:
    """Change properties of an object, or remove it when `change` is None; no rule of any cmdlet is applied.

    Raises KeyError when there is no such noun or object.
    """
    if noun == GROUP:
        _tamper_group(tenant, identity, change)
        return
    items = _objects(tenant)[noun]
    target = next((item for item in items if names(item, identity)), None)
    if target is None:
        raise KeyError(identity)
    if change is None:
        items.remove(target)
    else:
        target.update(change)


def _tamper_group(tenant: Tenant, identity: str, change: Mapping[str, Any] | None) -> None:
    organization = _organization(tenant)
    group = next((item for item in organization.objects(GROUP) if names(item, identity)), None)
    if group is None:
        raise KeyError(identity)
    if change is None:
        organization.remove_group(group["Guid"])
    else:
        properties = {name: value for name, value in change.items() if name != "Members"}
        organization.save_group({**group, **properties}, change.get("Members"))
