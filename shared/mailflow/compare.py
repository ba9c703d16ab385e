"""Whether two values of a property mean the same to Exchange, which returns them in other forms than it takes them."""

import ipaddress
from collections.abc import Iterable
from typing import Any

from shared.mailflow.networks import network

_ADDRESS_PROPERTIES = frozenset(
    {"SenderIPAddresses", "SenderIpRanges", "ExceptIfSenderIpRanges", "IPAllowList", "IPBlockList", "EFSkipIPs"}
)
_SPACE_PROPERTIES = frozenset({"SenderDomains"})
_MEMBER_FIELDS = ("PrimarySmtpAddress", "Name", "Alias", "Guid", "ExternalDirectoryObjectId", "EmailAddresses", "WindowsLiveID")
"""What a recipient is called by; as ``WindowsLiveID`` it tells its user principal name
(https://learn.microsoft.com/powershell/exchange/filter-properties)."""


def is_same(name: str, one: Any, other: Any) -> bool:
    """True when both values of the property ``name`` mean the same.

    Null, an empty text, an empty list and false are one; so are a value and a list of it. The order of a list, letter case,
    surrounding blanks, the spelling of networks and Exchange's ``smtp:domain;cost`` form do not count.
    """
    return _canonical(name, one) == _canonical(name, other)


def has_entry(name: str, entries: Iterable[str], entry: str) -> bool:
    """True when one of the entries of the list ``name`` means the same as ``entry``."""
    return any(is_same(name, [one], [entry]) for one in entries)


def covers(name: str, entries: Iterable[str], entry: str) -> bool:
    """True when the list holds ``entry``: as an entry of its own, or, an address or a network, within wider ones."""
    wanted = _canonical(name, [entry])
    held = _canonical(name, list(entries))
    return wanted <= held or (name in _ADDRESS_PROPERTIES and _canonical(name, [*held, *wanted]) == held)


def are_members(wanted: Iterable[str], found: Iterable[Any]) -> bool:
    """True when the found members are the wanted ones, each named by any of its addresses, names or ids."""
    names = {text.casefold() for text in wanted}
    known = [_names_of(member) for member in found]
    return all(names & member for member in known) and all(any(name in member for member in known) for name in names)


def strangers(wanted: Iterable[str], found: Iterable[Any]) -> list[str]:
    """Return those of the wanted names, as they are written, by which none of the recipients found is called."""
    known = frozenset[str]().union(*map(_names_of, found))
    return [name for name in wanted if name.casefold() not in known]


def _canonical(name: str, value: Any) -> frozenset[str]:
    items = value if isinstance(value, list | tuple | set | frozenset) else [value]
    texts = [_plain(item) for item in items if item is not None and item is not False]
    texts = [text for text in texts if text]
    if name in _ADDRESS_PROPERTIES:
        return _networks(texts)
    if name in _SPACE_PROPERTIES:
        return frozenset(text.removeprefix("smtp:").removesuffix(";1") for text in texts)
    return frozenset(texts)


def _plain(value: Any) -> str:
    """Write a value as text; Exchange writes truth values as JSON or as words, and may break lines of comments anew."""
    text = " ".join(str(value).split()).casefold()
    return "" if text == "false" else text


def _networks(texts: Iterable[str]) -> frozenset[str]:
    """Return the addresses as the fewest networks: a range, a network and its parts side by side are one."""
    found: list[ipaddress.IPv4Network] = []
    others: list[str] = []
    for text in texts:
        try:
            found += network(text)
        except ValueError:
            others.append(text)  # IPv6, which Grantline never sets: compared as it is written
    return frozenset([*map(str, ipaddress.collapse_addresses(found)), *others])


def _names_of(member: Any) -> frozenset[str]:
    """Return everything that a member is called by."""
    values = [member.get(field) for field in _MEMBER_FIELDS] if isinstance(member, dict) else [member]
    texts = [text for value in values if value for text in (value if isinstance(value, list) else [value])]
    return frozenset(str(text).casefold().removeprefix("smtp:") for text in texts)
