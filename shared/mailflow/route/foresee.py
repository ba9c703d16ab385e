"""What a tenant will hold after changes that have not been made: the cmdlets' effects, computed purely."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from shared.mailflow.diff import Change
from shared.mailflow.tenant import MEMBERS, Found, TenantObjects

Row = dict[str, Any]
_RULES = "Get-TransportRule"
_NO_PROPERTIES = frozenset({"Identity", "Confirm", "Priority", "BypassSecurityGroupManagerCheck"})


def foresee(tenant: TenantObjects, changes: Iterable[Change]) -> TenantObjects:
    """Return the tenant as it will be read after the changes, made in their order; the one that is given stays as it is."""
    answers: dict[str, list[Row]] = {cmdlet: [dict(row) for row in rows] for cmdlet, rows in tenant.answers.items()}
    for change in changes:
        verb, _, noun = change.cmdlet.partition("-")
        noun, effect = _SPECIAL.get(change.cmdlet) or (noun, _EFFECTS[verb])
        effect(answers.setdefault(f"Get-{noun}", []), dict(change.parameters))
    answers[_RULES] = [{**rule, "Priority": place} for place, rule in enumerate(_ranked(answers.get(_RULES, ())))]
    return TenantObjects(answers)


def _ranked(rules: Iterable[Found]) -> list[Row]:
    return [dict(rule) for rule in sorted(rules, key=lambda rule: float(rule["Priority"]))]


def _new(rows: list[Row], parameters: Row) -> None:
    rows.append({name: value for name, value in parameters.items() if name != "Confirm"})


def _set(rows: list[Row], parameters: Row) -> None:
    for row in _named(rows, parameters):
        for name, value in parameters.items():
            if name not in _NO_PROPERTIES:
                row[name] = _merged(row.get(name), value)


def _merged(found: Any, value: Any) -> Any:
    """Return a property after it was set; a hash table adds to a list and takes from it."""
    if not (isinstance(value, Mapping) and ("Add" in value or "Remove" in value)):
        return value
    gone = {str(each).casefold() for each in value.get("Remove", ())}
    kept = [item for item in found or () if str(item).casefold() not in gone]
    return [*kept, *value.get("Add", ())]


def _remove(rows: list[Row], parameters: Row) -> None:
    ids = {str(each) for each in parameters.get("Ids", ())}
    gone = [row for row in rows if str(row.get("Identity")) in ids] if ids else _named(rows, parameters)
    rows[:] = [row for row in rows if not any(row is each for each in gone)]


def _named(rows: list[Row], parameters: Row) -> list[Row]:
    """Return the row that Identity names: the only one where a tenant has but one object of this kind."""
    wanted = str(parameters.get("Identity", "")).casefold()
    found = [row for row in rows if wanted in {str(row.get(name, "")).casefold() for name in ("Name", "Identity")}]
    return found or (rows if len(rows) == 1 and wanted in {"", "default"} else [])


def _place(rows: list[Row], row: Row, priority: int) -> None:
    """Put a rule at its place; what stands there and below moves down."""
    others = [each for each in _ranked(rows) if each["Name"] != row["Name"]]
    rows[:] = [{**each, "Priority": place} for place, each in enumerate([*others[:priority], row, *others[priority:]])]


def _new_rule(rows: list[Row], parameters: Row) -> None:
    row = {name: value for name, value in parameters.items() if name not in {"Enabled", "Priority", "Confirm"}}
    row["State"] = "Enabled" if parameters.get("Enabled", True) else "Disabled"
    _place(rows, row, int(parameters.get("Priority", len(rows))))


def _set_rule(rows: list[Row], parameters: Row) -> None:
    _set(rows, parameters)
    for row in _named(rows, parameters):
        if "Priority" in parameters:
            _place(rows, row, int(parameters["Priority"]))


def _enable_rule(rows: list[Row], parameters: Row) -> None:
    for row in _named(rows, parameters):
        row["State"] = "Enabled"


def _disable_rule(rows: list[Row], parameters: Row) -> None:
    for row in _named(rows, parameters):
        row["State"] = "Disabled"


def _members(rows: list[Row], parameters: Row) -> None:
    for row in _named(rows, parameters):
        row[MEMBERS] = list(parameters[MEMBERS])


def _customize(rows: list[Row], _: Row) -> None:
    for row in rows:
        row["IsDehydrated"] = False


_EFFECTS: Mapping[str, Callable[[list[Row], Row], None]] = {"New": _new, "Set": _set, "Remove": _remove}
_SPECIAL: Mapping[str, tuple[str, Callable[[list[Row], Row], None]]] = {
    "New-TransportRule": ("TransportRule", _new_rule),
    "Set-TransportRule": ("TransportRule", _set_rule),
    "Enable-TransportRule": ("TransportRule", _enable_rule),
    "Disable-TransportRule": ("TransportRule", _disable_rule),
    "Update-DistributionGroupMember": ("DistributionGroup", _members),
    "Enable-OrganizationCustomization": ("OrganizationConfig", _customize),
}
