"""The admin consent pages: who may consent, what it leaves in the tenant, and what the redirect says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.microsoft365.platform import GRAPH_DEFAULT, Platform, claims_of, running


async def test_version_2_says_which_tenant_and_scope_were_consented(platform: Platform) -> None:
    """The redirect of an accepted consent carries the documented parameters (v2-admin-consent.md)."""
    returned = await platform.grant("mail_flow")

    assert returned == {
        "admin_consent": "True",
        "tenant": platform.tenant.id,
        "scope": GRAPH_DEFAULT,
        "state": "the-state",
    }


async def test_default_grants_everything_that_is_registered(platform: Platform) -> None:
    """`.default` of one resource consents to all registered permissions of all resources, delegated ones for everybody."""
    await platform.grant("directory")

    tenant = platform.tenant
    client = tenant.service_principal_of(platform.application("directory").app_id)
    assert client is not None
    assert sorted(each.resource_display_name for each in tenant.app_role_assignments.values()) == [
        "Microsoft Graph",
        "Microsoft Graph",
        "Office 365 Exchange Online",
    ]
    (grant,) = tenant.oauth2_permission_grants.values()
    assert (grant.client_id, grant.consent_type, grant.scope) == (client.id, "AllPrincipals", "User.Read")


async def test_a_named_delegated_scope_grants_no_application_permission(platform: Platform) -> None:
    """Application permissions come only through `.default` (v2-admin-consent.md)."""
    url = platform.consent_url("directory", scope="https://graph.microsoft.com/User.Read")
    returned = await platform.press(await platform.sign_in(url, "admin@contoso.com"), "accept")

    assert returned["scope"] == "https://graph.microsoft.com/User.Read"
    assert platform.tenant.app_role_assignments == {}


async def test_version_1_grants_the_same_and_says_less(platform: Platform) -> None:
    """The v1 page needs no scope and names none in its redirect (v2-oauth2-client-creds-grant-flow.md)."""
    shown = await platform.sign_in(platform.consent_url("mail_flow", "common", version=1), "admin@contoso.com")
    returned = await platform.press(shown, "accept")

    assert returned == {"admin_consent": "True", "tenant": platform.tenant.id, "state": "the-state"}
    assert len(platform.tenant.app_role_assignments) == 1


async def test_a_refusal_in_version_2_also_says_admin_consent(platform: Platform) -> None:
    """A declined consent carries admin_consent=True beside its error, and leaves nothing in the tenant."""
    shown = await platform.sign_in(platform.consent_url(), "admin@contoso.com")
    returned = await platform.press(shown, "cancel")

    assert (returned["admin_consent"], returned["error"], returned["state"]) == ("True", "consent_required", "the-state")
    assert returned["error_description"].startswith("AADSTS65004: ")
    assert "\r\nTrace ID: " in returned["error_description"]
    assert platform.tenant.service_principal_of(platform.application("mail_flow").app_id) is None


async def test_a_refusal_in_version_1_says_permission_denied(platform: Platform) -> None:
    """The v1 page's refusal has its own words."""
    shown = await platform.sign_in(platform.consent_url(version=1), "admin@contoso.com")
    returned = await platform.press(shown, "cancel")

    assert returned == {
        "error": "permission_denied",
        "error_description": "The admin canceled the request",
        "state": "the-state",
    }


@pytest.mark.parametrize("person", ["member", "exchange"])
async def test_who_may_not_consent_stays_on_microsofts_page(platform: Platform, person: str) -> None:
    """A member or an Exchange Administrator sees "Need admin approval" and is never sent back."""
    shown = await platform.sign_in(platform.consent_url(), f"{person}@contoso.com")

    assert shown.returned is None
    assert "Need admin approval" in shown.words


async def test_a_member_cannot_force_the_decision(platform: Platform) -> None:
    """Posting the consent form by hand, without ever having been shown it, changes nothing."""
    shown = await platform.sign_in(platform.consent_url(), "member@contoso.com")
    member = platform.tenant.users.find("member@contoso.com")
    assert member is not None
    await shown.submit("accept", step="consent", account=member.id)

    assert "Need admin approval" in shown.words
    assert platform.tenant.app_role_assignments == {}


async def test_a_cloud_application_administrator_may_not_give_graph_application_permissions(platform: Platform) -> None:
    """That role consents to everything except application permissions of Microsoft Graph."""
    exchange_only = await platform.sign_in(platform.consent_url("mail_flow"), "application@contoso.com")
    with_graph = await platform.sign_in(platform.consent_url("directory"), "application@contoso.com")

    assert "Permissions requested" in exchange_only.words
    assert "Need admin approval" in with_graph.words


