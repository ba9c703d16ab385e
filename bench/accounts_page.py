"""What a page of 50 of 10,000 accounts costs through the console, side by side with the bare storage query for the same rows.

usage: python -m bench.accounts_page [--rounds N]    prints medians in milliseconds and their ratio; fails above the target
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape

from azure.data.tables.aio import TableClient, TableServiceClient

from local import azurite
from shared import settings
from shared.container import Container, build
from shared.ports import AccountRow
from shared.snapshot import count_accounts
from shared.storage.accounts import ALL, row_key
from shared.web import pages
from shared.web.http import Request
from tests.support.accounts import many, seed
from tests.support.app_settings import APP_SETTINGS

ACCOUNTS = 10_000
ROWS = 50
SCREENS = 20
"""How many different pages are asked for, in turn, spread over the whole list."""
WARM_UP = 20
"""How many rounds are not counted: connections are opened, templates compiled."""
TARGET = 2.5
"""How often the time of the bare query a page may take."""


@dataclass(frozen=True, slots=True)
class Screen:
    """One page of the list: its rows, and the token that leads to it."""

    rows: list[AccountRow]
    token: str


@dataclass(frozen=True, slots=True)
class Bench:
    """The console and a client of its storage."""

    container: Container
    table: TableClient

    async def page(self, screen: Screen) -> None:
        """Ask the console for the page, as a browser does, and check that it shows the rows."""
        request = Request("GET", "/", query={"after": screen.token} if screen.token else {})
        reply = await self.container.site.answer("console_dashboard", request, pages.dashboard)
        assert reply.status == 200
        assert isinstance(reply.body, str)
        assert escape(screen.rows[0].account_name) in reply.body
        assert escape(screen.rows[-1].account_name) in reply.body

    async def query(self, screen: Screen) -> None:
        """Ask Table storage for the same rows with Microsoft's client alone."""
        query = "PartitionKey eq @partition and RowKey ge @low"
        parameters = {"partition": ALL, "low": row_key(screen.rows[0])}
        found = self.table.query_entities(query, parameters=parameters, results_per_page=ROWS).by_page()
        names = [entity["account_name"] async for entity in await anext(found)]
        assert names == [row.account_name for row in screen.rows]

    async def screens(self) -> list[Screen]:
        """Walk through the list once and return pages from all over it."""
        found, token = [], ""
        for _ in range(ACCOUNTS // ROWS):
            rows, following = await self.container.storage.accounts.page(ROWS, token)
            found.append(Screen(rows, token))
            token = following
        return found[:: len(found) // SCREENS]


@asynccontextmanager
async def opened() -> AsyncIterator[Bench]:
    """Start Azurite, fill it with accounts, and open the console on it."""
    async with await azurite.start() as storage:
        connection = storage.connection_string
        environment = APP_SETTINGS | {"AzureWebJobsStorage": connection, "GRANTLINE_DEVELOPMENT_IDENTITY": "true"}
        container = await build(settings.load(environment))
        try:
            async with TableServiceClient.from_connection_string(connection) as service:
                table = service.get_table_client("accounts")
                await seed(table, many(ACCOUNTS))
                await count_accounts(container.storage.accounts, lambda: datetime.now(UTC))
                yield Bench(container, table)
        finally:
            await container.close()


async def measure(rounds: int) -> dict[str, float]:
    """Measure the candidates in turn, so that a noisy moment meets them all; return medians in milliseconds."""
    async with opened() as bench:
        candidates: dict[str, Callable[[Screen], Awaitable[None]]] = {"bare query": bench.query, "console page": bench.page}
        times: dict[str, list[float]] = {name: [] for name in candidates}
        screens = await bench.screens()
        for number in range(rounds + WARM_UP):
            for name, ask in candidates.items():
                begun = time.perf_counter()
                await ask(screens[number % len(screens)])
                times[name].append((time.perf_counter() - begun) * 1000)
    return {name: statistics.median(values[WARM_UP:]) for name, values in times.items()}


def main() -> None:
    """Print the medians and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    medians = asyncio.run(measure(parser.parse_args().rounds))
    for name, median in medians.items():
        print(f"{name:16} {median:8.1f} ms")
    ratio = medians["console page"] / medians["bare query"]
    print(f"console page / bare query, {ROWS} of {ACCOUNTS:,} accounts: {ratio:.2f} (target: at most {TARGET})")
    sys.exit(ratio > TARGET)


if __name__ == "__main__":
    main()
