"""Networks as Exchange writes them: what lies within what, told like a count of all addresses would."""

import ipaddress
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.mailflow.networks import network, networks, overlapping, uncovered
from tests.unit.mailflow.requests import CALM

_LAST = st.integers(0, 255)
_WRITTEN = st.one_of(
    _LAST.map(lambda last: f"192.0.2.{last}"),
    st.tuples(_LAST, st.integers(24, 32)).map(lambda pair: f"192.0.2.{pair[0]}/{pair[1]}"),
    st.tuples(_LAST, _LAST).map(lambda pair: f"192.0.2.{min(pair)}-192.0.2.{max(pair)}"),
)
_LISTS = st.lists(_WRITTEN, max_size=5)


def _addresses(texts: Sequence[str]) -> set[ipaddress.IPv4Address]:
    return {address for text in texts for part in network(text) for address in part}


@CALM
@given(_LISTS, _LISTS)
def test_what_is_covered_and_what_is_shared(ours: list[str], theirs: list[str]) -> None:
    """A network is covered when each of its addresses is, by however many others; it overlaps when one is."""
    others = _addresses(theirs)

    assert uncovered(ours, theirs) == tuple(text for text in ours if not _addresses([text]) <= others)
    assert overlapping(ours, theirs) == tuple(text for text in ours if _addresses([text]) & others)
    assert {address for part in networks(theirs) for address in part} == others


@pytest.mark.parametrize("text", ["2001:db8::1", "rubbish", "", "192.0.2.9-192.0.2.1", "10.0.0.0/33", "192.0.2.1-x"])
def test_what_is_no_network_is_left_out(text: str) -> None:
    """What can't be read covers nothing and overlaps with nothing."""
    assert networks([text, "192.0.2.0/25"]) == [ipaddress.IPv4Network("192.0.2.0/25")]
    assert uncovered(["192.0.2.0/24"], [text, "192.0.2.0/25"]) == ("192.0.2.0/24",)
    assert overlapping(["198.51.100.0/24"], [text]) == ()
