"""The directory sync: page by page into a new generation, resumed at any page, read by nobody before it is whole."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, cast

import pytest
import pytest_asyncio

from shared.domain.grant import Facts
from shared.domain.steps import STEPS, StepName, StepState
from shared.engine import Engine
from shared.microsoft import graph
from shared.ports import Directory, DirectoryState, Group, Microsoft, Page, User
from shared.storage.table import Table
from shared.workflows.directory_sync import CURSOR_ROW
from shared.workflows.run import Run
from tests.support.worlds import Case, KilledError, World, open_world

pytestmark = pytest.mark.asyncio(loop_scope="module")

SYNC = StepName.DIRECTORY_SYNC
USERS, GROUPS = 16, 5
"""Of a small tenant: four pages of five users, among them a guest and a shared mailbox, and one page of groups."""
NEXT_PAGE = r"/v1\.0/users.*skiptoken"
PAGE, COUNT = r"/v1\.0/users\?(?!.*count=)", r"/v1\.0/users\?.*count="
PROGRESS_ROW = "progress|directory_sync"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared_world() -> AsyncIterator[World]:
    """The running parts."""
    async with open_world() as world:
        yield world


@pytest_asyncio.fixture(loop_scope="module")
async def case(shared_world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Case]:
    """A grant of a small tenant, about to be synced in pages of five."""
    monkeypatch.setattr(graph, "PAGE_SIZE", 5)
    case = await shared_world.case(users=USERS)
    await case.until(SYNC)
    yield case
    shared_world.calm()


async def _found(case: Case, address: str) -> User | None:
    return await case.parts.container.storage.directory.find_by_address(case.tenant_id, address)


async def _current(case: Case) -> DirectoryState | None:
    return await case.parts.container.storage.directory.current(case.tenant_id)


async def _user_pages(case: Case) -> list[str]:
    """Return, for each page of users that Microsoft gave, whether it was the "first" or a "next" one."""
    given = await case.requests(operation="/users", status="200")
    return ["next" if "skiptoken" in each["query"] else "first" for each in given if "count=" not in each["query"]]


Before = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class _Watched:
    """Microsoft, or a directory, whose reader is told before each page."""

    inner: Any
    before: Before

    def directory(self, tenant_id: str) -> Directory:
        """Return the watched directory."""
        return cast("Directory", _Watched(self.inner.directory(tenant_id), self.before))

    async def users(self, next_link: str = "") -> Page[User]:
        """Return a page of users, told before."""
        await self.before()
        page: Page[User] = await self.inner.users(next_link)
        return page

    async def groups(self, next_link: str = "") -> Page[Group]:
        """Return a page of groups, told before."""
        await self.before()
        page: Page[Group] = await self.inner.groups(next_link)
        return page

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def _watching(case: Case, before: Before) -> Engine:
    def change(run: Run) -> Run:
        microsoft = cast("Microsoft", _Watched(run.clients.microsoft, before))
        return replace(run, clients=replace(run.clients, microsoft=microsoft))

    return case.world.engine(change)


def _killed_at(page: int) -> Before:
    """Return what ends the process before a page, the first being 1."""
    left = iter(range(page - 1))

    async def before() -> None:
        if next(left, None) is None:
            raise KilledError

    return before


def _slow(case: Case, seconds: float) -> Before:
    """Return what lets time pass before each page."""

    async def before() -> None:
        case.parts.clock.offset += timedelta(seconds=seconds)

    return before


async def _lease_over(case: Case) -> None:
    """Let the lease of a run that was killed end."""
    step = await case.step(SYNC)
    assert step.state is StepState.RUNNING
    assert step.clock is not None
    case.parts.clock.advance_to(step.clock)


async def test_a_large_tenant_is_synced_in_three_pages(shared_world: World) -> None:
    """2,500 users come in three requests, with all their addresses; the facts and the progress tell the counts."""
    case = await shared_world.case(users=2500)
    await case.until(SYNC)
    step = await case.settle(SYNC)

    assert step.is_done
    assert await _user_pages(case) == ["first", "next", "next"]
    counts = {"users": 2500, "groups": GROUPS}
    domains = {case.domain, case.tenant.initial_domain}
    assert {name: step.facts[name] for name in counts} == counts
    assert (step.facts["tenant_name"], set(step.facts["domains"])) == (case.tenant.display_name, domains)
    progress = await case.row(PROGRESS_ROW)
    assert {name: progress[name] for name in counts} == counts
    assert await case.row(CURSOR_ROW) is None
    state = await _current(case)
    assert state is not None
    assert (state.generation, state.counts) == (1, {**counts, "domains": 2})
    wanted = {address[5:].casefold(): user.id for user in case.tenant.users for address in user.proxy_addresses}
    for address in sorted(wanted)[::250]:
        user = await _found(case, address)
        assert user is not None
        assert user.user_id == wanted[address]


async def test_addresses_are_found_by_one_read_whatever_the_letter_case(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipient is found by a point read of the address, after the one that names the generation; never by a query."""
    await case.settle(SYNC)
    reads: list[tuple[str, str]] = []
    get = Table.get

    async def counted(table: Table, partition: str, row: str) -> Any:
        reads.append((partition, row))
        return await get(table, partition, row)

    monkeypatch.setattr(Table, "get", counted)
    monkeypatch.setattr(Table, "between", None)
    found = [await _found(case, address) for address in (f"admin@{case.domain}", f"ADMIN@{case.domain.title()}", "nobody@x.test")]

    assert [user and user.user_principal_name for user in found] == [case.administrator, case.administrator, None]
    assert len(reads) == 2 * len(found)


