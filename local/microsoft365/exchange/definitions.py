"""The cmdlets that Exchange documents, with the names and types of their parameters.

The table `cmdlets.json` is derived by `tools/derive_exchange_cmdlets.py` from Microsoft's cmdlet pages.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a cmdlet: its name as documented, its .NET type, whether it must be given."""

    name: str
    type: str
    required: bool


@dataclass(frozen=True, slots=True)
class Cmdlet:
    """A documented cmdlet; `parameters` is keyed by the parameter's name in lower case."""

    name: str
    parameters: Mapping[str, Parameter]


def _parameter(name: str, type_text: str) -> Parameter:
    return Parameter(name, type_text.removesuffix("*"), type_text.endswith("*"))


@cache
def documented_cmdlets() -> Mapping[str, Cmdlet]:
    """Return every documented cmdlet, keyed by its name in lower case (PowerShell ignores case)."""
    table = json.loads(Path(__file__).with_name("cmdlets.json").read_text(encoding="utf-8"))
    return {
        name.lower(): Cmdlet(name, {key.lower(): _parameter(key, value) for key, value in parameters.items()})
        for name, parameters in table["cmdlets"].items()
    }
