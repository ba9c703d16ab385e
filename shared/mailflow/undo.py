"""Taking back what Grantline added to a tenant, and nothing else: a three-way comparison of what was, what we wrote and what is.

An object that bears our mark goes. A list entry that we added goes; what was in the list before, or came later, stays. A value
that we put goes back to the former one only where it still is ours: else it is a later edit of somebody's, which stays and is
told. A foreign object is never removed, nor an object of ours that a rule of somebody else's needs.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from shared.mailflow.compare import has_entry, is_same
from shared.mailflow.desired import Request, Routing, planned_objects
from shared.mailflow.diff import (
    CUSTOMIZATION,
    ROUTES,
    STATE,
    Change,
    OwnObject,
    current_entries,
    read_of,
    removal,
    replaced_entries,
)
from shared.mailflow.kinds import DISABLE_RULE, ENABLE_CUSTOMIZATION, KINDS, Kind
from shared.mailflow.lists import quoted, way_of
from shared.mailflow.rule_properties import RULE_PROPERTIES
from shared.mailflow.snapshot import Snapshot, Wrote
from shared.mailflow.tenant import Found, TenantObjects

_ORDER = (Kind.TRANSPORT_RULE, Kind.INBOUND_CONNECTOR, None, Kind.DISTRIBUTION_GROUP, Kind.OUTBOUND_CONNECTOR)
"""The order of a removal: rules, the way back, what we changed of others' (None), groups, the way to the scanner."""


