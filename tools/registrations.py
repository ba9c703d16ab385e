"""Write the app registrations of ``infra/applications`` from the catalogue of permissions.

``python tools/registrations.py`` writes them; ``--check`` changes nothing and fails when a file differs; ``--role-watch`` has the
directory application list its optional permission too, for an installation that sets GRANTLINE_ROLE_WATCH. Each file is the body
of a Microsoft Graph ``application`` (learn.microsoft.com/graph/api/resources/application) for the operator's own tenant, where
Microsoft gives it its client id. The redirect addresses carry the host ``console.invalid`` (RFC 2606) in place of the console's.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from shared.microsoft.permissions import Application, Permission, Resource, registered  # noqa: E402 - the path comes first
from shared.web.access import Role  # noqa: E402 - see above

FOLDER = ROOT / "infra" / "applications"
CONSOLE = "https://console.invalid"
TITLES: Mapping[Application, str] = {
    Application.MAIL_FLOW: "Grantline Mail Flow",
    Application.DIRECTORY: "Grantline Directory",
    Application.ROLE_HELPER: "Grantline Role Helper",
    Application.ACTIVITY: "Grantline Activity",
    Application.ROLE_ASSIGNER: "Grantline Role Assigner",
}

CONSOLE_ROLES: Mapping[Role, tuple[str, str]] = {
    Role.VIEWER: ("6a1f0c8e-3d52-4b7a-9e41-0c5d7f2b8a10", "Sees every account, grant and receipt, and changes nothing."),
    Role.OPERATOR: ("6a1f0c8e-3d52-4b7a-9e41-0c5d7f2b8a11", "Starts and retries grants, and sends onboarding links."),
    Role.ADMINISTRATOR: (
        "6a1f0c8e-3d52-4b7a-9e41-0c5d7f2b8a12",
        "May all that an operator may; what is kept from operators is for this role.",
    ),
}
"""The ids and descriptions of the console's roles. The ids never change: assignments name them."""


def body(application: Application, mailbox_permission: str, *, role_watch: bool = False) -> dict[str, Any]:
    """Return the registration of one application as Microsoft Graph's ``application`` resource.

    ``groupMembershipClaims`` DirectoryRole makes the id_token of a sign-in carry the person's directory roles (``wids``), the
    optional claim ``auth_time`` when they last signed in (learn.microsoft.com/entra/identity-platform/optional-claims-reference).
    """
    entries = registered(application, mailbox_permission, role_watch=role_watch)
    return {
        "displayName": TITLES[application],
        "signInAudience": "AzureADMultipleOrgs",
        "groupMembershipClaims": "DirectoryRole",
        "optionalClaims": {"idToken": [{"name": "auth_time", "essential": False}]},
        "web": {"redirectUris": [f"{CONSOLE}/signed-in", f"{CONSOLE}/consented"]},
        "requiredResourceAccess": [
            {"resourceAppId": resource.value, "resourceAccess": [_access(entry) for entry in found]}
            for resource in Resource
            if (found := [entry for entry in entries if entry.resource is resource])
        ],
    }


def console() -> dict[str, Any]:
    """Return the registration that operators sign in to, by App Service Authentication, in the operator's own tenant alone.

    App Service needs its callback as redirect address and id_tokens from the authorization endpoint
    (learn.microsoft.com/azure/app-service/configure-authentication-provider-aad). The roles are what ``shared/web/access.py``
    reads (learn.microsoft.com/graph/api/resources/approle); version 2 is that of the issuer in ``infra/authentication.bicep``.
    """
    return {
        "displayName": "Grantline Console",
        "signInAudience": "AzureADMyOrg",
        "web": {
            "redirectUris": [f"{CONSOLE}/.auth/login/aad/callback"],
            "implicitGrantSettings": {"enableIdTokenIssuance": True, "enableAccessTokenIssuance": False},
        },
        "api": {"requestedAccessTokenVersion": 2},
        "appRoles": [
            {
                "id": role_id,
                "value": role.value,
                "displayName": role.name.capitalize(),
                "description": description,
                "allowedMemberTypes": ["User", "Application"],
                "isEnabled": True,
            }
            for role, (role_id, description) in CONSOLE_ROLES.items()
        ],
    }


def _access(entry: Permission) -> dict[str, str]:
    return {"id": entry.permission_id, "type": "Scope" if entry.delegated else "Role"}


def files(mailbox_permission: str, *, role_watch: bool = False) -> dict[Path, str]:
    """Return each registration's file and the text that it is to have."""
    return {
        FOLDER / f"{application.value}.json": json.dumps(body(application, mailbox_permission, role_watch=role_watch), indent=2)
        + "\n"
        for application in Application
    } | {FOLDER / "console.json": json.dumps(console(), indent=2) + "\n"}


def differing(wanted: Mapping[Path, str]) -> list[Path]:
    """Return the files that are missing or have another text."""
    return [path for path, text in wanted.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]


def main(arguments: list[str] | None = None) -> int:
    """Write the files, or with ``--check`` compare them; return the exit code."""
    parser = argparse.ArgumentParser(description="Write the app registrations from the catalogue of permissions.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail when a file differs")
    parser.add_argument("--mailbox-permission", default="Mail.ReadBasic.All", help='the product\'s permission; "" for none')
    parser.add_argument("--role-watch", action="store_true", help="with the optional permission to see when the role ends")
    options = parser.parse_args(arguments)
    wanted = files(options.mailbox_permission, role_watch=options.role_watch)
    if options.check:
        stale = differing(wanted)
        print("\n".join(f"{path.relative_to(ROOT)} differs: run python tools/registrations.py" for path in stale))
        return 1 if stale else 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path, text in wanted.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
