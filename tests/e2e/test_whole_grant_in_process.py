"""The whole grant, step by step, with the real clients on both sides."""

from shared.domain.grant import GrantState
from shared.domain.steps import StepName
from tests.support.grantline import grantline


async def test_a_grant_completes(storage_connection: str) -> None:
    """From the command to the completed grant, every step in turn."""
    async with grantline(storage_connection) as parts:
        grant_id = await parts.start()
        await parts.until(grant_id, StepName.POLICY_ACTIVATION)
        grant = await parts.settle(grant_id, StepName.POLICY_ACTIVATION)

        assert grant.state is GrantState.COMPLETED
        assert grant.tenant_id == parts.facts["tenant_id"]
        assert (await parts.events(grant_id))[-2:] == ["policy.enabled", "grant.completed"]
