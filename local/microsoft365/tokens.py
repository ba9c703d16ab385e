"""Tokens that the simulated identity platform issues, and their check by the simulated resources."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import jwt
from aiohttp import web
from jwt.types import Options

from local.microsoft365.catalogue import resources
from local.microsoft365.keys import SigningKeys
from local.microsoft365.simulation import APP_ID, TENANT_ID, Simulation, simulation_of


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
    amr: frozenset[str] = frozenset()
    """How the person has proved to be who she is: `pwd`, `mfa`; empty in a token of an application alone."""


ISSUED_BEFORE = 300
"""Seconds by which a token's `iat` lies before its issue."""


class ClaimsChallenge(web.HTTPUnauthorized):
    """Raised when continuous access evaluation refuses a token: 401 with the claims to ask for a new one with.

    Form: entra-docs claims-challenge.md and app-resilience-continuous-access-evaluation.md; the body's words were seen in
    answers of Graph.
    """

    def __init__(self, url: str, issued_from: int, reason: str) -> None:
        """`issued_from`: a token issued from then on (Unix time) is taken."""
        demand = {"access_token": {"nbf": {"essential": True, "value": str(issued_from)}}}
        claims = base64.b64encode(json.dumps(demand, separators=(",", ":")).encode()).decode()
        challenge = (
            f'Bearer realm="", authorization_uri="{url}/common/oauth2/authorize", error="insufficient_claims", claims="{claims}"'
        )
        message = f"Continuous access evaluation resulted in challenge with result: InteractionRequired and code: {reason}"
        super().__init__(
            headers={"WWW-Authenticate": challenge},
            text=json.dumps({"error": {"code": "InvalidAuthenticationToken", "message": message}}),
            content_type="application/json",
        )


class BearerError(Exception):
    """Raised when a request's bearer token is missing or cannot be trusted; `reason` says which of the documented ways."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        """One of: missing, malformed, signature, expired, audience, tenant."""


def verify_bearer(request: web.Request, audience: str) -> AccessToken:
    """The request's bearer token for a resource, checked.

    `audience` is one of GRAPH, EXCHANGE, MANAGEMENT of `catalogue`. Checked are signature, expiry by the simulation's
    clock, audience, that the tenant exists, and for CAE clients that the token was not revoked since. Raises BearerError or
    ClaimsChallenge.
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
    _evaluate(claims, simulation)
    return _access_token(claims)


def _evaluate(claims: dict[str, Any], simulation: Simulation) -> None:
    """Continuous access evaluation: raise ClaimsChallenge for a CAE client's token that no longer counts."""
    if "cp1" not in claims.get("xms_cc", ()):
        return
    now = int(simulation.clock.now().timestamp())
    if simulation.settings.address_changed:
        raise ClaimsChallenge(simulation.url, now, "LocationConditionEvaluationSatisfied")
    revoked_at = simulation.store.tenants[claims["tid"]].sessions_revoked_at.get(claims["oid"])
    if revoked_at is not None and claims["iat"] + ISSUED_BEFORE < int(revoked_at.timestamp()):
        raise ClaimsChallenge(simulation.url, now, "TokenCreatedWithOutdatedPolicies")


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
        amr=frozenset(claims.get("amr", ())),
    )
