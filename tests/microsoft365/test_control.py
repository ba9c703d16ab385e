"""The control interface: what it shows, changes, injects and forgets."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.microsoft365.platform import EXCHANGE_DEFAULT, GRAPH_DEFAULT, Platform, Shown, claims_of, running

RULE = {"Name": "A rule", "SetHeaderName": "X-Test", "SetHeaderValue": "1"}


async def get_users(platform: Platform, **options: Any) -> httpx.Response:
    """List users as the directory application, with a new token."""
    token = (await platform.app_token("directory", GRAPH_DEFAULT)).json()["access_token"]
    return await platform.client.get("/v1.0/users", headers={"Authorization": f"Bearer {token}"}, **options)


async def invoke(platform: Platform, cmdlet: str, **parameters: Any) -> httpx.Response:
    """Run a cmdlet as the mail-flow application, with a new token."""
    token = (await platform.app_token()).json()["access_token"]
    return await platform.client.post(
        f"/adminapi/beta/{platform.tenant.id}/InvokeCommand",
        json={"CmdletInput": {"CmdletName": cmdlet, "Parameters": parameters}},
        headers={"Authorization": f"Bearer {token}", "X-CmdletName": cmdlet},
    )


async def granted_exchange(platform: Platform) -> None:
    """Consent for the mail-flow application and give it the role Exchange Administrator."""
    await platform.grant("mail_flow")
    tenant = platform.tenant
    client = tenant.service_principal_of(platform.application("mail_flow").app_id)
    admin = next(each for each in tenant.role_assignments.values() if each.role_definition_id.startswith("29232cdf"))
    assert client is not None
    change = {"noun": "roleAssignment", "identity": admin.id, "change": {"principalId": client.id}}
    await platform.control("POST", "tamper", json=change)


async def test_state_shows_every_part(platform: Platform) -> None:
    """The state has all objects of the directory and of Exchange, by Graph's and Exchange's names."""
    await platform.grant("directory")
    state = await platform.control("GET", "state")

    assert state["tenant"] == {"id": platform.tenant.id, "displayName": "Contoso", "defaultDomain": "contoso.com"}
    assert len(state["users"]) == 25
    assert len(state["appRoleAssignments"]) == 3
    assert [each["scope"] for each in state["oauth2PermissionGrants"]] == ["User.Read"]
    assert "Test directory" in [each["displayName"] for each in state["servicePrincipals"]]
    assert {"HostedContentFilterPolicy", "TransportConfig", "DistributionGroup"} <= state["exchange"].keys()


async def test_state_of_another_tenant_and_of_some_parts(platform: Platform) -> None:
    """`?tenant=` chooses the tenant, `?include=` the parts; what is unknown is refused with what there is."""
    state = await platform.control("GET", "state?tenant=fabrikam.onmicrosoft.com&include=domains")
    wrong_tenant = await platform.client.get("/_control/state?tenant=nowhere.example")
    wrong_part = await platform.client.get("/_control/state?include=everything")

    assert [each["name"] for each in state["domains"]] == ["fabrikam.onmicrosoft.com"]
    assert state.keys() == {"tenant", "domains"}
    assert (wrong_tenant.status_code, wrong_part.status_code) == (400, 400)
    assert "appRoleAssignments" in wrong_part.json()["error"]


async def test_normalized_states_of_two_runs_are_equal(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Two simulations in which the same was done show the same normalized state, although their times differ."""
    async with running(tmp_path_factory.mktemp("other")) as other:
        other.simulation.clock.advance(86_400)
        states = []
        for each in (platform, other):
            await granted_exchange(each)
            created = await invoke(each, "New-TransportRule", **RULE)
            assert created.status_code == 200, created.text
            states.append(await each.control("GET", "state?normalized=true"))

    assert states[0] == states[1]
    assert "A rule" in str(states[0]["exchange"]["TransportRule"])


async def test_names_that_differ_can_be_replaced(platform: Platform) -> None:
    """`replace=text=label` puts a label in the place of a text that differs by run."""
    state = await platform.control("GET", "state?normalized=true&include=domains&replace=contoso.com=DOMAIN")

    assert "DOMAIN" in [each["name"] for each in state["domains"]]


