"""The objects are what real tenants need (real-tenants.md 1 to 7)."""

import json
from base64 import urlsafe_b64encode
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given

from shared.domain.grant import Direction, Scope, ScopeKind
from shared.mailflow.desired import (
    MAXIMUM_NAME,
    AcceptedDomain,
    DesiredObject,
    Request,
    Routing,
    certificate_name,
    desired_objects,
    desired_settings,
    missing_accepted_domain,
    planned_objects,
    scoped_domains,
    standing,
)
from shared.mailflow.kinds import Kind
from shared.mailflow.verdict import verdict_secret
from shared.settings import Settings, load
from tests.unit.mailflow.requests import CALM, ENVIRONMENT, GRANT_ID, REQUESTS, SETTINGS, request

GROUP_SCOPE = Scope(ScopeKind.GROUP, group="everybody@contoso.com")


def _object(wanted: Request, what: str) -> DesiredObject:
    return next(item for item in desired_objects(wanted) if item.name == f"Grantline Inline {what}")


@CALM
@given(REQUESTS)
def test_names_are_short_enough_and_differ(wanted: Request) -> None:
    """Every name begins with the product's, has at most 64 characters for the longest product name, and is there once."""
    settings = load({**ENVIRONMENT, "GRANTLINE_PRODUCT_NAME": "P" * 24})
    names = [item.name for item in desired_objects(replace(wanted, settings=settings))]

    assert all(name.startswith("P" * 24 + " Inline ") and len(name) <= MAXIMUM_NAME for name in names)
    assert len({name.casefold() for name in names}) == len(names)


@CALM
@given(REQUESTS)
def test_routing_rules_have_one_exception_and_lose_nothing(wanted: Request) -> None:
    """A routing rule excepts its direction's return addresses alone, ends the pass, defers on errors, is off until the end."""
    egress = {"Inbound": ["192.0.2.0/25", "192.0.2.200"], "Outbound": ["198.51.100.0/24"]}
    rules = [item for item in desired_objects(wanted) if item.routes]

    assert len(rules) == len(wanted.intent.directions)
    for rule in rules:
        direction = rule.name.split()[2]
        exceptions = {name: value for name, value in rule.parameters.items() if name.startswith("ExceptIf")}
        assert exceptions == {"ExceptIfSenderIpRanges": egress[direction]}
        assert rule.parameters["StopRuleProcessing"] is True
        assert rule.parameters["RuleErrorAction"] == "Defer"
        assert rule.parameters["RouteMessageOutboundConnector"] == f"Grantline Inline {direction} Routing Connector"
        assert rule.parameters["Enabled"] is (wanted.routing is Routing.ON)
        assert "FromScope" not in rule.parameters


@CALM
@given(REQUESTS)
def test_no_connector_shuts_others_out(wanted: Request) -> None:
    """No connector restricts senders, trusts cloud headers or is used without a rule; outbound ones check the certificate."""
    for item in desired_objects(wanted):
        if item.kind in (Kind.INBOUND_CONNECTOR, Kind.OUTBOUND_CONNECTOR):
            assert item.parameters["CloudServicesMailEnabled"] is False
        if item.kind is Kind.INBOUND_CONNECTOR:
            assert not item.parameters.get("RestrictDomainsToIPAddresses")
            assert not item.parameters.get("RestrictDomainsToCertificate")
        if item.kind is Kind.OUTBOUND_CONNECTOR:
            assert item.parameters["IsTransportRuleScoped"] is True
            assert item.parameters["UseMXRecord"] is False
            assert item.parameters["TlsSettings"] == "DomainValidation"
            assert item.parameters["SmartHosts"] == [item.parameters["TlsDomain"]]


@CALM
@given(REQUESTS)
def test_the_return_path_is_made_first(wanted: Request) -> None:
    """Return connectors come before the way to the scanner, verdict rules before routing rules, routing rules last."""
    objects = desired_objects(wanted)
    count = len(wanted.intent.directions)

    assert {item.kind for item in objects[:count]} == {Kind.INBOUND_CONNECTOR}
    assert {item.kind for item in objects[count : 2 * count]} == {Kind.OUTBOUND_CONNECTOR}
    assert [item.routes for item in objects] == [False] * (len(objects) - count) + [True] * count


def test_the_rules_stand_in_a_fixed_order() -> None:
    """First the routing of inbound mail, then of outbound mail, then the verdict rules."""
    assert standing(desired_objects(request())) == (
        "Grantline Inline Inbound Domain Rule",
        "Grantline Inline Outbound Domain Rule",
        "Grantline Inline Inbound Skip Spam Filter Rule",
        "Grantline Inline Inbound Move to Junk Rule",
    )


