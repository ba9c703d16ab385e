"""At every step of application, activation, pause and removal no message is lost, goes in circles or is believed though forged.

Whatever others have in the tenant, and with old and new rules side by side: for an hour each server may have either.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from hypothesis import Phase, assume, given, settings

from shared.mailflow.desired import Request, Routing, desired_objects, desired_settings
from shared.mailflow.diff import ROUTES, Change, changes
from shared.mailflow.kinds import KINDS, Kind
from shared.mailflow.plan import make_plan
from shared.mailflow.route.findings import Harm, RouteFinding, examine
from shared.mailflow.route.foresee import foresee
from shared.mailflow.route.samples import Sample, forgeries, samples_of
from shared.mailflow.route.situation import Situation
from shared.mailflow.snapshot import Snapshot
from shared.mailflow.tenant import Found, TenantObjects
from shared.mailflow.undo import removal_changes, routing_off
from tests.mailflow.tenants import Grant, grants
from tests.unit.mailflow.requests import CALM

FEW = settings(CALM, max_examples=6, phases=(Phase.explicit, Phase.generate))
"""Each example is some fifty states of a tenant with some forty messages each."""
HARMS = frozenset({Harm.LOSS, Harm.LOOP, Harm.FORGERY})
Step = tuple[str, TenantObjects, TenantObjects]
"""A change, the tenant after it, and the tenant whose rules servers may still have."""


def _wanted(request: Request, tenant: TenantObjects, routing: Routing) -> list[Change]:
    wanted = replace(request, routing=routing)
    return changes(desired_objects(wanted), tenant, request.grant_id, settings=desired_settings(wanted))


def _steps(start: TenantObjects, pending: Sequence[Change]) -> Iterator[Step]:
    """Yield the tenant after each change; what it was when they began may still be about."""
    now = start
    for change in pending:
        now = foresee(now, [change])
        yield f"{change.cmdlet} {change.object.name}", now, start


def _end(steps: Sequence[Step], start: TenantObjects) -> TenantObjects:
    return steps[-1][1] if steps else start


def _life(request: Request, tenant: TenantObjects) -> Iterator[Step]:
    """Yield every step of a grant's life: applied, switched on, off, on again, and, once mail has drained, taken back."""
    applied = list(_steps(tenant, _wanted(request, tenant, Routing.OFF)))
    resting = _end(applied, tenant)
    on = list(_steps(resting, _wanted(request, resting, Routing.ON)))
    active = _end(on, resting)
    off = list(_steps(active, routing_off(request, active)))
    drained = _end(off, active)
    written = {
        (change.object.name, name): value
        for change in _wanted(request, tenant, Routing.OFF)
        for name, value in change.written.items()
    }
    snapshot = Snapshot(dict.fromkeys(written, False), written)
    yield from (*applied, *on, *off, *_steps(drained, removal_changes(request, drained, snapshot)))


def _harms(request: Request, tenant: TenantObjects, step: Step, tried: Sequence[Sample]) -> list[RouteFinding]:
    _, now, former = step
    routes = examine(tried, Situation(request, tenant), Situation(request, now, former), is_on=False)
    return [found for route in routes for found in route.findings if found.harm in HARMS and not found.is_open]


def _samples(request: Request, step: Step) -> list[Sample]:
    """Return the messages of one domain; those that the scanner would see first, and strip, only while nothing is routed."""
    own = {item.name for item in desired_objects(request)}
    is_routed = any(rule["State"] == Routing.ON and rule.get(ROUTES) for tenant in step[1:] for rule in _rules(tenant, own))
    tried = [*samples_of(request, "contoso.net"), *forgeries(request, _rules(step[1], own), "contoso.net")]
    return [sample for sample in tried if not (is_routed and sample.unrouted)]


def _rules(tenant: TenantObjects, names: set[str]) -> list[Found]:
    return [rule for rule in tenant.of(KINDS[Kind.TRANSPORT_RULE].get) if rule["Name"] in names]


@FEW
@given(grants())
def test_no_step_harms_a_message(grant: Grant) -> None:
    """Of a plan that is safe every step is, however long servers keep the rules of before."""
    request, tenant = grant.view(Routing.OFF)
    assume(make_plan(request, tenant).is_safe)
    steps = list(_life(request, tenant))

    assert len(steps) > 5
    for step in steps:
        assert _harms(request, tenant, step, _samples(request, step)) == [], step[0]
