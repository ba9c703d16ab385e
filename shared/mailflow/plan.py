"""The plan: what a grant would change in a tenant, and what that does to messages, told before anything is done. Pure."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from shared.domain.grant import Direction
from shared.mailflow.baselines import baselines
from shared.mailflow.checks.values import egress
from shared.mailflow.desired import ForeignObject, Request, Routing, desired_objects, desired_settings
from shared.mailflow.diff import ROUTES, Change, changes
from shared.mailflow.networks import overlapping
from shared.mailflow.route.findings import MAXIMUM_TRIES, Harm, Route, RouteFinding, examine, worst
from shared.mailflow.route.foreign import RuleEffect, rule_effects
from shared.mailflow.route.foresee import foresee
from shared.mailflow.route.samples import OUT_OF_SCOPE, Sample, forgeries, samples_of
from shared.mailflow.route.situation import Situation, domain_names
from shared.mailflow.tenant import Found, TenantObjects

VERSION = 1
"""The version of the plan's document."""
IRREVERSIBLE: Mapping[str, str] = {
    "Enable-OrganizationCustomization": "The organization is made one that can be customized (Enable-OrganizationCustomization). "
    "Microsoft offers no way back; nothing else about the tenant changes by it.",
}
"""Changes that nobody can take back, by cmdlet, in words (real-tenants.md 12)."""
MAXIMUM_DOMAINS = 3
"""How many domains are tried with everything that can't be told; the others, which differ by name, with what is probable."""
RANGES = ("SenderIPAddresses", "SenderIpRanges", "ExceptIfSenderIpRanges")
"""The properties of our objects that list the scanner's addresses."""
_TIMES = {0: "not at all", 1: "once", 2: "twice"}
_NAMED = 5
"""How many domains are named where a route is the same for more."""


@dataclass(frozen=True)
class Plan:
    """What would be written, in order, and how messages would travel then: with the routing off (``resting``), and ``active``."""

    request: Request
    tenant: TenantObjects
    changes: tuple[Change, ...]
    resting: TenantObjects
    active: TenantObjects

    @property
    def digest(self) -> str:
        """A name for exactly these changes: SHA-256 of what would be written; secrets do not go into it."""
        written = [[change.object.name, change.result] for change in self.changes]
        return hashlib.sha256(json.dumps(written, sort_keys=True, default=str).encode()).hexdigest()

    @property
    def is_safe(self) -> bool:
        """False when a message would for certain be lost, go in circles, pass the scanner by, or be believed though forged."""
        return not any(finding.is_unsafe for finding in self.findings)

    @cached_property
    def routes(self) -> tuple[Route, ...]:
        """What becomes of each sample once the routing is on."""
        before, after = self._state(self.tenant), self._state(self.active, former=self.resting)
        return tuple(self._examined(before, after, is_on=True))

    @cached_property
    def findings(self) -> tuple[RouteFinding, ...]:
        """What goes wrong with messages, with the routing off or on, the gravest first."""
        before, resting = self._state(self.tenant), self._state(self.resting, former=self.tenant)
        off = self._examined(before, resting, is_on=False)
        return (*self._dropped_ranges(), *worst([*self.routes, *off]))

    def _dropped_ranges(self) -> Iterator[RouteFinding]:
        """Yield each direction whose ranges would all be others at once while mail is routed.

        What is under way then returns from addresses that nothing knows: it is scanned twice, or goes in circles.
        """
        if not any(rule["State"] == Routing.ON for rule in self._own_rules(self._state(self.tenant)) if rule.get(ROUTES)):
            return
        for direction in self.request.intent.directions:
            wanted = egress(self.request, [direction])
            found = self._found_ranges(direction)
            if found and not overlapping(wanted, found):
                cause = (
                    f"All addresses from which {direction} messages return would be others at once ({', '.join(found)} become "
                    f"{', '.join(wanted)}) while messages are under way. List the former and the new ones together first."
                )
                yield RouteFinding(Harm.DOUBLE_SCAN, "", "", cause)

    def _found_ranges(self, direction: Direction) -> list[str]:
        """Return the scanner's addresses that objects of ours hold now for a direction, whichever of them do."""
        wanted = egress(self.request, [direction])
        texts: set[str] = set()
        for item in desired_objects(self.request):
            found = self.tenant.find(item) or {}
            for name in RANGES:
                if tuple(item.parameters.get(name) or ()) == wanted:
                    texts.update(found.get(name) or ())
        return sorted(texts)

    def document(self) -> dict[str, Any]:
        """Return the plan as JSON values for people and programs; never a secret."""
        effects = list(rule_effects(self.request, self.tenant, self.active))
        return {
            "version": VERSION,
            "digest": self.digest,
            **self._grouped(),
            "rules_run_twice": [_effect(each) for each in effects if each.after > each.before],
            "rules_never_run": [_effect(each) for each in effects if each.after < each.before],
            "not_scanned": self._not_scanned(),
            "irreversible": [IRREVERSIBLE[change.cmdlet] for change in self.changes if change.cmdlet in IRREVERSIBLE],
            "routes": _routes(self.routes),
            "findings": [_finding(each) for each in self.findings if not each.is_open],
            "open_questions": _open(self.findings),
            "baselines": baselines([*desired_objects(self.request), *desired_settings(self.request)]),
            "is_safe": self.is_safe,
        }

    def _state(self, objects: TenantObjects, former: TenantObjects | None = None) -> Situation:
        return Situation(self.request, objects, former)

    def _examined(self, before: Situation, after: Situation, *, is_on: bool) -> Iterable[Route]:
        for place, domain in enumerate(_ranked(self.request)):
            tries = MAXIMUM_TRIES if place < MAXIMUM_DOMAINS else 0
            tried = [*samples_of(self.request, domain), *forgeries(self.request, self._own_rules(after), domain)]
            chosen = [each for each in tried if not (is_on and each.unrouted)]
            yield from examine(chosen, before, after, is_on=is_on, tries=tries)

    def _own_rules(self, state: Situation) -> list[Found]:
        own = {item.name.casefold() for item in desired_objects(self.request)}
        return [rule for rule in state.objects.of("Get-TransportRule") if str(rule["Name"]).casefold() in own]

    def _grouped(self) -> dict[str, list[dict[str, Any]]]:
        """Return the changes by what they do; ``step`` tells their order."""
        groups: dict[str, list[dict[str, Any]]] = {"creates": [], "updates": [], "deletes": [], "settings": []}
        for step, change in enumerate(self.changes, 1):
            groups[_group(change)].append({"step": step, **_change(change)})
        return groups

    def _not_scanned(self) -> list[dict[str, str]]:
        """Return what will not be scanned, and why: told by the samples, so that it is what the model finds."""
        found: dict[str, dict[str, str]] = {}
        for route in self.routes:
            sample = route.sample
            if sample.unscanned and sample.unscanned != OUT_OF_SCOPE and not sample.forged:
                found.setdefault(sample.name, {"what": sample.description, "why": sample.unscanned})
        return [*(_GAP if self._replaces_routing() else ()), *found.values(), *_NOT_SEEN]

    def _replaces_routing(self) -> bool:
        """True when a routing rule that is on goes, and another one comes, switched off."""
        rules = {str(rule["Name"]): rule for rule in self.tenant.of("Get-TransportRule")}
        going = [rules[change.object.name] for change in self.changes if change.cmdlet == "Remove-TransportRule"]
        return any(rule.get(ROUTES) and rule["State"] == Routing.ON for rule in going)


