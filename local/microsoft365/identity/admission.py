"""What a tenant demands before it lets anybody in: that it exists here, assignment, Conditional Access, licences.

Sources: entra-docs reference-error-codes.md; identity/conditional-access (block and MFA controls, policies for workload
identities); enterprise-apps/tenant-restrictions.md (the header that the user's network adds);
enterprise-apps/assign-user-or-group-access-portal.md (assignment required).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from aiohttp import web

from local.microsoft365.catalogue import EXCHANGE, Resource
from local.microsoft365.identity.errors import IdentityError
from local.microsoft365.identity.people import SignedIn
from local.microsoft365.identity.scopes import Asked
from local.microsoft365.model import ALL, GrantControl, Registration, ServicePrincipal, Tenant

RESTRICTION_HEADER = "Restrict-Access-To-Tenants"


def check_tenant(tenant: Tenant, request: web.Request) -> None:
    """Raise IdentityError where nobody gets in at all.

    5000224: deleted; 90038: at home in a national cloud; 500021: the user's network allows other tenants only.
    """
    if tenant.is_deleted:
        raise IdentityError(5000224)
    if tenant.national_cloud:
        raise IdentityError(90038, tenant=tenant.default_domain, cloud=tenant.national_cloud)
    allowed = request.headers.get(RESTRICTION_HEADER)
    names = {tenant.id, *tenant.domains}
    if allowed is not None and not names & {each.strip().lower() for each in allowed.split(",")}:
        raise IdentityError(500021, tenant=tenant.display_name)


def check_client(tenant: Tenant, registration: Registration) -> None:
    """Raise IdentityError 7000112 when an administrator has switched the application off."""
    client = tenant.service_principal_of(registration.app_id)
    if client is not None and not client.account_enabled:
        raise IdentityError(7000112, app_id=registration.app_id, app_name=registration.display_name)


def check_person(person: SignedIn, registration: Registration) -> None:
    """Raise IdentityError when the person is not let into the application: 50105 (not assigned), 53003 (a policy)."""
    client = person.tenant.service_principal_of(registration.app_id)
    if client is not None and client.app_role_assignment_required and not _is_assigned(person, client):
        facts = {"app_id": registration.app_id, "app_name": registration.display_name}
        raise IdentityError(50105, account=person.sign_in_name, **facts)
    blocking = policies(person, registration, GrantControl.BLOCK)
    if blocking:
        raise IdentityError(53003).because_of(blocking)


def check_application(tenant: Tenant, registration: Registration) -> None:
    """Raise IdentityError 53003 when a policy for workload identities refuses the application itself a token."""
    names = {registration.app_id, ALL}
    blocking = tuple(
        each.id
        for each in tenant.conditional_access.values()
        if each.control is GrantControl.BLOCK and names & set(each.include_service_principals)
    )
    if blocking:
        raise IdentityError(53003).because_of(blocking)


def policies(person: SignedIn, registration: Registration, control: GrantControl) -> tuple[str, ...]:
    """Ids of the Conditional Access policies with this control that a person's sign-in to an application meets."""
    return tuple(
        each.id
        for each in person.tenant.conditional_access.values()
        if each.control is control
        and {person.user.id, ALL} & set(each.include_users)
        and {registration.app_id, ALL} & set(each.include_applications)
    )


def check_services(tenant: Tenant, asked: Iterable[Asked]) -> None:
    """Raise IdentityError 650052 when the tenant lacks a service that permissions are asked of: the consent fails whole."""
    for resource in {each.resource.app_id: each.resource for each in asked}.values():
        if not _has_service(tenant, resource):
            facts = {"resource": resource.app_id, "resource_name": resource.display_name}
            raise IdentityError(650052, tenant=tenant.display_name, **facts)


def _has_service(tenant: Tenant, resource: Resource) -> bool:
    principal = tenant.service_principal_of(resource.app_id)
    if principal is None or not principal.account_enabled:
        return False
    return resource.app_id != EXCHANGE or any(licence in _exchange_licences() for licence in tenant.licences)


@cache
def _exchange_licences() -> frozenset[str]:
    """Part numbers of the products that contain Exchange Online."""
    file = Path(__file__).parents[1] / "graph" / "licences.json"
    products = json.loads(file.read_text("utf-8"))["products"]
    return frozenset(name for name, each in products.items() if any(plan["service"] == "exchange" for plan in each["plans"]))


def _is_assigned(person: SignedIn, client: ServicePrincipal) -> bool:
    assignments = person.tenant.app_role_assignments.values()
    return any(each.principal_id == person.user.id and each.resource_id == client.id for each in assignments)
