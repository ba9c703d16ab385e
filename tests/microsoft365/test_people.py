"""People from elsewhere: guests, partners' administrators, and accounts that are nobody in a tenant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from local.microsoft365.identity.people import GUEST_WID, MEMBER_WID, delegate_administration, invite_guest
from local.microsoft365.identity.sessions import Account
from local.microsoft365.model import Role
from local.microsoft365.population import User
from tests.microsoft365.platform import EXCHANGE_DEFAULT, ROLE_SCOPE, Platform, Shown, claims_of, running

FABRIKAM_ADMIN = "admin@fabrikam.onmicrosoft.com"
FABRIKAM_MEMBER = "member@fabrikam.onmicrosoft.com"


async def invited(platform: Platform, account: str = FABRIKAM_MEMBER, *roles: str) -> dict[str, str]:
    """Make an account of Fabrikam a guest of Contoso."""
    body = {"account": account, "roles": list(roles)}
    answer: dict[str, str] = await platform.control("POST", "tenants/contoso.com/guests", json=body)
    return answer


async def delegated(platform: Platform, account: str = FABRIKAM_MEMBER, *roles: str) -> dict[str, str]:
    """Make an account of Fabrikam a delegated administrator of Contoso."""
    body = {"account": account, "roles": list(roles)}
    answer: dict[str, str] = await platform.control("POST", "tenants/contoso.com/delegated-administrators", json=body)
    return answer


def person(platform: Platform, name: str) -> User:
    """An account of Fabrikam."""
    found = platform.other.users.find(name)
    assert found is not None
    return found


async def id_token(platform: Platform, account: str, tenant: str, **changes: str) -> dict[str, Any]:
    """Sign in at a tenant's address; what the id_token says."""
    shown = await platform.sign_in(platform.authorize_url(tenant=tenant, **changes), account)
    returned = shown.returned if shown.returned is not None else await platform.press(shown, "accept")
    return claims_of((await platform.redeem(returned["code"], tenant=tenant)).json()["id_token"])


@pytest.mark.parametrize(
    ("roles", "wids"), [([], [GUEST_WID]), (["global_administrator"], [Role.GLOBAL_ADMINISTRATOR, GUEST_WID])]
)
async def test_a_guest_is_somebody_else_in_the_resource_tenant(platform: Platform, roles: list[str], wids: list[str]) -> None:
    """At the inviting tenant's address tid, oid and wids are those of the guest object there; `idp` names the home tenant."""
    guest = await invited(platform, FABRIKAM_MEMBER, *roles)
    claims = await id_token(platform, FABRIKAM_MEMBER, "contoso.com")

    assert (claims["tid"], claims["oid"], claims["wids"]) == (platform.tenant.id, guest["user_id"], wids)
    assert claims["iss"] == f"{platform.simulation.url}/{platform.tenant.id}/v2.0"
    assert claims["idp"] == f"https://sts.windows.net/{platform.other.id}/"
    assert claims["preferred_username"] == FABRIKAM_MEMBER


async def test_a_guest_is_at_home_at_organizations(platform: Platform) -> None:
    """Without a tenant in the address the home tenant's own account signs in, whatever it is elsewhere."""
    await invited(platform, FABRIKAM_MEMBER, "global_administrator")
    claims = await id_token(platform, FABRIKAM_MEMBER, "organizations")

    assert (claims["tid"], claims["wids"]) == (platform.other.id, [MEMBER_WID])
    assert claims["oid"] == person(platform, FABRIKAM_MEMBER).id
    assert "idp" not in claims


async def test_a_guest_is_one_object_however_often_invited(platform: Platform) -> None:
    """A second invitation of an account finds the guest object that is there."""
    first, second = await invited(platform), await invited(platform, FABRIKAM_MEMBER, "global_administrator")
    third = await invited(platform, FABRIKAM_MEMBER, "global_administrator")
    guest = platform.tenant.users.get(first["user_id"])
    held = [each for each in platform.tenant.role_assignments.values() if each.principal_id == first["user_id"]]

    assert first == second == third
    assert len(held) == 1
    assert guest is not None
    assert (guest.user_type, guest.user_principal_name.partition("#")[2]) == ("Guest", "EXT#@contoso.onmicrosoft.com")


@pytest.mark.parametrize(("roles", "words"), [([], "Need admin approval"), (["global_administrator"], "Permissions requested")])
async def test_a_guests_role_in_the_tenant_decides_its_consent(platform: Platform, roles: list[str], words: str) -> None:
    """A home administrator is nobody special as a guest; a guest with a role may consent like everybody with it."""
    await invited(platform, FABRIKAM_ADMIN, *roles)
    shown = await platform.sign_in(platform.consent_url(), FABRIKAM_ADMIN)

    assert words in shown.words


