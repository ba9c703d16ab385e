"""Proof that a token request comes from the application it names: secret, certificate or another issuer's token.

Sources: entra-docs v2-oauth2-client-creds-grant-flow.md, certificate-credentials.md, and
workload-identity-federation-create-trust.md; RFC 7523.
"""

from __future__ import annotations

import binascii
import hmac
import re
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import unquote_plus

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.types import Options

from local.microsoft365.identity.errors import IdentityError
from local.microsoft365.identity.metadata import issuer
from local.microsoft365.keys import base64url
from local.microsoft365.model import Registration
from local.microsoft365.simulation import Simulation

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
BY_SECRET = "1"  # noqa: S105 - a value of the claim appidacr
BY_ASSERTION = "2"
_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_UNJUDGED = Options(verify_exp=False, verify_nbf=False, verify_iat=False, verify_aud=False)
_UNBELIEVED = Options(verify_signature=False, verify_exp=False, verify_nbf=False, verify_iat=False, verify_aud=False)
_CLOCK_TOLERANCE = 300
_EXPIRED = "The key used is expired."
_NOT_FOUND = "The key was not found."
_BAD_SIGNATURE = "The key used is not the one that signed."


def find_registration(simulation: Simulation, app_id: str, tenant_name: str) -> Registration:
    """The registration with this id. Raises IdentityError: 700038 (no GUID, or the empty one), 700016 (unknown)."""
    if not _GUID.fullmatch(app_id) or not int(app_id.replace("-", ""), 16):
        raise IdentityError(700038, app_id=app_id)
    registration = simulation.store.registrations.get(app_id.lower())
    if registration is None:
        raise IdentityError(700016, app_id=app_id, tenant=tenant_name)
    return registration


def with_basic_credentials(form: Mapping[str, str], authorization: str) -> dict[str, str]:
    """The form, completed from HTTP Basic authentication where that is used (client_secret_basic, RFC 6749 section 2.3.1)."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return dict(form)
    try:
        name, _, secret = b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return dict(form)
    return {"client_id": unquote_plus(name), "client_secret": unquote_plus(secret), **form}


def authenticate(simulation: Simulation, registration: Registration, tenant_segment: str, form: Mapping[str, str]) -> str:
    """Check the proof in `form`; returns BY_SECRET or BY_ASSERTION. Raises IdentityError."""
    if "client_assertion" in form:
        if form.get("client_assertion_type") != ASSERTION_TYPE:
            raise IdentityError(900144, field="client_assertion_type")
        _check_assertion(simulation, registration, tenant_segment, form["client_assertion"])
        return BY_ASSERTION
    if "client_secret" not in form:
        raise IdentityError(7000218)
    _check_secret(known_credentials(registration, simulation.clock.now()), form["client_secret"], simulation.clock.now())
    return BY_SECRET


def known_credentials(registration: Registration, now: datetime) -> Registration:
    """The registration with the secrets and certificates that the token endpoint knows by now."""
    unknown = {name for name, known_at in registration.known_at if known_at > now}
    return replace(
        registration,
        secrets=tuple(each for each in registration.secrets if each.key_id not in unknown and (each.starts_at or now) <= now),
        certificates=tuple(each for each in registration.certificates if each not in unknown),
    )


def _check_secret(registration: Registration, value: str, now: datetime) -> None:
    secret = next((each for each in registration.secrets if hmac.compare_digest(each.value.encode(), value.encode())), None)
    if secret is None:
        raise IdentityError(7000215, app_id=registration.app_id)
    if secret.expires_at <= now:
        raise IdentityError(7000222, app_id=registration.app_id)


def _check_assertion(simulation: Simulation, registration: Registration, segment: str, assertion: str) -> None:
    try:
        header = jwt.get_unverified_header(assertion)
        claims: dict[str, Any] = jwt.decode(assertion, options=_UNBELIEVED)
    except jwt.InvalidTokenError as error:
        raise IdentityError(700027, reason="The assertion is malformed.") from error
    if claims.get("iss") == registration.app_id:
        _check_certificate_assertion(simulation, registration, segment, assertion, header)
    else:
        _check_federated_assertion(registration, assertion, claims)
    _check_times(claims, simulation.clock.now())


def _check_certificate_assertion(
    simulation: Simulation, registration: Registration, segment: str, assertion: str, header: Mapping[str, Any]
) -> None:
    now = simulation.clock.now()
    key = _certificate_key(known_credentials(registration, now), header, now)
    claims = _verified(assertion, key, ["PS256", "RS256"])
    if claims.get("sub") != registration.app_id:
        raise IdentityError(700027, reason="The subject is not the application.")
    tenant = simulation.store.find_tenant(segment)
    names = {segment, tenant.id} if tenant else {segment}
    endpoints = {f"{simulation.url}/{name}/oauth2/v2.0/token" for name in names}
    issuers = {issuer(simulation.url, name) for name in names}
    if claims.get("aud") not in endpoints | issuers:
        raise IdentityError(700023)


def _certificate_key(registration: Registration, header: Mapping[str, Any], now: datetime) -> CertificatePublicKeyTypes:
    """The key of the registered certificate that the header names by its SHA-256 or SHA-1 thumbprint, if it is in force."""
    # MSAL for Python leaves the padding on, against RFC 7515; Microsoft takes it.
    named = {header.get(name, "").rstrip("=") for name in ("x5t#S256", "x5t")}
    for pem in registration.certificates:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        sha256 = base64url(certificate.fingerprint(hashes.SHA256()))
        sha1 = base64url(certificate.fingerprint(hashes.SHA1()))  # noqa: S303 - the header x5t is SHA-1 by definition
        if {sha256, sha1} & named:
            if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
                raise IdentityError(700027, reason=_EXPIRED)
            return certificate.public_key()
    raise IdentityError(700027, reason=_NOT_FOUND)


def _check_federated_assertion(registration: Registration, assertion: str, claims: Mapping[str, Any]) -> None:
    candidates = registration.federated_credentials
    # Microsoft compares issuer, subject and audience exactly, letter case included.
    by_issuer = [each for each in candidates if each.issuer == claims.get("iss")]
    if not by_issuer:
        raise IdentityError(700211, issuer=str(claims.get("iss")))
    by_subject = [each for each in by_issuer if each.subject == claims.get("sub")]
    if not by_subject:
        raise IdentityError(700213, subject=str(claims.get("sub")))
    found = next((each for each in by_subject if each.audience == claims.get("aud")), None)
    if found is None:
        raise IdentityError(700212, audience=str(claims.get("aud")))
    _verified(assertion, load_pem_public_key(found.public_key.encode()), ["RS256"])


def _verified(assertion: str, key: Any, algorithms: list[str]) -> dict[str, Any]:
    try:
        claims: dict[str, Any] = jwt.decode(assertion, key, algorithms=algorithms, options=_UNJUDGED)
    except jwt.InvalidTokenError as error:
        raise IdentityError(700027, reason=_BAD_SIGNATURE) from error
    return claims


def _check_times(claims: Mapping[str, Any], now: datetime) -> None:
    begins, ends = claims.get("nbf", 0), claims.get("exp", 0)
    if not begins - _CLOCK_TOLERANCE <= now.timestamp() <= ends + _CLOCK_TOLERANCE:
        raise IdentityError(700024)


def check_certificate(pem: str) -> None:
    """Raise ValueError when `pem` is no certificate."""
    x509.load_pem_x509_certificate(pem.encode())


def check_public_key(pem: str) -> None:
    """Raise ValueError when `pem` is no public key."""
    load_pem_public_key(pem.encode())
