"""A removal takes back what Grantline added, and nothing else, wherever it was interrupted and whatever others did meanwhile."""

from contextlib import suppress
from copy import deepcopy
from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from local.microsoft365.model import Domain
from shared.mailflow.desired import DesiredSetting, Routing
from shared.mailflow.undo import clean_report, leftovers, routing_off
from tests.mailflow.tenants import FOREIGN_EDITS, OWN_EDITS, CutError, Edit, Grant, Simulated, foreign_state, grant_of, grants
from tests.unit.mailflow.requests import CALM, GRANT_ID

MANY = settings(CALM, max_examples=16, phases=(Phase.explicit, Phase.generate))
EDITS = st.lists(st.sampled_from((*FOREIGN_EDITS, *OWN_EDITS)), max_size=4)
SPF = "MarkAsSpamSpfRecordHardFail"


def _report(grant: Grant) -> dict[str, Any]:
    return clean_report(grant.removal_request(), grant.removal_tenant(), grant.tenant.snapshot)


def _but_irreversible(state: dict[str, Any]) -> dict[str, Any]:
    """Leave out what nobody can take back."""
    return {noun: items for noun, items in state.items() if noun != "OrganizationConfig"}


@MANY
@given(grants())
def test_a_removal_restores_the_tenant(grant: Grant) -> None:
    """After application, activation and removal the tenant is what it was, and the report says so; the rest is irreversible."""
    before = grant.tenant.state()
    grant.apply()
    grant.apply(Routing.ON)
    grant.remove()
    report = _report(grant)

    assert _but_irreversible(grant.tenant.state()) == _but_irreversible(before)
    assert report["is_clean"]
    assert report["kept"] == []
    is_customized = before["OrganizationConfig"] != grant.tenant.state()["OrganizationConfig"]
    assert bool(report["irreversible"]) is is_customized
    assert grant.removal() == []


@MANY
@given(grants(), st.data())
def test_any_interruption_is_resumed(grant: Grant, data: st.DataObject) -> None:
    """An application that was cut, and a removal that was cut, leave nothing behind once the removal has been done again."""
    before = grant.tenant.state()
    grant.tenant.steps_left = data.draw(st.integers(0, 60))
    with suppress(CutError):
        grant.apply()
        grant.apply(Routing.ON)
    grant.tenant.calls.clear()
    grant.tenant.steps_left = data.draw(st.integers(0, 40))
    with suppress(CutError):
        grant.remove()
    grant.tenant.steps_left = None
    grant.remove()
    calls = [repr(call) for call in grant.tenant.calls]

    assert _but_irreversible(grant.tenant.state()) == _but_irreversible(before)
    assert _report(grant)["is_clean"]
    assert len(set(calls)) == len(calls)


@MANY
@given(grants(), EDITS, EDITS)
def test_edits_of_others_survive(grant: Grant, early: list[Edit], late: list[Edit]) -> None:
    """What others did, before and after our application, is in the tenant as if we had never been there."""
    # Customized, so that Exchange refuses others the same without us.
    grant.tenant.exchange.tenant.exchange["OrganizationConfig"][0]["IsDehydrated"] = False
    twin = deepcopy(grant.tenant)
    for edit in early:
        edit(grant.tenant)
        edit(twin)
    grant.apply()
    for edit in late:
        edit(grant.tenant)
        edit(twin)
    grant.remove()

    assert _but_irreversible(foreign_state(grant.tenant.state())) == _but_irreversible(foreign_state(twin.state()))
    assert grant.removal() == []


def test_a_later_edit_of_a_value_stays_and_is_told() -> None:
    """A value that we put and that somebody changed after us is not put back, and the report names it with all three values."""
    tenant = Simulated()
    tenant.exchange("Set-HostedContentFilterPolicy", Identity="Default", **{SPF: "On"})
    grant = grant_of(tenant, DesiredSetting("HostedContentFilterPolicy", "Default", SPF, value="Off"))
    grant.apply()
    tenant.exchange("Set-HostedContentFilterPolicy", Identity="Default", **{SPF: "Test"})
    grant.remove()

    told = {"object": "HostedContentFilterPolicy 'Default'", "property": SPF, "former": "On", "written": "Off", "now": "Test"}
    assert _report(grant)["kept"] == [told]
    assert _report(grant)["is_clean"]