async def test_requests_are_recorded_without_secrets(platform: Platform) -> None:
    """Each answered request is there with its operation; secrets and tokens are not."""
    await platform.grant("directory")
    await get_users(platform)
    requests = await platform.control("GET", "requests?api=graph")
    everything = await platform.client.get("/_control/requests")

    assert [(each["method"], each["path"], each["operation"], each["status"]) for each in requests] == [
        ("GET", "/v1.0/users", "/users", 200)
    ]
    assert requests[0]["tenant_id"] == platform.tenant.id
    assert requests[0]["app_id"] == platform.application("directory").app_id
    assert platform.application("directory").secrets[0].value not in everything.text
    assert "/_control" not in everything.text


async def test_a_cmdlet_is_the_operation(platform: Platform) -> None:
    """Requests to Exchange are told apart by their cmdlet."""
    await granted_exchange(platform)
    await invoke(platform, "Get-AcceptedDomain")

    (request,) = await platform.control("GET", "requests?operation=Get-AcceptedDomain")
    assert (request["api"], request["status"]) == ("exchange", 200)


async def test_recorded_requests_can_be_forgotten(platform: Platform) -> None:
    """DELETE leaves an empty list."""
    await platform.app_token()
    await platform.control("DELETE", "requests")

    assert await platform.control("GET", "requests") == []


async def test_a_fault_meets_its_requests_and_no_more(platform: Platform) -> None:
    """The documented 429 with its Retry-After comes as often as asked for, then the request is served."""
    await platform.grant("directory")
    fault = {"match": {"path": "^/v1.0/users"}, "times": 2, "status": 429, "headers": {"Retry-After": "7"}}
    await platform.control("POST", "faults", json=fault)
    answers = [await get_users(platform) for _ in range(3)]
    requests = await platform.control("GET", "requests?api=graph")

    assert [each.status_code for each in answers] == [429, 429, 200]
    assert answers[0].headers["retry-after"] == "7"
    assert answers[0].json()["error"]["code"] == "TooManyRequests"
    assert answers[0].json()["error"]["innerError"]["status"] == "429"
    assert [each["fault"] for each in requests] == [True, True, False]


async def test_a_fault_may_meet_one_cmdlet(platform: Platform) -> None:
    """`match.cmdlet` chooses by the cmdlet's name, whatever its case."""
    await granted_exchange(platform)
    await platform.control("POST", "faults", json={"match": {"cmdlet": "get-transportrule"}, "status": 503, "body": {"a": 1}})
    other = await invoke(platform, "Get-AcceptedDomain")
    hit = await invoke(platform, "Get-TransportRule")

    assert (other.status_code, hit.status_code, hit.json()) == (200, 503, {"a": 1})


async def test_a_dropped_connection_gives_no_answer(platform: Platform) -> None:
    """The client sees the connection end; the request was not carried out."""
    await platform.control("POST", "faults", json={"match": {"path": "/token$"}, "drop": True})

    with pytest.raises(httpx.TransportError):
        await platform.app_token()
    assert [each["status"] for each in await platform.control("GET", "requests")] == [0]


async def test_an_answer_may_be_lost_after_its_effect(platform: Platform) -> None:
    """With `after` the change is made and its answer never arrives."""
    await granted_exchange(platform)
    await platform.control("POST", "faults", json={"match": {"cmdlet": "New-TransportRule"}, "drop": True, "after": True})
    with pytest.raises(httpx.TransportError):
        await invoke(platform, "New-TransportRule", **RULE)
    state = await platform.control("GET", "state?include=exchange")

    assert [each["Name"] for each in state["exchange"]["TransportRule"] if each["Name"] == "A rule"] == ["A rule"]


async def test_a_stale_read_shows_the_tenant_as_it_was(platform: Platform) -> None:
    """A read under a stale fault does not show what was written since."""
    await platform.grant("directory")
    users = (await get_users(platform)).json()["value"]
    platform.simulation.clock.advance(60)
    await platform.control("POST", "tamper", json={"noun": "user", "identity": users[-1]["id"], "remove": True})
    await platform.control("POST", "faults", json={"match": {"path": "^/v1.0/users"}, "stale": 30})
    stale, fresh = await get_users(platform), await get_users(platform)

    assert len(stale.json()["value"]) == len(users)
    assert len(fresh.json()["value"]) == len(users) - 1


