"""Credentials: certificates sign as Microsoft documents it, and a rotation overlaps, for tokens and for codes."""

import logging
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from shared.certificates import read_certificate
from shared.microsoft import rotation
from shared.microsoft.client import MicrosoftClient
from shared.microsoft.rotation import notice_of
from shared.ports import RefusedError, TransientError, UsedCredential
from tests.support.certificates import client_certificate, rsa_key
from tests.support.managed_identity import managed_identity
from tests.unit.microsoft.conftest import (
    MAIL_FLOW_ID,
    SECRET,
    TENANT,
    Asked,
    Said,
    Scripted,
    access_token,
    settings_for,
    token_path,
)
from tests.unit.microsoft.test_identity import entra_error
from tests.unit.microsoft.test_sign_in import METADATA, REQUEST, id_token, metadata

NOW = datetime(2026, 11, 24, tzinfo=UTC)
IDENTITY = "33333333-3333-4333-8333-333333333333"
FORMER = "a former secret"
PEM, PUBLIC = client_certificate("one")
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

Form = Mapping[str, str]


@asynccontextmanager
async def client_of(server: Scripted, **changes: Any) -> AsyncIterator[MicrosoftClient]:
    """Open Grantline's client with other credentials of the mail-flow application."""
    client = MicrosoftClient(settings_for(server.url, server.ca_file, **changes))
    try:
        yield client
    finally:
        await client.close()


def form_of(asked: Asked) -> Form:
    """Return the form of a request."""
    return dict(parse_qsl(asked.text))


async def token_for(client: MicrosoftClient) -> UsedCredential:
    """Ask for a token of the mail-flow application; return what it was given for."""
    token = await client.identity.application_token("mail_flow", TENANT)
    assert token.credential is not None
    return token.credential


def prepare(server: Scripted, *answers: Said) -> str:
    """Have the token endpoint of sign-ins give these answers, then an id_token; return its path."""
    path = token_path("organizations")
    server.say(METADATA.format("organizations"), metadata(server, "organizations"))
    server.say(path, *answers, Said({"id_token": id_token(), "access_token": access_token(), "expires_in": 3599}))
    return path


def refused_first(server: Scripted, *refusals: Said) -> None:
    """Have the tenant's token endpoint refuse so many times before it gives a token."""
    usual = server._answers[token_path().lower()].popleft()
    server.say(token_path(), *refusals, usual)


def check_assertion(form: Form, endpoint: str) -> None:
    """Hold an assertion to learn.microsoft.com/entra/identity-platform/certificate-credentials."""
    header = jwt.get_unverified_header(form["client_assertion"])
    certificate = x509.load_pem_x509_certificate(PUBLIC.encode())
    thumbprint = urlsafe_b64encode(certificate.fingerprint(hashes.SHA256())).decode()
    claims = jwt.decode(form["client_assertion"], rsa_key("one").public_key(), algorithms=["PS256"], audience=endpoint)
    assert (header["alg"], header["typ"], header["x5t#S256"].rstrip("=")) == ("PS256", "JWT", thumbprint.rstrip("="))
    assert (claims["iss"], claims["sub"]) == (MAIL_FLOW_ID, MAIL_FLOW_ID)
    assert claims["jti"]
    assert form["client_assertion_type"] == ASSERTION_TYPE
    assert "client_secret" not in form
    assert "PRIVATE" not in str(form)


async def test_a_certificate_signs_for_tokens(server: Scripted) -> None:
    """The client assertion of a token request is signed with PS256 and names the certificate by x5t#S256."""
    async with client_of(server, mail_flow_certificate=PEM, mail_flow_client_secret=None) as client:
        used = await token_for(client)

    certificate = read_certificate(PEM)
    assert used == UsedCredential("certificate", certificate.thumbprint, certificate.ends_at)
    check_assertion(form_of(server.asked_for(token_path())[0]), f"{server.url}{token_path()}")


async def test_a_certificate_signs_for_codes(server: Scripted) -> None:
    """So is the one that goes with a code."""
    path = prepare(server)
    async with client_of(server, mail_flow_certificate=PEM, mail_flow_client_secret=None) as client:
        await client.sign_in.redeem(REQUEST, "a-code")

    form = form_of(server.asked_for(path)[0])
    assert (form["code"], form["code_verifier"]) == ("a-code", REQUEST.verifier)
    check_assertion(form, jwt.decode(form["client_assertion"], options={"verify_signature": False})["aud"])
    assert jwt.decode(form["client_assertion"], options={"verify_signature": False})["aud"].startswith(server.url)


