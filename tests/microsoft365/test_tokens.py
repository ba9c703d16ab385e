"""The token endpoint: Microsoft's bodies, proofs of the client, and what the tokens carry."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import jwt
import msal
import pytest
from azure.identity.aio import ClientAssertionCredential, ClientSecretCredential
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import load_pem_x509_certificate

from local.microsoft365.identity.metadata import signing_certificate
from local.microsoft365.keys import SigningKeys, base64url
from local.microsoft365.model import Role, RoleAssignment
from tests.microsoft365.platform import EXCHANGE_DEFAULT, GRAPH_DEFAULT, Platform, claims_of

CAPTURED = Path(__file__).parents[2].parent / "shared" / "contracts" / "entra-captured"
BODY_FIELDS = {"error", "error_description", "error_codes", "timestamp", "trace_id", "correlation_id"}
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
CONSTANT_WID = "0997a1d0-0d1d-4acb-b408-d5ca73121e90"
Change = Callable[[dict[str, Any]], None]


async def new_code(platform: Platform) -> str:
    """A fresh authorization code of the administrator."""
    shown = await platform.sign_in(platform.authorize_url(), "admin@contoso.com")
    returned = shown.returned if shown.returned is not None else await platform.press(shown, "accept")
    return returned["code"]


async def test_an_application_token_carries_what_was_consented(platform: Platform) -> None:
    """After consent a token names the application, its service principal, the resource and the granted roles."""
    await platform.grant("mail_flow")
    answer = await platform.app_token()
    claims = claims_of(answer.json()["access_token"])

    client = platform.tenant.service_principal_of(platform.application("mail_flow").app_id)
    assert client is not None
    assert answer.json().keys() == {"token_type", "expires_in", "ext_expires_in", "access_token"}
    assert (answer.json()["expires_in"], answer.headers["cache-control"]) == (3599, "no-store, no-cache")
    assert claims["aud"] == "https://outlook.office365.com"
    assert claims["iss"] == f"https://sts.windows.net/{platform.tenant.id}/"
    assert (claims["appid"], claims["oid"], claims["idtyp"]) == (client.app_id, client.id, "app")
    assert claims["roles"] == ["Exchange.ManageAsApp"]
    assert claims["wids"] == [CONSTANT_WID]


async def test_a_token_has_the_roles_of_its_own_resource_only(platform: Platform) -> None:
    """Graph's token of an application with Exchange's permission does not name that one."""
    await platform.grant("directory")
    claims = claims_of((await platform.app_token("directory", GRAPH_DEFAULT)).json()["access_token"])

    assert claims["roles"] == ["Domain.Read.All", "User.Read.All"]


async def test_a_directory_role_is_in_tokens_issued_after_it_has_spread(platform: Platform) -> None:
    """A token of before stays without the role; a new one has it once the role is visible."""
    await platform.grant("mail_flow")
    tenant, clock = platform.tenant, platform.simulation.clock
    client = tenant.service_principal_of(platform.application("mail_flow").app_id)
    assert client is not None
    spread = clock.now() + timedelta(seconds=60)
    tenant.role_assignments["new"] = RoleAssignment("new", Role.EXCHANGE_ADMINISTRATOR, client.id, clock.now(), spread)
    early = claims_of((await platform.app_token()).json()["access_token"])
    clock.advance(61)
    late = claims_of((await platform.app_token()).json()["access_token"])

    assert early["wids"] == [CONSTANT_WID]
    assert late["wids"] == sorted([CONSTANT_WID, Role.EXCHANGE_ADMINISTRATOR])


@pytest.mark.parametrize(
    ("changes", "status", "error", "code"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client", 7000215),
        ({"client_secret": ""}, 401, "invalid_client", 7000218),
        ({"client_id": "11111111-2222-3333-4444-555555555555"}, 400, "unauthorized_client", 700016),
        ({"client_id": "00000000-0000-0000-0000-000000000000"}, 400, "unauthorized_client", 700038),
        ({"client_id": "not-a-guid"}, 400, "unauthorized_client", 700038),
        ({"client_id": ""}, 400, "invalid_request", 900144),
        ({"grant_type": "no_such_grant"}, 400, "unsupported_grant_type", 70003),
        ({"grant_type": "password"}, 400, "unsupported_grant_type", 70003),
        ({"scope": "https://graph.microsoft.com/User.Read"}, 400, "invalid_scope", 70011),
        ({"scope": f"{GRAPH_DEFAULT} {EXCHANGE_DEFAULT}"}, 400, "invalid_scope", 70011),
        ({"scope": "api://not-a-registered-resource/.default"}, 400, "invalid_resource", 500011),
        ({"scope": ""}, 400, "invalid_request", 90014),
        ({"tenant": "organizations"}, 400, "invalid_request", 50059),
        ({"tenant": "nowhere.example"}, 400, "invalid_tenant", 90002),
        ({"client_assertion": "x.y.z"}, 400, "invalid_request", 900144),
        ({"client_assertion": "x.y.z", "client_assertion_type": ASSERTION}, 401, "invalid_client", 700027),
    ],
)
async def test_refusals_have_microsofts_body(
    platform: Platform, changes: dict[str, str], status: int, error: str, code: int
) -> None:
    """Each refusal has the documented status, error and AADSTS number, and the fields that real answers have."""
    await platform.grant("mail_flow")
    application = platform.application("mail_flow")
    form = {
        "grant_type": "client_credentials",
        "client_id": application.app_id,
        "client_secret": application.secrets[0].value,
        "scope": EXCHANGE_DEFAULT,
        **changes,
    }
    tenant = form.pop("tenant", "contoso.com")
    answer = await platform.token(tenant, **{name: value for name, value in form.items() if value})
    body = answer.json()

    assert (answer.status_code, body["error"], body["error_codes"]) == (status, error, [code])
    assert body.keys() - {"error_uri"} == BODY_FIELDS
    assert body["error_description"].startswith(f"AADSTS{code}: ")
    assert f"Trace ID: {body['trace_id']} Correlation ID: {body['correlation_id']}" in body["error_description"]


@pytest.mark.parametrize("name", ["invalid-client", "invalid-scope", "unknown-client", "unsupported-grant-type"])
async def test_refusals_equal_the_captured_ones(platform: Platform, name: str) -> None:
    """The bodies of a real tenant, captured in 2026-08, are ours word for word once ids and times are folded."""
    captured = CAPTURED / f"token-error-{name}.json"
    if not captured.is_file():
        pytest.skip("Microsoft's captured answers are not there (../shared/contracts)")
    expected = json.loads(captured.read_text())["response"]
    await platform.grant("mail_flow")
    application = platform.application("mail_flow")
    changes = {
        "invalid-client": {"client_secret": "wrong"},
        "invalid-scope": {"scope": "api://not-a-registered-resource/.default"},
        "unknown-client": {"client_id": "00000000-0000-0000-0000-000000000000"},
        "unsupported-grant-type": {"grant_type": "no_such_grant"},
    }[name]
    form = {
        "grant_type": "client_credentials",
        "client_id": application.app_id,
        "client_secret": application.secrets[0].value,
        "scope": EXCHANGE_DEFAULT,
        **changes,
    }
    answer = await platform.token(**form)
    names = {application.app_id: "{daemon-app-id}", platform.tenant.id: "{tenant-id}"}

    assert answer.status_code == expected["status"]
    assert folded(answer.json(), {**names, platform.simulation.url: "https://login.microsoftonline.com"}) == expected["body"]


def folded(body: dict[str, Any], names: dict[str, str]) -> Any:
    """A refusal with ids and times replaced by the placeholders of the captured ones."""
    text = json.dumps(body)
    for value, placeholder in names.items():
        text = text.replace(value, placeholder)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", "{timestamp}", text)
    return json.loads(re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "{guid}", text))


async def test_no_service_principal_is_its_own_refusal(platform: Platform) -> None:
    """Before anybody consented the answer is 401 AADSTS7000229."""
    answer = await platform.app_token()

    assert (answer.status_code, answer.json()["error"], answer.json()["error_codes"]) == (401, "invalid_client", [7000229])


async def test_a_disabled_application_gets_no_token(platform: Platform) -> None:
    """An administrator's switch-off shows as AADSTS7000112."""
    await platform.grant("mail_flow")
    app_id = platform.application("mail_flow").app_id
    change = {"noun": "servicePrincipal", "identity": app_id, "change": {"accountEnabled": False}}
    await platform.control("POST", "tamper", json=change)

    assert (await platform.app_token()).json()["error_codes"] == [7000112]


