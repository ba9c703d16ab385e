r"""Partition keys and row keys: how names and moments become keys that Table storage takes and sorts.

Table storage forbids ``/ \ # ?`` and control characters in keys
(learn.microsoft.com/rest/api/storageservices/understanding-the-table-service-data-model). They are percent-encoded, and so is
``%`` itself: a key can be read back.
"""

import re
import zlib
from datetime import UTC, datetime
from urllib.parse import unquote

_FORBIDDEN = re.compile(r"[/\\#?%\x00-\x1f\x7f-\x9f]")
MINUTE = "%Y%m%dT%H%MZ"
"""How a due row's key writes its minute: keys sort as time does."""


def encode(name: str) -> str:
    """Return ``name`` as a key."""
    return _FORBIDDEN.sub(lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), name)


def decode(key: str) -> str:
    """Return the name that ``encode`` made a key of."""
    return unquote(key)


def after_prefix(prefix: str) -> str:
    """Return the least key above every key that begins with ``prefix``."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


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