async def test_faults_can_be_seen_and_forgotten(platform: Platform) -> None:
    """Faults that still wait are listed until they are deleted."""
    await platform.control("POST", "faults", json={"status": 500})
    waiting = await platform.control("GET", "faults")
    await platform.control("DELETE", "faults")

    assert [each["status"] for each in waiting] == [500]
    assert await platform.control("GET", "faults") == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("faults", {"status": 500, "tims": 2}),
        ("faults", {"times": 0}),
        ("faults", {"match": {"path": "("}}),
        ("settings", {"latency": 1}),
        ("settings", {"latency_ms": -1}),
        ("settings", {"latency_ms": True}),
        ("settings", {"reconsent_revokes": 1}),
        ("settings", []),
        ("clock", {}),
        ("tenants", {"display_name": "Contoso", "initial_domain": "contoso.onmicrosoft.com", "user_count": 5}),
        ("applications/none/credentials", {"secret": True}),
        ("applications/mail_flow/credentials", {"certificate": "not a certificate"}),
        ("tamper", {"noun": "user", "identity": "nobody@contoso.com", "remove": True}),
        ("tamper", {"noun": "user", "identity": "member@contoso.com"}),
        ("tamper", {"noun": "user", "identity": "member@contoso.com", "change": {"shoeSize": 43}}),
        ("tamper", {"noun": "NoSuchNoun", "identity": "x", "remove": True}),
        ("tamper", {"noun": "group", "identity": "No such group", "remove": True}),
        ("tamper", {"noun": "domain", "identity": "contoso.onmicrosoft.com", "remove": True}),
    ],
)
async def test_nonsense_is_refused_with_words(platform: Platform, path: str, body: Any) -> None:
    """A body that does not fit is answered 400 with what is wrong, and changes nothing."""
    before = await platform.control("GET", "state")
    answer = await platform.client.post(f"/_control/{path}", json=body)

    assert answer.status_code == 400
    assert answer.json()["error"]
    assert await platform.control("GET", "state") == before


async def test_settings_and_clock_change_while_it_runs(platform: Platform) -> None:
    """Settings are changed one by one; the clock moves for everything, tokens included."""
    settings = await platform.control("POST", "settings", json={"role_delay": 5, "latency_ms": 1})
    clock = await platform.control("POST", "clock", json={"offset_seconds": 3600})
    await platform.grant("mail_flow")
    claims = claims_of((await platform.app_token()).json()["access_token"])

    assert (settings["role_delay"], settings["latency_ms"], settings["consent_delay"]) == (5, 1, 0.0)
    assert clock["offset_seconds"] == 3600
    assert claims["exp"] - platform.simulation.clock.now().timestamp() == pytest.approx(3599, abs=5)


@pytest.mark.parametrize(
    ("noun", "identity", "part"),
    [
        ("group", "Sales", "groups"),
        ("domain", "contoso.com", "domains"),
        ("user", "member@contoso.com", "users"),
        ("appRoleAssignment", "{app}", "appRoleAssignments"),
        ("oauth2PermissionGrant", "{app}", "oauth2PermissionGrants"),
        ("servicePrincipal", "{app}", "servicePrincipals"),
    ],
)
async def test_tampering_removes_an_object(platform: Platform, noun: str, identity: str, part: str) -> None:
    """Each kind of object can be removed by its name, or by the application that it belongs to."""
    await platform.grant("directory")
    identity = identity.format(app=platform.application("directory").app_id)
    before = await platform.control("GET", f"state?include={part}")
    await platform.control("POST", "tamper", json={"noun": noun, "identity": identity, "remove": True})
    after = await platform.control("GET", f"state?include={part}")

    assert len(after[part]) < len(before[part])


async def test_removing_a_service_principal_removes_what_it_had(platform: Platform) -> None:
    """Grants and assignments go with their service principal, and its tokens are refused from then on."""
    await platform.grant("directory")
    app_id = platform.application("directory").app_id
    await platform.control("POST", "tamper", json={"noun": "servicePrincipal", "identity": app_id, "remove": True})

    assert platform.tenant.app_role_assignments == {}
    assert platform.tenant.oauth2_permission_grants == {}
    assert (await platform.app_token("directory")).json()["error_codes"] == [7000229]


