"""The part of a removal that deletes what was synced: nobody's directory is kept longer than its mail is protected."""

from shared.domain.outcomes import Done, Outcome, Progress
from shared.workflows.directory_sync import CURSOR_ROW, DOMAINS_ROW, MARGIN
from shared.workflows.run import Run

SHARDS_DELETED = "shards_deleted"
"""The fact that tells how many shards earlier slices have deleted; 0 once all are."""


async def directory_removal(run: Run) -> Outcome:
    """Take the tenant's directory from its readers, then delete every copy of it, shard by shard."""
    store, tenant_id = run.clients.directory, run.grant.tenant_id
    if not tenant_id:
        return Done()  # nobody has proved a tenant: nothing was synced
    await run.check_held()
    shards = [(each, shard) for each in await store.retire(tenant_id) for shard in range(each.shards)]
    for number in range(run.step.facts.get(SHARDS_DELETED, 0), len(shards)):
        if run.time_left() <= MARGIN:
            return Progress(facts={SHARDS_DELETED: number})
        await run.check_held()  # the tenant may be another grant's by now, whose directory this would delete
        await store.delete(tenant_id, *shards[number])
    return Done(facts={SHARDS_DELETED: 0}, deletes=(CURSOR_ROW, DOMAINS_ROW))
