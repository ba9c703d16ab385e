"""Exchange's cmdlets on a tenant, without HTTP: what they accept, refuse and keep."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from local.microsoft365.exchange import snapshot, tamper
from local.microsoft365.exchange.catalogue import HANDLERS, offered_cmdlets
from local.microsoft365.exchange.errors import CommandError
from local.microsoft365.exchange.invoke import execute, prepare
from local.microsoft365.exchange.tenants import TenantOrganization
from local.microsoft365.exchange.wire import CmdletInput
from local.microsoft365.model import Domain, Tenant
from local.microsoft365.population import User, UserDirectory

TENANT_ID = "6babcaad-604b-40ac-a9d7-9fd97c0b779f"
NOW = datetime(2026, 8, 20, 10, 0, tzinfo=UTC)
INBOUND = {
    "Name": "Return path",
    "SenderDomains": ["*"],
    "ConnectorType": "Partner",
    "SenderIPAddresses": ["203.0.113.0/28"],
    "RequireTls": False,
}
OUTBOUND = {
    "Name": "Scanner",
    "ConnectorType": "Partner",
    "UseMXRecord": False,
    "SmartHosts": ["inbound.scanner.example"],
    "TlsSettings": "EncryptionOnly",
    "IsTransportRuleScoped": True,
}


class Exchange:
    """Runs cmdlets on one tenant."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        self.warnings: list[str] = []

    def __call__(self, cmdlet: str, **parameters: Any) -> list[Any]:
        """Run a cmdlet with the rights of an Exchange administrator and return its rows."""
        organization = TenantOrganization(self.tenant, NOW)
        call = prepare(CmdletInput(cmdlet, parameters), organization, frozenset(HANDLERS), now=NOW)
        rows = execute(cmdlet, call)
        self.warnings = call.warnings
        return rows

    def refusal(self, cmdlet: str, **parameters: Any) -> CommandError:
        """Run a cmdlet that must be refused, and return the refusal."""
        with pytest.raises(CommandError) as caught:
            self(cmdlet, **parameters)
        return caught.value

    def rule(self, name: str, **parameters: Any) -> Any:
        """Make a transport rule that only sets a header."""
        return self("New-TransportRule", Name=name, SetHeaderName="X-Seen", SetHeaderValue="1", **parameters)[0]

    def priorities(self) -> dict[str, int]:
        """Return the rules in their order, with their priorities."""
        return {rule["Name"]: rule["Priority"] for rule in self("Get-TransportRule")}


def user(index: int) -> User:
    """Return a mailbox user of contoso.com."""
    address = f"user{index}@contoso.com"
    return User(
        id=f"00000000-0000-4000-8000-{index:012x}",
        user_principal_name=address,
        display_name=f"User {index}",
        created_at=NOW,
        mail=address,
        proxy_addresses=(f"SMTP:{address}",),
    )


@pytest.fixture
def exchange() -> Exchange:
    """Exchange Online of a tenant with four mailboxes and two verified domains."""
    users = UserDirectory(TENANT_ID, 0, user, lambda _: None)
    for index in range(4):
        users.put(user(index))
    tenant = Tenant(TENANT_ID, "Contoso", NOW, "US", users)
    tenant.domains = {
        "contoso.onmicrosoft.com": Domain("contoso.onmicrosoft.com", is_initial=True),
        "contoso.com": Domain("contoso.com", is_default=True),
        "pending.example": Domain("pending.example", is_verified=False),
    }
    return Exchange(tenant)


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
    refusal = exchange.refusal("Get-SafeLinksPolicy")

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


def test_a_distribution_group_is_a_group_of_the_directory(exchange: Exchange) -> None:
    """Graph shows it: mail-enabled, with its members; its id is the same in both."""
    group = exchange("New-DistributionGroup", Name="In scope", Members=["user1@contoso.com", "user2@contoso.com"])[0]

    stored = exchange.tenant.groups[group["ExternalDirectoryObjectId"]]
    assert (stored.mail, stored.mail_enabled, stored.security_enabled) == ("Inscope@contoso.com", True, False)
    assert stored.member_ids == (user(1).id, user(2).id)
    assert group["RequireSenderAuthenticationEnabled"] is True


