"""Commands that change a grant's intent: each can come twice, at any time, and is told of with who asked for it."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain import decide, intents, outcomes, schedule
from shared.domain.decision import Decision
from shared.domain.grant import IS_PROVED, ROUTING, ROUTING_OFF, ROUTING_OFF_AT, ROUTING_ON, Grant, GrantState, Waiver
from shared.domain.outcomes import Done
from shared.domain.problems import ProblemError, problem
from shared.domain.steps import STEPS, StepName, StepState
from tests.unit.domain.grants import NOW, completed_until, created, ran

ACTIVATION, PROOF, PREFLIGHT = StepName.POLICY_ACTIVATION, StepName.MAIL_PROOF, StepName.PREFLIGHT
ON, OFF = Done(facts={ROUTING: ROUTING_ON}), Done(facts={ROUTING: ROUTING_OFF})
REMOVAL = [name for name, each in STEPS.items() if each.is_removal]
WHO = "an operator"
Command = Callable[[Grant], Decision | None]
COMMANDS: dict[str, Command] = {
    "pause": lambda grant: intents.pause(grant, NOW, actor=WHO),
    "resume": lambda grant: intents.resume(grant, NOW, actor=WHO),
    "approve": lambda grant: intents.approve_plan(grant, NOW, plan="p", accepts_irreversible=False, actor=WHO),
    "acknowledge": lambda grant: intents.acknowledge(grant, NOW, finding="a|b", actor=WHO),
    "fix": lambda grant: intents.fix(grant, NOW, finding="a|b", actor=WHO),
    "remove": lambda grant: intents.remove(grant, NOW, actor=WHO),
    "waive": lambda grant: intents.waive(grant, NOW, what=Waiver.LEFTOVERS, actor=WHO),
    "scanner": lambda grant: intents.report_scanner(grant, NOW, queued=0, quarantined=0, actor=WHO),
    "probe": lambda grant: intents.report_probe(grant, NOW, probe_id="p1", seen={"scans": 1}, actor=WHO),
}
ONCE = ("pause", "resume", "approve", "acknowledge", "fix", "remove", "waive")
"""Those that do nothing the second time; a report is news each time."""
REPORTS = ("scanner", "probe")
"""Those that the product sends by itself, and that may come late."""


def completed() -> Grant:
    """Return a grant whose mail is routed and proved."""
    grant = ran(completed_until(ACTIVATION), ACTIVATION, ON)
    return ran(grant, PROOF, Done(facts={IS_PROVED: True}))


def given_decision(decision: Decision | None) -> Decision:
    """Return a decision that must be there."""
    assert decision
    return decision


def given_grant(decision: Decision | None) -> Grant:
    """Return the grant of a decision that must be there."""
    return given_decision(decision).grant


def told(grant: Grant, name: StepName, outcome: outcomes.Outcome) -> tuple[Grant, list[str]]:
    """Return the grant after a run of a step, and the types of the events that it told."""
    claimed = given_decision(decide.claim(grant, name, "run", NOW))
    decided = given_decision(decide.decide(claimed.grant, name, "run", outcome, NOW))
    return decided.grant, [event.type for event in decided.events]


def test_a_grant_is_protecting_once_its_mail_is_proved() -> None:
    """Switched on and proved are two states and two events; the proof does not undo the completion."""
    grant = ran(completed_until(ACTIVATION), ACTIVATION, ON)
    proved, types = told(grant, PROOF, Done(facts={IS_PROVED: True}))
    unproved, others = told(grant, PROOF, Done(facts={IS_PROVED: False}))

    assert (grant.state, proved.state, unproved.state) == (
        GrantState.COMPLETED,
        GrantState.PROTECTING,
        GrantState.COMPLETED,
    )
    assert (types, others) == (["step.done", "grant.protecting"], ["step.done"])
    assert all(each.is_complete for each in (grant, proved, unproved))


def test_a_proof_that_fails_leaves_the_grant_complete() -> None:
    """Mail is routed all the same: a person is told of the proof, and may have it done again at any time."""
    grant = ran(completed_until(PROOF), PROOF, outcomes.Failed(problem=problem("unexpected")))

    assert (grant.state, grant.steps[PROOF].state) == (GrantState.COMPLETED, StepState.NEEDS_ATTENTION)
    assert given_grant(decide.retry(grant, PROOF, NOW, actor=WHO)).steps[PROOF].state is StepState.QUEUED
    assert given_grant(decide.retry(completed(), PROOF, NOW, actor=WHO)).steps[PROOF].state is StepState.QUEUED


def test_a_pause_switches_off_and_a_resumption_on() -> None:
    """Each is asked for, done by the activation's step, and told of when it is done."""
    asked = given_decision(intents.pause(completed(), NOW, actor=WHO))
    paused, at_pause = told(asked.grant, ACTIVATION, OFF)
    again = given_decision(intents.resume(paused, NOW, actor=WHO))
    resumed, at_resumption = told(again.grant, ACTIVATION, ON)

    assert asked.grant.steps[ACTIVATION].state is StepState.QUEUED
    assert (paused.state, resumed.state) == (GrantState.PAUSED, GrantState.COMPLETED)
    assert (at_pause, at_resumption) == (["step.done", "grant.paused"], ["step.done", "grant.resumed"])
    assert [event.data["actor"] for event in (*asked.events, *again.events)] == [WHO, WHO]
    assert paused.steps[PROOF].state is StepState.BLOCKED
    assert resumed.steps[PROOF].state is StepState.QUEUED


