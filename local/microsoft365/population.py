"""The users of a tenant: computed from their index when asked for, so that half a million cost no memory.

Only users that somebody changed, added or removed are kept as objects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache

_ID_BITS = 48
_OFFSET = 0x5C3A917E04D5
_MULTIPLIER = 0x9E3779B97F4B
_INVERSE = pow(_MULTIPLIER, -1, 1 << _ID_BITS)
_MASK = (1 << _ID_BITS) - 1


@dataclass(frozen=True, slots=True)
class User:
    """A user of the directory. Shared and room mailboxes are users whose account is disabled."""

    id: str
    user_principal_name: str
    display_name: str
    created_at: datetime
    given_name: str | None = None
    surname: str | None = None
    mail: str | None = None
    mail_nickname: str = ""
    proxy_addresses: tuple[str, ...] = ()
    """`SMTP:` marks the primary address, `smtp:` each alias."""
    other_mails: tuple[str, ...] = ()
    account_enabled: bool = True
    user_type: str = "Member"
    mailbox: str | None = "UserMailbox"
    """Exchange's RecipientTypeDetails: UserMailbox, SharedMailbox, RoomMailbox; None: no mailbox."""
    job_title: str | None = None
    department: str | None = None
    office_location: str | None = None
    usage_location: str | None = "US"
    preferred_language: str | None = "en-US"
    home_account: str | None = None
    """Of a guest who has an account in another tenant here: that tenant's id and the account's id there, `tenant/user`."""


def user_id(tenant_id: str, index: int) -> str:
    """The id of the user at `index`: looks random, and can be turned back into the index."""
    return f"{_id_prefix(tenant_id)}{(index * _MULTIPLIER + _OFFSET) & _MASK:012x}"


@cache
def _id_prefix(tenant_id: str) -> str:
    prefix = tenant_id.replace("-", "")
    return f"{prefix[:8]}-{prefix[8:12]}-4{prefix[13:16]}-8{prefix[17:20]}-"


def user_index(tenant_id: str, identifier: str) -> int | None:
    """The index in an id made by `user_id`; None when the id is of another tenant or form."""
    tail = identifier[-12:]
    try:
        index = ((int(tail, 16) - _OFFSET) * _INVERSE) & _MASK
    except ValueError:
        return None
    return index if user_id(tenant_id, index) == identifier.lower() else None


@dataclass(slots=True)
class UserDirectory:
    """The users of one tenant, in a stable order: positions never shift when a user is removed."""

    tenant_id: str
    seeded: int
    """How many users the seed makes: positions 0 to seeded - 1."""
    make: Callable[[int], User]
    """The seeded user at an index, always the same."""
    find_index: Callable[[str], int | None]
    """The index whose seeded user may have this user principal name or address, lower case; it is checked afterwards."""
    changed: dict[str, User | None] = field(default_factory=dict)
    """Seeded users that were changed (None: removed), by id."""
    added: dict[str, User | None] = field(default_factory=dict)
    """Users that the seed doesn't know (None: removed), by id."""
    deleted: dict[str, User] = field(default_factory=dict)
    """Removed users that can be restored, by id, as they were."""
    revision: int = 0
    """Another one after each change."""

    def __len__(self) -> int:
        removed = sum(user is None for user in (*self.changed.values(), *self.added.values()))
        return self.seeded + len(self.added) - removed

    def __iter__(self) -> Iterator[User]:
        return (user for _, user in self.scan())

    def scan(self, start: int = 0) -> Iterator[tuple[int, User]]:
        """Users with their positions, from position `start` on."""
        for position in range(start, self.seeded):
            user = self._seeded(position)
            if user is not None:
                yield position, user
        first = max(0, start - self.seeded)
        for offset, user in enumerate(tuple(self.added.values())[first:], first):
            if user is not None:
                yield self.seeded + offset, user

    def at(self, position: int) -> User | None:
        """The user at a position, if there is one."""
        if position < self.seeded:
            return self._seeded(position)
        return next((user for found, user in self.scan(position) if found == position), None)

    def get(self, identifier: str) -> User | None:
        """The user with this id, if there is one."""
        identifier = identifier.lower()
        if identifier in self.added:
            return self.added[identifier]
        if identifier in self.changed:
            return self.changed[identifier]
        index = user_index(self.tenant_id, identifier)
        return self.make(index) if index is not None and index < self.seeded else None

    def find(self, name: str) -> User | None:
        """The user with this id, user principal name, mail address or alias, whatever the case."""
        name = name.lower()
        return self.get(name) or next((user for user in self._candidates(name) if _is_called(user, name)), None)

    def put(self, user: User) -> None:
        """Add `user`, or put it in the place of the one with its id."""
        self._place(user.id)[user.id] = user
        self.deleted.pop(user.id, None)
        self.revision += 1

    def remove(self, identifier: str, *, for_good: bool = False) -> None:
        """Remove the user with this id; raises KeyError when there is none.

        It can be restored unless it is removed for good, which may happen to one that was removed before.
        """
        user = self.get(identifier)
        if user is None and not (for_good and identifier in self.deleted):
            raise KeyError(identifier)
        self._place(identifier)[identifier] = None
        self.deleted.pop(identifier, None)
        if user is not None and not for_good:
            self.deleted[identifier] = user
        self.revision += 1

    def is_like(self, other: UserDirectory) -> bool:
        """Whether one is a copy of the other, and nothing changed since."""
        return self.make is other.make and self.revision == other.revision

    def copy(self) -> UserDirectory:
        """A directory that later changes of this one do not touch."""
        return replace(self, changed=dict(self.changed), added=dict(self.added), deleted=dict(self.deleted))

    def _place(self, identifier: str) -> dict[str, User | None]:
        index = user_index(self.tenant_id, identifier)
        return self.changed if index is not None and index < self.seeded else self.added

    def _seeded(self, position: int) -> User | None:
        if not self.changed:
            return self.make(position)
        identifier = user_id(self.tenant_id, position)
        return self.changed[identifier] if identifier in self.changed else self.make(position)

    def _candidates(self, name: str) -> Iterator[User]:
        yield from (user for user in self.added.values() if user is not None)
        yield from (user for user in self.changed.values() if user is not None)
        index = self.find_index(name)
        if index is not None and index < self.seeded:
            user = self._seeded(index)
            if user is not None:
                yield user


def _is_called(user: User, name: str) -> bool:
    addresses = (address.partition(":")[2].lower() for address in user.proxy_addresses)
    return name == user.user_principal_name.lower() or name == (user.mail or "").lower() or name in addresses
