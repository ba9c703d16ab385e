"""Microsoft Graph through the SDK's builders: what is asked, what is read, and what each refusal means."""

import asyncio
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from shared.domain.directory import DirectoryChange, Member
from shared.domain.problems import GrantlineError
from shared.microsoft import errors
from shared.microsoft.client import MicrosoftClient
from shared.microsoft.graph import smtp_addresses
from shared.ports import Domain, NotYetError, Organization, Page, RefusedError, TransientError
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
USER_VALUES = {
    "user_principal_name": "Adele@contoso.com",
    "display_name": "Adele",
    "mail": "Adele@contoso.com",
    "smtp_addresses": ("adele@contoso.com", "av@contoso.com"),
    "enabled": True,
    "user_type": "Member",
}
SELECTED_USER = "id,userPrincipalName,displayName,mail,proxyAddresses,accountEnabled,userType"
GROUP_ID = "77777777-7777-4777-8777-777777777777"


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

    assert first == Page((DirectoryChange("u1", USER_VALUES, is_whole=True),), more)
    assert second == Page((DirectoryChange("u2", {"mail": ""}, is_whole=True),))
    one, two = server.asked_for("/v1.0/users")
    assert one.query == {"$select": SELECTED_USER, "$top": "999"}
    assert two.query == {"$select": "id", "$skiptoken": "m~AQ"}
    assert {each.headers["x-ms-throttle-priority"] for each in (one, two)} == {"Low"}
    assert len(server.asked_for(token_path())) == 1
    assert "scope=https%3A%2F%2Fgraph.microsoft.com%2F.default" in server.asked_for(token_path())[0].text
    assert "cp1" not in server.asked_for(token_path())[0].text.lower()


async def test_reads_side_by_side_share_one_token(server: Scripted, microsoft: MicrosoftClient) -> None:
    """Whatever is asked for first, at once: the tenant's credential is opened once, and asks for one token."""
    server.say("/v1.0/organization", Said({"value": [{"id": TENANT, "displayName": "Contoso"}]}))
    server.say("/v1.0/users", Said({"value": []}))
    server.say("/v1.0/domains", Said({"value": []}))
    directory = microsoft.directory(TENANT)

    await asyncio.gather(directory.organization(), directory.users(), directory.domains())

    assert len(server.asked_for(token_path())) == 1


async def test_changes_of_users(server: Scripted, microsoft: MicrosoftClient) -> None:
    """A round asks for the same properties; an item tells only what stands in it, and null as none; the end has a delta link."""
    more, later = f"{server.url}/v1.0/users/delta?$skiptoken=s", f"{server.url}/v1.0/users/delta?$deltatoken=d"
    partial = {"id": "u2", "mail": None, "proxyAddresses": None, "accountEnabled": None}
    gone = [{"id": f"u{number}", "@removed": {"reason": reason}} for number, reason in ((3, "changed"), (4, "deleted"))]
    server.say("/v1.0/users/delta()", Said({"value": [USER, partial], "@odata.nextLink": more}))
    server.say("/v1.0/users/delta", Said({"value": gone, "@odata.deltaLink": later}))
    directory = microsoft.directory(TENANT)

    first = await directory.user_changes()
    last = await directory.user_changes(first.next_link)

    told = DirectoryChange("u2", {"mail": "", "smtp_addresses": (), "enabled": False})
    assert first == Page((DirectoryChange("u1", USER_VALUES), told), more)
    assert last == Page((DirectoryChange("u3", is_removed=True), DirectoryChange("u4", is_removed=True)), "", later)
    (asked,) = server.asked_for("/v1.0/users/delta()")
    assert asked.query == {"$select": SELECTED_USER}
    assert server.asked_for("/v1.0/users/delta")[0].query == {"$skiptoken": "s"}


