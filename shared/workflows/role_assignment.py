"""The application's rights in Exchange Online: the Exchange Administrator role, or a role group with the needed cmdlets alone.

Done only when the effect is seen: Exchange offers the application the cmdlets that the mail flow needs, and answers a read. The
role itself shows only in a token that is issued after it was assigned, so every try uses a new credential. An assignment that
ends soon is not enough: it is extended by the same ways.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from shared.consent import sealing
from shared.domain import schedule
from shared.domain.decide import MFA_ASKED
from shared.domain.grant import BY_HAND_BECAUSE, RoleMode
from shared.domain.outcomes import Done, Failed, NeedsPerson, Outcome, Wait
from shared.domain.problems import Actor, Problem, problem
from shared.domain.roles import ASSIGNED_AT, UNKNOWN, WITH_PIM, Deed, Term, deed, term_facts, term_of
from shared.domain.steps import STEPS
from shared.ports import HeldRole, NotYetError, PolicyRefusedError, RefusedError, RolePolicy, Roles, RoleWish
from shared.workflows.mail_flow import NEEDED_CMDLETS
from shared.workflows.run import Run

EXCHANGE_ADMINISTRATOR = "29232cdf-9323-42fd-ade2-1d097af3e4de"
"""Role template id (https://learn.microsoft.com/entra/identity/role-based-access-control/permissions-reference)."""
READ_CMDLETS = ("Get-InboundConnector", "Get-TransportRule")
"""Reads that must succeed before the role counts: offered cmdlets alone have been seen to lag behind."""
HELD: Mapping[str, Any] = {"assigned": True, BY_HAND_BECAUSE: "", MFA_ASKED: False}
"""The facts of a role that is held: the way that was closed may be open when the assignment is to be extended."""
BY_HAND = "role_by_hand"
"""The problem of a way to the role that the tenant closes."""
SEEN = "seen"
"""What is seen so far of a role that is assigned elsewhere, for people."""
CONSENT_ASKED = "consent_asked"
"""The fact that tells that an administrator was asked for the permission to assign the role."""
LONGEST_JUSTIFICATION = 500
"""Of a justification, in characters."""
LOOK_OFTEN_FOR = timedelta(hours=1)
"""How long after it was asked for an assignment by hand is looked for often; an administrator is likely at it then."""
OFTEN, SELDOM = timedelta(seconds=15), timedelta(minutes=5)
"""How long between two looks, at the most."""
CONSENT_SPREADS = timedelta(minutes=30)
"""How long the permission to assign the role may take to spread after it was consented to."""
WAITS_FOR_HAND: Mapping[RoleMode, str] = {
    RoleMode.BY_HAND: "Waiting for an administrator to assign the role in the Microsoft Entra admin center; "
    "Exchange Online notices it after minutes, rarely hours",
    RoleMode.ROLE_GROUP: "Waiting for an administrator to run the script that makes the role group; "
    "Exchange Online notices it after minutes, rarely hours",
}
"""What is waited for where a person does it elsewhere."""


async def role_assignment(run: Run) -> Outcome:
    """See whether the application has its rights for long enough; if not, go the grant's way to them."""
    missing = await missing_cmdlets(run)
    if not missing and not term_of(run.grant).is_soon_over(run.clock()):
        return Done(facts=HELD, deletes=(sealing.SEALED_ROW,))
    return await _WAYS[run.grant.role_mode](run, missing)


async def missing_cmdlets(run: Run) -> str:
    """Return "" when the application's rights have their effect, else what is missing, for people."""
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


async def _by_sign_in(run: Run, missing: str) -> Outcome:
    """Assign with the administrator's token, once; then wait for the effect. The token is dropped either way."""
    if missing and _is_assigned(run):
        return _wait_for_effect(run, missing)
    token = await _token(run)
    if not token:
        return NeedsPerson(problem=problem("sign_in_again"), deletes=(sealing.SEALED_ROW,))
    roles = run.clients.microsoft.roles(run.grant.tenant_id, token)
    outcome = await _assign(run, roles, await roles.policy(EXCHANGE_ADMINISTRATOR), missing)
    return replace(outcome, deletes=(sealing.SEALED_ROW,))


async def _by_application(run: Run, missing: str) -> Outcome:
    """Assign with the application permission of the role assigner; an administrator consents to it first."""
    if missing and _is_assigned(run):
        return _wait_for_effect(run, missing)
    roles = run.clients.microsoft.roles(run.grant.tenant_id, application="role_assigner")
    try:
        policy = await roles.policy(EXCHANGE_ADMINISTRATOR)
    except NotYetError as error:
        return _ask_for_consent(run, error)
    return await _assign(run, roles, policy, missing)


def _ask_for_consent(run: Run, error: NotYetError) -> Outcome:
    """Ask an administrator for the permission; one that was asked for may take its time to spread."""
    needed = NeedsPerson(problem=problem("role_consent_needed", raw=error.raw), facts={CONSENT_ASKED: True})
    if not run.step.facts.get(CONSENT_ASKED):
        return needed
    definition = STEPS[run.step.name]
    delay = schedule.backoff(run.step.attempts + 1, definition.retry_first, definition.retry_cap)
    return run.wait(delay, str(error), give_up=CONSENT_SPREADS, then=needed)


async def _by_hand(run: Run, missing: str) -> Outcome:
    """Wait for what an administrator does elsewhere; its effect in Exchange is all that counts."""
    if not missing:  # it ends soon, and only the administrator can extend it: the daily watch tells them
        return Done(facts=HELD)
    return _watch_for_person(run, missing, await _seen(run, missing))


_WAYS: Mapping[RoleMode, Callable[[Run, str], Awaitable[Outcome]]] = {
    RoleMode.SIGN_IN: _by_sign_in,
    RoleMode.APPLICATION: _by_application,
    RoleMode.BY_HAND: _by_hand,
    RoleMode.ROLE_GROUP: _by_hand,
}


def _is_assigned(run: Run) -> bool:
    """True when this work has assigned the role. What an earlier sign-in did does not count: somebody may have undone it."""
    stamp = run.step.facts.get(ASSIGNED_AT)
    return stamp is not None and (run.step.begun_at is None or schedule.parse(stamp) >= run.step.begun_at)


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


async def _assign(run: Run, roles: Roles, policy: RolePolicy | None, missing: str) -> Outcome:
    """Have the tenant hold the role for as long as its policy allows; what stands in the way becomes a person's."""
    application = await run.clients.microsoft.identity.application_token("mail_flow", run.grant.tenant_id)
    try:
        held = await roles.held(application.object_id, EXCHANGE_ADMINISTRATOR)
        wanted = deed(_term(held), run.clock())
        if wanted is not Deed.NOTHING:
            held = await _do(roles, wanted, policy, _wish(run, application.object_id, policy))
    except PolicyRefusedError as error:
        return _policy_refused(run, error)
    except RefusedError as error:
        if error.problem.code != BY_HAND:
            raise
        return _go_by_hand(run, error.problem)
    facts = _assigned(run.clock(), held, policy)
    return _wait_for_effect(run, missing, **facts) if missing else Done(facts={**HELD, **facts})


async def _do(roles: Roles, wanted: Deed, policy: RolePolicy | None, wish: RoleWish) -> HeldRole:
    if policy is not None and policy.requires_ticket and not wish.ticket_number:
        raise PolicyRefusedError("the policy wants a ticket", problem("role_needs_ticket"), rules=frozenset({"TicketingRule"}))
    if wanted is Deed.EXTEND:
        return await roles.extend(wish)
    return await roles.assign(wish, with_pim=policy is not None)


def _wish(run: Run, object_id: str, policy: RolePolicy | None) -> RoleWish:
    """Return the assignment to ask for: for the longest time that the policy allows, for good where it may be."""
    names = {"product": run.settings.product_name, "account": run.grant.account_name}
    return RoleWish(
        principal_id=object_id,
        role_template_id=EXCHANGE_ADMINISTRATOR,
        justification=run.settings.role_justification.format(**names)[:LONGEST_JUSTIFICATION],
        duration=policy.maximum_duration if policy else "",
        ticket_number=run.grant.intent.ticket_number,
        ticket_system=run.grant.intent.ticket_system,
    )


def _term(held: HeldRole | None) -> Term | None:
    return Term(is_known=True, ends_at=held.ends_at, begins_at=held.begins_at) if held else None


def _assigned(now: datetime, held: HeldRole | None, policy: RolePolicy | None) -> dict[str, Any]:
    return {ASSIGNED_AT: schedule.stamp(now), WITH_PIM: policy is not None, **term_facts(_term(held) or UNKNOWN)}


def _policy_refused(run: Run, error: PolicyRefusedError) -> Outcome:
    """Return what a rule of the tenant's policy asks of a person: a ticket, a second factor once, else the portal."""
    if "TicketingRule" in error.rules:
        return NeedsPerson(problem=problem("role_needs_ticket", raw=error.problem.raw))
    is_mfa = error.rules == {"MfaRule"} and run.grant.role_mode is RoleMode.SIGN_IN
    if is_mfa and not run.step.facts.get(MFA_ASKED):
        return NeedsPerson(problem=problem("role_needs_mfa", raw=error.problem.raw), facts={MFA_ASKED: True})
    return _go_by_hand(run, problem(BY_HAND, raw=error.problem.raw, correlation_id=error.problem.correlation_id))


def _go_by_hand(run: Run, found: Problem) -> Wait:
    """Return the outcome of a way that the tenant closes: the role is looked for, whoever assigns it by hand."""
    wait = _watch_for_person(run, found.raw, "", mode=RoleMode.BY_HAND)
    return replace(wait, problem=found, facts={BY_HAND_BECAUSE: found.code})


async def _seen(run: Run, missing: str) -> str:
    """Return what is seen so far of an assignment that is made elsewhere, as far as our own token tells; it is diagnosis only."""
    if run.grant.role_mode is RoleMode.ROLE_GROUP:
        return missing
    token = await run.clients.microsoft.identity.application_token("mail_flow", run.grant.tenant_id)
    if EXCHANGE_ADMINISTRATOR in token.directory_roles:
        return f"Microsoft names the role in the application's tokens. {missing}"
    return f"No Exchange Administrator role shows in the application's tokens yet. {missing}"


def _watch_for_person(run: Run, missing: str, seen: str, *, mode: RoleMode | None = None) -> Wait:
    begun = run.step.begun_at or run.clock()
    longest = OFTEN if run.clock() - begun < LOOK_OFTEN_FOR else SELDOM
    delay = schedule.backoff(run.step.attempts + 1, STEPS[run.step.name].retry_first, longest)
    return Wait(
        until=run.clock() + delay,
        why=WAITS_FOR_HAND[mode or run.grant.role_mode],
        give_up_at=begun + schedule.PERSON_PATIENCE,
        then=Failed(problem=problem("role_not_assigned", raw=missing)),
        who=Actor.TENANT_ADMINISTRATOR,
        problem=run.step.problem,
        facts={SEEN: seen},
    )


def _wait_for_effect(run: Run, missing: str, **facts: Any) -> Wait:
    definition = STEPS[run.step.name]
    return Wait(
        until=run.clock() + schedule.backoff(run.step.attempts + 1, definition.retry_first, definition.retry_cap),
        why="The role is assigned; waiting for Exchange Online to notice it (minutes, rarely hours)",
        give_up_at=(run.step.begun_at or run.clock()) + definition.give_up,
        then=Failed(problem=problem("role_without_effect", raw=missing)),
        facts=facts,
    )
