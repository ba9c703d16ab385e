"""Message trace and quarantine: what the organization remembers of the messages that went through it.

Parameters, statuses, dates and limits: the pages of Get-MessageTraceV2, Get-MessageTraceDetailV2 and Get-QuarantineMessage
(github:MicrosoftDocs/office-docs-powershell). What refuses a message at the edge leaves no trace (Exchange team's answers
on RejectDirectSend).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5
from xml.sax.saxutils import quoteattr

from local.microsoft365.exchange.errors import THROTTLED, VALIDATION, ExecutionError, invalid
from local.microsoft365.exchange.objects import Call, find, timestamp
from local.microsoft365.mail.log import KEPT, QUERIES, Fate, Passage

DEFAULT_RANGE = timedelta(hours=48)
MAXIMUM_RANGE = timedelta(days=10)
DEFAULT_RESULTS = 1000
MAXIMUM_RESULTS = 5000
QUARANTINE_DAYS = 30
"""How long quarantine keeps a message where no policy says (Set-HostedContentFilterPolicy, QuarantineRetentionPeriod)."""

_STATUSES: Mapping[str, str] = {
    "delivered": "Delivered",
    "sent": "Delivered",
    "relayed": "Delivered",
    "on_premises": "Delivered",
    "junk": "FilteredAsSpam",
    "quarantined": "Quarantined",
    "rejected": "Failed",
    "dropped": "Failed",
    "deferred": "Pending",
    "moderated": "Pending",
    "expanded": "Expanded",
    "redirected": "None",
}
STATUSES = ("Delivered", "Expanded", "Failed", "FilteredAsSpam", "GettingStatus", "None", "Pending", "Quarantined")
_LAST_EVENTS: Mapping[str, str] = {
    "Delivered": "Deliver",
    "FilteredAsSpam": "Deliver",
    "Quarantined": "Fail",
    "Failed": "Fail",
    "Pending": "Defer",
    "Expanded": "Expand",
}


def _moment(call: Call, name: str, default: datetime) -> datetime:
    """Return a date parameter, in UTC; raises ExecutionError for what is no date."""
    text = str(call.parameters.get(name) or "")
    if not text:
        return default
    for parse in (datetime.fromisoformat, *_AMERICAN):
        try:
            moment = parse(text)
        except ValueError:
            continue
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    raise invalid(f"Invalid date value has been specified: '{text}'.", VALIDATION)


def _american(form: str) -> Callable[[str], datetime]:
    return lambda text: datetime.strptime(text, form)  # noqa: DTZ007 - UTC is what the cmdlet takes it for


_AMERICAN = [_american(form) for form in ("%m/%d/%Y", "%m/%d/%Y %I:%M %p", "%m/%d/%Y %H:%M", "%m/%d/%Y %H:%M:%S")]


def _range(call: Call) -> tuple[datetime, datetime]:
    """Return the range of a query: 48 hours unless given, 10 days at most; raises ExecutionError for another."""
    end = _moment(call, "EndDate", call.now)
    start = _moment(call, "StartDate", end - DEFAULT_RANGE)
    if start > end:
        raise invalid("The StartDate must be earlier than the EndDate.", VALIDATION)
    if end - start > MAXIMUM_RANGE:
        raise invalid("The date range can't be longer than 10 days.", VALIDATION)
    if start < call.now - KEPT:
        raise invalid("The StartDate can't be more than 90 days ago.", VALIDATION)
    return start, end


def _check_rate(call: Call, cmdlet: str) -> None:
    """Raise ExecutionError (429) when a cmdlet was asked too often in five minutes."""
    if not call.organization.mail.admits(cmdlet, call.now):
        message = f"The request was throttled: {cmdlet} accepts {QUERIES} queries within 5 minutes."
        raise ExecutionError(message, kind=THROTTLED, status=429)


def _status(call: Call, passage: Passage, fate: Fate) -> str:
    status = _STATUSES[fate.end]
    if fate.end == "deferred" and passage.is_expired(call.now):
        return "Failed"
    if call.now < passage.at + timedelta(seconds=call.trace_delay):
        return "GettingStatus"
    return status


def _texts(call: Call, name: str) -> set[str]:
    """Return the values of a list parameter, in lower case; commas in one text separate too."""
    given = call.parameters.get(name) or []
    texts = [given] if isinstance(given, str) else given
    return {part.strip().lower() for text in texts for part in str(text).split(",") if part.strip()}


def _named(passage: Passage) -> Mapping[str, Any]:
    return {
        "MessageId": passage.message_id,
        "MessageTraceId": passage.trace_id,
        "SenderAddress": passage.sender or "<>",
    }


def _rows(call: Call) -> Iterator[dict[str, Any]]:
    """Yield a row for each recipient of each passage."""
    for passage in call.organization.mail.passages:
        for address, fate in passage.fates.items():
            yield {
                "Organization": call.organization.initial_domain,
                **_named(passage),
                "Received": timestamp(passage.at),
                "RecipientAddress": address,
                "Subject": passage.subject,
                "Status": _status(call, passage, fate),
                "ToIP": fate.to_ip or None,
                "FromIP": passage.source_ip or None,
                "Size": int(passage.size_kb * 1024),
            }


def _has_subject(call: Call, row: Mapping[str, Any]) -> bool:
    wanted, kind = str(call.parameters.get("Subject") or "").lower(), str(call.parameters.get("SubjectFilterType") or "Contains")
    subject = str(row["Subject"]).lower()
    tests = {"contains": wanted in subject, "startswith": subject.startswith(wanted), "endswith": subject.endswith(wanted)}
    if kind.lower() not in tests:
        raise invalid(f"SubjectFilterType '{kind}' is none of Contains, StartsWith, EndsWith.", VALIDATION)
    return tests[kind.lower()]


_SELECTING = ("MessageId", "RecipientAddress", "SenderAddress", "Status", "FromIP", "ToIP", "MessageTraceId")


def _is_behind(call: Call, row: Mapping[str, Any], end: datetime) -> bool:
    """Tell whether a row comes after the last one of the former query: at its time only recipients behind its own."""
    former = str(call.parameters.get("StartingRecipientAddress") or "").lower()
    return not former or row["Received"] < timestamp(end) or str(row["RecipientAddress"]) > former


def get_message_trace(call: Call) -> list[dict[str, Any]]:
    """Get-MessageTraceV2: a row for each recipient, the latest first.

    Raises ExecutionError for a range or size that isn't accepted, an unknown status, and the 101st query in five minutes.
    """
    _check_rate(call, "Get-MessageTraceV2")
    start, end = _range(call)
    size = call.parameters.get("ResultSize") or DEFAULT_RESULTS
    if not 1 <= size <= MAXIMUM_RESULTS:
        raise invalid(f"The ResultSize must be between 1 and {MAXIMUM_RESULTS}.", VALIDATION)
    wanted = {name: texts for name in _SELECTING if (texts := _texts(call, name))}
    if unknown := wanted.get("Status", set()) - {status.lower() for status in STATUSES}:
        raise invalid(f"The status '{min(unknown)}' is none of {', '.join(STATUSES)}.", VALIDATION)
    first, last = timestamp(start), timestamp(end)
    rows = [
        row
        for row in _rows(call)
        if first <= row["Received"] <= last
        and all(str(row[name] or "").lower() in texts for name, texts in wanted.items())
        and _is_behind(call, row, end)
        and _has_subject(call, row)
    ]
    rows.sort(key=lambda row: str(row["RecipientAddress"]))
    rows.sort(key=lambda row: str(row["Received"]), reverse=True)
    if len(rows) > size:
        row = rows[size - 1]
        call.warnings.append(
            "There are more results, use the following command to get more. Get-MessageTraceV2 "
            f'-StartDate "{first}" -EndDate "{row["Received"]}" -StartingRecipientAddress "{row["RecipientAddress"]}"'
        )
    return rows[:size]


def _data(call: Call, noun: str, connector: str, **properties: str) -> str:
    """Return the data of an event: a connector by its id, and other values."""
    found = find(call, noun, connector) if connector else None
    values = {"ConnectorId": found["Guid"] if found else "", **properties}
    entries = (f"<MEP Name={quoteattr(name)} String={quoteattr(text)}/>" for name, text in values.items() if text)
    return f"<root>{''.join(entries)}</root>"


def _events(call: Call, passage: Passage, address: str, fate: Fate) -> Iterator[tuple[str, str, str, str]]:
    """Yield event, action, detail and data of what happened to one recipient's copy, in order."""
    origin = f"Message received from: {passage.source_ip or 'a mailbox or tenant of the service'}"
    yield "Receive", "", origin, _data(call, "InboundConnector", passage.connector, ClientIP=passage.source_ip)
    for each in passage.happenings:
        if address not in each.recipients:
            continue
        if each.name == "Transport rule":
            rule = find(call, "TransportRule", each.detail)
            detail = f"Transport rule: '{each.detail}', ID: ('{rule['Guid'] if rule else ''}')"
            yield each.name, "", detail, _data(call, "TransportRule", "", RuleName=each.detail)
        else:
            data = _data(call, "OutboundConnector", each.connector, ConnectorName=each.connector)
            yield each.name, "", f"Mail host: {each.detail}" if each.detail else "Mail host: by MX", data
    status = _status(call, passage, fate)
    if fate.end != "sent" and status in _LAST_EVENTS and not (fate.end == "deferred" and status == "Pending" and fate.host):
        detail = fate.status or fate.reason or {"junk": "Delivered to the Junk Email folder."}.get(fate.end, "")
        yield _LAST_EVENTS[status], fate.reason, detail, _data(call, "OutboundConnector", "")