def test_a_pause_before_the_first_activation_keeps_the_grant_from_completing() -> None:
    """Nothing is called complete that was never switched on; the resumption completes it, once."""
    early = given_grant(intents.pause(created().grant, NOW, actor=WHO))
    assert early.steps[ACTIVATION].state is StepState.BLOCKED
    grant = replace(completed_until(ACTIVATION), intent=early.intent)
    paused, at_pause = told(grant, ACTIVATION, OFF)
    resumed, at_resumption = told(given_grant(intents.resume(paused, NOW, actor=WHO)), ACTIVATION, ON)

    assert (paused.state, paused.was_completed, at_pause) == (GrantState.PAUSED, False, ["step.done", "grant.paused"])
    assert paused.steps[PROOF].state is StepState.BLOCKED
    assert (resumed.state, at_resumption) == (GrantState.COMPLETED, ["step.done", "policy.enabled", "grant.completed"])


def test_a_run_in_the_midst_of_a_write_is_waited_for() -> None:
    """A pause takes the step from its run at once, but begins only when that run's lease has ended."""
    grant = given_grant(decide.claim(completed_until(ACTIVATION), ACTIVATION, "run", NOW))
    paused = given_grant(intents.pause(grant, NOW, actor=WHO))
    end = schedule.lease_end(NOW)

    assert decide.decide(paused, ACTIVATION, "run", ON, NOW) is None
    assert (paused.steps[ACTIVATION].state, paused.steps[ACTIVATION].clock) == (StepState.WAITING, end)
    assert decide.claim(paused, ACTIVATION, "next", NOW) is None
    assert decide.claim(paused, ACTIVATION, "next", end)


def test_a_pause_does_not_wait_for_what_is_being_repaired() -> None:
    """Routing that is on goes off though verification has its objects made again; a resumption waits until they stand."""
    lost = outcomes.Reopen(step=StepName.MAIL_FLOW, why="a connector is gone", problem=problem("fact_missing"))
    claimed = given_grant(decide.claim(completed(), StepName.ACCESS_WATCH, "run", NOW))
    broken = given_grant(decide.decide(claimed, StepName.ACCESS_WATCH, "run", lost, NOW))
    assert broken.steps[ACTIVATION].state is StepState.BLOCKED
    asked = given_grant(intents.pause(broken, NOW, actor=WHO))
    paused = ran(asked, ACTIVATION, OFF)

    assert asked.steps[ACTIVATION].state is StepState.QUEUED
    assert given_grant(intents.resume(paused, NOW, actor=WHO)).steps[ACTIVATION].state is StepState.BLOCKED


