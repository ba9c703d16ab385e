"""Pages of a collection: select, filter, count, cut into pages with opaque next links."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from local.microsoft365.graph.context import Answer, Context
from local.microsoft365.graph.query import read_skip_token, write_skip_token
from local.microsoft365.graph.shapes import Shape, row

T = TypeVar("T")
Position = int | str
Scan = Callable[[Position], Iterable[tuple[Position, T]]]
"""Gives objects with their positions, from a position on (0: from the first); positions of other objects never shift."""

DEFAULT_PAGE = 100


def selection(context: Context) -> str:
    """Return the `(a,b)` that a selection adds to the metadata path."""
    return f"({','.join(context.query.select)})" if context.query.select else ""


def scan_list(items: Sequence[T]) -> Scan[T]:
    """Return a scan over a sequence that keeps its order, and loses none of its items but at its end."""
    return lambda start: islice(enumerate(items), start if isinstance(start, int) else 0, None)


def scan_sorted(ids: Collection[str], find: Callable[[str], T | None]) -> Scan[T]:
    """Return a scan over what has these ids, in their order: whatever goes between two pages hides nothing else."""

    def scan(start: Position) -> Iterator[tuple[Position, T]]:
        first = start if isinstance(start, str) else ""
        for identifier in sorted(each for each in ids if each >= first):
            item = find(identifier)
            if item is not None:
                yield identifier, item

    return scan


def accepted(context: Context, shape: Shape[T], found: Iterable[tuple[Position, T]]) -> Iterator[tuple[Position, T]]:
    """Return those of the objects found that the request's filter accepts."""
    wanted = context.query.filter
    if wanted is None:
        yield from found
        return
    reader = shape.reader(wanted.properties, context.visible(shape.name))
    yield from ((position, item) for position, item in found if wanted.accepts(reader(item)))


def page(
    context: Context,
    path: str,
    scan: Scan[T],
    write: Callable[[T], dict[str, Any]],
    *,
    keep: Callable[[Iterable[tuple[Position, T]]], Iterator[tuple[Position, T]]] = iter,
    total: int | None = None,
) -> Answer:
    """Return one page of the collection at `path` of the metadata, with a next link when there is more.

    `keep` filters what `scan` gives. The count, where it was asked for, stands on the first page only; `total` is the
    number of objects where nothing is filtered and it is known without looking at them.
    """
    query = context.query
    collection = f"{context.tenant.id}/{path.partition('(')[0]}"
    start = read_skip_token(collection, query.skip_token)
    size = query.top or context.settings.page_size or DEFAULT_PAGE
    found = list(islice(keep(scan(start)), size + 1))
    document: dict[str, Any] = {"@odata.context": context.metadata(path)}
    if query.count and not query.skip_token:
        counted = total is not None and query.filter is None
        document["@odata.count"] = total if counted else sum(1 for _ in keep(scan(0)))
    if len(found) > size:
        document["@odata.nextLink"] = context.next_page(write_skip_token(collection, found[size][0]))
    document["value"] = [write(item) for _, item in found[:size]]
    return Answer(document=document)


def list_page(context: Context, path: str, shape: Shape[T], scan: Scan[T], total: int | None = None) -> Answer:
    """Return one page of a collection whose objects are all of one shape."""
    columns = shape.columns(context.query.select, context.visible(shape.name))

    def keep(found: Iterable[tuple[Position, T]]) -> Iterator[tuple[Position, T]]:
        return accepted(context, shape, found)

    return page(context, path + selection(context), scan, lambda item: row(columns, item), keep=keep, total=total)


def entity(context: Context, path: str, shape: Shape[T], item: T) -> Answer:
    """Return one object."""
    columns = shape.columns(context.query.select, context.visible(shape.name))
    context_url = context.metadata(f"{path}{selection(context)}/$entity")
    return Answer(document={"@odata.context": context_url, **row(columns, item)})
