"""Users that are computed from their index: stable, findable, changeable."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.microsoft365.population import User, user_id, user_index
from local.microsoft365.seed import PEOPLE, TenantSeed, find_index, make_tenant, make_user, user_directory

SEED = TenantSeed("Contoso", "contoso.onmicrosoft.com", 120, "contoso.com", "contoso-retail.com")
INDEXES = st.integers(min_value=0, max_value=600_000)


@given(INDEXES)
def test_an_id_leads_back_to_its_index(index: int) -> None:
    """Ids are a one-to-one picture of the indexes, and belong to one tenant."""
    identifier = user_id(SEED.tenant_id, index)

    assert user_index(SEED.tenant_id, identifier) == index
    assert user_index("11111111-2222-3333-4444-555555555555", identifier) is None


@given(INDEXES)
def test_every_name_and_address_leads_to_its_user(index: int) -> None:
    """The user principal name and each proxy address of a seeded user hold its index."""
    user = make_user(SEED, index)
    addresses = (each.partition(":")[2] for each in user.proxy_addresses)

    assert {find_index(name.lower()) for name in (user.user_principal_name, *addresses)} == {index}


def test_the_population_has_every_kind() -> None:
    """Members, guests, shared and room mailboxes are there; aliases too."""
    users = list(user_directory(SEED))
    kinds = {(user.user_type, user.mailbox, user.account_enabled) for user in users}

    assert kinds == {
        ("Member", "UserMailbox", True),
        ("Guest", None, True),
        ("Member", "SharedMailbox", False),
        ("Member", "RoomMailbox", False),
    }
    assert any(len(user.proxy_addresses) > 2 for user in users)
    assert len({user.id for user in users}) == len({user.user_principal_name for user in users}) == 120


@pytest.mark.parametrize(
    "name", ["ADMIN@contoso.com", "admin@contoso.onmicrosoft.com", "alias10@contoso.com", "partner7@partner.example"]
)
def test_users_are_found_by_any_address(name: str) -> None:
    """Case does not matter, aliases and a guest's own address count."""
    assert user_directory(SEED).find(name) is not None


@pytest.mark.parametrize(
    "name", ["admin@fabrikam.com", "alias11@contoso.com", "nobody@contoso.com", "adele.vance99999@contoso.com", ""]
)
def test_a_similar_name_is_nobody(name: str) -> None:
    """A number or a local part that exists under another address finds nobody."""
    assert user_directory(SEED).find(name) is None


def test_changed_added_and_removed_users_count() -> None:
    """The directory shows changes in place, and positions never shift."""
    users = user_directory(SEED)
    positions = dict(users.scan())
    member, removed = positions[10], positions[20]
    users.put(replace(member, display_name="Changed", user_principal_name="changed@contoso.com"))
    users.remove(removed.id)
    users.put(User("11111111-2222-3333-4444-555555555555", "new@contoso.com", "New", SEED.created_at))

    assert len(users) == 120
    assert users.get(removed.id) is None
    assert users.find(removed.user_principal_name) is None
    assert users.find("changed@contoso.com") == users.get(member.id)
    assert users.find(member.user_principal_name) == users.get(member.id)
    assert [position for position, _ in users.scan(19)][:2] == [19, 21]
    assert [user.display_name for _, user in users.scan(120)] == ["New"]
    assert len(list(users)) == 120


def test_removing_nobody_is_an_error() -> None:
    """An unknown id, or one that was removed already, raises KeyError."""
    users = user_directory(SEED)
    gone = next(iter(users)).id
    users.remove(gone)

    with pytest.raises(KeyError):
        users.remove(gone)


def test_a_copy_does_not_follow_changes() -> None:
    """What is remembered for stale reads stays as it was."""
    users = user_directory(SEED)
    copy = users.copy()
    users.remove(next(iter(users)).id)

    assert (len(users), len(copy)) == (119, 120)


def test_a_tenant_of_one_user_still_has_its_people() -> None:
    """The people of every tenant are there however small it is, and no group lists somebody who is not."""
    tenant = make_tenant(replace(SEED, user_count=1))

    assert len(tenant.users) == len(PEOPLE)
    known = {user.id for user in tenant.users} | set(tenant.groups)
    assert all(member in known for group in tenant.groups.values() for member in group.member_ids)
