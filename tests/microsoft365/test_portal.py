"""The simulated Entra admin center: the role step as an administrator does it by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from local.browser import Browser
from local.microsoft365.model import Role, RoleAssignment, ServicePrincipal
from local.microsoft365.portal.role import SHOWN
from tests.microsoft365.platform import Platform, claims_of, running
from tests.microsoft365.portal import ADD, NOBODY, ROLE, Walk, form_of, held, mail_flow, path_of, user_id


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


async def test_what_was_added_and_removed_survives_a_restart(tmp_path: Path) -> None:
    """A later start with the same data directory has the assignment, and after its removal has it no longer."""
    found = []
    for step in ("add", "remove", "look"):
        async with running(tmp_path, data=tmp_path / "data") as platform, Browser(str(platform.simulation.ca_file)) as browser:
            if step == "add":
                await platform.grant("mail_flow")
            principal, walk = mail_flow(platform), Walk(platform, browser)
            found.append(len(held(platform, principal.id)))
            await walk.sign_in()
            if step == "add":
                await walk.add(principal.id)
            elif step == "remove":
                await walk.press(await walk.open(ROLE), "yes", chosen=held(platform, principal.id)[0].id)

    assert found == [0, 1, 0]


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


async def test_a_principal_that_is_gone_can_be_removed(walk: Walk, platform: Platform, consented: ServicePrincipal) -> None:
    """The list shows its object id."""
    await walk.sign_in()
    await walk.add(consented.id)
    del platform.tenant.service_principals[consented.id]
    role = await walk.open(ROLE)
    await walk.press(await walk.press(role, chosen=held(platform, consented.id)[0].id), "yes")

    assert f"Identity not found Unknown {consented.id}" in role.words
    assert held(platform, consented.id) == []


async def test_pages_are_recorded_as_the_portals(walk: Walk, platform: Platform, consented: ServicePrincipal) -> None:
    """The control interface tells whose request it was, and what it did."""
    await walk.sign_in()
    await walk.add(consented.id)
    recorded = await platform.control("GET", "requests", params={"api": "portal", "method": "POST", "status": "303"})

    assert [(each["operation"], each["tenant_id"]) for each in recorded] == [
        ("/portal/signin", None),
        (ADD, platform.tenant.id),
    ]
