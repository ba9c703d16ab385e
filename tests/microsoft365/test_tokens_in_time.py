"""What time does to tokens: rotation of credentials, permissions that spread apart, CAE clients, stale tokens."""

from __future__ import annotations

import base64
import json
import re
from datetime import timedelta
from typing import Any

import httpx
import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from local.microsoft365.identity.metadata import signing_certificate
from local.microsoft365.keys import SigningKeys, base64url
from tests.microsoft365.platform import EXCHANGE_DEFAULT, GRAPH_DEFAULT, ROLE_SCOPE, Platform, claims_of

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
CP1 = json.dumps({"access_token": {"xms_cc": {"values": ["cp1"]}}})


async def credential(platform: Platform, **body: Any) -> dict[str, Any]:
    """Add or remove a credential of the mail-flow application."""
    answer: dict[str, Any] = await platform.control("POST", "applications/mail_flow/credentials", json=body)
    return answer


async def by_secret(platform: Platform, secret: str, **changes: str) -> httpx.Response:
    """Ask for a token with one certain secret."""
    form = {"grant_type": "client_credentials", "client_id": platform.application("mail_flow").app_id, "scope": EXCHANGE_DEFAULT}
    return await platform.token(**{**form, "client_secret": secret, **changes})


async def codes(platform: Platform, *secrets: str) -> list[int]:
    """What each secret gets: 0 a token, else the AADSTS number."""
    bodies = [(await by_secret(platform, each)).json() for each in secrets]
    return [body.get("error_codes", [0])[0] for body in bodies]


async def test_secrets_overlap_while_one_takes_the_others_place(platform: Platform) -> None:
    """Both work at once; the old one is refused once it is removed, and nothing else changes."""
    await platform.grant("mail_flow")
    old = platform.application("mail_flow").secrets[0]
    new = (await credential(platform, secret=True))["client_secret"]
    both = await codes(platform, old.value, new)
    await credential(platform, remove=old.key_id)

    assert both == [0, 0]
    assert await codes(platform, old.value, new) == [7000215, 0]


async def test_a_secret_is_in_force_between_its_start_and_its_end(platform: Platform) -> None:
    """Before its start it is unknown (7000215), afterwards expired (7000222)."""
    await platform.grant("mail_flow")
    made = await credential(platform, secret=True, starts_in=60, lives=600)
    before = await codes(platform, made["client_secret"])
    platform.simulation.clock.advance(61)
    within = await codes(platform, made["client_secret"])
    platform.simulation.clock.advance(600)
    after = await codes(platform, made["client_secret"])

    assert (before, within, after) == ([7000215], [0], [7000222])


async def test_a_new_secret_is_known_after_its_delay(platform: Platform) -> None:
    """The token endpoint hears of it later; the old one serves meanwhile."""
    await platform.grant("mail_flow")
    await platform.control("POST", "settings", json={"credential_delay": 30})
    old, new = platform.application("mail_flow").secrets[0].value, (await credential(platform, secret=True))["client_secret"]
    early = await codes(platform, old, new)
    platform.simulation.clock.advance(31)

    assert early == [0, 7000215]
    assert await codes(platform, old, new) == [0, 0]


@pytest.mark.parametrize("name", ["no-such-key", ""])
async def test_what_is_removed_must_be_there(platform: Platform, name: str) -> None:
    """Removing an unknown credential is refused; naming none removes none."""
    answer = await platform.client.post("/_control/applications/mail_flow/credentials", json={"remove": name})

    assert answer.status_code == (400 if name else 200)
    assert len(platform.application("mail_flow").secrets) == 1


def certificate(keys: SigningKeys) -> str:
    """A certificate of a key, in PEM: in force from 2024 to 2044."""
    return signing_certificate(keys).public_bytes(serialization.Encoding.PEM).decode()


