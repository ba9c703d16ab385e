"""The plan tells what it changes, what that does to messages and to rules of others, and never a secret."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings

from shared.domain.grant import Direction, Scope, ScopeKind
from shared.mailflow.baselines import baselines
from shared.mailflow.desired import AcceptedDomain, Request, Routing, certificate_name, desired_objects
from shared.mailflow.diff import changes
from shared.mailflow.plan import Plan, make_plan
from shared.mailflow.route.foresee import foresee
from shared.mailflow.tenant import TenantObjects
from tests.unit.mailflow.requests import CALM, REQUESTS, SETTINGS, request
from tests.unit.mailflow.tenants import tenant as read_tenant

WANTED = request()
LOCK_DOWN = {"Name": "Lock", "ConnectorType": "Partner", "SenderDomains": ["*"], "RestrictDomainsToIPAddresses": True}


def rule(name: str, **properties: Any) -> dict[str, Any]:
    """Return a transport rule that is on."""
    return {"Name": name, "State": "Enabled", "Mode": "Enforce", **properties}


def tenant(*rules: dict[str, Any], **objects: list[dict[str, Any]]) -> TenantObjects:
    """Return a tenant that holds these rules, in this order."""
    return read_tenant(TransportRule=list(rules), **objects)


def _names(rows: list[dict[str, Any]]) -> list[str]:
    return [row["rule"] for row in rows]


@settings(CALM, max_examples=8)
@given(REQUESTS)
def test_a_plan_of_an_empty_tenant_is_safe(wanted: Request) -> None:
    """Whatever is asked for, every sample travels as it should; the document is JSON and holds no secret."""
    document = make_plan(wanted, tenant()).document()

    assert document["is_safe"]
    assert document["findings"] == []
    assert document["baselines"] == baselines(desired_objects(wanted))
    assert len(document["creates"]) >= len(desired_objects(wanted))
    assert wanted.secret not in json.dumps(document)


@CALM
@given(REQUESTS)
def test_what_is_foreseen_needs_no_further_change(wanted: Request) -> None:
    """After the foreseen changes nothing differs, so that the plan judges what the tenant will really hold."""
    before = tenant(rule("Ends", DeleteMessage=True), rule("Tag", PrependSubject="x"))
    after = foresee(before, changes(desired_objects(wanted), before, wanted.grant_id))

    assert changes(desired_objects(wanted), after, wanted.grant_id) == []


def test_the_digest_names_the_changes() -> None:
    """The same changes have the same digest; other ones have another; a carried out plan has that of no change."""
    first = make_plan(WANTED, tenant())
    done = make_plan(WANTED, first.resting)

    assert first.digest == make_plan(WANTED, tenant()).digest
    assert first.digest != make_plan(request((Direction.INBOUND,)), tenant()).digest
    assert done.changes == ()
    assert done.document()["is_safe"]


def test_scanned_once_on_and_never_off() -> None:
    """The routes tell what becomes of a message before and after, for all domains at once where they are alike."""
    routes = {route["name"]: route for route in make_plan(WANTED, tenant()).document()["routes"]}

    assert routes["from outside"]["before"] == "person@…: delivered, scanned never"
    assert routes["from outside"]["after"] == "person@…: delivered, scanned once"
    assert routes["from outside"]["domains"] == ["contoso.com", "contoso.onmicrosoft.com", "contoso.net"]


def test_what_is_not_scanned_is_said() -> None:
    """Null senders, forwards and internal mail are announced, each with its reason."""
    said = " ".join(f"{each['what']} {each['why']}" for each in make_plan(WANTED, tenant()).document()["not_scanned"])

    assert all(words in said for words in ("out of office", "null sender", "forwards", "inside the organization", "S/MIME"))


def test_rules_that_would_run_twice_are_named() -> None:
    """A rule above the outbound routing rule sees an outgoing message twice: before it is scanned and after."""
    above = rule("Tag", SubjectContainsWords=["x"], PrependSubject="x")
    document = make_plan(WANTED, tenant(above, rule("Ends", SubjectContainsWords=["y"], DeleteMessage=True))).document()

    assert _names(document["rules_run_twice"]) == ["Tag"]


def test_a_rule_that_can_not_be_read_counts_with_its_worst_case() -> None:
    """A rule that adds a recipient bounces on the second pass if it matches; the plan says so and names it."""
    above = rule("Unreadable", HasClassification="Secret", AddToRecipients=["boss@contoso.com"])
    document = make_plan(WANTED, tenant(above, rule("Ends", SubjectContainsWords=["x"], DeleteMessage=True))).document()

    assert not document["is_safe"]
    assert any("'Unreadable'" in finding["what"] for finding in document["findings"])


@pytest.mark.parametrize(
    ("name", "properties"),
    [
        ("Inside only", {"FromScope": "InOrganization", "ApplyHtmlDisclaimerText": "x", "SentToScope": "NotInOrganization"}),
        ("Partner", {"SenderIpRanges": ["203.0.113.9"], "SetSCL": -1}),
    ],
)
def test_rules_that_would_never_run_are_named(name: str, properties: dict[str, Any]) -> None:
    """What comes back is neither authenticated nor from its sender's address: rules that ask for that act no more."""
    found = make_plan(WANTED, tenant(rule(name, **properties)))

    assert _names(found.document()["rules_never_run"]) == [name]


def test_a_foreign_lock_down_makes_a_plan_unsafe() -> None:
    """Another connector that admits only its own addresses refuses what the scanner gives back."""
    connector = {**LOCK_DOWN, "SenderIPAddresses": ["203.0.113.0/24"]}
    document = make_plan(WANTED, tenant(InboundConnector=[connector])).document()

    assert not document["is_safe"]
    assert any(route["problem"] and "5.7.51" in route["problem"] for route in document["routes"])


