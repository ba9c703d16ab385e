"""A real tenant as the route model sees it: what was read of it, with people that stand for everybody.

Who works in the tenant is not read for a plan. Each accepted domain gets stand-ins, named so that they can be told apart; whom a
rule names is there as a mailbox; the members of foreign groups can't be told. Another customer of the same scanner is there too.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from shared.domain.grant import Direction, Scope, ScopeKind
from shared.mailflow.desired import (
    AcceptedDomain,
    Request,
    Routing,
    certificate_name,
    desired_objects,
    header_name,
    missing_accepted_domain,
    standing,
)
from shared.mailflow.kinds import Kind
from shared.mailflow.route.conditions import Settings, values_of
from shared.mailflow.route.model import Scanner, Tenant, World, domain_of
from shared.mailflow.route.trace import VERSION, scanner_of, tenant_of
from shared.mailflow.tenant import MEMBERS, Found, TenantObjects

OURS, NEIGHBOUR = "tenant", "neighbour"
NEIGHBOUR_DOMAIN = "other-customer.example"
CONTACT = "contact@elsewhere.example"
NEIGHBOUR_GRANT = "00000000-0000-4000-8000-000000000000"
_GROUPS = ("FromMemberOf", "SentToMemberOf")
_PEOPLE = ("RedirectMessageTo", "AddToRecipients", "CopyTo", "BlindCopyTo")
_POLICIES = (
    "HostedContentFilterPolicy",
    "AntiPhishPolicy",
    "HostedConnectionFilterPolicy",
    "ArcConfig",
    "TenantAllowBlockListSpoofItems",
)


class Situation:
    """One state of the tenant: ``objects`` as they were read, or will be, and a request that says what is in scope.

    ``document`` is the tenant as a trace has it, so that what a plan claims can be replayed.
    """

    def __init__(self, request: Request, objects: TenantObjects, former: TenantObjects | None = None) -> None:
        """``former``: how the tenant was within the last hour, so that any server may still have its rules."""
        self.request, self.objects = request, objects
        self._former = None if former is None else Situation(request, former)

    @cached_property
    def document(self) -> Mapping[str, Any]:
        """The tenant as a trace describes it."""
        answers = self.objects.answers
        rules = sorted(answers.get("Get-TransportRule", ()), key=lambda rule: int(rule["Priority"]))
        organization = next(iter(answers.get("Get-OrganizationConfig", ())), {})
        return {
            "id": OURS,
            "accepted_domains": list(answers["Get-AcceptedDomain"]),
            "recipients": [*self._people(), *self._named_people(rules), *self._groups(rules)],
            "inbound_connectors": list(answers["Get-InboundConnector"]),
            "outbound_connectors": list(answers["Get-OutboundConnector"]),
            "transport_rules": rules,
            "policies": {noun: list(answers.get(f"Get-{noun}", ())) for noun in _POLICIES},
            "organization": {"RejectDirectSend": bool(organization.get("RejectDirectSend"))},
        }

    @cached_property
    def tenant(self) -> Tenant:
        """The tenant as the model has it."""
        return tenant_of(self.document)

    def world(self, verdict: str = "none", *, modifies: bool = False) -> World:
        """Return all that a message can meet: the tenant, its neighbour, and the scanner with this verdict."""
        neighbour, neighbours_scanner = self._neighbour
        scanners = (scanner_of({**self._scanner, "verdict": verdict, "modifies": modifies}), neighbours_scanner)
        tenants = {OURS: self.tenant, NEIGHBOUR: neighbour}
        owners = {domain: tenant.id for tenant in reversed(tenants.values()) for domain in tenant.domains}
        return World(tenants, owners, scanners, {OURS: self._former.tenant} if self._former else {})

    @cached_property
    def _scanner(self) -> dict[str, Any]:
        return scanner_document(self.request, OURS)

    @cached_property
    def _neighbour(self) -> tuple[Tenant, Scanner]:
        request = _neighbour_request(self.request)
        return tenant_of(_neighbour_document(request)), scanner_of(scanner_document(request, NEIGHBOUR))

    def _people(self) -> Iterable[Mapping[str, Any]]:
        for domain in domain_names(self.request):
            yield {"address": f"person@{domain}", "aliases": [f"alias@{domain}"], "kind": "mailbox"}
            yield {"address": f"colleague@{domain}", "kind": "mailbox"}
            yield {"address": f"on-premises@{domain}", "kind": "on_premises"}
            yield {"address": f"contact@{domain}", "kind": "contact", "external_address": CONTACT}
            yield {"address": f"list@{domain}", "kind": "group", "members": [f"person@{domain}", f"colleague@{domain}"]}

    def _named_people(self, rules: Iterable[Settings]) -> Iterable[Mapping[str, Any]]:
        """Whom a rule redirects or copies to is there, if inside: Exchange keeps no rule on somebody whom it does not know."""
        for address in sorted(_mentioned(rules, _PEOPLE)):
            if "@" not in address or domain_of(address) in domain_names(self.request):
                yield {"address": address, "kind": "mailbox"}

    def _groups(self, rules: Sequence[Found]) -> Iterable[Mapping[str, Any]]:
        """Return the groups that rules name: ours holds every ``person``, what others hold is not known."""
        ours = {
            str(group.get("PrimarySmtpAddress", "")).casefold(): bool(group.get(MEMBERS))
            for group in self.objects.answers.get("Get-DistributionGroup", ())
        }
        everybody = [f"person@{domain}" for domain in domain_names(self.request)]
        own = {str(item.parameters["PrimarySmtpAddress"]).casefold() for item in _wanted_groups(self.request)}
        for group in sorted(_mentioned(rules, _GROUPS)):
            if group in ours:
                yield {"address": group, "kind": "group", "members": everybody if ours[group] else []}
            elif group not in own:
                yield {"address": group, "kind": "group", "members": None}


def domain_names(request: Request) -> list[str]:
    """Return the accepted domains that people have addresses in: not a certificate's name that was made one."""
    own = certificate_name(request)
    return [domain.name.casefold() for domain in request.accepted_domains if domain.name.casefold() != own]


