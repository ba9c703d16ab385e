"""Addresses, domains, IP ranges and words, as Exchange compares them: letter case never counts."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache


def domain_of(address: str) -> str:
    """Return the domain of an address; empty for the null sender."""
    return address.rpartition("@")[2]


def is_within(domain: str, parent: str) -> bool:
    """Tell whether `domain` is `parent` or a subdomain of it; `parent` may begin with `*.`."""
    parent = parent.removeprefix("*.")
    return domain == parent or domain.endswith("." + parent)


@lru_cache(maxsize=4096)
def _bounds(text: str) -> tuple[int, int, int]:
    """Return version, first and last address of an address, a range `a-b` or a network; nothing matches a text that is none."""
    first, dash, last = text.partition("-")
    try:
        if dash:
            low, high = ipaddress.ip_address(first.strip()), ipaddress.ip_address(last.strip())
            return low.version, int(low), int(high)
        network = ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        return 0, 1, 0
    return network.version, int(network[0]), int(network[-1])


def in_ranges(address: str, ranges: Iterable[str]) -> bool:
    """Tell whether an IP address lies in one of the ranges; no address lies in none."""
    if not address:
        return False
    version, value, _ = _bounds(address)
    for text in ranges:
        kind, low, high = _bounds(text)
        if kind == version and low <= value <= high:
            return True
    return False


def first_address(ranges: Iterable[str]) -> str:
    """Return the first address of the first range; empty when there is none."""
    for text in ranges:
        return str(text).partition("/")[0].partition("-")[0].strip()
    return ""


@lru_cache(maxsize=4096)
def _word(word: str) -> re.Pattern[str]:
    text = re.escape(word.strip())
    before = r"(?<![0-9a-zA-Z])" if word[:1].isalnum() else ""
    after = r"(?![0-9a-zA-Z])" if word[-1:].isalnum() else ""
    return re.compile(before + text + after, re.IGNORECASE)


def has_word(text: str, words: Iterable[str]) -> bool:
    """Tell whether one of the words stands in the text as a whole word."""
    return any(_word(word).search(text) for word in words)


@lru_cache(maxsize=1024)
def _pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


def has_pattern(text: str, patterns: Iterable[str]) -> bool:
    """Tell whether one of the regular expressions is found in the text. Raises re.error for none."""
    return any(_pattern(pattern).search(text) for pattern in patterns)
