"""The sync on the pages and in the API: how far it is, what it has changed, when it is next, and what people should know."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from shared.domain.grant import Event, Facts, Grant, Scope, ScopeKind, Step
from shared.domain.schedule import stamp
from shared.domain.steps import StepName, StepState
from shared.web import access, administration, pages, views
from shared.web.http import Visitor
from shared.web.schemas import GrantView
from shared.web.sync import changed_words, differences_words, progress_words
from shared.workflows.run import progress_row
from tests.console.asking import NOW, a_grant, account_row, dashboard_of, look, rendered, send, stored
from tests.support.grantline import Grantline

pytestmark = pytest.mark.asyncio(loop_scope="module")

DAILY, FIRST, FLOW = StepName.DAILY_SYNC, StepName.DIRECTORY_SYNC, StepName.MAIL_FLOW
TOMORROW = NOW + timedelta(days=1)
COUNTS: Facts = {
    "users": 12_000,
    "of": 100_000,
    "groups": 0,
    "collection": "users",
    "rate": 899.6,
    "left_seconds": 98,
    "at": stamp(NOW),
}
AFTER: Facts = {**COUNTS, "users": 100_000, "rate": None, "left_seconds": None}
CHANGED = {"users": {"added": 12, "changed": 0, "removed": 1}, "groups": {"added": 0, "changed": 1, "removed": 0}}
FACTS: Facts = {"users": 100_011, "groups": 1, "tenant_name": "Contoso", "changed": CHANGED}


def synced(state: StepState = StepState.DONE, *, clock: datetime = TOMORROW, **facts: Any) -> Grant:
    """Return a complete grant whose daily sync has been done once and is in ``state``."""
    grant = a_grant(
        *(Step(name, StepState.DONE, started_at=NOW, finished_at=NOW, facts={"users": 1, "groups": 0}) for name in StepName),
    )
    done_at = NOW + timedelta(minutes=1)
    daily = Step(DAILY, state, clock=clock, begun_at=NOW, finished_at=done_at, facts={**FACTS, **facts})
    removal = (Step(name) for name in pages.REMOVAL_STEPS)
    for step in (daily, *removal):
        grant = grant.with_step(step)
    return replace(grant, tenant_id="0b2c")


@pytest.mark.parametrize(
    ("progress", "told"),
    [
        (COUNTS, "12,000 of 100,000 users, about 2 minutes left, 900 a second"),
        ({**COUNTS, "of": None, "left_seconds": None}, "12,000 users so far, 900 a second"),
        ({**COUNTS, "users": 1, "of": 2, "rate": None, "left_seconds": 0}, "1 of 2 users, less than a minute left"),
        ({**COUNTS, "users": 1, "of": 1, "rate": None, "left_seconds": None}, "1 user so far"),
        ({**COUNTS, "rate": 0.2, "left_seconds": 89}, "12,000 of 100,000 users, about 1 minute left"),
        ({**COUNTS, "rate": 0, "left_seconds": 2 * 3600}, "12,000 of 100,000 users, about 2 hours left"),
        ({**COUNTS, "collection": "groups", "groups": 7, "rate": None, "left_seconds": None}, "12,000 users, 7 groups so far"),
        ({**COUNTS, "collection": "list", "users": 5, "left_seconds": None, "rate": None}, "5 of 100,000 users"),
        ({**AFTER, "collection": "compare"}, "comparing with everything that Microsoft has"),
        ({**AFTER, "collection": "publish"}, "putting the new copy in the place of the former one"),
        ({**AFTER, "collection": "tidy"}, "deleting the copy that is not needed any more"),
        ({"objects": 3, "of": 8}, "3 of 8 objects"),
        ({}, ""),
    ],
)
async def test_progress_is_told_in_words(progress: Facts, told: str) -> None:
    """How many of how many, how much longer, how fast; nothing that is not known."""
    assert progress_words(progress) == told


async def test_a_running_sync_is_shown_as_a_bar(parts: Grantline) -> None:
    """The first one and the daily one alike; a screen reader names the bar after its step."""
    for name in (FIRST, DAILY):
        grant = a_grant(Step(name, StepState.RUNNING, clock=TOMORROW, run_id="1", begun_at=NOW))
        page = await look(parts, pages.grant, grant_id=await stored(parts, grant, progress_row(name, COUNTS)))

        (bar,) = page.named("progress")
        assert (bar.attributes["max"], bar.attributes["value"]) == ("100000", "12000")
        assert "12,000 of 100,000 users, about 2 minutes left, 900 a second" in page.words


async def test_what_has_no_end_in_sight_has_no_bar(parts: Grantline) -> None:
    """A daily sync reads what has changed, and nobody knows how much that is."""
    grant = a_grant(Step(DAILY, StepState.RUNNING, clock=TOMORROW, run_id="1", begun_at=NOW))
    row = progress_row(DAILY, {**COUNTS, "users": 37, "of": 37, "rate": None, "left_seconds": None})
    page = await look(parts, pages.grant, grant_id=await stored(parts, grant, row))

    assert "37 users so far" in page.words
    assert page.named("progress") == []


async def test_progress_of_yesterdays_sync_is_not_shown_today(parts: Grantline) -> None:
    """The row stays until it is written again: what it says of an older run is no progress of this one."""
    grant = synced(StepState.QUEUED).with_step(Step(DAILY, StepState.QUEUED, clock=TOMORROW, begun_at=NOW + timedelta(seconds=1)))

    page = await look(parts, pages.grant, grant_id=await stored(parts, grant, progress_row(DAILY, COUNTS)))

    assert "12,000" not in page.words
    assert page.named("progress") == []


async def test_the_page_tells_the_last_sync_and_the_next_one(parts: Grantline) -> None:
    """When, what it has changed, how much is stored; and what the full comparison has found."""
    grant = synced(differences={"missing": 2, "gone": 1, "different": 0})

    page = await look(parts, pages.grant, grant_id=await stored(parts, grant))

    assert "Next sync: Nov 24, 2026, 12:30:15 UTC." in page.words
    changed = "12 users added, 1 user removed, 1 group changed."
    assert f"Last sync: Nov 23, 2026, 12:31:15 UTC, {changed} Stored: 100,011 users and 1 group." in page.words
    assert "found 2 missing and 1 gone among users and groups; all is put right." in page.words


async def test_a_directory_that_was_deleted_is_not_told_of(parts: Grantline) -> None:
    """After the removal's step nothing is stored any more; when the last sync was stays known."""
    grant = synced().with_step(Step(StepName.DIRECTORY_REMOVAL, StepState.DONE, finished_at=TOMORROW))

    page = await look(parts, pages.grant, grant_id=await stored(parts, grant))

    assert "Last sync: Nov 23, 2026, 12:31:15 UTC." in page.words
    assert "Stored:" not in page.words
    assert views.grant_view(grant, {})["sync"]["users"] is None


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ({"missing": 2, "gone": 1, "different": 3}, "found 2 missing, 1 gone and 3 different among"),
        ({"missing": 0, "gone": 1000, "different": 0}, "found 1,000 gone among"),
        ({"missing": 0, "gone": 0, "different": 0}, "found no difference."),
    ],
)
async def test_a_comparison_is_told_in_words(found: dict[str, int], told: str) -> None:
    """What was missing, what had gone, what was otherwise."""
    assert told in differences_words(found)


