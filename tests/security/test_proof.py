"""An id_token is believed only when Microsoft signed it for this application, this sign-in and this moment."""

import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from shared.consent import proof
from shared.consent.proof import (
    APPLICATION_ADMINISTRATOR,
    CLOUD_APPLICATION_ADMINISTRATOR,
    GLOBAL_ADMINISTRATOR,
    GUEST,
    PERSONAL_ACCOUNTS_TENANT,
    PRIVILEGED_ROLE_ADMINISTRATOR,
    Proof,
)
from shared.consent.state import RedirectError
from shared.domain.grant import RoleMode
from shared.domain.problems import CATALOGUE
from shared.domain.steps import STEPS, StepName

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


def hmac_signed_with_the_public_key() -> str:
    """Return a token that is signed with HS256, Microsoft's public key in the place of a shared secret. PyJWT makes no such."""
    public = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    parts = ({"alg": "HS256", "typ": "JWT", "kid": "one"}, dict(CLAIMS))
    signed = b".".join(urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts)
    signature = urlsafe_b64encode(hmac.digest(public, signed, "sha256")).rstrip(b"=")
    return b".".join((signed, signature)).decode()


SWAPPED: Mapping[str, str] = {
    "none": token(key=None, algorithm="none"),
    "a shared secret": token(key="a shared secret that is long enough for HS256", algorithm="HS256"),
    "the public key as a shared secret": hmac_signed_with_the_public_key(),
    "another RSA algorithm": token(algorithm="RS512"),
}


@pytest.mark.parametrize("kind", SWAPPED)
def test_an_unsigned_or_swapped_algorithm_is_refused(kind: str) -> None:
    """Only RS256 is taken, whatever the token's header says."""
    swapped = SWAPPED[kind]

    with pytest.raises(RedirectError):
        proof.key_id(swapped)
    with pytest.raises(RedirectError):
        proof.prove(swapped, key=KEY.public_key(), client_id="our-client", issuer=ISSUER, nonce="our-nonce", now=NOW)


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "eyJ.eyJ.x"])
def test_what_is_no_token_is_refused(text: str) -> None:
    """Anything else in the place of a token is refused in the same words."""
    with pytest.raises(RedirectError):
        proof.key_id(text)


EXCHANGE_ADMINISTRATOR, MEMBER = "29232cdf-9323-42fd-ade2-1d097af3e4de", "b79fbf4d-3ef9-4689-8143-76b194e85509"
HOLDERS: Mapping[str, frozenset[str]] = {
    "global": frozenset({GLOBAL_ADMINISTRATOR, MEMBER}),
    "privileged role": frozenset({PRIVILEGED_ROLE_ADMINISTRATOR, MEMBER}),
    "application": frozenset({APPLICATION_ADMINISTRATOR, MEMBER}),
    "cloud application": frozenset({CLOUD_APPLICATION_ADMINISTRATOR, MEMBER}),
    "exchange": frozenset({EXCHANGE_ADMINISTRATOR, MEMBER}),
    "member, or eligible only": frozenset({MEMBER}),
    "guest": frozenset({GUEST}),
    "guest with the role": frozenset({GUEST, GLOBAL_ADMINISTRATOR}),
    "guest, application": frozenset({GUEST, APPLICATION_ADMINISTRATOR}),
    "no roles told": frozenset(),
}
"""What ``wids`` says of people."""
REFUSED: Mapping[str, str] = {
    "application": "role_may_not_consent",
    "cloud application": "role_may_not_consent",
    "exchange": "not_administrator",
    "member, or eligible only": "not_administrator",
    "guest": "guest_account",
    "guest, application": "role_may_not_consent",
    "no roles told": "administrator_not_proved",
}
"""What everybody hears who may not; nobody else is refused."""
MAY_CONSENT_BY_HAND = frozenset({"application", "cloud application", "guest, application"})
PERSONS_STEPS = [name for name, definition in STEPS.items() if definition.person]


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("role_mode", RoleMode)
@pytest.mark.parametrize("step", PERSONS_STEPS)
def test_who_may_do_a_step_depends_on_the_way_to_the_role(step: StepName, role_mode: RoleMode, holder: str) -> None:
    """Every cell: who goes on, or the one sentence that fits. Application administrators may consent where that is enough."""
    who = Proof(TENANT, "o", "u", HOLDERS[holder])
    is_enough = step is StepName.MAIL_FLOW_CONSENT and role_mode in (RoleMode.BY_HAND, RoleMode.ROLE_GROUP)
    refused = "" if is_enough and holder in MAY_CONSENT_BY_HAND else REFUSED.get(holder, "")

    try:
        proof.require_administrator(who, proof.accepted(step, role_mode), TENANT)
        told = ""
    except RedirectError as error:
        told = error.problem.code

    assert told == refused


