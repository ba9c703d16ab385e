"""Whatever disturbs a sync, a reader sees in the end what the tenant holds, and never half a directory.

Processes are killed before a page is read and before a transaction is written, pages are throttled, refused and forgotten, and
people change the tenant all the while. Every schedule is drawn by Hypothesis, so a failing one is shown at its smallest.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local.microsoft365 import changes
from local.microsoft365.model import Tenant
from local.microsoft365.population import User
from shared.domain.steps import StepName, StepState
from shared.microsoft import graph
from shared.storage.table import Table
from shared.workflows import directory_pages
from tests.support.syncs import current, held, keys_of, lease_over, seen, told, watching
from tests.support.worlds import Case, KilledError, World, open_world

FIRST, DAILY = StepName.DIRECTORY_SYNC, StepName.DAILY_SYNC
USERS = 14
EXAMPLES = 12
MOMENTS = 14
"""Pages are counted from 0 over all runs of a sync; what is drawn for a later one than there are does not happen."""
TROUBLES = ("throttled", "busy", "forgotten", "dropped")
PAGE_PATH = r"/v1\.0/(users|groups)(\?(?!.*count=)|/delta)"


@dataclass(frozen=True, slots=True)
class Schedule:
    """What happens at which page of a sync, and before which transactions the process is killed."""

    tenant: dict[int, list[int]] = field(default_factory=dict)
    """By page: numbers that choose a change of the tenant."""
    troubles: dict[int, str] = field(default_factory=dict)
    kills: frozenset[int] = frozenset()
    """Pages before which the process ends."""
    cuts: frozenset[int] = frozenset()
    """Transactions before which it does."""


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    """Draw a schedule."""
    pages = st.integers(0, MOMENTS)
    return Schedule(
        draw(st.dictionaries(pages, st.lists(st.integers(0, 999), min_size=1, max_size=3), max_size=6)),
        draw(st.dictionaries(pages, st.sampled_from(TROUBLES), max_size=2)),
        draw(st.frozensets(pages, max_size=2)),
        draw(st.frozensets(st.integers(0, 12), max_size=2)),
    )


def change(tenant: Tenant, number: int, now: Any) -> None:
    """Change something in the tenant that the number chooses: people and groups come, go, change names, addresses and members."""
    users = sorted((user for user in tenant.users), key=lambda user: user.id)
    groups = sorted(tenant.groups.values(), key=lambda group: group.id)
    user, other, group = users[number % len(users)], users[(number * 7 + 1) % len(users)], groups[number % len(groups)]
    kind = number % 8
    if kind == 0:
        changes.put_user(tenant, replace(user, display_name=f"Renamed {number}", account_enabled=not user.account_enabled), now)
    elif kind == 1 and len(users) > USERS // 2:
        changes.remove_user(tenant, user.id, now)
    elif kind == 2:
        changes.put_user(tenant, _newcomer(tenant, user, number), now)
    elif kind == 3:
        alias = f"smtp:alias-{number}@{tenant.default_domain}"
        changes.put_user(tenant, replace(user, proxy_addresses=(*user.proxy_addresses[:1], alias)), now)
    elif kind == 4 and user.id != other.id:  # an address moves
        given = [each for each in user.proxy_addresses if each.startswith("smtp:")]
        changes.put_user(tenant, replace(user, proxy_addresses=user.proxy_addresses[:1]), now)
        changes.put_user(tenant, replace(other, proxy_addresses=(*other.proxy_addresses, *given)), now)
    elif kind == 5:
        changes.change_members(tenant, group, now, add=[user.id], remove=[other.id])
    elif kind == 6 and len(groups) > 2:
        changes.remove_group(tenant, group.id, now)
    elif kind == 7 and tenant.users.deleted:
        changes.restore_user(tenant, min(tenant.users.deleted), now)


def _newcomer(tenant: Tenant, like: User, number: int) -> User:
    name = f"new{number}-{len(tenant.journal)}@{tenant.default_domain}"
    new = replace(like, id=tenant.new_id("user", name), user_principal_name=name, mail=name, mail_nickname=name.partition("@")[0])
    return replace(new, proxy_addresses=(f"SMTP:{name}",))


@dataclass
class Disturber:
    """Plays a schedule on a sync: it is awaited before each page and told of each transaction."""

    case: Case
    schedule: Schedule
    page: int = -1
    transactions: int = -1

    async def before(self) -> None:
        """Let happen what is drawn for this page."""
        self.page += 1
        for number in self.schedule.tenant.get(self.page, ()):
            change(self.case.tenant, number, self.case.parts.simulation.clock.now())
            self.case.parts.simulation.store.changed(self.case.tenant)
        trouble = self.schedule.troubles.get(self.page)
        if trouble:
            await self.case.world.fault(PAGE_PATH, **EFFECTS[trouble])
        if self.page in self.schedule.kills:
            raise KilledError

    @contextmanager
    def cutting(self) -> Iterator[None]:
        """Kill the process before the drawn transactions of the directory."""
        attempt = Table.attempt

        async def counted(table: Table, operations: Any) -> str:
            if keys_of(operations[0])[0].startswith(f"{self.case.tenant_id}|"):
                self.transactions += 1
                if self.transactions in self.schedule.cuts:
                    raise KilledError
            return await attempt(table, operations)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Table, "attempt", counted)
            yield


EFFECTS: dict[str, dict[str, Any]] = {
    "throttled": {"status": 429, "headers": {"Retry-After": "7"}},
    "busy": {"status": 503},
    "forgotten": {"status": 410},
    "dropped": {"drop": True, "times": 5},
}


async def settled(case: Case, name: StepName, disturber: Disturber, look: Callable[[], Awaitable[None]]) -> None:
    """Run a step to its end, whatever happens; ``look`` is awaited after each run."""
    engine = watching(case, disturber.before)
    for _ in range(60):
        try:
            with disturber.cutting():
                step = await case.work(name, engine)
        except (KilledError, BaseExceptionGroup):
            await look()
            await lease_over(case, name)
            continue
        await look()
        if step.state is StepState.NEEDS_ATTENTION and step.problem and step.problem.code in ("no_outcome", "page_expired"):
            await case.retry(name)
        elif step.state not in (StepState.QUEUED, StepState.WAITING, StepState.RUNNING):
            assert step.is_done, (step.state, step.reason, step.problem)
            return
    raise AssertionError("never done")


async def agrees(case: Case) -> None:
    """See that what a reader sees is what the tenant holds."""
    view = await seen(case)
    assert view is not None
    assert told(view) == held(case)
    assert (view["counts"]["users"], view["counts"]["groups"]) == (len(case.tenant.users), len(case.tenant.groups))


async def life(world: World, first: Schedule, day: Schedule) -> None:
    """Sync a tenant for the first time and on a day, both disturbed; then on a quiet day, and look."""
    case = await world.case(users=USERS)
    await case.until(FIRST)
    world.parts.simulation.settings = replace(
        world.parts.simulation.settings, delta_page_size=4, delta_replays=1, delta_members_size=6
    )

    async def nothing_yet() -> None:
        step = await case.step(FIRST)
        assert step.is_done or await current(case) is None

    await settled(case, FIRST, Disturber(case, first), nothing_yet)
    world.parts.simulation.faults.clear()
    former = await current(case)
    whole = await seen(case)
    quiet = not any(first.tenant.values())
    if quiet:
        await agrees(case)

    async def former_or_whole() -> None:
        """A new generation is there as a whole or not at all; the former one is changed by its own increments alone."""
        state = await current(case)
        assert state is not None
        assert former is not None
        view = await seen(case)
        if state.generation == former.generation and not any(day.tenant.values()) and quiet:
            assert view == whole

    await case.queue_again(DAILY)
    await settled(case, DAILY, Disturber(case, day), former_or_whole)
    world.parts.simulation.faults.clear()
    await case.queue_again(DAILY)
    await settled(case, DAILY, Disturber(case, Schedule()), former_or_whole)
    await agrees(case)
    world.calm()


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    """One event loop for all examples."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def world(runner: asyncio.Runner) -> Iterator[World]:
    """The running parts, with pages of five that are written each by itself."""
    context = open_world()
    world = runner.run(context.__aenter__())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph, "PAGE_SIZE", 5)
        patch.setattr(directory_pages, "BATCH", 5)
        yield world
    runner.run(context.__aexit__(None, None, None))


