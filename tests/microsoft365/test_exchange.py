"""Exchange's admin endpoint over HTTP: who may call it, and the form of what it answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from local.microsoft365.catalogue import EXCHANGE, GRAPH
from local.microsoft365.exchange.catalogue import licensed_cmdlets
from tests.microsoft365.served import EXCHANGE_ADMINISTRATOR, Served, page_of, serve

GLOBAL_READER = "f2ef992c-3afb-46b9-b7cf-a126ee74c451"
GROUP = {"Name": "Scope", "Members": ["admin@contoso.com", "exchange@contoso.com"]}


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """A tenant with its people and forty more users."""
    async with serve(users=45) as running:
        yield running


async def exported(served: Served) -> list[str]:
    """Return the cmdlets that an Exchange administrator is offered."""
    offered: str = (await module_file(served)).body["value"][0]["exportedCmdlets"]
    return offered.split(",")


async def module_file(served: Served, *, wids: tuple[str, ...] = (EXCHANGE_ADMINISTRATOR,), name: str = "*") -> Any:
    """Ask which cmdlets are offered."""
    token = served.token(roles=("Exchange.ManageAsApp",), wids=wids, audience=EXCHANGE)
    headers = {"Authorization": f"Bearer {token}", "CommandName": name}
    address = f"/AdminApi/V1.0/{served.tenant.id}/exomodulefile?Version=3.2.0"
    return await page_of(await served.client.get(address, headers=headers))


async def test_an_answer_has_the_recorded_form(served: Served) -> None:
    """Context, warnings, annotated rows and the headers of the recorded exchange."""
    answer = await served.invoke("Get-HostedContentFilterPolicy", headers={"client-request-id": "c-1"})

    body, row = answer.body, answer.body["value"][0]
    assert body["@odata.context"].endswith("/contoso.onmicrosoft.com/$metadata#Collection(Exchange.GenericHashTable)")
    assert (body["adminapi.warnings@odata.type"], body["@adminapi.warnings"]) == ("#Collection(String)", [])
    assert row["AllowedSenders@odata.type"] == "#Collection(String)"
    assert (row["Guid@data.type"], row["Guid@odata.type"]) == ("System.Guid", "#Guid")
    assert row["BulkThreshold@data.type"] == "System.Int32"
    assert (answer.headers["Rate-Limit-Limit"], answer.headers["Rate-Limit-Remaining"]) == ("30000", "29999")
    assert answer.headers["client-request-id"] == "c-1"
    assert answer.headers["Preference-Applied"] == 'odata.include-annotations="*"'
    assert answer.headers["Content-Type"].startswith("application/json;odata.metadata=minimal")


async def test_the_rate_limit_counts_and_starts_again(served: Served) -> None:
    """Remaining falls with each call of the application, and is whole again after the reset."""
    first = await served.invoke("Get-OrganizationConfig")
    second = await served.invoke("Get-OrganizationConfig")
    served.advance(901)
    third = await served.invoke("Get-OrganizationConfig")

    remaining = [answer.headers["Rate-Limit-Remaining"] for answer in (first, second, third)]
    assert remaining == ["29999", "29998", "29999"]
    assert first.headers["Rate-Limit-Reset"] == "2026-08-20T10:15:00.000Z"


async def test_selected_properties_alone_are_returned(served: Served) -> None:
    """Their companions come with them."""
    address = f"/adminapi/beta/{served.tenant.id}/InvokeCommand?$select=Name,guid"

    answer = await served.invoke("Get-HostedContentFilterPolicy", address=address)

    assert list(answer.body["value"][0]) == ["Name", "Guid@data.type", "Guid@odata.type", "Guid"]


@pytest.mark.parametrize("path", ["adminapi/beta", "AdminApi/Beta", "ADMINAPI/V1.0"])
async def test_the_path_ignores_letter_case_and_takes_a_domain(served: Served, path: str) -> None:
    """The tenant may be named by its id or by one of its domains."""
    answer = await served.invoke("Get-OrganizationConfig", address=f"/{path}/contoso.onmicrosoft.com/invokecommand")

    assert answer.body["value"][0]["Name"] == "contoso.onmicrosoft.com"


async def test_without_the_application_permission_it_is_401(served: Served) -> None:
    """No token, Graph's token, a token without Exchange.ManageAsApp: no difference."""
    tokens = [
        "x",
        served.token(roles=("Exchange.ManageAsApp",), wids=(EXCHANGE_ADMINISTRATOR,), audience=GRAPH),
        served.token(roles=(), wids=(EXCHANGE_ADMINISTRATOR,), audience=EXCHANGE),
    ]
    for token in tokens:
        answer = await served.invoke("Get-OrganizationConfig", token=token)
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer ")


async def test_without_a_role_it_is_403_with_nul_bytes(served: Served) -> None:
    """As measured on a real tenant: no JSON, nothing to read."""
    invoked = await served.invoke("Get-OrganizationConfig", wids=("0997a1d0-0d1d-4acb-b408-d5ca73121e90",))
    listed = await module_file(served, wids=())

    assert (invoked.status, listed.status) == (403, 403)
    assert invoked.body
    assert set(invoked.body) == {0}


async def test_another_tenants_token_is_refused(served: Served) -> None:
    """The token's tenant and the path's must be the same."""
    token = served.token(roles=("Exchange.ManageAsApp",), wids=(EXCHANGE_ADMINISTRATOR,), audience=EXCHANGE, tenant=served.other)

    answer = await served.invoke("Get-OrganizationConfig", token=token)

    assert answer.status == 401


