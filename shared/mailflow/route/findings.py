"""What goes wrong with sample messages between two states of a tenant: loss, loop, bypass, double scan, a believed forgery.

What can't be told is tried both ways. A rule of the tenant that the model can't read counts with its worst case, which the
finding names. What Microsoft's pages leave open, and what depends on others, is told as a condition and does not make a plan
unsafe: a mail proof decides it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from shared.mailflow.route.journey import LOOPED, Ending, Journey, travel
from shared.mailflow.route.model import RANK, End, Oracle
from shared.mailflow.route.samples import Sample
from shared.mailflow.route.situation import Situation
from shared.mailflow.route.trace import start_of

RULE, SERVER = "rule:", "server:"
_LOST = frozenset({End.REJECTED, End.DROPPED, End.DEFERRED})
_ARRIVED = frozenset({End.DELIVERED, End.JUNK, End.RELAYED, End.ON_PREMISES})
_FEW = 4
"""More scans than these are a loop; 5.4.14 after fewer is mail that was taken for another tenant's."""
_SPARED = -1
"""The spam confidence level that spares a message the spam filter."""
MAXIMUM_TRIES = 64
"""How many combinations of what can't be told are tried for one sample at most: one at a time, then two."""


class Harm(StrEnum):
    """What can go wrong, the gravest first."""

    LOSS = "loss"
    LOOP = "loop"
    BYPASS = "bypass"
    FORGERY = "forgery"
    DOUBLE_SCAN = "double_scan"
    HELD = "held"
    OVERREACH = "overreach"


UNSAFE = frozenset({Harm.LOSS, Harm.LOOP, Harm.BYPASS, Harm.FORGERY, Harm.DOUBLE_SCAN})
"""Harms that no plan may do for certain."""


@dataclass(frozen=True, slots=True)
class RouteFinding:
    """One harm to one sample. ``condition`` says what must be true for it, "" where nothing but the plan is needed.

    ``is_open``: the condition is one that only a proof with real mail decides, so that it does not make a plan unsafe.
    """

    harm: Harm
    sample: str
    domain: str
    cause: str
    condition: str = ""
    is_open: bool = False

    @property
    def is_unsafe(self) -> bool:
        """True when no plan may do this."""
        return self.harm in UNSAFE and not self.is_open

    def __str__(self) -> str:
        """Return the finding as a sentence for people."""
        return f"{self.cause} This is so if {self.condition}." if self.condition else self.cause


@dataclass(frozen=True, slots=True)
class Route:
    """A sample, what becomes of it before and after, in words, and what is wrong with that."""

    sample: Sample
    before: str
    after: str
    findings: tuple[RouteFinding, ...]


def examine(
    samples: Iterable[Sample], before: Situation, after: Situation, *, is_on: bool = True, tries: int = MAXIMUM_TRIES
) -> Iterator[Route]:
    """Yield what becomes of each sample. ``is_on``: the routing is on in ``after``, so that what is in scope must be scanned.

    ``tries``: how many combinations of what can't be told are tried for one sample; 0 takes everything as it probably is.
    """
    for sample in samples:
        yield _route(sample, before, after, is_on, tries)


def _route(sample: Sample, before: Situation, after: Situation, is_on: bool, tries: int) -> Route:
    start = start_of(sample.message)
    worlds = [state.world(sample.verdict, modifies=sample.modifies) for state in (before, after)]
    found: dict[tuple[Harm, str], RouteFinding] = {}
    told: tuple[str, str] | None = None
    waiting: list[Mapping[str, bool]] = [{}]
    seen = {frozenset[str]()}
    for _ in range(tries + 1):
        if not waiting:
            break
        choices = waiting.pop(0)
        oracles = (Oracle(choices), Oracle(choices))
        was, becomes = (travel(world, start, oracle) for world, oracle in zip(worlds, oracles, strict=True))
        told = told or (in_words(was), in_words(becomes))
        for finding in _judged(sample, was, becomes, is_on, choices):
            found.setdefault((finding.harm, finding.cause), finding)
        for key, decision in {**oracles[0].asked, **oracles[1].asked}.items():
            flipped = frozenset([*choices, key])
            if key not in choices and len(flipped) <= 2 and flipped not in seen:
                seen.add(flipped)
                waiting.append({**choices, key: not decision})
    return Route(sample, *(told or ("", "")), tuple(sorted(found.values(), key=lambda each: list(Harm).index(each.harm))))


def _judged(sample: Sample, before: Journey, after: Journey, is_on: bool, choices: Mapping[str, bool]) -> Iterator[RouteFinding]:
    is_open = bool(sample.condition) or any(not key.startswith((RULE, SERVER)) for key in choices)
    condition = " and ".join([*map(_condition, choices.items()), *([sample.condition] if sample.condition else [])])
    # While servers still have the rules of before, mail is treated as it was: it can't be lost, but may not be scanned yet.
    counts = is_on and not any(key.startswith(SERVER) for key in choices)
    for harm, cause in (*_ends(before, after), *(_scans(sample, after) if counts else ()), *_forgeries(sample, before, after)):
        yield RouteFinding(harm, sample.name, sample.domain, cause, condition, is_open)


