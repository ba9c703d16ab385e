"""Exchange's cmdlets on a tenant, without HTTP: what they accept, refuse and keep."""

from __future__ import annotations

from typing import Any

import pytest

from local.microsoft365.exchange import add
from local.microsoft365.exchange.catalogue import HANDLERS
from local.microsoft365.exchange.invoke import execute, prepare
from local.microsoft365.exchange.tenants import TenantOrganization
from local.microsoft365.exchange.wire import CmdletInput
from tests.microsoft365.cmdlets import INBOUND, NOW, OUTBOUND, Exchange, small_exchange


@pytest.fixture
def exchange() -> Exchange:
    """Exchange Online of a small tenant."""
    return small_exchange()


def test_a_cmdlet_name_and_its_parameters_ignore_letter_case(exchange: Exchange) -> None:
    """PowerShell's names are not case-sensitive, and neither is the endpoint."""
    rows = exchange("get-accepteddomain", IDENTITY="CONTOSO.COM")

    assert [row["DomainName"] for row in rows] == ["contoso.com"]


def test_accepted_domains_are_the_verified_ones(exchange: Exchange) -> None:
    """A domain that is not verified accepts no mail."""
    rows = exchange("Get-AcceptedDomain")

    assert {row["DomainName"]: row["Default"] for row in rows} == {"contoso.onmicrosoft.com": False, "contoso.com": True}


def test_an_unknown_cmdlet_is_not_recognised(exchange: Exchange) -> None:
    """A cmdlet that isn't offered is told apart from a parameter that isn't there."""
    refusal = exchange.refusal("Get-CASMailbox")

    assert "is not recognized" in refusal.message


def test_an_unknown_parameter_is_named_in_the_recorded_words(exchange: Exchange) -> None:
    """The body equals what graph2otel recorded, but for the name."""
    refusal = exchange.refusal("Get-TransportRule", BogusParameter=1)

    error = refusal.document()["error"]
    text = (
        "Parameter set cannot be resolved using the specified named parameters. "
        "Invalid cmdlet parameters specified. BogusParameter"
    )
    kind = "Microsoft.Exchange.AdminApi.CommandInvocation.AmbiguousParameterSetException"
    assert error["message"] == "Invalid Operation"
    assert error["details"][0]["message"] == f"|{kind}|{text}"
    assert error["innererror"]["internalexception"] == {"message": text, "type": kind, "stacktrace": ""}


def test_a_missing_required_parameter_is_named(exchange: Exchange) -> None:
    """New-InboundConnector needs SenderDomains."""
    assert "SenderDomains" in exchange.refusal("New-InboundConnector", Name="x").message


@pytest.mark.parametrize("text", ["onprem", "OnPremises", "O"])
def test_a_prefix_of_an_enumeration_name_is_accepted(exchange: Exchange, text: str) -> None:
    """Any letter case, and as few letters as make it clear."""
    row = exchange("New-InboundConnector", **INBOUND | {"ConnectorType": text})[0]

    assert row["ConnectorType"] == "OnPremises"


def test_a_wrong_enumeration_name_lists_the_right_ones(exchange: Exchange) -> None:
    """The text is in `internalexception` and there are no details, as recorded."""
    refusal = exchange.refusal("New-OutboundConnector", **OUTBOUND | {"TlsSettings": "Nonsense"})

    assert "EncryptionOnly, CertificateValidation, DomainValidation" in refusal.message
    assert "details" not in refusal.document()["error"]


@pytest.mark.parametrize("value", ["true", "$true", None, 2])
def test_a_boolean_takes_true_and_false_only(exchange: Exchange, value: object) -> None:
    """A text is not a truth value, and null clears nothing that has two values only."""
    assert "Boolean parameters accept" in exchange.refusal("New-InboundConnector", **INBOUND | {"Enabled": value}).message


def test_a_new_inbound_connector_has_the_recorded_form(exchange: Exchange) -> None:
    """Sender domains are stored as address spaces with a cost; unset properties have their defaults."""
    row = exchange("New-InboundConnector", **INBOUND)[0]

    assert row["SenderDomains"] == ["smtp:*;1"]
    assert (row["Enabled"], row["ConnectorSource"], row["CloudServicesMailEnabled"]) == (True, "Default", False)
    assert exchange("Get-InboundConnector", Identity="return PATH") == [row]
    assert exchange("Get-InboundConnector", Identity=row["Guid"]) == [row]


