"""Exchange's settings of the organization, its domains and recipients, and what it refuses in some subscriptions."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from local.microsoft365.exchange import add, tamper
from local.microsoft365.exchange.catalogue import HANDLERS
from local.microsoft365.exchange.errors import ExecutionError
from local.microsoft365.exchange.invoke import execute, prepare
from local.microsoft365.exchange.tenants import TenantOrganization
from local.microsoft365.exchange.wire import CmdletInput
from local.microsoft365.model import Domain
from tests.microsoft365.cmdlets import INBOUND, NOW, Exchange, small_exchange, user

ON_PREMISES = INBOUND | {"Name": "From the data centre", "ConnectorType": "OnPremises"}
ALLOW = {"Identity": "Default", "IPAllowList": ["192.0.2.1"]}
NOT_ALLOWED = (
    "The command you tried to run isn't currently allowed in your organization. To run this command, you first need to "
    "run the command: Enable-OrganizationCustomization."
)


@pytest.fixture
def exchange() -> Exchange:
    """Exchange Online of a small tenant."""
    return small_exchange()


def run(exchange: Exchange, cmdlet: str, parameters: dict[str, Any], *, later: float = 0, **options: Any) -> list[Any]:
    """Run a cmdlet some seconds from now, with what the simulation's settings say."""
    now = NOW + timedelta(seconds=later)
    organization = TenantOrganization(exchange.tenant, now)
    call = prepare(CmdletInput(cmdlet, parameters), organization, frozenset(HANDLERS), now=now, **options)
    return execute(cmdlet, call)


def dehydrate(exchange: Exchange) -> None:
    """Make the organization one that was never customized."""
    tamper(exchange.tenant, "OrganizationConfig", "contoso.onmicrosoft.com", {"IsDehydrated": True})


def test_the_organizations_settings_are_read_and_set(exchange: Exchange) -> None:
    """Direct send is accepted in a new organization; centralized transport is no setting of the organization."""
    before = dict(exchange("Get-OrganizationConfig")[0])
    exchange("Set-OrganizationConfig", RejectDirectSend=True)

    assert (before["RejectDirectSend"], before["IsDehydrated"]) == (False, False)
    assert "RouteAllMessagesViaOnPremises" not in before
    assert exchange("Get-OrganizationConfig")[0]["RejectDirectSend"] is True


def test_a_dehydrated_organization_refuses_with_the_recorded_words(exchange: Exchange) -> None:
    """What it shares with others is changed only after Enable-OrganizationCustomization; the rest at once."""
    dehydrate(exchange)

    refusal = exchange.refusal("Set-HostedConnectionFilterPolicy", **ALLOW)
    exchange("New-InboundConnector", **INBOUND)
    exchange("Enable-OrganizationCustomization")
    exchange("Set-HostedConnectionFilterPolicy", **ALLOW)

    assert refusal.message == NOT_ALLOWED
    assert exchange("Get-OrganizationConfig")[0]["IsDehydrated"] is False
    assert exchange("Get-HostedConnectionFilterPolicy")[0]["IPAllowList"] == ["192.0.2.1"]


def test_customization_is_enabled_once(exchange: Exchange) -> None:
    """A second run is an error, with the words that were recorded."""
    refusal = exchange.refusal("Enable-OrganizationCustomization")

    assert refusal.message == "This operation is not required. Organization is already enabled for customization."


def test_customization_takes_its_time(exchange: Exchange) -> None:
    """Until it has spread the refusal stays, although the organization says that it is customized."""
    dehydrate(exchange)
    run(exchange, "Enable-OrganizationCustomization", {}, customization_delay=600.0)

    with pytest.raises(ExecutionError, match="Enable-OrganizationCustomization"):
        run(exchange, "Set-HostedConnectionFilterPolicy", ALLOW, later=599)
    run(exchange, "Set-HostedConnectionFilterPolicy", ALLOW, later=600)

    assert exchange("Get-OrganizationConfig")[0]["IsDehydrated"] is False
    assert exchange("Get-HostedConnectionFilterPolicy")[0]["IPAllowList"] == ["192.0.2.1"]