async def test_changes_of_groups(server: Scripted, microsoft: MicrosoftClient) -> None:
    """Groups come with their direct members, of whatever kind, and those who left."""
    members = [
        {"@odata.type": "#microsoft.graph.user", "id": "u1"},
        {"@odata.type": "#microsoft.graph.group", "id": "g2", "@removed": {"reason": "deleted"}},
        {"id": "x1"},
    ]
    row = {"id": "g1", "displayName": "Sales", "mail": None, "groupTypes": ["Unified"], "mailEnabled": True}
    more = {"securityEnabled": False, "visibility": "HiddenMembership", "members@delta": members}
    rows = [{**row, **more}, {"id": "g1", "members@delta": members[:1]}, {"id": "g3", "@removed": {"reason": "deleted"}}]
    server.say("/v1.0/groups/delta()", Said({"value": rows, "@odata.deltaLink": "d"}))

    page = await microsoft.directory(TENANT).group_changes()

    values = {"display_name": "Sales", "mail": "", "group_types": ("Unified",), "mail_enabled": True, "security_enabled": False}
    told = (Member("u1", "user"), Member("g2", "group", is_removed=True), Member("x1", "directoryObject"))
    assert page.items == (
        DirectoryChange("g1", {**values, "visibility": "HiddenMembership"}, members=told),
        DirectoryChange("g1", members=told[:1]),
        DirectoryChange("g3", is_removed=True),
    )
    (asked,) = server.asked_for("/v1.0/groups/delta()")
    assert asked.query == {"$select": "id,displayName,mail,groupTypes,mailEnabled,securityEnabled,visibility,members"}


@pytest.mark.parametrize(
    "body", [{"value": []}, {"@odata.deltaLink": "d"}, {"value": [{"mail": "x"}], "@odata.deltaLink": "d"}], ids=str
)
async def test_a_round_that_leads_nowhere_can_not_be_read(
    server: Scripted, microsoft: MicrosoftClient, body: dict[str, object]
) -> None:
    """A page of changes without any link, without rows, or with a row of nobody, is none: the sync must not go on from it."""
    server.say("/v1.0/users/delta()", Said(body))

    with pytest.raises(TransientError, match="can't be read"):
        await microsoft.directory(TENANT).user_changes()


async def test_the_link_of_changes_from_now_on(server: Scripted, microsoft: MicrosoftClient) -> None:
    """It is asked for with the properties of the round to come; an answer without it is a refusal."""
    later = f"{server.url}/v1.0/users/delta?$deltatoken=d"
    server.say("/v1.0/users/delta()", Said({"value": [], "@odata.deltaLink": later}), Said({"value": [], "@odata.nextLink": "n"}))
    directory = microsoft.directory(TENANT)

    assert await directory.latest_users() == later
    assert server.asked_for("/v1.0/users/delta()")[0].query == {"$select": SELECTED_USER, "$deltatoken": "latest"}
    with pytest.raises(RefusedError) as raised:
        await directory.latest_users()
    assert raised.value.problem.code == "graph_refused"


def in_batch(*answers: tuple[int, dict[str, object]], **headers: str) -> Said:
    """Return the answer to a batch: statuses and bodies of its requests, the last one first."""
    told = [
        {"id": str(place), "status": status, "headers": headers, "body": body} for place, (status, body) in enumerate(answers)
    ]
    return Said({"responses": told[::-1]})


UNKNOWN: tuple[int, dict[str, object]] = (404, {"error": {"code": "Request_ResourceNotFound", "message": "..."}})


async def test_users_are_read_whole_by_twenties(server: Scripted, microsoft: MicrosoftClient) -> None:
    """Each batch takes 20 ids; answers come in any order; a user that is not there is told as removed."""
    ids = [f"u{number}" for number in range(21)]
    known: list[tuple[int, dict[str, object]]] = [(200, {**USER, "id": each}) for each in ids]
    server.say("/v1.0/$batch", in_batch(*known[:19], UNKNOWN), in_batch(known[20]))

    found = await microsoft.directory(TENANT).whole_users(ids)

    whole = [DirectoryChange(each, USER_VALUES, is_whole=True) for each in ids]
    assert found == [*whole[:19], DirectoryChange("u19", is_removed=True), whole[20]]
    first, second = (each.document["requests"] for each in server.asked_for("/v1.0/$batch"))
    assert (len(first), len(second)) == (20, 1)
    assert first[3] == {"id": "3", "method": "GET", "url": f"/users/u3?$select={SELECTED_USER}"}
    assert await microsoft.directory(TENANT).whole_users([]) == []
    assert len(server.asked_for("/v1.0/$batch")) == 2


async def test_a_busy_request_of_a_batch(server: Scripted, microsoft: MicrosoftClient) -> None:
    """One request may be slowed down while the batch is not: its own wish counts."""
    server.say("/v1.0/$batch", in_batch((200, USER), (429, {"error": {"code": "TooManyRequests"}}), **{"Retry-After": "7"}))

    with pytest.raises(TransientError) as raised:
        await microsoft.directory(TENANT).whole_users(["u1", "u2"])

    assert raised.value.retry_after == timedelta(seconds=7)


