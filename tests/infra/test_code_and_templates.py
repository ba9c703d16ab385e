"""What the code needs is what the templates make: queues, tables, settings, roles and the runtime, in both directions."""

import tomllib
from collections.abc import Mapping

import pytest

from shared import settings
from shared.domain.steps import WORK_QUEUES, Queue
from shared.settings import APPLICATIONS, CREDENTIALS, Settings, setting_name
from shared.storage.layout import TABLES
from shared.storage.queues import POISON_SUFFIX
from tests.infra.templates import PROJECT, config, template, variable

NOT_DEPLOYED: Mapping[str, str] = {
    "authority_url": "the simulated tenant's",
    "graph_url": "the simulated tenant's",
    "exchange_url": "the simulated tenant's",
    "portal_url": "the simulated tenant's",
    "ca_file": "the simulated tenant's",
    "development_identity": "refused where App Service runs the app",
    "management_url": "the simulated tenant's",
    **{
        f"{application}_{credential}": "the managed identity vouches for the registration: nothing to leak or to rotate"
        for application in APPLICATIONS
        for credential in CREDENTIALS
    },
    "storage_connection": "it would hold a key, and keys are off",
    "sign_in_on": "set by App Service itself",
    "site_name": "set by App Service itself",
}
"""Fields of the settings that no deployed installation sets, each with its reason."""
FOR_THE_PLATFORM: Mapping[str, str] = {
    "AzureWebJobsStorage__blobServiceUri": "the functions host's leases, timers and keys",
    "AzureWebJobsStorage__credential": "the functions host's kind of identity",
    "APPLICATIONINSIGHTS_CONNECTION_STRING": "the functions host's telemetry",
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING": "the functions host's identity for telemetry",
    "OVERRIDE_USE_MI_FIC_ASSERTION_CLIENTID": "App Service Authentication's credential",
}
"""App settings that the code does not read, each with who does."""
ROLES = {
    "Storage Blob Data Owner": "b7e6dc6d-f1e8-4753-8033-0f276bb0955b",
    "Storage Queue Data Contributor": "974c5e8b-45b9-4653-ba55-5f855dd0fb88",
    "Storage Table Data Contributor": "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3",
}
"""learn.microsoft.com/azure/role-based-access-control/built-in-roles/storage; the set of azd's functions quickstarts."""
MONITORING_METRICS_PUBLISHER = "3913510d-42f4-4e42-8a64-420c390055eb"
KEY_VAULT_SECRETS_USER = "4633458b-17de-408a-b874-0445c86b69e6"

VALUES: Mapping[str, str] = {
    "cloud": "global",
    "mailFlowClientId": "11111111-1111-4111-8111-111111111111",
    "directoryClientId": "22222222-2222-4222-8222-222222222222",
    "roleHelperClientId": "33333333-3333-4333-8333-333333333333",
    "activityClientId": "55555555-5555-4555-8555-555555555555",
    "activityContentTypes": "Audit.Exchange",
    "publisherTenantId": "66666666-6666-4666-8666-666666666666",
    "roleAssignerClientId": "77777777-7777-4777-8777-777777777777",
    "roleWatch": "true",
    "roleJustification": "{product} looks after {account}.",
    "mailboxPermission": "Mail.ReadBasic.All",
    "productName": "Grantline",
    "scannerInboundHost": "in.scanner.example",
    "scannerOutboundHost": "out.scanner.example",
    "scannerInboundEgress": "192.0.2.0/24",
    "scannerOutboundEgress": "198.51.100.0/24",
    "scannerCertificateZone": "scanner.example",
    "planApproval": "auto",
    "scannerRegions": "{}",
    "allowEntries": "none",
    "arcSealer": "sealer.example",
    "outboundSenders": "own_domains",
    "mailProof": "on",
    "dnsResolver": "168.63.129.16",
    "policies": "standard",
}
"""Values of main.bicep's parameters, as an operator would give them (RFC 5737 addresses)."""


def _deployed() -> set[str]:
    """Return the names of all app settings on Flex Consumption."""
    own, platform = variable("ownSettings", of="settings"), variable("platformSettings", of="settings")
    return {*variable("operatorSettings", of="main"), *own, *platform}


def test_every_queue_of_the_code_is_made() -> None:
    """The queues are those of the code, and ``grant-events`` for others to read."""
    assert variable("queueNames", of="storage") == [str(queue) for queue in Queue]


def test_poison_queues_can_be_made_and_drained() -> None:
    """The host makes a poison queue when it needs one, so the queue role is on the account, and no name is too long."""
    assert config("onStorage", of="roles")["scope"] == "account"
    for queue in WORK_QUEUES:
        assert len(queue + POISON_SUFFIX) <= 63  # the longest name of a queue (functions-host 1.1.8)


