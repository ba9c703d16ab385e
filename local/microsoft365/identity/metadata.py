"""Discovery documents: OpenID configuration, signing keys, instance discovery.

Sources: entra-docs v2-protocols-oidc.md; an Azure SDK recording of the document; the capture of the real one from
2026-07 (github.com/calvinchengx/entra-emulator, e2e/golden/oidc-discovery.golden.json).
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from local.microsoft365.identity.errors import IdentityError, error_response, refuse_as_injected
from local.microsoft365.keys import SigningKeys, base64url
from local.microsoft365.model import Tenant
from local.microsoft365.simulation import Simulation

SHARED = frozenset({"organizations", "common"})
"""Path segments that stand for whichever tenant the account is of."""
_CACHEABLE = {"Cache-Control": "max-age=86400, private"}


def tenant_named(simulation: Simulation, name: str) -> Tenant | None:
    """The tenant of a path segment; None for `organizations` and `common`. Raises IdentityError when unknown."""
    if name.lower() in SHARED:
        return None
    tenant = simulation.store.find_tenant(name)
    if tenant is None:
        raise IdentityError(90002, tenant=name)
    return tenant


def issuer(url: str, tenant_id: str) -> str:
    """What a v2.0 token names as `iss`."""
    return f"{url}/{tenant_id}/v2.0"


def openid_configuration(url: str, segment: str, issuer_tenant: str) -> dict[str, Any]:
    """The discovery document: `segment` stands in the endpoints, `issuer_tenant` in the issuer."""
    base = f"{url}/{segment}"
    return {
        "token_endpoint": f"{base}/oauth2/v2.0/token",
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
        "jwks_uri": f"{base}/discovery/v2.0/keys",
        "response_modes_supported": ["query", "fragment", "form_post"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "issuer": issuer(url, issuer_tenant),
        "request_uri_parameter_supported": False,
        "userinfo_endpoint": f"{url}/oidc/userinfo",
        "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
        "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
        "http_logout_supported": True,
        "frontchannel_logout_supported": True,
        "end_session_endpoint": f"{base}/oauth2/v2.0/logout",
        "claims_supported": [
            "sub", "iss", "cloud_instance_name", "cloud_instance_host_name", "cloud_graph_host_name", "msgraph_host", "aud",
            "exp", "iat", "auth_time", "acr", "nonce", "preferred_username", "name", "tid", "ver", "at_hash", "c_hash", "email",
        ],
        "kerberos_endpoint": f"{base}/kerberos",
        "tenant_region_scope": None if issuer_tenant == "{tenantid}" else "NA",
        "cloud_instance_name": "microsoftonline.com",
        "cloud_graph_host_name": "graph.windows.net",
        "msgraph_host": "graph.microsoft.com",
        "rbac_url": "https://pas.windows.net",
    }  # fmt: skip


def signing_certificate(keys: SigningKeys) -> x509.Certificate:
    """A self-signed certificate of the signing key: fixed dates and serial number, so always the same one."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "accounts.accesscontrol.windows.net")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(keys.private.public_key())
    builder = builder.serial_number(0x5A17).not_valid_before(datetime(2024, 1, 1, tzinfo=UTC))
    return builder.not_valid_after(datetime(2044, 1, 1, tzinfo=UTC)).sign(keys.private, hashes.SHA256())


@lru_cache(maxsize=4)
def certificate_thumbprint(keys: SigningKeys) -> str:
    """The SHA-1 thumbprint of the signing key's certificate (`x5t`, RFC 7517 section 4.8)."""
    encoded = signing_certificate(keys).public_bytes(serialization.Encoding.DER)
    return base64url(hashlib.sha1(encoded, usedforsecurity=False).digest())


def json_web_keys(keys: SigningKeys, issuer_name: str) -> dict[str, Any]:
    """The published signing key (RFC 7517), with the members that Microsoft adds."""
    certificate = signing_certificate(keys).public_bytes(serialization.Encoding.DER)
    modulus, exponent = keys.public_numbers()
    return {
        "keys": [
            {
                "kty": "RSA",
                "use": "sig",
                "kid": keys.key_id,
                "x5t": certificate_thumbprint(keys),
                "n": modulus,
                "e": exponent,
                "x5c": [_base64(certificate)],
                "cloud_instance_name": "microsoftonline.com",
                "issuer": issuer_name,
            }
        ]
    }


def _base64(value: bytes) -> str:
    # RFC 7517, section 4.7: x5c is ordinary base64, unlike every other member.
    padded = base64url(value) + "=" * (-len(value) % 3)
    return padded.replace("-", "+").replace("_", "/")


def instance_discovery(url: str, host: str) -> dict[str, Any]:
    """What MSAL asks to learn whether an authority is one of Microsoft's (mspnp and MSAL: instance metadata, api-version 1.1)."""
    return {
        "tenant_discovery_endpoint": f"{url}/common/v2.0/.well-known/openid-configuration",
        "api-version": "1.1",
        "metadata": [{"preferred_network": host, "preferred_cache": host, "aliases": [host]}],
    }


def routes(simulation: Simulation) -> list[web.RouteDef]:
    """The routes of the discovery documents."""

    def issuer_tenant(request: web.Request) -> str:
        tenant = tenant_named(simulation, request.match_info["tenant"])
        # At organizations the issuer contains this literal, which a client replaces by the token's own tid.
        return tenant.id if tenant else "{tenantid}"

    async def configuration(request: web.Request) -> web.Response:
        try:
            refuse_as_injected(request)
            named = issuer_tenant(request)
        except IdentityError as error:
            return error_response(request, error, simulation.clock.now(), simulation.url)
        segment = request.match_info["tenant"] if named == "{tenantid}" else named
        return web.json_response(openid_configuration(simulation.url, segment, named), headers=_CACHEABLE)

    async def keys(request: web.Request) -> web.Response:
        try:
            refuse_as_injected(request)
            named = issuer_tenant(request)
        except IdentityError as error:
            return error_response(request, error, simulation.clock.now(), simulation.url)
        return web.json_response(json_web_keys(simulation.keys, issuer(simulation.url, named)), headers=_CACHEABLE)

    async def instance(_: web.Request) -> web.Response:
        host = simulation.url.removeprefix("https://")
        return web.json_response(instance_discovery(simulation.url, host), headers=_CACHEABLE)

    return [
        web.get("/{tenant}/v2.0/.well-known/openid-configuration", configuration),
        web.get("/{tenant}/discovery/v2.0/keys", keys),
        web.get("/common/discovery/instance", instance),
    ]
