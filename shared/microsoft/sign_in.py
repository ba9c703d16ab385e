"""Sign-in of people at Microsoft Entra: authorization code with PKCE, redeemed by MSAL, and admin consent.

Sources: https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow, v2-admin-consent, v2-protocols-oidc.
"""

import asyncio
import base64
import hashlib
import re
import ssl
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import jwt

from shared.domain.problems import Problem, problem
from shared.microsoft import errors, permissions
from shared.microsoft.clouds import Cloud, Egress
from shared.microsoft.errors import Service
from shared.microsoft.identity import Tokens, load
from shared.microsoft.transport import open_sync_client
from shared.ports import RefusedError, SignInAnswer, SignInRequest
from shared.settings import GUID, ClientCredential, ManagedIdentity

UNKNOWN_TENANT = re.compile(r"invalid_tenant|AADSTS(90002|900023|90013)\b")
"""How the metadata of a name that Microsoft does not know is refused, with status 400."""

SECOND_FACTOR = '{"access_token":{"amr":{"essential":true,"values":["mfa"]}}}'
"""The claims request for an access token that tells of multifactor authentication."""
GRAPH_APP_ID = "00000003-0000-0000-c000-000000000000"
"""Microsoft Graph's application id, which its tokens may name as their audience in the place of its address."""