async def test_a_refused_request_of_a_batch(server: Scripted, microsoft: MicrosoftClient) -> None:
    """Any other refusal of one request is what it would be alone."""
    denied: dict[str, object] = {"error": {"code": "Authorization_RequestDenied", "message": "No."}}
    server.say("/v1.0/$batch", in_batch((200, USER), (403, denied)))

    with pytest.raises(RefusedError) as raised:
        await microsoft.directory(TENANT).whole_users(["u1", "u2"])

    assert (raised.value.problem.code, raised.value.problem.raw) == ("graph_refused", "Authorization_RequestDenied: No.")


@pytest.mark.parametrize(
    "body", [{}, {"responses": [{"id": "1", "status": 200, "body": USER}]}, {"responses": [{"id": "0", "body": USER}]}], ids=str
)
async def test_an_incomplete_batch_can_not_be_read(server: Scripted, microsoft: MicrosoftClient, body: dict[str, object]) -> None:
    """An answer that lacks one of the requests is never taken for all."""
    server.say("/v1.0/$batch", Said(body))

    with pytest.raises(TransientError):
        await microsoft.directory(TENANT).whole_users(["u1"])


async def test_users_of_a_group_by_its_address(server: Scripted, microsoft: MicrosoftClient) -> None:
    """The group is looked up once; its users, nested ones too, come by an advanced query, on every page."""
    more = f"{server.url}/v1.0/groups/{GROUP_ID}/transitiveMembers/graph.user?$skiptoken=s"
    server.say("/v1.0/groups", Said({"value": [{"id": GROUP_ID, "visibility": None}]}))
    path = f"/v1.0/groups/{GROUP_ID}/transitiveMembers/graph.user"
    server.say(path, Said({"value": [USER], "@odata.nextLink": more}), Said({"value": []}))
    directory = microsoft.directory(TENANT)

    first = await directory.group_users("o'hara@contoso.com")
    assert first == Page((DirectoryChange("u1", USER_VALUES, is_whole=True),), more)
    assert await directory.group_users("o'hara@contoso.com", more) == Page(())

    (group,) = server.asked_for("/v1.0/groups")
    assert group.query == {"$select": "id,visibility", "$filter": "mail eq 'o''hara@contoso.com'"}
    one, two = server.asked_for(path)
    assert one.query == {"$select": SELECTED_USER, "$top": "999", "$count": "true"}
    assert two.query == {"$skiptoken": "s"}
    assert {each.headers["consistencylevel"] for each in (one, two)} == {"eventual"}


async def test_users_of_a_group_by_its_id(server: Scripted, microsoft: MicrosoftClient) -> None:
    """An id is looked up as such: the group must be there, and show its members."""
    server.say(f"/v1.0/groups/{GROUP_ID}", Said({"id": GROUP_ID, "visibility": "Public"}))
    server.say(f"/v1.0/groups/{GROUP_ID}/transitiveMembers/graph.user", Said({"value": [USER]}))

    page = await microsoft.directory(TENANT).group_users(GROUP_ID)

    assert page.items == (DirectoryChange("u1", USER_VALUES, is_whole=True),)
    assert server.asked_for(f"/v1.0/groups/{GROUP_ID}")[0].query == {"$select": "id,visibility"}


@pytest.mark.parametrize("group", ["board@contoso.com", GROUP_ID])
async def test_a_group_that_hides_its_members_is_no_empty_one(server: Scripted, microsoft: MicrosoftClient, group: str) -> None:
    """Its members are not asked for, since nobody knows that they would be told."""
    row = {"id": GROUP_ID, "visibility": "HiddenMembership"}
    server.say("/v1.0/groups", Said({"value": [row]}))
    server.say(f"/v1.0/groups/{GROUP_ID}", Said(row))

    with pytest.raises(RefusedError) as raised:
        await microsoft.directory(TENANT).group_users(group)

    assert raised.value.problem.code == "scope_group_hidden"