async def test_an_expired_secret_is_named(platform: Platform) -> None:
    """A secret that has run out is refused as AADSTS7000222, not as a wrong one."""
    await platform.grant("mail_flow")
    platform.simulation.clock.advance(timedelta(days=181).total_seconds())

    assert (await platform.app_token()).json()["error_codes"] == [7000222]


async def test_a_secret_may_come_by_basic_authentication(platform: Platform) -> None:
    """client_secret_basic is one of the methods that the discovery document names."""
    await platform.grant("mail_flow")
    application = platform.application("mail_flow")
    answer = await platform.client.post(
        "/contoso.com/oauth2/v2.0/token",
        data={"grant_type": "client_credentials", "scope": EXCHANGE_DEFAULT},
        auth=(application.app_id, application.secrets[0].value),
    )

    assert answer.status_code == 200


async def test_a_client_request_id_comes_back(platform: Platform) -> None:
    """The client's own id is the correlation id, and a header where the client asks for it."""
    asked = str(uuid4())
    headers = {"client-request-id": asked, "return-client-request-id": "true"}
    answer = await platform.client.post("/contoso.com/oauth2/v2.0/token", data={}, headers=headers)

    assert (answer.json()["correlation_id"], answer.headers["client-request-id"]) == (asked, asked)


async def test_a_code_serves_once(platform: Platform) -> None:
    """The second redemption is refused as AADSTS54005."""
    code = await new_code(platform)
    first, second = await platform.redeem(code), await platform.redeem(code)

    assert first.status_code == 200
    assert (second.status_code, second.json()["error"], second.json()["error_codes"]) == (400, "invalid_grant", [54005])


