"""Every kind of tenant, way to the role and person at the browser: each ends done, or in the one right problem.

Microsoft's pages, tokens, role assignments and policies are the simulated tenant's, over TLS; nothing of Grantline is replaced.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from itertools import product

import pytest

from local.browser import Browser
from local.microsoft365.identity.people import delegate_administration, invite_guest
from local.microsoft365.identity.sessions import Account
from local.microsoft365.model import Role, RolePolicy
from local.microsoft365.role_assignments import assign, held_roles
from shared.consent.state import RedirectError
from shared.domain import schedule
from shared.domain.grant import RoleMode
from shared.domain.roles import ENDS_AT
from shared.domain.steps import StepName, StepState
from tests.microsoft365.portal import RefusedByPortalError, assign_by_hand
from tests.support.worlds import Case, World

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONSENT, ROLE = StepName.MAIL_FLOW_CONSENT, StepName.ROLE_ASSIGNMENT
PREMIUM = "AAD_PREMIUM_P2"
LIMIT = timedelta(days=30)
MAXIMUM_TURNS = 30
PARTNER = "fabrikam.onmicrosoft.com"
"""The other tenant, where guests and technicians are at home."""


class Tenancy(StrEnum):
    """What a tenant asks of whoever assigns a role."""

    NO_PIM = "no PIM"
    DEFAULT = "PIM default policy"
    LIMITED = "limited duration"
    MFA = "MFA rule"
    APPROVAL = "approval"


class Person(StrEnum):
    """Who sits at the browser."""

    GLOBAL_ADMINISTRATOR = "Global Administrator"
    PRIVILEGED_ROLE_ADMINISTRATOR = "Privileged Role Administrator"
    CLOUD_APPLICATION_ADMINISTRATOR = "Cloud Application Administrator"
    EXCHANGE_ADMINISTRATOR = "Exchange Administrator only"
    GUEST_WITH_ROLE = "guest with the role"
    GUEST = "guest without the role"
    TECHNICIAN = "GDAP technician"


JUSTIFIED = frozenset({"Justification"})
POLICIES: Mapping[Tenancy, RolePolicy] = {
    Tenancy.LIMITED: RolePolicy(is_expiration_required=True, maximum_duration="P30D", enabled_rules=JUSTIFIED),
    Tenancy.MFA: RolePolicy(
        is_expiration_required=False, maximum_duration="P180D", enabled_rules=JUSTIFIED | {"MultiFactorAuthentication"}
    ),
    Tenancy.APPROVAL: RolePolicy(
        is_expiration_required=False, maximum_duration="P180D", enabled_rules=JUSTIFIED, requires_approval=True
    ),
}
"""The policy of the Exchange Administrator role, where it is not Microsoft's default."""
MODES = (RoleMode.SIGN_IN, RoleMode.APPLICATION, RoleMode.BY_HAND)
MAY_ALL = frozenset(
    {Person.GLOBAL_ADMINISTRATOR, Person.PRIVILEGED_ROLE_ADMINISTRATOR, Person.GUEST_WITH_ROLE, Person.TECHNICIAN}
)
MEMBERS: Mapping[Person, str] = {
    Person.GLOBAL_ADMINISTRATOR: "admin",
    Person.PRIVILEGED_ROLE_ADMINISTRATOR: "privileged",
    Person.CLOUD_APPLICATION_ADMINISTRATOR: "application",
    Person.EXCHANGE_ADMINISTRATOR: "exchange",
}
"""The seeded people of each tenant."""


@dataclass
class Ending:
    """How a cell ends: "done", or a problem's code; ``met`` are the problems that people met and cured on the way."""

    end: str
    met: list[str] = field(default_factory=list)


def expected(tenancy: Tenancy, mode: RoleMode, person: Person) -> Ending:
    """Return how a cell must end."""
    if person is Person.GUEST:
        return Ending("guest_account")
    if person is Person.EXCHANGE_ADMINISTRATOR:
        return Ending("not_administrator")
    if person is Person.CLOUD_APPLICATION_ADMINISTRATOR:
        return Ending("role_not_assigned" if mode is RoleMode.BY_HAND else "role_may_not_consent")
    if mode is RoleMode.BY_HAND:
        return Ending("done")
    first = ["role_consent_needed"] if mode is RoleMode.APPLICATION else []
    cured = {RoleMode.SIGN_IN: "role_needs_mfa", RoleMode.APPLICATION: "role_by_hand"}
    return Ending("done", [*first, *([cured[mode]] if tenancy is Tenancy.MFA else [])])


@pytest.fixture
def world(shared_world: World) -> World:
    """The running parts, as quiet as at their start."""
    shared_world.calm()
    return shared_world


async def _tenant(world: World, tenancy: Tenancy, mode: RoleMode) -> Case:
    case = await world.case(is_expected=True, role_mode=mode)
    if tenancy is not Tenancy.NO_PIM:
        case.tenant.licences = (*case.tenant.licences, PREMIUM)
    if tenancy in POLICIES:
        case.tenant.role_policies[Role.EXCHANGE_ADMINISTRATOR] = POLICIES[tenancy]
    case.parts.simulation.store.changed(case.tenant)
    return case


