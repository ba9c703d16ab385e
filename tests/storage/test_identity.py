"""Who Grantline is to Azure Storage: a managed identity on Azure, the developer elsewhere, a key for Azurite alone."""

from contextlib import AsyncExitStack

import pytest
from azure.core.credentials import AzureNamedKeyCredential
from azure.identity.aio import DefaultAzureCredential, ManagedIdentityCredential

from shared import settings
from shared.storage import service
from tests.support.app_settings import APP_SETTINGS

ACCOUNT = "AzureWebJobsStorage__accountName"
BY_IDENTITY = {name: value for name, value in APP_SETTINGS.items() if name != "AzureWebJobsStorage"} | {ACCOUNT: "grantline"}
CLIENT_ID = "00000000-0000-4000-8000-000000000009"


@pytest.mark.parametrize(
    ("environment", "kind"),
    [
        ({"WEBSITE_SITE_NAME": "grantline", "AzureWebJobsStorage__clientId": CLIENT_ID}, ManagedIdentityCredential),
        ({"WEBSITE_SITE_NAME": "grantline"}, ManagedIdentityCredential),
        ({}, DefaultAzureCredential),
    ],
)
async def test_an_account_name_means_an_identity(environment: dict[str, str], kind: type) -> None:
    """Tables and queues of the named account are opened over https, with one credential (functions-host 1.7)."""
    async with AsyncExitStack() as resources:
        tables, queues = await service._clients(settings.load(BY_IDENTITY | environment), resources)
        async with tables, queues:
            assert tables.url == "https://grantline.table.core.windows.net"
            assert queues.url == "https://grantline.queue.core.windows.net/"
            assert tables.credential is queues.credential
            assert isinstance(queues.credential, kind)


async def test_the_user_assigned_identity_is_the_one_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """An app may have several identities: the client id says which one may reach the storage."""
    asked: list[str | None] = []

    class Spy(ManagedIdentityCredential):
        def __init__(self, *, client_id: str | None = None) -> None:
            asked.append(client_id)
            super().__init__(client_id=client_id)

    monkeypatch.setattr("azure.identity.aio.ManagedIdentityCredential", Spy)
    environment = {"WEBSITE_SITE_NAME": "grantline", "AzureWebJobsStorage__clientId": CLIENT_ID}
    async with AsyncExitStack() as resources:
        for client in await service._clients(settings.load(BY_IDENTITY | environment), resources):
            await client.close()

    assert asked == [CLIENT_ID]


async def test_a_connection_string_means_its_key(connection: str) -> None:
    """Azurite and accounts with keys are opened without an identity."""
    found = settings.load(APP_SETTINGS | {"AzureWebJobsStorage": connection})
    async with AsyncExitStack() as resources:
        tables, queues = await service._clients(found, resources)
        async with tables, queues:
            assert isinstance(tables.credential, AzureNamedKeyCredential)
            assert queues.credential.account_name == "grantlinelocal"
