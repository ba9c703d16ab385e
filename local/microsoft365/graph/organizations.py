"""The organization, its domains and its subscriptions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid5

from local.microsoft365.clock import timestamp
from local.microsoft365.graph.collections import entity, list_page, page, scan_list, selection
from local.microsoft365.graph.context import Answer, Context
from local.microsoft365.graph.errors import not_found
from local.microsoft365.graph.shapes import DOMAIN, ORGANIZATION, SUBSCRIBED_SKU
from local.microsoft365.licences import plans_of, products
from local.microsoft365.model import Domain, Tenant
from local.microsoft365.service_records import TTL, ServiceRecord, service_records


def _verified_domain(domain: Domain) -> dict[str, Any]:
    return {
        "capabilities": ", ".join(domain.supported_services),
        "isDefault": domain.is_default,
        "isInitial": domain.is_initial,
        "name": domain.name,
        "type": domain.authentication_type,
    }


def _organization(tenant: Tenant) -> dict[str, Any]:
    created = timestamp(tenant.created_at)
    plans = plans_of(tenant)
    return {
        "id": tenant.id,
        "deletedDateTime": None,
        "assignedPlans": [
            {
                "assignedDateTime": created,
                "capabilityStatus": "Enabled",
                "service": plan["service"],
                "servicePlanId": plan["id"],
            }
            for plan in plans
        ],
        "businessPhones": [],
        "city": None,
        "country": None,
        "countryLetterCode": tenant.country,
        "createdDateTime": created,
        "displayName": tenant.display_name,
        "onPremisesSyncEnabled": None,
        "preferredLanguage": "en",
        "provisionedPlans": [
            {"capabilityStatus": "Enabled", "provisioningStatus": "Success", "service": plan["service"]} for plan in plans
        ],
        "technicalNotificationMails": [f"admin@{tenant.default_domain}"],
        "tenantType": "AAD",
        "verifiedDomains": [_verified_domain(domain) for domain in tenant.domains.values() if domain.is_verified],
    }


def list_organizations(context: Context) -> Answer:
    """GET /organization: a list of one."""
    return list_page(context, "organization", ORGANIZATION, scan_list([_organization(context.tenant)]))


def get_organization(context: Context) -> Answer:
    """GET /organization/{id}; raises GraphError (404) for another tenant's id."""
    if context.key("organization-id").lower() != context.tenant.id:
        raise not_found(context.key("organization-id"))
    return entity(context, "organization", ORGANIZATION, _organization(context.tenant))


def list_domains(context: Context) -> Answer:
    """GET /domains: verified and unverified ones."""
    return list_page(context, "domains", DOMAIN, scan_list(list(context.tenant.domains.values())))


def _domain(context: Context) -> Domain:
    name = context.key("domain-id")
    domain = context.tenant.domains.get(name.lower())
    if domain is None:
        raise not_found(name)
    return domain


def get_domain(context: Context) -> Answer:
    """GET /domains/{name}; raises GraphError (404) when there is none."""
    return entity(context, "domains", DOMAIN, _domain(context))


_DNS_VALUES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "MX": ("Mx", ("mailExchange", "preference")),
    "TXT": ("Txt", ("text",)),
    "CNAME": ("CName", ("canonicalName",)),
}
"""Of each type of DNS record: its `recordType`, and the properties that its own resource type has besides."""


def _dns_record(tenant: Tenant, record: ServiceRecord) -> dict[str, Any]:
    kind, names = _DNS_VALUES[record.type]
    return {
        "@odata.type": f"#microsoft.graph.domainDns{record.type.title()}Record",
        "id": str(uuid5(UUID(tenant.id), f"{record.type.lower()}/{record.name}")),
        "isOptional": False,
        "label": record.name,
        "recordType": kind,
        "supportedService": "Email",
        "ttl": TTL,
        **dict(zip(names, (record.value, record.preference), strict=False)),
    }


def list_service_records(context: Context) -> Answer:
    """GET /domains/{name}/serviceConfigurationRecords: MX, SPF and autodiscover of a domain that takes mail.

    Each record is of a type of its own (domainDnsMxRecord and so on); a selection names properties of all of them.
    """
    domain = _domain(context)
    records = [_dns_record(context.tenant, each) for each in service_records(domain)]
    path = f"domains('{domain.name}')/serviceConfigurationRecords"
    return page(context, path + selection(context), scan_list(records), lambda item: _selected(context, item))


def _selected(context: Context, record: Mapping[str, Any]) -> dict[str, Any]:
    wanted = {name.lower() for name in context.query.select}
    return {name: value for name, value in record.items() if not wanted or name.lower() in wanted or name == "@odata.type"}


def _subscribed(tenant: Tenant, licence: str) -> dict[str, Any]:
    product = products()[licence]
    units = len(tenant.users)
    return {
        "id": f"{tenant.id}_{product['id']}",
        "accountId": tenant.id,
        "appliesTo": "User",
        "capabilityStatus": "Enabled",
        "consumedUnits": units,
        "prepaidUnits": {"enabled": units, "lockedOut": 0, "suspended": 0, "warning": 0},
        "servicePlans": [
            {
                "appliesTo": "User",
                "provisioningStatus": "Success",
                "servicePlanId": plan["id"],
                "servicePlanName": plan["name"],
            }
            for plan in product["plans"]
        ],
        "skuId": product["id"],
        "skuPartNumber": licence,
    }


def list_subscribed_skus(context: Context) -> Answer:
    """GET /subscribedSkus: each subscribed product with its service plans."""
    rows = [_subscribed(context.tenant, licence) for licence in context.tenant.licences if licence in products()]
    return list_page(context, "subscribedSkus", SUBSCRIBED_SKU, scan_list(rows))
