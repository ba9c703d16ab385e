"""Compares the route model with the simulated tenant's evaluator, which was written separately.

``python -m tests.mailflow.agreement 100000`` does so on as many random traces, each of them twice: as it is, and with one of the
uncertain switches the other way.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from local.microsoft365.mail import trace as simulation
from shared.mailflow.route import trace as model
from shared.mailflow.route.model import SWITCHES
from tests.mailflow.generate import document

Outcome = Mapping[str, Any]
CHUNK = 1000
_LOOPED = ("5.4.14", 5)
"""The status of a loop, and how often such a message was scanned at least: where hops are counted, numbers say nothing."""


def is_loop(outcome: Outcome) -> bool:
    """True when a message went in circles until its hops were too many."""
    status, scans = _LOOPED
    return any(each["status"] == status and each["scans"] >= scans for each in outcome["recipients"].values())


def both(trace: Mapping[str, Any]) -> tuple[Outcome, Outcome]:
    """Return what the route model and what the simulation make of a trace, in a form that can be compared."""
    found = [{key: value for key, value in evaluator(trace).items() if key != "untold"} for evaluator in _EVALUATORS]
    if all(map(is_loop, found)):
        found = [{"loops": sorted(each["recipients"])} for each in found]
    return found[0], found[1]


_EVALUATORS = (model.outcome, simulation.outcome)


def turned(trace: Mapping[str, Any], switch: str) -> dict[str, Any]:
    """Return a trace with one switch the other way."""
    choices = {**SWITCHES, **trace.get("uncertain", {})}
    return {**trace, "uncertain": {**choices, switch: not choices[switch]}}


def disagreements(first: int, last: int) -> Iterator[tuple[dict[str, Any], Outcome, Outcome]]:
    """Yield the random traces of these seeds that the two do not agree on, and what each of them says."""
    switches = list(SWITCHES)
    for seed in range(first, last):
        trace = document(seed)
        for each in (trace, turned(trace, switches[seed % len(switches)])):
            ours, theirs = both(each)
            if ours != theirs:
                yield each, ours, theirs


def _chunk(first: int) -> list[tuple[dict[str, Any], Outcome, Outcome]]:
    return list(disagreements(first, first + CHUNK))


def main(count: int) -> int:
    """Compare ``count`` random traces in two processes, tell how far it is, and return how many are not agreed on."""
    found: list[tuple[dict[str, Any], Outcome, Outcome]] = []
    with ProcessPoolExecutor(2) as pool:
        for done, wrong in enumerate(pool.map(_chunk, range(0, count, CHUNK)), 1):
            found += wrong
            print(f"\r{min(done * CHUNK, count):,} of {count:,} traces, {len(found)} disagreements", end="", flush=True)  # noqa: T201
    print()  # noqa: T201
    for trace, ours, theirs in found[:5]:
        print(json.dumps({"trace": trace, "route_model": ours, "simulation": theirs}))  # noqa: T201
    return len(found)


if __name__ == "__main__":
    sys.exit(min(main(int(sys.argv[1])), 1))
