"""What a sweep costs that finds 100 due grants: among 1,000, and among 100,000.

usage: python -m bench.sweep    prints the storage requests and the time of each; fails when the requests differ
"""

import asyncio
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.sweeps import Sweep, grants, swept

DUE = 100
SIZES = (1_000, 100_000)


async def measure(of: int) -> Sweep:
    """Sweep once over so many grants."""
    with TemporaryDirectory() as location:
        async with grants(Path(location), due=DUE, of=of) as parts:
            return await swept(parts)


def main() -> None:
    """Print what was counted."""
    sweeps = {of: asyncio.run(measure(of)) for of in SIZES}
    for of, sweep in sweeps.items():
        kinds = ", ".join(f"{count} {method} {what}" for (method, what), count in sorted(sweep.requests.items()))
        total = sum(sweep.requests.values())
        print(
            f"{sweep.found} due of {of:>7,}: {total} requests ({kinds}), {sweep.nudges} nudges, {sweep.seconds:.2f} s on Azurite"
        )
    first, *others = sweeps.values()
    is_same = all((each.found, each.requests) == (DUE, first.requests) for each in others)
    print(f"The requests are {'the same' if is_same else 'not the same'} (target: the same).")
    sys.exit(not is_same)


if __name__ == "__main__":
    main()