async def by_certificate(platform: Platform, keys: SigningKeys) -> int:
    """What an assertion signed with a key gets: 0 a token, else the AADSTS number."""
    pem, app_id = certificate(keys), platform.application("mail_flow").app_id
    now = int(platform.simulation.clock.now().timestamp())
    audience = f"{platform.simulation.url}/contoso.com/oauth2/v2.0/token"
    claims = {"iss": app_id, "sub": app_id, "aud": audience, "nbf": now, "exp": now + 300}
    thumbprint = base64url(x509.load_pem_x509_certificate(pem.encode()).fingerprint(hashes.SHA256()))
    assertion = jwt.encode(claims, keys.private, algorithm="PS256", headers={"x5t#S256": thumbprint})
    form = {"client_assertion": assertion, "client_assertion_type": ASSERTION, "client_id": app_id, "scope": EXCHANGE_DEFAULT}
    body = (await platform.token(grant_type="client_credentials", **form)).json()
    return int(body.get("error_codes", [0])[0])


async def test_certificates_overlap_and_are_known_after_their_delay(platform: Platform) -> None:
    """A certificate that was just uploaded is 700027 for a while; the former one goes on, until it is removed."""
    await platform.grant("mail_flow")
    old, new = SigningKeys.generate(), SigningKeys.generate()
    await credential(platform, certificate=certificate(old))
    await platform.control("POST", "settings", json={"credential_delay": 30})
    await credential(platform, certificate=certificate(new))
    early = [await by_certificate(platform, each) for each in (old, new)]
    platform.simulation.clock.advance(31)
    late = [await by_certificate(platform, each) for each in (old, new)]
    await credential(platform, remove=certificate(old))

    assert (early, late) == ([0, 700027], [0, 0])
    assert [await by_certificate(platform, each) for each in (old, new)] == [700027, 0]


async def test_a_certificate_expires(platform: Platform) -> None:
    """After its last day it signs nothing that counts, though it is registered."""
    await platform.grant("mail_flow")
    keys = SigningKeys.generate()
    await credential(platform, certificate=certificate(keys))
    platform.simulation.clock.advance(timedelta(days=365 * 20).total_seconds())

    assert await by_certificate(platform, keys) == 700027


async def roles_of(platform: Platform, scope: str) -> list[str]:
    """The application permissions in a new token of the directory application."""
    claims = claims_of((await platform.app_token("directory", scope)).json()["access_token"])
    roles: list[str] = claims.get("roles", [])
    return roles


async def test_some_permissions_spread_later_than_others(platform: Platform) -> None:
    """One consent, three permissions: the first is there, the others come a while after."""
    await platform.control("POST", "settings", json={"late_permissions_delay": 60})
    await platform.grant("directory")
    early = [await roles_of(platform, scope) for scope in (GRAPH_DEFAULT, EXCHANGE_DEFAULT)]
    platform.simulation.clock.advance(61)
    late = [await roles_of(platform, scope) for scope in (GRAPH_DEFAULT, EXCHANGE_DEFAULT)]

    assert early == [["User.Read.All"], []]
    assert late == [["Domain.Read.All", "User.Read.All"], ["Exchange.ManageAsApp"]]


async def test_an_administrator_may_take_a_single_permission_away(platform: Platform) -> None:
    """The others stay; tokens of before keep what they had until they end."""
    await platform.grant("directory")
    stale = (await platform.app_token("directory", GRAPH_DEFAULT)).json()["access_token"]
    user_read_all = "df021288-bdef-4463-88db-98f22de89214"
    change = {"noun": "appRoleAssignment", "identity": user_read_all, "remove": True}
    await platform.control("POST", "tamper", json=change)
    fresh = await roles_of(platform, GRAPH_DEFAULT)
    answer = await platform.client.get("/v1.0/users?$top=1", headers={"Authorization": f"Bearer {stale}"})

    assert fresh == ["Domain.Read.All"]
    assert claims_of(stale)["roles"] == ["Domain.Read.All", "User.Read.All"]
    assert answer.status_code == 200


async def cae_token(platform: Platform, claims: str = CP1) -> httpx.Response:
    """A Graph token of the directory application, asked for as a CAE client does."""
    application = platform.application("directory")
    return await platform.token(
        grant_type="client_credentials",
        client_id=application.app_id,
        client_secret=application.secrets[0].value,
        scope=GRAPH_DEFAULT,
        claims=claims,
    )


async def users(platform: Platform, token: str) -> httpx.Response:
    """Read one user of Graph with a token."""
    return await platform.client.get("/v1.0/users?$top=1", headers={"Authorization": f"Bearer {token}"})


