"""Entity group transactions: what we write and read of them is what the SDK writes and reads."""

import math
import re
from collections.abc import Awaitable, Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import pytest
from azure.core import MatchConditions
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
    ServiceResponseError,
)
from azure.data.tables import UpdateMode
from azure.data.tables.aio import TableClient
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from shared.ports import ConflictError
from shared.storage import keys, transactions
from shared.storage.limits import TooLargeError
from shared.storage.table import Table
from shared.storage.transactions import Operation, decode, encode, encode_columns, send
from tests.storage.conftest import OnAzurite

Columns = dict[str, Any]
TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=12)
LIKE_A_FRAME = ("--batch", "\r\n--changeset_1\r\n", "HTTP/1.1 409 Conflict", "\nHTTP/1.1 400 Bad Request\r\n\r\n", "{}", "1.0")
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**31), 2**31 - 1),
    st.floats(),
    TEXT,
    st.sampled_from(
        ["--batch", "\r\n--changeset_1\r\n", "HTTP/1.1 409 Conflict", "\nHTTP/1.1 400 Bad Request\r\n\r\n", "{}", "1.0"]
    ),
)
COLUMNS = st.dictionaries(st.from_regex(r"[a-z][a-z_0-9]{0,8}", fullmatch=True), VALUES, max_size=5)
ROWS = ("a", "b'c", "d%41", "e ü/?#\\", "f+&=:|", "g\N{GRINNING FACE}", "HTTP", "h\u0085")
KINDS = ("create", "upsert", "update", "stale", "delete", "change")
ANSWERED = (
    b'--changesetresponse_1\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 204 No Content\r\nETag: W/"1"\r\n\r\n\r\n'
    b"--changesetresponse_1\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 204 No Content\r\nContent-ID: 2\r\n\r\n\r\n"
    b"--changesetresponse_1--\r\n"
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from(ROWS), COLUMNS), min_size=1, max_size=6), max_size=4))
@example([[("create", "a", {"x": 1.0, "y": math.nan, "z": -math.inf, "n": None}), ("create", "b'c", {"t": "ü\0\u2028"})]])
@example([[("create", "a", {}), ("upsert", "d%41", {})], [("update", "a", {"x": 1}), ("create", "d%41", {})]])
async def test_transactions_do_what_the_sdk_s_do(on_azurite: OnAzurite, work: list[list[tuple[str, str, Columns]]]) -> None:
    """Whatever is asked, the same is done and the same is refused, and the rows are the same, with the types of their columns."""
    client = on_azurite.tables.get_table_client("deadletters")
    ours, theirs = f"ours / {uuid4()}", f"theirs / {uuid4()}"
    for wanted in work:
        our_rows, their_rows = await read(client, ours), await read(client, theirs)
        our_outcome = await outcome(send(client, [our_operation(ours, *one, our_rows) for one in wanted]))
        their_work = [sdk_operation(theirs, *one, their_rows) for one in wanted]
        assert our_outcome == await outcome(client.submit_transaction(their_work))
        assert plain(await read(client, ours)) == plain(await read(client, theirs))


async def test_the_etags_are_those_of_the_rows(on_azurite: OnAzurite) -> None:
    """Each answer carries the ETag that the next update of its row needs; a deletion has none."""
    client = on_azurite.tables.get_table_client("deadletters")
    rows = [keys.entity("p", name, {"n": 1}) for name in ("a", "b")]
    first = await send(client, [transactions.create(row) for row in rows])
    second = await send(client, [transactions.update(rows[1], first[1]), transactions.delete("p", "a")])

    assert second[1] == ""
    assert second[0] == (await client.get_entity("p", "b")).metadata["etag"] != first[1]
    with pytest.raises(ResourceModifiedError):
        await send(client, [transactions.update(rows[1], first[1])])


async def test_a_refusal_names_status_code_and_operation(on_azurite: OnAzurite) -> None:
    """As the SDK tells it: the class by the status, the service's code, and the index of what failed in the message."""
    client = on_azurite.tables.get_table_client("deadletters")
    row = keys.entity("p", "a", {})
    await send(client, [transactions.create(row)])

    with pytest.raises(ResourceExistsError, match=r"^\(?.*1:The specified entity already exists") as exists:
        await send(client, [transactions.upsert(keys.entity("p", "b", {})), transactions.create(row)])
    with pytest.raises(ResourceNotFoundError) as missing:
        await send(client, [transactions.delete("p", "c")])
    with pytest.raises(HttpResponseError) as twice:
        await send(client, [transactions.upsert(row), transactions.upsert(row)])

    assert (exists.value.status_code, told_code(exists.value)) == (409, "EntityAlreadyExists")
    assert (missing.value.status_code, told_code(missing.value)) == (404, "ResourceNotFound")
    assert (twice.value.status_code, told_code(twice.value)) == (400, "InvalidDuplicateRow")