async def test_a_code_lives_ten_minutes(platform: Platform) -> None:
    """After ten minutes a code is refused as AADSTS70008."""
    code = await new_code(platform)
    platform.simulation.clock.advance(600)

    assert (await platform.redeem(code)).json()["error_codes"] == [70008]


@pytest.mark.parametrize(
    ("changes", "error_code"),
    [
        ({"code_verifier": "w" * 50}, 501481),
        ({"code_verifier": ""}, 501481),
        ({"redirect_uri": "https://console.example/consented"}, 500112),
        ({"redirect_uri": ""}, 900144),
        ({"tenant": "fabrikam.onmicrosoft.com"}, 700005),
        ({"code": "made-up"}, 70000),
        ({"code": ""}, 900144),
        ({"name": "directory"}, 70000),
    ],
)
async def test_a_code_is_bound_to_its_request(platform: Platform, changes: dict[str, str], error_code: int) -> None:
    """Another verifier, redirect, tenant or client cannot redeem a code, and the try does not use it up."""
    code = await new_code(platform)
    refused = await platform.redeem(**{"code": code, **changes})
    redeemed = await platform.redeem(code)

    assert (refused.status_code, refused.json()["error_codes"]) == (400, [error_code])
    assert redeemed.status_code == 200


@pytest.mark.parametrize("scope", [EXCHANGE_DEFAULT, GRAPH_DEFAULT])
async def test_azure_identity_gets_a_token_with_a_secret(platform: Platform, scope: str) -> None:
    """Microsoft's own client, with our authority's certificate and no environment variable."""
    await platform.grant("directory")
    application = platform.application("directory")
    credential = ClientSecretCredential(
        platform.tenant.id,
        application.app_id,
        application.secrets[0].value,
        authority=platform.simulation.url,
        disable_instance_discovery=True,
        connection_verify=str(platform.simulation.ca_file),
    )
    async with credential:
        token = await credential.get_token(scope)

    assert claims_of(token.token)["tid"] == platform.tenant.id


async def test_a_federated_credential_needs_no_secret(platform: Platform) -> None:
    """A managed identity's token, trusted by issuer, subject and audience, is the application's proof."""
    await platform.grant("mail_flow")
    trusted = SigningKeys.generate()
    claims = federated_claims(platform)
    await trust(platform, trusted)

    def assertion() -> str:
        return jwt.encode(claims, trusted.private, algorithm="RS256")

    credential = ClientAssertionCredential(
        platform.tenant.id,
        platform.application("mail_flow").app_id,
        assertion,
        authority=platform.simulation.url,
        disable_instance_discovery=True,
        connection_verify=str(platform.simulation.ca_file),
    )
    async with credential:
        token = await credential.get_token(EXCHANGE_DEFAULT)

    assert claims_of(token.token)["roles"] == ["Exchange.ManageAsApp"]


def federated_claims(platform: Platform) -> dict[str, Any]:
    """What a managed identity's token says."""
    now = int(platform.simulation.clock.now().timestamp())
    return {
        "iss": "https://login.microsoftonline.com/operator/v2.0",
        "sub": "5f0d7a3e-4ef8-4f25-9c44-2f1c8a1d0001",
        "aud": "api://AzureADTokenExchange",
        "nbf": now,
        "exp": now + 600,
    }


async def trust(platform: Platform, keys: SigningKeys) -> None:
    """Register a federated credential for the mail-flow application."""
    claims = federated_claims(platform)
    public_key = keys.private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    credential = {"issuer": claims["iss"], "subject": claims["sub"], "audience": claims["aud"], "public_key": public_key.decode()}
    await platform.control("POST", "applications/mail_flow/credentials", json={"federated": credential})


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"iss": "https://login.microsoftonline.com/other/v2.0"}, 700211),
        ({"sub": "5F0D7A3E-4EF8-4F25-9C44-2F1C8A1D0001"}, 700213),
        ({"aud": "api://AzureADTokenExchangeUSGov"}, 700212),
        ({"exp": 0}, 700024),
    ],
)
async def test_a_federated_token_must_fit_exactly(platform: Platform, changes: dict[str, Any], code: int) -> None:
    """Issuer, subject (letter case counts), audience and time are each refused with their own number."""
    keys = SigningKeys.generate()
    await trust(platform, keys)

    assert await assertion_refusal(platform, {**federated_claims(platform), **changes}, keys) == code


