"""Makes tokens.

Claims: entra-docs id-token-claims-reference.md and access-token-claims-reference.md. Access tokens of Graph, Exchange
and the Management API are version 1.0 tokens (issuer sts.windows.net, `appid`), whichever endpoint issued them.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Any

import jwt

from local.microsoft365.catalogue import Resource
from local.microsoft365.identity.claims_request import ClaimsRequest
from local.microsoft365.identity.consent import application_permissions, directory_roles
from local.microsoft365.identity.metadata import certificate_thumbprint, issuer
from local.microsoft365.identity.people import APP_ONLY_WID, SignedIn
from local.microsoft365.identity.sessions import AuthorizationCode
from local.microsoft365.keys import base64url
from local.microsoft365.model import Registration, ServicePrincipal, Tenant
from local.microsoft365.simulation import Simulation
from local.microsoft365.tokens import ISSUED_BEFORE

LIFETIME = 3599
"""Seconds that an access token lives."""
CAE_LIFETIME = 86399
"""Seconds that an access token for a CAE client lives, as recorded; Microsoft names 24 to 28 hours."""


def lifetime(asked: ClaimsRequest) -> int:
    """Seconds that an access token for this client lives."""
    return CAE_LIFETIME if asked.is_cae_client else LIFETIME


@dataclass(frozen=True, slots=True)
class Issuer:
    """Issues tokens of one tenant to one application."""

    simulation: Simulation
    tenant: Tenant
    registration: Registration
    authentication: str
    """How the client has proved itself: "1" secret, "2" assertion (`appidacr`, `azpacr`)."""
    asked: ClaimsRequest

    def app_only(self, client: ServicePrincipal, resource: Resource) -> str:
        """An access token for the application itself."""
        claims = {
            **self._access_claims(resource, client.id),
            "idp": f"https://sts.windows.net/{self.tenant.id}/",
            "idtyp": "app",
            "sub": client.id,
            "wids": sorted({*directory_roles(self.simulation, self.tenant, client.id), APP_ONLY_WID}),
        }
        roles = application_permissions(self.simulation, self.tenant, client, resource)
        # Microsoft leaves the claim out rather than sending an empty list.
        return self._sign({**claims, "roles": roles} if roles else claims, names_certificate=True)

    def own_api(self, client: ServicePrincipal) -> str:
        """An access token for the application to itself: version 2.0, exactly the claims captured from a real tenant."""
        return self._sign(
            {
                **self._times(lifetime(self.asked)),
                **_opaque(),
                "aud": self.registration.app_id,
                "azp": self.registration.app_id,
                "azpacr": self.authentication,
                "iss": issuer(self.simulation.url, self.tenant.id),
                "oid": client.id,
                "sub": client.id,
                "tid": self.tenant.id,
                "ver": "2.0",
            }
        )

    def delegated(self, person: SignedIn, resource: Resource, scopes: str, code: AuthorizationCode) -> str:
        """An access token for the application on behalf of a person."""
        claims: dict[str, Any] = {
            **self._access_claims(resource, person.user.id),
            **_home(person),
            "amr": list(code.methods),
            "idtyp": "user",
            "name": person.user.display_name,
            "scp": scopes,
            "sub": pairwise_subject(self.registration.app_id, person.user.id),
            "unique_name": person.sign_in_name,
            "wids": person.wids(self.simulation),
        }
        if code.contexts:
            claims["acrs"] = list(code.contexts)
        # Who has an account elsewhere has no user principal name that could be signed in with here.
        return self._sign(claims if person.is_foreign else {**claims, "upn": person.sign_in_name}, names_certificate=True)

    def identity(self, person: SignedIn, code: AuthorizationCode) -> str:
        """An id_token, version 2.0. Without the profile scope it says neither name nor object id."""
        claims: dict[str, Any] = {
            **self._times(LIFETIME),
            **_home(person),
            "aud": self.registration.app_id,
            "iss": issuer(self.simulation.url, self.tenant.id),
            "sub": pairwise_subject(self.registration.app_id, person.user.id),
            "tid": self.tenant.id,
            "uti": _unique(),
            "ver": "2.0",
        }
        if code.nonce is not None:
            claims["nonce"] = code.nonce
        if "auth_time" in self.registration.optional_id_claims and code.signed_in_at:
            claims["auth_time"] = int(code.signed_in_at.timestamp())
        if "profile" in code.scopes:
            claims |= {"name": person.user.display_name, "oid": person.user.id, "preferred_username": person.sign_in_name}
        if _shows_roles(self.registration) and not self.simulation.settings.omit_wids:
            claims["wids"] = person.wids(self.simulation)
        return self._sign(claims)

    def _access_claims(self, resource: Resource, object_id: str) -> dict[str, Any]:
        claims = {
            **self._times(lifetime(self.asked)),
            **_opaque(),
            "aud": resource.audience,
            "iss": f"https://sts.windows.net/{self.tenant.id}/",
            "app_displayname": self.registration.display_name,
            "appid": self.registration.app_id,
            "appidacr": self.authentication,
            "oid": object_id,
            "tenant_region_scope": "NA",
            "tid": self.tenant.id,
            "ver": "1.0",
        }
        return {**claims, "xms_cc": ["cp1"]} if self.asked.is_cae_client else claims

    def _times(self, seconds: int) -> dict[str, int]:
        now = int(self.simulation.clock.now().timestamp())
        # Five minutes in the past, as Microsoft's tokens have it; the life counts from now.
        return {"iat": now - ISSUED_BEFORE, "nbf": now - ISSUED_BEFORE, "exp": now + seconds}

    def _sign(self, claims: dict[str, Any], *, names_certificate: bool = False) -> str:
        """The token. Version 1.0 tokens name the key by its certificate's thumbprint too; captured 2.0 ones don't."""
        keys = self.simulation.keys
        names = {"kid": keys.key_id, "x5t": certificate_thumbprint(keys)} if names_certificate else {"kid": keys.key_id}
        return jwt.encode(claims, keys.private, algorithm="RS256", headers=names)


def _home(person: SignedIn) -> dict[str, str]:
    """The claim that names another tenant as the one that knows the person (access-token-claims-reference.md, `idp`)."""
    return {"idp": f"https://sts.windows.net/{person.account.tenant_id}/"} if person.is_foreign else {}


def _opaque() -> dict[str, str]:
    """Claims that only Microsoft reads; `aio`, `rh` and `uti` are documented as such, `xms_ftd` was captured."""
    return {"aio": _unique(), "rh": f"1.{_unique()}.", "uti": _unique(), "xms_ftd": _unique()}


def pairwise_subject(app_id: str, user_id: str) -> str:
    """A person's `sub`: another one for each application (OpenID Connect Core, section 8.1)."""
    return base64url(hashlib.sha256(f"{app_id}|{user_id}".encode()).digest())


def _shows_roles(registration: Registration) -> bool:
    return registration.group_membership_claims in {"All", "DirectoryRole"}


def _unique() -> str:
    return secrets.token_urlsafe(16)
