"""The tenants that every simulation begins with: who is in them, and what the directory holds before any consent.

Everything follows from the seed's numbers and names, so two runs of one seed begin alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import cycle, islice
from uuid import uuid5

from local.microsoft365.catalogue import resources
from local.microsoft365.model import IDS, Domain, Group, Person, Role, RoleAssignment, ServicePrincipal, Tenant
from local.microsoft365.population import User, UserDirectory, user_id
from local.microsoft365.role_assignments import make_eligible

MICROSOFT_SERVICES = "f8cdef31-a31e-4b4a-93e4-5f571e91255a"
"""Tenant that owns Microsoft's own applications (appOwnerOrganizationId of their service principals)."""

PEOPLE: tuple[tuple[str, str, tuple[Role, ...]], ...] = (
    ("admin", "Ada Admin", (Role.GLOBAL_ADMINISTRATOR,)),
    ("privileged", "Pia Privileged", (Role.PRIVILEGED_ROLE_ADMINISTRATOR,)),
    ("exchange", "Edgar Exchange", (Role.EXCHANGE_ADMINISTRATOR,)),
    ("application", "Cleo Application", (Role.CLOUD_APPLICATION_ADMINISTRATOR,)),
    ("member", "Max Member", ()),
    ("eligible", "Eli Eligible", ()),
)
"""Name before the @, display name and roles of those who stand first in every tenant."""
ELIGIBLE: tuple[tuple[str, Role], ...] = (("eligible", Role.GLOBAL_ADMINISTRATOR),)
"""Who may activate which role, where the tenant has Privileged Identity Management; without its licence it is no right."""

_LONG_AGO = datetime(2023, 5, 9, 8, 0, tzinfo=UTC)
_GIVEN_NAMES = ("Adele", "Bruno", "Carla", "Deniz", "Elena", "Farid", "Grete", "Hugo", "Ines", "Jonas", "Keiko", "Liam", "Mona")
_SURNAMES = ("Vance", "Ito", "Berg", "Costa", "Dahl", "Evans", "Fischer", "Garcia", "Hansen", "Ivanov", "Jensen")
_PAIRS = zip(cycle(_GIVEN_NAMES), cycle(_SURNAMES), strict=False)
_NAMES = tuple(
    (given_name, surname, f"{given_name}.{surname}".lower())
    for given_name, surname in islice(_PAIRS, len(_GIVEN_NAMES) * len(_SURNAMES))
)
"""Every given name with every surname, as they follow each other, and what their addresses begin with."""
_DEPARTMENTS = ("Sales", "Engineering", "Finance", "Legal", "Support")
_KINDS = {7: "guest", 13: "shared", 29: "room"}
"""What is at these positions of every fifty; all others are people with a mailbox."""
_PEOPLE_INDEX = {name: index for index, (name, _, _) in enumerate(PEOPLE)}
_NUMBER = re.compile(r"^[^@]*?(\d+)(?=[_@])")


@dataclass(frozen=True, slots=True)
class TenantSeed:
    """From this a tenant is made, the same each time."""

    display_name: str
    initial_domain: str
    user_count: int
    """Everybody, people and mailboxes included; at least the people of PEOPLE are there."""
    custom_domain: str | None = None
    unverified_domain: str | None = None
    country: str = "US"

    @property
    def tenant_id(self) -> str:
        """Derived from the initial domain."""
        return _tenant_id(self.initial_domain)

    @property
    def default_domain(self) -> str:
        """The custom domain where there is one."""
        return self.custom_domain or self.initial_domain

    @property
    def created_at(self) -> datetime:
        """The same for all: long ago."""
        return _LONG_AGO


@cache
def _tenant_id(initial_domain: str) -> str:
    return str(uuid5(IDS, f"tenant|{initial_domain}"))


