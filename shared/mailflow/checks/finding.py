"""The shapes of a check: what it reads, the kinds of things that it can find, and one finding with its evidence and remedy."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from shared.mailflow.desired import DesiredSetting, Request
from shared.mailflow.tenant import TenantObjects

MAXIMUM_WORD = 300
"""How many characters of one word of the case a sentence holds: a connector may name a thousand domains."""


class Severity(StrEnum):
    """How much a finding matters, the gravest first.

    A blocking one stops the grant until it is put right; one to acknowledge, until somebody has said that it may stay; a notice
    stops nothing. What could not be read is told as not checked, and stops nothing either.
    """

    BLOCKING = "blocking"
    ACKNOWLEDGE = "acknowledge"
    NOTICE = "notice"
    NOT_CHECKED = "not_checked"

    @property
    def rank(self) -> int:
        """Its place among all: 0 is the gravest."""
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found: the object and the values that prove it, and how a person puts it right.

    ``fix`` are the settings by which Grantline can put it right itself, undone with everything else; none where that is not safe.
    ``problem_code`` names the entry of the catalogue of problems that it becomes where it stops the grant. ``check`` is the
    check's name, which ``catalogue.judge`` fills in.
    """

    severity: Severity
    object: str
    cause: str
    remedy: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    fix: tuple[DesiredSetting, ...] = ()
    problem_code: str = "setting_blocks"
    check: str = ""

    @property
    def key(self) -> str:
        """What an acknowledgement or a fix names it by: the same as long as it is about the same object."""
        return f"{self.check}|{self.object}"


@dataclass(frozen=True, slots=True)
class FindingKind:
    """A kind of finding, told for all cases: ``cause`` and ``remedy`` name the case's words in braces, ``{object}`` always.

    ``evidence`` names the values that prove it. ``fix`` says what Grantline changes where it puts it right itself; "" where a
    person must.
    """

    severity: Severity
    cause: str
    remedy: str
    evidence: tuple[str, ...]
    fix: str = ""
    problem_code: str = "setting_blocks"

    def about(self, name: str, evidence: Mapping[str, Any], fix: tuple[DesiredSetting, ...] = (), **words: object) -> Finding:
        """Return the finding of this kind about one object."""
        said = {word: _short(str(value)) for word, value in {"object": name, **words}.items()}
        cause, remedy = self.cause.format(**said), self.remedy.format(**said)
        return Finding(self.severity, name, cause, remedy, evidence, fix, self.problem_code)


def _short(text: str) -> str:
    return text if len(text) <= MAXIMUM_WORD else f"{text[:MAXIMUM_WORD]}…"


Judgement = Callable[[Request, TenantObjects], Iterator[Finding]]


@dataclass(frozen=True, slots=True)
class Check:
    """One check: what must have been read for it, the kinds of findings that it can come to, and its judgement.

    ``reads`` are cmdlets, and the reads beside Exchange that their modules name: without one of them nothing is checked. ``also``
    is read where the tenant has it. ``title`` says what is true where the check passes.
    """

    name: str
    title: str
    reads: frozenset[str]
    kinds: tuple[FindingKind, ...]
    judge: Judgement
    also: frozenset[str] = frozenset()
