"""The directory's records and what changes make of them: folding, merging, what must be read whole, and nested groups."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.directory import (
    MAXIMUM_SHARDS,
    USERS_A_SHARD,
    Differences,
    DirectoryChange,
    Edit,
    Group,
    Member,
    Record,
    User,
    edits_of,
    folded,
    is_complete,
    record_of,
    shards_for,
    unknown,
    users_of,
)

WHOLE = {
    "user_principal_name": "ada@contoso.example",
    "display_name": "Ada",
    "mail": "ada@contoso.example",
    "smtp_addresses": ("ada@contoso.example", "a@contoso.example"),
    "enabled": True,
    "user_type": "Member",
}
ADA = User(
    "ada", "ada@contoso.example", "Ada", "ada@contoso.example", ("ada@contoso.example", "a@contoso.example"), True, "Member"
)
IDS = st.sampled_from(["one", "two", "three"])
VALUES = st.dictionaries(st.sampled_from(["display_name", "mail", "user_principal_name"]), st.sampled_from(["x", "y", ""]))


@st.composite
def changes(draw: st.DrawFn) -> DirectoryChange:
    """Return a delta item: part of an object, all of it, or its removal."""
    object_id = draw(IDS)
    if draw(st.booleans()):
        return DirectoryChange(object_id, is_removed=True)
    return DirectoryChange(object_id, {"user_principal_name": object_id, **draw(VALUES)}, is_whole=draw(st.booleans()))


def one_by_one(told: list[DirectoryChange], stored: dict[str, Record]) -> dict[str, Record]:
    """Apply changes one after the other, as a store without batches would."""
    for change in told:
        if change.is_removed:
            stored.pop(change.object_id, None)
        else:
            stored[change.object_id] = record_of(User, change, stored.get(change.object_id))
    return stored


@given(st.lists(changes(), max_size=12), st.sets(IDS))
def test_a_batch_comes_to_what_its_items_come_to_one_by_one(told: list[DirectoryChange], known: set[str]) -> None:
    """Items repeat, objects leave and come back: folded to one change each, they leave the same directory."""
    stored: dict[str, Record] = {each: User(each, each, "before", "before@contoso.example") for each in known}
    expected = one_by_one(told, dict(stored))

    after = dict(stored)
    for edit in edits_of(User, folded(told), stored):
        if edit.record is not None:
            after[edit.record.object_id] = edit.record
        elif edit.former is not None:
            del after[edit.former.object_id]

    assert after == expected


def test_what_was_told_in_part_keeps_the_rest() -> None:
    """A delta item may carry changed properties only; an empty value is one that is no longer set."""
    change = DirectoryChange("ada", {"display_name": "Ada L.", "mail": ""})

    assert record_of(User, change, ADA) == replace(ADA, display_name="Ada L.", mail="")


def test_a_whole_object_keeps_nothing() -> None:
    """What a list does not tell is not set."""
    change = DirectoryChange("ada", {"user_principal_name": "ada@contoso.example"}, is_whole=True)

    assert record_of(User, change, ADA) == User("ada", "ada@contoso.example")


@pytest.mark.parametrize(
    ("change", "stored", "must_be_read"),
    [
        (DirectoryChange("ada", {"display_name": "Ada"}), {}, True),
        (DirectoryChange("ada", {"display_name": "Ada"}), {"ada": ADA}, False),
        (DirectoryChange("ada", WHOLE), {}, False),
        (DirectoryChange("ada", {"display_name": "Ada"}, is_whole=True), {}, False),
        (DirectoryChange("ada", is_removed=True), {}, False),
        (DirectoryChange("ada", {"display_name": "Ada"}, resets=True), {"ada": ADA}, True),
        (DirectoryChange("ada", WHOLE, resets=True), {"ada": ADA}, False),
    ],
    ids=["unknown", "known", "all told", "whole", "gone", "gone in between", "gone in between, all told"],
)
def test_what_is_not_known_well_enough_is_read_whole(
    change: DirectoryChange, stored: dict[str, Record], must_be_read: bool
) -> None:
    """A delta item for an id that is not stored, told in part, would leave a user without addresses."""
    assert bool(unknown(User, {"ada": change}, stored)) is must_be_read


def test_complete_means_every_property() -> None:
    """One property less, and it is not complete."""
    assert is_complete(User, DirectoryChange("ada", WHOLE))
    for name in WHOLE:
        assert not is_complete(User, DirectoryChange("ada", {key: value for key, value in WHOLE.items() if key != name}))


def test_released_addresses_are_those_that_no_longer_lead_there() -> None:
    """An address that stays is not released; of one who has left all are."""
    moved = replace(ADA, smtp_addresses=("ada@contoso.example", "lovelace@contoso.example"))

    assert Edit(ADA, moved).released == ("a@contoso.example",)
    assert Edit(ADA, None).released == ADA.addresses
    assert Edit(None, ADA).released == ()
    assert not Edit(ADA, ADA).changes_record


def test_mail_stands_alone_where_there_is_no_smtp_address() -> None:
    """A guest without proxy addresses is found by the mail address of their home."""
    assert User("guest", mail="Guest@Partner.Example").addresses == ("guest@partner.example",)
    assert User("nobody").addresses == ()
    assert Group("group", mail="sales@contoso.example").addresses == ()


def test_members_are_kept_in_order_and_forgotten_with_their_group() -> None:
    """A large group repeats with further members; one that was gone in between begins anew."""
    first = DirectoryChange("sales", {"display_name": "Sales"}, members=(Member("ada"),))
    more = DirectoryChange("sales", members=(Member("bob"), Member("ada", is_removed=True)))
    gone = DirectoryChange("sales", is_removed=True)

    assert folded([first, more])["sales"].members == (Member("ada"), Member("bob"), Member("ada", is_removed=True))
    assert folded([first, gone, more])["sales"] == replace(more, resets=True)
    assert folded([first, gone, more, more])["sales"].resets


def test_nested_groups_are_walked_even_in_a_circle() -> None:
    """The transitive closure is ours: groups in groups, each once, and no other kinds of members."""
    members = {
        "staff": [Member("sales", "group"), Member("ada"), Member("robot", "servicePrincipal")],
        "sales": [Member("bob"), Member("staff", "group"), Member("gone", "group")],
    }

    assert users_of(members, "staff") == {"ada", "bob"}
    assert users_of(members, "sales") == {"ada", "bob"}


@given(st.integers(min_value=0, max_value=2_000_000))
def test_shards_grow_with_the_tenant(users: int) -> None:
    """A power of two, so that a smaller number's shards are made of whole shards of a larger one's."""
    shards = shards_for(users)

    assert shards & (shards - 1) == 0
    assert shards == MAXIMUM_SHARDS or shards * USERS_A_SHARD >= users
    assert shards == 1 or shards // 2 * USERS_A_SHARD < users


def test_differences_add_up() -> None:
    """Those of each shard come to those of the tenant."""
    assert Differences(1, 2, 3) + Differences(10, 20, 30) == Differences(11, 22, 33)
