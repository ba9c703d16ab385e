"""Where our rules stand among those of others."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.grant import Direction
from shared.mailflow.desired import desired_objects
from shared.mailflow.order import wanted_order
from tests.unit.mailflow.requests import CALM, request

INBOUND, OUTBOUND = "Grantline Inline Inbound Domain Rule", "Grantline Inline Outbound Domain Rule"
SKIP, JUNK = "Grantline Inline Inbound Skip Spam Filter Rule", "Grantline Inline Inbound Move to Junk Rule"
DESIRED = desired_objects(request())


def _rules(*named: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"Name": name, "Priority": place, "State": "Enabled", "Mode": "Enforce", **properties}
        for place, (name, properties) in enumerate(named)
    ]


def test_ours_stand_first() -> None:
    """Where nobody ends or routes outgoing mail, all rules of ours stand on top, others behind in their order."""
    found = _rules(("Disclaimer", {"ApplyHtmlDisclaimerText": "x"}), (SKIP, {}), ("Tag", {"PrependSubject": "x"}))

    assert wanted_order(DESIRED, found) == [INBOUND, OUTBOUND, SKIP, JUNK, "Disclaimer", "Tag"]


@pytest.mark.parametrize(
    "properties",
    [
        {"RejectMessageReasonText": "no"},
        {"RejectMessageEnhancedStatusCode": "5.7.1"},
        {"DeleteMessage": True},
        {"RouteMessageOutboundConnector": "Other vendor"},
    ],
)
def test_outgoing_mail_is_routed_behind_what_ends_or_routes_it(properties: dict[str, Any]) -> None:
    """The outbound routing rule stands right behind the last such rule; the others of ours stay on top."""
    found = _rules(("First", {"PrependSubject": "x"}), ("Ends", properties), ("Last", {"PrependSubject": "x"}))

    assert wanted_order(DESIRED, found) == [INBOUND, SKIP, JUNK, "First", "Ends", OUTBOUND, "Last"]


@pytest.mark.parametrize(
    "properties",
    [{"State": "Disabled"}, {"Mode": "Audit"}, {"SentToScope": "InOrganization"}, {"FromScope": "NotInOrganization"}],
)
def test_rules_that_end_no_outgoing_mail_do_not_count(properties: dict[str, Any]) -> None:
    """A rule that is off, only audits, or concerns other mail does not push the outbound routing rule down."""
    found = _rules(("Ends", {"DeleteMessage": True, **properties}))

    assert wanted_order(DESIRED, found) == [INBOUND, OUTBOUND, SKIP, JUNK, "Ends"]


def test_inbound_alone_stays_on_top() -> None:
    """Without the outbound direction nothing of ours waits for anybody's rule."""
    found = _rules(("Ends", {"DeleteMessage": True}))

    assert wanted_order(desired_objects(request((Direction.INBOUND,))), found) == [INBOUND, SKIP, JUNK, "Ends"]


@CALM
@given(st.permutations(["Ends", "Tag", INBOUND.upper(), OUTBOUND, JUNK]), st.booleans())
def test_the_order_is_stable(names: list[str], ends: bool) -> None:
    """Rules put into the wanted order are in the wanted order, whatever order they had; all of them are named once."""
    properties: dict[str, dict[str, Any]] = {"Ends": {"DeleteMessage": ends}}
    wanted = wanted_order(DESIRED, _rules(*((name, properties.get(name, {})) for name in names)))

    assert wanted_order(DESIRED, _rules(*((name, properties.get(name, {})) for name in wanted))) == wanted
    assert sorted(wanted) == sorted(["Ends", "Tag", INBOUND, OUTBOUND, SKIP, JUNK])
