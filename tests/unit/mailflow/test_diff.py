"""What differs is found, put right in one go and in the safe order; what is somebody else's stays as it is."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.grant import Direction, Scope, ScopeKind
from shared.mailflow.desired import DesiredObject, Request, Routing, certificate_name, desired_objects, group_names, standing
from shared.mailflow.diff import Change, changes, differences, foreign_objects
from shared.mailflow.kinds import GET_MEMBERS, KINDS, READS, Kind
from shared.mailflow.rule_properties import RULE_PROPERTIES
from shared.mailflow.tenant import MEMBERS, TenantObjects
from shared.ports import NotFoundError
from tests.unit.mailflow.requests import CALM, GRANT_ID, REQUESTS, SETTINGS, request
from tests.workflows.fake_exchange import FakeExchange

RULE = KINDS[Kind.TRANSPORT_RULE]
GROUP_SCOPE = Scope(ScopeKind.GROUP, group="everybody@contoso.com")


def _tenant(exchange: FakeExchange, wanted: Request) -> TenantObjects:
    """Read the fake as the workflows read a tenant."""
    answers = {cmdlet: [row for call in calls for row in exchange.run(cmdlet, dict(call))] for cmdlet, calls in READS.items()}
    groups = []
    for name in group_names(wanted):
        try:
            members = exchange.run(GET_MEMBERS, {"Identity": name})
            groups += [{**row, MEMBERS: members} for row in exchange.run("Get-DistributionGroup", {"Identity": name})]
        except NotFoundError:
            continue
    return TenantObjects({**answers, "Get-DistributionGroup": groups})


def _pending(exchange: FakeExchange, wanted: Request) -> list[Change]:
    return changes(desired_objects(wanted), _tenant(exchange, wanted), wanted.grant_id, wanted.former_grants)


def _apply(exchange: FakeExchange, wanted: Request) -> list[Change]:
    pending = _pending(exchange, wanted)
    for change in pending:
        exchange.run(change.cmdlet, dict(change.parameters))
    return pending


def _differences(exchange: FakeExchange, wanted: Request) -> list[tuple[str, str]]:
    found = differences(desired_objects(wanted), _tenant(exchange, wanted), wanted.grant_id)
    return [(difference.object, difference.property) for difference in found]


def _cmdlets(pending: Sequence[Change]) -> list[tuple[str, str]]:
    return [(change.cmdlet, change.object.name) for change in pending]


@CALM
@given(REQUESTS)
def test_one_application_is_enough(wanted: Request) -> None:
    """After the changes have been made once nothing differs, and there is nothing left to change."""
    exchange = FakeExchange()
    _apply(exchange, wanted)

    assert _differences(exchange, wanted) == []
    assert _pending(exchange, wanted) == []


@CALM
@given(REQUESTS, st.data())
def test_any_crash_is_resumed(wanted: Request, data: st.DataObject) -> None:
    """However many of the changes were made before a crash, the next comparison finishes the rest and nothing twice."""
    exchange = FakeExchange()
    first = _pending(exchange, wanted)
    made = data.draw(st.integers(0, len(first)))
    for change in first[:made]:
        exchange.run(change.cmdlet, dict(change.parameters))
    second = _apply(exchange, wanted)

    assert _cmdlets(second) == _cmdlets(first[made:])
    assert _differences(exchange, wanted) == []


@CALM
@given(REQUESTS, st.permutations(range(8)), st.data())
def test_own_rules_stand_first_in_their_order(wanted: Request, order: list[int], data: st.DataObject) -> None:
    """Whatever order the rules were moved to, ours end up first of all, in their order; the others keep theirs."""
    exchange = FakeExchange()
    _apply(exchange, wanted)
    rules = exchange.objects["TransportRule"]
    rules = [rules[position] for position in order if position < len(rules)]
    missing = data.draw(st.sets(st.sampled_from(standing(desired_objects(wanted)))))
    exchange.objects["TransportRule"] = [rule for rule in rules if rule["Name"] not in missing]
    others = [rule["Name"] for rule in rules if not rule["Name"].startswith("Grantline")]
    _apply(exchange, wanted)

    assert [rule["Name"] for rule in exchange.objects["TransportRule"]] == [*standing(desired_objects(wanted)), *others]
    assert _differences(exchange, wanted) == []


@CALM
@given(REQUESTS, st.data())
def test_any_changed_property_is_found(wanted: Request, data: st.DataObject) -> None:
    """A change of any property of any object is named, and put right by changing that property alone."""
    exchange = FakeExchange()
    _apply(exchange, wanted)
    item = data.draw(st.sampled_from(desired_objects(wanted)))
    counted = {**dict.fromkeys(KINDS[item.kind].unset), **item.parameters}
    name = data.draw(st.sampled_from(sorted(set(counted) - {KINDS[item.kind].mark})))
    seen = _tampered(exchange, item, name)

    assert _differences(exchange, wanted) == [(item.name, seen)]
    repair = _apply(exchange, wanted)
    companions = set[str]().union(*(group for group in KINDS[item.kind].together if name in group))
    assert {key for change in repair for key in change.former} <= {seen, *companions}
    assert _differences(exchange, wanted) == []


def _tampered(exchange: FakeExchange, item: DesiredObject, name: str) -> str:
    """Change one property in the tenant; return what Get- calls it."""
    noun = KINDS[item.kind].noun
    wanted = item.parameters.get(name)
    if name == "Enabled" and item.kind is Kind.TRANSPORT_RULE:
        exchange.tamper(noun, item.name, State=str(Routing.OFF if wanted else Routing.ON))
        return "State"
    if name == MEMBERS:
        exchange.tamper(noun, item.name, _members=["stranger@contoso.com"])
        return name
    other = not wanted if isinstance(wanted, bool) else "203.0.113.9" if "Ip" in name or "IP" in name else "tampered"
    exchange.tamper(noun, item.name, **{name: [other] if isinstance(wanted, list) else other})
    return name


@pytest.mark.parametrize("name", sorted(RULE_PROPERTIES))
def test_a_condition_exception_or_action_of_somebody_else_is_taken_off(name: str) -> None:
    """Whatever a routing rule of ours was given in addition, such as an exception for a boss, is found and cleared."""
    wanted = request((Direction.OUTBOUND,))
    exchange = FakeExchange()
    _apply(exchange, wanted)
    rule = next(item for item in desired_objects(wanted) if item.routes)
    exchange.tamper(RULE.noun, rule.name, **{name: ["203.0.113.9"]})
    _apply(exchange, wanted)

    assert _differences(exchange, wanted) == []
    assert exchange.writes[-1][0] == RULE.set


@CALM
@given(REQUESTS, st.data())
def test_a_foreign_object_is_never_touched(wanted: Request, data: st.DataObject) -> None:
    """An object of somebody else's with one of our names is reported, and no cmdlet ever names it."""
    exchange = FakeExchange()
    item = data.draw(st.sampled_from(desired_objects(wanted)))
    noun = KINDS[item.kind].noun
    theirs: dict[str, Any] = {
        "Name": item.name.upper(),
        KINDS[item.kind].mark: "ours since 2019",
        "_members": [],
        "State": "Enabled",
    }
    theirs |= {"IsTransportRuleScoped": True} if item.kind is Kind.OUTBOUND_CONNECTOR else {}
    exchange.objects[noun].append(theirs)
    before = dict(theirs)
    pending = _apply(exchange, wanted)
    tenant = _tenant(exchange, wanted)

    assert foreign_objects(desired_objects(wanted), tenant, GRANT_ID) == (item,)
    assert (item.name, "owner") in _differences(exchange, wanted)
    assert item.name not in {change.object.name for change in pending}
    assert theirs == before


