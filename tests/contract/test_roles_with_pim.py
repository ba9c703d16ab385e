"""Roles by Privileged Identity Management: the real client against the simulated tenant's, by a sign-in and by an application."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from local.microsoft365.model import RolePolicy as TenantPolicy
from shared.microsoft import open_microsoft
from shared.ports import HeldRole, PolicyRefusedError, RefusedError, RolePolicy, Roles, RoleWish
from tests.contract.test_microsoft_ports import APPLICATIONS, CONTRACTS, EXCHANGE_ADMINISTRATOR, ROLE_SCOPE, World, settings_of
from tests.microsoft365.platform import running

NEAR = timedelta(seconds=30)
WAYS = ("sign-in", "application")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A tenant with Privileged Identity Management that has consented to the mail flow."""
    contracts = CONTRACTS if CONTRACTS.is_dir() else None
    async with running(tmp_path, applications=APPLICATIONS, contracts=contracts, users=6) as platform:
        await platform.control("POST", "tenants/contoso.com", json={"licences": ["SPE_E5"]})
        microsoft = open_microsoft(settings_of(platform))
        world = World(platform, microsoft)
        try:
            await world.consent("mail_flow")
            yield world
        finally:
            await microsoft.close()


async def _roles(world: World, way: str) -> Roles:
    """Return roles by an administrator's token, or by the role assigner's own."""
    if way == "application":
        await world.consent("role_assigner")
        return world.microsoft.roles(world.tenant_id, application="role_assigner")
    answer = await world.signed_in(world.sign_in_request("role_helper", ROLE_SCOPE), "privileged")
    return world.microsoft.roles(world.tenant_id, answer.access_token)


async def _wish(world: World, policy: RolePolicy | None) -> RoleWish:
    """Return the wish for the longest time that the policy allows."""
    assert policy is not None
    principal = (await world.microsoft.identity.application_token("mail_flow", world.tenant_id)).object_id
    return RoleWish(principal, EXCHANGE_ADMINISTRATOR, "It looks after the mail flow.", policy.maximum_duration)


def _lasts(held: HeldRole | None) -> timedelta:
    """Return for how long an assignment was made."""
    assert held is not None
    assert held.begins_at is not None
    assert held.ends_at is not None
    return held.ends_at - held.begins_at


@pytest.mark.parametrize("way", WAYS)
async def test_a_role_for_a_time_is_assigned_once(world: World, way: str) -> None:
    """For exactly as long as it was asked for; a second time nothing is doubled, and the end is that of the first."""
    roles = await _roles(world, way)
    wish = replace(await _wish(world, await roles.policy(EXCHANGE_ADMINISTRATOR)), duration="P30D")
    assert await roles.held(wish.principal_id, wish.role_template_id) is None

    made = await roles.assign(wish, with_pim=True)
    again = await roles.assign(replace(wish, duration="P10D"), with_pim=True)

    assert _lasts(made) == timedelta(days=30)
    assert _lasts(again) == timedelta(days=30)
    assert await roles.held(wish.principal_id, wish.role_template_id) == again
    token = await world.microsoft.identity.application_token("mail_flow", world.tenant_id)
    assert token.directory_roles == {EXCHANGE_ADMINISTRATOR}


STRICT = TenantPolicy(
    is_expiration_required=True,
    maximum_duration="P90D",
    enabled_rules=frozenset({"Justification", "Ticketing"}),
    requires_approval=True,
    authentication_context="c1",
)


@pytest.mark.parametrize("way", WAYS)
async def test_the_policy_is_read_and_met(world: World, way: str) -> None:
    """What the tenant asks of an administrator's assignment is read; a wish that meets it lasts for the longest time allowed.

    Approval and authentication context are asked of people who activate a role, not here.
    """
    world.platform.tenant.role_policies[EXCHANGE_ADMINISTRATOR] = STRICT
    roles = await _roles(world, way)
    policy = await roles.policy(EXCHANGE_ADMINISTRATOR)
    wish = replace(await _wish(world, policy), ticket_number="CHG-7", ticket_system="Tickets")

    assert policy == RolePolicy("P90D", requires_justification=True, requires_ticket=True)
    assert _lasts(await roles.assign(wish, with_pim=True)) == timedelta(days=90)


REFUSED = {
    "too long": ({"duration": "P91D"}, "ExpirationRule", "role_by_hand"),
    "for good": ({"duration": ""}, "ExpirationRule", "role_by_hand"),
    "no reason": ({"justification": ""}, "JustificationRule", "role_by_hand"),
    "no ticket": ({"ticket_number": "", "ticket_system": ""}, "TicketingRule", "role_needs_ticket"),
}


