"""Transitions of a grant."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain import decide, outcomes, schedule
from shared.domain.decision import Decision
from shared.domain.grant import SEALED_ROW, Grant, GrantState, RoleMode
from shared.domain.outcomes import Outcome
from shared.domain.problems import Actor, problem
from shared.domain.steps import STEPS, StepName, StepState
from tests.unit.domain.grants import NOW, completed_until, created, ran


def test_a_new_grant_waits_for_the_first_consent() -> None:
    """The first step waits for the tenant administrator with an end; every other one is blocked."""
    grant = created().grant
    first = grant.steps[StepName.MAIL_FLOW_CONSENT]

    assert first.state is StepState.WAITING_FOR_PERSON
    assert first.who is Actor.TENANT_ADMINISTRATOR
    assert first.clock == NOW + schedule.PERSON_PATIENCE
    assert {step.state for name, step in grant.steps.items() if name is not first.name} == {StepState.BLOCKED}


def test_branches_open_side_by_side() -> None:
    """The second consent does not wait for the role."""
    grant = ran(created().grant, StepName.MAIL_FLOW_CONSENT, outcomes.Done())

    assert grant.steps[StepName.ROLE_ASSIGNMENT].state is StepState.WAITING_FOR_PERSON
    assert grant.steps[StepName.DIRECTORY_CONSENT].state is StepState.WAITING_FOR_PERSON
    assert grant.steps[StepName.PREFLIGHT].state is StepState.BLOCKED


def test_the_last_step_completes_the_grant_once() -> None:
    """The policy's and the grant's events come with the last step that counts, and only then."""
    grant = created().grant
    told: dict[StepName, list[str]] = {}
    for name in (name for name, each in STEPS.items() if not each.is_optional and not each.is_removal):
        step = grant.steps[name]
        now = (step.clock if STEPS[name].repeats else None) or NOW
        if step.state is StepState.WAITING_FOR_PERSON:
            acted = decide.person_acted(grant, name, NOW, actor="an administrator")
            assert acted
            grant = acted.grant
        claimed = decide.claim(grant, name, "run", now)
        assert claimed
        decided = decide.decide(claimed.grant, name, "run", outcomes.Done(), now)
        assert decided
        grant = decided.grant
        told[name] = [event.type for event in decided.events]

    assert grant.state is GrantState.COMPLETED
    assert told.pop(StepName.POLICY_ACTIVATION) == ["step.done", "policy.enabled", "grant.completed"]
    assert set(map(tuple, told.values())) == {("step.done",)}
    assert ran(grant, StepName.MAIL_PROOF, outcomes.Done()).earliest_clock == grant.publish_by


def test_an_outcome_of_another_run_is_dropped() -> None:
    """The fence: only the run that holds the step decides."""
    queued = decide.person_acted(created().grant, StepName.MAIL_FLOW_CONSENT, NOW, actor="x")
    assert queued
    claimed = decide.claim(queued.grant, StepName.MAIL_FLOW_CONSENT, "one", NOW)
    assert claimed

    assert decide.decide(claimed.grant, StepName.MAIL_FLOW_CONSENT, "other", outcomes.Done(), NOW) is None


def test_a_step_is_held_until_its_lease_ends() -> None:
    """A second run takes the step only after the lease; the same run finds its own claim again."""
    queued = decide.person_acted(created().grant, StepName.MAIL_FLOW_CONSENT, NOW, actor="x")
    assert queued
    claimed = decide.claim(queued.grant, StepName.MAIL_FLOW_CONSENT, "one", NOW)
    assert claimed
    end = schedule.lease_end(NOW)

    assert decide.claim(claimed.grant, StepName.MAIL_FLOW_CONSENT, "two", end - timedelta(seconds=1)) is None
    again = decide.claim(claimed.grant, StepName.MAIL_FLOW_CONSENT, "one", NOW)
    assert again
    assert again.grant == claimed.grant
    late = decide.claim(claimed.grant, StepName.MAIL_FLOW_CONSENT, "two", end)
    assert late
    assert late.grant.steps[StepName.MAIL_FLOW_CONSENT].run_id == "two"


def test_too_many_claims_need_attention() -> None:
    """A step that is claimed again and again without an outcome is handed to a person."""
    queued = decide.person_acted(created().grant, StepName.MAIL_FLOW_CONSENT, NOW, actor="x")
    assert queued
    grant, now = queued.grant, NOW
    for number in range(schedule.MAXIMUM_CLAIMS):
        claimed = decide.claim(grant, StepName.MAIL_FLOW_CONSENT, f"run {number}", now)
        assert claimed
        grant, now = claimed.grant, now + schedule.LEASE
    last = decide.claim(grant, StepName.MAIL_FLOW_CONSENT, "last", now)

    assert last
    step = last.grant.steps[StepName.MAIL_FLOW_CONSENT]
    assert step.state is StepState.NEEDS_ATTENTION
    assert step.problem
    assert step.problem.code == "no_outcome"


def test_a_person_who_never_comes_is_told_of() -> None:
    """The wait for a person has an end, and then a problem."""
    grant = created().grant
    expired = decide.claim(grant, StepName.MAIL_FLOW_CONSENT, "run", NOW + schedule.PERSON_PATIENCE)

    assert expired
    found = expired.grant.steps[StepName.MAIL_FLOW_CONSENT].problem
    assert found
    assert found.code == "person_never_came"


def test_a_wait_ends_in_what_it_says() -> None:
    """Before its end a wait keeps its reason and clock; after it, what comes then comes."""
    wait = outcomes.Wait(
        until=NOW + timedelta(seconds=5),
        why="the role spreads",
        give_up_at=NOW + timedelta(minutes=1),
        then=outcomes.Failed(problem=problem("role_without_effect")),
    )
    waiting = ran(completed_until(StepName.ROLE_ASSIGNMENT), StepName.ROLE_ASSIGNMENT, wait)
    given_up = ran(completed_until(StepName.ROLE_ASSIGNMENT), StepName.ROLE_ASSIGNMENT, wait, NOW + timedelta(minutes=1))

    step = waiting.steps[StepName.ROLE_ASSIGNMENT]
    assert (step.state, step.reason, step.clock) == (StepState.WAITING, "the role spreads", wait.until)
    assert step.gives_up_at == wait.give_up_at
    ended = given_up.steps[StepName.ROLE_ASSIGNMENT]
    assert (ended.state, ended.gives_up_at) == (StepState.NEEDS_ATTENTION, None)


def test_a_waits_end_is_met() -> None:
    """The last look is at the very end of a wait, however long the delay before it would have been."""
    wait = outcomes.Wait(
        until=NOW + timedelta(minutes=5),
        why="the role spreads",
        give_up_at=NOW + timedelta(minutes=1),
        then=outcomes.Failed(problem=problem("role_without_effect")),
    )
    grant = ran(completed_until(StepName.PREFLIGHT), StepName.PREFLIGHT, wait)

    assert grant.steps[StepName.PREFLIGHT].clock == NOW + timedelta(minutes=1)


def test_waits_are_remembered_by_their_reason() -> None:
    """The receipt's waits: how often and how long for each reason."""
    grant, now = completed_until(StepName.PREFLIGHT), NOW
    for _ in range(2):
        wait = outcomes.Wait(
            until=now + timedelta(seconds=5),
            why="Exchange is busy",
            give_up_at=NOW + timedelta(hours=1),
            then=outcomes.Failed(problem=problem("kept_failing")),
        )
        grant, now = ran(grant, StepName.PREFLIGHT, wait, now), now + timedelta(seconds=5)
    grant = ran(grant, StepName.PREFLIGHT, outcomes.Done(), now)

    (record,) = grant.steps[StepName.PREFLIGHT].waits
    assert (record.why, record.count, record.seconds) == ("Exchange is busy", 2, 10.0)


