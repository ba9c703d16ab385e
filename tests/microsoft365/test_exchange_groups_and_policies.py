"""Exchange's distribution groups, policies and lists, and what the control interface sees and changes of them."""

from __future__ import annotations

import pytest

from local.microsoft365.exchange import snapshot, tamper
from local.microsoft365.exchange.catalogue import HANDLERS, offered_cmdlets
from local.microsoft365.model import Tenant
from tests.microsoft365.cmdlets import NOW, TENANT_ID, Exchange, small_exchange, user


@pytest.fixture
def exchange() -> Exchange:
    """Exchange Online of a small tenant."""
    return small_exchange()


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
