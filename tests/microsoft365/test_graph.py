"""Graph's directory, applications and roles over HTTP: what Microsoft documents, and nothing without permission."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from local.microsoft365.catalogue import EXCHANGE
from local.microsoft365.changes import change_members, remove_group
from local.microsoft365.clock import timestamp
from local.microsoft365.model import Role
from tests.microsoft365.served import NOW, Served, all_pages, serve

READ_USERS = "User.Read.All"
ROLE_ASSIGNMENTS = "/v1.0/roleManagement/directory/roleAssignments"
PRIVILEGED = (Role.PRIVILEGED_ROLE_ADMINISTRATOR.value,)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """A tenant with 250 users; afterwards nothing may have broken Microsoft's description."""
    async with serve() as running:
        yield running
        assert running.contract.report()["violations"] == []


async def test_users_come_in_pages_of_a_hundred(served: Served) -> None:
    """Each user once, in three pages, whatever the token of the next page looks like."""
    pages = await all_pages(served, "/v1.0/users", READ_USERS)

    assert [len(page["value"]) for page in pages] == [100, 100, 50]
    assert len({user["id"] for page in pages for user in page["value"]}) == 250


async def test_a_user_has_the_documented_default_properties(served: Served) -> None:
    """Eleven of them; all else has to be selected."""
    answer = await served.graph("/v1.0/users?$top=1", READ_USERS)

    user = answer.body["value"][0]
    assert list(user) == [
        "businessPhones",
        "displayName",
        "givenName",
        "jobTitle",
        "mail",
        "mobilePhone",
        "officeLocation",
        "preferredLanguage",
        "surname",
        "userPrincipalName",
        "id",
    ]
    assert answer.body["@odata.context"].endswith("/v1.0/$metadata#users")


async def test_only_selected_properties_are_returned(served: Served) -> None:
    """In any letter case; the context names them, and the next link keeps them."""
    pages = await all_pages(served, "/v1.0/users?$select=id,proxyaddresses,accountEnabled&$top=150", READ_USERS)

    assert {tuple(user) for page in pages for user in page["value"]} == {("id", "proxyAddresses", "accountEnabled")}
    assert pages[0]["@odata.context"].endswith("#users(id,proxyaddresses,accountEnabled)")
    assert [len(page["value"]) for page in pages] == [150, 100]


async def test_the_directory_has_all_kinds_of_users(served: Served) -> None:
    """Shared mailboxes have disabled accounts, guests are marked, some have more addresses than one."""
    pages = await all_pages(served, "/v1.0/users?$select=userType,accountEnabled,proxyAddresses,mail&$top=999", READ_USERS)

    users = [user for page in pages for user in page["value"]]
    assert {user["userType"] for user in users} == {"Member", "Guest"}
    assert {user["accountEnabled"] for user in users} == {True, False}
    assert max(len(user["proxyAddresses"]) for user in users) >= 2


@pytest.mark.parametrize("query", ["$top=0", "$top=1000", "$top=x", "$nonsense=1", "$filter=mail", "$filter=mail eq 'a' )"])
async def test_a_query_that_graph_cannot_read_is_a_bad_request(served: Served, query: str) -> None:
    """`$top` is 1 to 999, options are known, filters are well formed."""
    answer = await served.graph(f"/v1.0/users?{query}", READ_USERS)

    assert (answer.status, answer.body["error"]["code"]) == (400, "BadRequest")


@pytest.mark.parametrize("query", ["$orderby=displayName", '$search="displayName:a"', "$filter=mail ge 'a'"])
async def test_a_query_that_is_not_supported_says_so(served: Served, query: str) -> None:
    """What the simulation doesn't have is refused like a query that Graph doesn't support."""
    answer = await served.graph(f"/v1.0/users?{query}", READ_USERS)

    assert (answer.status, answer.body["error"]["code"]) == (400, "Request_UnsupportedQuery")