def test_a_missing_fact_reopens_its_owner_three_times() -> None:
    """Verification has the owner's step done again, waits for it, and gives up after three times."""
    grant = completed_until(StepName.VERIFICATION)
    reopen = outcomes.Reopen(step=StepName.MAIL_FLOW, why="a rule is gone", problem=problem("fact_missing"))
    for _ in range(schedule.MAXIMUM_REOPENS):
        grant = ran(grant, StepName.VERIFICATION, reopen)
        assert grant.steps[StepName.VERIFICATION].state is StepState.BLOCKED
        grant = ran(grant, StepName.MAIL_FLOW, outcomes.Done())
    grant = ran(grant, StepName.VERIFICATION, reopen)

    assert grant.steps[StepName.VERIFICATION].problem == problem("fact_missing")


def test_a_reopened_consent_blocks_what_follows_it() -> None:
    """Verification goes on only when everything that it stands on, near and far, is done again."""
    reopen = outcomes.Reopen(step=StepName.MAIL_FLOW_CONSENT, why="the consent is gone", problem=problem("fact_missing"))
    grant = ran(completed_until(StepName.VERIFICATION), StepName.VERIFICATION, reopen)

    assert grant.steps[StepName.MAIL_FLOW_CONSENT].state is StepState.WAITING_FOR_PERSON
    assert grant.steps[StepName.VERIFICATION].state is StepState.BLOCKED
    grant = ran(grant, StepName.MAIL_FLOW_CONSENT, outcomes.Done())
    assert grant.steps[StepName.VERIFICATION].state is StepState.QUEUED


