"""The first sync of a large tenant, side by side with what bounds it and with what the typed SDK would need.

All runs meet the same simulated tenant and an empty Azurite, each in a process of its own: Grantline's whole sync, slice by
slice; the raw reader of the same pages; the raw writer of the same rows; Grantline's sync again with every answer of Microsoft's
200 ms later; and msgraph-sdk's typed models with its page iterator and one upsert a row, on fewer users: their rate is compared.

usage: python -m bench.directory_sync [--users N] [--typed-users N]    prints times and ratios; fails beyond a target
"""

import argparse
import asyncio
import sys
from dataclasses import dataclass
from math import ceil
from typing import Any

import httpx

from bench.machine import measured, simulated
from shared.microsoft.transport import tls_context

LATENCY_MS = 200
TO_BOUND, TO_TYPED, TO_LATENCY, BESIDE_PAGES = 1.15, 10.0, 1.1, 14
"""The targets: times the slower bound; times the typed SDK's rate; times the larger of all latencies and the bare writing; how
many requests for users may be made beside the pages of 999: 115 for 100,000 users."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run's numbers, and how often users were asked for meanwhile."""

    numbers: dict[str, Any]
    requests: int

    @property
    def seconds(self) -> float:
        """How long it took."""
        return float(self.numbers["seconds"])

    @property
    def rate(self) -> float:
        """Users a second."""
        return float(self.numbers["users"]) / self.seconds


async def run(name: str, users: int, *options: str) -> Run:
    """Run one in a fresh tenant."""
    async with simulated(users, *options) as tenant:
        numbers = await measured(name, tenant, users)
        verified = tls_context(tenant["ca_file"])
        async with httpx.AsyncClient(base_url=tenant["url"], verify=verified, trust_env=False) as control:
            asked = (await control.get("/_control/requests", params={"api": "graph"})).json()
        return Run(numbers, sum(each["path"].startswith("/v1.0/users") for each in asked))


def line(title: str, found: Run) -> str:
    """Return a line of the table."""
    counts = f"{found.requests:>7} requests {found.numbers['memory']:>7.0f} MiB"
    return f"{title:<34}{found.seconds:>9.1f} s {found.rate:>10,.0f} users/s {counts}"


async def compare(users: int, typed_users: int) -> bool:
    """Run all, print them, and tell whether every target is met."""
    print(f"{users:,} users; Azurite and the simulated tenant in processes of their own", flush=True)
    plan = {"raw reader": "read", "raw writer": "write", "Grantline": "sync"}
    found = {}
    for title, name in plan.items():
        found[title] = await run(name, users)
        print(line(title, found[title]), flush=True)
    late = await run("sync", users, "--latency-ms", str(LATENCY_MS))
    print(line(f"Grantline, {LATENCY_MS} ms later", late), flush=True)
    typed = await run("typed", typed_users)
    print(line(f"typed SDK, {typed_users:,} users", typed), flush=True)

    bare = found["raw writer"].seconds
    latencies = late.requests * (LATENCY_MS / 1000) + found["raw reader"].seconds
    bound = max(found["raw reader"].seconds, bare)
    ratios = [
        ("Grantline / the slower bound", found["Grantline"].seconds / bound, TO_BOUND),
        (f"with {LATENCY_MS} ms / the larger of requests and writing", late.seconds / max(latencies, bare), TO_LATENCY),
        ("typed SDK's rate x 10 / Grantline's rate", TO_TYPED * typed.rate / found["Grantline"].rate, 1.0),
        ("requests for users / their limit", late.requests / (ceil(users / 999) + BESIDE_PAGES), 1.0),
    ]
    for title, ratio, target in ratios:
        print(f"{title:<55} {ratio:>6.2f}  (target {target}){'' if ratio <= target else '  MISSED'}")
    return all(ratio <= target for _, ratio, target in ratios)


def main() -> None:
    """Compare, and say by the exit code whether the targets are met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--typed-users", type=int, default=1_000)
    arguments = parser.parse_args()
    sys.exit(0 if asyncio.run(compare(arguments.users, arguments.typed_users)) else 1)


if __name__ == "__main__":
    main()
