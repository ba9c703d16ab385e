"""The product's scanner, for a local run: it sends the test messages that Grantline orders, and reports what it saw of each.

An order (queue ``mail-probes``) says which message to send; it goes through the simulated tenant as it is, by its control
request ``mail``, with a scanner at the hosts and addresses of the settings. The report is the command ``probe.report``.
"""

import asyncio
import json
import re
import ssl
import sys
from base64 import b64decode, b64encode
from collections.abc import Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from azure.storage.queue.aio import QueueClient

    from shared.settings import Settings

ORDERS, COMMANDS = "mail-probes", "console-commands"
LOOK_EVERY = 1.0
"""Seconds from one look at the queue to the next, while it is empty."""
LEASE = 30
"""Seconds that an order is nobody else's."""
TRIES = 5
"""How often an order is tried before it is put aside."""
OUTSIDE = "203.0.113.25"
"""Where test messages to the tenant come from: a documentation address (RFC 5737)."""
LOOPED = 10
"""How many tenants a looped message has been through: as many as one may."""
KINDS = ("normal", "alias", "spoofed", "forged_header", "looped")
NAME = "local scanner"


class OrderError(ValueError):
    """Raised when an order is of a shape or version that is not known; says what is wrong."""


@dataclass(frozen=True, slots=True)
class Order:
    """One test message, as ordered. ``direction`` is inbound or outbound, ``kind`` one of ``KINDS``."""

    probe_id: str
    grant_id: str
    tenant_id: str
    direction: str
    kind: str
    mail_from: str
    recipient: str
    message_id: str
    region: str = ""


def read_order(body: str) -> Order:
    """Read an order. Raises OrderError for anything else than one of version 1."""
    try:
        content = json.loads(body)
        version = content.pop("version", 1)
        content.pop("type", None)
        order = Order(**content)
    except (AttributeError, TypeError, ValueError) as error:
        raise OrderError(f"no order: {error}") from error
    if version != 1 or order.direction not in ("inbound", "outbound") or order.kind not in KINDS:
        raise OrderError(f"an order of another version, direction or kind: {version}, {order.direction}, {order.kind}")
    return order


def message_of(order: Order, settings: "Settings") -> dict[str, Any]:
    """Return the body of the control request that sends an order's message and has it scanned."""
    is_inbound, is_spoofed = order.direction == "inbound", order.kind == "spoofed"
    message = {
        "mail_from": order.mail_from,
        "header_from": order.recipient if is_spoofed else order.mail_from,
        "recipients": [order.recipient],
        "message_id": order.message_id,
        "subject": f"Test of mail protection {order.probe_id}",
        "source_ip": OUTSIDE if is_inbound else "",
        "spf": "pass",
        "dkim": "none" if is_spoofed else "pass",
        "headers": {_header(settings, "Clean"): "forged"} if order.kind == "forged_header" else {},
        "hops": LOOPED if order.kind == "looped" else 0,
    }
    place = {"to_tenant": order.tenant_id} if is_inbound else {"from_tenant": order.tenant_id}
    return {"message": message, "scanners": [_scanner(order, settings)], **place}


def _header(settings: "Settings", verdict: str) -> str:
    return f"X-{re.sub(r'[^A-Za-z0-9]+', '-', settings.product_name).strip('-')}-{verdict}"


def _scanner(order: Order, settings: "Settings") -> dict[str, Any]:
    """Return the scanner of a grant, as a mail trace describes it: it finds nothing, and says so with the grant's secret."""
    from shared.mailflow.verdict import verdict_secret  # noqa: PLC0415 - like all of shared, loaded when it is needed

    scanner = settings.scanner(order.region)
    return {
        "tenant": order.tenant_id,
        "inbound_host": scanner.inbound_host,
        "outbound_host": scanner.outbound_host,
        "inbound_egress": list(scanner.inbound_egress),
        "outbound_egress": list(scanner.outbound_egress),
        "inbound_certificate": scanner.inbound_host,
        "outbound_certificate": f"{order.grant_id}.{scanner.certificate_zone}",
        "verdict": "clean",
        "verdict_headers": {verdict.lower(): _header(settings, verdict) for verdict in ("Clean", "Junk")},
        "secret": verdict_secret(settings.verdict_secrets_key, order.grant_id),
        "modifies": False,
    }


def report_of(order: Order, outcome: Mapping[str, Any]) -> dict[str, Any]:
    """Return the command that tells what the scanner saw of an order's message, and what the tenant answered last."""
    seen = outcome["scanned"]
    refusals = [each["status"] for each in outcome["recipients"].values() if each["end"] == "rejected"]
    unscanned = f"550 {refusals[0]}" if refusals else "250 2.6.0"
    return {
        "version": 1,
        "type": "probe.report",
        "command_id": f"report-{order.probe_id}"[:64],
        "grant_id": order.grant_id,
        "requested_by": NAME,
        "probe_id": order.probe_id,
        "scans": len(seen),
        "answer": seen[-1]["answer"] if seen else unscanned,
    }


@dataclass(frozen=True, slots=True)
class LocalScanner:
    """Carries out orders, one after the other."""

    settings: "Settings"
    tenant: httpx.AsyncClient
    orders: "QueueClient"
    commands: "QueueClient"

    async def run(self) -> None:
        """Look at the queue until cancelled; storage that doesn't answer is asked again."""
        from azure.core.exceptions import AzureError  # noqa: PLC0415 - the Azure SDK takes its time to load

        while True:
            try:
                found = await self.step()
            except AzureError as error:
                print(f"mail probes: {type(error).__name__}", file=sys.stderr)
                found = False
            if not found:
                await asyncio.sleep(LOOK_EVERY)

    async def step(self) -> bool:
        """Carry out the next order; tell whether there was one.

        An order is deleted only once its report is on its way: one that fails comes back, and after some tries is put aside.
        """
        found = await self.orders.receive_message(visibility_timeout=LEASE)
        if found is None:
            return False
        body = b64decode(found.content).decode()
        try:
            await self._carry_out(read_order(body))
        except (OrderError, httpx.HTTPError) as error:
            print(f"mail probe: {error}", file=sys.stderr)
            if not isinstance(error, OrderError) and (found.dequeue_count or 0) < TRIES:
                return True
        await self.orders.delete_message(found)
        return True

    async def _carry_out(self, order: Order) -> None:
        answer = await self.tenant.post("/_control/mail", json=message_of(order, self.settings))
        if answer.status_code == 400:
            raise OrderError(str(answer.json()["error"]))
        answer.raise_for_status()
        report = json.dumps(report_of(order, answer.json()))
        await self.commands.send_message(b64encode(report.encode()).decode())


@asynccontextmanager
async def scanning(environment: Mapping[str, str], tenant_url: str, ca_file: str) -> "AsyncIterator[LocalScanner]":
    """Open a scanner at a simulated tenant and at the storage that the app's environment names."""
    from azure.core.exceptions import ResourceExistsError  # noqa: PLC0415 - the Azure SDK takes its time to load
    from azure.storage.queue.aio import QueueServiceClient  # noqa: PLC0415

    from shared import settings  # noqa: PLC0415

    context = ssl.create_default_context(cafile=ca_file)
    async with (
        QueueServiceClient.from_connection_string(environment["AzureWebJobsStorage"]) as service,
        httpx.AsyncClient(base_url=tenant_url, verify=context, trust_env=False) as tenant,
    ):
        queues = [service.get_queue_client(name) for name in (ORDERS, COMMANDS)]
        for queue in queues:
            with suppress(ResourceExistsError):
                await queue.create_queue()
        yield LocalScanner(settings.load(environment), tenant, *queues)
