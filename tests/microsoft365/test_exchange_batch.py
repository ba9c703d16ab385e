"""Several cmdlets in one request: each is answered, refused, throttled and disturbed by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import pytest

from local.microsoft365.catalogue import EXCHANGE
from tests.microsoft365.platform import Platform
from tests.microsoft365.served import EXCHANGE_ADMINISTRATOR, Page, Served, page_of, serve
from tests.microsoft365.test_control import granted_exchange

CONTINUE = {"Prefer": "odata.continue-on-error"}
RULE = {"Name": "Mark", "SetHeaderName": "X-Seen", "SetHeaderValue": "1"}


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """A tenant with a few users."""
    async with serve(users=12) as running:
        yield running


def request_of(
    number: int, address: str, cmdlet: str, parameters: Mapping[str, Any], *, headers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return an item as public clients write it."""
    body = {"CmdletInput": {"CmdletName": cmdlet, "Parameters": dict(parameters)}}
    return {"id": str(number), "method": "POST", "url": address, "headers": dict(headers or {}), "body": body}


async def post(served: Served, *calls: tuple[str, dict[str, Any]], headers: Mapping[str, str] = CONTINUE) -> Page:
    """Post calls as one batch."""
    address = f"{served.simulation.url}/adminapi/beta/{served.tenant.id}/InvokeCommand?"
    numbered = enumerate(calls)
    requests = [request_of(number, address, cmdlet, parameters) for number, (cmdlet, parameters) in numbered]
    return await post_raw(served, {"requests": requests}, headers)


async def post_raw(served: Served, document: object, headers: Mapping[str, str] = CONTINUE) -> Page:
    """Post a document to the batch address."""
    token = served.token(roles=("Exchange.ManageAsApp",), wids=(EXCHANGE_ADMINISTRATOR,), audience=EXCHANGE)
    address = f"/adminapi/beta/{served.tenant.id}/$batch"
    sent = {"Authorization": f"Bearer {token}", **headers}
    return await page_of(await served.client.post(address, json=document, headers=sent))


def by_id(answer: Page | httpx.Response) -> dict[str, Any]:
    """Return the answers of a batch by the ids of their items."""
    document = answer.body if isinstance(answer, Page) else answer.json()
    return {each["id"]: each for each in document["responses"]}


async def test_each_item_has_its_own_answer(served: Served) -> None:
    """The batch is 200 whatever becomes of its items; an answer names its item, in no order that could be relied on."""
    answer = await post(served, ("Get-AcceptedDomain", {}), ("Get-TransportRule", {"Identity": "gone"}), ("Get-Nothing", {}))

    found = by_id(answer)
    assert answer.status == 200
    assert [found[number]["status"] for number in "012"] == [200, 404, 400]
    assert {row["DomainName"] for row in found["0"]["body"]["value"]} == {"contoso.com", "contoso.onmicrosoft.com"}
    assert "ManagementObjectNotFoundException" in found["1"]["body"]["error"]["details"][0]["message"]
    assert found["0"]["headers"]["Rate-Limit-Remaining"] == "29999"
    assert list(found) == ["2", "1", "0"]


async def test_items_are_carried_out_in_their_order(served: Served) -> None:
    """What an item writes is there for the next."""
    answer = await post(served, ("New-TransportRule", RULE), ("Get-TransportRule", {"Identity": "Mark"}))

    assert [row["Name"] for row in by_id(answer)["1"]["body"]["value"]] == ["Mark"]


async def test_without_the_preference_the_first_failure_ends_it(served: Served) -> None:
    """What comes after the failure is neither done nor answered."""
    calls = (("Get-TransportRule", {"Identity": "gone"}), ("New-TransportRule", RULE))

    stopped = await post(served, *calls, headers={})
    left = await served.invoke("Get-TransportRule")
    went_on = await post(served, *calls)

    assert list(by_id(stopped)) == ["0"]
    assert left.body["value"] == []
    assert by_id(went_on)["1"]["status"] == 200


@pytest.mark.parametrize("prefer", ["odata.maxpagesize=1", "odata.maxpagesize = 1;odata.continue-on-error"])
async def test_pages_of_an_item_are_posted_by_themselves(served: Served, prefer: str) -> None:
    """Its Prefer header, also as public clients write it, cuts the answer; the next link takes the item's body."""
    address = f"{served.simulation.url}/adminapi/beta/{served.tenant.id}/InvokeCommand?$select=DomainName"
    item = request_of(0, address, "Get-AcceptedDomain", {}, headers={"Prefer": prefer})
    first = by_id(await post_raw(served, {"requests": [item]}))["0"]["body"]

    link = first["@odata.nextLink"].removeprefix(served.simulation.url)
    second = await served.invoke("Get-AcceptedDomain", address=link)

    assert [row["DomainName"] for row in first["value"] + second.body["value"]] == ["contoso.onmicrosoft.com", "contoso.com"]


