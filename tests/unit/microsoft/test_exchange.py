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
from shared.ports import NotFoundError, NotYetError, RefusedError, TransientError
from tests.unit.microsoft.conftest import TENANT, Said, Scripted, access_token, token_answer, token_path

INVOKE = f"/adminapi/beta/{TENANT}/InvokeCommand"
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
    "expired page": (Said(refusal(inner="Expired or Invalid pagination request. Default Expiry time is 00:30:00"), 400), None),
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
