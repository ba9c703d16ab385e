"""One run of a directory sync's benchmark, in a process of its own: Grantline's own, or one of its peers.

The task comes as JSON on standard input. The numbers go as one line of JSON to standard output: seconds, users, and the most
memory that the process ever held, in MiB. What loads modules, signs in or prepares rows is never timed.
"""

import asyncio
import json
import resource
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import httpx
from azure.data.tables.aio import TableClient, TableServiceClient

from local.microsoft365.seed import default_seeds, user_directory
from local.microsoft365.simulation import Simulation
from shared import settings as app_settings
from shared.container import Overrides, build
from shared.domain import schedule
from shared.domain.decision import Decision
from shared.domain.directory import Generation, User, shards_for
from shared.domain.grant import Grant
from shared.domain.steps import StepName, StepState
from shared.microsoft.graph import USER_PROPERTIES, smtp_addresses
from shared.microsoft.transport import tls_context
from shared.settings import Settings
from shared.storage.codec import Columns
from shared.storage.directory_rows import address_row, object_row, partition_of
from shared.storage.directory_writer import AT_ONCE
from shared.storage.keys import entity
from shared.storage.limits import TRANSACTION_ROWS
from shared.storage.records import USER
from shared.storage.service import open_service
from shared.storage.table import Found, Table, side_by_side
from shared.storage.transactions import Operation, create
from tests.support.grantline import Grantline, TestClock, environment
from tests.support.syncs import keys_of

Numbers = dict[str, Any]
TIMEOUT = 60


class Task:
    """What is to be run: the tenant as the simulated Microsoft 365 told it, the storage, and how many users there are."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.run: str = document["run"]
        self.facts: Mapping[str, Any] = document["tenant"]
        self.users: int = document["users"]
        self.settings: Settings = app_settings.load(environment(document["storage"], self.facts))
        self.tenant_id: str = self.facts["tenant_id"]
        self.generation = Generation(1, shards_for(self.users))

    @asynccontextmanager
    async def grantline(self) -> AsyncIterator[Grantline]:
        """Open Grantline on the storage, without a functions host."""
        clock = TestClock()
        container = await build(self.settings, Overrides(clock=clock))
        elsewhere = cast("Simulation", SimpleNamespace(ca_file=self.facts["ca_file"], url=self.facts["url"]))
        try:
            yield Grantline(container, elsewhere, clock, self.facts)
        finally:
            await container.close()

    def control(self) -> httpx.AsyncClient:
        """Return a client of the simulated tenant's control interface."""
        verified = tls_context(self.facts["ca_file"])
        return httpx.AsyncClient(base_url=self.facts["url"], verify=verified, trust_env=False, timeout=TIMEOUT)

    @asynccontextmanager
    async def graph(self) -> AsyncIterator[httpx.AsyncClient]:
        """Open an HTTP client that is signed in to Graph as the directory application, once an administrator has consented."""
        application = self.facts["applications"]["directory"]
        form = {"grant_type": "client_credentials", "scope": "https://graph.microsoft.com/.default", **application}
        async with self.control() as http:
            answer = await http.post(f"/{self.tenant_id}/oauth2/v2.0/token", data=form)
            http.headers["Authorization"] = f"Bearer {answer.raise_for_status().json()['access_token']}"
            yield http


async def sync(task: Task) -> Numbers:
    """Grantline's first sync, slice after slice, as the queue would run it."""
    async with task.grantline() as running:
        grant_id = await running.start()
        await running.until(grant_id, StepName.DIRECTORY_SYNC)
        begun = time.perf_counter()
        grant = await settled(running, grant_id, StepName.DIRECTORY_SYNC)
        seconds = time.perf_counter() - begun
        users = grant.steps[StepName.DIRECTORY_SYNC].facts["users"]
        return {"seconds": seconds, "users": users}


CHANGES = 100
"""How many users are changed on the day that is measured."""


