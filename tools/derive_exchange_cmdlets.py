"""Derive the simulated tenant's table of Exchange cmdlets from the published cmdlet reference.

Reads `exchange-cmdlets.json` (parameters of Microsoft's cmdlet pages, office-docs-powershell) and writes names and types
only: one line a cmdlet, a parameter's type followed by `*` where each of its parameter sets requires it. Parameters that
exist only in on-premises Exchange are left out, because Exchange Online doesn't know them.

    python tools/derive_exchange_cmdlets.py ../shared/contracts/exchange-cmdlets.json \
        local/microsoft365/exchange/cmdlets.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

OPTIONAL = {
    ("Get-HostedOutboundSpamFilterPolicy", "Identity"): "example 1 of the page does without",
}
"""Parameters that a page calls required by mistake, each with what shows it."""


def is_required(cmdlet: str, name: str, details: Mapping[str, Any], sets: Sequence[str]) -> bool:
    """Tell whether a call must have the parameter: the page requires it, in every parameter set of the cmdlet."""
    everywhere = details["sets"] == "(All)" or len(details["sets"].split(", ")) == len(sets)
    return bool(details["required"]) and everywhere and (cmdlet, name) not in OPTIONAL


def parameter_types(cmdlet: str, details: Mapping[str, Any]) -> dict[str, str]:
    """Return the type of each parameter that Exchange Online has, with `*` after a required one."""
    return {
        name: each["type"] + ("*" if is_required(cmdlet, name, each, details["parameter_sets"]) else "")
        for name, each in details["parameters"].items()
        if each.get("cloud", True)
    }


def render(reference: Mapping[str, Any]) -> str:
    """Return the derived table as JSON text, one line a cmdlet, in a stable order."""
    head = {
        "source": f"github:MicrosoftDocs/office-docs-powershell@{reference['commit']} exchange/exchange-ps/ExchangePowerShell",
        "derived_by": "tools/derive_exchange_cmdlets.py",
    }
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
    cmdlets = [
        f"    {json.dumps(name)}: {json.dumps(parameter_types(name, details))}"
        for name, details in sorted(reference["cmdlets"].items())
    ]
    return "\n".join(["{", *lines, '  "cmdlets": {', ",\n".join(cmdlets), "  }", "}", ""])


def main(source: str, target: str) -> None:
    """Read the reference at `source` and write the table to `target`."""
    reference = json.loads(Path(source).read_text(encoding="utf-8"))
    Path(target).write_text(render(reference), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:3])
