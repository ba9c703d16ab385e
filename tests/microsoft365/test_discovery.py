"""The discovery documents: what the real ones have, and nothing more."""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.x509 import load_der_x509_certificate

from local.microsoft365.keys import base64url
from tests.microsoft365.platform import Platform

GOLDEN = Path(__file__).parents[2].parent / "shared" / "contracts" / "entra-captured" / "oidc-discovery.golden.json"
RECORDED = GOLDEN.parents[1] / "examples.json"


async def configuration(platform: Platform, tenant: str) -> dict[str, Any]:
    """The discovery document at a tenant's address."""
    answer = await platform.client.get(f"/{tenant}/v2.0/.well-known/openid-configuration")
    assert answer.status_code == 200
    document: dict[str, Any] = answer.json()
    return document


async def test_organizations_names_no_tenant(platform: Platform) -> None:
    """At organizations the issuer holds the literal {tenantid} (v2-protocols-oidc.md)."""
    document = await configuration(platform, "organizations")

    assert document["issuer"] == f"{platform.simulation.url}/{{tenantid}}/v2.0"
    assert document["token_endpoint"] == f"{platform.simulation.url}/organizations/oauth2/v2.0/token"


@pytest.mark.parametrize("name", ["contoso.com", "CONTOSO.onmicrosoft.com", "id"])
async def test_a_domain_leads_to_its_tenant(platform: Platform, name: str) -> None:
    """By domain or id the issuer names the tenant: how a tenant id is found without credentials."""
    document = await configuration(platform, platform.tenant.id if name == "id" else name)

    assert document["issuer"] == f"{platform.simulation.url}/{platform.tenant.id}/v2.0"


@pytest.mark.parametrize("name", ["nowhere.example", "contoso-retail.com", "11111111-2222-3333-4444-555555555555"])
@pytest.mark.parametrize("document", ["v2.0/.well-known/openid-configuration", "discovery/v2.0/keys"])
async def test_an_unknown_tenant_has_no_document(platform: Platform, name: str, document: str) -> None:
    """Unknown names, and a domain that is not verified, are refused as AADSTS90002."""
    answer = await platform.client.get(f"/{name}/{document}")

    assert (answer.status_code, answer.json()["error"], answer.json()["error_codes"]) == (400, "invalid_tenant", [90002])


async def test_the_document_is_the_captured_one(platform: Platform) -> None:
    """Every field of the real document is there, with its values, and none that it lacks."""
    if not GOLDEN.is_file():
        pytest.skip("the captured discovery document is not there (../shared/contracts)")
    golden = json.loads(GOLDEN.read_text())
    document = await configuration(platform, "common")
    values = golden["protocol_values"]

    assert set(golden["required_fields"]) <= document.keys()
    known = {*golden["required_fields"], *golden["entra_only_fields_out_of_scope"], "token_endpoint_auth_methods_supported"}
    assert document.keys() <= known
    assert document["subject_types_supported"] == values["subject_types_supported_equals"]
    assert set(document["response_types_supported"]) <= set(values["response_types_supported_subset_of"])
    assert set(values["claims_supported_must_include"]) - {"ver"} <= set(document["claims_supported"])
    for name, value in golden["entra_boolean_values"].items():
        if name in document:
            assert document[name] is value, name


@pytest.mark.parametrize("name", ["common", "organizations", "contoso.com", "contoso.onmicrosoft.com", "id"])
async def test_no_document_holds_what_the_real_one_lacks(platform: Platform, name: str) -> None:
    """At every address: the names of the recorded document, values of its kind, and lists without an entry of our own."""
    if not RECORDED.is_file():
        pytest.skip("the recorded discovery document is not there (../shared/contracts)")
    (recorded,) = (each for each in json.loads(RECORDED.read_text()) if each["call"] == "openid-configuration")
    real = recorded["response"]["body"]
    document = await configuration(platform, platform.tenant.id if name == "id" else name)

    assert document.keys() == real.keys()
    for field, value in document.items():
        if isinstance(value, list):
            assert set(value) <= set(real[field]), field
        elif field != "tenant_region_scope":
            assert type(value) is type(real[field]), field
    shared_values = ("cloud_instance_name", "cloud_graph_host_name", "msgraph_host", "rbac_url")
    assert [document[each] for each in shared_values] == [real[each] for each in shared_values]
    assert document["tenant_region_scope"] == (None if name in {"common", "organizations"} else "NA")


@pytest.mark.parametrize("name", ["common", "contoso.com"])
async def test_every_address_in_the_document_is_this_machines(platform: Platform, name: str) -> None:
    """Where a client would call is on this server; what remains are names of hosts that no client calls by them."""
    document = await configuration(platform, name)
    addresses = {field: value for field, value in document.items() if str(value).startswith("https://")}

    assert {field for field, value in addresses.items() if not value.startswith(platform.simulation.url)} == {"rbac_url"}


async def test_tokens_verify_with_the_published_key(platform: Platform) -> None:
    """A token's `kid` leads to the key that signed it, and the certificate beside it is that key's."""
    await platform.grant("mail_flow")
    token = (await platform.app_token()).json()["access_token"]
    (key,) = (await platform.client.get("/organizations/discovery/v2.0/keys")).json()["keys"]

    claims = jwt.decode(
        token, jwt.PyJWK(key), algorithms=["RS256"], audience="https://outlook.office365.com", options={"verify_iat": False}
    )
    certificate = b64decode(key["x5c"][0], validate=True)
    assert jwt.get_unverified_header(token)["kid"] == key["kid"]
    assert claims["tid"] == platform.tenant.id
    assert base64url(hashlib.sha1(certificate, usedforsecurity=False).digest()) == key["x5t"]
    assert load_der_x509_certificate(certificate).public_key() == platform.simulation.keys.private.public_key()


async def test_instance_discovery_knows_this_authority_only(platform: Platform) -> None:
    """MSAL's instance metadata names the simulation's own host."""
    answer = await platform.client.get("/common/discovery/instance?api-version=1.1&authorization_endpoint=x")
    host = platform.simulation.url.removeprefix("https://")

    assert answer.json()["metadata"] == [{"preferred_network": host, "preferred_cache": host, "aliases": [host]}]