async def test_a_guest_administrators_consent_is_the_resource_tenants(platform: Platform) -> None:
    """What a guest with a role accepts is granted in the inviting tenant, and nowhere else."""
    await invited(platform, FABRIKAM_MEMBER, "global_administrator")
    shown = await platform.sign_in(platform.consent_url(), FABRIKAM_MEMBER)
    returned = await platform.press(shown, "accept")

    assert returned["tenant"] == platform.tenant.id
    assert len(platform.tenant.app_role_assignments) == 1
    assert platform.other.app_role_assignments == {}


async def test_a_partners_administrator_has_the_delegated_roles(platform: Platform) -> None:
    """GDAP: at the customer's address tid is the customer's and wids are the delegated roles, and no default role."""
    await delegated(platform, FABRIKAM_MEMBER, Role.GLOBAL_ADMINISTRATOR, Role.EXCHANGE_ADMINISTRATOR)
    claims = await id_token(platform, FABRIKAM_MEMBER, "contoso.com")

    assert claims["tid"] == platform.tenant.id
    assert claims["wids"] == sorted([Role.GLOBAL_ADMINISTRATOR, Role.EXCHANGE_ADMINISTRATOR])
    assert (claims["oid"], claims["idp"]) == (
        person(platform, FABRIKAM_MEMBER).id,
        f"https://sts.windows.net/{platform.other.id}/",
    )


async def test_a_partners_administrator_is_at_home_at_organizations(platform: Platform) -> None:
    """At organizations the technician is the home tenant's, there even an administrator: the wrong tenant's."""
    await delegated(platform, FABRIKAM_ADMIN, Role.EXCHANGE_ADMINISTRATOR)
    claims = await id_token(platform, FABRIKAM_ADMIN, "organizations")

    assert (claims["tid"], claims["wids"]) == (platform.other.id, [Role.GLOBAL_ADMINISTRATOR, MEMBER_WID])


async def test_a_partners_administrator_consents_with_the_delegated_role_only(platform: Platform) -> None:
    """A Global Administrator at home may not consent for a customer with a smaller delegated role."""
    await delegated(platform, FABRIKAM_ADMIN, Role.EXCHANGE_ADMINISTRATOR)
    refused = await platform.sign_in(platform.consent_url(), FABRIKAM_ADMIN)
    await delegated(platform, FABRIKAM_ADMIN, Role.GLOBAL_ADMINISTRATOR)
    allowed = await platform.sign_in(platform.consent_url(), FABRIKAM_ADMIN)

    assert "Need admin approval" in refused.words
    assert (await platform.press(allowed, "accept"))["tenant"] == platform.tenant.id


async def test_a_partners_delegated_token_is_the_customers(platform: Platform) -> None:
    """Graph's token for a technician names the customer as tenant and carries the delegated roles."""
    await delegated(platform, FABRIKAM_MEMBER, Role.PRIVILEGED_ROLE_ADMINISTRATOR)
    url = platform.authorize_url("role_helper", "contoso.com", scope=f"openid profile {ROLE_SCOPE}")
    returned = await platform.press(await platform.sign_in(url, FABRIKAM_MEMBER), "accept")
    answer = (await platform.redeem(returned["code"], "role_helper", "contoso.com")).json()
    claims = claims_of(answer["access_token"])

    assert (claims["tid"], claims["wids"]) == (platform.tenant.id, [Role.PRIVILEGED_ROLE_ADMINISTRATOR])
    assert "RoleManagement.ReadWrite.Directory" in claims["scp"]
    assert "upn" not in claims


async def test_a_partner_loses_the_customer_with_the_roles(platform: Platform) -> None:
    """A relationship that was ended leaves the account a stranger, also with a code that was issued before."""
    await delegated(platform, FABRIKAM_MEMBER, Role.GLOBAL_ADMINISTRATOR)
    shown = await platform.sign_in(platform.authorize_url(tenant="contoso.com"), FABRIKAM_MEMBER)
    returned = await platform.press(shown, "accept")
    await delegated(platform, FABRIKAM_MEMBER)
    late = await platform.redeem(returned["code"], tenant="contoso.com")
    again = await platform.sign_in(platform.authorize_url(tenant="contoso.com"), FABRIKAM_MEMBER)

    assert late.json()["error_codes"] == [70000]
    assert "AADSTS50020" in again.words


@pytest.mark.parametrize("asks", [False, True])
async def test_whether_partners_need_a_consent_first_is_a_switch(platform: Platform, *, asks: bool) -> None:
    """AADSTS90099 before the application is consented to in the customer's tenant, where the switch says so."""
    await platform.control("POST", "settings", json={"partners_need_consent": asks})
    await delegated(platform, FABRIKAM_MEMBER, Role.GLOBAL_ADMINISTRATOR)
    before = await platform.sign_in(platform.authorize_url(tenant="contoso.com"), FABRIKAM_MEMBER)
    await platform.grant("mail_flow")
    after = await platform.sign_in(platform.authorize_url(tenant="contoso.com"), FABRIKAM_MEMBER)

    assert ("AADSTS90099" in before.words) is asks
    assert "AADSTS" not in after.words


