"""Shows a simulated tenant to the cmdlets: its domains and recipients, and where Exchange's own objects are kept.

Connectors, rules and policies live in `Tenant.exchange`, by cmdlet noun. A distribution group is a group of the
directory, so that Graph shows it too; what only Exchange knows of it stands in `Group.exchange`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from local.microsoft365.changes import put_group, remove_group
from local.microsoft365.exchange.domains import DOMAIN_NOUNS, follow_domains
from local.microsoft365.exchange.groups import GROUP, GROUP_DEFAULTS, GROUP_KINDS
from local.microsoft365.exchange.objects import AcceptedDomain, Recipient, timestamp
from local.microsoft365.exchange.organization import seed_objects, seeded, seeded_nouns
from local.microsoft365.mail.log import MailLog
from local.microsoft365.model import Group, Tenant
from local.microsoft365.population import User

# Properties of a distribution group that are told by the directory's group; the rest is kept in `Group.exchange`.
_DIRECTORY_PROPERTIES = frozenset(
    {
        "Identity",
        "Guid",
        "ExternalDirectoryObjectId",
        "Alias",
        "Description",
        "DisplayName",
        "PrimarySmtpAddress",
        "EmailAddresses",
        "GroupType",
        "RecipientType",
        "RecipientTypeDetails",
        "WhenCreatedUTC",
        "IsValid",
    }
)


ROLE_GROUPS = "RoleGroups"
"""Stands in `Tenant.exchange` beside the nouns: custom role groups by name, each with `Cmdlets` and `Members`."""
_CUSTOMIZATION = "Customization"
_BESIDE = frozenset({ROLE_GROUPS, _CUSTOMIZATION})


def exchange_objects(tenant: Tenant) -> dict[str, list[dict[str, Any]]]:
    """Return Exchange's own objects of the tenant by noun, made on first use; the lists are live."""
    if not seeded_nouns() <= tenant.exchange.keys():
        for noun, items in seed_objects(tenant.id, tenant.display_name, tenant.initial_domain).items():
            tenant.exchange.setdefault(noun, items)
    for noun in DOMAIN_NOUNS:
        items = tenant.exchange.setdefault(noun, [])
        follow_domains(noun, items, accepted_domains(tenant), partial(seeded, tenant.id, noun))
    return {noun: items for noun, items in tenant.exchange.items() if noun not in _BESIDE}


def accepted_domains(tenant: Tenant) -> list[AcceptedDomain]:
    """Return the verified domains."""
    verified = (domain for domain in tenant.domains.values() if domain.is_verified)
    return [AcceptedDomain(domain.name, domain.is_default, domain.is_initial) for domain in verified]


def role_groups(tenant: Tenant) -> dict[str, dict[str, list[str]]]:
    """Return the tenant's custom role groups, live, by name: `Cmdlets`, and `Members` as ids of service principals.

    They stand for New-RoleGroup, New-ServicePrincipal and Add-RoleGroupMember, which an administrator runs.
    """
    groups: dict[str, dict[str, list[str]]] = tenant.exchange.setdefault(ROLE_GROUPS, {})
    return groups


def cmdlets_of_groups(tenant: Tenant, principal_id: str) -> list[list[str]]:
    """Return the cmdlets of each custom role group that a service principal is a member of."""
    groups = tenant.exchange.get(ROLE_GROUPS, {})
    return [group["Cmdlets"] for group in groups.values() if principal_id in group["Members"]]


def is_distribution_group(group: Group) -> bool:
    """Tell whether a directory group is one of Exchange's distribution or mail-enabled security groups."""
    return group.mail_enabled and "Unified" not in group.group_types


def _type_details(group: Group) -> str:
    if "Unified" in group.group_types:
        return "GroupMailbox"
    return GROUP_KINDS["Security" if group.security_enabled else "Distribution"]["RecipientTypeDetails"]


def _group_view(group: Group) -> dict[str, Any]:
    name = group.exchange.get("Name", group.display_name)
    created = timestamp(group.created_at)
    details = _type_details(group)
    return {
        **GROUP_DEFAULTS,
        "WhenChangedUTC": created,
        **group.exchange,
        "Name": name,
        "Identity": name,
        "Alias": group.mail_nickname,
        "Description": [group.description] if group.description else [],
        "DisplayName": group.display_name,
        "PrimarySmtpAddress": group.mail,
        "EmailAddresses": list(group.proxy_addresses),
        "GroupType": GROUP_KINDS["Security" if group.security_enabled else "Distribution"]["GroupType"],
        "RecipientType": details,
        "RecipientTypeDetails": details,
        "Guid": group.id,
        "ExternalDirectoryObjectId": group.id,
        "WhenCreatedUTC": created,
        "IsValid": True,
    }


