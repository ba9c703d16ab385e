"""The secret by which the scanner's verdict headers are believed."""

import hashlib
import hmac
from base64 import urlsafe_b64decode

from pydantic import SecretStr

_PURPOSE = b"grantline verdict header v1\x00"
_LENGTH = 40


def verdict_secret(verdict_key: SecretStr, grant_id: str) -> str:
    """Return the grant's verdict secret: 160 bits in hexadecimal, derived (HMAC-SHA256, RFC 2104) and never stored.

    The product's scanner, which has the key too, derives it by itself (docs/operations.md, "The verdict secret").
    Hexadecimal text is one word to Exchange's ``HeaderContainsWords``, whatever its letter case.
    """
    key = urlsafe_b64decode(verdict_key.get_secret_value() + "==")
    return hmac.new(key, _PURPOSE + grant_id.encode(), hashlib.sha256).hexdigest()[:_LENGTH]
