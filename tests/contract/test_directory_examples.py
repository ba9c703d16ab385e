"""The directory's reader, held to what Microsoft's pages show of delta queries, batches and refusals.

The pages shorten: some rows have no id, and the batch lacks one of its answers. Only what is whole is replayed here.
"""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
import pytest

from shared.domain.directory import DirectoryChange, Member
from shared.microsoft import errors
from shared.microsoft.clouds import CLOUDS
from shared.microsoft.credentials import GivenToken
from shared.microsoft.graph import Graph, GraphConnection, GraphDirectory, batch_answers
from shared.ports import Page, RefusedError, TransientError
from tests.conftest import CONTRACTS

EXAMPLES = CONTRACTS / "examples.json"
pytestmark = pytest.mark.skipif(not EXAMPLES.exists(), reason="the examples are not beside this tree")
FIRST_USERS, USERS, LAST_USERS = 105, 119, 120
GROUPS, LAST_GROUPS = 123, 124
THROTTLED, BATCH, GONE = 126, 127, 136
"""Numbers of the examples."""


def example(number: int) -> Mapping[str, Any]:
    """Return one example."""
    return next(each for each in json.loads(EXAMPLES.read_text(encoding="utf-8")) if each["n"] == number)


@asynccontextmanager
async def answering(*numbers: int) -> AsyncIterator[tuple[GraphDirectory, list[httpx.Request]]]:
    """Open a directory at a server that answers as in these examples, one after the other; tell what it was asked."""
    coming = iter(numbers)
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        shown = example(next(coming))
        headers = {name: text for name, text in shown["response"]["headers"].items() if name.casefold() != "content-length"}
        return httpx.Response(shown["status"], headers=headers, json=shown["response"]["body"])

    async def credential() -> GivenToken:
        return GivenToken("a-token")

    connection = GraphConnection(CLOUDS["global"], httpx.AsyncClient(transport=httpx.MockTransport(answer)))
    try:
        yield GraphDirectory(Graph(connection, credential, errors.DIRECTORY)), asked
    finally:
        await connection.close()


async def test_a_first_page_of_users() -> None:
    """Properties that were not asked for are left out, and those that are not told stay untold."""
    async with answering(FIRST_USERS) as (directory, asked):
        page = await directory.user_changes()

    address = "AdeleV@contoso.onmicrosoft.com"
    told = {"user_principal_name": address, "display_name": "Adele Vance", "mail": address}
    assert page.items == (DirectoryChange("87d349ed-44d7-43e1-9a83-5f2406dee5bd", told),)
    assert (page.next_link, page.delta_link) == (example(FIRST_USERS)["response"]["body"]["@odata.nextLink"], "")
    assert asked[0].url.path == "/v1.0/users/delta()"


async def test_a_round_of_users() -> None:
    """Microsoft's links are followed as they are; the last page ends the round."""
    more = example(USERS)["response"]["body"]["@odata.nextLink"]
    async with answering(USERS, LAST_USERS) as (directory, asked):
        first = await directory.user_changes(f"https://graph.microsoft.com/v1.0{example(USERS)['path']}")
        last = await directory.user_changes(first.next_link)

    assert [change.values["display_name"] for change in (*first.items, *last.items)] == [
        "Mallory Cortez",
        "Diego Sicilian",
        "Lidia Holloway",
        "Patti Fernandez",
    ]
    assert str(asked[1].url) == more == first.next_link
    assert last.delta_link == example(LAST_USERS)["response"]["body"]["@odata.deltaLink"]
    assert not last.next_link


async def test_a_round_of_groups() -> None:
    """Members stand in their groups; a group without any is told as well."""
    async with answering(GROUPS, LAST_GROUPS) as (directory, _):
        first = await directory.group_changes(f"https://graph.microsoft.com/v1.0{example(GROUPS)['path']}")
        last = await directory.group_changes(first.next_link)

    sales = ("3c8ac7c4-d365-4df9-abfa-356a9dd7763c", "49320844-be99-4164-8167-87ff5d047ace")
    assert first.items == (
        DirectoryChange(
            "2e5807ce-58f3-4a94-9b37-ffff2e085957",
            {"display_name": "Mark 8 Project Team"},
            members=(Member("632f6bb2-3ec8-4c1f-9073-0027a8c68593"),),
        ),
        DirectoryChange(
            "421e797f-9406-4934-b778-4908421e3505",
            {"display_name": "Sales and Marketing"},
            members=tuple(map(Member, sales)),
        ),
    )
    assert [(change.values["display_name"], change.members) for change in last.items] == [
        ("All Employees", ()),
        ("Remote living", ()),
    ]
    assert isinstance(last, Page)
    assert last.delta_link


def test_the_answers_to_a_batch() -> None:
    """Each stands for itself, with a status and headers of its own; what is refused means what it would mean alone."""
    shown = example(BATCH)
    listed, refused, _, counted = batch_answers(shown["response"]["body"], (1, 3, 4, 5))

    assert [listed.status, counted.status] == [200, 200]
    assert counted.body["value"][0]["userPrincipalName"] == "LynneR@contoso.com"
    meant = errors.error_of(errors.graph_answer_of(refused.status, refused.headers, refused.body), errors.DIRECTORY)
    assert isinstance(meant, RefusedError)
    assert meant.problem.code == "graph_refused"
    assert meant.problem.correlation_id == "93b6f17e-c05d-4f45-ad2a-6665c708d8a0"
    with pytest.raises(TransientError):
        batch_answers(shown["response"]["body"], range(1, 6))


async def test_a_batch_is_asked_as_on_the_page() -> None:
    """Requests have an id, a method and an address beneath the version, as in Microsoft's example."""
    shown = example(BATCH)["request"]["body"]["requests"][0]
    async with answering(BATCH) as (directory, asked):
        with pytest.raises(TransientError):
            await directory.whole_users(["an-id"])

    assert (asked[0].method, str(asked[0].url)) == ("POST", "https://graph.microsoft.com/v1.0/$batch")
    (sent,) = json.loads(asked[0].content)["requests"]
    assert sent.keys() == shown.keys()
    assert sent["url"].startswith("/users/an-id?$select=id,")
    assert asked[0].headers["Content-Type"] == "application/json"


async def test_a_throttled_page() -> None:
    """The wish stands in the header."""
    async with answering(THROTTLED) as (directory, _):
        with pytest.raises(TransientError) as raised:
            await directory.users()

    assert raised.value.retry_after == timedelta(seconds=10)


async def test_changes_that_microsoft_has_forgotten() -> None:
    """A token that is too old is answered 410, with a place to begin anew that is not followed."""
    async with answering(GONE) as (directory, asked):
        with pytest.raises(RefusedError) as raised:
            await directory.user_changes("https://graph.microsoft.com/v1.0/users/delta?$deltatoken=x")

    assert raised.value.problem.code == "page_expired"
    assert len(asked) == 1
