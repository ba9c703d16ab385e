"""The Management Activity API: subscriptions, lists of content, the content, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from local.microsoft365.activity.content import CONTENT_TYPES
from local.microsoft365.catalogue import MANAGEMENT
from local.microsoft365.model import RequiredPermission
from tests.microsoft365.platform import GRAPH_DEFAULT, Platform, running

MANAGEMENT_DEFAULT = "https://manage.office.com/.default"
READ = RequiredPermission(MANAGEMENT, "594c1fb6-4f81-4475-ae41-0c394909246c", "Role")
PUBLISHER = "3f0b6b3a-5f0e-4d57-9a4d-8f0d5f0e0001"


@dataclass(slots=True)
class Caller:
    """An application with ActivityFeed.Read in Contoso."""

    platform: Platform
    token: str

    async def call(self, path: str, method: str = "GET", tenant: str = "", token: str = "", **query: str) -> httpx.Response:
        """Call the feed of a tenant (Contoso's, unless said) with the application's token."""
        address = f"/api/v1.0/{tenant or self.platform.tenant.id}/activity/feed/{path}"
        headers = {"Authorization": f"Bearer {token or self.token}"}
        return await self.platform.client.request(
            method, address, params={"PublisherIdentifier": PUBLISHER, **query}, headers=headers
        )

    async def start(self, content_type: str = "Audit.Exchange") -> httpx.Response:
        """Start a subscription."""
        return await self.call("subscriptions/start", "POST", contentType=content_type)

    async def content(self, **query: str) -> httpx.Response:
        """List content of Audit.Exchange."""
        return await self.call("subscriptions/content", **{"contentType": "Audit.Exchange", **query})


@pytest.fixture
async def caller(platform: Platform) -> Caller:
    """The application after its consent, with a token."""
    return await calling(platform)


async def calling(platform: Platform) -> Caller:
    """Register the permission, consent to it, and get a token."""
    application = platform.with_permissions(platform.application("mail_flow"), (READ,))
    platform.simulation.store.registrations[application.app_id] = application
    await platform.grant("mail_flow")
    return Caller(platform, (await platform.app_token("mail_flow", MANAGEMENT_DEFAULT)).json()["access_token"])


def refusal(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a refusal, whose body has nothing else but a message."""
    body = answer.json()
    assert body.keys() == {"error"}
    assert body["error"].keys() == {"code", "message"}
    assert body["error"]["message"]
    return answer.status_code, body["error"]["code"]


@pytest.mark.parametrize("content_type", sorted(CONTENT_TYPES))
async def test_a_subscription_is_started_and_listed(caller: Caller, content_type: str) -> None:
    """Start answers with the subscription; the list has it, enabled, without a webhook."""
    empty = await caller.call("subscriptions/list")
    started = await caller.start(content_type)
    listed = await caller.call("subscriptions/list")

    expected = {"contentType": content_type, "status": "enabled", "webhook": None}
    assert (empty.status_code, empty.json()) == (200, [])
    assert (started.status_code, started.json()) == (200, expected)
    assert listed.json() == [expected]
    assert listed.headers["cache-control"] == "no-cache"


async def test_a_second_start_says_already_enabled(caller: Caller) -> None:
    """AF20024 with 400: undocumented, measured, and as good as success."""
    await caller.start()
    answer = await caller.start()

    assert refusal(answer) == (400, "AF20024")
    assert answer.json()["error"]["message"] == "The subscription is already enabled. No property change."


async def test_a_stopped_subscription_can_be_started_again(caller: Caller) -> None:
    """Stop answers without a body; then content is refused as AF20022 until the next start."""
    await caller.start()
    stopped = await caller.call("subscriptions/stop", "POST", contentType="Audit.Exchange")
    listed = await caller.call("subscriptions/list")
    refused = await caller.content()
    again = await caller.start()

    assert (stopped.status_code, stopped.content) == (200, b"")
    assert listed.json()[0]["status"] == "disabled"
    assert refusal(refused) == (400, "AF20022")
    assert again.status_code == 200


async def test_subscriptions_are_an_applications_own(caller: Caller) -> None:
    """Another application of the same tenant sees none of them."""
    await caller.start()
    other = caller.platform.with_permissions(caller.platform.application("directory"), (READ,))
    caller.platform.simulation.store.registrations[other.app_id] = other
    await caller.platform.grant("directory")
    token = (await caller.platform.app_token("directory", MANAGEMENT_DEFAULT)).json()["access_token"]

    assert (await caller.call("subscriptions/list", token=token)).json() == []


async def test_content_comes_in_pages_and_can_be_fetched(caller: Caller) -> None:
    """NextPageUri leads on until all is seen once; each piece's address gives its events."""
    await caller.start()
    await caller.platform.control("POST", "settings", json={"activity_page_size": 9})
    seen: list[dict[str, str]] = []
    answer = await caller.content()
    while True:
        seen += answer.json()
        if "nextpageuri" not in answer.headers:
            break
        parts = urlsplit(answer.headers["nextpageuri"])
        headers = {"Authorization": f"Bearer {caller.token}"}
        answer = await caller.platform.client.get(f"{parts.path}?{parts.query}", headers=headers)
        assert answer.status_code == 200
    piece = seen[0]
    events = (await caller.call(piece["contentUri"].rpartition("/feed/")[2])).json()

    assert len({each["contentId"] for each in seen}) == len(seen) >= 21
    assert piece.keys() == {"contentUri", "contentId", "contentType", "contentCreated", "contentExpiration"}
    assert {each["OrganizationId"] for each in events} == {caller.platform.tenant.id}
    assert all("Z" not in each["CreationTime"] for each in events)
    assert [each["contentCreated"] for each in seen] != sorted(each["contentCreated"] for each in seen)


async def test_the_first_content_comes_after_its_delay(tmp_path: Path) -> None:
    """Until then the list is empty, which is no fault."""
    async with running(tmp_path) as platform:
        await platform.control("POST", "settings", json={"activity_delay": 120})
        caller = await calling(platform)
        await caller.start()
        early = await caller.content()
        platform.simulation.clock.advance(121)
        late = await caller.content()

    assert (early.status_code, early.json()) == (200, [])
    assert len(late.json()) > 0


async def period(caller: Caller, start_hours: float, end_hours: float) -> httpx.Response:
    """List content between two times, in hours before now."""
    now = caller.platform.simulation.clock.now()
    times = {
        name: (now - timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%S")
        for name, hours in (("startTime", start_hours), ("endTime", end_hours))
    }
    return await caller.content(**times)


@pytest.mark.parametrize(
    ("start", "end", "code"), [(25, 0, "AF20030"), (1, 2, "AF20030"), (169, 150, "AF20055"), (24, 0, ""), (10, 4, "")]
)
async def test_a_period_is_a_day_of_the_last_week(caller: Caller, start: float, end: float, code: str) -> None:
    """Longer than 24 hours, backwards, or begun more than seven days ago is refused; else what was created in it is listed."""
    await caller.start()
    answer = await period(caller, start, end)

    if code:
        assert refusal(answer) == (400, code)
    else:
        now = caller.platform.simulation.clock.now()
        created = [each["contentCreated"] for each in answer.json()]
        assert created
        assert min(created) >= (now - timedelta(hours=start)).strftime("%Y-%m-%dT%H:%M:%S")
        assert max(created) < (now - timedelta(hours=end)).strftime("%Y-%m-%dT%H:%M:%S.999Z")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"startTime": "2026-08-20T10:00:00"}, "AF20030"),
        ({"startTime": "yesterday", "endTime": "today"}, "AF20002"),
        ({"contentType": ""}, "AF20001"),
        ({"contentType": "Audit.Everything"}, "AF20020"),
        ({"contentType": "Audit.General"}, "AF20022"),
        ({"nextPage": "no-such-page"}, "AF20031"),
        ({"PublisherIdentifier": "me"}, "AF20002"),
    ],
)
async def test_what_is_asked_must_make_sense(caller: Caller, query: dict[str, str], code: str) -> None:
    """Missing and invalid parameters, an unknown content type, and one without a subscription, each have their code."""
    await caller.start()

    assert refusal(await caller.content(**query)) == (400, code)


