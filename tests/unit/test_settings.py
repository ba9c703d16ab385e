"""Settings: every fault at once, never a value."""

import json

import pytest
from pydantic import SecretStr

from shared.certificates import read_certificate
from shared.microsoft.permissions import Application
from shared.settings import APPLICATIONS, CREDENTIALS, ManagedIdentity, Settings, SettingsError, load
from tests.support.app_settings import APP_SETTINGS
from tests.support.certificates import client_certificate


def test_complete_settings_are_read() -> None:
    """What is set is what is read."""
    settings = load(APP_SETTINGS)

    assert settings.public_url == "https://console.example.com"
    assert settings.scanner().inbound_egress == ("192.0.2.0/24",)
    assert settings.policy_names == ("standard",)
    assert "made up" not in repr(settings)


def test_every_missing_setting_is_told_at_once() -> None:
    """An empty environment lists all that is needed, a line each."""
    with pytest.raises(SettingsError) as caught:
        load({})

    lines = str(caught.value).splitlines()
    assert len(lines) >= 10
    assert "GRANTLINE_PUBLIC_URL: is missing" in lines
    assert "GRANTLINE_SEALING_KEY: is missing" in lines


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("GRANTLINE_PUBLIC_URL", "http://console.example.com", "must be https"),
        ("GRANTLINE_PUBLIC_URL", "https://console.example.com/path", "without a path"),
        ("GRANTLINE_MAIL_FLOW_CLIENT_ID", "not-a-guid", "GUID"),
        ("GRANTLINE_SEALING_KEY", "c2hvcnQ", "32 bytes"),
        ("GRANTLINE_AUTHORITY_URL", "http://localhost:8443", "https"),
        ("GRANTLINE_SCANNER_INBOUND_EGRESS", "192.0.2.0/16", "egress"),
        ("GRANTLINE_SCANNER_INBOUND_EGRESS", "2001:db8::/32", "IPv4"),
        ("GRANTLINE_SCANNER_OUTBOUND_EGRESS", "192.0.2.128/25", "overlaps"),
        ("GRANTLINE_SCANNER_INBOUND_HOST", "not a host", "host name"),
        ("GRANTLINE_CLOUD", "moon", "pattern"),
        ("GRANTLINE_MAILBOX_PERMISSION", "Mail.Everything", "Mail.ReadBasic.All"),
    ],
)
def test_a_malformed_setting_is_named(name: str, value: str, words: str) -> None:
    """The line names the setting and says what is wrong, without showing what was set."""
    with pytest.raises(SettingsError) as caught:
        load({**APP_SETTINGS, name: value})

    assert words in str(caught.value)


def test_a_secret_is_never_shown() -> None:
    """A malformed secret's value does not stand in the error."""
    with pytest.raises(SettingsError) as caught:
        load({**APP_SETTINGS, "GRANTLINE_SEALING_KEY": "hunter2"})

    assert "hunter2" not in str(caught.value)


def test_the_development_identity_can_not_exist_in_production() -> None:
    """Where App Service runs the app, making everyone an operator stops the start."""
    local = {**APP_SETTINGS, "GRANTLINE_DEVELOPMENT_IDENTITY": "true"}

    assert load(local).development_identity
    for platform in ({"WEBSITE_SITE_NAME": "grantline"}, {"WEBSITE_AUTH_ENABLED": "True"}):
        with pytest.raises(SettingsError, match="DEVELOPMENT_IDENTITY"):
            load({**local, **platform})


def test_storage_may_be_an_account_with_a_managed_identity() -> None:
    """AzureWebJobsStorage__accountName stands for the account's own addresses."""
    settings = load({**APP_SETTINGS, "AzureWebJobsStorage": "", "AzureWebJobsStorage__accountName": "grantline"})

    assert settings.storage_queue_url == "https://grantline.queue.core.windows.net"
    assert settings.storage_table_url == "https://grantline.table.core.windows.net"


@pytest.mark.parametrize(("value", "permission"), [("none", ""), ("Mail.Read", "Mail.Read"), (None, "Mail.ReadBasic.All")])
def test_the_products_permission_may_be_none(value: str | None, permission: str) -> None:
    """`none` asks for no permission for mailboxes; nothing set asks for the least."""
    more = {"GRANTLINE_MAILBOX_PERMISSION": value} if value else {}

    assert load({**APP_SETTINGS, **more}).mailbox_permission == permission