class Stands(StrEnum):
    """How a setting that we changed is now: as we wrote it, as it was before, as somebody wrote it later, or nowhere."""

    OURS = "ours"
    RESTORED = "restored"
    EDITED = "edited"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something of ours that is in the tenant: the object, what is to be done about it, and the PowerShell that does it."""

    object: str
    what: str
    powershell: str


def removal_groups(request: Request, snapshot: Snapshot) -> tuple[str, ...]:
    """Return the names of all groups that Grantline may have made, whatever scope and product are now: they are read by name."""
    kinds = _kinds(request, snapshot)
    return tuple(name for name, kind in kinds.items() if kind is Kind.DISTRIBUTION_GROUP)


def removal_reads(snapshot: Snapshot) -> frozenset[str]:
    """Return every cmdlet whose answers a removal needs."""
    return frozenset({"Get-AcceptedDomain", *(kind.get for kind in KINDS.values()), *(it.setting.get for it in snapshot.wrote)})


def routing_rules(request: Request, tenant: TenantObjects, snapshot: Snapshot) -> list[Found]:
    """Return every rule that routes mail to the scanner: one of ours, or one that names a connector of ours.

    Whoever's comment it bears: what it routes can't come back once the way back is gone.
    """
    connectors = {name.casefold() for name in snapshot.created}
    for found in tenant.owned(Kind.OUTBOUND_CONNECTOR, request.owners):
        connectors |= {str(found.get(name) or "").casefold() for name in ("Name", "Identity", "Guid")} - {""}
    own = tenant.owned(Kind.TRANSPORT_RULE, request.owners)
    rules = [rule for rule in tenant.of(KINDS[Kind.TRANSPORT_RULE].get) if rule.get(ROUTES)]
    return [rule for rule in rules if rule in own or str(rule[ROUTES]).casefold() in connectors]


def routing_off(request: Request, tenant: TenantObjects, snapshot: Snapshot) -> list[Change]:
    """Return what switches off every rule that routes mail to the scanner; nothing else is touched."""
    return [
        Change(OwnObject(Kind.TRANSPORT_RULE, str(found["Name"])), DISABLE_RULE, parameters, {STATE: found[STATE]})
        for found in routing_rules(request, tenant, snapshot)
        if found[STATE] == Routing.ON
        for parameters in [{"Identity": str(found["Name"]), "Confirm": False}]
    ]


@dataclass(frozen=True, slots=True)
class Ways:
    """By what a message on its way to or from the scanner is known: names of rules, connectors and hosts; its networks."""

    names: frozenset[str]
    networks: tuple[str, ...]


def ways(request: Request, tenant: TenantObjects, snapshot: Snapshot) -> Ways:
    """Return the ways of messages as they were made in the tenant, whatever the settings say by now, and as they say."""
    rules = routing_rules(request, tenant, snapshot)
    out, back = (tenant.owned(kind, request.owners) for kind in (Kind.OUTBOUND_CONNECTOR, Kind.INBOUND_CONNECTOR))
    names = {*snapshot.created, *(str(found["Name"]) for found in (*rules, *out))}
    hosts = {str(host) for found in out for host in found.get("SmartHosts") or ()}
    networks = [*(text for rule in rules for text in rule.get("ExceptIfSenderIpRanges") or ())]
    networks += [text for found in back for text in found.get("SenderIPAddresses") or ()]
    scanner = request.settings.scanners.get(request.intent.region)
    if scanner:
        hosts |= {scanner.inbound_host, scanner.outbound_host}
        networks += [*scanner.inbound_egress, *scanner.outbound_egress]
    return Ways(frozenset(names | hosts), tuple(dict.fromkeys(map(str, networks))))


def removal_changes(request: Request, tenant: TenantObjects, snapshot: Snapshot) -> list[Change]:
    """Return what takes back all that Grantline added, in the safe order; after it nothing of ours is left that can be taken.

    Routing off, verdict rules, routing rules, then the way back, settings of others' objects, groups, the way to the scanner. Any
    part of it may have been done already.
    """
    result = routing_off(request, tenant, snapshot)
    for kind in _ORDER:
        if kind is None:
            result += [change for wrote in snapshot.wrote for change in _restoration(wrote, tenant)]
        else:
            result += [removal(item) for item, users in _removable(request, tenant, kind) if not users]
    return result


def leftovers(request: Request, tenant: TenantObjects | None, snapshot: Snapshot) -> tuple[Leftover, ...]:
    """Return all of ours that is in the tenant, in the order in which it is to be removed.

    Where the tenant can't be read any more (``None``) it is what the journal knows to have been made and not removed.
    """
    result: list[Leftover] = []
    for kind in _ORDER:
        if kind is None:
            result += [_left_setting(wrote, tenant) for wrote in snapshot.wrote if _is_left(wrote, tenant)]
        elif tenant is None:
            result += [_left_object(item, ()) for item in _remembered(request, snapshot) if item.kind is kind]
        else:
            result += [_left_object(item, users) for item, users in _removable(request, tenant, kind)]
    return (*result, *_certificate_domain(request, tenant))


def clean_report(request: Request, tenant: TenantObjects, snapshot: Snapshot) -> dict[str, Any]:
    """Return, as JSON values, how the tenant stands against what it was: clean when nothing of ours is left in it.

    ``kept`` are later edits of others, which stay; ``irreversible`` is what nobody can take back.
    """
    left = leftovers(request, tenant, snapshot)
    there = {str(found["Name"]).casefold() for kind in KINDS.values() for found in tenant.of(kind.get)}
    stands = [(wrote, stands_now(wrote, tenant)) for wrote in snapshot.wrote]
    return {
        "is_clean": not left,
        "left": [{"object": item.object, "what": item.what, "powershell": item.powershell} for item in left],
        "removed": [name for name in snapshot.created if name.casefold() not in there],
        "restored": [_told(wrote) for wrote, how in stands if how is Stands.RESTORED],
        "kept": [{**_told(wrote), "now": _now(wrote, tenant)} for wrote, how in stands if how is Stands.EDITED],
        "irreversible": [
            {"object": name, "property": what, "former": value, "cmdlet": ENABLE_CUSTOMIZATION}
            for (name, what), value in snapshot.former.items()
            if (name, what) == CUSTOMIZATION
        ],
    }


def stands_now(wrote: Wrote, tenant: TenantObjects) -> Stands:
    """Compare what was, what we wrote and what is."""
    setting = wrote.setting
    if setting.adds:
        return Stands.OURS if _entries_left(wrote, tenant) else Stands.RESTORED
    if tenant.named(setting.get, setting.identity) is None:
        return Stands.GONE
    now = _now(wrote, tenant)
    if is_same(setting.property, now, wrote.former):
        return Stands.RESTORED
    return Stands.OURS if is_same(setting.property, now, setting.value) else Stands.EDITED


def _entries_left(wrote: Wrote, tenant: TenantObjects) -> list[str]:
    entries = current_entries(wrote.setting, tenant)
    return [entry for entry in wrote.setting.adds if has_entry(wrote.setting.property, entries, entry)]


def _now(wrote: Wrote, tenant: TenantObjects) -> Any:
    found = tenant.named(wrote.setting.get, wrote.setting.identity)
    return None if found is None else found.get(wrote.setting.property)


def _restoration(wrote: Wrote, tenant: TenantObjects) -> Iterator[Change]:
    if stands_now(wrote, tenant) is not Stands.OURS:
        return
    item = wrote.setting
    if not item.adds:
        parameters = {"Identity": item.identity, item.property: wrote.former, "Confirm": False}
        yield Change(item, f"Set-{item.noun}", parameters, {item.property: item.value})
        return
    taken = way_of(item.noun).take(item.noun, item.property, _entries_left(wrote, tenant), read_of(item, tenant))
    for cmdlet, parameters, entries in taken:
        former = {f"{item.property} {entry}": True for entry in entries}
        sent = {"Identity": item.identity, **parameters, "Confirm": False}
        yield Change(item, cmdlet, sent, former, replaces=replaced_entries(item, tenant))


def _owned(request: Request, tenant: TenantObjects, kind: Kind) -> dict[OwnObject, Found]:
    return {OwnObject(kind, str(found["Name"])): found for found in tenant.owned(kind, request.owners)}


def _removable(request: Request, tenant: TenantObjects, kind: Kind) -> list[tuple[OwnObject, tuple[str, ...]]]:
    """Return the objects of ours, routing rules after other rules, each with the rules of others that need it.

    Exchange refuses to remove a connector that a rule needs; without its group a rule would silently never match any more.
    """
    owned = sorted(_owned(request, tenant, kind).items(), key=lambda entry: bool(entry[1].get(ROUTES)))
    return [(item, _users(request, tenant, kind, found)) for item, found in owned]


def _users(request: Request, tenant: TenantObjects, kind: Kind, found: Found) -> tuple[str, ...]:
    names = {str(found.get(name) or "").casefold() for name in _NAMED_BY.get(kind, ())} - {""}
    own = tenant.owned(Kind.TRANSPORT_RULE, request.owners)
    rules = [rule for rule in tenant.of(KINDS[Kind.TRANSPORT_RULE].get) if rule not in own]
    return tuple(str(rule["Name"]) for rule in rules if names & _named_in(rule))


_NAMED_BY: Mapping[Kind, Sequence[str]] = {
    Kind.OUTBOUND_CONNECTOR: ("Name",),
    Kind.DISTRIBUTION_GROUP: ("Name", "PrimarySmtpAddress"),
}
"""By which properties a rule names an object of ours."""


def _named_in(rule: Found) -> set[str]:
    values = [rule[name] for name in RULE_PROPERTIES & rule.keys()]
    texts = [text for value in values for text in (value if isinstance(value, list) else [value])]
    return {str(text).casefold() for text in texts if text}


def _kinds(request: Request, snapshot: Snapshot) -> dict[str, Kind]:
    """Return the kinds of all objects that may be ours, by their names: those of today's settings, and those once made."""
    return {**{item.name: item.kind for item in planned_objects(request.settings)}, **snapshot.kinds}