@pytest.mark.parametrize(
    ("tenant", "code"),
    [("contoso.com", "AF20013"), ("11111111-2222-3333-4444-555555555555", "AF20011"), ("other", "AF20010")],
)
async def test_the_tenant_in_the_address_is_the_tokens(caller: Caller, tenant: str, code: str) -> None:
    """No GUID, an unknown tenant, and another one than the token's are refused."""
    named = caller.platform.other.id if tenant == "other" else tenant

    assert refusal(await caller.call("subscriptions/list", tenant=named)) == (400, code)


async def test_without_the_permission_nothing_is_told(caller: Caller) -> None:
    """AF10001 for a token of the right resource without ActivityFeed.Read; a token of another resource is not even that."""
    await caller.platform.grant("directory")
    bare = (await caller.platform.app_token("directory", MANAGEMENT_DEFAULT)).json()["access_token"]
    graph = (await caller.platform.app_token("directory", GRAPH_DEFAULT)).json()["access_token"]

    assert refusal(await caller.call("subscriptions/list", token=bare)) == (403, "AF10001")
    assert (await caller.call("subscriptions/list", token=graph)).status_code == 401


async def a_piece(caller: Caller) -> str:
    """The id of a piece of content that is there."""
    await caller.start()
    return str((await caller.content()).json()[0]["contentId"])


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda name: name[1:], "AF20052"),
        (lambda name: name.replace("audit_exchange", "Audit_Exchange"), "AF20052"),
        (lambda name: name.replace("20", "21", 1), "AF20052"),
        (lambda name: name.replace(name[:23], f"{name[:12]}30{name[14:23]}"), "AF20050"),
        (lambda name: name.replace(name[:23], f"19990101{name[8:23]}"), "AF20050"),
        (lambda name: name.replace(name[:23], f"20261399{name[8:23]}"), "AF20052"),
    ],
)
async def test_content_must_be_named_rightly(caller: Caller, change: Any, code: str) -> None:
    """A malformed id, and one that no content ever had, are told apart."""
    identifier = change(await a_piece(caller))

    assert refusal(await caller.call(f"audit/{identifier}")) == (400, code)


