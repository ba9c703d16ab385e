"""Whatever others have in a tenant: one application is enough, any interruption is resumed, and others keep what is theirs."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from shared.domain.grant import Intent
from shared.mailflow.desired import Routing, desired_objects, standing
from shared.mailflow.order import wanted_order
from tests.mailflow.tenants import FOREIGN_EDITS, INTENTS, OWN_EDITS, CutError, Edit, Grant, foreign_state, grants
from tests.unit.mailflow.requests import CALM

MANY = settings(CALM, max_examples=16, phases=(Phase.explicit, Phase.generate))
"""A tenant is too big for failures to be made small in a bearable time."""
EDITS = st.lists(st.sampled_from(FOREIGN_EDITS), max_size=3)


def _keys(grant: Grant) -> list[str]:
    return [repr(call) for call in grant.tenant.calls]


def _until_cut(work: Callable[[], None]) -> None:
    with suppress(CutError):
        work()


def _apart_from_fixes(grant: Grant, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out the lists that the grant is asked to put right, and what the server tells of them once more."""
    fixed = {(item.identity, name) for item in grant.fixed for name in (item.property, "Exceptions", "Size")}
    return [{name: value for name, value in item.items() if (item["Name"], name) not in fixed} for item in items]


@MANY
@given(grants())
def test_one_application_is_enough(grant: Grant) -> None:
    """After one application nothing differs and nothing is left to do, with routing off and on; no call is made twice."""
    foreign = grant.tenant.exchange("Get-TransportRule")
    grant.apply()
    rules = [rule["Name"] for rule in grant.tenant.exchange("Get-TransportRule")]
    assert rules == wanted_order(desired_objects(grant.view(Routing.OFF)[0]), foreign)
    assert grant.differences() == []
    assert grant.pending() == []
    grant.apply(Routing.ON)

    assert grant.differences(Routing.ON) == []
    assert grant.pending(Routing.ON) == []
    assert len(set(_keys(grant))) == len(_keys(grant))


@MANY
@given(grants(), st.data())
def test_any_interruption_is_resumed(grant: Grant, data: st.DataObject) -> None:
    """Cut before, between or after any write and its journal, the next run makes exactly the calls that are left."""
    whole = [repr((change.cmdlet, change.parameters)) for change in grant.pending()]
    grant.tenant.steps_left = data.draw(st.integers(0, 3 * len(whole)))
    _until_cut(grant.apply)
    grant.tenant.steps_left = None
    grant.apply()

    assert _keys(grant) == whole
    assert grant.differences() == []


@MANY
@given(grants(), st.data(), EDITS, st.lists(st.sampled_from(OWN_EDITS), max_size=2))
def test_edits_of_others_in_between_survive(grant: Grant, data: st.DataObject, theirs: list[Edit], ours: list[Edit]) -> None:
    """What others do to their own objects while we are at work stays; what they do to ours is put right."""
    grant.tenant.steps_left = data.draw(st.integers(0, 60))
    _until_cut(grant.apply)
    grant.tenant.steps_left = None
    for edit in (*theirs, *ours):
        edit(grant.tenant)
    left = foreign_state(grant.tenant.state())
    grant.apply()

    assert grant.differences() == []
    assert grant.pending() == []
    now = foreign_state(grant.tenant.state())
    for noun in ("TransportRule", "InboundConnector", "OutboundConnector", "DistributionGroup"):
        assert _apart_from_fixes(grant, now[noun]) == _apart_from_fixes(grant, left[noun])


@MANY
@given(grants(), INTENTS, st.sampled_from([Routing.OFF, Routing.KEPT]))
def test_a_changed_intent_leaves_no_rule_behind(grant: Grant, wish: Intent, routing: Routing) -> None:
    """Rules of another scope or direction go, and go off first where nothing may be routed; the next look finds nothing to do."""
    grant.apply()
    grant.apply(Routing.ON)
    was_routing = {item.name for item in desired_objects(grant.view(Routing.ON)[0]) if item.routes}
    changed = replace(grant, request=replace(grant.request, intent=wish))
    pending = changed.pending(routing)
    changed.apply(routing)
    rules = [rule["Name"] for rule in grant.tenant.exchange("Get-TransportRule") if "Grantline" in rule["Name"]]
    off = [change.object.name for change in pending if change.cmdlet == "Disable-TransportRule"]

    assert set(rules) == set(standing(desired_objects(changed.view(routing)[0])))
    assert changed.differences(routing) == []
    assert changed.pending(routing) == []
    assert set(off) == (was_routing if routing is Routing.OFF else set())
    first = [change.cmdlet for change in pending if change.cmdlet != "Enable-OrganizationCustomization"][: len(off)]
    assert set(first) <= {"Disable-TransportRule"}
