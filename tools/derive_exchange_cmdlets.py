"""Derive the simulated tenant's table of Exchange cmdlets from the published cmdlet reference.

Reads `exchange-cmdlets.json` (parameters of Microsoft's cmdlet pages, office-docs-powershell) and writes names and types
only: one line a cmdlet, a parameter's type followed by `*` where it is required. Parameters that exist only in
on-premises Exchange are left out, because Exchange Online doesn't know them.

    python tools/derive_exchange_cmdlets.py ../shared/contracts/exchange-cmdlets.json \
        local/microsoft365/exchange/cmdlets.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def parameter_types(parameters: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return the type of each parameter that Exchange Online has, with `*` after a required one."""
    return {
        name: details["type"] + ("*" if details["required"] else "")
        for name, details in parameters.items()
        if details.get("cloud", True)
    }


def render(reference: Mapping[str, Any]) -> str:
    """Return the derived table as JSON text, one line a cmdlet, in a stable order."""
    head = {
        "source": f"github:MicrosoftDocs/office-docs-powershell@{reference['commit']} exchange/exchange-ps/ExchangePowerShell",
        "derived_by": "tools/derive_exchange_cmdlets.py",
    }
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
    cmdlets = [
        f"    {json.dumps(name)}: {json.dumps(parameter_types(details['parameters']))}"
        for name, details in sorted(reference["cmdlets"].items())
    ]
    return "\n".join(["{", *lines, '  "cmdlets": {', ",\n".join(cmdlets), "  }", "}", ""])


def main(source: str, target: str) -> None:
    """Read the reference at `source` and write the table to `target`."""
    reference = json.loads(Path(source).read_text(encoding="utf-8"))
    Path(target).write_text(render(reference), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:3])
