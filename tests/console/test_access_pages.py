"""What people see of a grant's access: the ways to the role, its end, consents against what is needed, release, permissions."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from shared import settings as app_settings
from shared.domain.grant import BY_HAND_BECAUSE, Event, Facts, Grant, RoleMode, Step
from shared.domain.problems import CATALOGUE, Actor, problem
from shared.domain.schedule import stamp
from shared.domain.steps import STEPS, StepName, StepState
from shared.mailflow.role_script import role_group_script
from shared.web import administration, onboarding, pages
from shared.web.access import Role
from shared.web.http import Request, Visitor
from shared.web.links import Command
from shared.web.role import EXPIRY, role_view, ways
from shared.web.site import Site
from shared.web.views import announcement, event_lines, problem_view, receipt
from tests.console.asking import NOW, a_grant, ask, look, read, rendered, send, stored
from tests.console.markup import Form, Markup
from tests.support.app_settings import APP_SETTINGS
from tests.support.grantline import Grantline

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROLE, WATCH = StepName.ROLE_ASSIGNMENT, StepName.ACCESS_WATCH
CONSENT: Facts = {
    "permissions": ["Exchange.ManageAsApp"],
    "client_id": "11111111-2222-4333-8444-555555555555",
    "object_id": "66666666-7777-4888-8999-000000000000",
}
END = NOW + timedelta(days=109)


def on_the_way(mode: RoleMode, *, code: str = "", because: str = "", state: StepState | None = None) -> Grant:
    """Return a grant at the role's step, by one way; with a problem of a code, and a reason why it is by hand."""
    facts: Facts = {BY_HAND_BECAUSE: because, "seen": "No role shows yet."} if because else {}
    step = Step(
        ROLE,
        state or (StepState.WAITING_FOR_PERSON if code else StepState.WAITING),
        "Something is waited for",
        Actor.TENANT_ADMINISTRATOR,
        NOW,
        gives_up_at=NOW,
        facts=facts,
        problem=problem(code, raw="what Microsoft said") if code else None,
    )
    consented = Step(StepName.MAIL_FLOW_CONSENT, StepState.DONE, finished_at=NOW, facts=CONSENT)
    grant = a_grant(consented, step)
    return replace(grant, intent=replace(grant.intent, role_mode=mode))


def completed(**facts: Facts) -> Grant:
    """Return a grant that is complete and watched; ``facts`` are more facts of some steps, by their names."""
    required = [name for name, each in STEPS.items() if not each.is_optional and not each.is_removal]
    shared: Facts = {"users": 7, "groups": 3, "tenant_name": "Contoso", "permissions": ["User.Read.All"], "objects": []}
    grant = a_grant(*(Step(name, StepState.DONE, finished_at=NOW, facts={**shared, **facts.get(name, {})}) for name in required))
    watch = replace(grant.steps[WATCH], clock=NOW + timedelta(days=1))
    return replace(grant.with_step(watch), tenant_id="0b2c0000-0000-4000-8000-000000000001")


def chosen(page: Markup) -> dict[str, Form]:
    """Return the forms by which another way to the role is chosen, by the way."""
    fields = [(form, dict(form.fields)) for form in page.forms]
    return {found["role_mode"]: form for form, found in fields if found.get("type") == "role_mode.choose"}


def offered(form: Markup) -> list[str]:
    """Return the ways to the role that a form offers."""
    return [each.attributes["value"] for each in form.elements if each.attributes.get("name") == "role_mode"]


def without_assigner(parts: Grantline) -> Site:
    """Return the console of an installation without a registration that assigns roles."""
    return replace(parts.container.site, settings=app_settings.load({**APP_SETTINGS, "GRANTLINE_DEVELOPMENT_IDENTITY": "true"}))


# --- the ways to the role ------------------------------------------------------------------------------------------------------


async def test_the_form_offers_the_ways_of_this_installation(parts: Grantline) -> None:
    """An application permission is a way only where the operator has a registration for it; each way says what it asks."""
    without = without_assigner(parts)
    form = await look(parts, pages.grant_access)
    reply = await without.answer("console_dashboard", Request("GET", "/"), pages.grant_access)

    assert [offered(each) for each in (form, read(reply))] == [
        list(RoleMode),
        [each for each in RoleMode if each != "application"],
    ]
    assert [way.explained for way in ways(parts.settings) if way.explained not in form.words] == []
    assert ["role assigner" in each.words for each in (form, read(reply))] == [True, False]


