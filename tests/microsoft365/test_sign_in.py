"""The authorize page: who is at the browser, what is consented, and what goes back to the client."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from local.microsoft365.model import Role
from tests.microsoft365.platform import ROLE_SCOPE, SIGNED_IN, Platform, Shown, claims_of, query, running

MEMBER = "b79fbf4d-3ef9-4689-8143-76b194e85509"


async def signed_in(platform: Platform, person: str = "admin@contoso.com", **changes: str) -> dict[str, str]:
    """Sign in and consent where asked; the parameters that the client gets."""
    shown = await platform.sign_in(platform.authorize_url(**changes), person)
    return shown.returned if shown.returned is not None else await platform.press(shown, "accept")


async def test_sign_in_returns_a_code_and_the_state(platform: Platform) -> None:
    """The redirect carries code, state and session_state, in the query."""
    returned = await signed_in(platform)

    assert sorted(returned) == ["code", "session_state", "state"]
    assert returned["state"] == "the-state"


async def test_id_token_proves_tenant_person_and_roles(platform: Platform) -> None:
    """The id_token says who signed in, where, and with which directory roles, for this client and this nonce."""
    returned = await signed_in(platform)
    answer = (await platform.redeem(returned["code"])).json()
    claims = claims_of(answer["id_token"])

    tenant = platform.tenant
    person = tenant.users.find("admin@contoso.com")
    assert person is not None
    assert claims["iss"] == f"{platform.simulation.url}/{tenant.id}/v2.0"
    assert claims["aud"] == platform.application("mail_flow").app_id
    assert (claims["tid"], claims["oid"], claims["nonce"], claims["ver"]) == (tenant.id, person.id, "the-nonce", "2.0")
    assert (claims["name"], claims["preferred_username"]) == ("Ada Admin", "admin@contoso.com")
    assert claims["wids"] == [Role.GLOBAL_ADMINISTRATOR, MEMBER]
    assert answer["scope"] == "openid profile"
    assert "refresh_token" not in answer


async def test_a_member_has_the_default_role_only(platform: Platform) -> None:
    """Every member's wids hold the default user role, which makes nobody an administrator."""
    returned = await signed_in(platform, "member@contoso.com")
    claims = claims_of((await platform.redeem(returned["code"])).json()["id_token"])

    assert claims["wids"] == [MEMBER]


@pytest.mark.parametrize(("setting", "shown"), [(None, False), ("SecurityGroup", False), ("All", True), ("DirectoryRole", True)])
async def test_roles_show_only_where_the_registration_asks(tmp_path: Path, setting: str | None, *, shown: bool) -> None:
    """Without groupMembershipClaims All or DirectoryRole an id_token has no wids at all."""
    async with running(tmp_path, setting) as platform:
        returned = await signed_in(platform)
        claims = claims_of((await platform.redeem(returned["code"])).json()["id_token"])

    assert ("wids" in claims) is shown


async def test_roles_may_be_missing_from_a_long_token(platform: Platform) -> None:
    """Microsoft may leave wids out; the switch does it for everybody, so absence proves nothing about a person."""
    await platform.control("POST", "settings", json={"omit_wids": True})
    returned = await signed_in(platform)
    claims = claims_of((await platform.redeem(returned["code"])).json()["id_token"])

    assert "wids" not in claims


@pytest.mark.parametrize("names", [(), ("auth_time",)])
async def test_the_time_of_sign_in_shows_only_where_the_registration_asks(platform: Platform, names: tuple[str, ...]) -> None:
    """The optional claim auth_time is when the password was last typed: single sign-on does not move it, prompt=login does."""
    registration = platform.application("mail_flow")
    platform.simulation.store.registrations[registration.app_id] = replace(registration, optional_id_claims=frozenset(names))
    browser = platform.browser()
    told: list[int] = []
    for prompt in ("", "", "login"):
        url = platform.authorize_url(**({"prompt": prompt} if prompt else {}))
        if told and not prompt:
            shown = await Shown(platform, browser).open(url)
        else:
            shown = await platform.sign_in(url, "admin@contoso.com", browser)
        if shown.returned is None:
            await shown.submit("accept")
        assert shown.returned
        claims = claims_of((await platform.redeem(shown.returned["code"])).json()["id_token"])
        told.append(claims.get("auth_time", 0))
        platform.simulation.clock.advance(60)

    if names:
        assert told[1] == told[0]
        assert told[2] >= told[0] + 120
    else:
        assert told == [0] * 3


