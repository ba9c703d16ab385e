"""What the journal's rows make up."""

from typing import Any

from shared.domain.grant import Row
from shared.mailflow.snapshot import Snapshot, read_snapshot

POLICY = "HostedContentFilterPolicy 'It''s | ours'"


def _former(name: str, what: str, value: Any) -> Row:
    return Row(f"snapshot|{name}|{what}", {"object": name, "property": what, "former": value})


def _written(name: str, what: str, value: Any) -> Row:
    return Row(f"written|{name}|{what}", {"object": name, "property": what, "written": value})


def test_the_first_former_value_counts_and_the_last_written_one() -> None:
    """Of the rows of several grants of a tenant, oldest first, what was before all of them is what was before Grantline."""
    rows = [_former(POLICY, "SpamAction", "Delete"), _written(POLICY, "SpamAction", "MoveToJmf")]
    rows += [_former(POLICY, "SpamAction", "MoveToJmf"), _written(POLICY, "SpamAction", "Quarantine")]
    (wrote,) = read_snapshot(rows).wrote

    assert (wrote.setting.noun, wrote.setting.identity) == ("HostedContentFilterPolicy", "It''s | ours")
    assert (wrote.former, wrote.setting.value) == ("Delete", "Quarantine")


def test_entries_of_one_list_are_taken_together() -> None:
    """Entries are rows of their own; what they add to is one setting."""
    name = "HostedConnectionFilterPolicy 'Default'"
    entries = [f"IPAllowList 192.0.2.{number}" for number in (1, 2)]
    rows = [row for what in entries for row in (_former(name, what, value=False), _written(name, what, value=True))]
    (wrote,) = read_snapshot(rows).wrote

    assert (wrote.setting.property, wrote.setting.adds) == ("IPAllowList", ("192.0.2.1", "192.0.2.2"))


def test_what_nobody_can_take_back_is_nothing_to_take_back() -> None:
    """The customization of the organization is remembered, and is no setting to restore."""
    rows = [
        _former("OrganizationConfig", "IsDehydrated", value=True),
        _written("OrganizationConfig", "IsDehydrated", value=False),
    ]

    assert read_snapshot(rows).wrote == ()
    assert ("OrganizationConfig", "IsDehydrated") in read_snapshot(rows).former


def test_what_was_made_and_what_was_removed_is_known() -> None:
    """An object is removed when its last change was that; rows of other kinds are passed over."""
    rows = [_former(name, "exists", value=False) for name in ("One", "Two")]
    rows += [Row("change|One", {"cmdlet": "Remove-TransportRule"}), Row("change|Two", {"cmdlet": "Set-TransportRule"})]
    found = read_snapshot([*rows, Row("plan|0001", {"digest": "x"})])

    assert found.created == ("One", "Two")
    assert found.removed == {"One"}
    assert read_snapshot([]) == Snapshot()
