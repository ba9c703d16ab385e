"""A client certificate with its private key, as an operator gives it: PEM, as a key vault keeps it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate (PEM) and its private key (PEM, PKCS #8), which is never shown.

    ``thumbprint`` is SHA-1 in upper-case hexadecimal, as the Microsoft Entra admin center shows it.
    """

    private_key: str = field(repr=False)
    public: str = field(repr=False)
    thumbprint: str
    ends_at: datetime

    @property
    def pem(self) -> str:
        """Key and certificate together."""
        return self.private_key + self.public


def read_certificate(text: str) -> Certificate:
    """Return the private key in a PEM text and the certificate that belongs to it; others, such as its issuer's, are left out.

    Raises ValueError that names what is wrong and shows nothing of the text.
    """
    key = _key(text.encode())
    public_key = _bytes_of(key.public_key())
    found = next((each for each in _certificates(text.encode()) if _bytes_of(each.public_key()) == public_key), None)
    if found is None:
        raise ValueError("must hold the certificate that belongs to its private key")
    private_key = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    thumbprint = found.fingerprint(hashes.SHA1()).hex().upper()  # noqa: S303 - what Entra shows; nothing is trusted by it
    return Certificate(private_key, found.public_bytes(Encoding.PEM).decode(), thumbprint, found.not_valid_after_utc)


def _key(content: bytes) -> RSAPrivateKey:
    try:
        key = load_pem_private_key(content, password=None)
    except (ValueError, TypeError):
        raise ValueError("must be PEM with an unencrypted private key and its certificate") from None
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("must have an RSA key: Microsoft takes assertions signed by PS256")  # noqa: TRY004 - a fault of the value
    return key


def _certificates(content: bytes) -> Sequence[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError:
        raise ValueError("must be PEM with an unencrypted private key and its certificate") from None


def _bytes_of(key: object) -> bytes:
    """Return a public key's DER, to compare keys of whatever kind; b"" for one that has none."""
    public_bytes = getattr(key, "public_bytes", None)
    return public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) if public_bytes else b""
