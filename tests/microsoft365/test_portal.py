"""The simulated Entra admin center: the role step as an administrator does it by hand, and what must not be possible there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlencode, urljoin

import httpx
import pytest

from local.browser import Browser, Form, Page
from local.microsoft365.model import Group, Role, RoleAssignment, ServicePrincipal
from local.microsoft365.portal.desk import own_page
from local.microsoft365.portal.role import SHOWN
from tests.microsoft365.platform import PageReader, Platform, claims_of

ROLE = f"/portal/roles/{Role.EXCHANGE_ADMINISTRATOR}"
ADD = f"{ROLE}/add"
NOBODY = "11111111-2222-4333-8444-555555555555"
MARKUP = "<script>alert(1)</script>"


@dataclass(slots=True)
class Walk:
    """A person's browser at the portal."""

    platform: Platform
    browser: Browser

    async def open(self, path: str) -> Page:
        """Go to a page of the simulation."""
        return await self.browser.open(f"{self.platform.simulation.url}{path}")

    async def sign_in(self, name: str = "privileged@contoso.com", path: str = "/") -> Page:
        """Ask for a page, fill the sign-in form that comes, and return what comes then."""
        return await self.fill(await self.open(path), name)

    async def fill(self, page: Page, name: str, password: str = "") -> Page:
        """Fill the sign-in form of a page."""
        secret = password or self.platform.simulation.store.password
        return await self.browser.submit(page, page.forms[0], press=("decision", "accept"), loginfmt=name, passwd=secret)

    async def follow(self, page: Page, text: str) -> Page:
        """Click the link with this text."""
        return await self.browser.open(urljoin(page.url, page.links[text]))

    async def search(self, page: Page, text: str) -> Page:
        """Type into the page's search box and press Enter."""
        return await self.browser.submit(page, form_of(page, "get"), search=text)

    async def press(self, page: Page, button: str = "", **fields: str) -> Page:
        """Press a button of the page's form that changes something."""
        return await self.browser.submit(page, form_of(page, "post"), press=("decision", button) if button else None, **fields)

    async def add(self, principal_id: str, search: str = "") -> Page:
        """Select a principal on the page Add assignments, and press Add."""
        return await self.press(await self.open(f"{ADD}?{urlencode({'search': search})}"), chosen=principal_id)


def form_of(page: Page, method: str) -> Form:
    """The page's form that is sent with this method."""
    return next(form for form in page.forms if form.method == method)


def path_of(page: Page) -> str:
    """Where a page is, without host."""
    return page.url.removeprefix(page.origin)


def mail_flow(platform: Platform) -> ServicePrincipal:
    """The mail-flow application's service principal in Contoso."""
    found = platform.tenant.service_principal_of(platform.application("mail_flow").app_id)
    assert found is not None
    return found


def held(platform: Platform, principal_id: str) -> list[RoleAssignment]:
    """The Exchange Administrator assignments of a principal."""
    return [
        each
        for each in platform.tenant.role_assignments.values()
        if each.principal_id == principal_id and each.role_definition_id == Role.EXCHANGE_ADMINISTRATOR
    ]


def user_id(platform: Platform, name: str) -> str:
    """The id of a user of Contoso."""
    user = platform.tenant.users.find(name)
    assert user is not None
    return user.id


async def signed_in_client(platform: Platform, name: str = "privileged@contoso.com") -> httpx.AsyncClient:
    """A client that sends only what a test tells it, with the cookie of somebody who has signed in to the portal."""
    client = platform.browser()
    asked = PageReader((await client.get("/portal/signin")).text)
    form = {**asked.fields, "loginfmt": name, "passwd": platform.simulation.store.password}
    answer = await client.post("/portal/signin", data=form, headers={"Origin": platform.simulation.url})
    assert answer.status_code == 303
    return client


@pytest.fixture
async def walk(platform: Platform) -> AsyncIterator[Walk]:
    """A browser that nobody has signed in with."""
    async with Browser(str(platform.simulation.ca_file)) as browser:
        yield Walk(platform, browser)


@pytest.fixture
async def consented(platform: Platform) -> ServicePrincipal:
    """The mail-flow application after its admin consent in Contoso."""
    await platform.grant("mail_flow")
    return mail_flow(platform)


