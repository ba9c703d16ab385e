"""The daily sync: what changed is applied in place; a list is compared once with everything; nobody sees half a directory."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from local.microsoft365 import changes
from local.microsoft365.model import Group, Tenant
from local.microsoft365.population import User
from shared.domain import decide, directory
from shared.domain.grant import Row
from shared.domain.schedule import MAXIMUM_CLAIMS
from shared.domain.steps import StepName, StepState
from shared.domain.sync import Cursor, Plan, Stage
from shared.microsoft import graph
from shared.storage.directory_writer import TableDirectoryWriter
from shared.storage.table import Table
from shared.workflows import directory_pages
from shared.workflows.directory_sync import CURSOR_ROW, READERS_CACHE
from tests.support.syncs import current, found, held, keys_of, killed_at, lease_over, seen, table_of, told, watching
from tests.support.worlds import Case, KilledError, World

pytestmark = pytest.mark.asyncio(loop_scope="module")

FIRST, DAILY = StepName.DIRECTORY_SYNC, StepName.DAILY_SYNC
USERS = 16
LIST = r"/v1\.0/users\?(?!.*count=)"


@pytest_asyncio.fixture(loop_scope="module")
async def case(shared_world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Case]:
    """A grant whose first sync is done, with pages of five that are written each by itself."""
    monkeypatch.setattr(graph, "PAGE_SIZE", 5)
    monkeypatch.setattr(directory_pages, "BATCH", 5)
    case = await shared_world.case(users=USERS)
    await case.until(FIRST)
    assert (await case.settle(FIRST)).is_done
    yield case
    shared_world.calm()


async def _daily(case: Case) -> dict[str, Any]:
    """Sync as the day's timer would, to the end; return the facts."""
    await case.queue_again(DAILY)
    step = await case.settle(DAILY)
    assert step.is_done, (step.state, step.reason, step.problem)
    return dict(step.facts)


def _change(case: Case, change: Callable[[Tenant], None]) -> None:
    """Have somebody change the tenant."""
    change(case.tenant)
    case.parts.simulation.store.changed(case.tenant)


def _rename(case: Case, name: str, **properties: Any) -> None:
    """Change properties of a user."""
    now = case.parts.simulation.clock.now()
    _change(case, lambda tenant: changes.put_user(tenant, replace(_user(tenant, f"{name}@{case.domain}"), **properties), now))


def _user(tenant: Tenant, name: str) -> User:
    user = tenant.users.find(name)
    assert user is not None
    return user


def _group(tenant: Tenant, name: str) -> Group:
    return next(group for group in tenant.groups.values() if group.display_name == name)


async def _agrees(case: Case) -> bool:
    view = await seen(case)
    assert view is not None
    assert view["counts"]["users"] == len(case.tenant.users)
    assert view["counts"]["groups"] == len(case.tenant.groups)
    return told(view) == held(case)


async def test_what_changed_is_applied_in_place(case: Case) -> None:
    """Renamed, moved, left, new, and members of groups: after a day the directory is the tenant's, in the same generation."""
    await _daily(case)
    before = await current(case)
    assert before is not None
    now = case.parts.simulation.clock.now()
    _rename(case, "member", display_name="Max Renamed", account_enabled=False)
    own = f"exchange@{case.domain}"
    _rename(case, "exchange", proxy_addresses=(f"SMTP:{own}", f"smtp:post@{case.domain}"))
    leaver = _user(case.tenant, f"privileged@{case.domain}")
    _change(case, lambda tenant: changes.remove_user(tenant, leaver.id, now))
    newcomer = replace(leaver, id=case.tenant.new_id("user", "new"), user_principal_name=f"new@{case.domain}", mail=None)
    newcomer = replace(newcomer, proxy_addresses=(f"SMTP:new@{case.domain}",))
    _change(case, lambda tenant: changes.put_user(tenant, newcomer, now))
    _change(case, lambda tenant: changes.change_members(tenant, _group(tenant, "Empty"), now, add=[newcomer.id]))
    _change(case, lambda tenant: changes.remove_group(tenant, _group(tenant, "VPN Users").id, now, for_good=True))

    facts = await _daily(case)

    assert await _agrees(case)
    after = await current(case)
    assert after is not None
    assert (after.generation, after.former) == (before.generation, ())
    assert facts["changed"]["users"] == {"added": 1, "changed": 2, "removed": 1}
    assert facts["changed"]["groups"]["removed"] == 1
    assert await found(case, f"privileged@{case.domain}") is None
    post = await found(case, f"post@{case.domain}")
    assert post is not None
    assert post.user_principal_name == own