async def test_a_federated_token_of_another_key_is_refused(platform: Platform) -> None:
    """The right words signed by somebody else prove nothing."""
    await trust(platform, SigningKeys.generate())

    assert await assertion_refusal(platform, federated_claims(platform), SigningKeys.generate()) == 700027


async def assertion_refusal(platform: Platform, claims: dict[str, Any], keys: SigningKeys, **header: str) -> int:
    """The AADSTS number with which an assertion is refused."""
    assertion = jwt.encode(claims, keys.private, algorithm="RS256", headers=header)
    answer = await platform.token(
        grant_type="client_credentials",
        client_id=platform.application("mail_flow").app_id,
        client_assertion_type=ASSERTION,
        client_assertion=assertion,
        scope=EXCHANGE_DEFAULT,
    )
    assert answer.status_code == 401
    (code,) = answer.json()["error_codes"]
    return int(code)


def certificate_of(keys: SigningKeys) -> str:
    """A self-signed certificate in PEM."""
    return signing_certificate(keys).public_bytes(serialization.Encoding.PEM).decode()


async def test_msal_gets_a_token_with_a_certificate(platform: Platform) -> None:
    """MSAL signs its assertion with a registered certificate; the endpoint finds it by thumbprint."""
    await platform.grant("mail_flow")
    keys = SigningKeys.generate()
    pem = certificate_of(keys)
    for each in (certificate_of(SigningKeys.generate()), pem):
        await platform.control("POST", "applications/mail_flow/credentials", json={"certificate": each})

    def acquire() -> dict[str, Any]:
        application = msal.ConfidentialClientApplication(
            platform.application("mail_flow").app_id,
            authority=f"{platform.simulation.url}/{platform.tenant.id}",
            client_credential={"private_key": keys.pem().decode(), "public_certificate": pem},
            instance_discovery=False,
            verify=str(platform.simulation.ca_file),
        )
        answer: dict[str, Any] = application.acquire_token_for_client([EXCHANGE_DEFAULT])
        return answer

    answer = await asyncio.to_thread(acquire)

    assert "error" not in answer, answer
    assert claims_of(answer["access_token"])["roles"] == ["Exchange.ManageAsApp"]


@pytest.mark.parametrize(
    ("registered", "changes", "code"),
    [
        (False, {}, 700027),
        (True, {"aud": "https://elsewhere.example/token"}, 700023),
        (True, {"sub": "somebody else"}, 700027),
        (True, {"exp": 1}, 700024),
    ],
)
async def test_a_certificate_assertion_must_fit(
    platform: Platform, changes: dict[str, Any], code: int, *, registered: bool
) -> None:
    """An unknown certificate, another audience or subject, or a past time is refused."""
    keys = SigningKeys.generate()
    pem = certificate_of(keys)
    if registered:
        await platform.control("POST", "applications/mail_flow/credentials", json={"certificate": pem})
    app_id = platform.application("mail_flow").app_id
    now = int(platform.simulation.clock.now().timestamp())
    claims = {
        "iss": app_id,
        "sub": app_id,
        "aud": f"{platform.simulation.url}/contoso.com/oauth2/v2.0/token",
        "nbf": now,
        "exp": now + 300,
        **changes,
    }
    fingerprint = load_pem_x509_certificate(pem.encode()).fingerprint(hashes.SHA256())

    assert await assertion_refusal(platform, claims, keys, **{"x5t#S256": base64url(fingerprint)}) == code


@pytest.mark.parametrize("case", ["id_token", "removed tenant", "another resource", "expired", "none", "not bearer"])
async def test_a_resource_takes_access_tokens_of_its_own_only(platform: Platform, case: str) -> None:
    """An id_token, a token of a tenant that is gone, of another resource or of yesterday opens nothing: 401."""
    await platform.grant("directory")
    token = (await platform.app_token("directory", EXCHANGE_DEFAULT if case == "another resource" else GRAPH_DEFAULT)).json()
    header = f"Bearer {token['access_token']}"
    if case == "id_token":
        header = f"Bearer {(await platform.redeem(await new_code(platform))).json()['id_token']}"
    elif case == "removed tenant":
        del platform.simulation.store.tenants[platform.tenant.id]
    elif case == "expired":
        platform.simulation.clock.advance(3600)
    elif case == "not bearer":
        header = header.replace("Bearer", "Basic")
    answer = await platform.client.get("/v1.0/users", headers={} if case == "none" else {"Authorization": header})

    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "InvalidAuthenticationToken")