def test_a_tenant_is_pinned_for_good_by_the_first_consent() -> None:
    """Until somebody comes back from the consent a fresh proof counts for more; after it another tenant is refused."""
    pinned = decide.pin_tenant(created().grant, "tenant-a", NOW, actor="x")

    assert pinned
    assert decide.pin_tenant(pinned.grant, "tenant-a", NOW, actor="x") == Decision(pinned.grant)
    again = decide.pin_tenant(pinned.grant, "tenant-b", NOW, actor="x")
    assert again
    assert again.grant.tenant_id == "tenant-b"
    acted = decide.person_acted(again.grant, StepName.MAIL_FLOW_CONSENT, NOW, actor="x")
    assert acted
    assert decide.pin_tenant(acted.grant, "tenant-a", NOW, actor="x") is None


def test_a_retry_lets_verification_have_things_done_again() -> None:
    """After three reopens a person looks; their retry begins the count anew, so that what is gone is made again."""
    grant = completed_until(StepName.VERIFICATION)
    reopen = outcomes.Reopen(step=StepName.MAIL_FLOW, why="a rule is gone", problem=problem("fact_missing"))
    for _ in range(schedule.MAXIMUM_REOPENS):
        grant = ran(ran(grant, StepName.VERIFICATION, reopen), StepName.MAIL_FLOW, outcomes.Done())
    grant = ran(grant, StepName.VERIFICATION, reopen)
    retried = decide.retry(grant, StepName.VERIFICATION, NOW, actor="an operator")

    assert retried
    grant = ran(retried.grant, StepName.VERIFICATION, reopen)
    assert grant.steps[StepName.MAIL_FLOW].state is StepState.QUEUED


def test_a_message_never_hides_what_a_person_must_do() -> None:
    """A dead letter is an event; the problem that a person is asked to put right stays on the step."""
    blocked = ran(
        completed_until(StepName.PREFLIGHT), StepName.PREFLIGHT, outcomes.NeedsPerson(problem=problem("setting_blocks"))
    )
    noted = decide.note(blocked, StepName.PREFLIGHT, problem("message_unreadable"), NOW, event="message.dead_lettered")

    assert noted.grant.steps[StepName.PREFLIGHT].problem == problem("setting_blocks")
    assert [event.type for event in noted.events] == ["message.dead_lettered"]


@pytest.mark.parametrize("outcome", [outcomes.Done(), outcomes.Failed(problem=problem("unexpected"))])
def test_an_administrators_token_ends_with_its_step(outcome: Outcome) -> None:
    """Whatever the role step comes to, its sealed row is deleted in the same transaction."""
    acted = decide.person_acted(completed_until(StepName.ROLE_ASSIGNMENT), StepName.ROLE_ASSIGNMENT, NOW, actor="x")
    assert acted
    claimed = decide.claim(acted.grant, StepName.ROLE_ASSIGNMENT, "run", NOW)
    assert claimed
    decided = decide.decide(claimed.grant, StepName.ROLE_ASSIGNMENT, "run", outcome, NOW)

    assert decided
    assert decided.deletes == (SEALED_ROW,)


def test_retry_begins_a_step_that_needs_attention() -> None:
    """An operator's retry queues the step anew; a step that is done is left alone."""
    failed = ran(completed_until(StepName.PREFLIGHT), StepName.PREFLIGHT, outcomes.Failed(problem=problem("exchange_refused")))
    retried = decide.retry(failed, StepName.PREFLIGHT, NOW, actor="an operator")

    assert retried
    assert retried.grant.steps[StepName.PREFLIGHT].state is StepState.QUEUED
    assert decide.retry(failed, StepName.MAIL_FLOW_CONSENT, NOW, actor="an operator") is None


OUTCOMES = st.sampled_from(
    [
        outcomes.Done(),
        outcomes.Progress(),
        outcomes.Wait(
            until=NOW + timedelta(seconds=30),
            why="w",
            give_up_at=NOW + timedelta(hours=2),
            then=outcomes.Failed(problem=problem("kept_failing")),
        ),
        outcomes.NeedsPerson(problem=problem("consent_denied")),
        outcomes.Failed(problem=problem("unexpected")),
        outcomes.Reopen(step=StepName.MAIL_FLOW, why="gone", problem=problem("fact_missing")),
    ]
)


