"""The Bicep files are Bicep, belong together, and open nothing that must stay closed."""

import json
import re
from pathlib import Path

import pytest

from shared.microsoft.clouds import CLOUDS
from tests.infra.templates import FILES, FOLDER, PROJECT, config, has_syntax_error, keys, resources, template, variable

KEY_FUNCTIONS = ("listKeys", "listAccountSas", "listServiceSas", "listConnectionStrings", "listSecrets")
"""Functions of ARM that hand out keys: none may be used, since no key opens anything."""
FLEX_REFUSES = frozenset(
    {
        *("FUNCTIONS_WORKER_RUNTIME", "FUNCTIONS_WORKER_RUNTIME_VERSION", "FUNCTIONS_EXTENSION_VERSION"),
        *("FUNCTIONS_MAX_HTTP_CONCURRENCY", "FUNCTIONS_WORKER_PROCESS_COUNT", "FUNCTIONS_WORKER_DYNAMIC_CONCURRENCY_ENABLED"),
        *("WEBSITE_RUN_FROM_PACKAGE", "WEBSITE_CONTENTAZUREFILECONNECTIONSTRING", "WEBSITE_CONTENTSHARE"),
        *("WEBSITE_CONTENTOVERVNET", "WEBSITE_VNET_ROUTE_ALL", "WEBSITE_SKIP_CONTENTSHARE_VALIDATION"),
        *("WEBSITE_MAX_DYNAMIC_APPLICATION_SCALE_OUT", "WEBSITE_TIME_ZONE", "WEBSITE_NODE_DEFAULT_VERSION"),
        *("ENABLE_ORYX_BUILD", "SCM_DO_BUILD_DURING_DEPLOYMENT"),
        *("linuxFxVersion", "alwaysOn", "functionAppScaleLimit", "minimumElasticInstanceCount", "pythonVersion"),
    }
)
"""App settings and site properties that Flex Consumption has no use for or refuses.

Source: learn.microsoft.com/azure/azure-functions/functions-app-settings, "Flex Consumption plan deprecations".
"""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_both_parsers_read_it(path: Path) -> None:
    """Every file is Bicep to two independent grammars."""
    assert template(path.stem)["globals"]
    assert not has_syntax_error(path)


def test_modules_get_what_they_ask_for() -> None:
    """Every module of main.bicep is a file here, and is given its parameters: all that have no default, and no other."""
    modules = template("main")["modules"]
    files = {node["detail"]["path"].removesuffix(".bicep") for node in modules.values()}

    assert files == {path.stem for path in FILES} - {"main"}
    for name, node in modules.items():
        parameters = template(node["detail"]["path"].removesuffix(".bicep"))["parameters"]
        needed = {key for key, parameter in parameters.items() if parameter["default"] is None}
        given = set(config(name, of="main")["params"])
        assert needed <= given <= set(parameters), name


def test_outputs_that_are_used_exist() -> None:
    """Every output of a module that main.bicep reads is one that the module has."""
    used = re.findall(r"\b(\w+)\.outputs\.(\w+)", (FOLDER / "main.bicep").read_text())

    assert used
    for module, output in used:
        assert output in template(module)["outputs"], f"{module}.outputs.{output}"


def test_no_module_comes_from_elsewhere() -> None:
    """Resources are written out, so that what is deployed can be read and checked here (docs/adr/0005)."""
    assert {node["type"] for node in template("main")["modules"].values()} == {"local"}


def test_one_api_version_of_each_resource_type() -> None:
    """A resource type has one API version, in every file, whether it is made or looked up."""
    versions: dict[str, set[str]] = {}
    for path in FILES:
        for node in template(path.stem).get("resources", {}).values():
            versions.setdefault(node["type"], set()).add(node["api_version"])

    assert {kind: found for kind, found in versions.items() if len(found) > 1} == {}


def test_storage_opens_to_identities_only() -> None:
    """No key, no anonymous reader and no old TLS opens the storage account."""
    properties = config("account", of="storage")["properties"]

    assert properties["allowSharedKeyAccess"] is False
    assert properties["allowBlobPublicAccess"] is False
    assert properties["supportsHttpsTrafficOnly"] is True
    assert properties["minimumTlsVersion"] == "TLS1_2"
    assert config("packages", of="storage")["properties"]["publicAccess"] == "None"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_key_is_read(path: Path) -> None:
    """No file asks Azure for a key: there is nothing to leak."""
    text = path.read_text()

    assert [name for name in KEY_FUNCTIONS if name.lower() in text.lower()] == []
    assert "AccountKey" not in text


def test_telemetry_needs_the_identity() -> None:
    """Instrumentation keys alone send and read nothing."""
    assert config("insights", of="monitoring")["properties"]["DisableLocalAuth"] is True
    assert config("workspace", of="monitoring")["properties"]["features"]["disableLocalAuth"] is True


def test_vault_keeps_what_is_deleted() -> None:
    """The vault decides by roles, and a deleted sealing key can be had back."""
    properties = config("vault", of="vault")["properties"]

    assert properties["enableRbacAuthorization"] is True
    assert properties["enablePurgeProtection"] is True
    assert {"type": "secure"} in template("vault")["parameters"]["sealingKey"]["decorators"]
    assert {"type": "secure"} in template("main")["parameters"]["sealingKey"]["decorators"]


