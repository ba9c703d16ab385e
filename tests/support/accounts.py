"""Many accounts at once: written into the console's lists by transactions, in seconds."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import partial

from azure.data.tables.aio import TableClient

from shared.domain.grant import GrantState
from shared.ports import NOT_GRANTED, AccountRow
from shared.storage import keys, transactions
from shared.storage.accounts import places
from shared.storage.records import ACCOUNT
from shared.storage.table import Table, side_by_side
from shared.storage.transactions import Operation

NOW = datetime(2026, 11, 23, 12, 30, tzinfo=UTC)
STATES = (GrantState.COMPLETED, GrantState.COMPLETED, *GrantState, NOT_GRANTED)
"""In turn; most accounts of an operator have come to their end."""


def many(count: int) -> list[AccountRow]:
    """Return so many accounts, in all states, sorted by name."""
    return [_account(number, STATES[number % len(STATES)]) for number in range(count)]


async def seed(accounts: TableClient, rows: Iterable[AccountRow], *, only: str = "") -> None:
    """Write accounts into all their lists, or into the list ``only``; their own rows, which no page reads, are left out."""
    partitions: defaultdict[str, list[Operation]] = defaultdict(list)
    for row in rows:
        for partition, key in places(row):
            if only in ("", partition):
                partitions[partition].append(transactions.upsert(keys.entity(partition, key, ACCOUNT.write(row))))
    target = Table(accounts)
    work = [batch for operations in partitions.values() for batch in transactions.batches(operations)]
    await side_by_side((partial(target.attempt, batch) for batch in work), 8)


def _account(number: int, state: str) -> AccountRow:
    is_granted = state != NOT_GRANTED
    is_complete = state == GrantState.COMPLETED
    return AccountRow(
        account_id=f"account-{number:06}",
        account_name=f"Contoso {number:06} GmbH & Co. KG",
        grant_id=f"00000000-0000-4000-8000-{number:012}" if is_granted else "",
        state=state,
        directions=("inbound", "outbound") if is_granted else (),
        users_synced=2500 + number if is_complete else None,
        last_sync=NOW - timedelta(seconds=number) if is_complete else None,
        next_clock=None if is_complete else NOW,
        tenant_id=f"11111111-0000-4000-8000-{number:012}" if is_granted else "",
        tenant_name=f"Contoso {number:06}" if is_complete else "",
        created_by="operator@example.com" if is_granted else "",
        is_service_account=is_complete,
        asks_activity=is_complete,
        seq=12 if is_granted else 0,
    )
