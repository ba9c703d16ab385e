"""Plans: what is to be changed is kept first, counts for its own changes alone, and waits for whoever must allow it."""

from dataclasses import replace

import pytest

from shared.domain.outcomes import Done, NeedsPerson, Outcome
from shared.workflows import plans
from shared.workflows.mail_flow import mail_flow
from shared.workflows.plans import APPLIED_AT, PLAN, PLAN_ROWS
from tests.unit.mailflow.requests import SETTINGS
from tests.workflows.fake_exchange import PowerCutError
from tests.workflows.mail_flow_runs import GROUP_INTENT, NAMES, Bench

ASKING = SETTINGS.model_copy(update={"plan_approval": "operator"})


def _problem(outcome: Outcome) -> str:
    assert isinstance(outcome, NeedsPerson)
    return outcome.problem.code


async def _asked() -> tuple[Bench, str]:
    """Return a bench whose plan waits for an operator, and the plan's digest."""
    bench = Bench(settings=ASKING)
    outcome = await bench.once(mail_flow)
    assert _problem(outcome) == "plan_awaits_approval"
    assert isinstance(outcome, NeedsPerson)
    return bench, str(outcome.facts[PLAN])


def _approve(bench: Bench, digest: str) -> None:
    bench.intent = replace(bench.intent, approved_plan=digest)


async def test_nothing_is_changed_before_the_approval() -> None:
    """An operator sees the plan first; the approval of just that plan lets it be carried out."""
    bench, digest = await _asked()
    assert bench.exchange.writes == []

    _approve(bench, "another")
    assert _problem(await bench.once(mail_flow)) == "plan_awaits_approval"
    _approve(bench, digest)
    outcome = await bench.once(mail_flow)

    assert isinstance(outcome, Done)
    assert outcome.facts[PLAN] == digest
    (row,) = await bench.rows.rows(PLAN_ROWS)
    assert row.value[APPLIED_AT]


@pytest.mark.parametrize("cut", range(1, 9))
async def test_what_is_left_of_a_plan_after_a_crash_is_that_plan(cut: int) -> None:
    """A process that died in the midst goes on without a second approval, whatever call it died after."""
    bench, digest = await _asked()
    _approve(bench, digest)
    bench.exchange.cut_after = cut
    with pytest.raises(PowerCutError):
        await bench.once(mail_flow)

    assert isinstance(await bench.until_settled(mail_flow), Done)
    assert [row.key for row in await bench.rows.rows(PLAN_ROWS)] == [f"{PLAN_ROWS}0001"]


async def test_a_tenant_that_changed_after_the_approval_is_asked_about_again() -> None:
    """What the approved plan does not list makes another plan: it is kept beside the first, and waits."""
    bench, digest = await _asked()
    _approve(bench, digest)
    bench.intent = replace(bench.intent, directions=bench.intent.directions[:1])
    assert isinstance(await bench.once(mail_flow), Done)  # a part of what was approved

    bench.exchange.tamper("TransportRule", NAMES[4], SetSCL=9)
    again = await bench.once(mail_flow)

    assert _problem(again) == "plan_awaits_approval"
    assert [row.key for row in await bench.rows.rows(PLAN_ROWS)] == [f"{PLAN_ROWS}0001", f"{PLAN_ROWS}0002"]
    first, second = await bench.rows.rows(PLAN_ROWS)
    assert first.value["digest"] == digest != second.value["digest"]


async def test_an_approval_is_for_what_it_was_shown() -> None:
    """What is wanted has changed between the plan and its approval: the new plan waits, whatever was approved."""
    bench, digest = await _asked()
    bench.intent = replace(GROUP_INTENT, approved_plan=digest)

    assert _problem(await bench.once(mail_flow)) == "plan_awaits_approval"
    assert len(await bench.rows.rows(PLAN_ROWS)) == 2
    assert bench.exchange.writes == []


async def test_a_plan_that_was_carried_out_counts_no_more() -> None:
    """The same change, needed once more later, is a plan of its own: somebody has undone the first."""
    bench, digest = await _asked()
    _approve(bench, digest)
    await bench.once(mail_flow)
    connectors = bench.exchange.objects["InboundConnector"]
    bench.exchange.objects["InboundConnector"] = [item for item in connectors if item["Name"] != NAMES[0]]

    assert _problem(await bench.once(mail_flow)) == "plan_awaits_approval"


async def test_an_irreversible_change_needs_its_own_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where plans need no approval; and the yes counts for the plan that it was said to."""
    made = plans._document
    monkeypatch.setattr(plans, "_document", lambda view: {**made(view), "irreversible": ["Enable-OrganizationCustomization"]})
    bench = Bench()
    outcome = await bench.once(mail_flow)
    assert isinstance(outcome, NeedsPerson)
    digest = str(outcome.facts[PLAN])
    held: list[Outcome] = [outcome]
    for approved, accepts in ((digest, False), ("another", True)):
        bench.intent = replace(bench.intent, approved_plan=approved, accepts_irreversible=accepts)
        held.append(await bench.once(mail_flow))

    assert [_problem(each) for each in held] == ["plan_irreversible"] * 3
    assert bench.exchange.writes == []
    bench.intent = replace(bench.intent, approved_plan=digest, accepts_irreversible=True)
    assert isinstance(await bench.once(mail_flow), Done)


async def test_a_plan_that_would_harm_is_never_carried_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """No approval makes it safe; the routes that show the harm are told."""
    made = plans._document
    harm = {"is_safe": False, "findings": [{"what": "own-domain spoof: loop"}]}
    monkeypatch.setattr(plans, "_document", lambda view: {**made(view), **harm})
    bench = Bench()
    outcome = await bench.once(mail_flow)
    assert isinstance(outcome, NeedsPerson)
    bench.intent = replace(bench.intent, approved_plan=str(outcome.facts[PLAN]), accepts_irreversible=True)

    assert _problem(await bench.once(mail_flow)) == "plan_unsafe"
    assert outcome.problem.raw == "own-domain spoof: loop"
    assert bench.exchange.writes == []


async def test_no_secret_is_kept_with_a_plan() -> None:
    """The row shows every change, but not the secret that verdict rules take."""
    bench = Bench()
    await bench.once(mail_flow)
    secrets = [
        parameters["HeaderContainsWords"] for _, parameters in bench.exchange.writes if "HeaderContainsWords" in parameters
    ]
    (row,) = await bench.rows.rows(PLAN_ROWS)

    assert secrets
    assert not any(word in str(row.value) for words in secrets for word in words)


@pytest.mark.parametrize("writes", range(4))
async def test_a_run_that_lost_its_step_writes_nothing_further(writes: int) -> None:
    """A pause, a removal or a release between two writes stops the next one; the former value that was read stays kept."""
    bench = Bench(loses_step_after=writes)
    await bench.once(mail_flow)

    assert len(bench.exchange.writes) == writes


async def test_an_approval_counts_once() -> None:
    """The same repair, needed a second time after it was approved and done, is asked about again."""
    bench, digest = await _asked()
    _approve(bench, digest)
    await bench.once(mail_flow)
    digests = []
    for _ in range(2):
        connectors = bench.exchange.objects["InboundConnector"]
        bench.exchange.objects["InboundConnector"] = [item for item in connectors if item["Name"] != NAMES[0]]
        outcome = await bench.once(mail_flow)
        assert _problem(outcome) == "plan_awaits_approval"
        assert isinstance(outcome, NeedsPerson)
        digests.append(str(outcome.facts[PLAN]))
        _approve(bench, digests[-1])
        assert isinstance(await bench.once(mail_flow), Done)

    assert len({digest, *digests}) == 3