def test_an_application_needs_a_credential() -> None:
    """Without a client secret there must be a managed identity."""
    without = {**APP_SETTINGS, "GRANTLINE_DIRECTORY_CLIENT_SECRET": ""}

    with pytest.raises(SettingsError, match="MANAGED_IDENTITY_CLIENT_ID"):
        load(without)
    identity = "00000000-0000-4000-8000-000000000009"
    assert load({**without, "GRANTLINE_MANAGED_IDENTITY_CLIENT_ID": identity}).managed_identity_client_id == identity


ACTIVITY_ID = "00000000-0000-4000-8000-000000000004"


def test_activity_data_is_offered_where_its_application_is_set() -> None:
    """Without a client id nobody is asked for the permission; with one it needs a credential as every application does."""
    activity = {"GRANTLINE_ACTIVITY_CLIENT_ID": ACTIVITY_ID}

    assert not load(APP_SETTINGS).offers_activity
    assert load({**APP_SETTINGS, **activity, "GRANTLINE_ACTIVITY_CLIENT_SECRET": "made up"}).offers_activity
    with pytest.raises(SettingsError, match="GRANTLINE_ACTIVITY_CERTIFICATE"):
        load({**APP_SETTINGS, **activity})
    identity = {"GRANTLINE_MANAGED_IDENTITY_CLIENT_ID": "00000000-0000-4000-8000-000000000009"}
    assert load({**APP_SETTINGS, **activity, **identity}).offers_activity


IDENTITY = "00000000-0000-4000-8000-000000000009"
MAIL_FLOW_SECRET = "GRANTLINE_MAIL_FLOW_CLIENT_SECRET"


def test_every_application_has_every_credential() -> None:
    """Settings, registrations and their order of trial are the same for all applications."""
    assert set(APPLICATIONS) == {str(application) for application in Application}
    for application in APPLICATIONS:
        for credential in CREDENTIALS:
            assert f"{application}_{credential}" in Settings.model_fields


def test_the_newest_credential_is_tried_first() -> None:
    """A certificate before a secret, both before the managed identity, and what is former last."""
    newer, older = client_certificate("one")[0], client_certificate("other")[0]
    identity = {"GRANTLINE_MANAGED_IDENTITY_CLIENT_ID": IDENTITY}
    both = load({**APP_SETTINGS, "GRANTLINE_MAIL_FLOW_CERTIFICATE": newer, "GRANTLINE_MAIL_FLOW_FORMER_CREDENTIAL": older})
    vouched = load({**APP_SETTINGS, **identity, MAIL_FLOW_SECRET: "", "GRANTLINE_MAIL_FLOW_FORMER_CREDENTIAL": "made up"})

    assert both.credentials_of("mail_flow") == (read_certificate(newer), SecretStr("made up MAIL_FLOW"), read_certificate(older))
    assert load({**APP_SETTINGS, **identity}).credentials_of("directory")[1:] == (ManagedIdentity(IDENTITY),)
    assert both.credentials_of("directory") == (SecretStr("made up DIRECTORY"),)
    assert vouched.credentials_of("mail_flow") == (ManagedIdentity(IDENTITY), SecretStr("made up"))
    assert "PRIVATE" not in repr(both)
    assert "made up" not in repr(vouched)


def test_a_certificate_is_a_credential() -> None:
    """With a certificate neither a secret nor a managed identity is needed; a former credential alone is not enough."""
    certificate = client_certificate("one")[0]

    assert load({**APP_SETTINGS, MAIL_FLOW_SECRET: "", "GRANTLINE_MAIL_FLOW_CERTIFICATE": certificate}).mail_flow_certificate
    with pytest.raises(SettingsError, match="missing: GRANTLINE_MAIL_FLOW_CERTIFICATE"):
        load({**APP_SETTINGS, MAIL_FLOW_SECRET: "", "GRANTLINE_MAIL_FLOW_FORMER_CREDENTIAL": certificate})


def test_a_certificate_that_can_not_be_used_stops_the_start() -> None:
    """Unreadable, of another key, or expired: told with its setting's name, and nothing of it is shown."""
    expired, _ = client_certificate("one", days=-1)
    mixed = client_certificate("one")[0].partition("-----BEGIN CERTIFICATE")[0] + client_certificate("other")[1]
    for value, words in (("made up", "must be PEM"), (mixed, "belongs to its private key"), (expired, "has expired on 20")):
        with pytest.raises(SettingsError) as caught:
            load({**APP_SETTINGS, "GRANTLINE_DIRECTORY_CERTIFICATE": value})
        assert str(caught.value).startswith("GRANTLINE_DIRECTORY_CERTIFICATE: ")
        assert words in str(caught.value)
        assert value.splitlines()[-2:][0] not in str(caught.value)


