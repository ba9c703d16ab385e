"""Values as Exchange returns them, read for a judgement: whatever stands there, a check goes on."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from shared.domain.grant import Direction
from shared.mailflow.desired import Request
from shared.mailflow.kinds import KINDS, Kind
from shared.mailflow.tenant import Found, TenantObjects, is_owned

EXCHANGE_ADMIN_CENTER = "the Exchange admin center"
RULES_PAGE = "https://admin.exchange.microsoft.com/#/transportrules"
CONNECTORS_PAGE = "https://admin.exchange.microsoft.com/#/connectors"


def name_of(found: Found) -> str:
    """Return what people call an object."""
    return str(found.get("Name") or found.get("Identity") or "(no name)")


def texts(found: Found, name: str) -> list[str]:
    """Return a property as a list of texts: of one value a list of it, of none an empty list."""
    value = found.get(name)
    values = value if isinstance(value, list | tuple) else [value]
    return [str(item) for item in values if item not in (None, "", False)]


def is_on(found: Found, name: str, *, unless_absent: bool = False) -> bool:
    """Return a truth value, which Exchange writes as JSON or as a word; ``unless_absent`` is what counts where there is none."""
    value = found.get(name)
    if value is None:
        return unless_absent
    return value is True or str(value).strip().casefold() in ("true", "on", "enabled")


def says(found: Found, name: str, wanted: str) -> bool:
    """True where a property is this word, whatever its letter case."""
    return str(found.get(name) or "").strip().casefold() == wanted.casefold()


def domains(found: Found) -> list[str]:
    """Return the sender domains of a connector, without Exchange's ``smtp:domain;cost`` form, in lower case."""
    return [text.casefold().removeprefix("smtp:").partition(";")[0] for text in texts(found, "SenderDomains")]


def foreign(request: Request, tenant: TenantObjects, kind: Kind) -> Iterator[Found]:
    """Yield the objects of a kind that neither this grant nor a former one of the tenant has made."""
    ours = (request.grant_id, *request.former_grants)
    return (found for found in tenant.of(KINDS[kind].get) if not is_owned(found, kind, ours))


def egress(request: Request, directions: Iterable[Direction] = tuple(Direction)) -> tuple[str, ...]:
    """Return the ranges that scanned mail returns from, of those of these directions that the grant has."""
    ranges: Mapping[Direction, Sequence[str]] = {
        Direction.INBOUND: request.scanner.inbound_egress,
        Direction.OUTBOUND: request.scanner.outbound_egress,
    }
    wanted = set(directions)
    return tuple(text for each in request.intent.directions if each in wanted for text in ranges[each])


def shown(found: Found, *names: str) -> dict[str, Any]:
    """Return the properties that are evidence, as they were read."""
    return {name: found.get(name) for name in names}