async def test_a_day_without_changes_is_told_as_such() -> None:
    """And nothing where nobody counted."""
    none = {"added": 0, "changed": 0, "removed": 0}

    assert changed_words({"users": none, "groups": none}) == "nothing had changed"
    assert changed_words({}) == ""


async def test_a_grant_before_its_first_sync_tells_none(parts: Grantline) -> None:
    """Facts that a sync leaves behind under way are not what a sync has brought."""
    step = Step(FIRST, StepState.RUNNING, clock=TOMORROW, run_id="1", begun_at=NOW, facts={"users": 5})
    view = views.grant_view(a_grant(step), {})

    assert (view["sync"]["last_sync"], view["sync"]["next_sync"], view["sync"]["users"]) == (None, None, None)
    page = await look(parts, pages.grant, grant_id=await stored(parts, a_grant(step)))
    assert "Last sync" not in page.words


async def test_sync_now_begins_the_daily_sync(parts: Grantline) -> None:
    """By the command that begins any step again; a second click of the same page changes nothing."""
    grant_id = await stored(parts, synced())
    page = await look(parts, pages.grant, grant_id=grant_id)
    (form,) = [form for form in page.forms if ("step", DAILY) in form.fields]

    await send(parts, form.fields, to=grant_id)
    await send(parts, form.fields, to=grant_id)

    assert "Sync now" in [each.text for each in page.named("button")]
    assert (await parts.grant(grant_id)).steps[DAILY].state is StepState.QUEUED
    events = await parts.container.storage.grants.events(grant_id)
    assert [(event.type, event.step) for event in events] == [("step.retried", DAILY)]


async def test_no_sync_is_begun_while_one_is_under_way(parts: Grantline) -> None:
    """The button is there only when it does something; the next one has no time yet."""
    running = await look(parts, pages.grant, grant_id=await stored(parts, synced(StepState.RUNNING)))

    assert "Sync now" not in [each.text for each in running.named("button")]
    assert "Next sync" not in running.words


