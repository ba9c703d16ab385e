"""The contract of ``ports.Bindings``, on the double and on Azurite."""

import asyncio
from dataclasses import replace
from datetime import timedelta

from shared.ports import Binding
from tests.storage.conftest import Kept
from tests.storage.examples import NOW

OURS = Binding("tenant", "ours", "grant-1", NOW)


async def test_nobody_has_a_new_tenant(kept: Kept) -> None:
    """A tenant or an account that was never bound is bound to nothing."""
    assert await kept.storage.bindings.tenant("tenant") is None
    assert await kept.storage.bindings.live_grant("ours") is None


async def test_the_first_account_has_the_tenant(kept: Kept) -> None:
    """A reservation stands and is read back."""
    standing = await kept.storage.bindings.bind_tenant(OURS)

    assert standing == OURS
    assert await kept.storage.bindings.tenant("tenant") == OURS


async def test_another_account_does_not_get_a_reserved_tenant(kept: Kept) -> None:
    """Within the hour the reservation stands, whatever the other one brings."""
    await kept.storage.bindings.bind_tenant(OURS)
    late = replace(OURS, account_id="theirs", grant_id="grant-2", reserved_at=NOW + timedelta(minutes=59), confirmed=True)

    assert await kept.storage.bindings.bind_tenant(late) == OURS
    assert await kept.storage.bindings.tenant("tenant") == OURS


async def test_a_mere_reservation_gives_way_after_an_hour(kept: Kept) -> None:
    """Whoever signed in and went away does not hold the tenant for ever."""
    await kept.storage.bindings.bind_tenant(OURS)
    later = replace(OURS, account_id="theirs", grant_id="grant-2", reserved_at=NOW + timedelta(hours=1))

    assert await kept.storage.bindings.bind_tenant(later) == later
    assert await kept.storage.bindings.tenant("tenant") == later


async def test_a_confirmed_binding_stands_against_others_for_ever(kept: Kept) -> None:
    """A tenant that works for one account is never taken by another."""
    confirmed = await kept.storage.bindings.bind_tenant(replace(OURS, confirmed=True))
    later = replace(OURS, account_id="theirs", reserved_at=NOW + timedelta(days=400), confirmed=True)

    assert await kept.storage.bindings.bind_tenant(later) == confirmed


async def test_a_binding_gives_way_where_its_grant_is_named(kept: Kept) -> None:
    """Who knows a grant to be released names it: its binding, even a confirmed one, is replaced, once."""
    bindings = kept.storage.bindings
    await bindings.bind_tenant(replace(OURS, confirmed=True))
    theirs = replace(OURS, account_id="theirs", grant_id="grant-2")

    assert await bindings.bind_tenant(theirs, instead_of="grant-1") == theirs
    assert await bindings.tenant("tenant") == theirs
    assert await bindings.bind_tenant(replace(OURS, grant_id="grant-3"), instead_of="grant-1") == theirs


async def test_a_binding_of_another_grant_than_the_named_one_stands(kept: Kept) -> None:
    """The account of a released grant may have come back with another one meanwhile: that one is not replaced."""
    bindings = kept.storage.bindings
    again = await bindings.bind_tenant(replace(OURS, grant_id="grant-9", confirmed=True))
    theirs = replace(OURS, account_id="theirs", grant_id="grant-2")

    assert await bindings.bind_tenant(theirs, instead_of="grant-1") == again
    assert await bindings.bind_tenant(replace(theirs, grant_id=""), instead_of="") == again


async def test_of_rivals_for_a_released_tenant_one_wins(kept: Kept) -> None:
    """All name the same released grant, and are told the same binding."""
    await kept.storage.bindings.bind_tenant(replace(OURS, confirmed=True))
    rivals = [replace(OURS, account_id=f"account-{number}", grant_id=f"grant-2{number}") for number in range(6)]

    told = await asyncio.gather(*(kept.storage.bindings.bind_tenant(each, instead_of="grant-1") for each in rivals))

    assert set(told) == {await kept.storage.bindings.tenant("tenant")}
    assert OURS.account_id not in {each.account_id for each in told}


async def test_an_account_may_bind_its_tenant_again(kept: Kept) -> None:
    """The same account confirms, or comes with another grant; what is confirmed stays so."""
    await kept.storage.bindings.bind_tenant(OURS)
    confirmed = await kept.storage.bindings.bind_tenant(replace(OURS, confirmed=True))
    second = replace(OURS, grant_id="grant-2", reserved_at=NOW + timedelta(days=1))

    standing = await kept.storage.bindings.bind_tenant(second)

    assert confirmed == replace(OURS, confirmed=True)
    assert standing == replace(second, confirmed=True)
    assert await kept.storage.bindings.tenant("tenant") == standing


async def test_a_tenant_remembers_who_had_it(kept: Kept) -> None:
    """Each grant that had the tenant before is named, the last one first, whatever a binding says; the oldest are forgotten."""
    bindings = kept.storage.bindings
    await bindings.bind_tenant(replace(OURS, former_grants=("made-up",)))
    await bindings.bind_tenant(replace(OURS, confirmed=True, former_grants=("made-up",)))
    first = await bindings.tenant("tenant")
    for number in range(2, 30):
        account = f"account-{number % 2}"
        await bindings.bind_tenant(
            replace(OURS, account_id=account, grant_id=f"grant-{number}"), instead_of=f"grant-{number - 1}"
        )
    last = await bindings.tenant("tenant")

    assert first
    assert last
    assert first.former_grants == ()
    assert last.former_grants == tuple(f"grant-{number}" for number in range(28, 8, -1))


async def test_of_rivals_for_a_tenant_one_wins(kept: Kept) -> None:
    """All are told the same binding, and it is the one that stands."""
    rivals = [replace(OURS, account_id=f"account-{number}", grant_id=f"grant-{number}") for number in range(6)]

    told = await asyncio.gather(*map(kept.storage.bindings.bind_tenant, rivals))

    assert set(told) == {await kept.storage.bindings.tenant("tenant")}


async def test_an_account_has_one_live_grant(kept: Kept) -> None:
    """The first grant stands; others are told of it."""
    bindings = kept.storage.bindings

    assert await bindings.bind_account("ours", "grant-1") == "grant-1"
    assert await bindings.bind_account("ours", "grant-2") == "grant-1"
    assert await bindings.bind_account("ours", "grant-1") == "grant-1"
    assert await bindings.live_grant("ours") == "grant-1"
    assert await bindings.live_grant("theirs") is None


async def test_a_live_grant_gives_way_to_its_successor(kept: Kept) -> None:
    """Only the grant that the caller means is replaced."""
    bindings = kept.storage.bindings
    await bindings.bind_account("ours", "grant-1")

    assert await bindings.bind_account("ours", "grant-3", instead_of="grant-2") == "grant-1"
    assert await bindings.bind_account("ours", "grant-3", instead_of="grant-1") == "grant-3"
    assert await bindings.live_grant("ours") == "grant-3"


async def test_a_successor_of_nothing_is_bound(kept: Kept) -> None:
    """Where no grant is live, the one that was to be replaced is not missed."""
    assert await kept.storage.bindings.bind_account("ours", "grant-2", instead_of="grant-1") == "grant-2"
    assert await kept.storage.bindings.live_grant("ours") == "grant-2"


async def test_of_rivals_for_an_account_one_wins(kept: Kept) -> None:
    """All are told the same live grant."""
    names = [f"grant-{number}" for number in range(6)]

    told = await asyncio.gather(*(kept.storage.bindings.bind_account("ours", name) for name in names))

    assert set(told) == {await kept.storage.bindings.live_grant("ours")}