def test_a_proof_that_is_under_way_ends_when_the_objects_are_made_again() -> None:
    """What is being changed proves nothing: the proof begins anew after it."""
    grant = ran(completed_until(PROOF), PROOF, outcomes.Failed(problem=problem("unexpected")))
    lost = outcomes.Reopen(step=StepName.MAIL_FLOW, why="a connector is gone", problem=problem("fact_missing"))
    claimed = given_grant(decide.claim(grant, StepName.ACCESS_WATCH, "run", NOW))
    broken = given_grant(decide.decide(claimed, StepName.ACCESS_WATCH, "run", lost, NOW))

    assert (broken.steps[PROOF].state, broken.steps[PROOF].problem) == (StepState.BLOCKED, None)


def test_an_approval_frees_the_plan_that_waits() -> None:
    """The step goes on with the approved plan; an approval for another plan replaces it, its acceptance with it."""
    held = ran(
        completed_until(StepName.MAIL_FLOW), StepName.MAIL_FLOW, outcomes.NeedsPerson(problem=problem("plan_awaits_approval"))
    )
    first = given_grant(intents.approve_plan(held, NOW, plan="one", accepts_irreversible=True, actor=WHO))
    second = given_grant(intents.approve_plan(first, NOW, plan="two", accepts_irreversible=False, actor=WHO))

    assert first.steps[StepName.MAIL_FLOW].state is StepState.QUEUED
    assert (second.intent.approved_plan, second.intent.accepts_irreversible) == ("two", False)


@pytest.mark.parametrize("name", ["acknowledge", "fix"])
def test_an_answer_to_a_finding_has_preflight_judge_again(name: str) -> None:
    """A held preflight begins again; one that is done does so for a fix alone."""
    held = ran(completed_until(PREFLIGHT), PREFLIGHT, outcomes.NeedsPerson(problem=problem("setting_blocks")))
    passed = ran(completed_until(PREFLIGHT), PREFLIGHT, Done())
    expected = StepState.QUEUED if name == "fix" else StepState.DONE

    assert given_grant(COMMANDS[name](held)).steps[PREFLIGHT].state is StepState.QUEUED
    assert given_grant(COMMANDS[name](passed)).steps[PREFLIGHT].state is expected


def test_a_grant_names_a_limited_number_of_findings() -> None:
    """Its row stays small, and whoever goes too far is told."""
    intent = replace(created().grant.intent, acknowledged=tuple(map(str, range(intents.MAXIMUM_FINDINGS))))

    with pytest.raises(ProblemError):
        intents.acknowledge(replace(created().grant, intent=intent), NOW, finding="one more", actor=WHO)


def test_a_removal_ends_all_else_and_then_the_grant() -> None:
    """The steps of the removal follow each other; the last one releases the grant, as removed, and tells so once."""
    asked = given_decision(intents.remove(completed(), NOW, actor=WHO))
    grant, types = asked.grant, [event.type for event in asked.events]
    states = [grant.state]
    for name in REMOVAL:
        assert [each.name for each in grant.steps.values() if each.state is StepState.QUEUED] == [name]
        grant, more = told(grant, name, Done())
        types, states = types + more, [*states, grant.state]

    assert states == [GrantState.REMOVING] * len(REMOVAL) + [GrantState.REMOVED]
    assert types == ["removal.asked", *["step.done"] * len(REMOVAL), "grant.removed"]
    assert grant.released_at == NOW
    assert grant.earliest_clock == grant.publish_by


def test_a_removal_waits_for_a_run_in_the_midst_of_a_write() -> None:
    """Nothing that an older run may still write is overlooked."""
    grant = given_grant(decide.claim(completed_until(StepName.MAIL_FLOW), StepName.MAIL_FLOW, "run", NOW))
    removing = given_grant(intents.remove(grant, NOW, actor=WHO))
    first = removing.steps[StepName.ROUTING_REMOVAL]

    assert decide.decide(removing, StepName.MAIL_FLOW, "run", Done(), NOW) is None
    assert (first.state, first.clock) == (StepState.WAITING, schedule.lease_end(NOW))


