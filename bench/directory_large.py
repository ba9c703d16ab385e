"""What a sync of half a million users holds in memory, and what a day with 100 changes costs in such a tenant.

usage: python -m bench.directory_large [--users N]    prints numbers; fails beyond a target
"""

import argparse
import asyncio
import sys
from typing import Any

from bench.machine import measured, simulated

SMALL = 10_000
MORE_MEMORY = 32
"""MiB that the large sync may hold beyond the small one."""
REQUESTS = 3
"""How often each collection may be asked on the day."""
ROWS_A_CHANGE = 8
"""How many rows one change may write: the user's own, that of each address, old and new, and a share of the counts."""


async def run(name: str, users: int) -> dict[str, Any]:
    """Run one in a fresh tenant."""
    async with simulated(users) as tenant:
        return await measured(name, tenant, users)


def collections(requests: dict[str, int]) -> dict[str, int]:
    """Return the requests by collection: whatever is asked about users, groups, domains or the organization."""
    found: dict[str, int] = {}
    for operation, count in requests.items():
        name = operation.strip("/").partition("/")[0]
        found[name] = found.get(name, 0) + count
    return found


async def compare(users: int) -> bool:
    """Run all, print them, and tell whether every target is met."""
    small, day = await run("day", SMALL), await run("day", users)
    for found in (small, day):
        print(f"{found['users']:>9,} users: first sync {found['first']:.0f} s, at most {found['memory']:.0f} MiB")
    more = day["memory"] - small["memory"]
    print(f"more memory {more:.1f} MiB (target {MORE_MEMORY})")
    asked, rows = collections(day["requests"]), sum(day["rows"].values())
    changed = sum(day["changed"].values())
    print(f"a day with {changed} changes: {day['seconds']:.1f} s, requests {asked}, rows {day['rows']}")
    most = max(asked.values())
    print(
        f"at most {most} requests a collection (target {REQUESTS}), {rows / changed:.1f} rows a change (target {ROWS_A_CHANGE})"
    )
    return more <= MORE_MEMORY and most <= REQUESTS and rows <= ROWS_A_CHANGE * changed


def main() -> None:
    """Compare, and say by the exit code whether the targets are met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=500_000)
    sys.exit(0 if asyncio.run(compare(parser.parse_args().users)) else 1)


if __name__ == "__main__":
    main()
