"""Message trace: what Exchange Online tells of messages under way (pages of Get-MessageTraceV2 and Get-MessageTraceDetailV2)."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from shared.mailflow.kinds import TRACE, TRACE_DETAIL
from shared.mailflow.networks import is_within
from shared.mailflow.proof import UNDER_WAY, Traced
from shared.mailflow.undo import Ways
from shared.ports import Exchange, NotFoundError

LONGEST_LOOK = timedelta(days=10)
"""How long the time asked about may be (page of Get-MessageTraceV2)."""
MOST_DETAILS = 40
"""For how many messages details are asked at once: 100 queries are accepted in 5 minutes. The rest counts as ours."""
MOST_MESSAGES = 5000
"""How many messages one answer holds, at the most."""


async def pending_with_scanner(exchange: Exchange, ways: Ways, now: datetime) -> int:
    """Return how many messages wait to be delivered to or from the scanner; one that can't be looked into counts as such."""
    times = {"StartDate": now - LONGEST_LOOK, "EndDate": now}
    found = await traced(exchange, Status=sorted(UNDER_WAY), ResultSize=MOST_MESSAGES, **times)
    others = [each for each in found if not is_within(str(each.get("FromIP") or ""), ways.networks)]
    ours = [each for each in others[:MOST_DETAILS] if names_any(await details(exchange, each), ways.names)]
    return len(found) - len(others) + len(ours) + len(others[MOST_DETAILS:])


async def traced(exchange: Exchange, **parameters: Any) -> list[Traced]:
    """Return what message trace shows; dates are written as ISO 8601 in UTC."""
    return list(await exchange.invoke(TRACE, {name: _sent(value) for name, value in parameters.items()}))


async def details(exchange: Exchange, message: Traced) -> list[Mapping[str, Any]]:
    """Return what happened to one message for one recipient; none where message trace knows it no more."""
    named = {"MessageTraceId": message["MessageTraceId"], "RecipientAddress": message["RecipientAddress"]}
    try:
        return list(await exchange.invoke(TRACE_DETAIL, named))
    except NotFoundError:
        return []


def names_any(events: Sequence[Mapping[str, Any]], names: Iterable[str]) -> bool:
    """True when any event of a message tells one of the names: of a rule, a connector or a host."""
    texts = " ".join(f"{event.get('Detail')} {event.get('Data')}" for event in events).casefold()
    return any(name.casefold() in texts for name in names)


def _sent(value: Any) -> Any:
    return value.strftime("%Y-%m-%dT%H:%M:%SZ") if isinstance(value, datetime) else value
