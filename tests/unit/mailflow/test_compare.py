"""Exchange's other spellings of a value are no difference; other values are."""

import ipaddress
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.mailflow.compare import are_members, covers, has_entry, is_same, strangers
from shared.mailflow.networks import network
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


ENTRIES = st.lists(
    st.sampled_from(["192.0.2.0/25", "192.0.2.128-192.0.2.255", "192.0.2.7", "203.0.113.0/24", "2001:db8::1"]), max_size=4
)
"""Entries of address lists as tenants have them, some within others, some side by side."""


@CALM
@given(ENTRIES, st.sampled_from(["192.0.2.0/24", "192.0.2.0/26", "192.0.2.7/32", "203.0.113.9", "198.51.100.0/24"]))
def test_a_list_covers_what_its_addresses_are(entries: list[str], wanted: str) -> None:
    """A network is in a list exactly when each of its addresses is in some entry, however the entries are cut."""
    addresses = {address for text in entries if ":" not in text for part in network(text) for address in part}

    assert covers("IPAllowList", entries, wanted) is ({*ipaddress.IPv4Network(wanted)} <= addresses)


@CALM
@given(st.lists(st.sampled_from(["fabrikam.com", "Contoso.com", "sealer.example"]), unique=True), st.data())
def test_an_entry_is_the_same_in_any_letter_case(entries: list[str], data: st.DataObject) -> None:
    """Entries of other lists are words: whole, in whatever letter case and with whatever blanks around them."""
    for entry in entries:
        assert has_entry("ArcTrustedSealers", entries, f" {data.draw(st.sampled_from([str.upper, str.lower]))(entry)} ")
        assert covers("ArcTrustedSealers", entries, entry.upper())
    assert not has_entry("ArcTrustedSealers", entries, "fabrikam")
    assert not covers("ArcTrustedSealers", entries, "com")


@CALM
@given(st.lists(st.sampled_from(["a", "B", "c d", ""]), max_size=4), st.randoms(use_true_random=False))
def test_order_case_blanks_and_emptiness_never_count(values: list[str], random: Random) -> None:
    """However Exchange returns a list, it is the same; an empty one is null, an empty text and false."""
    returned: list[Any] = [f" {text.swapcase()}\r\n" for text in values] + [None] * random.randint(0, 2)
    random.shuffle(returned)

    assert is_same("SentTo", values, returned)
    if not any(values):
        nothing: tuple[Any, ...] = (None, "", [], False)
        assert all(is_same("SentTo", values, empty) for empty in nothing)
    assert not is_same("SentTo", values, [*values, "more"])


ADA = {"Name": "Ada", "PrimarySmtpAddress": "ada@contoso.com", "WindowsLiveID": "ada@contoso.onmicrosoft.com", "Alias": None}


@pytest.mark.parametrize("name", ["Ada@Contoso.com", "ADA@contoso.onmicrosoft.com"])
def test_a_member_is_known_by_user_principal_name_too(name: str) -> None:
    """A person who is chosen by a user principal name is the member that Exchange shows by an address."""
    assert are_members([name], [ADA])
    assert strangers([name], [ADA]) == []


def test_strangers_are_told_as_they_were_written() -> None:
    """In the order in which they were chosen; without anybody found, everybody is one."""
    chosen = ["Eve@contoso.com", "ada@contoso.com", "bob@contoso.com"]

    assert strangers(chosen, [ADA]) == ["Eve@contoso.com", "bob@contoso.com"]
    assert strangers(chosen, []) == chosen