@pytest.mark.parametrize("before", RoleMode)
@pytest.mark.parametrize("after", RoleMode)
async def test_every_way_leads_to_every_other(parts: Grantline, before: RoleMode, after: RoleMode) -> None:
    """A button each for the others, none for the one that is gone; pressed, it is the way."""
    grant_id = await stored(parts, on_the_way(before))
    forms = chosen(await look(parts, pages.grant, grant_id=grant_id))
    assert set(forms) == set(RoleMode) - {before}
    if after in forms:
        await send(parts, forms[after].fields, to=grant_id)

        assert (await parts.grant(grant_id)).role_mode is after
        assert after not in chosen(await look(parts, pages.grant, grant_id=grant_id))


async def test_a_role_that_became_by_hand_says_why(parts: Grantline) -> None:
    """The problem's cause, the instructions, what is seen so far, and the first way to be tried again."""
    grant = on_the_way(RoleMode.SIGN_IN, code="role_by_hand", because="role_by_hand", state=StepState.WAITING)
    later = on_the_way(RoleMode.SIGN_IN, code="role_not_assigned", because="role_by_hand", state=StepState.NEEDS_ATTENTION)

    page = await look(parts, pages.grant, grant_id=await stored(parts, grant))
    after = await look(parts, pages.grant, grant_id=await stored(parts, later))

    for each in (page, after):
        assert each.words.count(CATALOGUE["role_by_hand"].cause) == 1
        assert each.named("div", id="by-hand")
        assert "Seen so far: No role shows yet." in each.words
        assert RoleMode.SIGN_IN in chosen(each)
        assert not [href for href in each.links().values() if href.endswith(f"{ROLE}/begin")]
    assert "Something is waited for" in page.words
    assert "Why it is by hand:" in after.words


async def test_both_branches_of_the_seed_begin_alike(parts: Grantline) -> None:
    """Three steps for both, then each its own; the justification is there to be copied, and the defaults are kept."""
    page = await look(parts, pages.grant, grant_id=await stored(parts, on_the_way(RoleMode.BY_HAND)))

    branches = {each.attributes["id"]: " ".join(each.text.split()) for each in page.named("details") if "id" in each.attributes}
    assert len(page.named("ol", start="4")) == 2
    assert "then choose Add" in branches["without-pim"]
    for told in ("No member selected", "default settings", "Active", "Enter a justification", "Assign", "Active assignments"):
        assert told in branches["with-pim"]
    justification = page.named("span", id="justification")[0].text
    assert justification == "Grantline sets up and looks after the mail flow of Contoso."
    assert page.named("button", **{"data-copy": justification})


async def test_a_ticket_is_asked_for_and_goes_on(parts: Grantline) -> None:
    """The policy's ticket is entered where the problem stands; the step is begun again with it, by the same way."""
    grant_id = await stored(parts, on_the_way(RoleMode.SIGN_IN, code="role_needs_ticket"))
    page = await look(parts, pages.grant, grant_id=grant_id)
    form = chosen(page)[RoleMode.SIGN_IN]
    wanted = {"ticket_number": "CHG-1", "ticket_system": "Desk"}

    await send(parts, [(name, wanted.get(name, value)) for name, value in form.fields], to=grant_id)

    grant = await parts.grant(grant_id)
    assert (grant.intent.ticket_number, grant.intent.ticket_system, grant.role_mode) == ("CHG-1", "Desk", RoleMode.SIGN_IN)
    assert grant.steps[ROLE].problem is None
    assert {"Ticket number", "Ticket system"} <= {each.text.strip() for each in page.named("label")}


async def test_an_application_permission_is_asked_for_by_a_sign_in(parts: Grantline) -> None:
    """Where it lacks, the step has its link, and no looking again that would change nothing."""
    grant = on_the_way(RoleMode.APPLICATION, code="role_consent_needed")

    page = await look(parts, pages.grant, grant_id=await stored(parts, grant))

    assert page.links()["Grant Permission"] == f"/grants/{grant.grant_id}/steps/{ROLE}/begin"
    assert "Check again" not in [each.text for each in page.named("button")]