async def test_shared_mailboxes_and_guests_are_synced(case: Case) -> None:
    """A shared mailbox is a disabled user with addresses; a guest is found by the address of its home."""
    await case.settle(SYNC)
    shared = await _found(case, f"shared13@{case.domain}")
    guest = await _found(case, "partner7@partner.example")

    assert shared is not None
    assert (shared.enabled, shared.user_type) == (False, "Member")
    assert guest is not None
    assert (guest.enabled, guest.user_type) == (True, "Guest")


@pytest.mark.parametrize("page", [1, 2, 4, 5])
async def test_a_crash_before_any_page_is_resumed(case: Case, page: int) -> None:
    """A process that dies within its first slice leaves nothing that readers see; the next run begins again and is whole."""
    with pytest.raises(KilledError):
        await case.work(SYNC, _watching(case, _killed_at(page)))
    assert await _current(case) is None
    assert await _found(case, case.administrator) is None
    await _lease_over(case)
    step = await case.work(SYNC)

    assert step.is_done
    assert (step.facts["users"], step.facts["groups"]) == (USERS, GROUPS)
    assert await _found(case, case.administrator) is not None


async def test_slices_resume_at_the_cursor(case: Case) -> None:
    """A slice that has had its time gives way with its cursor saved; the next goes on there, even when one between was killed."""
    step = await case.work(SYNC, _watching(case, _slow(case, 15)))
    assert (step.state, step.facts["users"]) == (StepState.QUEUED, 10)
    cursor: Facts = await case.row(CURSOR_ROW)
    assert (cursor["users"], cursor["collection"], "skiptoken" in cursor["next_link"]) == (10, "users", True)

    with pytest.raises(KilledError):
        await case.work(SYNC, _watching(case, _killed_at(1)))
    assert await case.row(CURSOR_ROW) == cursor
    await _lease_over(case)
    step = await case.work(SYNC)

    assert step.is_done
    assert step.facts["users"] == USERS
    assert await _user_pages(case) == ["first", "next", "next", "next"]
    assert await case.row(CURSOR_ROW) is None


async def test_progress_is_shown_after_every_page(case: Case) -> None:
    """While a slice runs people see how far it is."""
    shown: list[Facts | None] = []

    async def look() -> None:
        shown.append(await case.row(PROGRESS_ROW))

    await case.work(SYNC, _watching(case, look))
    await look()

    assert shown[0] is None
    progress = [(row["collection"], row["users"], row["of"], row["groups"]) for row in shown[1:] if row]
    pages = [("users", 5 * page, USERS, 0) for page in (1, 2, 3)]
    assert progress == [*pages, ("groups", USERS, USERS, 0), ("", USERS, USERS, GROUPS)]


async def _shown(case: Case) -> list[tuple[int, int | None]]:
    """Sync, and return how many users were done, of how many, after each page."""
    shown: list[tuple[int, int | None]] = []

    async def look() -> None:
        row = await case.row(PROGRESS_ROW)
        shown.extend([(row["users"], row["of"])] if row else [])

    assert (await case.work(SYNC, _watching(case, look))).is_done
    await look()
    return shown


async def test_the_users_are_counted_once(case: Case) -> None:
    """One request more, as Microsoft documents it, before the first page; a later slice does not ask again."""
    await case.work(SYNC, _watching(case, _slow(case, 15)))
    cursor: Facts = await case.row(CURSOR_ROW)
    assert (await case.work(SYNC)).is_done

    assert cursor["of"] == USERS
    asked = await case.requests(operation="/users")
    assert ["count=" in each["query"] for each in asked] == [True, False, False, False, False]


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

    assert await _shown(case) == [(5, None), (10, None), (15, None), (USERS, USERS), (USERS, USERS)]


