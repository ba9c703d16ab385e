"""Commands of the console, and the consents that wait for their effect."""

import azure.functions as func

from functions.adapter import CONNECTION, receive
from shared.domain.steps import Queue

blueprint = func.Blueprint()


@blueprint.queue_trigger(arg_name="message", queue_name=Queue.CONSOLE_COMMANDS, connection=CONNECTION)
async def console_commands(message: func.QueueMessage) -> None:
    """Do what a message of this queue asks."""
    await receive(Queue.CONSOLE_COMMANDS, message)
