"""The adapter of Exchange's private contract, held to what was recorded of the real endpoint by third parties.

A recording that the adapter no longer reads as it should is the first sign that one of the two has changed.
"""

import json
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from shared.domain.problems import GrantlineError
from shared.microsoft.clouds import CLOUDS, Egress
from shared.microsoft.credentials import GivenToken
from shared.microsoft.errors import ExpiredPageError
from shared.microsoft.exchange import ExchangeAdmin
from shared.microsoft.transport import GuardedTransport
from shared.ports import NotFoundError, RefusedError
from tests.conftest import CONTRACTS

EXAMPLES = CONTRACTS / "examples.json"
pytestmark = pytest.mark.skipif(not EXAMPLES.exists(), reason="the recordings are not beside this tree")
TENANT = "11111111-1111-4111-8111-111111111111"
READ, WRITE, UNKNOWN_PARAMETER, NOT_FOUND, EXPIRED_PAGE = 157, 158, 160, 161, 162
"""Numbers of the recordings."""


def recording(number: int) -> Mapping[str, Any]:
    """Return one recording."""
    return next(each for each in json.loads(EXAMPLES.read_text(encoding="utf-8")) if each["n"] == number)


async def replay(number: int, cmdlet: str, parameters: Mapping[str, Any]) -> tuple[Any, httpx.Request]:
    """Run a cmdlet against a server that answers as was recorded; return what it came to, and the last request."""
    record = recording(number)
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        headers = {"Content-Type": "application/json", "request-id": "a-request-id"}
        return httpx.Response(record["status"], json=record["response"]["body"], headers=headers)

    async def credential() -> GivenToken:
        return GivenToken("a-token")

    cloud = CLOUDS["global"]
    egress = Egress(cloud)
    async with httpx.AsyncClient(transport=GuardedTransport(egress, httpx.MockTransport(answer))) as http:
        exchange = ExchangeAdmin(cloud, egress, http, TENANT, credential)
        try:
            return await exchange.invoke(cmdlet, parameters), asked[-1]
        except GrantlineError as error:
            return error, asked[-1]


async def test_a_recorded_read() -> None:
    """What the module sent is what the adapter sends, but for the anchor's form; the object comes without annotations."""
    record = recording(READ)
    call = record["request"]["body"]["CmdletInput"]

    found, asked = await replay(READ, call["CmdletName"], call["Parameters"])

    (expected,) = record["response"]["body"]["value"]
    assert found == [{name: value for name, value in expected.items() if "@" not in name}]
    assert json.loads(asked.content) == record["request"]["body"]
    assert asked.url == record["path"].replace("{tenantId}", TENANT)
    sent = record["request"]["headers"]
    assert {name for name in sent if name not in asked.headers} == set()
    assert {name for name in sent if asked.headers[name] != sent[name]} == {"Authorization", "X-AnchorMailbox", "connection-id"}


async def test_a_recorded_write() -> None:
    """A change of a list goes out as it is given, and a write returns no object."""
    body = recording(WRITE)["request"]["body"]

    found, asked = await replay(WRITE, body["CmdletInput"]["CmdletName"], body["CmdletInput"]["Parameters"])

    assert found == []
    assert json.loads(asked.content) == body


async def test_a_recorded_validation_error() -> None:
    """The internal exception's text is the one that people see, and the parameter in it is named."""
    error, _ = await replay(UNKNOWN_PARAMETER, "Get-QuarantineMessage", {"BogusParameter": 1})

    assert isinstance(error, RefusedError)
    assert error.problem.code == "exchange_refused"
    assert error.problem.raw.startswith("Parameter set cannot be resolved")
    assert error.problem.cause.endswith("It names the parameter BogusParameter.")
    assert error.problem.correlation_id == "a-request-id"


async def test_a_recorded_object_that_is_not_there() -> None:
    """The internal exception is generic here: the detail's text counts, without the exception's number and type."""
    error, _ = await replay(NOT_FOUND, "Remove-Mailbox", {"Identity": "x@contoso.onmicrosoft.com"})

    assert isinstance(error, NotFoundError)
    assert str(error).startswith(
        "The operation couldn't be performed because object 'x@contoso.onmicrosoft.com' couldn't be found"
    )


async def test_a_recorded_page_that_expired() -> None:
    """It is told apart from other refusals with status 400."""
    error, _ = await replay(EXPIRED_PAGE, "Get-Mailbox", {})

    assert isinstance(error, ExpiredPageError)
