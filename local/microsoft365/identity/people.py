"""Who somebody is in a tenant: one of its own people, a guest with an account elsewhere, or a partner's administrator.

Sources: learn.microsoft.com/entra/external-id/user-properties (a guest is an object of its own in the inviting tenant),
learn.microsoft.com/partner-center/customers/gdap-introduction (roles in a customer's tenant without an account there).
That a partner's token names the customer as `tid` and carries the delegated roles in `wids` is known in the field; what
else such a token carries no page says.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from local.microsoft365.changes import put_user
from local.microsoft365.identity.consent import directory_roles
from local.microsoft365.identity.sessions import Account
from local.microsoft365.model import Role, RoleAssignment, Tenant
from local.microsoft365.population import User
from local.microsoft365.simulation import Simulation
from local.microsoft365.store import Store

APP_ONLY_WID = "0997a1d0-0d1d-4acb-b408-d5ca73121e90"
"""Stands in `wids` of app-only tokens; not a role (access-token-claims-reference.md)."""
MEMBER_WID = "b79fbf4d-3ef9-4689-8143-76b194e85509"
"""Stands in `wids` of every member's tokens: the default user role."""
GUEST_WID = "10dae51f-b6af-4016-8d66-8c2a99b929b3"
"""Stands in `wids` of every guest's tokens."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Somebody at the browser, as the tenant sees it that tokens will be of."""

    tenant: Tenant
    user: User
    """The person's object: in `tenant` for its own people and its guests, in the home tenant for a partner's."""
    account: Account
    """With what the person signed in: the home tenant's account."""
    sign_in_name: str
    """The account's user principal name at home."""
    delegated_roles: frozenset[str] | None = None
    """The roles of a partner's administrator; None for whoever has an object in `tenant`."""

    @property
    def is_foreign(self) -> bool:
        """Whether the account is another tenant's."""
        return self.account.tenant_id != self.tenant.id

    @property
    def is_partner(self) -> bool:
        """Whether somebody administers the tenant for a partner, without an object in it."""
        return self.delegated_roles is not None

    def roles(self, simulation: Simulation) -> frozenset[str]:
        """Template ids of the directory roles that tokens carry now."""
        if self.delegated_roles is not None:
            return self.delegated_roles
        return directory_roles(simulation, self.tenant, self.user.id)

    def wids(self, simulation: Simulation) -> list[str]:
        """The `wids` claim: the roles, then the default role of members or guests; a partner's has none."""
        roles = sorted(self.roles(simulation))
        if self.is_partner:
            return roles
        return [*roles, GUEST_WID if self.user.user_type == "Guest" else MEMBER_WID]


def home_link(account: Account) -> str:
    """How a guest names the account at home (`User.home_account`)."""
    return f"{account.tenant_id}/{account.user_id}"


def home_of(store: Store, account: Account) -> tuple[Tenant, User] | None:
    """The tenant and the person of an account; None when either is gone."""
    tenant = store.tenants.get(account.tenant_id)
    user = tenant.users.get(account.user_id) if tenant else None
    return (tenant, user) if tenant and user else None


def enter(store: Store, tenant: Tenant | None, account: Account) -> SignedIn | None:
    """Who an account is in `tenant` (None: at home); None when it is nobody there."""
    found = home_of(store, account)
    if found is None:
        return None
    home, user = found
    if tenant is None or tenant.id == home.id:
        return SignedIn(home, user, account, user.user_principal_name)
    guest = guest_of(tenant, account)
    if guest is not None:
        return SignedIn(tenant, guest, account, user.user_principal_name)
    roles = tenant.delegated_administrators.get(user.id)
    return None if roles is None else SignedIn(tenant, user, account, user.user_principal_name, roles)


def guest_of(tenant: Tenant, account: Account) -> User | None:
    """The guest object of an account in a tenant, if it was invited."""
    # Guests with an account here are only ever added, so half a million seeded users need not be looked through.
    added = (each for each in tenant.users.added.values() if each is not None)
    return next((each for each in added if each.user_type == "Guest" and each.home_account == home_link(account)), None)


def invite_guest(store: Store, tenant: Tenant, account: Account, now: datetime, roles: frozenset[Role] = frozenset()) -> User:
    """Add a guest object for an account of another tenant, with directory roles; the invitation counts as redeemed.

    Raises KeyError when the account is nobody's.
    """
    found = home_of(store, account)
    if found is None:
        raise KeyError(account.user_id)
    home_user = found[1]
    nickname = f"{home_user.user_principal_name.replace('@', '_')}#EXT#"
    guest = guest_of(tenant, account) or User(
        id=tenant.new_id("user", home_link(account)),
        user_principal_name=f"{nickname}@{tenant.initial_domain}",
        display_name=home_user.display_name,
        created_at=now,
        mail=home_user.mail,
        mail_nickname=nickname,
        other_mails=(home_user.mail,) if home_user.mail else (),
        user_type="Guest",
        mailbox=None,
        home_account=home_link(account),
    )
    put_user(tenant, guest, now)
    for role in sorted(roles - _assigned_roles(tenant, guest.id)):
        assignment = RoleAssignment(tenant.new_id("roleAssignment", role, guest.id), role, guest.id, now, now)
        tenant.role_assignments[assignment.id] = assignment
    store.changed(tenant)
    return guest


def _assigned_roles(tenant: Tenant, principal_id: str) -> frozenset[str]:
    """The roles that somebody has an active assignment of, spread or not."""
    return frozenset(each.role_definition_id for each in tenant.role_assignments.values() if each.principal_id == principal_id)


def delegate_administration(store: Store, tenant: Tenant, account: Account, roles: frozenset[str]) -> None:
    """Make an account of another tenant a delegated administrator (GDAP) of this one, with roles by template id.

    Raises KeyError when the account is nobody's, ValueError when it is the tenant's own.
    """
    if home_of(store, account) is None:
        raise KeyError(account.user_id)
    if account.tenant_id == tenant.id:
        raise ValueError("a partner's people are of another tenant")
    tenant.delegated_administrators[account.user_id] = roles
    store.changed(tenant)
