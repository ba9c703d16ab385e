"""The applications' own tokens: always new, read for what they say, refused in words."""

from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs

import pytest

from shared.microsoft import credentials
from shared.microsoft.client import MicrosoftClient
from shared.microsoft.identity import read_token
from shared.ports import NotYetError, RefusedError, TransientError
from tests.support.managed_identity import managed_identity
from tests.unit.microsoft.conftest import (
    DIRECTORY_ID,
    MAIL_FLOW_ID,
    SECRET,
    TENANT,
    Said,
    Scripted,
    access_token,
    settings_for,
    token_answer,
    token_path,
)

EXCHANGE_ADMINISTRATOR = "29232cdf-9323-42fd-ade2-1d097af3e4de"


def entra_error(number: int, status: int = 400, error: str = "invalid_grant") -> Said:
    """Return an error of the token endpoint as Microsoft writes it."""
    text = f"AADSTS{number}: Text of Microsoft.\r\nTrace ID: t\r\nCorrelation ID: c0000000-0000-4000-8000-000000000000"
    body = {
        "error": error,
        "error_description": text,
        "error_codes": [number],
        "correlation_id": "c0000000-0000-4000-8000-000000000000",
    }
    return Said(body, status)


async def test_token_says_what_was_granted(server: Scripted, microsoft: MicrosoftClient) -> None:
    """Tenant, application, service principal, permissions and directory roles are read from the token."""
    wids = [EXCHANGE_ADMINISTRATOR, "0997a1d0-0d1d-4acb-b408-d5ca73121e90"]
    said = token_answer(roles=["Exchange.ManageAsApp"], wids=wids)
    server.say(token_path(), said, said)

    await microsoft.identity.application_token("mail_flow", TENANT)
    token = await microsoft.identity.application_token("mail_flow", TENANT)

    assert token.tenant_id == TENANT
    assert token.client_id == MAIL_FLOW_ID
    assert token.object_id == "22222222-2222-4222-8222-222222222222"
    assert token.permissions == {"Exchange.ManageAsApp"}
    assert token.directory_roles == {EXCHANGE_ADMINISTRATOR}


async def test_token_is_never_a_cached_one(server: Scripted, microsoft: MicrosoftClient) -> None:
    """Each look asks Microsoft again, for the application's own resource, without cp1."""
    for application in ("mail_flow", "mail_flow", "directory"):
        await microsoft.identity.application_token(application, TENANT)

    forms = [parse_qs(entry.text) for entry in server.asked_for(token_path())]
    assert [form["scope"][0] for form in forms] == [
        "https://outlook.office365.com/.default",
        "https://outlook.office365.com/.default",
        "https://graph.microsoft.com/.default",
    ]
    assert [form["client_id"][0] for form in forms] == [MAIL_FLOW_ID, MAIL_FLOW_ID, DIRECTORY_ID]
    assert all(form["client_secret"] == [SECRET] for form in forms)
    assert not any("claims" in form for form in forms)


@pytest.mark.parametrize("number", [7000229, 65001, 700016, 650051])
async def test_consent_has_not_spread(server: Scripted, microsoft: MicrosoftClient, number: int) -> None:
    """What the token endpoint answers for seconds after a consent means "not yet"."""
    server.say(token_path(), entra_error(number, 401), entra_error(number, 401))

    await microsoft.identity.application_token("mail_flow", TENANT)
    with pytest.raises(NotYetError, match="Microsoft Entra does not know yet"):
        await microsoft.identity.application_token("mail_flow", TENANT)


PROBLEMS = {
    7000215: "credential_expired",
    7000222: "credential_expired",
    700213: "our_registration",
    53003: "conditional_access",
    7000112: "application_disabled",
    650052: "no_exchange",
    90002: "tenant_unknown",
    5000224: "tenant_blocked",
    90038: "other_cloud",
    123456789: "unexpected",
}


@pytest.mark.parametrize(("number", "code"), PROBLEMS.items())
async def test_refusals(server: Scripted, microsoft: MicrosoftClient, number: int, code: str) -> None:
    """A refusal becomes a problem with Microsoft's own text and correlation id, and never our secret."""
    server.say(token_path(), entra_error(number), entra_error(number))

    await microsoft.identity.application_token("directory", TENANT)
    with pytest.raises(RefusedError) as raised:
        await microsoft.identity.application_token("directory", TENANT)

    found = raised.value.problem
    assert found.code == code
    assert f"AADSTS{number}: Text of Microsoft." in found.raw
    assert found.correlation_id == "c0000000-0000-4000-8000-000000000000"
    assert SECRET not in repr(raised.value)