@pytest.mark.parametrize("refuses", [True, False])
def test_whether_a_dehydrated_organization_takes_rules_is_a_switch(exchange: Exchange, refuses: bool) -> None:
    """Both ways of the named uncertainty: a new connector is refused, or made."""
    dehydrate(exchange)
    uncertain = {"dehydrated_refuses_mail_flow"} if refuses else set[str]()

    with pytest.raises(ExecutionError, match="Enable-OrganizationCustomization") if refuses else nullcontext():
        run(exchange, "New-InboundConnector", INBOUND, uncertain=uncertain)

    assert len(exchange("Get-InboundConnector")) == (0 if refuses else 1)


def test_a_developer_subscription_gets_no_inbound_connector(exchange: Exchange) -> None:
    """Of no type; outbound ones are not restricted."""
    exchange.tenant.licences = ("DEVELOPERPACK_E5",)

    refusals = [exchange.refusal("New-InboundConnector", **each) for each in (INBOUND, ON_PREMISES)]

    assert all("restricted" in refusal.message for refusal in refusals)
    assert exchange("Get-InboundConnector") == []


def test_in_a_trial_an_on_premises_connector_stays_disabled(exchange: Exchange) -> None:
    """It is made and can be changed, but not enabled: Exchange warns and goes on. Other types are made as asked."""
    exchange.tenant.is_trial = True

    made = exchange("New-InboundConnector", **ON_PREMISES)[0]
    warned = list(exchange.warnings)
    exchange("Set-InboundConnector", Identity=ON_PREMISES["Name"], Enabled=True, Comment="please")
    changed = exchange("Get-InboundConnector")[0]

    assert made["Enabled"] is False
    assert "created in a disabled state" in warned[0]
    assert (changed["Enabled"], changed["Comment"]) == (False, "please")
    assert exchange("New-InboundConnector", **INBOUND)[0]["Enabled"] is True


def test_an_accepted_domain_may_be_an_internal_relay(exchange: Exchange) -> None:
    """By the cmdlet; every other domain stays authoritative, and a new one begins so."""
    exchange("Set-AcceptedDomain", Identity="contoso.com", DomainType="internalrelay", MatchSubDomains=True)
    exchange.tenant.domains["new.example"] = Domain("new.example")
    del exchange.tenant.domains["pending.example"]

    rows = {row["DomainName"]: (row["DomainType"], row["MatchSubDomains"]) for row in exchange("Get-AcceptedDomain")}

    assert rows == {
        "contoso.onmicrosoft.com": ("Authoritative", False),
        "contoso.com": ("InternalRelay", True),
        "new.example": ("Authoritative", False),
    }
    assert exchange.refusal("Set-AcceptedDomain", Identity="gone.example", DomainType="InternalRelay").status == 404
    assert exchange.refusal("Set-AcceptedDomain", Identity="contoso.com", DomainType="ExternalRelay").status == 400


def test_the_default_domain_follows_the_directory(exchange: Exchange) -> None:
    """What was changed of a domain stays when another becomes the default."""
    exchange("Set-AcceptedDomain", Identity="contoso.com", DomainType="InternalRelay")
    exchange.tenant.domains["contoso.com"] = Domain("contoso.com", is_default=False)

    row = exchange("Get-AcceptedDomain", Identity="contoso.com")[0]

    assert (row["Default"], row["DomainType"]) == (False, "InternalRelay")


def test_dkim_signs_for_the_initial_domain_from_the_start(exchange: Exchange) -> None:
    """A custom domain waits for its two CNAME records, which name the initial one."""
    rows = {row["Domain"]: row for row in exchange("Get-DkimSigningConfig")}

    assert {name: row["Enabled"] for name, row in rows.items()} == {"contoso.onmicrosoft.com": True, "contoso.com": False}
    assert rows["contoso.com"]["Selector1CNAME"] == "selector1-contoso-com._domainkey.contoso.onmicrosoft.com"


def test_a_new_organization_has_default_policies_and_no_preset_rules(exchange: Exchange) -> None:
    """The rules of preset policies are there only after somebody has switched them on."""
    empty = (
        "AntiPhishRule",
        "EOPProtectionPolicyRule",
        "ATPProtectionPolicyRule",
        "IntraOrganizationConnector",
        "OnPremisesOrganization",
        "JournalRule",
    )

    assert [noun for noun in empty if exchange(f"Get-{noun}")] == []
    assert exchange("Get-MalwareFilterPolicy")[0]["EnableFileFilter"] is True
    assert exchange("Get-HostedOutboundSpamFilterPolicy")[0]["AutoForwardingMode"] == "Automatic"
    assert exchange("Get-AntiPhishPolicy")[0]["DmarcRejectAction"] == "Reject"


