"""Every cmdlet that the mail flow runs is one that Microsoft documents, with documented parameters of the right type."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from shared.domain.grant import Scope, ScopeKind
from shared.mailflow import kinds
from shared.mailflow.desired import DesiredSetting, Routing
from shared.mailflow.kinds import ENABLE_CUSTOMIZATION, KINDS, NEEDED_CMDLETS, SETTING_CMDLETS, Kind
from shared.mailflow.rule_properties import ACTIONS, CONDITIONS, EXCEPTIONS
from shared.mailflow.undo import Ways
from shared.ports import Exchange
from shared.workflows.traces import pending_with_scanner, traced
from tests.mailflow.tenants import PEOPLE, WHERE, Simulated, grant_of
from tests.workflows.mail_flow_runs import INTENTS, NOW, life

CONTRACTS = Path(__file__).resolve().parents[3] / "shared" / "contracts" / "exchange-cmdlets.json"
READS = {**kinds.READS, **kinds.OPTIONAL_READS}
GENERAL = frozenset(
    {
        *("Name", "Comments", "Mode", "Enabled", "Priority", "RuleErrorAction", "RuleSubType", "StopRuleProcessing"),
        *("SenderAddressLocation", "RecipientAddressType", "SetAuditSeverity", "DlpPolicy", "UseLegacyRegex"),
        *("ActivationDate", "ExpiryDate", "Confirm", "WhatIf", "DomainController"),
    }
)
"""Parameters of a rule that are no condition, exception or action."""


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_many(value: Any) -> bool:
    """Tell whether this replaces a list, or changes it by a hash table of additions and removals."""
    if not isinstance(value, dict):
        return _is_texts(value)
    actions = {key: entries for key, entries in value.items() if not key.startswith("@")}
    return bool(actions) and actions.keys() <= {"Add", "Remove"} and all(map(_is_texts, actions.values()))


FITS: Mapping[str, Callable[[Any], bool]] = {
    "Boolean": lambda value: isinstance(value, bool),
    "SwitchParameter": lambda value: isinstance(value, bool),
    "Int32": lambda value: type(value) is int,
    "SclValue": lambda value: type(value) is int and -1 <= value <= 9,
    "Unlimited": lambda value: value == "Unlimited",
    "MultiValuedProperty": _is_many,
}
"""What a value of a parameter's type looks like in JSON; a type that is not named is text, of lists a list of texts."""
ENUMERATIONS = frozenset(
    {
        "TenantConnectorType",
        "TlsAuthLevel",
        "RuleErrorAction",
        "SenderAddressLocation",
        "ToUserScope",
        "RuleMode",
        "MemberUpdateType",
    }
)
"""Types whose members the pages of the cmdlets list."""


@pytest.fixture(scope="module")
def documented() -> Mapping[str, Any]:
    """Read what Microsoft documents."""
    if not CONTRACTS.is_file():
        if os.environ.get("CI") and CONTRACTS.parents[1].is_dir():
            pytest.fail(f"{CONTRACTS.name} is missing")
        pytest.skip("Microsoft's cmdlet data (../shared/contracts) is not here")
    cmdlets: Mapping[str, Any] = json.loads(CONTRACTS.read_text(encoding="utf-8"))["cmdlets"]
    return cmdlets


def _faults(cmdlet: str, sent: Mapping[str, Any], parameters: Mapping[str, Any]) -> list[str]:
    """Tell what is wrong with one call."""
    missing = [name for name, details in parameters.items() if details["required"] and not sent.get(name)]
    faults = [f"{cmdlet} needs {name}" for name in missing]
    for name, value in sent.items():
        details = parameters.get(name)
        if details is None or details.get("cloud") is False:
            faults.append(f"{cmdlet} has no {name} in Exchange Online")
        elif value is not None and not _fits(details, value):
            faults.append(f"{cmdlet} -{name} is {details['type']}, sent {value!r}")
    return faults


def _fits(details: Mapping[str, Any], value: Any) -> bool:
    if details["type"] in ENUMERATIONS:
        return value in details["values_mentioned"]
    is_list = details["type"].endswith("[]")
    return FITS.get(details["type"], _is_texts if is_list else lambda text: isinstance(text, str))(value)


@pytest.mark.parametrize("intent", INTENTS, ids=lambda intent: str(intent.scope.kind))
async def test_every_call_is_documented(intent: Any, documented: Mapping[str, Any]) -> None:
    """Names, types, enumeration members and required parameters of every call are as Microsoft documents them."""
    calls = (await life(intent)).exchange.calls
    faults = [fault for cmdlet, sent in calls for fault in _faults(cmdlet, sent, documented[cmdlet]["parameters"])]

    assert faults == []
    assert len(calls) > 40


