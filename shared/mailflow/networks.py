"""IPv4 networks as Exchange writes them: single addresses, CIDR networks and ranges. What is none of them is left out."""

import ipaddress
from collections.abc import Iterable

Network = ipaddress.IPv4Network


def network(text: str) -> list[Network]:
    """Return an address, a network or a range (``first-last``) as networks. Raises ValueError for anything else."""
    first, dash, last = text.partition("-")
    if not dash:
        return [Network(text.strip(), strict=False)]
    return list(ipaddress.summarize_address_range(ipaddress.IPv4Address(first.strip()), ipaddress.IPv4Address(last.strip())))


def networks(texts: Iterable[str]) -> list[Network]:
    """Return what the texts name together, as few networks as possible; IPv6 and what can't be read is left out."""
    found: list[Network] = []
    for text in texts:
        try:
            found += network(text)
        except (ValueError, TypeError):
            continue
    return list(ipaddress.collapse_addresses(found))


def uncovered(wanted: Iterable[str], by: Iterable[str]) -> tuple[str, ...]:
    """Return those of the wanted networks that do not lie within the others as a whole."""
    cover = networks(by)
    return tuple(text for text in wanted if not all(any(part.subnet_of(whole) for whole in cover) for part in network(text)))


def overlapping(ours: Iterable[str], theirs: Iterable[str]) -> tuple[str, ...]:
    """Return those of our networks that share an address with one of theirs."""
    others = networks(theirs)
    return tuple(text for text in ours if any(part.overlaps(other) for part in network(text) for other in others))


def is_within(address: str, ranges: Iterable[str]) -> bool:
    """True for an IPv4 address that lies in one of the networks; false for what is no such address."""
    wanted = networks([address])
    return bool(wanted) and not uncovered([str(wanted[0])], ranges)
