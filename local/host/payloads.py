"""What passes between triggers, the worker and outputs: the values that the real host sends to its worker and gets from it."""

import json
import uuid
from datetime import UTC, datetime
from typing import Any

from local.host.functions import Binding
from local.host.queue_service import ReceivedMessage
from local.host.worker import Datum, datum, metadata

NEVER_EXPIRES = datetime.max.replace(tzinfo=UTC)


def message_inputs(message: ReceivedMessage, body: bytes, binding: Binding) -> tuple[Datum, dict[str, Datum]]:
    """Make what the worker is given of a queue message (functions-host 1.1.15)."""
    binary = binding.text("dataType").upper() == "BINARY"
    value = datum(body, "bytes") if binary else datum(body.decode(errors="replace"), "string")
    return value, metadata(
        {
            "Id": message.id,
            "DequeueCount": message.dequeue_count,
            "InsertionTime": message.inserted_on.isoformat(),
            "ExpirationTime": message.expires_on.isoformat(),
            "NextVisibleTime": message.next_visible_on.isoformat(),
            "PopReceipt": message.pop_receipt,
        }
    )


def output_bodies(value: Datum) -> list[bytes]:
    """Give the bodies that a queue output stands for: text, bytes, or a JSON list of texts."""
    if value.type == "bytes":
        return [value.value]
    if value.type == "string":
        return [value.value.encode()]
    items = json.loads(value.value)
    bodies = [item["body"] if isinstance(item, dict) else item for item in (items if isinstance(items, list) else [items])]
    return [body.encode() for body in bodies]


def message_by_hand(text: str, now: datetime) -> ReceivedMessage:
    """Make the message that stands for a text given to ``POST /admin/functions/NAME``: it was in no queue."""
    return ReceivedMessage(str(uuid.uuid4()), text, 0, "", now, NEVER_EXPIRES, now)


def timer_input(timer: dict[str, Any]) -> Datum:
    """Make what the worker is given of a timer."""
    return datum(json.dumps(timer), "json")


UNSCHEDULED = {"Schedule": {"AdjustForDST": True}, "ScheduleStatus": None, "IsPastDue": False}
"""The timer of a run by hand."""