async def test_a_group_that_is_deleted_between_two_pages(server: Scripted, microsoft: MicrosoftClient) -> None:
    """Its next page is not there, and neither is the group."""
    path = f"/v1.0/groups/{GROUP_ID}/transitiveMembers/graph.user"
    server.say(path, graph_error(404, "Request_ResourceNotFound"))

    with pytest.raises(RefusedError) as raised:
        await microsoft.directory(TENANT).group_users(GROUP_ID, f"{server.url}{path}?$skiptoken=s")

    assert raised.value.problem.code == "scope_group_unknown"


@pytest.mark.parametrize("group", ["nobody@contoso.com", GROUP_ID])
async def test_a_group_that_is_not_there(server: Scripted, microsoft: MicrosoftClient, group: str) -> None:
    """An address that no group has, and an id that is not one, end with the same problem."""
    server.say("/v1.0/groups", Said({"value": []}))
    server.say(f"/v1.0/groups/{GROUP_ID}", graph_error(404, "Request_ResourceNotFound"))

    with pytest.raises(RefusedError) as raised:
        await microsoft.directory(TENANT).group_users(group)

    assert raised.value.problem.code == "scope_group_unknown"


async def test_chosen_users(server: Scripted, microsoft: MicrosoftClient) -> None:
    """Seven names make one filter, all filters one batch; each user is told once, and names that nobody has are left out."""
    two = {**USER, "id": "u2"}
    server.say("/v1.0/$batch", in_batch((200, {"value": [USER, two]}), (200, {"value": [USER]})))
    names = ["o'hara+1@contoso.com", *(f"n{number}#ext#@contoso.com" for number in range(7)), "n0#ext#@contoso.com"]

    found = await microsoft.directory(TENANT).chosen_users(names)

    assert found == [DirectoryChange(each, USER_VALUES, is_whole=True) for each in ("u1", "u2")]
    (asked,) = server.asked_for("/v1.0/$batch")
    queries = [parse_qs(urlsplit(each["url"]).query) for each in asked.document["requests"]]
    clauses = [query["$filter"][0].split(" or ") for query in queries]
    assert [len(each) for each in clauses] == [14, 2]
    assert clauses[0][:2] == ["mail eq 'o''hara+1@contoso.com'", "userPrincipalName eq 'o''hara+1@contoso.com'"]
    assert clauses[1] == ["mail eq 'n6#ext#@contoso.com'", "userPrincipalName eq 'n6#ext#@contoso.com'"]
    assert (queries[0]["$select"], queries[0]["$top"]) == ([SELECTED_USER], ["999"])
    assert await microsoft.directory(TENANT).chosen_users([]) == []


@pytest.mark.parametrize(
    ("used", "pause"), [("0.79", None), ("0.8", timedelta(seconds=10)), ("1.3", timedelta(seconds=10)), ("much", None)]
)
async def test_a_page_near_the_limit_asks_for_a_pause(
    server: Scripted, microsoft: MicrosoftClient, used: str, pause: timedelta | None
) -> None:
    """Microsoft tells how much of the limit is used up from 0.8 on; the time in which it counts is then waited."""
    server.say("/v1.0/users", Said({"value": []}, headers={"x-ms-throttle-limit-percentage": used}))

    assert (await microsoft.directory(TENANT).users()).pause == pause


async def test_next_link_elsewhere_gets_nothing(server: Scripted, microsoft: MicrosoftClient) -> None:
    """A page on a host that is not configured is not asked for."""
    with pytest.raises(RefusedError) as raised:
        await microsoft.directory(TENANT).users("https://evil.example.com/v1.0/users?$skiptoken=x")

    assert raised.value.problem.code == "unexpected_host"


REFUSALS = {
    "no permission": (graph_error(403, "Authorization_RequestDenied"), "graph_refused"),
    "page expired": (graph_error(400, "Directory_ExpiredPageToken"), "page_expired"),
    "gone": (graph_error(410, "resyncRequired"), "page_expired"),
    "gone without a code of its own": (graph_error(410, "UnknownError"), "page_expired"),
    "forgotten": (graph_error(409, "SyncStateNotFound"), "page_expired"),
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
    """SMTP addresses alone, each once, the primary one first, case-folded."""
    assert smtp_addresses(["smtp:B@x.com", "X500:/o=x", "SMTP:A@x.com", "smtp:a@X.com"]) == ("a@x.com", "b@x.com")
    assert smtp_addresses(["sip:a@x.com"]) == ()
    assert smtp_addresses(None) == ()


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
