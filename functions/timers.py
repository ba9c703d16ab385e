"""The timers: what is due, what the queues gave up on, how many accounts there are. Each runs once at a time in the whole app."""

import azure.functions as func

blueprint = func.Blueprint()


@blueprint.timer_trigger(arg_name="timer", schedule="0 * * * * *")
async def sweep(timer: func.TimerRequest) -> None:  # noqa: ARG001 - the host calls by name
    """Nudge what is due: waits that have ended, daily syncs, lost nudges, retries, runs that died; tell untold events."""
    from shared.container import current  # noqa: PLC0415 - the clients are loaded at the first use, not at the cold start

    await (await current()).engine.sweep()


@blueprint.timer_trigger(arg_name="timer", schedule="30 * * * * *")
async def drain_poison_queues(timer: func.TimerRequest) -> None:  # noqa: ARG001 - the host calls by name
    """Keep what the functions host gave up on as dead letters."""
    from shared.container import current  # noqa: PLC0415 - see above

    await (await current()).inbox.drain_poison()


@blueprint.timer_trigger(arg_name="timer", schedule="0 */5 * * * *")
async def count_accounts(timer: func.TimerRequest) -> None:  # noqa: ARG001 - the host calls by name
    """Count the accounts by state, for the Dashboard."""
    from shared import snapshot  # noqa: PLC0415 - see above
    from shared.container import current  # noqa: PLC0415 - see above

    container = await current()
    await snapshot.count_accounts(container.storage.accounts, container.engine.clock)