def test_a_value_that_is_still_ours_is_put_back() -> None:
    """What nobody changed after us becomes what it was; a second plan has not overwritten the former value with ours."""
    tenant = Simulated()
    tenant.exchange("Set-HostedContentFilterPolicy", Identity="Default", **{SPF: "On"})
    grant = grant_of(tenant, DesiredSetting("HostedContentFilterPolicy", "Default", SPF, value="Off"))
    for _ in range(2):
        grant.apply()
        tenant.exchange("Set-HostedContentFilterPolicy", Identity="Default", **{SPF: "Test"})
    grant.apply()
    grant.remove()

    assert tenant.exchange("Get-HostedContentFilterPolicy", Identity="Default")[0][SPF] == "On"
    assert [item["former"] for item in _report(grant)["restored"]] == ["On"]


def test_what_a_foreign_rule_needs_stays_and_is_told() -> None:
    """A connector and a group of ours that a rule of somebody else's names are left, with the PowerShell that removes them."""
    tenant = Simulated()
    grant = grant_of(tenant)
    grant.apply()
    group = "grantline-inline-inbound-scope@contoso.onmicrosoft.com"
    connector = "Grantline Inline Outbound Routing Connector"
    tenant.exchange("New-TransportRule", Name="Theirs", SentToMemberOf=[group], RouteMessageOutboundConnector=connector)
    grant.remove()
    report = _report(grant)

    assert not report["is_clean"]
    assert [entry["object"] for entry in report["left"]] == ["Grantline Inline Inbound Scope Group", connector]
    assert all("used by Theirs" in entry["what"] for entry in report["left"])
    assert f"Remove-OutboundConnector -Identity '{connector}' -Confirm:$false" in [
        entry["powershell"] for entry in report["left"]
    ]
    tenant.exchange("Remove-TransportRule", Identity="Theirs")
    grant.remove()
    assert _report(grant)["is_clean"]


def test_a_foreign_object_with_our_name_stays() -> None:
    """An object that does not bear our mark is not ours, whatever it is called."""
    tenant = Simulated()
    name = "Grantline Inline Outbound Return Connector"
    tenant.exchange("New-InboundConnector", Name=name, SenderDomains=["fabrikam.com"])
    grant = grant_of(tenant)
    grant.apply()
    grant.remove()

    assert [item["Name"] for item in tenant.state()["InboundConnector"]] == [name]
    assert _report(grant)["is_clean"]


def test_a_renamed_object_of_ours_goes() -> None:
    """The mark tells what is ours, not the name."""
    tenant = Simulated()
    grant = grant_of(tenant)
    grant.apply()
    tenant.exchange("Set-InboundConnector", Identity="Grantline Inline Inbound Return Connector", Name="Renamed")
    grant.remove()

    assert tenant.state()["InboundConnector"] == []


def test_the_certificate_s_domain_is_left_for_a_person() -> None:
    """An accepted domain that the way back needed can't be removed by the application: the report says how."""
    tenant = Simulated()
    grant = grant_of(tenant, outbound_senders="all")
    domain = f"{GRANT_ID}.relay.scanner.example.net"
    tenant.exchange.tenant.domains[domain] = Domain(domain)
    grant.apply()
    grant.remove()

    assert [entry["powershell"] for entry in _report(grant)["left"]] == [f"Remove-MgDomain -DomainId '{domain}'"]


