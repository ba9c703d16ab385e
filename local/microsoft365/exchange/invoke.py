"""Runs one cmdlet for a caller: recognise, bind, execute, limit the result."""

from __future__ import annotations

from collections.abc import Container, Mapping
from datetime import datetime
from typing import Any

from local.microsoft365.exchange.binding import bind
from local.microsoft365.exchange.catalogue import HANDLERS
from local.microsoft365.exchange.definitions import documented_cmdlets
from local.microsoft365.exchange.errors import UNKNOWN_COMMAND, InvocationError
from local.microsoft365.exchange.objects import Call, Organization
from local.microsoft365.exchange.organization import check_customized
from local.microsoft365.exchange.wire import CmdletInput

DEFAULT_RESULT_SIZE = 1000
_MORE = (
    "There are more results available than are currently displayed. "
    "To view them, increase the value for the ResultSize parameter."
)


def canonical_name(name: str) -> str:
    """Return a cmdlet's documented name, or the name as given when it is not documented."""
    cmdlet = documented_cmdlets().get(name.lower())
    return cmdlet.name if cmdlet else name


def prepare(
    call: CmdletInput,
    organization: Organization,
    offered: Container[str],
    *,
    now: datetime,
    uncertain: Container[str] = (),
    customization_delay: float = 0.0,
    trace_delay: float = 0.0,
) -> Call:
    """Return the bound call; raises InvocationError for a cmdlet that is not offered or parameters that don't fit."""
    cmdlet = documented_cmdlets().get(call.name.lower())
    if cmdlet is None or cmdlet.name not in HANDLERS or cmdlet.name not in offered:
        message = (
            f"The term '{call.name}' is not recognized as the name of a cmdlet, function, script file, or operable "
            "program. Check the spelling of the name, or if a path was included, verify that the path is correct and "
            "try again."
        )
        raise InvocationError(message, kind=UNKNOWN_COMMAND)
    return Call(organization, bind(cmdlet, call.parameters), now, uncertain, customization_delay, trace_delay)


def execute(name: str, call: Call) -> list[Mapping[str, Any]]:
    """Return the rows of a bound call; with WhatIf nothing is done. Raises CommandError when it is refused."""
    if call.parameters.get("WhatIf"):
        return []
    cmdlet = canonical_name(name)
    check_customized(cmdlet, call)
    rows = HANDLERS[cmdlet](call)
    limit = call.parameters["ResultSize"] if call.given("ResultSize") else DEFAULT_RESULT_SIZE
    if limit is not None and len(rows) > limit:
        call.warnings.append(_MORE)
        return list(rows[:limit])
    return list(rows)
