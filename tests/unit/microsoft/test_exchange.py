"""Exchange's admin endpoint: requests as the module sends them, pages, and what each refusal means."""

import re
from datetime import timedelta
from typing import Any

import httpx
import pytest

from shared.microsoft.client import MicrosoftClient
from shared.microsoft.clouds import CLOUDS, Egress
from shared.microsoft.credentials import GivenToken
from shared.microsoft.exchange import ExchangeAdmin
from shared.microsoft.transport import GuardedTransport
from shared.ports import CmdletCall, NotFoundError, NotYetError, RefusedError, TransientError
from tests.unit.microsoft.conftest import TENANT, Said, Scripted, access_token, token_answer, token_path

INVOKE = f"/adminapi/beta/{TENANT}/InvokeCommand"
BATCH = f"/adminapi/beta/{TENANT}/$batch"
MODULE = f"/adminapi/v1.0/{TENANT}/EXOModuleFile"
GENERIC = "Exception of type 'Microsoft.Exchange.Management.PSDirectInvoke.DirectInvokeCmdletExecutionException' was thrown."


def refusal(detail: str = "", inner: str = "", code: str = "BadRequest", inner_type: str = "System.Exception") -> dict[str, Any]:
    """Return an error document as Exchange writes it."""
    error: dict[str, Any] = {"code": code, "message": "Invalid Operation"}
    if detail:
        error["details"] = [{"code": "Client", "target": "", "message": detail}]
    error["innererror"] = {"message": "Invalid Operation", "internalexception": {"message": inner, "type": inner_type}}
    return {"error": error}


async def test_cmdlet_is_posted_as_the_module_does(server: Scripted, microsoft: MicrosoftClient) -> None:
    """A cmdlet goes out with its parameters, the tenant's anchor mailbox, ids and the application's own token."""
    token = access_token(roles=["Exchange.ManageAsApp"])
    server.say(token_path(), Said({"token_type": "Bearer", "expires_in": 3599, "access_token": token}))
    server.say(INVOKE, Said({"value": []}))
    exchange = microsoft.exchange(TENANT)

    await exchange.invoke("Set-TransportRule", {"Identity": "a rule", "Confirm": False})
    await exchange.invoke("Get-TransportRule")

    first, second = server.asked_for(INVOKE)
    parameters = {"Identity": "a rule", "Confirm": False}
    assert first.document == {"CmdletInput": {"CmdletName": "Set-TransportRule", "Parameters": parameters}}
    assert first.headers["X-AnchorMailbox"] == f"APP:SystemMailbox{{bb558c35-97f1-4cb9-8ff7-d53741dc928c}}@{TENANT}"
    assert first.headers["X-CmdletName"] == "Set-TransportRule"
    assert first.headers["X-ResponseFormat"] == "json"
    assert first.headers["Prefer"] == "odata.maxpagesize=1000"
    assert first.headers["Content-Type"].startswith("application/json")
    assert re.fullmatch(r"[0-9a-f-]{36}", first.headers["client-request-id"])
    assert first.headers["client-request-id"] != second.headers["client-request-id"]
    assert first.headers["connection-id"] == second.headers["connection-id"]
    assert len(server.asked_for(token_path())) == 1


async def test_token_is_asked_for_exchange(server: Scripted, microsoft: MicrosoftClient) -> None:
    """The token is for Exchange Online itself, whatever host answers in its place."""
    server.say(INVOKE, Said({"value": []}))

    await microsoft.exchange(TENANT).invoke("Get-AcceptedDomain")

    form = server.asked_for(token_path())[0].text
    assert "scope=https%3A%2F%2Foutlook.office365.com%2F.default" in form
    assert "claims" not in form


async def test_each_exchange_has_a_token_of_its_own(server: Scripted, microsoft: MicrosoftClient) -> None:
    """A role that was assigned since shows with the next object: it asks for a new token."""
    server.say(token_path(), token_answer(wids=["one"]), token_answer(wids=["two"]))
    server.say(INVOKE, Said({"value": []}))

    for _ in range(2):
        await microsoft.exchange(TENANT).invoke("Get-AcceptedDomain")

    first, second = (entry.headers["Authorization"] for entry in server.asked_for(INVOKE))
    assert first != second


async def test_pages_are_posted_with_the_same_body(server: Scripted, microsoft: MicrosoftClient) -> None:
    """The next link is posted to until there is none, with the same body each time."""
    more = f"{server.url}{INVOKE}?$skiptoken=abc"
    server.say(INVOKE, Said({"value": [{"Name": "one"}], "@odata.nextLink": more}), Said({"value": [{"Name": "two"}]}))

    found = await microsoft.exchange(TENANT).invoke("Get-TransportRule", {"ResultSize": "Unlimited"})

    first, second = server.asked_for(INVOKE)
    assert found == [{"Name": "one"}, {"Name": "two"}]
    assert second.method == "POST"
    assert second.text == first.text
    assert second.query == {"$skiptoken": "abc"}


