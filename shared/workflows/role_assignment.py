"""The Exchange Administrator role for the mail-flow application, by the administrator's own sign-in or by hand.

Done only when the effect is seen: Exchange offers the application the cmdlets that the mail flow needs, and answers a read. The
role itself shows only in a token that is issued after it was assigned, so every try uses a new credential.
"""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from shared import failures
from shared.consent import sealing
from shared.domain import schedule
from shared.domain.grant import RoleMode
from shared.domain.outcomes import Done, Failed, NeedsPerson, Outcome, Wait
from shared.domain.problems import Actor, ProblemError, problem
from shared.domain.steps import STEPS
from shared.ports import NotYetError
from shared.workflows.mail_flow import NEEDED_CMDLETS
from shared.workflows.run import Run

EXCHANGE_ADMINISTRATOR = "29232cdf-9323-42fd-ade2-1d097af3e4de"
"""Role template id (https://learn.microsoft.com/entra/identity/role-based-access-control/permissions-reference)."""
READ_CMDLETS = ("Get-InboundConnector", "Get-TransportRule")
"""Reads that must succeed before the role counts: offered cmdlets alone have been seen to lag behind."""
ASSIGNED_AT = "assigned_at"
LOOK_OFTEN_FOR = timedelta(hours=1)
"""How long after it was asked for an assignment by hand is looked for often; an administrator is likely at it then."""
OFTEN, SELDOM = timedelta(seconds=15), timedelta(minutes=5)
"""How long between two looks, at the most."""


async def role_assignment(run: Run) -> Outcome:
    """Assign the role with the administrator's token, once; then wait for its effect. The token is dropped either way."""
    missing = await missing_cmdlets(run)
    if not missing:
        return Done(facts={"assigned": True}, deletes=(sealing.SEALED_ROW,))
    if run.grant.intent.role_mode is RoleMode.BY_HAND:
        return _watch_for_person(run, missing)
    if _is_assigned(run):
        return _wait_for_effect(run, missing)
    token = await _token(run)
    if not token:
        return NeedsPerson(problem=problem("sign_in_again"), deletes=(sealing.SEALED_ROW,))
    try:
        await _assign(run, token)
    except ProblemError as error:
        return replace(failures.outcome_of(error, run.step, run.clock()), deletes=(sealing.SEALED_ROW,))
    return _wait_for_effect(run, missing, deletes=(sealing.SEALED_ROW,), **{ASSIGNED_AT: schedule.stamp(run.clock())})


def _is_assigned(run: Run) -> bool:
    """True when this work has assigned the role. What an earlier sign-in did does not count: somebody may have undone it."""
    stamp = run.step.facts.get(ASSIGNED_AT)
    return stamp is not None and (run.step.begun_at is None or schedule.parse(stamp) >= run.step.begun_at)


async def missing_cmdlets(run: Run) -> str:
    """Return "" when the role has its effect, else what is missing, for people."""
    exchange = run.clients.microsoft.exchange(run.grant.tenant_id)
    try:
        missing = NEEDED_CMDLETS - await exchange.offered_cmdlets()
        if missing:
            return f"Exchange does not offer yet: {', '.join(sorted(missing))}"
        for cmdlet in READ_CMDLETS:
            await exchange.invoke(cmdlet)
    except NotYetError as error:
        return str(error)
    return ""


async def _token(run: Run) -> str:
    """Return the administrator's token; "" when there is none, it lay too long, or it does not open here."""
    row = await run.clients.rows.row(sealing.SEALED_ROW)
    if row is None or schedule.parse(row["expires_at"]) <= run.clock():
        return ""
    place = sealing.sealed_place(run.grant.grant_id, run.grant.tenant_id)
    try:
        return sealing.unseal(run.settings.sealing_key, row["sealed"], place=place)
    except sealing.SealError:
        return ""


async def _assign(run: Run, token: str) -> None:
    application = await run.clients.microsoft.identity.application_token("mail_flow", run.grant.tenant_id)
    roles = run.clients.microsoft.roles(run.grant.tenant_id, token)
    if not await roles.is_assigned(application.object_id, EXCHANGE_ADMINISTRATOR):
        await roles.assign(application.object_id, EXCHANGE_ADMINISTRATOR)


def _watch_for_person(run: Run, missing: str) -> Wait:
    """Wait for what an administrator does in the Microsoft Entra admin center; its effect in Exchange is all that we can see."""
    begun = run.step.begun_at or run.clock()
    longest = OFTEN if run.clock() - begun < LOOK_OFTEN_FOR else SELDOM
    delay = schedule.backoff(run.step.attempts + 1, STEPS[run.step.name].retry_first, longest)
    return Wait(
        until=run.clock() + delay,
        why="Waiting for an administrator to assign the role in the Microsoft Entra admin center; "
        "Exchange Online notices it after minutes, rarely hours",
        give_up_at=begun + schedule.PERSON_PATIENCE,
        then=Failed(problem=problem("role_not_assigned", raw=missing)),
        who=Actor.TENANT_ADMINISTRATOR,
    )


def _wait_for_effect(run: Run, missing: str, *, deletes: tuple[str, ...] = (), **facts: Any) -> Wait:
    definition = STEPS[run.step.name]
    return Wait(
        until=run.clock() + schedule.backoff(run.step.attempts + 1, definition.retry_first, definition.retry_cap),
        why="The role is assigned; waiting for Exchange Online to notice it (minutes, rarely hours)",
        give_up_at=(run.step.begun_at or run.clock()) + definition.give_up,
        then=Failed(problem=problem("role_without_effect", raw=missing)),
        facts=facts,
        deletes=deletes,
    )