def test_every_answer_is_read() -> None:
    """Status and ETag of each operation, in their order, whatever other lines there are."""
    found = decode(ANSWERED)

    assert [(answer.status, answer.etag) for answer in found] == [(204, 'W/"1"'), (204, "")]
    assert decode(b"") == []


@pytest.mark.parametrize(
    ("status", "headers", "body", "kind", "code"),
    [
        (503, {"x-ms-error-code": "ServerBusy", "Retry-After": "7"}, b"", HttpResponseError, "ServerBusy"),
        (401, {}, b"<?xml?><Error/>", ClientAuthenticationError, ""),
        (403, {}, b'{"odata.error":{"code":"No","message":{"value":"told"}}}', HttpResponseError, "No"),
        (400, {}, b'{"odata.error":"odd"}', HttpResponseError, ""),
        (413, {"x-ms-error-code": "RequestBodyTooLarge"}, b"[", HttpResponseError, "RequestBodyTooLarge"),
    ],
)
async def test_a_refusal_of_the_whole_is_an_error_of_its_status(
    status: int, headers: dict[str, str], body: bytes, kind: type[HttpResponseError], code: str
) -> None:
    """With the service's code, from the body or the header, and its headers, among them Retry-After."""
    with pytest.raises(kind) as caught:
        await send(answering(status, body, headers), [transactions.delete("p", "a")])

    assert type(caught.value) is kind
    assert (caught.value.status_code, told_code(caught.value)) == (status, code)
    assert getattr(caught.value.response, "headers", None) == headers


@pytest.mark.parametrize("body", [b"", ANSWERED, b"HTTP/1.1"])
async def test_an_answer_that_does_not_tell_is_no_answer(body: bytes) -> None:
    """Fewer or more answers than operations: it may be carried out or not, so whoever saves must read again."""
    with pytest.raises(ServiceResponseError):
        await send(answering(202, body), [transactions.delete("p", "a")])
    with pytest.raises(ConflictError, match="no answer"):
        await Table(answering(202, body)).transaction([transactions.delete("p", "a")])


def test_no_request_has_the_boundaries_of_another() -> None:
    """The boundaries are new for each request, and every line of its frame is ASCII that ends as MIME wants."""
    operations = [transactions.create(keys.entity("p", "ü", {"text": "ü\n--batch_1"})), transactions.delete("p", "o'ü")]
    body = encode(operations, "https://account.table.core.windows.net/grants", "1")
    lines = body.decode("ascii").split("\r\n")

    assert "\n" not in "".join(lines)
    assert [line for line in lines if line.startswith("--")] == [
        "--batch_1",
        "--changeset_1",
        "--changeset_1",
        "--changeset_1--",
        "--batch_1--",
    ]
    assert "DELETE https://account.table.core.windows.net/grants(PartitionKey='p',RowKey='o%27%27%C3%BC') HTTP/1.1" in lines
    assert lines.count("If-Match: *") == 1


async def test_each_request_names_itself() -> None:
    """Two requests of the same operations differ in their boundaries."""
    sent: list[Any] = []
    for _ in range(2):
        await send(answering(202, ANSWERED, sent=sent), [transactions.delete("p", "a"), transactions.delete("p", "b")])

    names = [re.findall(r"boundary=batch_(\S+)", request.headers["Content-Type"])[0] for request in sent]
    assert len(set(names)) == 2
    for name, request in zip(names, sent, strict=True):
        assert request.content.count(f"--changeset_{name}".encode()) == 3


@pytest.mark.parametrize("value", [2**31, -(2**31) - 1, b"bytes", ["list"], {"a": 1}])
def test_what_no_column_of_ours_holds_is_refused(value: object) -> None:
    """It would come back as something else: a defect, told before anything is sent, by name and without the value."""
    with pytest.raises(TypeError, match="column odd") as caught:
        encode_columns({"odd": value})

    assert "bytes\\" not in str(caught.value)