async def test_an_address_moves_from_one_user_to_another(case: Case) -> None:
    """Whichever of the two Microsoft tells first: the address leads to who has it now."""
    await _daily(case)
    for taker, giver in (("member", "exchange"), ("exchange", "member")):
        own = f"{taker}@{case.domain}"
        _rename(case, giver, proxy_addresses=(f"SMTP:{giver}@{case.domain}",))
        _rename(case, taker, proxy_addresses=(f"SMTP:{own}", f"smtp:sales@{case.domain}"))
        await _daily(case)

        sales = await found(case, f"sales@{case.domain}")
        assert sales is not None
        assert sales.user_principal_name == own
        assert await _agrees(case)


@pytest.mark.parametrize("page", [1, 2])
async def test_a_batch_that_was_cut_off_is_put_right_though_it_is_cut_otherwise_the_next_time(
    case: Case, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    """Killed before the addresses are written, then throttled at a page of that very batch: each part of it is repeated."""
    await _daily(case)
    case.parts.simulation.settings = replace(case.parts.simulation.settings, delta_page_size=2)
    for number, user in enumerate(list(case.tenant.users)[:6]):
        alias = f"alias-{number}@{case.domain}"
        _rename(case, user.user_principal_name.split("@")[0], proxy_addresses=(*user.proxy_addresses[:1], f"smtp:{alias}"))

    async def killed(*_: object) -> None:
        raise KilledError

    await case.queue_again(DAILY)
    with monkeypatch.context() as patch:
        patch.setattr(TableDirectoryWriter, "_write_addresses", killed)
        with pytest.raises(KilledError):
            await case.work(DAILY)
    await lease_over(case, DAILY)
    pages = iter(range(1, 100))

    async def throttled() -> None:
        if next(pages) == page:
            await case.world.fault(r"/v1\.0/users/delta", status=429, headers={"Retry-After": "7"})

    assert (await case.work(DAILY, watching(case, throttled))).state is StepState.WAITING
    assert (await case.settle(DAILY)).is_done
    assert await _agrees(case)


async def test_the_first_comparison_finds_and_heals_what_the_list_did_not_have(shared_world: World) -> None:
    """A list from a replica older than the token: a change between them is in neither, until a full round is compared."""
    case = await shared_world.case(users=USERS)
    await case.until(FIRST)
    shared_world.parts.simulation.clock.advance(120)
    own = f"member@{case.domain}"
    _rename(case, "member", proxy_addresses=(f"SMTP:{own}", f"smtp:late@{case.domain}"))
    leaver = _user(case.tenant, f"privileged@{case.domain}")
    _change(case, lambda tenant: changes.remove_user(tenant, leaver.id, shared_world.parts.simulation.clock.now()))
    await shared_world.fault(LIST, stale=60, times=9)
    assert (await case.settle(FIRST)).is_done
    missed, gone = await found(case, f"late@{case.domain}"), await found(case, f"privileged@{case.domain}")

    facts = await _daily(case)

    assert missed is None
    assert gone is not None
    assert facts["differences"] == {"missing": 0, "gone": 1, "different": 1}
    assert await _agrees(case)
    again = await _daily(case)
    assert "differences" not in (await case.events())[-1].data or again["differences"] == facts["differences"]
    shared_world.calm()


async def test_what_a_comparison_found_outlives_a_kill(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed right after the new generation became current: the next run still tells how the former one differed."""
    store = case.parts.container.storage.directory
    publish, member = type(store).publish, _user(case.tenant, f"member@{case.domain}")
    writer = store.writer(case.tenant_id, directory.Generation(1, 1))
    stored = (await writer.records(directory.User, [member.id]))[member.id]
    await writer.write([directory.Edit(stored, replace(stored, display_name="Somebody else"))])

    async def killed(itself: Any, tenant_id: str, state: Any) -> None:
        await publish(itself, tenant_id, state)
        if state.generation == 2:
            raise KilledError

    await case.queue_again(DAILY)
    with monkeypatch.context() as patch:
        patch.setattr(type(store), "publish", killed)
        with pytest.raises(KilledError):
            await case.work(DAILY)
    await lease_over(case, DAILY)
    await case.work(DAILY)
    step = await case.settle(DAILY)

    assert step.is_done
    assert step.facts["differences"] == {"missing": 0, "gone": 0, "different": 1}
    assert await _agrees(case)


async def test_a_grant_that_is_released_meanwhile_publishes_nothing(case: Case) -> None:
    """Who takes the tenant back while a sync runs: what it has read becomes nobody's."""
    await _daily(case)
    before = await current(case)
    _rename(case, "member", display_name="Max Renamed")

    async def released() -> None:
        engine = case.parts.container.engine
        await engine.commit(case.grant_id, lambda grant, now: decide.release(grant, now, actor="a test", why="taken back"))

    await case.queue_again(DAILY)
    await case.work(DAILY, watching(case, released))

    assert await current(case) == before


async def test_an_unknown_user_who_is_told_in_part_is_read_whole(shared_world: World) -> None:
    """Made before the token, not in the old list, renamed since: the delta item has a name alone, and the user all addresses."""
    case = await shared_world.case(users=USERS)
    await case.until(FIRST)
    clock = shared_world.parts.simulation.clock
    clock.advance(120)
    like = _user(case.tenant, f"member@{case.domain}")
    name = f"late@{case.domain}"
    late = replace(like, id=case.tenant.new_id("user", "late"), user_principal_name=name, proxy_addresses=(f"SMTP:{name}",))
    _change(case, lambda tenant: changes.put_user(tenant, late, clock.now()))
    await shared_world.fault(LIST, stale=60, times=9)

    async def before() -> None:
        current_one = case.tenant.users.get(late.id)
        asked = [each for each in await case.requests(operation="/users") if "count=" not in each["query"]]
        if asked and current_one is not None and current_one.display_name != "Late Renamed":
            _change(case, lambda tenant: changes.put_user(tenant, replace(late, display_name="Late Renamed"), clock.now()))

    step = await case.work(FIRST, watching(case, before))

    assert step.is_done
    user = await found(case, name)
    assert user is not None
    assert (user.display_name, user.addresses) == ("Late Renamed", (name,))
    assert len(await case.requests(operation="/users/{user-id}", status="200")) == 1
    shared_world.calm()


async def test_a_former_generation_is_deleted_once_nobody_reads_it(case: Case) -> None:
    """The comparison makes a second generation; the first stays for readers' caches, and then every row of it is gone."""
    await case.queue_again(DAILY)
    step = await case.work(DAILY)
    state = await current(case)
    assert state is not None
    assert (state.generation, [each.number for each in state.former], state.is_compared) == (2, [1], True)
    assert step.state is StepState.WAITING
    assert step.clock is not None
    assert step.clock - state.synced_at <= READERS_CACHE + timedelta(seconds=1)
    kept = await table_of(case).query("PartitionKey ge @first and PartitionKey lt @last", _first(case))

    step = await case.settle(DAILY)

    assert step.is_done
    assert kept
    assert not await table_of(case).query("PartitionKey ge @first and PartitionKey lt @last", _first(case))
    state = await current(case)
    assert state is not None
    assert state.former == ()
    assert await _agrees(case)


async def test_the_first_sync_done_again_syncs_though_the_daily_one_is_about_to_tidy(case: Case) -> None:
    """Verification asks for it because something is missing: to delete what nobody reads any more would not bring that."""
    await case.queue_again(DAILY)
    assert (await case.work(DAILY)).state is StepState.WAITING
    _rename(case, "member", display_name="Max Renamed")
    await case.queue_again(FIRST)
    assert (await case.settle(FIRST)).is_done
    user = await found(case, f"member@{case.domain}")

    assert (await case.settle(DAILY)).is_done
    assert user is not None
    assert user.display_name == "Max Renamed"
    state = await current(case)
    assert state is not None
    assert state.former == ()


def _first(case: Case) -> dict[str, str]:
    """Return the bounds of the partitions of the first generation."""
    return {"first": f"{case.tenant_id}|000001|", "last": f"{case.tenant_id}|000001}}"}


async def test_a_day_costs_what_has_changed(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request for each collection, and rows for those alone who changed; a day without changes writes no row of theirs."""
    await _daily(case)
    written: list[str] = []
    attempt = Table.attempt
    generations = f"{case.tenant_id}|"

    async def counted(table: Table, operations: Any) -> str:
        written.extend(row for partition, row in map(keys_of, operations) if partition.startswith(generations))
        return await attempt(table, operations)

    monkeypatch.setattr(Table, "attempt", counted)
    asked = len(await case.requests())
    await _daily(case)
    quiet, rows = (await case.requests())[asked:], list(written)
    _rename(case, "member", display_name="Max Renamed")
    await _daily(case)

    assert rows == []
    assert {each["operation"] for each in quiet if each["api"] == "graph"} == {
        "/organization",
        "/domains",
        "/users/delta",
        "/groups/delta",
    }
    assert len([each for each in quiet if each["api"] == "graph"]) == 4
    assert {key.partition("|")[0] for key in written} <= {"user", "address", "count"}
    assert 0 < len(written) <= 4


@pytest.mark.parametrize("noun", ["users", "groups"])
async def test_a_forgotten_token_is_a_resync_that_readers_do_not_notice(case: Case, noun: str) -> None:
    """410 Gone for a delta link: everything is read anew; until that is whole readers have the former directory."""
    await _daily(case)
    before = await seen(case)
    _rename(case, "member", display_name="Max Renamed")
    await case.world.fault(rf"/v1\.0/{noun}/delta.*deltatoken", status=410)
    await case.queue_again(DAILY)
    step = await case.work(DAILY)
    assert step.state is StepState.WAITING
    assert "no longer knows where to go on" in step.reason
    former = await current(case)
    assert former is not None
    if noun == "users":
        assert await seen(case) == before

    step = await case.settle(DAILY)

    assert step.is_done
    assert await _agrees(case)
    state = await current(case)
    assert state is not None
    assert step.facts["changed"] is None  # a copy was made of everything, whatever of it had changed
    assert state.generation == former.generation + 2  # the resync's list is compared at once: it is the day's sync already


async def test_a_resync_that_is_killed_is_never_half_seen(case: Case) -> None:
    """Killed at one page after the other of a resync: what is seen is the former directory, until the new one is whole."""
    await _daily(case)
    before, former = await seen(case), await current(case)
    assert former is not None
    _rename(case, "member", display_name="Max Renamed")
    await case.world.fault(r"/v1\.0/users/delta.*deltatoken", status=410)
    await case.queue_again(DAILY)
    assert (await case.work(DAILY)).state is StepState.WAITING
    for page in range(1, MAXIMUM_CLAIMS):
        with pytest.raises(KilledError):
            await case.work(DAILY, watching(case, killed_at(page)))
        assert await seen(case) == before
        assert await current(case) == former
        await lease_over(case, DAILY)
    await case.work(DAILY)
    step = await case.settle(DAILY)

    assert step.is_done
    assert await _agrees(case)


@pytest.mark.parametrize("is_compared", [True, False])
async def test_a_tenant_that_has_grown_is_spread_over_more_partitions(
    case: Case, monkeypatch: pytest.MonkeyPatch, is_compared: bool
) -> None:
    """Increments keep to the partitions that a small tenant was given; what has outgrown them is read into a new generation."""
    if is_compared:
        await _daily(case)
    monkeypatch.setattr(directory, "USERS_A_SHARD", 2)
    facts = await _daily(case)
    state = await current(case)
    assert state is not None
    assert (state.shards, state.is_compared) == (8, True)
    assert "differences" not in facts or is_compared
    assert await _agrees(case)

    await _daily(case)
    again = await current(case)
    assert again is not None
    assert (again.generation, again.former) == (state.generation, ())


async def test_another_selection_is_a_resync(case: Case) -> None:
    """A release that asks for more properties reads everything anew: the old token tells of the old properties alone."""
    await _daily(case)
    state = await current(case)
    assert state is not None
    await case.parts.container.storage.directory.publish(case.tenant_id, replace(state, selection="of another release"))
    await _daily(case)
    renewed = await current(case)

    assert renewed is not None
    assert renewed.selection == state.selection
    assert renewed.generation > state.generation
    assert await _agrees(case)


async def test_a_cursor_of_another_selection_begins_anew(case: Case) -> None:
    """What was half read with other properties is not gone on with."""
    await _daily(case)
    await case.queue_again(DAILY)
    await case.work(DAILY, watching(case, _late(case)))
    cursor = await case.row(CURSOR_ROW)
    await case.parts.container.storage.grants.put(case.grant_id, Row(CURSOR_ROW, {**cursor, "selection": "of another release"}))
    step = await case.settle(DAILY)

    assert step.is_done
    assert await _agrees(case)
    renewed = await current(case)
    assert renewed is not None
    assert renewed.generation > cursor["generation"]


async def test_a_cursor_that_a_lost_run_saved_late_is_not_gone_on_with(case: Case) -> None:
    """It is of a generation that readers left behind: nothing is written there any more, and the day goes on as any other."""
    await _daily(case)
    before = await current(case)
    assert before is not None
    late = Cursor(Plan.LIST, before.generation - 1, 1, Stage.LIST, is_writing=True, selection=before.selection)
    await case.parts.container.storage.grants.put(case.grant_id, Row(CURSOR_ROW, late.to_row()))
    await _daily(case)
    after = await current(case)

    assert after is not None
    assert (after.generation, after.former) == (before.generation, ())
    assert not await table_of(case).query("PartitionKey ge @first and PartitionKey lt @last", _first(case))
    assert await _agrees(case)


def _late(case: Case) -> Any:
    async def before() -> None:
        case.parts.clock.offset += timedelta(seconds=60)

    return before


async def test_a_person_may_have_it_done_at_any_time(case: Case) -> None:
    """On demand, also when nothing is due: the step is begun at once."""
    await _daily(case)
    _rename(case, "member", display_name="Max Renamed")
    await case.retry(DAILY)
    step = await case.settle(DAILY)

    assert step.is_done
    assert await _agrees(case)


async def test_a_new_domain_that_no_scope_covers_is_told(case: Case) -> None:
    """Mail for a domain that was added after the mail flow was made is not scanned: the daily sync says so."""
    await _daily(case)
    engine, now = case.parts.container.engine, case.parts.clock()

    def routed(grant: Any, _: Any) -> Any:
        from shared.domain.decision import Decision  # noqa: PLC0415 - for this test alone

        return Decision(grant.with_step(replace(grant.steps[StepName.MAIL_FLOW], finished_at=now)))

    await engine.commit(case.grant_id, routed)
    case.parts.clock.offset += timedelta(hours=1)
    fresh = f"fresh.{case.domain}"
    _change(
        case, lambda tenant: tenant.domains.update({fresh: replace(tenant.domains[case.domain], name=fresh, is_default=False)})
    )

    facts = await _daily(case)

    assert facts["uncovered_domains"] == [fresh]
    assert fresh in facts["domains"]
    assert (await _daily(case))["uncovered_domains"] == [fresh]


async def test_hidden_members_are_told(case: Case) -> None:
    """Members of a group with hidden membership need a permission of their own: how many such groups there are is told."""
    await _daily(case)
    now = case.parts.simulation.clock.now()
    hidden = replace(_group(case.tenant, "Engineering"), visibility="HiddenMembership")
    _change(case, lambda tenant: changes.put_group(tenant, hidden, now))

    assert (await _daily(case))["hidden_groups"] == 1
    state = await current(case)
    assert state is not None
    assert state.counts["hidden_groups"] == 1


async def test_a_group_that_hides_its_members_is_counted_once(case: Case) -> None:
    """Made between the first sync and the comparison: the increment brings it, and the full round once more."""
    now = case.parts.simulation.clock.now()
    hidden = replace(_group(case.tenant, "Engineering"), visibility="HiddenMembership")
    _change(case, lambda tenant: changes.put_group(tenant, hidden, now))

    assert (await _daily(case))["hidden_groups"] == 1


@pytest.mark.parametrize("scope", ["group", "users"])
async def test_chosen_people_alone_are_synced(shared_world: World, scope: str) -> None:
    """With a scope of people nobody else is stored; every later sync, too, brings and takes those who join and leave."""
    name = f"tenant{shared_world.count + 1}"
    domain = f"{name}.example.com"
    chosen = {"kind": "group", "group": f"all-staff@{domain}"}
    if scope == "users":
        chosen = {"kind": "users", "users": [f"admin@{domain}", f"MEMBER@{domain}", f"nobody@{domain}"]}  # type: ignore[dict-item]
    case = await shared_world.case(users=USERS, scope=chosen)
    await case.until(FIRST)
    step = await case.settle(FIRST)

    assert step.is_done, (step.reason, step.problem)
    assert await found(case, f"admin@{domain}") is not None
    if scope == "users":
        assert step.facts["users"] == 2
        assert step.facts["unknown_users"] == [f"nobody@{domain}"]
        assert await found(case, f"exchange@{domain}") is None
        return
    inside = {each for each in _group(case.tenant, "All Staff").member_ids if case.tenant.users.get(each)}
    view = await seen(case)
    assert view is not None
    assert told(view)["users"].keys() == inside
    leaver = _user(case.tenant, f"member@{domain}")
    now = shared_world.parts.simulation.clock.now()
    _change(case, lambda tenant: changes.change_members(tenant, _group(tenant, "All Staff"), now, remove=[leaver.id]))
    _change(case, lambda tenant: changes.change_members(tenant, _group(tenant, "Sales"), now, remove=[leaver.id]))

    facts = await _daily(case)

    assert await found(case, f"member@{domain}") is None
    assert facts["changed"]["users"] == {"added": 0, "changed": 0, "removed": 1}
