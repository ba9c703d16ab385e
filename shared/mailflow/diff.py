"""What differs between the objects that a grant wants and those in the tenant, and the cmdlets that put it right, in order."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from shared.domain.steps import StepName
from shared.mailflow.compare import are_members, covers, is_same
from shared.mailflow.desired import DesiredObject, DesiredSetting, ForeignObject, Routing
from shared.mailflow.kinds import DISABLE_RULE, ENABLE_CUSTOMIZATION, ENABLE_RULE, KINDS, NEED_CUSTOMIZATION, SET_MEMBERS, Kind
from shared.mailflow.lists import ENTRY_NOUNS, LISTS, WHOLE_NOUNS, way_of
from shared.mailflow.order import wanted_order
from shared.mailflow.tenant import MEMBERS, Found, TenantObjects, is_owned

EXISTS, OWNER, PRIORITY, STATE = "exists", "owner", "Priority", "State"
ROUTES = "RouteMessageOutboundConnector"
"""What a rule of ours that sends messages to the scanner has, and no other."""
CERTIFICATE = "TlsSenderCertificateName"
"""By which name the return connector of outbound mail knows the scanner."""
CUSTOMIZATION = ("OrganizationConfig", "IsDehydrated")
"""The object and the property whose change nobody can take back (page of Enable-OrganizationCustomization)."""
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


class Target(Protocol):
    """What a change changes: an object that is wanted, one that is to go, or a setting of somebody else's object."""

    @property
    def name(self) -> str:
        """How journals and people name it."""

    @property
    def secrets(self) -> frozenset[str]:
        """The properties that nobody may be shown."""

    def shown(self, property_name: str, value: Any) -> Any:
        """Return a property's value for people, journals and events: never a secret."""


@dataclass(frozen=True, slots=True)
class OwnObject:
    """An object of ours as it stands in the tenant, whether it is still wanted or not."""

    kind: Kind
    name: str
    secrets: frozenset[str] = frozenset()

    def shown(self, property_name: str, value: Any) -> Any:
        """Return the value: nothing that a removal says is secret."""
        del property_name
        return value


@dataclass(frozen=True, slots=True)
class Change:
    """One cmdlet to run. ``former``, ``written`` and ``result`` are for the journal; never a secret.

    ``former``: what each property was; a property of which a list entry is added is named with the entry, and was False.
    ``written``: what a property of somebody else's object is given, so that an undo knows it from what others gave it later.
    ``replaces``: the entries of a list of others that can only be written whole; None where nothing of theirs is written again.
    """

    object: Target
    cmdlet: str
    parameters: Mapping[str, Any] = field(repr=False)
    former: Mapping[str, Any] = field(default_factory=dict)
    written: Mapping[str, Any] = field(default_factory=dict)
    replaces: tuple[str, ...] | None = None

    @property
    def result(self) -> dict[str, Any]:
        """What the change asks for."""
        return {"cmdlet": self.cmdlet, **{name: self.object.shown(name, value) for name, value in self.parameters.items()}}

    @property
    def is_creation(self) -> bool:
        """True when the change makes something new, which must not be there yet."""
        return self.cmdlet.startswith("New-")

    @property
    def hidden(self) -> list[str]:
        """The texts among its parameters that nobody may be shown."""
        return [text for name in self.object.secrets for text in self.parameters.get(name) or ()]


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
    outdated = _outdated_rules(desired, tenant, (grant_id, *former))
    result += [Difference(item.name, EXISTS, expected=False, found=True) for item in outdated]
    order = _order(desired, tenant, (grant_id, *former))
    found_order = tenant.rule_order
    misplaced = [item.name for item, _ in _placements(desired, tenant, order) if tenant.find(item) and item not in foreign]
    folded = [name.casefold() for name in order]
    return [
        *result,
        *(Difference(n, PRIORITY, folded.index(n.casefold()), found_order.index(n.casefold())) for n in misplaced),
    ]


def changes(
    desired: Sequence[DesiredObject],
    tenant: TenantObjects,
    grant_id: str,
    former: Sequence[str] = (),
    settings: Sequence[DesiredSetting] = (),
) -> list[Change]:
    """Return the cmdlets that make the tenant hold what is wanted, in the safe order; a foreign object is left alone.

    What must be off goes off first; then the return path, the way to the scanner, settings of others' objects, groups, routing
    rules last. Rules of ours that are no longer wanted go when the others stand.
    """
    foreign = foreign_objects(desired, tenant, grant_id, former)
    placed = {item.name: place for item, place in _placements(desired, tenant, _order(desired, tenant, (grant_id, *former)))}
    ways: list[Change] = []
    rest: list[Change] = []
    for item in desired:
        found = tenant.find(item)
        to = ways if item.kind in _WAYS else rest
        if found is None:
            to += _creation(item, placed.get(item.name, 0))
        elif item not in foreign:
            to += _kept_way_back(item, found, tenant, (grant_id, *former))
            to += _updates(item, found)
            if item.name in placed:
                parameters = _addressed(item, {PRIORITY: placed[item.name]})
                to.append(Change(item, KINDS[item.kind].set, parameters, {PRIORITY: found[PRIORITY]}))
    outdated = _outdated_rules(desired, tenant, (grant_id, *former))
    gone = [removal(item) for item in outdated]
    off = [
        Change(item, DISABLE_RULE, {"Identity": item.name, "Confirm": False}, {STATE: found[STATE]})
        for item, found in outdated.items()
        if found.get(ROUTES) and found[STATE] == Routing.ON and _must_be_off(desired)
    ]
    made = sorted([*ways, *setting_changes(settings, tenant), *rest], key=lambda change: change.cmdlet != DISABLE_RULE)
    return [*customization(tenant, made), *off, *made, *gone]


