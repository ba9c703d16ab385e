"""The registration that operators sign in to: what App Service needs, and the roles that the code reads."""

import base64
import json
import re
from typing import Any
from uuid import UUID

from shared import settings as app_settings
from shared.web import access
from shared.web.access import Role
from shared.web.http import Request
from tests.infra.templates import FILES, PROJECT
from tests.support.app_settings import APP_SETTINGS

GUIDE = (PROJECT / "infra" / "README.md").read_text(encoding="utf-8")
BODY: dict[str, Any] = json.loads((PROJECT / "infra" / "applications" / "console.json").read_text(encoding="utf-8"))


def test_app_service_can_sign_people_in() -> None:
    """This tenant's accounts alone, the callback that App Service has, id_tokens and no more from the authorization endpoint."""
    assert BODY["signInAudience"] == "AzureADMyOrg"
    assert BODY["web"]["redirectUris"] == ["https://console.invalid/.auth/login/aad/callback"]
    assert BODY["web"]["implicitGrantSettings"] == {"enableIdTokenIssuance": True, "enableAccessTokenIssuance": False}
    assert "/.auth/login/aad/callback" in GUIDE
    assert BODY["api"]["requestedAccessTokenVersion"] == 2
    assert "/v2.0'" in (PROJECT / "infra" / "authentication.bicep").read_text(encoding="utf-8")


def test_its_roles_are_those_that_the_code_reads() -> None:
    """Each can be assigned to people and programs, has an id of its own that stays, and stands in the guide."""
    roles = BODY["appRoles"]

    assert [role["value"] for role in roles] == list(Role)
    assert [str(UUID(role["id"])) for role in roles] == [f"6a1f0c8e-3d52-4b7a-9e41-0c5d7f2b8a1{number}" for number in range(3)]
    for role in roles:
        assert role["allowedMemberTypes"] == ["User", "Application"]
        assert role["isEnabled"]
        assert role["description"].endswith(".")
        assert re.fullmatch(r"[A-Za-z0-9.]{1,120}", role["value"])
        assert f"| `{role['value']}` |" in GUIDE


def test_the_guides_forged_header_would_be_believed() -> None:
    """The check after a deployment proves something: without App Service in front, its header would open the console."""
    found = re.search(r"forged=\$\(printf '(.+)' \| base64", GUIDE)
    assert found
    header = {"x-ms-client-principal": base64.b64encode(found[1].encode()).decode()}

    believing = app_settings.load({**APP_SETTINGS, "WEBSITE_AUTH_ENABLED": "true"})
    assert access.may("console_dashboard", access.who(Request("GET", "/", headers=header), believing))


def test_no_template_sets_what_the_platform_says_of_itself() -> None:
    """App Service tells the app that it runs it and whether people sign in; a template that said so would be believed as well.

    WEBSITE_SITE_NAME is read-only there (learn.microsoft.com/azure/app-service/reference-app-settings), so the development
    identity, which it forbids, can't exist.
    """
    text = "".join(path.read_text(encoding="utf-8") for path in FILES)

    for name in ("WEBSITE_SITE_NAME", "WEBSITE_AUTH_ENABLED", "GRANTLINE_DEVELOPMENT_IDENTITY"):
        assert name not in text
