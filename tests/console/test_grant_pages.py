"""A grant's page: every step in every state, what a person can do, its live part, its receipt and its history."""

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlencode

import pytest

from shared.domain.decision import Decision, with_events
from shared.domain.grant import SUCCESS_MESSAGE, Facts, Grant, RoleMode, Row, Step
from shared.domain.problems import Actor, problem
from shared.domain.steps import STEPS, StepName, StepState
from shared.messages import MODELS
from shared.web import access, pages
from shared.web.http import Reply, Request
from shared.web.templates import words
from shared.web.views import EVENT_TITLES
from shared.workflows.run import progress_row
from tests.console.asking import BROWSER, NOW, a_grant, ask, look, read, send, stored, with_cookie
from tests.support.grantline import Grantline

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHARED = Path(__file__).parents[2] / "shared"
ROLE = StepName.ROLE_ASSIGNMENT
RAW = 'AADSTS65001: <script>alert("1")</script> {{ x }} \u202eright to left\u202c ' + "x" * 1900
HELD = problem("setting_blocks", raw=RAW, correlation_id="7f0d8f3a-0000-4000-8000-000000000001")
IN_STATE = {
    StepState.BLOCKED: {},
    StepState.WAITING_FOR_PERSON: {"who": Actor.TENANT_ADMINISTRATOR, "reason": "Somebody must do something.", "problem": HELD},
    StepState.QUEUED: {"clock": NOW},
    StepState.RUNNING: {"clock": NOW, "run_id": "1"},
    StepState.WAITING: {"clock": NOW, "reason": "Microsoft asks to slow down"},
    StepState.DONE: {"finished_at": NOW + timedelta(seconds=3), "facts": {"users": 7, "groups": 3}},
    StepState.NEEDS_ATTENTION: {"who": Actor.OPERATOR, "reason": "It did not work.", "problem": HELD},
}
"""What a step has in each of its states."""
SHOWN = tuple(name for name, each in STEPS.items() if not each.is_optional and not each.is_removal)
"""The steps that every grant's page shows."""


@pytest.mark.parametrize("name", SHOWN)
@pytest.mark.parametrize("state", StepState)
async def test_a_grants_page_shows_every_step_in_every_state(parts: Grantline, name: StepName, state: StepState) -> None:
    """Title, state, reason, clock, problem with Microsoft's own words, and the one thing that a person can do."""
    step = replace(Step(name), state=state, started_at=NOW, **IN_STATE[state])  # type: ignore[arg-type] # fields by name
    grant_id = await stored(parts, a_grant(step))

    page = await look(parts, pages.grant, grant_id=grant_id)

    items = [each for each in page.named("li") if STEPS[name].title in each.text]
    repeats = STEPS[name].repeats is not None
    if repeats and state is StepState.BLOCKED:  # what is done every day, once the grant is complete
        assert items == []
        return
    shown = items[0]
    assert words(state) in shown.text
    assert (step.reason in shown.text) or step.problem
    assert ("Looks again at Nov 23, 2026, 12:30:15 UTC" in shown.text) is (state is StepState.WAITING)
    assert (HELD.cause in shown.text, HELD.fix in shown.text) == (step.problem is not None,) * 2
    assert [each.text for each in page.named("pre")] == ([RAW] if step.problem else [])
    link = f"/grants/{grant_id}/steps/{name}/begin"
    retries = [fields["step"] for form in page.forms if (fields := dict(form.fields)).get("type") == "step.retry"]
    needs_person = state in (StepState.WAITING_FOR_PERSON, StepState.NEEDS_ATTENTION)
    is_persons = STEPS[name].person is not None
    assert (link in page.links().values()) is (needs_person and is_persons)
    is_settled = repeats and state is StepState.DONE
    assert retries == ([name] if (needs_person and not is_persons) or is_settled else [])


