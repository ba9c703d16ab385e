"""The scanners that mail goes through, one for each region, as the settings describe them."""

import ipaddress
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product

SMALLEST_PREFIX = 24
"""Exchange takes no wider IPv4 network as the source of a connector (page of New-InboundConnector)."""


@dataclass(frozen=True, slots=True)
class Scanner:
    """Where mail is scanned: a smart host and the networks that mail returns from, for each direction; the certificates' zone."""

    inbound_host: str
    outbound_host: str
    inbound_egress: tuple[str, ...]
    outbound_egress: tuple[str, ...]
    certificate_zone: str


def split(value: str) -> tuple[str, ...]:
    """Return the parts of a list that is written with commas."""
    return tuple(part.strip() for part in value.split(",") if part.strip())


def host(value: str) -> str:
    """Return a host name in small letters. Raises ValueError for anything else."""
    if not re.fullmatch(r"([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}", value.lower()):
        raise ValueError("must be a host name")
    return value.lower()


def networks(value: str) -> str:
    """Return a list of egress networks as it is. Raises ValueError for an empty one, IPv6, and networks wider than /24."""
    try:
        is_right = all(ipaddress.IPv4Network(part).prefixlen >= SMALLEST_PREFIX for part in split(value))
    except ValueError:
        is_right = False
    if not is_right or not split(value):
        raise ValueError("egress ranges are IPv4 networks, /24 to /32, separated by commas")
    return value


PARTS: Mapping[str, Callable[[str], str]] = {
    "inbound_host": host,
    "outbound_host": host,
    "inbound_egress": networks,
    "outbound_egress": networks,
    "certificate_zone": host,
}
"""What a scanner is described by, the fields of ``Scanner``, and what each must be."""


def regions(value: str) -> str:
    """Return the regions' JSON as it is. Raises ValueError that names the region and the part that is wrong."""
    found = _read(value)
    if found is None:
        raise ValueError(f"must be JSON: an object that has, for each region, an object with {', '.join(PARTS)}")
    for name, parts in found.items():
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,23}", name):
            raise ValueError(f"region '{name}': a name has 1 to 24 small letters, digits and hyphens")
        if parts.keys() != PARTS.keys() or not all(isinstance(part, str) for part in parts.values()):
            raise ValueError(f"region '{name}': needs exactly {', '.join(PARTS)}, each a text")
        for part, check in PARTS.items():
            try:
                check(parts[part])
            except ValueError as error:
                raise ValueError(f"region '{name}': {part}: {error}") from None
    return value


def scanners(unnamed: Mapping[str, str], more: str) -> dict[str, Scanner]:
    """Return every scanner by its region, "" for the ``unnamed`` one; ``more`` is the JSON of those that have a name."""
    return {name: _scanner(parts) for name, parts in {"": unnamed, **(_read(more) or {})}.items()}


def overlap(unnamed: Mapping[str, str], more: str) -> str:
    """Say where mail of one direction could look like the other's, in whatever regions; "" where it can't (real-tenants.md 1).

    Networks that can't be read are passed over: they are faults of their own.
    """
    described = {"": unnamed, **(_read(more) or {})}
    inbound, outbound = (list(_egress(described, part)) for part in ("inbound_egress", "outbound_egress"))
    for (one, back), (other, out) in product(inbound, outbound):
        if back.overlaps(out):
            return f"{out} (outbound egress{_of(other)}) overlaps {back} (inbound egress{_of(one)})"
    return ""


def _of(region: str) -> str:
    return f" of region '{region}'" if region else ""


def _egress(described: Mapping[str, Mapping[str, str]], part: str) -> Iterator[tuple[str, ipaddress.IPv4Network]]:
    for region, parts in described.items():
        for text in split(str(parts.get(part, ""))):
            try:
                yield region, ipaddress.IPv4Network(text)
            except ValueError:
                continue


def _read(value: str) -> dict[str, dict[str, str]] | None:
    try:
        found = json.loads(value)
    except ValueError:
        return None
    is_right = isinstance(found, dict) and all(isinstance(parts, dict) for parts in found.values())
    return found if is_right else None


def _scanner(parts: Mapping[str, str]) -> Scanner:
    return Scanner(
        host(parts["inbound_host"]),
        host(parts["outbound_host"]),
        split(parts["inbound_egress"]),
        split(parts["outbound_egress"]),
        host(parts["certificate_zone"]),
    )