@pytest.mark.parametrize(("lack", "rule", "code"), REFUSED.values(), ids=REFUSED.keys())
async def test_the_policy_refuses(world: World, lack: dict[str, str], rule: str, code: str) -> None:
    """A wish that does not meet a rule is refused with that rule's name, and nothing is assigned."""
    world.platform.tenant.role_policies[EXCHANGE_ADMINISTRATOR] = STRICT
    roles = await _roles(world, "sign-in")
    wish = await _wish(world, await roles.policy(EXCHANGE_ADMINISTRATOR))
    wish = replace(replace(wish, ticket_number="CHG-7", ticket_system="Tickets"), **lack)

    with pytest.raises(PolicyRefusedError) as raised:
        await roles.assign(wish, with_pim=True)

    assert (raised.value.rules, raised.value.problem.code) == (frozenset({rule}), code)
    assert await roles.held(wish.principal_id, wish.role_template_id) is None


async def test_no_application_has_a_second_factor(world: World) -> None:
    """A policy that wants multifactor authentication refuses an application's own token."""
    policy = TenantPolicy(enabled_rules=frozenset({"Justification", "MultiFactorAuthentication"}))
    world.platform.tenant.role_policies[EXCHANGE_ADMINISTRATOR] = policy
    roles = await _roles(world, "application")
    found = await roles.policy(EXCHANGE_ADMINISTRATOR)

    assert found == RolePolicy(requires_justification=True, requires_mfa=True)
    with pytest.raises(PolicyRefusedError) as raised:
        await roles.assign(await _wish(world, found), with_pim=True)
    assert raised.value.rules == {"MfaRule"}


async def test_without_rules_a_role_is_for_good(world: World) -> None:
    """Where the policy wants no end, none is set, and none is read back."""
    roles = await _roles(world, "sign-in")
    policy = await roles.policy(EXCHANGE_ADMINISTRATOR)
    made = await roles.assign(wish := await _wish(world, policy), with_pim=True)
    held = await roles.held(wish.principal_id, wish.role_template_id)

    assert policy == RolePolicy(requires_justification=True)
    assert held is not None
    assert (made.ends_at, held.ends_at) == (None, None)


async def test_an_end_is_moved_before_it_comes(world: World) -> None:
    """Near its end an assignment is extended: still one, from now on for the whole duration."""
    roles = await _roles(world, "sign-in")
    wish = replace(await _wish(world, await roles.policy(EXCHANGE_ADMINISTRATOR)), duration="P30D")
    former = await roles.assign(wish, with_pim=True)
    world.platform.simulation.clock.advance(timedelta(days=20).total_seconds())
    extender = await _roles(world, "sign-in")

    extended = await extender.extend(wish)

    assert former.ends_at is not None
    assert extended.ends_at is not None
    assert extended.ends_at > former.ends_at
    held = await extender.held(wish.principal_id, wish.role_template_id)
    assert held is not None
    assert held.ends_at is not None
    assert abs(held.ends_at - extended.ends_at) < NEAR


async def test_nothing_to_extend_is_told(world: World) -> None:
    """Without an assignment there is none to extend: the role is assigned anew, which is for the workflow to decide."""
    roles = await _roles(world, "sign-in")
    wish = await _wish(world, await roles.policy(EXCHANGE_ADMINISTRATOR))

    with pytest.raises(RefusedError) as raised:
        await roles.extend(wish)

    assert raised.value.problem.code == "role_not_assigned"
    assert raised.value.problem.correlation_id


async def test_an_expired_role_is_held_no_more(world: World) -> None:
    """After its end nothing is held, and the application's new tokens are without the role."""
    roles = await _roles(world, "sign-in")
    wish = replace(await _wish(world, await roles.policy(EXCHANGE_ADMINISTRATOR)), duration="P30D")
    await roles.assign(wish, with_pim=True)
    world.platform.simulation.clock.advance(timedelta(days=31).total_seconds())

    assert await (await _roles(world, "sign-in")).held(wish.principal_id, wish.role_template_id) is None
    token = await world.microsoft.identity.application_token("mail_flow", world.tenant_id)
    assert token.directory_roles == frozenset()


async def test_who_may_not_assign_is_refused(world: World) -> None:
    """An Exchange administrator's token opens nothing of Privileged Identity Management either."""
    await world.consent("role_helper")
    answer = await world.signed_in(world.sign_in_request("role_helper", ROLE_SCOPE), "exchange")
    principal = (await world.microsoft.identity.application_token("mail_flow", world.tenant_id)).object_id
    roles = world.microsoft.roles(world.tenant_id, answer.access_token)

    with pytest.raises(RefusedError) as raised:
        await roles.assign(RoleWish(principal, EXCHANGE_ADMINISTRATOR, "No."), with_pim=True)

    assert raised.value.problem.code == "role_refused"
