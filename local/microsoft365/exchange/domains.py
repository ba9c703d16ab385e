"""What Exchange knows of the organization's domains: accepted domains and the keys that sign their mail (DKIM).

An object of each is there for every verified domain, from the moment that the domain is verified. Properties: the pages of
Set-AcceptedDomain and Get-DkimSigningConfig (github:MicrosoftDocs/office-docs-powershell).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from local.microsoft365.exchange.objects import AcceptedDomain, Call, merged, require, update

ACCEPTED = "AcceptedDomain"
DKIM = "DkimSigningConfig"


def _accepted(domain: AcceptedDomain, _: str) -> dict[str, Any]:
    return {
        "DomainName": domain.name,
        "DomainType": "Authoritative",
        "MatchSubDomains": False,
        "OutboundOnly": False,
        "PendingRemoval": False,
        "PendingCompletion": False,
        "SendingFromDomainDisabled": False,
        "SendingToDomainDisabled": False,
    }


def _signing(domain: AcceptedDomain, initial_domain: str) -> dict[str, Any]:
    """Return the signing of a new domain: on for the initial one only, whose keys the service publishes itself."""
    label = domain.name.replace(".", "-")
    return {
        "Domain": domain.name,
        "Enabled": domain.is_initial,
        "Status": "Valid" if domain.is_initial else "CnameMissing",
        "Selector1CNAME": f"selector1-{label}._domainkey.{initial_domain}",
        "Selector2CNAME": f"selector2-{label}._domainkey.{initial_domain}",
        "Selector1KeySize": 2048,
        "Selector2KeySize": 2048,
        "HeaderCanonicalization": "Relaxed",
        "BodyCanonicalization": "Relaxed",
        "Algorithm": "RsaSHA256",
        "AdminDisplayName": "",
    }


DOMAIN_NOUNS: Mapping[str, Callable[[AcceptedDomain, str], dict[str, Any]]] = {ACCEPTED: _accepted, DKIM: _signing}
"""Nouns of which each verified domain has an object, with what it is in a new organization."""


def follow_domains(
    noun: str,
    items: list[dict[str, Any]],
    domains: Sequence[AcceptedDomain],
    seeded: Callable[[Mapping[str, Any]], dict[str, Any]],
) -> None:
    """Let `items` hold one object for each verified domain, in their order; what was changed of an object stays.

    `seeded` completes a new object with what the server adds to each.
    """
    initial_domain = next((domain.name for domain in domains if domain.is_initial), "")
    known = {item["Name"]: item for item in items}
    items[:] = [
        known.get(each.name) or seeded({"Name": each.name, **DOMAIN_NOUNS[noun](each, initial_domain)}) for each in domains
    ]
    if noun == ACCEPTED:
        for item, domain in zip(items, domains, strict=True):
            item.update(Default=domain.is_default, InitialDomain=domain.is_initial)


def set_accepted_domain(call: Call) -> list[dict[str, Any]]:
    """Set-AcceptedDomain; raises ExecutionError (404) for a domain that isn't the organization's."""
    domain = require(call, ACCEPTED)
    update(call, domain, merged(domain, call.parameters))
    return []
