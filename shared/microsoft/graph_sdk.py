"""msgraph-sdk without its models: builders describe requests, kiota sends them. Heavy to import: loaded with its first use.

The SDK's typed models cost more than 10 ms for each entity, so the native response is returned. Its retries are off: they would
sleep inside of a run, and send a POST twice.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
from kiota_abstractions.base_request_configuration import RequestConfiguration
from kiota_abstractions.method import Method
from kiota_abstractions.native_response_handler import NativeResponseHandler
from kiota_abstractions.request_information import RequestInformation
from kiota_authentication_azure.azure_identity_authentication_provider import AzureIdentityAuthenticationProvider
from kiota_http.middleware.options import ResponseHandlerOption, RetryHandlerOption
from msgraph import GraphRequestAdapter, GraphServiceClient
from msgraph_core import GraphClientFactory

from shared.microsoft.clouds import Cloud, origin
from shared.microsoft.identity import TokenCredential

BATCH_SIZE = 20
"""How many requests a batch takes (https://learn.microsoft.com/graph/json-batching)."""


def with_middleware(http: httpx.AsyncClient) -> httpx.AsyncBaseTransport:
    """Put kiota's and Graph's middleware around a client's transport, once, without retries.

    Returns the transport beneath: kiota's wrapper does not close it when the client is closed (microsoft-kiota-http 1.16,
    AsyncKiotaTransport has no aclose), so the caller must.
    """
    beneath = http._transport  # noqa: SLF001 - the very attribute that kiota replaces
    options = {RetryHandlerOption.get_key(): RetryHandlerOption(max_retries=0, should_retry=False)}
    GraphClientFactory.create_with_default_middleware(client=http, options=options)
    return beneath


def open_client(cloud: Cloud, http: httpx.AsyncClient, credential: TokenCredential) -> Any:
    """Return the root of the request builders, over a client that has the middleware."""
    provider = AzureIdentityAuthenticationProvider(
        credential,
        scopes=[f"{cloud.graph_resource}/.default"],
        allowed_hosts=[origin(cloud.graph)[1]],
        is_cae_enabled=False,  # tokens of continuous access evaluation live for a day and are bound to an address
    )
    adapter = GraphRequestAdapter(provider, http)
    adapter.base_url = f"{cloud.graph}/v1.0"
    return GraphServiceClient(request_adapter=adapter)


def first_page(builder: Any, **parameters: Any) -> Any:
    """Describe a GET of a builder's collection with OData parameters: ``select``, ``top``, ``filter``."""
    query = getattr(builder, f"{type(builder).__name__}GetQueryParameters")(**parameters)
    return builder.to_get_request_information(RequestConfiguration(query_parameters=query))


def changes_from_now(builder: Any, **parameters: Any) -> Any:
    """Describe a GET of a delta query's link alone: the changes from now on, without what is there.

    The builders have no name for the parameter, so it is put beside those of the builder's own template
    (https://learn.microsoft.com/graph/delta-query-overview, "$deltatoken=latest").
    """
    information = first_page(builder, **parameters)
    information.url_template = information.url_template.replace("{?", "{?%24deltatoken,", 1)
    information.query_parameters["%24deltatoken"] = "latest"
    return information


def batch(client: Any, requests: Sequence[Any]) -> Any:
    """Describe a POST of up to ``BATCH_SIZE`` described GETs in one; each is named by its place among them.

    The SDK's own batches are made of typed models, and read into them.
    """
    items = [{"id": str(place), "method": "GET", "url": _relative(client, each)} for place, each in enumerate(requests)]
    information = RequestInformation(Method.POST, "{+baseurl}/$batch")
    information.set_stream_content(json.dumps({"requests": items}).encode(), "application/json")
    return information


def _relative(client: Any, information: Any) -> str:
    """Return the address of a described request beneath the version, as a batch takes it; ``$`` needs no encoding there."""
    adapter = client.request_adapter
    adapter.set_base_url_for_request_information(information)
    return str(information.url).removeprefix(adapter.base_url).replace("%24", "$")


def next_page(builder: Any, link: str) -> Any:
    """Describe a GET of a page at Microsoft's own link."""
    return builder.with_url(link).to_get_request_information()


def creation(builder: Any, body: Mapping[str, Any]) -> Any:
    """Describe a POST to a builder's collection; the builder's own takes a typed model, which would load a thousand modules."""
    information = builder.to_get_request_information()
    information.http_method = Method.POST
    information.set_stream_content(json.dumps(body).encode(), "application/json")
    return information


async def send(client: Any, information: Any) -> httpx.Response:
    """Send a request that was described here and return the answer, whatever its status."""
    information.add_request_options([ResponseHandlerOption(NativeResponseHandler())])
    response: httpx.Response = await client.request_adapter.send_primitive_async(information, "bytes", {})
    return response
