"""The whole grant over real HTTP, queues, tables and TLS, as `make demo` does it."""

import json
from pathlib import Path

import pytest
from azure.storage.queue import TextBase64DecodePolicy
from azure.storage.queue.aio import QueueClient

from local import demo
from local.__main__ import DEMO_TENANT
from local.stack import Options
from shared.domain.grant import SUCCESS_MESSAGE
from shared.domain.steps import STEPS, Queue
from tests.support.stacks import control, quietly, running

USERS = 2500


@pytest.mark.timeout(480)
async def test_the_whole_grant(tmp_path: Path) -> None:
    """The receipt, the tenant and the events all say the same: everything made, everybody synced, every wait seen."""
    async with running(Options(tmp_path, USERS, tenant=DEMO_TENANT)) as stack:
        receipt = await demo.run(stack.local, demo.Plan(), quietly)
        state = await control(stack, "state")
        requests = await control(stack, "requests")
        events = await _events(stack.storage.connection_string)

    assert receipt["message"] == SUCCESS_MESSAGE
    assert receipt["tenant_id"] == stack.tenant["tenant_id"]
    assert receipt["users_synced"] == USERS
    needed = [name for name, each in STEPS.items() if not (each.is_optional or each.repeats or each.is_removal)]
    states = {step["name"]: step["state"] for step in receipt["steps"]}
    assert {name: states[name] for name in needed} == dict.fromkeys(needed, "done")
    _check_waits(receipt, requests)
    _check_objects(receipt, state)
    pages = [entry for entry in requests if entry["path"] == "/v1.0/users" and entry["status"] == 200]
    assert len(pages) >= 3
    _check_events([event for event in events if event["id"].startswith(receipt["grant_id"])], receipt["grant_id"])


def _check_waits(receipt: demo.Receipt, requests: list[demo.Receipt]) -> None:
    """Whatever the tenant put off is in the receipt as a wait.

    How often depends on when the queue is polled: a role is looked for before it is assigned, so once at the least; nothing is
    asked of the consents, which may have spread before the first look. A wait is counted from when it was saved, a little after
    Microsoft asked for it.
    """
    waits = {step["name"]: step["waits"] for step in receipt["steps"]}

    assert _answers(requests, 403, "EXOModuleFile") >= 1
    assert waits["role_assignment"]
    assert _answers(requests, 429, "users") == 1
    assert max(wait["seconds"] for wait in waits["directory_sync"]) >= demo.RETRY_AFTER / 2


def _answers(requests: list[demo.Receipt], status: int, ending: str) -> int:
    return sum(each["status"] == status and each["path"].endswith(ending) for each in requests)


def _check_objects(receipt: demo.Receipt, state: demo.Receipt) -> None:
    """What the receipt names is what the tenant holds."""
    exchange = state["exchange"]
    nouns = ("InboundConnector", "OutboundConnector", "TransportRule")
    made = {item["Name"] for noun in nouns for item in exchange[noun] if item["Name"].startswith("Grantline ")}

    assert made == {item["name"] for item in receipt["objects"]}
    routing = [rule for rule in exchange["TransportRule"] if rule["Name"].endswith("Domain Rule")]
    assert [rule["State"] for rule in routing] == ["Enabled", "Enabled"]


def _check_events(events: list[demo.Receipt], grant_id: str) -> None:
    """Every event was published in order, at least once, as CloudEvents 1.0; the last one is the release."""
    types = {event["id"]: event["type"] for event in events}  # in the order in which each came first
    ids = list(types)

    assert ids == [f"{grant_id}/{number}" for number in range(1, len(ids) + 1)]
    assert {event["specversion"] for event in events} == {"1.0"}
    completed = [event for event in events if event["type"] == "grant.completed"]
    assert completed
    assert completed[-1]["data"]["message"] == SUCCESS_MESSAGE
    assert completed[-1]["data"]["policy"] == "standard"
    assert types[ids[-1]] == "grant.released"
    assert "message.dead_lettered" not in types.values()


async def _events(connection: str) -> list[demo.Receipt]:
    """Take everything from the queue of events."""
    policy = TextBase64DecodePolicy()
    async with QueueClient.from_connection_string(connection, Queue.GRANT_EVENTS, message_decode_policy=policy) as queue:
        return [json.loads(message.content) async for message in queue.receive_messages(messages_per_page=32)]