def get_message_trace_detail(call: Call) -> list[dict[str, Any]]:
    """Get-MessageTraceDetailV2: the events of one recipient's copy, in order; Event and Action filter.

    Raises ExecutionError for a range that isn't accepted and the 101st query in five minutes.
    """
    _check_rate(call, "Get-MessageTraceDetailV2")
    start, end = _range(call)
    trace_id, address = str(call.parameters["MessageTraceId"]).lower(), str(call.parameters["RecipientAddress"]).lower()
    events, actions = _texts(call, "Event"), _texts(call, "Action")
    rows = []
    for passage in call.organization.mail.passages:
        fate = passage.fates.get(address)
        if passage.trace_id != trace_id or fate is None or not start <= passage.at <= end:
            continue
        for event, action, detail, data in _events(call, passage, address, fate):
            is_wanted = not events or bool(events & {event.lower(), event.partition(" ")[0].lower()})
            if is_wanted and (not actions or action.lower() in actions):
                shown = {"Event": event, "Action": action, "Detail": detail, "Data": data}
                rows.append({**_named(passage), "RecipientAddress": address, "Date": timestamp(passage.at), **shown})
    return rows


def _quarantined(call: Call) -> Iterator[dict[str, Any]]:
    """Yield a row for each message that quarantine still has, for each of its recipients, the latest first."""
    retention = timedelta(days=_retention(call))
    for passage in reversed(call.organization.mail.passages):
        for address, fate in passage.fates.items():
            if fate.end != "quarantined" or call.now >= passage.at + retention:
                continue
            yield {
                "Identity": f"{passage.trace_id}\\{uuid5(UUID(passage.trace_id), address)}",
                "Organization": call.organization.tenant_id,
                "MessageId": passage.message_id,
                "ReceivedTime": timestamp(passage.at),
                "Expires": timestamp(passage.at + retention),
                "SenderAddress": passage.sender,
                "RecipientAddress": [address],
                "Subject": passage.subject,
                "Size": int(passage.size_kb * 1024),
                "Type": fate.reason,
                "QuarantineTypes": fate.reason,
                "PolicyType": _POLICY_TYPES.get(fate.reason, "HostedContentFilterPolicy"),
                "Direction": "Inbound",
                "EntityType": "Email",
                "ReleaseStatus": "NotReleased",
                "Released": False,
                "SystemReleased": False,
                "Reported": False,
            }