def test_a_second_connector_of_the_same_name_is_refused(exchange: Exchange) -> None:
    """Names are unique whatever their case."""
    exchange("New-InboundConnector", **INBOUND)

    refusal = exchange.refusal("New-InboundConnector", **INBOUND | {"Name": "RETURN PATH"})

    assert "already exists" in refusal.message
    assert len(exchange("Get-InboundConnector")) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"SenderIPAddresses": ["203.0.113.0/20"]},
        {"SenderIPAddresses": ["nowhere"]},
        {"SenderDomains": ["domain.*.contoso.com"]},
        {"ConnectorType": "OnPremises", "SenderIPAddresses": []},
        {"RestrictDomainsToCertificate": True},
        {"Name": "x" * 65},
    ],
)
def test_an_inbound_connector_that_cannot_be_is_refused(exchange: Exchange, change: dict[str, Any]) -> None:
    """Networks are /24 to /32, wildcards lead, an OnPremises connector identifies its sender, names have 64 characters."""
    assert exchange.refusal("New-InboundConnector", **INBOUND | change).status == 400
    assert exchange("Get-InboundConnector") == []


@pytest.mark.parametrize(
    "change",
    [
        {"SmartHosts": []},
        {"UseMXRecord": True},
        {"TlsSettings": "DomainValidation"},
        {"TlsDomain": "scanner.example"},
        {"RouteAllMessagesViaOnPremises": True},
    ],
)
def test_an_outbound_connector_that_cannot_be_is_refused(exchange: Exchange, change: dict[str, Any]) -> None:
    """Smart hosts go with UseMXRecord false, a TLS domain with DomainValidation."""
    assert exchange.refusal("New-OutboundConnector", **OUTBOUND | change).status == 400


def test_rule_scoped_connectors_are_left_out_unless_asked_for(exchange: Exchange) -> None:
    """The default answer of Get-OutboundConnector has no rule-scoped connector; an identity finds it always."""
    exchange("New-OutboundConnector", **OUTBOUND)

    assert exchange("Get-OutboundConnector") == []
    assert [row["Name"] for row in exchange("Get-OutboundConnector", IsTransportRuleScoped=True)] == ["Scanner"]
    assert [row["Name"] for row in exchange("Get-OutboundConnector", Identity="Scanner")] == ["Scanner"]


def test_setting_a_connector_changes_only_what_is_given(exchange: Exchange) -> None:
    """A list is replaced, or changed by a hash table."""
    exchange("New-InboundConnector", **INBOUND)
    addresses = {"@odata.type": "#Exchange.GenericHashTable", "Add": ["198.51.100.7"], "Remove": ["203.0.113.0/28"]}

    exchange("Set-InboundConnector", Identity="Return path", SenderIPAddresses=addresses, Comment="mine")

    row = exchange("Get-InboundConnector")[0]
    assert (row["SenderIPAddresses"], row["Comment"], row["RequireTls"]) == (["198.51.100.7"], "mine", False)


def test_a_change_to_what_it_was_warns(exchange: Exchange) -> None:
    """Exchange answers with a warning, not with an error."""
    exchange("New-InboundConnector", **INBOUND)

    exchange("Set-InboundConnector", Identity="Return path", RequireTls=False)

    assert "no settings" in exchange.warnings[0]


def test_what_if_changes_nothing(exchange: Exchange) -> None:
    """WhatIf is accepted by each cmdlet that writes."""
    assert exchange("New-InboundConnector", **INBOUND, WhatIf=True) == []
    assert exchange("Get-InboundConnector") == []


def test_an_unknown_object_is_not_found(exchange: Exchange) -> None:
    """404, with the identity in the details and a generic inner exception."""
    refusal = exchange.refusal("Set-InboundConnector", Identity="gone", Enabled=False)

    error = refusal.document()["error"]
    assert (refusal.status, error["code"]) == (404, "NotFound")
    assert "|Microsoft.Exchange.Configuration.Tasks.ManagementObjectNotFoundException|" in error["details"][0]["message"]
    assert "'gone' couldn't be found" in error["details"][0]["message"]
    assert "gone" not in error["innererror"]["internalexception"]["message"]


def test_a_connector_that_a_rule_uses_stays(exchange: Exchange) -> None:
    """Refused while a rule routes to it; afterwards it goes."""
    exchange("New-OutboundConnector", **OUTBOUND)
    exchange("New-TransportRule", Name="Route", RouteMessageOutboundConnector="Scanner")

    assert "used by rule 'Route'" in exchange.refusal("Remove-OutboundConnector", Identity="Scanner").message
    exchange("Remove-TransportRule", Identity="Route")
    exchange("Remove-OutboundConnector", Identity="Scanner")

    assert exchange("Get-OutboundConnector", IsTransportRuleScoped=True) == []