async def test_the_role_groups_script_is_shown_and_downloaded(parts: Grantline) -> None:
    """To read, to copy, and as a file: the one script, for this tenant's application."""
    grant = on_the_way(RoleMode.ROLE_GROUP)
    script = role_group_script(CONSENT["client_id"], CONSENT["object_id"], "Grantline")
    page = await look(parts, pages.grant, grant_id=await stored(parts, grant))
    path = page.links()["Download the script"]

    reply = await ask(parts, pages.role_script, path, grant_id=grant.grant_id)

    assert path == f"/grants/{grant.grant_id}/role-group.ps1"
    assert page.named("button", **{"data-copy": script})
    assert page.named("pre")[0].text == script
    assert (reply.status, reply.body, reply.content_type) == (200, script, "text/plain; charset=utf-8")
    assert "exchange-role-group.ps1" in reply.headers["content-disposition"]


async def test_before_the_consent_there_is_no_script(parts: Grantline) -> None:
    """Its file leads to the grant's page: the tenant does not know the application yet."""
    grant_id = await stored(parts, a_grant())

    reply = await ask(parts, pages.role_script, f"/grants/{grant_id}/role-group.ps1", grant_id=grant_id)

    assert (reply.status, reply.headers["location"]) == (303, f"/grants/{grant_id}")


# --- the role's end ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "facts", "words"),
    [
        (RoleMode.SIGN_IN, {"assigned_at": stamp(NOW), "role_ends_at": stamp(END)}, "until 12 March 2027"),
        (RoleMode.SIGN_IN, {"assigned_at": stamp(NOW), "role_ends_at": ""}, "no end"),
        (RoleMode.SIGN_IN, {}, "unknown: assigned elsewhere"),
        (RoleMode.BY_HAND, {}, "unknown: assigned by hand"),
        (RoleMode.ROLE_GROUP, {}, "no end"),
    ],
    ids=["a date", "for good", "not ours", "by hand", "role group"],
)
async def test_the_roles_end_is_told_in_words(parts: Grantline, mode: RoleMode, facts: Facts, words: str) -> None:
    """On the grant's page, in its receipt, on the service account's page and to programs, with what expiry does not stop."""
    grant = completed(**{ROLE: facts})
    grant = replace(grant, intent=replace(grant.intent, role_mode=mode))
    grant_id = await stored(parts, grant)

    for view in (pages.grant, administration.service_account):
        page = await look(parts, view, grant_id=grant_id)
        assert words in page.words
        assert (EXPIRY in page.words) is (words != "no end")
    assert role_view(grant)["end"] == receipt(grant, ())["service_account"]["role_end"] == words
    assert role_view(grant)["ends_at"] == (stamp(END) if "until" in words else None)


async def test_without_a_role_there_is_no_end(parts: Grantline) -> None:
    """Nothing is said of the end of what is not there."""
    page = await look(parts, pages.grant, grant_id=await stored(parts, on_the_way(RoleMode.SIGN_IN)))

    assert EXPIRY not in page.words
    assert "Exchange Administrator role:" not in page.words


async def test_a_role_that_ends_soon_is_extended_by_a_sign_in(parts: Grantline) -> None:
    """The problem, the end, and the button; the receipt of what was granted stays."""
    facts = {"assigned_at": stamp(NOW), "role_ends_at": stamp(END)}
    found = problem("role_ends_soon")
    waiting = Step(ROLE, StepState.WAITING_FOR_PERSON, "", found.who, problem=found, facts=facts, finished_at=NOW)
    grant = completed().with_step(waiting)

    page = await look(parts, pages.grant, grant_id=await stored(parts, grant))

    assert page.links()["Sign in once to extend the role"] == f"/grants/{grant.grant_id}/steps/{ROLE}/begin"
    assert found.cause in page.words
    assert "until 12 March 2027" in page.words
    assert page.named("h2", id="receipt")


# --- consents ------------------------------------------------------------------------------------------------------------------


