"""What a refusal of Microsoft means to Grantline: tables of patterns, tried in order, the first match wins.

Sources: https://learn.microsoft.com/entra/identity-platform/reference-error-codes (AADSTS codes),
https://learn.microsoft.com/graph/errors, and for Exchange bodies recorded by third parties (rknightion/graph2otel
internal/exoclient, KelvinTegelaar/CIPP-API New-ExoRequest.ps1). Microsoft asks not to depend on texts, so an answer that no
pattern knows is a problem with its raw text, never a guess. No error carries a token, code or secret.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any

import httpx

from shared.domain.problems import GrantlineError, Problem, problem
from shared.ports import NotFoundError, NotYetError, RefusedError, TransientError
from shared.telemetry import redact


class Service(StrEnum):
    """Who answered, in the words that people read."""

    ENTRA = "Microsoft Entra"
    GRAPH = "Microsoft Graph"
    EXCHANGE = "Exchange Online"


class Reaction(StrEnum):
    """What to do about an answer that no person can put right."""

    NOT_YET = "not_yet"
    TRANSIENT = "transient"
    NOT_FOUND = "not_found"


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


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of a table: what an answer that matches ``pattern`` means; a reaction, or the code of a problem."""

    pattern: str
    meaning: Reaction | str


Rules = Sequence[Rule]


def _aadsts(*codes: int) -> str:
    return rf"AADSTS({'|'.join(map(str, codes))})\b"


_BUSY = Rule(r"^(408|429|5\d\d)\b", Reaction.TRANSIENT)

_REGISTRATION = (7000215, 7000222, 700027, 700211, 700212, 700213, 7002131, 700024, 650056, 650057, 70011)
_SIGN_IN: Rules = (
    Rule(_aadsts(65004), "consent_denied"),
    Rule(_aadsts(90094, 90095), "not_administrator"),
    Rule(_aadsts(650052, 500011), "no_exchange"),
    Rule(_aadsts(*_REGISTRATION), "our_registration"),
    Rule(_aadsts(50105), "assignment_required"),
    Rule(_aadsts(50020, 50177, 90072), "tenant_differs"),
    Rule(_aadsts(90002, 900023), "tenant_unknown"),
    Rule(_aadsts(5000224), "tenant_blocked"),
    Rule(_aadsts(90038), "other_cloud"),
    Rule(_aadsts(53003), "conditional_access"),
    Rule(_aadsts(50076, 50079, 501481, 54005, 70008), "sign_in_again"),
    Rule(_aadsts(500021), "network_restricted"),
    Rule(_aadsts(7000112), "application_disabled"),
)

TOKEN: Rules = (
    _BUSY,
    Rule(_aadsts(90033), Reaction.TRANSIENT),
    # Before a consent has spread, the token endpoint knows neither application nor consent.
    Rule(_aadsts(7000229, 65001, 700016, 650051), Reaction.NOT_YET),
    *_SIGN_IN,
    Rule("", "unexpected"),
)
"""The token endpoint's answers to an application that asks for itself."""

CODE: Rules = (
    _BUSY,
    Rule(_aadsts(90033), Reaction.TRANSIENT),
    *_SIGN_IN,
    Rule(_aadsts(700016, 7000229), "our_registration"),
    Rule("", "sign_in_again"),
)
"""The token endpoint's answers to a code."""

REDIRECT: Rules = (
    Rule(r"^0 permission_denied\b", "consent_denied"),
    *_SIGN_IN,
    Rule(_aadsts(700016), "our_registration"),
    Rule(_aadsts(65001), "consent_without_effect"),
    Rule(r"^0 consent_required\b", "consent_denied"),
    Rule("", "sign_in_failed"),
)
"""Errors that a browser brings back."""

DIRECTORY: Rules = (
    _BUSY,
    Rule(r"^(409|423)\b", Reaction.TRANSIENT),
    Rule(r"ExpiredPageToken|^410\b", "page_expired"),
    # Graph has not heard of a fresh service principal: 401, or Authorization_IdentityNotFound.
    Rule(r"^401\b|IdentityNotFound", Reaction.NOT_YET),
    Rule("", "graph_refused"),
)
"""Graph's answers to the directory application."""

