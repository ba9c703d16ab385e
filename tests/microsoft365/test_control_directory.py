"""Many changes of users and groups at once through the control interface, and what faults do to delta queries."""

from __future__ import annotations

import re
import tracemalloc
from pathlib import Path
from typing import Any

import httpx
import pytest

from local.microsoft365.model import Tenant
from local.microsoft365.seed import TenantSeed, make_tenant
from local.microsoft365.server import PROJECT
from local.microsoft365.store import frozen_copy
from tests.microsoft365.platform import GRAPH_DEFAULT, Platform, running
from tests.microsoft365.test_control import frozen

DELTA = "/v1.0/users/delta?$select=id,displayName,mail"


async def changed(platform: Platform, *changes: dict[str, Any]) -> list[str]:
    """Make changes and return the ids of their objects."""
    answer = await platform.control("POST", "directory-changes", json={"changes": list(changes)})
    ids: list[str] = answer["ids"]
    return ids


async def ask(platform: Platform, address: str) -> httpx.Response:
    """Send a request as the directory application."""
    if not platform.tenant.service_principal_of(platform.application("directory").app_id):
        await platform.grant("directory")
    token = (await platform.app_token("directory", GRAPH_DEFAULT)).json()["access_token"]
    return await platform.client.get(address, headers={"Authorization": f"Bearer {token}"})


async def latest(platform: Platform) -> str:
    """Return a link that tells what changes from now on."""
    link: str = (await ask(platform, f"{DELTA}&$deltatoken=latest")).json()["@odata.deltaLink"]
    return link


def user(**more: Any) -> dict[str, Any]:
    """A change of a user."""
    return {"noun": "user", **more}


def group(**more: Any) -> dict[str, Any]:
    """A change of a group."""
    return {"noun": "group", **more}


async def test_users_are_made_changed_removed_and_brought_back(platform: Platform) -> None:
    """Named by name, id or position; one journal entry each, and the delta query tells them."""
    link = await latest(platform)
    before = len(platform.tenant.journal)

    ids = await changed(
        platform,
        user(add={"userPrincipalName": "new@contoso.com", "displayName": "New"}),
        user(identity="member@contoso.com", change={"displayName": "Changed", "mail": None}),
        user(position=9, remove=True),
        user(position=10, remove=True, for_good=True),
    )
    restored = await changed(platform, user(identity=ids[2], restore=True))

    assert platform.tenant.users.at(9) == platform.tenant.users.get(ids[2])
    assert [entry.properties for entry in platform.tenant.journal[before:] if entry.noun == "user"] == [
        ("@created",),
        ("displayName", "mail"),
        ("@removed",),
        ("@deleted",),
        ("@created",),
    ]
    told = {each["id"]: each for each in (await ask(platform, link)).json()["value"]}
    assert restored == [ids[2]]
    assert set(told) == set(ids)
    assert told[ids[0]] == {"id": ids[0], "displayName": "New", "mail": "new@contoso.com"}
    assert told[ids[1]] == {"id": ids[1], "displayName": "Changed", "mail": None}
    assert told[ids[3]] == {"id": ids[3], "@removed": {"reason": "deleted"}}


async def test_groups_are_made_filled_emptied_and_removed(platform: Platform) -> None:
    """Members by name or id."""
    made = await changed(platform, group(add={"displayName": "Board", "members": ["admin@contoso.com", "Sales"]}))
    await changed(platform, group(identity="Board", members={"add": ["member@contoso.com"], "remove": ["admin@contoso.com"]}))
    before = len(platform.tenant.journal)
    await changed(platform, group(identity="Board", members={"add": ["Sales", "member@contoso.com"]}))
    assert len(platform.tenant.journal) == before
    await changed(platform, group(identity=made[0], change={"mail": "board@contoso.com"}))

    sales = next(each.id for each in platform.tenant.groups.values() if each.display_name == "Sales")
    member = platform.tenant.users.find("member@contoso.com")
    board = platform.tenant.groups[made[0]]
    assert member is not None
    assert (board.member_ids, board.mail) == ((sales, member.id), "board@contoso.com")
    await changed(platform, group(identity="Board", remove=True))
    assert made[0] not in platform.tenant.groups


async def test_two_runs_make_the_same_ids(platform: Platform) -> None:
    """They follow from the names."""
    wanted = [user(add={"userPrincipalName": "a@contoso.com"}), group(add={"displayName": "A"})]
    first = await changed(platform, *wanted)
    await platform.control("POST", "reset")

    assert await changed(platform, *wanted) == first


@pytest.mark.parametrize(
    "wrong",
    [
        user(identity="nobody@contoso.com", remove=True),
        user(position=9999, remove=True),
        user(identity="admin@contoso.com"),
        user(identity="admin@contoso.com", remove=True, change={"mail": None}),
        user(identity="admin@contoso.com", change={"nonsense": 1}),
        user(identity="admin@contoso.com", change={"mail": None}, for_good=True),
        user(identity="admin@contoso.com", members={"add": []}),
        user(identity="admin@contoso.com", restore=True),
        user(add={"userPrincipalName": "admin@contoso.com"}),
        user(add={"displayName": "No name"}),
        group(identity="Nothing", remove=True),
        group(identity="Sales", members={"add": ["nobody@contoso.com"]}),
        {"noun": "domain", "identity": "contoso.com", "remove": True},
    ],
)
async def test_what_makes_no_sense_is_refused(platform: Platform, wrong: dict[str, Any]) -> None:
    """With its place in the list; what came before it stays and is remembered."""
    body = {"changes": [user(identity="member@contoso.com", change={"displayName": "Before"}), wrong]}

    answer = await platform.client.post("/_control/directory-changes", json=body)

    member = platform.tenant.users.find("member@contoso.com")
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("changes[1]: ")
    assert member is not None
    assert member.display_name == "Before"