async def test_next_link_on_another_host_is_asked_of_our_own(server: Scripted, microsoft: MicrosoftClient) -> None:
    """A link that names a host that is not configured is followed on the endpoint that answered."""
    more = f"https://outlook.office.com{INVOKE}?$skiptoken=abc"
    server.say(INVOKE, Said({"value": [], "@odata.nextLink": more}), Said({"value": [{"Name": "two"}]}))

    assert await microsoft.exchange(TENANT).invoke("Get-TransportRule") == [{"Name": "two"}]
    assert server.asked_for(INVOKE)[1].query == {"$skiptoken": "abc"}


async def test_annotations_are_left_out(server: Scripted, microsoft: MicrosoftClient) -> None:
    """Objects come without the type companions of their properties, at any depth."""
    row = {
        "Guid@data.type": "System.Guid",
        "Guid": "1",
        "Domains@odata.type": "#Collection(String)",
        "Domains": [{"Name@data.type": "x", "Name": "contoso.com"}],
    }
    server.say(INVOKE, Said({"@odata.context": "x", "@adminapi.warnings": [], "value": [row]}))

    assert await microsoft.exchange(TENANT).invoke("Get-Something") == [{"Guid": "1", "Domains": [{"Name": "contoso.com"}]}]


async def test_offered_cmdlets(server: Scripted, microsoft: MicrosoftClient) -> None:
    """What is offered are the exported functions of the module that Exchange makes for the caller."""
    server.say(MODULE, Said({"value": [{"exportedCmdlets": "Get-TransportRule, New-TransportRule,"}]}))

    assert await microsoft.exchange(TENANT).offered_cmdlets() == {"Get-TransportRule", "New-TransportRule"}
    asked = server.asked_for(MODULE)[0]
    assert asked.headers["CommandName"] == "*"
    assert asked.query["Version"].startswith("3.")


async def test_front_door_redirects_keep_method_and_body(server: Scripted, microsoft: MicrosoftClient) -> None:
    """A redirect to an allowed host is followed with the same method, body and token."""
    moved = f"/AdminApi/beta/{TENANT}/moved"
    server.say(INVOKE, Said(status=302, headers={"Location": moved}))
    server.say(moved, Said({"value": [{"Name": "one"}]}))

    assert await microsoft.exchange(TENANT).invoke("Get-TransportRule") == [{"Name": "one"}]
    asked = server.asked_for(moved)[0]
    assert asked.method == "POST"
    assert asked.text == server.asked_for(INVOKE)[0].text
    assert asked.headers["Authorization"].startswith("Bearer ")


async def test_redirects_in_a_circle_end(server: Scripted, microsoft: MicrosoftClient) -> None:
    """A front door that redirects to itself is a problem, not a loop."""
    server.say(INVOKE, Said(status=302, headers={"Location": INVOKE}))

    with pytest.raises(RefusedError) as raised:
        await microsoft.exchange(TENANT).invoke("Get-TransportRule")

    assert raised.value.problem.code == "exchange_refused"


async def test_redirect_elsewhere_is_refused(server: Scripted, microsoft: MicrosoftClient) -> None:
    """A redirect to a host that is not Exchange's is not followed: the token stays here."""
    server.say(INVOKE, Said(status=302, headers={"Location": "https://evil.example.com/adminapi"}))

    with pytest.raises(RefusedError) as raised:
        await microsoft.exchange(TENANT).invoke("Get-TransportRule")

    assert raised.value.problem.code == "unexpected_host"
    assert raised.value.problem.raw == "evil.example.com"


async def test_regional_host_is_kept_on_its_public_port() -> None:
    """The front door's redirect to a host of the region, on its back end's port, serves this call and the next."""
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        if request.url.host == "outlook.office365.com":
            return httpx.Response(302, headers={"Location": f"https://eur01b.outlook.office365.com:446{request.url.path}"})
        return httpx.Response(200, json={"value": []})

    async def credential() -> GivenToken:
        return GivenToken("a-token")

    cloud = CLOUDS["global"]
    egress = Egress(cloud)
    async with httpx.AsyncClient(transport=GuardedTransport(egress, httpx.MockTransport(answer))) as http:
        exchange = ExchangeAdmin(cloud, egress, http, TENANT, credential)
        await exchange.invoke("Get-TransportRule")
        await exchange.invoke("Get-InboundConnector")

    assert asked == [
        f"https://outlook.office365.com{INVOKE}",
        f"https://eur01b.outlook.office365.com{INVOKE}",
        f"https://eur01b.outlook.office365.com{INVOKE}",
    ]


