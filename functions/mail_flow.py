"""The tenant's mail flow: the checks before it is changed, and the changes."""

import azure.functions as func

from functions.adapter import CONNECTION, receive
from shared.domain.steps import Queue

blueprint = func.Blueprint()


@blueprint.queue_trigger(arg_name="message", queue_name=Queue.MAIL_FLOW_CHANGES, connection=CONNECTION)
async def mail_flow_changes(message: func.QueueMessage) -> None:
    """Do what a message of this queue asks."""
    await receive(Queue.MAIL_FLOW_CHANGES, message)