@given(first=schedules(), day=schedules())
@settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_a_reader_sees_in_the_end_what_the_tenant_holds(
    runner: asyncio.Runner, world: World, first: Schedule, day: Schedule
) -> None:
    """Killed, throttled, refused and forgotten at any page, with a tenant that changes meanwhile."""
    runner.run(life(world, first, day))


async def cut_off_everywhere(world: World, name: StepName) -> int:
    """Kill a sync before its first transaction, in another tenant before its second, and so on; return how many there are.

    Between the kill and the resumption half of all get another address, so that what was half written of them is out of date.
    """
    for number in range(100):
        case = await world.case(users=USERS)
        await case.until(FIRST)
        if name is DAILY:
            assert (await case.settle(FIRST)).is_done
            await case.queue_again(DAILY)
            assert (await case.settle(DAILY)).is_done
            readdress(case, "before", 1)
            await case.queue_again(DAILY)
        disturber = Disturber(case, Schedule(cuts=frozenset({number})))
        try:
            with disturber.cutting():
                await case.work(name)
        except (KilledError, BaseExceptionGroup):
            readdress(case, "after", 2)
            await lease_over(case, name)
        else:
            return number
        await case.work(name)
        assert (await case.settle(name)).is_done
        await caught_up(case)
        await agrees(case)
    raise AssertionError("a sync of so few users has not so many transactions")


async def caught_up(case: Case) -> None:
    """Apply what changed since, in the same generation: a comparison would make a new one, and hide what is wrong with this."""
    state = await current(case)
    assert state is not None
    await case.parts.container.storage.directory.publish(case.tenant_id, replace(state, is_compared=True))
    await case.queue_again(DAILY)
    assert (await case.settle(DAILY)).is_done


def readdress(case: Case, prefix: str, every: int) -> None:
    """Give everybody, or every other one alone, another second address: of the rest nothing more is told by Microsoft."""
    tenant, now = case.tenant, case.parts.simulation.clock.now()
    for number, user in list(enumerate(tenant.users))[::every]:
        addresses = (*user.proxy_addresses[:1], f"smtp:{prefix}-{number}@{tenant.default_domain}")
        changes.put_user(tenant, replace(user, proxy_addresses=addresses), now)
    case.parts.simulation.store.changed(tenant)


@pytest.mark.parametrize("name", [FIRST, DAILY])
def test_a_process_that_ends_before_any_transaction_leaves_no_trace(runner: asyncio.Runner, world: World, name: StepName) -> None:
    """What a killed run has written in part is put right by the one that goes on, though the tenant is another by then."""
    assert runner.run(cut_off_everywhere(world, name)) >= 2
