"""Sign-in of people: addresses, codes, keys and the errors that a browser brings back."""

import base64
import hashlib
import json
import time
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from shared.microsoft.client import MicrosoftClient
from shared.ports import RefusedError, SignInRequest, TransientError
from tests.unit.microsoft.conftest import (
    DIRECTORY_ID,
    MAIL_FLOW_ID,
    ROLE_HELPER_ID,
    SECRET,
    TENANT,
    Said,
    Scripted,
    token_path,
)

REQUEST = SignInRequest(
    application="mail_flow",
    tenant="organizations",
    redirect_uri="https://console.example.com/signed-in",
    state="a-state",
    nonce="a-nonce",
    verifier="v" * 43,
)
FOR_ROLE = SignInRequest(
    application="role_helper",
    tenant=TENANT,
    redirect_uri=REQUEST.redirect_uri,
    state="a-state",
    nonce="a-nonce",
    verifier="v" * 43,
    scopes=("RoleManagement.ReadWrite.Directory",),
)
METADATA = "/{}/v2.0/.well-known/openid-configuration"


def metadata(server: Scripted, tenant: str, issuer_tenant: str = "{tenantid}") -> Said:
    """Return a tenant's metadata document."""
    return Said(
        {
            "issuer": f"{server.url}/{issuer_tenant}/v2.0",
            "authorization_endpoint": f"{server.url}/{tenant}/oauth2/v2.0/authorize",
            "token_endpoint": f"{server.url}/{tenant}/oauth2/v2.0/token",
            "jwks_uri": f"{server.url}/{tenant}/discovery/v2.0/keys",
        }
    )


def id_token() -> str:
    """Return an id_token; its signature is for the proof to check, not for the redemption."""
    claims = {"aud": MAIL_FLOW_ID, "tid": TENANT, "iss": "x", "sub": "s", "exp": int(time.time()) + 600, "nonce": "a-nonce"}
    return jwt.encode(claims, "a key of a test that is long enough for HMAC", algorithm="HS256")