class EntraSignIn:
    """``ports.SignIn`` by Microsoft Entra."""

    def __init__(self, tokens: Tokens, cloud: Cloud, http: httpx.AsyncClient, egress: Egress, tls: ssl.SSLContext) -> None:
        self._tokens = tokens
        self._cloud = cloud
        self._http = http
        self._egress = egress
        self._tls = tls
        self._keys: Mapping[str, jwt.PyJWK] = {}

    async def tenant_of_domain(self, domain: str) -> str | None:
        """See ``ports.SignIn``."""
        response = await self._get(self._metadata_url(quote(domain, safe="")))
        body = errors.json_of(response)
        if response.status_code == 200:
            found = GUID.search(str(body.get("issuer", "")))
            return found[0] if found else None
        answer = errors.entra_answer(response.status_code, body, errors.retry_after(response.headers))
        if UNKNOWN_TENANT.search(answer.line):
            return None
        raise errors.error_of(answer, errors.TOKEN)

    def authorization_url(self, request: SignInRequest) -> str:
        """See ``ports.SignIn``. Mostly no prompt is asked for: a browser that is signed in already goes straight on.

        That ``prompt=login`` asks for the credentials again is documented. A second factor is asked for as Microsoft's services
        ask for it when they refuse a token without one: by the ``claims`` parameter (OpenID Connect Core, 5.5), with the value
        of ``amr`` that a token carries then. Whether Entra heeds this value from every client is not documented.
        """
        challenge = base64.urlsafe_b64encode(hashlib.sha256(request.verifier.encode()).digest())
        query = {
            "client_id": self.client_id(request.application),
            "response_type": "code",
            "response_mode": "query",
            "redirect_uri": request.redirect_uri,
            "scope": " ".join(("openid", "profile", *self._scopes(request))),
            "state": request.state,
            "nonce": request.nonce,
            "code_challenge": challenge.decode().rstrip("="),
            "code_challenge_method": "S256",
            **({"prompt": "login"} if request.fresh or request.second_factor else {}),
            **({"claims": SECOND_FACTOR} if request.second_factor else {}),
        }
        return f"{self._cloud.authority}/{quote(request.tenant, safe='')}/oauth2/v2.0/authorize?{urlencode(query)}"

    def admin_consent_url(self, application: str, tenant_id: str, redirect_uri: str, state: str) -> str:
        """See ``ports.SignIn``. ``.default`` stands for everything that the registration lists, for all resources."""
        query = {
            "client_id": self.client_id(application),
            "redirect_uri": redirect_uri,
            "state": state,
            "scope": self._cloud.scope(permissions.resource_of(application)),
        }
        return f"{self._cloud.authority}/{quote(tenant_id, safe='')}/v2.0/adminconsent?{urlencode(query)}"

    async def redeem(self, request: SignInRequest, code: str) -> SignInAnswer:
        """See ``ports.SignIn``. MSAL does not know asyncio, so it works in a thread."""
        answer = await self._tokens.rotation(request.application).first_known(lambda used: self._redeemed(request, code, used))
        if "id_token" not in answer:
            raise RefusedError("Microsoft gave no id_token", problem("sign_in_failed", raw="no id_token"))
        access_token = answer.get("access_token", "") if request.scopes else ""
        return SignInAnswer(answer["id_token"], access_token, int(answer.get("expires_in", 0)))

    async def signing_keys(self, *, fresh: bool = False) -> Mapping[str, jwt.PyJWK]:
        """See ``ports.SignIn``. The keys are kept until ``fresh`` ones are asked for."""
        if fresh or not self._keys:
            metadata = errors.json_of(await self._get_ok(self._metadata_url("organizations")))
            document = errors.json_of(await self._get_ok(str(metadata.get("jwks_uri", ""))))
            signing = [key for key in document.get("keys", ()) if key.get("kty") == "RSA" and key.get("use", "sig") == "sig"]
            self._keys = {key["kid"]: jwt.PyJWK(key, algorithm="RS256") for key in signing}
        return self._keys

    def issuer(self) -> str:
        """See ``ports.SignIn``."""
        return f"{self._cloud.authority}/{{tenantid}}/v2.0"

    def graph_audiences(self) -> frozenset[str]:
        """See ``ports.SignIn``."""
        return frozenset({self._cloud.graph_resource.lower(), GRAPH_APP_ID})

    def redirect_problem(self, error: str, description: str) -> Problem:
        """See ``ports.SignIn``."""
        return errors.redirect_problem(error, description)

    def client_id(self, application: str) -> str:
        """See ``ports.SignIn``."""
        return self._tokens.client_id(application)

    def roles_page(self) -> str:
        """See ``ports.SignIn``."""
        return self._tokens.roles_page()

    def _metadata_url(self, tenant: str) -> str:
        return f"{self._cloud.authority}/{tenant}/v2.0/.well-known/openid-configuration"

    def _scopes(self, request: SignInRequest) -> list[str]:
        """Return the request's scopes with their resource: a bare name is one of Microsoft Graph's."""
        return [name if "://" in name else f"{self._cloud.graph_resource}/{name}" for name in request.scopes]

    async def _redeemed(self, request: SignInRequest, code: str, used: ClientCredential) -> dict[str, Any]:
        """Return what the token endpoint gave for a code; a refusal of the credential leaves the code as it is."""
        redemption = await load("shared.microsoft.redemption")
        credential = redemption.credential(await self._tokens.assertion(used) if isinstance(used, ManagedIdentity) else used)
        try:
            answer = await asyncio.to_thread(self._redeem, redemption, request, code, credential)
        except (httpx.TransportError, ValueError) as error:
            # MSAL raises ValueError for an answer that is no JSON.
            raise errors.unreachable(Service.ENTRA, error) from None
        if "error" in answer:
            raise errors.error_of(errors.entra_answer(400, answer), errors.CODE)
        return answer

    def _redeem(self, redemption: Any, request: SignInRequest, code: str, credential: Any) -> dict[str, Any]:
        """Redeem a code, in a thread of its own."""
        wanted = replace(request, scopes=tuple(self._scopes(request)))
        authority = f"{self._cloud.authority}/{request.tenant}"
        with open_sync_client(self._egress, self._tls) as client:
            answer: dict[str, Any] = redemption.redeem(
                client, authority, self.client_id(request.application), credential, wanted, code
            )
        return answer

    async def _get(self, url: str) -> httpx.Response:
        try:
            return await self._http.get(url)
        except httpx.TransportError as error:
            raise errors.unreachable(Service.ENTRA, error) from None

    async def _get_ok(self, url: str) -> httpx.Response:
        response = await self._get(url)
        if response.status_code != 200:
            answer = errors.entra_answer(response.status_code, errors.json_of(response), errors.retry_after(response.headers))
            raise errors.error_of(answer, errors.TOKEN)
        return response