def customization(tenant: TenantObjects, pending: Sequence[Change]) -> list[Change]:
    """Return what makes an organization one that can be customized, for good, where one of the changes needs it.

    A new organization shares these policies with others, and refuses to change them before
    (github:Microsoft365DSC/Microsoft365DSC issue 136).
    """
    noun, what = CUSTOMIZATION
    is_needed = any(change.cmdlet in NEED_CUSTOMIZATION for change in pending)
    if not is_needed or not any(found.get(what) for found in tenant.answers.get(f"Get-{noun}", ())):
        return []
    return [Change(ForeignObject(noun, ""), ENABLE_CUSTOMIZATION, {"Confirm": False}, {what: True}, {what: False})]


def setting_reads(settings: Sequence[DesiredSetting]) -> frozenset[str]:
    """Return the cmdlets whose answers tell what changes these settings take."""
    read = {item.get for item in settings}
    is_shared = any(f"Set-{item.noun}" in NEED_CUSTOMIZATION for item in settings)
    return frozenset({*read, f"Get-{CUSTOMIZATION[0]}"} if is_shared else read)


_WAYS = (Kind.INBOUND_CONNECTOR, Kind.OUTBOUND_CONNECTOR)


def removal(item: OwnObject) -> Change:
    """Return the change that takes an object of ours out of the tenant."""
    always = KINDS[item.kind].always or {}
    return Change(item, KINDS[item.kind].remove, {"Identity": item.name, **always, "Confirm": False}, {EXISTS: True})


def setting_differences(
    settings: Sequence[DesiredSetting], tenant: TenantObjects, step: StepName = StepName.MAIL_FLOW
) -> list[Difference]:
    """Return what is wanted of somebody else's objects and is not so; ``step`` owns it."""
    result = []
    for item in settings:
        result += [
            Difference(item.name, f"{item.property} {entry}", "there", "missing", step) for entry in _missing(item, tenant)
        ]
        found = None if item.adds else tenant.named(item.get, item.identity)
        if found is not None and not is_same(item.property, item.value, found.get(item.property)):
            result.append(Difference(item.name, item.property, item.value, found.get(item.property), step))
    return result


def setting_changes(settings: Sequence[DesiredSetting], tenant: TenantObjects) -> list[Change]:
    """Return the cmdlets that give somebody else's objects what is wanted of them, and touch nothing else of them."""
    return [change for item in settings for change in (_additions(item, tenant) if item.adds else _put(item, tenant))]


def _missing(item: DesiredSetting, tenant: TenantObjects) -> list[str]:
    """Return the entries that a list lacks; nothing is missing in an object that is gone."""
    is_there = item.noun in LISTS or tenant.named(item.get, item.identity) is not None
    current = current_entries(item, tenant)
    return [entry for entry in item.adds if is_there and not covers(item.property, current, entry)]


def current_entries(item: DesiredSetting, tenant: TenantObjects) -> list[str]:
    """Return the entries of the list that ``item`` adds to."""
    return way_of(item.noun).read(read_of(item, tenant), item.property)


def replaced_entries(item: DesiredSetting, tenant: TenantObjects) -> tuple[str, ...] | None:
    """Return the entries that a write of the list writes again, those of others among them; None where it names only ours."""
    return tuple(current_entries(item, tenant)) if item.noun in WHOLE_NOUNS else None


def is_current(change: Change, tenant: TenantObjects) -> bool:
    """True unless the change would write again what is not so any more; ``tenant`` is what was read just before the write."""
    if change.replaces is None or not isinstance(change.object, DesiredSetting):
        return True
    return is_same(change.object.property, change.replaces, current_entries(change.object, tenant))


def read_of(item: DesiredSetting, tenant: TenantObjects) -> Sequence[Found]:
    """Return what holds the list that ``item`` adds to: its object, or all entries where each is an object."""
    if item.noun in ENTRY_NOUNS:
        return tenant.of(item.get)
    found = tenant.named(item.get, item.identity)
    return [] if found is None else [found]


