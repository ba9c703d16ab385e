"""A small Exchange Online in memory: it keeps the objects of the mail flow, and answers in other forms than it takes.

It returns null for what is empty, lists in another order, address spaces as ``smtp:domain;cost`` and fields of its own. It can
lose power after any write, answer reads from the past, and refuse.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from shared.domain.problems import problem
from shared.mailflow.kinds import NEEDED_CMDLETS, OPTIONAL_READS
from shared.mailflow.rule_properties import RULE_PROPERTIES
from shared.ports import CmdletAnswer, CmdletCall, NotFoundError, RefusedError

Object = dict[str, Any]
READERS = ("Get-",)
_STEERING = {"Identity", "Name", "Confirm", "BypassSecurityGroupManagerCheck", "Priority", "Enabled", "Members"}
_BORN: Mapping[str, Object] = {
    "InboundConnector": {"RequireTls": True, "EFSkipIPs": [], "TreatMessagesAsInternal": False, "SenderIPAddresses": []},
    "OutboundConnector": {"UseMXRecord": True, "TestMode": False, "AllAcceptedDomains": False, "RecipientDomains": []},
    "DistributionGroup": {"HiddenFromAddressListsEnabled": False, "ModerationEnabled": False, "MailTip": None},
    "TransportRule": {**dict.fromkeys(RULE_PROPERTIES), "RuleErrorAction": "Ignore", "Mode": "Enforce", "Comments": None},
}


class PowerCutError(Exception):
    """Raised by the fake in the place of a process that dies: the write has been made, its caller never knows."""


@dataclass
class FakeExchange:
    """``ports.Exchange`` over dictionaries. ``calls`` tells every cmdlet that was run, with its parameters."""

    objects: dict[str, list[Object]] = field(default_factory=lambda: deepcopy(SEED))
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    cut_after: int | None = None
    """The number of writes after which the power is cut, once."""
    missing: str = ""
    """A cmdlet that does not find what it names, once."""
    stale_reads: int = 0
    """How many of the next reads are answered as if nothing had been written since ``freeze``."""
    past: dict[str, list[Object]] = field(default_factory=dict)

    @property
    def writes(self) -> list[tuple[str, dict[str, Any]]]:
        """The calls that changed something."""
        return [(cmdlet, parameters) for cmdlet, parameters in self.calls if not cmdlet.startswith(READERS)]

    def freeze(self, reads: int) -> None:
        """Answer the next ``reads`` reads with what is there now, whatever is written meanwhile."""
        self.past, self.stale_reads = deepcopy(self.objects), reads

    def tamper(self, noun: str, name: str, **properties: Any) -> None:
        """Change an object behind everybody's back."""
        self._require(noun, name).update(properties)

    async def offered_cmdlets(self) -> frozenset[str]:
        """Offer all that the workflows say they need."""
        return NEEDED_CMDLETS

    async def invoke(self, cmdlet: str, parameters: Mapping[str, Any] | None = None) -> list[Object]:
        """Run a cmdlet of ``NEEDED_CMDLETS``; any other one is a defect of the test or of the code."""
        return self.run(cmdlet, dict(parameters or {}))

    async def invoke_many(self, calls: Sequence[CmdletCall]) -> list[CmdletAnswer]:
        """Run the calls in turn; what is not found or refused stands in its place."""
        return [await self._settled(call) for call in calls]

    async def _settled(self, call: CmdletCall) -> CmdletAnswer:
        try:
            return await self.invoke(call.cmdlet, call.parameters)
        except (NotFoundError, RefusedError) as error:
            return error

    def run(self, cmdlet: str, parameters: dict[str, Any]) -> list[Object]:
        """Run a cmdlet, at once."""
        if cmdlet in OPTIONAL_READS and cmdlet.removeprefix("Get-") not in self.objects:
            raise RefusedError("refused", problem("cmdlet_not_offered"))
        assert cmdlet in NEEDED_CMDLETS | OPTIONAL_READS.keys(), f"{cmdlet} is not among the cmdlets that the role is checked for"
        self.calls.append((cmdlet, deepcopy(parameters)))
        if cmdlet == self.missing:
            self.missing = ""
            raise NotFoundError("something that was named couldn't be found")
        verb, _, noun = cmdlet.partition("-")
        if verb == "Get":
            return self._read(noun, parameters)
        made: list[Object] = getattr(self, f"_{verb.lower()}")(noun, parameters)
        if self.cut_after is not None and len(self.writes) >= self.cut_after:
            self.cut_after = None
            raise PowerCutError
        return made

    def _read(self, noun: str, parameters: Mapping[str, Any]) -> list[Object]:
        objects = self.objects
        if self.stale_reads:
            self.stale_reads -= 1
            objects = self.past
        if noun == "DistributionGroupMember":
            group = _find(objects["DistributionGroup"], parameters["Identity"])
            return [_member(address) for address in group["_members"]]
        found = objects.get(noun, [])
        if "Identity" in parameters:
            found = [_find(found, parameters["Identity"])]
        if noun == "OutboundConnector":
            scoped = parameters.get("IsTransportRuleScoped", False)
            found = [item for item in found if item.get("IsTransportRuleScoped", False) is scoped]
        return [_returned(item, found.index(item)) for item in found]

    def _new(self, noun: str, parameters: Mapping[str, Any]) -> list[Object]:
        name = parameters["Name"]
        if any(item["Name"].casefold() == name.casefold() for item in self.objects[noun]):
            raise RefusedError("refused", problem("exchange_refused", raw=f"The object 'CN={name}' already exists."))
        made = {**_BORN[noun], **_settable(parameters), "Name": name, "Guid": f"guid of {name}", "IsValid": True}
        made |= {"_members": list(parameters.get("Members", []))} if noun == "DistributionGroup" else {}
        if noun == "TransportRule":
            made["State"] = "Disabled" if parameters.get("Enabled") is False else "Enabled"
            self._place(made, parameters.get("Priority"))
        else:
            made["Enabled"] = parameters.get("Enabled", True)
            self.objects[noun].append(made)
        return [deepcopy(made)]

    def _set(self, noun: str, parameters: Mapping[str, Any]) -> list[Object]:
        changed = self._require(noun, parameters["Identity"])
        _check_manager(noun, parameters)
        changed.update({name: _listed(changed.get(name), value) for name, value in _settable(parameters).items()})
        if "Enabled" in parameters and noun != "TransportRule":
            changed["Enabled"] = parameters["Enabled"]
        if "Priority" in parameters:
            self._place(changed, parameters["Priority"])
        return []

    def _remove(self, noun: str, parameters: Mapping[str, Any]) -> list[Object]:
        self.objects[noun].remove(self._require(noun, parameters["Identity"]))
        return []

    def _update(self, noun: str, parameters: Mapping[str, Any]) -> list[Object]:
        group = self._require(noun.removesuffix("Member"), parameters["Identity"])
        _check_manager("DistributionGroup", parameters)
        group["_members"] = list(parameters["Members"])
        return []

    def _enable(self, noun: str, parameters: Mapping[str, Any]) -> list[Object]:
        self._require(noun, parameters["Identity"])["State"] = "Enabled"
        return []

    def _disable(self, noun: str, parameters: Mapping[str, Any]) -> list[Object]:
        self._require(noun, parameters["Identity"])["State"] = "Disabled"
        return []

    def _require(self, noun: str, identity: str) -> Object:
        return _find(self.objects[noun], identity)

    def _place(self, rule: Object, priority: int | None) -> None:
        rules = [item for item in self.objects["TransportRule"] if item is not rule]
        rules.insert(len(rules) if priority is None else priority, rule)
        self.objects["TransportRule"] = rules


