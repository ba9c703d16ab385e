"""The simulated Entra admin center in a tenant with Privileged Identity Management: the role step by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from local.microsoft365.model import Role, RolePolicy, ServicePrincipal
from local.microsoft365.role_assignments import assign, make_eligible
from tests.microsoft365.platform import Platform
from tests.microsoft365.portal import ADD, ROLE, RefusedByPortalError, Walk, assign_by_hand, form_of, held, path_of, user_id

EXCHANGE = Role.EXCHANGE_ADMINISTRATOR
WITH_MFA = RolePolicy(enabled_rules=frozenset({"Justification", "MultiFactorAuthentication"}))


def license_pim(platform: Platform, policy: RolePolicy | None = None) -> None:
    """Give Contoso the licence, and the role a policy of its own."""
    platform.tenant.licences = (*platform.tenant.licences, "AAD_PREMIUM_P2")
    platform.tenant.role_policies[EXCHANGE] = policy or RolePolicy()


async def by_hand(walk: Walk, app_id: str, person: str = "privileged@contoso.com", justification: str = "Mail flow") -> str:
    """Assign the role in Contoso by hand; return the words of the last page."""
    simulation = walk.platform.simulation
    secret = simulation.store.password
    try:
        page = await assign_by_hand(walk.browser, simulation.url, person, "contoso.com", app_id, justification, password=secret)
    except RefusedByPortalError as error:
        return str(error)
    return page.words


async def later(platform: Platform, seconds: float) -> None:
    """Let time pass."""
    await platform.control("POST", "clock", json={"offset_seconds": seconds})


async def test_the_role_step_by_hand_with_pim(walk: Walk, platform: Platform, consented: ServicePrincipal) -> None:
    """No member selected, Select a member, the pasted app ID, Select, Setting, justification, Assign: it is active."""
    license_pim(platform, RolePolicy(is_expiration_required=True))
    role = await walk.sign_in(path=ROLE)
    add = await walk.follow(role, "Add assignments")
    members = await walk.follow(add, "No member selected")
    found = await walk.search(members, f" {consented.app_id.upper()} ")
    selected = await walk.browser.submit(found, found.forms[1], chosen=consented.id)
    setting = await walk.follow(selected, "Setting")
    done = await walk.press(setting, justification="Mail flow")
    assignment = held(platform, consented.id)[0]

    assert all(each in role.words for each in ("Eligible assignments", "Active assignments", "Expired assignments"))
    assert found.text.count('name="chosen"') == 1
    assert "1 Member(s) selected" in selected.words
    assert "Maximum allowed assignment duration: 180 days." in setting.words
    assert "Permanently" not in setting.words
    assert path_of(done) == f"{ROLE}?tab=active"
    assert assignment.ends_at is not None
    assert timedelta(days=179) < assignment.ends_at - assignment.created_at <= timedelta(days=180)
    assert f"Test mail_flow {consented.app_id} Service principal Directory Assigned" in done.words
    assert f"{assignment.ends_at:%Y-%m-%d %H:%M} UTC" in done.words


async def test_the_default_settings_are_for_good_where_that_is_allowed(
    walk: Walk, platform: Platform, consented: ServicePrincipal
) -> None:
    """The box Permanently assigned is checked, and the application's type is Active."""
    license_pim(platform)
    words = await by_hand(walk, consented.app_id)

    assert [each.ends_at for each in held(platform, consented.id)] == [None]
    assert "Permanent" in words


async def test_a_policy_asks_for_words_and_a_ticket(walk: Walk, platform: Platform, consented: ServicePrincipal) -> None:
    """Without them the page says which rules failed, and nothing is assigned."""
    license_pim(platform, RolePolicy(enabled_rules=frozenset({"Justification", "Ticketing"})))
    refused = await by_hand(walk, consented.app_id, justification="")
    nothing = held(platform, consented.id)
    setting = await walk.open(f"{ROLE}/setting?chosen={consented.id}")
    done = await walk.press(setting, justification="Mail flow", ticket_number="42", ticket_system="Desk")

    assert 'The following policy rules failed: ["JustificationRule","TicketingRule"]' in refused
    assert (nothing, done.status, len(held(platform, consented.id))) == ([], 200, 1)
    assert [each.wish.ticket_number for each in platform.tenant.role_requests.values()] == ["42"]


