"""The Office 365 Management Activity API: what is asked, and what each documented answer means."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from shared.microsoft.client import MicrosoftClient
from shared.ports import NotYetError, RefusedError, TransientError
from tests.unit.microsoft.conftest import SECRET, TENANT, Said, Scripted, settings_for, token_path

ACTIVITY_ID = "aaaaaaaa-0000-4000-8000-000000000004"
PUBLISHER = "bbbbbbbb-0000-4000-8000-000000000001"
FEED = f"/api/v1.0/{TENANT}/activity/feed/subscriptions"
ENABLED = {"contentType": "Audit.Exchange", "status": "enabled", "webhook": None}
AUDIT_OFF = f"Microsoft.Office.Compliance.Audit.DataServiceException: Tenant {TENANT} does not exist.\r\n   at Start"


def refusal(code: str, text: str = "Text of Microsoft.", status: int = 400) -> Said:
    """Return an error as the service writes it."""
    return Said({"error": {"code": code, "message": text}}, status)


@pytest.fixture
async def client(server: Scripted) -> AsyncIterator[MicrosoftClient]:
    """Grantline's client, with the activity application and a publisher."""
    changes = {"activity_client_id": ACTIVITY_ID, "activity_client_secret": SECRET, "publisher_tenant_id": PUBLISHER}
    found = MicrosoftClient(settings_for(server.url, server.ca_file, **changes))
    try:
        yield found
    finally:
        await found.close()


async def test_a_subscription_is_started_and_seen(server: Scripted, client: MicrosoftClient) -> None:
    """One token of the activity application serves all requests; each names the content type and the publisher."""
    server.say(f"{FEED}/start", Said(ENABLED))
    disabled = {"contentType": "DLP.All", "status": "disabled", "webhook": None}
    server.say(f"{FEED}/list", Said([ENABLED, disabled]))
    feed = client.activity(TENANT)

    await feed.start("Audit.Exchange")
    assert await feed.subscriptions() == {"Audit.Exchange"}

    started, listed = server.asked_for(f"{FEED}/start")[0], server.asked_for(f"{FEED}/list")[0]
    assert (started.method, started.query) == ("POST", {"contentType": "Audit.Exchange", "PublisherIdentifier": PUBLISHER})
    assert (listed.method, listed.query) == ("GET", {"PublisherIdentifier": PUBLISHER})
    (asked,) = server.asked_for(token_path())
    assert "scope=https%3A%2F%2Fmanage.office.com%2F.default" in asked.text
    assert ACTIVITY_ID in asked.text
    assert started.headers["Authorization"].startswith("Bearer ")


async def test_no_publisher_is_named_where_none_is_set(server: Scripted) -> None:
    """An installation that does not say which tenant is its own shares everybody's quota, and asks all the same."""
    server.say(f"{FEED}/list", Said([]))
    client = MicrosoftClient(
        settings_for(server.url, server.ca_file, activity_client_id=ACTIVITY_ID, activity_client_secret=SECRET)
    )
    try:
        assert await client.activity(TENANT).subscriptions() == frozenset()
    finally:
        await client.close()

    assert server.asked_for(f"{FEED}/list")[0].query == {}


async def test_a_subscription_that_is_on_is_success(server: Scripted, client: MicrosoftClient) -> None:
    """AF20024 says that nothing had to be done."""
    server.say(f"{FEED}/start", refusal("AF20024", "The subscription is already enabled. No property change."))

    await client.activity(TENANT).start("Audit.Exchange")

    assert len(server.asked_for(f"{FEED}/start")) == 1


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (refusal("AF20023", "The subscription was disabled by a tenant admin."), "activity_disabled"),
        (refusal(f"StartSubscription [TenantId={TENANT}] failed. Exception", AUDIT_OFF), "audit_off"),
        (refusal("AF20012", "The tenant is incorrectly configured in the system."), "activity_refused"),
        (refusal("AF99999", status=403), "activity_refused"),
        (Said(b"<html>", 404), "activity_refused"),
    ],
    ids=["disabled", "audit off", "no licence", "unknown", "no json"],
)
async def test_refusals_are_problems(server: Scripted, client: MicrosoftClient, said: Said, code: str) -> None:
    """What a person must put right carries Microsoft's words; what nobody knows keeps them all the more."""
    server.say(f"{FEED}/start", said)
    with pytest.raises(RefusedError) as raised:
        await client.activity(TENANT).start("Audit.Exchange")

    assert raised.value.problem.code == code
    words = said.body["error"]["message"] if isinstance(said.body, dict) else "HTTP 404"
    assert words in raised.value.problem.raw


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (refusal("AF429", "Too many requests. Method=StartSubscription", 403), TransientError),
        (refusal("AF50000", "An internal error occurred. Retry the request.", 500), TransientError),
        (Said(b"", 503), TransientError),
        (refusal("AF10001", "The permission set () sent in the request does not include the expected permission."), NotYetError),
        (Said({"Message": "Authorization has been denied for this request."}, 401), NotYetError),
    ],
    ids=["throttled with 403", "internal", "gateway", "no permission in the token", "not heard of"],
)
async def test_what_passes_is_waited_for(server: Scripted, client: MicrosoftClient, said: Said, error: type[Exception]) -> None:
    """Throttling, which is a 403 here, and a consent that has not spread are no problems; a request is sent once."""
    server.say(f"{FEED}/list", said)
    with pytest.raises(error):
        await client.activity(TENANT).subscriptions()

    assert len(server.asked_for(f"{FEED}/list")) == 1


@pytest.mark.parametrize("body", [{"value": []}, ["text"], [{"status": "enabled"}], b"\0\0"])
async def test_a_list_that_can_not_be_read_is_for_later(server: Scripted, client: MicrosoftClient, body: Any) -> None:
    """A list of another shape is never taken for one without subscriptions."""
    server.say(f"{FEED}/list", Said(body))
    with pytest.raises(TransientError, match="can't be read"):
        await client.activity(TENANT).subscriptions()


async def test_a_network_that_is_away_is_for_later(server: Scripted) -> None:
    """Nothing listens where the service should be."""
    changes = {"activity_client_id": ACTIVITY_ID, "activity_client_secret": SECRET, "management_url": "https://localhost:9"}
    client = MicrosoftClient(settings_for(server.url, server.ca_file, **changes))
    try:
        with pytest.raises(TransientError, match="can't be reached"):
            await client.activity(TENANT).subscriptions()
    finally:
        await client.close()