def test_every_table_of_the_code_is_made() -> None:
    """The tables are those of the code."""
    assert variable("tableNames", of="storage") == [table.name for table in TABLES]


@pytest.mark.parametrize("field", sorted(set(Settings.model_fields) - set(NOT_DEPLOYED)))
def test_every_setting_reaches_the_application(field: str) -> None:
    """Every setting that a deployed installation has is an app setting."""
    assert setting_name(field) in _deployed()


def test_no_setting_is_unknown() -> None:
    """Every app setting is one that the code reads, or one of the platform's that is named with its reader."""
    known = {setting_name(field) for field in Settings.model_fields if field not in NOT_DEPLOYED}

    assert _deployed() - known == set(FOR_THE_PLATFORM)


def test_settings_that_are_not_deployed_exist() -> None:
    """The list of settings that are left out names nothing that is gone."""
    assert set(NOT_DEPLOYED) <= set(Settings.model_fields)


def test_defaults_are_those_of_the_code() -> None:
    """A setting that an operator leaves out means the same in the template and in the code."""
    parameters = template("main")["parameters"]
    for setting, parameter in variable("operatorSettings", of="main").items():
        field = Settings.model_fields[setting.removeprefix("GRANTLINE_").lower()]
        default = None if field.is_required() else field.default or ""  # an app setting that is empty is none to the code
        assert parameters[parameter]["default"] == default, setting


def test_the_application_starts_with_them() -> None:
    """The settings that the template writes, with values as an operator gives them, let the application start."""
    environment = {name: VALUES[parameter] for name, parameter in variable("operatorSettings", of="main").items()}
    environment |= {
        "GRANTLINE_PUBLIC_URL": "https://console.example",
        "GRANTLINE_MANAGED_IDENTITY_CLIENT_ID": "44444444-4444-4444-8444-444444444444",
        "GRANTLINE_SEALING_KEY": "A" * 43,
        "GRANTLINE_VERDICT_KEY": "B" * 43,
        "AzureWebJobsStorage__queueServiceUri": "https://example.queue.core.windows.net/",
        "AzureWebJobsStorage__tableServiceUri": "https://example.table.core.windows.net/",
        "AzureWebJobsStorage__clientId": "44444444-4444-4444-8444-444444444444",
    }

    assert set(environment) == _deployed() - set(FOR_THE_PLATFORM)
    assert settings.load(environment).storage_connection is None


@pytest.mark.parametrize("key", ["sealing", "verdict"])
def test_keys_come_from_the_vault(key: str) -> None:
    """A key is a Key Vault reference, and no output or parameter of another module carries it."""
    reference = f"@Microsoft.KeyVault(SecretUri=${{{key}KeyUri}})"
    assert variable("ownSettings", of="settings")[f"GRANTLINE_{key.upper()}_KEY"] == reference
    assert {"type": "secure"} in template("main")["parameters"][f"{key}Key"]["decorators"]
    for name in template("main")["modules"]:
        assert name == "vault" or f"{key}Key" not in config(name, of="main")["params"].values()


def test_roles_are_the_least() -> None:
    """The identity has these roles and no other: three on the storage account, one on telemetry, one on each key."""
    roles = variable("storageRoles", of="roles")

    assert {role["name"]: role["id"] for role in roles} == ROLES
    assert variable("metricsPublisher", of="roles") == MONITORING_METRICS_PUBLISHER
    assert variable("secretsUser", of="roles") == KEY_VAULT_SECRETS_USER
    assignments = {
        name: config(name, of="roles")["scope"] for name, node in template("roles")["resources"].items() if not node["existing"]
    }
    assert assignments == {
        "onStorage": "account",
        "onInsights": "insights",
        "onSealingKey": "sealingKey",
        "onVerdictKey": "verdictKey",
    }


@pytest.mark.parametrize("file", ["identity", "storage", "monitoring", "vault", "flex", "premium", "settings", "authentication"])
def test_roles_are_given_in_one_place(file: str) -> None:
    """No other file assigns a role."""
    kinds = {node["type"] for node in template(file)["resources"].values()}

    assert "Microsoft.Authorization/roleAssignments" not in kinds


def test_python_is_the_newest_that_the_project_supports() -> None:
    """Both plans run the Python version below the project's upper bound: the one that is deployed."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"].endswith(",<3.14")

    runtime = config("app", of="flex")["properties"]["functionAppConfig"]["runtime"]
    assert runtime == {"name": "python", "version": "3.13"}
    assert config("app", of="premium")["properties"]["siteConfig"]["linuxFxVersion"] == "Python|3.13"
