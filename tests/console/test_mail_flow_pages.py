"""What people see of the mail flow: findings with their answers, the plan, pause and removal, each with what can be done."""

from typing import Any

import pytest

from shared.domain.grant import Grant, GrantState
from shared.domain.problems import CATALOGUE
from shared.web import pages
from shared.web.access import NOBODY, Role
from shared.web.http import Request, Visitor
from shared.web.mailflow import findings_view, plan_view
from shared.web.templates import WORDS, shown, words
from tests.console.asking import look, rendered, send, stored
from tests.console.markup import Markup
from tests.support import mail_flow
from tests.support.grantline import Grantline
from tests.support.program import Program

pytestmark = pytest.mark.asyncio(loop_scope="module")
VIEWER = Visitor("viewer@vendor.example", Role.VIEWER)


async def put(parts: Grantline, situation: str) -> str:
    """Store a grant in a situation and return its id."""
    found = mail_flow.SITUATIONS[situation]()
    return await stored(parts, found.grant, *found.rows)


def commands(page: Markup) -> list[dict[str, str]]:
    """Return the commands that a page's forms give, without what each of them has."""
    forms = (dict(form.fields) for form in page.forms if form.action.endswith("/commands"))
    return [{name: value for name, value in form.items() if name not in ("csrf", "command_id")} for form in forms]


async def press(parts: Grantline, page: Markup, grant_id: str, kind: str, what: str = "", **more: str) -> Grant:
    """Submit the first form of a page that gives a command, of that one thing where one is named, and return the grant."""
    asked = {("type", kind), *([("what", what)] if what else [])}
    fields = next(form.fields for form in page.forms if asked <= set(form.fields))
    reply = await send(parts, [*fields, *more.items()], to=grant_id)
    assert reply.status == 303
    return await parts.grant(grant_id)


# --- findings ------------------------------------------------------------------------------------------------------------------


async def test_findings_are_told_with_their_evidence_and_buttons(parts: Grantline) -> None:
    """The gravest first, each with cause and remedy; a fix where Grantline has one, an acknowledgement where that is asked."""
    grant_id = await put(parts, "checked")

    page = await look(parts, pages.grant, grant_id=grant_id)

    found = findings_view(await parts.grant(grant_id), mail_flow.findings_row().value)["findings"]
    items = [each for each in page.named("li") if each.attributes.get("class", "").startswith("finding ")]
    assert [each.attributes["class"] for each in items] == [f"finding {each['severity']}" for each in found]
    assert {"blocking", "acknowledge", "notice"} <= {each["severity"] for each in found}
    for item, finding in zip(items, found, strict=True):
        assert finding["cause"] in item.text
        assert finding["remedy"] in item.text
        assert all(shown(value) in item.text for value in finding["evidence"].values())
    given = [(each["type"], each["finding"]) for each in commands(page) if "finding" in each]
    assert sorted(given) == sorted(
        [("finding.fix", each["key"]) for each in found if each["fix"]]
        + [("finding.acknowledge", each["key"]) for each in found if each["severity"] == "acknowledge"]
    )


@pytest.mark.parametrize(("kind", "field"), [("finding.fix", "fixes"), ("finding.acknowledge", "acknowledged")])
async def test_a_findings_button_is_an_answer(parts: Grantline, kind: str, field: str) -> None:
    """It is written into the intent, told on the page, and not asked for again."""
    grant_id = await put(parts, "checked")
    before = await look(parts, pages.grant, grant_id=grant_id)
    asked = next(each["finding"] for each in commands(before) if each["type"] == kind)

    grant = await press(parts, before, grant_id, kind)

    after = await look(parts, pages.grant, grant_id=grant_id)
    assert getattr(grant.intent, field) == (asked,)
    assert words({"fixes": "fix_asked"}.get(field, field)) in after.words
    assert (kind, asked) not in [(each["type"], each.get("finding")) for each in commands(after)]


# --- the plan ------------------------------------------------------------------------------------------------------------------


