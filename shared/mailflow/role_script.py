"""The script by which a customer's administrator gives the application an Exchange role group with the needed cmdlets alone.

Less than the Exchange Administrator role: the cmdlets are those that the workflows use. An application's rights come from
custom role groups as well (https://learn.microsoft.com/powershell/exchange/app-only-auth-powershell-v2, "Assign custom Exchange
Online role groups"); cmdlets: New-ServicePrincipal, New-ManagementRole with EnabledCmdlets, New-RoleGroup and Add-RoleGroupMember
(https://learn.microsoft.com/powershell/module/exchangepowershell). Which built-in role offers a cmdlet is asked of the tenant,
because roles differ between tenants. No real Exchange Online has run it yet: the simulated tenant knows its result, not its run.
"""

from collections.abc import Iterable
from string import Template

from shared.mailflow.kinds import NEEDED_CMDLETS, OPTIONAL_READS, TRACE, TRACE_DETAIL

_SCRIPT = Template(r"""<#
.SYNOPSIS
    Gives the application of $product an Exchange role group with only the cmdlets that it needs.
.DESCRIPTION
    Run it once in PowerShell 7 as an Exchange administrator, with the module ExchangeOnlineManagement. Running it again changes
    nothing that is right already, and adds what a newer release needs. It does not assign any Microsoft Entra role.
    To take all of it back:
        Remove-RoleGroup '$group'
        Get-ManagementRole | Where-Object Name -like '$group *' | Remove-ManagementRole
        Remove-ServicePrincipal '$object_id'
#>
$$ErrorActionPreference = 'Stop'
$$group = '$group'
$$applicationId = '$application_id'
$$objectId = '$object_id'
$$needed = @(
$cmdlets
)
# What the checks read beside, and message trace: where no role of the tenant offers one, it is left out.
$$wished = @(
$wished
)

Connect-ExchangeOnline -ShowBanner:$$false

if ((Get-OrganizationConfig).IsDehydrated) {
    Write-Warning 'The organization must be enabled for customization first. This cannot be undone.'
    if ((Read-Host 'Enable it now? (yes/no)') -ne 'yes') { throw 'Nothing was changed.' }
    Enable-OrganizationCustomization
}

if (-not (Get-ServicePrincipal | Where-Object AppId -eq $$applicationId)) {
    New-ServicePrincipal -AppId $$applicationId -ObjectId $$objectId -DisplayName $$group | Out-Null
}

# Which of the tenant's built-in roles offers which of the needed cmdlets.
$$offered = @{}
$$available = @()
foreach ($$cmdlet in $$needed + $$wished) {
    $$parents = Get-ManagementRole -Cmdlet $$cmdlet | Where-Object { $$_.IsRootRole -and -not $$_.IsEndUserRole }
    if (-not $$parents) {
        if ($$cmdlet -in $$wished) { continue }
        throw "No role of this tenant offers $$cmdlet."
    }
    $$available += $$cmdlet
    foreach ($$parent in $$parents) { $$offered[$$parent.Name] = @($$offered[$$parent.Name]) + $$cmdlet | Where-Object { $$_ } }
}

# As few roles as possible, each cut down to the needed cmdlets.
$$left = $$available
$$roles = @()
while ($$left) {
    # The name decides between equals, so that every run chooses alike.
    $$byUse = @{ Expression = { @($$_.Value | Where-Object { $$_ -in $$left }).Count }; Descending = $$true }
    $$best = $$offered.GetEnumerator() | Sort-Object $$byUse, @{ Expression = { $$_.Key } } | Select-Object -First 1
    $$wanted = @($$best.Value | Where-Object { $$_ -in $$left })
    $$name = "$$group $$($$best.Key)"
    $$name = $$name.Substring(0, [Math]::Min(64, $$name.Length))
    if (Get-ManagementRole | Where-Object Name -eq $$name) {
        $$has = @(Get-ManagementRoleEntry "$$name\*").Name
        $$wanted | Where-Object { $$_ -notin $$has } | ForEach-Object { Add-ManagementRoleEntry "$$name\$$_" | Out-Null }
    } else {
        New-ManagementRole -Name $$name -Parent $$best.Key -EnabledCmdlets $$wanted | Out-Null
    }
    $$roles += $$name
    $$left = @($$left | Where-Object { $$_ -notin $$wanted })
}

if (Get-RoleGroup | Where-Object Name -eq $$group) {
    foreach ($$role in $$roles) {
        if (-not (Get-ManagementRoleAssignment -RoleAssignee $$group -Role $$role)) {
            New-ManagementRoleAssignment -SecurityGroup $$group -Role $$role | Out-Null
        }
    }
} else {
    New-RoleGroup -Name $$group -Roles $$roles -Description 'Only the cmdlets that $product needs.' | Out-Null
}
$$member = (Get-ServicePrincipal | Where-Object AppId -eq $$applicationId).Identity
try {
    Add-RoleGroupMember $$group -Member $$member
} catch {
    if ($$_.Exception.Message -notmatch 'already a member') { throw }
}
Write-Host "Done. The role group '$$group' offers $$($$available.Count) cmdlets. Exchange notices it after minutes, rarely hours."
""")


def role_group_name(product_name: str) -> str:
    """Return the name of the role group; the roles in it begin with it."""
    return f"{product_name} mail flow"


def role_group_script(application_id: str, object_id: str, product_name: str) -> str:
    """Return the PowerShell script for one tenant.

    ``application_id`` is the client id, ``object_id`` the id of its service principal in the tenant (Microsoft Entra's "Object
    ID" of the enterprise application), both GUIDs; ``product_name`` is that of the settings, which holds no quotes.
    """
    return _SCRIPT.substitute(
        product=product_name,
        group=role_group_name(product_name),
        application_id=application_id,
        object_id=object_id,
        cmdlets=_listed(NEEDED_CMDLETS),
        wished=_listed([*OPTIONAL_READS, TRACE, TRACE_DETAIL]),
    )


def _listed(names: Iterable[str]) -> str:
    return ",\n".join(f"    '{name}'" for name in sorted(names))
