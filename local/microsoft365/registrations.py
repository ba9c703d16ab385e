"""The operator's app registrations: read from Microsoft Graph `application` bodies, one file each.

Source of the shape: https://learn.microsoft.com/graph/api/resources/application.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid5

from local.microsoft365.model import IDS, Registration, RequiredPermission, Secret

CONSOLE_PLACEHOLDER = "https://console.invalid"
OPERATOR_TENANT = str(uuid5(IDS, "tenant|operator"))
"""Home of the registrations; nobody signs in there."""
_SECRET_DAYS = 180


class RegistrationError(ValueError):
    """Raised when the registrations cannot be read; names the folder or the file."""


def read_registrations(directory: Path, console_url: str) -> tuple[Registration, ...]:
    """The registrations of a folder, sorted by name, redirecting to `console_url`. Raises RegistrationError."""
    files = sorted(directory.glob("*.json"))
    if not files:
        raise RegistrationError(f"no app registration (*.json) in {directory}")
    return tuple(_read(file, console_url.rstrip("/")) for file in files)


def new_secret(app_id: str, now: datetime, *, starts_in: float = 0.0, lives: float | None = None) -> Secret:
    """A client secret for an application: random, like Microsoft's 40 characters long.

    It is in force `starts_in` seconds from `now` on, for `lives` seconds (None: for half a year, as the portal proposes).
    """
    starts_at = now + timedelta(seconds=starts_in)
    expires_at = starts_at + (timedelta(days=_SECRET_DAYS) if lives is None else timedelta(seconds=lives))
    value = secrets.token_urlsafe(30)
    return Secret(str(uuid5(IDS, f"secret|{app_id}|{value}")), value, expires_at, starts_at)


def _read(file: Path, console_url: str) -> Registration:
    try:
        return _registration(file.stem, json.loads(file.read_text("utf-8")), console_url)
    except (KeyError, TypeError, ValueError) as error:
        raise RegistrationError(f"{file}: {error!r}") from error


def _registration(name: str, body: Mapping[str, Any], console_url: str) -> Registration:
    redirects = body.get("web", {}).get("redirectUris", [])
    return Registration(
        name=name,
        app_id=body.get("appId") or str(uuid5(IDS, f"application|{name}")),
        display_name=body["displayName"],
        home_tenant_id=OPERATOR_TENANT,
        redirect_uris=tuple(uri.replace(CONSOLE_PLACEHOLDER, console_url) for uri in redirects),
        required_permissions=tuple(_required(body.get("requiredResourceAccess", []))),
        group_membership_claims=body.get("groupMembershipClaims"),
        sign_in_audience=body["signInAudience"],
        optional_id_claims=frozenset(each["name"] for each in body.get("optionalClaims", {}).get("idToken", [])),
    )


def _required(access: list[Mapping[str, Any]]) -> list[RequiredPermission]:
    return [
        RequiredPermission(resource["resourceAppId"], permission["id"], permission["type"])
        for resource in access
        for permission in resource["resourceAccess"]
    ]