def _sign_in_name(case: Case, person: Person) -> str:
    """Return with what the person signs in; people from elsewhere are first given their place in the tenant."""
    if person in MEMBERS:
        return f"{MEMBERS[person]}@{case.domain}"
    store, now = case.parts.simulation.store, case.parts.simulation.clock.now()
    home = next(each for each in store.tenants.values() if PARTNER in each.domains)
    user = home.users.find(f"admin@{PARTNER}")
    assert user
    account = Account(home.id, user.id)
    if person is Person.TECHNICIAN:
        delegate_administration(store, case.tenant, account, frozenset({Role.PRIVILEGED_ROLE_ADMINISTRATOR.value}))
    else:
        roles = frozenset({Role.GLOBAL_ADMINISTRATOR}) if person is Person.GUEST_WITH_ROLE else frozenset()
        invite_guest(store, case.tenant, account, now, roles)
    return f"admin@{PARTNER}"


async def _play(case: Case, person: Person) -> Ending:
    """Do all that a person in this place would, until the role's step is done or nothing they can do helps."""
    name = _sign_in_name(case, person)
    try:
        await case.parts.act(case.grant_id, CONSENT, name)
    except RedirectError as error:
        return Ending(error.problem.code)
    assert (await case.settle(CONSENT)).is_done
    return await _get_the_role(case, name)


async def _get_the_role(case: Case, name: str) -> Ending:
    met: list[str] = []
    signed_in = 0
    for _ in range(MAXIMUM_TURNS):
        step = await case.step(ROLE)
        if step.problem and step.problem.code not in met:
            met.append(step.problem.code)
        if step.is_done:
            return Ending("done", met)
        if step.state is StepState.NEEDS_ATTENTION:
            return Ending(met[-1], met[:-1])
        if step.state is StepState.WAITING_FOR_PERSON:
            signed_in += 1
            assert signed_in <= 3, f"asked for a sign-in again and again: {met}"
            await case.parts.act(case.grant_id, ROLE, name)
        elif step.state is StepState.WAITING and step.who and not await _assign(case, name):
            assert step.gives_up_at
            case.parts.clock.advance_to(step.gives_up_at)
            await case.work(ROLE)
        else:
            await case.work(ROLE)
    raise AssertionError(f"the role's step never ended: {await case.step(ROLE)}")


async def _assign(case: Case, name: str) -> bool:
    """Assign the role by hand in Microsoft's portal; False where the portal refuses the person, or it is assigned."""
    if _holds(case):
        return True
    simulation = case.parts.simulation
    async with Browser(str(simulation.ca_file)) as browser:
        try:
            application = case.application_id("mail_flow")
            await assign_by_hand(browser, simulation.url, name, case.tenant_id, application, password=simulation.store.password)
        except RefusedByPortalError:
            return False
    return True


def _holds(case: Case) -> bool:
    client = case.tenant.service_principal_of(case.application_id("mail_flow"))
    now = case.parts.simulation.clock.now()
    return client is not None and Role.EXCHANGE_ADMINISTRATOR in held_roles(case.tenant, client.id, now)


def _assignments(case: Case) -> int:
    client = case.tenant.service_principal_of(case.application_id("mail_flow"))
    return sum(1 for each in case.tenant.role_assignments.values() if client and each.principal_id == client.id)


CELLS = [pytest.param(*cell, id=" x ".join(cell)) for cell in product(Tenancy, MODES, Person)]


@pytest.mark.parametrize(("tenancy", "mode", "person"), CELLS)
async def test_each_ends_done_or_in_the_one_right_problem(world: World, tenancy: Tenancy, mode: RoleMode, person: Person) -> None:
    """Whoever comes, whatever the tenant asks, whichever way was chosen: the role is there once, or one problem tells why not."""
    case = await _tenant(world, tenancy, mode)

    ending = await _play(case, person)

    assert ending == expected(tenancy, mode, person)
    assert (_holds(case), _assignments(case)) == ((True, 1) if ending.end == "done" else (False, 0))
    if tenancy is Tenancy.LIMITED and ending.end == "done" and mode is not RoleMode.BY_HAND:
        end = schedule.parse((await case.step(ROLE)).facts[ENDS_AT])
        assert abs(end - case.parts.simulation.clock.now() - LIMIT) < timedelta(minutes=5)


@pytest.mark.parametrize("person", sorted(MAY_ALL))
async def test_a_second_factor_that_cannot_be_asked_for_leads_to_by_hand(world: World, person: Person) -> None:
    """A named uncertainty, the other way: a sign-in that is asked for a second factor shows none; one try, then by hand."""
    await world.set(ignore_amr_request=True)
    case = await _tenant(world, Tenancy.MFA, RoleMode.SIGN_IN)

    assert await _play(case, person) == Ending("done", ["role_needs_mfa", "role_by_hand"])
    # Once the role is held, the chosen way is tried again when the assignment is to be extended.
    assert (await case.grant()).role_mode is RoleMode.SIGN_IN


async def test_an_eligible_administrator_activates_and_goes_on(world: World) -> None:
    """A role that is only eligible is in no token: the refusal says to activate it, and the same sign-in then goes on."""
    case = await _tenant(world, Tenancy.DEFAULT, RoleMode.SIGN_IN)
    name = f"eligible@{case.domain}"
    with pytest.raises(RedirectError) as refused:
        await case.parts.act(case.grant_id, CONSENT, name)
    assert refused.value.problem.code == "not_administrator"
    assert "Activate" in refused.value.problem.fix

    user = case.tenant.users.find(name)
    assert user
    assign(case.tenant, Role.GLOBAL_ADMINISTRATOR, user.id, case.parts.simulation.clock.now(), 0)
    await case.parts.act(case.grant_id, CONSENT, name)
    assert (await case.settle(CONSENT)).is_done
    assert await _get_the_role(case, name) == Ending("done")