async def test_a_tenant_may_forbid_that_people_consent(platform: Platform) -> None:
    """Where user consent is off, a member's mere sign-in needs an administrator, who may still sign in."""
    await platform.control("POST", "settings", json={"user_consent": False})
    member = await platform.sign_in(platform.authorize_url(), "member@contoso.com")
    administrator = await platform.sign_in(platform.authorize_url(), "admin@contoso.com")

    assert "Need admin approval" in member.words
    assert "Permissions requested" in administrator.words


async def test_without_the_profile_scope_nobody_is_named(platform: Platform) -> None:
    """`openid` alone gives neither oid nor names."""
    returned = await signed_in(platform, scope="openid")
    claims = claims_of((await platform.redeem(returned["code"])).json()["id_token"])

    assert not {"oid", "name", "preferred_username"} & claims.keys()


async def test_the_subject_differs_by_application(platform: Platform) -> None:
    """`sub` is pairwise: one person, two applications, two subjects."""
    subjects = set()
    for name in ("mail_flow", "directory"):
        shown = await platform.sign_in(platform.authorize_url(name), "admin@contoso.com")
        returned = await platform.press(shown, "accept")
        subjects.add(claims_of((await platform.redeem(returned["code"], name)).json()["id_token"])["sub"])

    assert len(subjects) == 2


async def test_the_first_sign_in_asks_for_consent_and_the_second_does_not(platform: Platform) -> None:
    """Once a person has consented to openid and profile, a later sign-in goes straight back."""
    first = await platform.sign_in(platform.authorize_url(), "member@contoso.com")
    assert "Permissions requested" in first.words
    await platform.press(first, "accept")

    second = await platform.sign_in(platform.authorize_url(), "member@contoso.com")

    assert second.returned is not None


async def test_a_persons_consent_makes_the_service_principal_without_permissions(platform: Platform) -> None:
    """After a mere sign-in the application has a token for the tenant, but no role in it: no proof of admin consent."""
    await signed_in(platform, "member@contoso.com")
    answer = await platform.app_token()

    assert answer.status_code == 200
    assert "roles" not in claims_of(answer.json()["access_token"])
    (grant,) = platform.tenant.oauth2_permission_grants.values()
    assert grant.consent_type == "Principal"


async def test_single_sign_on_shows_no_password_page(platform: Platform) -> None:
    """A second authorize in the same browser goes straight back."""
    browser = platform.browser()
    await platform.press(await platform.sign_in(platform.authorize_url(), "admin@contoso.com", browser), "accept")

    again = await Shown(platform, browser).open(platform.authorize_url(state="another"))

    assert again.returned is not None
    assert again.returned["state"] == "another"


async def test_two_accounts_are_offered_and_the_chosen_one_goes_on(platform: Platform) -> None:
    """With two accounts in one browser Microsoft asks which; the choice decides the tenant."""
    browser = platform.browser()
    for name in ("admin@contoso.com", "admin@fabrikam.onmicrosoft.com"):
        await platform.press(await platform.sign_in(platform.authorize_url(prompt="login"), name, browser), "accept")

    shown = await Shown(platform, browser).open(platform.authorize_url())
    assert "Pick an account" in shown.words
    fabrikam = platform.other.users.find("admin@fabrikam.onmicrosoft.com")
    assert fabrikam is not None
    await shown.submit(account=fabrikam.id)

    assert shown.returned is not None
    answer = (await platform.redeem(shown.returned["code"])).json()
    assert claims_of(answer["id_token"])["tid"] == platform.other.id


async def test_login_hint_chooses_among_the_accounts(platform: Platform) -> None:
    """A hint that names a signed-in account needs no question."""
    browser = platform.browser()
    for name in ("admin@contoso.com", "member@contoso.com"):
        await platform.press(await platform.sign_in(platform.authorize_url(prompt="login"), name, browser), "accept")

    shown = await Shown(platform, browser).open(platform.authorize_url(login_hint="member@contoso.com"))

    assert shown.returned is not None
    answer = (await platform.redeem(shown.returned["code"])).json()
    assert claims_of(answer["id_token"])["preferred_username"] == "member@contoso.com"