def _condition(choice: tuple[str, bool]) -> str:
    key, decision = choice
    if key.startswith(RULE):
        return f"the rule '{key.removeprefix(RULE)}', which can't be read here, matches the message"
    if key.startswith(SERVER):
        return f"the server of pass {key.removeprefix(SERVER)} still has the rules of before"
    return SWITCH_WORDS[key][not decision]


SWITCH_WORDS: Mapping[str, tuple[str, str]] = {
    "from_scope_needs_authentication": (
        "FromScope InOrganization needs an authenticated message",
        "FromScope InOrganization needs no authentication",
    ),
    "recipient_domain_includes_subdomains": (
        "RecipientDomainIs includes subdomains",
        "RecipientDomainIs does not include subdomains",
    ),
    "auth_header_in_conditions": (
        "rules can read Exchange's header on who is authenticated",
        "rules can't read Exchange's header on who is authenticated",
    ),
    "loop_header_survives": (
        "Exchange's mark of redirected messages survives the way through the scanner",
        "Exchange's mark of redirected messages is lost on the way through the scanner",
    ),
    "null_sender_relays": (
        "messages with a null sender relay through a connector",
        "messages with a null sender do not relay through a connector",
    ),
    "high_confidence_phish_overrides_scl": (
        "high-confidence phish is quarantined whatever rules say",
        "rules spare high-confidence phish the quarantine",
    ),
}
"""What each switch means when it is true, and when it is not."""


def _ends(before: Journey, after: Journey) -> Iterator[tuple[Harm, str]]:
    """Compare where the message ends for each recipient."""
    for address, ending in after.ends.items():
        was = before.ends.get(address)
        if ending.status == LOOPED and ending.scans > _FEW and (was is None or was.status != LOOPED):
            yield Harm.LOOP, f"The message to {address} goes in circles until it is refused ({LOOPED})."
        elif ending.end in _LOST and (was is None or was.end not in _LOST):
            yield Harm.LOSS, f"The message to {address} is {_said(ending)}; it was {_said(was) if was else 'not sent'} before."
        elif was and RANK[ending.end] > RANK[was.end] and ending.end not in _ARRIVED - {End.JUNK}:
            yield Harm.HELD, f"The message to {address} is {_said(ending)}; it was {_said(was)} before."
    for address, was in before.ends.items():
        if address not in after.ends and was.end not in _LOST:
            yield Harm.LOSS, f"The message to {address} does not get there any more; it was {_said(was)} before."


def _scans(sample: Sample, after: Journey) -> Iterator[tuple[Harm, str]]:
    """Compare how often the scanner had the message with how often it must have had it."""
    for address, expected in sample.expects.items():
        ending = after.ends.get(address)
        if ending is None or ending.end not in _ARRIVED or ending.by:
            continue  # it did not get there, or another gateway has it and gives it back
        if ending.scans < expected and not sample.unrouted:
            yield Harm.BYPASS, f"The message reaches {address} scanned {_times(ending.scans)}, not {_times(expected)}."
        elif ending.scans > expected and expected:
            yield Harm.DOUBLE_SCAN, f"The message to {address} is scanned {_times(ending.scans)}, not {_times(expected)}."
        elif ending.scans > expected:
            yield Harm.OVERREACH, f"The message to {address} is scanned although it is out of scope."


def _forgeries(sample: Sample, before: Journey, after: Journey) -> Iterator[tuple[Harm, str]]:
    """Tell which forgeries are believed that were not believed before: a plan that repairs something makes no new one."""
    if not sample.forged:
        return
    for address, ending in after.ends.items():
        was = before.ends.get(address)
        if sample.unrouted and ending.scans:
            continue  # a server that still has the former rules routed it: what the scanner gives back is no message past it
        if ending.level == _SPARED and (was is None or was.level != _SPARED):
            yield Harm.FORGERY, f"The message to {address} is spared the spam filter by what somebody else can write or send."


def in_words(journey: Journey) -> str:
    """Return a journey in words: what becomes of each recipient's copy."""
    return "; ".join(f"{address}: {_said(ending)}, scanned {_times(ending.scans)}" for address, ending in journey.ends.items())


def _said(ending: Ending) -> str:
    words = {
        End.DELIVERED: "delivered",
        End.ON_PREMISES: "handed to the organization's own servers",
        End.RELAYED: "sent to the outside",
        End.JUNK: "put into Junk Email",
        End.QUARANTINED: "quarantined",
        End.MODERATED: "held for a moderator",
        End.DEFERRED: "kept waiting",
        End.DROPPED: "deleted",
        End.REJECTED: f"refused ({ending.status})",
    }[ending.end]
    return f"{words} by '{ending.by}'" if ending.by else words


def _times(count: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(count, f"{count} times")


def worst(routes: Sequence[Route]) -> list[RouteFinding]:
    """Return all findings, each harm of a sample once however many domains it is the same for, the gravest first."""
    found: dict[tuple[Harm, str, str], RouteFinding] = {}
    for route in routes:
        for finding in route.findings:
            found.setdefault((finding.harm, finding.sample, finding.condition), finding)
    return sorted(found.values(), key=lambda each: (each.is_open, list(Harm).index(each.harm)))
