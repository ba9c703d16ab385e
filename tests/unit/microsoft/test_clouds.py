"""The hosts that Grantline may speak to, and what importing the package costs."""

import subprocess
import sys

import pytest

from shared.microsoft.clouds import CLOUDS, Egress, cloud_of
from shared.microsoft.permissions import Resource
from shared.microsoft.transport import tls_context
from shared.ports import RefusedError
from tests.unit.microsoft.conftest import settings_for

WORLDWIDE = Egress(CLOUDS["global"])


@pytest.mark.parametrize(
    "url",
    [
        "https://login.microsoftonline.com/x",
        "https://GRAPH.microsoft.com:443/v1.0/users",
        "https://outlook.office365.com/adminapi",
        "https://eur01b.outlook.office365.com/adminapi",
    ],
)
def test_configured_hosts_are_allowed(url: str) -> None:
    """The cloud's own hosts, and Exchange's regional ones, are spoken to."""
    assert WORLDWIDE.allows(url)
    WORLDWIDE.check(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example.com/",
        "http://graph.microsoft.com/v1.0/users",
        "https://graph.microsoft.com:8443/v1.0/users",
        "https://graph.microsoft.com.evil.example.com/",
        "https://graph.microsoft.com@evil.example.com/",
        "https://eviloutlook.office365.com/adminapi",
        "https://x.graph.microsoft.com/",
        "https://graph.microsoft.us/v1.0/users",
        "https://eur01b.outlook.office365.com:446/adminapi",
        "https://graph.microsoft.com:port/v1.0/users",
        "",
    ],
)
def test_other_hosts_are_refused(url: str) -> None:
    """Other hosts, ports, schemes and clouds are refused before anything is sent."""
    with pytest.raises(RefusedError) as raised:
        WORLDWIDE.check(url)

    assert raised.value.problem.code == "unexpected_host"


def test_settings_replace_hosts_but_not_resources() -> None:
    """Where the settings name other hosts, tokens are still asked for Microsoft's own resources."""
    cloud = cloud_of(settings_for("https://localhost:8443", ""))

    assert (cloud.authority, cloud.graph, cloud.exchange, cloud.management) == ("https://localhost:8443",) * 4
    assert cloud.scope(Resource.GRAPH) == "https://graph.microsoft.com/.default"
    assert cloud.scope(Resource.EXCHANGE) == "https://outlook.office365.com/.default"
    assert not Egress(cloud).allows("https://graph.microsoft.com/v1.0/users")


@pytest.mark.parametrize("name", ["global", "gcc", "gcc_high", "dod", "china"])
def test_every_cloud_of_the_settings_is_known(name: str) -> None:
    """Each cloud that can be set has https hosts of its own."""
    changes = {"authority_url": None, "graph_url": None, "exchange_url": None, "management_url": None, "cloud": name}
    cloud = cloud_of(settings_for("https://localhost", "", **changes))

    assert all(url.startswith("https://") for url in (cloud.authority, cloud.graph, cloud.exchange, cloud.management))


@pytest.mark.parametrize(
    ("name", "host"),
    [
        ("global", "manage.office.com"),
        ("gcc", "manage-gcc.office.com"),
        ("gcc_high", "manage.office365.us"),
        ("dod", "manage.protection.apps.mil"),
        ("china", "manage.office365.cn"),
    ],
)
def test_activity_data_is_asked_for_in_each_clouds_own_name(name: str, host: str) -> None:
    """GCC shares the worldwide hosts of everything but the Office 365 Management APIs; tokens are for the host that is asked."""
    cloud = cloud_of(settings_for("https://localhost", "", cloud=name, management_url=None))

    assert cloud.scope(Resource.MANAGEMENT) == f"https://{host}/.default"
    assert Egress(cloud).allows(f"https://{host}/api/v1.0")
    elsewhere = cloud_of(settings_for("https://localhost", "", cloud=name))
    assert elsewhere.scope(Resource.MANAGEMENT) == f"https://{host}/.default"
    assert not Egress(elsewhere).allows(f"https://{host}/api/v1.0")


def test_certificates_are_always_checked() -> None:
    """The TLS context asks for a certificate that fits the host's name."""
    context = tls_context(None)

    assert context.check_hostname
    assert context.verify_mode.name == "CERT_REQUIRED"


def test_import_loads_no_heavy_library() -> None:
    """Importing the package loads none of Microsoft's client libraries: a function's start does not pay for them."""
    heavy = ("msgraph", "msgraph_core", "kiota_http", "kiota_abstractions", "msal", "azure.identity", "azure.core", "aiohttp")
    code = f"import sys, shared.microsoft; print([name for name in {heavy!r} if name in sys.modules])"

    command = [sys.executable, "-c", code]
    found = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own interpreter and words

    assert found.stdout.strip() == "[]"
