"""What one run of a step comes to. A workflow returns an outcome; ``decide`` turns it into the grant's next state."""

from dataclasses import dataclass, field
from datetime import datetime

from shared.domain.grant import Facts, Row
from shared.domain.problems import Actor, Problem
from shared.domain.steps import StepName


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The base of all outcomes: rows of the grant's partition to write and to delete in the outcome's transaction."""

    rows: tuple[Row, ...] = ()
    deletes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Done(Outcome):
    """The step is done; ``facts`` is what it leaves behind."""

    facts: Facts = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress(Outcome):
    """A slice is done; the rest goes to the tail of the queue, with the cursor in ``rows``."""

    facts: Facts = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class NeedsPerson(Outcome):
    """The step waits for the person whom the problem names."""

    problem: Problem
    facts: Facts = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(Outcome):
    """Grantline can't go on with this step; an operator may retry it."""

    problem: Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Reopen(Outcome):
    """What another step left behind is gone: that step is done again, and shows ``problem`` where a person must do it.

    After ``schedule.MAXIMUM_REOPENS`` times the step that looked shows ``problem`` itself.
    """

    step: StepName
    why: str
    problem: Problem
    facts: Facts = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait(Outcome):
    """Nothing to do before ``until``; ``why`` is for people. A wait that would go on past ``give_up_at`` becomes ``then``.

    ``facts`` are kept as in Progress, so that people see what is known so far. ``who`` is who must act meanwhile, where it is
    somebody's deed elsewhere that is waited for, and ``problem`` what they are to put right.
    """

    until: datetime
    why: str
    give_up_at: datetime
    then: NeedsPerson | Failed | Reopen
    facts: Facts = field(default_factory=dict)
    who: Actor | None = None
    problem: Problem | None = None