async def test_a_lost_permission_is_marked(parts: Grantline) -> None:
    """Only what is missing, and that Microsoft's page always shows the whole set; the step can be done again."""
    lost = {"missing": {"directory": ["User.Read.All"]}, "extra": {}}
    found = problem("consent_missing", raw="User.Read.All")
    again = Step(StepName.DIRECTORY_CONSENT, StepState.WAITING_FOR_PERSON, "", found.who, problem=found, facts=CONSENT)
    grant = completed(**{WATCH: lost}).with_step(again)
    grant_id = await stored(parts, grant)

    page = await look(parts, pages.grant, grant_id=grant_id)
    account = await look(parts, administration.service_account, grant_id=grant_id)

    for each in (page, account):
        marked = [row.text for row in each.named("th", scope="row") if "Missing" in row.text]
        assert len(marked) == 1
        assert "User.Read.All" in marked[0]
    assert "Microsoft's page always shows the whole set" in page.words
    assert page.links()["Click here"] == f"/grants/{grant_id}/steps/directory_consent/begin"
    assert account.links()["give the consent again"] == f"/grants/{grant_id}#step-directory_consent"


async def test_what_was_given_again_is_marked_no_more(parts: Grantline) -> None:
    """The daily check may not have looked since: the consent itself has."""
    grant = completed(**{WATCH: {"missing": {"directory": ["User.Read.All"]}}})

    account = await look(parts, administration.service_account, grant_id=await stored(parts, grant))

    assert "Missing" not in account.words


async def test_more_than_was_asked_for_is_a_notice(parts: Grantline) -> None:
    """Named on both pages, with what can be done; nothing is wrong."""
    grant = completed(**{WATCH: {"missing": {}, "extra": {"mail_flow": ["full_access_as_app"]}}})
    grant_id = await stored(parts, grant)

    for view in (pages.grant, administration.service_account):
        page = await look(parts, view, grant_id=grant_id)
        assert [each.text.split(".")[0] for each in page.named("p", **{"class": "notice"})] == [
            "Granted, but not needed: full_access_as_app"
        ]
        assert not page.named("div", role="alert")


async def test_the_operators_credential_is_told_with_its_end(parts: Grantline) -> None:
    """Which one Microsoft took at the last check, and when it must be renewed."""
    used = {"kind": "certificate", "name": "2027", "ends_at": stamp(END), "is_former": True}
    grant = completed(**{WATCH: {"credentials": {"mail_flow": used}}})

    page = await look(parts, administration.service_account, grant_id=await stored(parts, grant))

    told = "proved itself by its certificate 2027, the former one: Microsoft does not know the newest yet"
    assert f"{told}; it ends at Mar 12, 2027, 12:30:15 UTC." in page.words


async def test_a_consent_that_never_came_back_can_be_gone_on_with_or_sent_again(parts: Grantline) -> None:
    """Why it waits, the link that goes on, and the way to another onboarding link."""
    why = "An administrator has signed in and was sent to Microsoft to accept; nothing has come back from there yet."
    step = Step(StepName.MAIL_FLOW_CONSENT, StepState.WAITING_FOR_PERSON, why, Actor.TENANT_ADMINISTRATOR, NOW)
    grant = a_grant(step)

    page = await look(parts, pages.grant, grant_id=await stored(parts, grant))

    assert why in page.words
    assert page.links()["Grant Permission"] == f"/grants/{grant.grant_id}/steps/mail_flow_consent/begin"
    assert page.links()["Make an onboarding link"] == "#onboarding"
    assert page.named("section", id="onboarding")


async def test_the_receipt_names_what_remains_of_the_sign_in(parts: Grantline) -> None:
    """The role helper's delegated grant stays in the tenant, and is told; by hand there is none."""
    by_sign_in = completed(**{ROLE: {"assigned_at": stamp(NOW), "role_ends_at": ""}})
    by_hand = replace(completed(), intent=replace(completed().intent, role_mode=RoleMode.BY_HAND))
    asked = parts.container.microsoft.identity.asked_permissions("role_helper")

    page = await look(parts, pages.grant, grant_id=await stored(parts, by_sign_in))

    granted = page.named("ul", **{"aria-labelledby": "granted"})[0].text
    assert "RoleManagement.ReadWrite.Directory, delegated" in " ".join(granted.split())
    assert receipt(by_sign_in, (), asked)["delegated_grants"] == [
        {"application": "role_helper", "permission": "RoleManagement.ReadWrite.Directory"}
    ]
    assert receipt(by_hand, (), asked)["delegated_grants"] == []


