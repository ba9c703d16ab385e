"""Microsoft Graph through the SDK's builders: what is asked, what is read, and what each refusal means."""

from datetime import timedelta
from typing import Any

import pytest

from shared.domain.problems import GrantlineError
from shared.microsoft import errors
from shared.microsoft.client import MicrosoftClient
from shared.microsoft.graph import read_group, smtp_addresses
from shared.ports import Domain, Group, NotYetError, Organization, RefusedError, TransientError, User
from tests.unit.microsoft.conftest import TENANT, Said, Scripted, token_path

USER = {
    "id": "u1",
    "userPrincipalName": "Adele@contoso.com",
    "displayName": "Adele",
    "mail": "Adele@contoso.com",
    "proxyAddresses": ["smtp:AV@contoso.com", "SMTP:Adele@contoso.com", "SIP:adele@contoso.com"],
    "accountEnabled": True,
    "userType": "Member",
}


def graph_error(status: int, code: str, message: str = "Text of Microsoft.", **headers: str) -> Said:
    """Return an error as Microsoft Graph writes it."""
    inner = {"date": "2026-01-01T00:00:00", "request-id": "55555555-5555-4555-8555-555555555555"}
    return Said({"error": {"code": code, "message": message, "innerError": inner}}, status, headers)


async def test_organization(server: Scripted, microsoft: MicrosoftClient) -> None:
    """The tenant's own entry is read with the two properties that are used."""
    server.say("/v1.0/organization", Said({"value": [{"id": TENANT, "displayName": "Contoso"}]}))

    assert await microsoft.directory(TENANT).organization() == Organization(TENANT, "Contoso")
    assert server.asked_for("/v1.0/organization")[0].query == {"$select": "id,displayName"}


async def test_domains_of_all_pages(server: Scripted, microsoft: MicrosoftClient) -> None:
    """Domains are read to the last page; only a verified one with Email receives mail."""
    one = {"id": "Contoso.com", "isVerified": True, "isDefault": True, "isInitial": False, "supportedServices": ["Email"]}
    two = {"id": "new.example", "isVerified": False, "supportedServices": ["Email"]}
    three = {"id": "contoso.onmicrosoft.com", "isVerified": True, "isInitial": True, "supportedServices": []}
    more = f"{server.url}/v1.0/domains?$skiptoken=x"
    server.say("/v1.0/domains", Said({"value": [one, two], "@odata.nextLink": more}), Said({"value": [three]}))

    found = await microsoft.directory(TENANT).domains()

    assert found == (
        Domain("contoso.com", is_verified=True, is_initial=False, is_default=True, receives_mail=True),
        Domain("new.example", is_verified=False, is_initial=False, is_default=False, receives_mail=False),
        Domain("contoso.onmicrosoft.com", is_verified=True, is_initial=True, is_default=False, receives_mail=False),
    )
    assert server.asked_for("/v1.0/domains")[1].query == {"$skiptoken": "x"}


async def test_service_records_are_the_mail_hosts(server: Scripted, microsoft: MicrosoftClient) -> None:
    """Of the records that Microsoft wants a domain to have only the hosts of MX are read, the preferred one first."""
    path = "/v1.0/domains/contoso.com/serviceConfigurationRecords"
    text = {"@odata.type": "#microsoft.graph.domainDnsTxtRecord", "recordType": "Txt", "text": "v=spf1 -all"}
    second, first = (
        {"@odata.type": "#microsoft.graph.domainDnsMxRecord", "recordType": "Mx", "mailExchange": host, "preference": rank}
        for host, rank in (("B.mx.microsoft.", 10), ("a.mx.microsoft", 0))
    )
    server.say(path, Said({"value": [text, second, first]}))

    assert await microsoft.directory(TENANT).service_records("contoso.com") == ("a.mx.microsoft", "b.mx.microsoft")
    assert server.asked_for(path)[0].method == "GET"


async def test_a_domain_that_is_not_there_is_refused(server: Scripted, microsoft: MicrosoftClient) -> None:
    """A domain that Exchange accepts mail for and Microsoft Entra does not know is told as such."""
    server.say("/v1.0/domains/x.example/serviceConfigurationRecords", graph_error(404, "Request_ResourceNotFound"))

    with pytest.raises(RefusedError):
        await microsoft.directory(TENANT).service_records("x.example")