async def day(task: Task) -> Numbers:
    """Grantline's daily sync after 100 changes: the requests to Graph by collection, and the rows of the directory written.

    The first sync reads the changes of everything from the beginning (the tenant refuses the token form), so that its result
    needs no comparison any more: the day is one after the second daily sync.
    """
    async with task.grantline() as running, task.control() as control:
        (await control.post("/_control/settings", json={"delta_latest_refused": True})).raise_for_status()
        grant_id = await running.start()
        await running.until(grant_id, StepName.DIRECTORY_SYNC)
        begun = time.perf_counter()
        await settled(running, grant_id, StepName.DIRECTORY_SYNC)
        first = time.perf_counter() - begun
        (await control.post("/_control/directory-changes", json={"changes": list(changes())})).raise_for_status()
        await queued(running, grant_id, StepName.DAILY_SYNC)
        (await control.delete("/_control/requests")).raise_for_status()
        rows = counted_rows(task.tenant_id)
        begun = time.perf_counter()
        grant = await settled(running, grant_id, StepName.DAILY_SYNC)
        seconds = time.perf_counter() - begun
        asked = (await control.get("/_control/requests", params={"api": "graph"})).json()
        facts = grant.steps[StepName.DAILY_SYNC].facts
        return {
            "first": first,
            "seconds": seconds,
            "users": facts["users"],
            "changed": facts["changed"]["users"],
            "requests": Counter(each["operation"] for each in asked),
            "rows": dict(rows),
        }


def changes() -> Iterator[dict[str, Any]]:
    """Return what happens on the day: most people get another name, some another address, and some leave."""
    for number in range(CHANGES):
        user = {"noun": "user", "position": 1000 + 37 * number}
        if number % 10 == 0:
            yield {**user, "remove": True}
        elif number % 10 == 1:
            address = f"moved{number}@contoso.com"
            yield {**user, "change": {"proxyAddresses": [f"SMTP:{address}"], "mail": address}}
        else:
            yield {**user, "change": {"displayName": f"Renamed {number}"}}


def counted_rows(tenant_id: str) -> Counter[str]:
    """Return a counter of the rows of the tenant's directory that are written or deleted from now on, by kind."""
    rows: Counter[str] = Counter()
    attempt, remove = Table.attempt, Table.remove

    async def counted(itself: Table, operations: Sequence[Operation]) -> str:
        rows.update(row.partition("|")[0] for partition, row in map(keys_of, operations) if partition.startswith(tenant_id))
        return await attempt(itself, operations)

    async def removed(itself: Table, found: Found) -> bool:
        rows.update([found.row.partition("|")[0]] if found.partition.startswith(tenant_id) else [])
        return await remove(itself, found)

    Table.attempt, Table.remove = counted, removed  # type: ignore[method-assign, assignment]
    return rows


async def queued(running: Grantline, grant_id: str, name: StepName) -> None:
    """Queue a step, as its timer does."""

    def change(grant: Grant, now: datetime) -> Decision:
        again = replace(grant.steps[name], state=StepState.QUEUED, clock=schedule.grace_end(now), begun_at=now)
        return Decision(grant.with_step(again))

    await running.container.engine.commit(grant_id, change)


async def settled(running: Grantline, grant_id: str, name: StepName) -> Grant:
    """Run a step slice by slice to its end, and see it done. What it waits for is waited for, and counts."""
    begun = time.perf_counter()
    while True:
        grant = await running.work(grant_id, name)
        step = grant.steps[name]
        told = f"{step.facts.get('users', 0):,} users {step.reason}"
        print(f"  {time.perf_counter() - begun:>6.0f} s  {step.state:<8} {told}", file=sys.stderr, flush=True)
        if step.state is StepState.WAITING and step.clock:
            await asyncio.sleep(max((step.clock - running.clock()).total_seconds(), 0))
        elif step.state is not StepState.QUEUED:
            assert step.is_done, (step.state, step.reason, step.problem)
            return grant


async def read(task: Task) -> Numbers:
    """The raw page reader: every page of the list, one after the other, parsed and thrown away."""
    await consented(task)
    async with task.graph() as http:
        begun, users = time.perf_counter(), 0
        url = f"/v1.0/users?$select={','.join(USER_PROPERTIES)}&$top=999"
        while url:
            page = (await http.get(url)).raise_for_status().json()
            users += len(page["value"])
            url = page.get("@odata.nextLink", "")
        return {"seconds": time.perf_counter() - begun, "users": users}


async def consented(task: Task) -> None:
    """Have an administrator consent, so that the applications are let in."""
    async with task.grantline() as running:
        await running.until(await running.start(), StepName.DIRECTORY_SYNC)