def test_a_group_address_must_be_ours_and_free(exchange: Exchange) -> None:
    """The domain is accepted, and nobody has the address."""
    foreign = exchange.refusal("New-DistributionGroup", Name="a", PrimarySmtpAddress="a@fabrikam.com")
    taken = exchange.refusal("New-DistributionGroup", Name="b", PrimarySmtpAddress="USER1@contoso.com")

    assert "isn't an accepted domain" in foreign.message
    assert "already being used" in taken.message
    assert exchange.tenant.groups == {}


def test_an_application_bypasses_the_manager_check(exchange: Exchange) -> None:
    """An application manages no group: without the switch each later change is refused."""
    exchange("New-DistributionGroup", Name="Scope")

    refusal = exchange.refusal("Set-DistributionGroup", Identity="Scope", HiddenFromAddressListsEnabled=True)
    exchange("Set-DistributionGroup", Identity="Scope", HiddenFromAddressListsEnabled=True, BypassSecurityGroupManagerCheck=True)

    assert "manager of the group" in refusal.message
    assert exchange("Get-DistributionGroup", Identity="Scope")[0]["HiddenFromAddressListsEnabled"] is True


def test_members_are_added_removed_and_replaced(exchange: Exchange) -> None:
    """A member twice, and a stranger to remove, are refused; an update replaces all."""
    bypass = {"Identity": "Scope", "BypassSecurityGroupManagerCheck": True}
    exchange("New-DistributionGroup", Name="Scope", Members=["user0@contoso.com"])

    twice = exchange.refusal("Add-DistributionGroupMember", **bypass, Member="user0@contoso.com")
    stranger = exchange.refusal("Remove-DistributionGroupMember", **bypass, Member="user3@contoso.com")
    exchange("Add-DistributionGroupMember", **bypass, Member="user1@contoso.com")
    added = exchange("Get-DistributionGroupMember", Identity="Scope")
    exchange("Update-DistributionGroupMember", **bypass, Members=["user3@contoso.com", "USER3@contoso.com"])
    replaced = exchange("Get-DistributionGroupMember", Identity="Scope")

    assert "is already a member" in twice.message
    assert "isn't a member" in stranger.message
    assert [row["PrimarySmtpAddress"] for row in added] == ["user0@contoso.com", "user1@contoso.com"]
    assert [row["PrimarySmtpAddress"] for row in replaced] == ["user3@contoso.com"]


def test_a_rule_shows_the_address_of_its_group(exchange: Exchange) -> None:
    """A group given by name is stored by its primary address."""
    exchange("New-DistributionGroup", Name="Scope")

    rule = exchange("New-TransportRule", Name="Mark", SentToMemberOf=["Scope"], SetSCL=-1)[0]

    assert rule["SentToMemberOf"] == ["Scope@contoso.com"]
    assert exchange.refusal("New-TransportRule", Name="b", SentToMemberOf=["user1@contoso.com"], SetSCL=-1).status == 404


def test_the_default_content_filter_policy_can_be_hardened(exchange: Exchange) -> None:
    """SPF hard fail is off in a new organization, and can be switched on; other policies stay."""
    before = {row["Name"]: row["MarkAsSpamSpfRecordHardFail"] for row in exchange("Get-HostedContentFilterPolicy")}

    exchange("Set-HostedContentFilterPolicy", Identity="Default", MarkAsSpamSpfRecordHardFail="on")

    assert before == {"Default": "Off", "Finance quarantine": "Off"}
    assert exchange("Get-HostedContentFilterPolicy", Identity="Default")[0]["MarkAsSpamSpfRecordHardFail"] == "On"
    assert exchange.refusal("Set-HostedContentFilterPolicy", Identity="Default", BulkThreshold=10).status == 400


def test_foreign_addresses_survive_a_change_of_the_connection_filter(exchange: Exchange) -> None:
    """A hash table adds and removes; a plain list replaces; ranges have bounds."""
    exchange("Set-HostedConnectionFilterPolicy", Identity="Default", IPAllowList=["192.0.2.1"])
    exchange("Set-HostedConnectionFilterPolicy", Identity="Default", IPAllowList={"Add": ["203.0.113.0/28"]})

    for wrong in ("203.0.112.0/22", "2001:db8::/64", "192.0.2.0-192.0.4.0", "x"):
        assert (
            exchange.refusal("Set-HostedConnectionFilterPolicy", Identity="Default", IPAllowList={"Add": [wrong]}).status == 400
        )
    assert exchange("Get-HostedConnectionFilterPolicy")[0]["IPAllowList"] == ["192.0.2.1", "203.0.113.0/28"]