def test_inbound_mail_returns_through_a_partner_connector() -> None:
    """It is found by the scanner's addresses, for senders of any domain, and asks for no TLS yet."""
    parameters = _object(request(), "Inbound Return Connector").parameters

    assert parameters["ConnectorType"] == "Partner"
    assert parameters["SenderDomains"] == ["*"]
    assert parameters["SenderIPAddresses"] == ["192.0.2.0/25", "192.0.2.200"]
    assert parameters["RequireTls"] is False
    assert "TlsSenderCertificateName" not in parameters


def test_outbound_mail_returns_by_a_certificate_of_its_own() -> None:
    """It is found by a certificate name of this grant alone, never by an address that other customers share."""
    parameters = _object(request(), "Outbound Return Connector").parameters

    assert parameters["ConnectorType"] == "OnPremises"
    assert parameters["RequireTls"] is True
    assert parameters["TlsSenderCertificateName"] == f"{GRANT_ID}.relay.scanner.example.net"
    assert "SenderIPAddresses" not in parameters


@pytest.mark.parametrize("grant_id", ["under_score", "Upper", "-dash", "dot.ted", "", "x" * 64])
def test_a_grant_id_that_is_no_label_is_refused(grant_id: str) -> None:
    """A name that no certificate can carry is a defect, told at once."""
    with pytest.raises(ValueError, match="label"):
        certificate_name(replace(request(), grant_id=grant_id))


def test_inbound_mail_is_known_by_who_authenticated() -> None:
    """The inbound rule looks at recipients and at Exchange's own header, not at what the sender says of itself."""
    parameters = _object(request(), "Inbound Domain Rule").parameters

    assert parameters["RecipientDomainIs"] == ["contoso.com", "contoso.net", "contoso.onmicrosoft.com"]
    assert parameters["HeaderMatchesMessageHeader"] == "X-MS-Exchange-Organization-AuthAs"
    assert parameters["HeaderMatchesPatterns"] == ["Anonymous"]


def test_outbound_mail_is_known_by_its_envelope() -> None:
    """The outbound rule takes only what can come back: an envelope sender in an accepted domain, recipients outside."""
    parameters = _object(request(), "Outbound Domain Rule").parameters

    assert parameters["SenderDomainIs"] == ["contoso.com", "contoso.net", "contoso.onmicrosoft.com"]
    assert parameters["SenderAddressLocation"] == "Envelope"
    assert parameters["SentToScope"] == "NotInOrganization"


def test_a_group_scope_has_groups_of_its_own() -> None:
    """User rules name our own hidden groups, which contain the chosen one; outbound keeps to accepted envelope domains."""
    wanted = request(scope=GROUP_SCOPE)
    group = _object(wanted, "Outbound Scope Group").parameters
    outbound = _object(wanted, "Outbound User Rule").parameters
    inbound = _object(wanted, "Inbound User Rule").parameters

    assert group["Members"] == ["everybody@contoso.com"]
    assert group["PrimarySmtpAddress"] == "grantline-inline-outbound-scope@contoso.onmicrosoft.com"
    assert group["HiddenFromAddressListsEnabled"] is True
    assert outbound["FromMemberOf"] == [group["PrimarySmtpAddress"]]
    assert outbound["SenderDomainIs"] == ["contoso.com", "contoso.net", "contoso.onmicrosoft.com"]
    assert inbound["SentToMemberOf"] == ["grantline-inline-inbound-scope@contoso.onmicrosoft.com"]
    assert "RecipientDomainIs" not in inbound


def test_chosen_people_are_the_members_of_our_groups() -> None:
    """A scope of people is a scope of a group whose members are those people: the same objects and conditions, each way."""
    people = ("ada@contoso.com", "bob@contoso.onmicrosoft.com")
    chosen = desired_objects(request(scope=Scope(ScopeKind.USERS, users=people)))
    of_group = desired_objects(request(scope=GROUP_SCOPE))
    groups = [item for item in chosen if item.kind is Kind.DISTRIBUTION_GROUP]

    assert [item.parameters["Members"] for item in groups] == [list(people)] * 2
    assert [replace(item, parameters={**item.parameters, "Members": ["everybody@contoso.com"]}) for item in groups] == [
        item for item in of_group if item.kind is Kind.DISTRIBUTION_GROUP
    ]
    assert [item for item in chosen if item not in groups] == [
        item for item in of_group if item.kind is not Kind.DISTRIBUTION_GROUP
    ]