@pytest.mark.parametrize("option", ["$select=nonsense", "$filter=nonsense eq 'x'"])
async def test_an_unknown_property_is_named(served: Served, option: str) -> None:
    """In a selection and in a filter."""
    answer = await served.graph(f"/v1.0/users?{option}", READ_USERS)

    assert answer.status == 400
    assert "Could not find a property named 'nonsense' on type 'microsoft.graph.user'" in answer.body["error"]["message"]


async def test_a_filter_finds_users_by_their_properties(served: Served) -> None:
    """Equality ignores case; and, or, startsWith and parentheses work."""
    one = await served.graph("/v1.0/users?$filter=mail eq 'ADMIN@contoso.com'", READ_USERS)
    guests = await all_pages(served, "/v1.0/users?$filter=userType eq 'Guest' and accountEnabled eq true", READ_USERS)
    query = "$filter=(startsWith(displayName,'Room') or startsWith(displayName,'Partner')) and usageLocation eq null"
    partners = await all_pages(served, f"/v1.0/users?{query}", READ_USERS)

    assert [user["userPrincipalName"] for user in one.body["value"]] == ["admin@contoso.com"]
    assert [user["displayName"] for user in guests[0]["value"]] == [f"Partner {n}" for n in (7, 57, 107, 157, 207)]
    assert partners[0]["value"] == guests[0]["value"]


async def test_a_filter_by_names_finds_them_in_a_large_tenant() -> None:
    """Fifteen alternatives, each looked up by itself; more only in an advanced query."""
    names = [f"room{29 + 50 * number}@contoso.com" for number in range(16)]
    filters = [" or ".join(f"mail eq '{name}'" for name in names[:count]) for count in (15, 16)]
    eventual = {"ConsistencyLevel": "eventual"}
    async with serve(users=500_000) as large:
        started = time.process_time()
        path = "/v1.0/users?$count=true&$select=mail&$filter="
        fifteen = await large.graph(path + filters[0], READ_USERS)
        sixteen = await large.graph(path + filters[1], READ_USERS)
        advanced = await large.graph(path + filters[1], READ_USERS, headers=eventual)
        mixed = await large.graph(path + "(id eq 'x' or mail eq 'room29@contoso.com') and userType eq 'Member'", READ_USERS)

        assert time.process_time() - started < 1

    assert {user["mail"] for user in fifteen.body["value"]} == set(names[:15])
    assert (sixteen.status, sixteen.body["error"]["code"]) == (400, "Request_UnsupportedQuery")
    assert sixteen.body["error"]["message"].endswith("'OR' operators: 16. Max allowed: 15.")
    assert len(advanced.body["value"]) == 16
    assert [user["mail"] for user in mixed.body["value"]] == names[:1]


async def test_the_count_needs_eventual_consistency(served: Served) -> None:
    """It stands on the first page only; without the header it isn't there."""
    eventual = {"ConsistencyLevel": "eventual"}

    counted = await served.graph("/v1.0/users?$count=true&$top=200", READ_USERS, headers=eventual)
    link = counted.body["@odata.nextLink"].removeprefix(served.simulation.url)
    second = await served.graph(link, READ_USERS, headers=eventual)
    without = await served.graph("/v1.0/users?$count=true", READ_USERS)

    assert counted.body["@odata.count"] == 250
    assert "@odata.count" not in second.body
    assert "@odata.count" not in without.body


@pytest.mark.parametrize("token", ["nonsense", "eyJ4IjoxfQ", "%F0%9F"])
async def test_a_page_token_that_is_not_ours_has_expired(served: Served, token: str) -> None:
    """Also one of another collection."""
    answer = await served.graph(f"/v1.0/users?$skiptoken={token}", READ_USERS)

    assert (answer.status, answer.body["error"]["code"]) == (400, "Directory_ExpiredPageToken")


