"""Each AADSTS number can be had, in the form of each endpoint: by a state of the tenant, or by a fault."""

from __future__ import annotations

from typing import Any

import pytest

from local.microsoft365.identity.errors import KINDS, ONLY_BY_FAULT
from tests.microsoft365.platform import EXCHANGE_DEFAULT, Platform, Shown

BODY_FIELDS = {"error", "error_description", "error_codes", "timestamp", "trace_id", "correlation_id"}
BY_POLICY = {50076, 50079, 53003}
REDIRECT_FIELDS = {"error", "error_description", "state"}


async def refuse(platform: Platform, path: str, code: int) -> None:
    """Let the next request to a path be refused."""
    await platform.control("POST", "faults", json={"match": {"path": path}, "aadsts": code})


async def test_the_token_endpoint_can_be_made_to_refuse(platform: Platform) -> None:
    """Every number in Microsoft's body: status, error, fields; a refusal by policy carries its claims."""
    await platform.grant("mail_flow")
    for code, kind in KINDS.items():
        await refuse(platform, "/token$", code)
        refused = await platform.app_token()
        body = refused.json()

        assert (refused.status_code, body["error"], body["error_codes"]) == (kind.status, kind.error, [code])
        assert body["error_description"].startswith(f"AADSTS{code}: ")
        assert body.keys() - {"error_uri", "suberror", "claims"} == BODY_FIELDS
        assert ("claims" in body, "suberror" in body) == (code in BY_POLICY, bool(kind.suberror)), code
    assert (await platform.app_token()).status_code == 200


@pytest.mark.parametrize("page", ["authorize", "adminconsent"])
async def test_the_pages_can_be_made_to_refuse(platform: Platform, page: str) -> None:
    """Every number as the redirect that a client is told it by, or on Microsoft's page where a person stays."""
    url = platform.authorize_url() if page == "authorize" else platform.consent_url()
    for code, kind in KINDS.items():
        await refuse(platform, f"/{page}", code)
        shown = await Shown(platform, platform.client).open(url)

        if kind.is_shown:
            assert shown.returned is None
            assert f"AADSTS{code}: " in shown.words
        else:
            assert shown.returned is not None
            assert shown.returned.keys() == REDIRECT_FIELDS
            assert shown.returned["error"] == (kind.redirect_error or kind.error)
            assert shown.returned["error_description"].startswith(f"AADSTS{code}: ")


@pytest.mark.parametrize("document", ["v2.0/.well-known/openid-configuration", "discovery/v2.0/keys"])
async def test_the_documents_can_be_made_to_refuse(platform: Platform, document: str) -> None:
    """Discovery refuses with the token endpoint's body, once."""
    await refuse(platform, document, 90002)
    refused, served = [await platform.client.get(f"/contoso.com/{document}") for _ in range(2)]

    assert (refused.status_code, refused.json()["error_codes"], served.status_code) == (400, [90002], 200)


async def test_a_creation_race_is_over_at_the_second_try(platform: Platform) -> None:
    """AADSTS650051 comes when the consent is accepted; the same consent once more goes through."""
    shown = await platform.sign_in(platform.consent_url(), "admin@contoso.com")
    await refuse(platform, "/adminconsent", 650051)
    returned = await platform.press(shown, "accept")
    again = await platform.grant("mail_flow")

    assert returned["error"] == "invalid_client"
    assert returned["error_description"].startswith("AADSTS650051")
    assert again["tenant"] == platform.tenant.id


@pytest.mark.parametrize(
    ("change", "code", "error"),
    [({"is_deleted": True}, 5000224, "invalid_grant"), ({"national_cloud": "MicrosoftOnline.US"}, 90038, "invalid_request")],
)
async def test_a_tenant_may_be_gone_or_elsewhere(platform: Platform, change: dict[str, Any], code: int, error: str) -> None:
    """A deleted tenant, or one of another cloud, refuses tokens, sign-in and consent alike."""
    await platform.grant("mail_flow")
    await platform.control("POST", "tenants/contoso.com", json=change)
    token = await platform.app_token()
    sign_in = await platform.sign_in_refused(platform.authorize_url(tenant="contoso.com"))
    at_organizations = await platform.sign_in(platform.authorize_url(), "admin@contoso.com")
    consent = await platform.sign_in_refused(platform.consent_url())

    assert (token.status_code, token.json()["error"], token.json()["error_codes"]) == (400, error, [code])
    for shown in (sign_in, at_organizations, consent):
        assert f"AADSTS{code}: " in shown.words


async def test_a_disabled_application_signs_nobody_in(platform: Platform) -> None:
    """AADSTS7000112 at the authorize page goes back to the client; at the consent page too."""
    await platform.grant("mail_flow")
    app_id = platform.application("mail_flow").app_id
    change = {"noun": "servicePrincipal", "identity": app_id, "change": {"accountEnabled": False}}
    await platform.control("POST", "tamper", json=change)
    for url in (platform.authorize_url(), platform.consent_url()):
        shown = await platform.sign_in(url, "admin@contoso.com")

        assert shown.returned is not None
        assert shown.returned["error_description"].startswith("AADSTS7000112")


async def test_a_consent_that_was_taken_away_is_missed_at_the_redemption(platform: Platform) -> None:
    """AADSTS65001: the delegated permission went between sign-in and redemption; consent_required is the suberror."""
    shown = await platform.sign_in(platform.authorize_url(), "admin@contoso.com")
    returned = await platform.press(shown, "accept")
    app_id = platform.application("mail_flow").app_id
    await platform.control("POST", "tamper", json={"noun": "oauth2PermissionGrant", "identity": app_id, "remove": True})
    body = (await platform.redeem(returned["code"])).json()

    assert (body["error"], body["error_codes"], body["suberror"]) == ("invalid_grant", [65001], "consent_required")


async def test_what_a_client_adds_at_the_redemption_is_no_refusal(platform: Platform) -> None:
    """MSAL asks for offline_access with every code, though nobody was asked to consent to it: it gets no refresh token."""
    shown = await platform.sign_in(platform.authorize_url(), "admin@contoso.com")
    returned = await platform.press(shown, "accept")
    answer = await platform.redeem(returned["code"], scope="openid profile offline_access")

    assert answer.status_code == 200
    assert "refresh_token" not in answer.json()


async def test_an_unknown_number_is_a_mistake_of_the_test(platform: Platform) -> None:
    """A fault with a number that the simulation does not know is refused by the control interface."""
    answer = await platform.client.post("/_control/faults", json={"aadsts": 1})

    assert (answer.status_code, "aadsts" in answer.json()["error"]) == (400, True)


async def test_a_fault_leaves_other_services_alone(platform: Platform) -> None:
    """The number is the identity platform's: a request to Graph that meets the fault is served."""
    await platform.grant("directory")
    token = (await platform.app_token("directory", "https://graph.microsoft.com/.default")).json()["access_token"]
    await refuse(platform, "/v1.0/users", 53003)
    answer = await platform.client.get("/v1.0/users?$top=1", headers={"Authorization": f"Bearer {token}"})

    assert answer.status_code == 200
    assert (await platform.app_token("directory", EXCHANGE_DEFAULT)).status_code == 200


def test_what_only_a_fault_gives_is_known() -> None:
    """The list names numbers of the table only."""
    assert set(KINDS) >= ONLY_BY_FAULT
