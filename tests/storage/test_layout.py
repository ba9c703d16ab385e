"""The tables as they are documented, as they are created and as they are written."""

import re
import subprocess
import sys
from pathlib import Path

from shared.domain.directory import DirectoryState, Generation, Group, Member, SyncedDomain, User
from shared.domain.grant import Row
from shared.domain.steps import Queue
from shared.ports import AccountRow, Binding, DeadLetter, DueRow
from shared.storage.layout import TABLES, RowLayout, markdown
from tests.storage.conftest import OnAzurite
from tests.storage.examples import NOW, change, new_grant

PROJECT = Path(__file__).parents[2]
DESIGNED = {"grants", "bindings", "due", "accounts", "deadletters", "directory"}
IMPORTS = "import sys, shared.storage; print([name for name in sys.modules if name.startswith('azure')])"


def test_the_documented_layout_is_the_code_s() -> None:
    """``docs/tables.md`` is what ``python -m shared.storage.layout`` prints."""
    assert (PROJECT / "docs" / "tables.md").read_text() == markdown()


def test_importing_the_storage_loads_no_sdk() -> None:
    """A cold start does not pay for the Azure SDKs before the first function needs them."""
    command = [sys.executable, "-c", IMPORTS]
    answer = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)  # noqa: S603 - our own interpreter

    assert answer.stdout.strip() == "[]"


async def test_the_start_creates_every_table_and_queue(on_azurite: OnAzurite) -> None:
    """Six tables, and all queues that Grantline reads or writes, are there after the start."""
    tables = {table.name async for table in on_azurite.tables.list_tables()}
    queues = {queue.name async for queue in on_azurite.queues.list_queues()}

    assert tables == {table.name for table in TABLES} == DESIGNED
    assert queues == {str(queue) for queue in Queue}


async def test_every_row_is_as_documented(on_azurite: OnAzurite) -> None:
    """Each table holds rows of the documented keys and columns, each with a version, and no others."""
    await write_one_of_each(on_azurite)

    for table in TABLES:
        rows = [row async for row in on_azurite.tables.get_table_client(table.name).list_entities()]
        assert rows, table.name
        for row in rows:
            layout = next(kind for kind in table.rows if fits(kind, row["PartitionKey"], row["RowKey"]))
            assert set(row) - {"PartitionKey", "RowKey"} <= set(layout.columns), row["RowKey"]
            assert row["version"] == 1


def fits(kind: RowLayout, partition: str, row: str) -> bool:
    """Tell whether both keys are of a kind: the same fixed words, and something in every pair of braces."""
    return all(
        re.fullmatch(re.sub(r"\\{.*?\\}", "[^|]+", re.escape(pattern)), key)
        for pattern, key in ((kind.partition, partition), (kind.row, row))
    )


async def write_one_of_each(on_azurite: OnAzurite) -> None:
    """Write through every port."""
    storage = on_azurite.storage
    stored = await storage.grants.create(new_grant())
    await storage.grants.save(stored, change(stored.grant, rows=(Row("sync|users", {"next": ""}),), events=1))
    await storage.grants.insert(stored.grant.grant_id, Row("command|1", {}))
    await storage.bindings.bind_tenant(Binding("tenant", "account", "grant", NOW))
    await storage.bindings.bind_account("account", "grant")
    await storage.due.put(DueRow(NOW, "grant"))
    await storage.accounts.put(AccountRow("1", "Name", "grant", "completed", (), 1, NOW, NOW, is_service_account=True))
    await storage.accounts.keep_counts({"completed": 1}, NOW)
    await storage.dead_letters.keep(DeadLetter("verifications", "body", "reason", NOW))
    user = User("id", "a@contoso.example", "A", "a@contoso.example", ("a@contoso.example",), enabled=True, user_type="Member")
    await storage.directory.begin("tenant", 1)
    writer = storage.directory.writer("tenant", Generation(1, 1))
    await writer.insert([user, Group("id", "G")], {"id": [Member("id")]}, [user])
    await writer.counts()
    await storage.directory.put_domains("tenant", [SyncedDomain("contoso.example", True, True, True, True)])
    await storage.directory.publish("tenant", DirectoryState(1, 1, {"users": 1}, NOW))
