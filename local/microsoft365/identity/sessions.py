"""Browser sessions and authorization codes: kept in memory only, so both end with the process."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

COOKIE = "ESTSAUTH"
CODE_LIFETIME = timedelta(minutes=10)
"""Source: entra-docs v2-oauth2-auth-code-flow.md ("about 10 minutes")."""
_REMEMBERED = timedelta(hours=1)
"""How long a redeemed code is told from one that never was."""


@dataclass(frozen=True, slots=True)
class Account:
    """A signed-in account."""

    tenant_id: str
    """The home tenant's id."""
    user_id: str


@dataclass(slots=True)
class Sessions:
    """Who is signed in, in which browser."""

    _key: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    _accounts: dict[str, list[Account]] = field(default_factory=dict)
    _second_factors: set[tuple[str, Account]] = field(default_factory=set)
    _signed_in_at: dict[tuple[str, Account], datetime] = field(default_factory=dict)

    def start(self) -> str:
        """A new session id, for a cookie."""
        return secrets.token_urlsafe(24)

    def canary(self, session_id: str) -> str:
        """What a form of this session must send back: another site can't know it."""
        return hmac.new(self._key, session_id.encode(), hashlib.sha256).hexdigest()

    def accounts(self, session_id: str) -> tuple[Account, ...]:
        """The accounts that are signed in here, the latest last."""
        return tuple(self._accounts.get(session_id, ()))

    def sign_in(self, session_id: str, account: Account, now: datetime) -> None:
        """Remember an account; a second sign-in of it counts as the latest, and has proved the password only."""
        self._signed_in_at[session_id, account] = now
        self._second_factors.discard((session_id, account))
        others = [each for each in self._accounts.get(session_id, ()) if each != account]
        self._accounts[session_id] = [*others, account]

    def prove_second_factor(self, session_id: str, account: Account) -> None:
        """Remember that an account of this session has passed multi-factor authentication."""
        self._second_factors.add((session_id, account))

    def methods(self, session_id: str, account: Account) -> tuple[str, ...]:
        """How an account of this session has proved itself, as the claim `amr` names it."""
        return ("pwd", "mfa") if (session_id, account) in self._second_factors else ("pwd",)

    def signed_in_at(self, session_id: str, account: Account) -> datetime | None:
        """When an account of this session last typed its password, as the claim `auth_time` says it."""
        return self._signed_in_at.get((session_id, account))

    def sign_out(self, session_id: str) -> None:
        """Forget all accounts of a session."""
        self._signed_in_at = {each: at for each, at in self._signed_in_at.items() if each[0] != session_id}
        self._second_factors = {each for each in self._second_factors if each[0] != session_id}
        self._accounts.pop(session_id, None)

    def clear(self) -> None:
        """Forget everybody."""
        self._second_factors.clear()
        self._signed_in_at.clear()
        self._accounts.clear()


@dataclass(frozen=True, slots=True)
class AuthorizationCode:
    """What a code stands for."""

    app_id: str
    tenant_id: str
    """The tenant that tokens will be of."""
    account: Account
    redirect_uri: str
    scopes: tuple[str, ...]
    """As asked for."""
    code_challenge: str | None
    nonce: str | None
    expires_at: datetime
    methods: tuple[str, ...] = ("pwd",)
    """How the person has proved to be who she is (`amr`)."""
    contexts: tuple[str, ...] = ()
    """Authentication contexts that were asked for and met (`acrs`)."""
    signed_in_at: datetime | None = None
    """When the person last typed a password (`auth_time`)."""
    redeemed: bool = False


@dataclass(slots=True)
class Codes:
    """The authorization codes of the last hour."""

    _codes: dict[str, AuthorizationCode] = field(default_factory=dict)

    def issue(self, code: AuthorizationCode) -> str:
        """A new code; old ones are forgotten on the way."""
        limit = code.expires_at - CODE_LIFETIME - _REMEMBERED
        self._codes = {value: each for value, each in self._codes.items() if each.expires_at > limit}
        value = f"1.{secrets.token_urlsafe(90)}"
        self._codes[value] = code
        return value

    def find(self, value: str) -> AuthorizationCode | None:
        """The code, redeemed or not."""
        return self._codes.get(value)

    def redeem(self, value: str) -> None:
        """Mark a code as used: it serves once."""
        self._codes[value] = replace(self._codes[value], redeemed=True)

    def clear(self) -> None:
        """Forget all codes."""
        self._codes.clear()