async def test_the_role_step_by_hand(walk: Walk, platform: Platform, consented: ServicePrincipal) -> None:
    """Home, Roles & admins, the role, Add assignments, the pasted app ID, Add: the application stands on the list."""
    home = await walk.sign_in("privileged@contoso.com")
    roles = await walk.follow(home, "Roles & admins")
    role = await walk.follow(roles, "Exchange Administrator")
    add = await walk.follow(role, "Add assignments")
    found = await walk.search(add, f"  {consented.app_id.upper()} ")
    done = await walk.press(found, chosen=consented.id)

    assert "Contoso" in home.words
    assert "Roles and administrators | All roles" in roles.words
    assert "Exchange Administrator | Assignments" in role.words
    assert consented.app_id not in role.words
    assert found.text.count('name="chosen"') == 1
    assert (done.status, path_of(done)) == (200, ROLE)
    assert "Added 1 assignment to Exchange Administrator." in done.words
    assert f"Test mail_flow Service principal {consented.app_id} Directory" in done.words
    assert "Edgar Exchange User exchange@contoso.com Directory" in done.words
    assert len(held(platform, consented.id)) == 1


async def test_the_portal_writes_what_graph_writes(walk: Walk, platform: Platform, consented: ServicePrincipal) -> None:
    """Id, scope and times of the assignment are those of Graph's POST roleAssignments."""
    await walk.sign_in()
    await walk.add(consented.id)
    written = held(platform, consented.id)[0]
    del platform.tenant.role_assignments[written.id]
    scope = "https://graph.microsoft.com/RoleManagement.ReadWrite.Directory"
    asked = await platform.sign_in(
        platform.authorize_url("role_helper", scope=f"openid profile {scope}"), "privileged@contoso.com"
    )
    code = (await platform.press(asked, "accept"))["code"]
    token = (await platform.redeem(code, "role_helper")).json()["access_token"]
    body = {"roleDefinitionId": Role.EXCHANGE_ADMINISTRATOR, "principalId": consented.id, "directoryScopeId": "/"}
    answer = await platform.client.post(
        "/v1.0/roleManagement/directory/roleAssignments", json=body, headers={"Authorization": f"Bearer {token}"}
    )

    by_graph = held(platform, consented.id)[0]
    assert answer.status_code == 201
    assert replace(written, created_at=by_graph.created_at, visible_at=by_graph.visible_at) == by_graph


async def exchange_status(platform: Platform) -> int:
    """What Exchange answers the mail-flow application, which asks for a token of its own first."""
    token = (await platform.app_token()).json()["access_token"]
    return (
        await platform.client.post(
            f"/adminapi/beta/{platform.tenant.id}/InvokeCommand",
            json={"CmdletInput": {"CmdletName": "Get-InboundConnector", "Parameters": {}}},
            headers={"Authorization": f"Bearer {token}"},
        )
    ).status_code


async def test_the_role_reaches_exchange_after_its_delay(walk: Walk, platform: Platform, consented: ServicePrincipal) -> None:
    """Listed at once; tokens carry it, and Exchange answers, only when the delay is over; taken away, no longer."""
    await platform.control("POST", "settings", json={"role_delay": 900})
    await walk.sign_in()
    listed = await walk.add(consented.id)
    early = await exchange_status(platform)
    await platform.control("POST", "clock", json={"offset_seconds": 901})
    token = (await platform.app_token()).json()["access_token"]
    late = await exchange_status(platform)
    question = await walk.press(await walk.open(ROLE), chosen=held(platform, consented.id)[0].id)
    await walk.press(question, "yes")

    assert consented.app_id in listed.words
    assert (early, late) == (403, 200)
    assert Role.EXCHANGE_ADMINISTRATOR in claims_of(token)["wids"]
    assert await exchange_status(platform) == 403


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


@pytest.mark.parametrize("name", ["exchange@contoso.com", "application@contoso.com", "member@contoso.com"])
async def test_only_privileged_people_may_add(walk: Walk, platform: Platform, consented: ServicePrincipal, name: str) -> None:
    """Everybody sees who holds the role; an Exchange Administrator, whatever the manual says, may not give it."""
    role = await walk.sign_in(name, ROLE)
    refused = await walk.add(consented.id)

    assert "Edgar Exchange" in role.words
    assert refused.status == 403
    assert "Insufficient privileges to complete the operation." in refused.words
    assert "Privileged Role Administrator" in refused.words
    assert held(platform, consented.id) == []


async def test_a_global_administrator_may_add(walk: Walk, platform: Platform, consented: ServicePrincipal) -> None:
    """As Microsoft documents."""
    await walk.sign_in("admin@contoso.com")
    page = await walk.add(consented.id)

    assert (page.status, len(held(platform, consented.id))) == (200, 1)