async def test_a_removed_user_leaves_its_groups(platform: Platform) -> None:
    """A group does not list somebody who is gone, and the journal tells delta queries."""
    member = platform.tenant.users.find("member@contoso.com")
    assert member is not None
    await platform.control("POST", "tamper", json={"noun": "user", "identity": member.id, "remove": True})

    assert all(member.id not in group.member_ids for group in platform.tenant.groups.values())
    assert platform.tenant.journal[-1].properties == ("@removed",)


async def test_tampering_with_exchange_goes_around_the_cmdlets(platform: Platform) -> None:
    """A rule is changed, then removed, behind everybody's back."""
    await granted_exchange(platform)
    await invoke(platform, "New-TransportRule", **RULE)
    await platform.control(
        "POST", "tamper", json={"noun": "TransportRule", "identity": "A rule", "change": {"State": "Disabled"}}
    )
    changed = (await invoke(platform, "Get-TransportRule")).json()["value"]
    await platform.control("POST", "tamper", json={"noun": "TransportRule", "identity": "A rule", "remove": True})
    removed = (await invoke(platform, "Get-TransportRule")).json()["value"]

    assert [each["State"] for each in changed if each["Name"] == "A rule"] == ["Disabled"]
    assert [each for each in removed if each["Name"] == "A rule"] == []


async def test_tampering_adds_what_somebody_had_made_before(platform: Platform) -> None:
    """With the defaults of its noun; what has no Name, or is no cmdlet noun, is refused with words."""
    await granted_exchange(platform)
    partner = {"Name": "Partner", "SenderDomains": ["smtp:*;1"], "RestrictDomainsToIPAddresses": True}
    for noun, properties in (
        ("InboundConnector", partner),
        ("TransportRule", {"Name": "Old", "DeleteMessage": True}),
        ("JournalRule", {"Name": "All mail", "JournalEmailAddress": "journal@archive.example"}),
    ):
        await platform.control("POST", "tamper", json={"noun": noun, "add": properties})
    wrong = [
        await platform.client.post("/_control/tamper", json={"noun": noun, "add": {"Name": name} if name else {}})
        for noun, name in (("JournalRule", ""), ("Nothing", "x"))
    ]

    connector = (await invoke(platform, "Get-InboundConnector")).json()["value"][0]
    rule = (await invoke(platform, "Get-TransportRule", State="Enabled")).json()["value"][0]
    journal = (await invoke(platform, "Get-JournalRule", Identity="All mail")).json()["value"][0]
    assert (connector["Enabled"], connector["RequireTls"], connector["RestrictDomainsToIPAddresses"]) == (True, True, True)
    assert (rule["Priority"], rule["Mode"], rule["DeleteMessage"]) == (0, "Enforce", True)
    assert (journal["Scope"], journal["Enabled"]) == ("Global", True)
    assert [each.status_code for each in wrong] == [400, 400]


@pytest.mark.parametrize(("after", "seen"), [(False, [False, False, True, True]), (True, [False, False, False, True])])
async def test_somebody_edits_at_a_given_call(platform: Platform, after: bool, seen: list[bool]) -> None:
    """Right before the third read of the rules, or right after it: the other calls are not touched."""
    await granted_exchange(platform)
    await invoke(platform, "New-TransportRule", **RULE)
    fault = {
        "match": {"cmdlet": "Get-TransportRule"},
        "skip": 2,
        "after": after,
        "edit": {"noun": "TransportRule", "identity": "A rule", "change": {"StopRuleProcessing": True}},
    }
    await platform.control("POST", "faults", json=fault)

    await invoke(platform, "Get-InboundConnector")
    answers = [await invoke(platform, "Get-TransportRule") for _ in range(4)]

    assert [each.json()["value"][0]["StopRuleProcessing"] for each in answers] == seen


async def test_two_faults_count_their_calls_apart(platform: Platform) -> None:
    """One meets the first call, one the second: a call that one of them takes counts for the other."""
    await granted_exchange(platform)
    for skip, status in ((0, 503), (1, 500)):
        await platform.control("POST", "faults", json={"match": {"cmdlet": "Get-RemoteDomain"}, "skip": skip, "status": status})

    answers = [await invoke(platform, "Get-RemoteDomain") for _ in range(3)]

    assert [each.status_code for each in answers] == [503, 500, 200]