def test_a_state_filters_rules(exchange: Exchange) -> None:
    """Two preset rules, one switched off; an identity that isn't there is not found."""
    for name, state in (("Standard Preset Security Policy", "Disabled"), ("Strict Preset Security Policy", "Enabled")):
        add(exchange.tenant, "EOPProtectionPolicyRule", {"Name": name, "State": state})

    enabled = exchange("Get-EOPProtectionPolicyRule", State="Enabled")

    assert [row["Name"] for row in enabled] == ["Strict Preset Security Policy"]
    assert exchange.refusal("Get-EOPProtectionPolicyRule", Identity="Custom").status == 404


def test_the_unified_audit_log_is_the_tenants_own(exchange: Exchange) -> None:
    """Read and switched by a cmdlet."""
    before = exchange("Get-AdminAuditLogConfig")[0]["UnifiedAuditLogIngestionEnabled"]
    exchange("Set-AdminAuditLogConfig", UnifiedAuditLogIngestionEnabled=False)

    assert before is True
    assert exchange.tenant.unified_audit_log is False
    assert exchange("Get-AdminAuditLogConfig")[0]["UnifiedAuditLogIngestionEnabled"] is False


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("PrimarySmtpAddress -eq 'USER1@contoso.com'", ["User 1"]),
        ("EmailAddresses -like '*@contoso.com' -and Name -ne 'User 0'", ["User 1", "User 2", "User 3"]),
        ("Name -eq 'User 1' -or (Name -like '*2' -and IsShared -eq $false)", ["User 1", "User 2"]),
        ("-not (Name -like 'User*')", []),
        ('Name -notlike "*3" -and ForwardingAddress -eq $null', ["User 0", "User 1", "User 2"]),
        ("Alias -eq 'nobody'", []),
    ],
)
def test_a_filter_finds_mailboxes(exchange: Exchange, text: str, names: list[str]) -> None:
    """By addresses, names and flags, letter case ignored; -and binds closer than -or."""
    assert [row["Name"] for row in exchange("Get-Mailbox", Filter=text)] == names


@pytest.mark.parametrize("text", ["Name", "Name -is 'x'", "(Name -eq 'x'", "Name -eq", "Name -eq 'x' 'y'", "Name -eq 'x"])
def test_what_is_no_filter_is_refused(exchange: Exchange, text: str) -> None:
    """The words say where it went wrong."""
    assert "Invalid filter syntax" in exchange.refusal("Get-Mailbox", Filter=text).message


def test_a_recipient_tells_its_user_principal_name(exchange: Exchange) -> None:
    """As WindowsLiveID, also as a member; it is found by it, whatever the letter case, as by its address."""
    exchange.tenant.users.put(replace(user(3), user_principal_name="three@contoso.onmicrosoft.com"))
    exchange("New-DistributionGroup", Name="Scope", Members=["Three@contoso.onmicrosoft.com", "user3@contoso.com"])

    (found,) = exchange("Get-Recipient", Identity="THREE@contoso.onmicrosoft.com")
    (member,) = exchange("Get-DistributionGroupMember", Identity="Scope")

    told = {name: found[name] for name in ("PrimarySmtpAddress", "EmailAddresses", "WindowsLiveID")}
    addresses = ["SMTP:user3@contoso.com"]
    assert told == {
        "PrimarySmtpAddress": "user3@contoso.com",
        "EmailAddresses": addresses,
        "WindowsLiveID": "three@contoso.onmicrosoft.com",
    }
    assert member.items() >= told.items()
    assert exchange("Get-Recipient", Identity="Scope")[0]["WindowsLiveID"] == ""


def test_recipients_are_mailboxes_and_groups(exchange: Exchange) -> None:
    """A type selects; Get-Mailbox knows no group."""
    exchange("New-DistributionGroup", Name="Scope", Members=["user1@contoso.com"])

    groups = exchange("Get-Recipient", RecipientTypeDetails=["MailUniversalDistributionGroup"])

    assert [row["PrimarySmtpAddress"] for row in groups] == ["Scope@contoso.com"]
    assert len(exchange("Get-Recipient")) == 5
    assert exchange("Get-Recipient", Identity="user1@contoso.com")[0]["RecipientType"] == "UserMailbox"
    assert exchange.refusal("Get-Mailbox", Identity="Scope").status == 404
    assert [len(exchange("Get-Mailbox", ResultSize=2)), len(exchange.warnings)] == [2, 1]
