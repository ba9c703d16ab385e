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
from local.microsoft365.identity.consent import application_permissions, directory_roles
from local.microsoft365.identity.metadata import issuer
from local.microsoft365.keys import base64url
from local.microsoft365.model import Registration, ServicePrincipal, Tenant
from local.microsoft365.population import User
from local.microsoft365.simulation import Simulation

LIFETIME = 3599
"""Seconds that an access token lives."""
APP_ONLY_WID = "0997a1d0-0d1d-4acb-b408-d5ca73121e90"
"""Stands in `wids` of app-only tokens; not a role (access-token-claims-reference.md)."""
MEMBER_WID = "b79fbf4d-3ef9-4689-8143-76b194e85509"
"""Stands in `wids` of every member's tokens: the default user role."""
GUEST_WID = "10dae51f-b6af-4016-8d66-8c2a99b929b3"
"""Stands in `wids` of every guest's tokens."""


@dataclass(frozen=True, slots=True)
class Issuer:
    """Issues tokens of one tenant to one application."""

    simulation: Simulation
    tenant: Tenant
    registration: Registration

    def app_only(self, client: ServicePrincipal, resource: Resource, authentication: str) -> str:
        """An access token for the application itself; `authentication`: "1" secret, "2" assertion (`appidacr`)."""
        claims = {
            **self._access_claims(resource, client.id, authentication),
            "idp": f"https://sts.windows.net/{self.tenant.id}/",
            "idtyp": "app",
            "sub": client.id,
            "wids": sorted({*directory_roles(self.simulation, self.tenant, client.id), APP_ONLY_WID}),
        }
        roles = application_permissions(self.simulation, self.tenant, client, resource)
        # Microsoft leaves the claim out rather than sending an empty list.
        return self._sign({**claims, "roles": roles} if roles else claims)

    def delegated(self, user: User, resource: Resource, scopes: str, authentication: str) -> str:
        """An access token for the application on behalf of a person."""
        return self._sign(
            {
                **self._access_claims(resource, user.id, authentication),
                "amr": ["pwd"],
                "idtyp": "user",
                "name": user.display_name,
                "scp": scopes,
                "sub": pairwise_subject(self.registration.app_id, user.id),
                "unique_name": user.user_principal_name,
                "upn": user.user_principal_name,
                "wids": self._user_wids(user),
            }
        )

    def identity(self, user: User, nonce: str | None, *, profile: bool) -> str:
        """An id_token, version 2.0. Without the profile scope it says neither name nor object id."""
        claims: dict[str, Any] = {
            **self._times(),
            "aud": self.registration.app_id,
            "iss": issuer(self.simulation.url, self.tenant.id),
            "sub": pairwise_subject(self.registration.app_id, user.id),
            "tid": self.tenant.id,
            "uti": _unique(),
            "ver": "2.0",
        }
        if nonce is not None:
            claims["nonce"] = nonce
        if profile:
            claims |= {"name": user.display_name, "oid": user.id, "preferred_username": user.user_principal_name}
        if _shows_roles(self.registration) and not self.simulation.settings.omit_wids:
            claims["wids"] = self._user_wids(user)
        return self._sign(claims)

    def _access_claims(self, resource: Resource, object_id: str, authentication: str) -> dict[str, Any]:
        return {
            **self._times(),
            "aud": resource.audience,
            "iss": f"https://sts.windows.net/{self.tenant.id}/",
            "app_displayname": self.registration.display_name,
            "appid": self.registration.app_id,
            "appidacr": authentication,
            "oid": object_id,
            "tenant_region_scope": "NA",
            "tid": self.tenant.id,
            "uti": _unique(),
            "ver": "1.0",
        }

    def _times(self) -> dict[str, int]:
        now = int(self.simulation.clock.now().timestamp())
        # Five minutes in the past, as Microsoft's tokens have it; the life counts from now.
        return {"iat": now - 300, "nbf": now - 300, "exp": now + LIFETIME}

    def _user_wids(self, user: User) -> list[str]:
        default = GUEST_WID if user.user_type == "Guest" else MEMBER_WID
        return [*sorted(directory_roles(self.simulation, self.tenant, user.id)), default]

    def _sign(self, claims: dict[str, Any]) -> str:
        keys = self.simulation.keys
        return jwt.encode(claims, keys.private, algorithm="RS256", headers={"kid": keys.key_id})


def pairwise_subject(app_id: str, user_id: str) -> str:
    """A person's `sub`: another one for each application (OpenID Connect Core, section 8.1)."""
    return base64url(hashlib.sha256(f"{app_id}|{user_id}".encode()).digest())


def _shows_roles(registration: Registration) -> bool:
    return registration.group_membership_claims in {"All", "DirectoryRole"}


def _unique() -> str:
    return secrets.token_urlsafe(16)