NOT_YET = [
    Said(bytes(512), 403),
    Said(b"", 401),
    Said(refusal(inner="The role assigned to application x isn't supported in this scenario."), 403),
]


@pytest.mark.parametrize("said", NOT_YET, ids=["NUL bytes", "unauthorized", "role not supported"])
async def test_role_has_not_spread(server: Scripted, microsoft: MicrosoftClient, said: Said) -> None:
    """What Exchange answers until it has noticed the role means "not yet", for calls and for the list of cmdlets."""
    server.say(INVOKE, said)
    server.say(MODULE, said)

    with pytest.raises(NotYetError):
        await microsoft.exchange(TENANT).invoke("Get-TransportRule")
    with pytest.raises(NotYetError):
        await microsoft.exchange(TENANT).offered_cmdlets()


async def test_not_found(server: Scripted, microsoft: MicrosoftClient) -> None:
    """A missing object is told with Exchange's own text, not with the generic internal exception."""
    text = "The operation couldn't be performed because object 'x' couldn't be found on 'DC'."
    detail = f"Ex6F9304|Microsoft.Exchange.Configuration.Tasks.ManagementObjectNotFoundException|{text}"
    server.say(INVOKE, Said(refusal(detail, GENERIC, "NotFound"), 404))

    with pytest.raises(NotFoundError, match="object 'x' couldn't be found") as raised:
        await microsoft.exchange(TENANT).invoke("Get-TransportRule", {"Identity": "x"})

    assert str(raised.value) == text


REFUSALS = {
    "unknown parameter": (
        refusal("|Microsoft.Exchange.AdminApi.CommandInvocation.AmbiguousParameterSetException|detail", "inner text"),
        "exchange_refused",
        "inner text",
    ),
    "duplicate": (
        refusal("Ex1|Microsoft.Exchange.Data.Directory.ADObjectAlreadyExistsException|there", GENERIC),
        "exchange_refused",
        "there",
    ),
    "unknown cmdlet": (
        refusal("|System.Management.Automation.CommandNotFoundException|x", "The term 'Get-X' is not recognized as a name"),
        "cmdlet_not_offered",
        "The term 'Get-X' is not recognized as a name",
    ),
    "not customized": (
        refusal("Ex1|T|You first need to run the command: Enable-OrganizationCustomization.", GENERIC),
        "organization_not_customized",
        "You first need to run the command: Enable-OrganizationCustomization.",
    ),
    "no body": (None, "exchange_refused", "HTTP 400"),
}


@pytest.mark.parametrize(("body", "code", "raw"), REFUSALS.values(), ids=REFUSALS.keys())
async def test_refusals_keep_exchanges_text(server: Scripted, microsoft: MicrosoftClient, body: Any, code: str, raw: str) -> None:
    """A refusal becomes a problem with the text that Exchange means for people, and the request's id."""
    server.say(INVOKE, Said(body, 400, {"request-id": "44444444-4444-4444-8444-444444444444"}))

    with pytest.raises(RefusedError) as raised:
        await microsoft.exchange(TENANT).invoke("New-TransportRule")

    assert raised.value.problem.code == code
    assert raised.value.problem.raw == raw
    assert raised.value.problem.correlation_id == "44444444-4444-4444-8444-444444444444"


TRANSIENT = {
    "throttled": (Said(b"", 429, {"Retry-After": "7"}), timedelta(seconds=7)),
    "busy": (Said(b"<html>", 503), None),
    "busy with a wish": (Said(b"", 503, {"Retry-After": "30"}), timedelta(seconds=30)),
    "not JSON": (Said(b"<html>", 200), None),
}


@pytest.mark.parametrize(("said", "wish"), TRANSIENT.values(), ids=TRANSIENT.keys())
async def test_transient(server: Scripted, microsoft: MicrosoftClient, said: Said, wish: timedelta | None) -> None:
    """Throttling and faults are for later, and not tried again inside the call."""
    server.say(INVOKE, said)

    with pytest.raises(TransientError) as raised:
        await microsoft.exchange(TENANT).invoke("Get-TransportRule")

    assert raised.value.retry_after == wish
    assert len(server.asked_for(INVOKE)) == 1


EXPIRED = Said(refusal(inner="Expired or Invalid pagination request. Default Expiry time is 00:30:00"), 400)