def test_chosen_domains_alone_are_scanned() -> None:
    """A scope of domains names those and no other."""
    assert scoped_domains(request(scope=Scope(ScopeKind.DOMAINS, ("Contoso.NET",)))) == ["contoso.net"]


@pytest.mark.parametrize(("what", "header", "confidence"), [("Skip Spam Filter", "Clean", -1), ("Move to Junk", "Junk", 6)])
def test_a_verdict_needs_address_and_secret(what: str, header: str, confidence: int) -> None:
    """A verdict counts only from the scanner's address with the grant's secret, and the secret is taken off the message."""
    wanted = request()
    rule = _object(wanted, f"Inbound {what} Rule")
    parameters = rule.parameters

    assert parameters["SenderIpRanges"] == ["192.0.2.0/25", "192.0.2.200"]
    assert parameters["HeaderContainsMessageHeader"] == f"X-Grantline-{header}"
    assert parameters["HeaderContainsWords"] == [wanted.secret]
    assert parameters["SetSCL"] == confidence
    assert parameters["RemoveHeader"] == f"X-Grantline-{header}"
    assert not [name for name in parameters if name.startswith("ExceptIf")]
    assert rule.secrets == {"HeaderContainsWords"}


def test_outbound_alone_has_no_verdict_rules() -> None:
    """Verdicts are for mail that is delivered here."""
    assert standing(desired_objects(request((Direction.OUTBOUND,)))) == ("Grantline Inline Outbound Domain Rule",)


def test_the_scanner_derives_the_verdict_secret_as_documented() -> None:
    """From the key that it holds too, never from the sealing key; the example is that of docs/operations.md."""
    key = urlsafe_b64encode(bytes(32)).decode().rstrip("=")
    own = load(
        {**ENVIRONMENT, "GRANTLINE_SEALING_KEY": urlsafe_b64encode(bytes(range(32))).decode(), "GRANTLINE_VERDICT_KEY": key}
    )
    example = verdict_secret(own.verdict_secrets_key, "00000000-0000-4000-8000-000000000001")

    assert example == "b28dbcd49d3a543b3bd2df376872253dfc6f699e"
    assert example in (Path(__file__).parents[3] / "docs/operations.md").read_text(encoding="utf-8")
    assert SETTINGS.verdict_secrets_key == SETTINGS.sealing_key


def test_the_verdict_secret_is_each_grants_own() -> None:
    """The secret is derived from key and grant: the same again, another for another grant or key, one hexadecimal word."""
    other_key = load({**ENVIRONMENT, "GRANTLINE_SEALING_KEY": "A" * 43}).sealing_key
    secret = verdict_secret(SETTINGS.sealing_key, GRANT_ID)

    assert secret == verdict_secret(SETTINGS.sealing_key, GRANT_ID)
    assert len({secret, verdict_secret(SETTINGS.sealing_key, "another"), verdict_secret(other_key, GRANT_ID)}) == 3
    assert len(secret) == 40
    assert int(secret, 16) > 0


@CALM
@given(REQUESTS)
def test_everything_that_may_be_made_is_told_before(wanted: Request) -> None:
    """Whatever a grant wants, each of its objects was planned: by name, kind and purpose, for its direction and its scope."""
    planned = {item.name: item for item in planned_objects(wanted.settings)}

    for item in desired_objects(wanted):
        told = planned[item.name]
        assert (told.kind, told.purpose) == (item.kind, item.purpose)
        assert told.direction in wanted.intent.directions
        assert wanted.intent.scope.kind in told.scopes


def test_nothing_is_planned_that_is_never_made() -> None:
    """Two directions and every kind of scope, together, make exactly what is planned; each tells what it is for."""
    scopes = (Scope(), Scope(ScopeKind.DOMAINS, ("contoso.com",)), GROUP_SCOPE, Scope(ScopeKind.USERS, users=("a@contoso.com",)))
    made = {item.name for scope in scopes for item in desired_objects(request(scope=scope))}

    planned = planned_objects(SETTINGS)

    assert {item.name for item in planned} == made
    assert all(item.purpose.endswith(".") for item in planned)


def _with(**chosen: str) -> Settings:
    return load({**ENVIRONMENT, **{f"GRANTLINE_{name.upper()}": value for name, value in chosen.items()}})