@pytest.mark.parametrize(
    ("name", "progress", "told"),
    [
        (StepName.DIRECTORY_SYNC, {"users": 1998, "groups": 0}, "1,998 users so far"),
        (StepName.DIRECTORY_SYNC, {"users": 1998, "groups": 0, "of": 2500}, "1,998 of 2,500 users"),
        (StepName.MAIL_FLOW, {"objects": 3, "of": 8}, "3 of 8 objects"),
    ],
)
async def test_running_work_shows_how_far_it_is(parts: Grantline, name: StepName, progress: Facts, told: str) -> None:
    """So many of how many, as a bar that a screen reader names after its step."""
    running = replace(Step(name), state=StepState.RUNNING, started_at=NOW)

    page = await look(parts, pages.grant, grant_id=await stored(parts, a_grant(running), progress_row(name, progress)))

    assert told in page.words
    bars = page.named("progress")
    assert [each.attributes["aria-label"] for each in bars] == ([STEPS[name].title] if "of" in progress else [])


async def test_a_done_sync_tells_what_it_has_brought(parts: Grantline) -> None:
    """Users and groups."""
    done = replace(Step(StepName.DIRECTORY_SYNC), state=StepState.DONE, finished_at=NOW, facts={"users": 2500, "groups": 3})

    page = await look(parts, pages.grant, grant_id=await stored(parts, a_grant(done)))

    assert "2,500 users and 3 groups" in page.words


async def test_a_wait_tells_reason_clock_and_end(parts: Grantline) -> None:
    """Why, when it is looked at again, and when it ends for good."""
    ends = NOW + timedelta(hours=24)
    step = replace(Step(StepName.PREFLIGHT), state=StepState.WAITING, reason="Because.", clock=NOW, gives_up_at=ends)

    page = await look(parts, pages.grant, grant_id=await stored(parts, a_grant(step)))

    assert "Because. Looks again at Nov 23, 2026, 12:30:15 UTC; gives up at Nov 24, 2026, 12:30:15 UTC." in page.words


def completed() -> list[Step]:
    """Return the steps of a grant that is complete but for what is optional."""
    facts: Facts = {"users": 7, "groups": 3, "tenant_name": "Contoso", "permissions": ["User.Read.All"]}
    return [replace(Step(name), state=StepState.DONE, started_at=NOW, finished_at=NOW, facts=facts) for name in SHOWN]


async def test_a_completed_grant_says_so_and_rests(parts: Grantline) -> None:
    """The success message, word for word; a page in progress looks again by itself, a finished one does not."""
    steps = {step.name: step for step in completed()}
    queued = replace(steps[StepName.POLICY_ACTIVATION], state=StepState.QUEUED, finished_at=None)

    finished = await look(parts, pages.grant, grant_id=await stored(parts, a_grant(*steps.values())))
    under_way = await look(parts, pages.grant, grant_id=await stored(parts, a_grant(*{**steps, queued.name: queued}.values())))

    assert finished.named("p", role="status")[0].text == SUCCESS_MESSAGE
    assert [each.text for each in finished.named("strong")].count(SUCCESS_MESSAGE) == 1
    assert SUCCESS_MESSAGE not in under_way.words
    assert [len(page.named("div", **{"hx-trigger": "every 2s"})) for page in (finished, under_way)] == [0, 1]


async def test_the_live_part_is_sent_again_only_when_it_changed(parts: Grantline) -> None:
    """An entity tag, and 304 for a browser that has it; any change of the grant is another tag."""
    step = replace(Step(StepName.PREFLIGHT), state=StepState.RUNNING, started_at=NOW)
    grant_id = await stored(parts, a_grant(step))

    async def ask_again(tag: str) -> Reply:
        headers = {**with_cookie(parts), "if-none-match": tag}
        request = Request("GET", f"/grants/{grant_id}/live", route={"grant_id": grant_id}, headers=headers)
        return await parts.container.site.answer("console_live", request, pages.live)

    first = await ask(parts, pages.live, grant_id=grant_id)
    same = await ask_again(first.headers["etag"])
    await parts.container.storage.grants.put(grant_id, progress_row(StepName.DIRECTORY_SYNC, {"users": 5, "groups": 0}))
    other = await ask_again(first.headers["etag"])

    assert (first.status, same.status, same.body, other.status) == (200, 304, "", 200)
    assert "5 users so far" in str(other.body)
    assert "<html" not in str(first.body)