def scanner_document(request: Request, tenant: str) -> dict[str, Any]:
    """Return the request's scanner as a trace describes it."""
    scanner = request.scanner
    return {
        "tenant": tenant,
        "inbound_host": scanner.inbound_host,
        "outbound_host": scanner.outbound_host,
        "inbound_egress": list(scanner.inbound_egress),
        "outbound_egress": list(scanner.outbound_egress),
        "inbound_certificate": scanner.inbound_host,
        "outbound_certificate": certificate_name(request),
        "verdict_headers": {"clean": header_name(request, "Clean"), "junk": header_name(request, "Junk")},
        "secret": request.secret,
        "modifies": False,
        "arc_domain": request.settings.arc_sealer,
    }


def trace(situation: Situation, message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a sample's whole situation as a trace, to be kept or replayed; it holds the verdict secret and is for tests only."""
    request = _neighbour_request(situation.request)
    return {
        "version": VERSION,
        "tenants": [situation.document, _neighbour_document(request)],
        "scanners": [scanner_document(situation.request, OURS), scanner_document(request, NEIGHBOUR)],
        "message": dict(message),
    }


def _wanted_groups(request: Request) -> list[Any]:
    return [item for item in desired_objects(request) if item.kind is Kind.DISTRIBUTION_GROUP]


def _mentioned(rules: Iterable[Settings], names: Iterable[str]) -> set[str]:
    wanted = {name for each in names for name in (each, f"ExceptIf{each}")}
    return {value for rule in rules for name in wanted for value in values_of(rule.get(name) or ())}


def _neighbour_request(request: Request) -> Request:
    intent = replace(request.intent, directions=tuple(Direction), scope=Scope(ScopeKind.ALL_DOMAINS))
    domains = (AcceptedDomain(NEIGHBOUR_DOMAIN, is_initial=True, is_default=True),)
    secret = NEIGHBOUR_GRANT.replace("-", "")
    wanted = replace(
        request, grant_id=NEIGHBOUR_GRANT, intent=intent, accepted_domains=domains, secret=secret, routing=Routing.ON
    )
    certificate = missing_accepted_domain(wanted)
    return replace(wanted, accepted_domains=(*domains, AcceptedDomain(certificate))) if certificate else wanted


def _neighbour_document(request: Request) -> dict[str, Any]:
    """Return another customer of the scanner, as Grantline makes it: what is wrong with ours must not be wrong there too."""
    desired = desired_objects(request)
    rules = {item.name: dict(item.parameters) for item in desired if item.kind is Kind.TRANSPORT_RULE}
    return {
        "id": NEIGHBOUR,
        "accepted_domains": [{"DomainName": each.name, "DomainType": "Authoritative"} for each in request.accepted_domains],
        "recipients": [{"address": f"person@{NEIGHBOUR_DOMAIN}", "kind": "mailbox"}],
        "transport_rules": [{"Name": name, **rules[name]} for name in standing(desired)],
        **{
            key: [{"Name": item.name, **item.parameters} for item in desired if item.kind is kind]
            for key, kind in (
                ("inbound_connectors", Kind.INBOUND_CONNECTOR),
                ("outbound_connectors", Kind.OUTBOUND_CONNECTOR),
            )
        },
    }
