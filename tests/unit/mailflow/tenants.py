"""What is read of a tenant that nothing is wrong with, and of ones that differ from it."""

from typing import Any

from shared.mailflow.checks.catalogue import READS
from shared.mailflow.checks.domains import MAIL_EXCHANGERS
from shared.mailflow.checks.organization import PLANS
from shared.mailflow.tenant import TenantObjects
from tests.unit.mailflow.requests import DOMAINS
from tests.workflows.fake_exchange import SEED

Objects = list[dict[str, Any]]
BESIDE_EXCHANGE: dict[str, Objects] = {
    MAIL_EXCHANGERS: [
        {"Domain": domain.name, "Expected": ["mx.example"], "Found": ["mx.example"], "IsAnswered": True, "Error": ""}
        for domain in DOMAINS
    ],
    PLANS: [{"service": "exchange", "capabilityStatus": "Enabled", "servicePlanId": "efb87545-963c-4e0d-99df-69c6916d9eb0"}],
}
CALM: dict[str, Objects] = {
    **SEED,
    "TransportRule": [],
    "OrganizationConfig": [{"Name": "contoso", "IsDehydrated": False, "RejectDirectSend": False, "AuditDisabled": False}],
    "AdminAuditLogConfig": [{"UnifiedAuditLogIngestionEnabled": True}],
    "AntiPhishPolicy": [{"Name": "Default", "Enabled": True, "HonorDmarcPolicy": True, "DmarcRejectAction": "Quarantine"}],
    "HostedConnectionFilterPolicy": [{"Name": "Default", "IPAllowList": [], "IPBlockList": ["203.0.113.7"]}],
    **{
        noun: []
        for noun in (
            *("EOPProtectionPolicyRule", "ATPProtectionPolicyRule", "OnPremisesOrganization", "IntraOrganizationConnector"),
            *("JournalRule", "Recipient", "TenantAllowBlockListSpoofItems", "ArcConfig"),
        )
    },
}


def tenant(**objects: Objects) -> TenantObjects:
    """Return what is read of a tenant that differs from the calm one in these objects, by the noun of their cmdlet."""
    rules = [{"Priority": position, "State": "Enabled", **rule} for position, rule in enumerate(objects.pop("TransportRule", []))]
    held = {**CALM, **objects, "TransportRule": rules}
    beside = {name: held.pop(name, value) for name, value in BESIDE_EXCHANGE.items()}
    return TenantObjects({f"Get-{noun}": rows for noun, rows in held.items() if f"Get-{noun}" in READS} | beside)
