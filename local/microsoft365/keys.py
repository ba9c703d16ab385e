"""The identity platform's signing key: made once for each data directory."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import lru_cache

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

_KEY_BITS = 2048


def base64url(value: bytes) -> str:
    """Base64url without padding (RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode("ascii")


@lru_cache(maxsize=4)
def _read(pem: bytes) -> rsa.RSAPrivateKey:
    # Reading checks the key's primes, which takes nearly as long as to make one: once in a process is enough.
    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise TypeError("the signing key is not an RSA key")
    return key


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """The key that signs tokens, with its id."""

    private: rsa.RSAPrivateKey
    key_id: str

    @classmethod
    def generate(cls) -> SigningKeys:
        """A new key."""
        return cls._of(rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS))

    @classmethod
    def load(cls, pem: bytes) -> SigningKeys:
        """The key of a data directory; raises ValueError or TypeError when it is no RSA key in PEM."""
        return cls._of(_read(pem))

    @classmethod
    def _of(cls, key: rsa.RSAPrivateKey) -> SigningKeys:
        encoded = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        return cls(key, base64url(hashlib.sha256(encoded).digest()[:20]))

    def pem(self) -> bytes:
        """The private key in PEM, for the data directory."""
        return self.private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def public_numbers(self) -> tuple[str, str]:
        """Modulus and exponent as a JSON Web Key writes them (RFC 7518, section 6.3.1)."""
        numbers = self.private.public_key().public_numbers()
        return base64url(numbers.n.to_bytes(_KEY_BITS // 8, "big")), base64url(numbers.e.to_bytes(3, "big"))