@pytest.mark.parametrize(("told", "shown"), [(7, [7, 10, 15]), (10, [10, 10, 15]), (900, [900, 900, 900])])
async def test_an_estimate_is_never_smaller_than_what_is_done(case: Case, told: int, shown: list[int]) -> None:
    """Microsoft counts in an index that lags behind: what is done counts more, and in the end it is all."""
    await case.world.fault(COUNT, status=200, body={"@odata.count": told, "value": []})

    assert await _shown(case) == [*zip((5, 10, 15), shown, strict=True), (USERS, USERS), (USERS, USERS)]


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


@pytest.mark.parametrize(("status", "code"), [(400, "Directory_ExpiredPageToken"), (410, "Gone")])
async def test_a_forgotten_page_begins_the_list_again(case: Case, status: int, code: str) -> None:
    """When Microsoft no longer knows the next page the list is read again; who has left meanwhile is not in it."""
    error = {"error": {"code": code, "message": "The specified page token value has expired and can't be included in a request."}}
    await case.world.fault(NEXT_PAGE, status=status, body=error)
    step = await case.work(SYNC)
    assert (step.state, step.problem) == (StepState.WAITING, None)
    assert step.reason == "Microsoft no longer knows the next page of the list; reading the users again from the first"
    await case.tamper("user", f"member@{case.domain}")

    step = await case.work(SYNC)

    assert step.is_done
    assert step.facts["users"] == USERS - 1
    assert await _user_pages(case) == ["first", "first", "next", "next"]
    assert await _found(case, f"member@{case.domain}") is None
    assert await _found(case, case.administrator) is not None


async def test_a_forgotten_page_of_groups_keeps_the_users(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the list whose page is forgotten is read again."""
    monkeypatch.setattr(graph, "PAGE_SIZE", 3)
    await case.world.fault(r"/v1\.0/groups.*skiptoken", status=410)
    step = await case.work(SYNC)
    assert step.reason.endswith("reading the groups again from the first")
    pages = len(await _user_pages(case))

    step = await case.work(SYNC)

    assert (step.is_done, step.facts["users"], step.facts["groups"]) == (True, USERS, GROUPS)
    assert len(await _user_pages(case)) == pages
    assert await _found(case, case.administrator) is not None


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
    await case.world.fault(PAGE, status=410)
    step = await case.work(SYNC)

    assert step.problem is not None
    assert (step.state, step.problem.code) == (StepState.NEEDS_ATTENTION, "page_expired")


async def test_an_empty_page_is_not_the_last(case: Case) -> None:
    """Graph may give a page without users and a next link (https://learn.microsoft.com/graph/paging): the sync goes on."""
    url = f"{case.parts.simulation.url}/v1.0/users?$select={','.join(graph.USER_PROPERTIES)}&$top=5"
    await case.world.fault(PAGE, status=200, body={"value": [], "@odata.nextLink": url})
    step = await case.work(SYNC)

    assert step.is_done
    assert step.facts["users"] == USERS


async def test_readers_have_the_former_generation_until_the_new_one_is_whole(case: Case) -> None:
    """While a second sync is under way nobody sees a part of it; once it is whole, those who have left are gone."""
    await case.settle(SYNC)
    await case.tamper("user", f"member@{case.domain}")
    await case.tamper(
        "user", f"exchange@{case.domain}", proxyAddresses=[f"SMTP:exchange@{case.domain}", f"smtp:post@{case.domain}"]
    )
    await case.queue_again(SYNC)
    with pytest.raises(KilledError):
        await case.work(SYNC, _watching(case, _killed_at(3)))
    former = await _current(case)
    seen = [await _found(case, f"{name}@{case.domain}") for name in ("member", "post")]
    await _lease_over(case)

    step = await case.work(SYNC)

    assert former is not None
    assert (former.generation, former.counts["users"]) == (1, USERS)
    assert (seen[0] is None, seen[1] is None) == (False, True)
    current = await _current(case)
    assert current is not None
    assert (current.generation, current.counts["users"]) == (2, USERS - 1)
    assert step.facts["users"] == USERS - 1
    now = [await _found(case, f"{name}@{case.domain}") for name in ("member", "post")]
    assert (now[0] is None, now[1] is None) == (True, False)


async def test_a_refusal_of_microsoft_graph_asks_for_the_consent_again(case: Case) -> None:
    """A permission that was taken away meanwhile: the consent waits for its person, with its link; the sync goes on after it."""
    error = {"error": {"code": "Authorization_RequestDenied", "message": "Insufficient privileges to complete the operation."}}
    await case.world.fault(r"/v1\.0/groups", status=403, body=error)
    step = await case.work(SYNC)

    assert step.state is StepState.BLOCKED
    assert (await case.grant()).steps[StepName.DIRECTORY_CONSENT].state is StepState.WAITING_FOR_PERSON