def default_seeds(users: int) -> tuple[TenantSeed, ...]:
    """Contoso with that many users, and Fabrikam, the other tenant."""
    return (
        TenantSeed("Contoso", "contoso.onmicrosoft.com", users, "contoso.com", "contoso-retail.com"),
        TenantSeed("Fabrikam", "fabrikam.onmicrosoft.com", 12),
    )


def user_directory(seed: TenantSeed) -> UserDirectory:
    """The users of a tenant, none of them made yet."""
    count = max(seed.user_count, len(PEOPLE))
    return UserDirectory(seed.tenant_id, count, lambda index: make_user(seed, index), find_index)


def find_index(name: str) -> int | None:
    """The index that a user principal name or address of `make_user` belongs to."""
    local_part = name.partition("@")[0]
    if local_part in _PEOPLE_INDEX:
        return _PEOPLE_INDEX[local_part]
    number = _NUMBER.match(name)
    return int(number[1]) if number else None


def make_user(seed: TenantSeed, index: int) -> User:
    """The seeded user at an index."""
    if index < len(PEOPLE):
        nickname, display_name, _ = PEOPLE[index]
        return _member(seed, index, nickname, display_name, *display_name.split())
    kind = _KINDS.get(index % 50)
    if kind == "guest":
        return _guest(seed, index)
    if kind is not None:
        return _resource_mailbox(seed, index, kind)
    given_name, surname, nickname = _NAMES[index % len(_NAMES)]
    return _member(seed, index, f"{nickname}{index}", f"{given_name} {surname} {index}", given_name, surname)


def make_tenant(seed: TenantSeed) -> Tenant:
    """The whole tenant as the seed has it."""
    tenant = Tenant(seed.tenant_id, seed.display_name, seed.created_at, seed.country, user_directory(seed))
    tenant.domains = {domain.name: domain for domain in _domains(seed)}
    tenant.groups = {group.id: group for group in _groups(seed, tenant)}
    tenant.service_principals = {each.id: each for each in _resource_principals(seed, tenant)}
    tenant.role_assignments = {each.id: each for each in _role_assignments(seed, tenant)}
    for name, role in ELIGIBLE:
        make_eligible(tenant, role, user_id(seed.tenant_id, _PEOPLE_INDEX[name]), seed.created_at, None)
    return tenant


def people_of(seed: TenantSeed) -> Iterator[Person]:
    """Those who are named to the caller."""
    for index, (name, _, roles) in enumerate(PEOPLE):
        yield Person(f"{name}@{seed.default_domain}", user_id(seed.tenant_id, index), seed.tenant_id, roles)


def _member(seed: TenantSeed, index: int, nickname: str, display_name: str, given_name: str, surname: str) -> User:
    address = f"{nickname}@{seed.default_domain}"
    return User(
        id=user_id(seed.tenant_id, index),
        user_principal_name=address,
        display_name=display_name,
        created_at=_created(seed, index),
        given_name=given_name,
        surname=surname,
        mail=address,
        mail_nickname=nickname,
        proxy_addresses=_addresses(seed, index, nickname),
        job_title="Specialist",
        department=_DEPARTMENTS[index % len(_DEPARTMENTS)],
        office_location=f"{index % 9 + 1}/{index % 40 + 100}",
    )


def _addresses(seed: TenantSeed, index: int, nickname: str) -> tuple[str, ...]:
    aliases = (f"smtp:{nickname}@{seed.initial_domain}",) if seed.custom_domain and index % 3 == 0 else ()
    more = (f"smtp:alias{index}@{seed.default_domain}",) if index % 10 == 0 else ()
    return (f"SMTP:{nickname}@{seed.default_domain}", *aliases, *more)


def _guest(seed: TenantSeed, index: int) -> User:
    local_part = f"partner{index}"
    return User(
        id=user_id(seed.tenant_id, index),
        user_principal_name=f"{local_part}_partner.example#EXT#@{seed.initial_domain}",
        display_name=f"Partner {index}",
        created_at=_created(seed, index),
        mail=f"{local_part}@partner.example",
        mail_nickname=f"{local_part}_partner.example#EXT#",
        proxy_addresses=(f"SMTP:{local_part}@partner.example",),
        other_mails=(f"{local_part}@partner.example",),
        user_type="Guest",
        mailbox=None,
        usage_location=None,
    )


