"""The directory's port against the simulated tenant: lists, changes, batches and scopes, by Microsoft's own client library."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from local.microsoft365.changes import change_members, put_group, put_user, remove_group, remove_user, restore_user
from local.microsoft365.faults import Fault, Match
from local.microsoft365.model import Group, Tenant
from local.microsoft365.population import User
from shared.domain import directory as domain
from shared.domain.directory import DirectoryChange, Member, edits_of, folded, unknown
from shared.microsoft import open_microsoft
from shared.ports import Directory, Page, RefusedError, TransientError
from tests.contract.test_microsoft_ports import APPLICATIONS, CONTRACTS, World, settings_of
from tests.microsoft365.platform import running

USERS = 1200
Read = Callable[[str], Awaitable[Page]]


@dataclass(slots=True)
class Case:
    """A tenant, and Grantline's reader of it, which has its consent."""

    world: World

    @property
    def tenant(self) -> Tenant:
        """Contoso, which tests change behind the reader's back."""
        return self.world.platform.tenant

    @property
    def directory(self) -> Directory:
        """A new reader, with a new token."""
        return self.world.microsoft.directory(self.world.tenant_id)

    def change_user(self, user: User, **changes: object) -> None:
        """Change a user of the tenant."""
        put_user(self.tenant, replace(user, **changes), self.world.platform.simulation.clock.now())  # type: ignore[arg-type]

    def remove_user(self, user: User) -> None:
        """Take a user from the tenant."""
        remove_user(self.tenant, user.id, self.world.platform.simulation.clock.now())

    def restore_user(self, user: User) -> None:
        """Bring a removed user back."""
        restore_user(self.tenant, user.id, self.world.platform.simulation.clock.now())

    def put_group(self, group: Group) -> None:
        """Add or change a group of the tenant."""
        put_group(self.tenant, group, self.world.platform.simulation.clock.now())

    def remove_group(self, group: Group) -> None:
        """Take a group from the tenant."""
        remove_group(self.tenant, group.id, self.world.platform.simulation.clock.now())

    def change_members(self, group: Group, *, add: tuple[str, ...] = (), remove: tuple[str, ...] = ()) -> None:
        """Let members join and leave a group."""
        change_members(self.tenant, group, self.world.platform.simulation.clock.now(), add=add, remove=remove)

    def change_settings(self, **changes: object) -> None:
        """Change how the simulation behaves."""
        simulation = self.world.platform.simulation
        simulation.settings = simulation.settings.changed(changes)

    def group(self, name: str) -> Group:
        """Return a group of the tenant by its name."""
        return next(each for each in self.tenant.groups.values() if each.display_name == name)

    def users(self) -> dict[str, domain.User]:
        """Return the tenant's users as they are to be known, by id."""
        return {user.id: known(user) for user in self.tenant.users}


@pytest.fixture
async def case(tmp_path: Path) -> AsyncIterator[Case]:
    """A tenant of which two pages of users can be read; afterwards nothing may have broken Microsoft's description."""
    contracts = CONTRACTS if CONTRACTS.is_dir() else None
    async with running(tmp_path, applications=APPLICATIONS, contracts=contracts, users=USERS) as platform:
        microsoft = open_microsoft(settings_of(platform))
        world = World(platform, microsoft)
        try:
            await world.consent("directory")
            yield Case(world)
        finally:
            await microsoft.close()


def known(user: User) -> domain.User:
    """Return a user of the simulation as Grantline is to know it."""
    smtp = [address for address in user.proxy_addresses if address.casefold().startswith("smtp:")]
    ordered = sorted(smtp, key=lambda address: not address.startswith("SMTP:"))
    return domain.User(
        user.id,
        user.user_principal_name,
        user.display_name,
        user.mail or "",
        tuple(address[5:].casefold() for address in ordered),
        user.account_enabled,
        user.user_type,
    )


async def pages(read: Read, link: str = "") -> list[Page]:
    """Return all pages of a list, or of a round of changes."""
    found = [await read(link)]
    while found[-1].next_link:
        found.append(await read(found[-1].next_link))
    return found


async def told(read: Read, link: str = "") -> tuple[list[DirectoryChange], str]:
    """Return what a round told, and where the next one begins."""
    found = await pages(read, link)
    return [change for page in found for change in page.items], found[-1].delta_link


def applied(kind: type[domain.Record], changes: list[DirectoryChange], former: dict[str, domain.Record]) -> dict[str, object]:
    """Return the records after changes that are all told well enough."""
    once = folded(changes)
    assert unknown(kind, once, former) == ()
    after = dict(former)
    for edit in edits_of(kind, once, former):
        if edit.record is not None:
            after[edit.record.object_id] = edit.record
        elif edit.former is not None:
            del after[edit.former.object_id]
    return dict(after)


