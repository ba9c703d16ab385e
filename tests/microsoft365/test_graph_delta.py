"""Delta queries over HTTP: rounds, what an item tells, tokens, members of groups, and what is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from local.microsoft365.changes import put_user
from local.microsoft365.population import User
from tests.microsoft365.served import NOW, Served, serve

READ_USERS = "User.Read.All"

SELECTED = "id,displayName,mail,proxyAddresses,accountEnabled"
USERS = f"/v1.0/users/delta?$select={SELECTED}"


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """A tenant with 250 users; afterwards nothing may have broken Microsoft's description."""
    async with serve() as running:
        yield running
        assert running.contract.report()["violations"] == []


async def follow(served: Served, address: str, *roles: str, **options: Any) -> tuple[list[dict[str, Any]], str]:
    """Read a round from an address on; returns its pages, and the link to the next round."""
    pages: list[dict[str, Any]] = []
    while True:
        answer = await served.graph(address.removeprefix(served.simulation.url), *roles, **options)
        assert answer.status == 200, answer.body
        pages.append(answer.body)
        if "@odata.deltaLink" in answer.body:
            return pages, answer.body["@odata.deltaLink"]
        address = answer.body["@odata.nextLink"]


async def told(served: Served, address: str, *roles: str, **options: Any) -> tuple[list[dict[str, Any]], str]:
    """Read a round; returns its items, and the link to the next round."""
    pages, link = await follow(served, address, *roles, **options)
    return [item for page in pages for item in page["value"]], link


async def latest(served: Served, path: str, *roles: str) -> str:
    """Return a link that tells what changes from now on."""
    _, link = await told(served, f"{path}{'&' if '?' in path else '?'}$deltatoken=latest", *roles)
    return link


def users_of(served: Served) -> list[User]:
    """The users, in the tenant's order."""
    return list(served.tenant.users)


async def test_the_first_round_tells_all_users_in_pages_of_the_servers_size(served: Served) -> None:
    """Each once with the selected properties and its id; links carry a token and nothing else."""
    pages, link = await follow(served, USERS, READ_USERS)

    items = [item for page in pages for item in page["value"]]
    assert [len(page["value"]) for page in pages] == [200, 50]
    assert {item["id"] for item in items} == {user.id for user in users_of(served)}
    assert set(items[0]) == set(SELECTED.split(","))
    assert pages[0]["@odata.nextLink"].startswith(f"{served.simulation.url}/v1.0/users/delta?$skiptoken=")
    assert link.startswith(f"{served.simulation.url}/v1.0/users/delta?$deltatoken=")
    assert "select" not in link + pages[0]["@odata.nextLink"]


async def test_latest_tells_nothing_but_a_link(served: Served) -> None:
    """In either spelling; nothing changed since, so the next round is empty too."""
    for name in ("$deltatoken", "$deltaToken"):
        pages, link = await follow(served, f"{USERS}&{name}=latest", READ_USERS)
        assert [page["value"] for page in pages] == [[]]
        assert await told(served, link, READ_USERS) == ([], link)


async def test_a_round_tells_only_what_changed(served: Served) -> None:
    """An item has the id and the changed properties that are selected; other changes do not show."""
    link = await latest(served, USERS, READ_USERS)
    first, second, *_ = users_of(served)
    put_user(served.tenant, replace(first, display_name="New name", job_title="New title"), NOW)
    put_user(served.tenant, replace(first, display_name="Newer name"), NOW)
    put_user(served.tenant, replace(second, job_title="New title"), NOW)

    items, further = await told(served, link, READ_USERS)

    assert items == [{"id": first.id, "displayName": "Newer name"}]
    assert await told(served, further, READ_USERS) == ([], further)