async def test_one_that_failed_tells_when_it_tries_again(parts: Grantline) -> None:
    """By itself, at the tenant's moment; and a person may have it done at once."""
    failed = await look(parts, pages.grant, grant_id=await stored(parts, synced(StepState.NEEDS_ATTENTION)))

    assert "Next sync: Nov 24, 2026, 12:30:15 UTC." in failed.words
    assert "Sync now" in [each.text for each in failed.named("button")]


async def test_uncovered_domains_are_told_with_the_way_to_cover_them(parts: Grantline) -> None:
    """Each domain by its name, the first twenty; one button does the mail flow again, and the notice is gone with it."""
    names = [f"new-{number}.example" for number in range(23)]
    grant_id = await stored(parts, synced(uncovered_domains=names))
    page = await look(parts, pages.grant, grant_id=grant_id)

    (notice,) = page.named("div", **{"class": "notice"})
    assert "domains that are not protected" in notice.text
    assert ("new-0.example" in notice.text, "new-20.example" in notice.text, "and 3 more" in notice.text) == (True, False, True)
    forms = [form.fields for form in page.forms if any("covers" in value for _, value in form.fields)]
    assert [dict(fields)["step"] for fields in forms] == [FLOW]
    await send(parts, forms[0], to=grant_id)
    assert (await parts.grant(grant_id)).steps[FLOW].state is StepState.QUEUED


async def test_a_scope_of_chosen_domains_offers_no_mail_flow(parts: Grantline) -> None:
    """It would change nothing."""
    grant = synced(uncovered_domains=["new.example"])
    grant = replace(grant, intent=replace(grant.intent, scope=Scope(ScopeKind.DOMAINS, domains=("old.example",))))
    page = await look(parts, pages.grant, grant_id=await stored(parts, grant))

    (notice,) = page.named("div", **{"class": "notice"})
    assert "does not name them" in notice.text
    assert not [form for form in page.forms if any("covers" in value for _, value in form.fields)]


async def test_the_lists_mark_accounts_with_notices(parts: Grantline) -> None:
    """On the dashboard and among the service accounts, in words."""
    row = account_row("n", "N", "completed", notices=("uncovered_domains", "hidden_groups"))
    visitor = Visitor("somebody", access.Role.VIEWER)
    lists = [
        dashboard_of(parts, row, visitor=visitor),
        rendered(parts, "service_accounts.html", visitor=visitor, rows=[row], after="", following="", offers_activity=True),
    ]

    for page in lists:
        marks = [each.text for each in page.named("span") if "mark" in each.attributes.get("class", "")]
        assert marks == ["Domains not protected", "Groups hide their members"]


async def test_the_history_tells_what_a_sync_has_changed() -> None:
    """In the words of the page, not as numbers without names."""
    facts = {**FACTS, "differences": {"missing": 2, "gone": 0, "different": 0}, "hidden_groups": 0}
    details = dict(views.event_lines(Event(1, NOW, "step.done", DAILY, facts))["details"])

    assert details["Changed"] == "12 users added, 1 user removed, 1 group changed"
    assert details["Differences"].endswith("found 2 missing among users and groups; all is put right.")
    assert details["Users"] == "100011"


async def test_a_service_account_tells_its_syncs(parts: Grantline) -> None:
    """The last one, whichever step did it, and the next."""
    page = await look(parts, administration.service_account, grant_id=await stored(parts, synced()))

    told = dict(zip((each.text for each in page.named("dt")), (each.text for each in page.named("dd")), strict=True))
    assert (told["Last sync"], told["Next sync"]) == ("Nov 23, 2026, 12:31:15 UTC", "Nov 24, 2026, 12:30:15 UTC")


async def test_programs_are_told_the_same(parts: Grantline) -> None:
    """The shape is the documented one, with the notice in full."""
    found = {"missing": 2, "gone": 1, "different": 0}
    grant = synced(differences=found, unknown_users=["ada@contoso.example"])
    view = GrantView.model_validate(views.grant_view(grant, {}), strict=False).sync

    assert (view.last_sync, view.next_sync) == (stamp(NOW + timedelta(minutes=1)), stamp(TOMORROW))
    assert (view.users, view.groups) == (100_011, 1)
    assert view.changed
    assert (view.changed.users.added, view.changed.groups.changed) == (12, 1)
    assert view.differences
    assert view.differences.missing == 2
    assert [(each.code, each.names) for each in view.notices] == [("unknown_users", ["ada@contoso.example"])]
