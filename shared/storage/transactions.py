"""Entity group transactions: written and read by ourselves, sent through the SDK's own pipeline.

The SDK builds a request object for every operation and an e-mail message around them, which costs more than Table storage itself
does (docs/adr/0015-entity-group-transactions-written-by-ourselves.md). Its pipeline stays: authentication, TLS, retries, logs.

Source: learn.microsoft.com/rest/api/storageservices/performing-entity-group-transactions, and for the types of columns
.../payload-format-for-table-service-operations.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
    ServiceResponseError,
)
from azure.core.rest import AsyncHttpResponse, HttpRequest
from azure.data.tables.aio import TableClient

from shared.storage import keys
from shared.storage.codec import Columns, to_json
from shared.storage.limits import OPERATION_OVERHEAD, TRANSACTION_BYTES, TRANSACTION_ROWS, TooLargeError

BATCH_BYTES = 1024 * 1024
"""How large a transaction becomes where rows may be spread over several: a larger body would hold up the event loop."""
ACCEPTED = 202
ERRORS: Mapping[int, type[HttpResponseError]] = {
    401: ClientAuthenticationError,
    404: ResourceNotFoundError,
    409: ResourceExistsError,
    412: ResourceModifiedError,
}
"""The errors that the SDK raises for a status; HttpResponseError for any other one."""
INTEGERS = range(-(2**31), 2**31)
"""What Edm.Int32 holds. A larger number would come back as another type, so it is refused."""
_ANSWERS = re.compile(rb"\nHTTP/1\.\d ")
"""Where the answers to single operations begin: their JSON has no line that does."""
_ETAG = re.compile(rb"\n(?i:etag):[ \t]*([^\r\n]*)")
_HEADERS = (
    "Content-Type: application/json\r\nAccept: application/json;odata=nometadata\r\n"
    "DataServiceVersion: 3.0\r\nPrefer: return-no-content\r\n"
)


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a transaction, encoded. ``row`` is where it goes, behind the table's address: "" for an insertion."""

    method: str
    row: str
    body: bytes = b""
    condition: str = ""
    """The If-Match header: an ETag, "*" for any, or "" for none."""

    @property
    def size(self) -> int:
        """How many bytes it takes in a transaction, at the most."""
        return len(self.row) + len(self.body) + OPERATION_OVERHEAD


def create(found: Columns) -> Operation:
    """Insert a row; the transaction fails when it exists."""
    return Operation("POST", "", encode_columns(found))


def upsert(found: Columns) -> Operation:
    """Write a row, whether it exists or not."""
    return Operation("PUT", address(found), encode_columns(found))


def update(found: Columns, etag: str) -> Operation:
    """Replace a row if its ETag still matches."""
    return Operation("PUT", address(found), encode_columns(found), etag)


def delete(partition: str, row: str) -> Operation:
    """Delete a row; the transaction fails when it does not exist."""
    return Operation("DELETE", address(keys.entity(partition, row, {})), condition="*")


def batches(operations: Iterable[Operation], room: int = 0) -> Iterator[list[Operation]]:
    """Cut operations of one partition into transactions of a fair size, with room in each for so many small rows more."""
    most_rows, most_bytes = TRANSACTION_ROWS - room, BATCH_BYTES - 2 * OPERATION_OVERHEAD * room
    batch: list[Operation] = []
    total = 0
    for operation in operations:
        if batch and (len(batch) == most_rows or total + operation.size > most_bytes):
            yield batch
            batch, total = [], 0
        batch.append(operation)
        total += operation.size
    if batch:
        yield batch


def check_size(operations: Sequence[Operation]) -> None:
    """Raise TooLargeError for a transaction that Table storage does not take."""
    if len(operations) > TRANSACTION_ROWS:
        raise TooLargeError(f"a transaction of {len(operations)} rows; Table storage takes {TRANSACTION_ROWS}")
    total = sum(operation.size for operation in operations)
    if total > TRANSACTION_BYTES:
        raise TooLargeError(f"a transaction of {total} bytes; Table storage takes {TRANSACTION_BYTES}")


def address(found: Columns) -> str:
    """Return where a row is, behind its table's address (.../rest/api/storageservices/update-entity2)."""
    return f"(PartitionKey='{_quoted(found['PartitionKey'])}',RowKey='{_quoted(found['RowKey'])}')"