SEED: dict[str, list[Object]] = {
    "AcceptedDomain": [
        {"Name": "contoso.com", "DomainName": "contoso.com", "Default": True, "InitialDomain": False},
        {"Name": "contoso.net", "DomainName": "contoso.net", "Default": False, "InitialDomain": False},
        {"Name": "contoso", "DomainName": "contoso.onmicrosoft.com", "Default": False, "InitialDomain": True},
    ],
    "InboundConnector": [{"Name": "From the warehouse", "Comment": "scanner in building 3"}],
    "OutboundConnector": [{"Name": "To the partner", "Comment": "", "IsTransportRuleScoped": False}],
    "TransportRule": [
        {"Name": "Disclaimer", "Comments": "legal", "State": "Enabled"},
        {"Name": "Block executables", "Comments": None, "State": "Enabled"},
    ],
    "DistributionGroup": [{"Name": "Everybody", "Description": [], "_members": []}],
    "HostedConnectionFilterPolicy": [{"Name": "Default", "IPAllowList": ["203.0.113.7"]}],
    "ArcConfig": [{"Name": "Default", "ArcTrustedSealers": "fabrikam.com"}],
    "TenantAllowBlockListSpoofItems": [],
    "HostedContentFilterPolicy": [
        {"Name": "Default", "IsDefault": True, "MarkAsSpamSpfRecordHardFail": "Off"},
        {"Name": "Finance", "IsDefault": False, "MarkAsSpamSpfRecordHardFail": "Off"},
    ],
}
"""A tenant before Grantline."""


def _find(objects: list[Object], identity: str) -> Object:
    for item in objects:
        if item["Name"].casefold() == identity.casefold():
            return item
    raise NotFoundError(f"object '{identity}' couldn't be found")


def _check_manager(noun: str, parameters: Mapping[str, Any]) -> None:
    """Refuse a change of a group by somebody who manages none, as an application, without the switch that allows it."""
    if noun == "DistributionGroup" and not parameters.get("BypassSecurityGroupManagerCheck"):
        raise RefusedError("refused", problem("exchange_refused", raw="You must be a manager of the group."))


def _settable(parameters: Mapping[str, Any]) -> Object:
    return {name: deepcopy(value) for name, value in parameters.items() if name not in _STEERING}


def _listed(former: Any, value: Any) -> Any:
    """Return the new value of a property: a hash table adds to its list and takes from it, anything else replaces it."""
    if not isinstance(value, dict):
        return value
    kept = [entry for entry in former or [] if entry not in value.get("Remove", [])]
    return [*kept, *(entry for entry in value.get("Add", []) if entry not in kept)]


def _returned(item: Object, position: int) -> Object:
    """Return an object as Exchange writes it."""
    seen = {name: _written(name, value) for name, value in item.items() if not name.startswith("_")}
    return {**seen, "Identity": item["Name"], "Priority": position, "ExchangeVersion": "0.20"}


def _written(name: str, value: Any) -> Any:
    if name == "SenderDomains":
        return [f"smtp:{domain};1" for domain in value]
    if name == "Comments" and value:
        return f"{value}\r\n"
    if isinstance(value, list):
        return list(reversed(value)) or None
    return value


def _member(address: str) -> Object:
    return {"Name": address.partition("@")[0], "PrimarySmtpAddress": address.upper(), "RecipientType": "UserMailbox"}
