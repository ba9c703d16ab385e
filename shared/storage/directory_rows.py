"""Where the rows of the ``directory`` table are: their keys, and which shard of a generation holds them."""

from collections.abc import Mapping
from typing import Any

from shared.domain.directory import Generation, Group, Member, Record, User
from shared.storage import keys
from shared.storage.codec import Codec
from shared.storage.records import GROUP, USER

CURRENT_ROW = "current"
BEGUN_ROW = "begun"
COUNT_ROW = "count"
"""The newest count that was looked for: later ones are counted from there."""
DOMAIN_ROWS = "domain|"
RECORD_ROWS = "group|"
"""Row keys from here on are groups, members and users, in this order: addresses and the count come before them."""
CODECS: Mapping[type[Record], Codec[Any]] = {User: USER, Group: GROUP}


def shard_partition(tenant_id: str, generation: Generation, shard: int) -> str:
    """Return the partition of one shard of a generation."""
    return f"{tenant_id}|{generation.number:06}|{shard:03}"


def shard_of(row: str, generation: Generation) -> int:
    """Return the shard of the row of a user, a group or an address; a member's row is in its group's."""
    return keys.shard(row, generation.shards)


def partition_of(tenant_id: str, generation: Generation, row: str) -> str:
    """Return the partition of such a row."""
    return shard_partition(tenant_id, generation, shard_of(row, generation))


def object_row(kind: type[Record], object_id: str) -> str:
    """Return the row key of a user or a group."""
    return f"{'user' if kind is User else 'group'}|{object_id}"


def record_row(record: Record) -> str:
    """Return the row key of a record."""
    return object_row(type(record), record.object_id)


def address_row(address: str) -> str:
    """Return an address's row key, whatever its letter case."""
    return f"address|{address.casefold()}"


def member_rows(group_id: str) -> str:
    """Return what the row keys of a group's members begin with."""
    return f"member|{group_id}|"


def member_row(group_id: str, member: Member) -> str:
    """Return the row key of a group's member."""
    return f"{member_rows(group_id)}{member.member_id}"


def count_row(number: int) -> str:
    """Return the row key of the count that a shard's transaction of that number wrote."""
    return f"{COUNT_ROW}|{number:06}"


def domain_row(name: str) -> str:
    """Return the row key of a domain."""
    return f"{DOMAIN_ROWS}{name}"
