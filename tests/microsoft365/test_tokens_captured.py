"""The token endpoint's answers against those captured from a real tenant, field for field."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jwt
import pytest

from local.microsoft365.catalogue import GRAPH
from tests.microsoft365.platform import EXCHANGE_DEFAULT, GRAPH_DEFAULT, Platform, claims_of

CAPTURED = Path(__file__).parents[2].parent / "shared" / "contracts" / "entra-captured"


def captured(name: str) -> dict[str, Any]:
    """One captured answer; the test is skipped where the captures are not there."""
    file = CAPTURED / f"{name}.json"
    if not file.is_file():
        pytest.skip("Microsoft's captured answers are not there (../shared/contracts)")
    content: dict[str, Any] = json.loads(file.read_text())
    return content


@pytest.mark.parametrize("scope", [GRAPH_DEFAULT, EXCHANGE_DEFAULT, "own"])
async def test_a_granted_token_is_answered_as_captured(platform: Platform, scope: str) -> None:
    """Status and exactly the captured fields, whatever the resource; seconds are numbers, the token is a JWT."""
    expected = captured("token-client-credentials")["response"]
    await platform.grant("directory")
    app_id = platform.application("directory").app_id
    answer = await platform.app_token("directory", f"{app_id}/.default" if scope == "own" else scope)
    body = answer.json()
    folded = {
        name: "{seconds}" if isinstance(value, int) else "{redacted-jwt}" if value.count(".") == 2 else value
        for name, value in body.items()
    }

    assert (answer.status_code, folded) == (expected["status"], expected["body"])


@pytest.mark.parametrize("form", ["{app}/.default", "api://{app}/.default"])
async def test_a_token_to_oneself_has_the_captured_claims(platform: Platform, form: str) -> None:
    """The captured scenario: an application's token to its own API, version 2.0. Header and claim names are the same."""
    expected = captured("token-claims-client-credentials")
    await platform.grant("mail_flow")
    app_id = platform.application("mail_flow").app_id
    token = (await platform.app_token("mail_flow", form.format(app=app_id))).json()["access_token"]
    header, claims = jwt.get_unverified_header(token), claims_of(token)
    names = {"{tenant-id}": platform.tenant.id, "{daemon-app-id}": app_id, "https://login.microsoftonline.com": ""}

    assert sorted(claims) == expected["claimNames"]
    assert header.keys() == {name for name, value in expected["header"].items() if value is not None}
    assert (header["alg"], header["typ"]) == (expected["header"]["alg"], expected["header"]["typ"])
    for name, value in expected["structural"].items():
        assert (claims.get(name) or "").replace(platform.simulation.url, "") == filled(value, names), name


def filled(text: str | None, names: dict[str, str]) -> str:
    """A captured value with its placeholders filled in; a claim that is absent is empty."""
    result = text or ""
    for placeholder, value in names.items():
        result = result.replace(placeholder, value)
    return result


@pytest.mark.parametrize("scope", [GRAPH_DEFAULT, EXCHANGE_DEFAULT])
async def test_microsofts_resources_get_version_1_tokens(platform: Platform, scope: str) -> None:
    """They name the client as appid (not azp), carry idtyp app, and their header names the certificate too."""
    await platform.grant("directory")
    token = (await platform.app_token("directory", scope)).json()["access_token"]
    header, claims = jwt.get_unverified_header(token), claims_of(token)
    (key,) = (await platform.client.get("/common/discovery/v2.0/keys")).json()["keys"]

    assert (header["kid"], header["x5t"]) == (key["kid"], key["x5t"])
    assert {"aio", "rh", "uti", "xms_ftd", "appid", "appidacr", "idtyp"} <= claims.keys()
    assert not {"azp", "azpacr"} & claims.keys()
    assert (claims["ver"], claims["appidacr"]) == ("1.0", "1")


async def test_a_token_to_oneself_opens_no_resource(platform: Platform) -> None:
    """Its audience is the application: Graph refuses it."""
    await platform.grant("directory")
    app_id = platform.application("directory").app_id
    token = (await platform.app_token("directory", f"{app_id}/.default")).json()["access_token"]
    answer = await platform.client.get("/v1.0/users", headers={"Authorization": f"Bearer {token}"})

    assert answer.status_code == 401
    assert resource_error(answer.text) == "InvalidAuthenticationToken"


def resource_error(text: str) -> str:
    """The code of a refusal of Graph's."""
    found = re.search(r'"code": ?"(\w+)"', text)
    assert found
    return found[1]


async def test_another_applications_api_is_no_resource(platform: Platform) -> None:
    """Only an application's own id stands for an API here; another's is refused as any unknown resource."""
    await platform.grant("mail_flow")
    other = platform.application("directory").app_id
    answer = await platform.app_token("mail_flow", f"api://{other}/.default")

    assert answer.json()["error_codes"] == [500011]
    assert GRAPH not in answer.text
