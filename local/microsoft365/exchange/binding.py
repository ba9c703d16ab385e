"""Binds the parameters of a call to those that a cmdlet documents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local.microsoft365.exchange.definitions import Cmdlet
from local.microsoft365.exchange.errors import AMBIGUOUS, MISSING_PARAMETER, InvocationError
from local.microsoft365.exchange.values import convert

# PowerShell's common parameters, which any cmdlet takes (about_CommonParameters).
COMMON_PARAMETERS = frozenset(
    {"verbose", "debug", "erroraction", "warningaction", "informationaction", "errorvariable", "warningvariable"}
)


def bind(cmdlet: Cmdlet, supplied: Mapping[str, object]) -> dict[str, Any]:
    """Return the supplied parameters under their documented names, converted to their types.

    Raises InvocationError for a parameter that the cmdlet doesn't have, a value that doesn't fit its type, or a
    required parameter that is missing.
    """
    given = {name: value for name, value in supplied.items() if name.lower() not in COMMON_PARAMETERS}
    unknown = [name for name in given if name.lower() not in cmdlet.parameters]
    if unknown:
        message = (
            "Parameter set cannot be resolved using the specified named parameters. "
            f"Invalid cmdlet parameters specified. {', '.join(unknown)}"
        )
        raise InvocationError(message, kind=AMBIGUOUS)
    definitions = [(cmdlet.parameters[name.lower()], value) for name, value in given.items()]
    bound = {definition.name: convert(definition, value) for definition, value in definitions}
    _require(cmdlet, bound)
    return bound


def _require(cmdlet: Cmdlet, bound: Mapping[str, Any]) -> None:
    missing = [
        parameter.name
        for parameter in cmdlet.parameters.values()
        if parameter.required and bound.get(parameter.name) in (None, "")
    ]
    if missing:
        message = f"Cannot process command because of one or more missing mandatory parameters: {' '.join(missing)}."
        raise InvocationError(message, kind=MISSING_PARAMETER)