def page(*names: str, more: str = "") -> dict[str, Any]:
    """Return a page of objects with these names."""
    return {"value": [{"Name": name} for name in names], **({"@odata.nextLink": more} if more else {})}


async def test_an_expired_page_begins_the_collection_again(server: Scripted, microsoft: MicrosoftClient) -> None:
    """A page that is gone is no loss and no doubling: the collection is read from its beginning, once."""
    more = f"{server.url}{INVOKE}?$skiptoken=abc"
    server.say(INVOKE, Said(page("one", more=more)), EXPIRED, Said(page("one", more=more)), Said(page("two")))

    assert await microsoft.exchange(TENANT).invoke("Get-TransportRule") == [{"Name": "one"}, {"Name": "two"}]
    assert [entry.query.get("$skiptoken") for entry in server.asked_for(INVOKE)] == [None, "abc", None, "abc"]


async def test_pages_that_keep_expiring_are_for_later(server: Scripted, microsoft: MicrosoftClient) -> None:
    """A collection is begun again once; then the queue has its turn."""
    more = f"{server.url}{INVOKE}?$skiptoken=abc"
    server.say(INVOKE, Said(page("one", more=more)), EXPIRED, Said(page("one", more=more)), EXPIRED)

    with pytest.raises(TransientError):
        await microsoft.exchange(TENANT).invoke("Get-TransportRule")

    assert len(server.asked_for(INVOKE)) == 4


def items(*answers: Said) -> Said:
    """Return a batch's answer: these answers to its items, the last one first."""
    listed = [
        {"id": str(number), "status": said.status, "headers": said.headers, "body": said.body}
        for number, said in enumerate(answers)
    ]
    return Said({"responses": listed[::-1]})


READS = [CmdletCall("Get-AcceptedDomain", {"ResultSize": "Unlimited"}), CmdletCall("Get-TransportRule")]
NOT_FOUND = Said(refusal("Ex1|Microsoft.ManagementObjectNotFoundException|no such object", GENERIC, "NotFound"), 404)


async def test_reads_share_a_request(server: Scripted, microsoft: MicrosoftClient) -> None:
    """Each item of a batch is the request that its call would have been by itself; answers come back in the calls' order."""
    server.say(BATCH, items(Said(page("a domain")), Said(page("a rule"))))

    assert await microsoft.exchange(TENANT).invoke_many(READS) == [[{"Name": "a domain"}], [{"Name": "a rule"}]]

    (asked,) = server.asked_for(BATCH)
    first, second = asked.document["requests"]
    assert asked.headers["Prefer"] == "odata.continue-on-error"
    assert asked.headers["Content-Type"] == "application/json"
    assert (first["id"], first["method"], first["url"]) == ("0", "POST", f"{server.url}{INVOKE}")
    assert first["body"] == {"CmdletInput": {"CmdletName": "Get-AcceptedDomain", "Parameters": {"ResultSize": "Unlimited"}}}
    assert second["headers"]["X-CmdletName"] == "Get-TransportRule"
    assert second["headers"]["Prefer"] == "odata.maxpagesize=1000"
    assert second["headers"]["Authorization"] == asked.headers["Authorization"]
    assert second["headers"]["Content-Type"] == "application/json"
    assert not server.asked_for(INVOKE)


async def test_a_batch_holds_ten_calls(server: Scripted, microsoft: MicrosoftClient) -> None:
    """More calls take more batches, in order; a call that is left over goes by itself."""
    names = [f"domain{number}" for number in range(21)]
    server.say(BATCH, *(items(*(Said(page(name)) for name in names[begin : begin + 10])) for begin in (0, 10)))
    server.say(INVOKE, Said(page(names[20])))

    found = await microsoft.exchange(TENANT).invoke_many([CmdletCall("Get-AcceptedDomain", {"Identity": name}) for name in names])

    assert found == [[{"Name": name}] for name in names]
    assert [len(entry.document["requests"]) for entry in server.asked_for(BATCH)] == [10, 10]
    assert len(server.asked_for(INVOKE)) == 1


async def test_an_item_that_fails_fails_alone(server: Scripted, microsoft: MicrosoftClient) -> None:
    """What is not there or refused stands in its own place; the others are as they were answered."""
    refused = Said(refusal("|X|no", "Cannot process argument transformation on parameter 'Identity'."), 400)
    server.say(BATCH, items(NOT_FOUND, refused, Said(page("a rule"))))

    missing, bad, found = await microsoft.exchange(TENANT).invoke_many([*READS, READS[1]])

    assert isinstance(missing, NotFoundError)
    assert str(missing) == "no such object"
    assert isinstance(bad, RefusedError)
    assert "parameter Identity" in bad.problem.cause
    assert found == [{"Name": "a rule"}]