async def test_a_page_token_belongs_to_its_collection(served: Served) -> None:
    """The token of the users opens no page of the groups."""
    users = await served.graph("/v1.0/users?$top=5", READ_USERS)
    token = users.body["@odata.nextLink"].partition("$skiptoken=")[2]

    answer = await served.graph(f"/v1.0/groups?$skiptoken={token}", "Group.Read.All")

    assert answer.status == 400


async def test_a_removed_user_shifts_no_page(served: Served) -> None:
    """Who is removed between two pages hides nobody else."""
    first = await served.graph("/v1.0/users?$top=100", READ_USERS)
    served.tenant.users.remove(first.body["value"][3]["id"])

    second = await served.graph(first.body["@odata.nextLink"].removeprefix(served.simulation.url), READ_USERS)

    assert second.body["value"][0]["id"] == next(user for at, user in served.tenant.users.scan(100) if at == 100).id


async def test_one_user_is_found_by_id_and_by_name(served: Served) -> None:
    """The user principal name may hold a `#`; an alias is no key."""
    guest = served.tenant.users.find("partner7@partner.example")
    assert guest is not None
    name = guest.user_principal_name.replace("#", "%23")

    by_id = await served.graph(f"/v1.0/users/{guest.id}?$select=id,displayName", READ_USERS)
    by_name = await served.graph(f"/v1.0/users/{name}", READ_USERS)
    by_alias = await served.graph("/v1.0/users/partner7@partner.example", READ_USERS)

    assert by_id.body["displayName"] == by_name.body["displayName"] == "Partner 7"
    assert by_id.body["@odata.context"].endswith("#users(id,displayName)/$entity")
    assert (by_alias.status, by_alias.body["error"]["code"]) == (404, "Request_ResourceNotFound")


async def test_a_token_of_one_tenant_shows_that_tenant_only(served: Served) -> None:
    """The same address, another token, other users."""
    token = served.token(roles=[READ_USERS], tenant=served.other)

    answer = await served.graph("/v1.0/users?$select=userPrincipalName", token=token)

    assert {user["userPrincipalName"].rpartition("@")[2] for user in answer.body["value"]} == {"fabrikam.onmicrosoft.com"}


async def test_without_a_permission_everything_is_denied(served: Served) -> None:
    """403 by default, with the documented words, ids and headers."""
    answer = await served.graph("/v1.0/users", "Domain.Read.All", headers={"client-request-id": "c-1"})

    error = answer.body["error"]
    assert (answer.status, error["code"]) == (403, "Authorization_RequestDenied")
    assert error["message"] == "Insufficient privileges to complete the operation."
    assert error["innerError"] == {
        "date": "2026-08-20T10:00:00",
        "request-id": answer.headers["request-id"],
        "client-request-id": "c-1",
    }
    assert "ServerInfo" in answer.headers["x-ms-ags-diagnostic"]
    assert answer.headers["client-request-id"] == "c-1"


async def test_basic_permission_shows_basic_properties(served: Served) -> None:
    """User.ReadBasic.All hides addresses and the account's state, and filters by no hidden property."""
    shown = await served.graph("/v1.0/users?$select=id,mail,proxyAddresses,accountEnabled&$top=1", "User.ReadBasic.All")
    filtered = await served.graph("/v1.0/users?$filter=accountEnabled eq true", "User.ReadBasic.All")
    more = await served.graph("/v1.0/users?$select=proxyAddresses&$top=1", "User.ReadBasic.All", READ_USERS)

    assert list(shown.body["value"][0]) == ["id", "mail"]
    assert filtered.status == 403
    assert list(more.body["value"][0]) == ["proxyAddresses"]


