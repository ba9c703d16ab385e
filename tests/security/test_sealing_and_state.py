"""What is sealed opens only in its place; a state is random and says nothing but its grant."""

from base64 import urlsafe_b64encode
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from shared.consent import sealing, state
from shared.telemetry import redact

KEY = SecretStr(urlsafe_b64encode(bytes(range(32))).decode())
OTHER = SecretStr(urlsafe_b64encode(bytes(32)).decode())


@given(st.text(max_size=200))
def test_what_is_sealed_opens_in_its_place(content: str) -> None:
    """Sealing loses nothing, and shows nothing of a content of some length."""
    sealed = sealing.seal(KEY, content, place="here")

    assert sealing.unseal(KEY, sealed, place="here") == content
    assert len(content) < 8 or content not in sealed


def test_a_seal_does_not_open_elsewhere() -> None:
    """Another place, another key or a changed byte: nothing opens."""
    sealed = sealing.seal(KEY, "a token", place=sealing.sealed_place("grant", "tenant"))

    for key, text, place in (
        (KEY, sealed, sealing.sealed_place("grant", "other tenant")),
        (OTHER, sealed, sealing.sealed_place("grant", "tenant")),
        (KEY, sealed[:-4] + "AAAA", sealing.sealed_place("grant", "tenant")),
        (KEY, "", sealing.sealed_place("grant", "tenant")),
    ):
        with pytest.raises(sealing.SealError):
            sealing.unseal(key, text, place=place)


def test_a_state_names_its_grant_and_nothing_can_be_guessed() -> None:
    """Two states of one grant share nothing but the grant."""
    grant_id = str(uuid4())
    one, other = state.new_state(grant_id), state.new_state(grant_id)

    assert state.grant_of(one) == state.grant_of(other) == grant_id
    assert one != other
    assert len(one) == 64


@given(st.text(max_size=100))
def test_any_text_may_stand_in_the_place_of_a_state(text: str) -> None:
    """A forged state is either one of ours in form, or none; it never raises."""
    assert state.grant_of(text) is None or len(text) >= 63


def test_the_verifier_is_as_long_as_pkce_asks() -> None:
    """RFC 7636 4.1: 43 to 128 unreserved characters."""
    assert 43 <= len(state.new_secret()) <= 128


@pytest.mark.parametrize(
    "text",
    [
        "token eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln and more",
        "POST /token?x=1&code=0.AAAsecret&state=s",
        "client_secret=abc~DEF&grant_type=x",
        "AccountKey=c2VjcmV0;EndpointSuffix=x",
        "Authorization: Bearer abc.def",
    ],
)
def test_logs_hold_no_secrets(text: str) -> None:
    """Tokens, codes, secrets and keys are redacted from whatever is logged."""
    redacted = redact(text)

    assert "[redacted]" in redacted
    for secret in ("eyJzdWIiOiJ4In0", "0.AAAsecret", "abc~DEF", "c2VjcmV0", "abc.def"):
        assert secret not in redacted
