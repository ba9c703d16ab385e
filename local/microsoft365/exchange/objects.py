"""Exchange's objects of one tenant, and what every cmdlet does with them: find, create, change, remove."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from local.microsoft365.exchange.errors import DUPLICATE, ExecutionError, invalid, not_found
from local.microsoft365.exchange.values import ListChange
from local.microsoft365.mail.log import MailLog

DOMAIN_CONTROLLER = "AM0PR07A010DC003.EURPR07A010.PROD.OUTLOOK.COM"

# Parameters that steer a call and are no property of the object.
STEERING = frozenset({"Identity", "Confirm", "WhatIf", "ResultSize", "BypassSecurityGroupManagerCheck", "MakeDefault"})

_IDENTITIES = (
    "Name",
    "Identity",
    "Guid",
    "DistinguishedName",
    "Alias",
    "PrimarySmtpAddress",
    "ExternalDirectoryObjectId",
    "DomainName",
)


@dataclass(frozen=True, slots=True)
class AcceptedDomain:
    """A verified domain of the organization."""

    name: str
    is_default: bool
    is_initial: bool


@dataclass(frozen=True, slots=True)
class Recipient:
    """Somebody or something that has an address in the organization."""

    id: str
    name: str
    address: str
    type_details: str
    alias: str = ""
    addresses: tuple[str, ...] = ()
    """`SMTP:` marks the primary address, `smtp:` each other one."""
    user_principal_name: str = ""
    """Empty for a group."""


class Organization(Protocol):
    """What Exchange knows of the tenant that it serves."""

    @property
    def tenant_id(self) -> str:
        """The tenant's id."""

    @property
    def initial_domain(self) -> str:
        """The tenant's `onmicrosoft.com` domain."""

    @property
    def display_name(self) -> str:
        """The organization's name."""

    @property
    def is_trial(self) -> bool:
        """Whether the organization's subscriptions are trials."""

    @property
    def licences(self) -> tuple[str, ...]:
        """Part numbers of the subscribed products."""

    @property
    def customization(self) -> dict[str, Any]:
        """What is remembered of Enable-OrganizationCustomization, live: `SpreadAt`, from when on it has its effect."""

    @property
    def unified_audit_log(self) -> bool:
        """Whether the unified audit log takes events in."""

    @property
    def mail(self) -> MailLog:
        """The messages that went through, and when message trace was asked."""

    def set_unified_audit_log(self, enabled: bool) -> None:
        """Switch the unified audit log."""

    def objects(self, noun: str) -> list[dict[str, Any]]:
        """Return the objects of a cmdlet noun: the live list, whose changes are kept, but views of distribution groups."""

    def new_id(self, noun: str, *names: str) -> str:
        """Return a GUID for a new object, the same in every run for the n-th object of these names."""

    def accepted_domains(self) -> list[AcceptedDomain]:
        """Return the verified domains."""

    def recipient(self, identity: str) -> Recipient | None:
        """Return the mailbox or group that an id, a user principal name or an address names."""

    def recipients(self) -> Iterator[Recipient]:
        """Return every mailbox, guest and mail-enabled group."""

    def members(self, group_id: str) -> list[str]:
        """Return the ids of a group's members, in the order of joining."""

    def save_group(self, group: Mapping[str, Any], members: Sequence[str] | None = None) -> None:
        """Keep a new or changed distribution group; its members stay when none are given."""

    def remove_group(self, group_id: str) -> None:
        """Take a group out of the directory."""


@dataclass(frozen=True, slots=True)
class Call:
    """One cmdlet with its bound parameters.

    `uncertain` names the switches of behaviour that Microsoft doesn't document; both delays are in seconds;
    `warnings` goes into the answer.
    """

    organization: Organization
    parameters: Mapping[str, Any]
    now: datetime
    uncertain: Container[str] = ()
    customization_delay: float = 0.0
    trace_delay: float = 0.0
    warnings: list[str] = field(default_factory=list)

    def given(self, name: str) -> bool:
        """Tell whether the caller gave this parameter."""
        return name in self.parameters

    @property
    def identity(self) -> str:
        """The Identity parameter, empty when it is not given."""
        return str(self.parameters.get("Identity") or "")


def timestamp(moment: datetime) -> str:
    """Return a time as Exchange writes it: UTC, seven decimals."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f0Z")


def names(candidate: Mapping[str, Any], identity: str) -> bool:
    """Tell whether `identity` names the object, by any of its identifying properties; case is ignored."""
    wanted = identity.lower()
    return any(str(candidate.get(key, "")).lower() == wanted for key in _IDENTITIES)


def find(call: Call, noun: str, identity: str) -> dict[str, Any] | None:
    """Return the object that `identity` names, if there is one."""
    return next((item for item in call.organization.objects(noun) if names(item, identity)), None)


def require(call: Call, noun: str) -> dict[str, Any]:
    """Return the object that the Identity parameter names; raises ExecutionError (404) when there is none."""
    found = find(call, noun, call.identity)
    if found is None:
        raise not_found(call.identity, DOMAIN_CONTROLLER)
    return found


def get_objects(call: Call, noun: str) -> list[dict[str, Any]]:
    """Return the object that Identity names, or all; raises ExecutionError (404) for an unknown identity.

    State, which the cmdlets of rules have, filters.
    """
    found = [require(call, noun)] if call.identity else list(call.organization.objects(noun))
    state = call.parameters.get("State")
    return [item for item in found if state is None or item["State"] == state]


def check_name(call: Call, noun: str, name: str, *, other_than: Mapping[str, Any] | None = None) -> None:
    """Raise ExecutionError unless `name` has 1 to 64 characters and no other object of the noun has it."""
    if not 1 <= len(name) <= 64:
        raise invalid("The value of property 'Name' must be between 1 and 64 characters long.")
    taken = find(call, noun, name)
    if taken is not None and (other_than is None or taken["Guid"] != other_than["Guid"]):
        message = (
            f"Active Directory operation failed on {DOMAIN_CONTROLLER}. "
            f"The object 'CN={name},CN=Configuration,CN={call.organization.initial_domain}' already exists."
        )
        raise ExecutionError(message, kind=DUPLICATE)


def create(call: Call, noun: str, name: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return a new object: the properties, and what the server adds to each."""
    moment = timestamp(call.now)
    return {
        **properties,
        "Name": name,
        "Identity": name,
        "Guid": call.organization.new_id(noun, name),
        "WhenChangedUTC": moment,
        "WhenCreatedUTC": moment,
        "IsValid": True,
    }


def merged(current: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the properties that `parameters` give the object: lists replaced or changed, all else set."""
    changes: dict[str, Any] = {}
    for name, value in parameters.items():
        if name in STEERING:
            continue
        changes[name] = value.apply(current.get(name) or []) if isinstance(value, ListChange) else value
    return changes


def update(call: Call, target: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Apply changes to a stored object; its time of change moves only when something changed."""
    if all(target.get(name) == value for name, value in changes.items()):
        call.warnings.append(f"The command completed successfully but no settings of '{target['Identity']}' have been modified.")
        return
    target.update(changes)
    target["Identity"] = target["Name"]
    for name in ("WhenChangedUTC", "WhenChanged"):
        if name in target:
            target[name] = timestamp(call.now)
