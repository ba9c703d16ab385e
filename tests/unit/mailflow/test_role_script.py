"""The script of the role group: the needed cmdlets and no other, with parameters that Exchange's cmdlets have."""

import json
import re
from pathlib import Path

import pytest

from shared.mailflow.kinds import NEEDED_CMDLETS, OPTIONAL_READS, TRACE, TRACE_DETAIL
from shared.mailflow.role_script import role_group_name, role_group_script

APPLICATION, OBJECT = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
CMDLETS = Path(__file__).parents[3].parent / "shared" / "contracts" / "exchange-cmdlets.json"
SCRIPT = role_group_script(APPLICATION, OBJECT, "Grantline")
CALL = re.compile(r"(?<![\w'-])([A-Z][a-z]+-[A-Z]\w+)((?: (?:-?\$?[\w.()]+|'[^'\n]*'|\"[^\"\n]*\"))*)")
OF_POWERSHELL = {
    "Write-Warning",
    "Write-Host",
    "Read-Host",
    "Where-Object",
    "ForEach-Object",
    "Sort-Object",
    "Select-Object",
    "Out-Null",
}
"""PowerShell's own, and the module's sign-in."""


def _calls() -> dict[str, set[str]]:
    """Return the cmdlets that the script runs, each with the names of the parameters that it is given."""
    code = SCRIPT.partition("#>")[2]
    code = re.sub(r"\$(needed|wished) = @\(.*?\n\)", "", code, flags=re.DOTALL)
    found: dict[str, set[str]] = {}
    for cmdlet, arguments in CALL.findall(code):
        found.setdefault(cmdlet, set()).update(re.findall(r" -([A-Z]\w+)", arguments))
    return found


def test_the_group_gets_what_is_needed_and_nothing_else() -> None:
    """The list is the one of the workflows, each name once; beside it stands only what the checks read where it is offered."""
    (listed,) = re.findall(r"\$needed = @\((.*?)\n\)", SCRIPT, flags=re.DOTALL)
    names = re.findall(r"'([^']+)'", listed)

    assert sorted(names) == sorted(NEEDED_CMDLETS)
    (beside,) = re.findall(r"\$wished = @\((.*?)\n\)", SCRIPT, flags=re.DOTALL)
    assert sorted(re.findall(r"'([^']+)'", beside)) == sorted([*OPTIONAL_READS, TRACE, TRACE_DETAIL])
    assert all(name.startswith("Get-") for name in OPTIONAL_READS)
    assert not {name for name in names if name.startswith(("Remove-Role", "Remove-Service", "Add-Role", "New-Management"))}


def test_it_names_this_application_alone() -> None:
    """Both ids stand in it, quoted; the group bears the product's name."""
    assert f"$applicationId = '{APPLICATION}'" in SCRIPT
    assert f"$objectId = '{OBJECT}'" in SCRIPT
    assert f"$group = '{role_group_name('Grantline')}'" in SCRIPT
    assert set(re.findall(r"[0-9a-f]{8}-[0-9a-f-]{27}", SCRIPT)) == {APPLICATION, OBJECT}


def test_it_takes_nothing_away() -> None:
    """Only the help at its head tells how to take everything back; no Microsoft Entra role is touched."""
    assert not [cmdlet for cmdlet in _calls() if cmdlet.startswith(("Remove-", "Set-", "Disable-"))]
    assert "MgRole" not in SCRIPT


def test_its_calls_are_microsofts() -> None:
    """Every Exchange cmdlet of the script that Microsoft's data has takes the parameters that it is given."""
    if not CMDLETS.is_file():
        pytest.skip("Microsoft's cmdlet parameters are not there (../shared/contracts)")
    known = {name: set(entry["parameters"]) for name, entry in json.loads(CMDLETS.read_text())["cmdlets"].items()}
    calls = _calls()
    checked = calls.keys() & known.keys()

    assert checked >= {"New-ServicePrincipal", "New-RoleGroup", "Add-RoleGroupMember", "Get-ManagementRole", "Get-RoleGroup"}
    assert {cmdlet: names - known[cmdlet] for cmdlet, names in calls.items() if cmdlet in checked and names - known[cmdlet]} == {}
    assert calls.keys() - known.keys() - OF_POWERSHELL == {
        "Connect-ExchangeOnline",
        "New-ManagementRole",
        "Add-ManagementRoleEntry",
    }
