"""Rows and keys: what is written is read back, and what can't be read says why."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.domain.directory import DirectoryState, Group, SyncedDomain, User
from shared.domain.grant import MAXIMUM_USERS, Event, Grant, Intent, RoleMode, Scope, ScopeKind, Step, WaitRecord
from shared.domain.problems import Actor, Problem
from shared.domain.steps import StepName, StepState
from shared.ports import AccountRow, Binding, DeadLetter
from shared.storage import keys, records
from shared.storage.codec import Codec, join_text, text_columns
from shared.storage.limits import PROPERTY_CHARACTERS, TooLargeError, UnreadableError
from tests.storage.examples import NOW, new_grant

TEXT = st.text(max_size=20)
MOMENTS = st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
FACTS = st.dictionaries(TEXT, JSON, max_size=3)
PROBLEMS = st.builds(Problem, TEXT, TEXT, TEXT, st.sampled_from(Actor), TEXT, TEXT)
COUNTS = st.integers(0, 2**31 - 1)
MOMENT_FIELDS = ("clock", "started_at", "begun_at", "changed_at", "finished_at", "gives_up_at")


def steps(name: StepName) -> st.SearchStrategy[Step]:
    """Return any step of a name."""
    return st.builds(
        Step,
        name=st.just(name),
        waits=st.lists(st.builds(WaitRecord, TEXT, COUNTS, st.floats(0, 1e9)), max_size=2).map(tuple),
        problem=st.none() | PROBLEMS,
        facts=FACTS,
        state=st.sampled_from(StepState),
        who=st.none() | st.sampled_from(Actor),
        **{field: st.none() | MOMENTS for field in MOMENT_FIELDS},
        **dict.fromkeys(("claims", "attempts", "reopened"), COUNTS),
        **dict.fromkeys(("reason", "run_id"), TEXT),
    )


GRANTS = st.builds(
    Grant,
    **dict.fromkeys(("grant_id", "account_id", "account_name", "created_by", "tenant_id", "service"), TEXT),
    intent=st.builds(
        Intent,
        scope=st.builds(Scope, st.sampled_from(ScopeKind), users=st.lists(TEXT, max_size=2).map(tuple)),
        role_mode=st.sampled_from(RoleMode),
        expected_tenant=TEXT,
    ),
    created_at=MOMENTS,
    steps=st.fixed_dictionaries({name: steps(name) for name in StepName}),
    seq=COUNTS,
    published=COUNTS,
    publish_by=st.none() | MOMENTS,
    indexed_at=st.none() | MOMENTS,
)
RECORDS: tuple[tuple[Codec[Any], st.SearchStrategy[Any]], ...] = (
    (records.EVENT, st.builds(Event, COUNTS, MOMENTS, TEXT, st.none() | st.sampled_from(StepName), FACTS)),
    (records.BINDING, st.builds(Binding, TEXT, TEXT, TEXT, MOMENTS, st.booleans())),
    (records.ACCOUNT, st.builds(AccountRow, last_sync=st.none() | MOMENTS, next_clock=st.none() | MOMENTS)),
    (records.LETTER, st.builds(DeadLetter, at=MOMENTS)),
    (records.DIRECTORY, st.builds(DirectoryState, COUNTS, COUNTS, counts=st.dictionaries(TEXT, COUNTS), synced_at=MOMENTS)),
    (records.DOMAIN, st.builds(SyncedDomain)),
    (records.USER, st.builds(User)),
    (records.GROUP, st.builds(Group)),
    (records.MEMBER, st.builds(records.MemberKind)),
    (records.COUNT, st.builds(records.Counted, COUNTS, COUNTS)),
)
COLUMN_TYPES = (str, int, bool)
"""What Table storage takes as it is, and gives back as it was."""


@given(GRANTS)
def test_a_grant_is_read_as_it_was_written(grant: Grant) -> None:
    """Every field of a grant survives its row, and every column is a type that Table storage keeps."""
    columns = records.write_grant(grant)

    assert all(isinstance(value, COLUMN_TYPES) for value in columns.values())
    assert records.read_grant(columns) == grant


@given(st.data())
def test_every_record_is_read_as_it_was_written(data: st.DataObject) -> None:
    """Every field of every other record survives its row."""
    for codec, strategy in RECORDS:
        record = data.draw(strategy)
        columns = codec.write(record)

        assert all(isinstance(value, COLUMN_TYPES) for value in columns.values())
        assert codec.read(columns) == record


@given(FACTS)
def test_a_json_value_is_read_as_it_was_written(value: dict[str, Any]) -> None:
    """Rows of one JSON value keep it."""
    assert records.read_value(records.write_value(value)) == value


@example("%41")
@example("100 %")
@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=40))
def test_every_name_makes_a_key_that_can_be_read_back(name: str) -> None:
    """No key holds what Table storage forbids; other names are left as they are."""
    if any("\ud800" <= character <= "\udfff" for character in name):
        name = name.encode("utf-8", "replace").decode()
    key = keys.encode(name)

    assert keys.decode(key) == name
    assert not any(character in "/\\#?" or character < " " or "\x7f" <= character <= "\x9f" for character in key)
    assert (key == name) == (
        not any(character in "/\\#?%" or character < " " or "\x7f" <= character <= "\x9f" for character in name)
    )


@given(st.text(max_size=20), st.text(min_size=1, max_size=20))
def test_a_range_by_prefix_holds_just_the_names_that_begin_so(prefix: str, name: str) -> None:
    """The range of a prefix is the keys that begin with it."""
    low = keys.encode(prefix + "|")
    key = keys.encode(name)

    assert (low <= key < keys.after_prefix(low)) == key.startswith(low)


def test_a_minute_is_read_as_it_was_written() -> None:
    """Minutes are written in UTC, whatever the zone they come in, and sort as time does."""
    berlin = timezone(timedelta(hours=1))

    assert keys.minute(NOW.astimezone(berlin)) == "20261123T1230Z"
    assert keys.parse_minute(keys.minute(NOW)) == NOW
    assert keys.minute(datetime(2026, 9, 30, 23, 59, tzinfo=UTC)) < keys.minute(datetime(2026, 10, 1, tzinfo=UTC))


def test_shards_are_those_of_crc_32() -> None:
    """Shards are stored: another hash in another release would lose every row (0xCBF43926: the CRC's check value)."""
    assert keys.shard("123456789", 16) == 0xCBF43926 % 16
    assert {keys.shard(f"user|{number}", 16) for number in range(400)} == set(range(16))


@pytest.mark.parametrize("length", [0, 1, PROPERTY_CHARACTERS, PROPERTY_CHARACTERS + 1, 5 * PROPERTY_CHARACTERS])
def test_a_long_text_is_kept_in_parts(length: int) -> None:
    """No part is too long for a property, and together they are the text."""
    columns = text_columns("body", "x" * length)

    assert max(map(len, columns.values())) <= PROPERTY_CHARACTERS
    assert join_text(columns, "body") == "x" * length


def test_steps_that_are_too_long_are_refused() -> None:
    """A grant whose steps do not fit is refused with its name, before anything is sent."""
    grant = new_grant().grant
    step = replace(grant.steps[StepName.PREFLIGHT], facts={"findings": "x" * 30_000})

    with pytest.raises(TooLargeError, match=f"steps of grant {grant.grant_id}"):
        records.write_grant(grant.with_step(step))


def test_a_step_that_is_younger_than_the_row_is_untouched() -> None:
    """A grant of a release that did not know a step yet is read with that step as new, in the order of the table."""
    grant = new_grant().grant
    known: dict[StepName, Step] = {name: step for name, step in grant.steps.items() if name is not StepName.PREFLIGHT}

    found = records.read_grant(records.write_grant(replace(grant, steps=known)))

    assert found.steps[StepName.PREFLIGHT] == Step(StepName.PREFLIGHT)
    assert tuple(found.steps) == tuple(StepName)


def test_a_scope_that_knows_no_people_yet_is_read() -> None:
    """Grants of a release that could not choose people have none chosen."""
    grant = new_grant().grant
    columns = records.write_grant(grant)
    intent = json.loads(columns["intent"])
    del intent["scope"]["users"]

    assert records.read_grant({**columns, "intent": json.dumps(intent)}) == grant


def test_a_scope_of_as_many_people_as_may_be_is_kept() -> None:
    """A hundred names of the greatest length fit into a grant's row."""
    scope = Scope(ScopeKind.USERS, users=tuple(f"{number:0308}@contoso.com" for number in range(MAXIMUM_USERS)))
    grant = new_grant().grant
    grant = replace(grant, intent=replace(grant.intent, scope=scope))

    assert records.read_grant(records.write_grant(grant)) == grant


def test_a_column_that_is_younger_than_the_row_has_its_default() -> None:
    """Rows of an older release lack columns that have a default now."""
    columns = records.BINDING.write(Binding("tenant", "account", "grant", NOW, confirmed=True))
    del columns["confirmed"]

    assert records.BINDING.read(columns).confirmed is False


@pytest.mark.parametrize("codec", [codec for codec, _ in RECORDS] + [records.GRANT], ids=lambda codec: codec.kind.__name__)
def test_a_row_of_a_newer_version_is_refused(codec: Codec[Any]) -> None:
    """Code that does not know a row's version must not guess: it says which one it met and which it knows."""
    with pytest.raises(UnreadableError, match=f"{codec.kind.__name__} is of version {codec.version + 1}.* up to version"):
        codec.read({"version": codec.version + 1})


def test_a_json_value_of_a_newer_version_is_refused() -> None:
    """The same for rows of one JSON value."""
    with pytest.raises(UnreadableError, match="version 2"):
        records.read_value({"version": 2, "value": "{}"})


@pytest.mark.parametrize(
    "broken",
    [
        {"version": None},
        {"grant_id": None},
        {"reserved_at": "yesterday"},
        {"confirmed": "perhaps"},
    ],
)
def test_a_row_of_another_shape_is_refused_without_its_values(broken: dict[str, Any]) -> None:
    """What is wrong is named by column; values are never shown, for they may be sealed or a customer's."""
    columns = {**records.BINDING.write(Binding("tenant", "secret account", "grant", NOW)), **broken}
    columns = {name: value for name, value in columns.items() if value is not None}

    with pytest.raises(UnreadableError, match="Binding") as caught:
        records.BINDING.read(columns)

    assert not any(word in str(caught.value) for word in ("secret", "yesterday", "perhaps"))


@pytest.mark.parametrize("value", [None, "{", "nothing"])
def test_json_that_is_broken_is_refused(value: str | None) -> None:
    """A row whose JSON is cut off or missing is named, not shown."""
    columns = {"version": 1} | ({"value": value, "data": value} if value else {})

    with pytest.raises(UnreadableError):
        records.read_value(columns)
    with pytest.raises(UnreadableError):
        records.EVENT.read({**columns, "seq": 1, "type": "x", "at": "2026-01-01T00:00:00Z", "data": value or "["})
