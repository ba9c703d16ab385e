"""Reading back what was set up, and switching it on."""

import azure.functions as func

from functions.adapter import CONNECTION, receive
from shared.domain.steps import Queue

blueprint = func.Blueprint()


@blueprint.queue_trigger(arg_name="message", queue_name=Queue.VERIFICATIONS, connection=CONNECTION)
async def verifications(message: func.QueueMessage) -> None:
    """Do what a message of this queue asks."""
    await receive(Queue.VERIFICATIONS, message)
