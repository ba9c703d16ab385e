"""The first sync of a directory: the list after its token, resumed at any page, read by nobody before it is whole."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from local.microsoft365 import changes
from shared.domain.grant import Facts
from shared.domain.steps import STEPS, StepName, StepState
from shared.microsoft import graph
from shared.microsoft.graph import GraphDirectory
from shared.storage.directory_writer import TableDirectoryWriter
from shared.storage.table import Table
from shared.workflows import directory_pages, directory_sync
from shared.workflows.directory_sync import CURSOR_ROW
from tests.support.syncs import Before, current, found, held, killed_at, lease_over, seen, told, watching
from tests.support.worlds import Case, KilledError, World

pytestmark = pytest.mark.asyncio(loop_scope="module")

SYNC = StepName.DIRECTORY_SYNC
USERS, GROUPS = 16, 5
"""Of a small tenant: four pages of five users, among them a guest and a shared mailbox, and one page of groups."""
LIST = r"/v1\.0/users\?(?!.*count=)"
NEXT_PAGE = r"/v1\.0/users\?.*skiptoken"
COUNT = r"/v1\.0/users\?.*count="
PROGRESS_ROW = "progress|directory_sync"


@pytest_asyncio.fixture(loop_scope="module")
async def case(shared_world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Case]:
    """A grant of a small tenant, about to be synced in pages of five, each written by itself."""
    monkeypatch.setattr(graph, "PAGE_SIZE", 5)
    monkeypatch.setattr(directory_pages, "BATCH", 5)
    case = await shared_world.case(users=USERS)
    await case.until(SYNC)
    yield case
    shared_world.calm()


async def _user_pages(case: Case) -> list[str]:
    """Return, for each page of the list of users that Microsoft gave, whether it was the "first" or a "next" one."""
    given = await case.requests(operation="/users", status="200")
    return ["next" if "skiptoken" in each["query"] else "first" for each in given if "count=" not in each["query"]]


def _slow(case: Case, seconds: float) -> Before:
    """Return what lets time pass before each page."""

    async def before() -> None:
        case.parts.clock.offset += timedelta(seconds=seconds)

    return before


async def test_a_large_tenant_is_synced_in_three_pages(shared_world: World) -> None:
    """2,500 users come in three requests and two more: for the token before them, and for what changed since it."""
    case = await shared_world.case(users=2500)
    await case.until(SYNC)
    step = await case.settle(SYNC)

    assert step.is_done
    assert await _user_pages(case) == ["first", "next", "next"]
    deltas = [each["query"] for each in await case.requests(operation="/users/delta")]
    assert ["latest" in each for each in deltas] == [True, False]
    counts = {"users": 2500, "groups": GROUPS}
    domains = {case.domain, case.tenant.initial_domain}
    assert {name: step.facts[name] for name in counts} == counts
    assert step.facts["changed"] is None  # nothing was stored before
    assert (step.facts["tenant_name"], set(step.facts["domains"])) == (case.tenant.display_name, domains)
    progress = await case.row(PROGRESS_ROW)
    assert {name: progress[name] for name in counts} == counts
    assert await case.row(CURSOR_ROW) is None
    state = await current(case)
    assert state is not None
    assert (state.generation, state.shards, state.counts) == (1, 1, {**counts, "domains": 2, "hidden_groups": 0})
    assert state.links.keys() == {"users", "groups"}
    view = await seen(case)
    assert view is not None
    assert told(view) == held(case)


async def test_addresses_are_found_by_one_read_whatever_the_letter_case(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipient is found by a point read of the address, after the one that names the generation; never by a query."""
    await case.settle(SYNC)
    reads: list[tuple[str, str]] = []
    get = Table.get

    async def counted(table: Table, partition: str, row: str) -> Any:
        reads.append((partition, row))
        return await get(table, partition, row)

    monkeypatch.setattr(Table, "get", counted)
    monkeypatch.setattr(Table, "query", None)
    users = [await found(case, address) for address in (f"admin@{case.domain}", f"ADMIN@{case.domain.title()}", "nobody@x.test")]

    assert [user and user.user_principal_name for user in users] == [case.administrator, case.administrator, None]
    assert len(reads) == 2 * len(users)