def test_a_waiver_has_the_removal_look_at_once_and_a_report_is_kept() -> None:
    """The step that has its turn does not sleep until its clock; a report does not move the clocks that people see."""
    grant = ran(given_grant(intents.remove(completed(), NOW, actor=WHO)), StepName.ROUTING_REMOVAL, Done())
    wait = outcomes.Wait(
        until=NOW + schedule.PERSON_PATIENCE,
        why="not drained",
        give_up_at=NOW + 2 * schedule.PERSON_PATIENCE,
        then=outcomes.Failed(problem=problem("unexpected")),
    )
    waiting = ran(grant, StepName.DRAIN, wait)
    reported = given_decision(COMMANDS["scanner"](waiting))

    assert given_grant(COMMANDS["waive"](waiting)).steps[StepName.DRAIN].state is StepState.QUEUED
    assert reported.grant.steps == waiting.steps
    assert [row.key for row in reported.rows] == [intents.SCANNER_ROW]


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_commands_can_come_at_any_time_and_twice(data: st.DataObject) -> None:
    """In any order, at any stage: a command is done, is nothing new, or is refused in words; a second coming changes nothing."""
    grant = completed_until(data.draw(st.sampled_from([name for name, each in STEPS.items() if not each.is_removal])))
    for name in data.draw(st.lists(st.sampled_from(sorted(COMMANDS)), max_size=8)):
        decision = _answer(COMMANDS[name], grant)
        if decision is None:
            continue
        assert decision.events[-1].data["actor"] == WHO
        grant = decision.grant
        if name in ONCE:
            assert COMMANDS[name](grant) is None
        assert not (grant.intent.is_removed and any(_is_under_way(grant, each) for each in STEPS if each not in REMOVAL))


def _answer(command: Command, grant: Grant) -> Decision | None:
    try:
        return command(grant)
    except ProblemError as error:
        if error.problem.code not in {"grant_removed", "command_untimely"}:
            raise
        return None


def _is_under_way(grant: Grant, name: StepName) -> bool:
    return grant.steps[name].state not in (StepState.BLOCKED, StepState.DONE)


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in REPORTS])
def test_a_grant_that_has_given_its_tenant_back_takes_no_command(name: str) -> None:
    """Whoever sends one is told why."""
    released = given_grant(decide.release(completed(), NOW, actor=WHO, why="taken back"))

    with pytest.raises(ProblemError) as raised:
        COMMANDS[name](released)
    assert raised.value.problem.code == "tenant_released"


def test_a_report_that_comes_late_is_no_trouble() -> None:
    """The product tells what it saw when it saw it: after a release, or during a removal, nothing is left to read it."""
    released = given_grant(decide.release(completed(), NOW, actor=WHO, why="taken back"))
    leaving = given_grant(intents.remove(completed(), NOW, actor=WHO))

    assert [COMMANDS[name](released) for name in REPORTS] == [None, None]
    assert COMMANDS["probe"](leaving) is None


def test_a_resumption_forgets_since_when_the_routing_is_off() -> None:
    """As soon as rules may go on no moment of an earlier pause counts, whatever becomes of the run that switches them."""
    off = Done(facts={ROUTING: ROUTING_OFF, ROUTING_OFF_AT: schedule.stamp(NOW)})
    paused = ran(given_grant(intents.pause(completed(), NOW, actor=WHO)), ACTIVATION, off)

    assert given_grant(intents.resume(paused, NOW, actor=WHO)).steps[ACTIVATION].facts[ROUTING_OFF_AT] == ""


def test_a_removal_that_finds_the_routing_on_drains_again() -> None:
    """The routing goes off first, then the drain has its turn once more, and only then anything is taken back."""
    grant = given_grant(intents.remove(completed(), NOW, actor=WHO))
    for name in REMOVAL[:2]:
        grant = ran(grant, name, Done())
    back = outcomes.Reopen(step=REMOVAL[0], why="a rule is on", problem=problem("fact_missing"))
    grant = ran(grant, REMOVAL[2], back)
    states = [grant.steps[name].state for name in REMOVAL[:3]]
    again = ran(grant, REMOVAL[0], Done())

    assert states == [StepState.QUEUED, StepState.BLOCKED, StepState.BLOCKED]
    assert [again.steps[name].state for name in REMOVAL[1:3]] == [StepState.QUEUED, StepState.BLOCKED]