def _moved(grant: Grant, move: StepName | RoleMode, now: datetime) -> Decision | None:
    """Return what comes next for a step as it is, or another way to the role."""
    if isinstance(move, RoleMode):
        return decide.choose_role_mode(grant, move, now, actor="x")
    state = grant.steps[move].state
    if state is StepState.WAITING_FOR_PERSON and grant.person_of(move):
        return decide.person_acted(grant, move, now, actor="x")
    if state in (StepState.WAITING_FOR_PERSON, StepState.NEEDS_ATTENTION):
        return decide.retry(grant, move, now, actor="x")
    return decide.claim(grant, move, f"run {now}", now)


MOVES = st.sampled_from([*StepName, *RoleMode])


@given(st.lists(st.tuples(MOVES, OUTCOMES, st.integers(0, 300)), max_size=60))
def test_every_state_has_a_way_on(moves: list[tuple[StepName | RoleMode, Outcome, int]]) -> None:
    """Whatever happens in whatever order: sequence numbers grow by one, and every unfinished step has a clock or a person.

    Every wait has a reason and an end, and whoever is waited for is named.
    """
    grant, now, seqs = created().grant, NOW, [1]
    for move, outcome, seconds in moves:
        now += timedelta(seconds=seconds)
        change = _moved(grant, move, now)
        if change is None:
            continue
        name = StepName.ROLE_ASSIGNMENT if isinstance(move, RoleMode) else move
        seqs += [event.seq for event in change.events]
        decided = decide.decide(change.grant, name, f"run {now}", outcome, now)
        seqs += [event.seq for event in decided.events] if decided else []
        grant = decided.grant if decided else change.grant

    assert seqs == list(range(1, len(seqs) + 1))
    assert grant.seq == len(seqs)
    for step in grant.steps.values():
        is_settled = step.state in (StepState.DONE, StepState.BLOCKED, StepState.NEEDS_ATTENTION)
        is_unhurried = step.state is StepState.WAITING_FOR_PERSON and STEPS[step.name].is_optional
        assert (step.clock is None) is (is_settled or is_unhurried)
        assert (step.state is StepState.NEEDS_ATTENTION) <= (step.problem is not None)
        if step.state in (StepState.WAITING, StepState.WAITING_FOR_PERSON):
            assert step.reason
        assert (step.state is StepState.WAITING) <= (step.gives_up_at is not None)
        assert (step.state is StepState.WAITING_FOR_PERSON) <= (step.who is not None)
        if step.clock and step.gives_up_at and step.state is StepState.WAITING:
            assert step.clock <= step.gives_up_at


@given(st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)))  # noqa: DTZ001 - hypothesis wants naive bounds
def test_a_run_ends_before_its_lease(moment: datetime) -> None:
    """A lease ends on a whole minute 60 to 120 s ahead; the run's own deadline is always at least the margin before it."""
    now = moment.replace(tzinfo=UTC)
    end = schedule.lease_end(now)

    assert end.second == end.microsecond == 0
    assert timedelta(seconds=60) < end - now <= timedelta(seconds=120)
    assert now + timedelta(seconds=40) < schedule.run_deadline(now) <= end - schedule.MARGIN


@pytest.mark.parametrize("offset", [0, 59, 60, 61, 119, 121, 600])
def test_the_due_row_is_never_behind_the_clock(offset: int) -> None:
    """The index row is a whole minute at or after the earliest clock, and not before a nudge sent now may be taken for lost."""
    grant = created().grant
    step = replace(grant.steps[StepName.MAIL_FLOW_CONSENT], clock=NOW + timedelta(seconds=offset))
    grant = replace(grant.with_step(step), publish_by=None)
    at = decide.index_time(grant, NOW)

    assert at
    assert at.second == 0
    assert at >= NOW + timedelta(seconds=offset)
    assert at >= schedule.grace_end(NOW)
    assert decide.index_time(replace(grant, indexed_at=at), NOW) is None


def test_the_mail_flow_of_a_complete_grant_may_be_done_again() -> None:
    """A changed setting is rolled out by a retry: what stands on it is done again after it; before that it is left alone."""
    grant = completed_until(StepName.ACCESS_WATCH)
    assert not decide.can_retry(completed_until(StepName.VERIFICATION), StepName.MAIL_FLOW)
    retried = decide.retry(grant, StepName.MAIL_FLOW, NOW, actor="an operator")

    assert retried
    states = {name: retried.grant.steps[name].state for name in (StepName.VERIFICATION, StepName.POLICY_ACTIVATION)}
    assert retried.grant.steps[StepName.MAIL_FLOW].state is StepState.QUEUED
    assert set(states.values()) == {StepState.BLOCKED}
    assert retried.grant.was_completed
    grant = ran(retried.grant, StepName.MAIL_FLOW, outcomes.Done())
    assert grant.steps[StepName.VERIFICATION].state is StepState.QUEUED
