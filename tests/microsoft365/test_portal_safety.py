"""The simulated Entra admin center: who gets in, and what nobody can forge, smuggle in or reach across tenants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlencode

import pytest

from local.microsoft365.model import Group, Role, RoleAssignment, ServicePrincipal
from local.microsoft365.portal.desk import own_page
from tests.microsoft365.platform import PageReader, Platform
from tests.microsoft365.portal import ADD, ROLE, Walk, held, path_of, signed_in_client, user_id

MARKUP = "<script>alert(1)</script>"


@pytest.mark.parametrize("path", ["/", "/portal/roles", ROLE, f"{ADD}?search=Test%20mail_flow"])
async def test_without_a_sign_in_nothing_is_shown(walk: Walk, path: str) -> None:
    """Every page asks who it is first, and the sign-in leads back to that very page."""
    asked = await walk.open(path)
    page = await walk.fill(asked, "member@contoso.com")

    assert asked.forms[0].fields[1] == ("step", "signin")
    assert "to continue to Microsoft Entra admin center" in asked.words
    assert "Contoso" not in asked.words
    assert (page.status, path_of(page)) == (200, path)


async def test_a_form_without_a_sign_in_changes_nothing(walk: Walk, platform: Platform, consented: ServicePrincipal) -> None:
    """A form whose session ended leads to the sign-in and from there to the role, and is not carried out."""
    await walk.sign_in()
    add = await walk.open(ADD)
    await walk.open("/common/oauth2/v2.0/logout")
    asked = await walk.press(add, chosen=consented.id)
    page = await walk.fill(asked, "privileged@contoso.com")

    assert "Sign in" in asked.words
    assert path_of(page) == ROLE
    assert held(platform, consented.id) == []


async def test_a_wrong_password_stays_outside(walk: Walk) -> None:
    """The sign-in page asks again."""
    page = await walk.fill(await walk.open("/portal/roles"), "privileged@contoso.com", "wrong")

    assert "Your account or password is incorrect." in page.words
    assert "Sign in" in (await walk.open("/portal/roles")).words


async def test_cancelling_the_sign_in_leaves_a_way_back(walk: Walk) -> None:
    """Cancel shows that nobody is signed in, with a link that asks again."""
    asked = await walk.open("/portal/roles")
    cancelled = await walk.browser.submit(asked, asked.forms[0], press=("decision", "cancel"))
    page = await walk.fill(await walk.follow(cancelled, "Sign in"), "member@contoso.com")

    assert "not signed in" in cancelled.words
    assert path_of(page) == "/portal/roles"


async def test_one_account_goes_on_and_two_are_asked(walk: Walk) -> None:
    """Who is signed in at Microsoft need not say so again; another account can take the place of the first."""
    home = await walk.sign_in("exchange@contoso.com")
    accounts = await walk.follow(home, "Sign in with a different account")
    asked = await walk.browser.submit(accounts, accounts.forms[0], press=("account", "other"))
    page = await walk.fill(asked, "privileged@contoso.com")

    assert "Exchange Administrator" in home.words
    assert "Pick an account" in accounts.words
    assert (path_of(page), "Privileged Role Administrator" in page.words) == ("/", True)


async def test_a_disabled_account_is_shut_out(walk: Walk, platform: Platform) -> None:
    """At the sign-in, and also once it has been let in."""
    shut = await walk.sign_in("shared13@contoso.com")
    inside = await walk.sign_in("privileged@contoso.com")
    user = platform.tenant.users.find("privileged@contoso.com")
    assert user is not None
    platform.tenant.users.put(replace(user, account_enabled=False))
    outside = await walk.open("/portal/roles")

    assert "AADSTS50057" in shut.words
    assert "Basic information" in inside.words
    assert "AADSTS50057" in outside.words


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "/portal//evil.example",
        "/portal/../_control/state",
        "/portal/roles\r\nX: y",
        "/portal/roles\n",
        "/_control/state",
        "/contoso.com/oauth2/v2.0/authorize",
        "javascript:alert(1)",
        "portal/roles",
        "",
    ],
)
async def test_a_forged_return_address_leads_home(walk: Walk, address: str) -> None:
    """After the sign-in the browser goes to pages of the portal and nowhere else."""
    page = await walk.sign_in("member@contoso.com", f"/portal/signin?{urlencode({'return': address})}")

    assert (page.status, path_of(page)) == (200, "/")
    assert own_page(address) == "/"


async def test_another_tenants_application_is_not_found(walk: Walk, platform: Platform) -> None:
    """Fabrikam's service principal and people exist in Fabrikam only: no search finds them, no form assigns them."""
    await platform.grant("mail_flow", tenant="fabrikam.onmicrosoft.com")
    foreign = platform.other.service_principal_of(platform.application("mail_flow").app_id)
    person = platform.other.users.find("member@fabrikam.onmicrosoft.com")
    assert foreign is not None
    assert person is not None
    await walk.sign_in()
    add = await walk.open(ADD)
    words = [(await walk.search(add, text)).words for text in (foreign.app_id, foreign.id, "Test mail", person.id)]
    refused = [await walk.add(identifier) for identifier in (foreign.id, person.id)]

    assert all("No results." in each for each in words)
    assert [page.status for page in refused] == [409, 409]
    assert {each.principal_id for each in platform.tenant.role_assignments.values()} & {foreign.id, person.id} == set()


