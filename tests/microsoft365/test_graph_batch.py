"""Several calls of Graph in one request: each is answered, refused, throttled, disturbed and recorded by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from local.microsoft365.model import Role
from tests.microsoft365.platform import GRAPH_DEFAULT, Platform
from tests.microsoft365.served import Page, Served, add_principal, page_of, serve

READ_USERS = "User.Read.All"
ASSIGNMENTS = "/roleManagement/directory/roleAssignments"


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """A tenant with a few users; afterwards nothing may have broken Microsoft's description."""
    async with serve(users=12) as running:
        yield running
        assert running.contract.report()["violations"] == []


def get(identifier: str, url: str, **more: Any) -> dict[str, Any]:
    """Return a reading call."""
    return {"id": identifier, "method": "GET", "url": url, **more}


async def post(served: Served, *calls: dict[str, Any], roles: tuple[str, ...] = (READ_USERS,)) -> Page:
    """Post calls as one batch."""
    return await post_raw(served, {"requests": list(calls)}, roles)


async def post_raw(served: Served, document: object, roles: tuple[str, ...] = (READ_USERS,)) -> Page:
    """Post a document to the batch address."""
    headers = {"Authorization": f"Bearer {served.token(roles=roles)}"}
    return await page_of(await served.client.post("/v1.0/$batch", json=document, headers=headers))


def by_id(answer: Page | httpx.Response) -> dict[str, Any]:
    """Return the answers of a batch by the ids of their calls."""
    document = answer.body if isinstance(answer, Page) else answer.json()
    return {each["id"]: each for each in document["responses"]}


async def test_each_call_of_a_batch_has_its_own_answer(served: Served) -> None:
    """The batch is 200 whatever becomes of its calls, each of which needs its own permission; the last one comes first."""
    answer = await post(
        served,
        get("1", "/users?$select=id&$top=5"),
        get("2", "users/admin@contoso.com?$select=id,mail"),
        get("3", "/users/nobody@contoso.com"),
        get("4", "/groups"),
        get("5", "/users?$filter=mail eq 'admin@contoso.com' or userPrincipalName eq 'member@contoso.com'&$select=id"),
        {"id": "6", "method": "DELETE", "url": "/users/admin@contoso.com"},
    )

    found = by_id(answer)
    assert answer.status == 200
    assert [found[number]["status"] for number in "123456"] == [200, 200, 404, 403, 200, 405]
    assert list(found) == ["6", "5", "4", "3", "2", "1"]
    assert len(found["1"]["body"]["value"]) == 5
    assert found["1"]["body"]["@odata.nextLink"].startswith(f"{served.simulation.url}/v1.0/users?$select=id&$top=5&$skiptoken=")
    assert found["2"]["body"]["mail"] == "admin@contoso.com"
    assert found["4"]["body"]["error"]["code"] == "Authorization_RequestDenied"
    assert len(found["5"]["body"]["value"]) == 2
    assert found["1"]["headers"]["x-ms-resource-unit"] == "1"
    assert "GET /users" in served.contract.report()["operations"]


async def test_headers_of_a_call_count(served: Served) -> None:
    """A count needs the header in the call itself."""
    path = "/users?$count=true&$top=1&$select=id"

    answer = await post(served, get("1", path, headers={"consistencylevel": "eventual"}), get("2", path))

    found = by_id(answer)
    assert found["1"]["body"]["@odata.count"] == 12
    assert "@odata.count" not in found["2"]["body"]


async def test_a_write_in_a_batch_changes_the_tenant(served: Served) -> None:
    """A call may write, with a body and its Content-Type, and a read that depends on it sees what it did."""
    principal = add_principal(served)
    body = {"roleDefinitionId": Role.EXCHANGE_ADMINISTRATOR, "principalId": principal.id, "directoryScopeId": "/"}
    write = {"method": "POST", "url": ASSIGNMENTS, "body": body, "headers": {"Content-Type": "application/json"}}

    answer = await post(
        served,
        {"id": "w", **write},
        get("r", f"{ASSIGNMENTS}?$filter=principalId eq '{principal.id}'", dependsOn=["w"]),
        roles=("RoleManagement.ReadWrite.Directory",),
    )

    found = by_id(answer)
    assert [found[name]["status"] for name in "wr"] == [201, 200]
    assert [each["id"] for each in found["r"]["body"]["value"]] == [found["w"]["body"]["id"]]


async def test_what_depends_on_a_failure_fails(served: Served) -> None:
    """With 424, and so does what depends on that."""
    answer = await post(
        served, get("A", "/users/nobody"), get("b", "/users", dependsOn=["a"]), get("c", "/users", dependsOn=["B"])
    )

    assert {name: each["status"] for name, each in by_id(answer).items()} == {"A": 404, "b": 424, "c": 424}


