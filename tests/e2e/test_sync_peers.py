"""The benchmark of the first sync is fair: its peers write the very rows that Grantline writes, in the same partitions."""

from collections import Counter
from typing import Any

from azure.data.tables.aio import TableServiceClient

from bench.machine import simulated
from bench.sync_runs import RUNS, Task
from local import azurite

KINDS = ("user", "address")
"""The rows of users; Grantline also writes groups, members, domains and counts."""
USERS, TYPED_USERS = 4_100, 12
"""More than one partition holds, and what the typed SDK reads and writes in a moment."""
Rows = dict[tuple[str, str], dict[str, Any]]


async def written(run: str, users: int) -> Rows:
    """Do a run on an empty storage; return every row of the directory's generation, by its keys."""
    async with simulated(users) as tenant, await azurite.start() as storage:
        connection = storage.connection_string
        numbers = await RUNS[run](Task({"run": run, "tenant": tenant, "storage": connection, "users": users}))
        assert numbers["users"] == users
        async with TableServiceClient.from_connection_string(connection) as service:
            found = [dict(row) async for row in service.get_table_client("directory").list_entities()]
    generation = f"{tenant['tenant_id']}|000001|"
    return {(row["PartitionKey"], row["RowKey"]): row for row in found if row["PartitionKey"].startswith(generation)}


def of_users(rows: Rows) -> Rows:
    """Return the rows of users alone."""
    return {keys: row for keys, row in rows.items() if keys[1].partition("|")[0] in KINDS}


async def test_the_raw_writer_writes_what_a_sync_writes() -> None:
    """Each row of a user is the same by both, spread in the same way; what a sync writes besides is on Grantline's own bill."""
    synced, raw = await written("sync", USERS), await written("write", USERS)

    assert of_users(synced) == of_users(raw) == raw
    assert len({partition for partition, _ in raw}) == 2
    assert Counter(row.partition("|")[0] for _, row in raw)["user"] == USERS
    assert synced.keys() - raw.keys()


async def test_the_typed_sdk_s_peer_writes_what_a_sync_writes() -> None:
    """Each row of a user is the same by both."""
    synced, typed = await written("sync", TYPED_USERS), await written("typed", TYPED_USERS)

    assert of_users(synced) == typed
    assert typed