async def test_check_again_begins_the_step_once(parts: Grantline) -> None:
    """The button of a step that needs attention queues it; a second click of the same page changes nothing."""
    name = StepName.PREFLIGHT
    step = replace(Step(name), state=StepState.NEEDS_ATTENTION, started_at=NOW, **IN_STATE[StepState.NEEDS_ATTENTION])  # type: ignore[arg-type] # fields by name
    grant_id = await stored(parts, a_grant(step))
    fields = (await look(parts, pages.grant, grant_id=grant_id)).forms[0].fields

    replies = [await send(parts, fields, to=grant_id), await send(parts, fields, to=grant_id)]

    grant = await parts.grant(grant_id)
    assert [reply.headers["location"] for reply in replies] == [f"/grants/{grant_id}"] * 2
    assert (grant.steps[name].state, grant.steps[name].problem) == (StepState.QUEUED, None)
    events = [event for event in await parts.container.storage.grants.events(grant_id) if event.type == "step.retried"]
    assert [event.data["actor"] for event in events] == ["developer on this machine"]


@pytest.mark.parametrize(
    "fields",
    [
        [("type", "step.retry")],
        [("type", "step.retry"), ("command_id", "c"), ("step", "no_such_step")],
        [("type", "grant.start"), ("command_id", "c"), ("account_id", "a"), ("account_name", "A")],
        [("type", "step.nudge"), ("step", "preflight")],
    ],
    ids=["half a command", "no such step", "another command", "no command"],
)
async def test_a_grants_form_that_cannot_be_taken_is_told_in_words(parts: Grantline, fields: list[tuple[str, str]]) -> None:
    """Only commands about this grant are taken from its page."""
    grant_id = await stored(parts, a_grant())
    token = ("csrf", access.form_token(BROWSER, parts.settings))

    reply = await send(parts, [token, *fields], to=grant_id)

    assert (reply.status, "The form can't be taken" in read(reply).words) == (400, True)
    assert (await parts.grant(grant_id)).seq == 0


def by_hand() -> Grant:
    """Return a grant whose role is waited for, by hand."""
    why = "Waiting for an administrator"
    step = replace(Step(ROLE), state=StepState.WAITING, who=Actor.TENANT_ADMINISTRATOR, reason=why, clock=NOW, gives_up_at=NOW)
    grant = a_grant(step)
    return replace(grant, intent=replace(grant.intent, role_mode=RoleMode.BY_HAND))


async def test_the_role_by_hand_is_explained(parts: Grantline) -> None:
    """The app ID to copy, where to go, both ways of the seed; no sign-in is offered, looking at once is."""
    page = await look(parts, pages.grant, grant_id=await stored(parts, by_hand()))

    app_id = str(parts.facts["applications"]["mail_flow"]["client_id"])
    assert page.named("code", id="app-id")[0].text == app_id
    assert page.named("button", **{"data-copy": app_id})
    assert [each.text for each in page.named("summary")[1:3]] == [
        "Without Privileged Identity Management",
        "With Privileged Identity Management",
    ]
    assert any("/#view/Microsoft_AAD_IAM/RolesManagementMenuBlade" in href for href in page.links().values())
    assert not [href for href in page.links().values() if href.endswith(f"{ROLE}/begin")]
    assert {"Check again", "Have it assigned for me instead"} <= {each.text for each in page.named("button")}


async def test_the_way_to_the_role_can_be_changed_on_the_page(parts: Grantline) -> None:
    """Have it assigned for me instead: the step waits for a sign-in, and the history says who chose it."""
    grant_id = await stored(parts, by_hand())
    page = await look(parts, pages.grant, grant_id=grant_id)
    form = next(form for form in page.forms if ("type", "role_mode.choose") in form.fields)

    await send(parts, form.fields, to=grant_id)

    grant = await parts.grant(grant_id)
    after = await look(parts, pages.grant, grant_id=grant_id)
    assert (grant.intent.role_mode, grant.steps[ROLE].state) == (RoleMode.SIGN_IN, StepState.WAITING_FOR_PERSON)
    assert after.links()["Assign the role"] == f"/grants/{grant_id}/steps/{ROLE}/begin"


