"""Tokens that the simulated identity platform issues, and their check by the simulated resources."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import jwt
from aiohttp import web
from jwt.types import Options

from local.microsoft365.catalogue import resources
from local.microsoft365.keys import SigningKeys
from local.microsoft365.simulation import APP_ID, TENANT_ID, simulation_of


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A verified bearer token. What it carries was fixed when it was issued."""

    tenant_id: str
    app_id: str
    object_id: str
    """Of the service principal in the tenant (app-only), else of the signed-in user."""
    roles: frozenset[str]
    """Application permissions by name."""
    scopes: frozenset[str]
    """Delegated permissions by name."""
    wids: frozenset[str]
    """Template ids of directory roles, of the service principal or of the user."""
    audience: str
    is_app_only: bool
    user_object_id: str | None


class BearerError(Exception):
    """Raised when a request's bearer token is missing or cannot be trusted; `reason` says which of the documented ways."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        """One of: missing, malformed, signature, expired, audience, tenant."""


def verify_bearer(request: web.Request, audience: str) -> AccessToken:
    """The request's bearer token for a resource, checked.

    `audience` is one of GRAPH, EXCHANGE, MANAGEMENT of `catalogue`. Checked are signature, expiry by the simulation's
    clock, audience, and that the tenant exists. Raises BearerError.
    """
    simulation = simulation_of(request)
    token = _bearer_of(request)
    claims = _verified_claims(token, simulation.keys)
    if datetime.fromtimestamp(claims["exp"], UTC) <= simulation.clock.now():
        raise BearerError("expired")
    # An id_token ends here too: its audience is the client.
    if claims["aud"] != resources()[audience].audience:
        raise BearerError("audience")
    if claims["tid"] not in simulation.store.tenants:
        raise BearerError("tenant")
    # The recorder shows whose request it was.
    request[TENANT_ID], request[APP_ID] = claims["tid"], claims["appid"]
    return _access_token(claims)


def _bearer_of(request: web.Request) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise BearerError("missing")
    return token.strip()


def _verified_claims(token: str, keys: SigningKeys) -> dict[str, Any]:
    """Signature only: the times are judged by the simulation's clock, which PyJWT does not know."""
    unjudged = Options(verify_exp=False, verify_nbf=False, verify_iat=False, verify_aud=False)
    try:
        claims: dict[str, Any] = jwt.decode(token, keys.private.public_key(), algorithms=["RS256"], options=unjudged)
    except jwt.InvalidSignatureError as error:
        raise BearerError("signature") from error
    except jwt.InvalidTokenError as error:
        raise BearerError("malformed") from error
    return claims


def _access_token(claims: dict[str, Any]) -> AccessToken:
    app_only = claims.get("idtyp") == "app"
    return AccessToken(
        tenant_id=claims["tid"],
        app_id=claims["appid"],
        object_id=claims["oid"],
        roles=frozenset(claims.get("roles", ())),
        scopes=frozenset(str(claims.get("scp", "")).split()),
        wids=frozenset(claims.get("wids", ())),
        audience=claims["aud"],
        is_app_only=app_only,
        user_object_id=None if app_only else claims["oid"],
    )