def _resource_mailbox(seed: TenantSeed, index: int, kind: str) -> User:
    nickname = f"{kind}{index}"
    address = f"{nickname}@{seed.default_domain}"
    return User(
        id=user_id(seed.tenant_id, index),
        user_principal_name=address,
        display_name=f"{kind.title()} mailbox {index}" if kind == "shared" else f"Room {index}",
        created_at=_created(seed, index),
        mail=address,
        mail_nickname=nickname,
        proxy_addresses=_addresses(seed, index, nickname),
        account_enabled=False,
        mailbox=f"{kind.title()}Mailbox",
    )


def _created(seed: TenantSeed, index: int) -> datetime:
    return seed.created_at + timedelta(minutes=index)


def _domains(seed: TenantSeed) -> Iterator[Domain]:
    yield Domain(seed.initial_domain, is_initial=True, is_default=seed.custom_domain is None)
    if seed.custom_domain:
        yield Domain(seed.custom_domain, is_default=True)
    if seed.unverified_domain:
        yield Domain(seed.unverified_domain, is_verified=False, supported_services=())


@dataclass(frozen=True, slots=True)
class _GroupSeed:
    name: str
    nickname: str
    members: range
    mail_enabled: bool
    security_enabled: bool
    types: tuple[str, ...] = ()
    nests: str | None = None


_GROUPS = (
    _GroupSeed("All Staff", "all-staff", range(200), mail_enabled=True, security_enabled=False, nests="Sales"),
    _GroupSeed("Sales", "sales", range(5, 25), mail_enabled=True, security_enabled=True),
    _GroupSeed("Engineering", "engineering", range(25, 60), mail_enabled=True, security_enabled=False, types=("Unified",)),
    _GroupSeed("VPN Users", "vpn-users", range(60, 90), mail_enabled=False, security_enabled=True),
    _GroupSeed("Empty", "empty", range(0), mail_enabled=False, security_enabled=True),
)


def _groups(seed: TenantSeed, tenant: Tenant) -> Iterator[Group]:
    ids = {each.name: tenant.new_id("group", each.name) for each in _GROUPS}
    for each in _GROUPS:
        address = f"{each.nickname}@{seed.default_domain}" if each.mail_enabled else None
        members = (user_id(seed.tenant_id, index) for index in each.members if index < tenant.users.seeded)
        yield Group(
            id=ids[each.name],
            display_name=each.name,
            created_at=seed.created_at,
            description=f"{each.name} of {seed.display_name}",
            mail=address,
            mail_nickname=each.nickname,
            mail_enabled=each.mail_enabled,
            security_enabled=each.security_enabled,
            group_types=each.types,
            visibility="Private" if each.types else None,
            proxy_addresses=(f"SMTP:{address}",) if address else (),
            member_ids=(*members, *((ids[each.nests],) if each.nests else ())),
        )


def _resource_principals(seed: TenantSeed, tenant: Tenant) -> Iterator[ServicePrincipal]:
    for resource in resources().values():
        yield ServicePrincipal(
            id=tenant.new_id("servicePrincipal", resource.app_id),
            app_id=resource.app_id,
            display_name=resource.display_name,
            app_owner_organization_id=MICROSOFT_SERVICES,
            created_at=seed.created_at,
            visible_at=seed.created_at,
        )


def _role_assignments(seed: TenantSeed, tenant: Tenant) -> Iterator[RoleAssignment]:
    for person in people_of(seed):
        for role in person.roles:
            identifier = tenant.new_id("roleAssignment", role, person.user_id)
            yield RoleAssignment(identifier, role, person.user_id, seed.created_at, seed.created_at)
