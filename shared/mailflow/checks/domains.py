"""Checks of the tenant's domains: those that were chosen, those that stay out, and where their mail arrives."""

from collections.abc import Iterator

from shared.domain.grant import Direction, ScopeKind
from shared.mailflow.checks.finding import Check, Finding, FindingKind, Severity
from shared.mailflow.desired import Request, scoped_domains
from shared.mailflow.tenant import Found, TenantObjects

ACCEPTED_DOMAINS = "Get-AcceptedDomain"
MAIL_EXCHANGERS = "MX"
"""What Microsoft expects of a domain's mail exchangers and what the DNS has: rows of ``Domain``, ``Expected``, ``Found``,
``IsAnswered``, ``Error`` (``workflows.surroundings``)."""

_NOT_ACCEPTED = FindingKind(
    Severity.BLOCKING,
    "The domain '{object}' is not an accepted domain of the tenant.",
    "Add and verify the domain in the Microsoft 365 admin centre (https://admin.microsoft.com > Settings > Domains), "
    "then open this step again; or start the grant anew with other domains.",
    problem_code="domain_not_accepted",
    evidence=("accepted_domains",),
)
_LEFT_OUT = FindingKind(
    Severity.NOTICE,
    "Mail of {count} accepted domains is not scanned, because only some domains were chosen: {names}.",
    "Nothing, where that is meant. Otherwise start the grant anew for all domains.",
    evidence=("not_scanned",),
)
_ELSEWHERE = FindingKind(
    Severity.ACKNOWLEDGE,
    "Mail for '{object}' arrives somewhere else than at Exchange Online: its MX records name {found}, and Microsoft expects "
    "{expected}. The scanner comes after that gateway, and sees its address in the place of the sender's.",
    "If the other gateway is no longer used, set the MX record of the domain to {expected} at your DNS provider. If it is to "
    "stay, check that it still delivers to Exchange Online, and acknowledge.",
    evidence=("expected", "found", "error"),
)
_MIXED = FindingKind(
    Severity.NOTICE,
    "'{object}' has other MX records beside Microsoft's ({found}): mail that arrives there is scanned once it reaches Exchange "
    "Online.",
    "If they are no longer used, remove them at your DNS provider.",
    evidence=("expected", "found", "error"),
)
_NONE = FindingKind(
    Severity.NOTICE,
    "'{object}' has no MX record ({error}): no mail from the internet arrives for it.",
    "Nothing, where that is meant. Otherwise add an MX record for {expected} at your DNS provider.",
    evidence=("expected", "found", "error"),
)
_MORE = FindingKind(
    Severity.NOT_CHECKED,
    "The MX records of {count} more domains were not looked up: {names} and so on.",
    "Look at them by hand where mail for them arrives at another gateway.",
    evidence=("not_looked_up",),
)
_UNANSWERED = FindingKind(
    Severity.NOT_CHECKED,
    "The MX records of '{object}' could not be read: {error}.",
    "Look at the name servers of the domain; it is looked at again with the next check.",
    evidence=("expected", "found", "error"),
)


def _chosen(request: Request, tenant: TenantObjects) -> Iterator[Finding]:
    accepted = {domain.name.casefold() for domain in tenant.accepted_domains}
    scope = request.intent.scope
    for name in scope.domains if scope.kind is ScopeKind.DOMAINS else ():
        if name.casefold() not in accepted:
            yield _NOT_ACCEPTED.about(name, {"accepted_domains": sorted(accepted)})


def _left_out(request: Request, tenant: TenantObjects) -> Iterator[Finding]:
    if request.intent.scope.kind is ScopeKind.DOMAINS:
        chosen = set(scoped_domains(request))
        names = sorted(domain.name.lower() for domain in tenant.accepted_domains if domain.name.lower() not in chosen)
        if names:
            yield _LEFT_OUT.about("accepted domains", {"not_scanned": names}, count=len(names), names=", ".join(names[:5]))


def _mail_exchangers(request: Request, tenant: TenantObjects) -> Iterator[Finding]:
    """Microsoft's own record of the domain is what counts, never a pattern of host names (real-tenants.md 13)."""
    if Direction.INBOUND in request.intent.directions:
        rows = tenant.of(MAIL_EXCHANGERS)
        yield from (found for row in rows for found in _judged(row))
        left = sorted(set(scoped_domains(request)) - {row["Domain"] for row in rows})
        if left:
            yield _MORE.about("more domains", {"not_looked_up": len(left)}, count=len(left), names=", ".join(left[:3]))


def _judged(row: Found) -> Iterator[Finding]:
    expected, found = set(row["Expected"]), set(row["Found"])
    words = {"expected": ", ".join(sorted(expected)), "found": ", ".join(sorted(found - expected)), "error": row["Error"]}
    evidence = {"expected": sorted(expected), "found": sorted(found), "error": row["Error"]}
    if not row["IsAnswered"]:
        yield _UNANSWERED.about(row["Domain"], evidence, **words)
    elif expected and not (found and found <= expected):
        other = _MIXED if expected & found else _ELSEWHERE
        yield (other if found else _NONE).about(row["Domain"], evidence, **words)


DOMAIN_CHECKS = (
    Check("accepted_domains", "The tenant has the chosen domains", frozenset({ACCEPTED_DOMAINS}), (_NOT_ACCEPTED,), _chosen),
    Check("domains_left_out", "No domain is left out", frozenset({ACCEPTED_DOMAINS}), (_LEFT_OUT,), _left_out),
    Check(
        "mail_exchangers",
        "Mail from the internet arrives at Exchange Online",
        frozenset({ACCEPTED_DOMAINS, MAIL_EXCHANGERS}),
        (_ELSEWHERE, _MIXED, _NONE, _UNANSWERED, _MORE),
        _mail_exchangers,
    ),
)
"""The checks of domains."""
