"""Credentials by azure-identity. Heavy to import: loaded with its first use (``identity.Tokens``)."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
from azure.core.credentials import AccessToken
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import AzureError
from azure.core.pipeline.transport import AioHttpTransport
from azure.identity import CredentialUnavailableError
from azure.identity.aio import (
    CertificateCredential,
    ClientAssertionCredential,
    ClientSecretCredential,
    ManagedIdentityCredential,
)
from pydantic import SecretStr

from shared.domain.problems import GrantlineError, problem
from shared.microsoft import errors
from shared.microsoft.clouds import Cloud, Egress
from shared.microsoft.errors import Service
from shared.microsoft.rotation import Rotation
from shared.ports import RefusedError, UsedCredential
from shared.settings import ClientCredential, ManagedIdentity

RETRIES: dict[str, Any] = {
    "retry_total": 3,
    "retry_connect": 2,
    "retry_read": 1,
    "retry_status": 0,
    "retry_backoff_factor": 0.2,
    "retry_backoff_max": 2,
}
"""Of azure-core: short tries after network faults; a busy answer is never waited for inside of a run."""


class Credential:
    """A credential of azure-identity that raises Grantline's errors."""

    def __init__(self, inner: AsyncTokenCredential) -> None:
        self._inner = inner

    async def get_token(self, *scopes: str, **_options: Any) -> AccessToken:
        """Return a token, the same one for as long as it lives. Raises NotYetError, RefusedError or TransientError.

        Options are left out: a claims challenge is for clients that declare cp1, whose tokens live for a day.
        """
        try:
            return await self._inner.get_token(*scopes)
        except AzureError as error:
            raise _error_of(error) from None

    async def close(self) -> None:
        """Close the credential."""
        await self._inner.close()


class GivenToken:
    """A credential that has one token and can't get another: an administrator's own."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
        """Return the token; whether it still lives is for the service to say."""
        return AccessToken(self._token, 0)


class RotatingCredential:
    """The credentials of one registration: the newest that Microsoft knows gives the tokens."""

    def __init__(self, rotation: Rotation, open_one: Callable[[ClientCredential], Awaitable[Credential]]) -> None:
        self._rotation = rotation
        self._open_one = open_one
        self._known: Credential | None = None
        self._asking = asyncio.Lock()
        self.used: UsedCredential | None = None
        """What gave the last token."""

    async def get_token(self, *scopes: str, **_options: Any) -> AccessToken:
        """Return a token, the same one for as long as it lives. Raises NotYetError, RefusedError or TransientError.

        Whoever asks meanwhile waits for the one answer.
        """
        async with self._asking:
            if self._known is not None:
                return await self._known.get_token(*scopes)
            return await self._rotation.first_known(lambda credential: self._try(credential, scopes))

    async def _try(self, credential: ClientCredential, scopes: tuple[str, ...]) -> AccessToken:
        opened = await self._open_one(credential)
        token = await opened.get_token(*scopes)
        self._known, self.used = opened, self._rotation.described(credential)
        return token


class CredentialPool:
    """Opens credentials over one pool of connections: one TLS context, no proxy of the environment, no cookies, guarded."""

    def __init__(self, cloud: Cloud, egress: Egress, tls: ssl.SSLContext) -> None:
        self._cloud = cloud
        self._egress = egress
        connector = aiohttp.TCPConnector(ssl=tls)
        self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False)
        self._managed_identity: Credential | None = None

    def open(self, tenant_id: str, client_id: str, rotation: Rotation) -> "RotatingCredential":
        """Return a new credential, without any cached token, of a registration."""
        return RotatingCredential(rotation, lambda credential: self._one(tenant_id, client_id, credential))

    async def _one(self, tenant_id: str, client_id: str, credential: ClientCredential) -> Credential:
        if isinstance(credential, ManagedIdentity):
            assertion = await self.managed_identity_token(credential.client_id)
            return Credential(ClientAssertionCredential(tenant_id, client_id, lambda: assertion, **self._options()))
        if isinstance(credential, SecretStr):
            return Credential(ClientSecretCredential(tenant_id, client_id, credential.get_secret_value(), **self._options()))
        options = {"certificate_data": credential.pem.encode(), **self._options()}
        return Credential(CertificateCredential(tenant_id, client_id, **options))

    async def managed_identity_token(self, client_id: str) -> str:
        """Return a token of the managed identity for the audience that federated credentials name.

        It comes from the platform's endpoint on this very machine, which the guard is not for.
        """
        if self._managed_identity is None:
            inner = ManagedIdentityCredential(client_id=client_id, use_env_settings=False, **RETRIES)
            self._managed_identity = Credential(inner)
        return (await self._managed_identity.get_token(f"{self._cloud.assertion_audience}/.default")).token

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()
        if self._managed_identity:
            await self._managed_identity.close()

    def _options(self) -> dict[str, Any]:
        transport = AioHttpTransport(session=self._session, session_owner=False, connection_timeout=5, read_timeout=20)
        return {"authority": self._cloud.authority, "transport": transport, "raw_request_hook": self._check, **RETRIES}

    def _check(self, request: Any) -> None:
        self._egress.check(request.http_request.url)


def _error_of(error: AzureError) -> GrantlineError:
    """Return what a failure of azure-identity means: its own text only repeats the answer's, which is read here."""
    response = getattr(error, "response", None)
    if isinstance(error, CredentialUnavailableError) and response is None:
        # No identity is assigned to the application, or another than the settings name: no network trouble.
        return RefusedError("the managed identity gives no token", problem("our_registration", raw="no managed identity here"))
    if response is None:
        return errors.unreachable(Service.ENTRA, error)
    body = errors.json_object(response.text())
    answer = errors.entra_answer(response.status_code, body, errors.retry_after(response.headers))
    if not answer.code and answer.status < 429:
        return errors.unreadable(Service.ENTRA, answer.status)
    return errors.error_of(answer, errors.TOKEN)