async def test_shared_mailboxes_and_guests_are_synced(case: Case) -> None:
    """A shared mailbox is a disabled user with addresses; a guest is found by the address of its home."""
    await case.settle(SYNC)
    shared = await found(case, f"shared13@{case.domain}")
    guest = await found(case, "partner7@partner.example")

    assert shared is not None
    assert (shared.enabled, shared.user_type) == (False, "Member")
    assert guest is not None
    assert (guest.enabled, guest.user_type) == (True, "Guest")


async def test_domains_are_synced_with_the_records_that_microsoft_expects(case: Case) -> None:
    """Each domain with its flags; those that receive mail with the hosts of their MX records."""
    await case.settle(SYNC)
    domains = {each.name: each for each in await case.parts.container.storage.directory.domains(case.tenant_id)}

    assert domains.keys() == case.tenant.domains.keys()
    own = domains[case.domain]
    assert (own.is_verified, own.is_default, own.receives_mail) == (True, True, True)
    assert own.mail_exchangers == (f"{case.domain.replace('.', '-')}.mail.protection.outlook.com",)
    unverified = next(each for each in domains.values() if not each.is_verified)
    assert (unverified.receives_mail, unverified.mail_exchangers) == (False, ())


@pytest.mark.parametrize("page", [1, 2, 4, 5, 6])
async def test_a_crash_before_any_page_is_resumed(case: Case, page: int) -> None:
    """A process that dies leaves nothing that readers see; the next run goes on where it was, and the whole is the tenant's."""
    with pytest.raises(KilledError):
        await case.work(SYNC, watching(case, killed_at(page)))
    assert await current(case) is None
    assert await found(case, case.administrator) is None
    await lease_over(case, SYNC)
    step = await case.work(SYNC)

    assert step.is_done
    assert (step.facts["users"], step.facts["groups"]) == (USERS, GROUPS)
    view = await seen(case)
    assert view is not None
    assert told(view) == held(case)


async def test_a_crash_repeats_no_page_that_was_done(case: Case) -> None:
    """Of four pages two are done when the process dies: what is read again is what was being written and fetched ahead."""
    with pytest.raises(KilledError):
        await case.work(SYNC, watching(case, killed_at(4)))
    before = len(await _user_pages(case))
    await lease_over(case, SYNC)
    assert (await case.work(SYNC)).is_done

    assert before == 3
    assert (await _user_pages(case))[before:].count("first") == 0
    assert len(await _user_pages(case)) - before <= 3


async def test_slices_resume_at_the_cursor(case: Case) -> None:
    """A slice that has had its time gives way with its cursor saved; the next goes on there, even when one between was killed."""
    step = await case.work(SYNC, watching(case, _slow(case, 15)))
    cursor: Facts = await case.row(CURSOR_ROW)
    done = cursor["seen"]["users"]
    assert (step.state, step.facts["users"]) == (StepState.QUEUED, done)
    assert 0 < done < USERS
    assert (cursor["stage"], "skiptoken" in cursor["link"], cursor["is_writing"]) == ("list", True, False)

    with pytest.raises(KilledError):
        await case.work(SYNC, watching(case, killed_at(1)))
    assert await case.row(CURSOR_ROW) == cursor
    await lease_over(case, SYNC)
    step = await case.work(SYNC)

    assert step.is_done
    assert step.facts["users"] == USERS
    assert (await _user_pages(case)).count("first") == 1
    assert await case.row(CURSOR_ROW) is None


