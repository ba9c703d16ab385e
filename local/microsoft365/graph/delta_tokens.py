"""The state tokens of delta queries: opaque to the caller, bound to tenant and collection, good for seven days.

Source: learn.microsoft.com/graph/delta-query-overview, "State tokens" and "Token duration". Form and check sum are ours.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import blake2s

LIFETIME = timedelta(days=7)
INITIAL = -1
"""In the place of a sequence: the round tells what exists, not what changed."""
Position = tuple[int | str, str]
"""Where a page begins: at which object, and after which of its members."""
_SUM_SIZE = 8


@dataclass(frozen=True, slots=True)
class RoundState:
    """What a token says: the question, the round in the journal, and the page in the round."""

    select: tuple[str, ...] | None = None
    """The properties that are tracked; None: those that come without a selection."""
    ids: tuple[str, ...] = ()
    """The only objects that are tracked; empty: all."""
    since: int = INITIAL
    """The round tells what changed after this entry of the journal."""
    until: int = 0
    """The last entry that this round tells of; the next round begins there."""
    position: Position | None = None
    """Where this page begins; None: at the beginning."""
    former: Position | None = None
    """Where the page before began; None: at the beginning."""
    is_begun: bool = False
    """Whether there was a page before; else `former` says nothing."""
    empty_pages: int = 0
    """So many empty pages come first."""

    def next_round(self) -> RoundState:
        """The state of the round after this one, before it has begun."""
        return RoundState(self.select, self.ids, since=self.until)


@dataclass(frozen=True, slots=True)
class TokenBinding:
    """What a token belongs to: a collection of a tenant, and the tenant's epoch."""

    tenant_id: str
    collection: str
    epoch: int


class TokenError(ValueError):
    """Raised for a token that is broken, too old, of another collection, or of another kind."""


def write_token(binding: TokenBinding, kind: str, state: RoundState, now: datetime) -> str:
    """Return a token; `kind` is `skip` or `delta`."""
    fields = [
        binding.tenant_id,
        binding.collection,
        binding.epoch,
        kind,
        int(now.timestamp()),
        state.select,
        state.ids,
        state.since,
        state.until,
        state.position,
        state.former,
        state.is_begun,
        state.empty_pages,
    ]
    content = json.dumps(fields, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(_check_sum(content) + content).decode().rstrip("=")


def read_token(binding: TokenBinding, kind: str, token: str, now: datetime) -> RoundState:
    """Return what a token says. Raises TokenError."""
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise TokenError("not a token") from None
    content = raw[_SUM_SIZE:]
    if raw[:_SUM_SIZE] != _check_sum(content):
        raise TokenError("not a token")
    tenant_id, collection, epoch, written_kind, issued, select, ids, *rest = json.loads(content)
    if (TokenBinding(tenant_id, collection, epoch), written_kind) != (binding, kind):
        raise TokenError("of another collection")
    if now.timestamp() - issued > LIFETIME.total_seconds():
        raise TokenError("too old")
    since, until, position, former, is_begun, empty_pages = rest
    state = RoundState(None if select is None else tuple(select), tuple(ids), since, until)
    return replace(state, position=_position(position), former=_position(former), is_begun=is_begun, empty_pages=empty_pages)


def _position(written: list[int | str] | None) -> Position | None:
    return None if written is None else (written[0], str(written[1]))


def _check_sum(content: bytes) -> bytes:
    return blake2s(content, digest_size=_SUM_SIZE, key=b"state of a delta query").digest()