def query_of(url: str) -> dict[str, str]:
    """Return an address's query, each name once."""
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def test_authorization_url(server: Scripted, microsoft: MicrosoftClient) -> None:
    """The browser is sent with PKCE S256, nonce and state, no prompt, and the verifier stays here."""
    url = microsoft.sign_in.authorization_url(REQUEST)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(REQUEST.verifier.encode()).digest()).decode().rstrip("=")

    assert url.startswith(f"{server.url}/organizations/oauth2/v2.0/authorize?")
    assert query_of(url) == {
        "client_id": MAIL_FLOW_ID,
        "response_type": "code",
        "response_mode": "query",
        "redirect_uri": REQUEST.redirect_uri,
        "scope": "openid profile",
        "state": "a-state",
        "nonce": "a-nonce",
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    assert REQUEST.verifier not in url


def test_role_scope_is_asked_of_graph(microsoft: MicrosoftClient) -> None:
    """The role helper's sign-in asks for its one delegated permission, of Microsoft Graph by name, and for no refresh token."""
    url = microsoft.sign_in.authorization_url(FOR_ROLE)

    assert query_of(url)["client_id"] == ROLE_HELPER_ID
    assert query_of(url)["scope"] == "openid profile https://graph.microsoft.com/RoleManagement.ReadWrite.Directory"


def test_a_new_sign_in_is_asked_for(microsoft: MicrosoftClient) -> None:
    """A fresh sign-in takes the credentials again; one with a second factor asks for a token that tells of it, too."""
    fresh = query_of(microsoft.sign_in.authorization_url(replace(REQUEST, fresh=True)))
    stronger = query_of(microsoft.sign_in.authorization_url(replace(FOR_ROLE, second_factor=True)))

    assert fresh["prompt"] == stronger["prompt"] == "login"
    assert "claims" not in fresh
    assert json.loads(stronger["claims"]) == {"access_token": {"amr": {"essential": True, "values": ["mfa"]}}}


def test_audiences_of_graph(microsoft: MicrosoftClient) -> None:
    """A token for Microsoft Graph names its address or its application id."""
    assert microsoft.sign_in.graph_audiences() == {"https://graph.microsoft.com", "00000003-0000-0000-c000-000000000000"}


def test_admin_consent_url(server: Scripted, microsoft: MicrosoftClient) -> None:
    """The consent is asked at the proved tenant's own address, for all that the registration lists."""
    url = microsoft.sign_in.admin_consent_url("directory", TENANT, "https://console.example.com/consented", "a-state")

    assert url.startswith(f"{server.url}/{TENANT}/v2.0/adminconsent?")
    assert query_of(url) == {
        "client_id": DIRECTORY_ID,
        "redirect_uri": "https://console.example.com/consented",
        "state": "a-state",
        "scope": "https://graph.microsoft.com/.default",
    }


async def test_code_is_redeemed(server: Scripted, microsoft: MicrosoftClient) -> None:
    """A code goes with verifier and secret to the tenant's token endpoint; no refresh token and no cp1 is asked for."""
    server.say(METADATA.format("organizations"), metadata(server, "organizations"))
    token = id_token()
    server.say(token_path("organizations"), Said({"access_token": "unasked", "id_token": token, "expires_in": 3599}))

    answer = await microsoft.sign_in.redeem(REQUEST, "a-code")

    form = query_of("?" + server.asked_for(token_path("organizations"))[0].text)
    assert answer.id_token == token
    assert answer.access_token == ""
    assert token not in repr(answer)
    assert form["grant_type"] == "authorization_code"
    assert form["code"] == "a-code"
    assert form["code_verifier"] == REQUEST.verifier
    assert form["redirect_uri"] == REQUEST.redirect_uri
    assert form["client_secret"] == SECRET
    assert set(form["scope"].split()) == {"openid", "profile"}
    assert "claims" not in form


async def test_delegated_token_is_returned_where_asked_for(server: Scripted, microsoft: MicrosoftClient) -> None:
    """With scopes, the administrator's access token and its life come along."""
    server.say(METADATA.format(TENANT), metadata(server, TENANT))
    server.say(
        f"{token_path()}",
        Said({"access_token": "delegated-token", "id_token": id_token(), "expires_in": 1234, "token_type": "Bearer"}),
    )
    server._answers[token_path().lower()].popleft()

    answer = await microsoft.sign_in.redeem(FOR_ROLE, "a-code")

    assert (answer.access_token, answer.expires_in) == ("delegated-token", 1234)
    form = query_of("?" + server.asked_for(token_path())[0].text)
    assert "https://graph.microsoft.com/RoleManagement.ReadWrite.Directory" in form["scope"].split()
    assert "offline_access" not in form["scope"]


CODES = {
    54005: "sign_in_again",
    501481: "sign_in_again",
    70008: "sign_in_again",
    7000215: "credential_expired",
    53003: "conditional_access",
}


@pytest.mark.parametrize(("number", "code"), CODES.items())
async def test_refused_codes(server: Scripted, microsoft: MicrosoftClient, number: int, code: str) -> None:
    """A used or expired code, a wrong verifier or secret is a problem with Microsoft's text; the code is not in it."""
    server.say(METADATA.format("organizations"), metadata(server, "organizations"))
    text = f"AADSTS{number}: Text of Microsoft. Correlation ID: c0000000-0000-4000-8000-000000000000"
    server.say(token_path("organizations"), Said({"error": "invalid_grant", "error_description": text}, 400))

    with pytest.raises(RefusedError) as raised:
        await microsoft.sign_in.redeem(REQUEST, "a-secret-code")

    assert raised.value.problem.code == code
    assert raised.value.problem.raw == text
    assert raised.value.problem.correlation_id == "c0000000-0000-4000-8000-000000000000"
    assert "a-secret-code" not in repr(raised.value)


async def test_answer_without_id_token_is_refused(server: Scripted, microsoft: MicrosoftClient) -> None:
    """An answer that proves nobody is a problem."""
    server.say(METADATA.format("organizations"), metadata(server, "organizations"))
    server.say(token_path("organizations"), Said({"access_token": "x", "expires_in": 1}))

    with pytest.raises(RefusedError) as raised:
        await microsoft.sign_in.redeem(REQUEST, "a-code")

    assert raised.value.problem.code == "sign_in_failed"


BUSY = {
    "throttled": (Said({}, 429, {"Retry-After": "3"}), timedelta(seconds=3)),
    "fault": (Said({}, 503), None),
    "not JSON": (Said(b"<html>"), None),
    "an id_token that is none": (Said({"id_token": "no-token", "access_token": "x", "expires_in": 1}), None),
    "an id_token of bad parts": (Said({"id_token": "a.%%%.c", "access_token": "x", "expires_in": 1}), None),
}


@pytest.mark.parametrize(("said", "wish"), BUSY.values(), ids=BUSY.keys())
async def test_busy(server: Scripted, microsoft: MicrosoftClient, said: Said, wish: timedelta | None) -> None:
    """A busy token endpoint is for later; the code is sent once, for it counts once."""
    server.say(METADATA.format("organizations"), metadata(server, "organizations"))
    server.say(token_path("organizations"), said)

    with pytest.raises(TransientError) as raised:
        await microsoft.sign_in.redeem(REQUEST, "a-code")

    assert raised.value.retry_after == wish
    assert len(server.asked_for(token_path("organizations"))) == 1


async def test_metadata_on_another_host_is_refused(server: Scripted, microsoft: MicrosoftClient) -> None:
    """MSAL is guarded as well: metadata that names another host's token endpoint gets no code and no secret."""
    document: dict[str, Any] = dict(metadata(server, "organizations").body)
    document["token_endpoint"] = "https://evil.example.com/organizations/oauth2/v2.0/token"
    server.say(METADATA.format("organizations"), Said(document))

    with pytest.raises(RefusedError) as raised:
        await microsoft.sign_in.redeem(REQUEST, "a-code")

    assert raised.value.problem.code == "unexpected_host"


async def test_signing_keys_are_kept_until_fresh_ones_are_asked_for(server: Scripted, microsoft: MicrosoftClient) -> None:
    """Keys are read once, by key id; ``fresh`` reads them anew. A key of theirs verifies a token of theirs."""
    private = rsa.generate_private_key(65537, 2048)
    key = {**RSAAlgorithm.to_jwk(private.public_key(), as_dict=True), "use": "sig", "kid": "one", "issuer": "x"}
    server.say(METADATA.format("organizations"), metadata(server, "organizations"))
    others = [{"kty": "EC", "kid": "curve"}, {**key, "kid": "encryption", "use": "enc"}]
    fresh = Said({"keys": [key, {**key, "kid": "two"}]})
    server.say("/organizations/discovery/v2.0/keys", Said({"keys": [key, *others]}), fresh)

    first = await microsoft.sign_in.signing_keys()
    assert await microsoft.sign_in.signing_keys() is first
    assert set(first) == {"one"}
    assert set(await microsoft.sign_in.signing_keys(fresh=True)) == {"one", "two"}

    token = jwt.encode({"tid": TENANT}, private, algorithm="RS256", headers={"kid": "one"})
    assert jwt.decode(token, first["one"], algorithms=["RS256"]) == {"tid": TENANT}


async def test_tenant_of_domain(server: Scripted, microsoft: MicrosoftClient) -> None:
    """A domain's tenant is read from its public metadata; a name that Microsoft does not know has none."""
    server.say(METADATA.format("contoso.com"), metadata(server, "contoso.com", TENANT))
    unknown = {"error": "invalid_tenant", "error_description": "AADSTS90002: Tenant 'nobody.example' not found."}
    server.say(METADATA.format("nobody.example"), Said(unknown, 400))
    server.say(METADATA.format("busy.example"), Said({}, 503))

    assert await microsoft.sign_in.tenant_of_domain("contoso.com") == TENANT
    assert await microsoft.sign_in.tenant_of_domain("nobody.example") is None
    with pytest.raises(TransientError):
        await microsoft.sign_in.tenant_of_domain("busy.example")


async def test_domain_stays_one_part_of_the_path(server: Scripted, microsoft: MicrosoftClient) -> None:
    """What somebody types as a domain can't lead to another address."""
    with pytest.raises(TransientError):
        await microsoft.sign_in.tenant_of_domain("../x?y=#z")

    assert server.asked[0].path.endswith("/v2.0/.well-known/openid-configuration")
    assert server.asked[0].query == {}


def test_issuer_is_the_clouds(server: Scripted, microsoft: MicrosoftClient) -> None:
    """id_tokens name the tenant in the authority's issuer."""
    assert microsoft.sign_in.issuer() == f"{server.url}/{{tenantid}}/v2.0"


REDIRECTS = [
    ("access_denied", "AADSTS65004: User declined to consent to access the app.", "consent_denied"),
    ("permission_denied", "The admin canceled the request", "consent_denied"),
    ("consent_required", "AADSTS65004: declined", "consent_denied"),
    ("access_denied", "the user canceled the authentication", "sign_in_failed"),
    ("access_denied", "AADSTS90094: The grant requires admin permission.", "not_administrator"),
    ("interaction_required", "AADSTS50076: multi-factor", "sign_in_again"),
    ("invalid_client", "AADSTS650052: no subscription", "no_exchange"),
    ("access_denied", "AADSTS53003: blocked", "conditional_access"),
    ("unauthorized_client", "AADSTS700016: not found in the directory", "our_registration"),
    ("server_error", "AADSTS999: something new", "sign_in_failed"),
]


@pytest.mark.parametrize(("error", "description", "code"), REDIRECTS)
def test_redirect_problems(microsoft: MicrosoftClient, error: str, description: str, code: str) -> None:
    """What a browser brings back is told in words, with Microsoft's own behind them."""
    found = microsoft.sign_in.redirect_problem(error, f"{description}\r\nCorrelation ID: c0000000-0000-4000-8000-000000000000")

    assert found.code == code
    assert description in found.raw
    assert found.correlation_id == "c0000000-0000-4000-8000-000000000000"


def test_unknown_application_is_a_defect(microsoft: MicrosoftClient) -> None:
    """Only the operator's own registrations have a client id."""
    with pytest.raises(ValueError, match="calendar"):
        microsoft.sign_in.client_id("calendar")


def test_an_application_that_is_not_configured_is_a_problem(microsoft: MicrosoftClient) -> None:
    """What an installation is without is told to people as a problem of its operator, before any request."""
    with pytest.raises(RefusedError) as caught:
        microsoft.sign_in.client_id("activity")

    assert caught.value.problem.code == "application_not_offered"
