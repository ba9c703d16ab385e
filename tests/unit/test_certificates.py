"""Client certificates: read with their keys, or refused in words that show nothing of them."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from shared.certificates import read_certificate
from tests.support.certificates import certificate_pem, client_certificate, key_pem, rsa_key

SOON = datetime.now(UTC).replace(microsecond=0) + timedelta(days=90)


def test_a_certificate_is_read_with_its_key() -> None:
    """Its end is known, its thumbprint is as the admin center shows it, and nothing of its key stands where it is printed."""
    pem, public = client_certificate("one")

    certificate = read_certificate(pem)

    assert certificate.public == public
    assert certificate.pem == pem
    assert certificate.thumbprint == certificate.thumbprint.upper()
    assert len(certificate.thumbprint) == 40
    assert "PRIVATE" not in repr(certificate)
    assert read_certificate(public + pem.removesuffix(public)) == certificate  # whichever comes first


def test_of_a_chain_the_one_of_the_key_counts() -> None:
    """A key vault's secret holds the issuers' certificates too, in whichever order."""
    issuer = certificate_pem(rsa_key("issuer"), "issuer", SOON)
    odd = certificate_pem(ec.generate_private_key(ec.SECP256R1()), "odd", SOON)
    own = certificate_pem(rsa_key("one"), "own", SOON)

    certificate = read_certificate(key_pem(rsa_key("one")) + issuer + odd + own)

    assert certificate.public == own
    assert certificate.ends_at == SOON


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("@Microsoft.KeyVault(SecretUri=https://vault.example/secrets/x)", "must be PEM"),
        (certificate_pem(rsa_key("one"), "one", SOON), "must be PEM"),
        (key_pem(rsa_key("one")), "must be PEM"),
        (key_pem(rsa_key("one"), b"a password") + certificate_pem(rsa_key("one"), "one", SOON), "unencrypted"),
        (key_pem(rsa_key("one")) + certificate_pem(rsa_key("other"), "other", SOON), "belongs to its private key"),
        (key_pem(ec.generate_private_key(ec.SECP256R1())), "RSA"),
        (key_pem(rsa_key("one")) + "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "must be PEM"),
    ],
    ids=["reference", "no key", "no certificate", "encrypted", "another key's", "elliptic curve", "garbled"],
)
def test_what_can_not_be_used_is_refused(text: str, words: str) -> None:
    """Each fault is told in words of our own, without a line of what was set."""
    with pytest.raises(ValueError, match=words) as raised:
        read_certificate(text)

    assert not {line for line in text.splitlines() if line} & set(str(raised.value).splitlines())
    assert raised.value.__cause__ is None