async def test_the_cmdlets_offered_follow_the_role(served: Served) -> None:
    """All that are licensed for an Exchange administrator, reading ones for a Global Reader, whose writes are not recognised."""
    administrator = await module_file(served)
    reader = await module_file(served, wids=(GLOBAL_READER,))
    written = await served.invoke("New-DistributionGroup", GROUP, wids=(GLOBAL_READER,))

    assert administrator.body["value"][0]["exportedCmdlets"].split(",") == sorted(licensed_cmdlets([]))
    assert all(name.startswith("Get-") for name in reader.body["value"][0]["exportedCmdlets"].split(","))
    assert written.status == 400
    assert "is not recognized" in written.body["error"]["innererror"]["internalexception"]["message"]
    assert (await module_file(served, name="Get-Mailbox")).status == 400


async def test_defenders_cmdlets_need_its_licence(served: Served) -> None:
    """Without one they are neither offered nor recognised."""
    before = await exported(served)
    refused = await served.invoke("Get-SafeLinksPolicy")
    served.tenant.licences = ("SPE_E3", "ATP_ENTERPRISE")
    after = await exported(served)
    answered = await served.invoke("Get-SafeLinksPolicy")

    assert set(after) - set(before) == {
        "Get-AtpPolicyForO365",
        "Get-SafeAttachmentPolicy",
        "Get-SafeAttachmentRule",
        "Get-SafeLinksPolicy",
        "Get-SafeLinksRule",
    }
    assert "is not recognized" in refused.body["error"]["innererror"]["internalexception"]["message"]
    assert [row["Name"] for row in answered.body["value"]] == ["Built-In Protection Policy"]


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"CmdletInput": {}}', b'{"CmdletInput": {"CmdletName": "x", "Parameters": 1}}']
)
async def test_a_body_that_is_no_call_is_a_bad_request(served: Served, body: bytes) -> None:
    """Nothing is recognised in it."""
    token = served.token(roles=("Exchange.ManageAsApp",), wids=(EXCHANGE_ADMINISTRATOR,), audience=EXCHANGE)
    address = f"/adminapi/beta/{served.tenant.id}/InvokeCommand"

    response = await served.client.post(address, data=body, headers={"Authorization": f"Bearer {token}"})

    assert response.status == 400


async def test_an_object_that_is_not_there_is_404(served: Served) -> None:
    """With the document that a real tenant answered."""
    answer = await served.invoke("Remove-TransportRule", {"Identity": "gone", "Confirm": False})

    assert (answer.status, answer.body["error"]["code"]) == (404, "NotFound")
    assert "ManagementObjectNotFoundException" in answer.body["error"]["details"][0]["message"]


async def test_a_write_answers_no_rows_and_is_kept(served: Served) -> None:
    """New gives the object, Set and Remove give none."""
    rule = {"Name": "Mark", "SetHeaderName": "X-Seen", "SetHeaderValue": "1"}

    made = await served.invoke("New-TransportRule", rule)
    changed = await served.invoke("Set-TransportRule", {"Identity": "Mark", "SetHeaderValue": "2"})
    read = await served.invoke("Get-TransportRule", {"Identity": "Mark"})
    removed = await served.invoke("Remove-TransportRule", {"Identity": "Mark", "Confirm": False})

    assert [row["Name"] for row in made.body["value"]] == ["Mark"]
    assert (changed.body["value"], removed.body["value"]) == ([], [])
    assert read.body["value"][0]["SetHeaderValue"] == "2"
    assert read.body["value"][0]["Priority@data.type"] == "System.Int32"


async def test_a_reading_cmdlet_may_be_stale_and_a_writing_one_never(served: Served) -> None:
    """A read shows the tenant as it was; a write works on the tenant as it is, and refuses the duplicate."""
    served.advance(60)
    await served.invoke("New-DistributionGroup", GROUP)
    served.stale["seconds"] = 30

    read = await served.invoke("Get-DistributionGroup", {"Identity": "Scope"})
    written = await served.invoke("New-DistributionGroup", GROUP)
    served.stale.clear()
    fresh = await served.invoke("Get-DistributionGroup", {"Identity": "Scope"})

    assert (read.status, written.status, fresh.status) == (404, 400, 200)


async def test_pages_are_followed_by_posting_the_same_call(served: Served) -> None:
    """Two members, one a page; the link of another cmdlet, a broken one and an old one are refused."""
    await served.invoke("New-DistributionGroup", GROUP)
    call = ("Get-DistributionGroupMember", {"Identity": "Scope"})
    prefer = {"Prefer": "odata.maxpagesize=1"}

    first = await served.invoke(*call, headers=prefer)
    link = first.body["@odata.nextLink"].removeprefix(served.simulation.url)
    second = await served.invoke(*call, headers=prefer, address=link)
    others = [
        await served.invoke("Get-AcceptedDomain", address=link),
        await served.invoke(*call, address=link.partition("=")[0] + "=nonsense"),
    ]
    served.advance(1801)
    others.append(await served.invoke(*call, address=link))

    assert [row["PrimarySmtpAddress"] for row in first.body["value"] + second.body["value"]] == GROUP["Members"]
    assert "@odata.nextLink" not in second.body
    for answer in others:
        assert answer.status == 400
        assert "Expired or Invalid pagination request" in answer.body["error"]["innererror"]["internalexception"]["message"]