def test_nothing_of_others_is_wanted_unless_it_is_chosen() -> None:
    """Allow entries and a trusted sealer are off by default, and none is wanted for outbound mail alone."""
    chosen = _with(allow_entries="ip,spoof", arc_sealer="sealer.example.net")

    assert desired_settings(request()) == ()
    assert desired_settings(request((Direction.OUTBOUND,), settings=chosen)) == ()
    assert [item.noun for item in desired_settings(request(settings=chosen))] == [
        "HostedConnectionFilterPolicy",
        "TenantAllowBlockListSpoofItems",
        "ArcConfig",
    ]


@pytest.mark.parametrize(
    ("egress", "infrastructures"),
    [
        ("192.0.2.0/24", ["192.0.2.0/24"]),
        ("192.0.2.0/25,192.0.2.200", ["relay.scanner.example.net"]),
        ("192.0.2.0/24,203.0.113.0/28", ["192.0.2.0/24", "relay.scanner.example.net"]),
    ],
)
def test_spoof_entries_are_pairs_that_trust_no_address_of_others(egress: str, infrastructures: list[str]) -> None:
    """Each infrastructure has two entries, External and Internal; it is a /24 of ours or our domain of reverse DNS."""
    (item,) = desired_settings(request(settings=_with(allow_entries="spoof", scanner_inbound_egress=egress)))

    assert list(item.adds) == [f"{kind} * {each}" for each in infrastructures for kind in ("External", "Internal")]


def test_a_lock_down_of_all_senders_can_not_be_wanted() -> None:
    """A connector that would refuse every other sender's mail is a defect wherever it is made."""
    for flag in ("RestrictDomainsToIPAddresses", "RestrictDomainsToCertificate"):
        with pytest.raises(ValueError, match="every other sender"):
            DesiredObject(Kind.INBOUND_CONNECTOR, "Mine", "", {"SenderDomains": ["*"], flag: True})
        assert DesiredObject(Kind.INBOUND_CONNECTOR, "Mine", "", {"SenderDomains": ["fabrikam.com"], flag: True})


@pytest.mark.parametrize(
    ("scope", "conditions"),
    [
        (Scope(), {"SentToScope"}),
        (GROUP_SCOPE, {"SentToScope", "FromMemberOf"}),
        (Scope(ScopeKind.DOMAINS, ("contoso.net",)), {"SentToScope", "SenderDomainIs", "SenderAddressLocation"}),
    ],
)
def test_all_senders_mail_is_routed_where_that_is_chosen(scope: Scope, conditions: set[str]) -> None:
    """Then no envelope sender is asked for but by a scope of domains; the loop exception stays."""
    wanted = request((Direction.OUTBOUND,), scope, settings=_with(outbound_senders="all"))
    rule = next(item for item in desired_objects(wanted) if item.routes).parameters
    others = {"ExceptIfSenderIpRanges", "RouteMessageOutboundConnector", "StopRuleProcessing", "RuleErrorAction", "Mode"}

    assert rule.keys() - others - {"Enabled", "Comments"} == conditions
    assert rule["ExceptIfSenderIpRanges"] == ["198.51.100.0/24"]


def test_all_senders_mail_needs_an_accepted_domain() -> None:
    """The certificate's name is missing until it is an accepted domain, and is no domain whose mail is scanned then."""
    wanted = request(settings=_with(outbound_senders="all"))
    name = f"{GRANT_ID}.relay.scanner.example.net"
    there = replace(wanted, accepted_domains=(*wanted.accepted_domains, AcceptedDomain(name)))

    assert missing_accepted_domain(wanted) == name
    assert missing_accepted_domain(there) == ""
    assert missing_accepted_domain(request()) == ""
    assert missing_accepted_domain(request((Direction.INBOUND,), settings=wanted.settings)) == ""
    assert scoped_domains(there) == scoped_domains(wanted)


def test_the_region_chooses_the_scanner() -> None:
    """Hosts, addresses and the certificate of every object are those of the grant's region."""
    parts = {
        "inbound_host": "in.eu.example",
        "outbound_host": "out.eu.example",
        "inbound_egress": "203.0.113.0/25",
        "outbound_egress": "203.0.113.128/25",
        "certificate_zone": "relay.eu.example",
    }
    chosen = _with(scanner_regions=json.dumps({"eu": parts}))
    wanted = request(settings=chosen)
    text = str([item.parameters for item in desired_objects(replace(wanted, intent=replace(wanted.intent, region="eu")))])

    assert all(part in text for part in parts.values())
    assert "scanner.example.net" not in text
    assert "192.0.2" not in text
