"""An id_token is believed only when Microsoft signed it for this application, this sign-in and this moment."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from shared.consent import proof
from shared.consent.proof import GLOBAL_ADMINISTRATOR, PERSONAL_ACCOUNTS_TENANT, Proof
from shared.consent.state import RedirectError
from shared.domain.steps import StepName

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
TENANT = "11111111-2222-4333-8444-555555555555"
ISSUER = "https://login.example/{tenantid}/v2.0"
CLAIMS: Mapping[str, Any] = {
    "aud": "our-client",
    "iss": f"https://login.example/{TENANT}/v2.0",
    "tid": TENANT,
    "oid": "an-object-id",
    "nonce": "our-nonce",
    "iat": int(NOW.timestamp()),
    "nbf": int(NOW.timestamp()),
    "exp": int((NOW + timedelta(hours=1)).timestamp()),
    "preferred_username": "admin@contoso.com",
    "wids": [GLOBAL_ADMINISTRATOR],
}


def token(key: Any = KEY, algorithm: str = "RS256", **changes: Any) -> str:
    """Return an id_token with some claims changed; a claim that is None is left out."""
    claims = {name: value for name, value in {**CLAIMS, **changes}.items() if value is not None}
    return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": "one"})


def proved(id_token: str, now: datetime = NOW) -> Proof:
    """Prove a token as the redirect does."""
    assert proof.key_id(id_token) == "one"
    return proof.prove(id_token, key=KEY.public_key(), client_id="our-client", issuer=ISSUER, nonce="our-nonce", now=now)


def test_a_good_token_proves_who_signed_in() -> None:
    """Tenant, user and roles are those that Microsoft signed."""
    who = proved(token())

    assert who == Proof(TENANT, "an-object-id", "admin@contoso.com", frozenset({GLOBAL_ADMINISTRATOR}))


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "another-client"},
        {"iss": "https://login.example/organizations/v2.0"},
        {"iss": "https://evil.example/11111111-2222-4333-8444-555555555555/v2.0"},
        {"tid": "99999999-2222-4333-8444-555555555555"},
        {"nonce": "another-nonce"},
        {"nonce": None},
        {"tid": None},
        {"oid": None},
        {"exp": None},
        {"exp": int((NOW - timedelta(minutes=6)).timestamp())},
        {"nbf": int((NOW + timedelta(minutes=6)).timestamp())},
    ],
)
def test_a_token_for_something_else_is_refused(changes: dict[str, Any]) -> None:
    """Another audience, issuer, tenant, sign-in or time."""
    with pytest.raises(RedirectError) as caught:
        proved(token(**changes))

    assert caught.value.problem.code == "sign_in_not_proved"


def test_a_token_of_another_key_is_refused() -> None:
    """The signature counts, not the name of the key."""
    with pytest.raises(RedirectError):
        proved(token(key=OTHER_KEY))


@pytest.mark.parametrize("algorithm", ["HS256", "none"])
def test_an_unsigned_or_swapped_algorithm_is_refused(algorithm: str) -> None:
    """Only RS256 is taken, whatever the token's header says."""
    swapped = token(key="a shared secret that is long enough for HS256" if algorithm == "HS256" else None, algorithm=algorithm)

    with pytest.raises(RedirectError):
        proof.key_id(swapped)
    with pytest.raises(RedirectError):
        proof.prove(swapped, key=KEY.public_key(), client_id="our-client", issuer=ISSUER, nonce="our-nonce", now=NOW)


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "eyJ.eyJ.x"])
def test_what_is_no_token_is_refused(text: str) -> None:
    """Anything else in the place of a token is refused in the same words."""
    with pytest.raises(RedirectError):
        proof.key_id(text)


@pytest.mark.parametrize(
    ("who", "pinned", "code"),
    [
        (Proof(TENANT, "o", "u", frozenset()), "", "not_administrator"),
        (Proof(TENANT, "o", "u", frozenset({"b79fbf4d-3ef9-4689-8143-76b194e85509"})), "", "not_administrator"),
        (Proof(TENANT, "o", "u", frozenset({GLOBAL_ADMINISTRATOR})), "another-tenant", "tenant_differs"),
        (Proof(PERSONAL_ACCOUNTS_TENANT, "o", "u", frozenset({GLOBAL_ADMINISTRATOR})), "", "personal_account"),
    ],
)
def test_who_is_not_the_tenants_administrator_is_refused(who: Proof, pinned: str, code: str) -> None:
    """A member, an administrator of another tenant and a personal account each get their own words."""
    with pytest.raises(RedirectError) as caught:
        proof.require_administrator(who, StepName.MAIL_FLOW_CONSENT, pinned)

    assert caught.value.problem.code == code
