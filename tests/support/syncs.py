"""What tests of the directory sync share: what a reader sees, what the tenant holds, and runs that are watched or cut off."""

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, cast
from urllib.parse import unquote

from shared.domain.directory import DirectoryState, User
from shared.domain.steps import StepName, StepState
from shared.engine import Engine
from shared.microsoft.graph import smtp_addresses
from shared.ports import Directory, Microsoft, Page
from shared.storage import keys
from shared.storage.directory_rows import BEGUN_ROW, shard_partition
from shared.storage.table import Table
from shared.storage.transactions import Operation
from shared.workflows.run import Run
from tests.support.worlds import Case, KilledError

Before = Callable[[], Awaitable[None]]
PAGES = frozenset({"users", "user_changes", "group_changes", "group_users", "chosen_users"})
"""The reads of ``ports.Directory`` that give a page."""


async def current(case: Case) -> DirectoryState | None:
    """Return what readers read."""
    return await case.parts.container.storage.directory.current(case.tenant_id)


async def found(case: Case, address: str) -> User | None:
    """Look an address up, as the product does."""
    return await case.parts.container.storage.directory.find_by_address(case.tenant_id, address)


def table_of(case: Case) -> Table:
    """Return the table itself: a reader may read it without Grantline."""
    table: Table = case.parts.container.storage.directory._table  # type: ignore[attr-defined]
    return table


async def stored(case: Case) -> list[str]:
    """Return the keys of all rows that the tenant has in the table, but for the numbers of its generations."""
    low, high = keys.encode(case.tenant_id), keys.after_prefix(keys.encode(case.tenant_id))
    query = "PartitionKey ge @low and PartitionKey lt @high"
    return [each.row for each in await table_of(case).query(query, {"low": low, "high": high}) if each.row != BEGUN_ROW]


async def seen(case: Case) -> dict[str, Any] | None:
    """Return everything that a reader sees, but for generation and moments: every row by its key, the counts, the domains."""
    state = await current(case)
    if state is None:
        return None
    rows: dict[str, Any] = {}
    for shard in range(state.shards):
        partition = shard_partition(case.tenant_id, state.copy, shard)
        for row in await table_of(case).between(partition, "", ""):
            rows[row.row] = {name: value for name, value in row.columns.items() if name != "version"}
    rows = {key: columns for key, columns in rows.items() if not key.startswith("count")}
    domains = [
        replace(each, receiving_since=None) for each in await case.parts.container.storage.directory.domains(case.tenant_id)
    ]
    return {"rows": rows, "counts": dict(state.counts), "domains": [asdict(each) for each in domains]}


def held(case: Case) -> dict[str, Any]:
    """Return what the tenant holds now: who has each address, every user's name, and every group's members."""
    tenant = case.tenant
    return {
        "addresses": {
            address: user.id
            for user in tenant.users
            for address in (smtp_addresses(user.proxy_addresses) or ((user.mail.casefold(),) if user.mail else ()))
        },
        "users": {user.id: (user.display_name, user.account_enabled) for user in tenant.users},
        "groups": {group.id: group.display_name for group in tenant.groups.values()},
        "members": {(group.id, member) for group in tenant.groups.values() for member in group.member_ids},
    }


def told(seen: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same of what a reader sees."""
    rows: Mapping[str, Mapping[str, Any]] = seen["rows"]

    def of(kind: str) -> dict[str, Mapping[str, Any]]:
        return {key.partition("|")[2]: columns for key, columns in rows.items() if key.startswith(f"{kind}|")}

    return {
        "addresses": {address: columns["user_id"] for address, columns in of("address").items()},
        "users": {each: (columns["display_name"], columns["enabled"]) for each, columns in of("user").items()},
        "groups": {each: columns["display_name"] for each, columns in of("group").items()},
        "members": {tuple(each.split("|")) for each in of("member")},
    }


@dataclass(frozen=True, slots=True)
class _Watched:
    """Microsoft, or a directory, whose reader is told before each page."""

    inner: Any
    before: Before

    def directory(self, tenant_id: str) -> Directory:
        """Return the watched directory."""
        return cast("Directory", _Watched(self.inner.directory(tenant_id), self.before))

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.inner, name)
        if name not in PAGES:
            return method

        async def page(*arguments: Any) -> Page:
            await self.before()
            given: Page = await method(*arguments)
            return given

        return page


_ADDRESS = re.compile(r"\(PartitionKey='(.*)',RowKey='(.*)'\)")


def keys_of(operation: Operation) -> tuple[str, str]:
    """Return the partition and the row that an operation of a transaction is about."""
    match = _ADDRESS.fullmatch(operation.row)
    if match:
        partition, row = map(unquote, match.groups())
        return partition, row
    document = json.loads(operation.body)
    return document["PartitionKey"], document["RowKey"]


def watching(case: Case, before: Before) -> Engine:
    """Return the engine with ``before`` awaited before each page that a sync reads."""

    def change(run: Run) -> Run:
        microsoft = cast("Microsoft", _Watched(run.clients.microsoft, before))
        return replace(run, clients=replace(run.clients, microsoft=microsoft))

    return case.world.engine(change)


async def lease_over(case: Case, name: StepName) -> None:
    """Let the lease of a run that was killed end."""
    step = await case.step(name)
    assert step.state is StepState.RUNNING
    assert step.clock is not None
    case.parts.clock.advance_to(step.clock)


def killed_at(page: int) -> Before:
    """Return what ends the process before a page, the first being 1."""
    left = iter(range(page - 1))

    async def before() -> None:
        if next(left, None) is None:
            raise KilledError

    return before