def test_an_expired_former_certificate_stops_nothing() -> None:
    """It is what a rotation has left behind: the application starts with the newer one. One that can't be read is a fault."""
    expired, _ = client_certificate("one", days=-1)

    assert load({**APP_SETTINGS, "GRANTLINE_DIRECTORY_FORMER_CREDENTIAL": expired}).directory_former_credential
    with pytest.raises(SettingsError, match="GRANTLINE_DIRECTORY_FORMER_CREDENTIAL: must be PEM"):
        load({**APP_SETTINGS, "GRANTLINE_DIRECTORY_FORMER_CREDENTIAL": "-----BEGIN CERTIFICATE-----"})


@pytest.mark.parametrize("credential", ["CERTIFICATE", "CLIENT_SECRET", "FORMER_CREDENTIAL"])
@pytest.mark.parametrize("application", ["ACTIVITY", "ROLE_ASSIGNER"])
def test_a_credential_without_its_application_is_a_fault(application: str, credential: str) -> None:
    """A client id that was forgotten, or misspelt, is told: the offer would be missing without a word."""
    value = client_certificate("one")[0] if credential == "CERTIFICATE" else "made up"
    with pytest.raises(SettingsError) as caught:
        load({**APP_SETTINGS, f"GRANTLINE_{application}_{credential}": value})

    assert str(caught.value) == f"GRANTLINE_{application}_CLIENT_ID: is missing; GRANTLINE_{application}_{credential} is set"


def test_the_role_assigner_is_offered_where_it_is_set() -> None:
    """As the activity application: only with a client id of its own."""
    assigner = {"GRANTLINE_ROLE_ASSIGNER_CLIENT_ID": ACTIVITY_ID, "GRANTLINE_ROLE_ASSIGNER_CLIENT_SECRET": "made up"}

    assert not load(APP_SETTINGS).offers_role_assigner
    assert load({**APP_SETTINGS, **assigner}).offers_role_assigner


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("ACTIVITY_CONTENT_TYPES", "Audit.Exchange,Audit.Everything", "must be some of: Audit.AzureActiveDirectory"),
        ("ACTIVITY_CONTENT_TYPES", " , ", "must be some of"),
        ("PUBLISHER_TENANT_ID", "contoso.com", "GUID"),
        ("ROLE_WATCH", "perhaps", "boolean"),
        ("ROLE_JUSTIFICATION", "For {tenant}", "{product} and {account}"),
        ("ROLE_JUSTIFICATION", "For {}", "{product} and {account}"),
        ("ROLE_JUSTIFICATION", "For {product", "{product} and {account}"),
        ("ROLE_JUSTIFICATION", "{product.__class__}", "{product} and {account}"),
        ("ROLE_JUSTIFICATION", "{product!r:>500}", "{product} and {account}"),
        ("ROLE_JUSTIFICATION", " ", "1 to 400"),
        ("ROLE_JUSTIFICATION", "x" * 401, "1 to 400"),
        ("MANAGEMENT_URL", "http://localhost", "https"),
    ],
)
def test_malformed_settings_of_consent_and_role_are_named(name: str, value: str, words: str) -> None:
    """Content types are Microsoft's, the publisher is a tenant's id, and a justification has its two places and no others."""
    with pytest.raises(SettingsError) as caught:
        load({**APP_SETTINGS, f"GRANTLINE_{name}": value})

    assert str(caught.value).startswith(f"GRANTLINE_{name}: ")
    assert words in str(caught.value)


def test_settings_of_consent_and_role_have_defaults() -> None:
    """What a deployment that says nothing gets."""
    settings = load(APP_SETTINGS)

    assert settings.content_type_names == ("Audit.Exchange", "Audit.AzureActiveDirectory")
    assert settings.role_justification.format(product="Grantline", account="Contoso").startswith("Grantline sets up")
    assert not settings.role_watch
    assert load({**APP_SETTINGS, "GRANTLINE_ROLE_WATCH": "true"}).role_watch


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("192.0.2.53", ("192.0.2.53", 53)),
        ("192.0.2.53:5353", ("192.0.2.53", 5353)),
        ("2001:db8::53", ("2001:db8::53", 53)),
        ("[2001:db8::53]:5353", ("2001:db8::53", 5353)),
        ("[2001:db8::53]", ("2001:db8::53", 53)),
    ],
)
def test_the_dns_resolver_is_an_address_with_or_without_a_port(text: str, server: tuple[str, int]) -> None:
    """Both kinds of addresses are read; without a port it is DNS's own, and without the setting there is none."""
    assert load({**APP_SETTINGS, "GRANTLINE_DNS_RESOLVER": text}).dns_server == server
    assert load(APP_SETTINGS).dns_server is None


