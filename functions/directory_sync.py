"""The sync of domains, users and groups, a slice a message."""

import azure.functions as func

from functions.adapter import CONNECTION, receive
from shared.domain.steps import Queue

blueprint = func.Blueprint()


@blueprint.queue_trigger(arg_name="message", queue_name=Queue.DIRECTORY_SYNCS, connection=CONNECTION)
async def directory_syncs(message: func.QueueMessage) -> None:
    """Do what a message of this queue asks."""
    await receive(Queue.DIRECTORY_SYNCS, message)
