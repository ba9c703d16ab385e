"""Client certificates for tests: self-signed, as Entra takes them too."""

from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@cache
def rsa_key(name: str) -> rsa.RSAPrivateKey:
    """Return the key of this name: made once, for that takes a while."""
    assert name
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def key_pem(key: PrivateKey, password: bytes = b"") -> str:
    """Return a private key in PEM, encrypted where a password is given."""
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode()


def certificate_pem(key: PrivateKey, name: str, ends_at: datetime) -> str:
    """Return a certificate in PEM that began a year before its end."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(ends_at - timedelta(days=365)).not_valid_after(ends_at)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def client_certificate(name: str, days: float = 200) -> tuple[str, str]:
    """Return a certificate that ends in so many days: as the app setting takes it (with its key), and alone."""
    key = rsa_key(name)
    public = certificate_pem(key, name, datetime.now(UTC) + timedelta(days=days))
    return key_pem(key) + public, public