# --- afterwards ----------------------------------------------------------------------------------------------------------------


async def test_the_receipt_shows_what_was_made_granted_and_changed(parts: Grantline) -> None:
    """Objects, permissions, and former values of what was there before; what is new is no changed setting."""
    steps = {step.name: step for step in completed()}
    made = {"objects": [{"kind": "transport_rule", "name": "Our <b>Rule</b>"}]}
    steps[StepName.MAIL_FLOW] = replace(steps[StepName.MAIL_FLOW], facts=made)
    rows = [
        Row("snapshot|Our <b>Rule</b>|exists", {"former": False, "at": "2026-11-23T12:00:00.000Z"}),
        Row("snapshot|Theirs|MarkAsSpam | Fail", {"former": "<i>On</i>", "at": "2026-11-23T12:00:00.000Z"}),
    ]

    page = await look(parts, pages.grant, grant_id=await stored(parts, a_grant(*steps.values()), *rows))

    tables = {
        each.attributes["aria-labelledby"]: each.text for each in page.named("table") if "aria-labelledby" in each.attributes
    }
    assert "Our <b>Rule</b>" in tables["objects"]
    assert ["Theirs" in tables["former"], "MarkAsSpam | Fail" in tables["former"], "<i>On</i>" in tables["former"]] == [True] * 3
    assert "Our" not in tables["former"]
    assert "User.Read.All" in page.named("ul", **{"aria-labelledby": "granted"})[0].text
    assert page.links()["Download as JSON"].endswith("/receipt")


async def test_the_history_tells_every_event_a_page_at_a_time(parts: Grantline, account: str) -> None:
    """In order, in words, with moments as people write them; the next page begins where this one ends."""
    grant_id = await parts.start(account)
    told: Facts = {"why": "A reason", "until": "2026-11-23T12:30:15.000Z", "seen": "No role shows yet"}
    happening = ("step.waiting", StepName.PREFLIGHT, told)
    for _ in range(2):
        await parts.container.engine.commit(grant_id, lambda grant, now: with_events(Decision(grant), now, *[happening] * 60))

    first = await look(parts, pages.history, grant_id=grant_id)
    second = await look(parts, pages.history, f"/?after={first.links()['Next page'].rpartition('=')[2]}", grant_id=grant_id)

    titles = [[each.text for each in page.named("strong")] for page in (first, second)]
    assert [len(each) for each in titles] == [100, 21]
    assert titles[0][:2] == ["Grant started", "Waiting"]
    assert "UntilNov 23, 2026, 12:30:15 UTC" in first.words
    assert "No role shows yet" not in first.words
    assert "Next page" not in second.links()


@pytest.mark.parametrize("after", ["x", "-1", "9" * 30, "\u0663", ""])
async def test_a_history_that_begins_nowhere_begins_at_the_beginning(parts: Grantline, account: str, after: str) -> None:
    """A broken link is no error."""
    page = await look(parts, pages.history, f"/?{urlencode({'after': after})}", grant_id=await parts.start(account))

    assert page.named("strong")[0].text == "Grant started"


async def test_every_event_has_a_title() -> None:
    """No event that the code writes is shown by its type alone."""
    source = "".join(path.read_text() for path in SHARED.rglob("*.py") if path.name not in ("messages.py", "views.py"))

    names = set(re.findall(r'"((?:grant|step|tenant|policy|consent|message|role_mode|onboarding_link)\.[a-z_]+)"', source))
    written = {name for name in names if not name.endswith(".html")} - set(MODELS)
    assert written - set(EVENT_TITLES) == set()
    assert "grant.completed" in written