def test_an_eligible_administrator_is_told_to_activate_the_role() -> None:
    """Microsoft names no eligible role: whoever has one looks like a member, and the words say what to do."""
    kind = CATALOGUE["not_administrator"]

    assert "eligible counts once it is activated" in kind.cause
    assert kind.fix.startswith("Activate the Global Administrator or Privileged Role Administrator role")


@pytest.mark.parametrize(
    ("tenant_id", "pinned", "code"),
    [
        (TENANT, "another-tenant", "tenant_differs"),
        (PERSONAL_ACCOUNTS_TENANT, "", "personal_account"),
        (PERSONAL_ACCOUNTS_TENANT, TENANT, "personal_account"),
    ],
)
def test_who_is_not_the_tenants_administrator_is_refused(tenant_id: str, pinned: str, code: str) -> None:
    """An administrator of another tenant and a personal account each get their own words."""
    with pytest.raises(RedirectError) as caught:
        proof.require_administrator(Proof(tenant_id, "o", "u", proof.ADMINISTRATORS), proof.ADMINISTRATORS, pinned)

    assert caught.value.problem.code == code


# --- a new sign-in, and its own access token -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("minutes", "is_fresh"), [(0, True), (-4, True), (-6, False), (-600, False)], ids=["now", "in the leeway", "older", "hours"]
)
def test_a_session_that_lay_open_is_no_new_sign_in(minutes: int, *, is_fresh: bool) -> None:
    """Where Microsoft tells when the person signed in (``auth_time``), that must not be before it was asked for."""
    who = proved(token(auth_time=int((NOW + timedelta(minutes=minutes)).timestamp())))

    if is_fresh:
        proof.require_fresh(who, NOW)
    else:
        with pytest.raises(RedirectError) as caught:
            proof.require_fresh(who, NOW)
        assert caught.value.problem.code == "sign_in_again"


@pytest.mark.parametrize("auth_time", [None, "yesterday", [], {}])
def test_without_a_time_of_sign_in_the_prompt_is_all_there_is(auth_time: Any) -> None:
    """Microsoft leaves the claim out unless a registration lists it: then nothing is held against the sign-in."""
    who = proved(token(auth_time=auth_time))

    assert who.signed_in_at is None
    proof.require_fresh(who, NOW)


ACCESS: Mapping[str, Any] = {"tid": TENANT, "oid": "an-object-id", "appid": "role-helper", "aud": "https://graph.example"}


def check_access(**changes: Any) -> None:
    """Hold an access token with some claims changed against the sign-in that the other token proves."""
    claims = {name: value for name, value in {**ACCESS, **changes}.items() if value is not None}
    access = jwt.encode(claims, OTHER_KEY, algorithm="RS256")
    proof.check_access_token(access, proved(token()), client_id="role-helper", audiences=frozenset({"https://graph.example"}))


@pytest.mark.parametrize(
    "changes",
    [
        {"tid": "99999999-2222-4333-8444-555555555555"},
        {"oid": "somebody-else"},
        {"appid": "another-client"},
        {"appid": None, "azp": "another-client"},
        {"aud": "https://elsewhere.example"},
    ],
    ids=["tenant", "person", "client", "client, version 2", "audience"],
)
def test_an_access_token_of_another_sign_in_is_refused(changes: dict[str, Any]) -> None:
    """The token that is sealed for the role is this person's, of this tenant, to this client, for Microsoft Graph."""
    with pytest.raises(RedirectError) as caught:
        check_access(**changes)

    assert caught.value.problem.code == "sign_in_not_proved"


def test_an_access_token_that_says_nothing_is_left_to_microsoft() -> None:
    """Access tokens are opaque by contract: what can't be read is no reason to refuse."""
    check_access()
    check_access(tid=None, oid=None, appid=None, aud=None)
    proof.check_access_token("an opaque token", proved(token()), client_id="role-helper", audiences=frozenset())
