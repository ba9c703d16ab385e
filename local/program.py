"""A program that uses the JSON API as another system of the operator would: it finds its way by the OpenAPI document alone.

What it does not do, an onboarding link, is in ``local/invitation.py``.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx

from local.browser import BrowserError

COUNTED_SECONDS = 60
"""How long a timer's count may take to be seen."""
PAUSE_SECONDS = 0.2
COMPLETE = frozenset({"completed", "protecting"})
"""The states of a grant whose mail is routed; the later one is proved by test messages."""


@dataclass(frozen=True, slots=True)
class Program:
    """One program, with the operations of the document: method and path by ``operationId``."""

    client: httpx.AsyncClient
    operations: Mapping[str, tuple[str, str]]

    async def ask(self, operation: str, grant_id: str = "", **query: str) -> Any:
        """Ask for something and return its JSON."""
        return await self._call(operation, 200, grant_id, params=query)

    async def send(self, operation: str, content: Any, expected: int, grant_id: str = "") -> Any:
        """Send something, under a key of its own, and return the JSON of an answer that must have the ``expected`` status."""
        return await self._call(operation, expected, grant_id, json=content, headers={"idempotency-key": str(uuid4())})

    async def _call(self, operation: str, expected: int, grant_id: str, **more: Any) -> Any:
        method, address = self.operations[operation]
        answer = await self.client.request(method, address.format(grant_id=grant_id), **more)
        if answer.status_code != expected:
            raise BrowserError(f"{operation} answered {answer.status_code}: {answer.text[:300]}")
        return answer.json()


async def use(console: str, account_id: str, receipt: Mapping[str, Any]) -> None:
    """Ask for everything that a completed grant leaves, and for what is refused. Raises BrowserError."""
    async with httpx.AsyncClient(base_url=console, trust_env=False) as client:
        program = Program(client, await _operations(client))
        grant_id = str(receipt["grant_id"])
        await _look(program, grant_id, receipt)
        await _ask_again(program, account_id, grant_id)
        await _find(program, grant_id)
        await _count(program)


async def listed(console: str) -> None:
    """Wait until the list of accounts, which follows the grants' events, shows a complete one. Raises BrowserError."""
    async with httpx.AsyncClient(base_url=console, trust_env=False) as client:
        program = Program(client, await _operations(client))
        ends = time.monotonic() + COUNTED_SECONDS
        while True:
            page = await program.ask("api_accounts", count="100")
            if COMPLETE.intersection(item["state"] for item in page["items"]):
                return
            _must(time.monotonic() < ends, "the account is not listed as complete", page)
            await asyncio.sleep(PAUSE_SECONDS)


async def _operations(client: httpx.AsyncClient) -> dict[str, tuple[str, str]]:
    answer = await client.get("/api/v1/openapi.json")
    if answer.status_code != 200:
        raise BrowserError(f"the OpenAPI document is not there: {answer.status_code}")
    paths = answer.json()["paths"].items()
    return {each["operationId"]: (method, path) for path, methods in paths for method, each in methods.items()}


async def _look(program: Program, grant_id: str, receipt: Mapping[str, Any]) -> None:
    """Read the live state, the findings, the plan, the receipt and every event."""
    grant = await program.ask("api_grant", grant_id)
    again = await program.ask("api_receipt", grant_id)
    _must(again["objects"] == receipt["objects"] and grant["message"] == receipt["message"], "the receipt is another one", again)
    plan, findings = await program.ask("api_plan", grant_id), await program.ask("api_findings", grant_id)
    _must(plan["number"] and plan["is_safe"], "the plan is not the one that was carried out", plan)
    _must(findings["passed"], "nothing was checked", findings)
    await program.ask("api_proof", grant_id)
    removal = await program.ask("api_removal", grant_id)
    _must(not removal["is_asked"], "nobody has asked for a removal", removal)
    events, after = list[str](), "0"
    while after:
        page = await program.ask("api_events", grant_id, after=after, count="10")
        events += [event["type"] for event in page["items"]]
        after = str(page.get("next", ""))
    _must(events[0] == "grant.created" and "grant.completed" in events, "the events are not the grant's", events)


async def _ask_again(program: Program, account_id: str, grant_id: str) -> None:
    """Ask for another grant of the account, and for a retry of what is done."""
    wish = {"account_id": account_id, "account_name": account_id.title()}
    refused = await program.send("api_start", wish, 409)
    _must(refused["grant"].endswith(grant_id), "another grant is in the way", refused)
    retry = {"type": "step.retry", "step": "verification"}
    grant = await program.send("api_grant_command", retry, 202, grant_id)
    _must(grant["state"] in COMPLETE, "a step that is done was begun again", grant)


async def _find(program: Program, grant_id: str) -> None:
    """Find the grant's account in both lists."""
    for operation in ("api_accounts", "api_service_accounts"):
        page = await program.ask(operation, count="100")
        states = [item["state"] for item in page["items"] if item["grant_id"] == grant_id]
        _must(states and COMPLETE.issuperset(states), f"{operation} does not show the account", page)


async def _count(program: Program) -> None:
    """Wait until the timer that was run has counted the account."""
    ends = time.monotonic() + COUNTED_SECONDS
    while True:
        summary = await program.ask("api_summary")
        if any(summary["accounts"].get(state) for state in COMPLETE):
            return
        _must(time.monotonic() < ends, "the accounts are not counted", summary)
        await asyncio.sleep(PAUSE_SECONDS)


def _must(holds: object, else_said: str, seen: object) -> None:
    if not holds:
        raise BrowserError(f"{else_said}: {str(seen)[:300]}")