async def test_a_token_must_be_ours_valid_and_for_graph(served: Served) -> None:
    """Each failure is 401 InvalidAuthenticationToken with its own words and a challenge."""
    expired = served.token(roles=[READ_USERS])
    served.advance(7200)
    valid = served.token(roles=[READ_USERS])
    tokens = {
        "": "Access token is empty.",
        "x": "IDX14100",
        expired: "expired",
        served.token(roles=[READ_USERS], audience=EXCHANGE): "audience",
        valid[:-8] + "AAAAAAAA": "signature",
    }
    for token, words in tokens.items():
        answer = await served.graph("/v1.0/users", headers={"Authorization": f"Bearer {token}"})
        assert (answer.status, answer.body["error"]["code"]) == (401, "InvalidAuthenticationToken")
        assert words in answer.body["error"]["message"]
        assert "authorization_uri" in answer.headers["WWW-Authenticate"]


@pytest.mark.parametrize(
    "path", ["/servicePrincipals/delta", "/users/x/delta()", "/nonsense", "/users/x/nonsense", "/domains/x/y"]
)
async def test_an_unknown_segment_is_a_bad_request(served: Served, path: str) -> None:
    """What Graph doesn't have, and what is not simulated."""
    answer = await served.graph(f"/v1.0{path}", READ_USERS)

    assert (answer.status, answer.body["error"]["code"]) == (400, "BadRequest")
    assert answer.body["error"]["message"] == f"Resource not found for the segment '{path.rpartition('/')[2]}'."


async def test_a_method_that_a_path_does_not_have_is_405(served: Served) -> None:
    """A user can't be deleted here."""
    answer = await served.graph("/v1.0/users/x", "User.ReadWrite.All", method="DELETE")

    assert answer.status == 405


async def test_the_organization_lists_its_verified_domains(served: Served) -> None:
    """One organization, with its plans; the unverified domain is not among them."""
    answer = await served.graph("/v1.0/organization", "Organization.Read.All")

    organization = answer.body["value"][0]
    assert (organization["id"], organization["displayName"]) == (served.tenant.id, "Contoso")
    assert [(each["name"], each["isInitial"], each["isDefault"]) for each in organization["verifiedDomains"]] == [
        ("contoso.onmicrosoft.com", True, False),
        ("contoso.com", False, True),
    ]
    assert "exchange" in {plan["service"] for plan in organization["assignedPlans"]}


async def test_reading_users_does_not_read_the_organization(served: Served) -> None:
    """The page of organization-list doesn't name User.Read.All, and overrules the data (departure)."""
    assert (await served.graph("/v1.0/organization", READ_USERS)).status == 403


async def test_a_person_with_user_read_sees_little_of_the_organization(served: Served) -> None:
    """Id, name and verified domains."""
    token = served.token(scopes=["User.Read"])

    answer = await served.graph(f"/v1.0/organization/{served.tenant.id}", token=token)

    assert set(answer.body) == {"@odata.context", "id", "displayName", "verifiedDomains"}


async def test_domains_tell_whether_they_are_verified_and_take_mail(served: Served) -> None:
    """Unverified ones are listed as well; the MX record that they need is a record of its own."""
    domains = await served.graph("/v1.0/domains", "Domain.Read.All")
    records = await served.graph("/v1.0/domains/contoso.com/serviceConfigurationRecords", "Domain.Read.All")
    missing = await served.graph("/v1.0/domains/nowhere.example", "Domain.Read.All")

    assert {each["id"]: each["isVerified"] for each in domains.body["value"]} == {
        "contoso.onmicrosoft.com": True,
        "contoso.com": True,
        "contoso-retail.com": False,
    }
    assert [each["mailExchange"] for each in records.body["value"][:1]] == ["contoso-com.mail.protection.outlook.com"]
    assert missing.status == 404


