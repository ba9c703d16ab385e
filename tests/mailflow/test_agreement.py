"""The route model and the simulated tenant say the same, and both say what is documented."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from local.microsoft365.mail import trace as simulation
from shared.mailflow.route import trace as model
from shared.mailflow.route.model import SWITCHES
from tests.mailflow.agreement import both, disagreements, turned

CASES = [json.loads(path.read_text()) for path in sorted((Path(__file__).parent / "cases").glob("*.json"))]
RANDOM = int(os.environ.get("GRANTLINE_ROUTE_CASES", "1000"))
"""How many random traces are compared; `make test-routes` compares 100,000."""


def _differs(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Return what a documented outcome says otherwise; what it leaves out does not count."""
    recipients = found["recipients"]
    wrong = [f"{address} is not told of" for address in recipients.keys() ^ wanted["recipients"].keys()]
    for address, expected in wanted["recipients"].items():
        told = recipients.get(address, {})
        wrong += [
            f"{address}: {key} is {told.get(key)}, not {value}" for key, value in expected.items() if told.get(key) != value
        ]
    if "rules" in wanted and found["rules"] != wanted["rules"]:
        wrong.append(f"rules {found['rules']}, not {wanted['rules']}")
    return wrong


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_both_say_what_is_documented(case: dict[str, Any]) -> None:
    """Each documented case has the outcome that its source states, on both sides."""
    assert case["source"]
    assert _differs(model.outcome(case), case["outcome"]) == []
    assert _differs(simulation.outcome(case), case["outcome"]) == []


@pytest.mark.parametrize("switch", SWITCHES)
def test_they_agree_on_the_cases_with_each_switch_the_other_way(switch: str) -> None:
    """What Microsoft leaves open changes both in the same way."""
    found = {case["id"]: both(turned(case, switch)) for case in CASES}

    assert [name for name, (ours, theirs) in found.items() if ours != theirs] == []


def test_they_agree_on_random_tenants_and_messages() -> None:
    """As many random traces as time allows, each with one switch both ways."""
    found = list(disagreements(0, RANDOM))

    assert not found, json.dumps(found[0])


def test_there_are_cases_for_every_switch() -> None:
    """Each uncertainty has a documented case for either way; names are unique."""
    turned_in = {switch for case in CASES for switch in case["uncertain"]}

    assert turned_in == set(SWITCHES)
    assert len({case["id"] for case in CASES}) == len(CASES) >= 60
