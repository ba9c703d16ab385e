"""Rules of others that would run twice, or not at all, once mail goes through the scanner (real-tenants.md 4).

Every rule is tried with messages that look as it wants them: what it asks of where a message comes from and goes to is kept, all
else is taken to be met, so that no sample has to hit its words.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from shared.mailflow.desired import Request, desired_objects
from shared.mailflow.kinds import Kind
from shared.mailflow.route.conditions import Settings
from shared.mailflow.route.findings import RULE
from shared.mailflow.route.journey import travel
from shared.mailflow.route.model import Oracle
from shared.mailflow.route.samples import Sample, samples_of
from shared.mailflow.route.situation import Situation, domain_names
from shared.mailflow.route.trace import first_address, start_of
from shared.mailflow.rule_properties import ACTIONS, CONDITIONS, EXCEPTIONS
from shared.mailflow.tenant import TenantObjects

_KEPT = frozenset({"FromScope", "SentToScope", "SenderIpRanges", "ExceptIfSenderIpRanges"})
_MET = "HasClassification"
"""A condition that the model can't tell, and takes to be met when it is asked to."""
_TRIED = ("from outside", "to outside", "inside")


@dataclass(frozen=True, slots=True)
class RuleEffect:
    """A rule of somebody else that acts another number of times than before, on messages of one kind."""

    rule: str
    sample: str
    before: int
    after: int


def rule_effects(request: Request, before: TenantObjects, after: TenantObjects) -> Iterator[RuleEffect]:
    """Yield, for each rule of others, the first kind of messages on which the change makes it act more or less often."""
    own = {item.name.casefold() for item in desired_objects(request) if item.kind is Kind.TRANSPORT_RULE}
    states = [_relaxed(request, objects, own) for objects in (before, after)]
    domains = domain_names(request)
    tried = [sample for sample in samples_of(request, domains[0]) if sample.name in _TRIED] if domains else []
    for rule in before.answers["Get-TransportRule"]:
        if str(rule["Name"]).casefold() not in own:
            yield from _effect(rule, tried, states)


def _effect(rule: Settings, tried: list[Sample], states: list[Situation]) -> Iterator[RuleEffect]:
    name = str(rule["Name"])
    for sample in tried:
        counts = [_count(name, _fitted(rule, sample), state) for state in states]
        if counts[0] and counts[0] != counts[1]:
            yield RuleEffect(name, sample.name, *counts)
            return


def _count(name: str, message: Mapping[str, Any], state: Situation) -> int:
    return travel(state.world(), start_of(message), Oracle({f"{RULE}{name}": True})).rules[name]


def _fitted(rule: Settings, sample: Sample) -> Mapping[str, Any]:
    """Return the sample's message, from an address that the rule asks for if it asks for some."""
    ranges = rule.get("SenderIpRanges") or ()
    source = first_address(str(ranges[0])) if ranges else ""
    return {**sample.message, "source_ip": source} if source and sample.message["source_ip"] else sample.message


def _relaxed(request: Request, objects: TenantObjects, own: set[str]) -> Situation:
    """Return the tenant with only that of foreign rules kept which asks where a message comes from and goes to."""
    rules = [
        rule if str(rule["Name"]).casefold() in own else _without_words(rule) for rule in objects.answers["Get-TransportRule"]
    ]
    return Situation(request, TenantObjects({**objects.answers, "Get-TransportRule": rules}))


def _without_words(rule: Settings) -> Settings:
    kept = {name: value for name, value in rule.items() if name in _KEPT or name not in CONDITIONS | EXCEPTIONS}
    is_cut = any(rule.get(name) for name in (CONDITIONS | EXCEPTIONS) - _KEPT if name not in kept)
    acts = any(rule.get(name) for name in ACTIONS)
    return {**kept, **({_MET: "met"} if is_cut else {}), **({} if acts else {"PrependSubject": "acts"})}
