"""State, PKCE and browser sessions: random values that tie a redirect to the browser and the grant that began it.

RFC 9700 (OAuth 2.0 Security Best Current Practice) 2.1 and 4.7: state bound to the browser, PKCE (RFC 7636) with S256.
"""

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from shared.domain import schedule
from shared.domain.grant import Row
from shared.domain.problems import ProblemError
from shared.domain.steps import StepName

LIFETIME = timedelta(minutes=60)
"""How long a redirect is waited for: activating a role in Privileged Identity Management takes a while."""
BROWSER_COOKIE = "grantline_browser"


class RedirectError(ProblemError):
    """Raised when a redirect must not be believed; carries the problem that its page shows."""


class Purpose(StrEnum):
    """What a redirect was begun for."""

    SIGN_IN = "sign_in"
    ADMIN_CONSENT = "admin_consent"
    TRANSFER = "transfer"
    RELEASE = "release"


SIGN_INS = frozenset({Purpose.SIGN_IN, Purpose.TRANSFER, Purpose.RELEASE})
"""The purposes whose redirect is that of a sign-in."""
FRESH = frozenset({Purpose.TRANSFER, Purpose.RELEASE})
"""The purposes that take more than a session that lies open: the administrator signs in anew for them."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A redirect that is waited for: one row of the grant's partition, named by the hash of its state."""

    purpose: Purpose
    step: StepName
    application: str
    browser: str
    """SHA-256 of the browser's cookie."""
    expires_at: datetime
    nonce: str = ""
    sealed_verifier: str = ""
    tenant: str = ""
    consumed: bool = False

    @property
    def begun_at(self) -> datetime:
        """When the browser was sent to Microsoft."""
        return self.expires_at - LIFETIME


def new_state(grant_id: str) -> str:
    """Return a random state (256 bits) that also says which grant's partition holds its row."""
    return urlsafe_b64encode(UUID(grant_id).bytes + secrets.token_bytes(32)).decode().rstrip("=")


def grant_of(state: str) -> str | None:
    """Return the id of the grant that a state names, or None for what can't be one of ours."""
    try:
        content = urlsafe_b64decode(state + "=" * (-len(state) % 4))
    except ValueError:
        return None
    return str(UUID(bytes=content[:16])) if len(content) == 48 else None


def new_secret() -> str:
    """Return 256 random bits in base64url: a nonce, a PKCE verifier (43 characters) or a browser's cookie."""
    return secrets.token_urlsafe(32)


def digest(value: str) -> str:
    """Return the SHA-256 of a value in hexadecimal: what the tables keep of states and cookies."""
    return hashlib.sha256(value.encode()).hexdigest()


def same(one: str, other: str) -> bool:
    """Compare two digests in constant time."""
    return hmac.compare_digest(one, other)


def row_key(state: str) -> str:
    """Return the row key of a state's row."""
    return f"consent|{digest(state)}"


def spent_row(state: str) -> str:
    """Return the row key that tells that a state's code has been sent to Microsoft: it is sent once, whatever becomes of it."""
    return f"spent|{digest(state)}"


def to_row(state: str, pending: Pending) -> Row:
    """Return the row of a redirect that is waited for."""
    value: dict[str, Any] = {name: getattr(pending, name) for name in Pending.__dataclass_fields__}
    return Row(row_key(state), {**value, "expires_at": schedule.stamp(pending.expires_at)})


def from_row(value: Mapping[str, Any]) -> Pending:
    """Return the redirect that a row is about."""
    known = {name: value[name] for name in Pending.__dataclass_fields__ if name in value}
    return Pending(
        **{
            **known,
            "purpose": Purpose(value["purpose"]),
            "step": StepName(value["step"]),
            "expires_at": schedule.parse(value["expires_at"]),
        }
    )