_POLICY_TYPES: Mapping[str, str] = {"Malware": "AntiMalwarePolicy", "TransportRule": "ExchangeTransportRule"}


def _retention(call: Call) -> int:
    policies = call.organization.objects("HostedContentFilterPolicy")
    return next((int(each["QuarantineRetentionPeriod"]) for each in policies if each.get("IsDefault")), QUARANTINE_DAYS)


_QUARANTINE_SELECTORS: Mapping[str, str] = {
    "Identity": "Identity",
    "MessageId": "MessageId",
    "RecipientAddress": "RecipientAddress",
    "SenderAddress": "SenderAddress",
    "Type": "Type",
    "QuarantineTypes": "QuarantineTypes",
    "PolicyTypes": "PolicyType",
    "ReleaseStatus": "ReleaseStatus",
    "Direction": "Direction",
    "EntityType": "EntityType",
    "Subject": "Subject",
}


def _fits(row: Mapping[str, Any], name: str, wanted: set[str]) -> bool:
    value = row[_QUARANTINE_SELECTORS[name]]
    found = {str(each).lower() for each in (value if isinstance(value, list) else [value])}
    return bool(found & wanted)


def get_quarantine_messages(call: Call) -> list[dict[str, Any]]:
    """Get-QuarantineMessage: what a filter or a rule keeps; Page and PageSize cut.

    An Identity that names nothing is as if it were not given (the page warns of that). Raises ExecutionError for numbers out
    of bounds.
    """
    page, size = call.parameters.get("Page") or 1, call.parameters.get("PageSize") or 100
    if not (1 <= page <= 1000 and 1 <= size <= 1000):
        raise invalid("Page and PageSize must be between 1 and 1000.", VALIDATION)
    wanted = {name: texts for name in _QUARANTINE_SELECTORS if (texts := _texts(call, name))}
    bounds = [
        ("ReceivedTime", *(timestamp(_moment(call, f"{edge}ReceivedDate", other)) for edge, other in _edges(call))),
        ("Expires", *(timestamp(_moment(call, f"{edge}ExpiresDate", other)) for edge, other in _edges(call))),
    ]
    kept = list(_quarantined(call))
    if not any(_fits(row, "Identity", wanted.get("Identity", set())) for row in kept):
        wanted.pop("Identity", None)
    rows = [
        row
        for row in kept
        if all(_fits(row, name, texts) for name, texts in wanted.items())
        and all(low <= row[name] <= high for name, low, high in bounds)
    ]
    return rows[(page - 1) * size : page * size]


def _edges(call: Call) -> tuple[tuple[str, datetime], tuple[str, datetime]]:
    return ("Start", call.now - timedelta(days=365)), ("End", call.now + timedelta(days=365))