def test_another_grant_is_somebody_else() -> None:
    """The mark names the grant: what another grant made in this tenant is not ours to change."""
    exchange = FakeExchange()
    _apply(exchange, request(grant_id="a-grant-of-the-past"))
    wanted = request()

    assert len(foreign_objects(desired_objects(wanted), _tenant(exchange, wanted), GRANT_ID)) == len(desired_objects(wanted))
    assert _pending(exchange, wanted) == []


@CALM
@given(REQUESTS)
def test_what_a_former_grant_made_is_taken_over(wanted: Request) -> None:
    """Whoever has the tenant now brings the objects of the one before to its own settings and mark; routing is off till then."""
    exchange = FakeExchange()
    _apply(exchange, replace(wanted, grant_id="a-grant-of-the-past", secret="another", routing=Routing.ON))
    heir = replace(wanted, former_grants=("a-grant-of-the-past",), routing=Routing.OFF)
    pending = changes(desired_objects(heir), _tenant(exchange, heir), heir.grant_id, heir.former_grants)
    for change in pending:
        exchange.run(change.cmdlet, dict(change.parameters))
    tenant = _tenant(exchange, heir)

    assert pending
    made = {change.cmdlet for change in pending if change.cmdlet.startswith("New-")}
    assert made <= {"New-InboundConnector"}  # the way back of what is under way with the former certificate
    assert foreign_objects(desired_objects(heir), tenant, heir.grant_id) == ()
    assert differences(desired_objects(heir), tenant, heir.grant_id) == []


def test_an_older_version_of_ours_is_brought_up_to_date() -> None:
    """An object that bears our mark of another version is ours, and gets the new text."""
    wanted = request((Direction.INBOUND,))
    exchange = FakeExchange()
    _apply(exchange, wanted)
    item = desired_objects(wanted)[0]
    exchange.tamper("InboundConnector", item.name, Comment=item.parameters["Comment"].replace("v1]", "v0]"))
    repair = _apply(exchange, wanted)

    assert [dict(change.former) for change in repair] == [{"Comment": item.parameters["Comment"].replace("v1]", "v0]")}]


