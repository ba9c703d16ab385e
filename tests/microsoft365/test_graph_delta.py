"""Delta queries over HTTP: rounds, what an item tells, tokens, members of groups, and what is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from local.microsoft365.changes import (
    change_members,
    put_group,
    put_user,
    remove_group,
    remove_user,
    restore_group,
    restore_user,
)
from local.microsoft365.model import Group
from local.microsoft365.population import User
from tests.microsoft365.served import NOW, Page, Served, add_principal, serve

READ_USERS = "User.Read.All"
READ_GROUPS = "Group.Read.All"
SELECTED = "id,displayName,mail,proxyAddresses,accountEnabled"
USERS = f"/v1.0/users/delta?$select={SELECTED}"
GROUPS = "/v1.0/groups/delta?$select=displayName,members"
WEEK = 7 * 24 * 3600


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """A tenant with 250 users; afterwards nothing may have broken Microsoft's description."""
    async with serve() as running:
        yield running
        assert running.contract.report()["violations"] == []


def change_settings(served: Served, **changes: Any) -> None:
    """Change settings of the simulation."""
    served.simulation.settings = served.simulation.settings.changed(changes)


async def get(served: Served, address: str, *roles: str, **options: Any) -> Page:
    """Send one request, whatever comes of it."""
    return await served.graph(address.removeprefix(served.simulation.url), *roles, **options)


async def pages_of(served: Served, address: str, *roles: str, **options: Any) -> tuple[list[dict[str, Any]], str]:
    """Read a round from an address on; returns its pages, and the link to the next round."""
    pages: list[dict[str, Any]] = []
    while True:
        answer = await get(served, address, *roles, **options)
        assert answer.status == 200, answer.body
        pages.append(answer.body)
        if "@odata.deltaLink" in answer.body:
            return pages, answer.body["@odata.deltaLink"]
        address = answer.body["@odata.nextLink"]


async def told(served: Served, address: str, *roles: str, **options: Any) -> tuple[list[dict[str, Any]], str]:
    """Read a round; returns its items, and the link to the next round."""
    pages, link = await pages_of(served, address, *roles, **options)
    return [item for page in pages for item in page["value"]], link


async def latest(served: Served, path: str, *roles: str) -> str:
    """Return a link that tells what changes from now on."""
    _, link = await told(served, f"{path}&$deltatoken=latest", *roles)
    return link


def user_at(served: Served, position: int) -> User:
    """The user at a position."""
    user = served.tenant.users.at(position)
    assert user is not None
    return user


def group_named(served: Served, name: str) -> Group:
    """The group of that name."""
    return next(group for group in served.tenant.groups.values() if group.display_name == name)


