"""The applications' own tokens: credentials that keep nothing, and what a token says.

A role or a consent shows only in a token that is issued after it, so a token is asked for anew wherever an effect is looked for.
"""

import asyncio
import importlib
import ssl
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import jwt

from shared.domain.problems import problem
from shared.microsoft import permissions
from shared.microsoft.clouds import Cloud, Egress, roles_page
from shared.microsoft.permissions import Application
from shared.microsoft.rotation import Rotation
from shared.ports import ApplicationToken, AskedPermission, MicrosoftCall, RefusedError
from shared.settings import ManagedIdentity, Settings

if TYPE_CHECKING:
    from shared.microsoft.credentials import CredentialPool, RotatingCredential

EVERY_APPLICATION = "0997a1d0-0d1d-4acb-b408-d5ca73121e90"
"""Stands in ``wids`` of every app-only token and is no role (Entra's access-token-claims-reference)."""


async def load(module: str) -> Any:
    """Import a heavy module without holding up the event loop, and return it."""
    return await asyncio.to_thread(importlib.import_module, module)


class TokenCredential(Protocol):
    """What msgraph-sdk and our Exchange client ask for tokens."""

    async def get_token(self, *scopes: str, **options: Any) -> Any:
        """Return azure-core's ``AccessToken``. Raises NotYetError, RefusedError or TransientError."""


class Tokens:
    """Opens credentials of the operator's registrations for a tenant."""

    def __init__(self, settings: Settings, cloud: Cloud, egress: Egress, tls: ssl.SSLContext) -> None:
        self._settings = settings
        self._connection = (cloud, egress, tls)
        self._pool: CredentialPool | None = None

    def client_id(self, application: str) -> str:
        """Return the registration's client id.

        Raises ValueError for an application that Grantline does not have, RefusedError for one that this installation is without.
        """
        client_id = getattr(self._settings, f"{Application(application)}_client_id")
        if client_id is None:
            raise RefusedError(f"the {application} application is not configured", problem("application_not_offered"))
        return str(client_id)

    def roles_page(self) -> str:
        """Return where directory roles are assigned by hand."""
        return roles_page(self._settings)

    def rotation(self, application: str) -> Rotation:
        """Return what an application proves itself with."""
        return Rotation(application, self._settings.credentials_of(application))

    async def assertion(self, identity: ManagedIdentity) -> str:
        """Return the managed identity's token, which a registration's federated credential takes in place of a secret.

        https://learn.microsoft.com/entra/workload-id/workload-identity-federation-config-app-trust-managed-identity
        """
        return await (await self._opened()).managed_identity_token(identity.client_id)

    async def open(self, application: str, tenant_id: str) -> "RotatingCredential":
        """Return a new credential without any cached token."""
        pool = await self._opened()
        return pool.open(tenant_id, self.client_id(application), self.rotation(application))

    async def given(self, token: str) -> TokenCredential:
        """Return a credential that has this token alone."""
        credentials = await load("shared.microsoft.credentials")
        credential: TokenCredential = credentials.GivenToken(token)
        return credential

    async def close(self) -> None:
        """Close the connections."""
        if self._pool:
            await self._pool.close()

    async def _opened(self) -> "CredentialPool":
        credentials = await load("shared.microsoft.credentials")
        if self._pool is None:
            self._pool = credentials.CredentialPool(*self._connection)
        return self._pool


class EntraIdentity:
    """``ports.TenantIdentity`` by Microsoft Entra's client credentials grant."""

    def __init__(self, tokens: Tokens, cloud: Cloud, settings: Settings) -> None:
        self._tokens = tokens
        self._cloud = cloud
        self._settings = settings

    async def application_token(self, application: str, tenant_id: str) -> ApplicationToken:
        """See ``ports.TenantIdentity``."""
        credential = await self._tokens.open(application, tenant_id)
        token = await credential.get_token(self._cloud.scope(permissions.resource_of(application)))
        return replace(read_token(token.token), credential=credential.used)

    def required_permissions(self, application: str) -> frozenset[str]:
        """See ``ports.TenantIdentity``."""
        return permissions.expected(application, self._settings)

    def optional_permissions(self, application: str) -> frozenset[str]:
        """See ``ports.TenantIdentity``."""
        return permissions.optional(application, self._settings)

    def asked_permissions(self, application: str) -> tuple[AskedPermission, ...]:
        """See ``ports.TenantIdentity``."""
        return tuple(
            AskedPermission(
                entry.name,
                permissions.RESOURCE_NAMES[entry.resource],
                entry.consumer,
                entry.reason,
                entry.risk,
                entry.delegated,
                is_optional=entry.optional,
                calls=tuple(MicrosoftCall(call.method, call.path, call.source) for call in permissions.calls_of(entry)),
            )
            for entry in permissions.asked(application, self._settings)
        )


def read_token(token: str) -> ApplicationToken:
    """Return what our own access token says.

    Its signature is not checked: it came from Microsoft over TLS, to us, and nobody is let in by it; the resource that it is for
    checks it (https://learn.microsoft.com/entra/identity-platform/access-tokens). Raises RefusedError when it can't be read.
    """
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
        return ApplicationToken(
            tenant_id=str(claims["tid"]).lower(),
            client_id=str(claims.get("appid") or claims["azp"]).lower(),
            object_id=str(claims["oid"]).lower(),
            permissions=frozenset(map(str, claims.get("roles", ()))),
            directory_roles=frozenset(map(str, claims.get("wids", ()))) - {EVERY_APPLICATION},
        )
    except (jwt.PyJWTError, KeyError) as error:
        found = problem("unexpected", raw=f"the application's token can't be read: {type(error).__name__}")
        raise RefusedError(found.raw, found) from None