async def test_a_privileged_role_administrator_may_consent_to_everything(platform: Platform) -> None:
    """Privileged Role Administrators consent like Global Administrators."""
    assert (await platform.grant("directory", person="privileged"))["admin_consent"] == "True"


async def test_an_account_of_another_tenant_stays_on_an_error_page(platform: Platform) -> None:
    """An administrator of Fabrikam at Contoso's address is refused with AADSTS50020 and not sent back."""
    shown = await platform.sign_in(platform.consent_url(), "admin@fabrikam.onmicrosoft.com")

    assert shown.returned is None
    assert "AADSTS50020" in shown.words


async def test_a_redirect_that_is_not_registered_is_never_followed(platform: Platform) -> None:
    """A redirect with another path is refused on Microsoft's page: registered means registered exactly."""
    shown = await platform.sign_in_refused(platform.consent_url(redirect_uri="https://console.example/consented/more"))

    assert "AADSTS50011" in shown.words


@pytest.mark.parametrize(
    ("tenant", "scope", "code"),
    [
        ("contoso.com", "", "AADSTS900144"),
        ("common", GRAPH_DEFAULT, "AADSTS900023"),
        ("nowhere.example", GRAPH_DEFAULT, "AADSTS90002"),
        ("contoso.com", f"{GRAPH_DEFAULT} https://graph.microsoft.com/User.Read", "AADSTS70011"),
        ("contoso.com", "https://unknown.example/.default", "AADSTS500011"),
        ("contoso.com", "https://graph.microsoft.com/No.Such", "AADSTS650053"),
    ],
)
async def test_version_2_refuses_what_it_cannot_serve(platform: Platform, tenant: str, scope: str, code: str) -> None:
    """A missing, mixed or unknown scope and a tenant that is none are refused on Microsoft's page."""
    shown = await platform.sign_in_refused(platform.consent_url(tenant=tenant, scope=scope))

    assert code in shown.words


async def test_a_second_consent_adds_and_changes_nothing_else(platform: Platform) -> None:
    """Consenting once more leaves the same service principal and the same assignments."""
    await platform.grant("mail_flow")
    before = (set(platform.tenant.service_principals), set(platform.tenant.app_role_assignments))
    await platform.grant("mail_flow")

    assert (set(platform.tenant.service_principals), set(platform.tenant.app_role_assignments)) == before


async def test_consent_spreads_after_its_delay(tmp_path: Path) -> None:
    """Until the delay has passed, the token endpoint answers 401 AADSTS7000229; then the token has the permission."""
    async with running(tmp_path) as platform:
        await platform.control("POST", "settings", json={"consent_delay": 30})
        await platform.grant("mail_flow")
        early = await platform.app_token()
        platform.simulation.clock.advance(31)
        late = await platform.app_token()

    assert (early.status_code, early.json()["error_codes"]) == (401, [7000229])
    assert claims_of(late.json()["access_token"])["roles"] == ["Exchange.ManageAsApp"]


async def test_permissions_spread_too_where_the_service_principal_was_there(platform: Platform) -> None:
    """After a mere sign-in the application has tokens; the consented permission joins them only after the delay."""
    shown = await platform.sign_in(platform.authorize_url(), "admin@contoso.com")
    await platform.press(shown, "accept")
    await platform.control("POST", "settings", json={"consent_delay": 30})
    await platform.grant("mail_flow")
    early = claims_of((await platform.app_token()).json()["access_token"])
    platform.simulation.clock.advance(31)
    late = claims_of((await platform.app_token()).json()["access_token"])

    assert "roles" not in early
    assert late["roles"] == ["Exchange.ManageAsApp"]


@pytest.mark.parametrize("revokes", [False, True])
async def test_whether_a_further_consent_takes_away_is_a_switch(platform: Platform, *, revokes: bool) -> None:
    """An app role that is no longer registered stays, or goes with the next consent where the switch says so."""
    await platform.control("POST", "settings", json={"reconsent_revokes": revokes})
    await platform.grant("directory")
    application = platform.application("directory")
    kept = application.required_permissions[:1]
    platform.simulation.store.registrations[application.app_id] = platform.with_permissions(application, kept)
    await platform.grant("directory")

    assert len(platform.tenant.app_role_assignments) == (1 if revokes else 3)
