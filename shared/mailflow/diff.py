"""What differs between the objects that a grant wants and those in the tenant, and the cmdlets that put it right, in order."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shared.domain.steps import StepName
from shared.mailflow.compare import are_members, is_same
from shared.mailflow.desired import DesiredObject, Routing, standing
from shared.mailflow.kinds import DISABLE_RULE, ENABLE_RULE, KINDS, SET_MEMBERS, Kind
from shared.mailflow.tenant import MEMBERS, Found, TenantObjects, is_owned

EXISTS, OWNER, PRIORITY, STATE = "exists", "owner", "Priority", "State"
MAXIMUM_SHOWN = 80
"""How many characters of a value people read: a group may have thousands of members."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One property that is not as it must be; ``step`` owns it. Values are fit to be shown: never a secret."""

    object: str
    property: str
    expected: Any
    found: Any
    step: StepName = StepName.MAIL_FLOW

    def __str__(self) -> str:
        """Return the difference as a sentence for people."""
        return f"{self.object}: {self.property} is {_short(self.found)}, must be {_short(self.expected)}"


@dataclass(frozen=True, slots=True)
class Change:
    """One cmdlet to run. ``former`` and ``result`` are for the journal: what was before, what is asked for; never a secret."""

    object: DesiredObject
    cmdlet: str
    parameters: Mapping[str, Any] = field(repr=False)
    former: Mapping[str, Any] = field(default_factory=dict)

    @property
    def result(self) -> dict[str, Any]:
        """What the change asks for."""
        return {"cmdlet": self.cmdlet, **{name: self.object.shown(name, value) for name, value in self.parameters.items()}}


def foreign_objects(
    desired: Sequence[DesiredObject], tenant: TenantObjects, grant_id: str, former: Sequence[str] = ()
) -> tuple[DesiredObject, ...]:
    """Return the wanted objects whose name is taken by an object of somebody else: of neither the grant nor a ``former`` one."""
    taken = ((item, tenant.find(item)) for item in desired)
    return tuple(item for item, found in taken if found is not None and not is_owned(found, item.kind, (grant_id, *former)))


def differences(
    desired: Sequence[DesiredObject], tenant: TenantObjects, grant_id: str, former: Sequence[str] = ()
) -> list[Difference]:
    """Return everything about the wanted objects that the tenant does not hold; empty when all is as it must be."""
    foreign = foreign_objects(desired, tenant, grant_id, former)
    result = [Difference(item.name, OWNER, "this grant", "somebody else") for item in foreign]
    for item in desired:
        found = tenant.find(item)
        if found is None:
            result.append(Difference(item.name, EXISTS, expected=True, found=False))
        elif item not in foreign:
            result += _differing(item, found)
    order = standing(desired)
    misplaced = [item.name for item in _placements(desired, tenant) if tenant.find(item) and item not in foreign]
    found_order = tenant.rule_order
    result += [Difference(name, PRIORITY, order.index(name), found_order.index(name.casefold())) for name in misplaced]
    return result


def changes(desired: Sequence[DesiredObject], tenant: TenantObjects, grant_id: str, former: Sequence[str] = ()) -> list[Change]:
    """Return the cmdlets that make the tenant hold the wanted objects, in the safe order; a foreign object is left alone.

    What must be off goes off first; then the return path, then the way to the scanner, routing rules last.
    """
    foreign = foreign_objects(desired, tenant, grant_id, former)
    placed = [item.name for item in _placements(desired, tenant)]
    result: list[Change] = []
    for item in desired:
        found = tenant.find(item)
        if found is None:
            result += _creation(item)
        elif item not in foreign:
            result += _updates(item, found)
            if item.name in placed:
                parameters = _addressed(item, {PRIORITY: 0})
                result.append(Change(item, KINDS[item.kind].set, parameters, {PRIORITY: found[PRIORITY]}))
    return sorted(result, key=lambda change: change.cmdlet != DISABLE_RULE)