@dataclass(frozen=True, slots=True)
class Forged:
    """What a forged form has that the real one has not."""

    fields: Mapping[str, str]
    origin: str | None


@pytest.mark.parametrize(
    "forged",
    [
        Forged({"canary": ""}, "own"),
        Forged({"canary": "0" * 64}, "own"),
        Forged({}, "https://evil.example"),
        Forged({}, "null"),
        Forged({}, None),
    ],
    ids=["no canary", "another's canary", "another site", "an opaque origin", "no origin"],
)
@pytest.mark.parametrize("action", ["add", "remove"])
async def test_a_forged_form_is_refused(platform: Platform, consented: ServicePrincipal, forged: Forged, action: str) -> None:
    """A form needs this session's canary and this site's origin, whoever's cookies come with it."""
    client = await signed_in_client(platform)
    person = user_id(platform, "exchange@contoso.com")
    chosen = consented.id if action == "add" else held(platform, person)[0].id
    origin = platform.simulation.url if forged.origin == "own" else forged.origin
    form = {**PageReader((await client.get(ADD)).text).fields, "chosen": chosen, "decision": "yes", **forged.fields}
    answer = await client.post(f"{ROLE}/{action}", data=form, headers={"Origin": origin} if origin else {})

    assert (answer.status_code, "AADSTS165000" in answer.text) == (400, True)
    assert (held(platform, consented.id), len(held(platform, person))) == ([], 1)


async def test_names_with_markup_are_text(walk: Walk, platform: Platform, consented: ServicePrincipal) -> None:
    """A tenant, an application, a user, a group and a search that carry markup harm no page."""
    tenant, now = platform.tenant, platform.simulation.clock.now()
    user = tenant.users.find("exchange@contoso.com")
    assert user is not None
    tenant.display_name = MARKUP
    tenant.users.put(replace(user, display_name=MARKUP))
    tenant.service_principals[consented.id] = replace(consented, display_name=MARKUP)
    tenant.groups["g"] = Group("g", MARKUP, now)
    tenant.role_assignments["g"] = RoleAssignment("g", Role.EXCHANGE_ADMINISTRATOR, "g", now, now)
    await walk.sign_in()
    again = await walk.add(user.id, MARKUP)
    pages = [again, *[await walk.open(path) for path in ("/", ROLE, ADD, f"/portal/roles?search={MARKUP}")]]
    pages.append(await walk.press(pages[2], chosen="g"))

    assert again.status == 409
    assert "is already assigned" in again.words
    assert [page.status for page in pages[1:]] == [200] * 5
    assert [MARKUP in page.text for page in pages] == [False] * 6
    assert ["&lt;script&gt;" in page.text for page in pages] == [True] * 6


async def test_people_stay_in_their_tenant(walk: Walk, platform: Platform, consented: ServicePrincipal) -> None:
    """Fabrikam's administrator sees and changes Fabrikam only."""
    await walk.sign_in("admin@fabrikam.onmicrosoft.com", ROLE)
    role = await walk.open(ROLE)
    refused = await walk.add(consented.id)

    assert "exchange@fabrikam.onmicrosoft.com" in role.words
    assert "contoso" not in role.words
    assert (refused.status, held(platform, consented.id)) == (409, [])


async def test_pages_cannot_be_framed_or_scripted(platform: Platform) -> None:
    """No script, no frame, no form to elsewhere; nothing is kept in a cache."""
    client = await signed_in_client(platform)
    answer = await client.get("/portal/roles")

    policy = answer.headers["Content-Security-Policy"]
    assert answer.status_code == 200
    assert all(each in policy for each in ("default-src 'none'", "frame-ancestors 'none'", "form-action 'self'"))
    assert "script-src" not in policy
    assert "no-store" in answer.headers["Cache-Control"]
    assert "<script" not in answer.text


async def test_a_reset_forgets_who_was_there(walk: Walk, platform: Platform) -> None:
    """After the control interface's reset the portal asks again."""
    await walk.sign_in()
    await platform.control("POST", "reset")

    assert "Sign in" in (await walk.open("/portal/roles")).words


def test_own_pages_keep_their_search() -> None:
    """What the portal itself asks to come back to is taken as it is."""
    assert [own_page(each) for each in ("/", "/portal/roles", f"{ADD}?search=a%20b%27")] == [
        "/",
        "/portal/roles",
        f"{ADD}?search=a%20b%27",
    ]
