"""The term of the application's role, and what is done about it."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain import decide, schedule
from shared.domain.decide import MFA_ASKED
from shared.domain.grant import BY_HAND_BECAUSE, Facts, Grant, RoleMode
from shared.domain.roles import ASSIGNED_AT, ENDS_AT, SEEN_AT, SOON, UNKNOWN, Deed, Term, deed, term_facts, term_of
from shared.domain.steps import StepName, StepState
from tests.unit.domain.grants import NOW, created

DAY = timedelta(days=1)


def granted(mode: RoleMode = RoleMode.SIGN_IN, *, assigned: Facts | None = None, watched: Facts | None = None) -> Grant:
    """Return a grant whose role step and watch have left these facts."""
    grant = created(mode).grant
    grant = grant.with_step(replace(grant.steps[StepName.ROLE_ASSIGNMENT], facts=assigned or {}))
    return grant.with_step(replace(grant.steps[StepName.ACCESS_WATCH], facts=watched or {}))


def stamp(days: int) -> str:
    """Return the moment some days from now as it is stored."""
    return schedule.stamp(NOW + days * DAY)


@pytest.mark.parametrize(
    ("assigned", "watched", "end"),
    [
        ({}, {}, None),
        ({ASSIGNED_AT: stamp(-9), ENDS_AT: stamp(90)}, {}, 90),
        ({ASSIGNED_AT: stamp(-9), ENDS_AT: stamp(90)}, {SEEN_AT: stamp(-3), ENDS_AT: stamp(30)}, 30),
        ({ASSIGNED_AT: stamp(-1), ENDS_AT: stamp(90)}, {SEEN_AT: stamp(-3), ENDS_AT: stamp(30)}, 90),
        ({ASSIGNED_AT: stamp(-9), ENDS_AT: stamp(90)}, {SEEN_AT: stamp(-3), ENDS_AT: None}, 90),
        ({}, {SEEN_AT: stamp(-3), ENDS_AT: stamp(30)}, 30),
    ],
)
def test_the_later_look_counts(assigned: Facts, watched: Facts, end: int | None) -> None:
    """The watch's look is believed until this grant assigns or extends the role after it."""
    found = term_of(granted(assigned=assigned, watched=watched))

    assert found.ends_at == (None if end is None else NOW + end * DAY)
    assert found.is_known is (end is not None)


def test_no_end_is_known_to_be_none() -> None:
    """An assignment for good is not one whose end nobody could see."""
    found = term_of(granted(assigned={ASSIGNED_AT: stamp(-9), ENDS_AT: ""}))

    assert (found.is_known, found.ends_at, found.is_soon_over(NOW + 10_000 * DAY)) == (True, None, False)


@given(st.integers(1, 400), st.integers(0, 400))
def test_soon_is_two_weeks_at_most_and_a_quarter_of_a_short_term(days: int, passed: int) -> None:
    """A term is not soon over when it begins, and always is before its end."""
    term = Term(is_known=True, begins_at=NOW, ends_at=NOW + days * DAY)

    assert not term.is_soon_over(NOW)
    assert term.is_soon_over(NOW + days * DAY - timedelta(minutes=1))
    left = (days - passed) * DAY
    assert term.is_soon_over(NOW + passed * DAY) is (left <= min(SOON, days * DAY / 4))


@pytest.mark.parametrize("term", [UNKNOWN, Term(is_known=True), Term(is_known=True, ends_at=NOW, begins_at=NOW - DAY)], ids=str)
def test_a_term_is_read_as_it_was_kept(term: Term) -> None:
    """Unknown, without an end, and with one stay three different things."""
    kept = {ASSIGNED_AT: stamp(-1), **term_facts(term)}

    assert term_of(granted(assigned=kept)) == term


def test_an_assignment_is_never_doubled() -> None:
    """What is held is left or extended; only nothing leads to an assignment."""
    far, near = Term(is_known=True, ends_at=NOW + 90 * DAY), Term(is_known=True, ends_at=NOW + DAY)

    assert [deed(held, NOW) for held in (None, Term(is_known=True), far, near)] == [
        Deed.ASSIGN,
        Deed.NOTHING,
        Deed.NOTHING,
        Deed.EXTEND,
    ]


@pytest.mark.parametrize("mode", RoleMode)
def test_who_begins_each_way_to_the_role(mode: RoleMode) -> None:
    """A sign-in begins one way, can move another, and is nothing to the two that are gone elsewhere."""
    grant = granted(mode)
    name = StepName.ROLE_ASSIGNMENT

    assert (grant.person_of(name) is not None) is (mode is RoleMode.SIGN_IN)
    assert grant.takes_sign_in(name) is (mode in (RoleMode.SIGN_IN, RoleMode.APPLICATION))
    assert grant.takes_sign_in(StepName.DIRECTORY_CONSENT)
    assert not grant.takes_sign_in(StepName.PREFLIGHT)


def test_a_way_that_is_closed_is_gone_by_hand_until_another_is_chosen() -> None:
    """The chosen way stays the intent; choosing it again tries it again, with one more sign-in with a second factor to come."""
    facts = {BY_HAND_BECAUSE: "role_by_hand", MFA_ASKED: True, "seen": "nothing"}
    grant = granted(assigned=facts)
    step = replace(grant.steps[StepName.ROLE_ASSIGNMENT], state=StepState.WAITING)
    grant = grant.with_step(step)

    assert (grant.role_mode, grant.intent.role_mode) == (RoleMode.BY_HAND, RoleMode.SIGN_IN)
    again = decide.choose_role_mode(grant, RoleMode.SIGN_IN, NOW, actor="x")
    assert again
    assert (again.grant.role_mode, again.grant.steps[StepName.ROLE_ASSIGNMENT].facts) == (RoleMode.SIGN_IN, {"seen": "nothing"})


def test_a_ticket_begins_the_step_anew() -> None:
    """The same way with a ticket is something new; the same ticket twice is not."""
    grant = granted()
    step = replace(grant.steps[StepName.ROLE_ASSIGNMENT], state=StepState.WAITING_FOR_PERSON)
    chosen = decide.choose_role_mode(grant.with_step(step), RoleMode.SIGN_IN, NOW, actor="x", ticket_number="INC-7")
    assert chosen
    assert chosen.grant.intent.ticket_number == "INC-7"
    assert decide.choose_role_mode(chosen.grant, RoleMode.SIGN_IN, NOW, actor="x", ticket_number="INC-7") is None
    assert decide.choose_role_mode(chosen.grant, RoleMode.SIGN_IN, NOW, actor="x") is None
