"""Tokens that Microsoft would never sign for this sign-in, put into the answer of the simulated tenant's token endpoint."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jwt
import pytest

from local.microsoft365.identity.issue import Issuer

Spoil = Callable[[dict[str, Any], Issuer], str]
"""Makes the token that is answered with: from the claims of the right one, and who would have issued it."""


@contextmanager
def answering(monkeypatch: pytest.MonkeyPatch, kind: str, spoil: Spoil) -> Iterator[None]:
    """Have the token endpoint answer with another token of a ``kind``: "identity" (id_token) or "delegated" (access token)."""
    original = getattr(Issuer, kind)

    def spoilt(issuer: Issuer, *arguments: Any, **named: Any) -> str:
        return spoil(jwt.decode(original(issuer, *arguments, **named), options={"verify_signature": False}), issuer)

    with monkeypatch.context() as patch:
        patch.setattr(Issuer, kind, spoilt)
        yield


@contextmanager
def forged(monkeypatch: pytest.MonkeyPatch, kind: str = "identity", **changes: Any) -> Iterator[None]:
    """Have the token endpoint answer with a token, signed as ever, with some claims changed; one that is None is left out."""

    def spoil(claims: dict[str, Any], issuer: Issuer) -> str:
        changed = {name: value for name, value in {**claims, **changes}.items() if value is not None}
        keys = issuer.simulation.keys
        return jwt.encode(changed, keys.private, algorithm="RS256", headers={"kid": keys.key_id})

    with answering(monkeypatch, kind, spoil):
        yield