async def test_service_records_are_what_a_domain_has_to_publish(served: Served) -> None:
    """Each of a type of its own; a page may be cut; a selection keeps the type; a domain without mail has none."""
    path = "/v1.0/domains/{}/serviceConfigurationRecords"
    whole = await served.graph(path.format("contoso.com"), "Domain.Read.All")
    served.simulation.settings = served.simulation.settings.changed({"page_size": 2})
    pages = await all_pages(served, path.format("contoso.com"), "Domain.Read.All")
    chosen = await served.graph(path.format("contoso.com") + "?$select=label", "Domain.Read.All")
    unverified = await served.graph(path.format("contoso-retail.com"), "Domain.Read.All")
    refused = await served.graph(path.format("contoso.com"), "User.Read.All")

    records = {each["@odata.type"]: each for each in whole.body["value"]}
    assert list(records) == [f"#microsoft.graph.domainDns{kind}Record" for kind in ("Mx", "Txt", "Cname")]
    mail, text, alias = records.values()
    assert (mail["recordType"], mail["preference"], mail["ttl"], mail["label"]) == ("Mx", 0, 3600, "contoso.com")
    assert text["text"] == "v=spf1 include:spf.protection.outlook.com -all"
    assert (alias["label"], alias["canonicalName"]) == ("autodiscover.contoso.com", "autodiscover.outlook.com")
    assert [len(each["value"]) for each in pages] == [2, 1]
    assert all(set(each) == {"@odata.type", "label"} for each in chosen.body["value"])
    assert (unverified.body["value"], refused.status) == ([], 403)


async def test_groups_and_their_members(served: Served) -> None:
    """Members have their type; nested ones are found transitively, each once, and users alone by the cast."""
    groups = await served.graph("/v1.0/groups?$filter=displayName eq 'All Staff'", "Group.Read.All")
    path = f"/v1.0/groups/{groups.body['value'][0]['id']}"
    roles = ("Group.Read.All", READ_USERS)

    direct = [item for page in await all_pages(served, f"{path}/members", *roles) for item in page["value"]]
    nested = [item for page in await all_pages(served, f"{path}/transitiveMembers?$top=999", *roles) for item in page["value"]]
    users = await all_pages(served, f"{path}/members/microsoft.graph.user?$select=id&$top=999", *roles)
    alias = await all_pages(served, f"{path}/transitiveMembers/graph.user?$select=id&$top=999", *roles)

    assert len(direct) == 201
    assert [item["displayName"] for item in direct if item["@odata.type"] == "#microsoft.graph.group"] == ["Sales"]
    assert len(nested) == len({item["id"] for item in nested}) == 201
    assert len(users[0]["value"]) == 200
    assert sorted(user["id"] for user in alias[0]["value"]) == sorted(user["id"] for user in users[0]["value"])


@pytest.mark.parametrize("relation", ["members", "transitiveMembers"])
async def test_who_leaves_between_two_pages_hides_nobody(served: Served, relation: str) -> None:
    """Pages of members, and of groups, go on behind the last one that was told."""
    staff = next(each for each in served.tenant.groups.values() if each.display_name == "All Staff")
    roles = ("Group.Read.All", READ_USERS)
    seen: set[str] = set()
    address = f"/v1.0/groups/{staff.id}/{relation}?$top=20&$select=id"
    while address:
        answer = await served.graph(address.removeprefix(served.simulation.url), *roles)
        seen |= {member["id"] for member in answer.body["value"]}
        group = served.tenant.groups[staff.id]
        change_members(served.tenant, group, NOW, remove=[each for each in group.member_ids if each in seen][:5])
        address = answer.body.get("@odata.nextLink", "")
    first = await served.graph("/v1.0/groups?$top=2", *roles)
    remove_group(served.tenant, first.body["value"][0]["id"], NOW)
    rest = await all_pages(served, first.body["@odata.nextLink"].removeprefix(served.simulation.url), *roles)

    assert seen >= set(staff.member_ids)
    assert len({group["id"] for page in (first.body, *rest) for group in page["value"]}) == 5