async def test_users_are_read_in_two_requests(case: Case) -> None:
    """Pages of 999, whole, and every user is as the tenant has it."""
    found = await pages(case.directory.users)

    assert [len(page.items) for page in found] == [999, 201]
    assert {page.delta_link for page in found} == {""}
    changes = [change for page in found for change in page.items]
    assert all(change.is_whole for change in changes)
    assert applied(domain.User, changes, {}) == case.users()


@pytest.mark.parametrize("behaviour", [{}, {"delta_replays": 3, "delta_empty_pages": 2, "delta_whole_items": True}], ids=str)
async def test_a_round_from_nothing_tells_the_same(case: Case, behaviour: dict[str, object]) -> None:
    """All users come by changes too, whatever Microsoft repeats."""
    case.change_settings(**behaviour)

    changes, link = await told(case.directory.user_changes)

    former = {change.object_id: domain.User(change.object_id) for change in changes}
    assert applied(domain.User, changes, dict(former)) == case.users()
    assert link


async def test_the_list_and_the_changes_since_a_token_are_the_directory(case: Case) -> None:
    """Token, list, changes: what changed meanwhile is told, in part, and nothing else."""
    directory = case.directory
    link = await directory.latest_users()
    changed, removed, restored, *_ = case.tenant.users
    case.change_user(changed, display_name="New name")
    listed = [change for page in await pages(directory.users) for change in page.items]
    case.change_user(replace(changed, display_name="New name"), mail=None, proxy_addresses=())
    case.remove_user(removed)
    case.remove_user(restored)
    case.restore_user(restored)

    changes, further = await told(directory.user_changes, link)

    first = applied(domain.User, listed, {})
    assert first[changed.id] == replace(known(changed), display_name="New name")
    once = folded(changes)
    assert once[changed.id].values == {"display_name": "New name", "mail": "", "smtp_addresses": ()}
    assert once[removed.id].is_removed
    assert set(once) == {changed.id, removed.id, restored.id}
    assert applied(domain.User, changes, {**first}) == case.users()  # type: ignore[dict-item]
    assert (await told(directory.user_changes, further))[0] == []


async def test_unknown_users_are_read_whole(case: Case) -> None:
    """More than one batch's worth; who is not there any more is told as removed."""
    users = list(case.tenant.users)[:45]
    case.remove_user(users[30])

    found = await case.directory.whole_users([user.id for user in users])

    assert [change.object_id for change in found] == [user.id for user in users]
    assert [change.object_id for change in found if change.is_removed] == [users[30].id]
    whole = {change.object_id: domain.User(change.object_id, **change.values) for change in found if not change.is_removed}
    assert whole == {user.id: known(user) for user in users if user.id != users[30].id}


async def test_a_throttled_user_of_a_batch_is_for_later(case: Case) -> None:
    """The batch is 200 and one of its requests 429: its own wish is told."""
    first, second, *_ = case.tenant.users
    match = Match(path=f"/users/{second.id}")
    case.world.platform.simulation.faults.add(Fault(match, times=1, status=429, headers={"Retry-After": "9"}))

    with pytest.raises(TransientError) as raised:
        await case.directory.whole_users([first.id, second.id])

    assert raised.value.retry_after == timedelta(seconds=9)
    assert len(await case.directory.whole_users([first.id, second.id])) == 2


async def test_groups_come_with_their_members(case: Case) -> None:
    """A large group repeats with more of its members; each round then tells who joined, who left, and which groups are gone."""
    directory = case.directory
    changes, link = await told(directory.group_changes)

    once = folded(changes)
    assert {key: change.members for key, change in once.items() if not change.members} == {case.group("Empty").id: ()}
    for group in case.tenant.groups.values():
        assert domain.Group(group.id, **once[group.id].values) == domain.Group(
            group.id,
            group.display_name,
            group.mail or "",
            group.group_types,
            group.mail_enabled,
            group.security_enabled,
            group.visibility or "",
        )
        assert sorted(member.member_id for member in once[group.id].members) == sorted(group.member_ids)
    kinds = {member.member_id: member.kind for member in once[case.group("All Staff").id].members}
    assert {kinds[key] for key in kinds if key in case.tenant.groups} == {"group"}
    assert {kinds[key] for key in kinds if key not in case.tenant.groups} == {"user"}

    sales, vpn = case.group("Sales"), case.group("VPN Users")
    joins, leaves = list(case.tenant.users)[-1].id, sales.member_ids[0]
    case.change_members(sales, add=(joins,), remove=(leaves,))
    case.remove_group(vpn)
    changes, _ = await told(directory.group_changes, link)
    once = folded(changes)
    assert set(once[sales.id].members) == {Member(joins), Member(leaves, is_removed=True)}
    assert once[vpn.id].is_removed
    assert not once[sales.id].is_whole


