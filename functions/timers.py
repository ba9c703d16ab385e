"""The timers: what is due, and what the queues gave up on. The functions host runs each once at a time for the whole app."""

import azure.functions as func

blueprint = func.Blueprint()


@blueprint.timer_trigger(arg_name="timer", schedule="0 * * * * *")
async def sweep(timer: func.TimerRequest) -> None:  # noqa: ARG001 - the host calls by name
    """Nudge what is due: waits that have ended, lost nudges, failed syncs, runs that died; tell events that were not told."""
    from shared.container import current  # noqa: PLC0415 - the clients are loaded at the first use, not at the cold start

    await (await current()).engine.sweep()


@blueprint.timer_trigger(arg_name="timer", schedule="30 * * * * *")
async def drain_poison_queues(timer: func.TimerRequest) -> None:  # noqa: ARG001 - the host calls by name
    """Keep what the functions host gave up on as dead letters."""
    from shared.container import current  # noqa: PLC0415 - see above

    await (await current()).inbox.drain_poison()
