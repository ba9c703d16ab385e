"""People are sent to the admin center of their cloud, and are told what each application asks for."""

import pytest

from shared import settings as app_settings
from shared.microsoft import open_microsoft
from tests.support.app_settings import APP_SETTINGS

PAGE = "/#view/Microsoft_AAD_IAM/RolesManagementMenuBlade/~/AllRoles"


@pytest.mark.parametrize(
    ("cloud", "host"),
    [
        ("global", "entra.microsoft.com"),
        ("gcc", "entra.microsoft.com"),
        ("gcc_high", "entra.microsoft.us"),
        ("dod", "entra.microsoft.us"),
        ("china", "entra.microsoftonline.cn"),
    ],
)
async def test_each_cloud_has_its_admin_center(cloud: str, host: str) -> None:
    """The page for roles is that of the cloud of the customers' tenants."""
    microsoft = open_microsoft(app_settings.load({**APP_SETTINGS, "GRANTLINE_CLOUD": cloud}))

    assert microsoft.sign_in.roles_page() == f"https://{host}{PAGE}"
    await microsoft.close()


@pytest.mark.parametrize("application", ["mail_flow", "role_helper", "directory", "activity"])
async def test_people_are_told_every_permission_with_reason_and_risk(application: str) -> None:
    """What an administrator reads is what the consent must give, and why."""
    microsoft = open_microsoft(app_settings.load(APP_SETTINGS))
    identity = microsoft.identity

    asked = identity.asked_permissions(application)

    assert {each.name for each in asked if not each.delegated} == identity.required_permissions(application)
    assert asked
    assert all(each.reason.endswith(".") and each.risk.endswith(".") and each.consumer and each.resource for each in asked)
    await microsoft.close()
