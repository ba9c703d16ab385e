"""The app registrations ask for what the catalogue of permissions says, under Microsoft's ids, and no more than calls need."""

import importlib.util
import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from shared.microsoft import permissions
from shared.microsoft.permissions import CALLS, Application, Consumer, Permission, Resource

ROOT = Path(__file__).resolve().parents[2]
CONTRACTS = ROOT.parent / "shared" / "contracts" / "permissions-slice.json"
MAILBOX = ("", "Mail.ReadBasic.All", "Mail.Read", "Mail.ReadWrite")
GRAPH = [call for call in CALLS if call.application is not Application.MAIL_FLOW]


def _tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("registrations", ROOT / "tools" / "registrations.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _slice() -> dict[str, Any]:
    if not CONTRACTS.is_file():
        if os.environ.get("CI") and CONTRACTS.parent.parent.is_dir():
            pytest.fail(f"{CONTRACTS.name} is missing")
        pytest.skip("Microsoft's permission data (../shared/contracts) is not here")
    data: dict[str, Any] = json.loads(CONTRACTS.read_text(encoding="utf-8"))
    return data


def _all_permissions() -> list[Permission]:
    found = {entry.name: entry for choice in MAILBOX for entry in permissions.catalogue(choice)}
    return list(found.values())


def test_files_are_as_the_catalogue_says(capsys: pytest.CaptureFixture[str]) -> None:
    """The committed registrations are exactly what the tool writes."""
    assert _tool().main(["--check"]) == 0, capsys.readouterr().out


def test_check_tells_a_changed_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A registration that somebody edited by hand, or that is missing, fails the check."""
    tool = _tool()
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    monkeypatch.setattr(tool, "FOLDER", tmp_path)
    assert tool.main([]) == 0
    assert tool.main(["--check"]) == 0

    changed = tmp_path / "directory.json"
    changed.write_text(changed.read_text(encoding="utf-8").replace("Role", "Scope"), encoding="utf-8")

    assert tool.main(["--check"]) == 1


@pytest.mark.parametrize("application", list(Application))
def test_sign_in_shows_directory_roles(application: Application) -> None:
    """Every registration has ``wids`` in its id_tokens, is multi-tenant, and returns to the console alone."""
    body = json.loads((ROOT / "infra" / "applications" / f"{application.value}.json").read_text(encoding="utf-8"))

    assert body["groupMembershipClaims"] == "DirectoryRole"
    assert body["signInAudience"] == "AzureADMultipleOrgs"
    assert body["web"]["redirectUris"] == ["https://console.invalid/signed-in", "https://console.invalid/consented"]
    assert "appId" not in body


@pytest.mark.parametrize("entry", _all_permissions(), ids=lambda entry: entry.name)
def test_ids_are_microsofts(entry: Permission) -> None:
    """Each permission carries the id that Microsoft publishes for its kind."""
    data = _slice()
    if entry.resource is not Resource.GRAPH:
        resource = data["other_resources"][permissions.RESOURCE_NAMES[entry.resource]]
        assert resource["resourceAppId"] == entry.resource.value
        assert resource["appRoles"][entry.name] == entry.permission_id
    else:
        kind = "DelegatedWork" if entry.delegated else "Application"
        assert data["permissions"][entry.name]["ids"][kind] == entry.permission_id


@pytest.mark.parametrize("call", GRAPH, ids=lambda call: f"{call.method} {call.path}")
def test_calls_use_a_documented_permission(call: permissions.Call) -> None:
    """Each Graph call is made with a permission that Microsoft lists for it."""
    scheme = "DelegatedWork" if call.application is Application.ROLE_HELPER else "Application"
    operation = _slice()["operations"][f"{call.method} {call.path}"]["schemes"][scheme]

    assert call.permission in operation["all"]


LEAST_DEPARTURES = {
    "/organization": "the data calls an Intune permission the least; Organization.Read.All is the narrowest about organizations",
    "/users": "the least shows basic profiles only: no proxyAddresses, accountEnabled or userType",
}
"""Calls that are not made with the permission that the data marks as the least, and why."""


@pytest.mark.parametrize("call", GRAPH, ids=lambda call: f"{call.method} {call.path}")
def test_calls_use_the_least_permission(call: permissions.Call) -> None:
    """Each Graph call is made with the permission that Microsoft marks as the least, but for the departures named here."""
    scheme = "DelegatedWork" if call.application is Application.ROLE_HELPER else "Application"
    least = _slice()["operations"][f"{call.method} {call.path}"]["schemes"][scheme]["least"]

    assert (call.permission in least) != (call.path in LEAST_DEPARTURES)


def test_every_permission_of_grantline_is_needed_by_a_call() -> None:
    """No permission is asked for that no call needs, except the product's, which a setting names."""
    needed = {(call.application, call.permission) for call in CALLS}
    asked = {(entry.application, entry.name) for entry in _all_permissions() if entry.consumer is Consumer.GRANTLINE}

    assert asked == needed


@pytest.mark.parametrize("choice", MAILBOX)
def test_the_product_has_the_chosen_permission_alone(choice: str) -> None:
    """The setting decides which permission for all mailboxes is asked for; none when it is empty. Activity data stands apart."""
    product = {(entry.application, entry.name) for entry in permissions.catalogue(choice) if entry.consumer is Consumer.PRODUCT}
    mailboxes = {(Application.DIRECTORY, choice)} if choice else set()

    assert product == {(Application.ACTIVITY, "ActivityFeed.Read"), *mailboxes}


def test_activity_data_is_read_and_nothing_else() -> None:
    """The activity application asks for one permission of one service, without a person's own rights."""
    (entry,) = permissions.registered(Application.ACTIVITY, "Mail.ReadWrite")

    assert (entry.resource, entry.name, entry.delegated) == (Resource.MANAGEMENT, "ActivityFeed.Read", False)
    assert "protection based on user behavior" in entry.reason


def test_no_standing_right_to_assign_roles() -> None:
    """Only the role helper may assign roles, only delegated; no other registration has a delegated permission."""
    for entry in _all_permissions():
        assert entry.delegated == (entry.application is Application.ROLE_HELPER)
        assert entry.name.startswith("RoleManagement.") == entry.delegated


def test_people_read_a_reason_and_a_risk() -> None:
    """Every permission says in a sentence what it is for and what it exposes."""
    for entry in _all_permissions():
        assert entry.reason.endswith(".")
        assert entry.risk.endswith(".")