def _remembered(request: Request, snapshot: Snapshot) -> list[OwnObject]:
    """Return what the journal leaves one to think that the tenant holds of ours."""
    kinds = _kinds(request, snapshot)
    return [OwnObject(kinds[name], name) for name in snapshot.created if name in kinds and name not in snapshot.removed]


def _left_object(item: OwnObject, users: Sequence[str]) -> Leftover:
    words = f"used by {', '.join(users)}: take it out of there, then remove it" if users else "to be removed"
    change = removal(item)
    switches = "".join(f" -{name}:${str(value).lower()}" for name, value in change.parameters.items() if name != "Identity")
    return Leftover(item.name, words, f"{change.cmdlet} -Identity {quoted(item.name)}{switches}")


def _is_left(wrote: Wrote, tenant: TenantObjects | None) -> bool:
    return tenant is None or stands_now(wrote, tenant) is Stands.OURS


def _left_setting(wrote: Wrote, tenant: TenantObjects | None) -> Leftover:
    item = wrote.setting
    if item.adds:
        entries = item.adds if tenant is None else _entries_left(wrote, tenant)
        words = f"{', '.join(entries)} to be taken out of {item.property}"
        return Leftover(item.name, words, way_of(item.noun).script(item.noun, item.identity, item.property, entries))
    words = f"{item.property} to be put back from {item.value} to {wrote.former}"
    return Leftover(
        item.name, words, f"Set-{item.noun} -Identity {quoted(item.identity)} -{item.property} {quoted(wrote.former)}"
    )


def _certificate_domain(request: Request, tenant: TenantObjects | None) -> Iterator[Leftover]:
    """A certificate's name that somebody made an accepted domain by hand goes by hand, after the connector that needs it."""
    for domain in tenant.accepted_domains if tenant else ():
        name = domain.name.casefold()
        if name.partition(".")[0] == request.grant_id.casefold():  # whatever zone it was made in
            words = "an accepted domain that only the way back needed, to be removed"
            yield Leftover(name, words, f"Remove-MgDomain -DomainId {quoted(name)}")


def _told(wrote: Wrote) -> dict[str, Any]:
    item = wrote.setting
    if item.adds:
        return {"object": item.name, "property": item.property, "entries": list(item.adds)}
    return {"object": item.name, "property": item.property, "former": wrote.former, "written": item.value}