async def test_a_plan_says_all_that_it_holds(parts: Grantline) -> None:
    """Every change with its cmdlet and parameters, every route before and after, what is not scanned, what is open."""
    grant_id = await put(parts, "awaits approval")

    page = await look(parts, pages.plan, grant_id=grant_id)

    document = mail_flow.plan_row().value
    assert document["routes"]
    assert document["settings"]
    for group in ("creates", "updates", "deletes", "settings"):
        for change in document[group]:
            assert {change["object"], change["cmdlet"], change["purpose"]} <= texts(page)
            assert {f"-{name}" for name in change["parameters"]} <= texts(page)
    for route in document["routes"]:
        assert {route["description"], route["before"], route["after"]} <= texts(page)
    for each in document["not_scanned"]:
        assert {each["what"], each["why"]} <= texts(page)
    for effect in [*document["rules_run_twice"], *document["rules_never_run"]]:
        assert {effect["rule"], effect["messages"], effect["what"]} <= texts(page)
    for each in document["baselines"]:
        assert {each["title"], each["gentler"]} <= texts(page)
    assert document["irreversible"]
    assert all(each in page.words for each in document["irreversible"])
    assert all(f"If {each['if']}: {each['then']}" in page.words for each in document["open_questions"])
    assert page.links()["Download as JSON"] == f"/api/v1/grants/{grant_id}/plan"


def texts(page: Markup) -> set[str]:
    """Return the text of every element of a page."""
    return {"", *(" ".join(each.text.split()) for each in page.elements)}


async def test_approving_a_plan_approves_that_one(parts: Grantline) -> None:
    """What can't be undone needs a box of its own, which the form requires; unticked, it is not accepted."""
    grant_id = await put(parts, "awaits approval")
    page = await look(parts, pages.plan, grant_id=grant_id)
    box = page.named("input", value="true")[0].attributes

    assert (box["name"], box["type"]) == ("accepts_irreversible", "checkbox")
    assert ("required" in box, "checked" in box) == (True, False)
    without = await press(parts, page, grant_id, "plan.approve")
    page = await look(parts, pages.plan, grant_id=grant_id)
    assert without.intent.approved_plan == mail_flow.plan_row().value["digest"]
    assert not without.intent.accepts_irreversible


async def test_a_ticked_box_accepts_what_can_not_be_undone(parts: Grantline) -> None:
    """The approval counts for both, and the step goes on."""
    grant_id = await put(parts, "awaits approval")
    page = await look(parts, pages.plan, grant_id=grant_id)

    grant = await press(parts, page, grant_id, "plan.approve", accepts_irreversible="true")

    assert (grant.intent.approved_plan, grant.intent.accepts_irreversible) == (mail_flow.plan_row().value["digest"], True)
    assert grant.state is GrantState.IN_PROGRESS
    assert not commands(await look(parts, pages.plan, grant_id=grant_id))


async def test_an_unsafe_plan_can_not_be_approved(parts: Grantline) -> None:
    """It says what goes wrong, for which message, and has no button."""
    grant_id = await put(parts, "unsafe")

    page = await look(parts, pages.plan, grant_id=grant_id)

    found = (await plan_of(parts, grant_id))["findings"]
    assert found
    assert all(f"{each['sample']}, {each['domain']}. {each['what']}" in page.words for each in found)
    assert commands(page) == []


async def plan_of(parts: Grantline, grant_id: str) -> dict[str, Any]:
    """Return a grant's plan as it is shown."""
    return await parts.container.site.plan_of(await parts.grant(grant_id))


async def test_without_a_plan_the_page_says_when_there_is_one(parts: Grantline) -> None:
    """Before the checks there is none."""
    grant_id = await put(parts, "checked")

    assert "There is no plan yet" in (await look(parts, pages.plan, grant_id=grant_id)).words


async def test_a_plan_that_was_carried_out_asks_for_nothing() -> None:
    """Its approval is over, whatever a former problem says."""
    situation = mail_flow.awaits_approval()
    row = situation.rows[0]

    applied = plan_view(situation.grant, [type(row)(row.key, {**row.value, "applied_at": mail_flow.AT})])

    assert (applied["awaits_approval"], applied["applied_at"]) == (False, mail_flow.AT)


