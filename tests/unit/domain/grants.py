"""Grants in every state that the tests of transitions need."""

from dataclasses import replace
from datetime import UTC, datetime

from shared.domain import decide, outcomes
from shared.domain.decision import Decision
from shared.domain.grant import Direction, Grant, Intent, RoleMode, Scope
from shared.domain.outcomes import Outcome
from shared.domain.steps import STEPS, StepName, StepState, ancestors

NOW = datetime(2026, 11, 23, 12, 0, 7, tzinfo=UTC)
INTENT = Intent((Direction.INBOUND, Direction.OUTBOUND), Scope(), "standard")


def created(role_mode: RoleMode = RoleMode.SIGN_IN, expected_tenant: str = "") -> Decision:
    """Return a new grant."""
    return decide.create(
        grant_id="9b0e0b52-7d0a-4a35-8f1e-0d3c7c6a7a11",
        account_id="contoso",
        account_name="Contoso",
        intent=replace(INTENT, role_mode=role_mode, expected_tenant=expected_tenant),
        created_by="an operator",
        now=NOW,
    )


def ran(grant: Grant, name: StepName, outcome: Outcome, now: datetime = NOW) -> Grant:
    """Return the grant after a person did their part, if one must, and a run came to ``outcome``."""
    step = grant.steps[name]
    if step.state is StepState.WAITING_FOR_PERSON:
        acted = decide.person_acted(grant, name, now, actor="an administrator")
        assert acted
        grant = acted.grant
    claimed = decide.claim(grant, name, "run", now)
    assert claimed
    decided = decide.decide(claimed.grant, name, "run", outcome, now)
    assert decided
    return decided.grant


def completed_until(last: StepName, role_mode: RoleMode = RoleMode.SIGN_IN) -> Grant:
    """Return a grant in which every step that ``last`` requires is done."""
    grant = created(role_mode).grant
    for name in STEPS:
        if name in ancestors(last):
            grant = ran(grant, name, outcomes.Done())
    return grant
