"""Reads refusals of Microsoft, and raises what they mean (``refusals`` holds the tables).

Sources of the bodies: https://learn.microsoft.com/graph/errors, and for Exchange bodies recorded by third parties
(rknightion/graph2otel internal/exoclient, KelvinTegelaar/CIPP-API New-ExoRequest.ps1). No error carries a token, code or secret.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any

import httpx

from shared.domain.problems import GrantlineError, Problem, problem
from shared.microsoft.refusals import (
    ACTIVITY,
    APPLICATION_ROLES,
    CODE,
    DIRECTORY,
    EXCHANGE,
    PIM_STATUS,
    POLICY_RULES,
    REDIRECT,
    ROLES,
    TOKEN,
    Reaction,
    Rules,
)
from shared.ports import NotFoundError, NotYetError, PolicyRefusedError, RefusedError, TransientError
from shared.telemetry import redact

__all__ = [
    "ACTIVITY",
    "APPLICATION_ROLES",
    "CODE",
    "DIRECTORY",
    "EXCHANGE",
    "ROLES",
    "TOKEN",
    "Answer",
    "ExpiredPageError",
    "Reaction",
    "Rules",
    "Service",
    "activity_answer",
    "correlation_of",
    "entra_answer",
    "error_of",
    "exchange_answer",
    "graph_answer",
    "graph_answer_of",
    "json_object",
    "json_of",
    "meaning",
    "parameters_named",
    "redirect_problem",
    "retry_after",
    "status_problem",
    "unreachable",
    "unreadable",
]


@dataclass
class ExpiredPageError(TransientError):
    """Raised when a page of a collection is asked for too late, or of a server that does not know it: the first one is there."""


class Service(StrEnum):
    """Who answered, in the words that people read."""

    ENTRA = "Microsoft Entra"
    GRAPH = "Microsoft Graph"
    EXCHANGE = "Exchange Online"
    ACTIVITY = "The Office 365 Management Activity API"


@dataclass(frozen=True, slots=True)
class Answer:
    """A refusal, as far as it could be read. ``status`` is 0 where the refusal came through a browser."""

    service: Service
    status: int
    code: str = ""
    text: str = ""
    correlation_id: str = ""
    retry_after: timedelta | None = None

    @property
    def line(self) -> str:
        """The text that patterns are matched with: status, code, text."""
        return f"{self.status} {self.code} {self.text}".strip()

    @property
    def raw(self) -> str:
        """What Microsoft said, for people; the texts of Entra and Exchange carry their codes themselves."""
        has_code = self.code and self.service in (Service.GRAPH, Service.ACTIVITY)
        told = f"{self.code}: {self.text}".rstrip(": ") if has_code else self.text
        return redact(told) or f"HTTP {self.status}"


def meaning(answer: Answer, rules: Rules) -> Reaction | str:
    """Return what an answer means: a reaction, or the code of a problem; the last rule of a table matches everything."""
    return next(rule.meaning for rule in rules if re.search(rule.pattern, answer.line))


def error_of(answer: Answer, rules: Rules) -> GrantlineError:
    """Return the error that an answer means.

    What is there already, and a tenant without the licence, are for the caller to look for; unlooked for, they are unexpected.
    """
    match found := meaning(answer, rules):
        case Reaction.TRANSIENT | Reaction.EXPIRED_PAGE:
            kind = ExpiredPageError if found is Reaction.EXPIRED_PAGE else TransientError
            return kind(_busy(answer), answer.retry_after)
        case Reaction.NOT_YET:
            return NotYetError(f"{answer.service} does not know yet what was just granted", answer.raw)
        case Reaction.NOT_FOUND:
            return NotFoundError(answer.raw)
        case Reaction.POLICY:
            return _policy_refused(answer)
        case Reaction.ALREADY | Reaction.UNLICENSED:
            return _refused(answer, "unexpected")
        case _:
            return _refused(answer, found)


def status_problem(status: str) -> RefusedError | None:
    """Return the error of a request for a role that was taken and yet assigns nothing; None for all other states."""
    code = PIM_STATUS.get(status)
    return RefusedError(f"{Service.GRAPH} took the request: {status}", problem(code, raw=f"status: {status}")) if code else None


def _policy_refused(answer: Answer) -> PolicyRefusedError:
    """Microsoft's text names the rules in a JSON list: ``The following policy rules failed: ["MfaRule"]``."""
    rules = frozenset(re.findall(r"\b[A-Z]\w*Rule\b", answer.text))
    refused = _refused(answer, POLICY_RULES.get(rules, "role_by_hand"))
    return PolicyRefusedError(refused.message, refused.problem, rules=rules)


def _refused(answer: Answer, code: str) -> RefusedError:
    found = problem(code, raw=answer.raw, correlation_id=answer.correlation_id)
    if code == "exchange_refused" and (named := parameters_named(answer.text)):
        found = replace(found, cause=f"{found.cause} It names the parameter {named}.")
    return RefusedError(f"{answer.service} refuses: {_first_line(found.raw)}", found)


_PARAMETERS = (
    r"\bparameter(?: name)? '(\w+)'",
    r"\b[Ii]nvalid cmdlet parameters specified\. (\w+(?:, \w+)*)",
    r"\bmissing mandatory parameters: (\w+(?:,? \w+)*)",
)


