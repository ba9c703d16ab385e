"""Which public baselines our objects turn red: told with the plan, with what would be gentler."""

import json
from typing import Any

import pytest

from shared.domain.grant import Direction
from shared.mailflow.baselines import BASELINES, baselines
from shared.mailflow.desired import DesiredObject, desired_objects, desired_settings
from shared.mailflow.kinds import Kind
from shared.settings import load
from tests.unit.mailflow.requests import ENVIRONMENT, request

RETURN = ["Grantline Inline Inbound Return Connector", "Grantline Inline Outbound Return Connector"]
SKIP = "Grantline Inline Inbound Skip Spam Filter Rule"


def _red(directions: tuple[Direction, ...] = tuple(Direction), **settings: str) -> dict[str, list[str]]:
    wanted = request(directions, settings=load({**ENVIRONMENT, **settings}))
    found = baselines([*desired_objects(wanted), *desired_settings(wanted)])
    assert json.loads(json.dumps(found)) == found
    assert all(entry["gentler"] and entry["source"] and entry["title"] for entry in found)
    return {entry["check"]: entry["objects"] for entry in found}


def test_the_default_keeps_the_allow_lists_green() -> None:
    """Without allow entries only the rule that skips spam filtering and the connectors of all senders are told."""
    assert _red() == {"MT.1043": [SKIP], "ORCA.233.1": RETURN}


def test_outbound_alone_skips_nothing() -> None:
    """A grant for outbound mail has no verdict rules."""
    assert _red((Direction.OUTBOUND,)) == {"ORCA.233.1": RETURN[1:]}


def test_ip_allow_entries_turn_three_suites_red() -> None:
    """The connection filter's allow list is what CISA, CIS and Maester each look at; spoof entries and the sealer are not."""
    policy = ["HostedConnectionFilterPolicy 'Default'"]
    red = _red(GRANTLINE_ALLOW_ENTRIES="ip,spoof", GRANTLINE_ARC_SEALER="scanner.example.net")

    assert {check: red[check] for check in ("MS.SECURITYSUITE.8.1v1", "2.1.12", "ORCA.114")} == {
        "MS.SECURITYSUITE.8.1v1": policy,
        "2.1.12": policy,
        "ORCA.114": policy,
    }
    assert _red(GRANTLINE_ALLOW_ENTRIES="spoof", GRANTLINE_ARC_SEALER="scanner.example.net") == _red()


@pytest.mark.parametrize(
    ("parameters", "red"),
    [
        ({"SetSCL": -1, "SenderDomainIs": ["contoso.com"]}, {"MT.1043", "6.2.2"}),
        ({"SetSCL": 6, "SenderDomainIs": ["contoso.com"]}, set()),
    ],
)
def test_a_rule_for_domains_would_be_told(parameters: dict[str, Any], red: set[str]) -> None:
    """Should a later rule of ours ever spare whole domains the filtering, the report says so."""
    rule = DesiredObject(Kind.TRANSPORT_RULE, "rule", "", parameters)

    assert {entry["check"] for entry in baselines([rule])} == red


def test_enhanced_filtering_would_satisfy_the_connectors_check() -> None:
    """The check of connectors for all senders passes where the last hop is skipped, as its published test says."""
    connector = DesiredObject(Kind.INBOUND_CONNECTOR, "in", "", {"SenderDomains": ["*"], "EFSkipLastIP": True})

    assert baselines([connector]) == []
    assert len({check.check for check in BASELINES}) == len(BASELINES)