async def test_a_throttled_item_sends_all_back_to_the_queue(server: Scripted, microsoft: MicrosoftClient) -> None:
    """Throttling inside of a batch that was answered with 200 is given back, with the longest wish of all items."""
    slow, slower = (Said({}, 429, {"retry-after": wish}) for wish in ("7", "20"))
    server.say(BATCH, items(slow, slower, Said({}, 429)))

    with pytest.raises(TransientError) as raised:
        await microsoft.exchange(TENANT).invoke_many([*READS, READS[0]])

    assert raised.value.retry_after == timedelta(seconds=20)
    assert len(server.asked) == 2, "a token and one batch"


async def test_a_throttled_batch_goes_back_to_the_queue(server: Scripted, microsoft: MicrosoftClient) -> None:
    """Throttling of the batch itself is no reason to ask one by one."""
    server.say(BATCH, Said(b"", 429, {"Retry-After": "7"}))

    with pytest.raises(TransientError) as raised:
        await microsoft.exchange(TENANT).invoke_many(READS)

    assert raised.value.retry_after == timedelta(seconds=7)
    assert not server.asked_for(INVOKE)


@pytest.mark.parametrize("status", [401, 403])
async def test_a_role_that_has_not_spread_to_an_item(server: Scripted, microsoft: MicrosoftClient, status: int) -> None:
    """One item that Exchange does not let in yet is "not yet" for all."""
    server.say(BATCH, items(Said(page("a domain")), Said("", status)))

    with pytest.raises(NotYetError):
        await microsoft.exchange(TENANT).invoke_many(READS)


async def test_pages_of_an_item_are_posted_by_themselves(server: Scripted, microsoft: MicrosoftClient) -> None:
    """The next link of an item is followed with the item's own body; an item whose page expired begins again by itself."""
    more = f"{server.url}{INVOKE}?$skiptoken=abc"
    server.say(BATCH, items(Said(page("a domain")), Said(page("one", more=more))))
    server.say(INVOKE, EXPIRED, Said(page("one", more=more)), Said(page("two")))

    assert await microsoft.exchange(TENANT).invoke_many(READS) == [[{"Name": "a domain"}], [{"Name": "one"}, {"Name": "two"}]]
    assert {entry.document["CmdletInput"]["CmdletName"] for entry in server.asked_for(INVOKE)} == {"Get-TransportRule"}


NO_BATCH = {
    "unknown path": Said(b"", 404),
    "refused form": Said(refusal("|X|Invalid batch"), 400),
    "other answer": Said({"value": []}),
}


@pytest.mark.parametrize("said", NO_BATCH.values(), ids=NO_BATCH.keys())
async def test_an_endpoint_without_batches_is_asked_one_by_one(
    server: Scripted, microsoft: MicrosoftClient, said: Said, caplog: pytest.LogCaptureFixture
) -> None:
    """An endpoint that takes no batch gets the same calls one by one, is offered no second batch, and the log tells it."""
    server.say(BATCH, said)
    server.say(INVOKE, Said(page("a domain")), NOT_FOUND, Said(page("one")), Said(page("two")))
    exchange = microsoft.exchange(TENANT)

    found, missing = await exchange.invoke_many(READS)
    again = await exchange.invoke_many(READS)

    assert found == [{"Name": "a domain"}]
    assert isinstance(missing, NotFoundError)
    assert again == [[{"Name": "one"}], [{"Name": "two"}]]
    assert len(server.asked_for(BATCH)) == 1
    assert caplog.messages == [f"Exchange Online takes no batches (HTTP {said.status}): its calls go one by one"]


UNANSWERED = {
    "left out": [],
    "unreadable": [{"id": "1", "status": 200, "body": "AAAA"}],
    "redirected": [{"id": "1", "status": 302}],
}


@pytest.mark.parametrize("listed", UNANSWERED.values(), ids=UNANSWERED.keys())
async def test_an_item_without_an_answer_is_asked_by_itself(server: Scripted, microsoft: MicrosoftClient, listed: Any) -> None:
    """What a batch leaves unanswered is neither lost nor taken for empty."""
    server.say(BATCH, Said({"responses": [{"id": "0", "status": 200, "headers": None, "body": page("a domain")}, *listed]}))
    server.say(INVOKE, Said(page("a rule")))

    assert await microsoft.exchange(TENANT).invoke_many(READS) == [[{"Name": "a domain"}], [{"Name": "a rule"}]]
    assert len(server.asked_for(INVOKE)) == 1