def test_arc_sealers_are_replaced_and_cleared(exchange: Exchange) -> None:
    """The value is one text with commas; a blank clears it (page of Set-ArcConfig)."""
    exchange("Set-ArcConfig", Identity="Default", ArcTrustedSealers=["fabrikam.com", "scanner.example"])
    sealers = exchange("Get-ArcConfig")[0]["ArcTrustedSealers"]
    exchange("Set-ArcConfig", Identity="Default", ArcTrustedSealers=" ")

    assert sealers == "fabrikam.com,scanner.example"
    assert exchange("Get-ArcConfig")[0]["ArcTrustedSealers"] == ""


def test_spoof_entries_are_pairs_removed_by_their_ids(exchange: Exchange) -> None:
    """The same pair twice is refused; infrastructure is a domain or a /24; an unknown id removes nothing."""
    pair = {"Identity": "Default", "Action": "Allow", "SpoofedUser": "*", "SendingInfrastructure": "scanner.example"}
    external = exchange("New-TenantAllowBlockListSpoofItems", **pair, SpoofType="External")[0]
    exchange("New-TenantAllowBlockListSpoofItems", **pair, SpoofType="Internal")

    wrong = pair | {"SendingInfrastructure": "203.0.113.0/28", "SpoofType": "External"}
    assert exchange.refusal("New-TenantAllowBlockListSpoofItems", **pair, SpoofType="external").status == 400
    assert exchange.refusal("New-TenantAllowBlockListSpoofItems", **wrong).status == 400
    unknown = [external["Identity"], TENANT_ID]
    assert exchange.refusal("Remove-TenantAllowBlockListSpoofItems", Identity="Default", Ids=unknown).status == 404
    exchange("Remove-TenantAllowBlockListSpoofItems", Identity="Default", Ids=[external["Identity"]])
    assert [row["SpoofType"] for row in exchange("Get-TenantAllowBlockListSpoofItems")] == ["Internal"]


def test_result_size_cuts_and_warns(exchange: Exchange) -> None:
    """A cut answer says that there is more."""
    rows = exchange("Get-AcceptedDomain", ResultSize=1)

    assert len(rows) == 1
    assert "There are more results" in exchange.warnings[0]
    assert len(exchange("Get-AcceptedDomain", ResultSize="Unlimited")) == 2


def test_a_reading_role_is_offered_reading_cmdlets_only() -> None:
    """Global Reader reads, Exchange Administrator does all, a role that means nothing to Exchange gets nothing."""
    reader = offered_cmdlets({"f2ef992c-3afb-46b9-b7cf-a126ee74c451"})
    administrator = offered_cmdlets({"29232cdf-9323-42fd-ade2-1d097af3e4de", "f2ef992c-3afb-46b9-b7cf-a126ee74c451"})

    assert {name.partition("-")[0] for name in reader} == {"Get"}
    assert administrator == frozenset(HANDLERS)
    assert offered_cmdlets({"e8611ab8-c189-46e8-94e1-60213ab1f814"}) == frozenset()


def test_tampering_goes_past_every_rule(exchange: Exchange) -> None:
    """A rule, a policy, a group: changed or removed without a cmdlet; what isn't there is a KeyError."""
    exchange.rule("Mark")
    exchange("New-DistributionGroup", Name="Scope", Members=["user0@contoso.com"])

    tamper(exchange.tenant, "TransportRule", "Mark", {"State": "Disabled"})
    tamper(exchange.tenant, "HostedContentFilterPolicy", "Finance quarantine", None)
    tamper(exchange.tenant, "DistributionGroup", "Scope", {"DisplayName": "Stolen", "Members": []})
    with pytest.raises(KeyError):
        tamper(exchange.tenant, "TransportRule", "gone", None)

    state = snapshot(exchange.tenant)
    assert state["TransportRule"][0]["State"] == "Disabled"
    assert [row["Name"] for row in state["HostedContentFilterPolicy"]] == ["Default"]
    assert (state["DistributionGroup"][0]["DisplayName"], state["DistributionGroup"][0]["Members"]) == ("Stolen", [])


def test_two_organizations_begin_alike(exchange: Exchange) -> None:
    """The seeded objects depend on the tenant's id alone."""
    other = Tenant(TENANT_ID, "Contoso", NOW, "US", exchange.tenant.users, dict(exchange.tenant.domains))

    assert snapshot(other) == snapshot(exchange.tenant)