async def test_login_hint_fills_the_sign_in_page(platform: Platform) -> None:
    """Nobody signed in: the hint stands in the form."""
    shown = await platform.sign_in_refused(platform.authorize_url(login_hint="admin@contoso.com"))

    assert shown.page.fields["loginfmt"] == "admin@contoso.com"


@pytest.mark.parametrize(
    ("name", "password", "words"),
    [
        ("admin@contoso.com", "wrong", "Your account or password is incorrect."),
        ("nobody@contoso.com", None, "We couldn't find an account with that username."),
        ("admin@nowhere.example", None, "We couldn't find an account with that username."),
        ("shared13@contoso.com", None, "AADSTS50057"),
    ],
)
async def test_a_wrong_sign_in_stays_on_the_page(platform: Platform, name: str, password: str | None, words: str) -> None:
    """A wrong password, an unknown name and a disabled account go nowhere."""
    shown = await platform.sign_in(platform.authorize_url(), name, password=password)

    assert shown.returned is None
    assert words in shown.words


@pytest.mark.parametrize("at", ["signin", "consent"])
async def test_cancelling_is_told_to_the_client(platform: Platform, at: str) -> None:
    """Cancel, at sign-in or at consent, goes back as access_denied with its subcode."""
    shown = await platform.sign_in_refused(platform.authorize_url())
    if at == "consent":
        shown = await platform.sign_in(platform.authorize_url(), "admin@contoso.com")
    returned = await platform.press(shown, "cancel")

    assert (returned["error"], returned["error_subcode"], returned["state"]) == ("access_denied", "cancel", "the-state")


async def test_an_administrators_permission_asks_only_an_administrator(platform: Platform) -> None:
    """A member who is asked for RoleManagement.ReadWrite.Directory sees "Need admin approval" and never returns."""
    url = platform.authorize_url("role_helper", scope=f"openid profile {ROLE_SCOPE}")
    member = await platform.sign_in(url, "member@contoso.com")
    administrator = await platform.sign_in(url, "admin@contoso.com")

    assert member.returned is None
    assert "Need admin approval" in member.words
    assert "Permissions requested" in administrator.words


async def test_a_delegated_token_carries_scope_and_person(platform: Platform) -> None:
    """The role helper's token is Graph's, names the permission and the administrator's roles, and is not app-only."""
    url = platform.authorize_url("role_helper", scope=f"openid profile {ROLE_SCOPE}")
    returned = await platform.press(await platform.sign_in(url, "admin@contoso.com"), "accept")
    answer = (await platform.redeem(returned["code"], "role_helper")).json()
    claims = claims_of(answer["access_token"])

    assert claims["aud"] == "https://graph.microsoft.com"
    assert claims["scp"] == "openid profile RoleManagement.ReadWrite.Directory"
    assert Role.GLOBAL_ADMINISTRATOR in claims["wids"]
    assert (claims["idtyp"], claims["tid"]) == ("user", platform.tenant.id)
    assert "roles" not in claims


@pytest.mark.parametrize(("checked", "kind"), [({}, "Principal"), ({"for_organization": "true"}, "AllPrincipals")])
async def test_an_administrator_may_consent_for_everybody(platform: Platform, checked: dict[str, str], kind: str) -> None:
    """The box on the consent page decides for whom the grant is."""
    shown = await platform.sign_in(platform.authorize_url(), "admin@contoso.com")
    await platform.press(shown, "accept", **checked)

    assert [each.consent_type for each in platform.tenant.oauth2_permission_grants.values()] == [kind]


async def test_a_member_cannot_consent_for_everybody(platform: Platform) -> None:
    """The same box, sent by somebody who was never shown it, is not heeded."""
    shown = await platform.sign_in(platform.authorize_url(), "member@contoso.com")
    await platform.press(shown, "accept", for_organization="true")

    assert [each.consent_type for each in platform.tenant.oauth2_permission_grants.values()] == ["Principal"]