_GAP: tuple[dict[str, str], ...] = (
    {
        "what": "All mail, from this change until the new routing rules are verified and switched on.",
        "why": "A routing rule of a former name, scope or direction goes, and its successor begins switched off.",
    },
)
_NOT_SEEN: tuple[dict[str, str], ...] = (
    {
        "what": "The content of encrypted messages (S/MIME, rights management).",
        "why": "The scanner gets the message, but can read only its headers.",
    },
)


def make_plan(request: Request, tenant: TenantObjects) -> Plan:
    """Return the plan for a tenant as it was read.

    Nothing is decided here: whether it may be carried out depends on ``is_safe``, on ``irreversible`` and on who must approve it.
    """
    resting = foresee(tenant, _changes(replace(request, routing=Routing.OFF), tenant))
    active = foresee(resting, _changes(replace(request, routing=Routing.ON), resting))
    return Plan(request, tenant, tuple(_changes(request, tenant)), resting, active)


def _changes(request: Request, tenant: TenantObjects) -> list[Change]:
    settings = desired_settings(request)
    return changes(desired_objects(request), tenant, request.grant_id, request.former_grants, settings)


def _ranked(request: Request) -> list[str]:
    """Return the domains, the default and the initial one first."""
    ranks = {each.name.casefold(): (not each.is_default, not each.is_initial) for each in request.accepted_domains}
    return sorted(domain_names(request), key=lambda name: (ranks[name], name))


def _group(change: Change) -> str:
    if isinstance(change.object, ForeignObject):
        return "settings"
    verb = change.cmdlet.partition("-")[0]
    return {"New": "creates", "Remove": "deletes"}.get(verb, "updates")


def _change(change: Change) -> dict[str, Any]:
    parameters = {name: value for name, value in change.result.items() if name not in {"cmdlet", "Confirm", "Identity", "Name"}}
    return {
        "object": change.object.name,
        "purpose": getattr(change.object, "purpose", ""),
        "cmdlet": change.cmdlet,
        "parameters": _plain(parameters),
        "former": _plain(change.former),
    }


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as JSON has them."""
    copied: dict[str, Any] = json.loads(json.dumps(dict(values), default=str))
    return copied


def _effect(effect: RuleEffect) -> dict[str, str]:
    after, before = (_TIMES.get(count, f"{count} times") for count in (effect.after, effect.before))
    return {"rule": effect.rule, "messages": effect.sample, "what": f"It would act {after}; it acts {before} now."}


def _finding(finding: RouteFinding) -> dict[str, Any]:
    return {"harm": str(finding.harm), "sample": finding.sample, "domain": finding.domain, "what": str(finding)}


def _open(findings: Iterable[RouteFinding]) -> list[dict[str, Any]]:
    """Return what only real mail can answer: each condition, what would follow, and for which samples."""
    found: dict[tuple[str, str], list[str]] = {}
    for each in findings:
        if each.is_open and " and " not in each.condition:
            names = found.setdefault((each.condition, str(each.harm)), [])
            names += [each.sample] if each.sample not in names else []
    return [{"if": condition, "then": harm, "samples": names} for (condition, harm), names in found.items()]


def _routes(routes: Iterable[Route]) -> list[dict[str, Any]]:
    """Return the routes for people; domains for which a sample goes the same way share one entry."""
    found: dict[tuple[str, ...], tuple[Sample, list[str]]] = {}
    for route in routes:
        problem = " ".join(str(each) for each in route.findings if each.is_unsafe)
        texts = (route.sample.name, route.sample.description, route.before, route.after, problem)
        generic = tuple(text.replace(f"@{route.sample.domain}", "@…") for text in texts)
        found.setdefault(generic, (route.sample, []))[1].append(route.sample.domain)
    return [
        {
            **dict(zip(("name", "description", "before", "after", "problem"), texts, strict=True)),
            "domains": domains[:_NAMED],
            "more_domains": max(0, len(domains) - _NAMED),
        }
        for texts, (_, domains) in found.items()
    ]
