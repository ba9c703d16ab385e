"""Whose a tenant is: reserved for an account by a proved sign-in, given back or taken from another account by a fresh one.

A grant is released first, and its binding gives way after that: killed in between, whoever comes next finds a released grant.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from shared.consent.proof import Proof
from shared.domain import decide
from shared.domain.decision import Decision
from shared.domain.grant import Grant, Row
from shared.engine import Engine
from shared.ports import Binding, Bindings

FOR_ANOTHER = "An administrator of the tenant signed in anew and connected it to another account."
TAKEN_BACK = "An administrator of the tenant signed in anew and took it back."


@dataclass(frozen=True, slots=True)
class Ownership:
    """Reserves, releases and transfers tenants for those who were proved to be their administrators, and for nobody else."""

    engine: Engine
    bindings: Bindings

    async def reserve(self, grant: Grant, who: Proof) -> bool:
        """Reserve the proved tenant for the grant's account; False where another account has it, by a grant that lives."""
        wish = self._wish(grant, who)
        standing = await self.bindings.bind_tenant(wish)
        if standing.account_id != grant.account_id and await self._is_released(standing.grant_id):
            standing = await self.bindings.bind_tenant(wish, instead_of=standing.grant_id)
        return standing.account_id == grant.account_id

    async def take_over(self, grant: Grant, who: Proof) -> None:
        """Release the grant of another account that has the proved tenant, and reserve the tenant for this grant's.

        A grant that is not the tenant's (any more) has only a reservation to lose.
        """
        standing = await self.bindings.tenant(who.tenant_id)
        if standing is None or standing.account_id == grant.account_id:
            return
        await self.engine.commit(standing.grant_id, lambda other, now: _released(other, who, now, FOR_ANOTHER))
        await self.bindings.bind_tenant(self._wish(grant, who), instead_of=standing.grant_id)

    async def release(self, grant: Grant, who: Proof, row: Row) -> None:
        """Give the grant's tenant back, and write ``row`` in the same transaction. What the grant made in the tenant stays."""

        def change(current: Grant, now: datetime) -> Decision | None:
            decision = _released(current, who, now, TAKEN_BACK)
            return replace(decision, rows=(row,)) if decision else None

        await self.engine.commit(grant.grant_id, change)

    def _wish(self, grant: Grant, who: Proof) -> Binding:
        return Binding(who.tenant_id, grant.account_id, grant.grant_id, self.engine.clock())

    async def _is_released(self, grant_id: str) -> bool:
        stored = await self.engine.grants.load(grant_id)
        return stored is not None and stored.grant.released_at is not None


def _released(grant: Grant, who: Proof, now: datetime, why: str) -> Decision | None:
    """Return the grant as released by the administrator of its tenant; None for a grant of another tenant, or released before."""
    return decide.release(grant, now, actor=who.user_name, why=why) if grant.tenant_id == who.tenant_id else None