@pytest.mark.parametrize(
    "scope",
    [Scope(), Scope(ScopeKind.GROUP, group=WHERE), Scope(ScopeKind.USERS, users=PEOPLE)],
    ids=lambda scope: str(scope.kind),
)
@pytest.mark.parametrize("senders", ["own_domains", "all"])
def test_every_call_of_settings_and_removal_is_documented(scope: Scope, senders: str, documented: Mapping[str, Any]) -> None:
    """So is every call for allow entries, the trusted sealer, fixes of others' settings, customization and removal."""
    tenant = Simulated()
    tenant.exchange("Set-HostedContentFilterPolicy", Identity="Default", MarkAsSpamSpfRecordHardFail="On")
    tenant.exchange("New-InboundConnector", Name="Theirs", SenderDomains=["*"], SenderIPAddresses=["203.0.113.7"])
    tenant.exchange("New-TransportRule", Name="Theirs", DeleteMessage=True, ExceptIfSenderIpRanges=["203.0.113.7"])
    tenant.exchange.tenant.exchange["OrganizationConfig"][0]["IsDehydrated"] = True
    fixed = (
        DesiredSetting("HostedContentFilterPolicy", "Default", "MarkAsSpamSpfRecordHardFail", value="Off"),
        DesiredSetting("InboundConnector", "Theirs", "SenderIPAddresses", adds=("192.0.2.0/25",)),
        DesiredSetting("TransportRule", "Theirs", "ExceptIfSenderIpRanges", adds=("192.0.2.0/25",)),
    )
    chosen = {"allow_entries": "ip,spoof", "arc_sealer": "sealer.example", "outbound_senders": senders}
    grant = grant_of(tenant, scope=scope, **chosen)
    grant.apply()
    grant.fixed = fixed
    grant.apply(Routing.ON)
    grant.remove()
    calls = [*tenant.calls, *tenant.reads]

    assert [fault for cmdlet, sent in calls for fault in _faults(cmdlet, sent, documented[cmdlet]["parameters"])] == []
    rare = {ENABLE_CUSTOMIZATION, *SETTING_CMDLETS, *(kind.remove for kind in KINDS.values())}
    assert {cmdlet for cmdlet, _ in calls} >= rare - (set() if scope.is_by_people else {"Remove-DistributionGroup"})


@pytest.mark.parametrize("cmdlet", sorted(READS))
def test_every_read_is_documented(cmdlet: str, documented: Mapping[str, Any]) -> None:
    """The parameters of every read stand in Microsoft's pages, also of those that a tenant may be without."""
    assert [fault for sent in READS[cmdlet] for fault in _faults(cmdlet, sent, documented[cmdlet]["parameters"])] == []


async def test_every_question_to_message_trace_is_documented(documented: Mapping[str, Any]) -> None:
    """What a drain and a mail proof ask: for messages under way with their details, and for messages by their ids."""
    asked: list[tuple[str, Mapping[str, Any]]] = []

    class Asked:
        async def invoke(self, cmdlet: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
            asked.append((cmdlet, parameters))
            return [{"MessageTraceId": "1", "RecipientAddress": "a@b", "FromIP": ""}] if cmdlet == kinds.TRACE else []

    exchange = cast("Exchange", Asked())
    await pending_with_scanner(exchange, Ways(frozenset({"Rule"}), ("192.0.2.0/24",)), NOW)
    await traced(exchange, MessageId=["<1@b>"], StartDate=NOW, EndDate=NOW)

    assert {cmdlet for cmdlet, _ in asked} == {kinds.TRACE, kinds.TRACE_DETAIL}
    assert [fault for cmdlet, sent in asked for fault in _faults(cmdlet, sent, documented[cmdlet]["parameters"])] == []


def test_wrong_calls_are_told(documented: Mapping[str, Any]) -> None:
    """The comparison itself notices an unknown parameter, a wrong type, an unknown member and a missing parameter."""
    sent = {"Priority": "0", "Colour": "red", "Mode": "Enforced", "RecipientDomainIs": "contoso.com", "DomainController": "x"}
    faults = _faults("New-TransportRule", sent, documented["New-TransportRule"]["parameters"])

    assert [fault.split()[1:3] for fault in faults] == [
        ["needs", "Name"],
        ["-Priority", "is"],
        ["has", "no"],
        ["-Mode", "is"],
        ["-RecipientDomainIs", "is"],
        ["has", "no"],
    ]


def test_needed_cmdlets_are_documented(documented: Mapping[str, Any]) -> None:
    """The role is never checked for a cmdlet that does not exist."""
    assert documented.keys() >= NEEDED_CMDLETS


def test_every_condition_exception_and_action_is_known(documented: Mapping[str, Any]) -> None:
    """What a rule of ours must not have in addition is all that a rule can have."""
    parameters = documented["New-TransportRule"]["parameters"].keys() - GENERAL

    assert parameters == CONDITIONS | EXCEPTIONS | ACTIONS


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.TRANSPORT_RULE])
def test_what_must_be_empty_can_be_emptied(kind: Kind, documented: Mapping[str, Any]) -> None:
    """Each property that must be unset is a parameter of the cmdlet that would unset it."""
    definition = KINDS[kind]

    assert definition.unset <= documented[definition.set]["parameters"].keys()