async def test_a_role_counts_once_it_has_spread(walk: Walk, platform: Platform, consented: ServicePrincipal) -> None:
    """Who has just become a Privileged Role Administrator may add when that role has spread, not before."""
    now = platform.simulation.clock.now()
    fresh = RoleAssignment("fresh", Role.PRIVILEGED_ROLE_ADMINISTRATOR, user_id(platform, "member@contoso.com"), now, now)
    await walk.sign_in("member@contoso.com")
    platform.tenant.role_assignments["fresh"] = replace(fresh, visible_at=now.replace(year=now.year + 1))
    early = await walk.add(consented.id)
    platform.tenant.role_assignments["fresh"] = fresh
    late = await walk.add(consented.id)

    assert (early.status, late.status) == (403, 200)


async def test_an_unknown_application_is_not_found(walk: Walk, platform: Platform) -> None:
    """Before its consent the app ID finds nothing, and a form with a made-up id is refused."""
    await walk.sign_in()
    before = await walk.search(await walk.open(ADD), platform.application("mail_flow").app_id)
    forged = await walk.add(NOBODY)

    assert "No results." in before.words
    assert "chosen" not in before.text
    assert (forged.status, f"{NOBODY} does not exist in this directory." in forged.words) == (409, True)


async def test_a_consent_that_has_not_spread_is_not_found(walk: Walk, platform: Platform) -> None:
    """The service principal appears, and can be assigned, when its consent has spread."""
    await platform.control("POST", "settings", json={"consent_delay": 60})
    await platform.grant("mail_flow")
    principal = mail_flow(platform)
    await walk.sign_in()
    early = await walk.search(await walk.open(ADD), principal.app_id)
    refused = await walk.add(principal.id)
    await platform.control("POST", "clock", json={"offset_seconds": 61})
    late = await walk.search(await walk.open(ADD), principal.app_id)

    assert ("No results." in early.words, refused.status, principal.id in late.text) == (True, 409, True)


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


async def test_assigning_twice_says_so(walk: Walk, platform: Platform, consented: ServicePrincipal) -> None:
    """The second time the portal names who holds the role already; there is still one assignment."""
    await walk.sign_in()
    await walk.add(consented.id)
    again = await walk.add(consented.id)

    assert (again.status, len(held(platform, consented.id))) == (409, 1)
    assert "Test mail_flow is already assigned to Exchange Administrator." in again.words


async def test_several_are_added_and_each_refusal_is_named(walk: Walk, platform: Platform, consented: ServicePrincipal) -> None:
    """One that holds the role already does not keep the other from getting it; the same box twice counts once."""
    await walk.sign_in()
    add = await walk.open(ADD)
    form = form_of(add, "post")
    chosen = (consented.id, consented.id, user_id(platform, "exchange@contoso.com"))
    form.fields.extend(("chosen", each) for each in chosen)
    page = await walk.browser.submit(add, form)

    assert "Edgar Exchange is already assigned" in page.words
    assert "Test mail_flow is already assigned" not in page.words
    assert len(held(platform, consented.id)) == 1


@pytest.mark.parametrize("path", [ADD, ROLE])
async def test_nothing_selected_is_told(walk: Walk, path: str) -> None:
    """Add and Remove without a tick say what is missing."""
    await walk.sign_in()
    page = await walk.press(await walk.open(path))

    assert (page.status, "Select at least one" in page.words) == (400, True)


@pytest.mark.parametrize(("text", "names"), [("edgar", ["Edgar Exchange"]), ("EXCHANGE@con", ["Edgar Exchange"]), ("dgar", [])])
async def test_names_are_found_by_their_beginning(walk: Walk, text: str, names: list[str]) -> None:
    """By display name or user name, whatever the case; not by a part in the middle."""
    await walk.sign_in("member@contoso.com")
    page = await walk.search(await walk.open(ADD), text)

    assert ["Edgar Exchange"] * page.words.count("Edgar Exchange") == names


async def test_object_ids_find_exactly_one(walk: Walk, platform: Platform, consented: ServicePrincipal) -> None:
    """A person's and a service principal's object id."""
    await walk.sign_in("member@contoso.com")
    add = await walk.open(ADD)
    identifiers = (user_id(platform, "admin@contoso.com"), consented.id)
    pages = [await walk.search(add, each) for each in identifiers]

    assert [page.text.count('name="chosen"') for page in pages] == [1, 1]
    assert [identifier in page.text for identifier, page in zip(identifiers, pages, strict=True)] == [True, True]