async def test_the_only_account_of_a_browser_may_be_a_foreign_one(platform: Platform) -> None:
    """Single sign-on with the one account known ends on AADSTS50020 at a tenant where it is nobody, and enters as a guest."""
    browser = platform.browser()
    shown = await platform.sign_in(platform.authorize_url(tenant="fabrikam.onmicrosoft.com"), FABRIKAM_MEMBER, browser)
    await platform.press(shown, "accept")
    refused = await Shown(platform, browser).open(platform.authorize_url(tenant="contoso.com"))
    await invited(platform)
    entered = await Shown(platform, browser).open(platform.authorize_url(tenant="contoso.com"))

    assert refused.returned is None
    assert "AADSTS50020" in refused.words
    assert "Permissions requested" in entered.words


async def test_among_several_accounts_the_one_that_may_enter_goes_on(platform: Platform) -> None:
    """With two foreign accounts signed in, only the guest's one is taken at the inviting tenant's address."""
    browser = platform.browser()
    for name in (FABRIKAM_ADMIN, FABRIKAM_MEMBER):
        await platform.press(await platform.sign_in(platform.authorize_url(prompt="login"), name, browser), "accept")
    guest = await invited(platform, FABRIKAM_ADMIN)
    shown = await Shown(platform, browser).open(platform.authorize_url(tenant="contoso.com"))
    returned = await platform.press(shown, "accept")

    claims = claims_of((await platform.redeem(returned["code"], tenant="contoso.com")).json()["id_token"])
    assert claims["oid"] == guest["user_id"]


async def test_guests_and_partners_survive_a_restart(tmp_path: Path) -> None:
    """Both are part of the state that a data directory keeps."""
    async with running(tmp_path / "first", data=tmp_path / "data") as platform:
        guest = await invited(platform)
        await delegated(platform, FABRIKAM_ADMIN, Role.GLOBAL_READER)
        await platform.control("POST", "tenants/contoso.com/policies", json={"control": "mfa", "users": ["member@contoso.com"]})
    async with running(tmp_path / "second", data=tmp_path / "data") as platform:
        kept = platform.tenant.users.get(guest["user_id"])

        assert kept is not None
        assert kept.home_account == f"{platform.other.id}/{person(platform, FABRIKAM_MEMBER).id}"
        assert platform.tenant.delegated_administrators == {
            person(platform, FABRIKAM_ADMIN).id: frozenset({Role.GLOBAL_READER.value})
        }
        assert len(platform.tenant.conditional_access) == 1


async def test_only_another_tenants_account_is_a_guest_or_a_partners(platform: Platform) -> None:
    """Nobody's account is no guest, and a tenant's own people are no partner's."""
    store, tenant, now = platform.simulation.store, platform.tenant, platform.simulation.clock.now()
    own = tenant.users.find("member@contoso.com")
    assert own is not None

    with pytest.raises(KeyError):
        invite_guest(store, tenant, Account(platform.other.id, "nobody"), now)
    with pytest.raises(KeyError):
        delegate_administration(store, tenant, Account("nowhere", own.id), frozenset())
    with pytest.raises(ValueError, match="another tenant"):
        delegate_administration(store, tenant, Account(tenant.id, own.id), frozenset())


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("tenants/nowhere.example/guests", {"account": FABRIKAM_ADMIN}),
        ("tenants/contoso.com/guests", {"account": "nobody@fabrikam.onmicrosoft.com"}),
        ("tenants/contoso.com/guests", {"account": FABRIKAM_ADMIN, "roles": ["king"]}),
        ("tenants/contoso.com/delegated-administrators", {"account": "member@contoso.com"}),
        ("tenants/contoso.com/policies", {"control": "hope"}),
        ("tenants/contoso.com/policies", {"control": "block", "users": ["nobody@contoso.com"]}),
        ("tenants/contoso.com/revocations", {"principal": "nobody"}),
        ("tenants/contoso.com", {"is_deleted": "perhaps"}),
    ],
)
async def test_what_makes_no_sense_is_said(platform: Platform, path: str, body: dict[str, Any]) -> None:
    """The control interface answers 400 with a reason, and changes nothing."""
    answer = await platform.client.post(f"/_control/{path}", json=body)

    assert answer.status_code == 400
    assert answer.json()["error"]
    assert not platform.tenant.delegated_administrators
    assert not platform.tenant.conditional_access


async def test_a_token_for_the_tenant_itself_does_not_know_guests(platform: Platform) -> None:
    """An application's own token has the tenant's own roles, however many people of elsewhere there are."""
    await invited(platform, FABRIKAM_MEMBER, "global_administrator")
    await platform.grant("mail_flow")
    claims = claims_of((await platform.app_token("mail_flow", EXCHANGE_DEFAULT)).json()["access_token"])

    assert Role.GLOBAL_ADMINISTRATOR not in claims["wids"]
