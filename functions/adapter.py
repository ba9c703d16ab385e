"""Between azure-functions and the rest: the only code that knows both."""

from urllib.parse import urlsplit

import azure.functions as func

from shared.domain.steps import Queue
from shared.web.http import Request
from shared.web.site import View

CONNECTION = "AzureWebJobsStorage"
"""The app setting (or prefix of app settings) that names the storage account."""


async def reply(route: str, request: func.HttpRequest, view: View) -> func.HttpResponse:
    """Answer an HTTP request by a view."""
    from shared.container import current  # noqa: PLC0415 - the clients are loaded at the first use, not at the cold start

    container = await current()
    answer = await container.site.answer(route, to_request(request), view)
    return func.HttpResponse(
        body=answer.body,
        status_code=answer.status,
        headers={**answer.headers, "content-type": answer.content_type},
    )


async def receive(queue: Queue, message: func.QueueMessage) -> None:
    """Hand a queue message to the inbox."""
    from shared.container import current  # noqa: PLC0415 - see above

    container = await current()
    await container.inbox.receive(queue, message.get_body())


def to_request(request: func.HttpRequest) -> Request:
    """Return a request of the functions host in the console's own shape."""
    return Request(
        method=request.method,
        path=urlsplit(request.url).path,
        query=dict(request.params),
        route=dict(request.route_params),
        headers={name.lower(): value for name, value in request.headers.items()},
        body=request.get_body(),
    )