def encode_columns(columns: Columns) -> bytes:
    """Return a row's columns as JSON in ASCII; None is no column. Raises TypeError for what none of our columns is.

    Text, truth values and whole numbers carry no type: Table storage knows them from their JSON.
    """
    properties: Columns = {}
    for name, value in columns.items():
        if isinstance(value, float):
            properties |= {f"{name}@odata.type": "Edm.Double", name: value if math.isfinite(value) else _not_finite(value)}
        elif isinstance(value, str | bool) or (isinstance(value, int) and value in INTEGERS):
            properties[name] = value
        elif value is not None:
            raise TypeError(f"column {name} is a {type(value).__name__}, or a number beyond 32 bits, that no column holds")
    return to_json(properties).encode("ascii")


def encode(operations: Sequence[Operation], table_url: str, name: str) -> bytes:
    """Return the body of a request: one batch with one change set. ``name`` makes its boundaries, which nothing else contains."""
    written = [b"--batch_%b\r\nContent-Type: multipart/mixed; boundary=changeset_%b\r\n" % ((name.encode(),) * 2)]
    boundary = f"\r\n--changeset_{name}\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n"
    for number, one in enumerate(operations, 1):
        condition = f"If-Match: {one.condition}\r\n" if one.condition else ""
        head = (
            f"{boundary}Content-ID: {number}\r\n\r\n{one.method} {table_url}{one.row} HTTP/1.1\r\n"
            f"{_HEADERS}{condition}Content-Length: {len(one.body)}\r\n\r\n"
        )
        written += [head.encode("ascii"), one.body]
    written.append(f"\r\n--changeset_{name}--\r\n--batch_{name}--\r\n".encode("ascii"))
    return b"".join(written)


@dataclass(frozen=True, slots=True)
class Answer:
    """What one operation came to: its status, the row's new ETag if it has one, and the error's JSON."""

    status: int
    etag: str
    body: bytes


def decode(content: bytes) -> list[Answer]:
    """Return the answers to the operations of a transaction; of one that failed, there is the one of what failed alone."""
    return [_answer(part) for part in _ANSWERS.split(content)[1:]]


async def send(client: TableClient, operations: Sequence[Operation]) -> list[str]:
    """Carry out a transaction once; return the rows' new ETags, "" for a deleted row.

    Raises the SDK's errors, by status: ServiceResponseError where the answer tells nothing of what was done.
    """
    name = str(uuid4())
    endpoint = client.url.partition("?")[0].rstrip("/")
    request = HttpRequest(
        "POST",
        f"{endpoint}/$batch",
        headers={
            "x-ms-version": client.api_version,
            "DataServiceVersion": "3.0",
            "MaxDataServiceVersion": "3.0;NetFx",
            "Content-Type": f"multipart/mixed; boundary=batch_{name}",
            "Accept": "application/json",
        },
        content=encode(operations, f"{endpoint}/{client.table_name}", name),
    )
    # The pipeline has no public door; the SDK's own submit_transaction sends by this one.
    response = await client._client.send_request(request, stream=True)  # noqa: SLF001
    content = await response.read()
    if response.status_code != ACCEPTED:
        raise _error(response, response.status_code, content)
    answers = decode(content)
    for answer in answers:
        if answer.status >= 300:
            raise _error(response, answer.status, answer.body)
    if len(answers) != len(operations):
        raise ServiceResponseError(f"{len(answers)} answers to a transaction of {len(operations)} operations")
    return [answer.etag for answer in answers]


def _answer(part: bytes) -> Answer:
    head, _, rest = part.partition(b"\r\n\r\n")
    etag = _ETAG.search(head)
    return Answer(int(head[:3]), etag[1].decode("ascii").strip() if etag else "", rest)


def _error(response: AsyncHttpResponse, status: int, content: bytes) -> HttpResponseError:
    """Return the SDK's error for a status, with the service's code and message, if it told any."""
    code, message = _told(content)
    error = ERRORS.get(status, HttpResponseError)(message or f"a transaction ended with status {status}")
    error.status_code = status
    error.response = response
    error.error_code = code or response.headers.get("x-ms-error-code", "")  # type: ignore[attr-defined] # as the SDK does
    return error


def _told(content: bytes) -> tuple[str, str]:
    """Return code and message of an OData error: JSON, with the boundary after it where it stands in a batch."""
    begin, end = content.find(b"{"), content.rfind(b"}")
    try:
        error: dict[str, Any] = json.loads(content[begin : end + 1])["odata.error"]
        return str(error["code"]), str(error["message"]["value"])
    except (ValueError, KeyError, TypeError):
        return "", ""


def _quoted(key: str) -> str:
    return quote(key.replace("'", "''"), safe="")


def _not_finite(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