@pytest.mark.parametrize(
    ("changes", "error", "code"),
    [
        ({"response_type": "token"}, "unsupported_response_type", "AADSTS700054"),
        ({"scope": ""}, "invalid_request", "AADSTS900144"),
        ({"code_challenge": "short"}, "invalid_request", "AADSTS501491"),
        ({"code_challenge_method": "plain"}, "invalid_request", "AADSTS501491"),
        ({"scope": "openid https://graph.microsoft.com/No.Such"}, "invalid_client", "AADSTS650053"),
        ({"prompt": "none"}, "login_required", "AADSTS50058"),
    ],
)
async def test_a_wrong_request_is_told_to_the_client(platform: Platform, changes: dict[str, str], error: str, code: str) -> None:
    """Once client and redirect are right, refusals go back by redirect."""
    shown = await platform.sign_in_refused(platform.authorize_url(**changes))

    assert shown.returned is not None
    assert (shown.returned["error"], shown.returned["state"]) == (error, "the-state")
    assert shown.returned["error_description"].startswith(code)


async def test_prompt_none_without_consent_asks_for_consent(platform: Platform) -> None:
    """A silent request of a signed-in person who never consented fails with consent_required."""
    browser = platform.browser()
    await platform.sign_in(platform.authorize_url(), "admin@contoso.com", browser)
    shown = await Shown(platform, browser).open(platform.authorize_url(prompt="none"))

    assert shown.returned is not None
    assert shown.returned["error"] == "consent_required"


async def test_prompt_consent_asks_again(platform: Platform) -> None:
    """prompt=consent shows the page although all is granted, and its cancel counts."""
    await signed_in(platform)
    shown = await platform.sign_in(platform.authorize_url(prompt="consent"), "admin@contoso.com")

    assert "Permissions requested" in shown.words
    assert (await platform.press(shown, "cancel"))["error"] == "access_denied"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"client_id": "11111111-2222-3333-4444-555555555555"}, "AADSTS700016"),
        ({"client_id": ""}, "AADSTS900144"),
        ({"redirect_uri": "https://evil.example/"}, "AADSTS50011"),
        ({"tenant": "nowhere.example"}, "AADSTS90002"),
    ],
)
async def test_what_cannot_be_trusted_is_never_redirected(platform: Platform, changes: dict[str, str], code: str) -> None:
    """An unknown client, tenant or redirect is refused on Microsoft's own page."""
    shown = await platform.sign_in_refused(platform.authorize_url(**changes))

    assert shown.returned is None
    assert code in shown.words


async def test_a_form_of_another_browser_is_refused(platform: Platform) -> None:
    """A form without this session's canary is refused: AADSTS165000."""
    shown = await platform.sign_in(platform.authorize_url(), "admin@contoso.com")
    await shown.submit("accept", canary="0" * 64)

    assert "AADSTS165000" in shown.words
    assert platform.tenant.oauth2_permission_grants == {}


async def test_form_post_shows_a_form_for_the_client(platform: Platform) -> None:
    """response_mode=form_post answers with a form whose button posts code and state to the redirect."""
    await signed_in(platform)
    shown = await platform.sign_in(platform.authorize_url(response_mode="form_post"), "admin@contoso.com")
    page = shown.page

    assert page.action == SIGNED_IN
    assert page.fields["state"] == "the-state"
    assert "code" in page.fields


async def test_fragment_keeps_the_code_out_of_the_query(platform: Platform) -> None:
    """response_mode=fragment answers behind the hash sign."""
    await signed_in(platform)
    shown = await platform.sign_in(platform.authorize_url(response_mode="fragment"), "admin@contoso.com")

    assert shown.answer is not None
    assert "?" not in shown.answer.headers["location"]
    assert shown.returned is not None
    assert shown.returned["code"]


async def test_signing_out_ends_single_sign_on(platform: Platform) -> None:
    """After the logout page the password is asked for again."""
    browser = platform.browser()
    await platform.press(await platform.sign_in(platform.authorize_url(), "admin@contoso.com", browser), "accept")
    await browser.get("/common/oauth2/v2.0/logout")

    shown = await Shown(platform, browser).open(platform.authorize_url())

    assert "passwd" in shown.page.fields


async def test_values_of_the_address_are_escaped_on_the_page(platform: Platform) -> None:
    """A hint with markup in it is shown as text."""
    parameters = {"login_hint": '"><script>alert(1)</script>'}
    shown = await platform.sign_in_refused(platform.authorize_url() + "&" + query(parameters))

    assert shown.answer is not None
    assert "<script>" not in shown.answer.text


async def test_pages_say_that_they_are_a_simulation(platform: Platform) -> None:
    """Nobody should mistake the page for Microsoft's and type a real password."""
    shown = await platform.sign_in_refused(platform.authorize_url())

    assert "This is a simulation" in shown.words
