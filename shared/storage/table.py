"""One table of Azure Table storage: points, ranges and transactions, in Grantline's errors."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from azure.core import MatchConditions
from azure.data.tables import TableEntity, UpdateMode
from azure.data.tables.aio import TableClient

from shared.ports import ConflictError
from shared.storage import keys
from shared.storage.codec import Columns
from shared.storage.errors import committing, translated
from shared.storage.limits import MissingError
from shared.storage.transactions import Operation, check_size, create, send, update

T = TypeVar("T")
ItemT = TypeVar("ItemT")
PAGE = 1000
"""How many rows Table storage returns at once, at the most."""


@dataclass(frozen=True, slots=True)
class Found:
    """A row as it was read."""

    partition: str
    row: str
    columns: Columns
    etag: str


class Table:
    """One table. Keys come and go as names; ``keys`` encodes them."""

    def __init__(self, client: TableClient) -> None:
        self._client = client

    async def get(self, partition: str, row: str) -> Found | None:
        """Return a row, or None."""
        try:
            with translated():
                return _found(await self._client.get_entity(keys.encode(partition), keys.encode(row)))
        except MissingError:
            return None

    async def exists(self, partition: str, row: str) -> bool:
        """Tell whether there is such a row."""
        try:
            with translated():
                await self._client.get_entity(keys.encode(partition), keys.encode(row), select="RowKey")
        except MissingError:
            return False
        return True

    async def between(self, partition: str, low: str, high: str, limit: int | None = None) -> list[Found]:
        """Return the rows with ``low`` <= key < ``high`` (both encoded), in key order, at most ``limit``; "" is no bound."""
        bounds = {"RowKey ge @low": low, "RowKey lt @high": high}
        query = " and ".join(["PartitionKey eq @partition", *(bound for bound, key in bounds.items() if key)])
        parameters = {"partition": keys.encode(partition), "low": low, "high": high}
        return await self.query(query, parameters, limit=limit)

    async def beginning(self, partition: str, prefix: str) -> list[Found]:
        """Return the rows whose key begins with ``prefix``, in key order."""
        low = keys.encode(prefix)
        return await self.between(partition, low, keys.after_prefix(low))

    async def query(
        self, query: str, parameters: dict[str, str], *, limit: int | None = None, select: list[str] | None = None
    ) -> list[Found]:
        """Return the rows of a query in key order, of all pages, at most ``limit``."""
        found: list[Found] = []
        page = min(limit or PAGE, PAGE)
        with translated():
            async for one in self._client.query_entities(query, parameters=parameters, results_per_page=page, select=select):
                found.append(_found(one))
                if len(found) == limit:
                    break
        return found

    async def pages(self, partition: str, low: str = "", select: list[str] | None = None) -> AsyncIterator[list[Found]]:
        """Yield the rows of a partition from the key ``low`` (encoded) on, page by page, in key order."""
        query, parameters = "PartitionKey eq @partition and RowKey ge @low", {"partition": keys.encode(partition), "low": low}
        pages = self._client.query_entities(query, parameters=parameters, results_per_page=PAGE, select=select).by_page()
        while True:
            with translated():
                try:
                    page = [_found(one) async for one in await anext(pages)]
                except StopAsyncIteration:
                    return
            yield page

    async def put(self, row: Columns) -> None:
        """Write a row, whether it exists or not."""
        with translated():
            await self._client.upsert_entity(row, mode=UpdateMode.REPLACE)

    async def insert(self, row: Columns) -> bool:
        """Insert a row; return False, and change nothing, when it exists."""
        try:
            with translated():
                await self._client.create_entity(row)
        except ConflictError:
            return False
        return True

    async def delete(self, partition: str, row: str) -> None:
        """Delete a row; an absent one is no error."""
        with translated():
            await self._client.delete_entity(keys.encode(partition), keys.encode(row))

    async def remove(self, found: Found) -> bool:
        """Delete a row if it is as it was found, or gone; return False when it is not."""
        keys_of_it = (keys.encode(found.partition), keys.encode(found.row))
        try:
            with translated():
                await self._client.delete_entity(*keys_of_it, etag=found.etag, match_condition=MatchConditions.IfNotModified)
        except ConflictError:
            return False
        return True

    async def write(self, row: Columns, found: Found | None) -> bool:
        """Write a row in the place of the one that was found, or of none; return False when that is not what is there now.

        False, too, when no answer came: the row may be written or not, so read again.
        """
        try:
            await self.transaction([update(row, found.etag) if found else create(row)])
        except ConflictError:
            return False
        return True

    async def transaction(self, operations: Sequence[Operation]) -> str:
        """Carry out operations of one partition, all or none; return the ETag of the first row ("" where that is deleted).

        Raises ConflictError when a row is not as it was read, or when no answer came (all may be done, or none), TooLargeError
        before anything is sent.
        """
        check_size(operations)
        with committing():
            return (await send(self._client, operations))[0]

    async def attempt(self, operations: Sequence[Operation]) -> str:
        """Like ``transaction``, for whoever may carry it out twice or can find out what became of it.

        Raises TransientError when no answer came, and MissingError where a row that it needs is not there.
        """
        check_size(operations)
        with translated():
            return (await send(self._client, operations))[0]


async def side_by_side(work: Iterable[Callable[[], Awaitable[object]]], at_once: int) -> None:
    """Do all of ``work``, ``at_once`` at a time; the first error ends the rest, and is raised."""
    limit = asyncio.Semaphore(at_once)

    async def one(part: Callable[[], Awaitable[object]]) -> None:
        async with limit:
            await part()

    try:
        async with asyncio.TaskGroup() as tasks:
            for part in work:
                tasks.create_task(one(part))
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def each(function: Callable[[ItemT], Awaitable[T]], items: Iterable[ItemT], at_once: int) -> list[T]:
    """Return what ``function`` returns for each item, in their order, ``at_once`` at a time; the first error is raised."""
    known = list(items)
    found: dict[int, T] = {}

    async def one(number: int) -> None:
        found[number] = await function(known[number])

    await side_by_side((partial(one, number) for number in range(len(known))), at_once)
    return [found[number] for number in range(len(known))]


def _found(one: TableEntity) -> Found:
    columns = dict(one)
    partition, row = columns.pop("PartitionKey"), columns.pop("RowKey")
    return Found(keys.decode(partition), keys.decode(row), columns, str(one.metadata["etag"]))