async def test_a_second_factor_is_asked_for_and_the_page_goes_on(
    walk: Walk, platform: Platform, consented: ServicePrincipal
) -> None:
    """The Setting tab says so, leads to a sign-in that asks for it, and from there back to itself."""
    license_pim(platform, WITH_MFA)
    setting = await walk.sign_in(path=f"{ROLE}/setting?chosen={consented.id}")
    refused = await walk.press(setting, justification="Mail flow")
    asked = await walk.follow(refused, "Verify your identity")
    back = await walk.browser.submit(asked, asked.forms[0], press=("decision", "accept"))
    done = await walk.press(back, justification="Mail flow")

    assert "requires multifactor authentication" in setting.words
    assert (refused.status, "MfaRule" in refused.words) == (400, True)
    assert "Approve sign in request" in asked.words
    assert path_of(back) == path_of(setting)
    assert "Verify your identity" not in back.links
    assert (done.status, len(held(platform, consented.id))) == (200, 1)


@pytest.mark.parametrize("name", ["exchange@contoso.com", "member@contoso.com"])
async def test_only_privileged_people_may_assign_with_pim(
    walk: Walk, platform: Platform, consented: ServicePrincipal, name: str
) -> None:
    """The refusal is that of a tenant without Privileged Identity Management."""
    license_pim(platform)
    words = await by_hand(walk, consented.app_id, name)

    assert "Insufficient privileges to complete the operation." in words
    assert held(platform, consented.id) == []


async def test_only_privileged_people_may_remove_with_pim(walk: Walk, platform: Platform, consented: ServicePrincipal) -> None:
    """Whoever may not assign may not take away either, however the form was reached: the assignment stays."""
    license_pim(platform)
    assign(platform.tenant, EXCHANGE, consented.id, platform.simulation.clock.now(), 0.0)
    await later(platform, 600)
    question = await walk.sign_in("exchange@contoso.com", f"{ROLE}/remove?chosen={consented.id}&type=active")
    refused = await walk.press(question, "yes")

    assert (refused.status, "Insufficient privileges to complete the operation." in refused.words) == (403, True)
    assert len(held(platform, consented.id)) == 1


async def test_an_application_cannot_be_eligible(walk: Walk, platform: Platform, consented: ServicePrincipal) -> None:
    """The choice is switched off, and a form that says otherwise is refused; a person can be made eligible."""
    license_pim(platform)
    setting = await walk.sign_in(path=f"{ROLE}/setting?chosen={consented.id}")
    refused = await walk.press(setting, type="eligible", justification="Mail flow")
    member = user_id(platform, "member@contoso.com")
    done = await walk.press(await walk.open(f"{ROLE}/setting?chosen={member}"), justification="Help")

    assert 'value="eligible" disabled' in setting.text
    assert (refused.status, held(platform, consented.id)) == (400, [])
    assert member in {each.principal_id for each in platform.tenant.role_eligibilities.values()}
    assert path_of(done) == f"{ROLE}?tab=eligible"
    assert "member@contoso.com" in done.words


async def test_an_assignment_is_updated_extended_and_removed(walk: Walk, platform: Platform, consented: ServicePrincipal) -> None:
    """Each link of the Active tab changes the end, or takes the assignment away after a question."""
    license_pim(platform, RolePolicy(is_expiration_required=True, maximum_duration="P30D"))
    await by_hand(walk, consented.app_id)
    chosen, start = f"chosen={consented.id}&type=active", platform.simulation.clock.now()
    sooner = f"{start + timedelta(days=3):%Y-%m-%dT%H:%M}"
    updated = await walk.press(await walk.open(f"{ROLE}/update?{chosen}"), end=sooner, justification="Less")
    ends = [held(platform, consented.id)[0].ends_at]
    await later(platform, 86400)
    extended = await walk.press(await walk.open(f"{ROLE}/extend?{chosen}"), justification="More")
    ends.append(held(platform, consented.id)[0].ends_at)
    question = await walk.open(f"{ROLE}/remove?{chosen}")
    still = len(held(platform, consented.id))
    gone = await walk.press(question, "yes")

    assert "Updated 1 assignment of Exchange Administrator." in updated.words
    assert "Extended 1 assignment of Exchange Administrator." in extended.words
    assert [(each - start).days if each else None for each in ends] == [2, 30]
    assert (still, "Removed 1 assignment" in gone.words, held(platform, consented.id)) == (1, True, [])