@pytest.mark.parametrize("plan", ["flex", "premium"])
def test_function_app_is_closed_but_for_https(plan: str) -> None:
    """Either plan serves HTTPS of TLS 1.2 alone, has no publishing passwords, and reads the vault as the one identity."""
    properties = config("app", of=plan)["properties"]

    assert properties["httpsOnly"] is True
    assert properties["siteConfig"]["minTlsVersion"] == "1.2"
    assert properties["keyVaultReferenceIdentity"] == "identityId"
    assert config("app", of=plan)["identity"]["type"] == "UserAssigned"
    assert config("publishing", of=plan)["properties"]["allow"] is False


def test_flex_consumption_gets_its_own_shape() -> None:
    """Flex Consumption is FC1 with functionAppConfig; the package is read with the identity."""
    assert config("plan", of="flex")["sku"] == {"tier": "FlexConsumption", "name": "FC1"}
    deployment = config("app", of="flex")["properties"]["functionAppConfig"]["deployment"]["storage"]
    assert deployment["type"] == "blobContainer"
    assert deployment["authentication"]["type"] == "UserAssignedIdentity"


def test_flex_consumption_gets_nothing_that_it_refuses() -> None:
    """No setting or property that Flex Consumption has done away with reaches it."""
    reaches_flex = {
        *keys(template("flex")),
        *keys(template("settings")),
        *keys(template("main")["variables"]["operatorSettings"]),
    }

    assert reaches_flex & FLEX_REFUSES == set()


def test_government_falls_back_to_premium() -> None:
    """Flex Consumption is unconfirmed in Azure Government: there, and where a parameter says so, it is Elastic Premium."""
    text = (FOLDER / "main.bicep").read_text()

    assert "hostingPlan == 'flex' || (hostingPlan == 'automatic' && environment().name != 'AzureUSGovernment')" in text
    assert "module flex 'flex.bicep' = if (isFlex) {" in text
    assert "module premium 'premium.bicep' = if (!isFlex) {" in text
    assert "planSettings: isFlex ? {} : premiumSettings" in text


def test_premium_needs_no_file_share() -> None:
    """A content share would need the storage key that is off: Premium runs from a package that the identity reads."""
    settings = variable("premiumSettings", of="main")

    assert settings["WEBSITE_RUN_FROM_PACKAGE_BLOB_MI_RESOURCE_ID"]
    assert not [name for name in settings if "CONTENT" in name]


def test_operators_sign_in_and_others_are_let_through() -> None:
    """App Service Authentication is on, and lets Microsoft's redirects in, which come from people without an account."""
    properties = config("authentication", of="authentication")["properties"]

    assert properties["platform"]["enabled"] is True
    assert properties["globalValidation"] == {
        "requireAuthentication": False,
        "unauthenticatedClientAction": "AllowAnonymous",
    }
    registration = properties["identityProviders"]["azureActiveDirectory"]["registration"]
    assert registration["clientSecretSettingName"] in variable("platformSettings", of="settings")
    assert properties["login"]["tokenStore"]["enabled"] is False


def test_everything_is_tagged_for_azd() -> None:
    """The Azure Developer CLI finds the environment and the function app by their tags; the service is the one of azure.yaml."""
    tagged = {
        "Microsoft.Storage/storageAccounts",
        "Microsoft.KeyVault/vaults",
        "Microsoft.Web/sites",
        "Microsoft.Web/serverfarms",
    }
    for file, name, node in resources():
        if node["type"] in tagged:
            assert config(name, of=file)["tags"] == "tags", f"{file}: {name}"

    # pycep-parser keeps the quotation marks of a property name that needs them.
    assert variable("tags", of="main") == {"'azd-env-name'": "environmentName"}
    assert "'azd-service-name': 'functions'" in (FOLDER / "main.bicep").read_text()
    assert {config(plan, of="main")["params"]["tags"] for plan in ("flex", "premium")} == {"appTags"}
    assert re.search(r"^  functions:$", (PROJECT / "azure.yaml").read_text(), re.MULTILINE)


def test_parameters_file_gives_what_main_asks_for() -> None:
    """The Azure Developer CLI can fill every parameter without a default, and only parameters that there are."""
    given = json.loads((FOLDER / "main.parameters.json").read_text())["parameters"]
    parameters = template("main")["parameters"]
    needed = {name for name, parameter in parameters.items() if parameter["default"] is None}

    assert needed <= set(given) <= set(parameters)
    for name, entry in given.items():
        default = re.fullmatch(r"\$\{\w+(?:=(.*))?\}", entry["value"])
        assert default is not None, name
        assert (default[1] is None) is (name in needed), name
        assert default[1] in (None, parameters[name]["default"]), name


def test_clouds_are_those_of_the_code() -> None:
    """The template offers the clouds that the code serves, no other."""
    decorators = template("main")["parameters"]["cloud"]["decorators"]

    assert {"type": "allowed", "argument": list(CLOUDS)} in decorators