BUSY = {
    "throttled": (Said({"error": "temporarily_unavailable"}, 429, {"Retry-After": "11"}), timedelta(seconds=11)),
    "fault": (Said({"error": "server_error"}, 503), None),
    "page of a gateway": (Said(b"<html>", 502, {"Content-Type": "text/html"}), None),
    "not JSON": (Said(b"<html>", 200, {"Content-Type": "text/html"}), None),
    "transient": (entra_error(90033), None),
}


@pytest.mark.parametrize(("said", "wish"), BUSY.values(), ids=BUSY.keys())
async def test_busy(server: Scripted, microsoft: MicrosoftClient, said: Said, wish: timedelta | None) -> None:
    """A busy token endpoint is for later: it is asked once, and its wish is kept."""
    server.say(token_path(), said, said)

    await microsoft.identity.application_token("mail_flow", TENANT)
    with pytest.raises(TransientError) as raised:
        await microsoft.identity.application_token("mail_flow", TENANT)

    assert raised.value.retry_after == wish
    assert len(server.asked_for(token_path())) == 2


async def test_unreachable(ca_file: Any) -> None:
    """A network that does not answer is for later."""
    microsoft = MicrosoftClient(settings_for("https://localhost:9", str(ca_file)))
    try:
        with pytest.raises(TransientError, match="can't be reached"):
            await microsoft.identity.application_token("mail_flow", TENANT)
    finally:
        await microsoft.close()


async def test_unknown_authority_is_not_trusted(server: Scripted) -> None:
    """Without the authority in the settings, TLS refuses the server."""
    microsoft = MicrosoftClient(settings_for(server.url, ""))
    try:
        with pytest.raises(TransientError, match="can't be reached"):
            await microsoft.identity.application_token("mail_flow", TENANT)
        with pytest.raises(TransientError, match="can't be reached"):
            await microsoft.sign_in.signing_keys()
    finally:
        await microsoft.close()
    assert server.asked == []


async def test_required_permissions_come_from_the_catalogue(microsoft: MicrosoftClient) -> None:
    """What a consent must have given is what the registrations list, delegated permissions apart."""
    identity = microsoft.identity
    graph = {"Organization.Read.All", "Domain.Read.All", "User.Read.All", "GroupMember.Read.All", "Mail.ReadBasic.All"}

    assert identity.required_permissions("mail_flow") == {"Exchange.ManageAsApp"}
    assert identity.required_permissions("directory") == graph
    assert identity.required_permissions("role_helper") == frozenset()


def test_unreadable_token_is_refused() -> None:
    """A token that is no JSON web token, or lacks the tenant, is a problem and is not shown."""
    for token in ("opaque-token", access_token(tid=None).partition(".")[0]):
        with pytest.raises(RefusedError) as raised:
            read_token(token)
        assert token not in raised.value.problem.raw


async def test_managed_identity_vouches_for_the_registration(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a secret, the managed identity's token for the exchange audience is the client assertion."""
    identity_id = "33333333-3333-4333-8333-333333333333"
    changes = {"mail_flow_client_secret": None, "managed_identity_client_id": identity_id}
    async with managed_identity(monkeypatch, lambda audience: f"assertion for {audience}") as asked:
        microsoft = MicrosoftClient(settings_for(server.url, server.ca_file, **changes))
        try:
            await microsoft.identity.application_token("mail_flow", TENANT)
        finally:
            await microsoft.close()

    form = parse_qs(server.asked_for(token_path())[0].text)
    assert form["client_assertion"] == ["assertion for api://AzureADTokenExchange"]
    assert form["client_assertion_type"] == ["urn:ietf:params:oauth:client-assertion-type:jwt-bearer"]
    assert "client_secret" not in form
    assert asked[0]["client_id"] == identity_id


async def test_credentials_refuse_a_host_that_is_not_configured(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard stands in front of the token requests too."""
    microsoft = MicrosoftClient(settings_for(server.url, server.ca_file))
    await microsoft.identity.application_token("mail_flow", TENANT)
    options = credentials.CredentialPool._options

    def elsewhere(pool: credentials.CredentialPool) -> dict[str, Any]:
        return {**options(pool), "authority": "https://evil.example.com"}

    monkeypatch.setattr(credentials.CredentialPool, "_options", elsewhere)
    try:
        with pytest.raises(RefusedError) as raised:
            await microsoft.identity.application_token("mail_flow", TENANT)
    finally:
        await microsoft.close()
    assert raised.value.problem.code == "unexpected_host"