async def test_what_has_ended_stands_on_the_expired_tab(walk: Walk, platform: Platform, consented: ServicePrincipal) -> None:
    """After its end an assignment is listed there only, and can be renewed."""
    license_pim(platform, RolePolicy(is_expiration_required=True, maximum_duration="P30D"))
    now = platform.simulation.clock.now()
    make_eligible(platform.tenant, EXCHANGE, user_id(platform, "member@contoso.com"), now, now + timedelta(days=1))
    await by_hand(walk, consented.app_id)
    await later(platform, 31 * 86400)
    tabs = [(await walk.open(f"{ROLE}?tab={tab}")).words for tab in ("eligible", "active", "expired")]
    renewed = await walk.press(
        await walk.open(f"{ROLE}/renew?chosen={consented.id}&type=active"), justification="It still looks after the mail"
    )

    assert [consented.app_id in each for each in tabs] == [False, False, True]
    assert ["member@contoso.com" in each for each in tabs] == [False, False, True]
    assert consented.app_id in renewed.words


@pytest.mark.parametrize("licensed", [True, False])
@pytest.mark.parametrize("kind", ["guests", "delegated-administrators"])
async def test_people_of_elsewhere_assign_by_hand(
    walk: Walk, platform: Platform, consented: ServicePrincipal, kind: str, licensed: bool
) -> None:
    """A guest or a partner's technician with the role may, with a second factor where it is wanted; without it, not."""
    if licensed:
        license_pim(platform, WITH_MFA)
    person = "member@fabrikam.onmicrosoft.com"
    stranger = await by_hand(walk, consented.app_id, person)
    body = {"account": person, "roles": [Role.PRIVILEGED_ROLE_ADMINISTRATOR]}
    await platform.control("POST", f"tenants/contoso.com/{kind}", json=body)
    words = await by_hand(walk, consented.app_id, person)

    assert "AADSTS50020" in stranger
    assert consented.app_id in words
    assert len(held(platform, consented.id)) == 1


async def test_a_guest_changes_the_directory(walk: Walk, platform: Platform) -> None:
    """The page Directories lists where a person may go; a directory where she is nobody is not listed."""
    name = "member@fabrikam.onmicrosoft.com"
    await platform.control("POST", "tenants/contoso.com/guests", json={"account": name, "roles": []})
    home = await walk.sign_in(name)
    switched = await walk.follow(await walk.follow(home, "Switch directory"), "Switch to contoso.com")
    await walk.open("/common/oauth2/v2.0/logout")
    own = await walk.follow(await walk.sign_in("member@contoso.com"), "Switch directory")

    assert platform.other.id in home.words
    assert platform.tenant.id in switched.words
    assert [each for each in own.links if each.startswith("Switch to")] == ["Switch to contoso.com"]


async def test_the_licence_decides_the_pages(walk: Walk, platform: Platform, consented: ServicePrincipal) -> None:
    """Without it the pages stay as they were, and the other kind's addresses lead nowhere."""
    plain = await walk.sign_in(path=ROLE)
    missing = await walk.open(f"{ROLE}/setting?chosen={consented.id}")
    license_pim(platform)
    privileged = await walk.open(ROLE)

    assert ("Active assignments" in plain.words, "Active assignments" in privileged.words) == (False, True)
    assert missing.status == 404
    assert form_of(await walk.open(f"{ROLE}/setting?chosen={consented.id}"), "post").buttons


async def test_pages_with_names_that_carry_markup(walk: Walk, platform: Platform, consented: ServicePrincipal) -> None:
    """A name is text on every page."""
    license_pim(platform)
    platform.tenant.service_principals[consented.id] = replace(consented, display_name="<script>x</script>")
    await by_hand(walk, consented.app_id)
    chosen = f"chosen={consented.id}"
    paths = (f"{ROLE}?tab=active", f"{ADD}?{chosen}", f"{ROLE}/setting?{chosen}", f"{ROLE}/remove?{chosen}")
    pages = [await walk.open(path) for path in paths]

    assert [page.status for page in pages] == [200] * 4
    assert ["<script" in page.text for page in pages] == [False] * 4
    assert [page.text.count("<h1>") for page in pages] == [1] * 4