async def test_an_address_may_be_relative(served: Served) -> None:
    """To the host, or to the tenant's endpoint; another address is no call."""
    addresses = [f"/adminapi/beta/{served.tenant.id}/InvokeCommand", "InvokeCommand", "EXOModuleFile"]
    items = [request_of(number, address, "Get-RemoteDomain", {}) for number, address in enumerate(addresses)]

    found = by_id(await post_raw(served, {"requests": items}))

    assert [found[number]["status"] for number in "012"] == [200, 200, 400]


@pytest.mark.parametrize("count", [0, 11])
async def test_a_batch_has_one_to_ten_items(served: Served, count: int) -> None:
    """Neither none nor eleven."""
    assert (await post(served, *[("Get-RemoteDomain", {})] * count)).status == 400


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {"requests": [{"id": "0"}]},
        {"requests": [request_of(0, "InvokeCommand", "Get-RemoteDomain", {})] * 2},
    ],
)
async def test_what_is_no_batch_is_refused(served: Served, document: object) -> None:
    """Another form, and an id that is there twice."""
    assert (await post_raw(served, document)).status == 400


async def test_a_batch_needs_what_a_call_needs(served: Served) -> None:
    """No token: 401; no role: 403 with NUL bytes."""
    address = f"/adminapi/beta/{served.tenant.id}/$batch"
    document = {"requests": [request_of(0, "InvokeCommand", "Get-RemoteDomain", {})]}
    token = served.token(roles=("Exchange.ManageAsApp",), audience=EXCHANGE)

    without = await page_of(await served.client.post(address, json=document))
    no_role = await page_of(await served.client.post(address, json=document, headers={"Authorization": f"Bearer {token}"}))

    assert (without.status, no_role.status) == (401, 403)
    assert set(no_role.body) == {0}


async def post_to(platform: Platform, *cmdlets: str) -> httpx.Response:
    """Post reading calls as one batch to the whole simulation."""
    token = (await platform.app_token()).json()["access_token"]
    items = [request_of(number, "InvokeCommand", cmdlet, {}) for number, cmdlet in enumerate(cmdlets)]
    return await platform.client.post(
        f"/adminapi/beta/{platform.tenant.id}/$batch",
        json={"requests": items},
        headers={"Authorization": f"Bearer {token}", **CONTINUE},
    )


async def test_an_item_may_be_throttled_while_the_batch_is_not(platform: Platform) -> None:
    """Each item counts: with two for ten seconds the third is 429 with a Retry-After of its own, and the batch is 200."""
    await granted_exchange(platform)
    await platform.control("POST", "settings", json={"exchange_requests_per_10_seconds": 2, "retry_after": 7})

    answer = await post_to(platform, "Get-RemoteDomain", "Get-AcceptedDomain", "Get-TransportConfig")

    found = by_id(answer)
    assert answer.status_code == 200
    assert [found[number]["status"] for number in "012"] == [200, 200, 429]
    assert found["2"]["headers"]["Retry-After"] == "7"
    assert found["2"]["body"]["error"]["code"] == "TooManyRequests"


async def test_a_fault_meets_the_item_of_its_cmdlet(platform: Platform) -> None:
    """A refusal in one item, somebody's edit before another; a dropped answer is a time-out; the rest is as ever."""
    await granted_exchange(platform)
    change = {"noun": "RemoteDomain", "identity": "Default", "change": {"AutoForwardEnabled": False}}
    for cmdlet, fault in (
        ("Get-AcceptedDomain", {"status": 503, "headers": {"Retry-After": "5"}}),
        ("Get-RemoteDomain", {"edit": change}),
        ("Get-ArcConfig", {"drop": True}),
    ):
        await platform.control("POST", "faults", json={"match": {"cmdlet": cmdlet}, **fault})

    found = by_id(await post_to(platform, "Get-AcceptedDomain", "Get-RemoteDomain", "Get-ArcConfig", "Get-TransportConfig"))

    assert [found[number]["status"] for number in "0123"] == [503, 200, 504, 200]
    assert found["0"]["headers"]["Retry-After"] == "5"
    assert found["1"]["body"]["value"][0]["AutoForwardEnabled"] is False


async def test_an_item_may_be_stale(platform: Platform) -> None:
    """It alone sees the tenant as it was."""
    await granted_exchange(platform)
    await platform.control("POST", "clock", json={"offset_seconds": 60})
    change = {"noun": "RemoteDomain", "identity": "Default", "change": {"AutoForwardEnabled": False}}
    await platform.control("POST", "tamper", json=change)
    await platform.control("POST", "faults", json={"match": {"cmdlet": "Get-RemoteDomain"}, "stale": 30})

    found = by_id(await post_to(platform, "Get-RemoteDomain", "Get-RemoteDomain"))

    assert [found[number]["body"]["value"][0]["AutoForwardEnabled"] for number in "01"] == [True, False]


async def test_the_batch_and_each_item_are_recorded(platform: Platform) -> None:
    """By the cmdlet, with the item's own status."""
    await granted_exchange(platform)
    await platform.control("DELETE", "requests")

    await post_to(platform, "Get-RemoteDomain", "Get-Nothing")

    recorded = await platform.control("GET", "requests?api=exchange")
    assert [(each["operation"], each["status"]) for each in recorded] == [
        ("Get-RemoteDomain", 200),
        ("Get-Nothing", 400),
        ("$batch", 200),
    ]