async def test_a_long_list_says_that_it_is_cut(walk: Walk, platform: Platform) -> None:
    """Without a search the first ones are shown, and that there are more."""
    user = platform.tenant.users.find("member@contoso.com")
    assert user is not None
    for number in range(SHOWN):
        platform.tenant.users.put(replace(user, id=f"{number:08}-0000-4000-8000-000000000000"))
    await walk.sign_in("member@contoso.com")
    everybody, some = await walk.open(ADD), await walk.open(f"{ADD}?search=Ada")

    assert everybody.text.count('name="chosen"') == SHOWN
    assert f"Only the first {SHOWN} are shown." in everybody.words
    assert "Only the first" not in some.words


async def test_roles_are_listed_and_searched(walk: Walk) -> None:
    """All roles that the directory knows, with their numbers of assignments; a search cuts the list."""
    roles = await walk.sign_in("member@contoso.com", "/portal/roles")
    found = await walk.search(roles, "exCHANGE")
    none = await walk.search(roles, "no such role")

    assert [each.value in roles.text for each in Role] == [True] * len(Role)
    assert "Your role: None" in roles.words
    assert "Exchange Administrator 1 Built-in" in found.words
    assert Role.GLOBAL_READER not in found.text
    assert "No results." in none.words


async def test_an_unknown_role_is_not_found(walk: Walk) -> None:
    """404 with a way to the list."""
    page = await walk.sign_in("member@contoso.com", f"/portal/roles/{NOBODY}")

    assert (page.status, page.links["See all roles"]) == (404, "/portal/roles")


async def test_removing_asks_first(walk: Walk, platform: Platform, consented: ServicePrincipal) -> None:
    """Remove assignments asks; No changes nothing, Yes takes it away, and the list says so."""
    await walk.sign_in()
    await walk.add(consented.id)
    assignment = held(platform, consented.id)[0]
    question = await walk.press(await walk.open(ROLE), chosen=assignment.id)
    kept = await walk.press(question, "no")
    still = held(platform, consented.id)
    gone = await walk.press(question, "yes")
    again = await walk.press(question, "yes")

    assert f"Test mail_flow (Service principal, {consented.app_id} )" in question.words
    assert (path_of(kept), still) == (ROLE, [assignment])
    assert "Removed 1 assignment from Exchange Administrator." in gone.words
    assert consented.app_id not in gone.words
    assert held(platform, consented.id) == []
    assert again.status == 400


async def test_only_privileged_people_may_remove(walk: Walk, platform: Platform) -> None:
    """An Exchange Administrator can't take the role from anybody."""
    await walk.sign_in("exchange@contoso.com")
    person = user_id(platform, "exchange@contoso.com")
    refused = await walk.press(await walk.open(ROLE), "yes", chosen=held(platform, person)[0].id)

    assert (refused.status, len(held(platform, person))) == (403, 1)


async def test_a_removal_stays_within_its_role(walk: Walk, platform: Platform) -> None:
    """An assignment of another role is not taken away by the page of this one."""
    await walk.sign_in()
    other = next(
        each for each in platform.tenant.role_assignments.values() if each.role_definition_id == Role.GLOBAL_ADMINISTRATOR
    )
    refused = await walk.press(await walk.open(ROLE), "yes", chosen=other.id)

    assert (refused.status, other.id in platform.tenant.role_assignments) == (400, True)


async def test_a_notice_is_told_once(walk: Walk, consented: ServicePrincipal) -> None:
    """After a reload the list no longer says what was added."""
    await walk.sign_in()
    first = await walk.add(consented.id)
    second = await walk.follow(first, "Refresh")

    assert ("Added 1" in first.words, "Added 1" in second.words) == (True, False)


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


async def test_a_principal_that_is_gone_can_be_removed(walk: Walk, platform: Platform, consented: ServicePrincipal) -> None:
    """The list shows its object id."""
    await walk.sign_in()
    await walk.add(consented.id)
    del platform.tenant.service_principals[consented.id]
    role = await walk.open(ROLE)
    await walk.press(await walk.press(role, chosen=held(platform, consented.id)[0].id), "yes")

    assert f"Identity not found Unknown {consented.id}" in role.words
    assert held(platform, consented.id) == []


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


async def test_pages_are_recorded_as_the_portals(walk: Walk, platform: Platform, consented: ServicePrincipal) -> None:
    """The control interface tells whose request it was, and what it did."""
    await walk.sign_in()
    await walk.add(consented.id)
    recorded = await platform.control("GET", "requests", params={"api": "portal", "method": "POST", "status": "303"})

    assert [(each["operation"], each["tenant_id"]) for each in recorded] == [
        ("/portal/signin", None),
        (ADD, platform.tenant.id),
    ]


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