async def test_the_onboarding_page_asks_for_what_is_left(parts: Grantline) -> None:
    """What is missing is marked; what is done is not asked for again; the role by hand is said, and asks for no permission."""
    lost = {"missing": {"directory": ["User.Read.All"]}}
    again = Step(StepName.DIRECTORY_CONSENT, StepState.WAITING_FOR_PERSON, "", Actor.TENANT_ADMINISTRATOR, facts=CONSENT)
    broken, fresh = completed(**{WATCH: lost}).with_step(again), on_the_way(RoleMode.BY_HAND)

    found = [await invited(parts, grant) for grant in (broken, fresh)]

    titles = [[each.text for each in page.named("h3")] for page in found]
    assert titles == [
        [STEPS[StepName.DIRECTORY_CONSENT].title],
        [STEPS[ROLE].title, STEPS[StepName.DIRECTORY_CONSENT].title],
    ]
    assert [len([row for row in page.named("th", scope="row") if "Missing" in row.text]) for page in found] == [1, 0]
    assert "Microsoft's page always shows the whole set" in found[0].words
    assert "An administrator assigns the role in the Microsoft Entra admin center" in found[1].words
    assert "RoleManagement.ReadWrite.Directory" not in found[1].words


async def invited(parts: Grantline, grant: Grant) -> Markup:
    """Return what somebody sees who opens a grant's onboarding link."""
    site = parts.container.site
    command = Command(command_id="link", tenant_id="", requested_by="somebody")
    link = await site.links.create(await stored(parts, grant), command)
    return await look(parts, onboarding.open_link, token=site.links.address(link).rpartition("/")[2])


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"role_mode": "role_group"}, [("Role mode", "By an Exchange role group")]),
        ({"missing": {"directory": ["A", "B"]}, "extra": {}}, [("Missing", "Directory application: A, B")]),
        ({"role_ends_at": stamp(END), "role_begins_at": ""}, [("Role ends at", "Mar 12, 2027, 12:30:15 UTC")]),
    ],
    ids=["way", "permissions", "end"],
)
async def test_the_history_tells_of_access_in_words(data: Facts, told: list[tuple[str, str]]) -> None:
    """Ways, permissions by application, and moments; nothing is said of what is empty."""
    assert event_lines(Event(1, NOW, "step.done", WATCH, data))["details"] == told


# --- the daily watch -----------------------------------------------------------------------------------------------------------


async def test_the_watch_is_no_unfinished_work(parts: Grantline) -> None:
    """A done watch says when it looks again; one that is at it changes neither the message nor what is announced."""
    grant = completed()
    at_it = grant.with_step(replace(grant.steps[WATCH], state=StepState.RUNNING, clock=NOW, run_id="1"))

    page = await look(parts, pages.grant, grant_id=await stored(parts, grant))

    watch = page.named("li", id=f"step-{WATCH}")[0].text
    assert "Looks again at Nov 24, 2026, 12:30:15 UTC" in watch
    assert "Last check: Nov 23, 2026, 12:30:15 UTC" in " ".join(watch.split())
    assert "gives up" not in watch
    assert announcement(at_it) == announcement(grant)


@pytest.mark.parametrize("label", ["Check now", "Re-create access token"])
async def test_the_service_account_is_checked_on_request(parts: Grantline, label: str) -> None:
    """Each button asks for new tokens and a look at everything, and comes back to the page; twice is once."""
    grant = completed()
    grant_id = await stored(parts, grant)
    page = await look(parts, administration.service_account, grant_id=grant_id)
    labels = [each.text for each in page.named("button", type="submit")]
    fields = page.forms[labels.index(label)].fields

    replies = [await send(parts, fields, to=grant_id), await send(parts, fields, to=grant_id)]

    assert [reply.headers["location"] for reply in replies] == [f"/service-accounts/{grant_id}"] * 2
    assert (await parts.grant(grant_id)).steps[WATCH].state is StepState.QUEUED
    assert (await parts.events(grant_id)).count("step.retried") == 1
    under_way = await look(parts, administration.service_account, grant_id=grant_id)
    assert under_way.named("div", id="access")[0].attributes["hx-get"] == f"/service-accounts/{grant_id}"
    assert "hx-get" not in page.named("div", id="access")[0].attributes


async def shown_to(parts: Grantline, visitor: Visitor, grant: Grant) -> Markup:
    """Return a service account's page as somebody sees it."""
    grant_id = await stored(parts, grant)
    request = Request("GET", "/", route={"grant_id": grant_id}, visitor=visitor)
    shown = await pages.shown_grant(parts.container.site, request, await parts.grant(grant_id))
    watch = shown["steps"][WATCH]
    return rendered(parts, "service_account.html", visitor=visitor, **shown, watch=watch, is_moving=False)