@pytest.mark.parametrize(
    "document",
    [
        [],
        {"requests": []},
        {"requests": [get(str(number), "/users") for number in range(21)]},
        {"requests": [get("a", "/users"), get("A", "/users")]},
        {"requests": [{"id": "1", "url": "/users"}]},
        {"requests": [get("1", "/users", dependsOn=["2"]), get("2", "/users")]},
        {"requests": [{"id": "1", "method": "POST", "url": ASSIGNMENTS, "body": {}}]},
    ],
    ids=["list", "none", "too many", "an id twice", "no method", "unknown dependency", "write without type"],
)
async def test_what_is_no_batch_is_refused(served: Served, document: object) -> None:
    """As a whole, and none of its calls is carried out."""
    answer = await post_raw(served, document)

    assert (answer.status, answer.body["error"]["code"]) == (400, "BadRequest")
    assert "GET /users" not in served.contract.report()["operations"]


async def test_a_batch_needs_a_token_and_a_post(served: Served) -> None:
    """Without a token nothing is read; a batch is posted."""
    anonymous = await served.client.post("/v1.0/$batch", json={"requests": [get("1", "/users")]})

    assert anonymous.status == 401
    assert (await served.graph("/v1.0/$batch", READ_USERS)).status == 405


async def test_an_address_that_is_not_relative_leads_nowhere(served: Served) -> None:
    """The call is refused, not the batch."""
    answer = await post(served, get("1", f"{served.simulation.url}/v1.0/users"), get("2", "/v1.0/users"))

    assert [by_id(answer)[number]["status"] for number in "12"] == [400, 400]


async def whole(platform: Platform, *calls: dict[str, Any]) -> httpx.Response:
    """Post a batch to the whole simulation as the directory application."""
    if not platform.tenant.service_principal_of(platform.application("directory").app_id):
        await platform.grant("directory")
    token = (await platform.app_token("directory", GRAPH_DEFAULT)).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    answer = await platform.client.post("/v1.0/$batch", json={"requests": list(calls)}, headers=headers)
    assert answer.status_code == 200
    return answer


async def test_a_call_may_be_throttled_while_the_batch_is_not(platform: Platform) -> None:
    """Each call costs its own units: four lists of users take eight, and what is over is 429 with a Retry-After of its own."""
    await platform.control("POST", "settings", json={"graph_units_per_10_seconds": 8, "retry_after": 7})

    answer = await whole(platform, *(get(str(number), "/users?$top=50") for number in range(5)))

    found = by_id(answer)
    assert [found[str(number)]["status"] for number in range(5)] == [200, 200, 200, 200, 429]
    assert found["4"]["headers"]["Retry-After"] == "7"
    assert found["4"]["headers"]["x-ms-throttle-scope"].startswith("Tenant_Application/Read/")
    assert found["4"]["body"]["error"]["code"] == "TooManyRequests"
    near = [found[str(number)]["headers"].get("x-ms-throttle-limit-percentage") for number in range(5)]
    assert near == [None, None, None, "1.00", "1.25"]


async def test_a_fault_meets_one_call_of_a_batch(platform: Platform) -> None:
    """By method and address, as it would meet the call by itself; a lost connection is 504."""
    for path, effect in (("/v1.0/users/admin", {"status": 503}), ("/v1.0/users/member", {"drop": True})):
        await platform.control("POST", "faults", json={"match": {"method": "GET", "path": path}, **effect})

    calls = [get(name, f"/users/{name}@contoso.com") for name in ("admin", "member", "exchange")]
    answer = await whole(platform, *calls)

    found = by_id(answer)
    assert {name: each["status"] for name, each in found.items()} == {"admin": 503, "member": 504, "exchange": 200}
    assert found["admin"]["body"]["error"]["innerError"]["status"] == "503"


async def test_a_call_of_a_batch_may_see_an_older_tenant(platform: Platform) -> None:
    """A stale answer to one call, a fresh one to the other."""
    await whole(platform, get("1", "/users"))
    await platform.control("POST", "clock", json={"offset_seconds": 60})
    change = {"noun": "user", "identity": "admin@contoso.com", "change": {"displayName": "Ada Changed"}}
    await platform.control("POST", "tamper", json=change)
    await platform.control("POST", "faults", json={"match": {"path": "/v1.0/users/admin"}, "stale": 30})

    path = "/users/admin@contoso.com?$select=displayName"
    found = by_id(await whole(platform, get("1", path), get("2", path)))

    assert [found[number]["body"]["displayName"] for number in "12"] == ["Ada Admin", "Ada Changed"]


async def test_a_batch_and_each_of_its_calls_are_recorded(platform: Platform) -> None:
    """The calls stand before the batch, by their templates."""
    await platform.control("DELETE", "requests")
    await whole(platform, get("1", "/users?$top=1"), get("2", "/users/nobody"), get("3", "/nonsense"))

    kept = await platform.control("GET", "requests?api=graph")
    assert [(each["method"], each["operation"], each["query"], each["status"]) for each in kept] == [
        ("GET", "/users", "$top=1", 200),
        ("GET", "/users/{user-id}", "", 404),
        ("GET", "/nonsense", "", 400),
        ("POST", "/$batch", "", 200),
    ]
