"""Checks of what Grantline itself wants to make: names that are taken."""

from collections.abc import Iterator

from shared.mailflow.checks.finding import Check, Finding, FindingKind, Severity
from shared.mailflow.desired import Request, desired_objects
from shared.mailflow.diff import foreign_objects
from shared.mailflow.kinds import KINDS
from shared.mailflow.tenant import TenantObjects

FOREIGN_NAMES = "foreign_names"

_TAKEN = FindingKind(
    Severity.BLOCKING,
    "The tenant has an object '{object}' ({noun}) that this grant did not make; it is not touched.",
    "Rename or remove the {noun} '{object}' in the Exchange admin centre (https://admin.exchange.microsoft.com), "
    "then open this step again.",
    problem_code="foreign_object",
)


def _taken(request: Request, tenant: TenantObjects) -> Iterator[Finding]:
    for item in foreign_objects(desired_objects(request), tenant, request.grant_id, request.former_grants):
        yield _TAKEN.about(item.name, {"kind": str(item.kind)}, noun=KINDS[item.kind].noun)


PLAN_CHECKS = (
    Check(
        FOREIGN_NAMES,
        "No other object has the name of one of Grantline's",
        frozenset({"Get-AcceptedDomain", *(kind.get for kind in KINDS.values())}),
        (_TAKEN,),
        _taken,
    ),
)
"""The checks of the plan."""
