"""Sealing: what must lie in a table but not in clear. AES-256-GCM with the place it belongs to as authenticated data."""

import os
from base64 import urlsafe_b64decode, urlsafe_b64encode

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import SecretStr

from shared.domain.grant import SEALED_LIFETIME, SEALED_ROW
from shared.domain.problems import GrantlineError
from shared.domain.steps import StepName

__all__ = ["ROLE_SCOPE", "SEALED_LIFETIME", "SEALED_ROW", "SealError", "derive", "seal", "sealed_place", "unseal"]

ROLE_SCOPE = "RoleManagement.ReadWrite.Directory"
"""The one delegated permission of the role helper."""
NONCE_BYTES = 12
"""The nonce size that NIST SP 800-38D recommends for GCM."""


class SealError(GrantlineError):
    """Raised when something sealed was changed, moved to another place, or sealed under another key."""


def sealed_place(grant_id: str, tenant_id: str) -> str:
    """Return the authenticated data of a grant's sealed token: it opens for this grant, tenant and step only."""
    return f"{grant_id}|{tenant_id}|{StepName.ROLE_ASSIGNMENT}"


def seal(key: SecretStr, content: str, *, place: str) -> str:
    """Encrypt ``content`` so that it opens only at ``place`` (for a token: grant, tenant and step)."""
    nonce = os.urandom(NONCE_BYTES)
    sealed = AESGCM(_bytes(key)).encrypt(nonce, content.encode(), place.encode())
    return urlsafe_b64encode(nonce + sealed).decode()


def unseal(key: SecretStr, sealed: str, *, place: str) -> str:
    """Decrypt what ``seal`` made for the same place. Raises SealError."""
    try:
        content = urlsafe_b64decode(sealed)
        return AESGCM(_bytes(key)).decrypt(content[:NONCE_BYTES], content[NONCE_BYTES:], place.encode()).decode()
    except (InvalidTag, ValueError):
        raise SealError("the sealed value does not open here") from None


def derive(key: SecretStr, purpose: str) -> bytes:
    """Return a key of 32 bytes for one purpose alone (HKDF with SHA-256, RFC 5869): it tells nothing of the key of another."""
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose.encode()).derive(_bytes(key))


def _bytes(key: SecretStr) -> bytes:
    return urlsafe_b64decode(key.get_secret_value() + "==")
