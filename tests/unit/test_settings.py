"""Settings: every fault at once, never a value."""

import pytest

from shared.settings import SettingsError, load
from tests.support.app_settings import APP_SETTINGS


def test_complete_settings_are_read() -> None:
    """What is set is what is read."""
    settings = load(APP_SETTINGS)

    assert settings.public_url == "https://console.example.com"
    assert settings.inbound_egress == ("192.0.2.0/24",)
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


def test_a_secret_without_its_application_is_a_fault() -> None:
    """A client id that was forgotten, or misspelt, is told: the offer would be missing without a word."""
    with pytest.raises(SettingsError, match="GRANTLINE_ACTIVITY_CLIENT_ID: is missing"):
        load({**APP_SETTINGS, "GRANTLINE_ACTIVITY_CLIENT_SECRET": "made up"})