async def test_a_viewer_changes_nothing_of_a_service_account(parts: Grantline) -> None:
    """Everything to read, no button, no way to the release."""
    page = await shown_to(parts, Visitor("somebody", Role.VIEWER), completed())

    assert page.forms == []
    assert "Release this tenant" not in page.links()
    assert "Last check" in page.words


# --- release and transfer ------------------------------------------------------------------------------------------------------


async def test_the_release_is_explained_before_anybody_signs_in(parts: Grantline) -> None:
    """What it does and does not do, above all that mail goes on; its button is the way to the sign-in."""
    grant = completed()
    grant_id = await stored(parts, grant)
    for view in (pages.grant, administration.service_account):
        assert (await look(parts, view, grant_id=grant_id)).links()["Release this tenant"] == f"/grants/{grant_id}/release"

    page = await look(parts, administration.release, grant_id=grant_id)

    assert "Mail goes on being routed through the scanner" in page.words
    assert "stay in the tenant as they are" in page.words
    assert (page.forms[0].action, page.forms[0].method) == (f"/grants/{grant_id}/release", "post")
    assert [name for name, _ in page.forms[0].fields] == ["csrf"]
    assert page.links()["Keep it"] == f"/grants/{grant_id}"


async def test_a_released_grant_is_read_only(parts: Grantline) -> None:
    """It says so, offers nothing but a new start of the account, keeps its receipt, and rests."""
    grant = replace(completed(), released_at=NOW)
    grant_id = await stored(parts, grant)

    release = await ask(parts, administration.release, grant_id=grant_id)
    assert release.headers["location"] == f"/grants/{grant_id}"
    for view in (pages.grant, administration.service_account):
        page = await look(parts, view, grant_id=grant_id)
        assert CATALOGUE["tenant_released"].cause in page.words
        assert page.links()["Start again"] == "/grant-access?account_id=contoso&account_name=Contoso"
        assert page.forms == []
        assert not [href for href in page.links().values() if href.endswith(("/begin", "/release"))]
        assert not [each for each in page.elements if "hx-get" in each.attributes]
    assert announcement(grant) == "Tenant released"
    assert receipt(grant, ())["service_account"]["state"] == "released"


async def test_a_taken_tenant_can_be_taken_over(parts: Grantline) -> None:
    """The problem's page and the grant's page have the form, without a word of whose the tenant is."""
    found = problem("tenant_taken")
    step = Step(StepName.MAIL_FLOW_CONSENT, StepState.WAITING_FOR_PERSON, "", found.who, NOW, problem=found)
    grant = a_grant(step)
    way = f"/grants/{grant.grant_id}/steps/{step.name}/transfer"

    shown: dict[str, Any] = {"problem": problem_view(found), "back": f"/grants/{grant.grant_id}", "sign_in": "", "transfer": way}
    refused = rendered(parts, "problem.html", status=400, **shown)
    page = await look(parts, pages.grant, grant_id=await stored(parts, grant))

    for each in (refused, page):
        form = next(form for form in each.forms if form.action == way)
        assert (form.method, [name for name, _ in form.fields]) == ("post", ["csrf"])
        assert "Take the tenant from the other account" in [button.text for button in each.named("button")]
        assert "The other account loses the tenant at once" in each.words


# --- permissions ---------------------------------------------------------------------------------------------------------------


async def test_every_call_to_microsoft_is_shown(parts: Grantline) -> None:
    """Each permission of each registration, with its consumer, reason, risk, calls and their sources."""
    page = await look(parts, administration.permissions)
    reply = await without_assigner(parts).answer(
        "console_permissions", Request("GET", "/permissions"), administration.permissions
    )

    identity = parts.container.microsoft.identity
    for application in pages.APPLICATIONS:
        for each in identity.asked_permissions(application):
            sources = [text for call in each.calls for text in (f"{call.method} {call.path}", call.source)]
            told = (each.name, each.resource, each.consumer, each.reason, each.risk, *sources)
            assert [text for text in told if text not in page.words] == []
    assert "POST /roleManagement/directory/roleAssignments" in page.words
    assert "This installation has no such registration" not in page.words
    assert read(reply).words.count("This installation has no such registration") == 2
