"""Queue messages: what is read, what is refused, and that the documents say the same."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.grant import Direction, Nudge, RoleMode, ScopeKind
from shared.domain.schedule import parse
from shared.domain.steps import StepName
from shared.messages import ChooseRoleMode, MessageError, NudgeMessage, RetryStep, StartGrant, encode_nudge, read
from tools import documents

GRANT = "9b0e0b52-7d0a-4a35-8f1e-0d3c7c6a7a11"
START = {
    "version": 1,
    "type": "grant.start",
    "command_id": "c-1",
    "account_id": "contoso",
    "account_name": "Contoso",
    "requested_by": "operator@vendor.example",
}

CHOOSE = {
    "type": "role_mode.choose",
    "command_id": "c-2",
    "grant_id": GRANT,
    "role_mode": "by_hand",
    "requested_by": "operator@vendor.example",
}
TENANT = "11111111-1111-4111-8111-111111111111"


@pytest.mark.parametrize("step", StepName)
def test_a_nudge_is_read_as_it_was_written(step: StepName) -> None:
    """What the engine sends is what the inbox reads."""
    nudge = Nudge(GRANT, step, parse("2026-11-23T12:00:00Z"), "sweep")
    message = read(encode_nudge(nudge))

    assert message == NudgeMessage(grant_id=GRANT, step=step, cause="sweep")


def test_commands_are_read() -> None:
    """All commands, with what they leave out filled in."""
    start = read(json.dumps(START))
    retry = read(
        json.dumps(
            {**dict.fromkeys(("command_id", "requested_by"), "x"), "type": "step.retry", "grant_id": GRANT, "step": "preflight"}
        )
    )

    assert isinstance(start, StartGrant)
    intent = start.to_intent(("standard", "strict"))
    assert (intent.directions, intent.scope.kind, intent.policy) == (
        (Direction.INBOUND, Direction.OUTBOUND),
        ScopeKind.ALL_DOMAINS,
        "standard",
    )
    assert isinstance(retry, RetryStep)
    choose = read(json.dumps(CHOOSE))
    assert isinstance(choose, ChooseRoleMode)
    assert (choose.grant_id, choose.role_mode) == (GRANT, RoleMode.BY_HAND)


def test_a_start_says_how_the_role_comes_and_for_which_tenant() -> None:
    """Left out: by a sign-in, for whichever tenant an administrator proves."""
    plain, told = read(json.dumps(START)), read(json.dumps({**START, "role_mode": "by_hand", "tenant_id": TENANT}))

    assert isinstance(plain, StartGrant)
    assert isinstance(told, StartGrant)
    intents = [each.to_intent(("standard",)) for each in (plain, told)]
    assert [(intent.role_mode, intent.expected_tenant) for intent in intents] == [
        (RoleMode.SIGN_IN, ""),
        (RoleMode.BY_HAND, TENANT),
    ]


@pytest.mark.parametrize(
    "change",
    [{"role_mode": "by_magic"}, {"role_mode": None}, {"grant_id": "g"}, {"requested_by": " "}, {"step": "preflight"}],
    ids=str,
)
def test_a_wrong_choice_is_refused(change: dict[str, object]) -> None:
    """A way that there is not, or a choice of nobody's, for no grant or for a step, changes nothing."""
    with pytest.raises(MessageError):
        read(json.dumps({**CHOOSE, **change}))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2}, "version 2"),
        ({"type": "grant.destroy"}, "grant.destroy"),
        ({"account_id": "a/b"}, "account_id"),
        ({"account_id": None}, "account_id"),
        ({"surprise": 1}, "surprise"),
        ({"directions": []}, "directions"),
        ({"role_mode": "by_magic"}, "role_mode"),
        ({"tenant_id": "contoso.com"}, "tenant_id"),
        ({"scope": {"kind": "domains", "domains": ["not a domain"]}}, "domains"),
    ],
)
def test_a_wrong_message_is_refused_with_its_reason(change: dict[str, object], words: str) -> None:
    """The reason names the field, for the dead letter."""
    with pytest.raises(MessageError) as caught:
        read(json.dumps({**START, **change}))

    assert words in str(caught.value)