def merged(items: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What a client has that takes items in as documented: by id, the last one wins, members by theirs."""
    kept: dict[str, dict[str, Any]] = {}
    for item in items:
        former = kept.pop(item["id"], {})
        if "@removed" in item:
            continue
        members = set(former.get("members", ()))
        for each in item.get("members@delta", ()):
            members = members - {each["id"]} if "@removed" in each else members | {each["id"]}
        known = {name: value for name, value in item.items() if name != "members@delta"}
        kept[item["id"]] = {**former, **known, "members": sorted(members)}
    return kept


# Rounds.


@pytest.mark.parametrize("function", ["delta", "delta()", "microsoft.graph.delta()"])
async def test_the_first_round_tells_all_users_in_pages_of_the_servers_size(served: Served, function: str) -> None:
    """Each once with the selected properties and its id; links carry a token and nothing else."""
    pages, link = await pages_of(served, USERS.replace("delta", function), READ_USERS)

    items = [item for page in pages for item in page["value"]]
    assert [len(page["value"]) for page in pages] == [200, 50]
    assert {item["id"] for item in items} == {user.id for user in served.tenant.users}
    assert set(items[0]) == set(SELECTED.split(","))
    assert pages[0]["@odata.context"].endswith(f"#users({SELECTED})")
    assert pages[0]["@odata.nextLink"].startswith(f"{served.simulation.url}/v1.0/users/{function}?$skiptoken=")
    assert link.startswith(f"{served.simulation.url}/v1.0/users/{function}?$deltatoken=")
    assert "select" not in link + pages[0]["@odata.nextLink"]


async def test_without_a_selection_the_default_properties_are_tracked(served: Served) -> None:
    """Those of the list, without what was never set; another property's change does not show."""
    items, link = await told(served, "/v1.0/users/delta", READ_USERS)
    put_user(served.tenant, replace(user_at(served, 0), account_enabled=False), NOW)

    assert "mobilePhone" not in items[0]
    assert set(items[0]) == {
        "id",
        "businessPhones",
        "displayName",
        "givenName",
        "jobTitle",
        "mail",
        "officeLocation",
        "preferredLanguage",
        "surname",
        "userPrincipalName",
    }
    assert (await told(served, link, READ_USERS))[0] == []


@pytest.mark.parametrize("name", ["$deltatoken", "$deltaToken"])
async def test_latest_tells_nothing_but_a_link(served: Served, name: str) -> None:
    """In either spelling; nothing changed since, so the next round is empty too."""
    pages, link = await pages_of(served, f"{USERS}&{name}=latest", READ_USERS)

    assert [page["value"] for page in pages] == [[]]
    assert await told(served, link, READ_USERS) == ([], link)


async def test_a_round_tells_only_what_changed(served: Served) -> None:
    """One item for each object, with its id and the changed properties that are selected; other changes do not show."""
    link = await latest(served, USERS, READ_USERS)
    first, second = user_at(served, 0), user_at(served, 1)
    put_user(served.tenant, replace(first, display_name="New name", job_title="New title"), NOW)
    put_user(served.tenant, replace(user_at(served, 0), display_name="Newer name"), NOW)
    put_user(served.tenant, replace(second, job_title="New title"), NOW)
    put_user(served.tenant, second, NOW)

    items, further = await told(served, link, READ_USERS)

    assert items == [{"id": first.id, "displayName": "Newer name"}]
    assert await told(served, further, READ_USERS) == ([], further)


async def test_what_changes_during_a_round_comes_in_the_next_one(served: Served) -> None:
    """The round counts from its beginning: changed and new users come again, removed ones go."""
    first = await get(served, USERS, READ_USERS)
    told_already, to_come, gone = user_at(served, 3), user_at(served, 240), user_at(served, 245)
    put_user(served.tenant, replace(told_already, mail="new@contoso.com"), NOW)
    put_user(served.tenant, replace(to_come, mail=None), NOW)
    remove_user(served.tenant, gone.id, NOW)
    new = User("11111111-2222-3333-4444-555555555555", "new@contoso.com", "New", NOW, mail="new@contoso.com")
    put_user(served.tenant, new, NOW)

    rest, link = await told(served, first.body["@odata.nextLink"], READ_USERS)
    again, _ = await told(served, link, READ_USERS)

    seen = {item["id"] for item in first.body["value"] + rest}
    assert seen == {user.id for user in served.tenant.users}
    assert {item["id"]: item for item in again} == {
        told_already.id: {"id": told_already.id, "mail": "new@contoso.com"},
        to_come.id: {"id": to_come.id, "mail": None},
        gone.id: {"id": gone.id, "@removed": {"reason": "changed"}},
        new.id: {"id": new.id, "displayName": "New", "mail": "new@contoso.com", "proxyAddresses": [], "accountEnabled": True},
    }


async def test_a_round_of_changes_has_pages_too(served: Served) -> None:
    """As large as the first round's, and none is lost when more changes between two of them."""
    link = await latest(served, USERS, READ_USERS)
    for position in range(5):
        put_user(served.tenant, replace(user_at(served, position), display_name=f"Name {position}"), NOW)
    change_settings(served, delta_page_size=2)

    first = await get(served, link, READ_USERS)
    put_user(served.tenant, replace(user_at(served, 0), display_name="Last name"), NOW)
    pages, further = await pages_of(served, first.body["@odata.nextLink"], READ_USERS)

    names = [[item["displayName"] for item in page["value"]] for page in (first.body, *pages)]
    assert names == [["Name 0", "Name 1"], ["Name 2", "Name 3"], ["Name 4"]]
    assert [item["displayName"] for item in (await told(served, further, READ_USERS))[0]] == ["Last name"]


async def test_many_changes_that_are_not_tracked_hide_none_that_is(served: Served) -> None:
    """They take no place on a page."""
    change_settings(served, delta_page_size=2)
    link = await latest(served, USERS, READ_USERS)
    for position in range(20):
        put_user(served.tenant, replace(user_at(served, position), job_title="Chief"), NOW)
    for position in (19, 21, 22):
        put_user(served.tenant, replace(user_at(served, position), display_name=f"Name {position}"), NOW)

    pages, _ = await pages_of(served, link, READ_USERS)

    assert [[item["displayName"] for item in page["value"]] for page in pages] == [["Name 19", "Name 21"], ["Name 22"]]


# Items.


async def test_a_property_that_lost_its_value_is_null(served: Served) -> None:
    """In a round of changes; where it was never set it is left out, in a new object as well."""
    link = await latest(served, USERS, READ_USERS)
    user = user_at(served, 0)
    put_user(served.tenant, replace(user, mail=None, proxy_addresses=()), NOW)
    put_user(served.tenant, User("11111111-2222-3333-4444-555555555555", "new@contoso.com", "New", NOW), NOW)

    items, _ = await told(served, link, READ_USERS)
    all_items, _ = await told(served, USERS, READ_USERS)

    assert items[0] == {"id": user.id, "mail": None, "proxyAddresses": []}
    assert "mail" not in items[1]
    assert "mail" not in next(item for item in all_items if item["id"] == user.id)


async def test_a_removed_user_is_told_with_its_reason_and_comes_back_whole(served: Served) -> None:
    """`changed` while it can be restored, `deleted` when it can't."""
    link = await latest(served, USERS, READ_USERS)
    soft, lost = user_at(served, 10), user_at(served, 11)
    remove_user(served.tenant, soft.id, NOW)
    remove_user(served.tenant, lost.id, NOW, for_good=True)
    items, link = await told(served, link, READ_USERS)
    restore_user(served.tenant, soft.id, NOW)
    restored, link = await told(served, link, READ_USERS)
    remove_user(served.tenant, soft.id, NOW)
    remove_user(served.tenant, soft.id, NOW, for_good=True)
    purged, _ = await told(served, link, READ_USERS)

    assert items == [
        {"id": soft.id, "@removed": {"reason": "changed"}},
        {"id": lost.id, "@removed": {"reason": "deleted"}},
    ]
    assert [set(item) for item in restored] == [set(SELECTED.split(","))]
    assert purged == [{"id": soft.id, "@removed": {"reason": "deleted"}}]
    with pytest.raises(KeyError):
        restore_user(served.tenant, lost.id, NOW)


@pytest.mark.parametrize("prefer", ["return=minimal", "return=representation"])
async def test_whether_a_changed_object_comes_whole_is_a_setting(served: Served, prefer: str) -> None:
    """Unless the caller prefers the changed properties only; a lost value is null either way."""
    change_settings(served, delta_whole_items=True)
    link = await latest(served, USERS, READ_USERS)
    user = user_at(served, 0)
    put_user(served.tenant, replace(user, mail=None), NOW)

    items, _ = await told(served, link, READ_USERS, headers={"Prefer": prefer})

    whole = {"displayName": user.display_name, "proxyAddresses": list(user.proxy_addresses), "accountEnabled": True}
    assert items == [{"id": user.id, "mail": None, **({} if prefer == "return=minimal" else whole)}]


async def test_items_are_repeated_where_the_setting_says_so(served: Served) -> None:
    """At the end of each page, some of the page before; nothing is lost by it."""
    change_settings(served, delta_replays=3, delta_page_size=100)

    pages, link = await pages_of(served, USERS, READ_USERS)
    put_user(served.tenant, replace(user_at(served, 0), mail=None), NOW)
    changed, _ = await told(served, link, READ_USERS)

    ids = [[item["id"] for item in page["value"]] for page in pages]
    assert [len(page) for page in ids] == [103, 103, 53]
    assert (ids[0][-3:], ids[1][-3:], ids[2][-3:]) == (ids[0][:3], ids[0][:3], ids[1][:3])
    assert len({each for page in ids for each in page}) == 250
    assert len(changed) == 2


async def test_pages_may_be_empty_and_still_lead_on(served: Served) -> None:
    """As many at the beginning of each round as the setting says."""
    change_settings(served, delta_empty_pages=2)

    pages, link = await pages_of(served, USERS, READ_USERS)
    further, _ = await pages_of(served, link, READ_USERS)

    assert [len(page["value"]) for page in pages] == [0, 0, 200, 50]
    assert [len(page["value"]) for page in further] == [0, 0, 0]


# What is asked.


@pytest.mark.parametrize(
    "option",
    ["$top=5", "$expand=manager", "$orderby=displayName", "$search=x", "$filter=mail eq 'a'", "$filter=startsWith(id,'a')"],
)
async def test_what_a_delta_query_does_not_take_is_refused(served: Served, option: str) -> None:
    """Options that directory objects don't have in delta queries."""
    answer = await get(served, f"/v1.0/users/delta?{option}", READ_USERS)

    assert (answer.status, answer.body["error"]["code"]) == (400, "Request_UnsupportedQuery")


@pytest.mark.parametrize("select", ["nonsense", "members"])
async def test_an_unknown_property_is_named(served: Served, select: str) -> None:
    """Members are a group's."""
    answer = await get(served, f"/v1.0/users/delta?$select=id,{select}", READ_USERS)

    assert answer.status == 400
    assert f"named '{select}' on type 'microsoft.graph.user'" in answer.body["error"]["message"]


async def test_a_selection_is_made_in_the_first_request_only(served: Served) -> None:
    """With a token it is refused, with the empty one of a new beginning it is not."""
    link = await latest(served, USERS, READ_USERS)
    first = await get(served, USERS, READ_USERS)

    for address in (link, first.body["@odata.nextLink"]):
        assert (await get(served, f"{address}&$select=mail", READ_USERS)).status == 400
    assert (await get(served, "/v1.0/users/delta?$deltatoken=&$select=mail", READ_USERS)).status == 200


async def test_a_query_may_be_about_some_ids_only(served: Served) -> None:
    """Up to fifty, in every round; more are refused."""
    one, two, other = (user_at(served, position).id for position in (0, 1, 2))
    items, link = await told(served, f"{USERS}&$filter=id eq '{one}' or id eq '{two.upper()}'", READ_USERS)
    for identifier in (two, other):
        remove_user(served.tenant, identifier, NOW)
    changed, _ = await told(served, link, READ_USERS)
    many = " or ".join(f"id eq '{one}'" for _ in range(51))

    assert {item["id"] for item in items} == {one, two}
    assert [item["id"] for item in changed] == [two]
    assert (await get(served, f"{USERS}&$filter={many}", READ_USERS)).status == 400


async def test_latest_may_be_refused(served: Served) -> None:
    """A named uncertainty; a round from the beginning stays possible."""
    change_settings(served, delta_latest_refused=True)

    assert (await get(served, f"{USERS}&$deltatoken=latest", READ_USERS)).status == 400
    assert (await get(served, USERS, READ_USERS)).status == 200


@pytest.mark.parametrize(
    ("path", "permission", "status"),
    [
        (USERS, "User.Read.All", 200),
        (USERS, "User.ReadBasic.All", 403),
        (USERS, "Group.Read.All", 403),
        (GROUPS, "Group.ReadBasic.All", 200),
        (GROUPS, "User.Read.All", 403),
        (GROUPS, "Directory.Read.All", 200),
    ],
)
async def test_a_delta_query_needs_its_own_permission(served: Served, path: str, permission: str, status: int) -> None:
    """Nothing without one."""
    assert (await get(served, path, permission)).status == status


# Tokens.


def delta(served: Served, collection: str, name: str, token: str) -> str:
    """An address with a token."""
    return f"{served.simulation.url}/v1.0/{collection}/delta?{name}={token}"


async def test_tokens_live_seven_days(served: Served) -> None:
    """Then the state is gone: 410 with the address where to begin again."""
    link = await latest(served, USERS, READ_USERS)
    first = await get(served, USERS, READ_USERS)
    served.advance(WEEK)
    assert (await get(served, link, READ_USERS)).status == 200
    served.advance(1)

    for address in (link, first.body["@odata.nextLink"]):
        answer = await get(served, address, READ_USERS)
        assert (answer.status, answer.body["error"]["code"]) == (410, "syncStateNotFound")
        assert answer.headers["Location"] == delta(served, "users", "$deltatoken", "")
    items, _ = await told(served, answer.headers["Location"], READ_USERS)
    assert len(items) == 250


def broken(token: str) -> str:
    """A token with another letter in it."""
    return token[:40] + ("B" if token[40] == "A" else "A") + token[41:]


@pytest.mark.parametrize("spoil", [broken, lambda token: token[:-4], lambda _: "x", lambda _: "%C3%A4", lambda _: "AAAA"])
async def test_a_broken_token_is_gone(served: Served, spoil: Callable[[str], str]) -> None:
    """Whatever is wrong with it."""
    token = (await latest(served, USERS, READ_USERS)).partition("$deltatoken=")[2]

    assert (await get(served, delta(served, "users", "$deltatoken", spoil(token)), READ_USERS)).status == 410


async def test_a_token_belongs_to_its_tenant_collection_and_kind(served: Served) -> None:
    """Everywhere else it is worth nothing."""
    token = (await latest(served, USERS, READ_USERS)).partition("$deltatoken=")[2]
    foreign = served.token(roles=[READ_USERS], tenant=served.other)
    own = delta(served, "users", "$deltatoken", token)

    assert (await get(served, own, token=foreign)).status == 410
    assert (await get(served, delta(served, "groups", "$deltatoken", token), READ_GROUPS)).status == 410
    assert (await get(served, delta(served, "users", "$skiptoken", token), READ_USERS)).status == 410
    assert (await get(served, own, READ_USERS)).status == 200


async def test_a_list_from_an_older_replica_misses_what_the_token_does_not_tell(served: Served) -> None:
    """The change was made before the token and is not in the list yet: neither tells it, a round from the beginning does."""
    served.simulation.store.changed(served.tenant)
    served.advance(60)
    user = user_at(served, 0)
    put_user(served.tenant, replace(user, mail="new@contoso.com"), NOW)
    served.simulation.store.changed(served.tenant)
    link = await latest(served, USERS, READ_USERS)
    served.stale["seconds"] = 30
    listed = await get(served, "/v1.0/users?$select=id,mail&$top=999", READ_USERS)
    served.stale.clear()

    changed, _ = await told(served, link, READ_USERS)
    whole, _ = await told(served, USERS, READ_USERS)

    assert next(item["mail"] for item in listed.body["value"] if item["id"] == user.id) == user.mail
    assert changed == []
    assert next(item["mail"] for item in whole if item["id"] == user.id) == "new@contoso.com"


async def test_a_round_from_an_older_replica_loses_nothing(served: Served) -> None:
    """What the replica doesn't know yet comes in a later round, wherever in the round it was asked."""
    link = await latest(served, USERS, READ_USERS)
    change_settings(served, delta_page_size=1)
    for position in range(3):
        put_user(served.tenant, replace(user_at(served, position), mail=None), NOW)
        served.simulation.store.changed(served.tenant)
        served.advance(60)
    now = await latest(served, USERS, READ_USERS)
    first = await get(served, link, READ_USERS)
    served.stale["seconds"] = 120
    nothing, still = await told(served, now, READ_USERS)
    second, later = await told(served, first.body["@odata.nextLink"], READ_USERS)
    lagging, again = await told(served, later, READ_USERS)
    served.stale.clear()
    rest, _ = await told(served, again, READ_USERS)

    ids = [item["id"] for item in (*first.body["value"], *second, *lagging, *rest)]
    assert lagging == []
    assert nothing == (await told(served, still, READ_USERS))[0] == []
    assert set(ids) == {user_at(served, position).id for position in range(3)}


# Groups.


async def test_groups_come_with_their_members(served: Served) -> None:
    """Each member with its type and id; a group without members has no list of them."""
    principal = add_principal(served)
    change_members(served.tenant, group_named(served, "Sales"), NOW, add=[principal.id])

    items, _ = await told(served, "/v1.0/groups/delta", READ_GROUPS)

    assert {each["id"]: each["members"] for each in merged(items).values()} == {
        group.id: sorted(group.member_ids) for group in served.tenant.groups.values()
    }
    named = {each["displayName"]: each for each in items if "displayName" in each}
    assert "members@delta" not in named["Empty"]
    assert {each["@odata.type"] for each in named["Sales"]["members@delta"]} == {
        "#microsoft.graph.user",
        "#microsoft.graph.servicePrincipal",
    }
    assert named["Sales"]["mailEnabled"] is True


async def test_members_come_only_where_they_are_selected(served: Served) -> None:
    """Without them a change of members does not show."""
    path = "/v1.0/groups/delta?$select=displayName"
    items, link = await told(served, path, READ_GROUPS)
    change_members(served.tenant, group_named(served, "Sales"), NOW, add=[user_at(served, 0).id])

    assert all("members@delta" not in item for item in items)
    assert (await told(served, link, READ_GROUPS))[0] == []


async def test_a_large_group_goes_on_over_several_pages(served: Served) -> None:
    """Its further members follow on further pages, with its id alone or, by setting, with its properties again."""
    change_settings(served, delta_members_size=90)
    staff = group_named(served, "All Staff")

    pages, link = await pages_of(served, GROUPS, READ_GROUPS)
    change_members(served.tenant, staff, NOW, remove=staff.member_ids[:100])
    changes, _ = await pages_of(served, link, READ_GROUPS)
    change_settings(served, delta_whole_items=True)
    whole, _ = await told(served, GROUPS, READ_GROUPS)

    parts = [item for page in pages for item in page["value"] if item["id"] == staff.id]
    assert [len(part["members@delta"]) for part in parts] == [90, 90, 21]
    assert [set(part) for part in parts[1:]] == [{"id", "members@delta"}] * 2
    assert [sum(item["id"] == staff.id for item in page["value"]) for page in pages].count(1) == 3
    assert [len(page["value"][0]["members@delta"]) for page in changes] == [90, 10]
    assert all("displayName" in item for item in whole)


async def test_who_leaves_while_a_large_group_is_read_hides_nobody(served: Served) -> None:
    """Pages go on behind the last member that was told, not by number."""
    change_settings(served, delta_members_size=50)
    staff = group_named(served, "All Staff")
    items: list[dict[str, Any]] = []
    address = GROUPS
    while address:
        answer = await get(served, address, READ_GROUPS)
        items += answer.body["value"]
        group = served.tenant.groups[staff.id]
        change_members(served.tenant, group, NOW, remove=sorted(group.member_ids)[:5])
        address = answer.body.get("@odata.nextLink", "")
    rest, _ = await told(served, answer.body["@odata.deltaLink"], READ_GROUPS)

    assert merged(items + rest)[staff.id]["members"] == sorted(served.tenant.groups[staff.id].member_ids)


async def test_a_round_of_groups_tells_members_that_came_and_went(served: Served) -> None:
    """The latest of each member counts; properties come where they changed."""
    link = await latest(served, GROUPS, READ_GROUPS)
    sales, inner = group_named(served, "Sales"), group_named(served, "VPN Users")
    new, former, both = user_at(served, 0).id, sales.member_ids[0], user_at(served, 1).id
    change_members(served.tenant, sales, NOW, add=[new, both, inner.id])
    change_members(served.tenant, served.tenant.groups[sales.id], NOW, remove=[former, both])
    put_group(served.tenant, replace(inner, display_name="VPN"), NOW)

    items, _ = await told(served, link, READ_GROUPS)

    assert items[1] == {"id": inner.id, "displayName": "VPN"}
    assert set(items[0]) == {"id", "members@delta"}
    gone = {"@removed": {"reason": "deleted"}}
    user = {"@odata.type": "#microsoft.graph.user"}
    entries = {each["id"]: each for each in items[0]["members@delta"]}
    assert len(items[0]["members@delta"]) == 4
    assert entries == {
        new: {**user, "id": new},
        former: {**user, "id": former, **gone},
        both: {**user, "id": both, **gone},
        inner.id: {"@odata.type": "#microsoft.graph.group", "id": inner.id},
    }


async def test_a_removed_user_leaves_its_groups(served: Served) -> None:
    """The group tells it, with or without a round of users."""
    link = await latest(served, GROUPS, READ_GROUPS)
    sales = group_named(served, "Sales")
    remove_user(served.tenant, sales.member_ids[3], NOW)

    items, _ = await told(served, link, READ_GROUPS)

    entry = {"@odata.type": "#microsoft.graph.user", "id": sales.member_ids[3], "@removed": {"reason": "deleted"}}
    assert {item["id"]: item["members@delta"] for item in items}[sales.id] == [entry]


async def test_groups_come_and_go(served: Served) -> None:
    """Only a Microsoft 365 group can be restored; a new one comes with its members."""
    link = await latest(served, GROUPS, READ_GROUPS)
    unified, plain = group_named(served, "Engineering"), group_named(served, "Sales")
    members = unified.member_ids
    for group in (unified, plain):
        remove_group(served.tenant, group.id, NOW)
    put_group(served.tenant, Group("11111111-2222-3333-4444-555555555555", "New", NOW, member_ids=members[:1]), NOW)
    items, link = await told(served, link, READ_GROUPS)
    restore_group(served.tenant, unified.id, NOW)
    restored, _ = await told(served, link, READ_GROUPS)

    known = {item["id"]: item for item in items}
    assert known[unified.id] == {"id": unified.id, "@removed": {"reason": "changed"}}
    assert known[plain.id] == {"id": plain.id, "@removed": {"reason": "deleted"}}
    new = known["11111111-2222-3333-4444-555555555555"]
    assert (new["displayName"], [each["id"] for each in new["members@delta"]]) == ("New", [members[0]])
    assert [item["displayName"] for item in restored] == ["Engineering"]
    assert merged(restored)[unified.id]["members"] == sorted(members)


@pytest.mark.parametrize(("permission", "seen"), [("Group.ReadBasic.All", False), ("GroupMember.Read.All", True)])
async def test_members_need_a_permission_of_their_own(served: Served, permission: str, seen: bool) -> None:
    """With Group.ReadBasic.All groups come without them."""
    items, link = await told(served, GROUPS, permission)
    change_members(served.tenant, group_named(served, "Sales"), NOW, add=[user_at(served, 0).id])
    changed, _ = await told(served, link, permission)

    assert any("members@delta" in item for item in items) is seen
    assert bool(changed) is seen


async def test_hidden_members_need_a_permission_of_their_own(served: Served) -> None:
    """A group whose membership is hidden comes without members."""
    sales = group_named(served, "Sales")
    put_group(served.tenant, replace(sales, visibility="HiddenMembership"), NOW)

    plain, link = await told(served, GROUPS, READ_GROUPS)
    hidden, _ = await told(served, GROUPS, READ_GROUPS, "Member.Read.Hidden")
    change_members(served.tenant, served.tenant.groups[sales.id], NOW, add=[user_at(served, 0).id])

    assert "members@delta" not in {item["id"]: item for item in plain}[sales.id]
    assert "members@delta" in {item["id"]: item for item in hidden}[sales.id]
    assert (await told(served, link, READ_GROUPS))[0] == []


async def test_what_exchange_does_to_groups_shows(served: Served) -> None:
    """A distribution group that a cmdlet makes, changes, fills and removes; what only Exchange knows does not show."""
    path = "/v1.0/groups/delta?$select=displayName,mail,proxyAddresses,members"
    link = await latest(served, path, READ_GROUPS)
    member, bypass = user_at(served, 0), {"BypassSecurityGroupManagerCheck": True}
    sales = group_named(served, "Sales")
    served.tenant.groups[sales.id] = replace(sales, visibility="HiddenMembership")
    made = await served.invoke("New-DistributionGroup", {"Name": "News", "PrimarySmtpAddress": "news@contoso.com"})
    created, link = await told(served, link, READ_GROUPS)
    await served.invoke("Add-DistributionGroupMember", {"Identity": "News", "Member": member.mail, **bypass})
    joined, link = await told(served, link, READ_GROUPS)
    entries = len(served.tenant.journal)
    await served.invoke("Set-DistributionGroup", {"Identity": "News", "HiddenFromAddressListsEnabled": True, **bypass})
    hidden, link = await told(served, link, READ_GROUPS)
    assert len(served.tenant.journal) == entries
    await served.invoke("Set-DistributionGroup", {"Identity": "News", "DisplayName": "The news", **bypass})
    await served.invoke("Set-DistributionGroup", {"Identity": "Sales", "HiddenFromAddressListsEnabled": True, **bypass})
    renamed, link = await told(served, link, READ_GROUPS)
    await served.invoke("Remove-DistributionGroup", {"Identity": "News", **bypass})
    removed, _ = await told(served, link, READ_GROUPS)

    identifier = made.body["value"][0]["ExternalDirectoryObjectId"]
    assert [(item["id"], item["mail"]) for item in created] == [(identifier, "news@contoso.com")]
    entry = {"@odata.type": "#microsoft.graph.user", "id": member.id}
    assert joined == [{"id": identifier, "members@delta": [entry]}]
    assert hidden == []
    assert served.tenant.groups[sales.id].visibility == "HiddenMembership"
    assert renamed == [{"id": identifier, "displayName": "The news"}]
    assert removed == [{"id": identifier, "@removed": {"reason": "deleted"}}]