async def test_service_plans(server: Scripted, microsoft: MicrosoftClient) -> None:
    """Plans are read with service, id and state alone; an organization without any has none."""
    plan = {
        "assignedDateTime": "2024-01-01T00:00:00Z",
        "capabilityStatus": "Enabled",
        "service": "exchange",
        "servicePlanId": "x",
    }
    server.say("/v1.0/organization", Said({"value": [{"assignedPlans": [plan]}]}), Said({"value": [{"assignedPlans": None}]}))
    directory = microsoft.directory(TENANT)

    assert await directory.service_plans() == ({"service": "exchange", "servicePlanId": "x", "capabilityStatus": "Enabled"},)
    assert server.asked_for("/v1.0/organization")[0].query == {"$select": "assignedPlans"}
    assert await directory.service_plans() == ()


async def test_users_are_counted_by_an_advanced_query(server: Scripted, microsoft: MicrosoftClient) -> None:
    """One user's id is asked for, the count of all, and the header that Microsoft demands for it."""
    server.say("/v1.0/users", Said({"@odata.count": 2500, "value": [{"id": "u1"}]}))

    assert await microsoft.directory(TENANT).user_count() == 2500
    (asked,) = server.asked_for("/v1.0/users")
    assert asked.query == {"$select": "id", "$top": "1", "$count": "true"}
    assert {name.lower(): value for name, value in asked.headers.items()}["consistencylevel"] == "eventual"


@pytest.mark.parametrize(
    "body", [{"value": []}, {"@odata.count": "many", "value": []}, {"@odata.count": None, "value": []}], ids=str
)
async def test_an_answer_without_a_count_is_told(server: Scripted, microsoft: MicrosoftClient, body: dict[str, object]) -> None:
    """A count that is not there, or no number, is never taken for none."""
    server.say("/v1.0/users", Said(body))

    with pytest.raises(GrantlineError):
        await microsoft.directory(TENANT).user_count()


async def test_users_come_page_by_page(server: Scripted, microsoft: MicrosoftClient) -> None:
    """The first page asks for 999 users with their addresses; the next one is Microsoft's link, untouched."""
    more = f"{server.url}/v1.0/users?$select=id&$skiptoken=m~AQ"
    server.say("/v1.0/users", Said({"value": [USER], "@odata.nextLink": more}), Said({"value": [{"id": "u2", "mail": None}]}))
    directory = microsoft.directory(TENANT)

    first = await directory.users()
    second = await directory.users(first.next_link)

    assert first.items == (
        User("u1", "Adele@contoso.com", "Adele", "Adele@contoso.com", ("adele@contoso.com", "av@contoso.com"), True, "Member"),
    )
    assert first.next_link == more
    assert second.items == (User("u2", "", "", "", (), False, ""),)
    assert second.next_link == ""
    one, two = server.asked_for("/v1.0/users")
    assert one.query == {
        "$select": "id,userPrincipalName,displayName,mail,proxyAddresses,accountEnabled,userType",
        "$top": "999",
    }
    assert two.query == {"$select": "id", "$skiptoken": "m~AQ"}
    assert len(server.asked_for(token_path())) == 1
    assert "scope=https%3A%2F%2Fgraph.microsoft.com%2F.default" in server.asked_for(token_path())[0].text
    assert "cp1" not in server.asked_for(token_path())[0].text.lower()


async def test_groups(server: Scripted, microsoft: MicrosoftClient) -> None:
    """Groups come with the kinds that Microsoft names."""
    row = {"id": "g1", "displayName": "Sales", "mail": "sales@contoso.com", "groupTypes": ["Unified"], "mailEnabled": True}
    server.say("/v1.0/groups", Said({"value": [row]}))

    page = await microsoft.directory(TENANT).groups()

    assert page.items == (Group("g1", "Sales", "sales@contoso.com", ("Unified", "mailEnabled")),)
    assert page.next_link == ""


async def test_next_link_elsewhere_gets_nothing(server: Scripted, microsoft: MicrosoftClient) -> None:
    """A page on a host that is not configured is not asked for."""
    with pytest.raises(RefusedError) as raised:
        await microsoft.directory(TENANT).users("https://evil.example.com/v1.0/users?$skiptoken=x")

    assert raised.value.problem.code == "unexpected_host"