async def test_the_managed_identity_vouches_for_codes(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a secret and a certificate, the managed identity's token goes with the code."""
    path = prepare(server)
    changes = {"mail_flow_client_secret": None, "managed_identity_client_id": IDENTITY}
    async with managed_identity(monkeypatch, lambda audience: f"for {audience}"), client_of(server, **changes) as client:
        await client.sign_in.redeem(REQUEST, "a-code")
        assert await token_for(client) == UsedCredential("managed identity", IDENTITY)

    form = form_of(server.asked_for(path)[0])
    assert (form["client_assertion"], form["client_assertion_type"]) == ("for api://AzureADTokenExchange", ASSERTION_TYPE)


UNKNOWN = {
    "not known yet": entra_error(7000215, 401, "invalid_client"),
    "expired": entra_error(7000222, 401, "invalid_client"),
    "certificate not known": entra_error(700027, 401, "invalid_client"),
    "no federated credential": entra_error(700213, 401, "invalid_client"),
}


@pytest.mark.parametrize("refusal", UNKNOWN.values(), ids=UNKNOWN.keys())
async def test_the_former_credential_is_used_while_the_newer_is_not_known(server: Scripted, refusal: Said) -> None:
    """For tokens and for codes: refused with the newer one, asked for at once with the former, and told that it was so."""
    path = prepare(server, refusal)
    refused_first(server, refusal)
    async with client_of(server, mail_flow_former_credential=FORMER) as client:
        used = await token_for(client)
        answer = await client.sign_in.redeem(REQUEST, "a-code")

    assert used == UsedCredential("client secret", is_former=True)
    assert answer.id_token
    for asked in (server.asked_for(token_path()), server.asked_for(path)):
        assert [form_of(each)["client_secret"] for each in asked] == [SECRET, FORMER]


async def test_a_known_credential_serves_all_scopes(server: Scripted) -> None:
    """One run asks Microsoft for the unknown one once."""
    refused_first(server, UNKNOWN["not known yet"])
    async with client_of(server, mail_flow_former_credential=FORMER) as client:
        credential = await client._tokens.open("mail_flow", TENANT)
        await credential.get_token("https://graph.microsoft.com/.default")
        await credential.get_token("https://outlook.office365.com/.default")

    assert [form_of(each)["client_secret"] for each in server.asked_for(token_path())] == [SECRET, FORMER, FORMER]


async def test_when_none_is_known_the_newest_is_the_problem(server: Scripted) -> None:
    """An operator puts the newest one right: its refusal is what is told."""
    refused_first(server, UNKNOWN["not known yet"], UNKNOWN["expired"])
    async with client_of(server, mail_flow_former_credential=FORMER) as client:
        with pytest.raises(RefusedError) as raised:
            await token_for(client)

    assert raised.value.problem.code == "credential_expired"
    assert "AADSTS7000215" in raised.value.problem.raw
    assert SECRET not in repr(raised.value)
    assert FORMER not in repr(raised.value)


OTHERS = {
    "conditional access": (entra_error(53003), RefusedError),
    "busy": (Said({}, 503), TransientError),
}


@pytest.mark.parametrize(("said", "error"), OTHERS.values(), ids=OTHERS.keys())
async def test_other_refusals_are_not_tried_around(server: Scripted, said: Said, error: type[Exception]) -> None:
    """What has nothing to do with the credential is the answer: the former one is left alone, and a code is sent once."""
    path = prepare(server, said)
    refused_first(server, said)
    async with client_of(server, mail_flow_former_credential=FORMER) as client:
        with pytest.raises(error):
            await token_for(client)
        with pytest.raises(error):
            await client.sign_in.redeem(REQUEST, "a-code")

    assert len(server.asked_for(token_path())) == len(server.asked_for(path)) == 1


NOTICES = [
    (UsedCredential("certificate", "AB12", NOW + timedelta(days=31)), ""),
    (
        UsedCredential("certificate", "AB12", NOW + timedelta(days=30)),
        "credential of mail_flow: certificate AB12 ends on 2026-12-24; rotate it before",
    ),
    (UsedCredential("client secret"), ""),
    (UsedCredential("managed identity", IDENTITY), ""),
    (
        UsedCredential("client secret", is_former=True),
        "credential of mail_flow: client secret is the former one; Microsoft does not know the newer one",
    ),
]


@pytest.mark.parametrize(("used", "notice"), NOTICES, ids=["far", "near", "secret", "identity", "former"])
def test_operators_are_told_ahead_of_time(used: UsedCredential, notice: str) -> None:
    """Thirty days before a certificate ends, and while a rotation is not finished; else there is nothing to say."""
    assert notice_of("mail_flow", used, NOW) == notice


async def test_a_notice_is_logged_once_a_day(server: Scripted, caplog: pytest.LogCaptureFixture) -> None:
    """Tokens are asked for with every run; the log says once what is to be done, and nothing secret."""
    rotation._log.cache_clear()
    ending, _ = client_certificate("ending", days=10)
    with caplog.at_level(logging.WARNING, logger="shared.microsoft.rotation"):
        for _ in range(2):
            async with client_of(server, mail_flow_certificate=ending, mail_flow_client_secret=None) as client:
                await token_for(client)

    (line,) = [record.getMessage() for record in caplog.records if record.name == "shared.microsoft.rotation"]
    certificate = read_certificate(ending)
    assert line.startswith(
        f"credential of mail_flow: certificate {certificate.thumbprint} ends on {certificate.ends_at:%Y-%m-%d}"
    )
    assert "PRIVATE" not in caplog.text