ROLES: Rules = (
    _BUSY,
    Rule(r"^423\b|ConcurrencyViolation", Reaction.TRANSIENT),
    # The principal has not spread: 404, or 400 "... does not exist or one of its queried reference-property objects ...".
    Rule(r"^404\b|^400 .*(does not exist|reference update)", Reaction.NOT_YET),
    Rule(r"^401\b", "sign_in_again"),
    Rule("", "role_refused"),
)
"""Graph's answers to the role helper."""

ROLE_IS_THERE = re.compile(r"conflicting object|already exists|^409\b")
"""A refusal of an assignment that exists: 400 "A conflicting object with one or more of the specified property values ..."."""

EXCHANGE: Rules = (
    _BUSY,
    Rule(r"TransientException|ServerBusy|Expired or Invalid pagination", Reaction.TRANSIENT),
    # Before the role has spread: 401, or a 403 whose body is a run of NUL bytes and therefore has no text here.
    Rule(r"^401\b|^403$|isn't supported in this scenario", Reaction.NOT_YET),
    Rule(r"ManagementObjectNotFoundException|^404 NotFound\b", Reaction.NOT_FOUND),
    Rule(r"CommandNotFoundException|n't recognized as|not recognized as|role definition", "cmdlet_not_offered"),
    Rule(r"Enable-OrganizationCustomization", "organization_not_customized"),
    Rule("", "exchange_refused"),
)
"""Exchange's answers to the mail-flow application."""


def error_of(answer: Answer, rules: Rules) -> GrantlineError:
    """Return the error that an answer means; the last rule of a table matches everything."""
    meaning = _meaning(answer, rules)
    text = redact(answer.text)
    match meaning:
        case Reaction.TRANSIENT:
            return TransientError(_busy(answer), answer.retry_after)
        case Reaction.NOT_YET:
            return NotYetError(f"{answer.service} does not know yet what was just granted", text or f"HTTP {answer.status}")
        case Reaction.NOT_FOUND:
            return NotFoundError(text)
        case _:
            found = problem(meaning, raw=text or f"HTTP {answer.status}", correlation_id=answer.correlation_id)
            return RefusedError(f"{answer.service} refuses: {_first_line(found.raw)}", found)


def redirect_problem(error: str, description: str) -> Problem:
    """Return the problem that an error redirect of Microsoft stands for."""
    answer = Answer(Service.ENTRA, 0, error, description, correlation_of(description))
    return problem(_meaning(answer, REDIRECT), raw=redact(f"{error}: {description}"), correlation_id=answer.correlation_id)


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


def graph_answer(response: httpx.Response) -> Answer:
    """Read an error answer of Microsoft Graph."""
    error = _mapping(json_of(response).get("error"))
    inner = _mapping(error.get("innerError"))
    return Answer(
        Service.GRAPH,
        response.status_code,
        str(error.get("code", "")),
        str(error.get("message", "")),
        str(inner.get("request-id") or response.headers.get("request-id", "")),
        retry_after(response.headers),
    )


def exchange_answer(response: httpx.Response) -> Answer:
    """Read an error answer of Exchange's admin endpoint.

    The text for people is the internal exception's message, unless that is only the generic "Exception of type ..."; then it is
    the first detail's, which reads ``ExNNNNNN|.NET type|text``; then the error's own.
    """
    error = _mapping(json_of(response).get("error"))
    internal = _mapping(_mapping(error.get("innererror")).get("internalexception"))
    details = error.get("details")
    detail = str(_mapping(details[0]).get("message", "")) if isinstance(details, list) and details else ""
    kind, text = _split_detail(detail)
    message = str(internal.get("message", ""))
    if message and not message.startswith("Exception of type"):
        kind, text = str(internal.get("type", "")) or kind, message
    return Answer(
        Service.EXCHANGE,
        response.status_code,
        f"{error.get('code', '')} {kind}".strip(),
        text or str(error.get("message", "")),
        str(response.headers.get("request-id", "")),
        retry_after(response.headers),
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


def _meaning(answer: Answer, rules: Rules) -> Reaction | str:
    return next(rule.meaning for rule in rules if re.search(rule.pattern, answer.line))


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