def test_each_of_many_rules_that_can_not_be_read_is_tried() -> None:
    """However many such rules a tenant has, the one that would harm is found by itself."""
    rules = [rule(f"Unreadable {number}", HasClassification="Secret", PrependSubject="x") for number in range(12)]
    above = rule("Adds", HasClassification="Secret", AddToRecipients=["boss@contoso.com"])
    ends = rule("Ends", SubjectContainsWords=["x"], DeleteMessage=True)
    wanted = replace(request((Direction.OUTBOUND,)), accepted_domains=WANTED.accepted_domains[:1])
    document = make_plan(wanted, tenant(*rules, above, ends)).document()

    assert any("'Adds'" in finding["what"] for finding in document["findings"])


def test_what_microsoft_leaves_open_is_told_apart() -> None:
    """A switch that may be the other way does not make a plan unsafe; what would follow is an open question."""
    questions = make_plan(WANTED, tenant()).document()["open_questions"]

    assert {"bypass", "held"} <= {each["then"] for each in questions}
    assert any("can't read Exchange's header" in each["if"] for each in questions)


def test_every_domain_is_tried() -> None:
    """A tenant with many domains is judged in one look, and each domain's route is told."""
    domains = [{"DomainName": f"d{number}.example.com", "DomainType": "Authoritative"} for number in range(9)]
    accepted = tuple(replace(WANTED.accepted_domains[1], name=str(each["DomainName"])) for each in domains)
    wanted = replace(WANTED, accepted_domains=(*WANTED.accepted_domains, *accepted), routing=Routing.OFF)
    known = [dict(each) for each in tenant().of("Get-AcceptedDomain")]
    found = tenant(AcceptedDomain=[*known, *domains])
    routes = make_plan(wanted, found).document()["routes"]

    assert all(len(route["domains"]) + route["more_domains"] == 12 for route in routes)


def test_a_group_is_scope() -> None:
    """With a group as scope its members' mail is scanned, others' is not, and both arrive."""
    wanted = request(scope=Scope(ScopeKind.GROUP, group="everybody@contoso.com"))
    routes = {route["name"]: route for route in make_plan(wanted, tenant()).document()["routes"]}

    assert "colleague@…: delivered, scanned never" in routes["to a distribution list"]["after"]
    assert "person@…: delivered, scanned once" in routes["to a distribution list"]["after"]


def test_with_the_certificate_as_accepted_domain_every_sender_is_scanned() -> None:
    """In the other outbound variant bounces, automatic replies and forwards are scanned once, and come through."""
    settings_b = SETTINGS.model_copy(update={"outbound_senders": "all"})
    wanted = request(settings=settings_b)
    name = certificate_name(wanted)
    wanted = replace(wanted, accepted_domains=(*wanted.accepted_domains, AcceptedDomain(name)))
    known = [dict(each) for each in tenant().of("Get-AcceptedDomain")]
    document = make_plan(wanted, tenant(AcceptedDomain=[*known, {"DomainName": name, "DomainType": "Authoritative"}])).document()
    routes = {route["name"]: route["after"] for route in document["routes"]}

    assert document["is_safe"]
    assert all("sent to the outside, scanned once" in routes[f"{what} to outside"] for what in ("bounce", "forward"))


def test_without_that_domain_they_would_be_lost() -> None:
    """The same objects without the accepted domain refuse what has no sender of the tenant: the plan is unsafe."""
    document = make_plan(request(settings=SETTINGS.model_copy(update={"outbound_senders": "all"})), tenant()).document()

    assert not document["is_safe"]
    assert any(each["harm"] == "loss" and "5.7.64" in each["what"] for each in document["findings"])


@pytest.mark.parametrize("direction", list(Direction))
def test_ranges_are_not_replaced_while_mail_is_routed(direction: Direction) -> None:
    """All ranges at once is unsafe with the routing on; beside the former ones, of which one goes later, they are fine."""
    former = replace(request(routing=Routing.ON))
    routed = foresee(tenant(), changes(desired_objects(former), tenant(), former.grant_id))
    name = f"scanner_{direction}_egress"
    old = getattr(SETTINGS, name)

    def plan(ranges: tuple[str, ...], objects: TenantObjects) -> Plan:
        changed = SETTINGS.model_copy(update={name: ",".join(ranges)})
        return make_plan(replace(former, settings=changed, routing=Routing.KEPT), objects)

    replaced = plan(("198.18.0.0/24",), routed)
    together = plan((old, "198.18.0.0/24"), routed)
    overlapped = foresee(routed, list(together.changes))

    assert not replaced.is_safe
    assert "List the former and the new ones together first." in str(replaced.document()["findings"][0]["what"])
    assert [str(each) for each in together.findings if each.is_unsafe] == []
    assert plan(("198.18.0.0/24",), overlapped).is_safe
    resting = foresee(tenant(), changes(desired_objects(request()), tenant(), former.grant_id))
    assert plan(("198.18.0.0/24",), resting).is_safe


def test_the_gap_of_a_renamed_product_is_told() -> None:
    """Rules of the former name go while the new ones are off: the plan says that nothing is scanned until they are on."""
    former = request(routing=Routing.ON)
    routed = foresee(tenant(), changes(desired_objects(former), tenant(), former.grant_id))
    renamed = SETTINGS.model_copy(update={"product_name": "Otherline"})
    kept = replace(former, routing=Routing.KEPT)
    told = [make_plan(each, routed)._not_scanned()[0]["what"] for each in (replace(kept, settings=renamed), kept)]

    assert [what.startswith("All mail") for what in told] == [True, False]