async def test_groups_that_contain_each_other_are_walked_once(served: Served) -> None:
    """The group itself is no member of its own, and a member on two ways is listed once."""
    groups = {each.display_name: each for each in served.tenant.groups.values()}
    staff, sales, vpn = groups["All Staff"], groups["Sales"], groups["VPN Users"]
    served.tenant.groups[sales.id] = replace(sales, member_ids=(*sales.member_ids, staff.id, vpn.id))
    served.tenant.groups[vpn.id] = replace(vpn, member_ids=(*vpn.member_ids, sales.id))

    pages = await all_pages(served, f"/v1.0/groups/{staff.id}/transitiveMembers?$top=999", "Group.Read.All", READ_USERS)

    names = [item["displayName"] for item in pages[0]["value"] if item["@odata.type"] == "#microsoft.graph.group"]
    ids = [item["id"] for item in pages[0]["value"]]
    assert sorted(names) == ["Sales", "VPN Users"]
    assert len(ids) == len(set(ids))
    assert staff.id not in ids


async def test_members_are_bare_where_their_type_may_not_be_read(served: Served) -> None:
    """Type and id only, as Microsoft documents for inaccessible members."""
    groups = await served.graph("/v1.0/groups?$filter=displayName eq 'Sales'", "GroupMember.Read.All")
    path = f"/v1.0/groups/{groups.body['value'][0]['id']}/members"

    answer = await served.graph(f"{path}?$select=id,displayName", "GroupMember.Read.All")

    assert {tuple(item) for item in answer.body["value"]} == {("@odata.type", "id")}


async def test_a_hidden_membership_needs_its_own_permission(served: Served) -> None:
    """Group.Read.All shows the group; Member.Read.Hidden shows who is in it."""
    group = next(each for each in served.tenant.groups.values() if each.display_name == "Sales")
    served.tenant.groups[group.id] = replace(group, visibility="HiddenMembership")
    path = f"/v1.0/groups/{group.id}/members"

    assert (await served.graph(path, "Group.Read.All")).status == 403
    assert (await served.graph(path, "Group.Read.All", "Member.Read.Hidden")).status == 200
    assert (await served.graph(f"/v1.0/groups/{group.id}", "Group.Read.All")).body["visibility"] == "HiddenMembership"


@pytest.mark.parametrize(
    ("path", "units"),
    [
        ("/users", "2"),
        ("/users?$select=id", "1"),
        ("/users?$top=5&$select=id", "1"),
        ("/organization", "1"),
        ("/subscribedSkus", "3"),
        ("/subscribedSkus?$select=skuId", "2"),
    ],
)
async def test_an_answer_tells_what_it_cost(served: Served, path: str, units: str) -> None:
    """Resource units as the throttling page has them, also when the answer is a refusal."""
    answer = await served.graph(f"/v1.0{path}", "Directory.Read.All")

    assert answer.headers["x-ms-resource-unit"] == units


async def test_a_group_made_in_exchange_is_in_the_directory(served: Served) -> None:
    """One group, two views."""
    made = await served.invoke("New-DistributionGroup", {"Name": "Scope", "Members": ["admin@contoso.com"]})
    group = made.body["value"][0]["ExternalDirectoryObjectId"]

    answer = await served.graph(f"/v1.0/groups/{group}", "Group.Read.All")
    members = await served.graph(f"/v1.0/groups/{group}/members", "Group.Read.All", READ_USERS)

    assert (answer.body["mail"], answer.body["mailEnabled"], answer.body["groupTypes"]) == ("Scope@contoso.com", True, [])
    assert answer.body["createdDateTime"] == timestamp(NOW)
    assert [item["userPrincipalName"] for item in members.body["value"]] == ["admin@contoso.com"]


async def test_a_page_of_999_users_is_quick() -> None:
    """Built, written and checked whole against Microsoft's description: well under a tenth of a second of work.

    The bound is loose, so that a busy machine doesn't fail; a slow way (a model for each user) takes seconds.
    """
    async with serve(users=1500) as served:
        path = "/v1.0/users?$top=999&$select=id,displayName,mail,userPrincipalName,proxyAddresses,accountEnabled,userType"
        await served.graph(path, READ_USERS)
        began = time.process_time()
        answer = await served.graph(path, READ_USERS)
        took = time.process_time() - began

    assert len(answer.body["value"]) == 999
    assert took < 0.25