# --- pause and removal ---------------------------------------------------------------------------------------------------------


async def test_pause_and_resume(parts: Grantline) -> None:
    """The button of the page pauses, the page says so, and its button then resumes."""
    grant_id = await put(parts, "protecting")
    page = await look(parts, pages.grant, grant_id=grant_id)
    assert "The routing rules are on." in page.words

    paused = await press(parts, page, grant_id, "routing.pause")
    page = await look(parts, pages.grant, grant_id=grant_id)
    resumed = await press(parts, page, grant_id, "routing.resume")

    assert (paused.intent.is_paused, resumed.intent.is_paused) == (True, False)
    assert "Paused:" in page.words


async def test_a_removal_is_confirmed(parts: Grantline) -> None:
    """The grant's page leads to a page that says what happens; its button begins the removal, and the page is gone."""
    grant_id = await put(parts, "protecting")
    links = (await look(parts, pages.grant, grant_id=grant_id)).links()
    page = await look(parts, pages.remove, grant_id=grant_id)

    grant = await press(parts, page, grant_id, "grant.remove")

    assert links["Remove everything from this tenant"] == f"/grants/{grant_id}/remove"
    assert "It can't be called off" in page.words
    assert (grant.intent.is_removed, grant.state) == (True, GrantState.REMOVING)
    after = await look(parts, pages.grant, grant_id=grant_id)
    assert "Switch off the routing for good" in after.words
    assert not {"routing.pause", "routing.resume"} & {each["type"] for each in commands(after)}


@pytest.mark.parametrize(
    ("situation", "what"),
    [("draining", "scanner_queue"), ("draining", "message_trace"), ("leaves", "leftovers"), ("shut out", "leftovers")],
)
async def test_an_operator_may_have_a_removal_not_wait(parts: Grantline, situation: str, what: str) -> None:
    """What is waited for has a button of its own, which is written down and told."""
    grant_id = await put(parts, situation)
    page = await look(parts, pages.grant, grant_id=grant_id)
    assert what in [each["what"] for each in commands(page) if each["type"] == "removal.waive"]

    grant = await press(parts, page, grant_id, "removal.waive", what)

    assert list(grant.intent.waived) == [what]
    assert f"Not waited for: {words(what)}" in (await look(parts, pages.grant, grant_id=grant_id)).words


@pytest.mark.parametrize("situation", ["leaves", "shut out", "removed"])
async def test_a_removals_report(parts: Grantline, situation: str) -> None:
    """What is left with what removes it, what went, what went back, what others have changed since, what stays for good."""
    grant_id = await put(parts, situation)

    page = await look(parts, pages.grant, grant_id=grant_id)

    report = next(row.value for row in mail_flow.SITUATIONS[situation]().rows if row.key == "removal")
    assert ("The tenant is clean" in page.words) is report["is_clean"]
    for left in report["left"]:
        assert {left["object"], left["what"], left["powershell"]} <= texts(page)
    for name in report["removed"]:
        assert name in texts(page)
    for each in [*report["restored"], *report["kept"], *report["irreversible"]]:
        assert each["object"] in page.words
    assert page.links()["Download as JSON"]
    assert (CATALOGUE["grant_removed"].cause in page.words) is (situation == "removed")


async def test_the_applications_that_are_still_allowed_are_named(parts: Grantline) -> None:
    """Each with its id to copy, for the administrator who deletes it in Microsoft Entra."""
    grant_id = await put(parts, "access left")

    page = await look(parts, pages.grant, grant_id=grant_id)

    for each in mail_flow.RESIDUE:
        assert {words(each["application"]), each["client_id"]} <= texts(page)
        assert page.named("button", **{"data-copy": each["client_id"]})