@MANY
@given(grants(), st.integers(0, 40))
def test_what_is_left_is_known_without_the_tenant(grant: Grant, steps: int) -> None:
    """With consent withdrawn amid a removal the journal names all that is left; of what may be gone, at most one too many."""
    grant.apply()
    grant.tenant.steps_left = steps
    with suppress(CutError):
        grant.remove()
    grant.tenant.steps_left = None
    blind = leftovers(grant.request, None, grant.tenant.snapshot)
    seeing = leftovers(grant.removal_request(), grant.removal_tenant(), grant.tenant.snapshot)
    own = {item.object for item in seeing if item.object.startswith("Grantline")}

    assert {item.object for item in seeing} <= {item.object for item in blind}
    assert len({item.object for item in blind if item.object.startswith("Grantline")} - own) <= 1
    assert all(item.powershell for item in blind)


def test_routing_goes_off_and_nothing_else() -> None:
    """What stops the routing is one switch for each rule that is on; done once, it is not done again."""
    tenant = Simulated()
    grant = grant_of(tenant)
    grant.apply()
    grant.apply(Routing.ON)
    off = routing_off(grant.removal_request(), grant.removal_tenant(), grant.tenant.snapshot)
    tenant.run(off)

    assert [(change.cmdlet, change.object.name) for change in off] == [
        ("Disable-TransportRule", "Grantline Inline Inbound User Rule"),
        ("Disable-TransportRule", "Grantline Inline Outbound User Rule"),
    ]
    assert routing_off(grant.removal_request(), grant.removal_tenant(), grant.tenant.snapshot) == []


def test_a_rule_that_routes_to_us_goes_off_whoever_owns_it() -> None:
    """A routing rule whose comment somebody edited, and one of their own that names our connector, are off before all else."""
    tenant = Simulated()
    grant = grant_of(tenant)
    grant.apply()
    grant.apply(Routing.ON)
    connector, edited = "Grantline Inline Outbound Routing Connector", "Grantline Inline Outbound User Rule"
    tenant.exchange("Set-TransportRule", Identity=edited, Comments="ours now")
    tenant.exchange("New-TransportRule", Name="Theirs", SubjectContainsWords=["x"], RouteMessageOutboundConnector=connector)
    tenant.calls.clear()
    grant.remove()

    states = {rule["Name"]: rule["State"] for rule in tenant.exchange("Get-TransportRule")}
    assert states == {edited: "Disabled", "Theirs": "Disabled"}
    assert [cmdlet for cmdlet, _ in tenant.calls][:4] == ["Disable-TransportRule"] * 3 + ["Remove-TransportRule"]
    assert tenant.snapshot.former["Theirs", "State"] == "Enabled"


def test_a_product_s_former_name_hides_nothing() -> None:
    """Groups are read by the names that the journal knows, whatever the product is called by now; they go, and are told gone."""
    tenant = Simulated()
    before = tenant.state()["DistributionGroup"]
    grant_of(tenant).apply()
    renamed = grant_of(tenant, product_name="Other")
    early = _report(renamed)
    blind = {item.object for item in leftovers(renamed.request, None, tenant.snapshot)}
    renamed.remove()

    assert (early["is_clean"], early["removed"]) == (False, [])
    assert {item["object"] for item in early["left"]} == blind
    assert tenant.state()["DistributionGroup"] == before
    assert "Grantline Inline Inbound Scope Group" in _report(renamed)["removed"]


def test_a_removal_goes_in_the_safe_order() -> None:
    """Routing off, verdict rules, routing rules, the way back, what is others', groups, the way to the scanner."""
    tenant = Simulated()
    grant = grant_of(tenant, allow_entries="ip,spoof", arc_sealer="sealer.example.net")
    grant.apply()
    grant.apply(Routing.ON)

    assert [change.cmdlet for change in grant.removal()] == [
        *["Disable-TransportRule"] * 2,
        *["Remove-TransportRule"] * 4,
        *["Remove-InboundConnector"] * 2,
        "Set-ArcConfig",
        "Set-HostedConnectionFilterPolicy",
        "Remove-TenantAllowBlockListSpoofItems",
        *["Remove-DistributionGroup"] * 2,
        *["Remove-OutboundConnector"] * 2,
    ]
    assert ["Skip" in change.object.name or "Junk" in change.object.name for change in grant.removal()[2:6]] == [
        True,
        True,
        False,
        False,
    ]