def parameters_named(text: str) -> str:
    """Return the parameters that Exchange's text of a validation error names, or "".

    Recorded texts: github.com/rknightion/graph2otel internal/exoclient/errors_test.go; the binder's texts are PowerShell's own
    (https://github.com/PowerShell/PowerShell ParameterBinderStrings.resx).
    """
    found = (re.search(pattern, text) for pattern in _PARAMETERS)
    return next((match[1] for match in found if match), "")


def redirect_problem(error: str, description: str) -> Problem:
    """Return the problem that an error redirect of Microsoft stands for."""
    answer = Answer(Service.ENTRA, 0, error, description, correlation_of(description))
    return problem(meaning(answer, REDIRECT), raw=redact(f"{error}: {description}"), correlation_id=answer.correlation_id)


def unreachable(service: Service, error: Exception) -> TransientError:
    """Return the error of a request that got no answer; only the kind of fault is told."""
    return TransientError(f"{service} can't be reached ({type(error).__name__})")


def unreadable(service: Service, status: int) -> TransientError:
    """Return the error of an answer that is not what the service documents."""
    return TransientError(f"{service} gave an answer that can't be read (HTTP {status})")


def entra_answer(status: int, body: Mapping[str, Any], retry_after: timedelta | None = None) -> Answer:
    """Read an error body of the token endpoint: error, error_description, error_codes, correlation_id."""
    text = str(body.get("error_description", ""))
    correlation = str(body.get("correlation_id") or correlation_of(text))
    return Answer(Service.ENTRA, status, str(body.get("error", "")), text, correlation, retry_after)


def graph_answer(response: httpx.Response, service: Service = Service.GRAPH) -> Answer:
    """Read an error answer of Microsoft Graph."""
    return graph_answer_of(response.status_code, response.headers, json_of(response), service)


def graph_answer_of(
    status: int, headers: Mapping[str, str], document: Mapping[str, Any], service: Service = Service.GRAPH
) -> Answer:
    """Read an error of Microsoft Graph from the parts of its answer, which stand alone in the answer to a batch.

    Privileged Identity Management has been seen to answer ``UnknownError`` with a JSON text as its message, and without the
    wrapping ``error``: ``{"errorCode", "message"}`` either way.
    """
    error = _mapping(document.get("error")) or document
    inner = _mapping(error.get("innerError"))
    told = json_object(str(error.get("message", ""))) or error
    return Answer(
        service,
        status,
        str(told.get("errorCode") or error.get("code", "")),
        str(told.get("message", "")),
        str(inner.get("request-id") or headers.get("request-id", "")),
        retry_after(headers),
    )


def activity_answer(response: httpx.Response) -> Answer:
    """Read an error answer of the Office 365 Management Activity API, which is wrapped as Graph's are."""
    return graph_answer(response, Service.ACTIVITY)


def exchange_answer(status: int, headers: Mapping[str, str], document: Mapping[str, Any]) -> Answer:
    """Read an error answer of Exchange's admin endpoint.

    The text for people is the internal exception's message, unless that is only the generic "Exception of type ..."; then it is
    the first detail's, which reads ``ExNNNNNN|.NET type|text``; then the error's own.
    """
    error = _mapping(document.get("error"))
    internal = _mapping(_mapping(error.get("innererror")).get("internalexception"))
    details = error.get("details")
    detail = str(_mapping(details[0]).get("message", "")) if isinstance(details, list) and details else ""
    kind, text = _split_detail(detail)
    message = str(internal.get("message", ""))
    if message and not message.startswith("Exception of type"):
        kind, text = str(internal.get("type", "")) or kind, message
    return Answer(
        Service.EXCHANGE,
        status,
        f"{error.get('code', '')} {kind}".strip(),
        text or str(error.get("message", "")),
        str(headers.get("request-id", "")),
        retry_after(headers),
    )


def json_of(response: httpx.Response) -> Mapping[str, Any]:
    """Return the JSON object in a body, or an empty one when there is none (Exchange's NUL bytes, a gateway's page)."""
    return json_object(response.content)


def json_object(content: str | bytes) -> Mapping[str, Any]:
    """Return the JSON object that ``content`` is, or an empty one."""
    try:
        return _mapping(json.loads(content))
    except ValueError:
        return {}


def retry_after(headers: Mapping[str, str]) -> timedelta | None:
    """Return the wish of a Retry-After header: seconds, or a date, counted from the answer's own date (RFC 9110 10.2.3)."""
    value = headers.get("Retry-After", "")
    if value.isdigit():
        return timedelta(seconds=int(value))
    try:
        return max(timedelta(), parsedate_to_datetime(value) - parsedate_to_datetime(headers.get("Date", "")))
    except (TypeError, ValueError):
        return None


def correlation_of(text: str) -> str:
    """Return the correlation id in an Entra error text, or ""."""
    found = re.search(r"Correlation ID: ([0-9a-f-]{36})", text)
    return found[1] if found else ""


def _busy(answer: Answer) -> str:
    return f"{answer.service} asks to slow down" if answer.status == 429 else f"{answer.service} is busy (HTTP {answer.status})"


def _first_line(text: str) -> str:
    return text.splitlines()[0] if text else ""


def _split_detail(detail: str) -> tuple[str, str]:
    """Split ``ExNNNNNN|Type|text`` into type and text; a detail of another form is text alone."""
    parts = detail.split("|", 2)
    return (parts[1], parts[2]) if len(parts) == 3 else ("", detail)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