def _additions(item: DesiredSetting, tenant: TenantObjects) -> list[Change]:
    result = []
    missing = _missing(item, tenant)
    way = way_of(item.noun)
    for cmdlet, parameters, entries in (
        way.add(item.noun, item.property, missing, current_entries(item, tenant)) if missing else ()
    ):
        former = {f"{item.property} {entry}": False for entry in entries}
        written = {f"{item.property} {entry}": True for entry in entries}
        sent = {"Identity": item.identity, **parameters, "Confirm": False}
        result.append(Change(item, cmdlet, sent, former, written, replaced_entries(item, tenant)))
    return result


def _put(item: DesiredSetting, tenant: TenantObjects) -> list[Change]:
    found = tenant.named(item.get, item.identity)
    if found is None or is_same(item.property, item.value, found.get(item.property)):
        return []
    parameters = {"Identity": item.identity, item.property: item.value, "Confirm": False}
    former, written = {item.property: found.get(item.property)}, {item.property: item.value}
    return [Change(item, f"Set-{item.noun}", parameters, former, written)]


def _must_be_off(desired: Sequence[DesiredObject]) -> bool:
    """True while no routing rule may be on."""
    return not any(item.keeps_state or item.parameters["Enabled"] for item in desired if item.routes)


def _outdated_rules(desired: Sequence[DesiredObject], tenant: TenantObjects, owners: Sequence[str]) -> dict[OwnObject, Found]:
    """Return the rules that bear our mark and are no longer wanted: of another scope or direction, or renamed.

    Connectors and groups that are no longer wanted do nothing without a rule; mail may still be on its way through them, so that
    they stay until everything is removed.
    """
    wanted = {item.name.casefold() for item in desired}
    rules = tenant.owned(Kind.TRANSPORT_RULE, owners)
    return {
        OwnObject(Kind.TRANSPORT_RULE, str(found["Name"])): found
        for found in rules
        if str(found["Name"]).casefold() not in wanted
    }


def _order(desired: Sequence[DesiredObject], tenant: TenantObjects, owners: Sequence[str]) -> list[str]:
    """Return how all rules are to stand, but for those of ours that go."""
    going = {item.name for item in _outdated_rules(desired, tenant, owners)}
    rules = [found for found in tenant.of(KINDS[Kind.TRANSPORT_RULE].get) if found["Name"] not in going]
    return wanted_order(desired, rules)


def _placements(
    desired: Sequence[DesiredObject], tenant: TenantObjects, wanted: Sequence[str]
) -> Iterator[tuple[DesiredObject, int]]:
    """Yield the rules that must be placed, with the priority to give them, so that all end up as they are ``wanted``.

    One after the other: rules of others and those placed before stand as wanted among themselves; the next one stands right when
    it is between its neighbours among these. What is in the way is placed later, or goes.
    """
    names = [name.casefold() for name in wanted]
    ours = [item.name.casefold() for item in desired if item.kind is Kind.TRANSPORT_RULE]
    order = tenant.rule_order
    settled = [name for name in names if name not in ours]
    for item in desired:
        if item.kind is not Kind.TRANSPORT_RULE:
            continue
        name = item.name.casefold()
        above = [other for other in names[: names.index(name)] if other in settled]
        others = [other for other in order if other != name]
        first = others.index(above[-1]) + 1 if above else 0
        below = [place for place, other in enumerate(others) if other in settled and place >= first]
        last = below[0] if below else len(others)
        if name not in order or not first <= order.index(name) <= last:
            yield item, first
            order = [*others[:first], name, *others[first:]]
        settled.append(name)


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


def _creation(item: DesiredObject, place: int) -> list[Change]:
    """Make an object, and set what can't be given at its birth. A rule is put where it belongs."""
    kind = KINDS[item.kind]
    given = {name: value for name, value in item.parameters.items() if name not in kind.after_creation}
    if item.kind is Kind.TRANSPORT_RULE:
        given[PRIORITY] = place
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


def _kept_way_back(item: DesiredObject, found: Found, tenant: TenantObjects, owners: Sequence[str]) -> list[Change]:
    """Make a second return connector before the first gets another certificate: mail is still under way with the former one.

    Servers follow a switched-off rule late, and what the scanner has queued returns a day later; without a connector for its
    certificate it would be refused. Only a name of ours is kept, so that nobody else's certificate is let in. The connector bears
    our mark and stays until everything is removed.
    """
    wanted, former = str(item.parameters.get(CERTIFICATE, "")), str(found.get(CERTIFICATE) or "").casefold()
    is_former = bool(wanted) and wanted.casefold() != former and former.partition(".")[0] in owners
    name = f"{item.name} {hashlib.sha256(former.encode()).hexdigest()[:8]}"
    kept = replace(item, name=name, parameters={**item.parameters, CERTIFICATE: former})
    return _creation(kept, 0) if is_former and tenant.find(kept) is None else []


def _sent(item: DesiredObject, name: str, found: Any) -> Any:
    """Return what sets a property: its wanted value; where it must be empty, null, or false in the place of true."""
    wanted = item.parameters.get(name)
    return False if wanted is None and isinstance(found, bool) else wanted


def _addressed(item: DesiredObject, parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {"Identity": item.name, **parameters, **(KINDS[item.kind].always or {}), "Confirm": False}