async def test_graph_is_throttled_by_its_units(platform: Platform) -> None:
    """Listing users costs 2 units: with 4 for ten seconds the third list is refused, and served after the wait."""
    await platform.grant("directory")
    await platform.control("POST", "settings", json={"graph_units_per_10_seconds": 4, "retry_after": 3})
    platform.simulation.clock.offset = frozen(platform)
    answers = [await get_users(platform) for _ in range(3)]
    platform.simulation.clock.advance(10)
    later = await get_users(platform)

    assert [each.status_code for each in answers] == [200, 200, 429]
    assert answers[2].headers["retry-after"] == "5"
    assert answers[2].headers["x-ms-throttle-scope"].startswith("Tenant_Application/Read/")
    assert later.status_code == 200


def frozen(platform: Platform) -> Any:
    """Stop the simulation's clock where it stands, and return its offset."""
    now = platform.simulation.clock.now()
    platform.simulation.clock._source = lambda: now
    return platform.simulation.clock.offset - platform.simulation.clock.offset


async def test_exchange_is_throttled_by_its_requests(platform: Platform) -> None:
    """The admin endpoint has a limit of its own."""
    await granted_exchange(platform)
    await platform.control("POST", "settings", json={"exchange_requests_per_10_seconds": 1})
    platform.simulation.clock.offset = frozen(platform)
    answers = [await invoke(platform, "Get-AcceptedDomain") for _ in range(2)]

    assert [each.status_code for each in answers] == [200, 429]
    assert answers[1].headers["retry-after"] == "10"


async def test_another_tenant_can_be_made(platform: Platform) -> None:
    """A new tenant has its people, and its administrator can consent at once."""
    seed = {"display_name": "Tailspin", "initial_domain": "tailspin.onmicrosoft.com", "user_count": 7}
    made = await platform.control("POST", "tenants", json=seed)
    returned = await platform.grant("mail_flow", tenant="tailspin.onmicrosoft.com")
    names = [each["display_name"] for each in await platform.control("GET", "tenants")]

    assert (made["users"], returned["tenant"]) == (7, made["tenant_id"])
    assert names == ["Contoso", "Fabrikam", "Tailspin"]


async def test_a_new_secret_works_beside_the_old_one_or_instead(platform: Platform) -> None:
    """Secrets are rotated: a second one is added, or the first one cleared away."""
    await platform.grant("mail_flow")
    first = platform.application("mail_flow").secrets[0].value
    added = await platform.control("POST", "applications/mail_flow/credentials", json={"secret": True})
    await platform.control("POST", "applications/mail_flow/credentials", json={"secret": True, "clear": True})
    form = {
        "grant_type": "client_credentials",
        "client_id": platform.application("mail_flow").app_id,
        "scope": EXCHANGE_DEFAULT,
    }
    old = [await platform.token(**form, client_secret=value) for value in (first, added["client_secret"])]

    assert [each.status_code for each in old] == [401, 401]
    assert (await platform.app_token()).status_code == 200


async def test_reset_brings_the_seed_back(platform: Platform) -> None:
    """Consents, settings, clock, faults, requests and sessions are gone; the secret still works."""
    before = await platform.control("GET", "state")
    secret = platform.application("directory").secrets
    browser = platform.browser()
    await platform.sign_in(platform.authorize_url(), "admin@contoso.com", browser)
    await platform.grant("directory")
    await platform.control("POST", "settings", json={"role_delay": 5})
    await platform.control("POST", "clock", json={"offset_seconds": 99})
    await platform.control("POST", "faults", json={"status": 500})
    await platform.control("POST", "tamper", json={"noun": "group", "identity": "Sales", "remove": True})
    await platform.control("POST", "reset")

    assert await platform.control("GET", "state") == before
    assert (await platform.control("GET", "settings"))["role_delay"] == 0.0
    assert (await platform.control("GET", "clock"))["offset_seconds"] == 0
    assert await platform.control("GET", "faults") == []
    assert await platform.control("GET", "requests") == []
    assert platform.application("directory").secrets == secret
    assert "passwd" in (await Shown(platform, browser).open(platform.authorize_url())).page.fields


async def test_the_contract_is_reported(platform: Platform) -> None:
    """Without the description the report says that nothing is checked."""
    report = await platform.control("GET", "contract")

    assert (report["enabled"], report["violations"]) == (False, [])