async def test_progress_is_shown_while_pages_come(case: Case) -> None:
    """While a slice runs people see how far it is; it is written no more often than every two seconds."""
    shown: list[Facts | None] = []

    async def look() -> None:
        case.parts.clock.offset += timedelta(seconds=3)
        shown.append(await case.row(PROGRESS_ROW))

    await case.work(SYNC, watching(case, look))
    shown.append(await case.row(PROGRESS_ROW))

    progress = [(row["collection"], row["users"], row["of"], row["groups"]) for row in shown if row]
    assert progress[0] == ("list", 5, USERS, 0)
    assert [users for _, users, _, _ in progress] == sorted(users for _, users, _, _ in progress)
    assert progress[-1] == ("publish", USERS, USERS, GROUPS)
    assert any(row and row["rate"] and row["left_seconds"] is not None for row in shown)


async def test_progress_is_not_written_for_every_page(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rate of writing is bounded, whatever the number of pages."""
    written: list[str] = []
    rows = case.parts.container.storage.grants
    put = type(rows).put

    async def counted(store: Any, grant_id: str, row: Any) -> None:
        written.append(row.key)
        await put(store, grant_id, row)

    monkeypatch.setattr(type(rows), "put", counted)
    assert (await case.work(SYNC)).is_done

    assert written.count(PROGRESS_ROW) <= 3
    assert written.count(CURSOR_ROW) >= 4


async def test_the_users_are_counted_once(case: Case) -> None:
    """One request more, as Microsoft documents it, before the first page; a later slice does not ask again."""
    await case.work(SYNC, watching(case, _slow(case, 15)))
    cursor: Facts = await case.row(CURSOR_ROW)
    assert (await case.work(SYNC)).is_done

    assert cursor["of"] == USERS
    asked = await case.requests(operation="/users")
    assert ["count=" in each["query"] for each in asked].count(True) == 1


@pytest.mark.parametrize(
    "refusal",
    [
        {"status": 403, "body": {"error": {"code": "Authorization_RequestDenied", "message": "Insufficient privileges."}}},
        {"status": 400, "body": {"error": {"code": "Request_UnsupportedQuery", "message": "Unsupported Query."}}},
        {"status": 503},
        {"status": 200, "body": {"value": []}},
        {"drop": True, "times": 5},
    ],
    ids=["refused", "unsupported", "busy", "without a count", "dropped"],
)
async def test_a_count_that_fails_holds_nothing_up(case: Case, refusal: dict[str, Any]) -> None:
    """Without it nobody knows how many users there will be, until all are read; the sync is as always."""
    await case.world.fault(COUNT, **refusal)
    step = await case.work(SYNC, watching(case, _slow(case, 15)))
    progress = await case.row(PROGRESS_ROW)

    assert (progress["of"], step.state) == (None, StepState.QUEUED)
    assert (await case.work(SYNC)).facts["users"] == USERS
    assert (await case.row(PROGRESS_ROW))["of"] == USERS


@pytest.mark.parametrize("told_count", [7, 900])
async def test_an_estimate_is_never_smaller_than_what_is_done(case: Case, told_count: int) -> None:
    """Microsoft counts in an index that lags behind: what is done counts more, and in the end it is all."""
    await case.world.fault(COUNT, status=200, body={"@odata.count": told_count, "value": []})
    await case.work(SYNC, watching(case, _slow(case, 15)))
    progress = await case.row(PROGRESS_ROW)

    assert progress["of"] == max(told_count, progress["users"])
    assert (await case.work(SYNC)).is_done
    assert (await case.row(PROGRESS_ROW))["of"] == USERS


async def test_without_the_token_form_all_comes_by_changes(case: Case) -> None:
    """Where Microsoft refuses a token without data, a plain delta query reads everything; it needs no comparison later."""
    await case.world.set(delta_latest_refused=True)
    step = await case.work(SYNC)

    assert step.is_done
    assert await _user_pages(case) == []
    view = await seen(case)
    assert view is not None
    assert told(view) == held(case)
    state = await current(case)
    assert state is not None
    assert state.is_compared


async def test_a_busy_page_keeps_those_before_it(case: Case) -> None:
    """A 429 in the middle is a wait as long as Microsoft wishes; the pages that are done are not read again."""
    await case.world.fault(NEXT_PAGE, status=429, headers={"Retry-After": "40"})
    step = await case.work(SYNC)

    assert (step.state, step.reason) == (StepState.WAITING, "Microsoft Graph asks to slow down")
    assert step.clock is not None
    assert step.changed_at is not None
    assert step.clock - step.changed_at >= timedelta(seconds=39)
    step = await case.work(SYNC)
    assert step.is_done
    assert step.facts["users"] == USERS
    assert await _user_pages(case) == ["first", "next", "next", "next"]


async def test_a_limit_that_is_near_is_a_wait(case: Case) -> None:
    """Microsoft tells when four fifths of the limit are used: the slice goes back to the queue before anything is refused."""
    headers = {"x-ms-throttle-limit-percentage": "0.9"}
    page = {"value": [], "@odata.nextLink": f"{case.parts.simulation.url}/v1.0/users?$select=id&$top=5"}
    await case.world.fault(LIST, status=200, headers=headers, body=page)
    step = await case.work(SYNC)

    assert (step.state, step.reason) == (StepState.WAITING, "Microsoft Graph is close to its limit in this tenant")
    assert step.clock is not None
    assert step.changed_at is not None
    assert step.clock - step.changed_at >= timedelta(seconds=9)


@pytest.mark.parametrize(("status", "code"), [(400, "Directory_ExpiredPageToken"), (410, "Gone")])
async def test_a_forgotten_page_begins_the_list_again(case: Case, status: int, code: str) -> None:
    """When Microsoft no longer knows the next page everything is read again; who has left meanwhile is not in it."""
    error = {"error": {"code": code, "message": "The specified page token value has expired and can't be included in a request."}}
    await case.world.fault(NEXT_PAGE, status=status, body=error)
    step = await case.work(SYNC)
    assert (step.state, step.problem) == (StepState.WAITING, None)
    assert step.reason == "Microsoft no longer knows where to go on with the users; reading everything again from the first"
    await case.tamper("user", f"member@{case.domain}")

    step = await case.work(SYNC)

    assert step.is_done
    assert step.facts["users"] == USERS - 1
    assert await _user_pages(case) == ["first", "first", "next", "next"]
    state = await current(case)
    assert state is not None
    assert (state.generation, [each.number for each in state.former]) == (2, [1])
    assert await found(case, f"member@{case.domain}") is None
    assert await found(case, case.administrator) is not None


async def test_pages_that_are_always_forgotten_are_a_problem_in_the_end(case: Case) -> None:
    """Beginning again has an end: after a day a person is told."""
    await case.world.fault(NEXT_PAGE, status=410, times=1000)
    step = await case.work(SYNC)
    assert step.begun_at is not None
    case.parts.clock.advance_to(step.begun_at + STEPS[SYNC].give_up)
    step = await case.work(SYNC)

    assert step.problem is not None
    assert (step.state, step.problem.code) == (StepState.NEEDS_ATTENTION, "page_expired")


async def test_a_forgotten_first_page_is_a_problem(case: Case) -> None:
    """Where nothing was read yet there is nothing to begin again."""
    await case.world.fault(LIST, status=410)
    step = await case.work(SYNC)

    assert step.problem is not None
    assert (step.state, step.problem.code) == (StepState.NEEDS_ATTENTION, "page_expired")


async def test_an_empty_page_is_not_the_last(case: Case) -> None:
    """Graph may give a page without users and a next link (https://learn.microsoft.com/graph/paging): the sync goes on."""
    url = f"{case.parts.simulation.url}/v1.0/users?$select={','.join(graph.USER_PROPERTIES)}&$top=5"
    await case.world.fault(LIST, status=200, body={"value": [], "@odata.nextLink": url})
    step = await case.work(SYNC)

    assert step.is_done
    assert step.facts["users"] == USERS


async def test_a_refusal_of_microsoft_graph_asks_for_the_consent_again(case: Case) -> None:
    """A permission that was taken away meanwhile: the consent waits for its person, with its link; the sync goes on after it."""
    error = {"error": {"code": "Authorization_RequestDenied", "message": "Insufficient privileges to complete the operation."}}
    await case.world.fault(r"/v1\.0/groups", status=403, body=error)
    step = await case.work(SYNC)

    assert step.state is StepState.BLOCKED
    assert (await case.grant()).steps[StepName.DIRECTORY_CONSENT].state is StepState.WAITING_FOR_PERSON


async def test_what_a_killed_run_has_written_is_counted(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups that hide their members are told whenever the process ended: their count is of the rows, not of the run."""
    now = case.parts.simulation.clock.now()
    hidden = replace(next(iter(case.tenant.groups.values())), visibility="HiddenMembership")
    changes.put_group(case.tenant, hidden, now)
    case.parts.simulation.store.changed(case.tenant)
    insert = TableDirectoryWriter.insert

    async def last(writer: TableDirectoryWriter, records: Any, *rest: Any) -> bool:
        given = await insert(writer, records, *rest)
        if any(record.object_id == hidden.id for record in records):
            raise KilledError
        return given

    with monkeypatch.context() as patch:
        patch.setattr(TableDirectoryWriter, "insert", last)
        with pytest.raises(KilledError):
            await case.work(SYNC)
    await lease_over(case, SYNC)
    await case.work(SYNC)

    assert (await case.settle(SYNC)).facts["hidden_groups"] == 1


async def test_a_sync_that_gets_on_is_never_given_up(case: Case) -> None:
    """Busy after every page, day after day: as each slice has read one, delays do not grow and the end moves on.

    In the end the very first page of a slice fails, long after all was begun: that one is waited for, too.
    """
    for number in range(5):
        pages = iter(range(1, 100))
        if number == 4:  # its time is over after a page, which no wait tells of
            await case.work(SYNC, watching(case, _slow(case, 50)))

        async def busy(pages: Iterator[int] = pages, page: int = 2 if number < 4 else 1) -> None:
            if next(pages) == page:
                await case.world.fault(r"/v1\.0/(users|groups)/?.*(skiptoken|delta)", status=503)

        case.parts.clock.offset += STEPS[SYNC].give_up / 4
        step = await case.work(SYNC, watching(case, busy))
        assert step.state is StepState.WAITING, step.problem
        assert step.clock is not None
        assert step.gives_up_at is not None
        assert step.clock - case.parts.clock() <= 2 * STEPS[SYNC].retry_first
        assert step.gives_up_at - case.parts.clock() > STEPS[SYNC].give_up * (0.9 if number < 4 else 0.7)

    assert (await case.settle(SYNC)).is_done


async def test_more_domains_than_a_slice_can_read_are_read_by_several(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each costs a request; what a slice has read is not read again by the next one, and no domain passes for a late one."""
    like, names = case.tenant.domains[case.domain], [f"d{number}.{case.domain}" for number in range(8)]
    case.tenant.domains.update({name: replace(like, name=name, is_default=False) for name in names})
    case.parts.simulation.store.changed(case.tenant)
    monkeypatch.setattr(directory_sync, "TOGETHER", 3)
    read = GraphDirectory.service_records
    asked: list[str] = []

    async def until_the_budget_ends(self: GraphDirectory, domain: str) -> tuple[str, ...]:
        asked.append(domain)
        if len(asked) % 5 == 0:
            raise TimeoutError
        return await read(self, domain)

    monkeypatch.setattr(GraphDirectory, "service_records", until_the_budget_ends)
    step = await case.settle(SYNC)
    domains = await case.parts.container.storage.directory.domains(case.tenant_id)

    assert step.is_done
    assert {domain.name for domain in domains} == case.tenant.domains.keys()
    assert all(domain.mail_exchangers for domain in domains if domain.receives_mail)
    assert {domain.receiving_since for domain in domains} == {None}
    assert len(asked) <= 2 * len(domains)
    assert await case.row(directory_sync.DOMAINS_ROW) == {"read": []}