# --- proof ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("situation", "results"), [("protecting", ["passed"] * 4), ("unproved", ["passed", "failed", "open", "open"])]
)
async def test_what_test_messages_have_shown(parts: Grantline, situation: str, results: list[str]) -> None:
    """A line for each with what it was to show and what became of it, domains left out, and a button that sends them again."""
    grant_id = await put(parts, situation)

    page = await look(parts, pages.grant, grant_id=grant_id)

    states = [words(each) for each in results]
    rows = [each.text for each in page.named("tr") if "Message-ID" in each.text]
    assert [next(state for state in map(words, ("passed", "failed", "open")) if state in row) for row in rows] == states
    assert all(words(kind) in row or words(kind).lower() in row for (_, kind), row in zip(mail_flow.MESSAGES, rows, strict=True))
    assert {"type": "step.retry", "step": "mail_proof"} in commands(page)
    assert "Not proved for 2 of the domains" in page.words
    assert "left-out.example.com and others." in page.words
    assert ("test messages have proved it" in page.words) is (situation == "protecting")


# --- who may, and the lists ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("visitor", [VIEWER, NOBODY], ids=["viewer", "link holder"])
@pytest.mark.parametrize("situation", mail_flow.SITUATIONS)
async def test_who_may_not_decide_has_no_button_to_do_it(parts: Grantline, situation: str, visitor: Visitor) -> None:
    """What becomes of the mail is for operators: others see the same without the buttons."""
    grant_id = await put(parts, situation)
    request = Request("GET", "/", route={"grant_id": grant_id}, visitor=visitor)
    values = await pages._shown(parts.container.site, request)

    seen = [rendered(parts, "grant.html", visitor=visitor, **values)]
    seen += [rendered(parts, "plan.html", visitor=visitor, **values, plan=await plan_of(parts, grant_id))]

    assert {each["type"] for page in seen for each in commands(page)} <= {"step.retry", "role_mode.choose"}
    assert not [link for page in seen for link in page.links().values() if link.endswith("/remove")]


@pytest.mark.parametrize("state", [GrantState.PROTECTING, GrantState.PAUSED, GrantState.REMOVING, GrantState.REMOVED])
async def test_the_new_states_have_a_name_and_a_filter(state: GrantState) -> None:
    """In lists, on pages and in the dashboard's filter."""
    assert WORDS[state]
    assert state in pages.STATES


# --- programs ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("situation", mail_flow.SITUATIONS)
async def test_programs_get_the_same(service: Grantline, program: Program, situation: str) -> None:
    """Findings, plan, removal and routing, each in its documented shape; before there is anything, empty."""
    found = mail_flow.SITUATIONS[situation]()
    grant_id = await stored(service, found.grant, *found.rows)
    keys = {row.key for row in found.rows}

    names = ("api_plan", "api_findings", "api_removal", "api_proof")
    plan, findings, removal, proof = [(await program.get(name, grant_id=grant_id)).json for name in names]

    assert (plan["number"], bool(plan["routes"])) == ((1, True) if "plan|0001" in keys else (None, False))
    assert proof["unproved"] == (["left-out.example.com"] if "proof" in keys else [])
    assert (bool(proof["messages"]), proof["is_proved"]) == ("proof" in keys, situation == "protecting")
    assert bool(findings["findings"]) is ("findings" in keys)
    assert (removal["is_asked"], removal["reported_at"] is not None) == (found.grant.intent.is_removed, "removal" in keys)
    assert (await program.get("api_grant", grant_id=grant_id)).json["routing"]["is_paused"] is found.grant.intent.is_paused


async def test_a_program_pauses_and_is_refused_what_makes_no_sense(service: Grantline, program: Program) -> None:
    """A command that a grant can't take is a problem with its code; one that it can is answered with the live state."""
    grant_id = await put(service, "protecting")

    paused = await program.post("api_grant_command", {"type": "routing.pause"}, key="p", grant_id=grant_id)
    waived = await program.post("api_grant_command", {"type": "removal.waive", "what": "leftovers"}, key="w", grant_id=grant_id)

    assert (paused.status, paused.json["routing"]["is_paused"]) == (202, True)
    assert (waived.status, waived.json["code"]) == (409, "command_untimely")