def _placements(desired: Sequence[DesiredObject], tenant: TenantObjects) -> Iterator[DesiredObject]:
    """Yield the rules that must be put on top, in this order, so that ours stand first of all and in their fixed order.

    A rule that will be below others of ours stands right when it is on top of all that is not above it in the end.
    """
    names = [name.casefold() for name in standing(desired)]
    order = tenant.rule_order
    for item in desired:
        if item.kind is not Kind.TRANSPORT_RULE:
            continue
        name = item.name.casefold()
        above = names[: names.index(name)]
        rest = [other for other in order if other not in above]
        if not rest or rest[0] != name:
            order = [name, *(other for other in order if other != name)]
            yield item


def _expected(item: DesiredObject) -> dict[str, Any]:
    """Return every property that counts, as Get- names it: those wanted, and those that must be empty."""
    expected = {**dict.fromkeys(KINDS[item.kind].unset), **item.parameters}
    if item.kind is Kind.TRANSPORT_RULE:
        state = str(Routing.ON if expected.pop("Enabled") else Routing.OFF)
        expected |= {} if item.keeps_state else {STATE: state}
    return expected


def _differing(item: DesiredObject, found: Found) -> list[Difference]:
    """Compare an object with its wanted properties; whatever else the server adds does not count."""
    result = []
    for name, expected in sorted(_expected(item).items()):
        value = found.get(name)
        same = are_members(expected, value or []) if name == MEMBERS else is_same(name, expected, value)
        if not same:
            result.append(Difference(item.name, name, item.shown(name, expected), item.shown(name, _brief(name, value))))
    return result


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= MAXIMUM_SHOWN else f"{text[:MAXIMUM_SHOWN]}… ({len(text)} characters)"


def _brief(name: str, value: Any) -> Any:
    """Name a group's members by their addresses alone: the rest of a member is no fact of the mail flow."""
    if name != MEMBERS:
        return value
    return [member.get("PrimarySmtpAddress") or member.get("Name") for member in value or []]


def _creation(item: DesiredObject) -> list[Change]:
    """Make an object, and set what can't be given at its birth. A rule is put on top of all."""
    kind = KINDS[item.kind]
    given = {name: value for name, value in item.parameters.items() if name not in kind.after_creation}
    if item.kind is Kind.TRANSPORT_RULE:
        given[PRIORITY] = 0
    made = Change(item, kind.new, {"Name": item.name, **given, "Confirm": False}, {EXISTS: False})
    later = {name: value for name, value in item.parameters.items() if name in kind.after_creation}
    return [made, Change(item, kind.set, _addressed(item, later), {EXISTS: False})] if later else [made]


def _updates(item: DesiredObject, found: Found) -> list[Change]:
    """Change only what differs, each property by the cmdlet that changes it."""
    kind = KINDS[item.kind]
    differing = {difference.property for difference in _differing(item, found)}
    calls: list[tuple[str, set[str], dict[str, Any]]] = []
    rest = differing - {MEMBERS, STATE}
    if rest:
        rest = rest.union(*(group for group in kind.together if group & rest))
        calls.append((kind.set, rest, {name: _sent(item, name, found.get(name)) for name in sorted(rest)}))
    if MEMBERS in differing:
        calls.append((SET_MEMBERS, {MEMBERS}, {MEMBERS: item.parameters[MEMBERS]}))
    if STATE in differing:
        calls.append((ENABLE_RULE if item.parameters["Enabled"] else DISABLE_RULE, {STATE}, {}))
    return [
        Change(item, cmdlet, _addressed(item, sent), {name: item.shown(name, _brief(name, found.get(name))) for name in names})
        for cmdlet, names, sent in calls
    ]


def _sent(item: DesiredObject, name: str, found: Any) -> Any:
    """Return what sets a property: its wanted value; where it must be empty, null, or false in the place of true."""
    wanted = item.parameters.get(name)
    return False if wanted is None and isinstance(found, bool) else wanted


def _addressed(item: DesiredObject, parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {"Identity": item.name, **parameters, **(KINDS[item.kind].always or {}), "Confirm": False}