@pytest.mark.parametrize("text", ["dns.example.com", "192.0.2.53:0", "192.0.2.53:65536", "192.0.2.53:x", "[::1", "192.0.2"])
def test_a_dns_resolver_that_is_no_address_is_told(text: str) -> None:
    """A name would have to be looked up by another resolver first: it is refused at the start, and not shown."""
    with pytest.raises(SettingsError) as raised:
        load({**APP_SETTINGS, "GRANTLINE_DNS_RESOLVER": text})

    assert "GRANTLINE_DNS_RESOLVER" in str(raised.value)


def _region(**parts: str) -> str:
    described = {
        "inbound_host": "in.eu.example",
        "outbound_host": "out.eu.example",
        "inbound_egress": "203.0.113.0/25",
        "outbound_egress": "203.0.113.128/25",
        "certificate_zone": "Relay.eu.example",
    }
    return json.dumps({"eu": {**described, **parts}})


def test_each_region_has_a_scanner_of_its_own() -> None:
    """A grant's region chooses the scanner; the settings without a region are the one without a name."""
    settings = load({**APP_SETTINGS, "GRANTLINE_SCANNER_REGIONS": _region(inbound_egress="203.0.113.0/26, 203.0.113.64/26")})

    assert settings.scanner().inbound_host == "inbound.scanner.example.net"
    assert settings.scanner("eu").inbound_egress == ("203.0.113.0/26", "203.0.113.64/26")
    assert settings.scanner("eu").certificate_zone == "relay.eu.example"
    with pytest.raises(SettingsError, match="no region 'mars'"):
        settings.scanner("mars")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("{not json", "must be JSON"),
        ("[]", "must be JSON"),
        ('{"eu": 1}', "must be JSON"),
        ('{"E U": {}}', "region 'E U': a name has"),
        ('{"eu": {"inbound_host": "in.eu.example"}}', "region 'eu': needs exactly"),
        (_region(colour="red"), "region 'eu': needs exactly"),
        (_region(inbound_host="nowhere"), "region 'eu': inbound_host: must be a host name"),
        (_region(inbound_egress="2001:db8::/64"), "region 'eu': inbound_egress: egress ranges are IPv4"),
        (_region(outbound_egress="203.0.0.0/16"), "region 'eu': outbound_egress: egress ranges are IPv4"),
        (_region(outbound_egress=" "), "region 'eu': outbound_egress: egress ranges are IPv4"),
        (_region(outbound_egress="203.0.113.0/24"), "203.0.113.0/24 (outbound egress of region 'eu') overlaps 203.0.113.0/25"),
        (_region(inbound_egress="198.51.100.7"), "198.51.100.0/24 (outbound egress) overlaps 198.51.100.7/32"),
        (_region(outbound_egress="192.0.2.9"), "192.0.2.9/32 (outbound egress of region 'eu') overlaps 192.0.2.0/24"),
    ],
)
def test_a_region_that_can_not_be_stops_the_start(value: str, words: str) -> None:
    """What is wrong with a region is told by region and part; directions must not overlap across regions either."""
    with pytest.raises(SettingsError) as caught:
        load({**APP_SETTINGS, "GRANTLINE_SCANNER_REGIONS": value})

    assert words in str(caught.value)


def test_the_same_direction_may_share_its_egress() -> None:
    """Two regions whose mail of one direction returns from the same addresses are no contradiction."""
    regions = _region(inbound_egress="192.0.2.0/24", outbound_egress="198.51.100.0/24")

    assert load({**APP_SETTINGS, "GRANTLINE_SCANNER_REGIONS": regions}).scanner("eu").inbound_egress == ("192.0.2.0/24",)


@pytest.mark.parametrize(("value", "kinds"), [("none", ()), ("ip", ("ip",)), ("ip, spoof", ("ip", "spoof")), ("", ())])
def test_allow_entries_are_off_unless_they_are_chosen(value: str, kinds: tuple[str, ...]) -> None:
    """Only what is named is made in tenants."""
    assert load({**APP_SETTINGS, "GRANTLINE_ALLOW_ENTRIES": value}).allow_entry_kinds == kinds


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GRANTLINE_ALLOW_ENTRIES", "ip,everything"),
        ("GRANTLINE_ALLOW_ENTRIES", ","),
        ("GRANTLINE_ALLOW_ENTRIES", "none,ip"),
        ("GRANTLINE_ARC_SEALER", "not a domain"),
        ("GRANTLINE_OUTBOUND_SENDERS", "some"),
    ],
)
def test_a_choice_that_does_not_exist_is_refused(name: str, value: str) -> None:
    """The line names the setting."""
    with pytest.raises(SettingsError, match=name):
        load({**APP_SETTINGS, name: value})
