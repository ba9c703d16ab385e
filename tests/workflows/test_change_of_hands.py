"""A tenant that changes hands: what the former grant made is the new one's to look after, and no mail is routed meanwhile."""

import pytest

from local.microsoft365 import changes
from local.microsoft365.model import Tenant
from shared.domain import decide
from shared.domain.grant import GrantState
from shared.domain.steps import StepName
from shared.mailflow.desired import owner_mark
from tests.support.syncs import current, held, killed_at, seen, told, watching
from tests.support.worlds import Case, KilledError, World

pytestmark = pytest.mark.asyncio(loop_scope="module")

LAST = StepName.ACCESS_WATCH


async def _release(case: Case) -> None:
    engine = case.parts.container.engine
    why = {"actor": "an administrator", "why": "a test"}
    assert await engine.commit(case.grant_id, lambda grant, now: decide.release(grant, now, **why))


def _rules(tenant: Tenant) -> dict[str, str]:
    return {each["Name"]: each["State"] for each in tenant.exchange["TransportRule"] if each["Name"].startswith("Grantline")}


@pytest.mark.parametrize("account", ["the same", "another"])
async def test_the_next_grant_takes_over_what_the_former_made(shared_world: World, account: str) -> None:
    """Nothing is left of the former marks, nothing but the way back is doubled, the routing goes off before it goes on."""
    former = await shared_world.case()
    await former.until(LAST)
    assert set(_rules(former.tenant).values()) == {"Enabled"}
    made = {noun: len(items) for noun, items in former.tenant.exchange.items() if isinstance(items, list)}
    await _release(former)

    account_id = (await former.grant()).account_id if account == "the same" else f"{former.domain}-heir"
    grant_id = await shared_world.parts.start(account_id, command_id=f"again-{account_id}")
    heir = Case(shared_world, grant_id, former.tenant_id, former.domain)
    await heir.until(StepName.POLICY_ACTIVATION)
    assert {state for name, state in _rules(heir.tenant).items() if name.endswith("Domain Rule")} == {"Disabled"}
    await heir.until(LAST)

    assert (await heir.grant()).state is GrantState.COMPLETED
    assert set(_rules(heir.tenant).values()) == {"Enabled"}
    made["InboundConnector"] += 1  # what is under way returns with the former certificate
    assert {noun: len(items) for noun, items in heir.tenant.exchange.items() if isinstance(items, list)} == made
    certificates = {str(each.get("TlsSenderCertificateName")).split(".")[0] for each in heir.tenant.exchange["InboundConnector"]}
    assert {former.grant_id, heir.grant_id} <= certificates
    everything = str(heir.tenant.exchange)
    assert owner_mark(former.grant_id) not in everything
    assert owner_mark(heir.grant_id) in everything
    assert (await former.grant()).state is GrantState.RELEASED


async def test_nobody_is_left_of_a_sync_that_the_former_grant_never_ended(shared_world: World) -> None:
    """The half of a directory that a released grant leaves behind is no part of the next one's, and is deleted later."""
    former = await shared_world.case()
    await former.until(StepName.DIRECTORY_SYNC)
    with pytest.raises(KilledError):
        await former.work(StepName.DIRECTORY_SYNC, watching(former, killed_at(2)))
    await _release(former)
    leaver = former.tenant.users.find(f"member@{former.domain}")
    assert leaver is not None
    changes.remove_user(former.tenant, leaver.id, former.parts.simulation.clock.now(), for_good=True)
    former.parts.simulation.store.changed(former.tenant)

    account_id = (await former.grant()).account_id
    grant_id = await shared_world.parts.start(account_id, command_id=f"again-{account_id}")
    heir = Case(shared_world, grant_id, former.tenant_id, former.domain)
    await heir.until(StepName.DIRECTORY_SYNC)
    assert (await heir.settle(StepName.DIRECTORY_SYNC)).is_done

    view, state = await seen(heir), await current(heir)
    assert view is not None
    assert state is not None
    assert told(view) == held(heir)
    assert view["counts"]["users"] == len(heir.tenant.users)
    assert (state.generation, [each.number for each in state.former]) == (2, [1])