def test_where_it_is_switched_on_a_used_connector_goes(exchange: Exchange) -> None:
    """The other way of the named uncertainty: the rule stays, and names a connector that is gone."""
    exchange("New-OutboundConnector", **OUTBOUND)
    exchange("New-TransportRule", Name="Route", RouteMessageOutboundConnector="Scanner")
    organization = TenantOrganization(exchange.tenant, NOW)
    call = CmdletInput("Remove-OutboundConnector", {"Identity": "Scanner"})
    uncertain = {"connector_in_use_removable"}

    execute(call.name, prepare(call, organization, frozenset(HANDLERS), now=NOW, uncertain=uncertain))

    assert exchange("Get-OutboundConnector", IsTransportRuleScoped=True) == []
    assert exchange("Get-TransportRule")[0]["RouteMessageOutboundConnector"] == "Scanner"


def test_a_rule_routes_to_a_connector_that_exists(exchange: Exchange) -> None:
    """The connector may be named by its GUID; the rule shows its name; a rename is followed."""
    connector = exchange("New-OutboundConnector", **OUTBOUND)[0]

    refusal = exchange.refusal("New-TransportRule", Name="Route", RouteMessageOutboundConnector="Nowhere")
    rule = exchange("New-TransportRule", Name="Route", RouteMessageOutboundConnector=connector["Guid"])[0]
    exchange("Set-OutboundConnector", Identity="Scanner", Name="Scanner 2")

    assert refusal.status == 404
    assert rule["RouteMessageOutboundConnector"] == "Scanner 2"


def test_a_new_rule_carries_what_the_server_adds(exchange: Exchange) -> None:
    """State, priority, ids, and the lists of its conditions, exceptions and actions."""
    rule = exchange.rule("Mark", RecipientDomainIs=["contoso.com"], ExceptIfSenderIpRanges=["203.0.113.0/28"])

    assert (rule["State"], rule["Priority"], rule["Mode"], rule["RuleErrorAction"]) == ("Enabled", 0, "Enforce", "Ignore")
    assert [name.rpartition(".")[2] for name in rule["Conditions"]] == ["RecipientDomainIsPredicate"]
    assert [name.rpartition(".")[2] for name in rule["Exceptions"]] == ["SenderIpRangesPredicate"]
    assert [name.rpartition(".")[2] for name in rule["Actions"]] == ["SetHeaderNameAction"]
    assert rule["SentToMemberOf"] is None
    assert rule["ImmutableId"] == rule["Guid"]


@pytest.mark.parametrize(
    "parameters",
    [
        {"SetHeaderName": "X-Seen"},
        {"RecipientDomainIs": ["contoso.com"]},
        {"SetSCL": 10},
        {"SetSCL": -1, "HeaderContainsMessageHeader": "X-Seen"},
        {"SetSCL": -1, "SenderIpRanges": ["203.0.113.9-203.0.113.1"]},
        {"SetSCL": -1, "SentToMemberOf": ["nobody@contoso.com"]},
        {"SetSCL": -1, "Priority": 1},
        {"SetSCL": -1, "Priority": -1},
    ],
)
def test_a_rule_that_cannot_be_is_refused(exchange: Exchange, parameters: dict[str, Any]) -> None:
    """Pairs go together, an action is needed, groups exist, the priority is within the rules."""
    exchange.refusal("New-TransportRule", Name="Wrong", **parameters)

    assert exchange("Get-TransportRule") == []


def test_priorities_shift_when_a_rule_is_put_between(exchange: Exchange) -> None:
    """There are never gaps, and no two rules share a priority."""
    for name in ("a", "b", "c"):
        exchange.rule(name)
    exchange.rule("first", Priority=0)
    exchange("Set-TransportRule", Identity="c", Priority=1)
    exchange("Remove-TransportRule", Identity="a")

    assert exchange.priorities() == {"first": 0, "c": 1, "b": 2}
    assert exchange.refusal("Set-TransportRule", Identity="b", Priority=3).message == "The specified rule priority is invalid."


def test_there_are_at_most_three_hundred_rules(exchange: Exchange) -> None:
    """The next one is refused; when one goes there is room again."""
    for number in range(300):
        add(exchange.tenant, "TransportRule", {"Name": f"rule {number}", "DeleteMessage": True})

    refusal = exchange.refusal("New-TransportRule", Name="one more", SetSCL=-1)
    exchange("Remove-TransportRule", Identity="rule 7")
    exchange("New-TransportRule", Name="one more", SetSCL=-1)

    assert "300 transport rules" in refusal.message
    assert len(exchange.priorities()) == 300


