"""At every single call of an application, an activation and a removal, with old and new rules side by side, no mail is harmed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from shared.mailflow.desired import Request, Routing, desired_objects, desired_settings
from shared.mailflow.diff import Change, changes
from shared.mailflow.plan import make_plan
from shared.mailflow.route.findings import Harm, RouteFinding, examine
from shared.mailflow.route.foresee import foresee
from shared.mailflow.route.samples import samples_of
from shared.mailflow.route.situation import Situation
from shared.mailflow.snapshot import read_snapshot
from shared.mailflow.tenant import TenantObjects
from shared.mailflow.undo import removal_changes, routing_off
from tests.unit.mailflow.requests import CALM, REQUESTS
from tests.unit.mailflow.requests import request as request_for
from tests.unit.mailflow.tenants import tenant

BOTH = request_for()
GRAVE = {Harm.LOSS, Harm.LOOP, Harm.FORGERY}
TRIED = {
    *("from outside", "own-domain spoof", "to a distribution list", "stolen verdict secret", "from the scanner's address"),
    *("to outside", "automatic reply to outside", "forward to outside", "to inside and outside", "to another customer", "inside"),
}
RULES: tuple[dict[str, Any], ...] = (
    {"Name": "Disclaimer", "ApplyHtmlDisclaimerText": "x", "SentToScope": "NotInOrganization"},
    {"Name": "Words", "SubjectContainsWords": ["forbidden"], "RejectMessageReasonText": "no"},
    {"Name": "Unreadable", "HasClassification": "Secret", "PrependSubject": "secret: "},
    {"Name": "Stop", "FromScope": "InOrganization", "SentToScope": "InOrganization", "StopRuleProcessing": True, "SetSCL": -1},
    {"Name": "Copy", "SentTo": ["boss@contoso.com"], "BlindCopyTo": ["archive@contoso.com"]},
    {"Name": "Old header", "HeaderContainsMessageHeader": "X-Old", "HeaderContainsWords": ["1"], "DeleteMessage": True},
)
"""Rules of others: harmless by themselves, in every order."""
FOREIGN = st.lists(st.sampled_from(RULES), unique_by=lambda rule: str(rule["Name"]), max_size=4)


def _wanted(request: Request, routing: Routing, state: TenantObjects) -> list[Change]:
    wanted = replace(request, routing=routing)
    return changes(desired_objects(wanted), state, wanted.grant_id, wanted.former_grants, desired_settings(wanted))


def _states(request: Request, state: TenantObjects) -> Iterator[tuple[TenantObjects, TenantObjects]]:
    """Yield the tenant after each call, and as it was when the phase began: any server may have the rules of then."""
    phases: tuple[Callable[[TenantObjects], list[Change]], ...] = (
        lambda now: _wanted(request, Routing.OFF, now),
        lambda now: _wanted(request, Routing.ON, now),
        lambda now: routing_off(request, now),
        lambda now: removal_changes(request, now, read_snapshot(())),
    )
    for phase in phases:
        begun = state
        for change in phase(begun):
            state = foresee(state, [change])
            yield state, begun


def _harm(request: Request, first: TenantObjects, state: TenantObjects, begun: TenantObjects) -> Sequence[RouteFinding]:
    samples = [each for each in samples_of(request, "contoso.com") if each.name in TRIED]
    rules = [*state.of("Get-TransportRule"), *begun.of("Get-TransportRule")]
    routes = any(rule["State"] == "Enabled" and rule.get("RouteMessageOutboundConnector") for rule in rules)
    chosen = [each for each in samples if not (each.unrouted and routes)]
    found = examine(chosen, Situation(request, first), Situation(request, state, begun), is_on=False, tries=12)
    return [each for route in found for each in route.findings if each.harm in GRAVE and not each.is_open]


@settings(CALM, max_examples=6, phases=(Phase.explicit, Phase.generate))
@given(REQUESTS, FOREIGN)
def test_no_call_of_an_application_or_removal_harms(request: Request, rules: list[dict[str, Any]]) -> None:
    """A safe plan loses nothing, sends nothing in circles and believes no forgery between any two of its calls, nor does undo."""
    first = tenant(TransportRule=[dict(rule) for rule in rules])
    assume(make_plan(request, first).is_safe)
    harm = {str(each) for state, begun in _states(request, first) for each in _harm(request, first, state, begun)}

    assert harm == set()


def test_a_wrong_order_harms() -> None:
    """The same looks find it when the return path comes after the routing: the property does not hold of itself."""
    request = replace(BOTH, routing=Routing.ON)
    first = tenant(TransportRule=[])
    pending = changes(desired_objects(request), first, request.grant_id)
    backwards = [change for change in pending if change.cmdlet != "New-InboundConnector"]

    assert _harm(request, first, foresee(first, backwards), first)


def test_a_removal_takes_everything_away() -> None:
    """The last state of all is the first one, but for the places of rules."""
    first = tenant(TransportRule=[dict(rule) for rule in RULES])
    *_, (last, _) = _states(BOTH, first)

    assert [rule["Name"] for rule in last.of("Get-TransportRule")] == [rule["Name"] for rule in RULES]
    assert last.of("Get-OutboundConnector") == list(first.of("Get-OutboundConnector"))