async def test_content_is_gone_after_a_week(caller: Caller) -> None:
    """AF20051 once seven days have passed since it was created."""
    identifier = await a_piece(caller)
    fetched = await caller.call(f"audit/{identifier}")
    caller.platform.simulation.clock.advance(timedelta(days=7).total_seconds())
    token = (await caller.platform.app_token("mail_flow", MANAGEMENT_DEFAULT)).json()["access_token"]

    assert fetched.status_code == 200
    assert refusal(await caller.call(f"audit/{identifier}", token=token)) == (400, "AF20051")


@pytest.mark.parametrize("who", ["a tenant admin", "a service admin"])
async def test_activity_data_may_be_disabled(caller: Caller, who: str) -> None:
    """AF20023 names who did it, for start, content and pieces; the list goes on and shows it."""
    identifier = await a_piece(caller)
    await caller.platform.control("POST", f"tenants/{caller.platform.tenant.id}", json={"activity_disabled_by": who})
    answers = [await caller.start(), await caller.content(), await caller.call(f"audit/{identifier}")]
    listed = await caller.call("subscriptions/list")

    assert [refusal(each) for each in answers] == [(400, "AF20023")] * 3
    assert answers[0].json()["error"]["message"] == f"The subscription was disabled by {who}."
    assert listed.json()[0]["status"] == "disabled"


async def test_without_audit_log_a_tenant_does_not_exist(caller: Caller) -> None:
    """With the unified audit log off a start fails with the service's own exception, and content with AF20023."""
    await caller.platform.control("POST", "tenants/contoso.com", json={"unified_audit_log": False})
    start = await caller.start()
    content = await caller.content()
    status, code = refusal(start)

    assert (status, code.startswith("StartSubscription [CorrId=")) == (400, True)
    assert f"Tenant {caller.platform.tenant.id} does not exist" in start.json()["error"]["message"]
    assert refusal(content) == (400, "AF20023")


@pytest.mark.parametrize(("status", "code"), [(403, "AF429"), (500, "AF50000")])
async def test_a_fault_speaks_the_services_language(caller: Caller, status: int, code: str) -> None:
    """Throttled is 403 with AF429 and the publisher; broken is 500 with AF50000; neither has a Retry-After."""
    fault = {"match": {"path": "/activity/feed/"}, "status": status}
    await caller.platform.control("POST", "faults", json=fault)
    answer = await caller.call("subscriptions/list")

    assert refusal(answer) == (status, code)
    assert "retry-after" not in answer.headers
    assert (PUBLISHER in answer.text) is (code == "AF429")


async def test_its_requests_are_recorded_as_activity(caller: Caller) -> None:
    """The control interface lists them under their own service, with operation, tenant and application."""
    await caller.start()
    (request,) = await caller.platform.control("GET", "requests?api=activity")
    (shown,) = (await caller.platform.control("GET", "state?include=activitySubscriptions"))["activitySubscriptions"]

    assert (request["operation"], request["tenant_id"]) == ("subscriptions/start", caller.platform.tenant.id)
    assert request["app_id"] == shown["appId"] == caller.platform.application("mail_flow").app_id
    assert (shown["contentType"], shown["status"]) == ("Audit.Exchange", "enabled")


async def test_a_subscription_survives_a_restart(tmp_path: Path) -> None:
    """It is part of the tenant's state."""
    async with running(tmp_path / "first", data=tmp_path / "data") as platform:
        await (await calling(platform)).start()
    async with running(tmp_path / "second", data=tmp_path / "data") as platform:
        (subscription,) = platform.tenant.activity_subscriptions.values()

    assert (subscription.content_type, subscription.status) == ("Audit.Exchange", "enabled")