async def write(task: Task) -> Numbers:
    """The raw table writer: the rows that Grantline would write, made beforehand, in transactions as full as they can be."""
    service = await open_service(task.settings)
    directory = service.table("directory")
    rows = full_transactions(task)

    async def write_one(part: list[Columns]) -> None:
        await directory.transaction([create(row) for row in part])

    work = [partial(write_one, part) for part in rows]
    begun = time.perf_counter()
    await side_by_side(work, AT_ONCE)
    seconds = time.perf_counter() - begun
    await service.resources.aclose()
    return {"seconds": seconds, "users": task.users, "transactions": len(work)}


def full_transactions(task: Task) -> list[list[Columns]]:
    """Return the rows of all users, each partition's a hundred at a time, in turn so that no partition is written alone."""
    rows: dict[str, list[Columns]] = {}
    for user in users_of(task):
        for row, columns in rows_of(user):
            partition = partition_of(task.tenant_id, task.generation, row)
            rows.setdefault(partition, []).append(entity(partition, row, columns))
    cut = [[found[at : at + TRANSACTION_ROWS] for at in range(0, len(found), TRANSACTION_ROWS)] for found in rows.values()]
    longest = max(map(len, cut))
    return [partition[number] for number in range(longest) for partition in cut if number < len(partition)]


def users_of(task: Task) -> Iterator[User]:
    """Return the tenant's users as Grantline's records."""
    for user in user_directory(default_seeds(task.users)[0]):
        addresses = smtp_addresses(user.proxy_addresses)
        names = (user.id, user.user_principal_name, user.display_name, user.mail or "")
        yield User(*names, addresses, enabled=user.account_enabled, user_type=user.user_type)


def rows_of(user: User) -> Iterator[tuple[str, Columns]]:
    """Return a user's rows: its own, and one for each address."""
    columns = USER.write(user)
    for row in (object_row(User, user.user_id), *map(address_row, user.addresses)):
        yield row, columns


async def typed(task: Task) -> Numbers:
    """The typed SDK: its models, its page iterator, and one upsert for each row, one after the other, as its samples do it."""
    from kiota_abstractions.base_request_configuration import RequestConfiguration  # noqa: PLC0415 - heavy: this run's alone
    from msgraph.generated.users.users_request_builder import UsersRequestBuilder  # noqa: PLC0415
    from msgraph_core.tasks.page_iterator import PageIterator  # noqa: PLC0415

    async with task.grantline() as running, opened_table(task.settings) as rows:
        await running.until(await running.start(), StepName.DIRECTORY_SYNC)
        _, client = await running.container.microsoft.directory(task.tenant_id)._graph.builders()  # type: ignore[attr-defined] # noqa: SLF001
        parameters = UsersRequestBuilder.UsersRequestBuilderGetQueryParameters
        await client.users.get(RequestConfiguration(query_parameters=parameters(select=list(USER_PROPERTIES), top=1)))
        begun = time.perf_counter()
        first = await client.users.get(RequestConfiguration(query_parameters=parameters(select=list(USER_PROPERTIES), top=999)))
        found: list[Any] = []

        def keep(user: Any) -> bool:
            found.append(user)
            return True

        await PageIterator(first, client.request_adapter).iterate(keep)
        for user in map(typed_user, found):
            for row, columns in rows_of(user):
                partition = partition_of(task.tenant_id, task.generation, row)
                await rows.upsert_entity(entity(partition, row, columns))
        return {"seconds": time.perf_counter() - begun, "users": len(found)}


def typed_user(user: Any) -> User:
    """Return Grantline's record of the SDK's model of a user."""
    addresses = smtp_addresses(user.proxy_addresses or ())
    names = (user.id, user.user_principal_name, user.display_name, user.mail or "")
    return User(*names, addresses, enabled=bool(user.account_enabled), user_type=user.user_type)


@asynccontextmanager
async def opened_table(settings: Settings) -> AsyncIterator[TableClient]:
    """Give Azure's own client of the table, which is created."""
    assert settings.storage_connection
    async with TableServiceClient.from_connection_string(settings.storage_connection.get_secret_value()) as service:
        yield await service.create_table_if_not_exists("directory")


RUNS: Mapping[str, Callable[[Task], Coroutine[Any, Any, Numbers]]] = {
    "sync": sync,
    "read": read,
    "write": write,
    "typed": typed,
    "day": day,
}
"""Every run by its name."""


def main() -> None:
    """Do the task, and print its numbers."""
    task = Task(json.load(sys.stdin))
    numbers: Numbers = asyncio.run(RUNS[task.run](task))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({**numbers, "memory": memory}))


if __name__ == "__main__":
    main()
