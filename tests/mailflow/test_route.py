"""The route model by itself: what can't be told, and what a document must not say."""

from typing import Any

import pytest

from shared.mailflow.route.trace import outcome

TENANT: dict[str, Any] = {
    "id": "contoso",
    "accepted_domains": [{"DomainName": "contoso.com", "DomainType": "Authoritative"}],
    "recipients": [{"address": "ada@contoso.com", "kind": "mailbox"}],
}
MESSAGE = {"from_tenant": "", "mail_from": "eve@fabrikam.com", "recipients": ["ada@contoso.com"], "source_ip": "203.0.113.7"}


def _document(*rules: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"version": 1, "tenants": [{**TENANT, "transport_rules": list(rules)}], "message": MESSAGE, **changes}


def test_a_condition_that_is_not_known_can_not_be_told() -> None:
    """A rule with such a condition is taken not to match, and is named."""
    found = outcome(_document({"Name": "Unknown", "AttachmentHasExecutableContent": True, "DeleteMessage": True}))

    assert found["recipients"]["ada@contoso.com"]["end"] == "delivered"
    assert found["untold"] == ["Unknown"]


def test_what_is_false_anyway_need_not_be_told() -> None:
    """A rule that another condition rules out is not uncertain."""
    rule = {"Name": "Unknown", "AttachmentHasExecutableContent": True, "SenderDomainIs": ["other.com"], "DeleteMessage": True}

    assert "untold" not in outcome(_document(rule))


def test_a_group_that_was_not_read_can_not_be_told() -> None:
    """Members that are not known are neither in nor out of the group."""
    group = {"address": "all@contoso.com", "kind": "group", "members": None}
    tenant = {**TENANT, "recipients": [*TENANT["recipients"], group]}
    rule = {"Name": "Group", "SentToMemberOf": ["all@contoso.com"], "DeleteMessage": True}

    assert outcome(_document(tenants=[{**tenant, "transport_rules": [rule]}]))["untold"] == ["Group"]


def test_a_rule_on_original_addresses_can_not_be_told() -> None:
    """Which alias a message was written to is not known any more once its recipients are found."""
    rule = {"Name": "Original", "SentTo": ["ada@contoso.com"], "RecipientAddressType": "Original", "DeleteMessage": True}

    assert outcome(_document(rule))["untold"] == ["Original"]


@pytest.mark.parametrize("changes", [{"version": 2}, {"uncertain": {"moon_is_full": True}}])
def test_a_document_that_nobody_understands_is_refused(changes: dict[str, Any]) -> None:
    """Another version and a switch that nobody knows are errors, not guesses."""
    with pytest.raises(ValueError, match=r"version 1|moon_is_full"):
        outcome(_document(**changes))
