r"""Partition keys and row keys: how names and moments become keys that Table storage takes and sorts.

Table storage forbids ``/ \ # ?`` and control characters in keys
(learn.microsoft.com/rest/api/storageservices/understanding-the-table-service-data-model). They are percent-encoded, and so is
``%`` itself: a key can be read back.
"""

import re
import zlib
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

_FORBIDDEN = re.compile(r"[/\\#?%\x00-\x1f\x7f-\x9f]")
MINUTE = "%Y%m%dT%H%MZ"
"""How a due row's key writes its minute: keys sort as time does."""
_FOLLOWING = {"\ud7ff": "\U00010000", "\U0010ffff": "\ue000"}
"""What follows a character in UTF-16 (RFC 2781), where not the next number does: those beyond U+FFFF are pairs of surrogates."""


def encode(name: str) -> str:
    """Return ``name`` as a key."""
    return _FORBIDDEN.sub(lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), name)


def decode(key: str) -> str:
    """Return the name that ``encode`` made a key of."""
    return unquote(key)


def entity(partition: str, row: str, columns: dict[str, Any]) -> dict[str, Any]:
    """Return a row's columns with its keys, encoded."""
    return {"PartitionKey": encode(partition), "RowKey": encode(row), **columns}


def order(key: str) -> bytes:
    """Return what sorts keys as Table storage does: by UTF-16 units, so that an emoji comes before U+FFFF."""
    return key.encode("utf-16-be", "surrogatepass")


def after_prefix(prefix: str) -> str:
    """Return the least key above every key that begins with ``prefix``, in the order of ``order``; "" when there is none."""
    rest = prefix.rstrip("\uffff")
    if not rest:
        return ""
    following = _FOLLOWING.get(rest[-1]) or chr(ord(rest[-1]) + 1)
    return rest[:-1] + following


def minute(at: datetime) -> str:
    """Write a whole minute. Raises ValueError for a moment that is none: rounding is the caller's decision."""
    if at.second or at.microsecond:
        raise ValueError(f"not a whole minute: {at.isoformat()}")
    return at.astimezone(UTC).strftime(MINUTE)


def parse_minute(text: str) -> datetime:
    """Read what ``minute`` wrote."""
    return datetime.strptime(text, MINUTE).replace(tzinfo=UTC)


def shard(name: str, shards: int) -> int:
    """Return the shard of a name: the same in every process and release, spread evenly."""
    return zlib.crc32(name.encode()) % shards
