"""What importing the function app costs, side by side with azure-functions alone: the part of a cold start that we control.

usage: python -m bench.cold_start [--rounds N]    prints medians in milliseconds and their ratio
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from tests.support.app_settings import APP_SETTINGS

PROJECT = Path(__file__).parents[1]
CANDIDATES = {"python alone": "pass", "azure.functions": "import azure.functions", "function_app": "import function_app"}


def measure(script: str) -> float:
    """Return how long a fresh interpreter takes for a script, in milliseconds."""
    begun = time.perf_counter()
    environment = {**os.environ, **APP_SETTINGS}
    subprocess.run([sys.executable, "-c", script], cwd=PROJECT, env=environment, check=True)  # noqa: S603 - our own scripts
    return (time.perf_counter() - begun) * 1000


def main() -> None:
    """Measure the candidates in turn, so that a noisy moment meets them all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    times: dict[str, list[float]] = {name: [] for name in CANDIDATES}
    for _ in range(rounds):
        for name, script in CANDIDATES.items():
            times[name].append(measure(script))
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, median in medians.items():
        print(f"{name:16} {median:8.0f} ms")
    bare = medians["python alone"]
    ratio = (medians["function_app"] - bare) / (medians["azure.functions"] - bare)
    print(f"function_app / azure.functions, without the interpreter: {ratio:.2f}")


if __name__ == "__main__":
    main()