REFUSALS = {
    "no permission": (graph_error(403, "Authorization_RequestDenied"), "graph_refused"),
    "page expired": (graph_error(400, "Directory_ExpiredPageToken"), "page_expired"),
    "gone": (graph_error(410, "resyncRequired"), "page_expired"),
    "bad request": (graph_error(400, "Request_BadRequest"), "graph_refused"),
}


@pytest.mark.parametrize(("said", "code"), REFUSALS.values(), ids=REFUSALS.keys())
async def test_directory_refusals(server: Scripted, microsoft: MicrosoftClient, said: Said, code: str) -> None:
    """A refusal becomes a problem with Microsoft's text and request id."""
    server.say("/v1.0/users", said)

    with pytest.raises(RefusedError) as raised:
        await microsoft.directory(TENANT).users()

    assert raised.value.problem.code == code
    assert raised.value.problem.raw.endswith(": Text of Microsoft.")
    assert raised.value.problem.correlation_id == "55555555-5555-4555-8555-555555555555"


TRANSIENT = {
    "throttled": (graph_error(429, "TooManyRequests", **{"Retry-After": "13"}), timedelta(seconds=13)),
    "unavailable": (graph_error(503, "serviceNotAvailable", **{"Retry-After": "200"}), timedelta(seconds=200)),
    "gateway": (Said(b"<html>", 504), None),
    "not JSON": (Said(b"<html>", 200), None),
}


@pytest.mark.parametrize(("said", "wish"), TRANSIENT.values(), ids=TRANSIENT.keys())
async def test_busy(server: Scripted, microsoft: MicrosoftClient, said: Said, wish: timedelta | None) -> None:
    """The SDK's own retries are off: one request, and the wish is kept for the engine."""
    server.say("/v1.0/users", said)

    with pytest.raises(TransientError) as raised:
        await microsoft.directory(TENANT).users()

    assert raised.value.retry_after == wish
    assert len(server.asked_for("/v1.0/users")) == 1


async def test_fresh_application_is_not_known_yet(server: Scripted, microsoft: MicrosoftClient) -> None:
    """Graph may not have heard of a service principal that was made a moment ago."""
    server.say("/v1.0/organization", graph_error(401, "Authorization_IdentityNotFound"))

    with pytest.raises(NotYetError):
        await microsoft.directory(TENANT).organization()


def test_addresses() -> None:
    """SMTP addresses alone, each once, the primary one first, case-folded; the mail address where there is none."""
    assert smtp_addresses(["smtp:B@x.com", "X500:/o=x", "SMTP:A@x.com", "smtp:a@X.com"], "") == ("a@x.com", "b@x.com")
    assert smtp_addresses(["sip:a@x.com"], "M@x.com") == ("m@x.com",)
    assert smtp_addresses([], "") == ()


def test_security_group_has_no_mail() -> None:
    """A security group without an address is read as such."""
    row: dict[str, Any] = {
        "id": "g",
        "displayName": "Ops",
        "mail": None,
        "groupTypes": [],
        "mailEnabled": False,
        "securityEnabled": True,
    }

    assert read_group(row) == Group("g", "Ops", "", ("securityEnabled",))


RETRY_AFTER = [
    ({"Retry-After": "17"}, timedelta(seconds=17)),
    ({"Retry-After": "Wed, 21 Oct 2026 07:28:30 GMT", "Date": "Wed, 21 Oct 2026 07:28:00 GMT"}, timedelta(seconds=30)),
    ({"Retry-After": "Wed, 21 Oct 2026 07:00:00 GMT", "Date": "Wed, 21 Oct 2026 07:28:00 GMT"}, timedelta()),
    ({"Retry-After": "soon"}, None),
    ({}, None),
]


@pytest.mark.parametrize(("headers", "wish"), RETRY_AFTER)
def test_retry_after(headers: dict[str, str], wish: timedelta | None) -> None:
    """Seconds, or a date that counts from the answer's own (RFC 9110 10.2.3); anything else is no wish."""
    assert errors.retry_after(headers) == wish
