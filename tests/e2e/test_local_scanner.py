"""The local stand-in for the product's scanner: orders in, messages through the simulated tenant, reports out."""

import json
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import pytest

from local.microsoft365.server import Options, serve
from local.scanner import LocalScanner, Order, OrderError, message_of, read_order, report_of, scanning
from shared import settings
from shared.messages import ReportProbe, read_command
from tests.support.app_settings import APP_SETTINGS

GRANT_ID = "7d0f1c0e-3a86-4a3f-8f0e-1c1d5a1d4a01"


def order(**properties: Any) -> dict[str, Any]:
    """Return an order as the queue has it."""
    return {
        "version": 1,
        "probe_id": "probe-1",
        "grant_id": GRANT_ID,
        "tenant_id": "contoso.com",
        "direction": "inbound",
        "kind": "normal",
        "mail_from": "probe@prober.example.net",
        "recipient": "member@contoso.com",
        "message_id": "<probe-1@prober.example.net>",
        **properties,
    }


@pytest.mark.parametrize(
    "body",
    ["no json", "[]", "{}", json.dumps(order(version=2)), json.dumps(order(kind="other")), json.dumps(order(direction="up"))],
)
def test_what_is_no_order_is_refused(body: str) -> None:
    """Another version, kind, direction or shape."""
    with pytest.raises(OrderError):
        read_order(body)


def test_a_message_is_as_ordered() -> None:
    """From outside to the tenant, or born in it; forged by header; looped."""
    loaded = settings.load(APP_SETTINGS)

    def sent(**properties: Any) -> dict[str, Any]:
        return message_of(read_order(json.dumps(order(**properties))), loaded)

    assert (sent()["to_tenant"], sent()["message"]["hops"], sent()["message"]["headers"]) == ("contoso.com", 0, {})
    assert sent(direction="outbound")["from_tenant"] == "contoso.com"
    assert list(sent(kind="forged_header")["message"]["headers"].values()) == ["forged"]
    assert sent(kind="looped")["message"]["hops"] > 0
    assert sent(kind="alias")["message"] == sent()["message"]
    spoofed = sent(kind="spoofed")["message"]
    assert (spoofed["header_from"], spoofed["mail_from"]) == (spoofed["recipients"][0], sent()["message"]["mail_from"])
    assert sent()["scanners"][0]["outbound_certificate"].startswith(f"{GRANT_ID}.")


def test_a_report_is_a_command_that_the_app_reads() -> None:
    """How often it was scanned, and the next hop's last answer."""
    ordered = Order(**{name: value for name, value in order().items() if name != "version"})
    scanned = {"recipients": {}, "scanned": [{"answer": "250 2.6.0"}, {"answer": "550 5.7.64"}]}
    refused = {"recipients": {"a": {"end": "rejected", "status": "5.4.14"}}, "scanned": []}

    commands = [read_command(report_of(ordered, outcome)) for outcome in (scanned, refused)]

    assert [(each.scans, each.answer) for each in commands if isinstance(each, ReportProbe)] == [
        (2, "550 5.7.64"),
        (0, "550 5.4.14"),
    ]


async def bodies(scanner: LocalScanner) -> list[dict[str, Any]]:
    """Return the commands that are on the queue."""
    return [json.loads(b64decode(each.content)) async for each in scanner.commands.receive_messages()]


async def put(scanner: LocalScanner, content: str) -> None:
    """Put an order on the queue."""
    await scanner.orders.send_message(b64encode(content.encode()).decode())


async def test_orders_are_carried_out_and_reported(storage_connection: str, tmp_path: Path) -> None:
    """A message that no rule routes is scanned by nobody, a looped one is refused; what is no order does not block the rest."""
    async with (
        serve(Options(data=tmp_path)) as simulation,
        scanning({**APP_SETTINGS, "AzureWebJobsStorage": storage_connection}, simulation.url, str(simulation.ca_file)) as scanner,
    ):
        for each in ("nonsense", json.dumps(order()), json.dumps(order(probe_id="probe-2", kind="looped"))):
            await put(scanner, each)
        steps = [await scanner.step() for _ in range(4)]
        reports = await bodies(scanner)

    assert steps == [True, True, True, False]
    assert [(each["probe_id"], each["scans"], each["answer"]) for each in reports] == [
        ("probe-1", 0, "250 2.6.0"),
        ("probe-2", 0, "550 5.4.14"),
    ]


async def test_an_order_that_fails_comes_back_until_it_is_put_aside(
    storage_connection: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tenant does not answer: the order stays, and is deleted after the last try only."""
    monkeypatch.setattr("local.scanner.LEASE", 1)
    monkeypatch.setattr("local.scanner.TRIES", 2)
    async with serve(Options(data=tmp_path)) as simulation:
        address, ca_file = simulation.url, str(simulation.ca_file)
    async with scanning({**APP_SETTINGS, "AzureWebJobsStorage": storage_connection}, address, ca_file) as scanner:
        await put(scanner, json.dumps(order()))
        assert await scanner.step()
        assert (await scanner.orders.get_queue_properties()).approximate_message_count == 1
        while not await scanner.step():
            pass
        assert (await scanner.orders.get_queue_properties()).approximate_message_count == 0
        assert await bodies(scanner) == []