def test_the_return_path_exists_before_the_routing() -> None:
    """Each routing rule is made after its own connectors, its group and everything that mail needs on its way back."""
    pending = _pending(FakeExchange(), request(scope=GROUP_SCOPE))

    assert [change.cmdlet for change in pending] == [
        *["New-InboundConnector"] * 2,
        *["New-OutboundConnector"] * 2,
        *["New-DistributionGroup", "Set-DistributionGroup"] * 2,
        *["New-TransportRule"] * 4,
    ]
    routing = {item.name for item in desired_objects(request(scope=GROUP_SCOPE)) if item.routes}
    assert [change.object.name in routing for change in pending[-4:]] == [False, False, True, True]
    assert [change.parameters["Enabled"] for change in pending[-4:]] == [True, True, False, False]
    assert {change.parameters["Priority"] for change in pending[-4:]} == {0}


def test_what_must_be_off_goes_off_first() -> None:
    """A routing rule that somebody switched on is switched off before anything else is put right."""
    wanted = request()
    exchange = FakeExchange()
    _apply(exchange, wanted)
    exchange.objects["InboundConnector"].pop()
    rule = next(item for item in desired_objects(wanted) if item.routes)
    exchange.tamper("TransportRule", rule.name, State="Enabled")

    assert _pending(exchange, wanted)[0].cmdlet == "Disable-TransportRule"


def test_only_switches_are_left_for_the_activation() -> None:
    """Between routing off and routing on there is nothing but the switches, outbound first."""
    exchange = FakeExchange()
    _apply(exchange, request())
    pending = _pending(exchange, request(routing=Routing.ON))

    assert _cmdlets(pending) == [
        ("Enable-TransportRule", "Grantline Inline Outbound Domain Rule"),
        ("Enable-TransportRule", "Grantline Inline Inbound Domain Rule"),
    ]
    assert [dict(change.former) for change in pending] == [{"State": "Disabled"}, {"State": "Disabled"}]


def test_former_values_are_those_of_the_tenant() -> None:
    """A change tells what the property was; a creation tells that there was nothing; a move tells the former place."""
    wanted = request((Direction.INBOUND,))
    exchange = FakeExchange()
    first = _pending(exchange, wanted)
    _apply(exchange, wanted)
    exchange.tamper("OutboundConnector", "Grantline Inline Inbound Routing Connector", SmartHosts=["evil.example.com"])
    exchange.objects["TransportRule"].append(exchange.objects["TransportRule"].pop(0))
    second = _pending(exchange, wanted)

    assert {frozenset(change.former.items()) for change in first} == {frozenset({("exists", False)})}
    assert [dict(change.former) for change in second] == [
        {"SmartHosts": ["evil.example.com"], "UseMXRecord": False},
        {"Priority": 4},
    ]


@CALM
@given(REQUESTS)
def test_no_secret_is_shown(wanted: Request) -> None:
    """Neither a representation nor what goes to journals and events holds the verdict secret; only the cmdlet's call does."""
    exchange = FakeExchange()
    pending = _apply(exchange, wanted)
    for item in desired_objects(wanted):
        if item.secrets:
            exchange.tamper("TransportRule", item.name, HeaderContainsWords=["another"])
    found = differences(desired_objects(wanted), _tenant(exchange, wanted), wanted.grant_id)
    again = _pending(exchange, wanted)
    shown: list[Any] = [wanted, *desired_objects(wanted), *found, *pending, *again]
    shown += [(change.former, change.result) for change in [*pending, *again]]

    assert wanted.secret not in repr(shown)
    assert "another" not in repr(shown)
    has_verdict_rules = Direction.INBOUND in wanted.intent.directions
    assert any(wanted.secret in str(change.parameters) for change in pending) is has_verdict_rules


@pytest.mark.parametrize("change", ["grant", "zone"])
def test_the_former_certificate_stays_let_in(change: str) -> None:
    """Mail under way returns with the certificate of before: it has a connector of its own before ours takes another name."""
    former = request(routing=Routing.ON)
    exchange = FakeExchange()
    _apply(exchange, former)
    moved = SETTINGS.model_copy(update={"scanner_certificate_zone": "relay.other.example.net"})
    heir = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
    wanted = replace(former, settings=moved) if change == "zone" else replace(former, grant_id=heir, former_grants=(GRANT_ID,))
    made = _apply(exchange, wanted)
    names = [str(each["TlsSenderCertificateName"]) for each in exchange.objects["InboundConnector"] if each.get("RequireTls")]
    cmdlets = [each.cmdlet for each in made if each.cmdlet.endswith("InboundConnector") and "Outbound" in each.object.name]

    assert sorted(names) == sorted([certificate_name(former), certificate_name(wanted)])
    assert cmdlets == ["New-InboundConnector", "Set-InboundConnector"]
    ours = [each for each in exchange.objects["InboundConnector"] if each["Name"].startswith("Grantline")]
    assert all(f"[grantline {wanted.grant_id} v" in each["Comment"] for each in ours)
    assert _apply(exchange, wanted) == []


def test_no_certificate_of_anybody_elses_is_kept() -> None:
    """A name that somebody gave our connector is overwritten: nobody else's server is let in by our hand."""
    wanted = request()
    exchange = FakeExchange()
    _apply(exchange, wanted)
    exchange.tamper("InboundConnector", "Grantline Inline Outbound Return Connector", TlsSenderCertificateName="evil.example.com")

    assert [change.cmdlet for change in _apply(exchange, wanted)] == ["Set-InboundConnector"]