async def test_changes_and_removals_outlive_a_restart(tmp_path: Path) -> None:
    """The journal goes on, tokens stay good, and who was removed can still be restored."""
    async with running(tmp_path, data=tmp_path / "data") as platform:
        link = httpx.URL(await latest(platform))
        ids = await changed(
            platform,
            user(add={"userPrincipalName": "new@contoso.com"}),
            user(position=9, remove=True),
            group(identity="Engineering", remove=True),
        )
        await changed(platform, user(identity=ids[0], remove=True))
    async with running(tmp_path, data=tmp_path / "data") as platform:
        await changed(platform, *(user(identity=each, restore=True) for each in ids[:2]), group(identity=ids[2], restore=True))
        told = (await ask(platform, link.raw_path.decode())).json()["value"]

    assert {each["id"] for each in told} == set(ids[:2])
    assert all("displayName" in each for each in told)


async def test_all_delta_tokens_of_a_tenant_end_at_once(platform: Platform) -> None:
    """Those of other tenants don't, and new ones are good."""
    link = await latest(platform)
    await platform.control("DELETE", "tenants/fabrikam.onmicrosoft.com/delta-tokens")
    assert (await ask(platform, link)).status_code == 200

    await platform.control("DELETE", "tenants/contoso.com/delta-tokens")

    answer = await ask(platform, link)
    assert (answer.status_code, answer.json()["error"]["code"]) == (410, "syncStateNotFound")
    assert (await ask(platform, await latest(platform))).status_code == 200


@pytest.mark.parametrize("collection", ["users", "groups"])
async def test_faults_meet_delta_queries(platform: Platform, collection: str) -> None:
    """Refused, lost, late and stale, by method and address, as with any other request."""
    await latest(platform)
    path = f"/v1.0/{collection}/delta"
    permitted = 200 if collection == "users" else 403
    await platform.control(
        "POST", "faults", json={"match": {"path": f"{path}.*latest"}, "status": 429, "headers": {"Retry-After": "3"}}
    )
    throttled = await ask(platform, f"{path}?$deltatoken=latest")
    assert (throttled.status_code, throttled.headers["Retry-After"]) == (429, "3")
    await platform.control("POST", "faults", json={"match": {"path": path}, "drop": True})
    with pytest.raises(httpx.TransportError):
        await ask(platform, path)
    await platform.control("POST", "faults", json={"match": {"path": path}, "latency_ms": 1})
    assert (await ask(platform, path)).status_code == permitted
    kept = [each for each in await platform.control("GET", "requests?api=graph") if each["path"] == path]
    assert [(each["status"], each["fault"]) for each in kept][-3:] == [(429, True), (0, True), (permitted, True)]


async def test_a_stale_fault_gives_an_older_state(platform: Platform) -> None:
    """A round from the beginning as the tenant was; its link tells what came since."""
    await latest(platform)
    await platform.control("POST", "clock", json={"offset_seconds": 60})
    ids = await changed(platform, user(identity="member@contoso.com", change={"displayName": "Changed"}))
    await platform.control("POST", "faults", json={"match": {"path": "/users/delta"}, "stale": 30})

    stale = (await ask(platform, DELTA)).json()
    fresh = (await ask(platform, stale["@odata.deltaLink"])).json()

    assert {each["id"]: each["displayName"] for each in stale["value"]}[ids[0]] == "Max Member"
    assert fresh["value"] == [{"id": ids[0], "displayName": "Changed"}]


async def test_the_limit_is_told_from_eighty_percent_on(platform: Platform) -> None:
    """A delta query costs one unit; below there is no header, above it counts on."""
    await latest(platform)
    await platform.control("POST", "settings", json={"graph_units_per_10_seconds": 10})
    platform.simulation.clock.offset = frozen(platform)

    answers = [await ask(platform, DELTA) for _ in range(11)]

    assert [each.status_code for each in answers] == [200] * 10 + [429]
    assert answers[0].headers["x-ms-resource-unit"] == "1"
    near = [each.headers.get("x-ms-throttle-limit-percentage") for each in answers]
    assert near == [None] * 7 + ["0.80", "0.90", "1.00", "1.10"]


def large() -> Tenant:
    """A tenant of half a million."""
    return make_tenant(TenantSeed("Large", "large.onmicrosoft.com", 500_000, "large.example"))


def test_remembering_a_large_tenant_costs_next_to_nothing() -> None:
    """Users that nobody touched are not kept, and what did not change is shared between the states that are remembered."""
    tenant = large()
    for position in range(0, 500_000, 500):
        tenant.users.put(tenant.users.at(position) or pytest.fail("nobody there"))
    former = frozen_copy(tenant)

    tracemalloc.start()
    copies = [frozen_copy(tenant, former) for _ in range(64)]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert all(each.users is former.users for each in copies)
    assert peak < 2_000_000
    tenant.users.remove(next(iter(tenant.users)).id)
    assert frozen_copy(tenant, former).users is not former.users


def test_nothing_else_changes_users_and_groups() -> None:
    """Whatever does passes by the journal, from which delta queries are answered."""
    writes = re.compile(r"\busers\.(put|remove)\(|\bgroups\[[^]]+\] = |\bgroups\.(pop|setdefault|update)\(|del [a-z_.]*groups\[")
    folder = PROJECT / "local" / "microsoft365"
    found = {path.name for path in folder.rglob("*.py") if writes.search(path.read_text("utf-8"))}

    # Custom role groups of Exchange are no groups of the directory.
    assert found - {"control.py"} == {"changes.py"}