def demanded(answer: httpx.Response) -> dict[str, Any]:
    """The claims that a challenge demands."""
    header = answer.headers["www-authenticate"]
    assert header.startswith('Bearer realm="", authorization_uri="')
    assert 'error="insufficient_claims"' in header
    found = re.search(r'claims="([^"]+)"', header)
    assert found
    claims: dict[str, Any] = json.loads(base64.b64decode(found[1], validate=True))
    return claims


async def test_a_cae_clients_token_lives_a_day(platform: Platform) -> None:
    """cp1 in the claims parameter: 86399 seconds, said in the answer and in the token, with xms_cc."""
    await platform.grant("directory")
    answer = (await cae_token(platform)).json()
    claims = claims_of(answer["access_token"])
    platform.simulation.clock.advance(86398)
    at_the_end = await users(platform, answer["access_token"])
    platform.simulation.clock.advance(2)
    afterwards = await users(platform, answer["access_token"])

    assert (answer["expires_in"], answer["ext_expires_in"]) == (86399, 86399)
    assert claims["xms_cc"] == ["cp1"]
    assert claims["exp"] - claims["iat"] == 86399 + 300
    assert (at_the_end.status_code, afterwards.status_code) == (200, 401)


async def test_other_clients_tokens_live_an_hour(platform: Platform) -> None:
    """Without the capability nothing changes, and a revocation is not noticed before the end."""
    await platform.grant("directory")
    answer = (await cae_token(platform, "")).json()
    await platform.control("POST", "tenants/contoso.com/revocations", json={"principal": "directory"})
    platform.simulation.clock.advance(10)

    assert answer["expires_in"] == 3599
    assert "xms_cc" not in claims_of(answer["access_token"])
    assert (await users(platform, answer["access_token"])).status_code == 200


async def test_a_revoked_token_is_challenged_until_a_new_one(platform: Platform) -> None:
    """401 with claims; asked for again with those claims, the next token is taken."""
    await platform.grant("directory")
    token = (await cae_token(platform)).json()["access_token"]
    before = await users(platform, token)
    platform.simulation.clock.advance(5)
    await platform.control("POST", "tenants/contoso.com/revocations", json={"principal": "directory"})
    refused = await users(platform, token)
    demand = demanded(refused)
    merged = {"access_token": {**demand["access_token"], "xms_cc": {"values": ["cp1"]}}}
    renewed = (await cae_token(platform, json.dumps(merged))).json()["access_token"]

    assert (before.status_code, refused.status_code) == (200, 401)
    assert demand["access_token"]["nbf"]["essential"] is True
    assert refused.json()["error"]["code"] == "InvalidAuthenticationToken"
    assert (await users(platform, renewed)).status_code == 200


async def test_a_person_can_be_revoked_too(platform: Platform) -> None:
    """A delegated token of a CAE client is challenged once the person's sessions are revoked."""
    url = platform.authorize_url("role_helper", scope=f"openid profile {ROLE_SCOPE}", claims=CP1)
    returned = await platform.press(await platform.sign_in(url, "admin@contoso.com"), "accept")
    answer = (await platform.redeem(returned["code"], "role_helper", claims=CP1)).json()
    platform.simulation.clock.advance(5)
    await platform.control("POST", "tenants/contoso.com/revocations", json={"principal": "admin@contoso.com"})
    headers = {"Authorization": f"Bearer {answer['access_token']}"}
    refused = await platform.client.get("/v1.0/roleManagement/directory/roleAssignments", headers=headers)

    assert answer["expires_in"] == 86399
    assert refused.status_code == 401
    assert "nbf" in demanded(refused)["access_token"]


async def test_another_address_is_challenged(platform: Platform) -> None:
    """The switch stands for a client whose address changed: CAE tokens are refused, others are not."""
    await platform.grant("directory")
    cae = (await cae_token(platform)).json()["access_token"]
    plain = (await cae_token(platform, "")).json()["access_token"]
    await platform.control("POST", "settings", json={"address_changed": True})
    refused = await users(platform, cae)

    assert (refused.status_code, (await users(platform, plain)).status_code) == (401, 200)
    assert "LocationConditionEvaluation" in refused.json()["error"]["message"]
