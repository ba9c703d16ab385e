"""The Exchange Administrator role: its assignment, and the wait for its effect."""

import azure.functions as func

from functions.adapter import CONNECTION, receive
from shared.domain.steps import Queue

blueprint = func.Blueprint()


@blueprint.queue_trigger(arg_name="message", queue_name=Queue.ROLE_ASSIGNMENTS, connection=CONNECTION)
async def role_assignments(message: func.QueueMessage) -> None:
    """Do what a message of this queue asks."""
    await receive(Queue.ROLE_ASSIGNMENTS, message)
