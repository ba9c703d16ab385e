"""Checks of what Grantline itself wants to make: names that are taken, and what its way back stands on."""

from collections.abc import Iterator

from shared.mailflow.checks.finding import Check, Finding, FindingKind, Severity
from shared.mailflow.compare import strangers
from shared.mailflow.desired import Request, desired_objects, missing_accepted_domain
from shared.mailflow.diff import foreign_objects
from shared.mailflow.kinds import GET_RECIPIENT, KINDS
from shared.mailflow.tenant import TenantObjects

FOREIGN_NAMES = "foreign_names"

_TAKEN = FindingKind(
    Severity.BLOCKING,
    "The tenant has an object '{object}' ({noun}) that this grant did not make; it is not touched.",
    "Rename or remove the {noun} '{object}' in the Exchange admin centre (https://admin.exchange.microsoft.com), "
    "then open this step again.",
    problem_code="foreign_object",
    evidence=("kind",),
)
_STRANGER = FindingKind(
    Severity.BLOCKING,
    "'{object}' was chosen, and the tenant's Exchange Online has nobody with this user principal name or address.",
    "Give the person a mailbox or this address in the Microsoft 365 admin center (https://admin.microsoft.com > Users > Active "
    "users), then open this step again; or start the grant anew with other people.",
    problem_code="person_not_found",
    evidence=("found",),
)
_NO_RELAY_DOMAIN = FindingKind(
    Severity.BLOCKING,
    "All outbound mail is to be scanned, also bounces and forwards. They can return only where '{object}', the name in the "
    "scanner's certificate for this grant, is an accepted domain of the tenant, and it is none: they would bounce with 5.7.64.",
    "Add the domain '{object}' in the Microsoft 365 admin center (https://admin.microsoft.com > Settings > Domains); the "
    "operator of the scanner publishes the TXT record that it asks for. Then open this step again.",
    evidence=("accepted_domains",),
)


def _taken(request: Request, tenant: TenantObjects) -> Iterator[Finding]:
    for item in foreign_objects(desired_objects(request), tenant, request.grant_id, request.former_grants):
        yield _TAKEN.about(item.name, {"kind": str(item.kind)}, noun=KINDS[item.kind].noun)


def _strangers(request: Request, tenant: TenantObjects) -> Iterator[Finding]:
    """Names decide, not answers: for a name of nobody Exchange may answer with all recipients (page of Get-Recipient)."""
    chosen, found = request.intent.scope.users, tenant.of(GET_RECIPIENT)
    for name in strangers(chosen, found):
        yield _STRANGER.about(name, {"found": f"{len(chosen) - len(strangers(chosen, found))} of {len(chosen)} people"})


def _relay_domain(request: Request, tenant: TenantObjects) -> Iterator[Finding]:
    name = missing_accepted_domain(request)
    if name:
        yield _NO_RELAY_DOMAIN.about(name, {"accepted_domains": sorted(each.name for each in tenant.accepted_domains)})


PLAN_CHECKS = (
    Check(
        FOREIGN_NAMES,
        "No other object has the name of one of Grantline's",
        frozenset({"Get-AcceptedDomain", *(kind.get for kind in KINDS.values())}),
        (_TAKEN,),
        _taken,
    ),
    Check(
        "chosen_people",
        "The tenant has the chosen people",
        frozenset({GET_RECIPIENT}),
        (_STRANGER,),
        _strangers,
    ),
    Check(
        "relay_domain",
        "What returns from the scanner on its way out may leave again",
        frozenset({"Get-AcceptedDomain"}),
        (_NO_RELAY_DOMAIN,),
        _relay_domain,
    ),
)
"""The checks of the plan."""
