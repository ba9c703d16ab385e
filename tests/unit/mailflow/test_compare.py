"""Exchange's other spellings of a value are no difference; other values are."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.mailflow.compare import are_members, is_same
from tests.unit.mailflow.requests import CALM

SAME = [
    ("SenderDomainIs", ["a.example", "b.example"], ["B.example", "a.EXAMPLE"]),
    ("SmartHosts", ["host.example"], "Host.example"),
    ("TlsDomain", None, ""),
    ("SentTo", None, []),
    ("RequireTls", False, None),
    ("RequireTls", True, "True"),
    ("SetSCL", -1, "-1"),
    ("RuleErrorAction", "Defer", "defer"),
    ("SenderDomains", ["*"], ["smtp:*;1"]),
    ("SenderIPAddresses", ["192.0.2.1"], ["192.0.2.1/32"]),
    ("SenderIPAddresses", ["192.0.2.7/24"], ["192.0.2.0/24"]),
    ("SenderIpRanges", ["192.0.2.0/24"], ["192.0.2.128/25", "192.0.2.0/25"]),
    ("ExceptIfSenderIpRanges", ["192.0.2.0/25"], ["192.0.2.0-192.0.2.127"]),
    ("Comments", "Made by us", "Made by us\r\n"),
]
OTHER = [
    ("SenderDomainIs", ["a.example", "b.example"], ["a.example"]),
    ("RequireTls", False, True),
    ("RequireTls", True, None),
    ("SetSCL", 0, None),
    ("SetSCL", -1, 1),
    ("SenderDomains", ["*"], ["smtp:*;5"]),
    ("SenderIpRanges", ["192.0.2.0/24"], ["192.0.2.0/25"]),
    ("SenderIpRanges", ["192.0.2.0/24"], ["192.0.2.0/24", "2001:db8::/64"]),
]


@pytest.mark.parametrize(("name", "one", "other"), SAME)
def test_other_spellings_are_the_same(name: str, one: Any, other: Any) -> None:
    """Null and empty, order, letter case, networks and address spaces: the same either way round."""
    assert is_same(name, one, other)
    assert is_same(name, other, one)


@pytest.mark.parametrize(("name", "one", "other"), OTHER)
def test_other_values_differ(name: str, one: Any, other: Any) -> None:
    """A value more, a value less, or another one is a difference, either way round."""
    assert not is_same(name, one, other)
    assert not is_same(name, other, one)


@CALM
@given(st.lists(st.ip_addresses(v=4).map(str), unique=True), st.lists(st.ip_addresses(v=4).map(str), unique=True))
def test_addresses_compare_as_sets(one: list[str], other: list[str]) -> None:
    """Lists of addresses are the same exactly when they hold the same addresses."""
    assert is_same("SenderIpRanges", one, other) is (set(one) == set(other))


def test_members_go_by_any_of_their_names() -> None:
    """A member is the wanted one by its address, alias, name or id; a stranger or a missing one is none."""
    member = {"Name": "Staff", "PrimarySmtpAddress": "STAFF@contoso.com", "EmailAddresses": ["smtp:all@contoso.com"], "Guid": "g"}

    assert all(are_members([name], [member]) for name in ("staff", "staff@Contoso.com", "all@contoso.com", "G"))
    assert not are_members(["other@contoso.com"], [member])
    assert not are_members(["staff"], [])
    assert not are_members(["staff"], [member, {"Name": "stranger"}])