@given(st.lists(st.tuples(TEXT, COLUMNS), max_size=20))
def test_a_transaction_is_never_larger_than_its_operations_say(rows: list[tuple[str, Columns]]) -> None:
    """The sizes are an upper bound of the body, so that none that is let through is too large for the service."""
    url = "https://" + "a" * 24 + ".table.core.chinacloudapi.cn/" + "t" * 63
    operations = [transactions.update(keys.entity("p" * 100, row, columns), 'W/"' + "x" * 60) for row, columns in rows]

    assert len(encode(operations, url, str(uuid4()))) <= sum(one.size for one in operations) + 512


def test_what_is_too_large_is_refused() -> None:
    """By rows and by bytes."""
    with pytest.raises(TooLargeError, match="101 rows"):
        transactions.check_size([Operation("DELETE", "")] * 101)
    with pytest.raises(TooLargeError, match="bytes"):
        transactions.check_size([Operation("POST", "", b"x" * 4 * 1024 * 1024)])
    transactions.check_size([Operation("DELETE", "")] * 100)


def our_operation(partition: str, kind: str, row: str, columns: Columns, known: dict[str, Any]) -> Operation:
    """Return an operation of ours; ``update`` has the row's ETag, ``stale`` another one."""
    entity = keys.entity(partition, row, columns)
    found = known.get(row)
    operations: dict[str, Callable[[], Operation]] = {
        "create": lambda: transactions.create(entity),
        "upsert": lambda: transactions.upsert(entity),
        "change": lambda: transactions.upsert(entity),
        "update": lambda: transactions.update(entity, found.metadata["etag"]) if found else transactions.create(entity),
        "stale": lambda: transactions.update(entity, STALE),
        "delete": lambda: transactions.delete(partition, row),
    }
    return operations[kind]()


STALE = "W/\"datetime'2020-01-01T00%3A00%3A00.0000000Z'\""


def sdk_operation(partition: str, kind: str, row: str, columns: Columns, known: dict[str, Any]) -> tuple[Any, ...]:
    """Return the same operation as the SDK takes it."""
    entity = keys.entity(partition, row, columns)
    found = known.get(row)
    matching = {"mode": UpdateMode.REPLACE, "match_condition": MatchConditions.IfNotModified}
    if kind == "update":
        return ("update", entity, {**matching, "etag": found.metadata["etag"]}) if found else ("create", entity)
    if kind == "stale":
        return ("update", entity, {**matching, "etag": STALE})
    if kind in ("create", "delete"):
        return (kind, entity)
    return ("upsert", entity, {"mode": UpdateMode.REPLACE})


async def outcome(work: Awaitable[Sequence[object]]) -> tuple[object, ...]:
    """Return what a transaction came to: how many answers, or the error's status and code."""
    try:
        return (len(await work),)
    except HttpResponseError as error:
        return error.status_code, told_code(error)


async def read(client: TableClient, partition: str) -> dict[str, Any]:
    """Return a partition's rows by name."""
    query, parameters = "PartitionKey eq @partition", {"partition": keys.encode(partition)}
    return {keys.decode(one["RowKey"]): one async for one in client.query_entities(query, parameters=parameters)}


def plain(found: dict[str, Any]) -> dict[str, str]:
    """Return the rows as text that tells types apart, and knows that NaN is NaN."""
    return {name: repr({**one, "PartitionKey": ""}) for name, one in found.items()}


def told_code(error: HttpResponseError) -> str:
    """Return the code of an error, as text."""
    return str(getattr(getattr(error, "error_code", ""), "value", getattr(error, "error_code", "")))


def answering(status: int, body: bytes, headers: dict[str, str] | None = None, sent: list[Any] | None = None) -> TableClient:
    """Return a client whose pipeline gives one answer to everything."""

    async def send_request(request: object, *, stream: bool) -> object:
        assert stream
        if sent is not None:
            sent.append(request)
        return SimpleNamespace(status_code=status, headers=headers or {}, reason="", read=read_body)

    async def read_body() -> bytes:
        return body

    pipeline = SimpleNamespace(send_request=send_request)
    return cast("TableClient", SimpleNamespace(url="http://a/b?sas", table_name="t", api_version="2019-02-02", _client=pipeline))
