"""The plans and the cursor of a sync, what is told of it, and which domains nobody covers."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.directory import Differences, DirectoryState, Edit, Generation, Group, User
from shared.domain.grant import Scope, ScopeKind
from shared.domain.sync import STAGES, Cursor, Plan, Stage, Tally, plan_of, progress_of, selection_of, tally, uncovered

NOW = datetime(2026, 11, 26, 3, tzinfo=UTC)
ALL = Scope()
GROUP = Scope(ScopeKind.GROUP, group="staff@contoso.example")
CURSOR = Cursor(Plan.LIST, 3, 4, Stage.LIST)
LINKS = {"users": "https://graph.example/users", "groups": "https://graph.example/groups"}
STATE = DirectoryState(2, 4, {"users": 10}, NOW, links=LINKS, selection=selection_of(ALL))
COUNTS = st.integers(0, 9)


@given(
    st.builds(
        Cursor,
        st.sampled_from(Plan),
        COUNTS,
        COUNTS,
        st.sampled_from(Stage),
        begins=st.dictionaries(st.sampled_from(["users", "groups"]), st.text()),
        seen=st.dictionaries(st.sampled_from(["users", "groups"]), COUNTS),
        users=st.builds(Tally, COUNTS, COUNTS, COUNTS),
        differences=st.builds(Differences, COUNTS, COUNTS, COUNTS),
        former=st.lists(st.builds(Generation, COUNTS, COUNTS), max_size=3).map(tuple),
        unknown_users=st.lists(st.text(), max_size=2).map(tuple),
    )
)
def test_a_cursor_survives_its_row(cursor: Cursor) -> None:
    """What is saved as JSON is the cursor that it was."""
    import json  # noqa: PLC0415 - what the table does with a row

    assert Cursor.from_row(json.loads(json.dumps(cursor.to_row()))) == cursor


@pytest.mark.parametrize("plan", list(Plan))
def test_a_plan_goes_through_its_stages_to_the_last(plan: Plan) -> None:
    """Each stage once, in order; a stage of changes begins where the plan says."""
    cursor = replace(CURSOR, plan=plan, stage=STAGES[plan][0], begins={"groups": "here"})
    gone = [cursor.stage]
    while not cursor.is_last:
        cursor = replace(cursor, link="elsewhere", shard=7).next_stage()
        gone.append(cursor.stage)
        assert cursor.link == ("here" if cursor.stage is Stage.GROUPS else "")
        assert cursor.shard == 0

    assert tuple(gone) == STAGES[plan]


@pytest.mark.parametrize(
    ("scope", "state", "may_increment", "plan"),
    [
        (ALL, None, True, Plan.LIST),
        (ALL, STATE, True, Plan.INCREMENT),
        (ALL, STATE, False, Plan.LIST),
        (ALL, replace(STATE, selection="another"), True, Plan.LIST),
        (ALL, replace(STATE, links={"users": "only these"}), True, Plan.LIST),
        (GROUP, STATE, True, Plan.SCOPE),
        (Scope(ScopeKind.USERS, users=("ada@contoso.example",)), None, True, Plan.SCOPE),
        (Scope(ScopeKind.DOMAINS, domains=("contoso.example",)), STATE, True, Plan.INCREMENT),
    ],
)
def test_what_can_be_gone_on_with_is(scope: Scope, state: DirectoryState | None, may_increment: bool, plan: Plan) -> None:
    """Increments where both tokens are there and what is asked for is the same; people who were chosen are read whole."""
    assert plan_of(scope, state, may_increment=may_increment) is plan


def test_another_scope_is_another_selection() -> None:
    """A scope of domains asks for everybody, as that of all domains does; other people are another selection."""
    assert selection_of(Scope(ScopeKind.DOMAINS, domains=("contoso.example",))) == selection_of(ALL)
    assert len({selection_of(ALL), selection_of(GROUP), selection_of(replace(GROUP, group="sales@contoso.example"))}) == 3


def test_edits_are_counted() -> None:
    """Added, changed and removed; what is as it was counts as nothing."""
    ada, group = User("ada"), Group("group")
    edits = [
        Edit(None, ada),
        Edit(ada, replace(ada, display_name="Ada")),
        Edit(ada, ada),
        Edit(ada, None),
        Edit(group, replace(group, visibility="Private")),
    ]

    assert tally(edits) == Tally(added=1, changed=2, removed=1)


def test_progress_tells_a_rate_and_the_time_left() -> None:
    """After a few seconds the slice's own rate is told; before, that of the slice before; without a number of users, no end."""
    cursor = replace(CURSOR, seen={"users": 3000}, of=9000, rate=50.0)
    settled = progress_of(cursor, NOW, 1000, NOW + timedelta(seconds=20))
    early = progress_of(cursor, NOW, 2990, NOW + timedelta(seconds=1))
    unknown = progress_of(replace(cursor, of=0), NOW, 1000, NOW + timedelta(seconds=20))
    groups = progress_of(replace(cursor, stage=Stage.GROUPS), NOW, 1000, NOW + timedelta(seconds=20))

    assert (settled["users"], settled["of"], settled["rate"], settled["left_seconds"]) == (3000, 9000, 100, 60)
    assert (early["rate"], early["left_seconds"]) == (50, 120)
    assert (unknown["of"], unknown["left_seconds"]) == (None, None)
    assert (groups["of"], groups["rate"], groups["left_seconds"]) == (3000, None, None)


@pytest.mark.parametrize(
    ("scope", "routed_at", "names"),
    [
        (ALL, NOW, ("late.example",)),
        (ALL, None, ()),
        (ALL, NOW + timedelta(days=2), ()),
        (Scope(ScopeKind.DOMAINS, domains=("old.example",)), NOW, ("late.example",)),
        (Scope(ScopeKind.DOMAINS, domains=("LATE.example",)), NOW, ()),
        (GROUP, NOW, ()),
    ],
)
def test_domains_that_came_after_the_mail_flow_are_uncovered(
    scope: Scope, routed_at: datetime | None, names: tuple[str, ...]
) -> None:
    """Those that were there when the mail flow was made are covered, or were left out on purpose."""
    receiving = {"first.example": None, "old.example": NOW - timedelta(days=1), "late.example": NOW + timedelta(days=1)}

    assert uncovered(scope, receiving, routed_at) == names