@pytest.mark.parametrize(
    "scope",
    [
        {"kind": "domains"},
        {"kind": "group"},
        {"kind": "all_domains", "group": "g@contoso.com"},
        {"kind": "users"},
        {"kind": "users", "users": []},
        {"kind": "users", "users": ["a@contoso.com"], "group": "g@contoso.com"},
        {"kind": "group", "group": "g@contoso.com", "users": ["a@contoso.com"]},
        {"kind": "all_domains", "users": ["a@contoso.com"]},
    ],
    ids=str,
)
def test_a_scope_says_what_its_kind_needs(scope: dict[str, object]) -> None:
    """Domains for domains, a group for a group, people for people, none of them for all."""
    start = read(json.dumps({**START, "scope": scope}))

    assert isinstance(start, StartGrant)
    with pytest.raises(MessageError):
        start.to_intent(("standard",))


def _people(*names: str) -> tuple[str, ...]:
    start = read(json.dumps({**START, "scope": {"kind": "users", "users": names}}))
    assert isinstance(start, StartGrant)
    scope = start.to_intent(("standard",)).scope
    assert scope.kind is ScopeKind.USERS
    return scope.users


def test_people_are_chosen_by_name() -> None:
    """User principal names and addresses, guests' too, as they are written; blanks around them do not count."""
    names = ("Ada.Lovelace@contoso.com", "o'neil+x@mail.contoso.co.uk", "bob_fabrikam.com#EXT#@contoso.onmicrosoft.com")

    assert _people(*names, " eve@contoso.com\n") == (*names, "eve@contoso.com")


@pytest.mark.parametrize(
    "name",
    [
        *("", "ada", "ada@", "@contoso.com", "a b@contoso.com", "ada@contoso", "a@b@contoso.com", "a..b@contoso.com"),
        *(".a@contoso.com", "ada@contoso.com\nbob@contoso.com", "ada@-contoso.com", "Ada <ada@contoso.com>", "ü@contoso.com"),
        f"{'a' * 320}@b.com",
    ],
)
def test_what_is_no_name_is_refused_with_its_place(name: str) -> None:
    """The place is told, and that it is no address; nothing is left out in silence."""
    with pytest.raises(MessageError, match=r"scope\.users\.1: this is no user principal name and no e-mail address"):
        _people("ada@contoso.com", name)


def test_at_most_a_hundred_people_are_chosen() -> None:
    """A hundred, however often each is named; one more is told with the number of all."""
    hundred = [f"user{number}@contoso.com" for number in range(100)]

    assert _people(*hundred, *(name.upper() for name in hundred)) == tuple(hundred)
    with pytest.raises(MessageError, match="101 people are given, and at most 100 can be"):
        _people(*hundred, "one.more@contoso.com")


@given(st.lists(st.sampled_from(["ada", "ADA", "Ada", "bob", "Bob", "eve"]).map(lambda name: f"{name}@contoso.com"), min_size=1))
def test_whoever_is_named_is_chosen_once(names: list[str]) -> None:
    """Everybody who is named is chosen, nobody twice, in the order and the spelling of the first mention."""
    chosen = _people(*names)
    folded = [name.casefold() for name in chosen]

    assert folded == list(dict.fromkeys(name.casefold() for name in names))
    assert [names[[each.casefold() for each in names].index(name)] for name in folded] == list(chosen)


def test_a_policy_must_be_offered() -> None:
    """A policy that is not among the settings' is refused by name."""
    start = read(json.dumps({**START, "policy": "lax"}))

    assert isinstance(start, StartGrant)
    with pytest.raises(MessageError, match="lax"):
        start.to_intent(("standard",))


@given(st.binary(max_size=300) | st.text(max_size=300))
def test_any_body_is_read_or_refused(body: bytes | str) -> None:
    """No body whatever makes the reader fail in another way than by a reason."""
    with pytest.raises(MessageError) as caught:
        read(body)

    assert str(caught.value)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["version", "type", "grant_id", "step", "cause"]) | st.text(), inner)
        ),
        max_leaves=10,
    )
)
def test_any_json_is_read_or_refused(content: object) -> None:
    """The same for any JSON."""
    with pytest.raises(MessageError):
        read(json.dumps(content))


def test_the_documents_say_what_the_code_says() -> None:
    """docs/messages.md, docs/steps.md and the README's settings are what `make docs` would write."""
    stale = [path.name for path, text in documents.documents().items() if path.read_text() != text]

    assert stale == []