@pytest.mark.parametrize("by", ["mail", "id"])
async def test_the_users_of_a_group(case: Case, by: str) -> None:
    """Those of the groups in it too, each once and whole; groups in it are none of them."""
    everybody = [user.id for user in case.tenant.users]
    staff = replace(case.group("All Staff"), member_ids=(case.group("Sales").id, *everybody[:1100]))
    case.put_group(staff)

    found = await pages(lambda link: case.directory.group_users(getattr(staff, by).upper(), link))

    expected = {*everybody[:1100], *case.group("Sales").member_ids}
    assert [len(page.items) > 900 for page in found] == [True, False]
    users = {change.object_id: domain.User(change.object_id, **change.values) for page in found for change in page.items}
    assert users == {key: user for key, user in case.users().items() if key in expected}
    assert sum(len(page.items) for page in found) == len(users)


@pytest.mark.parametrize("name", ["nobody@contoso.com", "99999999-9999-4999-8999-999999999999", "o'hara@contoso.com"])
async def test_a_group_that_nobody_knows(case: Case, name: str) -> None:
    """An unknown address, an unknown id, and an address with an apostrophe are told alike."""
    with pytest.raises(RefusedError) as raised:
        await case.directory.group_users(name)

    assert raised.value.problem.code == "scope_group_unknown"


async def test_a_group_that_hides_its_members(case: Case) -> None:
    """It is told as such, and other groups' members are told as ever."""
    case.put_group(replace(case.group("Sales"), visibility="HiddenMembership"))

    with pytest.raises(RefusedError) as raised:
        await case.directory.group_users("sales@contoso.com")

    assert raised.value.problem.code == "scope_group_hidden"
    assert (await case.directory.group_users("engineering@contoso.com")).items


async def test_chosen_users_are_found_by_either_name(case: Case) -> None:
    """By address, by user principal name with its special signs, and in whatever letter case; unknown ones are left out."""
    users = list(case.tenant.users)
    guests = [user for user in users if "#EXT#" in user.user_principal_name]
    members = [user for user in users[100:300] if user.mail]
    case.change_user(users[5], user_principal_name="o'hara+1@contoso.com", mail="o'hara+1@contoso.com")
    names = [*(user.user_principal_name for user in guests), *(user.mail or "" for user in members)]

    found = await case.directory.chosen_users([*map(str.upper, names), "nobody@contoso.com", "o'hara+1@contoso.com"])

    expected = {*(user.id for user in guests), *(user.id for user in members), users[5].id}
    whole = {change.object_id: domain.User(change.object_id, **change.values) for change in found}
    assert whole == {key: user for key, user in case.users().items() if key in expected}
    assert len(found) == len(expected)


async def test_a_token_that_is_too_old(case: Case) -> None:
    """After more than a week Microsoft no longer knows the link, of users and of groups."""
    users = await case.directory.latest_users()
    _, groups = await told(case.directory.group_changes)
    case.world.platform.simulation.clock.advance(8 * 86400)

    for read, link in ((case.directory.user_changes, users), (case.directory.group_changes, groups)):
        with pytest.raises(RefusedError) as raised:
            await read(link)
        assert raised.value.problem.code == "page_expired"


async def test_near_the_limit_a_page_asks_for_a_pause(case: Case) -> None:
    """Microsoft says so from 80 percent on, and refuses beyond the limit: until then nobody waits."""
    directory = case.directory
    link = await directory.latest_users()
    case.change_settings(graph_units_per_10_seconds=10)

    pauses: list[timedelta | None] = []

    async def go_on() -> None:
        while len(pauses) < 100:
            pauses.append((await directory.user_changes(link)).pause)

    with pytest.raises(TransientError) as raised:
        await go_on()

    assert (pauses[0], pauses[-1]) == (None, timedelta(seconds=10))
    assert raised.value.retry_after


async def test_where_microsoft_gives_no_token_in_advance(case: Case) -> None:
    """The refusal is told as one, so that a plain round can take its place."""
    case.change_settings(delta_latest_refused=True)

    with pytest.raises(RefusedError) as raised:
        await case.directory.latest_users()

    assert raised.value.problem.code == "graph_refused"
    assert (await case.directory.user_changes()).items