def _user_recipient(user: User) -> Recipient | None:
    details = user.mailbox or ("GuestMailUser" if user.user_type == "Guest" else None)
    if details is None:
        return None
    address = user.mail or user.user_principal_name
    addresses = user.proxy_addresses or (f"SMTP:{address}",)
    return Recipient(user.id, user.display_name, address, details, user.mail_nickname, addresses, user.user_principal_name)


def _group_recipient(group: Group) -> Recipient:
    details = _type_details(group)
    return Recipient(group.id, group.display_name, group.mail or "", details, group.mail_nickname, group.proxy_addresses)


@dataclass(frozen=True, slots=True)
class TenantOrganization:
    """A tenant as the cmdlets see it, at a moment."""

    tenant: Tenant
    now: datetime

    @property
    def tenant_id(self) -> str:
        """The tenant's id."""
        return self.tenant.id

    @property
    def initial_domain(self) -> str:
        """The tenant's `onmicrosoft.com` domain."""
        return self.tenant.initial_domain

    @property
    def display_name(self) -> str:
        """The organization's name."""
        return self.tenant.display_name

    def objects(self, noun: str) -> list[dict[str, Any]]:
        """Return the live list of a noun's objects; of distribution groups, views that `save_group` keeps."""
        if noun == GROUP:
            return [_group_view(group) for group in self.tenant.groups.values() if is_distribution_group(group)]
        exchange_objects(self.tenant)
        items: list[dict[str, Any]] = self.tenant.exchange.setdefault(noun, [])
        return items

    @property
    def is_trial(self) -> bool:
        """Whether the organization's subscriptions are trials."""
        return self.tenant.is_trial

    @property
    def licences(self) -> tuple[str, ...]:
        """Part numbers of the subscribed products."""
        return self.tenant.licences

    @property
    def customization(self) -> dict[str, Any]:
        """What is remembered of Enable-OrganizationCustomization."""
        remembered: dict[str, Any] = self.tenant.exchange.setdefault(_CUSTOMIZATION, {})
        return remembered

    @property
    def unified_audit_log(self) -> bool:
        """Whether the unified audit log takes events in."""
        return self.tenant.unified_audit_log

    @property
    def mail(self) -> MailLog:
        """The messages that went through."""
        return self.tenant.mail

    def set_unified_audit_log(self, enabled: bool) -> None:
        """Switch the unified audit log."""
        self.tenant.unified_audit_log = enabled

    def new_id(self, noun: str, *names: str) -> str:
        """Return a GUID for a new object of Exchange."""
        return self.tenant.new_id(noun, *names)

    def accepted_domains(self) -> list[AcceptedDomain]:
        """Return the verified domains."""
        return accepted_domains(self.tenant)

    def recipient(self, identity: str) -> Recipient | None:
        """Return the mailbox, guest or mail-enabled group of this id, address or name."""
        wanted = identity.lower()
        member = self.tenant.users.get(wanted)
        if member is not None:
            return _user_recipient(member)
        for group in self.tenant.groups.values():
            addresses = {address.partition(":")[2].lower() for address in group.proxy_addresses}
            called = {group.id.lower(), group.display_name.lower(), str(group.exchange.get("Name", "")).lower()}
            if group.mail_enabled and wanted in {*addresses, *called, (group.mail or "").lower(), group.mail_nickname}:
                return _group_recipient(group)
        user = self.tenant.users.find(identity)
        return _user_recipient(user) if user is not None else None

    def recipients(self) -> Iterator[Recipient]:
        """Return every mailbox and guest, then the mail-enabled groups."""
        yield from (each for each in map(_user_recipient, self.tenant.users) if each is not None)
        yield from (_group_recipient(group) for group in self.tenant.groups.values() if group.mail_enabled)

    def members(self, group_id: str) -> list[str]:
        """Return the ids of a group's members, in the order of joining."""
        return list(self.tenant.groups[group_id].member_ids)

    def save_group(self, group: Mapping[str, Any], members: Sequence[str] | None = None) -> None:
        """Put a distribution group into the directory, or in the place of the one that was there."""
        former = self.tenant.groups.get(group["Guid"])
        kept = former.member_ids if former is not None else ()
        saved = Group(
            id=group["Guid"],
            display_name=group["DisplayName"],
            created_at=former.created_at if former is not None else self.now,
            description=next(iter(group["Description"]), None),
            mail=group["PrimarySmtpAddress"],
            mail_nickname=group["Alias"],
            mail_enabled=True,
            security_enabled="SecurityEnabled" in group["GroupType"],
            visibility=former.visibility if former is not None else None,
            proxy_addresses=tuple(group["EmailAddresses"]),
            member_ids=tuple(members) if members is not None else kept,
            owner_ids=former.owner_ids if former is not None else (),
            exchange={name: value for name, value in group.items() if name not in _DIRECTORY_PROPERTIES},
        )
        put_group(self.tenant, saved, self.now)

    def remove_group(self, group_id: str) -> None:
        """Take a group out of the directory and out of the groups that it belongs to."""
        remove_group(self.tenant, group_id, self.now)