def test_a_rule_has_a_size(exchange: Exchange) -> None:
    """It grows with the values, and the patterns are counted apart."""
    small = exchange.rule("small", RecipientDomainIs=["contoso.com"])
    exchange.rule("large", RecipientDomainIs=["contoso.com", "fabrikam.com"], SubjectMatchesPatterns=["a.*b"])
    large = dict(exchange("Get-TransportRule", Identity="large")[0])
    exchange("Set-TransportRule", Identity="large", SubjectMatchesPatterns=[])

    cleared = exchange("Get-TransportRule", Identity="large")[0]
    assert small["Size"] < cleared["Size"] < large["Size"]
    assert [rule["RegexSize"] for rule in (small, large, cleared)] == [0, 4, 0]


@pytest.mark.parametrize(
    "change",
    [
        {"RecipientDomainIs": [f"a-rather-long-name-of-a-domain-{number}.example" for number in range(250)]},
        {"Comments": "x" * 1025},
        {"RejectMessageReasonText": "x" * 1025},
    ],
)
def test_a_rule_that_is_too_large_is_refused(exchange: Exchange, change: dict[str, Any]) -> None:
    """New or changed; a rule that was there stays as it was."""
    exchange.rule("Mark")

    refusals = [
        exchange.refusal("New-TransportRule", Name="New", SetSCL=-1, **change),
        exchange.refusal("Set-TransportRule", Identity="Mark", **change),
    ]

    assert {"too large" in each.message or "too long" in each.message for each in refusals} == {True}
    assert [(rule["Name"], rule["RecipientDomainIs"], rule["Comments"]) for rule in exchange("Get-TransportRule")] == [
        ("Mark", None, None)
    ]


def test_patterns_of_all_rules_count_together(exchange: Exchange) -> None:
    """Three rules of seven thousand characters are too many; a rule without patterns is not asked."""
    patterns = {"SubjectMatchesPatterns": ["x" * 7000]}
    for name in ("a", "b"):
        exchange.rule(name, **patterns)

    assert "regular expressions" in exchange.refusal("New-TransportRule", Name="c", SetSCL=-1, **patterns).message
    exchange.rule("without")
    assert list(exchange.priorities()) == ["a", "b", "without"]


def test_a_rule_outlives_its_group(exchange: Exchange) -> None:
    """It goes on naming the address that nobody has any more, and can still be changed."""
    exchange("New-DistributionGroup", Name="Scope")
    exchange.rule("Mark", SentToMemberOf=["Scope"])

    exchange("Remove-DistributionGroup", Identity="Scope", BypassSecurityGroupManagerCheck=True)
    exchange("Set-TransportRule", Identity="Mark", Comments="mine")

    rule = exchange("Get-TransportRule")[0]
    assert (rule["State"], rule["SentToMemberOf"], rule["Comments"]) == ("Enabled", ["Scope@contoso.com"], "mine")


def test_a_rule_is_switched_by_cmdlets_of_its_own(exchange: Exchange) -> None:
    """Set-TransportRule has no Enabled in Exchange Online; State filters."""
    exchange.rule("Mark", Enabled=False)
    assert exchange("Get-TransportRule", State="Enabled") == []

    exchange("Enable-TransportRule", Identity="Mark")
    enabled = exchange("Get-TransportRule", State="Enabled")
    exchange("Disable-TransportRule", Identity="Mark")

    assert [rule["Name"] for rule in enabled] == ["Mark"]
    assert exchange("Get-TransportRule")[0]["State"] == "Disabled"
    assert exchange.refusal("Set-TransportRule", Identity="Mark", Enabled=True).status == 400


def test_a_changed_rule_lists_its_new_conditions(exchange: Exchange) -> None:
    """An emptied condition is gone, and what is not given stays."""
    exchange.rule("Mark", RecipientDomainIs=["contoso.com"], SenderDomainIs=["fabrikam.com"])

    exchange("Set-TransportRule", Identity="Mark", RecipientDomainIs=[])

    rule = exchange("Get-TransportRule")[0]
    assert rule["RecipientDomainIs"] is None
    assert rule["SenderDomainIs"] == ["fabrikam.com"]
    assert [name.rpartition(".")[2] for name in rule["Conditions"]] == ["SenderDomainIsPredicate"]
