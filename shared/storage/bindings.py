"""The ``bindings`` table: one tenant has at most one account; one account has one live grant for a service."""

from dataclasses import replace
from datetime import timedelta

from shared.domain.grant import SERVICE
from shared.ports import Binding, ConflictError
from shared.storage import keys
from shared.storage.records import BINDING
from shared.storage.table import Table

BINDING_ROW = "binding"
SERVICE_ROW = f"service|{SERVICE}"
RESERVATION = timedelta(hours=1)
"""How long a mere reservation holds a tenant against other accounts."""
MAXIMUM_FORMER = 20
"""How many grants that had a tenant before are remembered: what older ones made was taken over long ago."""
ATTEMPTS = 10
"""How often a binding reads again: rivals for one tenant or account are few."""
VERSION = 1


class TableBindings:
    """Implements ``ports.Bindings``."""

    def __init__(self, bindings: Table) -> None:
        self._table = bindings

    async def tenant(self, tenant_id: str) -> Binding | None:
        """Return who has the tenant."""
        found = await self._table.get(tenant_partition(tenant_id), BINDING_ROW)
        return BINDING.read(found.columns) if found else None

    async def bind_tenant(self, binding: Binding, *, instead_of: str = "") -> Binding:
        """Insert or replace the tenant's binding, unless another account has it; return the binding that stands.

        Another account's mere reservation gives way once it is an hour older than ``binding``, and whatever names the grant
        ``instead_of``, which the caller knows to be released. What is confirmed stays confirmed. Raises ConflictError when
        rivals keep changing it.
        """
        partition = tenant_partition(binding.tenant_id)
        for _ in range(ATTEMPTS):
            found = await self._table.get(partition, BINDING_ROW)
            standing = BINDING.read(found.columns) if found else None
            wanted = succeed(standing, binding, instead_of)
            row = keys.entity(partition, BINDING_ROW, BINDING.write(wanted))
            if wanted is standing or await self._table.write(row, found):
                return wanted
        raise ConflictError(f"tenant {binding.tenant_id} is being bound by others")

    async def live_grant(self, account_id: str) -> str | None:
        """Return the id of the account's live grant for the service."""
        found = await self._table.get(account_partition(account_id), SERVICE_ROW)
        return str(found.columns["grant_id"]) if found else None

    async def bind_account(self, account_id: str, grant_id: str, *, instead_of: str = "") -> str:
        """Name the account's live grant, unless it has another than ``instead_of``; return the id of the one that stands.

        Raises ConflictError when rivals keep changing it.
        """
        partition = account_partition(account_id)
        for _ in range(ATTEMPTS):
            found = await self._table.get(partition, SERVICE_ROW)
            standing = str(found.columns["grant_id"]) if found else instead_of
            if standing != instead_of:
                return standing
            row = keys.entity(partition, SERVICE_ROW, {"version": VERSION, "grant_id": grant_id})
            if await self._table.write(row, found):
                return grant_id
        raise ConflictError(f"account {account_id} is being bound by others")


def succeed(standing: Binding | None, wanted: Binding, instead_of: str = "") -> Binding:
    """Return which binding is to stand: the standing one itself where it holds against the wanted one."""
    if standing is None:
        return replace(wanted, former_grants=())
    former = standing.former_grants
    if standing.grant_id != wanted.grant_id:
        former = (standing.grant_id, *former)[:MAXIMUM_FORMER]
    wanted = replace(wanted, former_grants=former)
    if instead_of and standing.grant_id == instead_of and standing.account_id != wanted.account_id:
        return wanted
    if standing.account_id == wanted.account_id:
        return replace(wanted, confirmed=wanted.confirmed or standing.confirmed)
    is_stale = not standing.confirmed and wanted.reserved_at - standing.reserved_at >= RESERVATION
    return wanted if is_stale else standing


def tenant_partition(tenant_id: str) -> str:
    """Return the partition of a tenant."""
    return f"tenant|{tenant_id}"


def account_partition(account_id: str) -> str:
    """Return the partition of an account."""
    return f"account|{account_id}"
