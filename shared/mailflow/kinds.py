"""The kinds of Exchange objects that Grantline makes, as one table: their cmdlets and how they are read, made and changed."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from shared.mailflow.rule_properties import RULE_PROPERTIES


class Kind(StrEnum):
    """The kinds of mail-flow objects. A connector is named from Exchange's side: an outbound one leads to the scanner."""

    INBOUND_CONNECTOR = "inbound_connector"
    OUTBOUND_CONNECTOR = "outbound_connector"
    DISTRIBUTION_GROUP = "distribution_group"
    TRANSPORT_RULE = "transport_rule"


ENABLE_RULE = "Enable-TransportRule"
DISABLE_RULE = "Disable-TransportRule"
SET_MEMBERS = "Update-DistributionGroupMember"
GET_MEMBERS = "Get-DistributionGroupMember"
GET_RECIPIENT = "Get-Recipient"
"""Tells whether somebody has a mailbox or another address in the tenant."""


@dataclass(frozen=True, slots=True)
class KindDefinition:
    """What is always true of a kind (source of all parameters: github:MicrosoftDocs/office-docs-powershell, 2026-08).

    ``mark`` is the property that bears the owner's mark. ``unset`` must be empty or false where nothing else is desired.
    ``together`` are properties that Exchange checks against each other: a change of one sends its companions too.
    ``after_creation`` are properties that New- does not take. ``always`` goes with each change of an object that is there.
    """

    noun: str
    mark: str
    unset: frozenset[str]
    together: tuple[frozenset[str], ...] = ()
    after_creation: frozenset[str] = frozenset()
    always: Mapping[str, Any] | None = None

    @property
    def get(self) -> str:
        """The cmdlet that reads objects."""
        return f"Get-{self.noun}"

    @property
    def new(self) -> str:
        """The cmdlet that makes an object."""
        return f"New-{self.noun}"

    @property
    def set(self) -> str:
        """The cmdlet that changes an object."""
        return f"Set-{self.noun}"

    @property
    def remove(self) -> str:
        """The cmdlet that removes an object."""
        return f"Remove-{self.noun}"


KINDS: Mapping[Kind, KindDefinition] = {
    Kind.INBOUND_CONNECTOR: KindDefinition(
        "InboundConnector",
        "Comment",
        frozenset(
            {
                "AssociatedAcceptedDomains",
                "EFSkipIPs",
                "EFSkipLastIP",
                "EFUsers",
                "RestrictDomainsToCertificate",
                "RestrictDomainsToIPAddresses",
                "ScanAndDropRecipients",
                "SenderIPAddresses",
                "TlsSenderCertificateName",
                "TreatMessagesAsInternal",
            }
        ),
    ),
    Kind.OUTBOUND_CONNECTOR: KindDefinition(
        "OutboundConnector",
        "Comment",
        frozenset({"AllAcceptedDomains", "RouteAllMessagesViaOnPremises", "SenderRewritingEnabled", "TestMode", "TlsDomain"}),
        together=(frozenset({"UseMXRecord", "SmartHosts"}), frozenset({"TlsSettings", "TlsDomain"})),
    ),
    Kind.DISTRIBUTION_GROUP: KindDefinition(
        "DistributionGroup",
        "Description",
        frozenset({"ModerationEnabled"}),
        after_creation=frozenset({"HiddenFromAddressListsEnabled"}),
        # An application manages no group: every later change needs this switch (page of Set-DistributionGroup).
        always={"BypassSecurityGroupManagerCheck": True},
    ),
    Kind.TRANSPORT_RULE: KindDefinition(
        "TransportRule",
        "Comments",
        RULE_PROPERTIES,
        together=(
            frozenset({"HeaderContainsMessageHeader", "HeaderContainsWords"}),
            frozenset({"HeaderMatchesMessageHeader", "HeaderMatchesPatterns"}),
            frozenset({"ExceptIfHeaderContainsMessageHeader", "ExceptIfHeaderContainsWords"}),
            frozenset({"ExceptIfHeaderMatchesMessageHeader", "ExceptIfHeaderMatchesPatterns"}),
            frozenset({"SetHeaderName", "SetHeaderValue"}),
        ),
    ),
}
"""Every kind."""

ENABLE_CUSTOMIZATION = "Enable-OrganizationCustomization"
"""Once and for good: nobody can take it back."""
NEED_CUSTOMIZATION = frozenset({"Set-HostedConnectionFilterPolicy", "Set-HostedContentFilterPolicy"})
"""What an organization that was never customized refuses."""
SETTING_CMDLETS = frozenset(
    {
        *NEED_CUSTOMIZATION,
        "Set-ArcConfig",
        "New-TenantAllowBlockListSpoofItems",
        "Remove-TenantAllowBlockListSpoofItems",
    }
)
"""Every cmdlet that changes what is not ours, beside those that change objects of our kinds."""
WRITE_CMDLETS = frozenset(
    {
        *(ENABLE_RULE, DISABLE_RULE, SET_MEMBERS, ENABLE_CUSTOMIZATION, *SETTING_CMDLETS),
        *(cmdlet for kind in KINDS.values() for cmdlet in (kind.new, kind.set, kind.remove)),
    }
)
"""Every cmdlet that changes a tenant."""

READS: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "Get-AcceptedDomain": ({"ResultSize": "Unlimited"},),
    "Get-InboundConnector": ({"ResultSize": "Unlimited"},),
    # Connectors for rules only are left out unless they are asked for (page of Get-OutboundConnector).
    "Get-OutboundConnector": (
        {"ResultSize": "Unlimited"},
        {"ResultSize": "Unlimited", "IsTransportRuleScoped": True},
    ),
    "Get-TransportRule": ({"ResultSize": "Unlimited"},),
    "Get-HostedContentFilterPolicy": ({},),
    "Get-HostedConnectionFilterPolicy": ({},),
    "Get-TenantAllowBlockListSpoofItems": ({},),
    "Get-ArcConfig": ({},),
}
"""Every cmdlet that reads whole collections, with the parameters of each call that it takes to see all objects.

Groups are not among them: a tenant has thousands, so that Grantline's own are read by name.
"""
OPTIONAL_READS: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "Get-AntiPhishPolicy": ({},),
    "Get-EOPProtectionPolicyRule": ({},),
    "Get-ATPProtectionPolicyRule": ({},),
    "Get-OnPremisesOrganization": ({},),
    "Get-IntraOrganizationConnector": ({},),
    "Get-OrganizationConfig": ({},),
    "Get-AdminAuditLogConfig": ({},),
    "Get-JournalRule": ({},),
    # Nobody but the chosen people, each by name.
    GET_RECIPIENT: (),
}
"""What the checks read beside: a tenant, its licences or the application's role may be without, and nothing waits for it."""
READ_CMDLETS = frozenset(READS) | {KINDS[Kind.DISTRIBUTION_GROUP].get, GET_MEMBERS}
"""Every cmdlet that reads."""
TRACE, TRACE_DETAIL = "Get-MessageTraceV2", "Get-MessageTraceDetailV2"
"""What a drain and a proof ask; without them an operator decides."""
NEEDED_CMDLETS = READ_CMDLETS | WRITE_CMDLETS
"""Every cmdlet that the workflows use: the role has its effect once Exchange offers them all."""
